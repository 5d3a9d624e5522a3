"""Kerong CU16 lock-control boards on RS-485: parcel lockers of 16 compartments.

Frames as in the maker's protocol sheet: `02 addr command 03 sum`, the address' high nibble the board,
its low nibble the lock; the sum is that of all bytes before it, modulo 256. The status reply carries
four bytes: lock bits 1–8, 9–16, then item-sensor bits 1–8, 9–16. What a set bit means differs between
makers, so a profile's point may be `inverted`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal

import msgspec

from gateway.model import Bus, Checks, Device, Driver, Point, ReadFailed, Value
from gateway.serialport import SerialPort, open_port

STX, ETX = 0x02, 0x03
STATUS, OPEN, REPLY = 0x30, 0x31, 0x36
REPLY_LENGTH = 9
LOCKS = 16


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`port` is a path, best below /dev/serial/by-id; times in seconds."""

    port: str
    baud: int = 19200
    timeout: float = 0.3
    settle: float = 0.3


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The board's number, set by its switches."""

    board: int = 0

    CHECKS: ClassVar[Checks] = {"board": (lambda board: 0 <= board <= 15, "cu16-board")}


class LockPoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """A bit of each lock: `door` is true while open, `item` while something lies inside."""

    field: Literal["door", "item"]
    inverted: bool = False


def frame(board: int, lock: int, command: int) -> bytes:
    """A request; `lock` counts from 0."""
    body = bytes((STX, board << 4 | lock, command, ETX))
    return body + bytes((sum(body) & 0xFF,))


def find_reply(data: bytes, board: int) -> bytes | None:
    """The first sound status reply of that board in whatever came over the line: its four data bytes."""
    for start in range(len(data) - REPLY_LENGTH + 1):
        reply = data[start : start + REPLY_LENGTH]
        if (
            reply[0] == STX
            and reply[1] >> 4 == board
            and reply[2] == REPLY
            and reply[-2] == ETX
            and reply[-1] == sum(reply[:-1]) & 0xFF
        ):
            return reply[3:7]
    return None


def decode(points: Mapping[str, LockPoint], raw: bytes) -> dict[str, Value]:
    """Four data bytes to one boolean a point."""
    doors, items = int.from_bytes(raw[:2], "little"), int.from_bytes(raw[2:], "little")
    return {
        name: bool((doors if point.field == "door" else items) >> point.index - 1 & 1) != point.inverted
        for name, point in points.items()
    }


def example(fields: Mapping[str, Any]) -> bytes:
    """A worked example: `reply = "02 00 36 00 00 00 00 03 3B"`."""
    data = find_reply(bytes.fromhex(fields["reply"]), board=0)
    if data is None:
        raise ValueError("reply")
    return data


def show(raw: bytes) -> str:
    return raw.hex(" ").upper()


class LockBus(Bus):
    """One line with its boards."""

    def __init__(self, port: SerialPort, options: Options) -> None:
        self._port = port
        self._timeout = options.timeout
        self.settle = options.settle

    async def read(self, device: Device) -> bytes:
        board: int = device.address.board
        self._port.send(frame(board, 0, STATUS))
        return await self._port.receive(lambda data: find_reply(data, board), self._timeout)

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """`open` with `lock` 1–16. The board does not answer; the next status shows the open door."""
        lock = args.get("lock")
        if not isinstance(lock, int) or isinstance(lock, bool) or not 1 <= lock <= LOCKS:
            raise ReadFailed("lock-unknown", lock=lock, last=LOCKS)
        doors = (
            name for name, point in device.points.items() if (point.field, point.index) == ("door", lock)
        )
        door = next(doors, None)
        if door is None:
            raise ReadFailed("lock-unknown", lock=lock, last=LOCKS)
        self._port.send(frame(device.address.board, lock - 1, OPEN))
        return {door: True}


@asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[LockBus]:
    """Open the line."""
    async with open_port(options.port, options.baud) as port:
        yield LockBus(port, options)


DRIVER = Driver(
    options=Options,
    address=Address,
    point=LockPoint,
    connect=connect,
    decode=decode,
    example=example,
    show=show,
    actions=("open",),
)
