"""Counters: their stored state, and what all kinds of counters have in common.

A counter reports running totals (`in`, `out`, and perhaps `time`, when it measured them; see
`running_totals`), or counts of a period (see `period_counts`). Both become a `PassedCount`. One with
several lines reports `line` too, a recorder with several cameras `channel`, and sensors that may report to
one address `sensor`: what is reported of another of them has nothing to do with this one.
"""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import NamedTuple

import msgspec

from gateway.model import Device, Fact, Point, Sample, Stamp, parse_device_time

from . import facts

InOutCount = tuple[int, int]
"""In and out."""
Interval = tuple[int, int]
"""From and until."""

COUNTER_KIND = "door-counter"
TOTAL_POINTS = "in", "out"
DESCRIBING_POINTS = "time", "sensor", "channel", "line"
"""They say of what a count is, but are none."""
PERIOD_POINTS = "period_in", "period_out", "period_start", "period_end"
EXTRA_PEOPLE, PEAK_PEOPLE_PER_S, SUSTAINED_PEOPLE_PER_S = 20, 3.0, 1.0
"""Plausible limits through a door in one direction: PEAK_PEOPLE_PER_S for the first minute,
SUSTAINED_PEOPLE_PER_S after it, and EXTRA_PEOPLE on top."""
PEAK_DURATION_S, DAY_S = 60.0, 86_400.0
MAX_UNCONFIRMED_JUMP = EXTRA_PEOPLE + PEAK_PEOPLE_PER_S * PEAK_DURATION_S
"""A larger increase needs a second reading, however long ago the last one was."""
MAX_TOTAL = 1 << 53
"""Above this a float cannot represent every integer."""
MAX_REMEMBERED_TOTALS = 48
"""Totals that are remembered to recognise late ones."""
MAX_LINES = 32
"""Of one counter. More are no lines, but numbers that are new each time."""
FIRST_CHANNEL = "1"
CONTRADICTION, MIN_CONTRADICTIONS, MAX_CONTRADICTIONS = 8, 12, 24
"""A reading that contradicts the others weighs as much as so many consistent ones. From MIN_CONTRADICTIONS
on, more than one counter reports as this one."""


class UnconfirmedTotal(msgspec.Struct, frozen=True, array_like=True):
    """Totals that are inconsistent with the trusted one, but consistent with each other."""

    first: InOutCount
    last: InOutCount
    since: Stamp
    at: Stamp
    readings: int = 1
    is_implausible: bool = False
    """The increase is larger than people could have made it."""


STORED_COUNTER_FIELDS = {
    "missing_reported_until_s": "told",
    "recent_totals": "path",
    "totals_before_restart": "past",
    "restarted_at": "began",
    "measured_at_ms": "time",
    "unconfirmed": "doubt",
    "counted_intervals_s": "counted",
    "future_intervals_s": "ahead",
    "door_balance": "balance",
}
"""The names of fields in the journal, where they differ."""


class CountedLine(msgspec.Struct, frozen=True, array_like=True):
    """What is known of one line of a counter, as in `Counter`."""

    counted_intervals_s: tuple[Interval, ...] = ()
    future_intervals_s: tuple[Interval, ...] = ()
    missing_reported_until_s: int = 0
    total: InOutCount | None = None
    recent_totals: tuple[InOutCount, ...] = ()
    totals_before_restart: tuple[InOutCount, ...] = ()
    restarted_at: Stamp | None = None
    measured_at_ms: int | None = None
    unconfirmed: UnconfirmedTotal | None = None
    first_total: tuple[int | None, int | None] = (None, None)
    contradictions: int = 0
    last_period: tuple[Interval, InOutCount] | None = None


class Counter(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="counter",
    omit_defaults=True,
    rename=STORED_COUNTER_FIELDS,
):
    """One counter; its key is `counter/` and the device's name."""

    at: Stamp
    """The time of the last trusted reading that changed it."""
    total: InOutCount | None = None
    first_total: tuple[int | None, int | None] = (None, None)
    """What is known of the first total, where in and out come in messages of their own."""
    recent_totals: tuple[InOutCount, ...] = ()
    """Recent totals, oldest first; the last is `total`."""
    totals_before_restart: tuple[InOutCount, ...] = ()
    """Totals before the restart at `restarted_at`."""
    restarted_at: Stamp | None = None
    measured_at_ms: int | None = None
    """When `total` was measured, by the counter's own clock, in Unix milliseconds."""
    unconfirmed: UnconfirmedTotal | None = None
    contradictions: int = 0
    """How much its latest readings contradict each other, as those of several counters would."""
    last_period: tuple[Interval, InOutCount] | None = None
    """The period that was counted last, in Unix seconds, and its counts."""
    counted_intervals_s: tuple[Interval, ...] = ()
    """The times whose periods have been counted, in Unix seconds."""
    future_intervals_s: tuple[Interval, ...] = ()
    """The times of periods that ended in the future, because the counter's clock is fast."""
    missing_reported_until_s: int = 0
    """Until when missing periods have been reported, in Unix seconds."""
    why: str | None = None
    """Why it is not trustworthy, empty while it is; None before its first report."""
    heard: bool = False
    """Whether the gateway has had a count from it since it started."""
    came: int = 0
    """What it counted today, whether or not it is the active counter of its door."""
    left: int = 0
    door_balance: InOutCount = (0, 0)
    """How many people its door has counted that it has not; see `door_balances`."""
    lines: dict[str, CountedLine] = {}
    """Where it counts at several lines and reports each for itself: those of the others than the last."""
    line: str = ""
    """The line that the totals or the counted times belong to."""


class CounterProperties(NamedTuple):
    """The configured properties of a counter: where its totals roll over, the interval of its readings, and
    whether it has `in` and `out`, or those of periods (a light barrier in a one-way lane has only one)."""

    wraps: InOutCount
    interval_s: float
    has_in_out: tuple[bool, bool]
    has_period_in_out: tuple[bool, bool] = (True, True)

    @classmethod
    def from_device(cls, device: Device) -> CounterProperties:
        came, left = (device.points.get(name) for name in ("in", "out"))
        wraps = (came or Point()).wraps, (left or Point()).wraps
        has_in, has_out = "period_in" in device.points, "period_out" in device.points
        has_period = has_in or not has_out, has_out or not has_in
        return cls(wraps, device.every, (came is not None, left is not None), has_period)


class PassedCount(NamedTuple):
    """How many passed; within `span` (Unix milliseconds), which began on local day `day`, or just now."""

    came: int
    left: int
    span: Interval | None = None
    day: str = ""
    is_reported_once: bool = False
    """The counter reports it only once: it must be stored before the report is acknowledged."""


class CounterReading(NamedTuple):
    """The evaluation of one sample. `why` is not empty if the counter is not trustworthy."""

    counter: Counter
    passed: PassedCount | None = None
    facts: tuple[Fact, ...] = ()
    why: str = ""


def counts_visitors(device: Device) -> bool:
    """Whether the device counts passages; a zone of a camera only counts the people in it."""
    return device.kind == COUNTER_KIND and not device.points.keys().isdisjoint(
        (*TOTAL_POINTS, "period_in", "period_out")
    )


def max_plausible_count(seconds: float | None) -> float:
    """How many may have passed in one direction within some seconds (None: unknown, taken as a day)."""
    seconds = DAY_S if seconds is None else seconds
    return (
        EXTRA_PEOPLE
        + PEAK_PEOPLE_PER_S * min(seconds, PEAK_DURATION_S)
        + SUSTAINED_PEOPLE_PER_S * max(0.0, seconds - PEAK_DURATION_S)
    )


def time_value(sample: Sample, name: str, zone: tzinfo | None = None) -> datetime | None:
    """The time in a point; without an offset it is in `zone`. None if it cannot be read."""
    return parse_device_time(sample.values.get(name), zone)


def count_value(value: object) -> int | None:
    """A non-negative integer, also given as a float such as 3.0 or as a text; None for any other value."""
    if isinstance(value, str) and value.isdecimal() and len(value) <= len(str(MAX_TOTAL)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_TOTAL:
        return None
    return int(value) if value == value // 1 else None


def not_counted(counter: Counter, sample: Sample, why: str) -> CounterReading:
    """The evaluation of a report that is not counted; told once."""
    fact = facts.counter_implausible(sample.device, sample.at, dict(sample.values))
    return CounterReading(counter, None, () if counter.why == why else (fact,), why)


def has_impossible_total(sample: Sample) -> bool:
    """Whether one of its totals is no count. One that is not in the sample is none."""
    return any(
        sample.bad.get(name, "missing") != "missing" or count_value(sample.values.get(name, 0)) is None
        for name in TOTAL_POINTS
    )


def with_trusted_total(counter: Counter, pair: InOutCount, sample: Sample) -> Counter:
    """The counter with `pair` as its trusted total."""
    measured = time_value(sample, "time")
    time = round(measured.timestamp() * 1000) if measured else None
    recent_totals = (*counter.recent_totals, pair)[-MAX_REMEMBERED_TOTALS:]
    return msgspec.structs.replace(
        counter,
        total=pair,
        first_total=(None, None),
        recent_totals=recent_totals,
        at=sample.at,
        measured_at_ms=time,
        unconfirmed=None,
        counted_intervals_s=(),
        lines={
            name: line
            for name, line in counter.lines.items()
            if line.total is not None or line.first_total != (None, None)
        },
    )


def with_consistency(counter: Counter, *, is_consistent: bool) -> Counter:
    """The counter after a reading that is consistent with the others, or contradicts them."""
    change = -1 if is_consistent else CONTRADICTION
    contradictions = min(MAX_CONTRADICTIONS, max(0, counter.contradictions + change))
    return msgspec.structs.replace(counter, contradictions=contradictions)


def with_line_of(sample: Sample, counter: Counter) -> Counter | None:
    """The counter with what is known of the line that the sample reports; None if it has had so many that
    they are no lines."""
    name = _line_name(sample)
    if name == counter.line:
        return counter
    own = CountedLine(*(getattr(counter, field) for field in CountedLine.__struct_fields__))
    lines = {**counter.lines, counter.line: own} if own != CountedLine() else dict(counter.lines)
    other = lines.pop(name, CountedLine())
    if len(lines) > MAX_LINES:
        return None
    return msgspec.structs.replace(counter, lines=lines, line=name, **msgspec.structs.asdict(other))


def _line_name(sample: Sample) -> str:
    """The line, after its sensor and channel. The first channel is left out: only recorders have others."""
    sensor, channel, line = (str(sample.values.get(name, "")) for name in ("sensor", "channel", "line"))
    sources = sensor, "" if channel == FIRST_CHANNEL else channel
    return "/".join((*filter(None, sources), line))
