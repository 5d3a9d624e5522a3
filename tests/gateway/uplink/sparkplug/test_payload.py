from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import GatewayError, Value
from gateway.uplink.sparkplug.payload import (
    MAX_METRICS,
    DataType,
    Metric,
    Payload,
    decode_payload,
    encode_payload,
    encode_seq,
)

from .codec import Codec, codec

AT = 1_795_000_000_000


@pytest.fixture(scope="module")
def foreign() -> Iterator[Codec]:
    with codec() as running:
        yield running


@pytest.mark.parametrize(
    ("datatype", "value", "read"),
    [
        (DataType.INT64, 0, ("Int64", 0)),
        (DataType.INT64, 300, ("Int64", 300)),
        (DataType.INT64, -7, ("Int64", -7)),
        (DataType.INT64, -(1 << 52), ("Int64", -(1 << 52))),
        (DataType.DOUBLE, 21.5, ("Double", 21.5)),
        (DataType.DOUBLE, math.inf, ("Double", "Infinity")),
        (DataType.BOOLEAN, True, ("Boolean", True)),
        (DataType.BOOLEAN, False, ("Boolean", False)),
        (DataType.STRING, "邻里", ("String", "邻里")),
        (DataType.STRING, "", ("String", "")),
        (DataType.STRING, None, ("String", None)),
    ],
)
def test_a_metric_is_what_another_library_reads(
    foreign: Codec, datatype: DataType, value: Value | None, read: tuple[str, Any]
) -> None:
    metric = Metric(
        name="n", alias=70_000, timestamp=AT, datatype=datatype, is_historical=True, value=value
    )
    decoded = foreign.decode(encode_payload(AT, [metric], 255))
    assert (decoded["timestamp"], decoded["seq"]) == (AT, 255)
    (seen,) = decoded["metrics"]
    assert (seen["name"], seen["alias"], seen["timestamp"]) == ("n", 70_000, AT)
    assert (seen["type"], seen["value"], seen["isHistorical"]) == (*read, True)


def test_a_number_that_is_appended_is_the_sequence_number(foreign: Codec) -> None:
    decoded = foreign.decode(encode_payload(AT, [Metric(alias=1, datatype=11, value=True)]) + encode_seq(0))
    assert decoded["seq"] == 0
    assert decoded["metrics"][0]["value"] is True


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("Int8", -8), ("Int16", -16), ("Int32", -32), ("Int64", 64), ("UInt8", 8), ("UInt16", 16),
        ("UInt32", 32), ("UInt64", 64), ("Float", 1.5), ("Double", -2.25), ("Boolean", True),
        ("Boolean", False), ("String", "邻里"), ("Text", ""), ("DateTime", AT),
    ],
)  # fmt: skip
def test_what_another_library_writes_is_read(foreign: Codec, kind: str, value: Value) -> None:
    written = {
        "timestamp": AT, "seq": 3, "uuid": "u",
        "metrics": [
            {"name": "n", "alias": 9, "type": kind, "value": value,
             "properties": {"unit": {"type": "String", "value": "°C"}}}
        ],
    }  # fmt: skip
    timestamp, (metric,), seq = decode_payload(foreign.encode(written))
    assert (timestamp, seq, metric.name, metric.alias) == (AT, 3, "n", 9)
    assert metric.value == value
    assert type(metric.value) is type(value)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_payload_or_refused(data: bytes) -> None:
    payload = None
    with contextlib.suppress(GatewayError):
        payload = decode_payload(data)
    assert payload is None or len(payload.metrics) <= MAX_METRICS


@given(st.binary(max_size=60), st.integers(0, 80), st.binary(min_size=1, max_size=3))
def test_a_payload_with_a_fault_in_it_is_a_payload_or_refused(
    name: bytes, where: int, fault: bytes
) -> None:
    sound = encode_payload(AT, [Metric(name=name.hex(), datatype=10, value=1.0, alias=3)], 7)
    at = where % len(sound)
    with contextlib.suppress(GatewayError):
        assert isinstance(decode_payload(sound[:at] + fault + sound[at + len(fault) :]), Payload)


@given(
    st.lists(
        st.builds(
            Metric,
            name=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
            alias=st.none() | st.integers(0, (1 << 64) - 1),
            timestamp=st.none() | st.integers(0, (1 << 63)),
            datatype=st.just(4),
            value=st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1)
            | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=["Cs"])),
        ),
        max_size=MAX_METRICS,
    ),
    st.none() | st.integers(0, 255),
)  # fmt: skip
def test_what_is_written_is_read_again(metrics: list[Metric], seq: int | None) -> None:
    assert decode_payload(encode_payload(AT, metrics, seq)) == (AT, metrics, seq)


@pytest.mark.parametrize(
    "data",
    [
        b"\x12", b"\x12\x05ab", b"\x08" + b"\xff" * 11, b"\x0b", b"\x00\x01", b"\x0a\x01a", b"\x10\x01",
        b"\x12\x04\x0a\x02\xff\xfe", b"\x12\x03\x6d\x00\x00", encode_payload(1, [Metric()] * 65),
    ],
)  # fmt: skip
def test_what_is_no_payload_is_refused(data: bytes) -> None:
    with pytest.raises(GatewayError, match="command-form"):
        decode_payload(data)
