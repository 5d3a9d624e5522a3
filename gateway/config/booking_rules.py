"""The rules by which something is booked: a table of the site file that any capability may have."""

from __future__ import annotations

from datetime import date
from typing import Any, ClassVar

import msgspec

from gateway.base.public_holidays import china_holidays
from gateway.model import Checks
from gateway.model.hours import MinuteSpan, parse_span
from gateway.scheduling import (
    ALWAYS_OPEN,
    NO_HOLIDAYS,
    Opening,
    Quota,
    QuotaPeriod,
    Resource,
)

from .fields import Table
from .reading import TomlReader

MINUTE_MS = 60_000
MINUTES_PER_DAY = 1440
DAY_MS = 86_400_000
HOLIDAY_KEY, MAKEUP_KEY = "holiday", "makeup"


def _is_minutes_of_day(minutes: int | None) -> bool:
    return minutes is None or 0 < minutes <= MINUTES_PER_DAY


class _BookingKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`shortest`, `longest`, `quota` and `grace` in minutes, `ahead` in days."""

    hours: dict[str, Any] = {}
    shortest: int = 1
    longest: int = MINUTES_PER_DAY
    ahead: int = 400
    quota: int | None = None
    per: QuotaPeriod = QuotaPeriod.WEEKLY
    grace: int | None = None

    CHECKS: ClassVar[Checks] = {
        "shortest": (_is_minutes_of_day, "booking-minutes"),
        "longest": (_is_minutes_of_day, "booking-minutes"),
        "grace": (_is_minutes_of_day, "booking-minutes"),
        "ahead": (lambda days: 0 < days <= 400, "booking-ahead"),
        "quota": (
            lambda minutes: minutes is None or 0 < minutes <= 31 * MINUTES_PER_DAY,
            "booking-quota-minutes",
        ),
    }
    STRUCT_CHECKS: ClassVar[Checks] = {
        "longest": (lambda keys: keys.shortest <= keys.longest, "booking-shortest")
    }


def read_booking_rules(
    reader: TomlReader,
    table: Table,
    path: tuple[str, ...],
    kind: str,
) -> Resource | None:
    """The rules in a table; None if it has mistakes, which are reported."""
    keys = reader.build_struct(_BookingKeys, table, path)
    opening = read_opening(reader, keys.hours, (*path, "hours")) if keys else None
    if keys is None or opening is None:
        return None
    return Resource(
        kind=kind,
        opening=opening,
        shortest_ms=keys.shortest * MINUTE_MS,
        longest_ms=keys.longest * MINUTE_MS,
        ahead_ms=keys.ahead * DAY_MS,
        quota=None if keys.quota is None else Quota(keys.quota, keys.per),
        grace_ms=None if keys.grace is None else keys.grace * MINUTE_MS,
    )


def read_opening(reader: TomlReader, table: Table, path: tuple[str, ...]) -> Opening | None:
    """Hours by weekdays as in `[hours]`, for `holiday` and `makeup` days, and for single dates. An empty
    table: always."""
    if not table:
        return ALWAYS_OPEN
    before = len(reader.mistakes)
    own = {key: value for key, value in table.items() if key in (HOLIDAY_KEY, MAKEUP_KEY) or _as_date(key)}
    week = reader.read_week({key: value for key, value in table.items() if key not in own}, path)
    spans = {key: _read_spans(reader, value, (*path, key)) for key, value in own.items()}
    if week is None or len(reader.mistakes) > before:
        return None
    special: dict[date, tuple[MinuteSpan, ...]] = dict.fromkeys(week.closed, ())
    special |= {day: spans[key] for key in spans if (day := _as_date(key))}
    return Opening(
        week=week.week,
        holiday=spans.get(HOLIDAY_KEY),
        makeup=spans.get(MAKEUP_KEY),
        special=special,
        calendar=china_holidays() if {HOLIDAY_KEY, MAKEUP_KEY} & own.keys() else NO_HOLIDAYS,
    )


def _as_date(key: str) -> date | None:
    try:
        return date.fromisoformat(key)
    except ValueError:
        return None


def _read_spans(reader: TomlReader, value: Any, path: tuple[str, ...]) -> tuple[MinuteSpan, ...]:
    try:
        return tuple(sorted(map(parse_span, [value] if isinstance(value, str) else value)))
    except (TypeError, ValueError):
        reader.add_hours_mistake(path, value)
        return ()
