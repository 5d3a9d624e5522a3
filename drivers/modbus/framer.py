"""Which of the bytes on the line are the reply to the last request.

pymodbus takes everything that arrives for that reply. So a framer stands between it and the line.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from pymodbus.framer import FramerRTU

from gateway.model import FailureKind, ReadFailed

from .registers import Table

READ_FUNCTIONS: dict[Table, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
WRITE_FUNCTIONS: dict[Table, int] = {"coil": 5, "holding": 6}
HEADER_BYTES = 6
"""Number, protocol and length of a frame on TCP (MODBUS Messaging on TCP/IP V1.0b, 3.1.3); the unit and
the PDU follow."""
MIN_FRAME_BYTES, MAX_FRAME_BYTES = 9, 260
"""Of a reply on TCP."""
MAX_STREAM_BYTES = 1024
"""What is kept of what arrives after a request on TCP."""
MAX_OWED_NUMBERS = 32
"""Requests on TCP that were given up, and whose numbers are remembered."""
ENOUGH_REPEATS = 2
"""Replies in a row with the right number, or units that were right, by which a server is held to them."""


class ReplyFramer:
    """Receives all that arrives, and passes nothing to pymodbus but the reply to its last request.

    A hook of pymodbus (`trace_packet`): called with each frame that is sent and, whenever bytes arrive,
    with all that have arrived since then.
    """

    def __init__(self) -> None:
        self._unit = 0
        self._bodies: list[tuple[bytes, int]] = []
        """How a valid reply to the last request goes on after its unit, and its bytes with the unit, but
        without header or checksum."""
        self._received = b""
        """Since the last request."""
        self.is_waiting = False
        """Whether a request is under way."""
        self.last_byte_at = float("-inf")
        """When the last byte arrived, in monotonic seconds."""

    def __call__(self, sending: bool, data: bytes) -> bytes:
        if sending:
            self._received = b""
            self.is_waiting = True
            self._expect_reply(data)
            return data
        self.last_byte_at = time.monotonic()
        fresh, self._received = data.removeprefix(self._received), data
        reply = self._find_reply(data, fresh)
        if reply:
            self.is_waiting, self._bodies = False, []
            self._received = data[len(reply) :]  # pymodbus goes on behind it.
        return reply

    def begin_connection(self) -> None:
        """A connection was opened: nothing has been received on it."""
        self._received = b""
        self.is_waiting = False

    @property
    def is_in_step(self) -> bool:
        """Whether what arrives next can be matched to the next request."""
        return True

    def _expect_reply(self, frame: bytes) -> None:
        raise NotImplementedError

    def _find_reply(self, data: bytes, fresh: bytes) -> bytes:
        raise NotImplementedError

    def classify_failure(self) -> ReadFailed:
        """The request has timed out. Returns what arrived instead of its reply, as an error."""
        raise NotImplementedError

    def _expect_body(self, body: bytes) -> None:
        """`body`: the unit and the PDU of a request."""
        self._unit, function = body[:2]
        count = int.from_bytes(body[4:6], "big")
        if function in READ_FUNCTIONS.values():
            size = payload_bytes(function, count)
            self._bodies = [(bytes((function, size)), 3 + size)]
        elif function in WRITE_FUNCTIONS.values():
            self._bodies = [(body[1:], 6)]  # The request, repeated.
        else:
            self._bodies = []
            return
        self._bodies.append((bytes((function | 0x80,)), 3))


class SerialFramer(ReplyFramer):
    """On a serial line, or on one behind a converter."""

    def __init__(self) -> None:
        super().__init__()
        self._echo = b""
        """What a two-wire adapter that hears itself returns before the reply."""
        self._answering_units: set[int] = set()
        """Those that have replied, so that they are set to the speed of the line."""
        self.on_stray: Callable[[], None] = lambda: None
        """Called when a reply arrives outside of a request, or besides its reply."""

    def _expect_reply(self, frame: bytes) -> None:
        self._expect_body(frame)
        # The reply to a write is the request itself: its echo cannot be told from it.
        self._echo = frame if frame[1] in READ_FUNCTIONS.values() else b""

    def _find_reply(self, data: bytes, fresh: bytes) -> bytes:
        """The reply, wherever it begins: there may be noise before it."""
        data = data.removeprefix(self._echo)
        if not self.is_waiting:
            if _holds_reply(data):
                self.on_stray()
            return b""
        reply = next(filter(None, (self._find_frame(data, *body) for body in self._bodies)), b"")
        if reply:
            self._answering_units.add(self._unit)
            if _holds_reply(data.replace(reply, b"", 1)):
                self.on_stray()
        return reply

    def _find_frame(self, data: bytes, begin: bytes, size: int) -> bytes:
        begin = bytes((self._unit,)) + begin
        at = data.find(begin)
        while at >= 0:
            frame = data[at : at + size + 2]
            if len(frame) == size + 2 and _has_right_checksum(frame):
                return frame
            at = data.find(begin, at + 1)
        return b""

    def classify_failure(self) -> ReadFailed:
        self.is_waiting = False
        data, unit = self._received.removeprefix(self._echo), self._unit
        if not data or not self._may_be_damaged(data):
            return ReadFailed("timeout", FailureKind.TIMEOUT, unit=unit)
        if not _has_right_checksum(data):
            return ReadFailed("garbage", FailureKind.DAMAGED, bytes=len(data))
        if data[0] != unit:  # The one that was asked is silent all the same.
            return ReadFailed("reply-unit", FailureKind.TIMEOUT, unit=unit, other=data[0])
        return ReadFailed("reply-length", FailureKind.DAMAGED, unit=unit, bytes=len(data) - 5)

    def _may_be_damaged(self, data: bytes) -> bool:
        """Whether a reply that is not whole may be in what was received; else it is the heartbeat of a
        converter."""
        if self._unit not in self._answering_units or _has_right_checksum(data):
            return True
        return any(bytes((self._unit, begin[0])) in data for begin, _ in self._bodies)


class TcpFramer(ReplyFramer):
    """On TCP, where a reply repeats the number and the unit of its request.

    Some servers put others there, or a wrong protocol or length. A server that has been right several
    times is held to it. Of any other, a reply to the only request under way is known by its function and
    size; a reading is accepted from the second such reply in a row on, as the first may be a stray one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._number = b""
        self._is_read = False
        self._stream = b""
        """What has arrived and has not been used."""
        self._owed_numbers: deque[bytes] = deque(maxlen=MAX_OWED_NUMBERS)
        """Of the requests that were given up."""
        self._is_reply_owed = False
        """Whether one of these was sent on this connection."""
        self._right_numbers = 0
        """How many replies in a row had the right number."""
        self._right_units: set[int] = set()
        """The units that were right in a reply."""
        self._is_strange = False
        """Whether the last reply had a wrong number or unit."""
        self.on_strange: Callable[[], None] = lambda: None
        """Called when the first reply with a wrong number or unit is left unused."""

    def begin_connection(self) -> None:
        super().begin_connection()
        self._stream = b""
        self._is_reply_owed = False

    @property
    def _repeats_numbers(self) -> bool:
        return self._right_numbers >= ENOUGH_REPEATS

    @property
    def is_in_step(self) -> bool:
        """A late reply can be told by its number, or else there must be none."""
        return self._repeats_numbers or not (self._stream or self._is_reply_owed)

    def _expect_reply(self, frame: bytes) -> None:
        self._number, self._stream = frame[:2], b""
        self._expect_body(frame[HEADER_BYTES:])
        self._is_read = frame[HEADER_BYTES + 1] in READ_FUNCTIONS.values()

    def _find_reply(self, data: bytes, fresh: bytes) -> bytes:
        self._stream = (self._stream + fresh)[:MAX_STREAM_BYTES]
        if not self.is_waiting:
            return b""
        for begin, size in self._bodies:
            frame = self._find_frame(bytes((self._unit,)) + begin, size)
            if frame:
                return frame
        frames, rest = _split(self._stream)
        # A wrong length tells nothing of where the frame ends; so it must be all there is.
        if (body := self._fitting_body(self._stream)) and len(self._stream) == HEADER_BYTES + len(body):
            frames, rest = [self._stream], b""
        if len(frames) != 1 or not self._may_be_reply(frames[0]) or _may_be_filled_up(frames[0], rest):
            return b""
        body = self._fitting_body(frames[0])
        return self._use(frames[0], body, rest) if body else b""

    def _find_frame(self, begin: bytes, size: int) -> bytes:
        """The reply with the header that it should have, wherever it begins."""
        start = self._number + b"\0\0" + size.to_bytes(2, "big") + begin
        at = self._stream.find(start)
        frame = self._stream[at : at + HEADER_BYTES + size] if at >= 0 else b""
        after = self._stream[at + len(frame) :]
        if len(frame) < HEADER_BYTES + size or _may_be_filled_up(frame, after):
            return b""
        return self._use(frame, frame[HEADER_BYTES:], after)

    def _is_right(self, frame: bytes) -> bool:
        """Whether it has the number and unit of the request."""
        return frame[:2] == self._number and frame[HEADER_BYTES] == self._unit

    def _fitting_body(self, frame: bytes) -> bytes:
        """The unit and the PDU, without what some servers append, if they are what was requested."""
        body = frame[HEADER_BYTES:]
        if not self._bodies and self._is_right(frame):
            return body
        sizes = (size for begin, size in self._bodies if body[1:].startswith(begin) and len(body) >= size)
        return body[: next(sizes, 0)]

    def _may_be_reply(self, frame: bytes) -> bool:
        """Whether a server with what is known of it may have sent this in reply."""
        number, unit = frame[:2], frame[HEADER_BYTES]
        if number != self._number and (self._repeats_numbers or number in self._owed_numbers):
            return False
        return unit == self._unit or not (
            self._unit in self._right_units or len(self._right_units) >= ENOUGH_REPEATS
        )

    def _use(self, frame: bytes, body: bytes, rest: bytes) -> bytes:
        """The reply with its header put right; empty if it is not to be used yet."""
        is_first, self._is_strange = not self._is_strange, not self._is_right(frame)
        self._stream = rest
        if self._is_strange and is_first and self._is_read:
            self.on_strange()
            self.is_waiting = False
            return b""
        self._right_numbers = self._right_numbers + 1 if frame[:2] == self._number else 0
        if body[0] == self._unit:
            self._right_units.add(self._unit)
        return self._number + b"\0\0" + len(body).to_bytes(2, "big") + bytes((self._unit,)) + body[1:]

    def classify_failure(self) -> ReadFailed:
        self.is_waiting = False
        frames, rest = _split(self._stream)
        frames = [frame for frame in frames if frame[:2] not in self._owed_numbers]
        self._owed_numbers.append(self._number)
        self._is_reply_owed = True
        right = next(filter(self._is_right, frames), None)
        if right:
            size = len(right) - MIN_FRAME_BYTES
            return ReadFailed("reply-length", FailureKind.DAMAGED, unit=self._unit, bytes=size)
        if frames or rest:
            start = (frames[0] if frames else rest)[: MIN_FRAME_BYTES - 1].hex(" ").upper()
            return ReadFailed("reply-header", FailureKind.OUT_OF_STEP, unit=self._unit, start=start)
        return ReadFailed("timeout", FailureKind.TIMEOUT, unit=self._unit)


def _split(stream: bytes) -> tuple[list[bytes], bytes]:
    """The whole frames on TCP at the beginning, and what follows them."""
    frames: list[bytes] = []
    at = 0
    while len(stream) - at >= MIN_FRAME_BYTES and stream[at + 2 : at + 4] == b"\0\0":
        size = HEADER_BYTES + int.from_bytes(stream[at + 4 : at + 6], "big")
        if not MIN_FRAME_BYTES <= size <= min(MAX_FRAME_BYTES, len(stream) - at):
            break
        frames.append(stream[at : at + size])
        at += size
    return frames, stream[at:]


def _may_be_filled_up(frame: bytes, after: bytes) -> bool:
    """Whether a frame that seems whole may lack bytes, and end with the first ones of the next: there is no
    checksum on TCP."""
    parts = (_split((frame + after)[at:]) for at in range(MIN_FRAME_BYTES, len(frame)))
    return bool(after) and any(frames and not rest for frames, rest in parts)


def payload_bytes(function: int, count: int) -> int:
    """How many bytes of data the reply to a read request has."""
    return -(-count // 8) if function <= 2 else 2 * count


def _holds_reply(data: bytes) -> bool:
    """Whether a reply of any unit is in it. Other bytes are the heartbeat of a converter, or noise."""
    data = data[-MAX_STREAM_BYTES:]
    return any(_has_right_checksum(data[at : at + _reply_bytes(data[at:])]) for at in range(len(data) - 4))


def _reply_bytes(data: bytes) -> int:
    """How long the frame that begins here is, if it is a reply; 0 if it is none."""
    if data[1] in READ_FUNCTIONS.values():
        return 5 + data[2]
    if data[1] in WRITE_FUNCTIONS.values():
        return 8
    return 5 if data[1] & 0x7F in (*READ_FUNCTIONS.values(), *WRITE_FUNCTIONS.values()) else 0


def _has_right_checksum(frame: bytes) -> bool:
    """Whether the checksum of a serial frame is right."""
    return len(frame) >= 5 and FramerRTU.check_CRC(frame[:-2], int.from_bytes(frame[-2:], "big"))
