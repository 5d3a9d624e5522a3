"""Bookings of activities (活动人员) and visiting groups (参访人员), and their attendance."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.model import Command
from gateway.scheduling import Booking, BookingState

from .layout import Layout
from .occupancy import Flow

ACTIVITY, TOUR = "activity", "tour"
MAX_BOOKINGS = 500
"""Bookings that may exist at one time."""
MAX_DURATION_MS = 86_400_000

MAX_ADVANCE_MS = 400 * 86_400_000
"""How long before its end a booking may be made."""
MAX_EXPECTED = 100_000
MAX_PERSON_LENGTH = 60
MAX_WEEKS = 52
"""Further weeks of a booking that is made for every week."""


class VisitBooking(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="booking",
    omit_defaults=True,
    rename={"reported": "told"},
):
    """One booking; its key is `booking/` and its id. The texts are user input: escape them."""

    title: str
    kind: str
    """`activity` or `tour`."""
    room: str = ""
    """Empty: the centre."""
    door: str = ""
    """Empty: any door."""
    since: int
    """Unix time in milliseconds, as `until`."""
    until: int
    expected: int = 0
    by: str = ""
    flow: Flow = Flow()
    peak: int = 0
    tours: int = 0
    """How many of those who came were counted as members of its group."""
    reported: bool = False
    """It is over, and its attendance has been published."""
    person: str = ""
    """For whom: the name of a group or an institution, whose quota it counts towards."""
    state: BookingState = BookingState.BOOKED
    made: int = 0
    """When it was asked for, Unix time in milliseconds."""
    finished: int | None = None
    """When it was ended before its time."""
    calendar: str = ""
    """The calendar that it was imported from."""

    @property
    def slot(self) -> Booking:
        """What it takes of its room."""
        return Booking(
            resource=self.room,
            since=self.since,
            until=self.until,
            person=self.person,
            state=self.state,
            made=self.made,
            left=self.finished,
        )

    @property
    def is_held(self) -> bool:
        """Whether it is to take place: nobody else has its time."""
        return self.state in (BookingState.BOOKED, BookingState.PRESENT)

    @property
    def is_open(self) -> bool:
        """Whether it is to take place, or waits for that."""
        return not self.reported and (self.is_held or self.state is BookingState.WAITING)

    def body(self) -> dict[str, Any]:
        """The fields of its facts."""
        return {
            "title": self.title, "class": self.kind, "room": self.room, "door": self.door,
            "from": self.since, "until": self.until, "expected": self.expected,
        }  # fmt: skip

    def covers(self, when: int, grace_s: float) -> bool:
        """Whether people who pass at `when` (Unix milliseconds) are counted for it."""
        return self.is_held and self.since - grace_s * 1000 <= when < self.until


def bookings_from_command(command: Command, layout: Layout, zone: ZoneInfo) -> list[VisitBooking]:
    """The bookings that a command asks for: one, and one in each of the `weeks` after it; none if an
    argument is invalid."""
    args = command.args
    title, kind = _text_argument(args, "title"), args.get("class", ACTIVITY)
    room, door = _text_argument(args, "room"), _text_argument(args, "door")
    times, expected, weeks = times_from_command(command), args.get("expected", 0), args.get("weeks", 0)
    if not title or kind not in (ACTIVITY, TOUR) or times is None:
        return []
    if not _is_integer(expected) or not _is_integer(weeks):
        return []
    assert isinstance(expected, int)
    assert isinstance(weeks, int)
    sensible = (
        0 <= expected < MAX_EXPECTED
        and 0 <= weeks <= MAX_WEEKS
        and (not room or room in layout.rooms)
        and (not door or door in layout.doors)
    )
    first = VisitBooking(
        title=title,
        kind=str(kind),
        room=room,
        door=door,
        since=times[0],
        until=times[1],
        expected=expected,
        by=command.by or command.origin,
        person=_text_argument(args, "person")[:MAX_PERSON_LENGTH],
        made=command.at.wall_ms,
        calendar=_text_argument(args, "calendar")[:MAX_PERSON_LENGTH],
    )
    return [_weeks_later(first, number, zone) for number in range(weeks + 1)] if sensible else []


def times_from_command(command: Command) -> tuple[int, int] | None:
    """`from` and `until`; None if they are invalid."""
    since, until, now = command.args.get("from"), command.args.get("until"), command.at.wall_ms
    if not _is_integer(since) or not _is_integer(until):
        return None
    assert isinstance(since, int)
    assert isinstance(until, int)
    is_sensible = since < until <= since + MAX_DURATION_MS and now < until <= now + MAX_ADVANCE_MS
    return (since, until) if is_sensible else None


def _weeks_later(booking: VisitBooking, weeks: int, zone: ZoneInfo) -> VisitBooking:
    """The same at the same local time in a later week."""
    since, until = (
        round((datetime.fromtimestamp(at / 1000, zone) + timedelta(weeks=weeks)).timestamp() * 1000)
        for at in (booking.since, booking.until)
    )
    return msgspec.structs.replace(booking, since=since, until=until)


def with_attendance(booking: VisitBooking, came: int, left: int, group: int) -> VisitBooking:
    """The booking after some more came and left; `group` is how many were counted as its visiting group."""
    flow = booking.flow.plus(came, left, 0)
    peak = max(booking.peak, flow.came - flow.left)
    return msgspec.structs.replace(booking, flow=flow, peak=peak, tours=booking.tours + group)


def _text_argument(args: Mapping[str, object], name: str) -> str:
    value = args.get(name, "")
    return value.strip() if isinstance(value, str) else ""


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
