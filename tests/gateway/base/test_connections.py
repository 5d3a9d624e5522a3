"""Who is disconnected when there are too many: real clients, from several addresses of the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
from asyncio import constants
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from gateway.base.connections import ACCEPT_BACKLOG, Connections, log_shortage, network_of
from gateway.base.log import log_event

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Server:
    """A server that trusts whoever sends a line."""

    def __init__(self, most: int, most_per_address: int) -> None:
        self.connections = Connections(most, most_per_address)
        self.host = "127.0.0.1"
        self.port = 0
        self.clients: list[Client] = []
        self.tasks: list[asyncio.Task[Any]] = []

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer.transport)
        self.tasks.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(b"hello\n")
            while await reader.readline():
                self.connections.trust(writer.transport)
                writer.write(b"trusted\n")
        self.connections.remove(writer.transport)
        writer.close()

    async def connect(self, address: str = "127.0.0.1", *, trusted: bool = False) -> Client:
        local = None if ":" in address else (address, 0)
        reader, writer = await asyncio.open_connection(self.host, self.port, local_addr=local)
        self.clients.append((reader, writer))
        assert await reader.readline() == b"hello\n"
        if trusted:
            assert not await ended((reader, writer))
        return reader, writer


@contextlib.asynccontextmanager
async def serving(most: int, most_per_address: int, host: str = "127.0.0.1") -> AsyncIterator[Server]:
    server = Server(most, most_per_address)
    server.host = host
    async with await asyncio.start_server(server.accept, host, 0, backlog=ACCEPT_BACKLOG) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server
        for _, writer in server.clients:
            writer.close()
        await asyncio.gather(*server.tasks)


async def ended(client: Client) -> bool:
    """Whether the server has disconnected the client; it answers all others."""
    reader, writer = client
    try:
        writer.write(b"still there?\n")
        return await reader.readline() == b""
    except ConnectionError:
        return True


async def test_an_address_keeps_its_newest_connections() -> None:
    async with serving(most=10, most_per_address=3) as server:
        other = await server.connect("127.0.0.2")
        flood = [await server.connect() for _ in range(5)]
        assert [await ended(client) for client in flood] == [True, True, False, False, False]
        assert not await ended(other)


async def test_a_trusted_connection_outlives_any_crowd() -> None:
    async with serving(most=4, most_per_address=4) as server:
        owner = await server.connect(trusted=True)
        crowd = [await server.connect(f"127.0.0.{number}") for number in range(2, 30)]
        assert not await ended(owner)
        assert [await ended(client) for client in crowd] == [True] * 25 + [False] * 3


async def test_the_address_with_the_most_connections_gives_way() -> None:
    async with serving(most=4, most_per_address=3) as server:
        lonely = await server.connect("127.0.0.2")
        flood = [await server.connect() for _ in range(3)]
        newest = await server.connect("127.0.0.3")
        assert [await ended(client) for client in (lonely, *flood, newest)] == [
            False,
            True,
            False,
            False,
            False,
        ]


async def test_of_trusted_ones_only_the_oldest_of_the_busiest_address_gives_way() -> None:
    async with serving(most=3, most_per_address=3) as server:
        owner = await server.connect("127.0.0.2", trusted=True)
        screens = [await server.connect(trusted=True) for _ in range(2)]
        newest = await server.connect("127.0.0.3", trusted=True)
        clients = (owner, *screens, newest)
        assert [await ended(client) for client in clients] == [False, True, False, False]


def test_an_address_is_what_one_client_has_alone() -> None:
    assert network_of("192.0.2.7") == network_of("192.0.2.7")
    assert network_of("192.0.2.7") != network_of("192.0.2.8")
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1%eth0") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.7") != network_of("::ffff:192.0.2.8")
    assert [network_of(text) for text in ("", "[::1", "unknown")] == ["", "[::1", "unknown"]


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """192 besides those that tests before this one have left open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = 1 + max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 192, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_connections_leave_descriptors_to_the_rest_of_the_process(few_descriptors: None) -> None:
    """One server is flooded; connections to the other one come in all the same."""
    async with serving(1000, 1000) as flooded, serving(1000, 1000) as other:
        process = await asyncio.create_subprocess_exec(
            "python3",
            "-c",
            FLOOD,
            str(flooded.port),
            stdout=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.PIPE,
        )
        assert process.stdout
        assert await process.stdout.readline() == b"connected\n"
        client = await other.connect("127.0.0.2", trusted=True)
        assert not await ended(client)
        process.kill()
        await process.wait()


FLOOD = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
clients = []
for _ in range(200):
    clients.append(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
print("connected", flush=True)
sys.stdin.read()
"""


async def test_a_server_may_be_closed_during_a_shortage(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_shortage)
    log_event(logging.ERROR, "accept-failed")  # As in a process that has read its words.
    caplog.clear()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as client:
        async with serving(10, 10) as server:
            client.connect(("127.0.0.1", server.port))
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
            try:
                while not caplog.records:
                    await asyncio.sleep(0)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
        # After asyncio's second attempt.
        over = loop.create_future()
        loop.call_later(constants.ACCEPT_RETRY_DELAY, over.set_result, None)
        await over
    assert {getattr(record, "kind", record.getMessage()) for record in caplog.records} == {"accept-failed"}


async def test_a_shortage_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    log_shortage(
        loop, {"message": "socket.accept() out of system resource", "exception": OSError(24, "many")}
    )
    log_shortage(loop, {"message": "something else"})
    shortage, other = caplog.records
    assert "accept-failed" in shortage.getMessage()
    assert shortage.exc_info is None
    assert (other.name, other.getMessage()) == ("asyncio", "something else")
