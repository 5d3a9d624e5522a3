"""What is known of the people in a place: nothing before its doors have been heard."""

from __future__ import annotations

from typing import NamedTuple

from gateway.model import Rows

from .counters import Counter
from .layout import Door, Layout
from .occupancy import Place
from .transition import COUNTER_PREFIX, PLACE_PREFIX


class KnownPlace(NamedTuple):
    """The people in a place now, and those who came and left today; None while unknown."""

    inside: int | None
    came: int | None
    left: int | None


def is_heard(rows: Rows, door: Door) -> bool:
    """Whether one of the door's counters has been heard since the gateway started."""
    counters: list[Counter | None] = [rows.get(COUNTER_PREFIX + name) for name in door.counters]
    return any(counter is not None and counter.heard for counter in counters)


def known_place(rows: Rows, layout: Layout, room: str) -> KnownPlace:
    """What is known of a room, or of the centre if `room` is empty. People may have passed a door that has
    not been heard, so how many are inside is unknown; those who were counted today have come and left all
    the same, but nobody counted does not mean that nobody came."""
    place: Place = rows.get(PLACE_PREFIX + room, Place())
    came, left = place.today.came, place.today.left
    doors = layout.doors_of(room)
    if doors and all(is_heard(rows, door) for door in doors):
        return KnownPlace(place.inside, came, left)
    return KnownPlace(None, came, left) if came or left else KnownPlace(None, None, None)
