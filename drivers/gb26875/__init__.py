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

A reset (操作信息, bit 0; or bit 13 of a system's status, when it turns to 1) clears what that system
holds, but no disablement: GB 4717 lets those outlive a reset, and has what still persists told anew
within 20 s. An answer with operations tells of the past and resets nothing.

A fire is told once, and three times more if nobody confirms it. So what is held outlives a restart of
the gateway (`Panel.memory`), and a device that is first heard on a connection is asked (4) for its own
state (81), that of its systems (61) and of the components that hold something (62): what happened while
nobody listened is learnt, and a device that does not answer is held to what it told.

Packets of command 1 and 2 are confirmed (3) once the core has taken their reading, so that what a power
cut swallows is sent again. A wrong sum, a wrong end, a command nobody knows and a sender nobody
configured are denied (6): it must show that nobody listens to it. Confirmed by published packets, by a
published transcript of the standard and by at least two independent open implementations: the types
below, and that types 90 and 91 carry a time of 6 bytes and a timeout of 1 byte, in minutes. A duty check
(91) sent to us is confirmed like any control packet, but nobody's presence is ever claimed. The standard
also allows UDP, which is not served. The devices' clocks carry no zone (UTC+8) and never stamp a sample;
an answer repeats the time of its packet, since ours may not be set.

Of the control commands there are two: the clock is set (90) when the device has confirmed it, and a duty
check (91, 查岗) is done when somebody at the device has answered it (bit 5 of type 24).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
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
TIME = 6
"""Bytes of a moment: second, minute, hour, day, month, year of the century."""
CONTROL, SEND, CONFIRM, REQUEST, ANSWER, DENY = range(1, 7)
ANSWERS = (CONFIRM, ANSWER, DENY)
"""What is never answered, so that two ends never deny each other's denials for ever."""
SYSTEM, COMPONENT, OPERATION, DEVICE, DEVICE_OPERATION, SET_CLOCK, DUTY_CHECK = 1, 2, 4, 21, 24, 90, 91
READ_SYSTEMS, READ_COMPONENTS, READ_DEVICE = 61, 62, 81
MOST_SYSTEMS, MOST_COMPONENTS = 102, 22
"""Objects of one packet."""
CHINA = timedelta(hours=8)
CHUNK = 4096
MOST_PARTS = 10_000
"""Components held at once: strangers must not fill the memory."""
MOST_ASKED = 220
"""Components asked for after an absence, those in alarm first."""
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
    "reset",
]
BITS: tuple[Field, ...] = (
    "fire", "fault", "disabled", "supervisory", "started", "feedback", "delayed", "power_fault",
)  # fmt: skip
"""Status bits from bit 1 on."""
STATES: dict[int, tuple[int, int, int, tuple[Field | Literal[""], ...]]] = {
    SYSTEM: (10, 2, 2, (*BITS, "power_fault", "line_fault", "manual_mode", "", "reset")),
    COMPONENT: (46, 7, 2, BITS),
    DEVICE: (7, 0, 1, ("fire", "fault", "power_fault", "power_fault", "line_fault", "line_fault")),
}
"""By type: bytes of an object with its time, of who it is, of its status; and the status bits."""
OPERATIONS = {OPERATION: (10, 2), DEVICE_OPERATION: (8, 0)}
RESET, MANUAL, CLEARED, ON_DUTY = 1 << 0, 1 << 2, 1 << 3, 1 << 5
ALARMS: frozenset[Field] = frozenset({"fire", "manual_alarm"})
LASTING: frozenset[Field] = frozenset({"disabled", "reset"})
"""What outlives a reset."""

SOURCE = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){5}")
HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:]+\]|[^:/\s]+):(?P<port>\d{1,5})")


ACTIONS = ("duty-check", "set-clock")


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`listen` is `host:port` of a TCP server, or the path of a serial port (8N1) and its `baud`.

    A peer that says nothing sound for `idle` seconds is cut off. `set_clock` sets a device's clock
    when it is first heard on a connection, and `ask` asks it for its state. The protocol knows no
    authentication: listen on the fire panel's own network only.
    """

    listen: str
    baud: int = 9600
    connections: int = 64
    idle: float = 600.0
    set_clock: bool = False
    ask: bool = True

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
    """One packet; addresses as sent. `sound` is whether its sum and its end were right: with one of them
    wrong it is a packet still, and denied."""

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

    def control(self, sequence: int, data: bytes) -> bytes:
        """A command to whoever sent this packet."""
        return Packet(
            sequence=sequence,
            version=self.version,
            time=_now(),
            source=self.destination,
            destination=self.source,
            command=CONTROL,
            data=data,
        ).encode()


Write = Callable[[bytes], Awaitable[None]]
"""Says something on a connection."""


def _now() -> bytes:
    """The time in China, as packets carry it."""
    now = datetime.now(UTC) + CHINA
    return bytes((now.second, now.minute, now.hour, now.day, now.month, now.year % 100))


def _clock_is_set() -> bool:
    return datetime.now(UTC).year >= EARLIEST_YEAR


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
    body = data[start + 2 : end - 3]
    summed, ended = sum(body) & 0xFF == data[end - 3], data[end - 2 : end] == END
    if not ended and not (summed and CONTROL <= body[24] <= DENY):
        return False
    return Packet(
        sequence=int.from_bytes(body[:2], "little"),
        version=body[2:4],
        time=body[4:10],
        source=body[10:16],
        destination=body[16:22],
        command=body[24],
        data=body[25:],
        sound=summed and ended,
    )


def split(data: bytes) -> tuple[list[Packet], bytes]:
    """The packets in a stream, and what may become one: less than one packet's length.

    What merely looks like a beginning never delays a sound packet behind it. A packet that is not sound
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
    memory: bytes


class Part(msgspec.Struct, frozen=True):
    """What one component, system or the device itself holds."""

    holds: frozenset[Field]
    description: str = ""


class Memory(msgspec.Struct, frozen=True, array_like=True):
    """What outlives a restart: the parts, the newest fire last, and the systems ever heard of."""

    parts: list[tuple[bytes, list[Field], str]] = []
    systems: list[bytes] = []


class Panel:
    """Everything behind one transmission device, by who told it: type and identity as sent."""

    def __init__(self, memory: bytes = b"") -> None:
        known = _recall(memory)
        self._parts = {key: Part(frozenset(holds), text) for key, holds, text in known.parts}
        self._systems = dict.fromkeys(known.systems)
        self._last_act: tuple[int, bytes] | None = None

    def take(self, packet: Packet) -> Reading:
        """Take over what a sound packet tells. Objects cut short count if their status is there."""
        kind = packet.data[:1]
        if packet.command in (SEND, ANSWER) and kind:
            if kind[0] in STATES:
                self._states(kind, packet.data)
            elif (
                kind[0] in OPERATIONS
                and packet.command == SEND
                and self._last_act != (packet.sequence, packet.data)
            ):
                # A reset that is sent again must not clear what came after it.
                self._last_act = packet.sequence, packet.data
                self._operations(kind, packet.data)
        holds = frozenset[Field]().union(*(part.holds for part in self._parts.values()))
        return Reading(holds, self._where(), packet.encode(), self._memory())

    def questions(self) -> list[bytes]:
        """The data units that ask for all that is worth knowing after an absence."""
        parts = sorted(self._parts.items(), key=lambda item: not item[1].holds & ALARMS)
        components = [key[1:3] + key[4:] for key, _ in parts if key[0] == COMPONENT][:MOST_ASKED]
        pages = [
            (READ_COMPONENTS, components[start : start + MOST_COMPONENTS])
            for start in range(0, len(components), MOST_COMPONENTS)
        ]
        asked = [(READ_DEVICE, [b"\0"]), (READ_SYSTEMS, list(self._systems)), *pages]
        return [bytes((kind, len(whom))) + b"".join(whom) for kind, whom in asked if whom]

    def _memory(self) -> bytes:
        parts = [(key, sorted(part.holds), part.description) for key, part in self._parts.items()]
        return msgspec.msgpack.encode(Memory(parts, list(self._systems)))

    def _states(self, kind: bytes, data: bytes) -> None:
        size, identity, width, names = STATES[kind[0]]
        for one in _objects(data, size):
            if len(one) < identity + width:
                break
            status = int.from_bytes(one[identity : identity + width], "little")
            holds = frozenset(name for bit, name in enumerate(names, 1) if name and status >> bit & 1)
            if kind[0] == SYSTEM and "reset" in holds and "reset" not in self._held(kind + one[:identity]):
                self._reset(one[:identity])
            if kind[0] != DEVICE:
                self._note(one[:2])
            text = _text(one[identity + width : 40]) if kind[0] == COMPONENT else ""
            self._hold(kind + one[:identity], Part(holds, text))

    def _operations(self, kind: bytes, data: bytes) -> None:
        size, identity = OPERATIONS[kind[0]]
        for one in _objects(data, size):
            if len(one) <= identity:
                break
            system, act = one[:identity], one[identity]
            if system:
                self._note(system)
            if act & RESET:
                self._reset(system)
            if act & CLEARED:
                self._keep(system, lambda holds: holds - ALARMS)
            if act & MANUAL:
                self._hold(kind + system, Part(frozenset({"manual_alarm"})))

    def _note(self, system: bytes) -> None:
        if len(self._systems) < MOST_SYSTEMS:
            self._systems[system] = None

    def _held(self, key: bytes) -> frozenset[Field]:
        return self._parts[key].holds if key in self._parts else frozenset()

    def _reset(self, system: bytes) -> None:
        self._keep(system, lambda holds: holds & LASTING)

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


def _objects(data: bytes, size: int) -> Iterator[bytes]:
    """The objects of a data unit, `size` bytes each with their time; some devices leave the times out.

    One that is cut short is given as it is; what merely trails behind the last one is none.
    """
    count, objects = data[1] if len(data) > 1 else 0, data[2:]
    if count > 1 and len(objects) == count * (size - TIME):
        size -= TIME
    for index, start in enumerate(range(0, len(objects), size)):
        if index < count or len(objects) - start >= size:
            yield objects[start : start + size]


def _recall(memory: bytes) -> Memory:
    try:
        return msgspec.msgpack.decode(memory, type=Memory) if memory else Memory()
    except msgspec.MsgspecError:
        return Memory()  # Of another version: what is told from now on counts.


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
        self._links: dict[str, tuple[Write, Packet]] = {}
        """Where each device was last heard, and what it said."""
        self._told = itertools.cycle(range(1, 0x8000))
        self._replies: dict[tuple[str, int], asyncio.Future[None]] = {}
        """Whoever waits for a command to be confirmed, by device and sequence."""
        self._duty: dict[str, set[asyncio.Future[None]]] = {}
        """Whoever waits for somebody to be on duty."""
        self.address: tuple[str, int] | None = None
        """Where the server listens."""
        self._asked = itertools.cycle(range(0x8000, 0x10000))
        """Sequences: a denial of a question must not pass for that of a command."""

    def recall(self, device: str, memory: bytes) -> None:
        self._panels[device] = Panel(memory)

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
            self._follow(name, packet)
            await self._hand_over(name, self._panels[name].take(packet))
        if packet.command in (CONTROL, SEND):
            return packet.answer(DENY if name is None else CONFIRM)
        # We are no source to ask, and a command that nobody knows is denied (6.5 of the standard).
        return b"" if packet.command in ANSWERS else packet.answer(DENY)

    def _follow(self, name: str, packet: Packet) -> None:
        """A command may have been confirmed or denied, or somebody on duty have answered."""
        reply = self._replies.get((name, packet.sequence))
        if reply and not reply.done() and packet.command == CONFIRM:
            reply.set_result(None)
        elif reply and not reply.done() and packet.command == DENY:
            reply.set_exception(ReadFailed("gb26875-denied"))
        if packet.command == SEND and packet.data[:1] == bytes((DEVICE_OPERATION,)):
            acts = packet.data[2 :: OPERATIONS[DEVICE_OPERATION][0]]
            for answer in self._duty.get(name, ()):
                if any(act & ON_DUTY for act in acts) and not answer.done():
                    answer.set_result(None)

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """Send a control command; return when it is confirmed, a duty check when it is answered."""
        if action not in ACTIONS:
            raise ReadFailed("action-unknown", device=device.name, action=action)
        if device.name not in self._links:
            raise ReadFailed("gb26875-away")
        write, heard = self._links[device.name]
        if action == "set-clock" and not _clock_is_set():
            raise ReadFailed("clock-unset")
        if action == "set-clock":
            data = bytes((SET_CLOCK, 1)) + _now()
        else:
            minutes = round(device.patience(action) / 60)
            data = bytes((DUTY_CHECK, 1, min(max(minutes, 1), 255)))
        sequence = next(self._told)
        key = device.name, sequence
        loop = asyncio.get_running_loop()
        reply = self._replies[key] = loop.create_future()
        duty: asyncio.Future[None] = loop.create_future()
        waiting = self._duty.setdefault(device.name, set())
        waiting.add(duty)
        try:
            await write(heard.control(sequence, data))
            await reply
            if action == "duty-check":
                await duty
        except OSError as error:
            raise ReadFailed("gb26875-away") from error
        finally:
            del self._replies[key]
            waiting.discard(duty)
        return {}

    def _clock(self, packet: Packet) -> bytes:
        """The control packet that sets the device's clock, if it may."""
        if not self._options.set_clock or not _clock_is_set():
            return b""
        return packet.control(0, bytes((SET_CLOCK, 1)) + _now())

    async def _talk(
        self, read: Callable[[], Awaitable[bytes]], write: Write, known: Callable[[], None]
    ) -> None:
        """Take and answer packets until the stream ends; `known` is called at each of a device of ours."""
        try:
            await self._converse(read, write, known)
        finally:
            gone = [name for name, (used, _) in self._links.items() if used is write]
            for name in gone:
                del self._links[name]

    async def _converse(
        self, read: Callable[[], Awaitable[bytes]], write: Write, known: Callable[[], None]
    ) -> None:
        rest = b""
        greeted: set[bytes] = set()
        while data := await read():
            packets, rest = split(rest + data)
            for packet in packets:
                ours = packet.sound and packet.source in self._names
                if ours:
                    known()
                    self._links[self._names[packet.source]] = write, packet
                if answer := await self._answer(packet):
                    await write(answer)
                if ours and packet.source not in greeted:
                    greeted.add(packet.source)
                    if clock := self._clock(packet):
                        await write(clock)
                    await write(b"".join(self._questions(packet)))

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
        except asyncio.CancelledError:
            pass  # This is the end, and asyncio before Python 3.12 reports a cancelled one as an error.
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

    def _questions(self, packet: Packet) -> Iterator[bytes]:
        """What a device is asked when it is first heard."""
        panel = self._panels[self._names[packet.source]]
        for data in panel.questions() if self._options.ask else ():
            question = msgspec.structs.replace(
                packet,
                sequence=next(self._asked),
                source=packet.destination,
                destination=packet.source,
                command=REQUEST,
                data=data,
            )
            yield question.encode()

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
    actions=ACTIONS,
    remember=lambda raw: raw.memory,
    scan=Scan(lines=_lines, place=lambda options: options.listen, overhear=_overhear),
)
