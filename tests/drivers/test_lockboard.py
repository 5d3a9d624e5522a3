from __future__ import annotations

import asyncio
import contextlib
import functools
import operator
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.lockboard import (
    DIALECTS,
    Address,
    BoardStatus,
    LockPoint,
    Options,
    check_device,
    connect,
    decode,
    find_reply,
    format_status,
    parse_example,
)
from gateway.model import Bus, ConfigError, Device, LinkDown, ReadFailed
from tests.drivers.conftest import Line

SHORT = 0.15
NAMES = sorted(DIALECTS)
WITH_ITEMS = ("cu16", "cu48b")
SEALED = [name for name in NAMES if name != "winnsen"]
"""Those whose frames have a checksum."""
each_dialect = pytest.mark.parametrize("name", NAMES)


def points(count: int = 16, *, inverted: bool = False, door: str = "door") -> dict[str, LockPoint]:
    return {
        **{f"{door}.{n}": LockPoint(field="door", index=n, inverted=inverted) for n in range(1, count + 1)},
        **{f"item.{n}": LockPoint(field="item", index=n) for n in range(1, count + 1)},
    }


def locker(board: int = 1, count: int = 16, door: str = "door") -> Device:
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


def sealed_by_sum(body: bytes) -> bytes:
    return body + bytes((sum(body) % 256,))


def sealed_by_xor(body: bytes) -> bytes:
    return body + bytes((functools.reduce(operator.xor, body),))


class Board:
    """A lock board of another hand, at the wire: sets of the locks whose bit is set, counted from 1."""

    def __init__(self, name: str, number: int = 1) -> None:
        self.name = name
        self.number = number
        self.doors: set[int] = set()
        self.items: set[int] = set()

    def status(self) -> bytes:
        doors = sum(1 << lock - 1 for lock in self.doors)
        items = sum(1 << lock - 1 for lock in self.items)
        if self.name == "cu16":
            data = doors.to_bytes(2, "little") + items.to_bytes(2, "little")
            return sealed_by_sum(bytes((2, self.number * 16, 0x35)) + data + b"\x03")
        if self.name == "cu48b":
            data = doors.to_bytes(6, "little") + items.to_bytes(6, "little")
            return sealed_by_sum(bytes((2, self.number, 0, 0x75)) + data + b"\x03")
        if self.name == "winnsen":
            return bytes((0x90, 7, 0x82, self.number)) + doors.to_bytes(2, "little") + b"\x03"
        if self.name == "xor24":
            return sealed_by_xor(bytes((0x80, self.number)) + doors.to_bytes(3, "big") + b"\x33")
        states = bytes(lock in self.doors for lock in range(1, 25))
        return sealed_by_xor(b"WKLY" + bytes((34, self.number, 0x84, 0, 24)) + states)

    def answer(self, request: bytes) -> list[tuple[float, bytes]]:
        """Refuses what is not letter by letter a request of its maker's."""
        number, opened = self.number, 0
        for lock in range(1, 17):
            order = {
                "cu16": sealed_by_sum(bytes((2, number * 16 + lock - 1, 0x31, 3))),
                "cu48b": sealed_by_sum(bytes((2, number, lock - 1, 0x61, 3))),
                "xor24": sealed_by_xor(bytes((0x8A, number, lock, 0x11))),
                "wkly": sealed_by_xor(b"WKLY" + bytes((9, number, 0x82, lock))),
                "winnsen": bytes((0x90, 6, 5, number, lock, 3)),
            }[self.name]
            opened = lock if request == order else opened
        if opened:
            self.doors.add(opened)
            return {
                "xor24": [(0.0, sealed_by_xor(bytes((0x8A, number, opened, 0x00))))],
                "wkly": [(0.0, sealed_by_xor(b"WKLY" + bytes((11, number, 0x82, 0, opened, 0))))],
                "winnsen": [(0.0, bytes((0x90, 7, 0x85, number, opened, 1, 3)))],
            }.get(self.name, [])
        ask = {
            "cu16": sealed_by_sum(bytes((2, number * 16, 0x30, 3))),
            "cu48b": sealed_by_sum(bytes((2, number, 0, 0x60, 3))),
            "xor24": sealed_by_xor(bytes((0x80, number, 0, 0x33))),
            "wkly": sealed_by_xor(b"WKLY" + bytes((8, number, 0x84))),
            "winnsen": bytes((0x90, 7, 2, number, 0xFF, 0xFF, 3)),
        }[self.name]
        return [(0.0, self.status())] if request == ask else []


@contextlib.asynccontextmanager
async def on_line(line: Line, name: str, timeout: float = 10.0) -> AsyncIterator[Bus]:
    async with connect(Options(port=line.path, dialect=name, timeout=timeout), ()) as bus:  # type: ignore[arg-type]
        yield bus


def set_flags(status: BoardStatus) -> tuple[set[int], set[int]]:
    doors, items = (
        {n for n, flag in enumerate(flags, 1) if flag} for flags in (status.doors, status.items)
    )
    return doors, items


def test_the_published_frames() -> None:
    cu16, cu48b, xor24, wkly = (DIALECTS[name] for name in ("cu16", "cu48b", "xor24", "wkly"))
    assert cu16.add_checksum(cu16.status_request(0)) == bytes.fromhex("0200300335")
    assert cu16.add_checksum(cu16.open_request(0, 1)) == bytes.fromhex("0200310336")
    assert cu48b.add_checksum(cu48b.open_request(0, 5)) == bytes.fromhex("02000461036A")
    assert cu48b.add_checksum(cu48b.status_request(0)) == bytes.fromhex("020000600365")
    assert xor24.add_checksum(xor24.status_request(1)) == bytes.fromhex("80010033B2")
    assert xor24.add_checksum(xor24.open_request(1, 1)) == bytes.fromhex("8A0101119B")
    assert wkly.add_checksum(wkly.open_request(0, 1)) == bytes.fromhex("574B4C590900820183")
    # The reply to opening is sound, but no status.
    opened = bytes.fromhex("574B4C590B008200010081")
    assert wkly.add_checksum(opened[:-1]) == opened
    assert find_reply(wkly, opened, 0) is None


@pytest.mark.parametrize(
    ("name", "board", "reply", "doors"),
    [
        # As public programs and notes have them from real boards.
        ("xor24", 1, "80 01 00 00 00 33 B2", set()), ("xor24", 1, "80 01 00 00 02 33 B0", {2}),
        ("xor24", 1, "80 01 00 00 20 33 92", {6}),
        ("cu16", 0, "02 00 35 00 00 00 00 03 3A", set()), ("cu16", 0, "02 00 36 00 00 00 00 03 3B", set()),
        ("cu16", 1, "02 10 36 00 00 00 00 03 4B", set()),
        ("cu16", 0, "02 00 35 FB FF 01 00 03 35", set(range(1, 17)) - {3}),
        ("cu48b", 0, "02 00 00 75 00 00 00 00 00 00 00 00 00 00 00 00 03 7A", set()),
        ("cu48b", 0, "02 00 00 75 10 00 00 00 00 00 00 00 00 00 00 00 03 8A", {5}),
        ("cu48b", 0, "02 00 00 75 00 20 00 00 00 00 00 00 00 00 00 00 03 9A", {14}),
        ("wkly", 0, "57 4B 4C 59 0C 00 84 00 02 00 01 82", {2}),
        # Public programs for kiosks: 82 as documented, A2 as some boards answer.
        ("winnsen", 1, "90 07 82 01 01 01 03", {1, 9}), ("winnsen", 3, "90 07 A2 03 02 00 03", {2}),
    ],
)  # fmt: skip
def test_published_replies(name: str, board: int, reply: str, doors: set[int]) -> None:
    status = find_reply(DIALECTS[name], bytes.fromhex(reply), board)
    assert status
    assert set_flags(status)[0] == doors


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("cu16", "02 00 31 03 36"), ("cu48b", "02 00 0A 77 01 00 00 00 00 00 01 00 00 00 00 00 03 88"),
        ("wkly", "57 4B 4C 59 0A 00 81 00 01 83"), ("wkly", "57 4B 4C 59 0B 01 82 00 04 00 85"),
        ("wkly", "57 4B 4C 59 0E 00 96 00 00 00 FF FF 01 90"), ("wkly", "57 4B 4C 59 09 00 86 00 86"),
        ("xor24", "8A 01 01 00 8A"), ("xor24", "80 01 01 11 91"),
        ("xor24", "80 01 00 33 B2"), ("winnsen", "90 07 85 01 05 01 03"),
        ("winnsen", "90 07 02 01 FF FF 03"), ("winnsen", "90 06 05 01 05 03"),
    ],
)  # fmt: skip
def test_published_frames_that_are_no_status(name: str, reply: str) -> None:
    for board in (0, 1):
        assert find_reply(DIALECTS[name], bytes.fromhex(reply), board) is None


@pytest.mark.parametrize(
    ("board", "lock", "frame"),
    [
        ("cu16", 1, "02 10 30 03 45"), ("xor24", 1, "80 01 00 33 B2"), ("xor24", 2, "80 02 00 33 B1"),
        ("wkly", 1, "57 4B 4C 59 08 01 84 84"), ("cu48b", 0, "02 00 00 60 03 65"),
        ("winnsen", 1, "90 07 02 01 FF FF 03"),
    ],
)  # fmt: skip
def test_published_requests(board: str, lock: int, frame: str) -> None:
    dialect = DIALECTS[board]
    assert dialect.add_checksum(dialect.status_request(lock)) == bytes.fromhex(frame)


@pytest.mark.parametrize(
    ("name", "board", "lock", "frame"),
    [
        ("cu16", 0, 14, "02 0D 31 03 43"), ("cu16", 1, 1, "02 10 31 03 46"),
        ("xor24", 1, 6, "8A 01 06 11 9C"),
        ("wkly", 1, 2, "57 4B 4C 59 09 01 82 02 81"), ("wkly", 1, 11, "57 4B 4C 59 09 01 82 0B 88"),
        ("cu48b", 0, 5, "02 00 04 61 03 6A"), ("winnsen", 1, 5, "90 06 05 01 05 03"),
    ],
)  # fmt: skip
def test_published_orders(name: str, board: int, lock: int, frame: str) -> None:
    dialect = DIALECTS[name]
    assert dialect.add_checksum(dialect.open_request(board, lock)) == bytes.fromhex(frame)


def test_an_example_is_a_dialect_and_a_reply() -> None:
    status = parse_example({"cu16": "02 00 35 00 00 00 00 03 3A"})
    assert set_flags(status) == (set(), set())
    assert format_status(status) == "02 00 35 00 00 00 00 03 3A"
    for wrong in ({}, {"cu16": "02 00 35"}, {"cu16": "", "wkly": ""}, {"cu17": "02"}):
        with pytest.raises((ValueError, KeyError)):
            parse_example(wrong)


def test_bits_are_counted_from_lock_1_and_may_be_inverted() -> None:
    raw = parse_example({"cu16": "02 00 36 01 80 04 00 03 C0"})
    straight, inverted = decode(points(), raw), decode(points(inverted=True), raw)
    assert {name for name, value in straight.items() if value} == {"door.1", "door.16", "item.3"}
    assert {name for name, value in inverted.items() if not value} == {
        *(f"item.{n}" for n in range(1, 17) if n != 3), "door.1", "door.16",
    }  # fmt: skip


def test_a_lock_the_board_knows_nothing_of_is_left_out() -> None:
    raw = parse_example({"wkly": sealed_by_xor(b"WKLY" + bytes((13, 0, 0x84, 0, 3, 0, 0xFF, 1))).hex()})
    assert decode(points(4), raw) == {"door.1": False, "door.3": True}


flags = st.lists(st.one_of(st.none(), st.booleans()), max_size=50).map(tuple)


@given(flags, flags, st.integers(1, 60), st.booleans())
def test_decoding_never_raises(
    doors: tuple[bool | None, ...], items: tuple[bool | None, ...], count: int, inverted: bool
) -> None:
    values = decode(points(count, inverted=inverted), BoardStatus(b"", doors, items))
    assert {name for name in values if name.startswith("door")} == {
        f"door.{n}" for n, flag in enumerate(doors[:count], 1) if flag is not None
    }


beginnings = st.sampled_from(
    [b"", b"\x02", b"\x80", b"\x80\x01", b"WKLY", b"WKLY\x08\x01\x84", b"WKLY\x00"]
)


@given(st.sampled_from(NAMES), beginnings, st.binary(max_size=60), st.integers(0, 255))
def test_looking_for_a_reply_never_raises(name: str, begin: bytes, data: bytes, board: int) -> None:
    body = begin + data
    for tail in (b"", bytes((DIALECTS[name].checksum(body),))):
        found = find_reply(DIALECTS[name], body + tail, board)
        assert found is None or found.frame in body + tail


@given(st.sampled_from(NAMES), st.binary(max_size=30), st.integers(0, 15), st.sets(st.integers(1, 16)))
def test_a_reply_is_found_behind_any_noise(name: str, noise: bytes, number: int, doors: set[int]) -> None:
    board = Board(name, number)
    board.doors = doors
    board.items = {17 - lock for lock in doors} if name in WITH_ITEMS else set()
    reply = board.status()
    if find_reply(DIALECTS[name], noise + reply[:-1], number) is None:
        found = find_reply(DIALECTS[name], noise + reply, number)
        assert found
        assert set_flags(found) == (board.doors, board.items)


@given(st.sampled_from(SEALED), st.integers(0, 15), st.integers(0, 99), st.integers(1, 255))
def test_a_changed_byte_is_no_reply(name: str, number: int, position: int, change: int) -> None:
    board = Board(name, number)
    board.doors = {1, 4, 10}
    reply = bytearray(board.status())
    reply[position % len(reply)] ^= change
    assert find_reply(DIALECTS[name], bytes(reply), number) is None


@each_dialect
async def test_a_board_tells_its_doors(line: Line, name: str) -> None:
    board = Board(name, 2)
    board.doors = {1, 5, 9, 16}
    line.answer = board.answer
    async with on_line(line, name) as bus:
        values = decode(points(), await bus.read(locker(2)))
    assert {point for point, value in values.items() if value} == {"door.1", "door.5", "door.9", "door.16"}
    assert ("item.1" in values) == (name in WITH_ITEMS)


@pytest.mark.parametrize("fault", ["silence", "partial", "other board", "bad sum", "flood"])
@each_dialect
async def test_an_answer_that_is_none_is_a_failure_and_the_next_one_is_right(
    line: Line, name: str, fault: str
) -> None:
    board = Board(name)
    status = board.status()
    said = {
        "silence": b"",
        "partial": status[:5],
        "other board": Board(name, 3).status(),
        "bad sum": status[:-1] + bytes((status[-1] ^ 0xFF,)),
        "flood": status[:1] * 9000,
    }[fault]
    async with on_line(line, name, SHORT) as bus:
        line.answer = lambda _: [(0.01 * i, said[2000 * i : 2000 * (i + 1)]) for i in range(5)]
        with pytest.raises(ReadFailed) as failed:
            await bus.read(locker())
        assert failed.value.key == ("garbage" if said else "timeout")
        bus.timeout_s = 10.0
        board.doors = {4}
        status = board.status()
        line.answer = lambda _: [(0, status[:2]), (0.01, status[:4]), (0.02, status[4:])]
        assert set_flags(await bus.read(locker()))[0] == {4}


@each_dialect
@pytest.mark.parametrize("cut", [None, 1, 3, 6])
async def test_an_adapter_that_echoes_and_a_reply_in_two_pieces(
    line: Line, name: str, cut: int | None
) -> None:
    """Two-wire adapters hear themselves: the request comes back before the reply, glued to it or not."""
    board = Board(name)
    board.doors = {2, 9}

    def answer(request: bytes) -> list[tuple[float, bytes]]:
        reply = b"".join(data for _, data in board.answer(request))
        if cut is None:
            return [(0.0, request), (0.01, reply)]
        whole = request + reply
        return [(0.0, whole[: len(request) + cut]), (0.02, whole[len(request) + cut :])]

    line.answer = answer
    async with on_line(line, name) as bus:
        status = await bus.read(locker())
        assert isinstance(status, BoardStatus)
        assert set_flags(status)[0] == {2, 9}


@each_dialect
async def test_nothing_but_an_echo_is_no_reply(line: Line, name: str) -> None:
    line.answer = lambda request: [(0.0, request)]
    async with on_line(line, name, SHORT) as bus:
        with pytest.raises(ReadFailed, match="garbage"):
            await bus.read(locker())


@each_dialect
async def test_the_reply_is_found_between_those_of_other_boards(line: Line, name: str) -> None:
    mine, other = Board(name, 1), Board(name, 2)
    mine.doors, other.doors = {4}, {1, 2, 3}
    # What an opened board says unasked, in the dialects that are known to.
    unasked = {"wkly": sealed_by_xor(b"WKLY" + bytes((10, 1, 0x85, 4, 0))),
               "xor24": sealed_by_xor(bytes((0x82, 1, 4, 0x11)))}.get(name, b"")  # fmt: skip
    line.answer = lambda request: [(0.0, other.status() + unasked + mine.status() + other.status())]
    async with on_line(line, name) as bus:
        status = await bus.read(locker())
        assert isinstance(status, BoardStatus)
        assert set_flags(status)[0] == {4}


async def test_what_came_before_the_request_is_no_reply(line: Line) -> None:
    board = Board("cu16")
    board.doors = {1}
    async with on_line(line, "cu16") as bus:
        line.say(board.status())
        await asyncio.sleep(0.02)
        board.doors = {2}
        line.answer = lambda _: [(0.01, board.status())]
        assert set_flags(await bus.read(locker()))[0] == {2}


@each_dialect
async def test_an_open_command_is_sent_once_and_the_status_shows_it(line: Line, name: str) -> None:
    board = Board(name, 3)
    line.answer = board.answer
    async with on_line(line, name) as bus:
        expected = await bus.write(locker(3, door="flap"), "open", {"lock": 16})
        assert expected == {"flap.16": True}
        async with asyncio.timeout(5):
            while not board.doors:
                await asyncio.sleep(0.001)
        # Even right behind a reply to the order.
        status = await bus.read(locker(3))
        assert (len(line.requests), board.doors) == (2, {16}), "the order and the poll"
    assert decode(points(door="flap"), status)["flap.16"] is True


@pytest.mark.parametrize("lock", [0, 13, 17, 49, -1, True, "1", 1.0, None])
@each_dialect
async def test_a_lock_that_there_is_not_is_never_opened(line: Line, name: str, lock: int) -> None:
    async with on_line(line, name) as bus:
        with pytest.raises(ReadFailed, match="lock-missing" if lock is None else "lock-unknown"):
            await bus.write(locker(count=12), "open", {"lock": lock})
        board = Board(name)
        line.answer = board.answer
        await bus.read(locker(count=12))
    assert (len(line.requests), board.doors) == (1, set()), "the poll alone"


async def test_a_lock_beyond_the_dialect_would_be_another_or_all(line: Line) -> None:
    for name, beyond in (("cu16", 17), ("cu48b", 49), ("xor24", 25)):
        async with on_line(line, name) as bus:
            with pytest.raises(ReadFailed, match="lock-unknown"):
                await bus.write(locker(count=60), "open", {"lock": beyond})
    async with on_line(line, "cu16") as bus:
        for ask in (bus.read(locker(16)), bus.write(locker(16), "open", {"lock": 1})):
            with pytest.raises(ReadFailed, match="lock-board-unknown"):
                await ask
        board = Board("cu16")
        line.answer = board.answer
        await bus.read(locker())
    assert (len(line.requests), board.doors) == (1, set()), "the poll alone"


def test_a_board_beyond_the_dialect_is_a_mistake_of_the_site() -> None:
    for board, dialect in ((15, "cu16"), (16, "cu48b"), (255, "wkly")):
        check_device(locker(board), (), Options(port="", dialect=dialect))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="lock-board-unknown"):
        check_device(locker(16), (), Options(port="", dialect="cu16"))


async def test_an_unplugged_line_is_a_link_that_is_down(line: Line) -> None:
    board = Board("wkly")
    line.answer = board.answer
    async with on_line(line, "wkly") as bus:
        await bus.read(locker())
        line.unplug()
        with pytest.raises(LinkDown):
            await bus.read(locker())
        with pytest.raises(LinkDown):
            await bus.write(locker(), "open", {"lock": 1})
