"""Visitors: who came, who left, who is inside, from door counters.

A counter says how many have passed so far (`in`, `out`), or how many passed within a period
(`period_in`, `period_out`, from `period_start` to `period_end`, ISO 8601 in the site's local time).
Both come to the same: an increment, counted once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from gateway.model import (
    Changes,
    Device,
    Fact,
    Lane,
    Message,
    Point,
    Rows,
    Sample,
    Service,
    Stamp,
    Tick,
    Value,
    elapsed,
)

KIND = "door-counter"
SLACK, RATE = 20, 3.0
"""A door passes at most RATE people a second, and SLACK more: beyond that the counter lies."""
LONGEST = 86_400
"""Seconds of a period."""
SPANS = 16
"""Stretches of time with gaps between them that a door may wait to have filled."""

Span = tuple[int, int]
"""From and until, in Unix seconds."""


class Door(msgspec.Struct, frozen=True):
    """One door's day; its key is the device's name. `total_*` is where the counter stood, `counted` the
    time whose periods have been counted."""

    total_in: int | None
    total_out: int | None
    at: Stamp
    day: str = ""
    came: int = 0
    left: int = 0
    counted: tuple[Span, ...] = ()


class Visitors(Service):
    """Turns counters into crossings; their roll-over or restart makes no phantom visitor.

    A total that falls has rolled over where its point `wraps`, or else the counter was restarted.
    """

    name = "visitors"
    row = Door

    def __init__(self, devices: Mapping[str, Device]) -> None:
        self._wraps = {
            device.name: tuple(
                point.wraps if (point := device.points.get(name)) else Point().wraps
                for name in ("in", "out")
            )
            for device in devices.values()
            if device.kind == KIND
        }

    def apply(self, rows: Rows, message: Message) -> tuple[Changes, list[Fact]]:
        if isinstance(message, Tick):
            return self._new_day(rows, message)
        if isinstance(message, Sample) and message.device in self._wraps and not message.error:
            return _count(rows.get(message.device), message, self._wraps[message.device])
        return {}, []

    def _new_day(self, rows: Rows, tick: Tick) -> tuple[Changes, list[Fact]]:
        """Each local day begins with nobody inside; what the day left over is written down. A door that
        was taken out of the configuration ends with its day: its visitors did come."""
        changes: Changes = {}
        facts = []
        for name, door in rows.items():
            if door.day == tick.day:
                continue
            if door.day:
                body = {"day": door.day, "in": door.came, "out": door.left}
                facts.append(Fact(Lane.EVENT, name, "visitor-day", tick.at, body))
            new = msgspec.structs.replace(door, day=tick.day, came=0, left=0)
            changes[name] = new if name in self._wraps else None
        return changes, facts

    def summary(self, rows: Rows) -> dict[str, Value]:
        came = sum(door.came for door in rows.values())
        left = sum(door.left for door in rows.values())
        if not rows:
            return {}
        return {"inside": max(0, came - left), "in": came, "out": left}


def _count(door: Door | None, sample: Sample, wraps: tuple[int, ...]) -> tuple[Changes, list[Fact]]:
    door = door or Door(None, None, sample.at)
    return _cumulative(door, sample, wraps) if "in" in sample.values else _periodic(door, sample)


def _cumulative(door: Door, sample: Sample, wraps: tuple[int, ...]) -> tuple[Changes, list[Fact]]:
    totals = _numbers(sample, "in", "out")
    if not totals or totals == (door.total_in, door.total_out):
        return {}, []
    moved = msgspec.structs.replace(door, total_in=totals[0], total_out=totals[1], at=sample.at, counted=())
    if door.total_in is None or door.total_out is None:
        return {sample.device: moved}, []
    passed = (
        _increment(door.total_in, totals[0], wraps[0]),
        _increment(door.total_out, totals[1], wraps[1]),
    )
    seconds = elapsed(door.at, sample.at)
    if seconds is not None and max(passed) > SLACK + RATE * seconds:
        body = {"before": [door.total_in, door.total_out], "after": list(totals)}
        fact = Fact(Lane.EVENT, sample.device, "counter-implausible", sample.at, body)
        return {sample.device: moved}, [fact]
    return _passed(moved, sample, passed, today=True)


def _periodic(door: Door, sample: Sample) -> tuple[Changes, list[Fact]]:
    """A period that comes again, late or overlapping, adds nothing to time that has been counted."""
    passed = _numbers(sample, "period_in", "period_out")
    since, until = _moment(sample, "period_start"), _moment(sample, "period_end")
    if not passed or min(passed) < 0 or not since or not until:
        return {}, []
    span = round(since.timestamp()), round(until.timestamp())
    seconds = span[1] - span[0]
    if not 0 < seconds <= LONGEST or any(span[0] < end and start < span[1] for start, end in door.counted):
        return {}, []
    moved = msgspec.structs.replace(
        door, total_in=None, total_out=None, at=sample.at, counted=_joined(door.counted, span)
    )
    if not door.counted:
        return {sample.device: moved}, []
    if max(passed) > SLACK + RATE * seconds:
        fact = Fact(Lane.EVENT, sample.device, "counter-implausible", sample.at, dict(sample.values))
        return {sample.device: moved}, [fact]
    # One that comes late belongs to its own day, which has been written down.
    return _passed(moved, sample, passed, today=since.date().isoformat() == door.day)


def _passed(door: Door, sample: Sample, passed: tuple[int, int], today: bool) -> tuple[Changes, list[Fact]]:
    came, left = passed
    if not came and not left:
        return {sample.device: door}, []
    if today:
        door = msgspec.structs.replace(door, came=door.came + came, left=door.left + left)
    fact = Fact(Lane.EVENT, sample.device, "crossing", sample.at, {"in": came, "out": left})
    return {sample.device: door}, [fact]


def _numbers(sample: Sample, *names: str) -> tuple[int, int] | None:
    first, second = (sample.values.get(name) for name in names)
    return (first, second) if isinstance(first, int) and isinstance(second, int) else None


def _moment(sample: Sample, name: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(sample.values.get(name)))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _joined(spans: tuple[Span, ...], new: Span) -> tuple[Span, ...]:
    """Spans in order, those that touch made one; of too many, the oldest gap is given up."""
    joined: list[Span] = []
    for since, until in sorted((*spans, new)):
        if joined and joined[-1][1] == since:
            joined[-1] = joined[-1][0], until
        else:
            joined.append((since, until))
    if len(joined) > SPANS:
        joined[:2] = [(joined[0][0], joined[1][1])]
    return tuple(joined)


def _increment(before: int, after: int, wraps: int) -> int:
    if after >= before:
        return after - before
    rolled = after - before + wraps
    return rolled if 0 <= rolled < wraps // 2 else after
