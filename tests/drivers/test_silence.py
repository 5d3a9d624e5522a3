"""A safety device that falls silent is a fault, never "normal": from the wire to the alarm (row 33)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from drivers import gb26875, modbus
from drivers.gb26875.packets import MIN_PACKET_BYTES, SEND, FirePacket
from gateway.base.clock import SystemClock
from gateway.capabilities.safety.services.alarms import Safety
from gateway.config import BusSpec, load_profile
from gateway.field.line import Line as FieldLine
from gateway.model import Device, Driver, Fact, Hazard, Sample
from tests.drivers.conftest import Line, rtu

CONFIG = Path(__file__).parents[2] / "config" / "profiles"


def a_device(model: str, address: Any, every: float = 0.1) -> Device:
    profile = load_profile(CONFIG / f"{model}.toml")
    return Device(
        name="d",
        title={},
        kind=profile.kind,
        profile=model,
        bus="line",
        address=address,
        points=profile.points,
        every=every,
    )


class Alarms:
    """What the safety service has concluded, as a set of `hazard point change`."""

    def __init__(self, device: Device) -> None:
        self._service = Safety({device.name: device})
        self._rows: dict[str, Any] = {}
        self.facts: list[Fact] = []

    async def take(self, sample: Sample) -> None:
        changes, facts = self._service.apply(self._rows, sample)
        for key, row in changes.items():
            if row is None:
                del self._rows[key]
            else:
                self._rows[key] = row
        self.facts += facts

    def said(self) -> list[tuple[str, str, str]]:
        return [(fact.body["hazard"], fact.body["point"], fact.body["change"]) for fact in self.facts]


@contextlib.asynccontextmanager
async def watched(driver: Driver, options: msgspec.Struct, device: Device) -> AsyncIterator[Alarms]:
    alarms = Alarms(device)
    bus = FieldLine(BusSpec("line", driver, options), (device,), SystemClock(), alarms.take)
    task = asyncio.create_task(bus.run())
    try:
        await until(lambda: bus.counters.is_up)
        yield alarms
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


SILENT = (Hazard.FAULT, "link", "raised")
FIRE = (Hazard.FIRE, "smoke", "raised")


async def test_a_smoke_detector_whose_wire_is_cut(line: Line) -> None:
    answers = True
    line.answer = lambda _: [(0.0, rtu(7, 3, 0, 12, 228, 3012))] if answers else []
    options = modbus.Options(url=f"rtu:{line.path}", timeout=0.1)
    device = a_device("smoke/generic-rs485", modbus.Address(unit=7))
    async with watched(modbus.DRIVER, options, device) as alarms:
        await until(lambda: len(line.requests) >= 3)
        assert alarms.said() == [], "all is well"
        answers = False
        await until(lambda: alarms.said() == [SILENT])


async def test_a_smoke_detector_that_burns(line: Line) -> None:
    """The last it said was smoke: its silence takes nothing back."""
    answers = True
    line.answer = lambda _: [(0.0, rtu(7, 3, 1, 1250, 391, 2987))] if answers else []
    options = modbus.Options(url=f"rtu:{line.path}", timeout=0.1)
    device = a_device("smoke/generic-rs485", modbus.Address(unit=7))
    async with watched(modbus.DRIVER, options, device) as alarms:
        await until(lambda: alarms.said() == [FIRE])
        answers = False
        await until(lambda: alarms.said() == [FIRE, SILENT])


async def test_a_fire_panel_whose_network_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    options = gb26875.Options(listen=f"127.0.0.1:{port}", ask=False)
    device = a_device("fire-panel/gb26875", gb26875.Address(source="00:00:00:00:00:00"), every=0.2)
    heartbeat = FirePacket(
        sequence=0,
        version=b"\1\1",
        time=bytes(6),
        source=bytes(6),
        destination=bytes(6),
        command=SEND,
        data=b"",
    )
    async with watched(gb26875.DRIVER, options, device) as alarms:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(heartbeat.encode())
        await reader.readexactly(MIN_PACKET_BYTES)
        assert alarms.said() == []
        await until(lambda: alarms.said() == [SILENT])  # The connection stands, and nothing comes.
        writer.close()
