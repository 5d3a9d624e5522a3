"""Modbus TCP, RTU and RTU over TCP (Modbus Application Protocol V1.1b3), through pymodbus.

pymodbus would hand a late reply to the next request of an RTU line: so there are no retries here,
a transaction is never cancelled half-way, and after a timeout the line wants `settle` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import struct
import termios
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.client.base import ModbusBaseClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from gateway.model import Action, Bus, Checks, Device, Driver, LinkDown, Point, ReadFailed, Scan, Value

logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)

Table = Literal["holding", "input", "coil", "discrete"]
Type = Literal["uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
FORMATS: dict[Type, str] = {
    "uint16": "H", "int16": "h", "uint32": "I", "int32": "i",
    "uint64": "Q", "int64": "q", "float32": "f", "float64": "d",
}  # fmt: skip
WORDS = {kind: struct.calcsize(code) // 2 for kind, code in FORMATS.items()}
LONGEST = {"holding": 125, "input": 125, "coil": 2000, "discrete": 2000}
"""Registers or bits one request may ask for (V1.1b3, 6.1 to 6.4)."""

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
TOO_MUCH = (2, 3)
"""Exceptions that blame the range asked for: illegal data address, illegal data value (V1.1b3, 7)."""
NOT_NOW = {5: "modbus-busy", 6: "modbus-busy", 10: "modbus-unreachable", 11: "modbus-unreachable"}
"""Exceptions that blame nothing asked for: the unit has other work, or its gateway hears nothing of it."""
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
    """Silence after a timeout; by default another `timeout`, and nothing on TCP, whose transactions
    carry a number."""

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


def plan(points: Iterable[RegisterPoint], gap: int = 8) -> list[Request]:
    """The fewest requests that cover the points, over holes up to `gap`."""
    requests: list[Request] = []
    spans = sorted({(point.table, point.first, point.first + point.width) for point in points})
    for table, first, end in spans:
        if requests:
            open_table, begin, count = requests[-1]
            reach = max(end, begin + count) - begin
            if table == open_table and first <= begin + count + gap and reach <= LONGEST[table]:
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


class ModbusBus(Bus):
    """One connection or line."""

    def __init__(self, client: ModbusBaseClient, settle: float, identify: bool = False) -> None:
        self._client = client
        self._plans: dict[str, list[Request]] = {}
        self._identify = identify
        self.settle = settle

    @property
    def timeout(self) -> float:
        return float(self._client.ctx.comm_params.timeout_connect)

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._client.ctx.comm_params.timeout_connect = seconds

    async def read(self, device: Device) -> Registers:
        """All ranges of the device. What it refuses is left out, and asked for in smaller parts the
        next time; it must grant something."""
        requests = self._plans.get(device.name) or plan(device.points.values())
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
        self._plans[device.name] = learned
        if refusal and not raw:
            raise refusal
        return raw

    async def _request(self, unit: int, request: Request) -> list[int]:
        table, first, count = request
        client = self._client
        read = {
            "holding": client.read_holding_registers,
            "input": client.read_input_registers,
            "coil": client.read_coils,
            "discrete": client.read_discrete_inputs,
        }[table]
        reply = await self._ask(unit, lambda: read(first, count=count, device_id=unit))
        if isinstance(reply, ExceptionResponse):
            code = reply.exception_code
            raise ReadFailed(
                NOT_NOW.get(code, "modbus-exception"), unit=unit, code=code, first=first, count=count
            )
        # Bits come in whole bytes.
        bits = table in ("coil", "discrete")
        cells, expected = (reply.bits, -(-count // 8) * 8) if bits else (reply.registers, count)
        if reply.function_code != FUNCTIONS[table] or len(cells) != expected:
            raise ReadFailed("reply-length", unit=unit, expected=count, got=len(cells))
        return [int(cell) for cell in cells[:count]]

    async def probe(self, address: Address) -> dict[str, str]:
        """Ask for one register: a refusal, too, is an answer, unless a gateway gives it for a unit that
        is not there. Identification (6.21) is asked for on Modbus TCP alone: its length cannot be told
        from its function code, and a slave on a serial line may fall out of step by it."""
        unit, client = address.unit, self._client
        reply = await self._ask(unit, lambda: client.read_holding_registers(0, count=1, device_id=unit))
        if isinstance(reply, ExceptionResponse) and (code := reply.exception_code) in NOBODY:
            raise ReadFailed("modbus-exception", unit=unit, code=code, first=0, count=1)
        if not self._identify:
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
        if reply.function_code != WRITES[order.table] or reply.address != address:
            raise ReadFailed("modbus-echo", **place)
        return order.confirm

    async def _ask(self, unit: int, request: Callable[[], Awaitable[ModbusPDU]]) -> ModbusPDU:
        """Send a request and await its reply."""
        client = self._client
        if not client.connected:
            raise LinkDown("line-down", reason=client.comm_params.host)
        try:
            reply = await request()
        except ModbusException as error:
            if not client.connected:
                raise LinkDown("line-down", reason=client.comm_params.host) from error
            raise ReadFailed("timeout", unit=unit) from error
        # pymodbus waits with wait_for, which before Python 3.12 loses a cancellation that meets the reply.
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError
        return reply


@asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[ModbusBus]:
    """Open the port or connection."""
    url = urlsplit(options.url)
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
        )
    else:
        client = AsyncModbusTcpClient(
            url.hostname or "",
            port=url.port or 502,
            framer=FramerType.SOCKET if url.scheme == "tcp" else FramerType.RTU,
            timeout=options.timeout,
            retries=0,
            reconnect_delay=0,
        )
    # The count of unanswered requests is the supervisor's to judge, for each device by itself.
    client.set_max_no_responses(1_000_000_000)
    refused = ""
    try:
        if not await client.connect():
            raise LinkDown("line-open", url=options.url)
    except OSError as error:
        raise LinkDown("line-open", url=options.url, reason=error) from error
    except termios.error as error:
        refused = error.args[-1]
    if refused:
        # A speed or parity that the port cannot do: pymodbus drops the port without closing it.
        gc.collect()
        raise LinkDown("line-open", url=options.url, reason=refused)
    if url.scheme != "rtu":
        _watch(client)
    settle = options.timeout if options.settle is None else options.settle
    try:
        tcp = url.scheme == "tcp"
        yield ModbusBus(client, 0.0 if tcp else settle, identify=tcp)
    finally:
        client.close()


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
