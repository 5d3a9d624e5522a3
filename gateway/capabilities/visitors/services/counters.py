"""What a counter says, turned into who has passed since: every counter as the same quantity.

A counter tells running totals (`in`, `out`, and perhaps `time`, when it measured them; see `totals`), or
what passed within a period (see `periods`).
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

import msgspec

from gateway.model import Device, Fact, Point, Sample, Stamp

Pair = tuple[int, int]
"""In and out."""
Span = tuple[int, int]
"""From and until."""

KIND = "door-counter"
SLACK, RATE, FLOW = 20, 3.0, 1.0
"""Through a door in one direction at most RATE people pass a second for a minute, FLOW from then on, and
SLACK more: beyond that the counter lies."""
MINUTE, DAY = 60.0, 86_400.0
AT_ONCE = SLACK + RATE * MINUTE
"""How many are believed without a second reading, however long ago the last one was."""
MOST = 1 << 53
"""No counter counts so far, and no float that far by ones."""
PATH = 48
"""Totals remembered, to know one that comes late."""


class Doubt(msgspec.Struct, frozen=True, array_like=True):
    """Totals that do not follow from the trusted one, but from each other."""

    first: Pair
    last: Pair
    since: Stamp
    at: Stamp
    readings: int = 1
    absurd: bool = False
    """No crowd could have made it."""


class Counter(msgspec.Struct, frozen=True, kw_only=True, tag="counter", omit_defaults=True):
    """One counter; its key is `counter/` and the device's name."""

    at: Stamp
    """Of the last trusted reading that changed it."""
    total: Pair | None = None
    path: tuple[Pair, ...] = ()
    """Where the total stood of late, oldest first; the last is `total`."""
    past: tuple[Pair, ...] = ()
    """Where it stood before it began anew, at `began`."""
    began: Stamp | None = None
    time: int | None = None
    """When that was measured, by the counter's own clock, in Unix milliseconds."""
    doubt: Doubt | None = None
    counted: tuple[Span, ...] = ()
    """The time whose periods have been counted, in Unix seconds."""
    ahead: tuple[Span, ...] = ()
    """The time of periods that a clock that is fast put after their telling."""
    told: int = 0
    """Until when periods that never came have been told of, in Unix seconds."""
    why: str | None = None
    """Why it is not to be trusted, empty while it is; None before it has ever spoken."""
    came: int = 0
    """What it has seen today by itself, whether or not it counts for its door."""
    left: int = 0
    balance: Pair = (0, 0)
    """How far its door is ahead of it; see `doors`."""


class Meter(NamedTuple):
    """What is known of a counter beforehand: where its totals roll over, seconds between readings, and
    whether it has `in` and `out` at all (a beam in a one-way lane has but one)."""

    wraps: Pair
    every: float
    has: tuple[bool, bool]

    @classmethod
    def of(cls, device: Device) -> Meter:
        came, left = (device.points.get(name) for name in ("in", "out"))
        wraps = (came or Point()).wraps, (left or Point()).wraps
        return cls(wraps, device.every, (came is not None, left is not None))


class Passed(NamedTuple):
    """Who has passed; within `span` (Unix milliseconds) if not just now, which began on local day `day`."""

    came: int
    left: int
    span: Span | None = None
    day: str = ""
    once: bool = False
    """The counter says it but once: it must be safe before it is answered."""


class Reading(NamedTuple):
    """What one sample means. `why`: the counter is not to be trusted."""

    counter: Counter
    passed: Passed | None = None
    facts: tuple[Fact, ...] = ()
    why: str = ""


def counts(device: Device) -> bool:
    """Whether it counts who passes; a zone of a camera, say, knows only how many stand in it."""
    return device.kind == KIND and not device.points.keys().isdisjoint(("in", "out", "period_in"))


def plausible(seconds: float | None) -> float:
    """How many may have passed in one direction; without a clock, as within a day."""
    seconds = DAY if seconds is None else seconds
    return SLACK + RATE * min(seconds, MINUTE) + FLOW * max(0.0, seconds - MINUTE)


def moment(sample: Sample, name: str, zone: tzinfo | None = None) -> datetime | None:
    """A point that tells a time, ISO 8601; without an offset it is the site's."""
    try:
        found = datetime.fromisoformat(str(sample.values.get(name)))
        return found if found.tzinfo else found.replace(tzinfo=zone or UTC)
    except ValueError:
        return None


def whole(value: object) -> int | None:
    """A count; JSON has 3.0 for 3, and 1e30."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MOST:
        return None
    return int(value) if value == value // 1 else None


def rebased(counter: Counter, pair: Pair, sample: Sample) -> Counter:
    """Counting goes on from there."""
    measured = moment(sample, "time")
    time = round(measured.timestamp() * 1000) if measured else None
    path = (*counter.path, pair)[-PATH:]
    return msgspec.structs.replace(
        counter, total=pair, path=path, at=sample.at, time=time, doubt=None, counted=()
    )
