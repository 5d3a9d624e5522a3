"""Lock-control boards of parcel lockers on RS-485, in five dialects that differ in their frames only.

- `cu16`: Kerong CU16, `02 addr command 03 sum`, the address' high nibble the board, its low nibble the
  lock, as in the maker's protocol sheet. A board answers command 30 with 35; with 36 it answers 32, which
  asks all boards.
- `cu48b`: Kerong CU48B, `02 board lock command 03 sum`. Locks count from 0 on the wire (48 stands for
  all), as recorded on a board by a public program.
- `xor24`: boards of 24 locks whose frames begin with 80 or 8A and end with an XOR. Opening and asking
  are as sellers publish them; the status of a whole board, `80 board 17–24 9–16 1–8 33 xor`, is as public
  programs read it and as notes on real boards show it. Boards of 32 and 50 locks answer more bytes, which
  is not understood.
- `wkly`: boards whose frames begin with "WKLY" and their length and end with an XOR. Opening is as
  published; the status, one byte a lock (0 open, 1 shut, FF not known), is as public programs of third
  parties read it.
- `winnsen`: Winnsen boards of 16 locks, `90 length function board … 03`, without a checksum, as public
  programs have it from the maker's command document V202104. Some boards answer with A2 where the document
  has 82. A bit is 1 while the door is open.

What a set bit means differs between makers and locks, so a profile's point may be `inverted`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal

import msgspec

from gateway.model import (
    LINE_CHECKS,
    Bus,
    Checks,
    ConfigError,
    Device,
    Driver,
    Point,
    ReadFailed,
    Role,
    Scan,
    Value,
)
from gateway.wire.serialport import SerialPort, open_port

WKLY_START = b"WKLY"
WINNSEN_END = 0x03
"""The last byte of every frame, in place of a checksum."""
UNKNOWN_STATE = 0xFF
"""What a WKLY board reports of a lock whose state it cannot tell."""

MAX_SCANNED_BOARDS = 32
"""Few boards have switches for a higher number."""

LockFlags = tuple[bool | None, ...]
"""The state of each lock, lock 1 first; None if the board reports it as unknown."""


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`port` is a path, best below /dev/serial/by-id; `baud` is the dialect's own unless given; times
    in seconds."""

    port: str
    dialect: Literal["cu16", "cu48b", "xor24", "wkly", "winnsen"]
    baud: int | None = None
    timeout: float = 0.5
    settle: float = 0.3

    CHECKS: ClassVar[Checks] = LINE_CHECKS


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The board's number, set by its switches."""

    board: int = 0

    CHECKS: ClassVar[Checks] = {"board": (lambda board: 0 <= board <= 255, "lock-board")}


class LockPoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """A bit of each lock: `door` is true while open, `item` while something lies inside."""

    field: Literal["door", "item"]
    inverted: bool = False


class BoardStatus(msgspec.Struct, frozen=True):
    """A status reply: the frame, and what it says of each lock and of each item sensor."""

    frame: bytes
    doors: LockFlags
    items: LockFlags


def _unpack_bits(data: bytes) -> LockFlags:
    """A bit for each lock, the lowest first."""
    return tuple(bool(byte >> bit & 1) for byte in data for bit in range(8))


def _unpack_bytes(data: bytes) -> LockFlags:
    """A byte for each lock."""
    return tuple(None if state == UNKNOWN_STATE else bool(state) for state in data)


class StatusReply(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of a status reply: which of its bytes are fixed, and where it has which flags."""

    start: bytes
    length: int = 0
    """Its bytes; 0 if its fifth byte tells them."""
    board: int
    """The byte with the board's number."""
    board_shift: int = 0
    """The number is above so many bits."""
    fixed: Mapping[int, bytes]
    """By their place, the values that these bytes may have."""
    doors: slice
    items: slice = slice(0)
    count: int | None = None
    """The byte with the number of bytes in `doors`."""
    unpack: Callable[[bytes], LockFlags] = _unpack_bits

    def parse(self, frame: bytes, board: int) -> tuple[LockFlags, LockFlags] | None:
        """Doors and items of a complete frame with a right checksum, if it is that board's status."""
        body = frame[:-1]
        if len(body) <= max(self.board, self.count or 0, *self.fixed):
            return None
        if body[self.board] >> self.board_shift != board:
            return None
        if any(body[place] not in values for place, values in self.fixed.items()):
            return None
        doors = body[self.doors]
        if self.count is not None and len(doors) != body[self.count]:
            return None
        return self.unpack(doors), self.unpack(body[self.items])


class BoardDialect(msgspec.Struct, frozen=True, kw_only=True):
    """The frames of one family of boards. Locks count from 1 here."""

    baud: int
    max_boards: int
    """On one line; they count from 0."""
    max_locks: int
    checksum: Callable[[bytes], int]
    """Of all bytes before the last."""
    status_request: Callable[[int], bytes]
    """Board to the request for its status, without the checksum."""
    open_request: Callable[[int, int], bytes]
    """Board and lock to the request to open, without the checksum."""
    status_reply: StatusReply

    def add_checksum(self, body: bytes) -> bytes:
        """A frame with its checksum."""
        return body + bytes((self.checksum(body),))


def _sum_checksum(data: bytes) -> int:
    return sum(data) & 0xFF


def _xor_checksum(data: bytes) -> int:
    return functools.reduce(operator.xor, data, 0)


DIALECTS = {
    "cu16": BoardDialect(
        baud=19200,
        max_boards=16,
        max_locks=16,
        checksum=_sum_checksum,
        status_request=lambda board: bytes((0x02, board << 4, 0x30, 0x03)),
        open_request=lambda board, lock: bytes((0x02, board << 4 | lock - 1, 0x31, 0x03)),
        status_reply=StatusReply(
            start=b"\x02",
            length=9,
            board=1,
            board_shift=4,
            fixed={2: b"\x35\x36", 7: b"\x03"},
            doors=slice(3, 5),
            items=slice(5, 7),
        ),
    ),
    "cu48b": BoardDialect(
        baud=19200,
        max_boards=256,
        max_locks=48,
        checksum=_sum_checksum,
        status_request=lambda board: bytes((0x02, board, 0, 0x60, 0x03)),
        open_request=lambda board, lock: bytes((0x02, board, lock - 1, 0x61, 0x03)),
        status_reply=StatusReply(
            start=b"\x02",
            length=18,
            board=1,
            fixed={3: b"\x75", 16: b"\x03"},
            doors=slice(4, 10),
            items=slice(10, 16),
        ),
    ),
    "xor24": BoardDialect(
        baud=9600,
        max_boards=256,
        max_locks=24,
        checksum=_xor_checksum,
        status_request=lambda board: bytes((0x80, board, 0, 0x33)),
        open_request=lambda board, lock: bytes((0x8A, board, lock, 0x11)),
        status_reply=StatusReply(
            start=b"\x80", length=7, board=1, fixed={5: b"\x33"}, doors=slice(4, 1, -1)
        ),
    ),
    "wkly": BoardDialect(
        baud=9600,
        max_boards=256,
        max_locks=245,
        checksum=_xor_checksum,
        status_request=lambda board: WKLY_START + bytes((8, board, 0x84)),
        open_request=lambda board, lock: WKLY_START + bytes((9, board, 0x82, lock)),
        status_reply=StatusReply(
            start=WKLY_START,
            board=5,
            fixed={6: b"\x84", 7: b"\x00"},
            count=8,
            doors=slice(9, None),
            unpack=_unpack_bytes,
        ),
    ),
    "winnsen": BoardDialect(
        baud=9600,
        max_boards=256,
        max_locks=16,
        checksum=lambda _: WINNSEN_END,
        status_request=lambda board: bytes((0x90, 7, 0x02, board, 0xFF, 0xFF)),
        open_request=lambda board, lock: bytes((0x90, 6, 0x05, board, lock)),
        status_reply=StatusReply(
            start=b"\x90\x07", length=7, board=3, fixed={2: b"\x82\xa2"}, doors=slice(4, 6)
        ),
    ),
}


def find_reply(dialect: BoardDialect, data: bytes, board: int) -> BoardStatus | None:
    """The first valid status reply of that board in what was received."""
    reply = dialect.status_reply
    start = data.find(reply.start)
    while start >= 0:
        length = reply.length or int.from_bytes(data[start + 4 : start + 5])
        frame = data[start : start + length]
        whole = frame and len(frame) == length and frame[-1] == dialect.checksum(frame[:-1])
        if whole and (flags := reply.parse(frame, board)):
            return BoardStatus(frame, *flags)
        start = data.find(reply.start, start + 1)
    return None


def decode(points: Mapping[str, LockPoint], raw: BoardStatus) -> dict[str, Value]:
    """One boolean a point; a lock that the board does not have, or whose state is unknown, is left out."""
    values: dict[str, Value] = {}
    for name, point in points.items():
        flags = raw.doors if point.field == "door" else raw.items
        flag = flags[point.index - 1] if point.index <= len(flags) else None
        if flag is not None:
            values[name] = flag != point.inverted
    return values


def parse_example(fields: Mapping[str, Any]) -> BoardStatus:
    """A worked example, a dialect and a status reply: `cu16 = "02 00 35 FF FF 00 00 03 38"`."""
    ((name, reply),) = fields.items()
    dialect, data = DIALECTS[name], bytes.fromhex(reply)
    for board in range(dialect.max_boards):
        if status := find_reply(dialect, data, board):
            return status
    raise ValueError(name)


def format_status(raw: BoardStatus) -> str:
    return raw.frame.hex(" ").upper()


class LockBus(Bus):
    """One line with its boards."""

    def __init__(self, port: SerialPort, options: Options) -> None:
        self._port = port
        self._dialect = DIALECTS[options.dialect]
        self._name = options.dialect
        self.timeout_s = options.timeout
        self.settle_s = options.settle

    def _require_board(self, board: int) -> None:
        last = self._dialect.max_boards - 1
        if board > last:
            raise ReadFailed("lock-board-unknown", board=board, last=last)

    async def read(self, device: Device) -> BoardStatus:
        return await self._request_status(device.address.board)

    async def probe(self, address: Address) -> dict[str, str]:
        await self._request_status(address.board)
        return {"dialect": self._name}

    async def _request_status(self, board: int) -> BoardStatus:
        dialect = self._dialect
        self._require_board(board)
        self._port.send(dialect.add_checksum(dialect.status_request(board)))
        return await self._port.receive(lambda data: find_reply(dialect, data, board), self.timeout_s)

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """`open` with `lock`, from 1. The reply is not read: the next status shows the open door."""
        dialect, board, lock = self._dialect, device.address.board, args.get("lock")
        self._require_board(board)
        if lock is None:
            raise ReadFailed("lock-missing", last=dialect.max_locks)
        if not isinstance(lock, int) or isinstance(lock, bool) or not 1 <= lock <= dialect.max_locks:
            raise ReadFailed("lock-unknown", lock=lock, last=dialect.max_locks)
        doors = (
            name for name, point in device.points.items() if (point.field, point.index) == ("door", lock)
        )
        door = next(doors, None)
        if door is None:
            raise ReadFailed("lock-unknown", lock=lock, last=dialect.max_locks)
        self._port.send(dialect.add_checksum(dialect.open_request(board, lock)))
        return {door: True}


@asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[LockBus]:
    """Open the line."""
    async with open_port(options.port, options.baud or DIALECTS[options.dialect].baud) as port:
        yield LockBus(port, options)


def check_device(device: Device, other_devices: tuple[Device, ...], options: Options) -> None:
    """Raises `ConfigError` for a board that the dialect does not have."""
    board, last = device.address.board, DIALECTS[options.dialect].max_boards - 1
    if board > last:
        raise ConfigError("lock-board-unknown", board=board, last=last)


def _candidate_buses(target: str) -> list[dict[str, Any]]:
    return [{"port": target, "dialect": name} for name in DIALECTS] if target.startswith("/") else []


def _candidate_addresses(options: Options) -> list[dict[str, Any]]:
    boards = min(MAX_SCANNED_BOARDS, DIALECTS[options.dialect].max_boards)
    return [{"board": board} for board in range(boards)]


DRIVER = Driver(
    options=Options,
    address=Address,
    point=LockPoint,
    connect=connect,
    decode=decode,
    parse_example=parse_example,
    format_raw=format_status,
    actions={"open": Role.MANAGER},
    check_device=check_device,
    scan=Scan(
        candidate_buses=_candidate_buses,
        target_of=lambda options: options.port,
        candidate_addresses=_candidate_addresses,
        identity_keys=("dialect",),
    ),
)
