"""Whatever strangers send, on every line that listens: it holds the event loop for no longer than 50 ms,
and an honest sender is heard meanwhile.

Slaves that lie (late, doubled, broken and foreign replies, on serial lines and on TCP) are in a process of
their own: scripts/benchmarks/hostile_slaves.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from drivers.gb26875 import Options, connect
from gateway.model import Listener
from tests.drivers.conftest import Line, new_line
from tests.drivers.gb26875.frames import CONFIRMED, FIRE, PUBLISHED, STRANGER, component, components, device
from tests.drivers.gb26875.frames import packet as fire_packet
from tests.drivers.gb26875.peer import calling, until
from tests.turns import allowed_s, watched_turns

ROOT = Path(__file__).parents[2]
STREAM_BYTES = 16 * 1024
DRIP_BYTES = 256

Streams = Iterable[tuple[str, list[bytes]]]
"""By name, what a stranger sends, piece by piece."""


def repeated(unit: bytes) -> list[bytes]:
    return [unit * (STREAM_BYTES // len(unit))]


def any_streams() -> Streams:
    """What any line may be sent."""
    for byte in range(256):
        yield f"{byte:#04x} for ever", repeated(bytes((byte,)))
    yield "bytes of every value", repeated(bytes(range(256)))


def fire_streams() -> Streams:
    """By the frames of GB 26875."""
    longest, empty = fire_packet(bytes(1024), STRANGER).encode(), fire_packet(b"", STRANGER).encode()
    ours = fire_packet(components(component(FIRE)))
    nested = fire_packet(b"@@" * 512, STRANGER).encode()
    # Beginnings as dense as they can be, each of a packet of 771 bytes.
    dense = b"@" * 24 + b"\3" * 24
    for unit in (b"@@", b"##", b"@@##", longest[:28], longest, empty, nested, dense, ours.encode()[:-3]):
        yield f"{unit[:28].hex(' ')} … for ever", repeated(unit)
        yield f"{unit[:28].hex(' ')} … byte by byte", [bytes((byte,)) for byte in (unit * 10)[:DRIP_BYTES]]
    yield "wrong sums", repeated(empty[:-3] + bytes((empty[-3] ^ 1,)) + empty[-2:])
    yield "wrong sums of a device of ours", repeated(ours.encode()[:-3] + b"\0##")


class Door(NamedTuple):
    """A line on which strangers can send. `send` returns when all has been taken."""

    send: Callable[[list[bytes]], Awaitable[None]]
    is_heard: Callable[[], Awaitable[bool]]
    """Whether an honest sender is."""


@contextlib.asynccontextmanager
async def taken(listener: Listener) -> AsyncIterator[None]:
    """As the core takes what a listener says."""

    async def take() -> None:
        async for _ in listener.listen():
            pass

    task = asyncio.create_task(take())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def send_to(port: int, pieces: list[bytes]) -> None:
    """On a connection of its own, until the other end has closed it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def write() -> None:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            writer.write_eof()

    async with asyncio.timeout(20):
        writing = asyncio.create_task(write())
        with contextlib.suppress(ConnectionError):
            while await reader.read(1 << 16):
                pass
        await writing
    writer.transport.abort()


async def say_on(line: Line, pieces: list[bytes]) -> None:
    """As fast as the line takes it."""
    chunks = [piece[start : start + 512] for piece in pieces for start in range(0, len(piece), 512)]
    while chunks:
        with contextlib.suppress(BlockingIOError):
            line.say(chunks[0])
            del chunks[0]
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def fire_panels_on_tcp() -> AsyncIterator[Door]:
    async with connect(Options(listen="127.0.0.1:0", ask=False), (device(),)) as listener, taken(listener):
        assert listener.address
        port = listener.address[1]

        async def is_heard() -> bool:
            async with calling(listener) as panel:
                return await panel.ask(PUBLISHED) == CONFIRMED

        yield Door(lambda pieces: send_to(port, pieces), is_heard)


@contextlib.asynccontextmanager
async def a_fire_panel_on_a_serial_line() -> AsyncIterator[Door]:
    one_at_a_time = asyncio.Lock()
    with new_line() as line:
        async with connect(Options(listen=line.path, ask=False), (device(),)) as listener, taken(listener):

            async def is_heard() -> bool:
                async with one_at_a_time:
                    line.requests.clear()
                    # What a stranger has begun may be as long as a packet.
                    await say_on(line, [bytes(1100), PUBLISHED])
                    await until(lambda: b"".join(line.requests).endswith(CONFIRMED))
                return True

            async def send(pieces: list[bytes]) -> None:
                async with one_at_a_time:
                    await say_on(line, pieces)

            yield Door(send, is_heard)


DOORS: list[tuple[Callable[[], contextlib.AbstractAsyncContextManager[Door]], Callable[[], Streams]]] = [
    (fire_panels_on_tcp, fire_streams),
    (a_fire_panel_on_a_serial_line, fire_streams),
]


@pytest.mark.parametrize(("door", "own_streams"), DOORS, ids=[door.__name__ for door, _ in DOORS])
async def test_no_stranger_holds_the_loop(
    door: Callable[[], contextlib.AbstractAsyncContextManager[Door]], own_streams: Callable[[], Streams]
) -> None:
    held: dict[str, float] = {}
    async with door() as opened:
        for name, pieces in (*any_streams(), *own_streams()):
            with watched_turns() as turns:
                flood = asyncio.create_task(opened.send(pieces))
                heard = await opened.is_heard()
                await flood
                heard = heard and await opened.is_heard()
            assert heard, name
            assert turns.count > 1
            held[name] = turns.longest_s
    slowest = max(held, key=lambda name: held[name])
    assert held[slowest] < allowed_s(), slowest


def test_no_value_is_ever_taken_for_anothers() -> None:
    command = [sys.executable, "scripts/benchmarks", "hostile", "--quick", "--json"]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    figures = json.loads(run.stdout.splitlines()[-1])["hostile"]
    assert figures["misattributed"] == 0
    assert figures["transactions"] >= 4000
    assert figures["readings"] > 0.5 * figures["polls"]
    # Each kind of lie was told, and who believes everything reads wrong values.
    assert all(count > 0 for name, count in figures.items() if name.startswith("lie_"))
    assert figures["misattributed_reference"] > 0
