"""A brute-force oracle: what is open, taken and free, found out minute by minute from the local clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from gateway.scheduling import Booking, BookingState

SHANGHAI = ZoneInfo("Asia/Shanghai")
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def at(text: str, zone: ZoneInfo = SHANGHAI) -> int:
    """Unix milliseconds of a local time."""
    return round(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * 1000


def local(minute: int, zone: ZoneInfo) -> datetime:
    """The local clock at a minute since 1970."""
    return datetime.fromtimestamp(minute * 60, UTC).astimezone(zone).replace(tzinfo=None)


def open_minutes(
    spans: Mapping[date, Iterable[tuple[int, int]]], first: int, last: int, zone: ZoneInfo
) -> set[int]:
    """The minutes since 1970, from `first` up to `last`, at which it is open. `spans`: by local day, in
    minutes.

    The local clock is followed from two days before: a span begins when the clock first shows its start or
    a later time, and ends when it first shows its end or a later one.
    """
    pending = [
        (
            datetime.combine(day, datetime.min.time()) + timedelta(minutes=since),
            datetime.combine(day, datetime.min.time()) + timedelta(minutes=until),
        )
        for day, day_spans in spans.items()
        for since, until in day_spans
    ]
    found: set[int] = set()
    highest = local(first - 3 * 1440, zone)
    for minute in range(first - 3 * 1440, last):
        highest = max(highest, local(minute, zone))
        if minute >= first and any(since <= highest < until for since, until in pending):
            found.add(minute)
    return found


def taken_minutes(bookings: Iterable[Booking], resource: str) -> list[int]:
    """Every minute that a booking holds, as often as it is held."""
    holding = (BookingState.BOOKED, BookingState.PRESENT)
    return [
        minute
        for each in bookings
        if each.resource == resource and each.state in holding
        for minute in range(each.since // MINUTE, each.until // MINUTE)
    ]
