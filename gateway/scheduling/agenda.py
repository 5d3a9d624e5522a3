"""The bookings of many resources, found by resource and time."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

from gateway.scheduling.booking import HOLDING, Booking, BookingState


class Agenda:
    """Bookings by key. Those of earlier versions, or of a clock that was wrong, may overlap."""

    def __init__(self, bookings: Iterable[tuple[str, Booking]] = ()) -> None:
        self._bookings: dict[str, Booking] = {}
        self._held: dict[str, list[tuple[int, str]]] = {}
        """By resource: start and key of those that hold it, in order."""
        self._longest: dict[str, int] = {}
        """By resource: no booking of it lasts longer. It is never lowered."""
        self._present: dict[str, set[str]] = {}
        self._waiting: dict[str, list[tuple[int, str]]] = {}
        """By resource: when it was asked for, and key, in order."""
        self._persons: dict[str, set[str]] = {}
        for key, booking in bookings:
            self.put(key, booking)

    def __len__(self) -> int:
        return len(self._bookings)

    def __getitem__(self, key: str) -> Booking:
        return self._bookings[key]

    def __contains__(self, key: object) -> bool:
        return key in self._bookings

    def items(self) -> Iterable[tuple[str, Booking]]:
        """Every booking."""
        return self._bookings.items()

    def put(self, key: str, booking: Booking) -> None:
        """Add a booking, or replace the one with that key."""
        self.discard(key)
        resource = booking.resource
        self._bookings[key] = booking
        if booking.state in HOLDING:
            insort(self._held.setdefault(resource, []), (booking.since, key))
            length = booking.until - booking.since
            self._longest[resource] = max(length, self._longest.get(resource, 0))
        if booking.state is BookingState.PRESENT:
            self._present.setdefault(resource, set()).add(key)
        if booking.state is BookingState.WAITING:
            insort(self._waiting.setdefault(resource, []), (booking.made, key))
        if booking.person:
            self._persons.setdefault(booking.person, set()).add(key)

    def discard(self, key: str) -> None:
        """Remove a booking, if there is one with that key."""
        booking = self._bookings.pop(key, None)
        if booking is None:
            return
        resource = booking.resource
        if booking.state in HOLDING:
            _remove(self._held, resource, (booking.since, key))
        if booking.state is BookingState.WAITING:
            _remove(self._waiting, resource, (booking.made, key))
        for sets, name in ((self._present, resource), (self._persons, booking.person)):
            if name in sets:
                sets[name].discard(key)
                if not sets[name]:
                    del sets[name]

    def held(self, resource: str, since: int, until: int) -> Iterator[tuple[str, Booking]]:
        """Those that hold the resource at some time between the two, in order of their start."""
        order = self._held.get(resource, [])
        first = bisect_left(order, (since - self._longest.get(resource, 0), ""))
        for _, key in order[first : bisect_left(order, (until, ""))]:
            booking = self._bookings[key]
            if booking.until > since:
                yield key, booking

    def next_held(self, resource: str, since: int) -> int | None:
        """When the next booking starts at that time or later."""
        order = self._held.get(resource, [])
        number = bisect_left(order, (since, ""))
        return order[number][0] if number < len(order) else None

    def present(self, resource: str) -> Iterator[tuple[str, Booking]]:
        """Those that are checked in."""
        return ((key, self._bookings[key]) for key in sorted(self._present.get(resource, ())))

    def waiting(self, resource: str) -> list[tuple[str, Booking]]:
        """Those that wait, the longest waiting first."""
        return [(key, self._bookings[key]) for _, key in self._waiting.get(resource, ())]

    def of_person(self, person: str) -> Iterator[tuple[str, Booking]]:
        """All bookings of a person."""
        return ((key, self._bookings[key]) for key in self._persons.get(person, ()))


def _remove(lists: dict[str, list[tuple[int, str]]], name: str, entry: tuple[int, str]) -> None:
    entries = lists[name]
    del entries[bisect_left(entries, entry)]
    if not entries:
        del lists[name]
