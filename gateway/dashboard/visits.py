"""Of the `View`: who is where, which doors count, and what is booked today. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from gateway.capabilities.visitors.services import (
    COUNTER_PREFIX,
    DAY_KEY,
    DOOR_PREFIX,
    PLACE_PREFIX,
    Booking,
    Counter,
    Day,
    Door,
    DoorTally,
    Drift,
    Layout,
    Place,
)
from gateway.model import Rows, Stamp

from .settings import DeviceCard


class DriftLine(msgspec.Struct, frozen=True):
    """What was amiss at the last closing; `percent` is of who came, None where nobody did."""

    at: int
    inside: int
    came: int
    left: int
    unseen: int
    percent: float | None


class PlaceLine(msgspec.Struct, frozen=True):
    """The centre, whose name is empty, or a room."""

    name: str
    title: dict[str, str]
    inside: int
    came: int
    left: int
    limit: int | None
    near: bool
    drift: DriftLine | None

    @property
    def full(self) -> bool:
        """More are inside than it is made for."""
        return self.limit is not None and self.inside > self.limit


class CounterLine(msgspec.Struct, frozen=True):
    """One of a door's counters; `why` it is not to be trusted, `unheard` where it has never spoken."""

    title: dict[str, str]
    name: str
    active: bool
    why: str
    came: int
    left: int


class DoorLine(msgspec.Struct, frozen=True):
    """A door, with what it has counted today and what each of its counters has seen."""

    name: str
    title: dict[str, str]
    came: int
    left: int
    counters: tuple[CounterLine, ...]


class BookingLine(msgspec.Struct, frozen=True):
    """A booking; `since` and `until` in Unix milliseconds. `live`: who passes now comes to it; `told`: its
    attendance is final."""

    id: str
    title: str
    kind: str
    place: dict[str, str]
    """The title of its room or door; nothing for the whole centre."""
    since: int
    until: int
    expected: int
    came: int
    left: int
    peak: int
    by: str
    live: bool
    over: bool
    told: bool


class Visits(msgspec.Struct, frozen=True):
    """The whole of it; `places` begins with the centre."""

    day: str = ""
    places: tuple[PlaceLine, ...] = ()
    tours: int = 0
    doors: tuple[DoorLine, ...] = ()
    bookings: tuple[BookingLine, ...] = ()
    rooms: dict[str, dict[str, str]] = {}
    """The titles of the rooms that can be booked."""

    @property
    def rooms_inside(self) -> tuple[PlaceLine, ...]:
        return self.places[1:]

    @property
    def full(self) -> int:
        return sum(place.full for place in self.places)

    @property
    def near(self) -> int:
        return sum(place.near and not place.full for place in self.places)


def visits(rows: Rows, layout: Layout, cards: Iterable[DeviceCard], day: str, now: Stamp) -> Visits:
    """What the service's rows say. `layout` is complete: each counter has a door."""
    today = rows.get(DAY_KEY, Day()).day in ("", day)
    by_name = {card.name: card for card in cards}
    rooms = {name: room.title for name, room in layout.rooms.items()}
    limits = dict(layout.limits())
    places: list[tuple[str, dict[str, str]]] = [("", {}), *rooms.items()]
    return Visits(
        day=day,
        places=tuple(
            _place(name, title, rows.get(PLACE_PREFIX + name, Place()), limits.get(name), today)
            for name, title in places
        ),
        tours=rows.get(PLACE_PREFIX, Place()).tours if today else 0,
        doors=tuple(_door(name, door, rows, by_name, today) for name, door in layout.doors.items()),
        bookings=_bookings(rows, layout, now),
        rooms=rooms,
    )


def _place(name: str, title: dict[str, str], row: Place, limit: int | None, today: bool) -> PlaceLine:
    """Yesterday's figures are not today's."""
    shown = row if today else Place()
    came, left = shown.today.came, shown.today.left
    drift = _drift(row.drift) if row.drift else None
    return PlaceLine(name, title, shown.inside, came, left, limit, shown.near, drift)


def _drift(drift: Drift) -> DriftLine:
    flow = drift.flow
    percent = round(100 * (drift.inside + flow.unseen) / flow.came, 1) if flow.came else None
    return DriftLine(drift.at.wall, drift.inside, flow.came, flow.left, flow.unseen, percent)


def _door(name: str, door: Door, rows: Rows, cards: Mapping[str, DeviceCard], today: bool) -> DoorLine:
    tally: DoorTally = rows.get(DOOR_PREFIX + name, DoorTally())
    lines = []
    for counter in door.counters:
        row: Counter | None = rows.get(COUNTER_PREFIX + counter)
        title = cards[counter].title if counter in cards else {}
        why = "unheard" if row is None or row.why is None else row.why
        came, left = (row.came, row.left) if row and today else (0, 0)
        lines.append(CounterLine(title, counter, tally.active == counter, why, came, left))
    came, left = (tally.came, tally.left) if today else (0, 0)
    return DoorLine(name, door.title, came, left, tuple(lines))


def _bookings(rows: Rows, layout: Layout, now: Stamp) -> tuple[BookingLine, ...]:
    lines = []
    for key, row in rows.items():
        if isinstance(row, Booking):
            place = layout.rooms.get(row.room) or layout.doors.get(row.door)
            lines.append(
                BookingLine(
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
                    live=row.covers(now.wall, layout.grace_s),
                    over=now.wall >= row.until,
                    told=row.reported,
                )
            )
    return tuple(sorted(lines, key=lambda line: (line.since, line.title)))
