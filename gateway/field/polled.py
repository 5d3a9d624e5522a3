"""A line whose devices are polled: whose turn it is, what a failure costs, and what is done between polls.

A device that fails is polled less and less often, a slow one may use no more than its share of the line's
time, and neither delays the others.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from gateway.base.log import log_event
from gateway.model import (
    FAILURES_UNTIL_OFFLINE,
    Bus,
    Clock,
    Command,
    Device,
    GatewayError,
    ReadFailed,
    Sample,
    Value,
)

from .confirm import write_and_confirm
from .health import DeviceHealth, LineHealth, LiveReading
from .request import LineRequest, reject_all
from .schedule import PollQueue, ScheduledDevice

MAX_DEVICE_SHARE = 0.2
"""The part of its line's time one device may use when it answers slowly or not at all."""
MAX_SAFETY_TURNS = 4
"""After so many safety devices in a row another one gets its turn, if it is due."""
MAX_CONFIRM_READINGS = 5
"""Readings until a command must have shown its effect."""
CONFIRM_INTERVAL_S = 0.2
MAX_WAIT_AFTER_REOPENING_S = 3.0
"""A device that was polled shortly before its line was reopened is polled again after its period, or after
this if it is shorter."""
SCAN_REQUEST_S = 0.2
"""The time that a request of a scan may take: the request, and the silence after it without a reply."""
MAX_SAFETY_DELAY_PERIODS = 0.2
"""The part of its period by which a request of a scan may delay a safety device."""
SCAN_REQUEST_TIMEOUT_S = 20.0
"""Until a line counts as too busy for a request of a scan."""


class PolledLine:
    """An open line that is polled. `transaction` is held while a request is on the line."""

    def __init__(
        self,
        bus: Bus,
        health: LineHealth,
        clock: Clock,
        transaction: asyncio.Lock,
        stretch: Callable[[], float],
    ) -> None:
        self._bus = bus
        self._health = health
        self._clock = clock
        self._transaction = transaction
        self._stretch = stretch
        self._name = health.spec.name
        self._devices = [ScheduledDevice(device) for device in health.devices.values()]
        self._requests: asyncio.Queue[LineRequest] = asyncio.Queue()
        self._scan_requests: asyncio.Queue[LineRequest] = asyncio.Queue()
        self._wake = asyncio.Event()
        self._safety = PollQueue(())
        self._pauses_s = 0.0
        """How long safety devices were polled within the readings of others."""

    async def run(self) -> None:
        """Poll each device when it is due, and serve requests between two polls, until the line is down.
        Raises `LinkDown`."""
        opened = self._clock.mono()
        for scheduled in self._devices:
            period_s, polled_at_s = scheduled.device.every, scheduled.health.polled_at_s
            scheduled.due_s = max(
                opened + scheduled.phase * min(period_s, 1.0),
                polled_at_s + min(period_s, MAX_WAIT_AFTER_REOPENING_S),
            )
        self._safety = PollQueue(scheduled for scheduled in self._devices if scheduled.is_safety_device)
        safety = self._safety
        others = PollQueue(scheduled for scheduled in self._devices if not scheduled.is_safety_device)
        safety_turns = 0
        while True:
            while not self._requests.empty():
                async with self._transaction:
                    await self._serve_request(self._requests.get_nowait())
            now = self._clock.mono()
            first, second = (safety, others) if safety_turns < MAX_SAFETY_TURNS else (others, safety)
            queue = first if first.next_due_s <= now else second
            if queue.next_due_s > now:
                if not self._scan_requests.empty() and self._spare_s(now) >= SCAN_REQUEST_S:
                    await self._serve_scan_request(self._scan_requests.get_nowait())
                    continue
                self._wake.clear()
                await self._clock.wait(self._wake, min(first.next_due_s, second.next_due_s) - now)
                continue
            safety_turns = safety_turns + 1 if queue is safety else 0
            async with self._transaction:
                await self._poll_next(queue)

    async def _poll_next(self, queue: PollQueue) -> None:
        """Poll the first device of a queue, and schedule its next poll."""
        scheduled = queue.pop()
        if queue is not self._safety:
            self._bus.on_pause = functools.partial(self._serve_urgent, scheduled.device.name)
        spent_s = await self._poll(scheduled.health)
        self._bus.on_pause = None
        self._health.counters.busy_s += spent_s
        self._health.counters.missed += scheduled.schedule_next(
            self._clock.mono(),
            spent_s,
            self._max_share(scheduled.health),
            1.0 if scheduled.is_safety_device else self._stretch(),
        )
        queue.push(scheduled)

    async def _serve_urgent(self, reading: str) -> None:
        """What cannot wait until the device is read, which may take seconds: requests that do not concern
        it, and safety devices that are due."""
        began_s, on_pause = self._clock.mono(), self._bus.on_pause
        self._bus.on_pause = None
        for request in [self._requests.get_nowait() for _ in range(self._requests.qsize())]:
            if request.device == reading:
                self._requests.put_nowait(request)
            else:
                await self._serve_request(request)
        for _ in range(MAX_SAFETY_TURNS):
            if self._safety.next_due_s <= self._clock.mono():
                await self._poll_next(self._safety)
        self._bus.on_pause = on_pause
        self._pauses_s += self._clock.mono() - began_s

    def _own_time_s(self) -> float:
        """Monotonic time that stands still while a reading pauses for safety devices."""
        return self._clock.mono() - self._pauses_s

    def _max_share(self, health: DeviceHealth) -> float:
        """The part of the line's time that a device may use. Those that fail have one share together, but
        none less than an equal part; a safety device has one of its own until its outage is known."""
        count, failures = len(self._devices), health.failures_in_a_row
        if count == 1:
            return 1.0
        devices = self._health.devices.values() if failures else ()
        failing = sum(device.failures_in_a_row > 0 for device in devices)
        if failing < 2 or (health.is_safety_device and failures < FAILURES_UNTIL_OFFLINE):
            return MAX_DEVICE_SHARE
        return max(MAX_DEVICE_SHARE / failing, 1 / count)

    async def _poll(self, health: DeviceHealth) -> float:
        """Returns how many seconds the line was in use: storing the sample, which may take a while for an
        alarm, is not the device's fault."""
        began_s, settle_s = self._own_time_s(), 0.0
        failure, sample = None, None
        try:
            sample = await self._read_counted(health)
            if health.new_alarms(sample):
                sample = await self._read_again(health, sample)
        except ReadFailed as failed:
            failure = failed
        spent_s = self._own_time_s() - began_s
        if failure is not None:
            await self._health.record_failure(health, failure)
            if failure.kind.late_reply_possible:
                settle_s = self._bus.settle_s
                await self._clock.sleep(settle_s)
        elif sample is not None:
            await self._health.accept_sample(health, sample)
        return spent_s + settle_s

    async def _read_counted(self, health: DeviceHealth) -> Sample:
        self._health.counters.polls += 1
        health.polled_at_s = self._clock.mono()
        started_s = self._own_time_s()
        tally = health.tally.current(health.polled_at_s)
        tally.polls += 1
        raw = await self._bus.read(health.device)
        tally.add_latency(self._own_time_s() - started_s)
        return self._health.to_sample(health.device, raw)

    async def _read_again(self, health: DeviceHealth, first_sample: Sample) -> Sample:
        """A new alarm is read twice and the second reading counts, so that one false reading raises none.
        If the second reading fails, the first one counts."""
        try:
            second = await self._read_counted(health)
        except ReadFailed:
            await self._health.accept_sample(health, first_sample)
            raise
        if health.new_alarms(first_sample) - health.alarming_points(second):
            health.tally.current(self._clock.mono()).unconfirmed += 1
            log_event(logging.WARNING, "alarm-unconfirmed", device=health.device.name)
        return second

    async def read(self, device: Device) -> LiveReading:
        """One reading before the next poll. Raises `ReadFailed` or `LinkDown`."""
        reading: LiveReading = await self._run_between_polls(device, lambda: self._read_live(device))
        return reading

    async def _read_live(self, device: Device) -> LiveReading:
        started = self._clock.mono()
        raw = await self._bus.read(device)
        seconds = self._clock.mono() - started
        sample = self._health.to_sample(device, raw)
        await self._health.accept_sample(self._health.devices[device.name], sample)
        return LiveReading(self._health.spec.driver.format_raw(raw), sample, seconds)

    async def execute(self, device: Device, command: Command) -> None:
        """Send a command before the next poll, and read until it shows its effect. Raises `ReadFailed` or
        `LinkDown`."""
        reports = self._confirmation_readings(device)
        await self._run_between_polls(
            device, lambda: write_and_confirm(self._bus, device, command, self._clock, reports)
        )

    async def _confirmation_readings(self, device: Device) -> AsyncIterator[Mapping[str, Value]]:
        for _ in range(MAX_CONFIRM_READINGS):
            await self._clock.sleep(CONFIRM_INTERVAL_S)
            try:
                raw = await self._bus.read(device)
            except ReadFailed:
                await self._clock.sleep(self._bus.settle_s)
                continue
            sample = self._health.to_sample(device, raw)
            await self._health.accept_sample(self._health.devices[device.name], sample)
            yield sample.values

    async def _run_between_polls(self, device: Device, work: Callable[[], Awaitable[Any]]) -> Any:
        async def work_and_count() -> Any:
            started = self._clock.mono()
            try:
                return await work()
            finally:
                now = self._clock.mono()
                self._health.devices[device.name].tally.current(now).busy_s += now - started

        request = LineRequest(self._name, work_and_count, device.name)
        self._requests.put_nowait(request)
        self._wake.set()
        return await request.result

    async def _serve_request(self, request: LineRequest) -> None:
        if request.is_abandoned:
            return
        try:
            await request.perform()
        except ReadFailed:
            await self._clock.sleep(self._bus.settle_s)
        finally:
            request.close()

    async def run_scan_request(self, send_request: Callable[[Bus], Awaitable[Any]]) -> Any:
        """One request of a scan, when no device is due and no safety device is delayed for long. Raises
        `GatewayError`; `ReadFailed` is the result of the request itself."""
        request = LineRequest(self._name, lambda: send_request(self._bus))
        self._scan_requests.put_nowait(request)
        self._wake.set()
        try:
            async with asyncio.timeout(SCAN_REQUEST_TIMEOUT_S):
                return await request.result
        except TimeoutError as error:
            raise GatewayError("scan-busy", bus=self._name) from error

    def _spare_s(self, now_s: float) -> float:
        """Seconds until a safety device has been delayed for as long as it may be."""
        limits = (
            scheduled.due_s + MAX_SAFETY_DELAY_PERIODS * scheduled.device.every - now_s
            for scheduled in self._devices if scheduled.is_safety_device
        )  # fmt: skip
        return min(limits, default=SCAN_REQUEST_S)

    async def _serve_scan_request(self, request: LineRequest) -> None:
        if request.is_abandoned:
            return
        bus = self._bus
        settle_s = min(bus.settle_s, SCAN_REQUEST_S / 2)
        usual_timeout_s, bus.timeout_s = bus.timeout_s, min(bus.timeout_s, SCAN_REQUEST_S - settle_s)
        try:
            await request.perform()
        except ReadFailed:
            await self._clock.sleep(settle_s)
        finally:
            bus.timeout_s = usual_timeout_s
            request.close()

    def reject_requests(self, error: GatewayError) -> None:
        """The line is down: return the error to everyone who waits for it."""
        reject_all(self._requests, error)
        reject_all(self._scan_requests, error)
