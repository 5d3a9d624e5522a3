"""One bus with its devices: opened, polled or listened to as its driver wants, reopened when it is down."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from gateway.base.log import log_event
from gateway.base.tasks import exception_of, run_all, run_in_own_task
from gateway.config import BusSpec
from gateway.model import Bus, Clock, Command, Device, GatewayError, LinkDown, Listener

from .doctor import Diagnosis
from .health import LineCounters, LineHealth, LiveReading, SampleSink, silence_limit_s
from .polled import PolledLine
from .pushed import PushedLine
from .schedule import backoff_s

MIN_REOPEN_DELAY_S, MAX_REOPEN_DELAY_S = 0.5, 3.0
"""Between two attempts to open a line: an adapter that is plugged in again must work within five seconds,
and the first poll may take its time as well."""


class Line:
    """A bus with its devices. `sink` takes their samples; `saved_states` are what drivers had saved of
    them (`Driver.state_to_save`), by device. `stretch` is the factor by which the periods of all
    devices but safety devices are longer now than configured."""

    def __init__(
        self,
        spec: BusSpec,
        devices: tuple[Device, ...],
        clock: Clock,
        sink: SampleSink,
        saved_states: Callable[[], Mapping[str, bytes]] = dict,
        stretch: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self.spec = spec
        self.health = LineHealth(spec, devices, clock, sink)
        self._devices = devices
        self._clock = clock
        self._saved_states = saved_states
        self._stretch = stretch
        self._open_line: PolledLine | PushedLine | None = None
        self._listener: Listener | None = None
        self._quirks: dict[str, Any] = {}
        self._transaction = asyncio.Lock()

    @property
    def counters(self) -> LineCounters:
        """Counts since the start."""
        return self.health.counters

    @property
    def unknown_fires(self) -> dict[str, str]:
        """The places of fires behind senders that are not configured, as in `Sample.places`."""
        return self.health.unknown_senders.fires()

    def report(self) -> dict[str, Any]:
        """How the line and its devices have done in the last minutes, for `linli doctor`."""
        report = self.health.report(pushes=isinstance(self._open_line, PushedLine))
        notices = self._listener.notices() if self._listener else ()
        report["findings"] += [
            msgspec.structs.asdict(Diagnosis(key, facts=dict(facts))) for key, facts in notices
        ]
        return report

    async def execute(self, command: Command) -> None:
        """Execute a command at the next transaction boundary, and confirm it. Raises `GatewayError`."""
        device = self.health.devices[command.device].device
        if command.action not in (*self.spec.driver.actions, *device.actions):
            raise GatewayError("action-unknown", device=device.name, action=command.action)
        await self._require_open_line().execute(device, command)

    async def read(self, name: str) -> LiveReading:
        """One reading of a device, outside of its schedule. Raises `GatewayError`."""
        return await self._require_open_line().read(self.health.devices[name].device)

    def last_reading(self, name: str) -> LiveReading | None:
        """The last message of a device that reports by itself, and its age as `duration_s`; None if there
        is none, or the device is polled. Raises `GatewayError`."""
        health = self.health.devices[name]
        is_pushed = isinstance(self._require_open_line(), PushedLine)
        if not is_pushed or health.last_message is None:
            return None
        raw, sample, arrived = health.last_message
        return LiveReading(self.spec.driver.format_raw(raw), sample, self._clock.mono() - arrived)

    def longest_wait_s(self, name: str) -> float:
        """Seconds that `read` may take: a device that reports by itself cannot be asked."""
        waits = isinstance(self._open_line, PushedLine)
        return silence_limit_s(self.health.devices[name].device) if waits else 0.0

    async def run_scan_request(self, send_request: Callable[[Bus], Awaitable[Any]]) -> Any:
        """One request of a scan. Raises `GatewayError`; `ReadFailed` is the result of the request."""
        line = self._require_open_line()
        if isinstance(line, PushedLine):
            raise GatewayError("scan-speaks", bus=self.spec.name)
        return await line.run_scan_request(send_request)

    async def capture_still(self) -> bytes:
        """What a camera sees now, as JPEG. Raises `GatewayError`."""
        if self._listener is None:
            raise GatewayError("line-down", reason=self.spec.name)
        return await self._listener.capture_still()

    def _require_open_line(self) -> PolledLine | PushedLine:
        if self._open_line is None:
            raise self.health.down_error or LinkDown("line-opening")
        return self._open_line

    async def run(self) -> None:
        """Keep the line open, until cancelled."""
        while True:
            error = await run_in_own_task(exception_of(self._run_until_down()))
            if not isinstance(error, LinkDown):
                log_event(logging.ERROR, "crashed", bus=self.spec.name)
                logging.getLogger("linli").error("", exc_info=error)
                error = LinkDown("internal", reason=type(error).__name__)
            self._reject_requests(error)
            await self.health.mark_down(error)
            attempts = self.health.openings_without_sample
            jitter = random.uniform(0.6, 1.0)  # noqa: S311
            self.health.openings_without_sample += 1
            await self._clock.sleep(backoff_s(MIN_REOPEN_DELAY_S, attempts, MAX_REOPEN_DELAY_S) * jitter)

    async def stop(self, run_task: asyncio.Task[None]) -> None:
        """Cancel the task of `run` between two transactions, so that no late reply is misread."""
        async with self._transaction:
            run_task.cancel()
            await asyncio.wait({run_task})
        self._reject_requests(LinkDown("line-down", reason=self.spec.name))

    async def _run_until_down(self) -> None:
        """Open the line and keep it going until it is down."""
        async with self.spec.driver.connect(self.spec.options, self._devices) as bus:
            self.health.mark_up()
            if isinstance(bus, Listener):
                self._listener = bus
                self._restore_states(bus)
            if not isinstance(bus, Bus):
                self._open_line = PushedLine(bus, self.health, self._clock)
                await self._open_line.run()
                return
            bus.quirks = self._quirks
            self._open_line = PolledLine(bus, self.health, self._clock, self._transaction, self._stretch)
            if isinstance(bus, Listener):
                messages = PushedLine(bus, self.health, self._clock).receive_messages()
                await run_all(polls=self._open_line.run(), messages=messages)
            await self._open_line.run()

    def _restore_states(self, bus: Listener) -> None:
        """Return to the driver what it had saved of its devices."""
        saved_states = self._saved_states()
        for name in self.health.devices:
            if name in saved_states:
                bus.restore_state(name, saved_states[name])

    def _reject_requests(self, error: LinkDown) -> None:
        line, self._open_line, self._listener = self._open_line, None, None
        if line:
            line.reject_requests(error)
