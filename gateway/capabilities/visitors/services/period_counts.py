"""Counters that tell what passed within a period: `period_in` and `period_out`, from `period_start` to
`period_end`. A period is counted once, however often, late and in whatever order it comes."""

from __future__ import annotations

from datetime import tzinfo
from itertools import pairwise

import msgspec

from gateway.model import MISSES_UNTIL_OFFLINE, Fact, Sample, Stamp

from . import facts
from .counters import Counter, Passed, Reading, Span, moment, plausible, whole

LONGEST = 86_400
"""Seconds of a period."""
SPANS = 64
"""Stretches of time with gaps between them that a counter may wait to have filled."""
OVERLAP = 20
"""A period may overlap counted time by one part in so many: the counter's clock was put right."""
WAIT = 6 * 3600
"""Seconds after which a period that has not come is told of; it counts all the same if it does."""
AHEAD, FUTURE, KEPT = 900, 86_400, 400 * 86_400
"""Seconds by which a period may end after now; by which it may and is taken to be of just now; and by which
it may lie back."""


def read_period(
    counter: Counter, sample: Sample, heard: Stamp, every: float, zone: tzinfo | None
) -> Reading:
    """Take in a period. `heard` is when the last running total was read, if there was one; `every` is the
    seconds in which one is expected; `zone` is the site's, for a time without offset and for the day."""
    came, left = (whole(sample.values.get(name)) for name in ("period_in", "period_out"))
    start, end = moment(sample, "period_start", zone), moment(sample, "period_end", zone)
    if came is None or left is None or start is None or end is None:
        return Reading(counter)
    span = round(start.timestamp()), round(end.timestamp())
    seconds = span[1] - span[0]
    by_totals = counter.total is not None and span[0] * 1000 < heard.wall
    if not 0 < seconds <= LONGEST or by_totals:
        return Reading(counter)
    set_ = sample.at.is_set
    now = sample.at.wall / 1000
    fast = set_ and span[1] > now + AHEAD
    known = counter.ahead if fast else counter.counted
    overlap = sum(max(0, min(span[1], until) - max(span[0], since)) for since, until in known)
    if overlap * OVERLAP > seconds:
        # Once more, or so it seems: where nothing else comes for long, its clock was put back.
        silent = sample.at.seconds_since(counter.at, unknown=0.0)
        stuck = silent > MISSES_UNTIL_OFFLINE * max(every, seconds)
        return Reading(counter, why="clock" if stuck else "")
    if set_ and (span[1] > now + FUTURE or span[0] < now - KEPT):
        told = facts.implausible(sample.device, sample.at, dict(sample.values))
        return Reading(counter, None, () if counter.why == "clock" else (told,), "clock")
    moved = msgspec.structs.replace(
        counter, total=None, path=(), past=(), began=None, doubt=None, at=sample.at
    )
    if fast:
        moved = msgspec.structs.replace(moved, ahead=_joined(counter.ahead, span))
    else:
        moved = msgspec.structs.replace(moved, counted=_joined(counter.counted, span))
    moved, missed = _missed(moved, sample, seconds)
    if max(came, left) > plausible(seconds):
        body = {**sample.values, **({} if fast else {"since": span[0] * 1000, "until": span[1] * 1000})}
        return Reading(moved, None, (facts.implausible(sample.device, sample.at, body), *missed))
    passed = Passed(came, left, once=True)
    if not fast:
        day = (start.astimezone(zone) if zone else start).date().isoformat()
        passed = passed._replace(span=(span[0] * 1000, span[1] * 1000), day=day)
    return Reading(moved, passed, missed)


def _missed(counter: Counter, sample: Sample, seconds: int) -> tuple[Counter, tuple[Fact, ...]]:
    """What never came is told of once it is not to be expected any more."""
    until = sample.at.wall // 1000 - WAIT
    gaps = [
        (earlier[1], later[0])
        for earlier, later in pairwise(counter.counted)
        if counter.told <= earlier[1] and later[0] <= until and 2 * (later[0] - earlier[1]) >= seconds
    ]
    if not gaps:
        return counter, ()
    told = tuple(facts.missed(sample.device, sample.at, gap) for gap in gaps)
    return msgspec.structs.replace(counter, told=gaps[-1][1]), told


def _joined(spans: tuple[Span, ...], new: Span) -> tuple[Span, ...]:
    """Spans in order, those that touch made one; of too many, the smallest gap is given up."""
    joined: list[Span] = []
    for since, until in sorted((*spans, new)):
        if joined and since <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(until, joined[-1][1])
        else:
            joined.append((since, until))
    if len(joined) > SPANS:
        gaps = [later[0] - earlier[1] for earlier, later in pairwise(joined)]
        number = gaps.index(min(gaps))
        joined[number : number + 2] = [(joined[number][0], joined[number + 1][1])]
    return tuple(joined)
