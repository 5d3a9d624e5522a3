"""A Modbus server on TCP and on a serial line: read functions, one coil to write, exceptions.

Written from the specifications (MODBUS Application Protocol V1.1b3; MODBUS over Serial Line V1.02)
and not with the gateway's own library, so that two independent readings of them meet on the wire.
(pymodbus 3.16.1's server, besides, sends a late reply under the number and unit of a newer request:
its own mistakes would look like those of the gateway.)
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from .devices import Tables
from .faults import Faults

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, NO_TARGET = 1, 2, 3, 0x0B
MBAP = struct.Struct(">HHHB")

Units = Callable[[int], Tables | None]
"""The current registers of a unit; None if no unit has this address."""


def answer(tables: Tables, request: bytes) -> bytes:
    """The response PDU to a request PDU."""
    function = request[0]
    if function == 5:
        return write_coil(tables, request)
    if function not in (1, 2, 3, 4):
        return refuse(function, ILLEGAL_FUNCTION)
    if len(request) != 5:
        return refuse(function, ILLEGAL_VALUE)
    address, quantity = struct.unpack(">HH", request[1:])
    if not 1 <= quantity <= (2000 if function < 3 else 125):
        return refuse(function, ILLEGAL_VALUE)
    values = tables.get(function, ())[address : address + quantity]
    if len(values) < quantity:
        return refuse(function, ILLEGAL_ADDRESS)
    if function < 3:
        bits = sum(bool(bit) << i for i, bit in enumerate(values))
        data = bits.to_bytes((quantity + 7) // 8, "little")
    else:
        data = struct.pack(f">{quantity}H", *values)
    return bytes((function, len(data))) + data


def write_coil(tables: Tables, request: bytes) -> bytes:
    """The response to function 5, which repeats it; only a list of coils can be written."""
    coils = tables.get(1)
    if not isinstance(coils, list):
        return refuse(5, ILLEGAL_FUNCTION)
    if len(request) != 5 or request[3:] not in (b"\xff\x00", b"\x00\x00"):
        return refuse(5, ILLEGAL_VALUE)
    address = int.from_bytes(request[1:3])
    if address >= len(coils):
        return refuse(5, ILLEGAL_ADDRESS)
    coils[address] = request[3] == 0xFF
    return request


def refuse(function: int, code: int) -> bytes:
    """An exception response."""
    return bytes((function | 0x80, code))


def crc16(data: bytes) -> bytes:
    """The checksum of a serial frame, low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc.to_bytes(2, "little")


class TcpSlave(asyncio.Protocol):
    """One connection to the TCP wire. A late reply carries the number of the request it answers."""

    def __init__(self, units: Units, faults: Faults, masters: set[asyncio.Transport]) -> None:
        self.units, self.faults, self.masters = units, faults, masters
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.masters.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.masters.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while len(self.buffer) >= MBAP.size:
            transaction, protocol, length, unit = MBAP.unpack_from(self.buffer)
            if protocol or not 2 <= length <= 254:
                self.transport.close()  # not Modbus: there is no way back into step
                return
            if len(self.buffer) < 6 + length:
                return
            request = bytes(self.buffer[MBAP.size : 6 + length])
            del self.buffer[: 6 + length]
            self._reply(transaction, unit, request)

    def _reply(self, transaction: int, unit: int, request: bytes) -> None:
        delay = self.faults.delay("tcp", unit)
        if delay is None:
            return
        tables = self.units(unit)
        pdu = refuse(request[0], NO_TARGET) if tables is None else answer(tables, request)
        frame = MBAP.pack(transaction, 0, len(pdu) + 1, unit) + pdu
        if delay:
            asyncio.get_running_loop().call_later(delay, self._send, frame)
        else:
            self._send(frame)

    def _send(self, frame: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(frame)


@asynccontextmanager
async def tcp(listening: socket.socket, units: Units, faults: Faults) -> AsyncIterator[None]:
    """Serve the TCP wire within the block."""
    masters: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: TcpSlave(units, faults, masters), sock=listening)
    try:
        yield
    finally:
        server.close()
        for master in masters:
            master.abort()


class RtuSlaves:
    """The units of one serial line."""

    wire = "rtu"
    baud = 9600
    length = 8
    """Every read request: unit, function, address, quantity, checksum."""

    def __init__(self, units: Units) -> None:
        self.units = units

    @staticmethod
    def sound(frame: bytes) -> bool:
        """Whether the checksum is right."""
        return crc16(frame[:-2]) == frame[-2:]

    @staticmethod
    def unit(frame: bytes) -> int:
        """The unit that the request is for."""
        return frame[0]

    def reply(self, frame: bytes) -> bytes:
        """The reply; empty if no unit has this address."""
        tables = self.units(frame[0])
        if tables is None:
            return b""
        body = frame[:1] + answer(tables, frame[1:-2])
        return body + crc16(body)
