"""Bookings, those of a room by its rules: what is refused, who waits, and who did not come."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

import msgspec

from gateway.model import Command
from gateway.scheduling import Agenda, BookingState, Schedule, booking_error

from . import facts
from .bookings import MAX_BOOKINGS, VisitBooking, booking_from_command
from .layout import Layout
from .transition import BOOKING_PREFIX, VisitorsTransition


class RoomBookings:
    """The bookings of a transition. Those of the whole centre, and of a door, hold nothing."""

    def __init__(self, transition: VisitorsTransition, layout: Layout, zone: ZoneInfo) -> None:
        self._transition = transition
        self._layout = layout
        self._zone = zone
        self._bookings = dict(transition.rows_of_kind(BOOKING_PREFIX, VisitBooking))
        self._agenda = Agenda((key, each.slot) for key, each in self._bookings.items() if each.room)
        self._schedule = Schedule(
            {name: room.resource for name, room in layout.rooms.items()}, self._agenda, zone
        )

    def add(self, command: Command) -> None:
        """`book` {title, class, room, door, from, until, expected, person, wait}. Raises `GatewayError` if
        the room cannot be booked then; with `wait` it is booked once the time has become free."""
        booking = booking_from_command(command, self._layout)
        # An identical booking is a double click.
        if (
            booking is None
            or len(self._bookings) >= MAX_BOOKINGS
            or any(booking.body() == each.body() and each.is_open for each in self._bookings.values())
        ):
            return
        refusal = self._schedule.refusal(booking.slot, command.at.wall_ms) if booking.room else None
        if refusal and refusal.reason == "taken" and command.args.get("wait") is True:
            booking = msgspec.structs.replace(booking, state=BookingState.WAITING)
        elif refusal:
            other = self._bookings.get(refusal.taken_by)
            room = self._layout.rooms[booking.room]
            raise booking_error(refusal, room.resource, self._zone, other.title if other else "")
        number = command.at.wall_ms
        while (key := f"{BOOKING_PREFIX}{number:x}") in self._bookings:
            number += 1
        self._record("waiting" if booking.state is BookingState.WAITING else "made", key, booking)

    def cancel(self, command: Command) -> None:
        """`cancel-booking` {booking}: whoever waits longest for the time has it."""
        key, booking = self._named(command)
        if booking is None or not booking.is_open:
            return
        self._record("cancelled", key, booking, by=command.by or command.origin)
        self._transition.delete_row(key)
        self._agenda.discard(key)
        self.pass_time(command.at.wall_ms, lambda _room: False, only={BookingState.BOOKED})

    def check_in(self, command: Command) -> None:
        """`check-in-booking` {booking}: its people have come."""
        key, booking = self._named(command)
        if booking and (slot := self._schedule.checked_in(booking.slot, command.at.wall_ms)):
            self._record("checked-in", key, msgspec.structs.replace(booking, state=slot.state))

    def finish(self, command: Command) -> None:
        """`end-booking` {booking}: it has ended early, and the rest of its time is free."""
        key, booking = self._named(command)
        now = command.at.wall_ms
        if booking and booking.is_held and booking.since <= now < booking.until:
            finished = msgspec.structs.replace(booking, state=BookingState.ENDED, finished=now)
            self._record("ended", key, finished, by=command.by or command.origin)
            self.pass_time(now, lambda _room: False, only={BookingState.BOOKED})

    def pass_time(
        self, now: int, attendance_known: Callable[[str], bool], only: set[BookingState] | None = None
    ) -> None:
        """Give the time of who did not come to who waits. `only`: the states that may be reached."""
        names = {
            BookingState.BOOKED: "made",
            BookingState.NO_SHOW: "missed",
            BookingState.LAPSED: "lapsed",
        }
        for key, slot in self._schedule.due(now, attendance_known):
            # A booking that has ended is reported with its attendance.
            booking = self._bookings[key]
            if booking.reported or slot.state not in names or (only and slot.state not in only):
                continue
            self._record(names[slot.state], key, msgspec.structs.replace(booking, state=slot.state))

    def counts_for_quota(self, booking: VisitBooking, now: int) -> bool:
        """Whether a booking that is over must be kept for the quota of whoever had it."""
        return self._schedule.counts_for_quota(booking.slot, now)

    def _named(self, command: Command) -> tuple[str, VisitBooking | None]:
        key = str(command.args.get("booking"))
        booking = self._bookings.get(key)
        return key, None if booking is None or booking.reported else booking

    def _record(self, change: str, key: str, booking: VisitBooking, by: str = "") -> None:
        self._bookings[key] = booking
        if booking.room:
            self._agenda.put(key, booking.slot)
        self._transition.set_row(key, booking)
        at = self._transition.at
        self._transition.facts.append(facts.booking(at, change, key, by or booking.by, booking.body()))
