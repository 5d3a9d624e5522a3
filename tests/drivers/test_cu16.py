from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.cu16 import Address, LockPoint, Options, connect, decode, example, find_reply, frame
from gateway.model import Bus, Device, LinkDown, ReadFailed

from .conftest import Line

SHORT = 0.15


def points(count: int = 16, *, inverted: bool = False, door: str = "door") -> dict[str, LockPoint]:
    return {
        **{f"{door}.{n}": LockPoint(field="door", index=n, inverted=inverted) for n in range(1, count + 1)},
        **{f"item.{n}": LockPoint(field="item", index=n) for n in range(1, count + 1)},
    }


def locker(board: int = 0, count: int = 16, door: str = "door") -> Device:
    return Device(
        name="locker",
        title={},
        kind="parcel-locker",
        profile="",
        bus="line",
        address=Address(board=board),
        points=points(count, door=door),
        every=1.0,
    )


def status(board: int, doors: int, items: int = 0) -> bytes:
    body = (
        bytes((0x02, board << 4, 0x36))
        + doors.to_bytes(2, "little")
        + items.to_bytes(2, "little")
        + b"\x03"
    )
    return body + bytes((sum(body) & 0xFF,))


@contextlib.asynccontextmanager
async def on_line(line: Line) -> AsyncIterator[Bus]:
    async with connect(Options(port=line.path, timeout=SHORT), ()) as bus:
        yield bus


def test_the_frames_of_the_makers_sheet() -> None:
    assert frame(0, 0, 0x30) == bytes.fromhex("0200300335")
    assert frame(0, 0, 0x31) == bytes.fromhex("0200310336")
    assert frame(15, 0, 0x32) == bytes.fromhex("02F0320327")
    assert example({"reply": "02 00 36 00 00 00 00 03 3B"}) == bytes(4)


def test_bits_are_counted_from_lock_1_and_may_be_inverted() -> None:
    raw = bytes.fromhex("01800400")
    straight, inverted = decode(points(), raw), decode(points(inverted=True), raw)
    assert {name for name, value in straight.items() if value} == {"door.1", "door.16", "item.3"}
    assert {name for name, value in inverted.items() if not value} == {
        *(f"item.{n}" for n in range(1, 17) if n != 3), "door.1", "door.16",
    }  # fmt: skip


@given(st.binary(max_size=60), st.integers(0, 15))
def test_looking_for_a_reply_never_raises(data: bytes, board: int) -> None:
    found = find_reply(data, board)
    assert found is None or len(found) == 4


@given(st.binary(max_size=30), st.integers(0, 15), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_a_reply_is_found_behind_any_noise(noise: bytes, board: int, doors: int, items: int) -> None:
    reply = status(board, doors, items)
    if find_reply(noise + reply[:-1], board) is None:
        assert find_reply(noise + reply, board) == reply[3:7]


@given(st.integers(0, 15), st.integers(0, 8), st.integers(1, 255))
def test_a_changed_byte_is_no_reply(board: int, position: int, change: int) -> None:
    reply = bytearray(status(board, 0x1234, 0x5678))
    reply[position] ^= change
    assert find_reply(bytes(reply), board) is None


async def test_a_board_tells_its_doors(line: Line) -> None:
    line.answer = lambda request: [(0, status(2, 1 << 4))] if request == frame(2, 0, 0x30) else []
    async with on_line(line) as bus:
        assert await bus.read(locker(2)) == bytes.fromhex("10000000")


@pytest.mark.parametrize(
    ("said", "key"),
    [
        (b"", "timeout"),
        (status(0, 1)[:5], "garbage"),
        (status(1, 1), "garbage"),
        (status(0, 1)[:-1] + b"\x00", "garbage"),
        (b"\xff" * 9000, "garbage"),
    ],
    ids=["silence", "partial", "other board", "bad sum", "flood"],
)
async def test_an_answer_that_is_none_is_a_failure_and_the_next_one_is_right(
    line: Line, said: bytes, key: str
) -> None:
    async with on_line(line) as bus:
        line.answer = lambda _: [(0.01 * i, said[2000 * i : 2000 * (i + 1)]) for i in range(5)]
        with pytest.raises(ReadFailed) as failed:
            await bus.read(locker())
        assert failed.value.key == key
        line.answer = lambda _: [(0, b"\x02\x00"), (0.01, status(0, 8)[:4]), (0.02, status(0, 8)[4:])]
        assert (await bus.read(locker()))[0] == 8


async def test_what_came_before_the_request_is_no_reply(line: Line) -> None:
    async with on_line(line) as bus:
        line.say(status(0, 1))
        await asyncio.sleep(0.02)
        line.answer = lambda _: [(0.01, status(0, 2))]
        assert (await bus.read(locker()))[0] == 2


async def test_an_open_command_is_sent_once_and_says_what_to_expect(line: Line) -> None:
    async with on_line(line) as bus:
        assert await bus.write(locker(3, door="flap"), "open", {"lock": 16}) == {"flap.16": True}
        await asyncio.sleep(0.05)
    assert line.requests == [frame(3, 15, 0x31)]


@pytest.mark.parametrize("lock", [0, 13, 17, -1, True, "1", 1.0, None])
async def test_a_lock_that_there_is_not_is_never_opened(line: Line, lock: int) -> None:
    async with on_line(line) as bus:
        with pytest.raises(ReadFailed, match="lock-unknown"):
            await bus.write(locker(count=12), "open", {"lock": lock})
        await asyncio.sleep(0.02)
    assert line.requests == []


async def test_an_unplugged_line_is_a_link_that_is_down(line: Line) -> None:
    async with on_line(line) as bus:
        line.answer = lambda _: [(0, status(0, 1))]
        await bus.read(locker())
        line.unplug()
        with pytest.raises(LinkDown):
            await bus.read(locker())
        with pytest.raises(LinkDown):
            await bus.write(locker(), "open", {"lock": 1})
