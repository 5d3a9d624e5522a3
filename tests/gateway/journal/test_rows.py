"""How records are encoded, and what is done with those that cannot be."""

import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.journal.rows import (
    DEFLATED,
    PLAIN,
    RowBuilder,
    encode,
    pack_records,
    readable_body,
    unpack_records,
)
from gateway.model import ClockQuality, Lane, Record, Stamp

MIB = 1024 * 1024
STAMP = Stamp(1_800_000_000_000, 5, "boot", ClockQuality.SYNCED)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
)
records = st.builds(
    Record,
    lane=st.sampled_from(Lane),
    device=st.text(),
    seq=st.integers(1, 2**63),
    kind=st.text(),
    at=st.just(STAMP),
    body=st.dictionaries(st.text(), values, max_size=3),
)


@given(st.lists(records, max_size=4))
def test_a_row_holds_its_records_as_they_were(written: list[Record]) -> None:
    assert unpack_records(*pack_records(written)) == written


def test_a_row_takes_no_more_room_than_its_records_do_and_far_less_if_they_resemble_each_other() -> None:
    one = Record(Lane.TELEMETRY, "smoke-kitchen", 1, "sample", STAMP, {"values": {"smoke": False}})
    single, _ = pack_records([one])
    assert len(single) <= 1 + len(msgspec.msgpack.encode([one]))
    many, _ = pack_records([msgspec.structs.replace(one, seq=n) for n in range(1, 101)])
    assert len(many) < 10 * len(single)


@pytest.mark.parametrize("count", [1, 2, 15, 16, 1000, 70_000])
def test_a_row_built_record_by_record_is_read_like_any_other(count: int) -> None:
    """zlib and MessagePack read it without our help, as the journal of an older version does."""
    written = [Record(Lane.TELEMETRY, f"d{n % 7}", n, "sample", STAMP, {"x": n * n}) for n in range(count)]
    builder = RowBuilder()
    for record in written:
        builder.add(encode(record))
    body, crc = builder.pack()
    plain = zlib.decompress(body[1:]) if body[:1] == DEFLATED else body[1:]
    assert msgspec.msgpack.decode(plain) == msgspec.msgpack.decode(msgspec.msgpack.encode(written))
    assert unpack_records(body, crc) == written
    assert len(body) <= len(pack_records(written)[0]) + 16


def test_a_row_is_built_once_however_often_its_commit_fails() -> None:
    builder = RowBuilder()
    builder.add(encode(1))
    assert builder.pack() == (body := PLAIN + b"\xdd\0\0\0\1\1", zlib.crc32(body))
    assert builder.pack() is builder.pack()


@given(st.lists(records, min_size=1, max_size=3), st.data())
def test_a_row_with_one_wrong_bit_is_damaged(written: list[Record], data: st.DataObject) -> None:
    body, crc = pack_records(written)
    bit = data.draw(st.integers(0, 8 * len(body) - 1))
    damaged = bytearray(body)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError, match="crc"):
        unpack_records(bytes(damaged), crc)


def test_a_record_is_a_mebibyte_at_most() -> None:
    largest = "x" * (MIB - 5)
    assert len(encode(largest)) == MIB, "MessagePack puts the length in five bytes before it"
    with pytest.raises(ValueError, match=str(MIB + 1)):
        encode(largest + "x")


def test_of_a_record_that_cannot_be_stored_what_is_short_stays_and_the_rest_is_text() -> None:
    # MessagePack puts the length of a list of more than 15 in three bytes before it.
    body = readable_body({"short": [1] * 197, "long": [1] * 198, "text": "烟" * 100, "none": 1j, 2: None})
    assert body == {
        "short": [1] * 197,
        "long": ("[" + "1, " * 67)[:200],
        "text": ("'" + r"\u70df" * 34)[:200],
        "none": "1j",
        "2": None,
    }
    assert encode(body)
