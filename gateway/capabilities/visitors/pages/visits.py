"""What the pages show of visitors: who is where, which doors count, and what is booked. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.capabilities.visitors.services import (
    COUNTER_PREFIX,
    DAY_KEY,
    DOOR_PREFIX,
    PLACE_PREFIX,
    Counter,
    Day,
    Door,
    DoorTally,
    Drift,
    KnownPlace,
    Layout,
    Place,
    VisitBooking,
    is_heard,
    known_place,
)
from gateway.model import Rows, Stamp
from gateway.scheduling import BookingState

MAX_NEXT_BOOKINGS = 12
"""Bookings that the overview and the wall show."""


class DriftRow(msgspec.Struct, frozen=True):
    """The drift at the last closing; `percent` of those who came, None if there were none."""

    at: int
    inside: int
    came: int
    left: int
    unseen: int
    percent: float | None


class PlaceRow(msgspec.Struct, frozen=True):
    """The centre, whose name is empty, or a room; counts are None while they are unknown."""

    name: str
    title: dict[str, str]
    inside: int | None
    came: int | None
    left: int | None
    limit: int | None
    near: bool
    drift: DriftRow | None

    @property
    def full(self) -> bool:
        """Whether more people are inside than its limit."""
        return self.limit is not None and self.inside is not None and self.inside > self.limit


class CounterRow(msgspec.Struct, frozen=True):
    """One of a door's counters; `why` it is not reliable (`unheard`: it has sent nothing since the gateway
    started). Counts are None while they are unknown."""

    title: dict[str, str]
    name: str
    active: bool
    why: str
    came: int | None
    left: int | None


class DoorRow(msgspec.Struct, frozen=True):
    """A door with its counts of today, None while they are unknown, and those of each of its counters."""

    name: str
    title: dict[str, str]
    came: int | None
    left: int | None
    counters: tuple[CounterRow, ...]


class BookingRow(msgspec.Struct, frozen=True):
    """A booking; `since` and `until` in Unix milliseconds. `live`: it is taking place now; `final`: its
    attendance is final."""

    id: str
    title: str
    kind: str
    place: dict[str, str]
    """The title of its room or door; empty for the whole centre."""
    since: int
    until: int
    expected: int
    came: int
    left: int
    peak: int
    by: str
    live: bool
    over: bool
    final: bool
    room: str = ""
    person: str = ""
    state: BookingState = BookingState.BOOKED
    calendar: str = ""
    """The calendar that it was imported from."""
    made: int = 0
    """When it was asked for."""
    earlier: bool = False
    """It was over before this day began, and has been reported."""

    @property
    def takes_place(self) -> bool:
        """Whether its time is, or was, nobody else's."""
        return self.state in (BookingState.BOOKED, BookingState.PRESENT, BookingState.ENDED)

    @property
    def can_change(self) -> bool:
        """Whether it can still be cancelled."""
        return not self.over and self.state in (
            BookingState.BOOKED,
            BookingState.PRESENT,
            BookingState.WAITING,
        )


class Visits(msgspec.Struct, frozen=True):
    """Today, or the day of the last figures; the centre is first in `places`."""

    day: str = ""
    places: tuple[PlaceRow, ...] = ()
    tours: int = 0
    doors: tuple[DoorRow, ...] = ()
    bookings: tuple[BookingRow, ...] = ()
    rooms: dict[str, dict[str, str]] = {}
    """The titles of the rooms that can be booked."""

    @property
    def rooms_inside(self) -> tuple[PlaceRow, ...]:
        return self.places[1:]

    @property
    def next_bookings(self) -> tuple[BookingRow, ...]:
        """Those that have not ended, the next first."""
        return tuple(booking for booking in self.bookings if not booking.over and booking.takes_place)[
            :MAX_NEXT_BOOKINGS
        ]

    @property
    def listed_bookings(self) -> tuple[BookingRow, ...]:
        """Without those of earlier days, which are kept for quotas."""
        return tuple(booking for booking in self.bookings if not booking.earlier)

    @property
    def full(self) -> int:
        return sum(place.full for place in self.places)

    @property
    def near(self) -> int:
        return sum(place.near and not place.full for place in self.places)


def visits_of(
    rows: Rows,
    layout: Layout,
    titles: Mapping[str, dict[str, str]],
    day: str,
    now: Stamp,
    day_start: int = 0,
) -> Visits:
    """The view of the service's rows. `layout` is complete: each counter has a door; `titles` are those of
    the devices, `day_start` is when the local day began, in Unix milliseconds."""
    today = rows.get(DAY_KEY, Day()).day in ("", day)
    rooms = {name: room.title for name, room in layout.rooms.items()}
    limits = dict(layout.limits())
    places: list[tuple[str, dict[str, str]]] = [("", {}), *rooms.items()]
    return Visits(
        day=day,
        places=tuple(_place(name, title, rows, layout, limits.get(name), today) for name, title in places),
        tours=rows.get(PLACE_PREFIX, Place()).tours if today else 0,
        doors=tuple(_door(name, door, rows, titles, today) for name, door in layout.doors.items()),
        bookings=_bookings(rows, layout, now, day_start),
        rooms=rooms,
    )


def _place(
    name: str, title: dict[str, str], rows: Rows, layout: Layout, limit: int | None, today: bool
) -> PlaceRow:
    """Yesterday's figures are not today's."""
    row: Place = rows.get(PLACE_PREFIX + name, Place())
    known = known_place(rows, layout, name) if today else KnownPlace(None, None, None)
    drift = _drift(row.drift) if row.drift else None
    near = row.near and known.inside is not None
    return PlaceRow(name, title, known.inside, known.came, known.left, limit, near, drift)


def _drift(drift: Drift) -> DriftRow:
    flow = drift.flow
    percent = round(100 * (drift.inside + flow.unseen) / flow.came, 1) if flow.came else None
    return DriftRow(drift.at.wall_ms, drift.inside, flow.came, flow.left, flow.unseen, percent)


def _door(name: str, door: Door, rows: Rows, titles: Mapping[str, dict[str, str]], today: bool) -> DoorRow:
    tally: DoorTally = rows.get(DOOR_PREFIX + name, DoorTally())
    found = []
    for counter in door.counters:
        row: Counter | None = rows.get(COUNTER_PREFIX + counter)
        title = titles.get(counter, {})
        heard = row is not None and row.heard
        why = (row.why if row else None) or ("" if heard else "unheard")
        counts = _counts(row.came, row.left, known=heard and today) if row else (None, None)
        found.append(CounterRow(title, counter, heard and tally.active == counter, why, *counts))
    counts = _counts(tally.came, tally.left, known=is_heard(rows, door) and today)
    return DoorRow(name, door.title, *counts, tuple(found))


def _counts(came: int, left: int, *, known: bool) -> tuple[int | None, int | None]:
    """Nobody counted does not mean that nobody passed, unless the counter is `known` to count."""
    return (came, left) if known or came or left else (None, None)


def _bookings(rows: Rows, layout: Layout, now: Stamp, day_start: int) -> tuple[BookingRow, ...]:
    found = []
    for key, row in rows.items():
        if isinstance(row, VisitBooking):
            place = layout.rooms.get(row.room) or layout.doors.get(row.door)
            found.append(
                BookingRow(
                    id=key,
                    title=row.title,
                    kind=row.kind,
                    place=place.title if place else {},
                    since=row.since,
                    until=row.until,
                    expected=row.expected,
                    came=row.flow.came,
                    left=row.flow.left,
                    peak=row.peak,
                    by=row.by,
                    live=row.covers(now.wall_ms, layout.grace_s),
                    over=now.wall_ms >= row.until,
                    final=row.reported,
                    room=row.room,
                    person=row.person,
                    state=row.state,
                    calendar=row.calendar,
                    made=row.made,
                    earlier=row.reported and row.until <= day_start,
                )
            )
    return tuple(sorted(found, key=lambda row: (row.since, row.title)))
