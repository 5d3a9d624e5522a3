"""A serial line or TCP connection, opened and used through pymodbus.

A transaction is never cancelled half-way, and what may have been executed is never sent again. On a serial
line a late or repeated reply looks like that to the next request for as many registers of the same unit. So
after a timeout, or a reply that came twice, requests for other registers ask for more: replies of different
length can be told apart. Nothing tells a late reply that has a wrong unit or length as well. A TCP
connection that the other end has closed, as many do when it is idle or after each reply, is opened anew
within the request; if it stays open but is mute after the first reply, each request has a connection of its
own.
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

from .framer import READ_FUNCTIONS, ReplyFramer, SerialFramer, TcpFramer, payload_bytes
from .options import TCP_PORT, Address, Options
from .registers import (
    BIT_TABLES,
    SILENCE_KINDS,
    ReadingPlan,
    Registers,
    Request,
    Table,
    WriteAction,
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
BUSY_EXCEPTIONS = (5, 6)
"""Exceptions of a unit that is busy: acknowledge, server device busy (V1.1b3, 7)."""
CONNECT_TIMEOUT_S, RECONNECT_TIMEOUT_S = 4.0, 1.5
"""To open a line, and to open its connection anew within a request that has no longer timeout itself. TCP
sends a lost packet again after one second and after three (RFC 6298)."""
UNACKNOWLEDGED_TIMEOUT_S = 20.0
"""After which a TCP connection is closed if the other end acknowledges nothing that was sent."""
NUMBER_STEP, MAX_NUMBER = 2, 64_000
"""Numbers of requests on TCP are even: one that a server gets wrong by one was never that of another."""
MAX_RECEIVED_BYTES = 2048
"""What pymodbus keeps until a reply on TCP is complete: more than a late reply and the right one."""
MAX_SILENT_REQUESTS = 2
"""Requests in a row without a reply, whatever the unit, after which a connection is opened anew: a firewall
may have dropped it without a word."""


MAX_MUTE_CONNECTIONS = 2
"""Connections in a row that were mute after their first reply, after which each serves for one only."""


class _Registers(ReadHoldingRegistersResponse):
    """Unpacks all registers at once; pymodbus unpacks them one by one, and formats a log line for each."""

    function_code = 3

    def decode(self, data: bytes) -> None:
        self.registers = struct.unpack(f">{len(data) // 2}H", data[1:])

    def __str__(self) -> str:
        return ""


class _InputRegisters(_Registers):
    function_code = 4


class _ConnectionEnded(ModbusException):
    """The other end has closed the connection while a request was under way."""


class _StrangeReply(ModbusException):
    """A reply fits but for its number or unit, for the first time."""


class ModbusBus(Bus):
    """One connection or line."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._client: ModbusBaseClient | None = None
        self.quirks = {}
        scheme = urlsplit(options.url).scheme
        self._serial, self._reopens = scheme != "tcp", scheme != "rtu"
        # MODBUS over Serial Line V1.02, 2.5.1.1.
        self._silence_s = max(3.5 * 11 / options.baud, 0.00175) if self._serial else 0.0
        self.timeout_s = options.timeout
        self._configured_settle_s = options.settle
        self._latest_reply_s = 0.0
        """The longest time after its timeout at which a reply arrived."""
        self._last_unit = 0
        """The unit of the last request."""
        self._last_number = 0
        """The number of the last request on TCP."""
        self._silent_requests = 0
        """In a row."""
        self._replies = 0
        """On this connection."""
        self._mute_connections = 0
        """In a row: without a second reply."""
        self._given_up_at = float("-inf")
        """When the last request timed out, in monotonic seconds."""
        self._answering_units: set[int] = set()
        """The units that replied to their last request."""
        self._out_of_step_since: dict[int, float] = {}
        """By unit, when a reply was missing, or came twice, in monotonic seconds."""
        self._last_request_by_shape: dict[tuple[int, Table, int], tuple[int, float]] = {}
        """By what tells replies apart on the line (unit, table, size): the address of the last request, and
        when it was made."""
        self._framer: ReplyFramer
        if self._serial:
            self._framer = serial_framer = SerialFramer()
            serial_framer.on_stray = self._record_stray
        else:
            self._framer = tcp_framer = TcpFramer()
            tcp_framer.on_strange = lambda: self._end_request(_StrangeReply(""))

    async def open(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Open the port or connection, instead of the one before. Raises `LinkDown`."""
        self.close()
        self._replies = 0
        self._framer.begin_connection()
        client = _create_client(self._options, self._framer)
        client.ctx.trace_connect = lambda is_up: None if is_up else self._end_request(_ConnectionEnded(""))
        await _open(client, self._options.url, timeout_s)
        self._client = client

    def close(self) -> None:
        """Close the port or connection, if it is open."""
        if self._client:
            self._client.close()
            self._client = None

    def _end_request(self, error: ModbusException) -> None:
        if self._client and self._framer.is_waiting and not self._client.ctx.response_future.done():
            self._client.ctx.response_future.set_exception(error)

    async def read(self, device: Device) -> Registers:
        """All ranges of the device. What it refuses, or does not reply to although it replies to others, is
        left out, and requested in smaller parts the next time; so is, for a while, what it could reply to
        only as to an earlier request. Raises `ReadFailed` if nothing is left."""
        plan: ReadingPlan | None = self.quirks.get(device.name)
        if plan is None:
            plan = self.quirks[device.name] = ReadingPlan(device.points.values())
        raw: Registers = {}
        failure: ReadFailed | None = None
        for request in plan.begin_poll():
            table, first, _ = request
            if raw and not failure:
                await self.pause()
            try:
                cells = await self._read_range(device.address.unit, request, plan)
            except ReadFailed as failed:
                # Another request may well be told from earlier ones.
                if failed.key != "reply-owed" and not plan.record_failure(request, failed):
                    raise
                failure = failed
                if failed.kind in SILENCE_KINDS:
                    break  # One timeout a poll is enough.
            else:
                plan.record_reply(request)
                raw.setdefault(table, {}).update(enumerate(cells, first))
        if failure and not raw:
            raise failure
        return raw

    async def _read_range(self, unit: int, request: Request, plan: ReadingPlan) -> list[int]:
        table, first, count = request
        wider_count = count

        def send(client: ModbusBaseClient) -> Awaitable[ModbusPDU]:
            nonlocal wider_count
            if self._serial:
                wider_count = self._distinguishable_count(unit, request, plan)
            read = {
                "holding": client.read_holding_registers,
                "input": client.read_input_registers,
                "coil": client.read_coils,
                "discrete": client.read_discrete_inputs,
            }[table]
            return read(first, count=wider_count, device_id=unit)

        try:
            reply = await self._transact(unit, send)
        except ReadFailed as failed:
            if wider_count > count:
                plan.keep_length(request)
                raise ReadFailed("reply-owed", FailureKind.OUT_OF_STEP, unit=unit) from failed
            raise
        if isinstance(reply, ExceptionResponse):
            if wider_count > count:
                plan.keep_length(request)
            self._require_in_step(unit)
            raise _refusal("modbus-exception", reply, unit=unit, first=first, count=count)
        return (
            [int(bit) for bit in reply.bits[:count]]
            if table in BIT_TABLES
            else list(reply.registers[:count])
        )

    def _distinguishable_count(self, unit: int, request: Request, plan: ReadingPlan) -> int:
        """The count to request, so that no earlier reply that may still arrive looks like the one to this
        request. Raises `ReadFailed` if the device answers no such count."""
        table, first, count = request
        now, stray_possible = time.monotonic(), self._stray_reply_possible(unit)
        while True:
            shape = unit, table, payload_bytes(READ_FUNCTIONS[table], count)
            asked, when = self._last_request_by_shape.get(shape, (first, now))
            if asked == first or not stray_possible or now - when > LATE_REPLY_WINDOW_S:
                self._last_request_by_shape[shape] = first, now
                return count
            count += 8 if table in BIT_TABLES else 1
            if count > min(plan.longest_count(request), 0x10000 - first):
                raise ReadFailed("reply-owed", FailureKind.OUT_OF_STEP, unit=unit)

    def _stray_reply_possible(self, unit: int) -> bool:
        """Whether a reply of the unit to an earlier request may still arrive."""
        return time.monotonic() < self._out_of_step_since.get(unit, float("-inf")) + LATE_REPLY_WINDOW_S

    def _require_in_step(self, unit: int) -> None:
        """Raises `ReadFailed` if a refusal tells nothing, as it may refuse an earlier request, or registers
        that were added to this one."""
        if self._stray_reply_possible(unit):
            raise ReadFailed("reply-owed", FailureKind.OUT_OF_STEP, unit=unit)

    async def probe(self, address: Address) -> dict[str, str]:
        """Read one register: a refusal is a reply too, unless a gateway sends it for a unit that is not
        there. Identification (6.21) is requested on Modbus TCP only: the length of its frame does not
        follow from the function code, so that a slave on a serial line may fall out of step."""
        unit = address.unit
        reply = await self._transact(
            unit, lambda client: client.read_holding_registers(0, count=1, device_id=unit)
        )
        if isinstance(reply, ExceptionResponse) and reply.exception_code in UNREACHABLE_EXCEPTIONS:
            raise _refusal("modbus-exception", reply, unit=unit, first=0, count=1)
        if self._serial:
            return {}
        try:
            card = await self._transact(
                unit,
                lambda client: client.read_device_information(read_code=1, device_id=unit),
                repeatable=False,
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
        address, value = write.address, write.value
        place = {"unit": unit, "table": write.table, "address": address}
        try:
            reply = await self._transact(
                unit,
                lambda client: (
                    client.write_coil(address, bool(value), device_id=unit)
                    if write.table == "coil"
                    else client.write_register(address, int(value), device_id=unit)
                ),
                repeatable=False,
            )
        except ReadFailed as failed:
            if failed.key == "reply-length":
                raise ReadFailed("modbus-echo", **place) from failed
            raise
        if isinstance(reply, ExceptionResponse):
            self._require_in_step(unit)
            raise _refusal("modbus-write", reply, **place)
        return write.confirm

    async def _transact(
        self,
        unit: int,
        send: Callable[[ModbusBaseClient], Awaitable[ModbusPDU]],
        *,
        repeatable: bool = True,
    ) -> ModbusPDU:
        """Send a request and await its reply. It is sent once more after the first strange reply, and, if
        `repeatable`, when the connection ends before the reply. Raises `ReadFailed` or `LinkDown`."""
        has_ended = False
        while True:
            client = await self._get_ready()
            self._last_unit = unit
            try:
                reply = await send(client)
                break
            except _StrangeReply:
                continue
            except ModbusException as error:
                failed = self._framer.classify_failure()
                if self._is_open():
                    self._silent_requests += 1
                    if self._replies == 1 and self._silent_requests == MAX_SILENT_REQUESTS:
                        self._mute_connections += 1
                    self._record_timeout(unit)
                    raise failed from error
                if not repeatable and self._reopens:
                    raise ReadFailed("write-unanswered", unit=unit) from error
                if has_ended or not self._reopens:
                    raise LinkDown("line-down", reason=client.comm_params.host) from error
                has_ended = True
        # pymodbus waits with wait_for, which before Python 3.12 loses a cancellation that meets the reply.
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError
        self._silent_requests = 0
        self._replies += 1
        if self._replies > 1:
            self._mute_connections = 0
        self._answering_units.add(unit)
        return reply

    async def _get_ready(self) -> ModbusBaseClient:
        """The client for the next request: open, in step, and with nothing left to read."""
        await self._await_silence()
        is_used_up = self._replies > 0 and self._mute_connections >= MAX_MUTE_CONNECTIONS
        is_quiet = self._silent_requests >= MAX_SILENT_REQUESTS
        is_usable = self._framer.is_in_step and not is_quiet and not is_used_up
        if not (self._is_open() and is_usable) and self._reopens:
            await self.open(max(self.timeout_s, RECONNECT_TIMEOUT_S))
        if not self._client or not self._is_open():
            raise LinkDown("line-down", reason=urlsplit(self._options.url).path)
        context = self._client.ctx
        context.comm_params.timeout_connect = self.timeout_s
        self._last_number = self._last_number % MAX_NUMBER + NUMBER_STEP
        context.next_tid = self._last_number - 1  # Which pymodbus counts on from.
        return self._client

    def _is_open(self) -> bool:
        """If the other end closes at once, asyncio may know it before pymodbus does."""
        transport = self._client and self._client.ctx.transport
        return bool(transport and not transport.is_closing())

    async def _await_silence(self) -> None:
        """Read what has arrived before a request, which is no reply to it, and on a serial line until there
        is the silence that separates frames."""
        limit_s = time.monotonic() + self.timeout_s
        while True:
            now_s = time.monotonic()
            # The event loop needs two turns to read what has arrived until now.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            rest_s = self._framer.last_byte_at + self._silence_s - now_s
            if rest_s <= 0 or not self._serial:
                return
            if now_s > limit_s:
                raise ReadFailed("babble", FailureKind.OUT_OF_STEP)
            await asyncio.sleep(rest_s)

    def _record_timeout(self, unit: int) -> None:
        """A request has timed out. On a serial line, a unit that has just replied may be late; one that has
        not is probably absent."""
        if not self._serial:
            return
        usual_s = self.timeout_s if unit in self._answering_units else 0.0
        needed_s = max(self._latest_reply_s, usual_s)
        self.settle_s = needed_s if self._configured_settle_s is None else self._configured_settle_s
        self._answering_units.discard(unit)
        self._given_up_at = self._out_of_step_since[unit] = time.monotonic()

    def _record_stray(self) -> None:
        """Bytes arrived outside of a request: a reply that is late, or comes again, and again may."""
        now = time.monotonic()
        if now - self._given_up_at < self.timeout_s:
            self._latest_reply_s = max(self._latest_reply_s, now - self._given_up_at + LATE_REPLY_MARGIN_S)
        self._out_of_step_since[self._last_unit] = now


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
    bus = ModbusBus(options)
    try:
        await bus.open()
        yield bus
    finally:
        bus.close()


def _create_client(options: Options, framer: ReplyFramer) -> ModbusBaseClient:
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
    if url.scheme == "tcp":
        client.ctx.max_buffer_size = MAX_RECEIVED_BYTES
    client.register(_Registers)
    client.register(_InputRegisters)
    # The core counts the unanswered requests, for each device.
    client.set_max_no_responses(1_000_000_000)
    return client


async def _open(client: ModbusBaseClient, url: str, timeout_s: float) -> None:
    """As `client.connect()`, which does not tell why it fails. Raises `LinkDown`."""
    refused: LinkDown | None = None
    try:
        async with asyncio.timeout(timeout_s):
            client.ctx.transport, _ = await client.ctx.call_create()
    except OSError as error:
        raise LinkDown("line-open", url=url, reason=error) from error
    except termios.error as error:
        refused = LinkDown("line-open", url=url, reason=error)
    if refused:
        # A speed or parity that the port cannot do: pymodbus drops the port without closing it.
        gc.collect()
        raise refused
    if urlsplit(url).scheme != "rtu":
        _enable_keepalive(client)


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
