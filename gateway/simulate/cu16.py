"""The parcel lockers' lock board: Kerong CU16, sixteen locks, board 0.

Frames are `02 address command 03 sum`: the address holds the board in its high nibble and the lock
in its low one; the sum is of all bytes before it, modulo 256. It replies as recorded from real boards by
public programs: command 30 is answered by 35, and 32, to all boards, by 36; a set bit means that the lock
is shut, and that an item is in the compartment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .centre import Centre

STATUS, OPEN, STATUS_OF_ALL = 0x30, 0x31, 0x32
STATUS_REPLIES = {STATUS: 0x35, STATUS_OF_ALL: 0x36}
ALL_BOARDS = 0xF0
STX, ETX = 0x02, 0x03


def build_frame(address: int, command: int, data: bytes = b"") -> bytes:
    """Build a frame with its sum."""
    body = bytes((STX, address, command)) + data + bytes((ETX,))
    return body + bytes((sum(body) & 0xFF,))


def pack_flags(flags: Iterable[bool]) -> bytes:
    """Pack sixteen flags into two bytes, lowest bit first."""
    return sum(flag << i for i, flag in enumerate(flags)).to_bytes(2, "little")


class LockBoard:
    """The board on its own serial line. `centre` returns the centre at its present time."""

    wire = "cu16"
    baud = 19200
    request_bytes = 5

    def __init__(self, centre: Callable[[], Centre]) -> None:
        self.centre = centre

    @staticmethod
    def is_valid_request(request: bytes) -> bool:
        """Whether it is a frame with a correct sum."""
        return request == build_frame(request[1], request[2])

    @staticmethod
    def unit_of(request: bytes) -> int:
        """The number of the board that the request is for."""
        return request[1] >> 4

    def reply_to(self, request: bytes) -> bytes:
        """Execute the request and return the reply; opening has none."""
        _, address, command, _, _ = request
        if address >> 4 and (address, command) != (ALL_BOARDS, STATUS_OF_ALL):
            return b""
        centre = self.centre()
        if command == OPEN:
            centre.unlock(address & 0x0F)
        if command not in STATUS_REPLIES:
            return b""
        shut = pack_flags(not locker.open for locker in centre.lockers)
        items = pack_flags(locker.parcel is not None for locker in centre.lockers)
        return build_frame(0, STATUS_REPLIES[command], shut + items)
