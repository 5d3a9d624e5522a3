"""What a click may ask for: what all wishes have in common, and those that concern visitors."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.capabilities.visitors.services import ACTIVITY, TOUR

from .visits import Visits

KEBAB = re.compile("(?<!^)(?=[A-Z])")

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"\S")]
"""What a person has to say; not nothing."""
People = Annotated[int, msgspec.Meta(ge=0, le=99_999)]


class Wish(msgspec.Struct, frozen=True, tag_field="action", tag=lambda name: KEBAB.sub("-", name).lower()):
    """What a click may ask for, named as the command that it becomes; its fields are the arguments."""


class VisitsWish(Wish, frozen=True):
    """It concerns visitors."""

    def sensible(self, visits: Visits) -> bool:
        """Whether what it names is there."""
        return True

    def arguments(self, _zone: ZoneInfo) -> dict[str, Any]:
        """Those of the command."""
        return msgspec.structs.asdict(self)


class Book(VisitsWish, frozen=True, rename={"since": "from", "kind": "class"}):
    """An activity or a visiting group is to come, at that time of the site's; an end that is not after the
    beginning is on the next day."""

    title: Text
    kind: str
    day: str
    since: str
    until: str
    room: str = ""
    expected: People = 0

    def sensible(self, visits: Visits) -> bool:
        try:
            self._times()
        except (ValueError, OverflowError):
            return False
        return self.kind in (ACTIVITY, TOUR) and self.room in ("", *visits.rooms)

    def arguments(self, zone: ZoneInfo) -> dict[str, Any]:
        since, until = (round(each.replace(tzinfo=zone).timestamp() * 1000) for each in self._times())
        return {
            "title": self.title, "class": self.kind, "room": self.room, "from": since, "until": until,
            "expected": self.expected,
        }  # fmt: skip

    def _times(self) -> tuple[datetime, datetime]:
        """Raises `ValueError`, or `OverflowError` at the end of time."""
        day = date.fromisoformat(self.day)
        since, until = (
            datetime.combine(day, time.fromisoformat(each).replace(tzinfo=None))
            for each in (self.since, self.until)
        )
        return since, until if until > since else until + timedelta(days=1)


class CancelBooking(VisitsWish, frozen=True):
    """It is not to be, after all."""

    booking: str

    def sensible(self, visits: Visits) -> bool:
        return any(line.id == self.booking for line in visits.bookings)


class MarkTour(VisitsWish, frozen=True):
    """So many of those who came within the last minutes were a visiting group."""

    count: Annotated[int, msgspec.Meta(ge=1, le=99_999)]
    minutes: Annotated[int, msgspec.Meta(ge=1, le=1440)]


class CorrectInside(VisitsWish, frozen=True):
    """Somebody has counted the people in a room, or in the whole centre."""

    inside: People
    room: str = ""

    def sensible(self, visits: Visits) -> bool:
        return self.room in ("", *visits.rooms)
