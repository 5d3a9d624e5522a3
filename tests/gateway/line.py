"""A line on a scripted bus, on a clock that is turned by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from gateway.config import BusSpec
from gateway.field.line import Line
from gateway.model import (
    AlarmSpec,
    Bus,
    Command,
    Device,
    Driver,
    Hazard,
    LinkDown,
    Listener,
    Point,
    Role,
    Sample,
    Value,
)
from tests.clock import FakeClock

FIRE = AlarmSpec(hazard=Hazard.FIRE, above=100)


class Nothing(msgspec.Struct, frozen=True):
    """A line without options."""


def a_device(name: str, every: float = 1.0, alarm: AlarmSpec | None = None) -> Device:
    return Device(
        name=name,
        title={},
        kind="thermometer",
        profile="",
        bus="line",
        address=None,
        points={"x": Point(min=0, alarm=alarm), "y": Point()},
        every=every,
    )


class ScriptedBus(Bus):
    """A line whose devices answer after `latency` seconds with `answers`: errors are raised, of a list
    each once and the last for ever."""

    settle_s = 0.5

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.answers: dict[str, Any] = {}
        self.latency: dict[str, float] = {}
        self.polls: list[tuple[float, str]] = []
        self.writes: list[tuple[float, str, str]] = []
        self.write_error: Exception | None = None
        self.away: LinkDown | None = None
        """Why the line cannot be opened."""
        self.opened: list[float] = []
        self.asking = ""
        """Whom it is talking to."""

        self.requests: dict[str, int] = {}
        """Of how many requests a device's reading consists; one by default."""

    async def _talk(self, device: Device) -> None:
        assert not self.asking, "two transactions overlap"
        self.asking = device.name
        try:
            await self.clock.sleep(self.latency.get(device.name, 0.01))
        finally:
            self.asking = ""

    async def read(self, device: Device) -> Any:
        self.polls.append((self.clock.mono(), device.name))
        await self._talk(device)
        for _ in range(1, self.requests.get(device.name, 1)):
            await self.pause()
            await self._talk(device)
        answer = self.answers.get(device.name, {"x": 1, "y": 2})
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        self.writes.append((self.clock.mono(), device.name, action))
        await self._talk(device)
        if self.write_error:
            raise self.write_error
        return {"x": 5}

    def times(self, name: str) -> list[float]:
        return [moment for moment, device in self.polls if device == name]


class Rig:
    """A line on a scripted bus, with its samples."""

    def __init__(self, *devices: Device) -> None:
        self.clock = FakeClock()
        self.bus = ScriptedBus(self.clock)
        self.pushing: asyncio.Queue[tuple[str, Any]] | None = None
        self.polled = False
        """Whether a line that pushes is polled as well."""
        self.samples: list[Sample] = []
        self.restored: list[tuple[str, bytes]] = []
        spec = BusSpec("line", self._driver(), Nothing())
        self.line = Line(spec, devices, self.clock, self._sink, self._saved_states, self.stretch)

    async def _sink(self, sample: Sample) -> None:
        self.samples.append(sample)

    def stretch(self) -> float:
        """The factor of the periods of all devices but safety devices."""
        return 1.0

    def _saved_states(self) -> dict[str, bytes]:
        return {
            sample.device: sample.driver_state for sample in self.samples if sample.driver_state is not None
        }

    def _driver(self) -> Driver:
        return Driver(
            options=Nothing,
            address=Nothing,
            point=Point,
            connect=self._connect,
            decode=lambda points, raw: raw,
            parse_example=dict,
            format_raw=str,
            state_to_save=lambda raw: str(raw).encode(),
            actions={"open": Role.MANAGER},
        )

    @asynccontextmanager
    async def _connect(self, options: Any, devices: Any) -> AsyncIterator[Bus | Listener]:
        self.bus.opened.append(self.clock.mono())
        if self.bus.away:
            raise self.bus.away
        if self.pushing is None:
            yield self.bus
        elif self.polled:
            yield Both(self.bus, self.pushing, self.restored)
        else:
            yield Pushing(self.pushing, self.bus, self.restored)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        job = asyncio.create_task(self.line.run())
        await self.clock.settle()
        try:
            yield
            assert not job.done()
        finally:
            job.cancel()
            await asyncio.wait([job])

    async def until_asking(self, name: str) -> None:
        for _ in range(2000):
            await self.clock.advance(0.005)
            if self.bus.asking == name:
                return
        raise AssertionError(f"{name} is not asked")

    def of(self, name: str) -> list[Sample]:
        return [sample for sample in self.samples if sample.device == name]

    def command(self, device: str = "a", action: str = "open", seconds: float = 10) -> Command:
        at = self.clock.now()
        return Command(
            id="1",
            at=at,
            device=device,
            action=action,
            expires=at.wall_ms + int(seconds * 1000),
            origin="console",
        )


class Pushing(Listener):
    """What is pushed is heard; writes go to the line, which may be busy with several."""

    def __init__(
        self, queue: asyncio.Queue[tuple[str, Any]], line: ScriptedBus, restored: list[tuple[str, bytes]]
    ) -> None:
        self._queue = queue
        self._line = line
        self._restored = restored

    def restore_state(self, device: str, state: bytes) -> None:
        self._restored.append((device, state))

    async def listen(self) -> AsyncIterator[tuple[str, Any]]:
        while True:
            name, raw = await self._queue.get()
            if isinstance(raw, LinkDown):
                raise raw
            yield name, raw

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        self._line.writes.append((self._line.clock.mono(), device.name, action))
        await self._line.clock.sleep(self._line.latency.get(device.name, 0.01))
        if self._line.write_error:
            raise self._line.write_error
        return {"x": 5, "y": 2}


class Both(Pushing, Bus):
    def __init__(
        self, line: ScriptedBus, queue: asyncio.Queue[tuple[str, Any]], restored: list[tuple[str, bytes]]
    ) -> None:
        super().__init__(queue, line, restored)
        self.read = line.read  # type: ignore[method-assign]
        self.write = line.write  # type: ignore[method-assign]


def names(count: int, prefix: str = "d") -> list[str]:
    return [f"{prefix}{n}" for n in range(count)]
