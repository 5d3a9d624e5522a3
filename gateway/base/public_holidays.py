"""The public holidays of China with the weekend days that are worked in exchange, as the State Council
announced them. The only file that uses chinese_calendar."""

from __future__ import annotations

import functools

from gateway.scheduling import HolidayCalendar


@functools.cache
def china_holidays() -> HolidayCalendar:
    """Those of all years that the installed version knows."""
    from chinese_calendar import constants  # type: ignore[import-untyped]

    holidays = frozenset(constants.holidays)
    return HolidayCalendar(
        years=frozenset(day.year for day in holidays),
        holidays=holidays,
        makeup_workdays=frozenset(constants.workdays),
    )
