"""When the centre actually opened and closed, derived from passages through its outer doors."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec

from gateway.model import Stamp
from gateway.model.hours import MINUTES_PER_DAY, WeeklyHours

SLOT_MINUTES = 5
SLOTS_PER_DAY = MINUTES_PER_DAY // SLOT_MINUTES
SLOTS_PER_HOUR = 12
"""The centre counts as open from the start of an hour that is busy enough."""
MIN_PEOPLE, MIN_DAY_SHARE = 5, 0.02
"""An hour is busy with so many people or that share of the day's, so that a cleaner in the early morning
does not open the centre …"""
MIN_BUSY_SLOTS = 3
"""… in at least so many slots, so that a delivery does not …"""
MAX_UNCOUNTED_S = 900.0
"""A day on which an outer door was not counted for longer is not covered."""
MAX_SLOTS_TO_NEXT = 3
"""… and if its first people are followed by others within so many slots."""


class Day(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="day",
    omit_defaults=True,
    rename={"uncounted_since": "blind", "uncounted_s": "unseen", "previous_day_report": "ended"},
):
    """The current day; its key is `day/`."""

    day: str = ""
    came: bytes = bytes(SLOTS_PER_DAY)
    """How many came into the centre in each slot of five minutes, at most 255."""
    left: bytes = bytes(SLOTS_PER_DAY)
    uncounted_since: Stamp | None = None
    """Since when, in the published hours, an outer door has had no trustworthy counter."""
    uncounted_s: float = 0.0
    """Seconds of the published hours in which an outer door had no trustworthy counter."""
    open: bool = False
    """Whether the centre is open by the published hours, or in the time in which the last people leave."""
    previous_day_report: dict[str, Any] | None = None
    """The report on the day before, until its last periods have arrived."""


def with_coverage(day: Day, is_all_counted: bool, at: Stamp) -> Day:
    """The day after an update on whether every outer door is counted (`is_all_counted`)."""
    if not is_all_counted:
        return day if day.uncounted_since else msgspec.structs.replace(day, uncounted_since=at)
    if day.uncounted_since is None:
        return day
    uncounted_s = day.uncounted_s + at.seconds_since(day.uncounted_since, if_unknown=0.0)
    return msgspec.structs.replace(day, uncounted_since=None, uncounted_s=uncounted_s)


def add_to_slot(minute: int, slots: bytes, people: int) -> bytes:
    """The slots with `people` people added at a minute of the day."""
    if not people:
        return slots
    counts = bytearray(slots)
    counts[minute // SLOT_MINUTES] = min(255, counts[minute // SLOT_MINUTES] + people)
    return bytes(counts)


def observed_opening(came: bytes, left: bytes) -> tuple[int, int] | None:
    """The minutes of the day at which it opened and closed: the start of the first busy hour and the end of
    the last one; None if there was none."""
    counts = [first + last for first, last in zip(came, left, strict=True)]
    opened, closed = _first_busy_slot(counts), _first_busy_slot(counts[::-1])
    if opened is None or closed is None:
        return None
    return opened * SLOT_MINUTES, (SLOTS_PER_DAY - closed) * SLOT_MINUTES


def _first_busy_slot(counts: list[int]) -> int | None:
    enough = max(MIN_PEOPLE, MIN_DAY_SHARE * sum(counts))
    for number, count in enumerate(counts):
        hour = counts[number : number + SLOTS_PER_HOUR]
        busy = sum(hour) >= enough and sum(map(bool, hour)) >= MIN_BUSY_SLOTS
        if count and busy and any(counts[number + 1 : number + 1 + MAX_SLOTS_TO_NEXT]):
            return number
    return None


def opening_report(day: Day, hours: WeeklyHours | None) -> dict[str, Any]:
    """The body of the fact `opening-day`."""
    spans = sorted(hours.spans_on(date.fromisoformat(day.day))) if hours else []
    found = observed_opening(day.came, day.left)
    late = found[0] - spans[0][0] if found and spans else None
    # Opening hours that extend past midnight do not end on this day.
    early = spans[-1][1] - found[1] if found and spans and spans[-1][1] <= MINUTES_PER_DAY else None
    return {
        "day": day.day,
        "published": [[_time_of_day(since), _time_of_day(until)] for since, until in spans],
        "opened": _time_of_day(found[0]) if found else None,
        "closed": _time_of_day(found[1]) if found else None,
        "late": late,
        "early": early,
        "covered": day.uncounted_s < MAX_UNCOUNTED_S,
    }


def _time_of_day(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
