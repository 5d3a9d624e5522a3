"""Modbus TCP, RTU and RTU over TCP (Modbus Application Protocol V1.1b3), through pymodbus.

pymodbus takes whatever the line says for the reply to its last request. So an `Ear` stands between the
two; there are no retries here, and a transaction is never cancelled half-way. A reply that is late looks
on a serial line like the reply to the next request for as many registers of the same unit: then that
request is made longer, for what has another length is another reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import socket
import struct
import termios
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.client.base import ModbusBaseClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse

from gateway.model import Action, Bus, Checks, Device, Driver, LinkDown, Point, ReadFailed, Scan, Value

logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)

Table = Literal["holding", "input", "coil", "discrete"]
Type = Literal["uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
Join = Literal["near", "next", "never"]
FORMATS: dict[Type, str] = {
    "uint16": "H", "int16": "h", "uint32": "I", "int32": "i",
    "uint64": "Q", "int64": "q", "float32": "f", "float64": "d",
}  # fmt: skip
WORDS = {kind: struct.calcsize(code) // 2 for kind, code in FORMATS.items()}
LONGEST = {"holding": 125, "input": 125, "coil": 2000, "discrete": 2000}
"""Registers or bits one request may ask for (V1.1b3, 6.1 to 6.4)."""

GAP = 8
"""Registers that nobody asked for, and that a request may read to cover two points at once."""
GAPS = {"next": 0, "never": -1}
"""The same beside points that do not allow it."""

Registers = dict[Table, dict[int, int]]
"""A raw reading: what stands at each address that was read."""
Request = tuple[Table, int, int]
"""Table, first address, count."""
Word = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
FUNCTIONS: dict[Table, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
WRITES: dict[Table, int] = {"coil": 5, "holding": 6}
BAUDS = (9600, 19200, 4800, 115200, 38400, 57600, 2400)
"""What devices are set to, most common first."""
IDENTITY = ("vendor", "product", "revision")
"""Objects 0 to 2 of a device's identification (V1.1b3, 6.21)."""
NOBODY = (0x0A, 0x0B)
"""Exceptions by which a gateway says that the unit is not there (V1.1b3, 7)."""
BITS = ("coil", "discrete")
LATE = 10.0
"""Seconds after which the reply to a request comes no more."""
MARGIN = 0.02
"""Seconds of silence beyond the latest reply heard."""
TOO_MUCH = (2, 3)
"""Exceptions that blame the range asked for: illegal data address, illegal data value (V1.1b3, 7)."""
NOT_NOW = {5: "modbus-busy", 6: "modbus-busy", 10: "modbus-unreachable", 11: "modbus-unreachable"}
"""Exceptions that blame nothing asked for: the unit has other work, or its gateway hears nothing of it."""
PATIENCE = 4.0
"""Seconds for a connection to come about: what is lost on the way is sent again after one and after three
(RFC 6298)."""
VANISHED = 20.0
"""Seconds after which a TCP connection is over whose far end confirms nothing that was sent."""


def _is_url(text: str) -> bool:
    url = urlsplit(text)
    if url.scheme == "rtu":
        return bool(url.path)
    return url.scheme in ("tcp", "rtu+tcp") and bool(url.hostname)


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`url`: tcp://host:502, rtu+tcp://host:4001 or rtu:/dev/serial/by-id/…; times in seconds."""

    url: str
    baud: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
    timeout: float = 0.5
    settle: float | None = None
    """Silence after a timeout, so that a late reply disturbs no other. By default another `timeout` for a
    unit that has answered the time before, else as long as the latest reply heard on that line has needed;
    nothing on TCP, whose transactions carry a number."""

    CHECKS: ClassVar[Checks] = {"url": (_is_url, "modbus-url")}


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The unit (slave) id on its line, or behind its gateway."""

    unit: int

    CHECKS: ClassVar[Checks] = {"unit": (lambda unit: 0 <= unit <= 255, "modbus-unit")}


class RegisterPoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """Where a value stands. `order` is the order of its bytes on the wire, A the most significant."""

    address: int
    table: Table = "holding"
    type: Type = "uint16"
    order: Literal["ABCD", "CDAB", "BADC", "DCBA"] = "ABCD"
    stride: int = 1
    """With `repeat`: how far each copy is from the one before."""
    join: Join = "near"
    """Whether a request may cover it together with others: over a small hole, only without a hole (what
    lies beside it must not be read), or not at all."""

    CHECKS: ClassVar[Checks] = {
        **Point.CHECKS,
        "address": (lambda address: 0 <= address <= 0xFFFF, "modbus-address"),
    }
    TOGETHER: ClassVar[Checks] = {
        "address": (lambda point: point.ends_within(0x10000), "modbus-beyond"),
        "bit": (lambda point: (point.bit or 0) < point.bits, "bit-range"),
    }

    def ends_within(self, count: int) -> bool:
        """Whether it and all its copies stand at addresses below `count`."""
        last = self.address + (max(self.repeat, 1) - 1) * self.stride
        return last >= 0 and max(self.address, last) + self.width <= count

    @property
    def bits(self) -> int:
        """How many bits its number has."""
        return 1 if self.table in ("coil", "discrete") else 16 * self.width

    @property
    def first(self) -> int:
        return self.address + (self.index - 1) * self.stride

    @property
    def width(self) -> int:
        return 1 if self.table in ("coil", "discrete") else WORDS[self.type]


class WriteAction(Action, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """One coil or holding register to write (V1.1b3, 6.5 and 6.6); any number but 0 sets a coil."""

    address: int
    value: bool | Word
    table: Literal["coil", "holding"] = "coil"

    CHECKS: ClassVar[Checks] = {"address": (lambda address: 0 <= address <= 0xFFFF, "modbus-address")}


def plan(points: Iterable[RegisterPoint], gap: int = GAP) -> list[Request]:
    """The fewest requests that cover the points, over holes up to `gap` where the points allow it."""
    spans: dict[tuple[Table, int, int], int] = {}
    for point in points:
        span = point.table, point.first, point.first + point.width
        spans[span] = min(spans.get(span, gap), GAPS.get(point.join, gap))
    requests: list[Request] = []
    before = gap
    for (table, first, end), allowed in sorted(spans.items()):
        hole, before = min(before, allowed), allowed
        if requests:
            open_table, begin, count = requests[-1]
            reach = max(end, begin + count) - begin
            if table == open_table and first <= begin + count + hole and reach <= LONGEST[table]:
                requests[-1] = table, begin, reach
                continue
        requests.append((table, first, end - first))
    return requests


def halve(points: Iterable[RegisterPoint], refused: Request) -> list[Request]:
    """Smaller requests for the points of one that was refused: the device may lack only a part of it."""
    table, begin, count = refused
    inside = [p for p in points if p.table == table and begin <= p.first < begin + count]
    firsts = sorted({point.first for point in inside})
    middle = firsts[len(firsts) // 2]
    lower, upper = (plan((p for p in inside if (p.first < middle) == low), gap=0) for low in (True, False))
    return lower + upper


def decode(points: Mapping[str, RegisterPoint], raw: Registers) -> dict[str, Value]:
    """Registers to numbers; a point whose registers were not read is left out."""
    values: dict[str, Value] = {}
    for name, point in points.items():
        cells, first = raw.get(point.table, {}), point.first
        if point.type == "uint16" and point.order == "ABCD" and point.table not in BITS:
            if first in cells:  # Most points are such, and most of the work is here.
                values[name] = cells[first]
            continue
        try:
            words = [cells[address] for address in range(first, first + point.width)]
        except KeyError:
            continue
        if point.table in ("coil", "discrete"):
            values[name] = bool(words[0])
            continue
        if point.order in ("CDAB", "DCBA"):
            words.reverse()
        code = "<" if point.order in ("BADC", "DCBA") else ">"
        data = struct.pack(f"{code}{len(words)}H", *words)
        values[name] = struct.unpack(f">{FORMATS[point.type]}", data)[0]
    return values


def example(fields: Mapping[str, Any]) -> Registers:
    """A worked example: tables of runs, such as `holding = { 0 = [125, 0], 6 = [25] }`."""
    tables = msgspec.convert(fields, dict[Table, dict[Word, list[Word]]], strict=False, str_keys=True)
    return {
        table: {start + i: word for start, words in runs.items() for i, word in enumerate(words)}
        for table, runs in tables.items()
    }


def show(raw: Registers) -> str:
    return "\n".join(
        f"{table} {address}: {value} (0x{value:04X})"
        for table, cells in raw.items()
        for address, value in sorted(cells.items())
    )


class Ear:
    """Hears all that the line says, and lets through to pymodbus the reply to its last request, alone.

    A hook of pymodbus' (`trace_packet`): called with each frame that is sent, and, whenever more is heard,
    with all that has been heard since.
    """

    def __init__(self, *, serial: bool) -> None:
        self._serial = serial
        self._unit = 0
        self._sought: list[tuple[bytes, int]] = []
        """How the replies to the last request begin, and their lengths (0: as the header says)."""
        self._waiting = False
        self._received = b""
        """Since the last request."""
        self._stream = b""
        """On TCP, the frame that has begun."""
        self.heard = float("-inf")
        """When the last byte came, in monotonic seconds."""
        self.stray: Callable[[bool], None] = lambda late: None
        """Called when something is heard that nobody waits for; true for a reply that is merely late."""

    def __call__(self, sending: bool, data: bytes) -> bytes:
        if sending:
            self._received = b""
            self._waiting = True
            self._seek(data)
            return data
        self.heard = time.monotonic()
        fresh, self._received = data.removeprefix(self._received), data
        reply = self._find(data) if self._serial else self._follow(fresh)
        if not self._waiting:
            self.stray(bool(reply))
            return b""
        if reply:
            self._waiting, self._sought = False, []
            self._received = data[len(reply) :]
            if len(data) > len(reply):
                self.stray(False)
        return reply

    def _seek(self, frame: bytes) -> None:
        head, body = (b"", frame) if self._serial else (frame[:4], frame[6:])
        self._unit, function = body[:2]
        count = int.from_bytes(body[4:6], "big")
        if function in FUNCTIONS.values():
            size = _bytes(function, count)
            good = body[:2] + bytes((size,)), 3 + size
        elif function in WRITES.values():
            good = body[:2], 6  # The request, repeated.
        else:
            self._sought = [] if self._serial else [(head, 0)]
            return
        self._sought = [
            (begin, length + 2) if self._serial
            else (head + length.to_bytes(2, "big") + begin, length + 6)
            for begin, length in (good, (bytes((self._unit, function | 0x80)), 3))
        ]  # fmt: skip

    def _find(self, data: bytes) -> bytes:
        """A reply on a serial line, wherever it begins: there may be noise before it."""
        for begin, length in self._sought:
            at = data.find(begin)
            while at >= 0:
                frame = data[at : at + length]
                if len(frame) == length and _sound(frame):
                    return frame
                at = data.find(begin, at + 1)
        return b""

    def _follow(self, fresh: bytes) -> bytes:
        """A reply on TCP. There is no checksum: a frame must begin where the one before it has ended, and
        nothing may follow, or a broken one has been filled up from the next."""
        self._stream += fresh
        while len(self._stream) >= 8:
            size = 6 + int.from_bytes(self._stream[4:6], "big")
            if self._stream[2:4] != b"\0\0" or not 8 < size <= 260:
                self._stream = b""
            if len(self._stream) < size:
                break
            frame, self._stream = self._stream[:size], self._stream[size:]
            good = any(frame.startswith(begin) and length in (0, size) for begin, length in self._sought)
            if good and not self._stream:
                return frame
        return b""

    def give_up(self) -> ReadFailed:
        """Nobody waits any longer; says what came instead of the reply."""
        self._waiting = False
        data, unit = self._received, self._unit
        if self._serial:
            whole, own, rest = _sound(data), data[:1] == bytes((unit,)), 5
        else:
            whole, own, rest = len(data) > 8, any(data[:4] == begin[:4] for begin, _ in self._sought), 9
        if whole and own:
            return ReadFailed("reply-length", unit=unit, bytes=len(data) - rest)
        if data and not whole:
            return ReadFailed("garbage", bytes=len(data))
        return ReadFailed("timeout", unit=unit)


def _bytes(function: int, count: int) -> int:
    """How many bytes of data the reply to a read request has."""
    return -(-count // 8) if function <= 2 else 2 * count


def _sound(frame: bytes) -> bool:
    """Whether the checksum of a serial frame is right."""
    return len(frame) >= 5 and FramerRTU.check_CRC(frame[:-2], int.from_bytes(frame[-2:], "big"))


class _Registers(ReadHoldingRegistersResponse):
    """Registers at one go; pymodbus unpacks them one by one, and words a log that it does not keep."""

    function_code = 3

    def decode(self, data: bytes) -> None:
        self.registers = struct.unpack(f">{len(data) // 2}H", data[1:])

    def __str__(self) -> str:
        return ""


class _InputRegisters(_Registers):
    function_code = 4


class ModbusBus(Bus):
    """One connection or line."""

    def __init__(self, client: ModbusBaseClient, ear: Ear, options: Options) -> None:
        self._client = client
        self._ear = ear
        self.lessons = {}
        url = urlsplit(options.url)
        self._serial = url.scheme != "tcp"
        # MODBUS over Serial Line V1.02, 2.5.1.1; behind a converter the silence is the converter's.
        self._gap = max(3.5 * 11 / options.baud, 0.00175) if url.scheme == "rtu" else 0.0
        self._settle = options.settle
        self._latest = 0.0
        """How many seconds after it was given up the latest reply came."""
        self._last = 0
        """The unit that was asked last."""
        self._missed = float("-inf")
        """When the last request was given up, in monotonic seconds."""
        self._answering: set[int] = set()
        """The units that answered when they were last asked."""
        self._doubts: dict[int, float] = {}
        """When a reply of that unit failed to come, or came twice."""
        self._sole = False
        """The last request given up is the only reason to doubt its unit."""
        self._looks: dict[tuple[int, Table, int], tuple[int, float]] = {}
        """By what their replies look like on the line, unit, table and size: the address that was asked
        for last, and when."""
        if self._serial:
            ear.stray = self._learn

    @property
    def timeout(self) -> float:
        return float(self._client.ctx.comm_params.timeout_connect)

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._client.ctx.comm_params.timeout_connect = seconds

    async def read(self, device: Device) -> Registers:
        """All ranges of the device. What it refuses is left out, and asked for in smaller parts the
        next time; it must grant something."""
        requests = self.lessons.get(device.name) or plan(device.points.values())
        learned: list[Request] = []
        raw: Registers = {}
        refusal: ReadFailed | None = None
        for request in requests:
            table, first, _ = request
            try:
                cells = await self._request(device.address.unit, request)
            except ReadFailed as failed:
                if failed.key != "modbus-exception":
                    raise
                refusal = failed
                too_much = failed.facts["code"] in TOO_MUCH
                learned += halve(device.points.values(), request) if too_much else [request]
            else:
                learned.append(request)
                raw.setdefault(table, {}).update(enumerate(cells, first))
        self.lessons[device.name] = learned
        if refusal and not raw:
            raise refusal
        return raw

    async def _request(self, unit: int, request: Request) -> list[int]:
        table, first, count = request
        longer = self._tell_apart(unit, request) if self._serial else count
        client = self._client
        read = {
            "holding": client.read_holding_registers,
            "input": client.read_input_registers,
            "coil": client.read_coils,
            "discrete": client.read_discrete_inputs,
        }[table]
        reply = await self._ask(unit, lambda: read(first, count=longer, device_id=unit))
        if isinstance(reply, ExceptionResponse):
            if self._doubtful(unit):
                # It may refuse an earlier request, or what this one has more: no lesson to be learned.
                raise ReadFailed("reply-owed", unit=unit)
            code = reply.exception_code
            raise ReadFailed(
                NOT_NOW.get(code, "modbus-exception"), unit=unit, code=code, first=first, count=count
            )
        return [int(bit) for bit in reply.bits[:count]] if table in BITS else list(reply.registers[:count])

    def _tell_apart(self, unit: int, request: Request) -> int:
        """The count to ask for, so that no reply that may still come looks like the one to this request.

        Raises `ReadFailed` where there is no such count.
        """
        table, first, count = request
        now, doubtful = time.monotonic(), self._doubtful(unit)
        most = min(LONGEST[table], 0x10000 - first)
        while count <= most:
            look = unit, table, _bytes(FUNCTIONS[table], count)
            asked, when = self._looks.get(look, (first, now))
            if asked == first or not doubtful or now - when > LATE:
                self._looks[look] = first, now
                return count
            count += 8 if table in BITS else 1
        raise ReadFailed("reply-owed", unit=unit)

    def _doubtful(self, unit: int) -> bool:
        """Whether a reply of the unit may still come that nobody waits for."""
        return time.monotonic() < self._doubts.get(unit, float("-inf")) + LATE

    async def probe(self, address: Address) -> dict[str, str]:
        """Ask for one register: a refusal, too, is an answer, unless a gateway gives it for a unit that
        is not there. Identification (6.21) is asked for on Modbus TCP alone: its length cannot be told
        from its function code, and a slave on a serial line may fall out of step by it."""
        unit, client = address.unit, self._client
        reply = await self._ask(unit, lambda: client.read_holding_registers(0, count=1, device_id=unit))
        if isinstance(reply, ExceptionResponse) and (code := reply.exception_code) in NOBODY:
            raise ReadFailed("modbus-exception", unit=unit, code=code, first=0, count=1)
        if self._serial:
            return {}
        try:
            card = await self._ask(
                unit, lambda: client.read_device_information(read_code=1, device_id=unit)
            )
        except ReadFailed:
            return {}
        told: dict[int, Any] = getattr(card, "information", {})
        return {
            name: text
            for number, name in enumerate(IDENTITY)
            if isinstance(word := told.get(number), bytes) and (text := word.decode("utf-8", "replace"))
        }

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """An action of the device's profile; it takes no arguments."""
        order: WriteAction | None = device.actions.get(action)
        if order is None:
            raise ReadFailed("action-unknown", device=device.name, action=action)
        unit: int = device.address.unit
        address, value, client = order.address, order.value, self._client
        reply = await self._ask(
            unit,
            lambda: (
                client.write_coil(address, bool(value), device_id=unit)
                if order.table == "coil"
                else client.write_register(address, int(value), device_id=unit)
            ),
        )
        place = {"unit": unit, "table": order.table, "address": address}
        if isinstance(reply, ExceptionResponse):
            code = reply.exception_code
            raise ReadFailed(NOT_NOW.get(code, "modbus-write"), code=code, **place)
        # The answer to a write repeats it.
        written = reply.bits if order.table == "coil" else reply.registers
        if reply.address != address or written[0] != (bool(value) if order.table == "coil" else value):
            raise ReadFailed("modbus-echo", **place)
        return order.confirm

    def _is_open(self) -> bool:
        """Of a far end that hangs up at once, asyncio may know while pymodbus does not."""
        transport = self._client.ctx.transport
        return self._client.connected and not (transport and transport.is_closing())

    async def _ask(self, unit: int, request: Callable[[], Awaitable[ModbusPDU]]) -> ModbusPDU:
        """Send a request and await its reply."""
        client = self._client
        if not self._is_open():
            raise LinkDown("line-down", reason=client.comm_params.host)
        if self._serial:
            await self._silence()
        self._last = unit
        try:
            reply = await request()
        except ModbusException as error:
            if not self._is_open():
                raise LinkDown("line-down", reason=client.comm_params.host) from error
            self._miss(unit)
            raise self._ear.give_up() from error
        # pymodbus waits with wait_for, which before Python 3.12 loses a cancellation that meets the reply.
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError
        self._answering.add(unit)
        return reply

    async def _silence(self) -> None:
        """Frames are set apart by silence, and whatever is heard before a request is no reply to it."""
        # The event loop takes in at the second turn what is waiting at the first.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        limit = time.monotonic() + self.timeout
        while (rest := self._ear.heard + self._gap - time.monotonic()) > 0:
            if time.monotonic() > limit:
                raise ReadFailed("babble")
            await asyncio.sleep(rest)

    def _miss(self, unit: int) -> None:
        """A request is given up. On a line, who has just answered may be late; others are rather absent."""
        if not self._serial:
            return
        usual = self.timeout if unit in self._answering else 0.0
        self.settle = max(self._latest, usual) if self._settle is None else self._settle
        self._answering.discard(unit)
        self._sole = not self._doubtful(unit)
        self._missed = self._doubts[unit] = time.monotonic()

    def _learn(self, late: bool) -> None:
        """Something came that nobody waits for: a reply that is late, or another one twice."""
        now = time.monotonic()
        if now - self._missed < self.timeout:
            self._latest = max(self._latest, now - self._missed + MARGIN)
        if late and self._sole:
            del self._doubts[self._last]
        else:
            self._doubts[self._last] = now
        self._sole = False


@asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[ModbusBus]:
    """Open the port or connection."""
    url = urlsplit(options.url)
    ear = Ear(serial=url.scheme != "tcp")
    client: ModbusBaseClient
    if url.scheme == "rtu":
        client = AsyncModbusSerialClient(
            url.path,
            baudrate=options.baud,
            parity=options.parity,
            stopbits=options.stop_bits,
            timeout=options.timeout,
            retries=0,
            reconnect_delay=0,
            trace_packet=ear,
        )
    else:
        client = AsyncModbusTcpClient(
            url.hostname or "",
            port=url.port or 502,
            framer=FramerType.SOCKET if url.scheme == "tcp" else FramerType.RTU,
            timeout=options.timeout,
            retries=0,
            reconnect_delay=0,
            trace_packet=ear,
        )
    client.register(_Registers)
    client.register(_InputRegisters)
    # The count of unanswered requests is the supervisor's to judge, for each device by itself.
    client.set_max_no_responses(1_000_000_000)
    refused = ""
    try:
        await _open(client)
    except OSError as error:
        reason = str(error) or os.strerror(errno.ETIMEDOUT)
        raise LinkDown("line-open", url=options.url, reason=reason) from error
    except termios.error as error:
        refused = error.args[-1]
    if refused:
        # A speed or parity that the port cannot do: pymodbus drops the port without closing it.
        gc.collect()
        raise LinkDown("line-open", url=options.url, reason=refused)
    if url.scheme != "rtu":
        _watch(client)
    try:
        yield ModbusBus(client, ear, options)
    finally:
        client.close()


async def _open(client: ModbusBaseClient) -> None:
    """As `client.connect()`, which keeps to itself why it fails. Raises `OSError`."""
    async with asyncio.timeout(PATIENCE):
        client.ctx.transport, _ = await client.ctx.call_create()


def _watch(client: ModbusBaseClient) -> None:
    """Have the kernel end a connection whose far end lost its power and so never said goodbye; else
    requests would go nowhere for a quarter of an hour."""
    transport: Any = client.ctx.transport
    options = (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(VANISHED * 1000)),
    )
    with contextlib.suppress(OSError):  # It may be over already: the first request tells.
        for option in options if transport else ():
            transport.get_extra_info("socket").setsockopt(*option)


def _lines(target: str) -> list[dict[str, Any]]:
    if target.startswith("/"):
        return [{"url": f"rtu:{target}", "baud": baud, "parity": parity}
                for baud in BAUDS for parity in ("N", "E")]  # fmt: skip
    if not target.startswith("tcp://"):
        return []
    # 502 is Modbus TCP's own port.
    bare = [] if target.endswith(":502") else [{"url": f"rtu+{target}"}]
    return [{"url": target}, *bare]


def _place(options: Options) -> str:
    url = urlsplit(options.url)
    return url.path if url.scheme == "rtu" else f"tcp://{url.hostname}:{url.port or 502}"


def _addresses(options: Options) -> list[dict[str, Any]]:
    """Those of slaves (V1.02, 2.2), and 255, by which a device on TCP means itself."""
    direct = [255] if options.url.startswith("tcp:") else []
    return [{"unit": unit} for unit in (*range(1, 248), *direct)]


DRIVER = Driver(
    options=Options,
    address=Address,
    point=RegisterPoint,
    connect=connect,
    decode=decode,
    example=example,
    show=show,
    action=WriteAction,
    # First, for a slave may fall out of step by the frames of other protocols: libmodbus has no sense of
    # the silence between frames.
    scan=Scan(rank=0, lines=_lines, place=_place, addresses=_addresses, says=IDENTITY),
)
