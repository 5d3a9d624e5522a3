"""A socket that lets no huge MQTT packet into memory: the payload is discarded while it arrives."""

from __future__ import annotations

from typing import Any

PUBLISH = 3
MAX_DISCARD_BYTES = 65_536
"""Discarded in one call, so that the event loop can do something else in between."""


class BoundedSocket:
    """Reads MQTT packets. A PUBLISH of more than `max_packet_bytes` arrives without its properties and
    payload; any other packet of that size ends the connection, and so does a PUBLISH with QoS 2, which
    nobody has subscribed: paho would keep it until a PUBREL comes. All else is the socket's own."""

    def __init__(self, sock: Any, max_packet_bytes: int, version: int) -> None:
        self._sock = sock
        self._max_packet_bytes = max_packet_bytes
        self._version = version
        self._head = bytearray()
        """Of the next packet, until its size is known: the fixed header, and if it is too large, the topic
        and the packet identifier as well (MQTT 5, 2.1 and 3.3.2)."""
        self._ready = bytearray()
        """To be passed on."""
        self._passing = self._discarding = 0
        """Bytes left of the present packet."""
        self.first_byte: int | None = None
        """The first byte that the other side has sent."""
        self.discarded_bytes = 0
        """The size of the present packet, if it has lost its payload; else 0."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, size: int) -> bytes:
        """The next bytes, empty at the end. Raises `OSError`."""
        if not self._ready and not self._passing:
            if self._discarding:
                discarded = self._sock.recv(min(self._discarding, MAX_DISCARD_BYTES))
                self._discarding -= len(discarded)
                if discarded:
                    raise BlockingIOError
                return b""
            if not self._read_head():
                return b""
        if self._ready:
            data = bytes(self._ready[:size])
            del self._ready[:size]
        else:
            data = self._sock.recv(min(size, self._passing))
            self._passing -= len(data)
        return data

    def _read_head(self) -> bool:
        """Read the head of the next packet, and prepare what is passed on. Returns False at the end."""
        while missing := self._missing_head_bytes():
            data = self._sock.recv(missing)
            if not data:
                return False
            self._head += data
            if self.first_byte is None:
                self.first_byte = self._head[0]
        start, remaining = _parse_length(self._head)
        topic_and_id = len(self._head) - start
        self.discarded_bytes = remaining if remaining > self._max_packet_bytes else 0
        if self.discarded_bytes:
            self._discarding = remaining - topic_and_id
            no_properties = b"\0" if self._version == 5 else b""
            length = _encode_length(topic_and_id + len(no_properties))
            self._ready = self._head[:1] + length + self._head[start:] + no_properties
        else:
            self._passing = remaining
            self._ready = self._head
        self._head = bytearray()
        return True

    def _missing_head_bytes(self) -> int:
        """Bytes that are needed at least. Raises `ConnectionError` for a packet that cannot be accepted."""
        start, remaining = _parse_length(self._head)
        if not start:
            if len(self._head) > 4:
                raise ConnectionError("the length has more than four bytes")
            return 1 if self._head else 2
        if self._head[0] >> 4 == PUBLISH and self._head[0] & 0b100:
            raise ConnectionError("QoS 2")
        if remaining <= self._max_packet_bytes:
            return 0
        if self._head[0] >> 4 != PUBLISH:
            raise ConnectionError("too large")
        body = self._head[start:]
        identifier = 2 if self._head[0] & 0b110 else 0  # Only above QoS 0.
        wanted = 2 + int.from_bytes(body[:2], "big") + identifier if len(body) >= 2 else 2
        return wanted - len(body)


def _parse_length(head: bytes | bytearray) -> tuple[int, int]:
    """Where the rest of the packet starts, and how long it is; zeros if that is not known yet."""
    length = 0
    for index, byte in enumerate(head[1:5]):
        length |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return index + 2, length
    return 0, 0


def _encode_length(length: int) -> bytes:
    encoded = bytearray()
    while True:
        length, digit = length >> 7, length & 0x7F
        encoded.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(encoded)
