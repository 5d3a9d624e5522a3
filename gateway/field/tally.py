"""Counts of the last minutes, for each device: polls, failures by kind, latency, time on the line."""

from __future__ import annotations

import math
from collections import Counter

import msgspec

from gateway.model import FailureKind

HALF_WINDOW_S = 300.0
"""A report covers the last one to two of these, so that a fault that was mended soon leaves it."""
MIN_LATENCY_S, LATENCY_CLASS_WIDTH = 1e-4, math.log(1.1)
"""Latencies are counted in classes from 0.1 ms up, each a tenth wider than the one before."""


class PollTally(msgspec.Struct):
    """Counts of one device within a period."""

    polls: int = 0
    """Requests, or messages of a device that reports by itself."""
    missed: int = 0
    """Polls that a busy line had no time for."""
    unconfirmed: int = 0
    """Alarms that a second reading did not show."""
    busy_s: float = 0.0
    """Time that the line was occupied, the silence after a failure included."""
    failures: Counter[FailureKind] = msgspec.field(default_factory=Counter)
    latencies: Counter[int] = msgspec.field(default_factory=Counter)
    """Of the readings, by class."""

    @property
    def readings(self) -> int:
        return self.polls - self.failures.total()

    def add_latency(self, seconds: float) -> None:
        """Count the time that a reading took."""
        latency_class = math.log(max(seconds, MIN_LATENCY_S) / MIN_LATENCY_S) / LATENCY_CLASS_WIDTH
        self.latencies[int(latency_class)] += 1

    def latency_s(self, fraction: float) -> float | None:
        """Seconds within which that fraction of the readings came, to a tenth; None without readings."""
        rank = math.ceil(fraction * self.latencies.total())
        for latency_class in sorted(self.latencies):
            rank -= self.latencies[latency_class]
            if rank <= 0:
                return MIN_LATENCY_S * math.exp(LATENCY_CLASS_WIDTH * (latency_class + 1))
        return None

    def __add__(self, other: PollTally) -> PollTally:
        return PollTally(
            self.polls + other.polls,
            self.missed + other.missed,
            self.unconfirmed + other.unconfirmed,
            self.busy_s + other.busy_s,
            self.failures + other.failures,
            self.latencies + other.latencies,
        )


class SlidingTally:
    """The tally of the last minutes in two halves: when the newer is full, the older is dropped."""

    def __init__(self, now: float) -> None:
        self._older_since = self._newer_since = now
        self._older, self._newer = PollTally(), PollTally()

    def current(self, now: float) -> PollTally:
        """The tally to count into; `now` in monotonic seconds."""
        age = now - self._newer_since
        if age >= HALF_WINDOW_S:
            outdated = age >= 2 * HALF_WINDOW_S
            self._older, self._newer = PollTally() if outdated else self._newer, PollTally()
            self._older_since, self._newer_since = now if outdated else self._newer_since, now
        return self._newer

    def total(self, now: float) -> tuple[PollTally, float]:
        """The tally, and the seconds that it covers."""
        self.current(now)
        return self._older + self._newer, now - self._older_since
