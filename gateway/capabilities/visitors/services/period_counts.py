"""Counters that report counts of periods: `period_in` and `period_out`, from `period_start` to
`period_end`. A period is counted once, however often, late and in whatever order it arrives."""

from __future__ import annotations

from datetime import datetime, tzinfo
from itertools import pairwise

import msgspec

from gateway.model import FAILURES_UNTIL_OFFLINE, Fact, Sample, Stamp

from . import facts
from .counters import (
    Counter,
    CounterProperties,
    CounterReading,
    InOutCount,
    Interval,
    PassedCount,
    count_value,
    max_plausible_count,
    not_counted,
    time_value,
    with_consistency,
)

MAX_PERIOD_S = 86_400

MAX_COUNTED_INTERVALS = 64
"""Beyond that the smallest gap between counted times is given up."""
OVERLAP_DIVISOR = 20
"""A period may overlap counted time by 1/20 of its length, as after an adjustment of the counter's
clock."""
MISSING_AFTER_S = 6 * 3600
"""After that a missing period is reported; it is still counted if it arrives."""
FAST_CLOCK_S, MAX_FUTURE_S, MAX_AGE_S = 900, 86_400, 400 * 86_400
"""A period may end so long after now; up to MAX_FUTURE_S the counter's clock is taken to be fast and the
period to be of just now. A period may be MAX_AGE_S old."""


def read_period(
    counter: Counter,
    sample: Sample,
    properties: CounterProperties,
    last_read: Stamp,
    zone: tzinfo | None,
) -> CounterReading:
    """Evaluate a period. `last_read` is when the last running total was read, if there was one; `zone` is
    the site's, for a time without offset and for the day. A report that cannot be counted makes the counter
    untrustworthy, so that nobody goes uncounted unnoticed."""
    report = _read_report(sample, properties, zone)
    if report is None:
        return not_counted(counter, sample, "unreadable")
    (came, left), start, span = report
    seconds = span[1] - span[0]
    if counter.total is not None and span[0] * 1000 < last_read.wall_ms:
        return CounterReading(counter)  # Counted by its totals.
    clock_is_set = sample.at.is_set
    now = sample.at.wall_ms / 1000
    clock_is_fast = clock_is_set and span[1] > now + FAST_CLOCK_S
    known = counter.future_intervals_s if clock_is_fast else counter.counted_intervals_s
    overlap = sum(max(0, min(span[1], until) - max(span[0], since)) for since, until in known)
    if overlap * OVERLAP_DIVISOR > seconds:
        last_span, last_counts = counter.last_period or (None, None)
        if span == last_span and (came, left) != last_counts:
            counter = with_consistency(counter, is_consistent=False)
        return _counted_already(counter, sample, properties, seconds, overlap)
    if clock_is_set and (span[1] > now + MAX_FUTURE_S or span[0] < now - MAX_AGE_S):
        return not_counted(counter, sample, "clock")
    updated = msgspec.structs.replace(
        with_consistency(counter, is_consistent=True),
        last_period=(span, (came, left)),
        total=None,
        recent_totals=(),
        totals_before_restart=(),
        restarted_at=None,
        unconfirmed=None,
        at=sample.at,
    )
    if clock_is_fast:
        updated = msgspec.structs.replace(
            updated, future_intervals_s=_with_interval(counter.future_intervals_s, span)
        )
    else:
        updated = msgspec.structs.replace(
            updated, counted_intervals_s=_with_interval(counter.counted_intervals_s, span)
        )
    updated, missing = _report_missing(updated, sample, seconds)
    if max(came, left) > max_plausible_count(seconds):
        body = {
            **sample.values,
            **({} if clock_is_fast else {"since": span[0] * 1000, "until": span[1] * 1000}),
        }
        return CounterReading(
            updated, None, (facts.counter_implausible(sample.device, sample.at, body), *missing)
        )
    passed = PassedCount(came, left, is_reported_once=True)
    if not clock_is_fast:
        day = (start.astimezone(zone) if zone else start).date().isoformat()
        passed = passed._replace(span=(span[0] * 1000, span[1] * 1000), day=day)
    return CounterReading(updated, passed, missing)


def _read_report(
    sample: Sample, properties: CounterProperties, zone: tzinfo | None
) -> tuple[InOutCount, datetime, Interval] | None:
    """In and out, the start, and the times in Unix seconds; None for a report that cannot be read."""
    came, left = (
        count_value(sample.values.get(name)) if has else 0
        for name, has in zip(("period_in", "period_out"), properties.has_period_in_out, strict=True)
    )
    start, end = time_value(sample, "period_start", zone), time_value(sample, "period_end", zone)
    if came is None or left is None or start is None or end is None:
        return None
    span = round(start.timestamp()), round(end.timestamp())
    return ((came, left), start, span) if 0 < span[1] - span[0] <= MAX_PERIOD_S else None


def _counted_already(
    counter: Counter, sample: Sample, properties: CounterProperties, seconds: int, overlap: int
) -> CounterReading:
    """A duplicate, or a period that was counted in part: how many passed in the rest is not known. If only
    duplicates arrive for long, the counter's clock was set back."""
    if (seconds - overlap) * OVERLAP_DIVISOR > seconds:
        return not_counted(counter, sample, "implausible")
    silent = sample.at.seconds_since(counter.at, if_unknown=0.0)
    stuck = silent > FAILURES_UNTIL_OFFLINE * max(properties.interval_s, seconds)
    return CounterReading(counter, why="clock" if stuck else "")


def _report_missing(counter: Counter, sample: Sample, seconds: int) -> tuple[Counter, tuple[Fact, ...]]:
    """Report gaps between counted periods that are no longer expected to be filled."""
    until = sample.at.wall_ms // 1000 - MISSING_AFTER_S
    gaps = [
        (earlier[1], later[0])
        for earlier, later in pairwise(counter.counted_intervals_s)
        if counter.missing_reported_until_s <= earlier[1]
        and later[0] <= until
        and 2 * (later[0] - earlier[1]) >= seconds
    ]
    if not gaps:
        return counter, ()
    new_facts = tuple(facts.counter_missed(sample.device, sample.at, gap) for gap in gaps)
    return msgspec.structs.replace(counter, missing_reported_until_s=gaps[-1][1]), new_facts


def _with_interval(spans: tuple[Interval, ...], new_interval: Interval) -> tuple[Interval, ...]:
    """The intervals with a new one, sorted and merged; if there are too many, the smallest gap is
    closed."""
    joined: list[Interval] = []
    for since, until in sorted((*spans, new_interval)):
        if joined and since <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(until, joined[-1][1])
        else:
            joined.append((since, until))
    if len(joined) > MAX_COUNTED_INTERVALS:
        gaps = [later[0] - earlier[1] for earlier, later in pairwise(joined)]
        number = gaps.index(min(gaps))
        joined[number : number + 2] = [(joined[number][0], joined[number + 1][1])]
    return tuple(joined)
