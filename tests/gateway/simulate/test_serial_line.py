from __future__ import annotations

import os
import select
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.simulate.cu16 import LockBoard
from gateway.simulate.faults import Faults
from gateway.simulate.modbus import RtuSlaves, crc16
from gateway.simulate.serial_line import extract_requests, serve_serial_line
from tests.gateway.simulate.conftest import Simulator, ask, eventually

SLAVES = RtuSlaves(lambda _: None)
POLL = bytes.fromhex("010300000008440C")


@given(noise=st.binary(max_size=40), cut=st.integers(0, 48))
def test_a_request_is_found_in_any_noise_and_in_any_pieces(noise: bytes, cut: int) -> None:
    wire = noise + POLL
    # One window in 65536 has the right checksum by accident: no receiver can tell.
    assume(not any(SLAVES.is_valid_request(wire[i : i + 8]) for i in range(len(noise))))
    buffer = bytearray(wire[:cut])
    found = list(extract_requests(buffer, SLAVES))
    buffer += wire[cut:]
    found += extract_requests(buffer, SLAVES)
    assert found == [POLL]
    assert not buffer


def test_two_requests_at_once_and_half_of_a_third() -> None:
    other = bytes.fromhex("020400010001") + crc16(bytes.fromhex("020400010001"))
    buffer = bytearray(POLL + other + POLL[:5])
    assert list(extract_requests(buffer, SLAVES)) == [POLL, other]
    assert buffer == POLL[:5]


@given(st.binary(max_size=200))
def test_the_buffer_never_grows(noise: bytes) -> None:
    buffer = bytearray(noise)
    list(extract_requests(buffer, SLAVES))
    assert len(buffer) < SLAVES.request_bytes


async def test_a_stale_link_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    path, board = tmp_path / "lockers", LockBoard(lambda: pytest.fail("nobody asks"))
    path.symlink_to("/nonexistent")
    with serve_serial_line(path, board, Faults()):
        assert path.readlink() != Path("/nonexistent")
    assert not path.is_symlink()
    path.write_text("mine")
    with pytest.raises(FileExistsError), serve_serial_line(path, board, Faults()):
        pass
    assert path.read_text() == "mine"


def test_clients_come_and_go(sim: Simulator) -> None:
    for _ in range(5):
        assert ask(sim.rs485, b"\x01\x03\x00\x00\x00\x01", 7)[:3] == b"\x01\x03\x02"


def test_requests_that_nobody_reads_the_answers_to_do_no_harm(sim: Simulator) -> None:
    port = os.open(sim.rs485, os.O_RDWR | os.O_NOCTTY)
    try:
        for _ in range(600):  # 600 answers of 21 bytes are more than a pty holds
            os.write(port, POLL)
            select.select([], [port], [], 1)
    finally:
        os.close(port)
    assert sim.state()["time"]
    eventually(lambda: len(ask(sim.rs485, b"\x01\x03\x00\x00\x00\x01", 8, 0.3)) == 7)
