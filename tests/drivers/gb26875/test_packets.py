from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.gb26875.packets import (
    MAX_DATA_BYTES,
    MIN_PACKET_BYTES,
    FirePacket,
    PacketStream,
    split_packets,
)
from tests.drivers.gb26875.frames import FIRE, PUBLISHED, TIME, component, components, packet

packets = st.builds(
    FirePacket,
    sequence=st.integers(0, 0xFFFF),
    version=st.binary(min_size=2, max_size=2),
    time=st.binary(min_size=6, max_size=6),
    source=st.binary(min_size=6, max_size=6),
    destination=st.binary(min_size=6, max_size=6),
    command=st.integers(0, 255),
    data=st.binary(max_size=MAX_DATA_BYTES),
)


@given(packets)
def test_what_is_encoded_is_decoded_again(sent: FirePacket) -> None:
    assert split_packets(sent.encode()) == ([sent], b"")


@given(st.binary(max_size=300))
def test_splitting_never_raises_and_keeps_less_than_a_packet(noise: bytes) -> None:
    _, rest = split_packets(noise)
    assert len(rest) < MIN_PACKET_BYTES + MAX_DATA_BYTES
    assert split_packets(rest) == ([], rest)


@pytest.mark.parametrize("cut", range(1, len(PUBLISHED)))
def test_a_packet_cut_at_any_byte_is_put_together(cut: int) -> None:
    stream, rest = PUBLISHED + PUBLISHED, b""
    found = []
    for piece in (stream[:cut], stream[cut : cut + 60], stream[cut + 60 :]):
        packets, rest = split_packets(rest + piece)
        found += packets
    assert [each.encode() for each in found] == [PUBLISHED] * 2
    assert rest == b""


@pytest.mark.parametrize("place", range(len(PUBLISHED)))
@pytest.mark.parametrize("change", [0x01, 0x04, 0x40, 0xFF])
def test_a_packet_garbled_at_any_byte_is_not_taken_and_the_next_one_is(place: int, change: int) -> None:
    garbled = bytearray(PUBLISHED)
    garbled[place] ^= change
    found, _ = split_packets(bytes(garbled) + PUBLISHED)
    assert [each.encode() for each in found if each.sound] == [PUBLISHED]


def test_what_only_looks_like_a_beginning_delays_nothing() -> None:
    beginning = b"@@" + bytes(22) + (1000).to_bytes(2, "little") + b"\2"
    for noise in (beginning, b"@", b"@@", b"@@@", b"##@@##", beginning * 3):
        found, rest = split_packets(noise + PUBLISHED)
        assert [each.encode() for each in found] == [PUBLISHED]
        assert rest == b""


def test_more_than_1024_bytes_of_data_are_no_packet() -> None:
    assert len(split_packets(packet(bytes(MAX_DATA_BYTES)).encode())[0]) == 1
    assert split_packets(packet(bytes(MAX_DATA_BYTES + 1)).encode()) == ([], b"")


def test_what_has_neither_a_right_sum_nor_a_right_end_is_no_packet() -> None:
    assert split_packets(PUBLISHED[:-3] + b"\0#$") == ([], b"")


@pytest.mark.parametrize(("command", "known"), [(0, False), (1, True), (6, True), (7, False)])
def test_where_the_sum_is_right_and_the_end_is_not_the_command_decides(command: int, known: bool) -> None:
    """The standard knows the commands 1 to 6."""
    whole = packet(b"", command=command).encode()
    found, _ = split_packets(whole[:-2] + b"#$")
    assert [each.sound for each in found] == [False] * known


@pytest.mark.parametrize("size", [1, len(PUBLISHED), 3 * len(PUBLISHED)])
def test_each_damaged_packet_is_reported_once(size: int) -> None:
    damaged = PUBLISHED[:40] + b"\xff" + PUBLISHED[41:]
    sent, stream = damaged * 3 + PUBLISHED + damaged, PacketStream()
    found = [
        each for start in range(0, len(sent), size) for each in stream.feed(sent[start : start + size])
    ]
    assert [each.sound for each in found] == [False, False, False, True, False]


@pytest.mark.parametrize("inside", [b"@@", b"##", b"##@@", PUBLISHED[:40], b"@" * 31])
def test_marks_within_a_packet_are_not_its_own(inside: bytes) -> None:
    one = component(FIRE)
    data = components(one[:9] + inside[:31].ljust(31, b"\0") + TIME)
    sent = packet(data, source=b"@@##@@"), packet(components(component(1)))
    found, rest = split_packets(b"".join(each.encode() for each in sent))
    assert (found, rest) == ([*sent], b"")


@given(st.lists(packets | st.binary(max_size=60) | st.just(b"@" * 30), max_size=6), st.integers(1, 90))
def test_a_stream_in_pieces_has_its_packets(parts: list[FirePacket | bytes], size: int) -> None:
    whole = b"".join(part if isinstance(part, bytes) else part.encode() for part in parts)
    stream = PacketStream()
    pieces = (whole[start : start + size] for start in range(0, len(whole), size))
    found = [each for piece in pieces for each in stream.feed(piece)]
    assert [each for each in split_packets(whole)[0] if each.sound and each not in found] == []
    assert len(stream.rest) < MIN_PACKET_BYTES + MAX_DATA_BYTES


def test_a_byte_that_comes_later_is_no_reason_to_look_at_the_earlier_ones_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beginnings as dense as they can be, each of a packet of 771 bytes, byte by byte."""
    judged = []
    parse = "drivers.gb26875.packets._parse_packet"
    monkeypatch.setattr(parse, lambda data: judged.append(len(data)))
    stream, sent = PacketStream(), (b"@" * 24 + b"\3" * 24) * 100
    for byte in sent:
        stream.feed(bytes((byte,)))
    assert len(judged) < len(sent) / 2


INSERTED = [PUBLISHED[:place] + b"\x55" + PUBLISHED[place:] for place in range(2, len(PUBLISHED) - 2)]
DROPPED = [PUBLISHED[:place] + PUBLISHED[place + 1 :] for place in range(2, len(PUBLISHED) - 2)]
BIG_ENDIAN = PUBLISHED[:24] + PUBLISHED[25:23:-1] + PUBLISHED[26:]


@pytest.mark.parametrize("size", [1, 40, 500])
def test_a_packet_with_a_byte_too_many_or_too_few_is_damaged_and_of_its_source(size: int) -> None:
    own = bytes.fromhex("0605FF030201")
    for damaged in (*INSERTED, *DROPPED, BIG_ENDIAN):
        sent = damaged.replace(bytes(6), own, 1) + packet(b"", source=own).encode() * 2
        if own not in sent[:24]:
            continue
        stream = PacketStream([own, b"111111"])
        pieces = (sent[start : start + size] for start in range(0, len(sent), size))
        found = [each for piece in pieces for each in stream.feed(piece)]
        unsound = [each.source for each in found if not each.sound]
        assert (unsound + stream.damaged, len(found) - len(unsound)) == ([own], 2)
