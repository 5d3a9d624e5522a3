"""Weekly schedules in local time: opening hours, and the hours of a rule."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime

import msgspec

WEEKDAY_KEYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_PER_DAY = 24 * 60
_SPAN_PATTERN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_DAYS_PATTERN = re.compile(rf"({'|'.join(WEEKDAY_KEYS)})(?:-({'|'.join(WEEKDAY_KEYS)}))?")

MinuteSpan = tuple[int, int]
"""Start and end in minutes of the day; the end is exclusive, and above 1440 past midnight."""


class WeeklyHours(msgspec.Struct, frozen=True):
    """Spans of each weekday, Monday first; on the dates in `closed` there are none."""

    week: tuple[tuple[MinuteSpan, ...], ...]
    closed: frozenset[date] = frozenset()

    def __contains__(self, local: datetime) -> bool:
        """Whether a local time is within the spans; a span past midnight belongs to the day it started."""
        minute = local.hour * 60 + local.minute
        today = local.date()
        yesterday = date.fromordinal(today.toordinal() - 1)
        return self._contains_minute(today, minute) or self._contains_minute(
            yesterday, minute + MINUTES_PER_DAY
        )

    def spans_on(self, day: date) -> tuple[MinuteSpan, ...]:
        """The spans that start on a day."""
        return () if day in self.closed else self.week[day.weekday()]

    def _contains_minute(self, day: date, minute: int) -> bool:
        return any(since <= minute < until for since, until in self.spans_on(day))


def parse_span(text: str) -> MinuteSpan:
    """`08:00-21:30`; an end that is not after its beginning is on the next day. Raises `ValueError`."""
    found = _SPAN_PATTERN.fullmatch(text)
    if found is None:
        raise ValueError(text)
    first_hour, first_minute, last_hour, last_minute = map(int, found.groups())
    since, until = first_hour * 60 + first_minute, last_hour * 60 + last_minute
    if until > MINUTES_PER_DAY or since == until:
        raise ValueError(text)
    return since, until if until > since else until + MINUTES_PER_DAY


def parse_days(text: str) -> range:
    """`mon`, `mon-fri`, or `sat-tue` across the end of the week; numbers from 0, to be taken modulo 7."""
    found = _DAYS_PATTERN.fullmatch(text)
    if found is None:
        raise ValueError(text)
    first = WEEKDAY_KEYS.index(found[1])
    last = WEEKDAY_KEYS.index(found[2] or found[1])
    return range(first, (last if last >= first else last + 7) + 1)


def parse_every_day(span: str) -> WeeklyHours:
    """The same span on each day. Raises `ValueError`."""
    return WeeklyHours(((parse_span(span),),) * 7)


def parse_week(days: Mapping[str, str | Iterable[str]], closed: Iterable[str | date] = ()) -> WeeklyHours:
    """Spans by days: `{"mon-fri": "08:00-21:30", "sun": ["09:00-12:00", "14:00-17:00"]}`.

    Raises `ValueError` with the wrong text.
    """
    week: list[list[MinuteSpan]] = [[] for _ in WEEKDAY_KEYS]
    for text, spans in days.items():
        for number in parse_days(text):
            week[number % 7] += map(parse_span, [spans] if isinstance(spans, str) else spans)
    dates = frozenset(day if type(day) is date else date.fromisoformat(str(day)) for day in closed)
    return WeeklyHours(tuple(tuple(sorted(spans)) for spans in week), dates)
