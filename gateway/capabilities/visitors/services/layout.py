"""The layout of the centre: rooms, and the doors between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from gateway.model import Device
from gateway.scheduling import Resource

from .counters import counts_visitors

OUTSIDE, CENTRE = "outside", "centre"
"""What else than a room may be at a side of a door: the street, or the centre's halls and corridors."""


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """`[room.…]`: with more than `limit` people inside it is crowded."""

    title: dict[str, str]
    limit: int | None = None
    resource: Resource = Resource(kind="room")
    """By which rules it is booked."""


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """`[door.…]`: the first trustworthy one of its `counters` is active, the others are on standby. `in`
    leads from `outer` to `inner`."""

    title: dict[str, str] = {}
    counters: tuple[str, ...]
    outer: str = OUTSIDE
    inner: str = CENTRE
    configured: bool = True
    """False for the implicit door of a counter that belongs to no configured door."""

    @property
    def is_entrance(self) -> bool:
        """Whether it leads into and out of the centre."""
        return OUTSIDE in (self.outer, self.inner)


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """`[visitors]`, `[room.…]` and `[door.…]`, checked."""

    rooms: Mapping[str, Room] = {}
    doors: Mapping[str, Door] = {}
    limit: int | None = None
    """Maximum number of people in the centre."""
    settle_s: float = 1800.0
    """Time after the published closing in which the last people leave."""
    grace_s: float = 900.0
    """Time before the start of a booking from which on its visitors are counted."""

    def doors_of(self, room: str) -> list[Door]:
        """The doors of a room; those of the centre, whose name is empty, are its entrances."""
        return [
            door
            for door in self.doors.values()
            if (room in (door.outer, door.inner) if room else door.is_entrance)
        ]

    def limits(self) -> Iterator[tuple[str, int]]:
        """Places and their limits; the name of the centre is empty."""
        if self.limit is not None:
            yield "", self.limit
        yield from ((name, room.limit) for name, room in self.rooms.items() if room.limit is not None)


def with_counters(layout: Layout, devices: Iterable[Device]) -> Layout:
    """The layout with an implicit door, from outside into the centre, for each counter without a door."""
    named = {counter for door in layout.doors.values() for counter in door.counters}
    bare = {
        device.name: Door(title=device.title, counters=(device.name,), configured=False)
        for device in devices
        if counts_visitors(device) and device.name not in named
    }
    return msgspec.structs.replace(layout, doors={**bare, **layout.doors})


def reachable(doors: Iterable[Door]) -> set[str]:
    """The places that can be reached from outside."""
    doors = list(doors)
    found = {OUTSIDE}
    while (
        new := {
            side for door in doors for side in (door.outer, door.inner) if found & {door.outer, door.inner}
        }
        - found
    ):
        found |= new
    return found
