"""The local days of a time zone, and their quarters of an hour."""

from __future__ import annotations

import functools
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

QUARTER_S = 900
MAX_DAY = date(9000, 1, 1).toordinal()


class Calendar:
    """Days are numbers as of `date.toordinal`; quarters are counted since 1970."""

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone)
        self.day_of = functools.lru_cache(4096)(self._day_of)

    def _day_of(self, quarter: int) -> int:
        """The local day of a quarter."""
        try:
            return datetime.fromtimestamp(quarter * QUARTER_S, self._zone).toordinal()
        except (OverflowError, ValueError, OSError):
            return MAX_DAY

    def quarters_of(self, day: int) -> range:
        """The quarters of a local day: 96, or more or fewer where clocks are changed."""
        first = date.fromordinal(min(day, MAX_DAY))
        bounds = (datetime.combine(each, time(), self._zone) for each in (first, first + timedelta(days=1)))
        since, until = (round(bound.timestamp()) // QUARTER_S for bound in bounds)
        return range(since, until)
