"""Lines with Modbus devices, and what the devices say there."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from drivers.modbus import DRIVER, Address, Options, connect
from drivers.modbus.bus import ModbusBus
from drivers.modbus.registers import RegisterPoint, WriteAction
from gateway.base.clock import SystemClock
from gateway.config import BusSpec
from gateway.field.line import Line as FieldLine
from gateway.model import Device, Sample
from tests.drivers.conftest import Line, rtu

SHORT = 0.25
"""Seconds of patience with a device that will not answer as it should."""
GOOD = rtu(7, 3, 1234)


def a_device(
    unit: int = 7, name: str = "d", every: float = 1.0, points: Any = None, **more: RegisterPoint
) -> Device:
    return Device(
        name=name,
        title={},
        kind="thermometer",
        profile="",
        bus="line",
        address=Address(unit=unit),
        points=points or more or {"x": RegisterPoint(address=0)},
        every=every,
    )


SIREN = {
    "on": WriteAction(address=3, value=True, confirm={"siren": True}),
    "off": WriteAction(address=3, value=0, confirm={"siren": False}),
    "set": WriteAction(address=40, value=1234, table="holding", confirm={"level": 1234}),
    "nowhere": WriteAction(address=1000, value=True),
}


def a_module(unit: int = 7) -> Device:
    device = a_device(
        unit, siren=RegisterPoint(address=3, table="coil"), level=RegisterPoint(address=40), every=60
    )
    return msgspec.structs.replace(device, actions=SIREN)


@contextlib.asynccontextmanager
async def on_line(line: Line) -> AsyncIterator[ModbusBus]:
    async with connect(Options(url=f"rtu:{line.path}", timeout=SHORT), ()) as bus:
        yield bus


@contextlib.contextmanager
def chain(folder: Path, slave: Path, unit: int) -> Any:
    """Two ptys joined by socat, with libmodbus at the far end."""
    near, far = folder / "near", folder / "far"
    joint = subprocess.Popen(["socat", f"pty,raw,echo=0,link={near}", f"pty,raw,echo=0,link={far}"])
    with joint:
        try:
            while not far.exists():
                assert joint.poll() is None
            with subprocess.Popen([slave, far, str(unit)], stdout=subprocess.PIPE, text=True) as running:
                try:
                    assert running.stdout
                    assert running.stdout.readline() == "ready\n"
                    yield near
                finally:
                    running.kill()
        finally:
            joint.terminate()


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@contextlib.asynccontextmanager
async def serving(talk: Talk, scheme: str = "tcp") -> AsyncIterator[str]:
    """A server that has this talk on every connection; its URL."""
    talks: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await talk(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*filter(None, talks))


@contextlib.asynccontextmanager
async def tcp(talk: Talk) -> AsyncIterator[ModbusBus]:
    async with serving(talk) as url, connect(Options(url=url, timeout=SHORT), ()) as bus:
        yield bus


@contextlib.asynccontextmanager
async def supervised(url: str, *devices: Device) -> AsyncIterator[list[Sample]]:
    samples: list[Sample] = []

    async def sink(sample: Sample) -> None:
        samples.append(sample)

    spec = BusSpec("line", DRIVER, Options(url=url, timeout=SHORT))
    task = asyncio.create_task(FieldLine(spec, devices, SystemClock(), sink).run())
    try:
        yield samples
    finally:
        task.cancel()
        await asyncio.wait([task])


def registers(request: bytes) -> bytes:
    """What a unit answers whose registers hold their own addresses."""
    first, count = struct.unpack(">HH", request[2:6])
    return rtu(request[0], 3, *range(first, first + count))


async def eventually(true: Callable[[], Any], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)
