"""A Modbus server on TCP and on a serial line: read functions, one coil to write, exceptions.

Written from the specifications (MODBUS Application Protocol V1.1b3; MODBUS over Serial Line V1.02)
and not with the gateway's own library, so that two independent implementations meet on the wire.
(Also, the server of pymodbus 3.16.1 sends a late reply with the number and unit of a newer request, which
would look like a fault of the gateway.)
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from .devices import RegisterTables
from .faults import Faults

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, NO_TARGET = 1, 2, 3, 0x0B
MBAP_HEADER = struct.Struct(">HHHB")

UnitTables = Callable[[int], RegisterTables | None]
"""The present tables of a unit; None when there is no such unit."""


def build_response(tables: RegisterTables, request: bytes) -> bytes:
    """Build the response PDU to a request PDU."""
    function = request[0]
    if function == 5:
        return write_coil(tables, request)
    if function not in (1, 2, 3, 4):
        return exception_response(function, ILLEGAL_FUNCTION)
    if len(request) != 5:
        return exception_response(function, ILLEGAL_VALUE)
    address, quantity = struct.unpack(">HH", request[1:])
    if not 1 <= quantity <= (2000 if function < 3 else 125):
        return exception_response(function, ILLEGAL_VALUE)
    values = tables.get(function, ())[address : address + quantity]
    if len(values) < quantity:
        return exception_response(function, ILLEGAL_ADDRESS)
    if function < 3:
        bits = sum(bool(bit) << i for i, bit in enumerate(values))
        data = bits.to_bytes((quantity + 7) // 8, "little")
    else:
        data = struct.pack(f">{quantity}H", *values)
    return bytes((function, len(data))) + data


def write_coil(tables: RegisterTables, request: bytes) -> bytes:
    """Execute function 5; the response repeats the request. Only a list of coils can be written."""
    coils = tables.get(1)
    if not isinstance(coils, list):
        return exception_response(5, ILLEGAL_FUNCTION)
    if len(request) != 5 or request[3:] not in (b"\xff\x00", b"\x00\x00"):
        return exception_response(5, ILLEGAL_VALUE)
    address = int.from_bytes(request[1:3])
    if address >= len(coils):
        return exception_response(5, ILLEGAL_ADDRESS)
    coils[address] = request[3] == 0xFF
    return request


def exception_response(function: int, code: int) -> bytes:
    """Build an exception response."""
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
    """One connection to the TCP wire. A late reply has the transaction number of its own request."""

    def __init__(self, units: UnitTables, faults: Faults, masters: set[asyncio.Transport]) -> None:
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
        while len(self.buffer) >= MBAP_HEADER.size:
            transaction, protocol, length, unit = MBAP_HEADER.unpack_from(self.buffer)
            if protocol or not 2 <= length <= 254:
                self.transport.close()  # not Modbus: resynchronisation is impossible
                return
            if len(self.buffer) < 6 + length:
                return
            request = bytes(self.buffer[MBAP_HEADER.size : 6 + length])
            del self.buffer[: 6 + length]
            self._reply(transaction, unit, request)

    def _reply(self, transaction: int, unit: int, request: bytes) -> None:
        delay = self.faults.reply_delay_s("tcp", unit)
        if delay is None:
            return
        tables = self.units(unit)
        pdu = (
            exception_response(request[0], NO_TARGET) if tables is None else build_response(tables, request)
        )
        frame = MBAP_HEADER.pack(transaction, 0, len(pdu) + 1, unit) + pdu
        if delay:
            asyncio.get_running_loop().call_later(delay, self._send, frame)
        else:
            self._send(frame)

    def _send(self, frame: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(frame)


@asynccontextmanager
async def serve_tcp(
    listening_socket: socket.socket, units: UnitTables, faults: Faults
) -> AsyncIterator[None]:
    """Serve the TCP wire within the block."""
    masters: set[asyncio.Transport] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: TcpSlave(units, faults, masters), sock=listening_socket)
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
    request_bytes = 8
    """Every read request: unit, function, address, quantity, checksum."""

    def __init__(self, units: UnitTables) -> None:
        self.units = units

    @staticmethod
    def is_valid_request(frame: bytes) -> bool:
        """Whether the checksum is correct."""
        return crc16(frame[:-2]) == frame[-2:]

    @staticmethod
    def unit_of(frame: bytes) -> int:
        """The unit that the request is for."""
        return frame[0]

    def reply_to(self, frame: bytes) -> bytes:
        """The response; empty when there is no such unit."""
        tables = self.units(frame[0])
        if tables is None:
            return b""
        body = frame[:1] + build_response(tables, frame[1:-2])
        return body + crc16(body)
