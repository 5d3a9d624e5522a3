"""Hazards (隐患) that people find, each with a clock from found to closed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.model import (
    GATEWAY,
    Changes,
    Command,
    Fact,
    Lane,
    Message,
    Rows,
    Service,
    Stamp,
    Tick,
    Value,
)

HOUR = 3600.0
HOURS: Mapping[str, float] = {"general": 24.0, "major": 2.0}
"""Hours within which a hazard is to be closed, by severity (一般, 重大)."""
MOST = 1000
"""Open hazards, beyond which something else is wrong."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An open hazard; its key is its id, `hazard/…`. What people wrote is theirs: never trust it."""

    where: str
    what: str
    severity: str
    by: str
    at: Stamp
    hours: float
    """Hours it may stay open, as it was when it was found."""
    overdue: bool = False


class Hazards(Service):
    """Keeps what was found until somebody says what was done about it."""

    name = "hazards"
    row = Found
    actions = frozenset({"hazard-found", "hazard-closed"})

    def __init__(self, hours: Mapping[str, float] = HOURS) -> None:
        self._hours = hours

    def apply(self, rows: Rows, message: Message) -> tuple[Changes, list[Fact]]:
        if isinstance(message, Tick):
            return _remind(rows, message.at)
        if isinstance(message, Command) and message.action == "hazard-found":
            return self._found(rows, message)
        if isinstance(message, Command) and message.action == "hazard-closed":
            return _closed(rows, message)
        return {}, []

    def summary(self, rows: Rows) -> dict[str, Value]:
        return {"open": len(rows), "overdue": sum(row.overdue for row in rows.values())}

    def _found(self, rows: Rows, command: Command) -> tuple[Changes, list[Fact]]:
        where, what = _text(command, "where"), _text(command, "what")
        severity = str(command.args.get("severity", "general"))
        if not (where and what) or severity not in self._hours or len(rows) >= MOST:
            return {}, []
        found = Found(
            where=where,
            what=what,
            severity=severity,
            by=command.by or command.origin,
            at=command.at,
            hours=self._hours[severity],
        )
        if any((row.where, row.what, row.by) == (where, what, found.by) for row in rows.values()):
            return {}, []
        number = command.at.wall
        while (key := f"hazard/{number:x}") in rows:
            number += 1
        return {key: found}, [_fact("hazard-found", key, found, command.at, due_hours=found.hours)]


def _closed(rows: Rows, command: Command) -> tuple[Changes, list[Fact]]:
    key, done = str(command.args.get("id")), _text(command, "what")
    row: Found | None = rows.get(key)
    if row is None or not done:
        return {}, []
    seconds = command.at.seconds_since(row.at)
    body = {
        "done": done,
        "closed_by": command.by or command.origin,
        "seconds": None if seconds is None else round(seconds),
        "overdue": row.overdue or _late(row, command.at),
    }
    return {key: None}, [_fact("hazard-closed", key, row, command.at, **body)]


def _remind(rows: Rows, at: Stamp) -> tuple[Changes, list[Fact]]:
    late = {key: row for key, row in rows.items() if not row.overdue and _late(row, at)}
    return (
        {key: msgspec.structs.replace(row, overdue=True) for key, row in late.items()},
        [_fact("hazard-overdue", key, row, at) for key, row in late.items()],
    )


def _late(row: Found, at: Stamp) -> bool:
    return at.seconds_since(row.at, unknown=0.0) >= row.hours * HOUR


def _text(command: Command, name: str) -> str:
    value = command.args.get(name)
    return value.strip() if isinstance(value, str) else ""


def _fact(kind: str, key: str, row: Found, at: Stamp, **more: Any) -> Fact:
    body = {
        "id": key,
        "where": row.where,
        "what": row.what,
        "severity": row.severity,
        "found": row.at.wall,
        "by": row.by,
        **more,
    }
    return Fact(Lane.EVENT, GATEWAY, kind, at, body, durable=True)
