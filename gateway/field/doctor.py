"""The bus doctor: from what a line and its devices did of late to a sentence each. Pure.

A finding names the likely cause, for whoever stands before the cabinet with a screwdriver.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.model import FailureKind

from .tally import Tally

ENOUGH = 5
"""Polls before anything is said of a device."""
DAMAGED = (FailureKind.DAMAGED, FailureKind.OUT_OF_STEP)
"""Replies that came, but not whole, or not of the one who was asked."""
REFUSED = (FailureKind.REFUSED,)
SILENT = (FailureKind.TIMEOUT, FailureKind.SILENT)
BAD_WIRE, LOSSY, SLOW = 0.02, 0.02, 0.5
"""Damaged replies and lost questions per poll, and the part of the time allowed that a reading takes, from
which on they are worth a word."""
GREEDY = 0.3
"""The part of a line's time from which on one device is worth a word, if the line is full as well."""
FULL, LATE = 0.9, 0.01
"""Use of a line, and missed polls, from which on it is full."""


class Patient(msgspec.Struct, frozen=True):
    """A device, and its tally."""

    name: str
    offline: bool
    tally: Tally
    seconds: float
    """That the tally covers."""
    pushes: bool = False
    """It speaks by itself: it has no latency, and takes no time on the line."""

    @property
    def share(self) -> float:
        """The part of the line's time that it took, 0 to 1."""
        return self.tally.busy / self.seconds if self.seconds else 0.0


class Finding(msgspec.Struct, frozen=True):
    """One sentence: `doctor.{key}` in `words/`; `device` is empty where it concerns the line."""

    key: str
    device: str = ""
    facts: dict[str, Any] = {}


def examine(up: bool, patients: Sequence[Patient], timeout: float | None = None) -> list[Finding]:
    """What is wrong with a line, the line itself first; nothing when all is well.

    `timeout` is the seconds a device has to answer in, if known.
    """
    if not up:
        return [Finding("line-down")]
    seen = [patient for patient in patients if patient.tally.polls >= ENOUGH]
    use = utilisation(patients)
    found: list[Finding] = []
    silent = [patient for patient in seen if not patient.tally.readings]
    if len(silent) == len(patients) > 1:
        key = "line-noise" if any(_part(each.tally, DAMAGED) > 0.5 for each in silent) else "line-silent"
        return [Finding(key, facts={"count": len(silent)})]
    missed = sum(patient.tally.missed for patient in patients)
    polls = sum(patient.tally.polls for patient in patients)
    if use > FULL and missed > LATE * (polls + missed):
        found.append(Finding("line-full", facts={"use": _percent(use), "missed": missed}))
    for patient in seen:
        found += _device(patient, use, timeout)
    return found


def utilisation(patients: Iterable[Patient]) -> float:
    """The part of the time that a line was taken, 0 to 1."""
    return min(1.0, sum(patient.share for patient in patients))


def _device(patient: Patient, use: float, timeout: float | None) -> Iterable[Finding]:
    tally = patient.tally
    facts: dict[str, Any] = {"share": _percent(patient.share)}
    damaged, refused, lost = (_part(tally, kinds) for kinds in (DAMAGED, REFUSED, SILENT))
    slowest = tally.percentile(0.99)

    def finding(key: str, **more: Any) -> Finding:
        return Finding(key, patient.name, facts | more)

    if not tally.readings and lost > 0.5:
        yield finding("device-mute" if patient.pushes else "device-dead")
    elif not tally.readings and damaged > 0.5:
        yield finding("device-garbled")
    elif refused > 0.5:
        yield finding("device-refuses")
    elif damaged > BAD_WIRE:
        yield finding("device-noisy", damaged=_percent(damaged))
    elif lost > LOSSY and not patient.pushes:
        yield finding("device-lossy", lost=_percent(lost))
    elif slowest and timeout and slowest > SLOW * timeout:
        yield finding("device-slow", ms=round(slowest * 1000), allowed=round(timeout * 1000))
    elif patient.share > GREEDY and use > FULL:
        yield finding("device-greedy")
    if tally.unconfirmed:
        yield finding("device-jumpy", count=tally.unconfirmed)


def _part(tally: Tally, kinds: Iterable[FailureKind]) -> float:
    return sum(tally.failures[kind] for kind in kinds) / tally.polls


def _percent(part: float) -> int:
    return round(100 * part)


def figures(patient: Patient) -> dict[str, Any]:
    """A patient for people and programs: counts, latencies in milliseconds, its share in percent."""
    tally = patient.tally
    quantiles = {f"p{part}": tally.percentile(part / 100) for part in (50, 90, 99)}
    return {
        "device": patient.name,
        "offline": patient.offline,
        "polls": tally.polls,
        "readings": tally.readings,
        "missed": tally.missed,
        "silent": sum(tally.failures[kind] for kind in SILENT),
        "damaged": sum(tally.failures[kind] for kind in DAMAGED),
        "refused": sum(tally.failures[kind] for kind in REFUSED),
        "unconfirmed": tally.unconfirmed,
        "share": round(100 * patient.share, 1),
        **{name: None if value is None else round(value * 1000, 1) for name, value in quantiles.items()},
    }


def report(up: bool, patients: Sequence[Patient], timeout: float | None = None) -> dict[str, Any]:
    """A line as `linli doctor` and the dashboard are told of it."""
    return {
        "up": up,
        "use": round(100 * utilisation(patients), 1),
        "devices": [figures(patient) for patient in patients],
        "findings": [msgspec.structs.asdict(finding) for finding in examine(up, patients, timeout)],
    }
