from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from drivers.modbus import (
    DRIVER,
    FORMATS,
    LONGEST,
    Address,
    Join,
    ModbusBus,
    Options,
    RegisterPoint,
    Table,
    Type,
    WriteAction,
    connect,
    decode,
    example,
    halve,
    plan,
)
from gateway.clock import SystemClock
from gateway.codec import finish
from gateway.config import BusSpec
from gateway.model import Command, Device, GatewayError, LinkDown, ReadFailed, Sample
from gateway.simulate.modbus import crc16
from gateway.supervise import BusTask

from ..conftest import Line, rtu


def a_device(
    unit: int = 7, name: str = "d", every: float = 1.0, points: Any = None, **more: RegisterPoint
) -> Device:
    return Device(
        name=name,
        title={},
        kind="thermometer",
        profile="",
        bus="line",
        address=Address(unit=unit),
        points=points or more or {"x": RegisterPoint(address=0)},
        every=every,
    )


points = st.builds(
    RegisterPoint,
    address=st.one_of(st.integers(0, 300), st.integers(0, 60_000)),
    table=st.sampled_from(get_args(Table)),
    type=st.sampled_from(get_args(Type)),
    order=st.sampled_from(("ABCD", "CDAB", "BADC", "DCBA")),
    index=st.integers(1, 20),
    stride=st.integers(0, 200),
)


def cells(requests: list[tuple[Table, int, int]]) -> set[tuple[Table, int]]:
    return {(table, first + i) for table, first, count in requests for i in range(count)}


def cells_of(request: tuple[Table, int, int]) -> set[int]:
    return set(range(request[1], request[1] + request[2]))


def needs(wanted: list[RegisterPoint]) -> set[tuple[Table, int]]:
    return {(point.table, point.first + i) for point in wanted for i in range(point.width)}


@given(st.lists(points, max_size=20), st.lists(st.sampled_from(get_args(Join)), min_size=20, max_size=20))
def test_a_plan_leaves_alone_what_its_points_forbid(wanted: list[RegisterPoint], joins: list[Join]) -> None:
    wanted = [replace(point, join=join) for point, join in zip(wanted, joins, strict=False)]
    requests = plan(wanted)
    needed = needs(wanted)
    for point in wanted:
        assert any(needs([point]) <= set(cells([request])) for request in requests)
        beside = {(point.table, point.first - 1), (point.table, point.first + point.width)}
        for request in requests:
            if point.join != "near" and needs([point]) <= cells([request]):
                assert beside & cells([request]) <= needed


def test_what_lies_beside_some_points_is_not_read() -> None:
    """A device may refuse holes, or any range at all (KEBA P30)."""
    near = [RegisterPoint(address=0), RegisterPoint(address=2), RegisterPoint(address=4)]
    assert plan(near) == [("holding", 0, 5)]
    strict = [near[0], RegisterPoint(address=2, join="next"), RegisterPoint(address=3), near[2]]
    assert plan(strict) == [("holding", 0, 1), ("holding", 2, 3)]
    alone = [RegisterPoint(address=at, type="uint32", join="never") for at in (0, 2, 4)]
    assert plan(alone) == [("holding", 0, 2), ("holding", 2, 2), ("holding", 4, 2)]
    bits = [RegisterPoint(address=7, bit=bit, join="never") for bit in range(4)]
    assert plan(bits) == [("holding", 7, 1)]


@given(st.lists(points, max_size=40), st.integers(0, 20))
def test_a_plan_reads_every_point_whole_and_little_else(wanted: list[RegisterPoint], gap: int) -> None:
    requests = plan(wanted, gap)
    whole = [set(cells([request])) for request in requests]
    for point in wanted:
        assert any(needs([point]) <= request for request in whole)
    needed = needs(wanted)
    for table, first, count in requests:
        assert 1 <= count <= LONGEST[table]
        assert (table, first) in needed
        assert (table, first + count - 1) in needed
        lonely = 0
        for address in range(first, first + count):
            lonely = 0 if (table, address) in needed else lonely + 1
            assert lonely <= gap
    # Neighbours that fit together are together.
    for (table, first, count), (other, begin, more) in itertools.pairwise(requests):
        end = max(begin + more, first + count)
        assert table != other or begin > first + count + gap or end - first > LONGEST[table]


@given(st.lists(points, min_size=1, max_size=20))
def test_halving_a_refused_request_keeps_all_its_points_and_ends(wanted: list[RegisterPoint]) -> None:
    requests = plan(wanted)
    for _ in range(40):
        halved = [part for request in requests for part in halve(wanted, request)]
        assert needs(wanted) <= cells(halved)
        if halved == requests:
            break
        requests = halved
    for request in requests:
        assert (
            len(
                {point.first for point in wanted if point.table == request[0] and point.first == request[1]}
            )
            == 1
        )


@pytest.mark.parametrize(
    ("kind", "words", "value"),
    [
        ("uint16", [0xFFFE], 65534),
        ("int16", [0xFFFE], -2),
        ("uint32", [0x0001, 0x0002], 65538),
        ("int32", [0xFFFF, 0xFFFE], -2),
        ("uint64", [0, 1, 0, 2], 0x1_0000_0002),
        ("int64", [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE], -2),
        ("float32", [0x41BE, 0x6666], pytest.approx(23.8)),
        ("float64", [0x4037, 0xCCCC, 0xCCCC, 0xCCCD], 23.8),
    ],
)
def test_the_types(kind: Type, words: list[int], value: float) -> None:
    assert decode({"x": RegisterPoint(address=3, type=kind)}, example({"holding": {"3": words}})) == {
        "x": value
    }


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("ABCD", [0x1122, 0x3344]),
        ("CDAB", [0x3344, 0x1122]),
        ("BADC", [0x2211, 0x4433]),
        ("DCBA", [0x4433, 0x2211]),
    ],
)
def test_the_word_orders(order: Any, words: list[int]) -> None:
    point = RegisterPoint(address=0, type="uint32", order=order)
    assert decode({"x": point}, {"holding": dict(enumerate(words))}) == {"x": 0x11223344}


@pytest.mark.parametrize(
    ("kind", "words"),
    [("float32", [0x7FC0, 0]), ("float32", [0x7F80, 0]), ("float32", [0xFF80, 0]),
     ("float32", [0xFFFF, 0xFFFF]), ("float64", [0x7FF8, 0, 0, 0]), ("float64", [0xFFF0, 0, 0, 0])],
)  # fmt: skip
def test_a_number_that_is_none_is_left_out(kind: Type, words: list[int]) -> None:
    wanted = {"x": RegisterPoint(address=0, type=kind, scale=0.1, max=100), "y": RegisterPoint(address=9)}
    values = decode(wanted, {"holding": {**dict(enumerate(words)), 9: 5}})
    assert finish(wanted, values) == ({"y": 5}, {"x": "not-a-number"})


@pytest.mark.parametrize(
    ("order", "kind", "words", "value"),
    [
        # 123456.00 as makers' application notes print it in all four orders.
        ("ABCD", "float32", [0x47F1, 0x2000], 123456.0), ("CDAB", "float32", [0x2000, 0x47F1], 123456.0),
        ("BADC", "float32", [0xF147, 0x0020], 123456.0), ("DCBA", "float32", [0x0020, 0xF147], 123456.0),
        ("CDAB", "int32", [0x1DC0, 0xFFFE], -123456), ("DCBA", "int32", [0xC01D, 0xFEFF], -123456),
        ("CDAB", "int64", [0x8888, 0x6666, 0x4444, 0x2222], 0x2222444466668888),
        ("BADC", "uint64", [0x2211, 0x4433, 0x6655, 0x8877], 0x1122334455667788),
        ("DCBA", "float64", [0x0000, 0x0000, 0x0000, 0xF03F], 1.0),
        ("BADC", "uint16", [0x3412], 0x1234), ("DCBA", "int16", [0xFEFF], -2),
    ],
)  # fmt: skip
def test_published_numbers_in_every_order(order: Any, kind: Type, words: list[int], value: float) -> None:
    point = RegisterPoint(address=0, type=kind, order=order)
    assert decode({"x": point}, {"holding": dict(enumerate(words))}) == {"x": value}


@given(
    st.dictionaries(st.text(max_size=3), points, max_size=8),
    st.dictionaries(
        st.sampled_from(get_args(Table)),
        st.dictionaries(st.integers(0, 400), st.integers(0, 0xFFFF)),
        max_size=4,
    ),
)
def test_decoding_never_raises(wanted: dict[str, RegisterPoint], raw: dict[Table, dict[int, int]]) -> None:
    values = decode(wanted, raw)
    assert set(values) == {
        name
        for name, point in wanted.items()
        if all(address in raw.get(table, {}) for table, address in needs([point]))
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"holdings": {"0": [1]}},
        {"holding": [1, 2]},
        {"holding": {"0": 1}},
        {"holding": {"0": [70000]}},
        {"holding": {"0": [-1]}},
        {"holding": {"first": [1]}},
    ],
)
def test_an_example_that_is_none_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Expected|Invalid"):
        example(fields)


def all_types(table: Table) -> dict[str, RegisterPoint]:
    return {kind: RegisterPoint(address=8 * i, table=table, type=kind) for i, kind in enumerate(FORMATS)}


NUMBERS: dict[Type, Any] = {
    "uint16": 65535, "int16": -2, "uint32": 4_000_000_000, "int32": -70_000,
    "uint64": 2**63 + 5, "int64": -(2**40), "float32": 1.5, "float64": -23.8,
}  # fmt: skip


def run_of(kind: Type) -> list[int]:
    data = struct.pack(f">{FORMATS[kind]}", NUMBERS[kind])
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


@pytest.mark.parametrize("table", ["holding", "input"])
async def test_all_types_from_a_server_of_another_make(
    foreign_tcp: Callable[[dict[str, Any]], int], table: Table
) -> None:
    runs: dict[str, Any] = {
        table: {8 * i + n: w for i, kind in enumerate(FORMATS) for n, w in enumerate(run_of(kind))}
    }
    device = a_device(points=all_types(table))
    async with connect(Options(url=f"tcp://127.0.0.1:{foreign_tcp(runs)}", timeout=5), (device,)) as bus:
        assert decode(device.points, await bus.read(device)) == NUMBERS


async def test_bits_long_ranges_and_refusals_of_a_server_of_another_make(
    foreign_tcp: Callable[[dict[str, Any]], int],
) -> None:
    port = foreign_tcp({"coil": {"0": True, "9": True, "300": True}, "discrete": {"5": True}})
    wanted = {
        **{f"c{n}": RegisterPoint(address=n, table="coil") for n in (0, 1, 9, 300)},
        **{f"d{n}": RegisterPoint(address=n, table="discrete") for n in (5, 6)},
        **{f"h{n}": RegisterPoint(address=n) for n in range(0, 400, 5)},
        # The server has registers to 999 only: at 995 a range over the edge is refused whole.
        **{f"e{n}": RegisterPoint(address=n) for n in (990, 995, 999, 1000, 1003)},
    }
    device = a_device(points=wanted)
    truth: dict[str, Any] = {"c0": True, "c1": False, "c9": True, "c300": True, "d5": True, "d6": False}
    truth |= {f"h{n}": n for n in range(0, 400, 5)}
    async with connect(Options(url=f"tcp://127.0.0.1:{port}", timeout=5), (device,)) as bus:
        first = decode(device.points, await bus.read(device))
        assert first == truth
        # What was refused is asked for in ever smaller parts, until all there is has been found.
        for _ in range(4):
            last = decode(device.points, await bus.read(device))
        assert last == truth | {"e990": 990, "e995": 995, "e999": 999}
        nothing = a_device(name="n", x=RegisterPoint(address=5000))
        with pytest.raises(ReadFailed) as failed:
            await bus.read(nothing)
        assert (failed.value.key, failed.value.facts["code"]) == ("modbus-exception", 2)


@contextlib.contextmanager
def chain(folder: Path, slave: Path, unit: int) -> Any:
    """Two ptys joined by socat, with libmodbus at the far end."""
    near, far = folder / "near", folder / "far"
    joint = subprocess.Popen(["socat", f"pty,raw,echo=0,link={near}", f"pty,raw,echo=0,link={far}"])
    with joint:
        try:
            while not far.exists():
                assert joint.poll() is None
            with subprocess.Popen([slave, far, str(unit)], stdout=subprocess.PIPE, text=True) as running:
                try:
                    assert running.stdout
                    assert running.stdout.readline() == "ready\n"
                    yield near
                finally:
                    running.kill()
        finally:
            joint.terminate()


async def test_a_serial_slave_of_another_make(foreign_rtu: Path, tmp_path: Path) -> None:
    device = a_device(
        unit=17,
        h=RegisterPoint(address=42),
        wide=RegisterPoint(address=100, type="uint32"),
        i=RegisterPoint(address=5, table="input"),
        c=RegisterPoint(address=9, table="coil"),
        d=RegisterPoint(address=9, table="discrete"),
    )
    with chain(tmp_path, foreign_rtu, 17) as path:
        async with connect(Options(url=f"rtu:{path}", timeout=2), (device,)) as bus:
            values = decode(device.points, await bus.read(device))
            assert values == {"h": 42, "wide": 100 << 16 | 101, "i": 1005, "c": True, "d": False}
            with pytest.raises(ReadFailed, match="modbus-exception"):
                await bus.read(a_device(unit=17, name="none", x=RegisterPoint(address=500)))


SHORT = 0.15
"""Seconds of patience with a device that will not answer as it should."""


@contextlib.asynccontextmanager
async def on_line(line: Line) -> AsyncIterator[ModbusBus]:
    async with connect(Options(url=f"rtu:{line.path}", timeout=SHORT), ()) as bus:
        yield bus


GOOD = rtu(7, 3, 1234)


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        ([], "timeout"),
        ([(0, GOOD[:4])], "garbage"),
        ([(0, GOOD[:-1] + b"\x00")], "garbage"),
        ([(0, rtu(8, 3, 1234))], "timeout"),
        ([(0, rtu(7, 3, 1, 2))], "reply-length"),
        ([(0, rtu(7, 4, 1234))], "reply-length"),
        ([(0, rtu(7, 1, 1234))], "reply-length"),
        ([(0, b"\x07\x83\x04" + crc16(b"\x07\x83\x04"))], "modbus-exception"),
        ([(0, b"\x07\x2b\x0e" + crc16(b"\x07\x2b\x0e"))], "reply-length"),
        ([(0, b"\x07\x03\x00" + crc16(b"\x07\x03\x00"))], "reply-length"),
    ],
    ids=["silence", "partial", "bad sum", "other unit", "too long", "other table", "bits", "exception",
         "unknown function", "empty"],
)  # fmt: skip
async def test_an_answer_that_is_none_is_a_failure_and_the_next_one_is_right(
    line: Line, answer: list[tuple[float, bytes]], key: str
) -> None:
    async with on_line(line) as bus:
        line.answer = lambda _: answer
        with pytest.raises(ReadFailed) as failed:
            await bus.read(a_device())
        assert failed.value.key == key
        line.answer = lambda _: [(0, GOOD)]
        assert await bus.read(a_device()) == {"holding": {0: 1234}}


async def test_fewer_registers_than_asked_for_are_none(line: Line) -> None:
    async with on_line(line) as bus:
        line.answer = lambda _: [(0, GOOD)]
        with pytest.raises(ReadFailed, match="reply-length"):
            await bus.read(a_device(x=RegisterPoint(address=0, type="uint64")))


@pytest.mark.parametrize(
    "noise", [b"\x00", b"\xff\xff", b"\x07\x03", b"\x07\x03\x02\x00", bytes(range(40))]
)
async def test_noise_before_a_reply_never_makes_a_wrong_value(line: Line, noise: bytes) -> None:
    async with on_line(line) as bus:
        line.answer = lambda _: [(0, noise), (0.01, GOOD)]
        with contextlib.suppress(ReadFailed):
            assert await bus.read(a_device()) == {"holding": {0: 1234}}
        line.answer = lambda _: [(0, GOOD)]
        assert await bus.read(a_device()) == {"holding": {0: 1234}}


async def test_a_reply_in_pieces_is_put_together(line: Line) -> None:
    async with on_line(line) as bus:
        line.answer = lambda _: [(0.01 * i, GOOD[i : i + 1]) for i in range(len(GOOD))]
        assert await bus.read(a_device()) == {"holding": {0: 1234}}


@contextlib.asynccontextmanager
async def supervised(url: str, *devices: Device) -> AsyncIterator[list[Sample]]:
    samples: list[Sample] = []

    async def sink(sample: Sample) -> None:
        samples.append(sample)

    spec = BusSpec("line", DRIVER, Options(url=url, timeout=SHORT))
    task = asyncio.create_task(BusTask(spec, devices, SystemClock(), sink).run())
    try:
        yield samples
    finally:
        task.cancel()
        await asyncio.wait([task])


async def eventually(true: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("late", [1.6, 2.2, 3.0])
async def test_a_late_reply_is_never_another_devices_value(line: Line, late: float) -> None:
    """Both of one unit, one register each: nothing in the frames tells their replies apart."""
    devices = [a_device(name=f"r{n}", every=0.1, x=RegisterPoint(address=n)) for n in (0, 500)]
    asked = 0

    def answer(request: bytes) -> list[tuple[float, bytes]]:
        nonlocal asked
        register, count = struct.unpack(">HH", request[2:6])
        asked += register == 0
        slow = register == 0 and asked % 2
        return [(late * SHORT if slow else 0.005, rtu(7, 3, *range(register + 1, register + count + 1)))]

    line.answer = answer
    async with supervised(f"rtu:{line.path}", *devices) as samples:
        await eventually(lambda: asked >= 8)
    assert {(s.device, s.values["x"]) for s in samples if s.values} == {("r0", 1), ("r500", 501)}


def registers(request: bytes) -> bytes:
    """What a unit answers whose registers hold their own addresses."""
    first, count = struct.unpack(">HH", request[2:6])
    return rtu(request[0], 3, *range(first, first + count))


async def test_after_a_timeout_replies_that_look_alike_are_told_apart_by_their_length(line: Line) -> None:
    near, far = a_device(name="near"), a_device(name="far", x=RegisterPoint(address=500))
    async with on_line(line) as bus:
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(near)
        # The reply to that comes now, and twice, and before the one to this.
        line.answer = lambda request: [(0, rtu(7, 3, 0)), (0.01, rtu(7, 3, 0)), (0.03, registers(request))]
        assert await bus.read(far) == {"holding": {500: 500}}
        line.answer = lambda request: [(0, registers(request))]
        assert await bus.read(near) == {"holding": {0: 0}}
        # Another unit's replies look different anyway.
        await bus.read(a_device(unit=8, name="other", x=RegisterPoint(address=500)))
    assert [int.from_bytes(request[4:6], "big") for request in line.requests] == [1, 2, 1, 1]


async def test_a_reply_that_cannot_be_told_from_a_late_one_is_not_used(line: Line) -> None:
    async with on_line(line) as bus:
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(a_device())
        # It has no register beyond: a longer request is refused.
        line.answer = lambda _: [(0, b"\x07\x83\x02" + crc16(b"\x07\x83\x02"))]
        with pytest.raises(ReadFailed, match="reply-owed"):
            await bus.read(a_device(name="last", x=RegisterPoint(address=500)))
        end = a_device(name="end", x=RegisterPoint(address=0xFFFF))
        with pytest.raises(ReadFailed, match="reply-owed"):
            await bus.read(end)
        assert len(line.requests) == 2


async def test_a_late_reply_heard_in_the_silence_after_its_request_is_accounted_for(line: Line) -> None:
    async with on_line(line) as bus:
        line.answer = lambda request: [(1.3 * SHORT, registers(request))]
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(a_device())
        await asyncio.sleep(SHORT)
        line.answer = lambda request: [(0, registers(request))]
        assert await bus.read(a_device(name="far", x=RegisterPoint(address=500))) == {"holding": {500: 500}}
        assert len(registers(line.requests[-1])) == len(GOOD)
        # From now on the line is left alone for as long as that reply was late.
        line.answer = lambda _: []
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(a_device(unit=9, name="absent"))
        assert bus.settle >= 0.3 * SHORT


async def test_who_has_just_answered_is_waited_for_and_who_never_did_is_not(line: Line) -> None:
    async with on_line(line) as bus:
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(a_device())
        assert bus.settle == 0
        line.answer = lambda request: [(0, registers(request))]
        await bus.read(a_device())
        line.answer = lambda _: []
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(a_device())
        assert bus.settle == SHORT


async def test_frames_are_set_apart_by_silence(line: Line) -> None:
    asked: list[float] = []

    def answer(request: bytes) -> list[tuple[float, bytes]]:
        asked.append(time.monotonic())
        return [(0, registers(request))]

    line.answer = answer
    async with connect(Options(url=f"rtu:{line.path}", timeout=1, baud=1200), ()) as bus:
        for _ in range(5):
            await bus.read(a_device())
    assert all(later - earlier >= 3.5 * 11 / 1200 for earlier, later in itertools.pairwise(asked))


async def test_a_line_that_never_falls_silent_is_not_asked(line: Line) -> None:
    async with connect(Options(url=f"rtu:{line.path}", timeout=SHORT, baud=600), ()) as bus:
        noise = asyncio.create_task(babble(line))
        await asyncio.sleep(0.05)
        with pytest.raises(ReadFailed, match="babble"):
            await bus.read(a_device())
        noise.cancel()
    assert line.requests == []


async def babble(line: Line) -> None:
    while True:
        line.say(b"\x55")
        await asyncio.sleep(0.001)


async def test_a_far_end_that_hangs_up_at_once_is_a_link_that_is_down() -> None:
    """Whenever the hang-up comes: before, while or after the connection is taken in."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        for _ in range(20):
            with pytest.raises(LinkDown):
                async with connect(Options(url=url, timeout=SHORT), ()) as bus:
                    await bus.read(a_device())
        server.shutdown(socket.SHUT_RDWR)


async def test_a_port_that_is_not_there_is_a_link_that_is_down(tmp_path: Path) -> None:
    with pytest.raises(LinkDown, match="line-open"):
        async with connect(Options(url=f"rtu:{tmp_path}/none"), ()):
            pass
    with pytest.raises(LinkDown, match="line-open") as refused:
        async with connect(Options(url="tcp://127.0.0.1:1"), ()):
            pass
    assert f"[Errno {errno.ECONNREFUSED}]" in str(refused.value.facts["reason"])


async def test_a_connection_whose_first_packet_is_lost_comes_about() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        asking = re.compile(rf":{port:04X} 02 ")

        async def open_and_close() -> None:
            async with connect(Options(url=f"tcp://127.0.0.1:{port}", timeout=SHORT), ()):
                pass

        # Who comes while somebody waits is not answered, and asks again after a second.
        with socket.create_connection(("127.0.0.1", port)):
            opening = asyncio.create_task(open_and_close())
            while not asking.search(Path("/proc/net/tcp").read_text("ascii")):
                await asyncio.sleep(0.01)
            server.accept()[0].close()
            await opening


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@contextlib.asynccontextmanager
async def tcp(talk: Talk) -> AsyncIterator[ModbusBus]:
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await talk(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        over.set()

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(Options(url=f"tcp://127.0.0.1:{port}", timeout=SHORT), ()) as bus:
            yield bus
        await over.wait()


async def test_a_server_that_accepts_and_never_answers() -> None:
    async with tcp(lambda reader, _: reader.read()) as bus:
        for _ in range(5):
            with pytest.raises(ReadFailed, match="timeout"):
                await bus.read(a_device())


async def test_a_server_that_closes_in_the_middle_of_a_reply() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readexactly(12))[:5])

    async with tcp(talk) as bus:
        with pytest.raises(LinkDown):
            await bus.read(a_device())
        with pytest.raises(LinkDown):
            await bus.read(a_device())


async def test_a_reply_with_another_transactions_number_is_no_reply() -> None:
    shift = 1

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await reader.readexactly(12)
            number = int.from_bytes(request[:2], "big") + shift
            writer.write(number.to_bytes(2, "big") + b"\0\0\0\x05" + GOOD[:-2])

    async with tcp(talk) as bus:
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(a_device())
        shift = 0
        assert await bus.read(a_device()) == {"holding": {0: 1234}}


@pytest.mark.parametrize(
    ("code", "key"),
    [(4, "modbus-exception"), (5, "modbus-busy"), (6, "modbus-busy"), (10, "modbus-unreachable"),
     (11, "modbus-unreachable")],
)  # fmt: skip
async def test_a_gateway_that_reaches_one_unit_of_two(code: int, key: str) -> None:
    """It is the unit's failure and not the line's, and asking it for more would only cost the others."""
    asked: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await reader.readexactly(12)
            asked.append(request[6])
            refusal = bytes((9, 0x83, code))
            body = GOOD[:-2] if request[6] == 7 else refusal
            writer.write(request[:4] + len(body).to_bytes(2, "big") + body)

    absent = a_device(unit=9, name="absent", x=RegisterPoint(address=0), y=RegisterPoint(address=900))
    async with tcp(talk) as bus:
        for _ in range(3):
            with pytest.raises(ReadFailed) as failed:
                await bus.read(absent)
            assert (failed.value.key, failed.value.facts["code"]) == (key, code)
            assert await bus.read(a_device()) == {"holding": {0: 1234}}
    assert asked == ([9, 9, 7] if code == 4 else [9, 7]) * 3


@pytest.mark.parametrize("unit", [0, 1, 247, 255])
async def test_any_unit_may_stand_behind_tcp(unit: int) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readexactly(12)
        assert request[6] == unit
        writer.write(request[:4] + b"\0\5" + bytes((unit,)) + GOOD[1:-2])
        await reader.read()

    async with tcp(talk) as bus:
        assert await bus.read(a_device(unit=unit)) == {"holding": {0: 1234}}


async def test_a_far_end_that_vanishes_is_found_by_the_kernel() -> None:
    """Its power is gone, and nothing says so: on one machine only the settings can be looked at."""
    async with tcp(lambda reader, _: reader.read()) as bus:
        line = bus._client.ctx.transport.get_extra_info("socket")  # type: ignore[union-attr]
        settings = {
            name: line.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
            for name in ("TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
        }
        assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert settings["TCP_USER_TIMEOUT"] <= 20_000
    assert settings["TCP_KEEPIDLE"] + settings["TCP_KEEPINTVL"] * settings["TCP_KEEPCNT"] <= 25


@pytest.mark.parametrize("shift", [-1, 0x100, None])
async def test_a_reply_on_tcp_under_another_number_or_none_is_no_reply(shift: int | None) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readexactly(12)
        number = 0 if shift is None else int.from_bytes(request[:2], "big") + shift & 0xFFFF
        writer.write(number.to_bytes(2, "big") + b"\0\0\0\x05" + GOOD[:-2])
        await reader.read()

    async with tcp(talk) as bus:
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(a_device())


async def test_a_refusal_on_tcp_is_one_after_a_timeout_too() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(12)
        request = await reader.readexactly(12)
        writer.write(request[:2] + b"\0\0\0\x03\x07\x83\x02")
        await reader.read()

    async with tcp(talk) as bus:
        for key in ("timeout", "modbus-exception"):
            with pytest.raises(ReadFailed, match=key):
                await bus.read(a_device())


async def test_a_broken_frame_on_tcp_is_not_filled_up_from_the_next() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readexactly(12)
        good = request[:2] + b"\0\0\0\x05" + GOOD[:-2]
        writer.write(good[:-2] + b"\0\x63" + good[2:])
        await reader.readexactly(12)
        await reader.readexactly(12)
        writer.write(request[:1] + b"\x03" + good[2:])
        await reader.read()

    async with tcp(talk) as bus:
        for _ in range(2):
            with pytest.raises(ReadFailed):
                await bus.read(a_device())
        assert await bus.read(a_device()) == {"holding": {0: 1234}}


async def test_a_late_reply_on_tcp_does_not_disturb_the_next() -> None:
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked.append(await reader.readexactly(12))
            if len(asked) == 2:  # answers the first, then the second
                for n, request in enumerate(asked):
                    writer.write(request[:2] + b"\0\0\0\x05" + rtu(7, 3, n)[:-2])

    async with tcp(talk) as bus:
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(a_device())
        assert await bus.read(a_device()) == {"holding": {0: 1}}


SIREN = {
    "on": WriteAction(address=3, value=True, confirm={"siren": True}),
    "off": WriteAction(address=3, value=0, confirm={"siren": False}),
    "set": WriteAction(address=40, value=1234, table="holding", confirm={"level": 1234}),
    "nowhere": WriteAction(address=1000, value=True),
}


def a_module(unit: int = 7) -> Device:
    device = a_device(
        unit, siren=RegisterPoint(address=3, table="coil"), level=RegisterPoint(address=40), every=60
    )
    return msgspec.structs.replace(device, actions=SIREN)


async def test_a_write_changes_the_cell_of_a_server_of_another_make(
    foreign_tcp: Callable[[dict[str, Any]], int],
) -> None:
    device = a_module()
    async with connect(Options(url=f"tcp://127.0.0.1:{foreign_tcp({})}", timeout=5), (device,)) as bus:
        for action, point, value in (
            ("on", "siren", True),
            ("set", "level", 1234),
            ("off", "siren", False),
        ):
            assert decode(device.points, await bus.read(device))[point] != value
            assert await bus.write(device, action, {}) == {point: value}
            assert decode(device.points, await bus.read(device))[point] == value
        with pytest.raises(ReadFailed) as failed:
            await bus.write(device, "nowhere", {})
        assert (failed.value.key, failed.value.facts["code"]) == ("modbus-write", 2)
        with pytest.raises(ReadFailed, match="action-unknown"):
            await bus.write(a_device(), "on", {})


async def test_a_write_changes_the_cell_of_a_serial_slave_as_a_master_of_another_make_sees_it(
    foreign_rtu: Path, tmp_path: Path
) -> None:
    device = a_module()
    with chain(tmp_path, foreign_rtu, 7) as path:
        async with connect(Options(url=f"rtu:{path}", timeout=2), (device,)) as bus:
            for action, point, value in (("off", "siren", False), ("set", "level", 1234)):
                assert decode(device.points, await bus.read(device))[point] != value
                assert await bus.write(device, action, {}) == {point: value}
                assert decode(device.points, await bus.read(device))[point] == value
            with pytest.raises(ReadFailed, match="modbus-write"):
                await bus.write(device, "nowhere", {})
        for table, address, seen in ((0, 3, "[3]: \t0"), (4, 40, "[40]: \t1234")):
            asking = f"mbpoll -m rtu -a 7 -b 9600 -P none -0 -t {table} -r {address} -c 1 -1 -q {path}"
            master = await asyncio.to_thread(
                subprocess.run, asking.split(), capture_output=True, text=True, check=True, timeout=20
            )
            assert seen in master.stdout


def told(action: str) -> Command:
    now = SystemClock().now()
    return Command(id="c", at=now, device="d", action=action, expires=now.wall + 60_000, origin="upstream")


async def test_a_command_is_done_once_the_device_shows_it(
    foreign_tcp: Callable[[dict[str, Any]], int],
) -> None:
    samples: list[Sample] = []

    async def sink(sample: Sample) -> None:
        samples.append(sample)

    spec = BusSpec("line", DRIVER, Options(url=f"tcp://127.0.0.1:{foreign_tcp({})}", timeout=5))
    bus = BusTask(spec, (a_module(),), SystemClock(), sink)
    task = asyncio.create_task(bus.run())
    try:
        await eventually(lambda: samples)
        await bus.execute(told("on"))
        assert samples[-1].values["siren"] is True
        with pytest.raises(GatewayError, match="action-unknown"):
            await bus.execute(told("sing"))
        with pytest.raises(GatewayError, match="modbus-write"):
            await bus.execute(told("nowhere"))
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        (b"", "timeout"),
        (b"\x07\x05\x00\x04\xff\x00", "modbus-echo"),
        (b"\x07\x05\x00\x03\x00\x00", "modbus-echo"),
        (b"\x07\x06\x00\x03\xff\x00", "reply-length"),
        (b"\x07\x85\x04", "modbus-write"),
    ],
    ids=["silence", "other coil", "other value", "other table", "exception"],
)
async def test_a_write_that_is_not_confirmed_is_a_failure_and_sent_once(
    line: Line, answer: bytes, key: str
) -> None:
    request = b"\x07\x05\x00\x03\xff\x00"
    async with on_line(line) as bus:
        line.answer = lambda _: [(0, answer + crc16(answer))] if answer else []
        with pytest.raises(ReadFailed) as failed:
            await bus.write(a_module(), "on", {})
        assert failed.value.key == key
        line.answer = lambda sent: [(0, sent)]
        assert await bus.write(a_module(), "on", {}) == {"siren": True}
        line.unplug()
        with pytest.raises(LinkDown):
            await bus.write(a_module(), "on", {})
    assert line.requests == [request + crc16(request)] * 2
