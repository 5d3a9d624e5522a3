"""What can be booked, and by which rules."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from gateway.scheduling.opening import ALWAYS_OPEN, Opening

MINUTE_MS = 60_000
DAY_MS = 86_400_000


class QuotaPeriod(StrEnum):
    """A local period; weeks begin on Monday."""

    DAILY = "day"
    WEEKLY = "week"
    MONTHLY = "month"


class Quota(msgspec.Struct, frozen=True):
    """How long a person may book in a period all resources of a kind together."""

    minutes: int
    period: QuotaPeriod


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A room, a court, a bay, or a thing that is lent."""

    kind: str = ""
    opening: Opening = ALWAYS_OPEN
    shortest_ms: int = MINUTE_MS
    longest_ms: int = DAY_MS
    ahead_ms: int = 400 * DAY_MS
    """How long before its end a booking may be made."""
    quota: Quota | None = None
    early_ms: int = 15 * MINUTE_MS
    """How long before the start people may check in."""
    grace_ms: int | None = None
    """How long after the start a booking is given to others if nobody has checked in; None: never."""
    tells_departure: bool = False
    """Whether it is known when people leave: if so they may overstay, else they are gone at the end."""
