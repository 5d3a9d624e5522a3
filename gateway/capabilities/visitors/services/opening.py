"""When the centre really opened and closed, from who came and went through its outer doors."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec

from gateway.model import Stamp
from gateway.model.hours import MINUTES_PER_DAY, Hours

MINUTES = 5
SLOTS = MINUTES_PER_DAY // MINUTES
WITHIN = 12
"""Slots, an hour in all, in which people must go on coming and going for it to be open."""
SOME, SHARE = 5, 0.02
"""How many of them at least, or what part of the day's, lest a cleaner in the early morning open it …"""
SPREAD = 3
"""… in so many slots, lest a delivery does …"""
BLIND = 900.0
"""Seconds in which an outer door may go unseen without the day being in doubt."""
SOON = 3
"""… and the first of them followed by others within so many slots."""


class Day(msgspec.Struct, frozen=True, kw_only=True, tag="day", omit_defaults=True):
    """The present day; its key is `day/`."""

    day: str = ""
    came: bytes = bytes(SLOTS)
    """How many came into the centre in each five minutes, 255 at most."""
    left: bytes = bytes(SLOTS)
    blind: Stamp | None = None
    """Since when, in the published hours, an outer door has no counter that can be trusted."""
    unseen: float = 0.0
    """Seconds in all for which that was so."""
    open: bool = False
    """Whether the published hours say so, or say that the last people are leaving."""
    ended: dict[str, Any] | None = None
    """What will be told of the day before, once the counters have had their last word on it."""


def watched(day: Day, seen: bool, at: Stamp) -> Day:
    """The day, with whether every outer door is seen now."""
    if not seen:
        return day if day.blind else msgspec.structs.replace(day, blind=at)
    if day.blind is None:
        return day
    unseen = day.unseen + at.seconds_since(day.blind, unknown=0.0)
    return msgspec.structs.replace(day, blind=None, unseen=unseen)


def slot(minute: int, slots: bytes, more: int) -> bytes:
    """The slots with so many more at a minute of the day."""
    if not more:
        return slots
    counts = bytearray(slots)
    counts[minute // MINUTES] = min(255, counts[minute // MINUTES] + more)
    return bytes(counts)


def derived(came: bytes, left: bytes) -> tuple[int, int] | None:
    """The minutes of the day between which it was open: from where the first hour of many people begins
    to where the last one ends."""
    counts = [first + last for first, last in zip(came, left, strict=True)]
    opened, closed = _first(counts), _first(counts[::-1])
    if opened is None or closed is None:
        return None
    return opened * MINUTES, (SLOTS - closed) * MINUTES


def _first(counts: list[int]) -> int | None:
    enough = max(SOME, SHARE * sum(counts))
    for number, count in enumerate(counts):
        hour = counts[number : number + WITHIN]
        busy = sum(hour) >= enough and sum(map(bool, hour)) >= SPREAD
        if count and busy and any(counts[number + 1 : number + 1 + SOON]):
            return number
    return None


def account(day: Day, hours: Hours | None) -> dict[str, Any]:
    """The body of `opening-day`."""
    spans = sorted(hours.on(date.fromisoformat(day.day))) if hours else []
    found = derived(day.came, day.left)
    late = found[0] - spans[0][0] if found and spans else None
    # What goes on past midnight does not close on this day.
    early = spans[-1][1] - found[1] if found and spans and spans[-1][1] <= MINUTES_PER_DAY else None
    return {
        "day": day.day,
        "published": [[_clock(since), _clock(until)] for since, until in spans],
        "opened": _clock(found[0]) if found else None,
        "closed": _clock(found[1]) if found else None,
        "late": late,
        "early": early,
        "covered": day.unseen < BLIND,
    }


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
