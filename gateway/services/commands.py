"""Commands: executed at most once, if allowed, before they expire; always recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from gateway.model import (
    GATEWAY_DEVICE,
    Command,
    Fact,
    Lane,
    Message,
    Outcome,
    RowChanges,
    Rows,
    Service,
    Stamp,
    Tick,
)

RETENTION_MS = 86_400_000
"""How long a command is stored after its expiry; a later copy is refused as expired."""


class CommandStatus(StrEnum):
    """The state of a command."""

    ACCEPTED = "accepted"
    DONE = "done"
    FAILED = "failed"
    DENIED = "denied"
    INTERRUPTED = "interrupted"
    """Accepted before a restart: it is unknown whether it was executed, and it is not tried again."""
    UNKNOWN = "unknown"


class CommandRow(msgspec.Struct, frozen=True):
    """One command; the key of its row is the command's id."""

    device: str
    action: str
    origin: str
    by: str
    at: Stamp
    expires: int
    status: CommandStatus
    detail: str = ""


class Commands(Service):
    """Evaluates each command once; the caller executes those whose row is `accepted`."""

    name = "commands"
    row = CommandRow

    def __init__(self, allowed: Mapping[str, frozenset[str]], devices: Iterable[str]) -> None:
        self._allowed = allowed
        self._devices = frozenset(devices)

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        if isinstance(message, Command):
            return ({}, []) if message.id in rows else self._evaluate(message)
        if isinstance(message, Outcome) and message.command in rows:
            return _record_outcome(message.command, rows[message.command], message)
        if isinstance(message, Tick):
            return _remove_expired(rows, message.at)
        return {}, []

    def restore(self, rows: Rows) -> Rows:
        return {
            key: msgspec.structs.replace(order, status=CommandStatus.INTERRUPTED)
            if order.status is CommandStatus.ACCEPTED
            else order
            for key, order in rows.items()
        }

    def _evaluate(self, command: Command) -> tuple[RowChanges, list[Fact]]:
        reason = self._denial_reason(command)
        order = CommandRow(
            # A command for an unknown device must not create a stream of that name.
            command.device if command.device in self._devices else GATEWAY_DEVICE,
            command.action,
            command.origin,
            command.by,
            command.at,
            command.expires,
            CommandStatus.DENIED if reason else CommandStatus.ACCEPTED,
            reason,
        )
        body = {"args": command.args, "device": command.device}
        return {command.id: order}, [_fact("command", command.id, order, command.at, **body)]

    def _denial_reason(self, command: Command) -> str:
        if command.device not in self._devices:
            return "device-unknown"
        if command.action not in self._allowed.get(command.origin, ()):
            return "not-allowed"
        if not command.at.is_set:
            return "clock-unset"
        if command.expires <= command.at.wall_ms:
            return "expired"
        return ""


def _record_outcome(key: str, row: CommandRow, outcome: Outcome) -> tuple[RowChanges, list[Fact]]:
    row = msgspec.structs.replace(row, status=CommandStatus(outcome.status), detail=outcome.detail)
    return {key: row}, [_fact("outcome", key, row, outcome.at)]


def _remove_expired(rows: Rows, at: Stamp) -> tuple[RowChanges, list[Fact]]:
    changes: RowChanges = {}
    facts: list[Fact] = []
    for key, order in rows.items():
        if order.status is CommandStatus.INTERRUPTED:
            ended = Outcome(key, CommandStatus.UNKNOWN, at, "restart")
            changed, finished = _record_outcome(key, order, ended)
            changes |= changed
            facts += finished
        elif order.expires + RETENTION_MS < at.wall_ms:
            changes[key] = None
    return changes, facts


def _fact(kind: str, key: str, row: CommandRow, at: Stamp, **more: Any) -> Fact:
    body = {
        "id": key,
        "action": row.action,
        "origin": row.origin,
        "by": row.by,
        "status": row.status,
        "detail": row.detail,
        **more,
    }
    return Fact(Lane.EVENT, row.device, kind, at, body, durable=True)
