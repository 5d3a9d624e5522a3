"""Visitors: who came, who left, who is inside, from cumulative door counters."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.model import (
    Changes,
    Device,
    Fact,
    Lane,
    Message,
    Rows,
    Sample,
    Service,
    Stamp,
    Tick,
    Value,
)

KIND = "door-counter"
ROLLOVER = 1 << 32
"""Counters are 32 bits wide; one that restarts early began again from nought."""
SLACK, RATE = 20, 3.0
"""A door passes at most RATE people a second, and SLACK more: beyond that the counter lies."""


class Door(msgspec.Struct, frozen=True):
    """One door's day; its key is the device's name. `total_*` is where the counter stood."""

    total_in: int
    total_out: int
    at: Stamp
    day: str = ""
    came: int = 0
    left: int = 0


class Visitors(Service):
    """Turns counters into crossings; their roll-over or restart makes no phantom visitor."""

    name = "visitors"
    row = Door

    def __init__(self, devices: Mapping[str, Device]) -> None:
        self._doors = {device.name for device in devices.values() if device.kind == KIND}

    def apply(self, rows: Rows, message: Message) -> tuple[Changes, list[Fact]]:
        if isinstance(message, Tick):
            return _new_day(rows, message)
        if isinstance(message, Sample) and message.device in self._doors and not message.error:
            return _count(rows.get(message.device), message)
        return {}, []

    def summary(self, rows: Rows) -> dict[str, Value]:
        came = sum(door.came for door in rows.values())
        left = sum(door.left for door in rows.values())
        if not rows:
            return {}
        return {"inside": max(0, came - left), "in": came, "out": left}


def _count(door: Door | None, sample: Sample) -> tuple[Changes, list[Fact]]:
    totals = sample.values.get("in"), sample.values.get("out")
    if not isinstance(totals[0], int) or not isinstance(totals[1], int):
        return {}, []
    if door is None:
        return {sample.device: Door(totals[0], totals[1], sample.at)}, []
    if totals == (door.total_in, door.total_out):
        return {}, []
    came = _increment(door.total_in, totals[0])
    left = _increment(door.total_out, totals[1])
    moved = msgspec.structs.replace(door, total_in=totals[0], total_out=totals[1], at=sample.at)
    if max(came, left) > SLACK + RATE * _seconds(door.at, sample.at):
        body = {"before": [door.total_in, door.total_out], "after": list(totals)}
        fact = Fact(Lane.EVENT, sample.device, "counter-implausible", sample.at, body)
        return {sample.device: moved}, [fact]
    if not came and not left:
        return {sample.device: moved}, []
    moved = msgspec.structs.replace(moved, came=door.came + came, left=door.left + left)
    fact = Fact(Lane.EVENT, sample.device, "crossing", sample.at, {"in": came, "out": left})
    return {sample.device: moved}, [fact]


def _increment(before: int, after: int) -> int:
    if after >= before:
        return after - before
    rolled = after - before + ROLLOVER
    return rolled if rolled < ROLLOVER // 2 else after


def _seconds(since: Stamp, until: Stamp) -> float:
    if since.boot == until.boot:
        return (until.mono - since.mono) / 1e9
    return max(0.0, (until.wall - since.wall) / 1e3)


def _new_day(rows: Rows, tick: Tick) -> tuple[Changes, list[Fact]]:
    """Each local day begins with nobody inside; what the day left over is written down."""
    changes: Changes = {}
    facts = []
    for name, door in rows.items():
        if door.day == tick.day:
            continue
        if door.day:
            body = {"day": door.day, "in": door.came, "out": door.left}
            facts.append(Fact(Lane.EVENT, name, "visitor-day", tick.at, body))
        changes[name] = msgspec.structs.replace(door, day=tick.day, came=0, left=0)
    return changes, facts
