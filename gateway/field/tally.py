"""What the devices of a line did of late: polls, failures by kind, latency, time on the line."""

from __future__ import annotations

import math
from collections import Counter

import msgspec

from gateway.model import FailureKind

HALF = 300.0
"""Seconds of one half: what is told covers the last five to ten minutes, so that what was mended is
soon forgotten."""
FINEST, STEP = 1e-4, math.log(1.1)
"""Latencies are kept in classes, each a tenth wider than the one before, from 0.1 ms."""


class Tally(msgspec.Struct):
    """Counts of one device within a stretch of time."""

    polls: int = 0
    """Questions, or messages of a device that speaks by itself."""
    missed: int = 0
    """Polls that a busy line had no time for."""
    unconfirmed: int = 0
    """Alarms that a second reading did not bear out."""
    busy: float = 0.0
    """Seconds that the line was taken, the silence after a failure included."""
    failures: Counter[FailureKind] = msgspec.field(default_factory=Counter)
    latencies: Counter[int] = msgspec.field(default_factory=Counter)
    """Of the readings, by class."""

    @property
    def readings(self) -> int:
        return self.polls - self.failures.total()

    def took(self, seconds: float) -> None:
        """Note how long a reading took."""
        self.latencies[int(math.log(max(seconds, FINEST) / FINEST) / STEP)] += 1

    def percentile(self, part: float) -> float | None:
        """Seconds within which that part of the readings came, to a tenth; None without any."""
        rank = math.ceil(part * self.latencies.total())
        for number in sorted(self.latencies):
            rank -= self.latencies[number]
            if rank <= 0:
                return FINEST * math.exp(STEP * (number + 1))
        return None

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.polls + other.polls,
            self.missed + other.missed,
            self.unconfirmed + other.unconfirmed,
            self.busy + other.busy,
            self.failures + other.failures,
            self.latencies + other.latencies,
        )


class Recent:
    """The tally of late: two halves, of which the older is dropped when the younger is full."""

    def __init__(self, now: float) -> None:
        self._began = self._turned = now
        self._older, self._younger = Tally(), Tally()

    def now(self, now: float) -> Tally:
        """The tally to count into."""
        if now - self._turned >= HALF:
            late = now - self._turned >= 2 * HALF
            self._older, self._younger = Tally() if late else self._younger, Tally()
            self._began, self._turned = now if late else self._turned, now
        return self._younger

    def told(self, now: float) -> tuple[Tally, float]:
        """The tally, and the seconds that it covers."""
        self.now(now)
        return self._older + self._younger, now - self._began
