from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.simulate.centre import Centre
from gateway.simulate.cu16 import ALL_BOARDS, OPEN, STATUS, STATUS_OF_ALL, LockBoard, build_frame
from tests.gateway.simulate.conftest import Simulator, eventually, exchange

QUERY = bytes.fromhex("0200300335")


@pytest.fixture
def centre() -> Centre:
    centre = Centre()
    for locker in centre.lockers:
        locker.parcel, locker.open = None, False
    return centre


def test_worked_frames(centre: Centre) -> None:
    assert build_frame(0, STATUS) == QUERY
    assert build_frame(0, OPEN) == bytes.fromhex("0200310336")
    assert build_frame(ALL_BOARDS, STATUS_OF_ALL) == bytes.fromhex("02F0320327")
    # As public programs recorded them from a board with all doors open.
    for locker in centre.lockers:
        locker.open = True
    board = LockBoard(lambda: centre)
    assert board.reply_to(QUERY) == bytes.fromhex("02003500000000033A")
    assert board.reply_to(build_frame(ALL_BOARDS, STATUS_OF_ALL)) == bytes.fromhex("02003600000000033B")


def test_bits_are_those_of_their_locks(centre: Centre) -> None:
    centre.lockers[0].open = centre.lockers[9].open = True
    centre.lockers[7].parcel = centre.lockers[15].parcel = 1
    assert LockBoard(lambda: centre).reply_to(QUERY)[3:7] == bytes((0xFE, 0xFD, 0x80, 0x80))


def test_only_whole_frames_are_requests() -> None:
    assert LockBoard.is_valid_request(QUERY)
    for wrong in ("0200300336", "0300300336", "0200300434"):
        assert not LockBoard.is_valid_request(bytes.fromhex(wrong))


def test_another_board_and_another_command_have_no_answer(centre: Centre) -> None:
    board = LockBoard(lambda: centre)
    assert board.reply_to(build_frame(0x10, STATUS)) == b""
    assert board.reply_to(build_frame(0x13, OPEN)) == b""
    assert board.reply_to(build_frame(0, 0x7F)) == b""
    assert board.reply_to(build_frame(ALL_BOARDS, STATUS)) == b""
    assert not any(locker.open for locker in centre.lockers)


def status(sim: Simulator) -> tuple[int, int]:
    """Open doors and occupied lockers, as bits."""
    reply = exchange(sim.lockers, QUERY, 9)
    assert (reply[:3], reply[7]) == (b"\x02\x00\x35", 3)
    assert sum(reply[:-1]) & 0xFF == reply[-1]
    return 0xFFFF ^ int.from_bytes(reply[3:5], "little"), int.from_bytes(reply[5:7], "little")


def test_a_locker_is_opened_emptied_and_closed(simulate: Callable[..., Simulator]) -> None:
    sim = simulate("--speed", "4", "--start", "03:00")
    doors, items = status(sim)
    assert doors == 0
    lock = (items & -items).bit_length() - 1
    assert exchange(sim.lockers, build_frame(lock, OPEN), 1, seconds=0.1) == b"", "no reply to opening"
    assert status(sim)[0] == 1 << lock
    eventually(lambda: status(sim) == (0, items & ~(1 << lock)))


def test_a_dead_board_neither_answers_nor_opens(simulate: Callable[..., Simulator]) -> None:
    sim = simulate("--start", "03:00")
    sim.do("dead?wire=cu16&on=1")
    assert exchange(sim.lockers, build_frame(5, OPEN) + QUERY, 1, seconds=0.3) == b""
    sim.do("dead?wire=cu16&on=0")
    assert status(sim)[0] == 0
