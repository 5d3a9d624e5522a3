"""Findings (隐患): dangers that people report, each with a deadline by which it must be closed.

In the site file, in commands and in the journal a finding is called a hazard.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.model import (
    GATEWAY_DEVICE,
    Command,
    Fact,
    Lane,
    Message,
    RowChanges,
    Rows,
    Service,
    Stamp,
    Tick,
    Value,
)

HOUR_S = 3600.0
CLOSE_WITHIN_HOURS: Mapping[str, float] = {"general": 24.0, "major": 2.0}
"""Hours within which a finding must be closed, by severity (一般, 重大)."""
MAX_OPEN_FINDINGS = 1000
"""More open findings than this are refused: something else is wrong then."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """An open finding; its key is its id, `hazard/…`. `where` and `what` are what a person typed."""

    where: str
    what: str
    severity: str
    by: str
    at: Stamp
    hours: float
    """Hours it may stay open, by the configuration when it was reported."""
    overdue: bool = False


class Findings(Service):
    """Keeps each finding until a person reports what was done about it."""

    name = "hazards"
    row = Finding
    actions = frozenset({"hazard-found", "hazard-closed"})

    def __init__(self, close_within_hours: Mapping[str, float] = CLOSE_WITHIN_HOURS) -> None:
        self._close_within_hours = close_within_hours

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        if isinstance(message, Tick):
            return _mark_overdue(rows, message.at)
        if isinstance(message, Command) and message.action == "hazard-found":
            return self._open_finding(rows, message)
        if isinstance(message, Command) and message.action == "hazard-closed":
            return _close_finding(rows, message)
        return {}, []

    def summary(self, rows: Rows) -> dict[str, Value]:
        return {"open": len(rows), "overdue": sum(row.overdue for row in rows.values())}

    def _open_finding(self, rows: Rows, command: Command) -> tuple[RowChanges, list[Fact]]:
        where, what = _text_argument(command, "where"), _text_argument(command, "what")
        severity = str(command.args.get("severity", "general"))
        if (
            not (where and what)
            or severity not in self._close_within_hours
            or len(rows) >= MAX_OPEN_FINDINGS
        ):
            return {}, []
        finding = Finding(
            where=where,
            what=what,
            severity=severity,
            by=command.by or command.origin,
            at=command.at,
            hours=self._close_within_hours[severity],
        )
        if any((row.where, row.what, row.by) == (where, what, finding.by) for row in rows.values()):
            return {}, []
        number = command.at.wall_ms
        while (key := f"hazard/{number:x}") in rows:
            number += 1
        return {key: finding}, [_fact("hazard-found", key, finding, command.at, due_hours=finding.hours)]


def _close_finding(rows: Rows, command: Command) -> tuple[RowChanges, list[Fact]]:
    key, done = str(command.args.get("id")), _text_argument(command, "what")
    row: Finding | None = rows.get(key)
    if row is None or not done:
        return {}, []
    seconds = command.at.seconds_since(row.at)
    body = {
        "done": done,
        "closed_by": command.by or command.origin,
        "seconds": None if seconds is None else round(seconds),
        "overdue": row.overdue or _is_overdue(row, command.at),
    }
    return {key: None}, [_fact("hazard-closed", key, row, command.at, **body)]


def _mark_overdue(rows: Rows, at: Stamp) -> tuple[RowChanges, list[Fact]]:
    overdue = {key: row for key, row in rows.items() if not row.overdue and _is_overdue(row, at)}
    return (
        {key: msgspec.structs.replace(row, overdue=True) for key, row in overdue.items()},
        [_fact("hazard-overdue", key, row, at) for key, row in overdue.items()],
    )


def _is_overdue(row: Finding, at: Stamp) -> bool:
    return at.seconds_since(row.at, if_unknown=0.0) >= row.hours * HOUR_S


def _text_argument(command: Command, name: str) -> str:
    value = command.args.get(name)
    return value.strip() if isinstance(value, str) else ""


def _fact(kind: str, key: str, row: Finding, at: Stamp, **more: Any) -> Fact:
    body = {
        "id": key,
        "where": row.where,
        "what": row.what,
        "severity": row.severity,
        "found": row.at.wall_ms,
        "by": row.by,
        **more,
    }
    return Fact(Lane.EVENT, GATEWAY_DEVICE, kind, at, body, durable=True)
