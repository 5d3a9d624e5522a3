"""The wire of GB/T 26875.3-2011: packets in a stream, and the objects of their data units.

Packet, little-endian: `40 40 | sequence 2 | version 2 | time 6 | source 6 | destination 6 | length 2 |
command 1 | data unit | sum 1 | 23 23`; the sum is that of all bytes between start and sum, modulo 256.
A data unit is `type 1 | count 1 | objects`.

Confirmed by published packets, by a published transcript of the standard and by at least two independent
open implementations: the types below, and that types 90 and 91 carry a time of 6 bytes and a timeout of
1 byte, in minutes. The devices' clocks carry no zone (UTC+8) and never stamp a sample; an answer repeats
the time of its packet, since ours may not be set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec

START, END = b"@@", b"##"
HEADER_BYTES = 27
"""From the start to the command."""
MIN_PACKET_BYTES = HEADER_BYTES + 3
"""Of a packet without data unit."""
MAX_DATA_BYTES = 1024
TIME_BYTES = 6
"""Of a time: second, minute, hour, day, month, year of the century."""
CONTROL, SEND, CONFIRM, REQUEST, ANSWER, DENY = range(1, 7)
ANSWERS = (CONFIRM, ANSWER, DENY)
"""Commands that are never answered, so that two ends do not deny each other's denials for ever."""
SYSTEM, COMPONENT, OPERATION, DEVICE, DEVICE_OPERATION, SET_CLOCK, DUTY_CHECK = 1, 2, 4, 21, 24, 90, 91
READ_SYSTEMS, READ_COMPONENTS, READ_DEVICE = 61, 62, 81
CHINA_UTC_OFFSET = timedelta(hours=8)


class FirePacket(msgspec.Struct, frozen=True, kw_only=True):
    """One packet; addresses as sent. `sound` is whether its sum and its end were right: with one of them
    wrong it still counts as a packet, and is denied."""

    sequence: int
    version: bytes
    time: bytes
    source: bytes
    destination: bytes
    command: int
    data: bytes
    sound: bool = True

    def encode(self) -> bytes:
        """As sent."""
        body = b"".join(
            (
                self.sequence.to_bytes(2, "little"),
                self.version,
                self.time,
                self.source,
                self.destination,
                len(self.data).to_bytes(2, "little"),
                bytes((self.command,)),
                self.data,
            )
        )
        return START + body + bytes((sum(body) & 0xFF,)) + END

    def answer(self, command: int) -> bytes:
        """A confirmation or denial of this packet."""
        return FirePacket(
            sequence=self.sequence,
            version=self.version,
            time=self.time,
            source=self.destination,
            destination=self.source,
            command=command,
            data=b"",
        ).encode()

    def control(self, sequence: int, data: bytes) -> bytes:
        """A command to the sender of this packet."""
        return FirePacket(
            sequence=sequence,
            version=self.version,
            time=china_time(),
            source=self.destination,
            destination=self.source,
            command=CONTROL,
            data=data,
        ).encode()


def china_time() -> bytes:
    """The time in China, as packets carry it."""
    now = datetime.now(UTC) + CHINA_UTC_OFFSET
    return bytes((now.second, now.minute, now.hour, now.day, now.month, now.year % 100))


class PacketStream:
    """The packets in a stream of any bytes, in bounded memory.

    Bytes that only look like a beginning never delay a valid packet behind them. A packet that is not
    sound is searched for others: its length may be what was damaged. Each byte is searched once, and each
    beginning is judged once its packet is complete, so that no stream costs more than in proportion to its
    length.

    Of one of the `sources`, whatever begins like a packet and is none is damaged: it has bytes too many or
    too few, or its length in another byte order.
    """

    def __init__(self, sources: Iterable[bytes] = ()) -> None:
        any_source = b"|".join(map(re.escape, sources))
        self._header = (
            re.compile(b"(?=@@(?!@)(?:(?!@@).){8,12}?(%s))" % any_source, re.DOTALL) if any_source else None
        )
        self.damaged: list[bytes] = []
        """The sources of the packets that were found to be damaged and could not be read at all; whoever
        reads it empties it."""
        self.rest = b""
        """What may become a packet: less than one packet's length."""
        self._searched = 0
        """Where in `rest` the search for beginnings continues."""
        self._beginnings: list[int] = []
        """Where in `rest` packets may begin that are not complete."""
        self._garbled_until = 0
        self.received_bytes = 0
        self.has_sound_packet = False

    def feed(self, data: bytes) -> list[FirePacket]:
        """The packets that these bytes complete."""
        stream = self.rest + data
        self.received_bytes += len(data)
        packets: list[FirePacket] = []
        taken = [range(self._garbled_until)]
        incomplete: list[int] = []
        sound_until = 0
        found = (match.start() for match in _BEGINNING.finditer(stream, self._searched))
        for start in (*self._beginnings, *found):
            end = start + MIN_PACKET_BYTES + _data_length(stream, start)
            if start < sound_until:
                continue
            if end > len(stream):
                incomplete.append(start)
                continue
            packet = _parse_packet(stream[start:end])
            if packet and (packet.sound or start >= self._garbled_until):
                packets.append(packet)
                taken.append(range(start, end))
                incomplete.clear()
                self._garbled_until = end
            if packet and packet.sound:
                sound_until = end
                self.has_sound_packet = True
        tail = max(sound_until, self._searched, len(stream) - _LENGTH_END + 1)
        next_start = stream.find(START, tail)
        if next_start < 0:
            next_start = len(stream) - stream.endswith(START[:1], tail)
        kept = min((next_start, *incomplete))
        self._find_damaged(stream, kept, taken)
        self.rest = stream[kept:]
        self._beginnings = [start - kept for start in incomplete]
        self._searched = next_start - kept
        self._garbled_until = max(0, self._garbled_until - kept)
        return packets

    def _find_damaged(self, stream: bytes, end: int, taken: Iterable[range]) -> None:
        """The damaged packets before `end` that are in none of the packets that were taken."""
        headers = self._header.finditer(stream) if self._header else ()
        for match in headers:
            if match.start() >= end:
                break
            if not any(match.start(1) in part for part in taken):
                self.damaged.append(match[1])


_LENGTH_END = 26
"""From the start to the end of the length."""
_BEGINNING = re.compile(rb"(?=@@.{22}(?:.[\x00-\x03]|\x00\x04))", re.DOTALL)
"""A start with a length of at most 1024; it may be within another one."""


def _data_length(stream: bytes, start: int) -> int:
    return int.from_bytes(stream[start + _LENGTH_END - 2 : start + _LENGTH_END], "little")


def _parse_packet(data: bytes) -> FirePacket | None:
    """A whole packet; None if neither its end nor its sum and command are right."""
    body = data[2:-3]
    summed, ended = sum(body) & 0xFF == data[-3], data.endswith(END)
    if not ended and not (summed and CONTROL <= body[24] <= DENY):
        return None
    return FirePacket(
        sequence=int.from_bytes(body[:2], "little"),
        version=body[2:4],
        time=body[4:10],
        source=body[10:16],
        destination=body[16:22],
        command=body[24],
        data=body[25:],
        sound=summed and ended,
    )


def split_packets(data: bytes) -> tuple[list[FirePacket], bytes]:
    """The packets in these bytes, and the rest that may become one."""
    stream = PacketStream()
    return stream.feed(data), stream.rest


def iter_objects(data: bytes, size: int) -> Iterator[bytes]:
    """The objects of a data unit, `size` bytes each with their time; some devices leave the times out.

    One that is cut short is returned as it is; trailing bytes after the last one are none.
    """
    count, objects = int.from_bytes(data[1:2], "big"), data[2:]
    if len(objects) == count * (size - TIME_BYTES):
        size -= TIME_BYTES
    for index, start in enumerate(range(0, len(objects), size)):
        if index < count or len(objects) - start >= size:
            yield objects[start : start + size]


def decode_text(description: bytes) -> str:
    text = description.split(b"\0")[0].decode("gb18030", "replace")
    return "".join(letter for letter in text if letter.isprintable()).strip()
