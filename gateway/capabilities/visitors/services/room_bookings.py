"""Bookings, those of a room by its rules: what is refused, who waits, and who did not come."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from gateway.model import Command, GatewayError, sentence
from gateway.scheduling import Agenda, BookingRefusal, BookingState, Schedule, booking_error

from . import facts
from .bookings import MAX_BOOKINGS, VisitBooking, bookings_from_command, times_from_command
from .layout import Layout
from .transition import BOOKING_PREFIX, VisitorsTransition

MAX_NAMED = 20
"""Times that cannot be booked and are named; the others are counted."""


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
        """`book` {title, class, room, door, from, until, weeks, expected, person, wait, skip, calendar}:
        once, or every week. Raises `GatewayError` if the room cannot be booked then; with `wait` it is
        booked once the time has become free, with `skip` the other weeks are booked. What is from a
        `calendar` holds the room whatever its rules."""
        # An identical booking is a double click.
        known = [each.body() for each in self._bookings.values() if each.is_open]
        asked = bookings_from_command(command, self._layout, self._zone)
        wanted = [each for each in asked if each.body() not in known]
        if wanted and len(self._bookings) + len(wanted) > MAX_BOOKINGS:
            raise GatewayError("bookings-many", most=MAX_BOOKINGS)
        refused: list[tuple[VisitBooking, GatewayError]] = []
        for booking in wanted:
            refusal = self._refusal(booking, command.at.wall_ms)
            if refusal and refusal.reason == "taken" and command.args.get("wait") is True:
                waiting = msgspec.structs.replace(booking, state=BookingState.WAITING)
                self._record("waiting", self._new_key(command), waiting)
            elif refusal:
                refused.append((booking, self._error(booking, refusal)))
            else:
                self._record("made", self._new_key(command), booking)
        if refused and (len(refused) == len(wanted) or command.args.get("skip") is not True):
            raise refused[0][1] if len(wanted) == 1 else self._series_error(refused, len(wanted))

    def move(self, command: Command) -> None:
        """`move-booking` {booking, room, from, until}: one that has not begun, to another time or room.
        Raises `GatewayError` if the room cannot be booked then."""
        key, booking = self._named(command)
        times, now = times_from_command(command), command.at.wall_ms
        room = command.args.get("room", booking.room if booking else "")
        if (
            booking is None
            or not booking.is_open
            or booking.state is BookingState.PRESENT
            or now >= booking.since
            or times is None
            or not (room in self._layout.rooms or room == booking.room)
        ):
            return
        moved = msgspec.structs.replace(
            booking, room=str(room), since=times[0], until=times[1], state=BookingState.BOOKED
        )
        if moved.body() == booking.body():
            return
        if refusal := self._refusal(moved, now, key):
            raise self._error(moved, refusal)
        self._record("moved", key, moved, by=command.by or command.origin)
        self.pass_time(now, lambda _room: False, only={BookingState.BOOKED})

    def _refusal(self, booking: VisitBooking, now: int, key: str = "") -> BookingRefusal | None:
        if not booking.room:
            return None
        if not booking.calendar:
            return self._schedule.refusal(booking.slot, now, key=key)
        held = (other for other, _ in self._agenda.held(booking.room, booking.since, booking.until))
        others = (other for other in held if self._bookings[other].calendar != booking.calendar)
        taken_by = next(others, "")
        return BookingRefusal(reason="taken", taken_by=taken_by) if taken_by else None

    def _new_key(self, command: Command) -> str:
        number = command.at.wall_ms
        while (key := f"{BOOKING_PREFIX}{number:x}") in self._bookings:
            number += 1
        return key

    def _error(self, booking: VisitBooking, refusal: BookingRefusal) -> GatewayError:
        other = self._bookings.get(refusal.taken_by)
        resource = self._layout.rooms[booking.room].resource
        return booking_error(refusal, resource, self._zone, other.title if other else "")

    def _series_error(self, refused: list[tuple[VisitBooking, GatewayError]], wanted: int) -> GatewayError:
        """Names each time that cannot be booked, and why."""
        each = [
            sentence(
                "booking.refused-time",
                when=f"{datetime.fromtimestamp(booking.since / 1000, self._zone):%Y-%m-%d %H:%M}",
                why=sentence(f"error.{error.key}", **error.facts),
            )
            for booking, error in refused[:MAX_NAMED]
        ]
        if more := len(refused) - MAX_NAMED if len(refused) > MAX_NAMED else 0:
            each.append(sentence("booking.refused-more", count=more))
        return GatewayError("bookings-refused", count=len(refused), total=wanted, times=each)

    def cancel(self, command: Command) -> None:
        """`cancel-booking` {booking}: whoever waits longest for the time has it."""
        key, booking = self._named(command)
        if booking is None or not booking.is_open:
            return
        self._remove(key, booking, command)
        self.pass_time(command.at.wall_ms, lambda _room: False, only={BookingState.BOOKED})

    def _remove(self, key: str, booking: VisitBooking, command: Command) -> None:
        self._record("cancelled", key, booking, by=command.by or command.origin)
        self._transition.delete_row(key)
        self._agenda.discard(key)
        del self._bookings[key]

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
