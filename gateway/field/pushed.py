"""A line whose devices report by themselves: their messages, their silence, and the commands to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import NoReturn, TypeVar

from gateway.base.tasks import root_error
from gateway.model import (
    Arrival,
    Clock,
    Command,
    Device,
    FailureKind,
    GatewayError,
    LinkDown,
    Listener,
    Raw,
    ReadFailed,
    Sample,
    StoredReading,
    UnknownSender,
)

from .confirm import ReportedValues, confirm_within, write_and_confirm
from .health import DeviceHealth, LineHealth, LiveReading, silence_error, silence_limit_s
from .request import LineRequest, reject_all

SILENCE_CHECK_INTERVAL_S = 1.0

T = TypeVar("T")


class PushedLine:
    """An open line that is listened to."""

    def __init__(self, bus: Listener, health: LineHealth, clock: Clock) -> None:
        self._bus = bus
        self._health = health
        self._clock = clock
        self._name = health.spec.name
        self._commands: asyncio.Queue[LineRequest] = asyncio.Queue()
        self._last_message = dict.fromkeys(health.devices, clock.mono())
        """By device, in monotonic seconds."""
        self._last_values = dict(self._last_message)
        """The last message with a value; others are only a sign of life."""
        self._next_messages: dict[str, asyncio.Future[tuple[Raw, Sample] | GatewayError]] = {}
        self._confirmations: dict[str, list[ReportedValues]] = {}
        """By device, what is reported to each command that waits for its effect."""

    async def run(self) -> None:
        """Receive messages, detect silence and execute commands until the line is down."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._detect_silence(), name=f"{self._name}-silence")
                tasks.create_task(self._start_commands(tasks), name=f"{self._name}-commands")
                await self.receive_messages()
        except BaseExceptionGroup as group:
            raise root_error(group) from None

    async def receive_messages(self) -> NoReturn:
        """Process each message until the line is down. Raises `LinkDown`."""
        async for name, raw in self._bus.listen():
            if isinstance(raw, UnknownSender):
                self._health.unknown_senders.record(raw)
                continue
            health = self._health.devices[name]
            stored = raw if isinstance(raw, StoredReading) else StoredReading(raw, Arrival.LIVE)
            await self._process_reading(health, stored.raw, stored.arrival)
        raise LinkDown("line-down", reason=self._name)

    async def _process_reading(self, health: DeviceHealth, raw: Raw | ReadFailed, arrival: Arrival) -> None:
        name = health.device.name
        if arrival is Arrival.RETAINED and not isinstance(raw, ReadFailed):
            await self._health.publish_retained(health.device, raw)
            return
        self._health.counters.polls += 1
        health.tally.current(self._clock.mono()).polls += 1
        if isinstance(raw, ReadFailed):
            await self._health.record_failure(health, raw, is_outage=raw.kind is FailureKind.SILENT)
            self._answer_readers(name, raw)
            return
        sample = self._health.to_sample(health.device, raw, arrival)
        now = self._clock.mono()
        self._last_message[name] = now
        if sample.values:
            self._last_values[name] = now
        if sample.values or any(why != "missing" for why in sample.bad.values()):
            health.last_message = raw, sample, now
        await self._health.accept_message(health, sample)
        for reported in self._confirmations.get(name, ()):
            reported.update(sample.values)
        self._answer_readers(name, (raw, sample))

    def _answer_readers(self, name: str, message: tuple[Raw, Sample] | GatewayError) -> None:
        if waiting := self._next_messages.pop(name, None):
            waiting.set_result(message)

    async def _detect_silence(self) -> None:
        """A device that reports by itself is offline when several of its messages are missing, and has no
        values when several of its messages had none."""
        while True:
            await self._clock.sleep(SILENCE_CHECK_INTERVAL_S)
            now = self._clock.mono()
            for name, health in self._health.devices.items():
                limit_s = silence_limit_s(health.device)
                if health.is_offline:
                    continue
                if now - self._last_message[name] > limit_s:
                    await self._health.record_outage(health, silence_error(health.device))
                elif now - self._last_values[name] > limit_s and not health.is_valueless:
                    await self._health.record_valueless(health)

    async def read(self, device: Device) -> LiveReading:
        """The device's next message: it cannot be asked. Raises `ReadFailed` or `LinkDown`."""
        started = self._clock.mono()
        loop = asyncio.get_running_loop()
        waiting = self._next_messages.setdefault(device.name, loop.create_future())
        message = await message_or_silence(device, asyncio.shield(waiting))
        if isinstance(message, GatewayError):
            raise message
        raw, sample = message
        seconds = self._clock.mono() - started
        return LiveReading(self._health.spec.driver.format_raw(raw), sample, seconds)

    async def execute(self, device: Device, command: Command) -> None:
        """Send a command and wait for its effect. Raises `ReadFailed` or `LinkDown`."""
        request = LineRequest(self._name, lambda: self._execute(device, command))
        self._commands.put_nowait(request)
        await request.result

    async def _start_commands(self, tasks: asyncio.TaskGroup) -> None:
        """Each command in a task of its own: a device may need hours to reply."""
        while True:
            request = await self._commands.get()
            if not request.is_abandoned:
                task = tasks.create_task(_perform(request), name=f"{self._name}-command")
                task.add_done_callback(request.close)

    async def _execute(self, device: Device, command: Command) -> None:
        # What the device reports while the command is still being sent counts.
        reported = ReportedValues()
        confirmations = self._confirmations.setdefault(device.name, [])
        confirmations.append(reported)
        confirming = write_and_confirm(self._bus, device, command, self._clock, reported)
        try:
            await confirm_within(device.confirm_timeout_s(command.action), confirming, self._clock)
        finally:
            confirmations.remove(reported)

    def reject_requests(self, error: GatewayError) -> None:
        """The line is down: return the error to everyone who waits for it."""
        reject_all(self._commands, error)
        for name in list(self._next_messages):
            self._answer_readers(name, error)


async def _perform(request: LineRequest) -> None:
    try:
        await request.perform()
    except ReadFailed:
        pass  # Returned to the caller; the line itself works.
    except asyncio.CancelledError:
        # The line is gone, but what was sent may still take effect.
        request.reject(ReadFailed("unconfirmed"))
        raise


async def message_or_silence(device: Device, message: Awaitable[T]) -> T:
    """The device's next message. Raises `ReadFailed` after the longest silence that it may keep."""
    try:
        async with asyncio.timeout(silence_limit_s(device)):
            return await message
    except TimeoutError as error:
        raise silence_error(device) from error
