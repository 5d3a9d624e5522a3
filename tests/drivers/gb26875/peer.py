"""A transmission device at its end of a connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from drivers.gb26875.listener import FireListener
from drivers.gb26875.packets import MIN_PACKET_BYTES


class Peer:
    """A transmission device's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, data: bytes, length: int = MIN_PACKET_BYTES) -> bytes:
        self.writer.write(data)
        async with asyncio.timeout(5):
            return await self.reader.readexactly(length)

    async def cut_off(self) -> bool:
        """Whether the connection ends without a word."""
        try:
            async with asyncio.timeout(5):
                return await self.reader.read() == b""
        except ConnectionResetError:
            return True


@contextlib.asynccontextmanager
async def calling(listener: FireListener | int) -> AsyncIterator[Peer]:
    port = listener if isinstance(listener, int) else listener.address and listener.address[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)
