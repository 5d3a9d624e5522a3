"""What a counter says, turned into who has passed since: every counter as the same quantity.

A counter tells running totals (`in`, `out`, and perhaps `time`, when it measured them), or what passed
within a period (see `periods`). Totals roll over, begin anew (a restart, the daily reset of many makes),
come late or twice, and now and then one is plain wrong. Of a single total that does not follow from the
last one nobody can tell which of these it is. So it is held in doubt: nothing is counted, and nothing is
lost, until those that come next have shown what it was.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

import msgspec

from gateway.model import ClockQuality, Device, Fact, Point, Sample, Stamp, elapsed

from . import facts

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
PATH = 48
"""Totals remembered, to know one that comes late."""
NEAR = 8
"""A total that has rolled over was in the last of so many parts of its range, else it was restarted."""
FEW = 3
"""So many more are believed even where the total has stood there before, and passed just now: there are
counters that speak when somebody passes, and are silent all night."""
ENOUGH, PATIENCE = 3, 30.0
"""Readings, and seconds beyond twice the time between two of them, after which a doubt has lasted."""
LUMP = 300.0
"""Seconds since the last reading from which on it is told that they passed within a span of time."""


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
    """Where the total stood of late, before a restart too, oldest first; the last is `total`."""
    time: int | None = None
    """When that was measured, by the counter's own clock, in Unix milliseconds."""
    doubt: Doubt | None = None
    counted: tuple[Span, ...] = ()
    """The time whose periods have been counted, in Unix seconds."""
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


def read_total(counter: Counter, sample: Sample, meter: Meter, heard: Stamp) -> Reading:
    """Take in a running total. `heard` is when the last trusted one was read."""
    pair = _totals(counter, sample, meter)
    if pair is None:
        return Reading(counter)
    if counter.total is None:
        return Reading(_rebased(counter, pair, sample))
    passed = ahead(counter.total, pair, meter.wraps)
    most = min(plausible(elapsed(heard, sample.at)), AT_ONCE)
    if (passed is None or max(passed) > most) and _is_old(counter, sample):
        return Reading(counter, why=_lasting(counter.doubt, sample.at, meter))
    # Where it has stood before, it may be of before a restart.
    if passed is None or max(passed) > (FEW if pair in counter.path else most):
        return _doubtful(counter, pair, sample, meter, heard)
    if not any(passed):
        return Reading(counter if counter.doubt is None else _replace(counter, doubt=None))
    return Reading(_rebased(counter, pair, sample), _since(heard, sample.at, passed))


def ahead(before: Pair, after: Pair, wraps: Pair) -> Pair | None:
    """What passed between two totals of a counter that has gone on; None if it has not."""
    passed = []
    for old, new, range_ in zip(before, after, wraps, strict=True):
        rolled = new < old < range_ and range_ - old <= range_ // NEAR
        passed.append(new - old + range_ if rolled else new - old)
    return (passed[0], passed[1]) if min(passed) >= 0 else None


def moment(sample: Sample, name: str, zone: tzinfo | None = None) -> datetime | None:
    """A point that tells a time, ISO 8601; without an offset it is the site's."""
    try:
        found = datetime.fromisoformat(str(sample.values.get(name)))
        return found if found.tzinfo else found.replace(tzinfo=zone or UTC)
    except ValueError:
        return None


def whole(value: object) -> int | None:
    """A count; JSON has 3.0 for 3."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or value < 0:
        return None
    return int(value)


def _totals(counter: Counter, sample: Sample, meter: Meter) -> Pair | None:
    """The totals of a message. One that it does not tell is where it was, if that is known."""
    last: tuple[int | None, int | None] = counter.total or (
        None if meter.has[0] else 0,
        None if meter.has[1] else 0,
    )
    told = [whole(sample.values.get(name)) for name in ("in", "out")]
    came, left = (old if new is None else new for new, old in zip(told, last, strict=True))
    return None if came is None or left is None else (came, left)


def _rebased(counter: Counter, pair: Pair, sample: Sample) -> Counter:
    """Counting goes on from there."""
    measured = moment(sample, "time")
    time = _milliseconds(measured) if measured else None
    path = (*counter.path, pair)[-PATH:]
    return _replace(counter, total=pair, path=path, at=sample.at, time=time, doubt=None, counted=())


def _is_old(counter: Counter, sample: Sample) -> bool:
    """Whether it says itself that it was measured before. A day before, its clock was put back."""
    measured = moment(sample, "time")
    return bool(measured and counter.time and 0 < counter.time - _milliseconds(measured) < DAY * 1000)


def _doubtful(counter: Counter, pair: Pair, sample: Sample, meter: Meter, heard: Stamp) -> Reading:
    """A total that does not follow from the trusted one, with those before it that did not either."""
    assert counter.total is not None
    at = sample.at
    leap = ahead(counter.total, pair, meter.wraps)
    late = pair in counter.path or (leap is None and _on_path(counter.path, pair, meter.wraps))
    doubt: Doubt | None = counter.doubt
    told: tuple[Fact, ...] = ()
    growth = ahead(doubt.last, pair, meter.wraps) if doubt else None
    if doubt is None or growth is None or max(growth) > plausible(elapsed(doubt.at, at)):
        absurd = leap is not None and not late and max(leap) > plausible(elapsed(heard, at))
        if absurd and not (counter.doubt and counter.doubt.absurd):
            told = (_implausible(counter, pair, sample),)
        doubt = Doubt(pair, pair, at, at, absurd=absurd)
    elif pair != doubt.last or doubt.readings < ENOUGH:
        doubt = _replace(doubt, last=pair, at=at, readings=doubt.readings + 1)
    lasting, grown = _lasting(doubt, at, meter), pair != doubt.first
    if late and leap is None:
        # Late ones come in a burst, or between others that are not.
        steady = doubt.readings >= ENOUGH and (elapsed(doubt.since, at) or 0) >= 2 * meter.every
        settled = (bool(lasting) or (grown and steady)) and not _overshot(counter.path, pair, meter)
    else:
        settled = grown or bool(lasting) or (doubt.readings > 1 and leap is not None and not late)
    if not settled:
        why = lasting or ("implausible" if doubt.absurd else "")
        return Reading(_replace(counter, doubt=doubt), None, told, why)
    reading = _settled(counter, doubt, pair, sample, meter, heard)
    return reading._replace(facts=(*told, *reading.facts))


def _settled(
    counter: Counter, doubt: Doubt, pair: Pair, sample: Sample, meter: Meter, heard: Stamp
) -> Reading:
    """What was in doubt is believed: a leap that many people made, a restart, or another counter."""
    assert counter.total is not None
    moved, at = _rebased(counter, pair, sample), sample.at
    leap = ahead(counter.total, pair, meter.wraps)
    anew = pair if leap is None else leap
    if max(anew) > plausible(elapsed(heard, at)):
        # Another one, or it was set by hand: only what it has seen since then is known.
        known = ahead(doubt.first, pair, meter.wraps) or (0, 0)
        told = () if doubt.absurd else (_implausible(counter, doubt.first, sample),)
        return Reading(moved, Passed(*known), told)
    if leap is not None:
        return Reading(moved, _since(heard, at, leap))
    unknown = _wall(heard), _wall(doubt.since)
    restarted = facts.restarted(sample.device, at, counter.total, doubt.first, unknown)
    return Reading(moved, _since(heard, at, pair), (restarted,))


def _implausible(counter: Counter, pair: Pair, sample: Sample) -> Fact:
    body = {"before": list(counter.total or ()), "after": list(pair)}
    return facts.implausible(sample.device, sample.at, body)


def _lasting(doubt: Doubt | None, at: Stamp, meter: Meter) -> str:
    """Why the counter is not to be trusted, if it has been in doubt for so long."""
    if doubt is None or doubt.readings < ENOUGH:
        return ""
    seconds = elapsed(doubt.since, at)
    return "implausible" if seconds is None or seconds >= PATIENCE + 2 * meter.every else ""


def _on_path(path: tuple[Pair, ...], pair: Pair, wraps: Pair) -> bool:
    """Whether the total has stood there, between two readings of late."""
    return any(
        ahead(before, pair, wraps) and ahead(pair, after, wraps)
        for before, after in zip(path, path[1:] or path, strict=False)
    )


def _overshot(path: tuple[Pair, ...], pair: Pair, meter: Meter) -> bool:
    """Whether the trusted total, high above the one before, may have been false: the true ones are between
    the two. They are counted from where they pass it, so that in the end nobody was counted twice."""
    jump = ahead(path[-2], path[-1], meter.wraps) if len(path) > 1 else None
    return jump is not None and max(jump) > SLACK and _on_path(path[-2:], pair, meter.wraps)


def _since(heard: Stamp, at: Stamp, passed: Pair) -> Passed:
    seconds, since, until = elapsed(heard, at), _wall(heard), _wall(at)
    long = max(passed) > FEW and (seconds is None or seconds >= LUMP)
    span = (since, until) if long and since and until and since < until else None
    return Passed(*passed, span)


def _wall(at: Stamp) -> int | None:
    return None if at.clock is ClockQuality.UNSET else at.wall


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


_replace = msgspec.structs.replace
