"""Requests about visitors."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.capabilities.visitors.services import ACTIVITY, TOUR
from gateway.model import Role
from gateway.web.commands import (
    NO_TARGET,
    CommandRequest,
    NonEmptyText,
    PeopleCount,
    RequestContext,
    Target,
)

from .view import VisitorsView


class Book(
    CommandRequest, frozen=True, rename={"since": "from", "kind": "class", "when_taken": "when-taken"}
):
    """Books an activity or a visiting group, in local time; an end at 00:00 is the end of the day."""

    role = Role.DUTY
    title: NonEmptyText
    kind: str
    day: str
    since: str
    until: str
    room: str = ""
    expected: PeopleCount = 0
    person: str = ""
    when_taken: str = ""
    """`wait`: then it is booked once the time becomes free."""

    def target(self, context: RequestContext) -> Target:
        part: VisitorsView = context.part
        try:
            since, until = self._local_times()
        except (ValueError, OverflowError):
            return NO_TARGET
        if until <= since:
            return Target((), refusal="visits.end-first")
        sensible = self.kind in (ACTIVITY, TOUR) and self.room in ("", *part.visits.rooms)
        return Target() if sensible else NO_TARGET

    def arguments(self, context: RequestContext) -> dict[str, Any]:
        zone = ZoneInfo(context.settings.timezone)
        since, until = (round(each.replace(tzinfo=zone).timestamp() * 1000) for each in self._local_times())
        arguments = {
            "title": self.title, "class": self.kind, "room": self.room, "from": since, "until": until,
            "expected": self.expected,
        }  # fmt: skip
        more = {"person": self.person, "wait": self.when_taken == "wait"}
        return arguments | {key: value for key, value in more.items() if value}

    def _local_times(self) -> tuple[datetime, datetime]:
        """Raises `ValueError`, or `OverflowError` for a date out of range."""
        day = date.fromisoformat(self.day)
        since, until = (
            datetime.combine(day, time.fromisoformat(each).replace(tzinfo=None))
            for each in (self.since, self.until)
        )
        return since, until + timedelta(days=1) if until.time() == time() else until


class _BookingRequest(CommandRequest, frozen=True):
    """A request that concerns a booking."""

    booking: str

    def target(self, context: RequestContext) -> Target:
        part: VisitorsView = context.part
        return Target() if any(row.id == self.booking for row in part.visits.bookings) else NO_TARGET


class CancelBooking(_BookingRequest, frozen=True):
    """Cancels a booking."""

    role = Role.DUTY


class CheckInBooking(_BookingRequest, frozen=True):
    """Its people have come."""

    role = Role.DUTY


class EndBooking(_BookingRequest, frozen=True):
    """It has ended before its time."""

    role = Role.DUTY


class MarkTour(CommandRequest, frozen=True):
    """Marks people who came within the last minutes as a visiting group."""

    role = Role.DUTY
    count: Annotated[int, msgspec.Meta(ge=1, le=99_999)]
    minutes: Annotated[int, msgspec.Meta(ge=1, le=1440)]


class CorrectInside(CommandRequest, frozen=True):
    """Corrects the number of people in a room, or in the whole centre."""

    role = Role.DUTY
    inside: PeopleCount
    room: str = ""

    def target(self, context: RequestContext) -> Target:
        part: VisitorsView = context.part
        return Target() if self.room in ("", *part.visits.rooms) else NO_TARGET
