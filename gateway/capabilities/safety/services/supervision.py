"""Supervision: whether each safety sensor works, when it was last tested, and which tests are due.

Pressing the button of a detector proves the whole path from its chamber to this gateway; so does a real
alarm. GB 50440-2007 requires a fire test at least twice a month.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import msgspec

from gateway.model import (
    Arrival,
    Device,
    Fact,
    Hazard,
    Lane,
    Message,
    RowChanges,
    Rows,
    Sample,
    Service,
    Stamp,
    Tick,
    Value,
)

TEST_INTERVAL_DAYS: Mapping[str, float] = {
    "smoke": 7,
    "heat": 7,
    "gas": 7,
    "call-point": 7,
    "sos": 7,
    "fire-panel": 14,
    "water": 30,
    "electrical-fire": 30,
}
"""Days between two tests of a sensor, by the kind of device; kinds not listed need no tests."""
UNTESTABLE_HAZARDS = frozenset({Hazard.FAULT, Hazard.TAMPER})
"""Hazards that no test button of a sensor can trigger."""
SEEN_UPDATE_INTERVAL_S = 3600.0
"""How often `Sensor.seen` is stored: more often would wear the SD card."""
DAY_S = 86_400.0
MINUTE_NS = 60_000_000_000


class SensorTest(msgspec.Struct, frozen=True):
    """A test of a sensor that is under way."""

    by: str
    since: Stamp
    ticked: Stamp | None = None
    """When its button was pressed."""


class Sensor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One point that raises alarms; its key is `device/point`."""

    since: Stamp
    """When it was first heard from."""
    alive: bool = False
    seen: Stamp | None = None
    """Its last good reading, to the hour."""
    tested: Stamp | None = None
    tested_by: str = ""
    """Who tested it; empty where a real alarm was the proof."""
    due: bool = False
    """A test is overdue."""
    trial: SensorTest | None = None


class Supervision(Service):
    """Records the readings, tests and alarms that prove each safety sensor to work."""

    name = "supervision"
    row = Sensor
    follows_alarms = True

    def __init__(
        self, devices: Mapping[str, Device], test_interval_days: Mapping[str, float] = TEST_INTERVAL_DAYS
    ) -> None:
        self._points = {
            device.name: _testable_points(device) for device in devices.values() if device.is_safety_device
        }
        self._interval_days = {
            f"{name}/{point}": test_interval_days.get(devices[name].kind, 0.0)
            for name, points in self._points.items()
            for point in points
        }
        self._last_check_minute = -1

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        if isinstance(message, Sample):
            return self._process_sample(rows, message), []
        if isinstance(message, Fact) and message.kind == "alarm":
            return self._process_alarm(rows, message), []
        if isinstance(message, Tick) and message.at.mono_ns // MINUTE_NS != self._last_check_minute:
            self._last_check_minute = message.at.mono_ns // MINUTE_NS
            return self._mark_due(rows, message.at)
        return {}, []

    def summary(self, rows: Rows) -> dict[str, Value]:
        if not self._interval_days:
            return {}
        return {
            "tests_due": sum(row.due for row in rows.values()),
            "in_test": sum(row.trial is not None for row in rows.values()),
            "silent": sum(not row.alive for row in rows.values()),
        }

    def _process_sample(self, rows: Rows, sample: Sample) -> RowChanges:
        changes: RowChanges = {}
        for point in self._points.get(sample.device, ()):
            key = f"{sample.device}/{point}"
            row: Sensor = rows.get(key) or Sensor(since=sample.at)
            if sample.arrival is Arrival.RETAINED:
                continue
            if not sample.error and point in sample.values:
                if (
                    not row.alive
                    or row.seen is None
                    or _has_elapsed(row.seen, sample.at, SEEN_UPDATE_INTERVAL_S)
                ):
                    row = _replace(row, alive=True, seen=sample.at)
            elif sample.error or point in sample.bad:
                row = _replace(row, alive=False) if row.alive else row
            if row != rows.get(key):
                changes[key] = row
        return changes

    def _process_alarm(self, rows: Rows, fact: Fact) -> RowChanges:
        body = fact.body
        key = f"{fact.device}/{body['point']}" if "place" in body else str(body["id"]).rpartition("/")[0]
        if key not in self._interval_days:
            return {}
        old: Sensor = rows.get(key) or Sensor(since=fact.at)
        row = old if body["mode"] == "test" else _replace(old, trial=None)
        if body["change"] == "test-begun":
            row = _replace(row, trial=SensorTest(body["by"], fact.at))
        elif body["change"] == "tested":
            ticked = row.trial and _replace(row.trial, ticked=row.trial.ticked or fact.at)
            row = _replace(row, tested=fact.at, tested_by=body["by"], due=False, trial=ticked)
        elif body["change"] == "raised":
            row = _replace(row, tested=fact.at, tested_by="", due=False)
        return {key: row} if row != rows.get(key) else {}

    def _mark_due(self, rows: Rows, at: Stamp) -> tuple[RowChanges, list[Fact]]:
        changes: RowChanges = {}
        facts = []
        for key, old in rows.items():
            if key not in self._interval_days:
                changes[key] = None
                continue
            row = _replace(
                old, since=_redated(old.since, at), tested=old.tested and _redated(old.tested, at)
            )
            days = self._interval_days[key]
            seconds = at.seconds_since(row.tested or row.since)
            due = old.due if seconds is None else 0 < days * DAY_S <= seconds
            row = _replace(row, due=due)
            if row != old:
                changes[key] = row
            if due and not old.due:
                device, _, point = key.rpartition("/")
                body = {"point": point, "days": days, "tested": row.tested and row.tested.wall_ms}
                facts.append(Fact(Lane.EVENT, device, "test-due", at, body, durable=True))
        return changes, facts


def _testable_points(device: Device) -> tuple[str, ...]:
    return tuple(
        name
        for name, point in device.points.items()
        if point.alarm and point.alarm.hazard not in UNTESTABLE_HAZARDS
    )


def _redated(stamp: Stamp, now: Stamp) -> Stamp:
    """The stamp with a real date, if it was made before the clock was set and the clock is set by now.

    The time of a stamp from an earlier boot is not known: it becomes now.
    """
    if stamp.is_set or not now.is_set:
        return stamp
    wall = stamp.wall_by(now)
    return now if wall is None else _replace(stamp, wall_ms=wall, clock=now.clock)


def _has_elapsed(since: Stamp, now: Stamp, seconds: float) -> bool:
    return now.seconds_since(since, if_unknown=inf) >= seconds


_replace = msgspec.structs.replace
