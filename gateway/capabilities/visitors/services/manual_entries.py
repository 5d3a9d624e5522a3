"""What staff enter by hand: bookings, visiting groups, and corrected numbers of people inside."""

from __future__ import annotations

from datetime import datetime

import msgspec

from gateway.model import Command

from . import facts
from .bookings import MAX_BOOKINGS, VisitBooking, booking_from_command
from .layout import Layout
from .occupancy import Place
from .opening_hours import SLOT_MINUTES
from .transition import BOOKING_PREFIX, PLACE_PREFIX, VisitorsTransition

MAX_INSIDE = 99_999
MAX_LOOKBACK_MINUTES = 24 * 60
"""How far back a visiting group may be marked."""


def add_booking(transition: VisitorsTransition, command: Command, layout: Layout) -> None:
    """`book` {title, class, room, door, from, until, expected}."""
    booking, others = (
        booking_from_command(command, layout),
        dict(transition.rows_of_kind(BOOKING_PREFIX, VisitBooking)),
    )
    # An identical booking is a double click.
    if (
        booking is None
        or len(others) >= MAX_BOOKINGS
        or any(booking.body() == each.body() for each in others.values())
    ):
        return
    number = command.at.wall_ms
    while (key := f"{BOOKING_PREFIX}{number:x}") in others:
        number += 1
    transition.set_row(key, booking)
    transition.facts.append(facts.booking(transition.at, "made", key, booking.by, booking.body()))


def cancel_booking(transition: VisitorsTransition, command: Command) -> None:
    """`cancel-booking` {booking}."""
    key = str(command.args.get("booking"))
    booking = dict(transition.rows_of_kind(BOOKING_PREFIX, VisitBooking)).get(key)
    if booking is not None and not booking.reported:
        transition.facts.append(
            facts.booking(transition.at, "cancelled", key, _author(command), booking.body())
        )
        transition.delete_row(key)


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
