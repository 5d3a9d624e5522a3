"""Fire user-information transmission devices (用户信息传输装置) by GB/T 26875.3-2011, over TCP or serial.

The gateway stands where the monitoring centre stands: transmission devices connect to it and report.
It is an auxiliary, uncertified listener and replaces neither the centre nor the device.

Packet, little-endian: `40 40 | sequence 2 | version 2 | time 6 | source 6 | destination 6 | length 2 |
command 1 | data unit | sum 1 | 23 23`; the sum is that of all bytes between start and sum, modulo 256.
A data unit is `type 1 | count 1 | objects`.

One device of the gateway is one transmission device, not one component: a panel has thousands of them,
nobody would configure each, and a fire of one that nobody configured must be heard too. What each
component, system and the device itself has told is held until it tells otherwise or is reset, and a
point is true while any of them holds it: one detector going quiet never hides another. `fire_where`
names the newest fire: system type / system address / component type / component address, description.
Bit 0 of a status (1 = normal, 0 = test) is not read at all: real devices report fires with it at 0.

A reset (操作信息, bit 0) clears what that system holds, but no disablement: GB 4717 lets those outlive
a reset, and has what still persists told anew within 20 s. Nothing is held across a restart of the
gateway: a fire that was told before is told as gone until the device repeats it (its alarm stays
latched until somebody acknowledges it).

Packets of command 1 and 2 are confirmed (3) once the core has taken their reading, so that what a power
cut swallows is sent again. A wrong sum and a sender nobody configured are denied (6): it must show that
nobody listens to it. Confirmed by the published vectors and at least two independent open
implementations: the types below, and that types 90 and 91 carry a time of 6 bytes and a timeout of
1 byte. Not confirmed against the text of the standard: bit 13 (reset) of type 1, which is therefore
not read; a duty check (91) sent to us is confirmed like any control packet, but nobody's presence is
ever claimed. The devices' clocks carry no zone (UTC+8) and never stamp a sample; an answer repeats the
time of its packet, since ours may not be set.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

import msgspec

from gateway.model import (
    Checks,
    Device,
    Driver,
    Heard,
    LinkDown,
    Listener,
    Point,
    Raw,
    ReadFailed,
    Scan,
    Value,
)
from gateway.serialport import open_port

START, END = b"@@", b"##"
HEADER = 27
"""Bytes from the start to the command."""
FRAME = HEADER + 3
"""Bytes of a packet without data unit."""
MOST_DATA = 1024
CONTROL, SEND, CONFIRM, REQUEST, ANSWER, DENY = range(1, 7)
ANSWERS = (CONFIRM, ANSWER, DENY)
"""What is never answered, so that two ends never deny each other's denials for ever."""
SYSTEM, COMPONENT, OPERATION, DEVICE, DEVICE_OPERATION, SET_CLOCK = 1, 2, 4, 21, 24, 90
CHINA = timedelta(hours=8)
CHUNK = 4096
MOST_PARTS = 10_000
"""Components held at once: strangers must not fill the memory."""
EARLIEST_YEAR = 2026
"""Before it our clock cannot have been set, and must set no other."""

Field = Literal[
    "fire",
    "manual_alarm",
    "fault",
    "disabled",
    "supervisory",
    "started",
    "feedback",
    "delayed",
    "power_fault",
    "line_fault",
    "manual_mode",
]
BITS: tuple[Field, ...] = (
    "fire", "fault", "disabled", "supervisory", "started", "feedback", "delayed", "power_fault",
)  # fmt: skip
"""Status bits from bit 1 on."""
STATES: dict[int, tuple[int, int, int, tuple[Field, ...]]] = {
    SYSTEM: (10, 2, 2, (*BITS, "power_fault", "line_fault", "manual_mode")),
    COMPONENT: (46, 7, 2, BITS),
    DEVICE: (7, 0, 1, ("fire", "fault", "power_fault", "power_fault", "line_fault", "line_fault")),
}
"""By type: bytes of an object with its time, of who it is, of its status; and the status bits."""
OPERATIONS = {OPERATION: (10, 2), DEVICE_OPERATION: (8, 0)}
RESET, MANUAL, CLEARED = 1 << 0, 1 << 2, 1 << 3
ALARMS: frozenset[Field] = frozenset({"fire", "manual_alarm"})
LASTING: frozenset[Field] = frozenset({"disabled"})
"""What outlives a reset."""

SOURCE = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){5}")
HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:]+\]|[^:/\s]+):(?P<port>\d{1,5})")


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`listen` is `host:port` of a TCP server, or the path of a serial port (8N1) and its `baud`.

    A peer that says nothing sound for `idle` seconds is cut off. `set_clock` sets a device's clock
    when it is first heard on a connection. The protocol knows no authentication: listen on the fire
    panel's own network only.
    """

    listen: str
    baud: int = 9600
    connections: int = 64
    idle: float = 600.0
    set_clock: bool = False

    CHECKS: ClassVar[Checks] = {
        "listen": (lambda listen: listen.startswith("/") or _is_address(listen), "gb26875-listen"),
        "connections": (lambda count: count > 0, "positive"),
        "idle": (lambda seconds: seconds > 0, "positive"),
    }


def _is_address(listen: str) -> bool:
    found = HOST_PORT.fullmatch(listen)
    return found is not None and int(found["port"]) <= 0xFFFF


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The transmission device's source address, its six bytes in the order in which they are sent."""

    source: str

    CHECKS: ClassVar[Checks] = {
        "source": (lambda source: SOURCE.fullmatch(source) is not None, "gb26875-source")
    }


class FirePoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """One state over all components; `where` is the newest fire's component and its description."""

    field: Field | Literal["where"]


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """One packet; addresses as sent. `sound` is whether its sum was right."""

    sequence: int
    version: bytes
    time: bytes
    source: bytes
    destination: bytes
    command: int
    data: bytes
    sound: bool = True

    def encode(self) -> bytes:
        """As sent."""
        body = b"".join(
            (
                self.sequence.to_bytes(2, "little"),
                self.version,
                self.time,
                self.source,
                self.destination,
                len(self.data).to_bytes(2, "little"),
                bytes((self.command,)),
                self.data,
            )
        )
        return START + body + bytes((sum(body) & 0xFF,)) + END

    def answer(self, command: int) -> bytes:
        """A confirmation or denial of this packet."""
        return Packet(
            sequence=self.sequence,
            version=self.version,
            time=self.time,
            source=self.destination,
            destination=self.source,
            command=command,
            data=b"",
        ).encode()


def _packet(data: bytes, start: int) -> Packet | bool:
    """The packet that begins there, or else whether more bytes could make it one."""
    if len(data) < start + HEADER:
        return True
    length = int.from_bytes(data[start + 24 : start + 26], "little")
    end = start + FRAME + length
    if length > MOST_DATA:
        return False
    if len(data) < end:
        return True
    if data[end - 2 : end] != END:
        return False
    body = data[start + 2 : end - 3]
    return Packet(
        sequence=int.from_bytes(body[:2], "little"),
        version=body[2:4],
        time=body[4:10],
        source=body[10:16],
        destination=body[16:22],
        command=body[24],
        data=body[25:],
        sound=sum(body) & 0xFF == data[end - 3],
    )


def split(data: bytes) -> tuple[list[Packet], bytes]:
    """The packets in a stream, and what may become one: less than one packet's length.

    What merely looks like a beginning never delays a sound packet behind it. A packet with a wrong sum
    is searched for others: its length may be what was garbled.
    """
    packets: list[Packet] = []
    rest = data[-1:] if data.endswith(START[:1]) else b""
    waiting: int | None = None
    garbled_until = 0
    start = data.find(START)
    while start >= 0:
        found = _packet(data, start)
        after = start + 1
        if isinstance(found, Packet):
            end = start + FRAME + len(found.data)
            if found.sound:
                after = end
            if found.sound or start >= garbled_until:
                packets.append(found)
                garbled_until = end
                waiting = None
        elif found and waiting is None:
            waiting = start
        start = data.find(START, after)
    return packets, rest if waiting is None else data[waiting:]


class Reading(msgspec.Struct, frozen=True):
    """What one transmission device holds after a packet."""

    holds: frozenset[Field]
    where: str
    packet: bytes


class Part(msgspec.Struct, frozen=True):
    """What one component, system or the device itself holds."""

    holds: frozenset[Field]
    description: str = ""


class Panel:
    """Everything behind one transmission device, by who told it: type and identity as sent."""

    def __init__(self) -> None:
        self._parts: dict[bytes, Part] = {}
        self._last_act: tuple[int, bytes] | None = None

    def take(self, packet: Packet) -> Reading:
        """Take over what a sound packet tells. Objects cut short count if their status is there."""
        kind = packet.data[:1]
        if packet.command in (SEND, ANSWER) and kind:
            if kind[0] in STATES:
                self._states(kind, packet.data[2:])
            elif kind[0] in OPERATIONS and self._last_act != (packet.sequence, packet.data):
                # A reset that is sent again must not clear what came after it.
                self._last_act = packet.sequence, packet.data
                self._operations(kind, packet.data[2:])
        holds = frozenset[Field]().union(*(part.holds for part in self._parts.values()))
        return Reading(holds, self._where(), packet.encode())

    def _states(self, kind: bytes, objects: bytes) -> None:
        size, identity, width, names = STATES[kind[0]]
        for start in range(0, len(objects), size):
            one = objects[start : start + size]
            if len(one) < identity + width:
                break
            status = int.from_bytes(one[identity : identity + width], "little")
            holds = frozenset(name for bit, name in enumerate(names, 1) if status >> bit & 1)
            text = _text(one[identity + width : 40]) if kind[0] == COMPONENT else ""
            self._hold(kind + one[:identity], Part(holds, text))

    def _operations(self, kind: bytes, objects: bytes) -> None:
        size, identity = OPERATIONS[kind[0]]
        for start in range(0, len(objects), size):
            one = objects[start : start + size]
            if len(one) <= identity:
                break
            system, act = one[:identity], one[identity]
            if act & RESET:
                self._keep(system, lambda holds: holds & LASTING)
            if act & CLEARED:
                self._keep(system, lambda holds: holds - ALARMS)
            if act & MANUAL:
                self._hold(kind + system, Part(frozenset({"manual_alarm"})))

    def _keep(self, system: bytes, what: Callable[[frozenset[Field]], frozenset[Field]]) -> None:
        for key, part in list(self._parts.items()):
            if key[1:3] == system:
                self._hold(key, Part(what(part.holds), part.description))

    def _hold(self, key: bytes, part: Part) -> None:
        old = self._parts.get(key)
        if not part.holds or ("fire" in part.holds and (old is None or "fire" not in old.holds)):
            self._parts.pop(key, None)  # The newest fire stands last.
        if not part.holds:
            return
        if key not in self._parts and len(self._parts) >= MOST_PARTS:
            quiet = (key for key, old in self._parts.items() if not old.holds & ALARMS)
            del self._parts[next(quiet, next(iter(self._parts)))]
        self._parts[key] = part

    def _where(self) -> str:
        fires = [key for key, part in self._parts.items() if "fire" in part.holds]
        components = [key for key in fires if key[0] == COMPONENT]
        if not fires:
            return ""
        key = (components or fires)[-1]
        place = "/".join(str(byte) for byte in key[1:4])
        if key[0] == COMPONENT:
            place += "/" + ".".join(str(byte) for byte in key[4:])
        return f"{place} {self._parts[key].description}".strip()


def _text(description: bytes) -> str:
    text = description.split(b"\0")[0].decode("gb18030", "replace")
    return "".join(letter for letter in text if letter.isprintable()).strip()


def decode(points: Mapping[str, FirePoint], raw: Reading) -> dict[str, Value]:
    """A boolean a point, and the place of the newest fire ("" without one)."""
    return {
        name: raw.where if point.field == "where" else point.field in raw.holds
        for name, point in points.items()
    }


def example(fields: Mapping[str, Any]) -> Reading:
    """A worked example: `frames = ["40 40 …"]`, told one after the other to a gateway that just began."""
    panel, reading = Panel(), None
    for text in fields["frames"]:
        packets, rest = split(bytes.fromhex(text))
        if rest or len(packets) != 1 or not packets[0].sound:
            raise ValueError("frames")
        reading = panel.take(packets[0])
    if reading is None:
        raise ValueError("frames")
    return reading


def show(raw: Reading) -> str:
    return raw.packet.hex(" ").upper()


class FireListener(Listener):
    """One TCP server or serial line with its transmission devices."""

    def __init__(self, options: Options, devices: tuple[Device, ...]) -> None:
        self._options = options
        self._names = {
            bytes.fromhex(device.address.source.replace(":", "")): device.name for device in devices
        }
        self._panels = {name: Panel() for name in self._names.values()}
        self._heard: asyncio.Queue[tuple[str, Raw | ReadFailed, asyncio.Event] | BaseException]
        self._heard = asyncio.Queue()
        self._peers: dict[asyncio.Task[None], bool] = {}
        """Connections, oldest first, and whether a device of ours has spoken there."""
        self.address: tuple[str, int] | None = None
        """Where the server listens."""

    async def listen(self) -> AsyncIterator[tuple[str, Raw | ReadFailed]]:
        while True:
            heard = await self._heard.get()
            if isinstance(heard, BaseException):
                raise heard
            name, raw, taken = heard
            yield name, raw
            taken.set()

    async def _hand_over(self, name: str, raw: Raw | ReadFailed) -> None:
        """Return when the core has taken it."""
        taken = asyncio.Event()
        self._heard.put_nowait((name, raw, taken))
        await taken.wait()

    async def _answer(self, packet: Packet) -> bytes:
        """What is to be said to a packet, if anything."""
        name = self._names.get(packet.source)
        if not packet.sound:
            if name is not None:
                await self._hand_over(name, ReadFailed("gb26875-sum"))
            return b"" if packet.command in ANSWERS else packet.answer(DENY)
        if name is not None:
            await self._hand_over(name, self._panels[name].take(packet))
        if packet.command in (CONTROL, SEND):
            return packet.answer(DENY if name is None else CONFIRM)
        # We are no source to ask.
        return packet.answer(DENY) if packet.command == REQUEST else b""

    def _clock(self, packet: Packet) -> bytes:
        """The control packet that sets the device's clock, if it may."""
        now = datetime.now(UTC) + CHINA
        if not self._options.set_clock or now.year < EARLIEST_YEAR:
            return b""
        time = bytes((now.second, now.minute, now.hour, now.day, now.month, now.year % 100))
        return Packet(
            sequence=0,
            version=packet.version,
            time=time,
            source=packet.destination,
            destination=packet.source,
            command=CONTROL,
            data=bytes((SET_CLOCK, 1)) + time,
        ).encode()

    async def _talk(
        self,
        read: Callable[[], Awaitable[bytes]],
        write: Callable[[bytes], Awaitable[None]],
        known: Callable[[], None],
    ) -> None:
        """Take and answer packets until the stream ends; `known` is called at each of a device of ours."""
        rest = b""
        greeted: set[bytes] = set()
        while data := await read():
            packets, rest = split(rest + data)
            for packet in packets:
                ours = packet.sound and packet.source in self._names
                if ours:
                    known()
                if answer := await self._answer(packet):
                    await write(answer)
                if ours and packet.source not in greeted:
                    greeted.add(packet.source)
                    if clock := self._clock(packet):
                        await write(clock)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._make_room()
        self._peers[task] = False
        loop = asyncio.get_running_loop()

        async def write(frame: bytes) -> None:
            writer.write(frame)
            await writer.drain()

        try:
            async with asyncio.timeout(self._options.idle) as limit:

                def known() -> None:
                    self._peers[task] = True
                    limit.reschedule(loop.time() + self._options.idle)

                await self._talk(lambda: reader.read(CHUNK), write, known)
        except (OSError, TimeoutError):
            pass  # A peer that is gone, or too quiet, connects again.
        finally:
            self._peers.pop(task, None)
            # Not close(): a peer that never reads would keep what waits for it for ever.
            writer.transport.abort()

    def _make_room(self) -> None:
        """When all places are taken the oldest stranger goes, or else the oldest connection."""
        if len(self._peers) >= self._options.connections:
            strangers = (task for task, known in self._peers.items() if not known)
            oldest = next(strangers, next(iter(self._peers)))
            del self._peers[oldest]
            oldest.cancel()

    def _broken(self, task: asyncio.Task[None]) -> None:
        """Whoever listens hears why a line ended."""
        if not task.cancelled() and (error := task.exception()):
            self._heard.put_nowait(error)

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Accept connections."""
        where = HOST_PORT.fullmatch(self._options.listen)
        assert where
        try:
            server = await asyncio.start_server(
                self._connected, where["host"].strip("[]"), int(where["port"]), limit=CHUNK
            )
        except OSError as error:
            raise LinkDown("line-open", url=self._options.listen, reason=error) from error
        self.address = server.sockets[0].getsockname()[:2]
        try:
            yield
        finally:
            server.close()
            await _end(*self._peers)

    @contextlib.asynccontextmanager
    async def attend(self) -> AsyncIterator[None]:
        """Hear a serial line."""
        async with open_port(self._options.listen, self._options.baud) as port:

            async def write(frame: bytes) -> None:
                port.answer(frame)

            talk = self._talk(port.hear, write, lambda: None)
            task = asyncio.create_task(talk, name="gb26875-serial")
            task.add_done_callback(self._broken)
            try:
                yield
            finally:
                await _end(task)


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


@contextlib.asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[FireListener]:
    """Serve, or open the line."""
    listener = FireListener(options, devices)
    async with listener.attend() if options.listen.startswith("/") else listener.serve():
        yield listener


async def _overhear(options: Options) -> AsyncIterator[Heard | ReadFailed]:
    """Devices on a serial line. An answer, even a denial, would be the monitoring centre's to give."""
    async with open_port(options.listen, options.baud) as port:
        rest = b""
        while True:
            data = rest + await port.hear()
            packets, rest = split(data)
            sound = [packet for packet in packets if packet.sound]
            for packet in sound:
                yield Heard(address={"source": packet.source.hex(":").upper()}, raw=Panel().take(packet))
            if not sound and len(rest) < len(START):
                yield ReadFailed("garbage", bytes=len(data))


def _lines(target: str) -> list[dict[str, Any]]:
    return [{"listen": target}] if target.startswith("/") else []


DRIVER = Driver(
    options=Options,
    address=Address,
    point=FirePoint,
    connect=connect,
    decode=decode,
    example=example,
    show=show,
    scan=Scan(lines=_lines, place=lambda options: options.listen, overhear=_overhear),
)
