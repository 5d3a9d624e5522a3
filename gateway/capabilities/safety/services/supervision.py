"""Supervision: whether each safety sensor is alive, when it was last tried, and which are due.

Who presses a detector's button proves the whole way from its chamber to this gateway; so does a real
alarm. GB 50440-2007 asks for a fire test at least twice a month.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import NamedTuple

import msgspec

from gateway.model import (
    Changes,
    Device,
    Fact,
    Hazard,
    Lane,
    Message,
    Rows,
    Sample,
    Service,
    Stamp,
    Tick,
    Value,
)

DAYS: Mapping[str, float] = {
    "smoke": 7,
    "heat": 7,
    "gas": 7,
    "call-point": 7,
    "sos": 7,
    "fire-panel": 14,
    "water": 30,
    "electrical-fire": 30,
}
"""Days between two tests of a sensor, by its kind; the kinds that are not here need none."""
UNTRIED = frozenset({Hazard.FAULT, Hazard.TAMPER})
"""No button makes a sensor say these."""
COARSE = 3600.0
"""Seconds between two notes that a sensor still lives: the card would bear no more."""
DAY = 86_400.0
MINUTE = 60_000_000_000


class Trial(msgspec.Struct, frozen=True):
    """A sensor's part in a walk-test."""

    by: str
    since: Stamp
    ticked: Stamp | None = None
    """When its button was pressed."""


class Sensor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One point that raises alarms; its key is `device/point`."""

    since: Stamp
    """When it was first heard of."""
    alive: bool = False
    seen: Stamp | None = None
    """Its last good reading, to the hour."""
    tested: Stamp | None = None
    tested_by: str = ""
    """Who tested it; nobody where a real alarm was the proof."""
    due: bool = False
    """A test is overdue."""
    trial: Trial | None = None


class Supervision(Service):
    """Follows the proofs that each safety sensor works."""

    name = "supervision"
    row = Sensor
    follows_alarms = True

    def __init__(self, devices: Mapping[str, Device], days: Mapping[str, float] = DAYS) -> None:
        self._points = {device.name: _points(device) for device in devices.values() if device.safety}
        self._days = {
            f"{name}/{point}": days.get(devices[name].kind, 0.0)
            for name, points in self._points.items()
            for point in points
        }
        self._minute = -1

    def apply(self, rows: Rows, message: Message) -> tuple[Changes, list[Fact]]:
        if isinstance(message, Sample):
            return self._read(rows, message), []
        if isinstance(message, Fact) and message.kind == "alarm":
            return self._prove(rows, message), []
        if isinstance(message, Tick) and message.at.mono // MINUTE != self._minute:
            self._minute = message.at.mono // MINUTE
            return self._remind(rows, message.at)
        return {}, []

    def summary(self, rows: Rows) -> dict[str, Value]:
        if not self._days:
            return {}
        return {
            "tests_due": sum(row.due for row in rows.values()),
            "in_test": sum(row.trial is not None for row in rows.values()),
            "silent": sum(not row.alive for row in rows.values()),
        }

    def _read(self, rows: Rows, sample: Sample) -> Changes:
        changes: Changes = {}
        for point in self._points.get(sample.device, ()):
            key = f"{sample.device}/{point}"
            row: Sensor = rows.get(key) or Sensor(since=sample.at)
            if not sample.error and point in sample.values:
                if not row.alive or row.seen is None or _past(row.seen, sample.at, COARSE):
                    row = _replace(row, alive=True, seen=sample.at)
            elif sample.error or point in sample.bad:
                row = _replace(row, alive=False) if row.alive else row
            if row != rows.get(key):
                changes[key] = row
        return changes

    def _prove(self, rows: Rows, fact: Fact) -> Changes:
        body = fact.body
        key = str(body["id"]).rpartition("/")[0]
        if key not in self._days:
            return {}
        old: Sensor = rows.get(key) or Sensor(since=fact.at)
        row = old if body["mode"] == "test" else _replace(old, trial=None)
        if body["change"] == "test-begun":
            row = _replace(row, trial=Trial(body["by"], fact.at))
        elif body["change"] == "tested":
            ticked = row.trial and _replace(row.trial, ticked=row.trial.ticked or fact.at)
            row = _replace(row, tested=fact.at, tested_by=body["by"], due=False, trial=ticked)
        elif body["change"] == "raised":
            row = _replace(row, tested=fact.at, tested_by="", due=False)
        return {key: row} if row != rows.get(key) else {}

    def _remind(self, rows: Rows, at: Stamp) -> tuple[Changes, list[Fact]]:
        changes: Changes = {}
        facts = []
        for key, old in rows.items():
            if key not in self._days:
                changes[key] = None
                continue
            row = _replace(old, since=_dated(old.since, at), tested=old.tested and _dated(old.tested, at))
            days = self._days[key]
            seconds = at.seconds_since(row.tested or row.since)
            due = old.due if seconds is None else 0 < days * DAY <= seconds
            row = _replace(row, due=due)
            if row != old:
                changes[key] = row
            if due and not old.due:
                device, _, point = key.rpartition("/")
                body = {"point": point, "days": days, "tested": row.tested and row.tested.wall}
                facts.append(Fact(Lane.EVENT, device, "test-due", at, body, durable=True))
        return changes, facts


class Ticked(NamedTuple):
    """One line of a walk-test's list: what to press, for whom since when, and when it was pressed."""

    device: str
    point: str
    by: str
    since: Stamp
    ticked: Stamp | None


def walk_test(rows: Rows) -> list[Ticked]:
    """The walk-test that is going on: those still to be pressed first."""
    lines = [
        Ticked(device, point, row.trial.by, row.trial.since, row.trial.ticked)
        for key, row in rows.items()
        if row.trial
        for device, _, point in [key.rpartition("/")]
    ]
    return sorted(lines, key=lambda line: (line.ticked is not None, line.device, line.point))


def _points(device: Device) -> tuple[str, ...]:
    return tuple(
        name for name, point in device.points.items() if point.alarm and point.alarm.hazard not in UNTRIED
    )


def _dated(stamp: Stamp, now: Stamp) -> Stamp:
    """A stamp from before the clock was set, once it is; of an earlier boot nobody knows, so from now."""
    if stamp.is_set or not now.is_set:
        return stamp
    wall = stamp.wall_by(now)
    return now if wall is None else _replace(stamp, wall=wall, clock=now.clock)


def _past(since: Stamp, now: Stamp, seconds: float) -> bool:
    return now.seconds_since(since, unknown=inf) >= seconds


_replace = msgspec.structs.replace
