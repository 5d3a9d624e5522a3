"""A broker that speaks just enough MQTT to misbehave in every way a test asks for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

CONNECT, PUBLISH, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 8, 12, 14


class Broker:
    """Remembers every message it took."""

    def __init__(self) -> None:
        self.port = 0
        self.taken: list[tuple[str, Any]] = []
        """Topic and payload of what was acknowledged as good."""
        self.connections = 0
        self.poison = b""
        """A payload with this in it closes the connection."""
        self.refuse = b""
        """A payload with this in it is acknowledged with `code` instead."""
        self.code = 0
        self.mute = False
        """Acknowledge nothing."""
        self.only_3_1_1 = False
        """Refuse MQTT 5 as an older broker does."""
        self.receive_maximum = 0
        """How many messages it wants unacknowledged (MQTT 5, 3.2.2.3.3); it takes its time with each."""
        self.most = 0
        """How many there were."""
        self._owed = 0
        self.versions: list[int] = []
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def records(self, lane: str = "") -> list[tuple[str, str, int]]:
        """Lane, device and number of every record that was taken, in order."""
        return [
            (payload["lane"], payload["device"], record["seq"])
            for _, payload in self.taken
            if "lane" in payload and lane in ("", payload["lane"])
            for record in payload["records"]
        ]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            await self._talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version = 5
        while True:
            kind, body = await _packet(reader)
            if kind == CONNECT:
                version = body[6]
                self.versions.append(version)
                if version == 5 and self.only_3_1_1:
                    writer.write(bytes((0x20, 2, 0, 1)))
                    return
                limit = (0x21, 0, self.receive_maximum) if self.receive_maximum else ()
                head = (0x20, 3 + len(limit), 0, 0, len(limit), *limit)
                writer.write(bytes(head if version == 5 else (0x20, 2, 0, 0)))
            elif kind == PUBLISH:
                if not self._publish(body, version, writer):
                    return
            elif kind == SUBSCRIBE:
                writer.write(bytes((0x90, 4, *body[:2], 0, 1) if version == 5 else (0x90, 3, *body[:2], 1)))
            elif kind == PINGREQ:
                writer.write(bytes((0xD0, 0)))
            elif kind == DISCONNECT:
                return

    def _publish(self, body: bytes, version: int, writer: asyncio.StreamWriter) -> bool:
        length = int.from_bytes(body[:2], "big")
        topic, mid, payload = (
            body[2 : 2 + length].decode(),
            body[2 + length : 4 + length],
            body[4 + length :],
        )
        if version == 5:
            payload = payload[1:]  # The length of the properties; there are none.
        if self.poison and self.poison in payload:
            return False
        if self.mute:
            return True
        if self.refuse and self.refuse in payload:
            writer.write(bytes((0x40, 3, *mid, self.code)))
        else:
            self.taken.append((topic, msgspec.json.decode(payload)))
            self._owed += 1
            self.most = max(self.most, self._owed)
            delay = 0.01 if self.receive_maximum else 0
            asyncio.get_running_loop().call_later(delay, self._acknowledge, writer, mid)
        return True

    def _acknowledge(self, writer: asyncio.StreamWriter, mid: bytes) -> None:
        self._owed -= 1
        writer.write(bytes((0x40, 2, *mid)))


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return first >> 4, await reader.readexactly(length)


@asynccontextmanager
async def broker() -> AsyncIterator[Broker]:
    """A broker on a free port of loopback."""
    standing = Broker()
    server = await asyncio.start_server(standing.serve, "127.0.0.1", 0)
    standing.port = server.sockets[0].getsockname()[1]
    try:
        yield standing
    finally:
        server.close()
        standing.cut()
        await asyncio.sleep(0.01)
