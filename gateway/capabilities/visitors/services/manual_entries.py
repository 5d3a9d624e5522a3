"""What staff enter by hand: visiting groups, and corrected numbers of people inside."""

from __future__ import annotations

from datetime import datetime

import msgspec

from gateway.model import Command

from . import facts
from .layout import Layout
from .occupancy import Place
from .opening_hours import SLOT_MINUTES
from .transition import PLACE_PREFIX, VisitorsTransition

MAX_INSIDE = 99_999
MAX_LOOKBACK_MINUTES = 24 * 60
"""How far back a visiting group may be marked."""


def mark_tour(transition: VisitorsTransition, command: Command, local: datetime | None) -> None:
    """`mark-tour` {count, minutes}: `count` of those who came within the last minutes were a group."""
    count, minutes = (
        _integer_argument(command, "count", 1, MAX_INSIDE),
        _integer_argument(command, "minutes", 1, MAX_LOOKBACK_MINUTES),
    )
    centre = transition.get_row(PLACE_PREFIX, Place())
    if count is None or minutes is None:
        return
    came = centre.today.came
    if local is not None:
        came = min(
            came,
            sum(transition.day.came[max(0, local.hour * 60 + local.minute - minutes) // SLOT_MINUTES :]),
        )
    if count > min(came, centre.today.came - centre.tours):
        return
    transition.set_row(PLACE_PREFIX, msgspec.structs.replace(centre, tours=centre.tours + count))
    span = command.at.wall_ms - minutes * 60_000, command.at.wall_ms
    transition.facts.append(facts.tour_marked(transition.at, count, span, _author(command)))


def correct_inside(transition: VisitorsTransition, command: Command, layout: Layout) -> str | None:
    """`correct-inside` {room, inside}: set the number of people inside. Returns the room, None if
    invalid."""
    room, inside = str(command.args.get("room", "")), _integer_argument(command, "inside", 0, MAX_INSIDE)
    if room not in ("", *layout.rooms) or inside is None:
        return None
    place = transition.get_row(PLACE_PREFIX + room, Place())
    transition.set_row(PLACE_PREFIX + room, msgspec.structs.replace(place, inside=inside, presumed_left=0))
    transition.facts.append(
        facts.visitor_corrected(transition.at, room, place.inside, inside, _author(command))
    )
    return room


def _author(command: Command) -> str:
    return command.by or command.origin


def _integer_argument(command: Command, name: str, minimum: int, maximum: int) -> int | None:
    value = command.args.get(name)
    fits = isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum
    return value if fits and isinstance(value, int) else None
