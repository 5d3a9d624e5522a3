"""The centre as visitors walk through it: rooms, and the doors between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from gateway.model import Device

from .counters import counts

OUTSIDE, CENTRE = "outside", "centre"
"""What a door may have at a side beside rooms: the street, and the centre's own halls and corridors."""


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """`[room.…]`. With more than `limit` people inside it is crowded."""

    title: dict[str, str]
    limit: int | None = None


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """`[door.…]`: the first of its `counters` that can be trusted counts, the others stand by. Its `in`
    goes from `outer` to `inner`."""

    title: dict[str, str] = {}
    counters: tuple[str, ...]
    outer: str = OUTSIDE
    inner: str = CENTRE
    told: bool = True
    """Whether it is configured, rather than made up for a counter that belongs to no door."""

    @property
    def entrance(self) -> bool:
        """Whether who passes it comes into the centre, or leaves it."""
        return OUTSIDE in (self.outer, self.inner)


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """`[visitors]`, `[room.…]` and `[door.…]`, checked."""

    rooms: Mapping[str, Room] = {}
    doors: Mapping[str, Door] = {}
    limit: int | None = None
    """Of people in the centre."""
    settle: float = 1800.0
    """Seconds after the published closing, in which the last people leave."""
    grace: float = 900.0
    """Seconds before a booking's beginning, in which its visitors come already."""

    def limits(self) -> Iterator[tuple[str, int]]:
        """The places with a limit; the centre is the empty one."""
        if self.limit is not None:
            yield "", self.limit
        yield from ((name, room.limit) for name, room in self.rooms.items() if room.limit is not None)


def with_counters(layout: Layout, devices: Iterable[Device]) -> Layout:
    """Each counter that belongs to no door is a door from outside into the centre."""
    named = {counter for door in layout.doors.values() for counter in door.counters}
    bare = {
        device.name: Door(title=device.title, counters=(device.name,), told=False)
        for device in devices
        if counts(device) and device.name not in named
    }
    return msgspec.structs.replace(layout, doors={**bare, **layout.doors})


def reachable(doors: Iterable[Door]) -> set[str]:
    """The places somebody from outside can come to."""
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
