"""The connection between gateway and broker, which can fail in every way that a connection can."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from enum import StrEnum


class Mode(StrEnum):
    """What happens to bytes and to new connections."""

    PASS = "pass"
    FREEZE = "freeze"
    """Nothing passes in either direction, without notice: a half-open link."""
    MUTE = "mute"
    """What the gateway sends is lost."""
    DEAF = "deaf"
    """What the broker sends is lost: no acknowledgement arrives."""
    SLOW = "slow"
    """Everything is delayed and arrives in small pieces."""
    SILENT = "silent"
    """Connections are accepted, but no CONNACK is sent."""
    CLOSED = "closed"
    """Connections are refused."""


class _Pair:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.holed = False
        """Bytes in the middle are missing: the connection cannot be used any longer."""

    def cut(self, *, reset: bool) -> None:
        if reset and (sock := self.client.get_extra_info("socket")):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.close()


class Proxy:
    """Listens on its own port and forwards to the broker's."""

    def __init__(self, broker: int) -> None:
        self._broker = broker
        self._mode = Mode.PASS
        self._changed = asyncio.Condition()
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.gate = True
        """False: closed in every mode, while the broker is down."""
        self.port = 0

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut(reset=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def set(self, mode: Mode) -> None:
        """Change the mode. Leaving a mode that lost or delayed bytes closes the affected connections."""
        async with self._changed:
            self._mode = mode
            self._changed.notify_all()
        if mode is Mode.CLOSED:
            self.cut(reset=True)
        for pair in [pair for pair in self._pairs if pair.holed]:
            pair.cut(reset=True)

    def cut(self, *, reset: bool) -> None:
        for pair in list(self._pairs):
            pair.cut(reset=reset)

    def shut(self) -> None:
        self.gate = False
        self.cut(reset=False)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        pair = _Pair(writer)
        self._pairs.add(pair)
        try:
            if not self.gate or self._mode is Mode.CLOSED:
                pair.cut(reset=True)
                return
            if self._mode is Mode.SILENT:
                pair.holed = True
                await reader.read()  # Until the gateway has had enough.
                while await reader.read(65536):
                    pass
                return
            above_reader, above = await asyncio.open_connection("127.0.0.1", self._broker)
            try:
                pumps = [
                    asyncio.create_task(self._pump(reader, above, pair, Mode.MUTE)),
                    asyncio.create_task(self._pump(above_reader, writer, pair, Mode.DEAF)),
                ]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
            finally:
                above.close()
        except OSError:
            pair.cut(reset=True)
        finally:
            self._pairs.discard(pair)
            writer.close()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, pair: _Pair, losing: Mode
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                async with self._changed:
                    await self._changed.wait_for(lambda: self._mode is not Mode.FREEZE)
                if self._mode is losing or (pair.holed and self._mode in (Mode.MUTE, Mode.DEAF)):
                    pair.holed = True
                    continue
                if self._mode is Mode.SLOW:
                    for start in range(0, len(data), 512):
                        sink.write(data[start : start + 512])
                        await sink.drain()
                        await asyncio.sleep(0.05)
                    continue
                sink.write(data)
                await sink.drain()
