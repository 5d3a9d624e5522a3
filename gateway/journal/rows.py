"""The encoding of records in a row: MessagePack, deflated where that is smaller. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import msgspec

from gateway.model import Record

PLAIN, DEFLATED = b"\0", b"\1"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Record]).decode


def pack_records(records: Iterable[Record]) -> tuple[bytes, int]:
    """A row's body and its CRC-32."""
    plain = _encode(list(records))
    deflated = zlib.compress(plain, 1)
    body = DEFLATED + deflated if len(deflated) < len(plain) else PLAIN + plain
    return body, zlib.crc32(body)


def unpack_records(body: bytes, crc: int) -> list[Record]:
    """The records of a row. Raises `ValueError` when the row is damaged."""
    if zlib.crc32(body) != crc:
        raise ValueError("crc")
    return _decode(zlib.decompress(body[1:]) if body[:1] == DEFLATED else body[1:])
