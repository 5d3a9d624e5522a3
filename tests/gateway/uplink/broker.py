"""A broker that speaks just enough MQTT to misbehave in every way a test asks for."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec

CONNECT, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 8, 10, 12, 14


class Connect(NamedTuple):
    """A CONNECT packet (MQTT 5, 3.1)."""

    version: int
    flags: int
    client_id: str

    @property
    def has_will(self) -> bool:
        return bool(self.flags & 0x04)

    @property
    def will_qos(self) -> int:
        return self.flags >> 3 & 3

    @property
    def retains_will(self) -> bool:
        return bool(self.flags & 0x20)


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
        self.refused: Counter[str] = Counter()
        """How many messages it refused, by topic."""
        self.code = 0
        self.mute = False
        """Acknowledge nothing."""
        self.answer: Callable[[Connect], int | None] = lambda _: 0
        """The code that a CONNECT is answered with, in its own version; None closes the connection."""
        self.properties = b""
        """Of the CONNACK of MQTT 5."""
        self.connects: list[Connect] = []
        self.cut: Callable[[str], bool] = lambda _: False
        """A topic or filter that closes the connection."""
        self.end_at: dict[str, int] = {}
        """Filters at which it ends the connection with a DISCONNECT, each with its code."""
        self.denied: dict[str, int] = {}
        """Topics and filters that are refused, each with its code."""
        self.filters: list[str] = []
        """Of the SUBSCRIBE packets it was sent."""
        self.flags: dict[str, int] = {}
        """Of the last PUBLISH to each topic."""
        self.closes_on_qos_1 = False
        """It supports QoS 0 only, and has no other way to say so."""
        self.hold = False
        """Acknowledge nothing until `release`."""
        self.owed: Counter[str] = Counter()
        """By lane, the messages taken and not acknowledged yet."""
        self.most_owed: Counter[str] = Counter()
        self.receive_maximum = 0
        """How many messages it wants unacknowledged (MQTT 5, 3.2.2.3.3); it takes its time with each."""
        self.most = 0
        """How many there were."""
        self._owed = 0
        self._held: list[tuple[asyncio.StreamWriter, bytes, str]] = []
        self._writers: set[asyncio.StreamWriter] = set()

    def cut_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def disconnect_all(self, code: int) -> None:
        """End every connection with a reason code (MQTT 5, 3.14)."""
        for writer in self._writers:
            writer.write(bytes((0xE0, 2, code, 0)))
            writer.close()

    def send(self, topic: str, content: Any) -> None:
        """Publish with QoS 0 to everybody, in MQTT 5."""
        name, payload = topic.encode(), msgspec.json.encode(content)
        body = len(name).to_bytes(2, "big") + name + b"\0" + payload
        low, high = len(body) % 128, len(body) // 128
        for writer in self._writers:
            writer.write(bytes((0x30, low | 0x80, high) if high else (0x30, low)) + body)

    def release(self) -> None:
        """Acknowledge what was held, and everything from now on."""
        self.hold = False
        for each in self._held:
            self._acknowledge(*each)
        self._held.clear()

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
            first, body = await _packet(reader)
            kind = first >> 4
            if kind == CONNECT:
                connect = _parse_connect(body)
                version = connect.version
                self.connects.append(connect)
                code = self.answer(connect)
                if code is None:
                    return
                limit = bytes((0x21, 0, self.receive_maximum)) if self.receive_maximum else b""
                offer = self.properties + limit
                if version == 5 and code != 1:
                    writer.write(bytes((0x20, 3 + len(offer), 0, code, len(offer))) + offer)
                else:
                    writer.write(bytes((0x20, 2, 0, code)))
                if code:
                    return
            elif kind == PUBLISH:
                if not self._publish(first & 0x0F, body, version, writer):
                    return
            elif kind == SUBSCRIBE:
                start = 2 + (version == 5)
                name = body[start + 2 : -1].decode()
                self.filters.append(name)
                if self.cut(name):
                    return
                if name in self.end_at:
                    writer.write(bytes((0xE0, 2, self.end_at[name], 0)))
                    await writer.drain()
                    writer.close()
                    return
                code = self.denied.get(name, 1) if version == 5 or name not in self.denied else 0x80
                no_properties = (0,) if version == 5 else ()
                writer.write(bytes((0x90, 3 + len(no_properties), *body[:2], *no_properties, code)))
            elif kind == UNSUBSCRIBE:
                writer.write(bytes((0xB0, 4, *body[:2], 0, 0x11) if version == 5 else (0xB0, 2, *body[:2])))
            elif kind == PINGREQ:
                writer.write(bytes((0xD0, 0)))
            elif kind == DISCONNECT:
                return

    def _publish(self, flags: int, body: bytes, version: int, writer: asyncio.StreamWriter) -> bool:
        length = int.from_bytes(body[:2], "big")
        topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
        mid, payload = (rest[:2], rest[2:]) if flags & 6 else (b"", rest)
        self.flags[topic] = flags
        if self.cut(topic) or (self.closes_on_qos_1 and flags & 6):
            return False
        if version == 5:
            payload = payload[1:]  # The length of the properties; there are none.
        if self.poison and self.poison in payload:
            return False
        if self.mute:
            return True
        code = self.code if self.refuse and self.refuse in payload else self.denied.get(topic, 0)
        if code and version == 5:
            self.refused[topic] += 1
            writer.write(bytes((0x40, 3, *mid, code)))
        else:
            content = msgspec.json.decode(payload)
            self.taken.append((topic, content))
            self._owed += 1
            self.most = max(self.most, self._owed)
            lane = str(content.get("lane", ""))
            self.owed[lane] += 1
            self.most_owed |= self.owed
            if self.hold:
                self._held.append((writer, mid, lane))
            else:
                delay = 0.01 if self.receive_maximum else 0
                asyncio.get_running_loop().call_later(delay, self._acknowledge, writer, mid, lane)
        return True

    def _acknowledge(self, writer: asyncio.StreamWriter, mid: bytes, lane: str) -> None:
        self._owed -= 1
        self.owed[lane] -= 1
        if mid:
            writer.write(bytes((0x40, 2, *mid)))


def _parse_connect(body: bytes) -> Connect:
    start = 10
    if body[6] == 5:
        start += 1 + body[10]
    length = int.from_bytes(body[start : start + 2], "big")
    return Connect(body[6], body[7], body[start + 2 : start + 2 + length].decode())


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return first, await reader.readexactly(length)


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
        standing.cut_all()
        await asyncio.sleep(0.01)
