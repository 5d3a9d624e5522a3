"""Safety: conditions that endanger people, latched until a person has acknowledged them.

States in the terms of ISA-18.2; a latched alarm outlives its condition (GB 26875.1), and a safety
device that falls silent is a fault, never "normal" (GB 16806).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from gateway.model import (
    Adopted,
    AlarmSpec,
    Changes,
    Command,
    Device,
    Fact,
    Hazard,
    Lane,
    Message,
    Rows,
    Sample,
    Service,
    Stamp,
    Value,
)

LINK = "link"
"""The point a device's own silence is filed under."""
GATEWAY = "gateway"
"""The gateway itself, as a device: a journal that cannot be trusted is a fault like any other."""
OWN = {point: AlarmSpec(Hazard.FAULT) for point in ("journal_failing", "journal_damaged", "config_refused")}


class AlarmState(StrEnum):
    """A normal point has no row."""

    ACTIVE = "active"
    """The condition holds and nobody has acknowledged it."""
    ACKNOWLEDGED = "acknowledged"
    """The condition holds and somebody has seen it."""
    LATCHED = "latched"
    """The condition is gone, but nobody has acknowledged it."""


class Alarm(msgspec.Struct, frozen=True):
    """One alarm; its key is `device/point`."""

    id: str
    device: str
    point: str
    hazard: Hazard
    state: AlarmState
    raised: Stamp
    value: Value
    acknowledged_by: str = ""


class Safety(Service):
    """Raises, latches and closes alarms by the level of each point, never by its edge."""

    name = "safety"
    row = Alarm
    actions = frozenset({"acknowledge"})

    def __init__(self, devices: Mapping[str, Device]) -> None:
        self._specs: dict[str, dict[str, AlarmSpec]] = {
            device.name: {key: point.alarm for key, point in device.points.items() if point.alarm}
            for device in devices.values()
            if device.safety
        } | {GATEWAY: OWN}

    def apply(self, rows: Rows, message: Message) -> tuple[Changes, list[Fact]]:
        if isinstance(message, Sample):
            return self._sample(rows, message)
        if isinstance(message, Command) and message.action in self.actions:
            return _acknowledge(rows, message)
        if isinstance(message, Adopted):
            return self._adopted(rows, message)
        return {}, []

    def summary(self, rows: Rows) -> dict[str, Value]:
        states = [alarm.state for alarm in rows.values()]
        return {
            "alarms": len(states),
            "unacknowledged": sum(state is not AlarmState.ACKNOWLEDGED for state in states),
        }

    def _adopted(self, rows: Rows, adopted: Adopted) -> tuple[Changes, list[Fact]]:
        """Nothing will ever clear the alarm of a point that is no longer configured."""
        changes: Changes = {}
        facts: list[Fact] = []
        for key, alarm in rows.items():
            specs = self._specs.get(alarm.device)
            if specs is None or alarm.point not in (LINK, *specs):
                _enter(changes, facts, key, alarm, None, "removed", adopted.at)
        return changes, facts

    def _sample(self, rows: Rows, sample: Sample) -> tuple[Changes, list[Fact]]:
        changes: Changes = {}
        facts: list[Fact] = []
        specs = self._specs.get(sample.device)
        if specs is None:
            return changes, facts
        levels: list[tuple[str, Hazard, bool, Value]] = [
            (LINK, Hazard.FAULT, bool(sample.error), sample.error or "ok")
        ]
        for point, spec in specs.items():
            if point in sample.values:
                key = f"{sample.device}/{point}"
                value = sample.values[point]
                levels.append((point, spec.hazard, spec.exceeded(value, key in rows), value))
        for point, hazard, active, value in levels:
            key = f"{sample.device}/{point}"
            old: Alarm | None = rows.get(key)
            if active and (old is None or old.state is AlarmState.LATCHED):
                again = old or Alarm(
                    f"{key}/{sample.at.wall:x}",
                    sample.device,
                    point,
                    hazard,
                    AlarmState.ACTIVE,
                    sample.at,
                    value,
                )
                _enter(changes, facts, key, again, AlarmState.ACTIVE, "raised", sample.at, value=value)
            elif not active and old is not None and old.state is AlarmState.ACTIVE:
                _enter(changes, facts, key, old, AlarmState.LATCHED, "cleared", sample.at)
            elif not active and old is not None and old.state is AlarmState.ACKNOWLEDGED:
                _enter(changes, facts, key, old, None, "closed", sample.at)
        return changes, facts


def _acknowledge(rows: Rows, command: Command) -> tuple[Changes, list[Fact]]:
    """By alarm id, so that a late click never acknowledges a newer alarm of the same point."""
    changes: Changes = {}
    facts: list[Fact] = []
    for key, alarm in rows.items():
        if alarm.id != command.args.get("alarm") or alarm.state is AlarmState.ACKNOWLEDGED:
            continue
        gone = alarm.state is AlarmState.LATCHED
        state = None if gone else AlarmState.ACKNOWLEDGED
        change = "closed" if gone else "acknowledged"
        _enter(changes, facts, key, alarm, state, change, command.at, acknowledged_by=command.by)
    return changes, facts


def _enter(
    changes: Changes,
    facts: list[Fact],
    key: str,
    alarm: Alarm,
    state: AlarmState | None,
    change: str,
    at: Stamp,
    **fields: Any,
) -> None:
    """Move an alarm to its next state (None: normal) and say so."""
    alarm = msgspec.structs.replace(alarm, **fields)
    changes[key] = None if state is None else msgspec.structs.replace(alarm, state=state)
    body = {
        "id": alarm.id,
        "change": change,
        "state": state or "normal",
        "point": alarm.point,
        "hazard": alarm.hazard,
        "value": alarm.value,
        "raised": alarm.raised.wall,
        "by": alarm.acknowledged_by,
    }
    facts.append(Fact(Lane.ALARM, alarm.device, "alarm", at, body))
