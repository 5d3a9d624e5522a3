"""Intervals of time, and the calendar of a time zone. All times are Unix seconds."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gateway.model.hours import WeeklyHours

Interval = tuple[int, int]
"""From and until."""
QUARTER_S = 900
SLOT_UNITS = ("quarter", "hour", "day", "week", "month", "year")


class Intervals:
    """A sorted set of intervals that neither overlap nor touch."""

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        joined: list[list[int]] = []
        for since, until in sorted(intervals):
            if joined and since <= joined[-1][1]:
                joined[-1][1] = max(joined[-1][1], until)
            elif until > since:
                joined.append([since, until])
        self._since = [since for since, _ in joined]
        self._until = [until for _, until in joined]
        self._before = [0]
        for since, until in joined:
            self._before.append(self._before[-1] + until - since)

    def __iter__(self) -> Iterator[Interval]:
        return iter(zip(self._since, self._until, strict=True))

    def __bool__(self) -> bool:
        return bool(self._since)

    def _covered_before(self, at: int) -> int:
        """Seconds that the intervals cover before a moment."""
        number = bisect_right(self._since, at)
        return self._before[number] - (max(0, self._until[number - 1] - at) if number else 0)

    def covered_seconds(self, since: int, until: int) -> int:
        """Seconds from `since` to `until` that the intervals cover."""
        return self._covered_before(until) - self._covered_before(since) if until > since else 0

    def intersection(self, other: Intervals) -> Intervals:
        """The time that both cover."""
        mine, theirs, found = list(self), list(other), []
        i = j = 0
        while i < len(mine) and j < len(theirs):
            since, until = max(mine[i][0], theirs[j][0]), min(mine[i][1], theirs[j][1])
            if since < until:
                found.append((since, until))
            if mine[i][1] < theirs[j][1]:
                i += 1
            else:
                j += 1
        return Intervals(found)


class Slot(NamedTuple):
    """One bar of a chart: a quarter of an hour, an hour, a day …; `local` is the local time at its
    start."""

    since: int
    until: int
    local: datetime


def midnight_s(day: date, zone: ZoneInfo) -> int:
    """The Unix time at which a local day begins."""
    return round(datetime.combine(day, time(), zone).timestamp())


def first_day_of(unit: str, day: date) -> date:
    """The first day of the week (ISO 8601: Monday), month or year that contains `day`."""
    if unit == "week":
        return day - timedelta(days=day.weekday())
    if unit == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if unit == "year" else day


def shift_day(unit: str, day: date, count: int = 1) -> date:
    """The same day `count` days, weeks, months or years later; 29 February becomes the 28th.

    Raises `OverflowError` or `ValueError` beyond the range of `date`.
    """
    if unit in ("month", "year"):
        months = day.year * 12 + day.month - 1 + count * (12 if unit == "year" else 1)
        first = date(months // 12, months % 12 + 1, 1)
        last = (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
        return first.replace(day=min(day.day, last.day))
    return day + timedelta(days=count * (7 if unit == "week" else 1))


def slots_between(unit: str, since: date, until: date, zone: ZoneInfo) -> list[Slot]:
    """The slots of the days from `since` to before `until`; the first and last week, month or year may be
    partial. When daylight saving time ends an hour comes twice; when it begins one is missing."""
    last = midnight_s(until, zone)
    if unit in ("quarter", "hour"):
        starts = [
            (at, datetime.fromtimestamp(at, zone)) for at in range(midnight_s(since, zone), last, QUARTER_S)
        ]
        if unit == "hour":
            starts = [*starts[:1], *(start for start in starts[1:] if not start[1].minute)]
    else:
        days = [since]
        while (following := shift_day(unit, first_day_of(unit, days[-1]))) < until:
            days.append(following)
        starts = [(midnight_s(day, zone), datetime.combine(day, time(), zone)) for day in days]
    ends = [*(at for at, _ in starts[1:]), last]
    # In Samoa there was no 30 December 2011.
    return [Slot(at, end, local) for (at, local), end in zip(starts, ends, strict=False) if at < end]


def opening_intervals(hours: WeeklyHours, since: date, until: date, zone: ZoneInfo) -> Intervals:
    """The published opening hours of the days from `since` to before `until`."""
    return Intervals(
        (_minute_of_day_s(day, first, zone), _minute_of_day_s(day, last, zone))
        for day in days_between(since, until)
        for first, last in hours.spans_on(day)
    )


def days_between(since: date, until: date) -> list[date]:
    return [since + timedelta(days=n) for n in range((until - since).days)]


def _minute_of_day_s(day: date, minute: int, zone: ZoneInfo) -> int:
    """The Unix time of a minute of a local day; from 1440 on it belongs to the next day."""
    day += timedelta(days=minute // 1440)
    return round(datetime.combine(day, time(minute // 60 % 24, minute % 60), zone).timestamp())
