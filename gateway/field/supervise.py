"""One task a bus: whose turn it is (`schedule` says when), what a failure costs, when the line is reopened.

All waiting of the field side is here. A device that fails is asked less and less, one that is slow may
use no more than its share, and neither takes the others' turns.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from gateway.base.log import error_text, log_event
from gateway.base.tasks import exception_of, root_error, run_all, run_in_own_task
from gateway.config import BusSpec
from gateway.model import (
    MISSES_UNTIL_OFFLINE,
    Bus,
    Clock,
    Command,
    Device,
    GatewayError,
    LinkDown,
    Listener,
    Raw,
    ReadFailed,
    Sample,
    Value,
)
from gateway.wire.codec import finish

from .doctor import Patient, report
from .schedule import Queue, Slot, doubled

REOPEN = 3.0
"""Seconds between two attempts to open a line, at most: a plug that is put back must work within five,
and the first poll may take its time as well."""
SHARE = 0.2
"""The part of its line's time one device may use when it answers slowly or not at all."""
SAFETY_TURNS = 4
"""After so many safety devices in a row another one gets its turn, if it is due."""
CONFIRMATIONS = 5
"""Readings that may pass until a command shows its effect."""
CONFIRM_EVERY = 0.2
VISIT = 0.2
"""Seconds that a visit to a line may take: one request, and the silence after it if nobody answers."""
LATE = 0.2
"""The part of its period by which a safety device may be asked late for the sake of a visit."""
VISIT_PATIENCE = 20.0
"""Seconds until a line counts as too busy for a visit."""
OUT_OF_STEP = ("timeout", "garbage", "reply-length")
"""Failures after which a late reply may still be on its way."""

Sink = Callable[[Sample], Awaitable[None]]


class Reading(msgspec.Struct):
    """One reading with how it came about, for `linli read`."""

    raw: str
    sample: Sample
    seconds: float


class BusStats(msgspec.Struct):
    """Counts since the start."""

    up: bool = False
    polls: int = 0
    failures: int = 0
    missed: int = 0
    busy: float = 0.0


class _Job(msgspec.Struct):
    """Work for a line between two polls: a command, or a reading somebody asked for."""

    device: Device
    command: Command | None
    done: asyncio.Future[Any]


class _Watch(msgspec.Struct):
    """What a device has said since it was told to do something."""

    values: dict[str, Value]
    news: asyncio.Event


class _Visit(msgspec.Struct):
    """A request of somebody who is no part of the schedule."""

    ask: Callable[[Bus], Awaitable[Any]]
    done: asyncio.Future[Any]


class BusTask:
    """A line and its devices."""

    def __init__(
        self,
        spec: BusSpec,
        devices: tuple[Device, ...],
        clock: Clock,
        sink: Sink,
        memories: Callable[[], Mapping[str, bytes]] = dict,
    ) -> None:
        self.spec = spec
        self._memories = memories
        self._devices = devices
        self._clock = clock
        self._sink = sink
        self._slots = {device.name: Slot(device, clock.mono()) for device in devices}
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._visits: asyncio.Queue[_Visit] = asyncio.Queue()
        self._wake = asyncio.Event()
        self._heard: dict[str, float] = {}
        self._arrivals: dict[str, asyncio.Future[tuple[Raw, Sample]]] = {}
        self._watches: dict[str, list[_Watch]] = {}
        self._listening = False
        self._listener: Listener | None = None
        self._attempts = 0
        self._lessons: dict[str, Any] = {}
        self._transaction = asyncio.Lock()
        self.stats = BusStats()

    def report(self) -> dict[str, Any]:
        """How the line and its devices have done of late, for `linli doctor`."""
        now = self._clock.mono()
        patients = [
            Patient(name, slot.told_offline, *slot.recent.told(now), pushes=self._listening)
            for name, slot in self._slots.items()
        ]
        return report(self.stats.up, patients, getattr(self.spec.options, "timeout", None))

    async def execute(self, command: Command) -> None:
        """Carry out a command at the next transaction boundary. Raises `GatewayError`."""
        device = self._slots[command.device].device
        if command.action not in (*self.spec.driver.actions, *device.actions):
            raise GatewayError("action-unknown", device=device.name, action=command.action)
        await self._job(device, command)

    async def read(self, name: str) -> Reading:
        """One reading, out of turn. Raises `GatewayError`."""
        device = self._slots[name].device
        if self._listening and self.stats.up:
            return await self._next_message(device)
        reading: Reading = await self._job(device, None)
        return reading

    async def _next_message(self, device: Device) -> Reading:
        """A device that pushes cannot be asked: wait for what it says next."""
        limit = MISSES_UNTIL_OFFLINE * device.every
        arrival = self._arrivals.setdefault(device.name, asyncio.get_running_loop().create_future())
        began = self._clock.mono()
        try:
            async with asyncio.timeout(limit):
                raw, sample = await asyncio.shield(arrival)
        except TimeoutError as error:
            raise ReadFailed("silent", seconds=round(limit)) from error
        return Reading(self.spec.driver.format_raw(raw), sample, self._clock.mono() - began)

    async def capture_still(self) -> bytes:
        """What a camera sees now. Raises `GatewayError`."""
        if not self.stats.up or self._listener is None:
            raise GatewayError("line-down", reason=self.spec.name)
        return await self._listener.capture_still()

    async def _job(self, device: Device, command: Command | None) -> Any:
        if not self.stats.up:
            raise GatewayError("line-down", reason=self.spec.name)
        job = _Job(device, command, asyncio.get_running_loop().create_future())
        self._jobs.put_nowait(job)
        self._wake.set()
        return await job.done

    async def visit(self, ask: Callable[[Bus], Awaitable[Any]]) -> Any:
        """Lend the line for one request to somebody who scans it, when no device is due, and no safety
        device would have to wait for long. Raises `GatewayError`, of which `ReadFailed` is his own."""
        if not self.stats.up:
            raise GatewayError("line-down", reason=self.spec.name)
        if self._listening:
            raise GatewayError("scan-speaks", bus=self.spec.name)
        visit = _Visit(ask, asyncio.get_running_loop().create_future())
        self._visits.put_nowait(visit)
        self._wake.set()
        try:
            async with asyncio.timeout(VISIT_PATIENCE):
                return await visit.done
        except TimeoutError as error:
            raise GatewayError("scan-busy", bus=self.spec.name) from error

    async def end(self, running: asyncio.Task[None]) -> None:
        """End the task that runs us, between two transactions: a late reply must find nobody."""
        async with self._transaction:
            running.cancel()
            await asyncio.wait({running})
        self._send_away(LinkDown("line-down", reason=self.spec.name))

    async def run(self) -> None:
        """Keep the line open and its devices asked, for ever."""
        while True:
            error = await run_in_own_task(exception_of(self._serve()))
            if not isinstance(error, LinkDown):
                log_event(logging.ERROR, "crashed", bus=self.spec.name)
                logging.getLogger("linli").error("", exc_info=error)
                error = LinkDown("internal", reason=type(error).__name__)
            await self._down(error)
            wait = doubled(0.5, self._attempts, REOPEN) * random.uniform(0.6, 1.0)  # noqa: S311
            self._attempts += 1
            await self._clock.sleep(wait)

    async def _serve(self) -> None:
        """Open the line, and keep its devices asked and heard until it goes down."""
        async with self.spec.driver.connect(self.spec.options, self._devices) as bus:
            self._set_up(True)
            self._listening = not isinstance(bus, Bus)
            if isinstance(bus, Listener):
                self._listener = bus
                self._remind(bus)
            if not isinstance(bus, Bus):
                await self._listen(bus)
                return
            bus.quirks = self._lessons
            if isinstance(bus, Listener):
                await run_all(polls=self._poll_all(bus), pushes=self._hear_all(bus))
            await self._poll_all(bus)

    def _set_up(self, up: bool, error: LinkDown | None = None) -> None:
        if up and not self.stats.up:
            log_event(logging.INFO, "bus-up", bus=self.spec.name)
        elif error and (self.stats.up or self.stats.failures == 0):
            why = error_text(error.key, **error.facts)
            log_event(logging.WARNING, "bus-down", bus=self.spec.name, reason=why)
        self.stats.up = up

    async def _down(self, error: LinkDown) -> None:
        self._set_up(False, error)
        self.stats.failures += 1
        self._send_away(error)
        for slot in self._slots.values():
            await self._offline(slot, error)

    def _send_away(self, error: LinkDown) -> None:
        """Whoever waits for the line is told that it is down."""
        for waiting in (self._jobs, self._visits):
            while not waiting.empty():
                _fail(waiting.get_nowait(), error)

    async def _poll_all(self, bus: Bus) -> None:
        opened = self._clock.mono()
        start = math.floor(opened)  # All lines count from whole seconds, so their slots coincide.
        for slot in self._slots.values():
            slot.due = opened + slot.phase * min(slot.device.every, 1.0)
        safety = Queue(slot for slot in self._slots.values() if slot.safety)
        others = Queue(slot for slot in self._slots.values() if not slot.safety)
        turns = 0
        while True:
            while not self._jobs.empty():
                async with self._transaction:
                    await self._work(bus, self._jobs.get_nowait())
            now = self._clock.mono()
            first, second = (safety, others) if turns < SAFETY_TURNS else (others, safety)
            queue = first if first.due <= now else second
            if queue.due > now:
                if not self._visits.empty() and self._spare(now) >= VISIT:
                    await self._receive(bus, self._visits.get_nowait())
                    continue
                self._wake.clear()
                await self._clock.wait(self._wake, min(first.due, second.due) - now)
                continue
            slot = queue.pop()
            turns = turns + 1 if slot.safety else 0
            async with self._transaction:
                await self._poll(bus, slot)
            ended = self._clock.mono()
            self.stats.busy += ended - now
            self.stats.missed += slot.plan(ended, start, ended - now, self._share(slot))
            queue.push(slot)

    def _share(self, slot: Slot) -> float:
        """The part of the line's time that a device may use. Those that fail have one share together, but
        nobody less than an equal part; a safety device has one of its own until it is known to be gone."""
        crowd = len(self._slots)
        failing = sum(each.failures > 0 for each in self._slots.values()) if slot.failures else 0
        if crowd == 1:
            return 1.0
        if failing < 2 or (slot.safety and slot.failures < MISSES_UNTIL_OFFLINE):
            return SHARE
        return max(SHARE / failing, 1 / crowd)

    async def _poll(self, bus: Bus, slot: Slot) -> None:
        try:
            sample = await self._ask(bus, slot)
            if slot.alarms(sample) - slot.standing:
                sample = await self._confirm(bus, slot, sample)
        except ReadFailed as failed:
            await self._failed(slot, failed)
            if failed.key in OUT_OF_STEP:
                await self._clock.sleep(bus.settle_s)
        else:
            await self._take(slot, sample)

    async def _ask(self, bus: Bus, slot: Slot) -> Sample:
        """One reading, counted."""
        self.stats.polls += 1
        began = self._clock.mono()
        tally = slot.recent.now(began)
        tally.polls += 1
        raw = await bus.read(slot.device)
        tally.took(self._clock.mono() - began)
        return self._sample(slot.device, raw)

    async def _confirm(self, bus: Bus, slot: Slot, first: Sample) -> Sample:
        """A new alarm is read twice and the second reading counts, so that one false reading wakes
        nobody. A device that cannot be asked again is believed."""
        try:
            second = await self._ask(bus, slot)
        except ReadFailed:
            await self._take(slot, first)
            raise
        if slot.alarms(first) - slot.standing - slot.alarms(second):
            slot.recent.now(self._clock.mono()).unconfirmed += 1
            log_event(logging.WARNING, "alarm-unconfirmed", device=slot.device.name)
        return second

    async def _failed(self, slot: Slot, failed: ReadFailed) -> None:
        """One failure is no outage yet."""
        self.stats.failures += 1
        slot.recent.now(self._clock.mono()).failures[failed.key] += 1
        slot.failures += 1
        if slot.failures >= MISSES_UNTIL_OFFLINE or slot.told_offline:
            await self._offline(slot, failed)

    async def _take(self, slot: Slot, sample: Sample) -> None:
        if not sample.values:
            await self._failed(slot, ReadFailed("no-values"))
            return
        # Only a reading proves that the line works: some open, and close at the first request.
        self._attempts = 0
        slot.failures = 0
        slot.standing = slot.alarms(sample)
        if slot.told_offline:
            slot.told_offline = False
            log_event(logging.INFO, "device-online", device=slot.device.name)
        await self._sink(sample)

    def _sample(self, device: Device, raw: Raw) -> Sample:
        values, bad = finish(device.points, self.spec.driver.decode(device.points, raw))
        encode_state = self.spec.driver.state_to_save
        state = encode_state(raw) if encode_state else None
        return Sample(device.name, self._clock.now(), values, bad, driver_state=state)

    async def _offline(self, slot: Slot, error: GatewayError) -> None:
        """An outage is a sample too; it is logged when it begins."""
        if not slot.told_offline:
            slot.told_offline = True
            why = error_text(error.key, **error.facts)
            log_event(logging.WARNING, "device-offline", device=slot.device.name, reason=why)
        await self._sink(Sample(slot.device.name, self._clock.now(), error=error.key))

    async def _work(self, bus: Bus, job: _Job) -> None:
        if job.done.done():
            return  # Whoever asked has given up.
        slot, began = self._slots[job.device.name], self._clock.mono()
        try:
            if job.command is None:
                raw = await bus.read(job.device)
                seconds = self._clock.mono() - began
                sample = self._sample(job.device, raw)
                await self._take(slot, sample)
                _end(job, Reading(self.spec.driver.format_raw(raw), sample, seconds))
            else:
                await self._obey(bus, job.device, job.command)
                _end(job, None)
        except LinkDown as error:
            _fail(job, error)
            raise
        except ReadFailed as error:
            _fail(job, error)
            await self._clock.sleep(bus.settle_s)
        finally:
            now = self._clock.mono()
            slot.recent.now(now).busy += now - began
            # Whatever happened, nobody waits for ever.
            _fail(job, LinkDown("line-down", reason=self.spec.name))

    def _spare(self, now: float) -> float:
        """Seconds until a safety device has waited for as long as it may."""
        slots = (slot for slot in self._slots.values() if slot.safety)
        return min((slot.due + LATE * slot.device.every - now for slot in slots), default=VISIT)

    async def _receive(self, bus: Bus, visit: _Visit) -> None:
        if visit.done.done():
            return  # Whoever asked has given up.
        quiet = min(bus.settle_s, VISIT / 2)
        usual, bus.timeout_s = bus.timeout_s, min(bus.timeout_s, VISIT - quiet)
        try:
            _end(visit, await visit.ask(bus))
        except LinkDown as error:
            _fail(visit, error)
            raise
        except ReadFailed as error:
            _fail(visit, error)
            await self._clock.sleep(quiet)
        finally:
            bus.timeout_s = usual
            _fail(visit, LinkDown("line-down", reason=self.spec.name))

    async def _obey(self, bus: Bus, device: Device, command: Command) -> None:
        """Write once, then read until the device shows that it did it."""
        if self._clock.now().wall >= command.expires:
            raise ReadFailed("too-late")
        expected = await bus.write(device, command.action, command.args)
        for _ in range(CONFIRMATIONS):
            await self._clock.sleep(CONFIRM_EVERY)
            try:
                raw = await bus.read(device)
            except ReadFailed:
                await self._clock.sleep(bus.settle_s)
                continue
            sample = self._sample(device, raw)
            await self._take(self._slots[device.name], sample)
            if _shows(sample.values, expected):
                return
        raise ReadFailed("unconfirmed")

    def _remind(self, bus: Listener) -> None:
        """A line that begins anew knows what its devices told before."""
        memories = self._memories()
        for name in self._slots:
            if name in memories:
                bus.restore_state(name, memories[name])

    async def _listen(self, bus: Listener) -> None:
        self._heard = dict.fromkeys(self._slots, self._clock.mono())
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch_silence(), name=f"{self.spec.name}-silence")
                tasks.create_task(self._attend(bus, tasks), name=f"{self.spec.name}-commands")
                await self._hear_all(bus)
        except BaseExceptionGroup as group:
            raise root_error(group) from None

    async def _hear_all(self, bus: Listener) -> None:
        async for name, raw in bus.listen():
            await self._hear(self._slots[name], raw)
        raise LinkDown("line-down", reason=self.spec.name)

    async def _hear(self, slot: Slot, raw: Raw | ReadFailed) -> None:
        self.stats.polls += 1
        slot.recent.now(self._clock.mono()).polls += 1
        if isinstance(raw, ReadFailed):
            await self._failed(slot, raw)
        else:
            sample = self._sample(slot.device, raw)
            await self._take(slot, sample)
            if sample.values:
                self._heard[slot.device.name] = self._clock.mono()
            for watch in self._watches.get(slot.device.name, ()):
                watch.values |= sample.values
                watch.news.set()
            if arrival := self._arrivals.pop(slot.device.name, None):
                arrival.set_result((raw, sample))

    async def _attend(self, bus: Listener, tasks: asyncio.TaskGroup) -> None:
        """Each command in a task of its own: a device may take hours until it answers."""
        while True:
            job = await self._jobs.get()
            if job.command and not job.done.done():
                name = f"{self.spec.name}-command-{job.command.id}"
                task = tasks.create_task(self._instruct(bus, job, job.command), name=name)
                # Whatever happened, and even if it never began, nobody waits for ever.
                lost = LinkDown("line-down", reason=self.spec.name)
                task.add_done_callback(functools.partial(_lose, job, lost))

    async def _instruct(self, bus: Listener, job: _Job, command: Command) -> None:
        """Write once, then listen until the device shows that it did it, or for as long as it may take."""
        if self._clock.now().wall >= command.expires:
            _fail(job, ReadFailed("too-late"))
            return
        watch = _Watch({}, asyncio.Event())
        watches = self._watches.setdefault(job.device.name, [])
        watches.append(watch)
        ended = asyncio.Event()
        convincing = asyncio.create_task(_convince(bus, job.device, command, watch))
        convincing.add_done_callback(lambda _: ended.set())
        try:
            await self._clock.wait(ended, job.device.confirm_timeout_s(command.action))
            if not convincing.done():
                raise ReadFailed("unconfirmed")
            convincing.result()
            _end(job, None)
        except LinkDown as error:
            _fail(job, error)
            raise
        except ReadFailed as error:
            _fail(job, error)
        except asyncio.CancelledError:
            # The line is gone, but what was written may yet be obeyed.
            _fail(job, ReadFailed("unconfirmed"))
            raise
        finally:
            watches.remove(watch)
            convincing.cancel()
            await asyncio.wait([convincing])

    async def _watch_silence(self) -> None:
        """A device that pushes is offline once it has missed three of its messages."""
        while True:
            await self._clock.sleep(1.0)
            now = self._clock.mono()
            for name, heard in self._heard.items():
                slot = self._slots[name]
                limit = MISSES_UNTIL_OFFLINE * slot.device.every
                if now - heard > limit and not slot.told_offline:
                    await self._offline(slot, ReadFailed("silent", seconds=round(limit)))


async def _convince(bus: Listener, device: Device, command: Command, watch: _Watch) -> None:
    expected = await bus.write(device, command.action, command.args)
    while not _shows(watch.values, expected):
        watch.news.clear()
        await watch.news.wait()


def _lose(job: _Job, error: GatewayError, _: asyncio.Task[None]) -> None:
    _fail(job, error)


def _shows(values: Mapping[str, Value], expected: Mapping[str, Value]) -> bool:
    return all(values.get(name) == value for name, value in expected.items())


def _end(job: _Job | _Visit, result: Any) -> None:
    if not job.done.done():
        job.done.set_result(result)


def _fail(job: _Job | _Visit, error: GatewayError) -> None:
    if not job.done.done():
        job.done.set_exception(error)
