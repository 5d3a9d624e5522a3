"""The parcel lockers' lock board: Kerong CU16, sixteen locks, board 0.

Frames are `02 address command 03 sum`: the address holds the board in its high nibble and the lock
in its low one; the sum is of all bytes before it, modulo 256.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .centre import Centre

STATUS, OPEN, STATUS_REPLY = 0x30, 0x31, 0x36
STX, ETX = 0x02, 0x03


def frame(address: int, command: int, data: bytes = b"") -> bytes:
    """A complete frame with its checksum."""
    body = bytes((STX, address, command)) + data + bytes((ETX,))
    return body + bytes((sum(body) & 0xFF,))


def bits(flags: Iterable[bool]) -> bytes:
    """Sixteen flags in two bytes, lowest bit first."""
    return sum(flag << i for i, flag in enumerate(flags)).to_bytes(2, "little")


class Board:
    """The board on its own line. `centre` returns the current state of the centre."""

    wire = "cu16"
    baud = 19200
    length = 5

    def __init__(self, centre: Callable[[], Centre]) -> None:
        self.centre = centre

    @staticmethod
    def sound(request: bytes) -> bool:
        """Whether it is a frame with a correct checksum."""
        return request == frame(request[1], request[2])

    @staticmethod
    def unit(request: bytes) -> int:
        """Which board the request is for."""
        return request[1] >> 4

    def reply(self, request: bytes) -> bytes:
        """Execute the request; opening has no reply."""
        _, address, command, _, _ = request
        if address >> 4:
            return b""
        centre = self.centre()
        if command == OPEN:
            centre.unlock(address & 0x0F)
        if command != STATUS:
            return b""
        doors = bits(locker.open for locker in centre.lockers)
        items = bits(locker.parcel is not None for locker in centre.lockers)
        return frame(0, STATUS_REPLY, doors + items)
