"""A serial line or TCP connection, opened and used through pymodbus.

There are no retries here, and a transaction is never cancelled half-way. On a serial line a late reply
looks like that to the next request for as many registers of the same unit. So the next request asks for
more registers: replies of different length can be told apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import struct
import termios
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.client.base import ModbusBaseClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse

from gateway.model import Bus, Device, FailureKind, LinkDown, ReadFailed, Value

from .framer import READ_FUNCTIONS, ReplyFramer, payload_bytes
from .options import TCP_PORT, Address, Options
from .registers import (
    BIT_TABLES,
    MAX_REQUEST_COUNT,
    Registers,
    Request,
    Table,
    WriteAction,
    plan_requests,
    split_refused,
)

logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)

IDENTITY_OBJECTS = ("vendor", "product", "revision")
"""Objects 0 to 2 of a device's identification (V1.1b3, 6.21)."""
UNREACHABLE_EXCEPTIONS = (0x0A, 0x0B)
"""Exceptions by which a gateway says that it cannot reach the unit (V1.1b3, 7)."""
LATE_REPLY_WINDOW_S = 10.0
"""The time in which the reply to a request may still arrive."""
LATE_REPLY_MARGIN_S = 0.02
"""Added to the latest reply received."""
RANGE_EXCEPTIONS = (2, 3)
"""Exceptions that reject the requested range: illegal data address, illegal data value (V1.1b3, 7)."""
BUSY_EXCEPTIONS = (5, 6)
"""Exceptions of a unit that is busy: acknowledge, server device busy (V1.1b3, 7)."""
CONNECT_TIMEOUT_S = 4.0
"""TCP sends a lost packet again after one second and after three (RFC 6298)."""
UNACKNOWLEDGED_TIMEOUT_S = 20.0
"""After which a TCP connection is closed if the other end acknowledges nothing that was sent."""


class _Registers(ReadHoldingRegistersResponse):
    """Unpacks all registers at once; pymodbus unpacks them one by one, and formats a log line for each."""

    function_code = 3

    def decode(self, data: bytes) -> None:
        self.registers = struct.unpack(f">{len(data) // 2}H", data[1:])

    def __str__(self) -> str:
        return ""


class _InputRegisters(_Registers):
    function_code = 4


class ModbusBus(Bus):
    """One connection or line."""

    def __init__(self, client: ModbusBaseClient, framer: ReplyFramer, options: Options) -> None:
        self._client = client
        self._framer = framer
        self.quirks = {}
        url = urlsplit(options.url)
        self._serial = url.scheme != "tcp"
        # MODBUS over Serial Line V1.02, 2.5.1.1; behind a converter the silence is the converter's.
        self._silence_s = max(3.5 * 11 / options.baud, 0.00175) if url.scheme == "rtu" else 0.0
        self._configured_settle_s = options.settle
        self._latest_reply_s = 0.0
        """The longest time after its timeout at which a reply arrived."""
        self._last_unit = 0
        """The unit of the last request."""
        self._given_up_at = float("-inf")
        """When the last request timed out, in monotonic seconds."""
        self._answering_units: set[int] = set()
        """The units that replied to their last request."""
        self._out_of_step_since: dict[int, float] = {}
        """By unit, when a reply was missing, or came twice, in monotonic seconds."""
        self._one_reply_owed = False
        """Whether the last timeout is the only reason to expect a stray reply of its unit."""
        self._last_request_by_shape: dict[tuple[int, Table, int], tuple[int, float]] = {}
        """By what tells replies apart on the line (unit, table, size): the address of the last request, and
        when it was made."""
        if self._serial:
            framer.on_stray = self._record_stray

    @property
    def timeout_s(self) -> float:
        return float(self._client.ctx.comm_params.timeout_connect)

    @timeout_s.setter
    def timeout_s(self, seconds: float) -> None:
        self._client.ctx.comm_params.timeout_connect = seconds

    async def read(self, device: Device) -> Registers:
        """All ranges of the device. What it refuses is left out, and requested in smaller parts the next
        time. Raises `ReadFailed` if it refuses everything."""
        requests = self.quirks.get(device.name) or plan_requests(device.points.values())
        learned: list[Request] = []
        raw: Registers = {}
        refusal: ReadFailed | None = None
        for request in requests:
            table, first, _ = request
            try:
                cells = await self._read_range(device.address.unit, request)
            except ReadFailed as failed:
                if failed.kind is not FailureKind.REFUSED:
                    raise
                refusal = failed
                too_much = failed.facts["code"] in RANGE_EXCEPTIONS
                learned += split_refused(device.points.values(), request) if too_much else [request]
            else:
                learned.append(request)
                raw.setdefault(table, {}).update(enumerate(cells, first))
        self.quirks[device.name] = learned
        if refusal and not raw:
            raise refusal
        return raw

    async def _read_range(self, unit: int, request: Request) -> list[int]:
        table, first, count = request
        wider_count = self._distinguishable_count(unit, request) if self._serial else count
        client = self._client
        read = {
            "holding": client.read_holding_registers,
            "input": client.read_input_registers,
            "coil": client.read_coils,
            "discrete": client.read_discrete_inputs,
        }[table]
        reply = await self._transact(unit, lambda: read(first, count=wider_count, device_id=unit))
        if isinstance(reply, ExceptionResponse):
            if self._stray_reply_possible(unit):
                # It may refuse an earlier request, or the registers that were added: this tells nothing.
                raise ReadFailed("reply-owed", FailureKind.OUT_OF_STEP, unit=unit)
            raise _refusal("modbus-exception", reply, unit=unit, first=first, count=count)
        return (
            [int(bit) for bit in reply.bits[:count]]
            if table in BIT_TABLES
            else list(reply.registers[:count])
        )

    def _distinguishable_count(self, unit: int, request: Request) -> int:
        """The count to request, so that no earlier reply that may still arrive looks like the one to this
        request. Raises `ReadFailed` if there is no such count."""
        table, first, count = request
        now, stray_possible = time.monotonic(), self._stray_reply_possible(unit)
        max_count = min(MAX_REQUEST_COUNT[table], 0x10000 - first)
        while count <= max_count:
            shape = unit, table, payload_bytes(READ_FUNCTIONS[table], count)
            asked, when = self._last_request_by_shape.get(shape, (first, now))
            if asked == first or not stray_possible or now - when > LATE_REPLY_WINDOW_S:
                self._last_request_by_shape[shape] = first, now
                return count
            count += 8 if table in BIT_TABLES else 1
        raise ReadFailed("reply-owed", FailureKind.OUT_OF_STEP, unit=unit)

    def _stray_reply_possible(self, unit: int) -> bool:
        """Whether a reply of the unit to an earlier request may still arrive."""
        return time.monotonic() < self._out_of_step_since.get(unit, float("-inf")) + LATE_REPLY_WINDOW_S

    async def probe(self, address: Address) -> dict[str, str]:
        """Read one register: a refusal is a reply too, unless a gateway sends it for a unit that is not
        there. Identification (6.21) is requested on Modbus TCP only: the length of its frame does not
        follow from the function code, so that a slave on a serial line may fall out of step."""
        unit, client = address.unit, self._client
        reply = await self._transact(
            unit, lambda: client.read_holding_registers(0, count=1, device_id=unit)
        )
        if isinstance(reply, ExceptionResponse) and reply.exception_code in UNREACHABLE_EXCEPTIONS:
            raise _refusal("modbus-exception", reply, unit=unit, first=0, count=1)
        if self._serial:
            return {}
        try:
            card = await self._transact(
                unit, lambda: client.read_device_information(read_code=1, device_id=unit)
            )
        except ReadFailed:
            return {}
        objects: dict[int, Any] = getattr(card, "information", {})
        return {
            name: text
            for number, name in enumerate(IDENTITY_OBJECTS)
            if isinstance(data := objects.get(number), bytes) and (text := data.decode("utf-8", "replace"))
        }

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """An action of the device's profile; it takes no arguments."""
        write: WriteAction | None = device.actions.get(action)
        if write is None:
            raise ReadFailed("action-unknown", device=device.name, action=action)
        unit: int = device.address.unit
        address, value, client = write.address, write.value, self._client
        reply = await self._transact(
            unit,
            lambda: (
                client.write_coil(address, bool(value), device_id=unit)
                if write.table == "coil"
                else client.write_register(address, int(value), device_id=unit)
            ),
        )
        place = {"unit": unit, "table": write.table, "address": address}
        if isinstance(reply, ExceptionResponse):
            raise _refusal("modbus-write", reply, **place)
        # The reply to a write repeats it.
        written = reply.bits if write.table == "coil" else reply.registers
        if reply.address != address or written[0] != (bool(value) if write.table == "coil" else value):
            raise ReadFailed("modbus-echo", **place)
        return write.confirm

    def _is_open(self) -> bool:
        """If the other end closes at once, asyncio may know it before pymodbus does."""
        transport = self._client.ctx.transport
        return self._client.connected and not (transport and transport.is_closing())

    async def _transact(self, unit: int, request: Callable[[], Awaitable[ModbusPDU]]) -> ModbusPDU:
        """Send a request and await its reply. Raises `ReadFailed` or `LinkDown`."""
        client = self._client
        if not self._is_open():
            raise LinkDown("line-down", reason=client.comm_params.host)
        if self._serial:
            await self._await_silence()
        self._last_unit = unit
        try:
            reply = await request()
        except ModbusException as error:
            if not self._is_open():
                raise LinkDown("line-down", reason=client.comm_params.host) from error
            self._record_timeout(unit)
            raise self._framer.classify_failure() from error
        # pymodbus waits with wait_for, which before Python 3.12 loses a cancellation that meets the reply.
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError
        self._answering_units.add(unit)
        return reply

    async def _await_silence(self) -> None:
        """Frames are separated by silence, and what arrives before a request is no reply to it."""
        # The event loop needs two turns to read what is waiting.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        limit = time.monotonic() + self.timeout_s
        while (rest := self._framer.last_byte_at + self._silence_s - time.monotonic()) > 0:
            if time.monotonic() > limit:
                raise ReadFailed("babble", FailureKind.OUT_OF_STEP)
            await asyncio.sleep(rest)

    def _record_timeout(self, unit: int) -> None:
        """A request has timed out. On a serial line, a unit that has just replied may be late; one that has
        not is probably absent."""
        if not self._serial:
            return
        usual_s = self.timeout_s if unit in self._answering_units else 0.0
        needed_s = max(self._latest_reply_s, usual_s)
        self.settle_s = needed_s if self._configured_settle_s is None else self._configured_settle_s
        self._answering_units.discard(unit)
        self._one_reply_owed = not self._stray_reply_possible(unit)
        self._given_up_at = self._out_of_step_since[unit] = time.monotonic()

    def _record_stray(self, late: bool) -> None:
        """Bytes arrived outside of a request: the last reply, `late`, or some other one, again."""
        now = time.monotonic()
        if now - self._given_up_at < self.timeout_s:
            self._latest_reply_s = max(self._latest_reply_s, now - self._given_up_at + LATE_REPLY_MARGIN_S)
        if late and self._one_reply_owed:
            del self._out_of_step_since[self._last_unit]
        else:
            self._out_of_step_since[self._last_unit] = now
        self._one_reply_owed = False


def _refusal(key: str, reply: ExceptionResponse, **facts: object) -> ReadFailed:
    """What an exception response means; `key` is the sentence for one that blames the request."""
    code = reply.exception_code
    if code in UNREACHABLE_EXCEPTIONS:
        return ReadFailed("modbus-unreachable", FailureKind.SILENT, code=code, **facts)
    if code in BUSY_EXCEPTIONS:
        return ReadFailed("modbus-busy", code=code, **facts)
    return ReadFailed(key, FailureKind.REFUSED, code=code, **facts)


@asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[ModbusBus]:
    """Open the port or connection."""
    url = urlsplit(options.url)
    framer = ReplyFramer(serial=url.scheme != "tcp")
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
            trace_packet=framer,
        )
    else:
        client = AsyncModbusTcpClient(
            url.hostname or "",
            port=url.port or TCP_PORT,
            framer=FramerType.SOCKET if url.scheme == "tcp" else FramerType.RTU,
            timeout=options.timeout,
            retries=0,
            reconnect_delay=0,
            trace_packet=framer,
        )
    client.register(_Registers)
    client.register(_InputRegisters)
    # The core counts the unanswered requests, for each device.
    client.set_max_no_responses(1_000_000_000)
    refused: LinkDown | None = None
    try:
        await _open(client)
    except OSError as error:
        raise LinkDown("line-open", url=options.url, reason=error) from error
    except termios.error as error:
        refused = LinkDown("line-open", url=options.url, reason=error)
    if refused:
        # A speed or parity that the port cannot do: pymodbus drops the port without closing it.
        gc.collect()
        raise refused
    if url.scheme != "rtu":
        _enable_keepalive(client)
    try:
        yield ModbusBus(client, framer, options)
    finally:
        client.close()


async def _open(client: ModbusBaseClient) -> None:
    """As `client.connect()`, which does not tell why it fails. Raises `OSError`."""
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        client.ctx.transport, _ = await client.ctx.call_create()


def _enable_keepalive(client: ModbusBaseClient) -> None:
    """Let the kernel close a connection whose other end lost power; it would stay open for 15 minutes."""
    transport: Any = client.ctx.transport
    options = (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(UNACKNOWLEDGED_TIMEOUT_S * 1000)),
    )
    with contextlib.suppress(OSError):  # It may be closed already: the first request will fail.
        for option in options if transport else ():
            transport.get_extra_info("socket").setsockopt(*option)
