"""The shift log (值班记录): who was on duty from when until when, what they wrote, how they handed over.

What is written stays as it is: a shift that has ended can only be amended, by a named person, and the
amendment stands beside it.
"""

from __future__ import annotations

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
)

MAX_SHIFTS = 400
"""Shifts whose rows are kept; the facts of all of them are in the journal."""
MAX_REMARKS = 100
"""Of one shift, and as many amendments."""
MAX_TEXT_CHARACTERS = 200
COUNTED = ("alarms", "faults", "acknowledged", "disabled", "tests", "drills", "outages")
"""What is counted of a shift when it is handed over."""
LEFT_OPEN = ("standing", "out", "findings")
"""What is handed over with it: alarms that stand, what is out of service, and open findings."""


class Remark(msgspec.Struct, frozen=True):
    """What a person wrote, and when."""

    by: str
    at: Stamp
    text: str


class DutyShift(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One shift; its key is its id, `shift/…`."""

    by: str
    began: Stamp
    taken_from: str = ""
    """Who was on duty before; empty: nobody."""
    ended: Stamp | None = None
    signed: bool = False
    """Whether it was handed over by the person on duty; otherwise the next one just took over."""
    ended_by: str = ""
    counts: dict[str, int] = {}
    """By `COUNTED` and `LEFT_OPEN`, as the person on duty saw it at the handover."""
    remarks: tuple[Remark, ...] = ()
    amendments: tuple[Remark, ...] = ()


class ShiftLog(Service):
    """Records who takes over and hands over, and what they write. All of it is signed with a name."""

    name = "shifts"
    row = DutyShift
    actions = frozenset({"shift-begin", "shift-remark", "shift-end", "shift-amend"})

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        if not isinstance(message, Command) or message.action not in self.actions:
            return {}, []
        if message.by in ("", message.origin):  # Nobody has given a name.
            return {}, []
        apply = {
            "shift-begin": _begin_shift,
            "shift-remark": _add_remark,
            "shift-end": _end_shift,
            "shift-amend": _amend_shift,
        }[message.action]
        return apply(rows, message)


def current_shift(rows: Rows) -> tuple[str, DutyShift] | None:
    """The shift that has not ended, with its key."""
    return next(((key, shift) for key, shift in rows.items() if shift.ended is None), None)


def _begin_shift(rows: Rows, command: Command) -> tuple[RowChanges, list[Fact]]:
    """Takes over; ends the shift of whoever has not handed over."""
    current = current_shift(rows)
    if current is not None and current[1].by == command.by:
        return {}, []
    changes: RowChanges = {}
    facts: list[Fact] = []
    taken_from = ""
    if current is not None:
        key, shift = current
        taken_from = shift.by
        changes[key] = _replace(shift, ended=command.at, ended_by=command.by)
        facts.append(_ended_fact(key, shift, command, signed=False))
    elif rows:
        taken_from = max(rows.values(), key=lambda shift: shift.began.wall_ms).by
    number = command.at.wall_ms
    while (key := f"shift/{number:x}") in rows:
        number += 1
    changes[key] = DutyShift(by=command.by, began=command.at, taken_from=taken_from)
    oldest = sorted(rows, key=lambda name: rows[name].began.wall_ms)
    changes |= dict.fromkeys(oldest[: max(0, len(rows) + 1 - MAX_SHIFTS)])
    facts.append(_fact("shift-begun", key, command, taken_from=taken_from))
    return changes, facts


def _add_remark(rows: Rows, command: Command) -> tuple[RowChanges, list[Fact]]:
    current, text = current_shift(rows), _text(command)
    if current is None or not text or len(current[1].remarks) >= MAX_REMARKS:
        return {}, []
    key, shift = current
    remark = Remark(command.by, command.at, text)
    changed = _replace(shift, remarks=(*shift.remarks, remark))
    return {key: changed}, [_fact("shift-remark", key, command, text=text)]


def _end_shift(rows: Rows, command: Command) -> tuple[RowChanges, list[Fact]]:
    """Hands over: only whoever is on duty can sign that. A last remark is optional."""
    current, text = current_shift(rows), _text(command)
    if current is None or current[1].by != command.by:
        return {}, []
    key, shift = current
    remarks = (*shift.remarks, Remark(command.by, command.at, text)) if text else shift.remarks
    numbers = {name: command.args.get(name) for name in (*COUNTED, *LEFT_OPEN)}
    counts = {name: number for name, number in numbers.items() if _is_count(number)}
    ended = _replace(
        shift, ended=command.at, ended_by=command.by, signed=True, counts=counts, remarks=remarks
    )
    return {key: ended}, [_ended_fact(key, shift, command, signed=True, text=text, **counts)]


def _amend_shift(rows: Rows, command: Command) -> tuple[RowChanges, list[Fact]]:
    key, text = str(command.args.get("shift")), _text(command)
    shift: DutyShift | None = rows.get(key)
    if shift is None or shift.ended is None or not text or len(shift.amendments) >= MAX_REMARKS:
        return {}, []
    changed = _replace(shift, amendments=(*shift.amendments, Remark(command.by, command.at, text)))
    return {key: changed}, [_fact("shift-amended", key, command, text=text)]


def _is_count(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def _text(command: Command) -> str:
    """What the person wrote, on one line; empty if it is too long or no text."""
    value = command.args.get("text")
    text = " ".join(value.split()) if isinstance(value, str) else ""
    return text if len(text) <= MAX_TEXT_CHARACTERS else ""


def _ended_fact(key: str, shift: DutyShift, command: Command, **more: Any) -> Fact:
    seconds = command.at.seconds_since(shift.began)
    body = {"on_duty": shift.by, "seconds": None if seconds is None else round(seconds), **more}
    return _fact("shift-ended", key, command, **body)


def _fact(kind: str, key: str, command: Command, **body: Any) -> Fact:
    body = {"shift": key, "by": command.by, **body}
    return Fact(Lane.EVENT, GATEWAY_DEVICE, kind, command.at, body, durable=True)


_replace = msgspec.structs.replace
