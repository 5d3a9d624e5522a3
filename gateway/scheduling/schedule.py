"""Answers to what people ask of bookable resources, and what time does to bookings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from gateway.scheduling.agenda import Agenda
from gateway.scheduling.booking import COUNTED, Booking, BookingState
from gateway.scheduling.opening import Interval, instant_of, local_date, without
from gateway.scheduling.resource import DAY_MS, MINUTE_MS, QuotaPeriod, Resource

SEARCH_MS = 14 * DAY_MS
"""How far from the wanted time another one is searched for."""
LOOKAHEAD_MS = 14 * DAY_MS
"""How far ahead it is known until when a resource is free or closed."""


class BookingRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a booking is not possible: `unknown` (no such resource), `backwards` (it ends before it begins),
    `past`, `far`, `short`, `long`, `closed`, `taken` or `quota`."""

    reason: str
    nearest: int | None = None
    """When the same time is free nearest to the wanted one, if it is closed or taken."""
    taken_by: str = ""
    """The key of the booking that is in the way."""


class StatusKind(StrEnum):
    """The state of a resource."""

    FREE = "free"
    CLOSED = "closed"
    BOOKED = "booked"
    """Somebody has it, and has not checked in."""
    IN_USE = "in-use"
    OVERSTAYED = "overstayed"
    """Whoever is there should have left."""


class ResourceStatus(NamedTuple):
    """The state of a resource; None: not in the next `LOOKAHEAD_MS`, or nobody can say."""

    kind: StatusKind
    until: int | None
    key: str = ""
    """Of the booking."""


class Schedule:
    """Resources with their bookings, in a time zone. The caller puts changed bookings into the agenda."""

    def __init__(self, resources: Mapping[str, Resource], agenda: Agenda, zone: ZoneInfo) -> None:
        self._resources = resources
        self._agenda = agenda
        self._zone = zone

    def refusal(self, wanted: Booking, now: int, *, key: str = "") -> BookingRefusal | None:
        """Why a booking is not possible; None if it is. `key`: its own, if it waits or is moved."""
        resource = self._resources.get(wanted.resource)
        if resource is None:
            return BookingRefusal(reason="unknown")
        length = wanted.until - wanted.since
        wrong = {
            "backwards": length <= 0,
            "past": wanted.until <= now,
            "far": wanted.until > now + resource.ahead_ms,
            "short": length < resource.shortest_ms,
            "long": length > resource.longest_ms,
        }
        for reason, applies in wrong.items():
            if applies:
                return BookingRefusal(reason=reason)
        if not self.is_open(wanted.resource, wanted.since, wanted.until):
            nearest = self.nearest_free(wanted.resource, wanted.since, length, now)
            return BookingRefusal(reason="closed", nearest=nearest)
        taken_by = self._taken_by(wanted.resource, wanted.since, wanted.until, now, key)
        if taken_by:
            nearest = self.nearest_free(wanted.resource, wanted.since, length, now)
            return BookingRefusal(reason="taken", nearest=nearest, taken_by=taken_by)
        return BookingRefusal(reason="quota") if self._exceeds_quota(resource, wanted, key) else None

    def is_open(self, resource: str, since: int, until: int) -> bool:
        """Whether it is open all that time."""
        opening = self._resources[resource].opening
        return opening.intervals(since, until, self._zone) == [Interval(since, until)]

    def is_free(self, resource: str, since: int, until: int, now: int) -> bool:
        """Whether it is open, and nobody else's, all that time."""
        return not self._taken_by(resource, since, until, now) and self.is_open(resource, since, until)

    def free(self, since: int, until: int, now: int, kind: str | None = None) -> list[str]:
        """The resources (of a kind) that are free all that time."""
        return [
            name
            for name, resource in self._resources.items()
            if kind in (None, resource.kind) and self.is_free(name, since, until, now)
        ]

    def free_times(self, resource: str, since: int, until: int, now: int) -> list[Interval]:
        """When it is free between two times."""
        held = [Interval(each.since, each.until) for _, each in self._held(resource, since, until, now)]
        return without(self._resources[resource].opening.intervals(since, until, self._zone), held)

    def nearest_free(self, resource: str, since: int, length: int, now: int) -> int | None:
        """The start nearest to `since`, not before `now`, from which it is free for `length`; of two that
        are as near, the earlier one. Searched within `SEARCH_MS`."""
        first = max(since - SEARCH_MS, -(-now // MINUTE_MS) * MINUTE_MS)
        starts = [
            min(max(since, each.since), each.until - length)
            for each in self.free_times(resource, first, since + SEARCH_MS + length, now)
            if each.until - each.since >= length
        ]
        return min(starts, key=lambda start: (abs(start - since), start), default=None)

    def status(self, resource: str, now: int) -> ResourceStatus:
        """Its state, and until when it lasts."""
        for key, booking in self._agenda.present(resource):
            if self._overstays(booking, now):
                return ResourceStatus(StatusKind.OVERSTAYED, None, key)
            if now < booking.until:
                return ResourceStatus(StatusKind.IN_USE, booking.until, key)
        for key, booking in self._agenda.held(resource, now, now + 1):
            return ResourceStatus(StatusKind.BOOKED, booking.until, key)
        opened = self._next_opening(resource, now)
        if opened is None or opened.since > now:
            return ResourceStatus(StatusKind.CLOSED, opened.since if opened else None)
        taken = self._agenda.next_held(resource, now)
        end = opened.until if taken is None else min(opened.until, taken)
        return ResourceStatus(StatusKind.FREE, end if end < now + LOOKAHEAD_MS else None)

    def counts_for_quota(self, booking: Booking, now: int) -> bool:
        """Whether a booking that has ended still counts towards the quota of the present period."""
        resource = self._resources.get(booking.resource)
        if resource is None or resource.quota is None or not booking.person:
            return False
        return booking.until > self._period(local_date(now, self._zone), resource.quota.period).since

    def due(
        self, now: int, attendance_known: Callable[[str], bool] = lambda _resource: True
    ) -> Iterator[tuple[str, Booking]]:
        """What time has made of bookings: each that changes, with its key. Put each into the agenda before
        the next is asked for. `attendance_known`: whether it is known who has come to a resource."""
        for key, booking in list(self._agenda.items()):
            state = self._state_at(booking, now, attendance_known)
            if state is not booking.state:
                yield key, msgspec.structs.replace(booking, state=state)
        for name in self._resources:
            for key, booking in self._agenda.waiting(name):
                booked = msgspec.structs.replace(booking, state=BookingState.BOOKED)
                if self.refusal(booked, now, key=key) is None:
                    yield key, booked

    def checked_in(self, booking: Booking, now: int) -> Booking | None:
        """The booking when people have arrived; None if that is too early or too late, or it holds
        nothing."""
        resource = self._resources.get(booking.resource)
        early_ms = resource.early_ms if resource else 0
        if booking.state is not BookingState.BOOKED or not booking.since - early_ms <= now < booking.until:
            return None
        return msgspec.structs.replace(booking, state=BookingState.PRESENT)

    def checked_out(self, booking: Booking, now: int) -> Booking | None:
        """The booking when people have left: the rest of its time is free. None if nobody was there."""
        if booking.state is not BookingState.PRESENT:
            return None
        return msgspec.structs.replace(booking, state=BookingState.ENDED, left=now)

    def overstays(self, now: int) -> Iterator[tuple[str, Booking]]:
        """The bookings whose people are still there after the end."""
        for name in self._resources:
            yield from (
                (key, each) for key, each in self._agenda.present(name) if self._overstays(each, now)
            )

    def _overstays(self, booking: Booking, now: int) -> bool:
        resource = self._resources.get(booking.resource)
        return bool(resource and resource.tells_departure and now >= booking.until)

    def _state_at(
        self, booking: Booking, now: int, attendance_known: Callable[[str], bool]
    ) -> BookingState:
        resource = self._resources.get(booking.resource)
        state = booking.state
        if state is BookingState.WAITING and now >= booking.since:
            return BookingState.LAPSED
        if state is BookingState.BOOKED:
            grace_ms = resource.grace_ms if resource and attendance_known(booking.resource) else None
            if grace_ms is not None and now >= min(booking.since + grace_ms, booking.until):
                return BookingState.NO_SHOW
            return BookingState.ENDED if now >= booking.until else state
        if state is BookingState.PRESENT and now >= booking.until:
            return state if self._overstays(booking, now) else BookingState.ENDED
        return state

    def _next_opening(self, resource: str, now: int) -> Interval | None:
        """When it is open now or next, within `LOOKAHEAD_MS`."""
        opening = self._resources[resource].opening
        for ahead_ms in (2 * DAY_MS, LOOKAHEAD_MS):
            found = opening.intervals(now, now + ahead_ms, self._zone)
            if found and found[0].until < now + ahead_ms:
                return found[0]
        return found[0] if found else None

    def _held(self, resource: str, since: int, until: int, now: int) -> Iterator[tuple[str, Booking]]:
        """Those that hold it; people who are there do so now, even before the start or after the end."""
        yield from self._agenda.held(resource, since, until)
        for key, booking in self._agenda.present(resource):
            overstays = self._overstays(booking, now)
            there = Interval(min(booking.since, now), now + 1 if overstays else booking.until)
            if there.since < until and there.until > since:
                yield key, msgspec.structs.replace(booking, since=there.since, until=there.until)

    def _taken_by(self, resource: str, since: int, until: int, now: int, key: str = "") -> str:
        return next((each for each, _ in self._held(resource, since, until, now) if each != key), "")

    def _exceeds_quota(self, resource: Resource, wanted: Booking, key: str) -> bool:
        quota = resource.quota
        if quota is None or not wanted.person:
            return False
        others = [
            booking
            for other, booking in self._agenda.of_person(wanted.person)
            if other != key and booking.state in COUNTED and self._kind(booking) == resource.kind
        ]
        day = local_date(wanted.since, self._zone)
        while (period := self._period(day, quota.period)).since < wanted.until:
            used_ms = sum(_overlap(each, period) for each in (*others, wanted))
            if used_ms > quota.minutes * MINUTE_MS:
                return True
            day = _next_period(day, quota.period)
        return False

    def _kind(self, booking: Booking) -> str | None:
        resource = self._resources.get(booking.resource)
        return resource.kind if resource else None

    def _period(self, day: date, period: QuotaPeriod) -> Interval:
        """The period that a local day is in."""
        first = _first_day(day, period)
        until = _next_period(day, period)
        return Interval(instant_of(first, 0, self._zone), instant_of(until, 0, self._zone))


def _first_day(day: date, period: QuotaPeriod) -> date:
    if period is QuotaPeriod.MONTHLY:
        return day.replace(day=1)
    return day - timedelta(days=day.weekday() if period is QuotaPeriod.WEEKLY else 0)


def _next_period(day: date, period: QuotaPeriod) -> date:
    """The first day of the period after that of a day."""
    first = _first_day(day, period)
    if period is QuotaPeriod.MONTHLY:
        return _first_day(first + timedelta(days=31), period)
    return first + timedelta(days=7 if period is QuotaPeriod.WEEKLY else 1)


def _overlap(booking: Booking, period: Interval) -> int:
    return max(0, min(booking.counted_until, period.until) - max(booking.since, period.since))
