"""Passes each message to the services, and their facts and rows to the journal.

Alarms are evaluated and committed before the sample that raised them is even queued.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from gateway.base.log import language, log_event
from gateway.config import NAME_PATTERN
from gateway.journal import Journal, JournalFailed
from gateway.model import (
    Clock,
    Command,
    ConfigurationAdopted,
    Fact,
    GatewayError,
    Lane,
    Message,
    Outcome,
    Rows,
    Sample,
    Service,
    Stamp,
    Tick,
    Value,
    sentence,
)
from gateway.services.commands import CommandRow, Commands, CommandStatus, forget_lost, latest_expiry
from gateway.words import error_summary, words

from .latest_expiry import LatestExpiry, latest_expiry_file

Execute = Callable[[Command], Awaitable[dict[str, Any] | None]]
"""Executes a command on its device, and returns what came of it, if that is of interest; raises
`GatewayError` when it could not."""

SUMMARY_INTERVAL_S = 60.0
"""After this time an unchanged summary is published again: its age shows that the gateway runs."""


MIN_LEAP_MS, STEADY_AFTER_NS = 600_000, 6 * 3600e9


class CarriedState(NamedTuple):
    """What outlives a journal that must be opened again."""

    rows: dict[str, dict[str, Any]]
    """The rows of each service."""
    facts: list[Fact]
    """To be recorded again."""
    is_newest: bool
    """Whether the rows are newer than those in the journal; else they only add to them."""


class StepResult(NamedTuple):
    """The effect of one message."""

    changed: bool
    """Whether any service changed its rows or returned facts."""
    urgent: bool
    """Whether that must be committed at once."""


class LeapWatch:
    """Tells whether the wall clock has gone with the monotonic one for some hours, or since the start."""

    def __init__(self) -> None:
        self._last: Stamp | None = None
        self._leapt: Stamp | None = None

    def is_steady(self, now: Stamp) -> bool:
        """Call this every second."""
        last, self._last = self._last, now
        if last:
            leap_ms = (now.wall_ms - last.wall_ms) - (now.mono_ns - last.mono_ns) / 1e6
            if abs(leap_ms) >= MIN_LEAP_MS:
                self._leapt = now
        return self._leapt is None or now.mono_ns - self._leapt.mono_ns >= STEADY_AFTER_NS


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
        latest_expiry: LatestExpiry | None = None,
    ) -> None:
        self._set_services(services)
        self._journal = journal
        self._clock = clock
        self._rows: dict[str, dict[str, Any]] = {service.name: {} for service in self._services}
        self._leap_watch = LeapWatch()
        self._published: dict[str, tuple[float, dict[str, Value]]] = {}
        """The last summary of each service, and its monotonic time in seconds."""
        self._execute = execute or _no_device
        self._latest_expiry = latest_expiry or LatestExpiry(latest_expiry_file(journal.path))
        self._on_alarm = on_alarm
        """Called when an alarm has changed, before that is written to the journal."""

    def _set_services(self, services: Iterable[Service]) -> None:
        self._services = list(services)
        self._commands = next(service for service in self._services if isinstance(service, Commands))

    async def adopt(self, services: Iterable[Service], adopted: ConfigurationAdopted) -> None:
        """Continue under another configuration with the same rows; services close what it no longer has.
        Returns when that is safe on the disk."""
        self._set_services(services)
        if self._process_message(adopted, self._services).urgent:
            await self._commit()

    async def restore(self, carried: CarriedState | None = None) -> None:
        """Load the state that the journal has saved, and what was carried from the one before."""
        for service in self._services:
            decode = msgspec.msgpack.Decoder(service.row).decode
            rows = {}
            for key, body in (await self._journal.reader.service_rows(service.name)).items():
                try:
                    rows[key] = decode(body)
                except msgspec.DecodeError as error:
                    # Of an earlier version: starting without the row is better than not starting.
                    log_event(
                        logging.WARNING, "row-unreadable", service=service.name, row=key, reason=error
                    )
            if carried:
                rows = self._with_carried(service.name, rows, carried)
            restored = dict(service.restore(rows))
            self._rows[service.name] = restored
            # What has become unknown is unknown to the readers of the journal as well.
            self._journal.append(
                service.name, [], {key: row for key, row in restored.items() if row != rows.get(key)}
            )
        if carried:
            self._journal.append("", carried.facts, {})
        await self._restore_commands()

    def _with_carried(self, service: str, stored: Rows, carried: CarriedState) -> dict[str, Any]:
        rows = carried.rows.get(service, {})
        if carried.is_newest:
            changes = {**dict.fromkeys(stored.keys() - rows.keys()), **rows}
        else:
            rows = {**rows, **stored}
            changes = {key: rows[key] for key in rows.keys() - stored.keys()}
        self._journal.append(service, [], changes)
        return rows

    async def _restore_commands(self) -> None:
        """If the journal has lost commands, refuse those that may be repetitions of them."""
        name, now = self._commands.name, self._clock.now()
        latest = await self._latest_expiry.load()
        if latest > latest_expiry(self._rows[name]):
            changes = forget_lost(now, latest)
            self._rows[name] |= changes
            self._journal.append(name, [], changes)
            log_event(logging.WARNING, "commands-lost")

    def all_rows(self) -> dict[str, dict[str, Any]]:
        """The present state of every service."""
        return {name: dict(rows) for name, rows in self._rows.items()}

    def rows(self, service: str) -> Rows:
        """The present state of a service."""
        return self._rows[service]

    def summary(self, name: str) -> dict[str, Value]:
        """The present figures of a service."""
        service = next(service for service in self._services if service.name == name)
        return service.summary(self._rows[name])

    async def publish_sample(self, sample: Sample) -> None:
        """Process one sample. Returns when an alarm it raised is safe on the disk."""
        if self._process_message(sample, self._services).urgent:
            await self._commit()
        self._journal.append_sample(sample)

    async def submit_command(self, command: Command) -> CommandRow:
        """Authorise a command, execute it at most once, and return how it ended. Raises `GatewayError`."""
        if not NAME_PATTERN.fullmatch(command.device):
            # The command is recorded whatever it asks for, and the name becomes part of a topic.
            raise GatewayError("command-form", reason=sentence("cause.field-wrong", where="device"))
        orders: dict[str, CommandRow] = self._rows[self._commands.name]
        order = self._commands.evaluate(orders, command)
        if order is orders.get(command.id):
            return order
        self._process_message(command, [self._commands])
        try:
            # Not executed before it is committed: after a crash, it must be known that it may have been.
            await self._journal.commit()
        except JournalFailed as failure:
            if order.status is CommandStatus.ACCEPTED:
                order = self._set_outcome(command, CommandStatus.FAILED, failure)
        if order.status is CommandStatus.ACCEPTED:
            failed, result = None, None
            try:
                result = await self._execute_command(command)
            except GatewayError as error:
                failed = error
            status = CommandStatus.FAILED if failed else CommandStatus.DONE
            order = self._set_outcome(command, status, failed)
            await self._commit()
            order = msgspec.structs.replace(order, result=result or {})
        log_event(
            logging.INFO, "command",
            device=order.device, by=order.by or sentence(f"origin.{order.origin}"),
            outcome=sentence(f"dashboard.order-{order.status}", reason=_order_reason(order)),
            **_in_words({"action": order.action}), status=order.status, detail=order.detail,
        )  # fmt: skip
        return order

    def record_fact(self, fact: Fact) -> None:
        """Record a fact that comes from no service."""
        self._journal.append("", [fact], {})

    async def report_outcomes(self, service: str, outcomes: Iterable[Outcome]) -> None:
        """Pass a service the outcomes of what it requested. Returns when the result is committed."""
        asked = [each for each in self._services if each.name == service]
        results = [self._process_message(outcome, asked) for outcome in outcomes]
        if any(result.urgent for result in results):
            await self._commit()

    async def run(self) -> None:
        """Pass every service a tick each second, and publish the summaries that have changed."""
        while True:
            now = self._clock.now()
            tick = Tick(now, self._journal.reader.day_of(now), self._leap_watch.is_steady(now))
            if self._process_message(tick, self._services).urgent:
                await self._commit()
            if self._publish_summaries():
                await self._commit()
            await self._clock.sleep(1.0)

    def _set_outcome(
        self, command: Command, status: CommandStatus, failed: GatewayError | None
    ) -> CommandRow:
        why = (failed.key, failed.stored_facts()) if failed else ("", {})
        self._process_message(Outcome(command.id, status, self._clock.now(), *why), [self._commands])
        order: CommandRow = self._rows[self._commands.name][command.id]
        return order

    async def _execute_command(self, command: Command) -> dict[str, Any] | None:
        """Execute a command by the services that know the action, else by the device. Raises
        `GatewayError`."""
        own = [service for service in self._services if command.action in service.actions]
        if own:
            if not self._process_message(command, own).changed:
                raise GatewayError("nothing-to-do")
            return None
        # After the commit: a number that the journal does not have means that it has lost the command.
        await self._latest_expiry.store(command.expires)
        return await self._execute(command)

    def _process_message(self, message: Message, services: Iterable[Service]) -> StepResult:
        """One step of each service."""
        changed = urgent = False
        for service in services:
            rows = self._rows[service.name]
            changes, facts = service.apply(rows, message)
            for key, row in changes.items():
                if row is None:
                    rows.pop(key, None)
                else:
                    rows[key] = row
            if changes or facts:
                changed = True
                urgent = urgent or (service.durable and bool(changes))
                self._journal.append(service.name, facts, changes)
            for fact in facts:
                urgent = urgent or fact.durable or fact.lane is Lane.ALARM
                if fact.lane is Lane.ALARM:
                    log_event(logging.WARNING, "alarm", device=fact.device, **_in_words(fact.body))
                    self._on_alarm()
                    followers = [each for each in self._services if each.follows_alarms]
                    urgent = self._process_message(fact, followers).urgent or urgent
        return StepResult(changed, urgent)

    async def _commit(self) -> None:
        try:
            await self._journal.commit()
        except JournalFailed:
            # It stays pending in the journal, which tries again; `Gateway` logs the failure once.
            return

    def _publish_summaries(self) -> bool:
        """Publish each summary that has changed or is old. Returns whether to commit at once."""
        urgent = False
        now = self._clock.mono()
        for service in self._services:
            values = service.summary(self._rows[service.name])
            published_at, published = self._published.get(service.name, (float("-inf"), {}))
            if values and (values != published or now - published_at >= SUMMARY_INTERVAL_S):
                self._published[service.name] = now, values
                sample = Sample(service.name, self._clock.now(), values)
                followers = [each for each in self._services if each.follows_summaries]
                urgent = self._process_message(sample, followers).urgent or urgent
                self._journal.append_sample(sample)
        return urgent


def _in_words(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts for the log: hazards, changes and actions by their words."""
    known = words(language())
    tables = (name for name in ("hazard", "change", "action") if f"{name}.{facts.get(name)}" in known)
    return {**facts, **{name: sentence(f"{name}.{facts[name]}") for name in tables}}


def _order_reason(order: CommandRow) -> str:
    """Why a command was not executed, in the language of the log."""
    return error_summary(language(), order.detail, order.facts) if order.detail else ""


async def _no_device(command: Command) -> dict[str, Any] | None:
    await asyncio.sleep(0)
    raise GatewayError("device-unknown", device=command.device, known="–")
