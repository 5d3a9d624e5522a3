"""A line or connection, opened and asked through pymodbus.

There are no retries here, and a transaction is never cancelled half-way. A reply that is late looks on a
serial line like the reply to the next request for as many registers of the same unit: then that request is
made longer, for what has another length is another reply.
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

from .ear import FUNCTIONS, Ear, payload
from .options import TCP_PORT, Address, Options
from .registers import BITS, LONGEST, Registers, Request, Table, WriteAction, halve, plan

logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)

IDENTITY = ("vendor", "product", "revision")
"""Objects 0 to 2 of a device's identification (V1.1b3, 6.21)."""
UNREACHABLE = (0x0A, 0x0B)
"""Exceptions by which a gateway says that the unit is not there (V1.1b3, 7)."""
LATE = 10.0
"""Seconds after which the reply to a request comes no more."""
MARGIN = 0.02
"""Seconds of silence beyond the latest reply heard."""
TOO_MUCH = (2, 3)
"""Exceptions that blame the range asked for: illegal data address, illegal data value (V1.1b3, 7)."""
BUSY = (5, 6)
"""Exceptions of a unit that has other work: acknowledge, server device busy (V1.1b3, 7)."""
PATIENCE = 4.0
"""Seconds for a connection to come about: what is lost on the way is sent again after one and after three
(RFC 6298)."""
VANISHED = 20.0
"""Seconds after which a TCP connection is over whose far end confirms nothing that was sent."""


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
        self.quirks = {}
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
    def timeout_s(self) -> float:
        return float(self._client.ctx.comm_params.timeout_connect)

    @timeout_s.setter
    def timeout_s(self, seconds: float) -> None:
        self._client.ctx.comm_params.timeout_connect = seconds

    async def read(self, device: Device) -> Registers:
        """All ranges of the device. What it refuses is left out, and asked for in smaller parts the
        next time; it must grant something."""
        requests = self.quirks.get(device.name) or plan(device.points.values())
        learned: list[Request] = []
        raw: Registers = {}
        refusal: ReadFailed | None = None
        for request in requests:
            table, first, _ = request
            try:
                cells = await self._request(device.address.unit, request)
            except ReadFailed as failed:
                if failed.kind is not FailureKind.REFUSED:
                    raise
                refusal = failed
                too_much = failed.facts["code"] in TOO_MUCH
                learned += halve(device.points.values(), request) if too_much else [request]
            else:
                learned.append(request)
                raw.setdefault(table, {}).update(enumerate(cells, first))
        self.quirks[device.name] = learned
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
                raise ReadFailed("reply-owed", FailureKind.OUT_OF_STEP, unit=unit)
            raise _refusal("modbus-exception", reply, unit=unit, first=first, count=count)
        return [int(bit) for bit in reply.bits[:count]] if table in BITS else list(reply.registers[:count])

    def _tell_apart(self, unit: int, request: Request) -> int:
        """The count to ask for, so that no reply that may still come looks like the one to this request.

        Raises `ReadFailed` where there is no such count.
        """
        table, first, count = request
        now, doubtful = time.monotonic(), self._doubtful(unit)
        most = min(LONGEST[table], 0x10000 - first)
        while count <= most:
            look = unit, table, payload(FUNCTIONS[table], count)
            asked, when = self._looks.get(look, (first, now))
            if asked == first or not doubtful or now - when > LATE:
                self._looks[look] = first, now
                return count
            count += 8 if table in BITS else 1
        raise ReadFailed("reply-owed", FailureKind.OUT_OF_STEP, unit=unit)

    def _doubtful(self, unit: int) -> bool:
        """Whether a reply of the unit may still come that nobody waits for."""
        return time.monotonic() < self._doubts.get(unit, float("-inf")) + LATE

    async def probe(self, address: Address) -> dict[str, str]:
        """Ask for one register: a refusal, too, is an answer, unless a gateway gives it for a unit that
        is not there. Identification (6.21) is asked for on Modbus TCP alone: its length cannot be told
        from its function code, and a slave on a serial line may fall out of step by it."""
        unit, client = address.unit, self._client
        reply = await self._ask(unit, lambda: client.read_holding_registers(0, count=1, device_id=unit))
        if isinstance(reply, ExceptionResponse) and reply.exception_code in UNREACHABLE:
            raise _refusal("modbus-exception", reply, unit=unit, first=0, count=1)
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
            raise _refusal("modbus-write", reply, **place)
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
        limit = time.monotonic() + self.timeout_s
        while (rest := self._ear.heard + self._gap - time.monotonic()) > 0:
            if time.monotonic() > limit:
                raise ReadFailed("babble", FailureKind.OUT_OF_STEP)
            await asyncio.sleep(rest)

    def _miss(self, unit: int) -> None:
        """A request is given up. On a line, who has just answered may be late; others are rather absent."""
        if not self._serial:
            return
        usual = self.timeout_s if unit in self._answering else 0.0
        self.settle_s = max(self._latest, usual) if self._settle is None else self._settle
        self._answering.discard(unit)
        self._sole = not self._doubtful(unit)
        self._missed = self._doubts[unit] = time.monotonic()

    def _learn(self, late: bool) -> None:
        """Something came that nobody waits for: a reply that is late, or another one twice."""
        now = time.monotonic()
        if now - self._missed < self.timeout_s:
            self._latest = max(self._latest, now - self._missed + MARGIN)
        if late and self._sole:
            del self._doubts[self._last]
        else:
            self._doubts[self._last] = now
        self._sole = False


def _refusal(key: str, reply: ExceptionResponse, **facts: object) -> ReadFailed:
    """What an exception response means; `key` is the sentence for one that blames the request."""
    code = reply.exception_code
    if code in UNREACHABLE:
        return ReadFailed("modbus-unreachable", FailureKind.SILENT, code=code, **facts)
    if code in BUSY:
        return ReadFailed("modbus-busy", code=code, **facts)
    return ReadFailed(key, FailureKind.REFUSED, code=code, **facts)


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
            port=url.port or TCP_PORT,
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
