"""What may be asked of the daemon about needs, and the order in which the two stores are written.

A need is registered once the journal has it: its particulars are sealed first, as yet unconfirmed, and an
end of the power in between leaves some that belong to no need, which are destroyed. A need is erased once
the journal says so: an end of the power in between leaves particulars of an erased need, which are
destroyed as well. So whatever happens, the journal decides, and `sweep` makes the other store follow.
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
from gateway.capabilities.needs.services import DAY, Need, Needs, Reception
from gateway.model import GATEWAY, Clock, Command, GatewayError, Rows
from gateway.services.commands import CommandRow, CommandStatus

from .particulars import LIMITS, NOTES, Note, Particulars, fields_of, problems, tidy
from .site import NeedsOptions
from .store import Store

EVERY = 60.0
"""Seconds between two looks for what must be destroyed."""
EXPIRES = 15_000
NAME = 40
"""Characters of whom a command is noted as by."""


class Desk:
    """Registers, shows, moves and erases needs, one after the other.

    `reception` and `options` are those that hold now, None where needs are not registered.
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

    def handlers(self) -> Mapping[str, Handler]:
        """The calls of the control socket."""
        return {
            "need-register": self._answer_register,
            "need-particulars": self._answer_particulars,
            "need-update": self._answer_update,
        }

    async def run(self) -> None:
        """Destroy what must be destroyed, as soon as the gateway has begun and then once a minute."""
        trouble = ""
        while True:
            was, trouble = trouble, ""
            try:
                await self.sweep()
                if self._options():
                    await asyncio.to_thread(self._store().check)
            except GatewayError as failure:
                trouble = error_text(failure.key, **failure.facts)
            if trouble and trouble != was:
                log_event(logging.ERROR, "needs-failed", reason=trouble)
            await self._clock.sleep(EVERY)

    async def sweep(self) -> None:
        """Make the sealed particulars follow the journal."""
        if self._options() is None:
            return
        async with self._lock:
            store, rows = self._store(), self._rows()
            kept = await asyncio.to_thread(store.kept)
            gone = [number for number in kept if number in rows and not rows[number].sealed]
            for number, each in kept.items():
                if number in rows and rows[number].sealed and not each.confirmed:
                    await asyncio.to_thread(store.confirm, number)
                # The journal may have lost a need that it once had: its particulars are not at fault.
                if number not in rows and (not each.confirmed or self._old(each.at)):
                    gone.append(number)
            if gone:
                await asyncio.to_thread(store.destroy, gone)

    def _old(self, at: int) -> bool:
        reception = self._reception()
        return reception is not None and self._clock.now().wall - at > reception.keep_days * DAY * 1000

    def _store(self) -> Store:
        options = self._options()
        if options is None:
            raise GatewayError("needs-off")
        return Store(options.path, options.key)

    async def _answer_register(self, request: dict[str, Any]) -> dict[str, Any]:
        """`category`, `channel`, `once` and the fields of the form; answers the number of the receipt."""
        fields = fields_of(request)
        if wrong := problems(fields):
            raise GatewayError("need-form", fields=", ".join(wrong))
        async with self._lock:
            once = str(request.get("once") or uuid.uuid4().hex)
            rows: Mapping[str, Need] = self._rows()
            for number, row in rows.items():
                if row.once == once:
                    return {"id": number}
            number = _number(rows)
            args = {name: str(request.get(name)) for name in ("category", "channel")}
            command = self._wish(request, "need-register", id=number, once=once, sealed=True, **args)
            self._object(command)
            store = self._store()
            await asyncio.to_thread(
                store.put, number, msgspec.convert(fields, Particulars), command.at.wall
            )
            failpoint("need-sealed")
            try:
                await self._carry_out(command)
            except GatewayError:
                await asyncio.to_thread(store.destroy, [number])
                raise
            failpoint("need-registered")
            await asyncio.to_thread(store.confirm, number)
            return {"id": number}

    async def _answer_particulars(self, request: dict[str, Any]) -> dict[str, Any]:
        """What a person said; that somebody looked is written down before it is shown."""
        async with self._lock:
            number = str(request.get("id"))
            command = self._wish(request, "need-look", id=number)
            if not command.by:
                raise GatewayError("need-nameless")
            self._object(command)
            particulars = await self._particulars(number)
            await self._carry_out(command)
            return msgspec.structs.asdict(particulars) | {
                "notes": [msgspec.structs.asdict(note) for note in particulars.notes]
            }

    async def _answer_update(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out the `action` with its `args`. A `note`, or the corrected `fields`, are sealed first: no
        step should stand without what it is about."""
        action, args = str(request.get("action")), request.get("args")
        text = tidy(str(request.get("note") or ""))
        if len(text) > LIMITS["text"]:
            raise GatewayError("need-form", fields="note")
        if not isinstance(args, dict) or action not in Needs.actions - {"need-register", "need-look"}:
            raise GatewayError("command-form", reason="action")
        if action == "need-note" and not text:
            raise GatewayError("need-form", fields="note")
        given = request.get("fields")
        fields = fields_of(given if isinstance(given, dict) else {})
        if action == "need-correct" and (wrong := problems(fields)):
            raise GatewayError("need-form", fields=", ".join(wrong))
        async with self._lock:
            command = self._wish(request, action, **args)
            self._object(command)
            number = str(args["id"])
            if action == "need-correct":
                former = await self._particulars(number)
                mended = msgspec.structs.replace(former, **fields)
                await asyncio.to_thread(self._store().replace, number, mended)
            elif text and action != "need-erase":
                await self._add(number, Note(command.at.wall, command.by, action[5:], text))
            await self._carry_out(command)
        if action == "need-erase":
            failpoint("need-erased")
            await self.sweep()
        return {}

    async def _add(self, number: str, note: Note) -> None:
        particulars = await self._particulars(number)
        if len(particulars.notes) >= NOTES:
            raise GatewayError("need-notes", most=NOTES)
        more = msgspec.structs.replace(particulars, notes=(*particulars.notes, note))
        await asyncio.to_thread(self._store().replace, number, more)

    async def _particulars(self, number: str) -> Particulars:
        particulars = await asyncio.to_thread(self._store().get, number)
        if particulars is None:
            raise GatewayError("need-erased")
        return particulars

    def _wish(self, request: dict[str, Any], action: str, **args: Any) -> Command:
        now = self._clock.now()
        asked = {
            "id": uuid.uuid4().hex,
            "at": now,
            "device": GATEWAY,
            "action": action,
            "args": args,
            "expires": now.wall + EXPIRES,
            "origin": "dashboard",
            "by": str(request.get("by") or "")[:NAME],
        }
        try:
            return msgspec.convert(asked, Command)
        except msgspec.ValidationError as error:
            raise GatewayError("command-form", reason=error) from error

    def _object(self, command: Command) -> None:
        """Raises what speaks against it, before anything is written."""
        if why := Needs(self._reception()).objection(self._rows(), command):
            raise GatewayError(why)

    async def _carry_out(self, command: Command) -> None:
        order = await self._command(command)
        if order.status is not CommandStatus.DONE:
            raise GatewayError(order.detail or order.status)


def _number(rows: Rows) -> str:
    """A receipt that nobody has."""
    while True:
        number = str(secrets.randbelow(90_000_000) + 10_000_000)
        if number not in rows:
            return number
