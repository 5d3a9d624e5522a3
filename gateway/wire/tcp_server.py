"""A TCP server for devices and monitors, whose connections are bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from gateway.base.connections import ACCEPT_BACKLOG, Connections, network_of


class TcpLimits(NamedTuple):
    """Of one server: connections in all, those of one address that are not trusted, and the bytes that are
    read ahead."""

    connections: int
    connections_per_address: int
    buffer_bytes: int


class TcpClient:
    """One connection. It is aborted when its handler returns."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connections: Connections,
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.address: str = (writer.get_extra_info("peername") or ("",))[0]
        """The client's IP address."""
        self.network = network_of(self.address)
        """What the client has alone: its address, of IPv6 its network."""
        self._connections = connections

    def trust(self) -> None:
        """The client has shown that it may come in: others are disconnected first."""
        self._connections.trust(self.writer.transport)

    async def _run(self, handle: Callable[[TcpClient], Awaitable[None]]) -> None:
        try:
            await handle(self)
        except (OSError, TimeoutError):
            pass  # Disconnected, or too slow: an answer would not arrive.
        finally:
            self._connections.remove(self.writer.transport)
            # Not close(): it would wait for ever for a peer that never reads.
            self.writer.transport.abort()


@asynccontextmanager
async def serve_tcp(
    host: str | None, port: int | None, handle: Callable[[TcpClient], Awaitable[None]], limits: TcpLimits
) -> AsyncIterator[tuple[str, int]]:
    """Handle each connection in a task of its own; on the way out all are closed. Gives the address of the
    server. `handle` limits the time of a silent client by `asyncio.timeout`. Raises `OSError` if the port
    cannot be opened."""
    connections = Connections(limits.connections, limits.connections_per_address)
    tasks: set[asyncio.Task[Any]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not in the task, which begins only after further connections have been accepted.
        connections.add(writer.transport)
        client = TcpClient(reader, writer, connections)
        task = asyncio.create_task(client._run(handle))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(
        accept, host, port, limit=limits.buffer_bytes, backlog=ACCEPT_BACKLOG
    )
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        open_tasks = list(tasks)
        for task in open_tasks:
            task.cancel()
        await asyncio.gather(*open_tasks, return_exceptions=True)
