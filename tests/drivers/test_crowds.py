"""Every server of the gateway in a crowd of clients that say nothing: whoever has something to say is
heard, whoever is at work is not thrown out, and the silent ones are disconnected."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from drivers import gb26875, http_push
from drivers.gb26875 import listener as fire_listener
from gateway.base import control
from gateway.config import MetricsOptions
from gateway.daemon import metrics
from gateway.wire import http_server
from tests.drivers.gb26875.frames import CONFIRMED, PUBLISHED, device
from tests.drivers.test_hostile import WellGateway, taken
from tests.drivers.test_http_push import bearer, door, request, secret
from tests.ports import free_port

CROWD = 300
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Server(NamedTuple):
    """An open one: its port or socket, what an honest client sends in two parts, of which the first shows
    that it may come in, and how the answer begins."""

    place: int | Path
    first: bytes
    rest: bytes
    answer: bytes

    async def connect(self, host: str) -> Client:
        if isinstance(self.place, Path):
            return await asyncio.open_unix_connection(self.place)
        return await asyncio.open_connection("127.0.0.1", self.place, local_addr=(host, 0))

    async def is_answered(self, client: Client, sent: bytes) -> bool:
        reader, writer = client
        writer.write(sent)
        async with asyncio.timeout(20):
            return await reader.readexactly(len(self.answer)) == self.answer


@contextlib.asynccontextmanager
async def fire_panels(_folder: Path) -> AsyncIterator[Server]:
    options = gb26875.Options(listen="127.0.0.1:0", ask=False)
    async with gb26875.connect(options, (device(),)) as listener, taken(listener):
        assert listener.address
        yield Server(listener.address[1], PUBLISHED, PUBLISHED, CONFIRMED)


@contextlib.asynccontextmanager
async def counters_that_push(folder: Path) -> AsyncIterator[Server]:
    port = free_port()
    options = http_push.Options(listen=f"127.0.0.1:{port}", secret_file=secret(folder, "correct-horse"))
    counter = door("/north", secret(folder, "another-long-token"))
    async with http_push.connect(options, (counter,)) as listener, taken(listener):
        whole = request("/north", b'{"in": 12, "out": 7}', bearer("another-long-token"))
        yield Server(port, whole[:-5], whole[-5:], b"HTTP/1.1 200 ")


@contextlib.asynccontextmanager
async def the_metrics(_folder: Path) -> AsyncIterator[Server]:
    port = free_port()
    gateway: Any = WellGateway()
    serving = asyncio.create_task(metrics.serve(MetricsOptions(port=port), gateway))
    try:
        server = Server(port, b"GET /healthz HTTP/1.1\r\n", b"Host: a\r\n\r\n", b"HTTP/1.1 200 ")
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(ConnectionError):
                    _, writer = await server.connect("127.0.0.1")
                    writer.close()
                    break
        yield server
    finally:
        serving.cancel()
        await asyncio.wait([serving])


@contextlib.asynccontextmanager
async def the_control_socket(folder: Path) -> AsyncIterator[Server]:
    async def health(_request: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True}

    async with control.serve_control_socket(folder / "control.sock", {"health": health}):
        call = b'{"call": "health"}\n'
        yield Server(folder / "control.sock", call, call, b'{"ok":true}\n')


Open = Callable[[Path], contextlib.AbstractAsyncContextManager[Server]]
SERVERS: list[tuple[Open, ModuleType, str, int]] = [
    (fire_panels, fire_listener, "FIRST_PACKET_S", 64),
    (counters_that_push, http_server, "CONNECTION_TIMEOUT_S", http_server.MAX_CONNECTIONS),
    (the_metrics, http_server, "CONNECTION_TIMEOUT_S", http_server.MAX_CONNECTIONS),
    (the_control_socket, control, "IDLE_TIMEOUT_S", control.MAX_CONNECTIONS),
]
"""With the time limit of a silent client, and the limit of connections."""
ANSWER_FIRST = (fire_panels, the_control_socket)
"""Those that answer the first part."""
each_server = pytest.mark.parametrize(
    ("opening", "module", "limit", "most"), SERVERS, ids=[server[0].__name__ for server in SERVERS]
)


async def crowd(server: Server, stack: contextlib.ExitStack, hosts: int) -> list[Client]:
    """Clients that say nothing, from so many addresses."""
    clients = []
    for number in range(CROWD):
        clients.append(await server.connect(f"127.0.1.{1 + number % hosts}"))
        stack.callback(clients[-1][1].transport.abort)
    return clients


@each_server
@pytest.mark.parametrize("hosts", [1, 100])
async def test_a_crowd_keeps_nobody_out_and_throws_nobody_out(
    opening: Open, module: ModuleType, limit: str, most: int, hosts: int, tmp_path: Path
) -> None:
    async with opening(tmp_path) as server:
        with contextlib.ExitStack() as stack:
            at_work = await server.connect("127.0.0.2")
            stack.callback(at_work[1].transport.abort)
            at_work[1].write(server.first)
            if opening in ANSWER_FIRST:
                assert await server.is_answered(at_work, b"")
            clients = await crowd(server, stack, hosts)
            if opening is not the_metrics:  # There, nobody shows who he is.
                assert await server.is_answered(at_work, server.rest)
            newcomer = await server.connect("127.0.0.3")
            stack.callback(newcomer[1].transport.abort)
            first = server.first if opening in ANSWER_FIRST else server.first + server.rest
            assert await server.is_answered(newcomer, first)
            ended = 0
            for reader, _ in clients[: CROWD - most]:
                with contextlib.suppress(ConnectionError):
                    async with asyncio.timeout(20):
                        assert await reader.read() == b""
                ended += 1
            assert ended == CROWD - most


@each_server
async def test_who_says_nothing_is_disconnected(
    opening: Open,
    module: ModuleType,
    limit: str,
    most: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, limit, 0.2)
    async with opening(tmp_path) as server:
        for begun in (b"", server.first[:10]):
            reader, writer = await server.connect("127.0.0.2")
            writer.write(begun)
            async with asyncio.timeout(20):
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            writer.close()
