"""The frames of DL/T 645-2007: `FE… 68 A0…A5 68 C L DATA CS 16`.

The address is 12 digits in BCD, the last two first; AA stands for any two digits, from the first ones on.
Each byte of the data has 33 added. The checksum is the sum of all bytes before it from the first 68,
modulo 256. Up to four FE wake the other end.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

WAKE_UP = b"\xfe" * 4
START, END = b"\x68", b"\x16"
HEADER_BYTES, MIN_FRAME_BYTES = 10, 12
"""Up to the length, and of a frame without data."""
OFFSET = 0x33
"""Added to each byte of the data."""
READ, READ_NEXT, READ_ADDRESS = 0x11, 0x12, 0x13
"""Requests: a data item, its continuation, and the address of the only meter on the line."""
REPLY, REFUSED, CONTINUED = 0x80, 0x40, 0x20
"""Bits of the control code of a reply."""
WILDCARD = "A" * 12


class MeterFrame(msgspec.Struct, frozen=True):
    """One frame: the meter's number as 12 digits, and the data without the offset."""

    meter: str
    control: int
    data: bytes = b""

    def encode(self) -> bytes:
        """As sent."""
        address, control = bytes.fromhex(self.meter)[::-1], bytes((self.control, len(self.data)))
        body = START + address + START + control + bytes(byte + OFFSET & 0xFF for byte in self.data)
        return WAKE_UP + body + bytes((sum(body) & 0xFF,)) + END


def split_frames(data: bytes) -> tuple[list[MeterFrame], bytes]:
    """The valid frames in what was received, wherever they begin, and the bytes that belong to none."""
    frames: list[MeterFrame] = []
    others = bytearray()
    end, start = 0, data.find(START)
    while 0 <= start <= len(data) - MIN_FRAME_BYTES:
        size = MIN_FRAME_BYTES + data[start + HEADER_BYTES - 1]
        frame = data[start : start + size]
        framed = len(frame) == size and frame[7:8] == START and frame[-1:] == END
        if framed and sum(frame[:-2]) & 0xFF == frame[-2]:
            data_field = bytes(byte - OFFSET & 0xFF for byte in frame[HEADER_BYTES:-2])
            frames.append(MeterFrame(frame[6:0:-1].hex().upper(), frame[8], data_field))
            others += data[end:start]
            end = start + size
        start = data.find(START, max(end, start + 1))
    return frames, bytes(others + data[end:])


def holds_beginning(data: bytes) -> bool:
    """Whether a frame may begin in these bytes."""
    return any(
        data[start : start + 1] == START and data[start + 7 : start + 8] in (START, b"")
        for start in range(len(data))
    )


def iter_replies(data: bytes, meter: str) -> Iterator[MeterFrame]:
    """The replies of a meter, whose number may contain A for any digit, in what was received."""
    for frame in split_frames(data)[0]:
        matches = all(wanted in ("A", digit) for wanted, digit in zip(meter, frame.meter, strict=True))
        if frame.control & REPLY and matches:
            yield frame
