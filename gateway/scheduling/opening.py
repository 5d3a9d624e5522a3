"""When a resource is open: weekly hours, public holidays, and single days that differ."""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from gateway.model.hours import MINUTES_PER_DAY, MinuteSpan
from gateway.scheduling.holidays import NO_HOLIDAYS, DayKind, HolidayCalendar

_ALL_DAY: tuple[MinuteSpan, ...] = ((0, MINUTES_PER_DAY),)
_LONGEST_SPAN_DAYS = 2
"""A span may last until the end of the day after the one on which it starts."""


class Interval(NamedTuple):
    """From `since` up to, but not including, `until`; Unix time in milliseconds."""

    since: int
    until: int


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """Spans in minutes of local days, as in `WeeklyHours`; one past midnight belongs to its first day."""

    week: tuple[tuple[MinuteSpan, ...], ...] = (_ALL_DAY,) * 7
    """Monday first."""
    holiday: tuple[MinuteSpan, ...] | None = None
    """On public holidays; None: as on any such weekday."""
    makeup: tuple[MinuteSpan, ...] | None = None
    """On days of a weekend that are worked; None: as on any such weekday."""
    special: Mapping[date, tuple[MinuteSpan, ...]] = {}
    """On single days, whatever else applies; without spans they are closed."""
    calendar: HolidayCalendar = NO_HOLIDAYS

    def spans_on(self, day: date) -> tuple[MinuteSpan, ...]:
        """The spans that start on a day."""
        if day in self.special:
            return self.special[day]
        by_kind = {DayKind.HOLIDAY: self.holiday, DayKind.MAKEUP: self.makeup}
        spans = by_kind.get(self.calendar.kind_of(day))
        return self.week[day.weekday()] if spans is None else spans

    def is_certain_on(self, day: date) -> bool:
        """Whether the spans of a day can no longer change by holidays that are still to be announced."""
        depends = self.holiday is not None or self.makeup is not None
        return not depends or day in self.special or self.calendar.knows(day)

    def intervals(self, since: int, until: int, zone: ZoneInfo) -> list[Interval]:
        """When it is open between two times, in order; spans that meet, as at midnight, are one."""
        if since >= until:
            return []
        # The day before the first, for what is still open; one more, for zones that skip or repeat one.
        first = local_date(since, zone) - timedelta(days=_LONGEST_SPAN_DAYS)
        days = (local_date(until - 1, zone) - first).days + 1
        return merged(
            Interval(max(since, opened), min(until, closed))
            for day in (first + timedelta(days=number) for number in range(days))
            for opened, closed in (
                (instant_of(day, span[0], zone), instant_of(day, span[1], zone))
                for span in self.spans_on(day)
            )
        )


ALWAYS_OPEN = Opening()


def local_date(at: int, zone: ZoneInfo) -> date:
    """The local date of a time."""
    return datetime.fromtimestamp(at / 1000, zone).date()


@functools.lru_cache(maxsize=4096)
def instant_of(day: date, minute: int, zone: ZoneInfo) -> int:
    """The first time at which the local clock shows that minute of the day (which may be a later day's), or
    a later one: where the clock is set forward past it, the moment at which that happens."""
    wanted = datetime.combine(day, time()) + timedelta(minutes=minute)
    found = round(wanted.replace(tzinfo=zone).timestamp())
    if datetime.fromtimestamp(found, zone).replace(tzinfo=None, fold=0) != wanted:
        # Read with the offset after the change, a time that is skipped is before it.
        after = wanted.replace(tzinfo=zone, fold=1)
        changed = range(round(after.timestamp()), found + 1)
        offset = _offset(found, zone)
        found = changed[bisect_left(changed, True, key=lambda at: _offset(at, zone) == offset)]
    return found * 1000


def _offset(at_s: int, zone: ZoneInfo) -> timedelta:
    offset = datetime.fromtimestamp(at_s, zone).utcoffset()
    assert offset is not None
    return offset


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time in as few intervals as possible, in order; empty ones are left out."""
    found: list[Interval] = []
    for each in sorted(each for each in intervals if each.since < each.until):
        if found and each.since <= found[-1].until:
            found[-1] = Interval(found[-1].since, max(found[-1].until, each.until))
        else:
            found.append(each)
    return found


def without(intervals: Iterable[Interval], taken: Iterable[Interval]) -> list[Interval]:
    """What remains of `intervals`, which are merged, without those that are `taken`, in order."""
    found: list[Interval] = []
    occupied = merged(taken)
    for whole in intervals:
        since = whole.since
        for each in occupied:
            if each.until <= since or each.since >= whole.until:
                continue
            if each.since > since:
                found.append(Interval(since, each.since))
            since = each.until
        if since < whole.until:
            found.append(Interval(since, whole.until))
    return found
