"""Frames as in MQTT 5, 2.1 and 3.3, cut at every byte."""

import pytest

from gateway.wire.bounded_socket import BoundedSocket


class Wire:
    """Gives at most so many bytes at a time, and then for once none."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step, self._ready = data, step, True

    def recv(self, size: int) -> bytes:
        self._ready = not self._ready
        if self._ready:
            raise BlockingIOError
        data, self._data = self._data[: min(size, self._step)], self._data[min(size, self._step) :]
        return data


def read_all(sock: BoundedSocket, size: int) -> bytes:
    read = b""
    while True:
        try:
            data = sock.recv(size)
        except BlockingIOError:
            continue
        if not data:
            return read
        read += data


SMALL = b"\x32\x08\x00\x01t\x00\x07\x00ok"
LARGE_V5 = b"\x32\x8e\x08\x00\x03big\x00\x09\x03\x26\x00\x00" + bytes(0x0E + (0x08 << 7) - 11)


@pytest.mark.parametrize("step", [1, 3, 1 << 20])
@pytest.mark.parametrize("size", [1, 4096])
def test_a_packet_that_is_too_large_arrives_without_its_payload(step: int, size: int) -> None:
    sock = BoundedSocket(Wire(SMALL + LARGE_V5 + SMALL, step), 1000, 5)
    assert read_all(sock, size) == SMALL + b"\x32\x08\x00\x03big\x00\x09\x00" + SMALL


def test_before_version_5_there_are_no_properties_and_at_qos_0_no_packet_identifier() -> None:
    large = b"\x30\x8e\x08\x00\x03big" + bytes(0x0E + (0x08 << 7) - 5)
    sock = BoundedSocket(Wire(large + b"\xd0\x00", 7), 1000, 4)
    assert read_all(sock, 3) == b"\x30\x05\x00\x03big\xd0\x00"


def test_any_other_packet_of_that_size_is_no_mqtt() -> None:
    with pytest.raises(ConnectionError):
        read_all(BoundedSocket(Wire(b"\x90\xff\xff\xff\x7f", 9), 1000, 5), 1)
    with pytest.raises(ConnectionError):
        read_all(BoundedSocket(Wire(b"\x30\xff\xff\xff\xff\xff", 9), 1000, 5), 1)


def test_what_nobody_has_subscribed_is_no_mqtt() -> None:
    for first in (b"\x34", b"\x36", b"\x3d"):
        with pytest.raises(ConnectionError):
            read_all(BoundedSocket(Wire(first + SMALL[1:], 9), 1000, 5), 4096)


def test_the_end_of_the_stream_is_passed_on_wherever_it_comes() -> None:
    for cut in range(len(SMALL)):
        read = read_all(BoundedSocket(Wire(SMALL[:cut], 2), 1000, 5), 5)
        assert SMALL.startswith(read)
    for cut in range(10, 30):
        read = read_all(BoundedSocket(Wire(LARGE_V5[:cut], 2), 1000, 5), 5)
        assert read == b"\x32\x08\x00\x03big\x00\x09\x00"
