"""How late the event loop does what is due: whatever holds it delays every alarm."""

from __future__ import annotations

import bisect
import logging
from typing import Any

import msgspec

from gateway.base.log import log_event
from gateway.model import Clock

MEASURING_INTERVAL_S = 0.1
MAX_LAG_S = 0.05
"""No input may hold the loop for longer."""
LAG_BUCKETS_S = (0.005, 0.01, 0.025, MAX_LAG_S, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
HALF_WINDOW_S = 300.0
"""What is reported as recent covers the last one to two of these."""
MIN_COVERED_S = 60.0
BAD_LAG_S = 1.0
BAD_FRACTION = 0.02
"""One lag so long, or such a part of the time spent in lags above the maximum, is worth a warning."""


class _Period(msgspec.Struct):
    """The lags of some minutes."""

    began_s: float
    worst_s: float = 0.0
    held_s: float = 0.0
    """The sum of the lags above the maximum."""


class LoopLag:
    """Measures the lag continuously."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._older, self._newer = _Period(clock.mono()), _Period(clock.mono())
        self.counts = [0] * (len(LAG_BUCKETS_S) + 1)
        """Of the lags since the start, by `LAG_BUCKETS_S`; the last count is of longer ones."""
        self.sum_s = 0.0
        self.is_bad = False
        """Whether the last minutes had lags that delay alarms noticeably."""

    @property
    def worst_s(self) -> float:
        """The longest lag of the last minutes."""
        return max(self._older.worst_s, self._newer.worst_s)

    async def run(self) -> None:
        """Measure until cancelled; log once when it becomes bad, and once when it is well again."""
        while True:
            due = self._clock.mono() + MEASURING_INTERVAL_S
            await self._clock.sleep(MEASURING_INTERVAL_S)
            now = self._clock.mono()
            self._count(max(0.0, now - due), now)
            was_bad, self.is_bad = self.is_bad, self._delays_alarms(now)
            if self.is_bad and not was_bad:
                log_event(logging.WARNING, "loop-late", **self.facts())
            elif was_bad and not self.is_bad:
                log_event(logging.INFO, "loop-well")

    def facts(self) -> dict[str, Any]:
        """The longest lag of the last minutes, for a sentence."""
        return {"ms": round(self.worst_s * 1000), "allowed": round(MAX_LAG_S * 1000)}

    def _count(self, lag_s: float, now: float) -> None:
        self.counts[bisect.bisect_left(LAG_BUCKETS_S, lag_s)] += 1
        self.sum_s += lag_s
        if now - self._newer.began_s >= HALF_WINDOW_S:
            self._older, self._newer = self._newer, _Period(now)
        self._newer.worst_s = max(self._newer.worst_s, lag_s)
        self._newer.held_s += lag_s if lag_s > MAX_LAG_S else 0.0

    def _delays_alarms(self, now: float) -> bool:
        held_s, covered_s = self._older.held_s + self._newer.held_s, now - self._older.began_s
        is_often = covered_s >= MIN_COVERED_S and held_s > BAD_FRACTION * covered_s
        return self.worst_s >= BAD_LAG_S or is_often
