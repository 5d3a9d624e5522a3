"""Counters that tell what passed within a period: `period_in` and `period_out`, from `period_start` to
`period_end`. A period is counted once, however often, late and in whatever order it comes."""

from __future__ import annotations

from datetime import tzinfo
from itertools import pairwise

import msgspec

from gateway.model import ClockQuality, Sample, Stamp

from . import facts
from .counters import Counter, Passed, Reading, Span, moment, plausible, whole

LONGEST = 86_400
"""Seconds of a period."""
SPANS = 16
"""Stretches of time with gaps between them that a counter may wait to have filled."""
OVERLAP = 20
"""A period may overlap counted time by one part in so many: the counter's clock was put right."""
AHEAD, FUTURE, KEPT = 900, 86_400, 400 * 86_400
"""Seconds by which a period may end after now; by which it may and is taken to be of just now; and by which
it may lie back."""


def read_period(counter: Counter, sample: Sample, heard: Stamp, zone: tzinfo | None) -> Reading:
    """Take in a period. `heard` is when the last running total was read, if there was one; `zone` is the
    site's, for a time without offset and for the day."""
    came, left = (whole(sample.values.get(name)) for name in ("period_in", "period_out"))
    start, end = moment(sample, "period_start", zone), moment(sample, "period_end", zone)
    if came is None or left is None or start is None or end is None:
        return Reading(counter)
    span = round(start.timestamp()), round(end.timestamp())
    seconds = span[1] - span[0]
    overlap = sum(max(0, min(span[1], until) - max(span[0], since)) for since, until in counter.counted)
    by_totals = counter.total is not None and span[0] * 1000 < heard.wall
    if not 0 < seconds <= LONGEST or by_totals or overlap * OVERLAP > seconds:
        return Reading(counter)
    set_ = sample.at.clock is not ClockQuality.UNSET
    now = sample.at.wall / 1000
    if set_ and (span[1] > now + FUTURE or span[0] < now - KEPT):
        told = facts.implausible(sample.device, sample.at, dict(sample.values))
        return Reading(counter, None, () if counter.why == "clock" else (told,), "clock")
    moved = msgspec.structs.replace(
        counter,
        total=None,
        path=(),
        past=(),
        began=None,
        doubt=None,
        at=sample.at,
        counted=_joined(counter.counted, span),
    )
    if max(came, left) > plausible(seconds):
        return Reading(moved, None, (facts.implausible(sample.device, sample.at, dict(sample.values)),))
    passed = Passed(came, left)
    if set_ and span[1] > now + AHEAD:
        return Reading(moved, passed)
    day = (start.astimezone(zone) if zone else start).date().isoformat()
    return Reading(moved, passed._replace(span=(span[0] * 1000, span[1] * 1000), day=day))


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
