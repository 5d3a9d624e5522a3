"""Bookings: activities (活动人员) and visiting groups (参访人员), and who came to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.model import Command

from .layout import Layout
from .occupancy import Flow

ACTIVITY, TOUR = "activity", "tour"
MOST = 500
"""Bookings at one time."""
LONGEST = 86_400_000
"""Milliseconds a booking may last."""
AHEAD = 400 * 86_400_000
"""Milliseconds before its beginning."""
CROWD = 100_000


class Booking(msgspec.Struct, frozen=True, kw_only=True, tag="booking", omit_defaults=True):
    """One booking; its key is `booking/` and its id. What people wrote is theirs: never trust it."""

    title: str
    kind: str
    """`activity` or `tour`."""
    room: str = ""
    """The centre, where it is empty."""
    door: str = ""
    """Any door, where it is empty."""
    since: int
    """Unix time in milliseconds, as `until`."""
    until: int
    expected: int = 0
    by: str = ""
    flow: Flow = Flow()
    peak: int = 0
    tours: int = 0
    """How many of who came were counted as its group."""
    told: bool = False
    """It is over, and who attended it is written down."""

    def body(self) -> dict[str, Any]:
        """What its facts say of it."""
        return {
            "title": self.title, "class": self.kind, "room": self.room, "door": self.door,
            "from": self.since, "until": self.until, "expected": self.expected,
        }  # fmt: skip

    def during(self, when: int, grace: float) -> bool:
        """Whether who passes then (Unix milliseconds) comes to it."""
        return self.since - grace * 1000 <= when < self.until


def booked(command: Command, layout: Layout) -> Booking | None:
    """A command to book; None if it makes no sense."""
    args = command.args
    title, kind = _text(args, "title"), args.get("class", ACTIVITY)
    room, door = _text(args, "room"), _text(args, "door")
    since, until, expected = args.get("from"), args.get("until"), args.get("expected", 0)
    if not title or kind not in (ACTIVITY, TOUR) or not all(map(_integer, (since, until, expected))):
        return None
    assert isinstance(since, int)
    assert isinstance(until, int)
    assert isinstance(expected, int)
    sensible = (
        since < until <= since + LONGEST
        and command.at.wall < until <= command.at.wall + AHEAD
        and 0 <= expected < CROWD
        and (not room or room in layout.rooms)
        and (not door or door in layout.doors)
    )
    by = command.by or command.origin
    return (
        Booking(
            title=title,
            kind=str(kind),
            room=room,
            door=door,
            since=since,
            until=until,
            expected=expected,
            by=by,
        )
        if sensible
        else None
    )


def attended(booking: Booking, came: int, left: int, group: int) -> Booking:
    """Some came to it, and some left it; of those who came into the centre so many were its group."""
    flow = booking.flow.plus(came, left, 0)
    peak = max(booking.peak, flow.came - flow.left)
    return msgspec.structs.replace(booking, flow=flow, peak=peak, tours=booking.tours + group)


def _text(args: Mapping[str, object], name: str) -> str:
    value = args.get(name, "")
    return value.strip() if isinstance(value, str) else ""


def _integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
