"""Registers, shows, updates and erases needs for the control socket, and keeps the two stores consistent.

A need is registered once it is in the journal: its particulars are sealed before that, unconfirmed, and a
power cut in between leaves particulars without a need, which are destroyed. A need is erased once the
journal says so: a power cut in between leaves particulars of an erased need, which are destroyed as well.
So the journal always decides, and `sweep` makes the other store follow.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from gateway.base.control import Handler
from gateway.base.failpoint import failpoint
from gateway.base.log import error_text, log_event
from gateway.capabilities.needs.services import DAY_S, Need, Needs, Reception
from gateway.model import GATEWAY_DEVICE, Clock, Command, GatewayError, Rows, sentence
from gateway.services.commands import CommandRow, CommandStatus

from .particulars import (
    MAX_LENGTHS,
    MAX_NOTES,
    Note,
    Particulars,
    field_errors,
    normalize_text,
    normalized_fields,
)
from .site import NeedsOptions
from .store import ParticularsStore

SWEEP_INTERVAL_S = 60.0
"""How often particulars that must be destroyed are looked for."""
EXPIRED_FOR_S = 6 * 3600.0
COMMAND_LIFETIME_MS = 15_000
MAX_AUTHOR_LENGTH = 40
"""Longer names of the author of a command are cut."""


class NeedsRegistry:
    """Handles one request after the other.

    `reception` and `options` return the current configuration, None while needs are not configured.
    """

    def __init__(
        self,
        reception: Callable[[], Reception | None],
        options: Callable[[], NeedsOptions | None],
        rows: Callable[[], Rows],
        command: Callable[[Command], Awaitable[CommandRow]],
        clock: Clock,
    ) -> None:
        self._reception = reception
        self._options = options
        self._rows = rows
        self._command = command
        self._clock = clock
        self._lock = asyncio.Lock()
        self._expired_since_s: dict[str, float] = {}
        """When sealed particulars without a need were found to be past their retention."""

    def handlers(self) -> Mapping[str, Handler]:
        """The calls of the control socket."""
        return {
            "need-register": self._answer_register,
            "need-particulars": self._answer_particulars,
            "need-update": self._answer_update,
        }

    async def run(self) -> None:
        """Destroy expired particulars at the start of the gateway and then once a minute."""
        problem = ""
        while True:
            previous_problem, problem = problem, ""
            try:
                await self.sweep()
                if self._options():
                    await asyncio.to_thread(self._store().check_key)
            except GatewayError as failure:
                problem = error_text(failure.key, **failure.facts)
            if problem and problem != previous_problem:
                log_event(logging.ERROR, "needs-failed", reason=problem)
            await self._clock.sleep(SWEEP_INTERVAL_S)

    async def sweep(self) -> None:
        """Make the sealed particulars follow the journal."""
        if self._options() is None:
            return
        async with self._lock:
            store, rows = self._store(), self._rows()
            kept = await asyncio.to_thread(store.stored)
            to_destroy = [number for number in kept if number in rows and not rows[number].sealed]
            for number, each in kept.items():
                if number in rows and rows[number].sealed and not each.confirmed:
                    await asyncio.to_thread(store.confirm, number)
                # The journal may have lost a confirmed need: keep its particulars until they expire.
                if number not in rows and (not each.confirmed or self._is_past_retention(number, each.at)):
                    to_destroy.append(number)
            if to_destroy:
                await asyncio.to_thread(store.destroy, to_destroy)

    def _is_past_retention(self, number: str, at: int) -> bool:
        """Whether it has been so for hours: the clock may be wrong for a while."""
        reception, now_s = self._reception(), self._clock.mono()
        age_ms = self._clock.now().wall_ms - at
        if reception is None or age_ms <= reception.keep_days * DAY_S * 1000:
            self._expired_since_s.pop(number, None)
            return False
        return now_s - self._expired_since_s.setdefault(number, now_s) >= EXPIRED_FOR_S

    def _store(self) -> ParticularsStore:
        options = self._options()
        if options is None:
            raise GatewayError("needs-off")
        return ParticularsStore(options.path, options.key)

    async def _answer_register(self, request: dict[str, Any]) -> dict[str, Any]:
        """Register a need from `category`, `channel`, `once` and the fields of the form; answers its
        receipt number."""
        fields = normalized_fields(request)
        if invalid := field_errors(fields):
            raise GatewayError("need-form", fields=", ".join(invalid))
        async with self._lock:
            once = str(request.get("once") or uuid.uuid4().hex)
            rows: Mapping[str, Need] = self._rows()
            for number, row in rows.items():
                if row.once == once:
                    return {"id": number}
            number = _new_receipt_number(rows)
            args = {name: str(request.get(name)) for name in ("category", "channel")}
            command = self._build_command(
                request, "need-register", id=number, once=once, sealed=True, **args
            )
            self._check_objections(command)
            store = self._store()
            await asyncio.to_thread(
                store.insert, number, msgspec.convert(fields, Particulars), command.at.wall_ms
            )
            failpoint("need-sealed")
            try:
                await self._execute(command)
            except GatewayError:
                await asyncio.to_thread(store.destroy, [number])
                raise
            failpoint("need-registered")
            await asyncio.to_thread(store.confirm, number)
            return {"id": number}

    async def _answer_particulars(self, request: dict[str, Any]) -> dict[str, Any]:
        """Show the particulars of a need; the access is recorded in the journal first."""
        async with self._lock:
            number = str(request.get("id"))
            command = self._build_command(request, "need-look", id=number)
            if not command.by:
                raise GatewayError("need-nameless")
            self._check_objections(command)
            particulars = await self._particulars(number)
            await self._execute(command)
            return msgspec.structs.asdict(particulars) | {
                "notes": [msgspec.structs.asdict(note) for note in particulars.notes]
            }

    async def _answer_update(self, request: dict[str, Any]) -> dict[str, Any]:
        """Execute the `action` with its `args`. A `note` or the corrected `fields` are sealed first, so
        that there is no step without its text."""
        action, args = str(request.get("action")), request.get("args")
        text = normalize_text(str(request.get("note") or ""))
        if len(text) > MAX_LENGTHS["text"]:
            raise GatewayError("need-form", fields="note")
        if not isinstance(args, dict) or action not in Needs.actions - {"need-register", "need-look"}:
            raise GatewayError("command-form", reason=sentence("cause.field-wrong", where="action"))
        if action == "need-note" and not text:
            raise GatewayError("need-form", fields="note")
        given = request.get("fields")
        fields = normalized_fields(given if isinstance(given, dict) else {})
        if action == "need-correct" and (invalid := field_errors(fields)):
            raise GatewayError("need-form", fields=", ".join(invalid))
        async with self._lock:
            command = self._build_command(request, action, **args)
            self._check_objections(command)
            number = str(args["id"])
            if action == "need-correct":
                previous = await self._particulars(number)
                corrected = msgspec.structs.replace(previous, **fields)
                await asyncio.to_thread(self._store().replace, number, corrected)
            elif text and action != "need-erase":
                await self._add_note(number, Note(command.at.wall_ms, command.by, action[5:], text))
            await self._execute(command)
        if action == "need-erase":
            failpoint("need-erased")
            await self.sweep()
        return {}

    async def _add_note(self, number: str, note: Note) -> None:
        particulars = await self._particulars(number)
        if len(particulars.notes) >= MAX_NOTES:
            raise GatewayError("need-notes", most=MAX_NOTES)
        extended = msgspec.structs.replace(particulars, notes=(*particulars.notes, note))
        await asyncio.to_thread(self._store().replace, number, extended)

    async def _particulars(self, number: str) -> Particulars:
        particulars = await asyncio.to_thread(self._store().get, number)
        if particulars is None:
            raise GatewayError("need-erased")
        return particulars

    def _build_command(self, request: dict[str, Any], action: str, **args: Any) -> Command:
        now = self._clock.now()
        fields = {
            "id": uuid.uuid4().hex,
            "at": now,
            "device": GATEWAY_DEVICE,
            "action": action,
            "args": args,
            "expires": now.wall_ms + COMMAND_LIFETIME_MS,
            "origin": "dashboard",
            "by": str(request.get("by") or "")[:MAX_AUTHOR_LENGTH],
        }
        try:
            return msgspec.convert(fields, Command)
        except msgspec.ValidationError as error:
            raise GatewayError("command-form", reason=error) from error

    def _check_objections(self, command: Command) -> None:
        """Raise `GatewayError` if the command is not allowed, before anything is written."""
        if why := Needs(self._reception()).objection(self._rows(), command):
            raise GatewayError(why)

    async def _execute(self, command: Command) -> None:
        order = await self._command(command)
        if order.status is not CommandStatus.DONE:
            raise GatewayError(order.detail or order.status)


def _new_receipt_number(rows: Rows) -> str:
    """A random receipt number that is not in use."""
    while True:
        number = str(secrets.randbelow(90_000_000) + 10_000_000)
        if number not in rows:
            return number
