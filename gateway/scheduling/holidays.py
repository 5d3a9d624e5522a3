"""Public holidays, and the weekend days that are worked in exchange (调休上班).

The State Council announces both for one year at a time, in the autumn before it; nobody can compute them.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum

import msgspec

_YEAR_END = (12, 24)
"""Month and day from which the announcement for a year may move days of the year before: that for 2019 made
29 December 2018 a workday."""


class DayKind(StrEnum):
    """What a day is, beside its weekday."""

    ORDINARY = "ordinary"
    HOLIDAY = "holiday"
    MAKEUP = "makeup"
    """A day of a weekend that is worked."""


class HolidayCalendar(msgspec.Struct, frozen=True, kw_only=True):
    """The days that have been announced for some years."""

    years: frozenset[int] = frozenset()
    holidays: frozenset[date] = frozenset()
    makeup_workdays: frozenset[date] = frozenset()

    def knows(self, day: date) -> bool:
        """Whether all that decides about the day has been announced."""
        return day.year in self.years and ((day.month, day.day) < _YEAR_END or day.year + 1 in self.years)

    def kind_of(self, day: date) -> DayKind:
        """Ordinary also where nothing is known."""
        if day in self.holidays:
            return DayKind.HOLIDAY
        return DayKind.MAKEUP if day in self.makeup_workdays else DayKind.ORDINARY


NO_HOLIDAYS = HolidayCalendar()
