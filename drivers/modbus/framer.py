"""Which of the bytes on the line are the reply to the last request.

pymodbus takes everything that arrives for that reply. So a `ReplyFramer` stands between it and the line.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pymodbus.framer import FramerRTU

from gateway.model import FailureKind, ReadFailed

from .registers import Table

READ_FUNCTIONS: dict[Table, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
WRITE_FUNCTIONS: dict[Table, int] = {"coil": 5, "holding": 6}


class ReplyFramer:
    """Receives all that arrives, and passes nothing to pymodbus but the reply to its last request.

    A hook of pymodbus (`trace_packet`): called with each frame that is sent and, whenever bytes arrive,
    with all that have arrived since then.
    """

    def __init__(self, *, serial: bool) -> None:
        self._serial = serial
        self._unit = 0
        self._expected: list[tuple[bytes, int]] = []
        """How valid replies to the last request begin, and their bytes (0: as the header says)."""
        self._waiting = False
        self._received = b""
        """Since the last request."""
        self._stream = b""
        """On TCP, the frame that is not complete yet."""
        self.last_byte_at = float("-inf")
        """When the last byte arrived, in monotonic seconds."""
        self.on_stray: Callable[[bool], None] = lambda late: None
        """Called when bytes arrive outside of a request; true for the late reply to the last one."""

    def __call__(self, sending: bool, data: bytes) -> bytes:
        if sending:
            self._received = b""
            self._waiting = True
            self._expect_reply(data)
            return data
        self.last_byte_at = time.monotonic()
        fresh, self._received = data.removeprefix(self._received), data
        reply = self._find_serial_reply(data) if self._serial else self._next_tcp_reply(fresh)
        if not self._waiting:
            self.on_stray(bool(reply))
            return b""
        if reply:
            self._waiting, self._expected = False, []
            self._received = data[len(reply) :]
            if len(data) > len(reply):
                self.on_stray(False)
        return reply

    def _expect_reply(self, frame: bytes) -> None:
        head, body = (b"", frame) if self._serial else (frame[:4], frame[6:])
        self._unit, function = body[:2]
        count = int.from_bytes(body[4:6], "big")
        if function in READ_FUNCTIONS.values():
            size = payload_bytes(function, count)
            good = body[:2] + bytes((size,)), 3 + size
        elif function in WRITE_FUNCTIONS.values():
            good = body[:2], 6  # The request, repeated.
        else:
            self._expected = [] if self._serial else [(head, 0)]
            return
        self._expected = [
            (begin, length + 2) if self._serial
            else (head + length.to_bytes(2, "big") + begin, length + 6)
            for begin, length in (good, (bytes((self._unit, function | 0x80)), 3))
        ]  # fmt: skip

    def _find_serial_reply(self, data: bytes) -> bytes:
        """A reply on a serial line, wherever it begins: there may be noise before it."""
        for begin, length in self._expected:
            at = data.find(begin)
            while at >= 0:
                frame = data[at : at + length]
                if len(frame) == length and _has_right_checksum(frame):
                    return frame
                at = data.find(begin, at + 1)
        return b""

    def _next_tcp_reply(self, fresh: bytes) -> bytes:
        """A reply on TCP. There is no checksum: a frame must begin where the one before it ended, and
        nothing may follow it, or else a broken frame has been filled up from the next."""
        self._stream += fresh
        while len(self._stream) >= 8:
            size = 6 + int.from_bytes(self._stream[4:6], "big")
            if self._stream[2:4] != b"\0\0" or not 8 < size <= 260:
                self._stream = b""
            if len(self._stream) < size:
                break
            frame, self._stream = self._stream[:size], self._stream[size:]
            good = any(frame.startswith(begin) and length in (0, size) for begin, length in self._expected)
            if good and not self._stream:
                return frame
        return b""

    def classify_failure(self) -> ReadFailed:
        """The request has timed out. Returns what arrived instead of its reply, as an error."""
        self._waiting = False
        data, unit = self._received, self._unit
        if self._serial:
            whole, own, rest = _has_right_checksum(data), data[:1] == bytes((unit,)), 5
        else:
            whole, own, rest = len(data) > 8, any(data[:4] == begin[:4] for begin, _ in self._expected), 9
        if whole and own:
            return ReadFailed("reply-length", FailureKind.DAMAGED, unit=unit, bytes=len(data) - rest)
        if data and not whole:
            return ReadFailed("garbage", FailureKind.DAMAGED, bytes=len(data))
        return ReadFailed("timeout", FailureKind.TIMEOUT, unit=unit)


def payload_bytes(function: int, count: int) -> int:
    """How many bytes of data the reply to a read request has."""
    return -(-count // 8) if function <= 2 else 2 * count


def _has_right_checksum(frame: bytes) -> bool:
    """Whether the checksum of a serial frame is right."""
    return len(frame) >= 5 and FramerRTU.check_CRC(frame[:-2], int.from_bytes(frame[-2:], "big"))
