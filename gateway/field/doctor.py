"""The bus doctor: from the recent counts of a line and its devices to a sentence about each fault. Pure.

A diagnosis names the likely cause, for a technician in front of the cabinet. It reads only kinds of
failure, so that it holds for every driver.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.model import FailureKind, ReadFailed, Sentence, duration, sentence
from gateway.services.presence import DeviceState

from .tally import PollTally

MIN_POLLS = 5
"""Polls before a device is diagnosed."""
DAMAGE_KINDS = (FailureKind.DAMAGED, FailureKind.OUT_OF_STEP)
"""Something came, but not whole, or not from the device that was asked."""
REFUSAL_KINDS = (FailureKind.REFUSED,)
SILENCE_KINDS = (FailureKind.TIMEOUT, FailureKind.SILENT)
NOISY_FRACTION, LOSSY_FRACTION = 0.02, 0.02
"""Damaged replies, and missing ones, per poll, from which on they are reported."""
SLOW_TIMEOUT_FRACTION = 0.5
"""The part of its timeout that a device may need for a reply."""
GREEDY_LINE_SHARE = 0.3
"""The part of a full line's time that one device may use."""
FULL_UTILISATION, FULL_MISSED_FRACTION = 0.9, 0.01
"""Utilisation of a line, and missed polls, from which on it is full."""


class DeviceSnapshot(msgspec.Struct, frozen=True):
    """What is known of a device at the moment of a report."""

    name: str
    is_offline: bool
    tally: PollTally
    covered_s: float
    """Seconds that the tally covers."""
    pushes: bool = False
    """It reports by itself: it has no latency, and takes no time on the line."""
    silent_s: float | None = None
    """Seconds since its last sample; None: nothing has come from it yet."""
    failure: ReadFailed | None = None
    """The last of the failures since then."""
    longest_silence_s: float = 0.0
    """Seconds until a device that reports by itself is overdue."""
    unusable: dict[str, str] = {}
    """The points without a usable value, although the device reports, and the reasons."""

    @property
    def state(self) -> DeviceState:
        if self.is_offline:
            return DeviceState.OFFLINE
        return DeviceState.NOT_HEARD if self.silent_s is None else DeviceState.ONLINE

    @property
    def line_share(self) -> float:
        """The part of the line's time that it took, 0 to 1."""
        return self.tally.busy_s / self.covered_s if self.covered_s else 0.0


class Diagnosis(msgspec.Struct, frozen=True):
    """One sentence: `doctor.{key}` in `words/`; `device` is empty where it concerns the line."""

    key: str
    device: str = ""
    facts: dict[str, Any] = {}


def diagnose(
    down_because: Sentence | None, devices: Sequence[DeviceSnapshot], timeout_s: float | None = None
) -> list[Diagnosis]:
    """What is wrong with a line, the line itself first; empty when nothing is.

    `down_because` is why the line is not open; None if it is. `timeout_s` is the time that a device has to
    reply in, if known.
    """
    if down_because:
        return [Diagnosis("line-down", facts={"reason": down_because})]
    polled = [device for device in devices if device.tally.polls >= MIN_POLLS]
    used = utilisation(devices)
    found: list[Diagnosis] = []
    mute = [device for device in devices if _is_mute(device)]
    if len(mute) == len(devices) > 1:
        return [Diagnosis(_line_diagnosis(mute), facts={"count": len(mute)})]
    missed = sum(device.tally.missed for device in devices)
    polls = sum(device.tally.polls for device in devices)
    if used > FULL_UTILISATION and missed > FULL_MISSED_FRACTION * (polls + missed):
        found.append(Diagnosis("line-full", facts={"use": _to_percent(used), "missed": missed}))
    for device in devices:
        if device.is_offline and device.failure:
            found.append(_diagnose_outage(device, device.failure))
            continue
        found += _diagnose_points(device)
        if device in polled:
            found += _diagnose_device(device, used, timeout_s)
    waiting = []
    for device in devices:
        if device.state is not DeviceState.NOT_HEARD or _is_mute(device):
            continue
        if device.pushes and device.tally.readings:
            found.append(Diagnosis("device-valueless", device.name))
        else:
            waiting.append(device)
    if waiting:
        facts = {
            "count": len(waiting),
            "names": ", ".join(device.name for device in waiting),
            "within": duration(max(device.longest_silence_s for device in waiting)),
        }
        found.append(Diagnosis("unheard", facts=facts))
    return found


def _is_mute(device: DeviceSnapshot) -> bool:
    """Whether nothing but failures comes from it."""
    if device.failure and device.is_offline:
        return device.failure.kind in (*SILENCE_KINDS, *DAMAGE_KINDS)
    return device.tally.polls >= MIN_POLLS and not device.tally.readings


def _line_diagnosis(mute: Sequence[DeviceSnapshot]) -> str:
    """What is wrong with a line none of whose devices can be heard."""
    if all(device.pushes for device in mute):
        return "line-mute"
    noisy = any(
        device.failure.kind in DAMAGE_KINDS
        if device.failure
        else _failure_fraction(device.tally, DAMAGE_KINDS) > 0.5
        for device in mute
    )
    return "line-noise" if noisy else "line-silent"


def _diagnose_outage(device: DeviceSnapshot, failure: ReadFailed) -> Diagnosis:
    """Why a device is offline. What it did before that says nothing about it."""
    facts: dict[str, Any] = {"share": _to_percent(device.line_share)}
    since: dict[str, Sentence] = {} if device.silent_s is None else {"since": duration(device.silent_s)}
    if failure.kind in SILENCE_KINDS and since:
        return Diagnosis("device-silent" if device.pushes else "device-gone", device.name, facts | since)
    if failure.kind in SILENCE_KINDS:
        return Diagnosis("device-mute" if device.pushes else "device-dead", device.name, facts)
    if failure.kind in DAMAGE_KINDS:
        return Diagnosis("device-garbled", device.name, facts)
    if failure.kind in REFUSAL_KINDS:
        return Diagnosis("device-refuses", device.name, facts)
    return Diagnosis("device-failing", device.name, {"reason": failure.as_sentence()})


def _diagnose_points(device: DeviceSnapshot) -> Iterable[Diagnosis]:
    """Which of its values cannot be used, for each reason."""
    for reason in dict.fromkeys(device.unusable.values()):
        points = [name for name, why in device.unusable.items() if why == reason]
        facts = {"device": device.name, "points": ", ".join(points), "reason": sentence(f"bad.{reason}")}
        yield Diagnosis("points-unusable", device.name, facts)


def utilisation(devices: Iterable[DeviceSnapshot]) -> float:
    """The part of the time that a line was occupied, 0 to 1."""
    return min(1.0, sum(device.line_share for device in devices))


def _diagnose_device(
    device: DeviceSnapshot, line_utilisation: float, timeout_s: float | None
) -> Iterable[Diagnosis]:
    tally = device.tally
    facts: dict[str, Any] = {"share": _to_percent(device.line_share)}
    damaged, refused, lost = (
        _failure_fraction(tally, kinds) for kinds in (DAMAGE_KINDS, REFUSAL_KINDS, SILENCE_KINDS)
    )
    slowest_s = tally.latency_s(0.99)

    def diagnosis(key: str, **more: Any) -> Diagnosis:
        return Diagnosis(key, device.name, facts | more)

    if not tally.readings and lost > 0.5:
        yield diagnosis("device-mute" if device.pushes else "device-dead")
    elif not tally.readings and damaged > 0.5:
        yield diagnosis("device-garbled")
    elif refused > 0.5:
        yield diagnosis("device-refuses")
    elif damaged > NOISY_FRACTION:
        yield diagnosis("device-noisy", damaged=_to_percent(damaged))
    elif lost > LOSSY_FRACTION and not device.pushes:
        yield diagnosis("device-lossy", lost=_to_percent(lost))
    elif slowest_s and timeout_s and slowest_s > SLOW_TIMEOUT_FRACTION * timeout_s:
        yield diagnosis("device-slow", ms=round(slowest_s * 1000), allowed=round(timeout_s * 1000))
    elif device.line_share > GREEDY_LINE_SHARE and line_utilisation > FULL_UTILISATION:
        yield diagnosis("device-greedy")
    if tally.unconfirmed:
        yield diagnosis("device-jumpy", count=tally.unconfirmed)


def _failure_fraction(tally: PollTally, kinds: Iterable[FailureKind]) -> float:
    return sum(tally.failures[kind] for kind in kinds) / tally.polls


def _to_percent(fraction: float) -> int:
    return round(100 * fraction)


def device_report(device: DeviceSnapshot) -> dict[str, Any]:
    """A device for people and programs: counts, latencies in milliseconds, its share in percent."""
    tally = device.tally
    latencies_s = {f"p{percent}": tally.latency_s(percent / 100) for percent in (50, 90, 99)}
    return {
        "device": device.name,
        "offline": device.is_offline,
        "state": device.state,
        "silent_s": None if device.silent_s is None else round(device.silent_s),
        "reason": device.failure.as_sentence() if device.is_offline and device.failure else None,
        "polls": tally.polls,
        "readings": tally.readings,
        "missed": tally.missed,
        "silent": sum(tally.failures[kind] for kind in SILENCE_KINDS),
        "damaged": sum(tally.failures[kind] for kind in DAMAGE_KINDS),
        "refused": sum(tally.failures[kind] for kind in REFUSAL_KINDS),
        "unconfirmed": tally.unconfirmed,
        "share": round(100 * device.line_share, 1),
        **{name: None if value is None else round(value * 1000, 1) for name, value in latencies_s.items()},
    }


def line_report(
    down_because: Sentence | None, devices: Sequence[DeviceSnapshot], timeout_s: float | None = None
) -> dict[str, Any]:
    """A line, its devices and their diagnoses, as `linli doctor` and the dashboard get it."""
    return {
        "up": down_because is None,
        "use": round(100 * utilisation(devices), 1),
        "devices": [
            device_report(device) | ({"reason": down_because} if down_because else {}) for device in devices
        ],
        "findings": [
            msgspec.structs.asdict(diagnosis) for diagnosis in diagnose(down_because, devices, timeout_s)
        ],
    }
