"""A TCP proxy with the faults of a real network."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager


class Proxy:
    """Stands between the gateway and a broker on loopback."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.connections = 0
        """Accepted so far."""
        self.silent = False
        """Accept, and do nothing more."""
        self.deaf = False
        """Drop what the broker says: no PUBACK arrives, while everything reaches the broker."""
        self.dropped_bytes = 0
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()

    def pause(self) -> None:
        """Take nothing from either side, as a half-open link does."""
        self._open.clear()

    def resume(self) -> None:
        self._open.set()

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            if self.silent:
                await reader.read()
                return
            with contextlib.suppress(OSError):
                there, here = await asyncio.open_connection("127.0.0.1", self.target, limit=4096)
                self._writers.add(here)
                try:
                    await self._both(self._pump(reader, here), self._pump(there, writer, back=True))
                finally:
                    self._writers.discard(here)
                    here.close()
        except asyncio.CancelledError:
            return  # The test is over, and the stream server would tell of it.
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _both(self, *pumps: Coroutine[None, None, None]) -> None:
        tasks = [asyncio.ensure_future(pump) for pump in pumps]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                await self._open.wait()
                if back and self.deaf:
                    self.dropped_bytes += len(data)
                else:
                    writer.write(data)
                    await writer.drain()


@asynccontextmanager
async def proxy(target: int) -> AsyncIterator[Proxy]:
    """A proxy to a port of loopback."""
    between = Proxy(target)
    server = await asyncio.start_server(between.serve, "127.0.0.1", 0, limit=4096)
    between.port = server.sockets[0].getsockname()[1]
    try:
        yield between
    finally:
        server.close()
        between.resume()
        between.cut()
        await asyncio.sleep(0.01)
