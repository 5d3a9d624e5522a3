"""Recurrence rules of iCalendar (RFC 5545, 3.3.10) by days; what recurs within a day is not read. Pure."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import count, islice
from typing import NamedTuple

WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
MAX_DAYS = 1_000_000
"""Days that are looked at for all rules of a calendar."""
LAST_YEAR = 2200
_LONGEST_PERIOD_DAYS = {"DAILY": 1, "WEEKLY": 7, "MONTHLY": 31, "YEARLY": 366}
_SHORTEST_PERIOD_DAYS = {"DAILY": 1, "WEEKLY": 7, "MONTHLY": 28, "YEARLY": 365}
_WEEKDAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_READ = frozenset("FREQ INTERVAL COUNT UNTIL BYDAY BYMONTHDAY BYMONTH BYSETPOS WKST".split())  # noqa: SIM905


class RuleUnread(ValueError):
    """A rule is wrong, or of a kind that is not read."""


class RecurrenceRule(NamedTuple):
    """A rule. `days`: ordinal within the month, or 0, and weekday from Monday = 0."""

    frequency: str
    interval: int
    times: int | None
    """How often, the start counted; None: until the end."""
    until: str
    days: tuple[tuple[int, int], ...]
    month_days: tuple[int, ...]
    months: tuple[int, ...]
    positions: tuple[int, ...]
    week_start: int


def parse_rule(text: str) -> RecurrenceRule:
    """Raises `RuleUnread`."""
    parts: dict[str, str] = {}
    for part in text.strip().upper().split(";"):
        name, is_given, value = part.partition("=")
        if not is_given or name not in _READ or name in parts:
            raise RuleUnread(part)
        parts[name] = value
    frequency = parts.get("FREQ", "")
    try:
        days = tuple(_weekday(each) for each in parts["BYDAY"].split(",")) if "BYDAY" in parts else ()
        month_days, months, positions = (
            _numbers(parts, name) for name in ("BYMONTHDAY", "BYMONTH", "BYSETPOS")
        )
        rule = RecurrenceRule(
            frequency=frequency,
            interval=int(parts.get("INTERVAL", "1")),
            times=int(parts["COUNT"]) if "COUNT" in parts else None,
            until=parts.get("UNTIL", ""),
            days=days,
            month_days=month_days,
            months=months,
            positions=positions,
            week_start=WEEKDAYS.index(parts.get("WKST", "MO")),
        )
    except ValueError as error:
        raise RuleUnread(text) from error
    has_ordinals = any(ordinal for ordinal, _ in days)
    is_read = (
        frequency in {"DAILY", "WEEKLY", "MONTHLY", "YEARLY"}
        and rule.interval > 0
        and (rule.times is None or rule.times > 0)
        and all(0 < abs(each) <= 31 for each in rule.month_days)
        and all(0 < each <= 12 for each in rule.months)
        and 0 not in rule.positions
        and (not has_ordinals or frequency == "MONTHLY" or (frequency == "YEARLY" and rule.months))
        and not (frequency == "WEEKLY" and rule.month_days)
        # Without a month these are days of the year.
        and not (frequency == "YEARLY" and (days or rule.month_days) and not rule.months)
    )
    if not is_read:
        raise RuleUnread(text)
    return rule


def _weekday(text: str) -> tuple[int, int]:
    found = _WEEKDAY.fullmatch(text.strip())
    if found is None:
        raise RuleUnread(text)
    return int(found[1] or 0), WEEKDAYS.index(found[2])


def _numbers(parts: dict[str, str], name: str) -> tuple[int, ...]:
    return tuple(int(each) for each in parts[name].split(",")) if name in parts else ()


def occurrences(
    rule: RecurrenceRule, start: datetime, first: datetime, last: datetime, days_left: Iterator[object]
) -> Iterator[datetime]:
    """The start, and when the rule has it recur, in order, in local time without zone, up to `last`
    inclusive; those before `first` may be left out. Each day that is looked at is taken from `days_left`.
    Raises `RuleUnread` when there are none left."""
    yield start
    number = 1
    for period in count(0 if rule.times else _first_period(rule, start.date(), first.date())):
        if next(islice(days_left, _LONGEST_PERIOD_DAYS[rule.frequency] - 1, None), None) is None:
            raise RuleUnread(rule.frequency)
        days = _period(rule, start.date(), period)
        if days is None:
            return
        for day in days:
            at = datetime.combine(day, start.time())
            if at <= start:
                continue
            if at > last or (rule.times is not None and number >= rule.times):
                return
            number += 1
            yield at
        if not days and _period_begins_after(rule, start.date(), period, last.date()):
            return


def _first_period(rule: RecurrenceRule, start: date, first: date) -> int:
    """A period that does not begin after `first`."""
    return max(0, (first - start).days // (_LONGEST_PERIOD_DAYS[rule.frequency] * rule.interval) - 1)


def _period_begins_after(rule: RecurrenceRule, start: date, number: int, last: date) -> bool:
    return number * rule.interval * _SHORTEST_PERIOD_DAYS[rule.frequency] > (last - start).days + 31


def _period(rule: RecurrenceRule, start: date, number: int) -> list[date] | None:
    """The days of one period of the rule, in order; None after the last year."""
    steps = number * rule.interval
    if rule.frequency == "DAILY":
        if (start.year - 1) * 365 + steps > LAST_YEAR * 366:
            return None
        day = start + timedelta(days=steps)
        days = [day] if _admits_day(rule, day) and _admits_month_day(rule, day) else []
    elif rule.frequency == "WEEKLY":
        if start.year + steps // 52 > LAST_YEAR:
            return None
        first = start - timedelta(days=(start.weekday() - rule.week_start) % 7) + timedelta(weeks=steps)
        wanted = {weekday for _, weekday in rule.days} or {start.weekday()}
        week = (first + timedelta(days=each) for each in range(7))
        days = [day for day in week if day.weekday() in wanted]
    elif rule.frequency == "MONTHLY":
        year, month = divmod(start.year * 12 + start.month - 1 + steps, 12)
        if year > LAST_YEAR:
            return None
        days = _days_of_month(rule, year, month + 1, start.day)
    else:
        if start.year + steps > LAST_YEAR:
            return None
        months = sorted(rule.months) or [start.month]
        days = [
            day for month in months for day in _days_of_month(rule, start.year + steps, month, start.day)
        ]
    days = [day for day in days if not rule.months or day.month in rule.months]
    if not rule.positions:
        return days
    return sorted(
        {days[each - 1 if each > 0 else each] for each in rule.positions if abs(each) <= len(days)}
    )


def _days_of_month(rule: RecurrenceRule, year: int, month: int, usual: int) -> list[date]:
    length = calendar.monthrange(year, month)[1]
    whole = [date(year, month, day) for day in range(1, length + 1)]
    if not rule.days and not rule.month_days:
        return [day for day in whole if day.day == usual]
    return [day for day in whole if _admits_day(rule, day) and _admits_month_day(rule, day)]


def _admits_day(rule: RecurrenceRule, day: date) -> bool:
    length = calendar.monthrange(day.year, day.month)[1]
    forward, backward = (day.day - 1) // 7 + 1, -((length - day.day) // 7 + 1)
    return not rule.days or any(
        day.weekday() == weekday and ordinal in {0, forward, backward} for ordinal, weekday in rule.days
    )


def _admits_month_day(rule: RecurrenceRule, day: date) -> bool:
    length = calendar.monthrange(day.year, day.month)[1]
    return not rule.month_days or not {day.day, day.day - length - 1}.isdisjoint(rule.month_days)
