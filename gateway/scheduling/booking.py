"""One booking, and what becomes of it."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class BookingState(StrEnum):
    """The state of a booking."""

    BOOKED = "booked"
    WAITING = "waiting"
    """It is booked when the time becomes free before it begins."""
    PRESENT = "present"
    """Checked in."""
    ENDED = "ended"
    NO_SHOW = "no-show"
    CANCELLED = "cancelled"
    LAPSED = "lapsed"
    """The time never became free."""


HOLDING = frozenset({BookingState.BOOKED, BookingState.PRESENT})
"""The states in which nobody else can have the time."""
COUNTED = HOLDING | {BookingState.ENDED, BookingState.NO_SHOW}
"""The states that count towards a quota."""


class Booking(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A resource from `since` up to, but not including, `until`; Unix time in milliseconds."""

    resource: str
    since: int
    until: int
    person: str = ""
    """For whom: a key that means nothing to others. Without one, no quota applies."""
    state: BookingState = BookingState.BOOKED
    made: int = 0
    """When it was asked for: whoever waits longest comes first."""
    left: int | None = None
    """When whoever was there left, if that is known."""

    @property
    def counted_until(self) -> int:
        """The end of the time that counts towards a quota: less if they left early."""
        return self.until if self.left is None else min(self.until, max(self.since, self.left))
