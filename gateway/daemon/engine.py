"""Where everything meets: each message steps the services, and what they conclude is journalled.

Alarms are evaluated and committed before the sample that raised them is even queued.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from gateway.base.log import log_event
from gateway.config import NAME
from gateway.journal import Journal, JournalFailed
from gateway.model import (
    Adopted,
    Clock,
    Command,
    Fact,
    GatewayError,
    Lane,
    Message,
    Outcome,
    Rows,
    Sample,
    Service,
    Tick,
    Value,
)
from gateway.services.commands import Commands, Order, Status

Execute = Callable[[Command], Awaitable[None]]
"""Carries a command out on its device; raises `GatewayError` when it could not."""

REFRESH = 60.0
"""Seconds after which a summary is repeated although nothing changed: its age shows we are alive."""


class Engine:
    """The services' state, and the only way to change it."""

    def __init__(
        self,
        services: Iterable[Service],
        journal: Journal,
        clock: Clock,
        *,
        execute: Execute | None = None,
        on_alarm: Callable[[], None] = lambda: None,
    ) -> None:
        self._serve(services)
        self._journal = journal
        self._clock = clock
        self._rows: dict[str, dict[str, Any]] = {service.name: {} for service in self._services}
        self._told: dict[str, tuple[float, dict[str, Value]]] = {}
        self._execute = execute or _no_device
        self._on_alarm = on_alarm
        """Called when an alarm has changed, before it is written down."""

    def _serve(self, services: Iterable[Service]) -> None:
        self._services = list(services)
        self._commands = next(service for service in self._services if isinstance(service, Commands))

    async def adopt(self, services: Iterable[Service], adopted: Adopted) -> None:
        """Go on under another configuration with the same rows; what it no longer has comes to an end.
        Returns when that is safe on the disk."""
        self._serve(services)
        if self._step(adopted, self._services):
            await self._commit()

    async def restore(self) -> None:
        """Take up the state that the journal kept."""
        for service in self._services:
            decode = msgspec.msgpack.Decoder(service.row).decode
            kept = {}
            for key, body in (await self._journal.state(service.name)).items():
                try:
                    kept[key] = decode(body)
                except msgspec.DecodeError as error:
                    # Of an earlier version: better to begin anew with it than not to begin at all.
                    log_event(
                        logging.WARNING, "row-unreadable", service=service.name, row=key, reason=error
                    )
            self._rows[service.name] = dict(service.restore(kept))

    def rows(self, service: str) -> Rows:
        """The present state of a service."""
        return self._rows[service]

    def summary(self, name: str) -> dict[str, Value]:
        """The present figures of a service."""
        service = next(service for service in self._services if service.name == name)
        return service.summary(self._rows[name])

    async def sample(self, sample: Sample) -> None:
        """Take in one reading. Returns when an alarm it raised is safe on the disk."""
        if self._step(sample, self._services):
            await self._commit()
        self._journal.sample(sample)

    async def command(self, command: Command) -> Order:
        """Judge a command, carry it out at most once, and say how it ended. Raises `GatewayError`."""
        if not NAME.fullmatch(command.device):
            # It is written down whatever it asks for, and the name becomes part of a topic.
            raise GatewayError("command-form", reason="device")
        orders = self._rows[self._commands.name]
        if command.id in orders:
            return orders[command.id]  # type: ignore[no-any-return]
        self._step(command, [self._commands])
        try:
            # Not carried out before it is written down: a crash must find it.
            await self._journal.commit()
        except JournalFailed as failure:
            self._conclude(command, Status.FAILED, failure.key)
        order: Order = orders[command.id]
        if order.status is Status.ACCEPTED:
            status, detail = await self._carry_out(command)
            order = self._conclude(command, status, detail)
            await self._commit()
        log_event(
            logging.INFO, "command",
            action=order.action, device=order.device, by=order.by or order.origin,
            status=order.status, detail=order.detail,
        )  # fmt: skip
        return order

    def record(self, fact: Fact) -> None:
        """Write down something that is no service's conclusion."""
        self._journal.append("", [fact], {})

    async def conclude(self, service: str, outcomes: Iterable[Outcome]) -> None:
        """Tell a service how what it asked for has ended; returns when that is written down."""
        asked = [each for each in self._services if each.name == service]
        urgent = [self._step(outcome, asked) for outcome in outcomes]
        if any(urgent):
            await self._commit()

    async def run(self) -> None:
        """A tick a second: days end, summaries are told."""
        while True:
            now = self._clock.now()
            if self._step(Tick(now, self._journal.day_of(now)), self._services):
                await self._commit()
            if self._tell_summaries():
                await self._commit()
            await self._clock.sleep(1.0)

    def _conclude(self, command: Command, status: Status, detail: str) -> Order:
        """Note how a command ended."""
        self._step(Outcome(command.id, status, self._clock.now(), detail), [self._commands])
        order: Order = self._rows[self._commands.name][command.id]
        return order

    async def _carry_out(self, command: Command) -> tuple[Status, str]:
        own = [service for service in self._services if command.action in service.actions]
        try:
            if own:
                return (Status.DONE, "") if self._step(command, own) else (Status.FAILED, "nothing-to-do")
            await self._execute(command)
        except GatewayError as error:
            return Status.FAILED, error.key
        return Status.DONE, ""

    def _step(self, message: Message, services: Iterable[Service]) -> bool:
        """One step of each service; true if something must be committed at once."""
        urgent = False
        for service in services:
            rows = self._rows[service.name]
            changes, facts = service.apply(rows, message)
            for key, row in changes.items():
                if row is None:
                    del rows[key]
                else:
                    rows[key] = row
            urgent = urgent or (service.durable and bool(changes))
            if changes or facts:
                self._journal.append(service.name, facts, changes)
            for fact in facts:
                urgent = urgent or fact.durable or fact.lane is Lane.ALARM
                if fact.lane is Lane.ALARM:
                    log_event(logging.WARNING, "alarm", device=fact.device, **fact.body)
                    self._on_alarm()
                    followers = [each for each in self._services if each.follows_alarms]
                    urgent = self._step(fact, followers) or urgent
        return urgent

    async def _commit(self) -> None:
        try:
            await self._journal.commit()
        except JournalFailed:
            # The journal keeps it and tries again; the daemon tells of the failure once.
            return

    def _tell_summaries(self) -> bool:
        """True if something in them must be committed at once."""
        urgent = False
        now = self._clock.mono()
        for service in self._services:
            values = service.summary(self._rows[service.name])
            when, told = self._told.get(service.name, (float("-inf"), {}))
            if values and (values != told or now - when >= REFRESH):
                self._told[service.name] = now, values
                sample = Sample(service.name, self._clock.now(), values)
                followers = [each for each in self._services if each.follows_summaries]
                urgent = self._step(sample, followers) or urgent
                self._journal.sample(sample)
        return urgent


async def _no_device(command: Command) -> None:
    await asyncio.sleep(0)
    raise GatewayError("device-unknown", device=command.device, known="")
