"""The encoding of records in a row: MessagePack, deflated where that is smaller. Pure."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from gateway.model import Record

PLAIN, DEFLATED = b"\0", b"\1"
MAX_RECORD_BYTES = 1 << 20
"""A larger record could be neither sent nor stored within the caps of small journals."""
MAX_TEXT_LENGTH = 200
"""Characters that `readable_body` leaves of one value."""

_encoder = msgspec.msgpack.Encoder()
_decode = msgspec.msgpack.Decoder(list[Record]).decode


def encode(value: object) -> bytes:
    """MessagePack. Raises `ValueError` for what it cannot hold, and for what is too large."""
    try:
        encoded = _encoder.encode(value)
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if len(encoded) > MAX_RECORD_BYTES:
        raise ValueError(f"{len(encoded)} bytes")
    return encoded


def readable_body(body: Mapping[Any, Any]) -> dict[str, Any]:
    """A body that can be encoded: what cannot be, or is long, is shortened text."""
    return {_as_text(key): value if _is_short(value) else _as_text(value) for key, value in body.items()}


def _is_short(value: object) -> bool:
    try:
        return len(encode(value)) <= MAX_TEXT_LENGTH
    except ValueError:
        return False


def _as_text(value: object) -> str:
    try:
        # ASCII only: the value may be text that is no Unicode.
        text = value if isinstance(value, str) and value.isascii() else ascii(value)
    except (ValueError, RecursionError):
        # An integer of thousands of digits, or a deep structure.
        text = type(value).__name__
    return text[:MAX_TEXT_LENGTH]


Pack: TypeAlias = tuple[bytes, int]
"""A row's body and its CRC-32."""


class RowBuilder:
    """A row's body, deflated record by record: all at once would hold the event loop for too long."""

    def __init__(self) -> None:
        self._encoded: list[bytes] = []
        self._deflater = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
        self._deflated: list[bytes] = []
        self._pack: Pack | None = None
        self.count = 0
        """Records in the row."""

    def add(self, encoded: bytes) -> None:
        """Add a record as MessagePack."""
        self.count += 1
        self._encoded.append(encoded)
        self._deflated.append(self._deflater.compress(encoded))

    def pack(self) -> Pack:
        """The body of all records; none can be added afterwards."""
        if self._pack is None:
            # An array with a length of 32 bits (MessagePack specification), whose length is known only now:
            # a stored block (RFC 1951, 3.2.4) in front of the deflated ones, in a zlib stream (RFC 1950).
            header = struct.pack(">BI", 0xDD, len(self._encoded))
            plain = header + b"".join(self._encoded)
            stored = struct.pack("<BHH", 0, len(header), 0xFFFF ^ len(header)) + header
            deflated = (b"\x78\x01", stored, *self._deflated, self._deflater.flush(),
                        struct.pack(">I", zlib.adler32(plain)))  # fmt: skip
            self._pack = _smaller(plain, b"".join(deflated))
            self._encoded = self._deflated = []
        return self._pack


def pack_records(records: Sequence[Record]) -> Pack:
    """The body of a row of a few records."""
    plain = _encoder.encode(records)
    return _smaller(plain, zlib.compress(plain, 1))


def _smaller(plain: bytes, deflated: bytes) -> Pack:
    body = DEFLATED + deflated if len(deflated) < len(plain) else PLAIN + plain
    return body, zlib.crc32(body)


def unpack_records(body: bytes, crc: int) -> list[Record]:
    """The records of a row. Raises `ValueError` when the row is damaged."""
    if zlib.crc32(body) != crc:
        raise ValueError("crc")
    try:
        return _decode(zlib.decompress(body[1:]) if body[:1] == DEFLATED else body[1:])
    except (zlib.error, msgspec.DecodeError) as error:
        raise ValueError(str(error)) from error
