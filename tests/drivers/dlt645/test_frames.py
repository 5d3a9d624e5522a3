from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlt645.frames import (
    READ,
    READ_ADDRESS,
    READ_NEXT,
    WILDCARD,
    MeterFrame,
    iter_replies,
    split_frames,
)
from tests.drivers.dlt645.meters import CAPTURED, WAKE_UP, raw

PUBLISHED = [frame for exchanges in CAPTURED.values() for pair in exchanges.items() for frame in pair]


@pytest.mark.parametrize(
    ("frame", "sent"),
    [
        (MeterFrame(WILDCARD, READ_ADDRESS), "FE FE FE FE 68 AA AA AA AA AA AA 68 13 00 DF 16"),
        (
            MeterFrame(WILDCARD, READ, raw("00000100")),
            "FE FE FE FE 68 AA AA AA AA AA AA 68 11 04 33 33 34 33 AE 16",
        ),
        (
            MeterFrame("123456789012", READ, raw("00000100")),
            "FE FE FE FE 68 12 90 78 56 34 12 68 11 04 33 33 34 33 68 16",
        ),
        (
            MeterFrame("123456789012", READ_NEXT, raw("0100300301")),
            "FE FE FE FE 68 12 90 78 56 34 12 68 12 05 34 33 63 36 34 D1 16",
        ),
        (
            MeterFrame("002241020208", READ, raw("02040004")),
            "FE FE FE FE 68 08 02 02 41 22 00 68 11 04 35 37 33 37 2A 16",
        ),
    ],
)
def test_requests_are_those_of_public_masters(frame: MeterFrame, sent: str) -> None:
    assert frame.encode() == raw(sent)


@pytest.mark.parametrize(
    ("received", "frame"),
    [
        (
            "68 12 90 78 56 34 12 68 91 08 33 33 34 33 89 67 45 33 54 16",
            MeterFrame("123456789012", 0x91, raw("0000010056341200")),
        ),
        (
            "FE FE FE FE FE FE FE 68 12 90 78 56 34 12 68 93 06 45 C3 AB 89 67 45 07 16",
            MeterFrame("123456789012", 0x93, raw("129078563412")),
        ),
        ("68 12 90 78 56 34 12 68 D1 01 35 8D 16", MeterFrame("123456789012", 0xD1, b"\x02")),
        (
            "68 01 00 00 00 00 00 68 93 06 34 33 33 33 33 33 9D 16",
            MeterFrame("000000000001", 0x93, raw("010000000000")),
        ),
        ("FE FE FE FE 68 60 07 92 04 00 91 68 D1 01 37 67 16", MeterFrame("910004920760", 0xD1, b"\x04")),
        # The meter's number has the bytes that begin and end a frame.
        ("68 68 16 68 16 68 16 68 D1 01 35 51 16", MeterFrame("166816681668", 0xD1, b"\x02")),
    ],
)  # fmt: skip
def test_replies_are_read_as_by_public_masters(received: str, frame: MeterFrame) -> None:
    assert split_frames(raw(received)) == ([frame], b"\xfe" * received.count("FE"))


@pytest.mark.parametrize("text", PUBLISHED)
def test_every_published_frame_is_one(text: str) -> None:
    (frame,), others = split_frames(raw(text))
    assert others == b""
    assert frame.encode() == WAKE_UP + raw(text)


@pytest.mark.parametrize(
    "wrong",
    [
        "68 12 90 78 56 34 12 68 91 08 33 33 34 33 89 67 45 33 55 16",
        "68 12 90 78 56 34 12 68 91 08 33 33 34 33 89 67 45 33 54 17",
        "68 12 90 78 56 34 12 69 91 08 33 33 34 33 89 67 45 33 54 16",
        "68 12 90 78 56 34 12 68 91 FF 33 33",
        "FE FE 68 12 90 78 56 34 12 68 91 08 33 33",
        "FE FE FE FE",
        "",
    ],
)
def test_what_is_not_a_whole_frame_is_none(wrong: str) -> None:
    assert split_frames(raw(wrong)) == ([], raw(wrong))


def test_a_repeated_request_is_no_reply_and_the_reply_behind_it_is_found() -> None:
    echo = raw("FE FE FE FE 68 12 90 78 56 34 12 68 11 04 33 33 34 33 68 16")
    reply = raw("FE FE 68 12 90 78 56 34 12 68 91 08 33 33 34 33 89 67 45 33 54 16")
    (found,) = iter_replies(echo + b"\x68\x00\x16" + reply, "123456789012")
    assert found.control == 0x91
    assert list(iter_replies(echo + reply, "123456789013")) == []
    assert list(iter_replies(echo + reply, "AAAAAAAAAA12")) == [found]
    assert list(iter_replies(echo + reply, "AAAAAAAAAA13")) == []


@given(
    st.lists(st.sampled_from([*map(raw, PUBLISHED), b"\xfe", b"\x68", b"\x16", b"\x00\x91"]), max_size=12)
)
def test_frames_are_found_in_any_stream(pieces: list[bytes]) -> None:
    frames, others = split_frames(b"".join(pieces))
    assert sum(len(frame.data) + 12 for frame in frames) + len(others) == sum(map(len, pieces))
    # Bytes before a frame may hide it only where they look like its beginning.
    if b"\x68" not in pieces:
        assert len(frames) == sum(len(piece) > 2 for piece in pieces)


@given(st.binary(max_size=600))
def test_nothing_that_arrives_raises(data: bytes) -> None:
    frames, others = split_frames(data)
    assert sum(len(frame.data) + 12 for frame in frames) + len(others) == len(data)
