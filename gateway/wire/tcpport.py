"""A TCP connection to a serial server, for protocols without a library."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from gateway.model import LinkDown

from .receive import ReceiveBuffer

CONNECT_TIMEOUT_S = 4.0
"""TCP sends a lost packet again after one second and after three (RFC 6298)."""
UNACKNOWLEDGED_TIMEOUT_S = 20.0
"""After which the connection is closed if the other end acknowledges nothing that was sent."""

T = TypeVar("T")


class TcpPort(ReceiveBuffer, asyncio.Protocol):
    """A connection, for one task. A server that closes it after each reply, or when nothing is sent for a
    while, is in order: it is opened again for the next request."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._host, self._port = host, port
        self._transport: Any = None

    async def open(self) -> None:
        """Raises `LinkDown`."""
        loop = asyncio.get_running_loop()
        url = f"tcp://{self._host}:{self._port}"
        self._error = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                self._transport, _ = await loop.create_connection(lambda: self, self._host, self._port)
        except TimeoutError as error:
            reason = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            raise LinkDown("line-open", url=url, reason=reason) from error
        except OSError as error:
            raise LinkDown("line-open", url=url, reason=error) from error
        with contextlib.suppress(OSError):
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_TCP, socket.TCP_USER_TIMEOUT, round(UNACKNOWLEDGED_TIMEOUT_S * 1000)
            )

    async def exchange(self, frame: bytes, parse: Callable[[bytes], T | None], seconds: float) -> T:
        """Discard what was received so far, send a frame that may be sent twice, and wait for its reply. If
        the connection was closed before a byte of the reply came, it is opened again, once. Raises
        `ReadFailed` or `LinkDown`."""
        try:
            return await self._exchange(frame, parse, seconds)
        except LinkDown:
            if self._buffer:
                raise
        await self.open()
        return await self._exchange(frame, parse, seconds)

    async def _exchange(self, frame: bytes, parse: Callable[[bytes], T | None], seconds: float) -> T:
        self._buffer.clear()
        self._raise_if_failed()
        self._transport.write(frame)
        return await self.receive(parse, seconds)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._add_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._fail(exc or OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._transport is not None:
            self._transport.abort()


@contextlib.asynccontextmanager
async def open_tcp_port(host: str, port: int) -> AsyncIterator[TcpPort]:
    """Open a connection. Raises `LinkDown`."""
    connection = TcpPort(host, port)
    await connection.open()
    try:
        yield connection
    finally:
        connection.close()
