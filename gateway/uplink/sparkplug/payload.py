"""The payload of Sparkplug B: a message of protocol buffers.

Source: Sparkplug 3.0.0, 6.4 (the metrics and their types) and its `sparkplug_b.proto`; Protocol Buffers
Encoding (varints, tags, and fields that may come in any order).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

import msgspec

from gateway.model import GatewayError, Value, sentence

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types; the groups of old (3 and 4) do not occur."""
MAX_VARINT_BYTES = 10
MAX_METRICS = 64
"""In a message that is received."""


class DataType(IntEnum):
    """Those that are sent; a received one is told by its field."""

    INT64 = 4
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12


SIGNED_BITS = {1: 8, 2: 16, 3: 32, 4: 64}
"""Width of the signed integers, by the number of their data type."""


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric. `timestamp` is Unix time in milliseconds; a `value` of None is null."""

    name: str = ""
    alias: int | None = None
    timestamp: int | None = None
    datatype: int = 0
    is_historical: bool = False
    value: Value | None = None


class Payload(NamedTuple):
    """A decoded message."""

    timestamp: int | None
    metrics: list[Metric]
    seq: int | None


def encode_payload(timestamp: int | None, metrics: list[Metric], seq: int | None = None) -> bytes:
    """The bytes of a message."""
    parts = [_integer(1, timestamp)] if timestamp is not None else []
    parts += [_bytes(2, _encode_metric(metric)) for metric in metrics]
    return b"".join(parts) + (b"" if seq is None else encode_seq(seq))


def encode_seq(seq: int) -> bytes:
    """The field of the sequence number, to be appended to the bytes of a message without it."""
    return _integer(3, seq)


def decode_payload(data: bytes) -> Payload:
    """A received message; what is not known of it is passed over. Raises `GatewayError`."""
    timestamp = seq = None
    metrics: list[Metric] = []
    for field, value in _fields(data):
        if field == 1:
            timestamp = _expect_integer(value)
        elif field == 2:
            metrics.append(_decode_metric(_expect_bytes(value)))
            if len(metrics) > MAX_METRICS:
                raise _malformed()
        elif field == 3:
            seq = _expect_integer(value)
    return Payload(timestamp, metrics, seq)


def _encode_metric(metric: Metric) -> bytes:
    parts = [_bytes(1, metric.name.encode("utf-8", "replace"))] if metric.name else []
    if metric.alias is not None:
        parts.append(_integer(2, metric.alias))
    if metric.timestamp is not None:
        parts.append(_integer(3, metric.timestamp))
    if metric.datatype:
        parts.append(_integer(4, metric.datatype))
    if metric.is_historical:
        parts.append(_integer(5, 1))
    value = metric.value
    if value is None:
        parts.append(_integer(7, 1))
    elif isinstance(value, bool):
        parts.append(_integer(14, int(value)))
    elif isinstance(value, int):
        parts.append(_integer(11, value))
    elif isinstance(value, float):
        parts.append(_tag(13, FIXED64) + struct.pack("<d", value))
    else:
        parts.append(_bytes(15, value.encode("utf-8", "replace")))
    return b"".join(parts)


def _decode_metric(data: bytes) -> Metric:
    name, alias, timestamp, datatype = "", None, None, 0
    value: Value | None = None
    for field, raw in _fields(data):
        match field:
            case 1:
                name = _expect_text(raw)
            case 2:
                alias = _expect_integer(raw)
            case 3:
                timestamp = _expect_integer(raw)
            case 4:
                datatype = _expect_integer(raw)
            case 10 | 11:
                value = _expect_integer(raw)
            case 12 | 13:
                packed = _expect_bytes(raw)
                if len(packed) != (4 if field == 12 else 8):
                    raise _malformed()
                (value,) = struct.unpack("<f" if field == 12 else "<d", packed)
            case 14:
                value = bool(_expect_integer(raw))
            case 15:
                value = _expect_text(raw)
    if isinstance(value, int) and not isinstance(value, bool) and (bits := SIGNED_BITS.get(datatype)):
        value &= (1 << bits) - 1
        value -= (value >> (bits - 1)) << bits
    return Metric(name=name, alias=alias, timestamp=timestamp, datatype=datatype, value=value)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The number and content of each field."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        field, wire_type = tag >> 3, tag & 7
        if not field:
            raise _malformed()
        if wire_type == VARINT:
            number, at = _varint(data, at)
            yield field, number
            continue
        if wire_type == LENGTH:
            length, at = _varint(data, at)
        elif wire_type in (FIXED64, FIXED32):
            length = 8 if wire_type == FIXED64 else 4
        else:
            raise _malformed()
        if at + length > len(data):
            raise _malformed()
        yield field, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, and where it has ended."""
    number = 0
    for shift, byte in enumerate(data[at : at + MAX_VARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return number & 0xFFFF_FFFF_FFFF_FFFF, at + shift + 1
    raise _malformed()


def _integer(field: int, number: int) -> bytes:
    """A field with an integer; a negative one as its two's complement of 64 bits."""
    return _tag(field, VARINT) + _encode_varint(number & 0xFFFF_FFFF_FFFF_FFFF)


def _bytes(field: int, content: bytes) -> bytes:
    return _tag(field, LENGTH) + _encode_varint(len(content)) + content


def _tag(field: int, wire_type: int) -> bytes:
    return _encode_varint(field << 3 | wire_type)


def _encode_varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _expect_integer(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise _malformed()
    return value


def _expect_bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise _malformed()
    return value


def _expect_text(value: int | bytes) -> str:
    try:
        return _expect_bytes(value).decode()
    except UnicodeDecodeError as error:
        raise _malformed() from error


def _malformed() -> GatewayError:
    return GatewayError("command-form", reason=sentence("cause.not-sparkplug"))
