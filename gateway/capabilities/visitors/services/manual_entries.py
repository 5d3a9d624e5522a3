"""What people tell of visitors: bookings, visiting groups, and how many they have counted."""

from __future__ import annotations

from datetime import datetime

import msgspec

from gateway.model import Command

from . import facts
from .bookings import MOST, Booking, booked
from .layout import Layout
from .occupancy import Place
from .opening_hours import MINUTES
from .transition import BOOKING, PLACE, Step

MOST_INSIDE = 99_999
BACK = 24 * 60
"""Minutes that somebody may look back to mark a visiting group."""


def book(step: Step, command: Command, layout: Layout) -> None:
    """`book` {title, class, room, door, from, until, expected}."""
    booking, others = booked(command, layout), dict(step.all(BOOKING, Booking))
    # One that is there already: somebody has clicked twice.
    if (
        booking is None
        or len(others) >= MOST
        or any(booking.body() == each.body() for each in others.values())
    ):
        return
    number = command.at.wall
    while (key := f"{BOOKING}{number:x}") in others:
        number += 1
    step.put(key, booking)
    step.facts.append(facts.booking(step.at, "made", key, booking.by, booking.body()))


def cancel(step: Step, command: Command) -> None:
    """`cancel-booking` {booking}."""
    key = str(command.args.get("booking"))
    booking = dict(step.all(BOOKING, Booking)).get(key)
    if booking is not None and not booking.told:
        step.facts.append(facts.booking(step.at, "cancelled", key, _by(command), booking.body()))
        step.drop(key)


def mark(step: Step, command: Command, local: datetime | None) -> None:
    """`mark-tour` {count, minutes}: of those who came within the last minutes, so many were a group."""
    count, minutes = _within(command, "count", 1, MOST_INSIDE), _within(command, "minutes", 1, BACK)
    centre = step.get(PLACE, Place())
    if count is None or minutes is None:
        return
    came = centre.today.came
    if local is not None:
        came = min(came, sum(step.day.came[max(0, local.hour * 60 + local.minute - minutes) // MINUTES :]))
    if count > min(came, centre.today.came - centre.tours):
        return
    step.put(PLACE, msgspec.structs.replace(centre, tours=centre.tours + count))
    span = command.at.wall - minutes * 60_000, command.at.wall
    step.facts.append(facts.tour_marked(step.at, count, span, _by(command)))


def correct(step: Step, command: Command, layout: Layout) -> str | None:
    """`correct-inside` {room, inside}: somebody has counted the people there. The room, if it was one."""
    room, inside = str(command.args.get("room", "")), _within(command, "inside", 0, MOST_INSIDE)
    if room not in ("", *layout.rooms) or inside is None:
        return None
    place = step.get(PLACE + room, Place())
    step.put(PLACE + room, msgspec.structs.replace(place, inside=inside, gone=0))
    step.facts.append(facts.corrected(step.at, room, place.inside, inside, _by(command)))
    return room


def _by(command: Command) -> str:
    return command.by or command.origin


def _within(command: Command, name: str, least: int, most: int) -> int | None:
    value = command.args.get(name)
    fits = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    return value if fits and isinstance(value, int) else None
