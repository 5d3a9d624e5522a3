"""Requests about visitors."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.capabilities.visitors.services import ACTIVITY, MAX_WEEKS, TOUR
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


class _TimedRequest(CommandRequest, frozen=True, rename={"since": "from"}):
    """A request with a time of one local day; an end at 00:00 is the end of the day."""

    day: str
    since: str
    until: str

    def times_target(self) -> Target:
        """`NO_TARGET`, or a refusal, if the times are none."""
        try:
            since, until = self.local_times()
        except (ValueError, OverflowError):
            return NO_TARGET
        return Target((), refusal="visits.end-first") if until <= since else Target()

    def times_ms(self, context: RequestContext) -> dict[str, int]:
        """As arguments of the command."""
        zone = ZoneInfo(context.settings.timezone)
        since, until = (round(each.replace(tzinfo=zone).timestamp() * 1000) for each in self.local_times())
        return {"from": since, "until": until}

    def local_times(self) -> tuple[datetime, datetime]:
        """Raises `ValueError`, or `OverflowError` for a date out of range."""
        day = date.fromisoformat(self.day)
        since, until = (
            datetime.combine(day, time.fromisoformat(each).replace(tzinfo=None))
            for each in (self.since, self.until)
        )
        return since, until + timedelta(days=1) if until.time() == time() else until


class Book(
    _TimedRequest,
    frozen=True,
    rename={
        "kind": "class", "when_taken": "when-taken", "weekly_until": "weekly-until",
    },
):  # fmt: skip
    """Books an activity or a visiting group, once or every week."""

    role = Role.DUTY
    title: NonEmptyText
    kind: str
    room: str = ""
    expected: PeopleCount = 0
    person: str = ""
    when_taken: str = ""
    """`wait`: then it is booked once the time becomes free. `skip`: the other weeks are booked."""
    weekly_until: str = ""
    """The last day of a booking that is made every week."""

    def target(self, context: RequestContext) -> Target:
        part: VisitorsView = context.part
        times = self.times_target()
        if not times.devices:
            return times
        try:
            weeks = self._weeks()
        except ValueError:
            return NO_TARGET
        if not 0 <= weeks <= MAX_WEEKS:
            return Target((), {"most": str(MAX_WEEKS)}, refusal="visits.weeks-wrong")
        sensible = self.kind in (ACTIVITY, TOUR) and self.room in ("", *part.visits.rooms)
        return Target() if sensible else NO_TARGET

    def arguments(self, context: RequestContext) -> dict[str, Any]:
        arguments = {
            "title": self.title, "class": self.kind, "room": self.room, "expected": self.expected,
        } | self.times_ms(context)  # fmt: skip
        more = {
            "person": self.person,
            "wait": self.when_taken == "wait",
            "skip": self.when_taken == "skip",
            "weeks": self._weeks(),
        }
        return arguments | {key: value for key, value in more.items() if value}

    def _weeks(self) -> int:
        """The further weeks. Raises `ValueError`."""
        if not self.weekly_until:
            return 0
        return (date.fromisoformat(self.weekly_until) - date.fromisoformat(self.day)).days // 7


class _BookingRequest(CommandRequest, frozen=True):
    """A request that concerns a booking."""

    booking: str

    def target(self, context: RequestContext) -> Target:
        part: VisitorsView = context.part
        return Target() if any(row.id == self.booking for row in part.visits.bookings) else NO_TARGET


class MoveBooking(_TimedRequest, frozen=True):
    """Moves a booking that has not begun."""

    role = Role.DUTY
    booking: str
    room: str = ""

    def target(self, context: RequestContext) -> Target:
        part: VisitorsView = context.part
        times = self.times_target()
        if not times.devices:
            return times
        moved = next((row for row in part.visits.bookings if row.id == self.booking), None)
        if moved is None or self.room not in ("", *part.visits.rooms):
            return NO_TARGET
        return Target(facts={"title": moved.title})

    def arguments(self, context: RequestContext) -> dict[str, Any]:
        return {"booking": self.booking, "room": self.room, **self.times_ms(context)}


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
