"""Published exchanges with meters, and meters that replay them.

Sources: the annotated captures of meter 000000000161 (DLT645-2007 规约常见报文解析, V1.1, at
hwhale.com/article/138066, and in the comments of a public parser in Java); the replies of meter
201000000012 in the test server of a public Android reader for single-phase meters; the unit tests of a
public master in C# (meter 123456789012), whose frames were computed by hand after the standard; captures in
the comments of the public go645 (002241020208, 000000000001) and of a public Go parser (910004920760).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from drivers.dlt645 import Address, Options
from drivers.dlt645.bus import MeterBus, connect
from drivers.dlt645.points import MeterPoint
from gateway.model import Device
from tests.drivers.conftest import Line

LONG, SHORT = 5.0, 0.2
"""Seconds of patience with a meter that will reply, and with one that will not."""
WAKE_UP = b"\xfe" * 4


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


CAPTURED = {
    "000000000161": {
        "68 61 01 00 00 00 00 68 11 04 33 33 34 33 14 16":
        "68 61 01 00 00 00 00 68 91 08 33 33 34 33 59 33 33 33 8A 16",
        "68 61 01 00 00 00 00 68 11 04 33 33 35 33 15 16":
        "68 61 01 00 00 00 00 68 91 08 33 33 35 33 59 34 33 33 8C 16",
        "68 61 01 00 00 00 00 68 11 04 33 34 34 35 17 16":
        "68 61 01 00 00 00 00 68 91 06 33 34 34 35 34 43 10 16",
        "68 61 01 00 00 00 00 68 11 04 33 34 35 35 18 16":
        "68 61 01 00 00 00 00 68 91 07 33 34 35 35 CC 7C 33 16 16",
        "68 61 01 00 00 00 00 68 11 04 33 33 36 35 18 16":
        "68 61 01 00 00 00 00 68 91 07 33 33 36 35 45 58 33 6B 16",
        "68 61 01 00 00 00 00 68 11 04 33 33 39 35 1B 16":
        "68 61 01 00 00 00 00 68 91 06 33 33 39 35 34 38 09 16",
    },
    "201000000012": {
        "68 AA AA AA AA AA AA 68 13 00 DF 16":
        "68 12 00 00 00 10 20 68 93 06 45 33 33 33 43 53 1F 16",
        "68 12 00 00 00 10 20 68 11 04 33 32 34 33 F3 16":
        "68 12 00 00 00 10 20 68 91 18 33 32 34 33 5C 34 33 33 95 33 33 33 93 33 33 33"
        "36 33 33 33 35 33 33 33 74 16",
        "68 12 00 00 00 10 20 68 11 04 33 32 34 35 F5 16":
        "68 12 00 00 00 10 20 68 91 0A 33 32 34 35 89 55 32 32 32 32 21 16",
        "68 12 00 00 00 10 20 68 11 04 33 35 C3 33 85 16":
        "68 12 00 00 00 10 20 68 91 08 33 35 C3 33 89 CB 34 33 C4 16",
        "68 12 00 00 00 10 20 68 11 04 33 33 34 36 F7 16":
        "68 12 00 00 00 10 20 68 D1 01 35 19 16",
    },
}  # fmt: skip
"""By meter, the requests and its replies."""

ENERGY = MeterPoint(di="00010000", format="XXXXXX.XX")
VOLTAGE = MeterPoint(di="02010100", format="XXX.X")
CURRENT = MeterPoint(di="02020100", format="XXX.XXX", signed=True)
POWER = MeterPoint(di="02030000", format="XX.XXXX", signed=True)


def a_meter(number: str = "000000000161", name: str = "meter", **points: MeterPoint) -> Device:
    return Device(
        name=name,
        title={},
        kind="energy-meter",
        profile="",
        bus="line",
        address=Address(meter=number),
        points=points or {"energy": ENERGY, "voltage": VOLTAGE},
        every=60.0,
    )


class Replay:
    """Meters that answer what was recorded of them, and nothing else."""

    def __init__(self, *numbers: str, preamble: int = 4, echo: bool = False, noise: bytes = b"") -> None:
        self.replies = {
            WAKE_UP + raw(request): raw(reply)
            for number in numbers
            for request, reply in CAPTURED[number].items()
        }
        self._before = noise + b"\xfe" * preamble
        self._echo = echo

    def answer(self, request: bytes) -> list[tuple[float, bytes]]:
        said = [(0.0, request)] if self._echo else []
        reply = self.replies.get(request)
        return said if reply is None else [*said, (0.001, self._before + reply)]


@contextlib.asynccontextmanager
async def on_line(line: Line, **options: Any) -> AsyncIterator[MeterBus]:
    keys = {"timeout": LONG, "parity": "N"} | options  # A pty has no parity.
    async with connect(Options(url=f"serial:{line.path}", **keys), ()) as bus:
        yield bus


class Server:
    """A TCP server of a serial line with meters. `close_after`: replies until it closes a connection."""

    def __init__(self, meters: Replay, close_after: int | None = None) -> None:
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self._meters = meters
        self._close_after = close_after

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        self.tasks.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await self.serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replies = 0
        while request := await reader.read(1000):
            for _, data in self._meters.answer(request):
                # A server passes on what comes from the line, in pieces.
                writer.write(data[:7])
                await writer.drain()
                writer.write(data[7:])
                replies += 1
            if replies == self._close_after:
                break


@contextlib.asynccontextmanager
async def on_tcp(server: Server, **options: Any) -> AsyncIterator[MeterBus]:
    async with await asyncio.start_server(server.accept, "127.0.0.1", 0) as listening:
        url = f"tcp://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        try:
            async with connect(Options(url=url, **{"timeout": LONG} | options), ()) as bus:
                yield bus
        finally:
            await asyncio.gather(*server.tasks)
