"""How a line and its devices do. Every sample and every outage passes through here, polled or pushed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from gateway.base.log import error_text, log_event
from gateway.config import BusSpec
from gateway.model import (
    FAILURES_UNTIL_OFFLINE,
    Arrival,
    Clock,
    Device,
    FailureKind,
    GatewayError,
    LinkDown,
    Raw,
    ReadFailed,
    Sample,
    sentence,
)
from gateway.wire.codec import convert_values

from .doctor import DeviceSnapshot, line_report
from .tally import SlidingTally
from .unknown import UnknownSenders

SampleSink = Callable[[Sample], Awaitable[None]]


class LiveReading(msgspec.Struct):
    """One reading and how it came about, for `linli read`."""

    raw: str
    sample: Sample
    duration_s: float


class LineCounters(msgspec.Struct):
    """Counts of a line since the start."""

    is_up: bool = False
    polls: int = 0
    failures: int = 0
    missed: int = 0
    busy_s: float = 0.0


class DeviceHealth:
    """Whether a device works."""

    def __init__(self, device: Device, now: float) -> None:
        self.device = device
        self.is_safety_device = device.is_safety_device
        self.tally = SlidingTally(now)
        self.polled_at_s = float("-inf")
        """When it was last polled, in monotonic seconds."""
        self.failures_in_a_row = 0
        self.last_failure: ReadFailed | None = None
        """Of the failures in a row."""
        self.last_message: tuple[Raw, Sample, float] | None = None
        """Of a device that reports by itself: its last message that said something of its values, for
        `linli read`, and when it came, in monotonic seconds."""
        self.heard_at: float | None = None
        """When its last sample came, in monotonic seconds; None: nothing has come from it yet."""
        self.is_offline = False
        """Whether its outage has been reported."""
        self.is_valueless = False
        """Whether it has been reported that it sends messages, but none of its values."""
        self._unusable: dict[str, tuple[str, float]] = {}
        """By point whose newest value could not be used, the reason, and since when."""
        self._alarming: frozenset[str] = frozenset()

    def new_alarms(self, sample: Sample) -> frozenset[str]:
        """The points that are an alarm by this sample, and were none by the last one."""
        return self.alarming_points(sample) - self._alarming

    def alarming_points(self, sample: Sample) -> frozenset[str]:
        """The points that are an alarm by this sample."""
        if not self.is_safety_device:
            return frozenset()
        specs = {name: self.device.points[name].alarm for name in sample.values}
        return frozenset(
            name for name, spec in specs.items() if spec and spec.exceeded(sample.values[name])
        )

    def record_sample(self, sample: Sample, now: float) -> None:
        self.failures_in_a_row = 0
        self.last_failure = None
        self.heard_at = now
        self._record_unusable(sample, now)
        self._alarming = self.alarming_points(sample)
        self.is_valueless = self.is_valueless and not sample.values
        if self.is_offline:
            self.is_offline = False
            log_event(logging.INFO, "device-online", device=self.device.name)

    def _record_unusable(self, sample: Sample, now: float) -> None:
        for name in sample.values:
            self._unusable.pop(name, None)
        for name, why in sample.bad.items():
            point = self.device.points[name]
            if why == "missing" and point.optional:
                continue
            before, since = self._unusable.get(name, ("", now))
            if not before and why != "missing" and point.alarm:
                log_event(
                    logging.WARNING,
                    "point-unusable",
                    device=self.device.name,
                    point=name,
                    reason=sentence(f"bad.{why}"),
                )
            self._unusable[name] = why, since

    def unusable_points(self, now: float) -> dict[str, str]:
        """The points that have no usable value although the device reports, with the reasons. One that is
        only missing may be in the next message."""
        limit_s = silence_limit_s(self.device)
        return {
            name: why
            for name, (why, since) in self._unusable.items()
            if why != "missing" or now - since > limit_s
        }


class LineHealth:
    """Whether a line and its devices work; `sink` takes their samples, outages included."""

    def __init__(self, spec: BusSpec, devices: tuple[Device, ...], clock: Clock, sink: SampleSink) -> None:
        self.spec = spec
        self.devices = {device.name: DeviceHealth(device, clock.mono()) for device in devices}
        self.counters = LineCounters()
        self.openings_without_sample = 0
        """How often the line was opened in vain: some open, and close at the first request."""
        self.unknown_senders = UnknownSenders(spec.name, clock)
        self.down_error: LinkDown | None = LinkDown("line-opening")
        """Why the line is not open."""
        self._clock = clock
        self._sink = sink

    def to_sample(self, device: Device, raw: Raw, arrival: Arrival = Arrival.LIVE) -> Sample:
        """Decode a raw reading. It is stamped now."""
        driver = self.spec.driver
        values, bad = convert_values(device.points, driver.decode(device.points, raw))
        state = driver.state_to_save(raw) if driver.state_to_save else None
        places = driver.places(device.points, raw) if driver.places else {}
        now = self._clock.now()
        return Sample(device.name, now, values, bad, places=places, arrival=arrival, driver_state=state)

    async def accept_sample(self, health: DeviceHealth, sample: Sample) -> None:
        """A sample without any value counts as a failure."""
        if not sample.values:
            await self.record_failure(health, ReadFailed("no-values"))
            return
        self.openings_without_sample = 0
        health.record_sample(sample, self._clock.mono())
        await self._sink(sample)

    async def accept_message(self, health: DeviceHealth, sample: Sample) -> None:
        """Take what a device reported by itself. A message without any value is a sign of life: a device
        that was offline is not any more, but its values remain unknown."""
        self.openings_without_sample = 0
        if not sample.values and not sample.bad:
            if not health.is_offline:
                health.failures_in_a_row = 0
                return
            sample = msgspec.structs.replace(sample, bad=_all_missing(health.device))
        health.record_sample(sample, self._clock.mono())
        await self._sink(sample)

    async def record_valueless(self, health: DeviceHealth) -> None:
        """A device that reports by itself does, but has sent none of its values for too long."""
        health.is_valueless = True
        log_event(
            logging.WARNING,
            "device-valueless",
            device=health.device.name,
            seconds=round(silence_limit_s(health.device)),
        )
        await self._sink(Sample(health.device.name, self._clock.now(), bad=_all_missing(health.device)))

    async def publish_retained(self, device: Device, raw: Raw) -> None:
        """A state that somebody has kept: its values count, but it is no sign that the device works."""
        sample = self.to_sample(device, raw, Arrival.RETAINED)
        if sample.values:
            await self._sink(sample)

    async def record_failure(
        self, health: DeviceHealth, failed: ReadFailed, *, is_outage: bool = False
    ) -> None:
        """Count a failure; a few in a row are an outage, and so is one that says so."""
        self.counters.failures += 1
        health.tally.current(self._clock.mono()).failures[failed.kind] += 1
        health.failures_in_a_row += 1
        health.last_failure = failed
        if health.failures_in_a_row >= FAILURES_UNTIL_OFFLINE or health.is_offline or is_outage:
            await self.record_outage(health, failed)

    def mark_up(self) -> None:
        """The line is open."""
        if not self.counters.is_up:
            log_event(logging.INFO, "bus-up", bus=self.spec.name)
        self.counters.is_up = True
        self.down_error = None

    async def mark_down(self, error: LinkDown) -> None:
        """The line, and with it each of its devices, cannot be reached."""
        if self.counters.is_up or self.counters.failures == 0:
            reason = error_text(error.key, **error.facts)
            log_event(logging.WARNING, "bus-down", bus=self.spec.name, reason=reason)
        self.counters.is_up = False
        self.down_error = error
        self.counters.failures += 1
        for health in self.devices.values():
            await self.record_outage(health, error)

    async def record_outage(self, health: DeviceHealth, error: GatewayError) -> None:
        """An outage is a sample too; it is logged once, when it begins."""
        if isinstance(error, ReadFailed):
            health.last_failure = error
        if not health.is_offline:
            health.is_offline = True
            reason = error_text(error.key, **error.facts)
            log_event(logging.WARNING, "device-offline", device=health.device.name, reason=reason)
        await self._sink(
            Sample(health.device.name, self._clock.now(), error=error.key, facts=error.stored_facts())
        )

    def report(self, *, pushes: bool) -> dict[str, Any]:
        """How the line and its devices have done in the last minutes, for `linli doctor`."""
        now = self._clock.mono()
        snapshots = [
            DeviceSnapshot(
                name,
                health.is_offline,
                *health.tally.total(now),
                pushes=pushes,
                silent_s=None if health.heard_at is None else now - health.heard_at,
                failure=health.last_failure,
                longest_silence_s=silence_limit_s(health.device),
                unusable=health.unusable_points(now),
            )
            for name, health in self.devices.items()
        ]
        down_because = self.down_error.as_sentence() if self.down_error else None
        report = line_report(down_because, snapshots, getattr(self.spec.options, "timeout", None))
        report["findings"] += map(msgspec.structs.asdict, self.unknown_senders.diagnoses())
        return report


def _all_missing(device: Device) -> dict[str, str]:
    return dict.fromkeys(device.points, "missing")


def silence_limit_s(device: Device) -> float:
    """Seconds without a message after which a device that reports by itself is offline."""
    return FAILURES_UNTIL_OFFLINE * device.every


def silence_error(device: Device) -> ReadFailed:
    """A device that reports by itself has been silent for longer than it may."""
    return ReadFailed("silent", FailureKind.SILENT, seconds=round(silence_limit_s(device)))
