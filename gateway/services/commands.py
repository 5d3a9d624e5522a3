"""Commands: executed at most once, if allowed, before they expire; always recorded.

An accepted command keeps its row until there are `MAX_COMMANDS` of later expiry, whatever the clock says: a
clock that leaps ahead and back must not make an executed command new again. The highest expiry that was
forgotten is kept too, and nothing that expires earlier is accepted. A denied command has no row.
"""

from __future__ import annotations

import hashlib
import heapq
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

MAX_LIFETIME_MS = 3_600_000
"""A command that expires later than this after it was received is denied."""
MAX_COMMANDS = 2000
"""Commands whose rows are kept at most, while none is in hand."""
MAX_NAMED_DEVICES = 10
"""Of devices, in a reason."""
FORGOTTEN_AT_ONCE = 100
"""Rows that are forgotten when there are more."""
FORGOTTEN = ""
"""The key of the row whose `expires` is the highest of all that were forgotten; no command has this id."""


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
    """One accepted command; the key of its row is the command's id."""

    device: str
    action: str
    origin: str
    by: str
    at: Stamp
    expires: int
    status: CommandStatus
    detail: str = ""
    digest: str = ""
    """Of what was asked: the same id with other content is another command."""
    facts: dict[str, Any] = {}
    """What is in the sentence `error.{detail}`."""
    result: dict[str, Any] = {}
    """What came of it, for whoever asked first; it is not kept."""

    @property
    def is_in_hand(self) -> bool:
        """Whether its outcome is still to be recorded."""
        return self.status in (CommandStatus.ACCEPTED, CommandStatus.INTERRUPTED)


class Commands(Service):
    """Evaluates each command once; the caller executes those whose row is `accepted`."""

    name = "commands"
    row = CommandRow

    def __init__(self, allowed: Mapping[str, frozenset[str]], devices: Iterable[str]) -> None:
        self._allowed = allowed
        self._devices = frozenset(devices)

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        if isinstance(message, Command):
            return self._accept_or_deny(rows, message)
        if isinstance(message, Outcome) and message.command in rows:
            return _record_outcome(message.command, rows[message.command], message)
        if isinstance(message, Tick):
            return _end_interrupted(rows, message.at)
        return {}, []

    def restore(self, rows: Rows) -> Rows:
        return {
            key: msgspec.structs.replace(order, status=CommandStatus.INTERRUPTED)
            if order.status is CommandStatus.ACCEPTED
            else order
            for key, order in rows.items()
        }

    def evaluate(self, rows: Rows, command: Command) -> CommandRow:
        """The row that a command has already, if it is repeated; else a new one, `accepted` or `denied`."""
        known: CommandRow | None = rows.get(command.id)
        digest = _digest(command)
        if known is not None and known.digest == digest:
            return known
        reason = "id-reused" if known else self._denial_reason(rows, command)
        return CommandRow(
            # A command for an unknown device must not create a stream of that name.
            command.device if command.device in self._devices else GATEWAY_DEVICE,
            command.action,
            command.origin,
            command.by,
            command.at,
            command.expires,
            CommandStatus.DENIED if reason else CommandStatus.ACCEPTED,
            reason,
            digest,
            self._names(command) if reason == "device-unknown" else {},
        )

    def _accept_or_deny(self, rows: Rows, command: Command) -> tuple[RowChanges, list[Fact]]:
        order = self.evaluate(rows, command)
        if order is rows.get(command.id):
            return {}, []
        more = {
            "args": command.args,
            "device": command.device,
            **({"key": command.key} if command.key else {}),
        }
        fact = _fact("command", command.id, order, command.at, **more)
        if order.status is CommandStatus.DENIED:
            return {}, [fact]
        return {**_forget_earliest(rows, command.at), command.id: order}, [fact]

    def _names(self, command: Command) -> dict[str, Any]:
        """The device that there is not, and some of those that there are."""
        known = sorted(self._devices)
        more = ["…"] if len(known) > MAX_NAMED_DEVICES else []
        return {"device": command.device, "known": ", ".join([*known[:MAX_NAMED_DEVICES], *more]) or "–"}

    def _denial_reason(self, rows: Rows, command: Command) -> str:
        at, expires = command.at, command.expires
        objections = {
            "device-unknown": command.device not in self._devices,
            "not-allowed": command.action not in self._allowed.get(command.origin, ()),
            "clock-unset": not at.is_set,
            "expired": expires <= at.wall_ms,
            "lifetime-too-long": expires > at.wall_ms + MAX_LIFETIME_MS,
            "maybe-repeated": expires <= highest_forgotten(rows, at),
        }
        return next((reason for reason, applies in objections.items() if applies), command.objection)


def latest_expiry(rows: Rows) -> int:
    """The latest expiry of all commands that were ever accepted, forgotten ones included."""
    return max((order.expires for order in rows.values()), default=0)


def forget_lost(at: Stamp, latest: int) -> RowChanges:
    """The change of rows after they were lost: everything up to that expiry may have been executed."""
    return {FORGOTTEN: CommandRow("", "", "", "", at, latest, CommandStatus.UNKNOWN)}


def highest_forgotten(rows: Rows, now: Stamp) -> int:
    """The expiry up to which a command may be one that was executed and forgotten.

    One further ahead than any valid command is from a time when the clock was ahead. It must not lock
    everything out until then: what was executed before the rows were lost has expired a lifetime later.
    """
    forgotten: CommandRow | None = rows.get(FORGOTTEN)
    if forgotten is None:
        return 0
    if forgotten.expires <= now.wall_ms + MAX_LIFETIME_MS:
        return forgotten.expires
    return forgotten.at.wall_ms + MAX_LIFETIME_MS


def _forget_earliest(rows: Rows, now: Stamp) -> RowChanges:
    """Make room for one more row. A command in hand is never forgotten."""
    too_many = len(rows) - MAX_COMMANDS
    if too_many <= 0:
        return {}
    ended = [
        (order.expires, key) for key, order in rows.items() if key != FORGOTTEN and not order.is_in_hand
    ]
    # Several at once: a flood would have all rows compared for each command.
    earliest = heapq.nsmallest(too_many + FORGOTTEN_AT_ONCE, ended)
    if not earliest:
        return {}
    highest = max(highest_forgotten(rows, now), earliest[-1][0])
    return {**dict.fromkeys(key for _, key in earliest), **forget_lost(now, highest)}


def _digest(command: Command) -> str:
    # Without the expiry: who repeats a command may give it a later one.
    asked = (
        command.device,
        command.action,
        sorted(command.args.items()),
        command.origin,
        command.by,
    )
    return hashlib.sha256(repr(asked).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _record_outcome(key: str, row: CommandRow, outcome: Outcome) -> tuple[RowChanges, list[Fact]]:
    row = msgspec.structs.replace(
        row, status=CommandStatus(outcome.status), detail=outcome.detail, facts=outcome.facts
    )
    return {key: row}, [_fact("outcome", key, row, outcome.at)]


def _end_interrupted(rows: Rows, at: Stamp) -> tuple[RowChanges, list[Fact]]:
    changes: RowChanges = {}
    facts: list[Fact] = []
    for key, order in rows.items():
        if order.status is CommandStatus.INTERRUPTED:
            changed, ended = _record_outcome(key, order, Outcome(key, CommandStatus.UNKNOWN, at, "restart"))
            changes |= changed
            facts += ended
    return changes, facts


def _fact(kind: str, command: str, row: CommandRow, at: Stamp, **more: Any) -> Fact:
    body = {
        "id": command,
        "action": row.action,
        "origin": row.origin,
        "by": row.by,
        "status": row.status,
        "detail": row.detail,
        **({"facts": row.facts} if row.facts else {}),
        **more,
    }
    return Fact(Lane.EVENT, row.device, kind, at, body, durable=True)
