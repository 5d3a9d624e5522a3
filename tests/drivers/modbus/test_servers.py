"""Servers and converters on TCP that are in order but for a habit: each is one of a public report."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from drivers.modbus import Options, connect
from drivers.modbus.bus import ModbusBus
from drivers.modbus.registers import RegisterPoint
from gateway.model import LinkDown, ReadFailed
from tests.drivers.conftest import rtu
from tests.drivers.modbus.lines import (
    a_device,
    a_module,
    eventually,
    registers,
    serving,
    supervised,
    tcp,
)

Frame = Callable[[bytes, bytes], bytes]
"""From the header of a request (number, protocol, length) and the body of its reply to what is sent."""


def header(number: bytes, size: int, protocol: int = 0) -> bytes:
    return number + struct.pack(">HH", protocol, size)


def right(head: bytes, body: bytes) -> bytes:
    return header(head[:2], len(body)) + body


def with_number(change: Callable[[int], int]) -> Frame:
    def frame(head: bytes, body: bytes) -> bytes:
        number = change(int.from_bytes(head[:2], "big")) & 0xFFFF
        return header(number.to_bytes(2, "big"), len(body)) + body

    return frame


def with_unit(unit: int) -> Frame:
    return lambda head, body: right(head, bytes((unit,)) + body[1:])


def with_size(change: Callable[[int], int]) -> Frame:
    return lambda head, body: header(head[:2], change(len(body))) + body


def followed_by(tail: bytes, *, counted: bool = False) -> Frame:
    return lambda head, body: header(head[:2], len(body) + len(tail) * counted) + body + tail


HABITS: dict[str, Frame] = {
    "number 0": with_number(lambda number: 0),
    "number 1": with_number(lambda number: 1),
    "number FFFF": with_number(lambda number: 0xFFFF),
    "number one less": with_number(lambda number: number - 1),
    "number one more": with_number(lambda number: number + 1),
    "number swapped": with_number(lambda number: number >> 8 | (number & 0xFF) << 8),
    "number one byte": with_number(lambda number: number & 0xFF00),
    "unit 0": with_unit(0),
    "unit 1": with_unit(1),
    "unit 255": with_unit(255),
    "number 0 and unit 255": lambda head, body: right(b"\0\0", b"\xff" + body[1:]),
    "protocol 1": lambda head, body: header(head[:2], len(body), 1) + body,
    "length 0": with_size(lambda size: 0),
    "length without the unit": with_size(lambda size: size - 1),
    "length of the request": lambda head, body: head + body,
    "length of the whole": with_size(lambda size: size + 6),
    "length swapped": with_size(lambda size: size << 8),
    "checksum": followed_by(b"\x12\x34"),
    "checksum counted": followed_by(b"\x12\x34", counted=True),
    "line end": followed_by(b"\r\n"),
    "zeros": followed_by(bytes(40)),
    "garbage": followed_by(b"\xde\xad\xbe\xef\x99"),
    "twice": lambda head, body: right(head, body) * 2,
}


def talking(frame: Callable[[], Frame], step: int = 300) -> Any:
    """A server whose registers hold their own addresses."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await reader.readexactly(12)
            reply = frame()(request[:6], registers(request[6:])[:-2])
            for at in range(0, len(reply), step):
                writer.write(reply[at : at + step])
                await asyncio.sleep(0.001)

    return talk


@contextlib.asynccontextmanager
async def patient(talk: Any, scheme: str = "tcp") -> AsyncIterator[ModbusBus]:
    async with serving(talk, scheme) as url, connect(Options(url=url, timeout=10), ()) as bus:
        yield bus


PAIR = a_device(x=RegisterPoint(address=5, type="uint32"), y=RegisterPoint(address=900))


@pytest.mark.parametrize("habit", HABITS)
async def test_a_reply_to_the_only_request_is_known_by_what_it_is(habit: str) -> None:
    async with (
        serving(talking(lambda: HABITS[habit])) as url,
        connect(Options(url=url, timeout=10), ()) as bus,
    ):
        for _ in range(4):
            assert await bus.read(PAIR) == {"holding": {5: 5, 6: 6, 900: 900}}


@pytest.mark.parametrize("frame", [right, HABITS["number 0"], HABITS["length 0"]])
async def test_a_reply_byte_by_byte(frame: Frame) -> None:
    async with (
        serving(talking(lambda: frame, step=1)) as url,
        connect(Options(url=url, timeout=10), ()) as bus,
    ):
        for _ in range(2):
            assert await bus.read(PAIR) == {"holding": {5: 5, 6: 6, 900: 900}}


async def test_the_heartbeat_of_a_converter_is_no_late_reply() -> None:
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"REG:0001")
        while True:
            asked.append(await reader.readexactly(8))
            writer.write(b"HB\r\n" + registers(asked[-1]))
            await writer.drain()
            writer.write(b"HB\r\n")

    device = a_device(x=RegisterPoint(address=5), y=RegisterPoint(address=900))
    async with patient(talk, "rtu+tcp") as bus:
        for _ in range(3):
            assert await bus.read(device) == {"holding": {5: 5, 900: 900}}
    # To tell late replies apart, more registers would be asked for.
    assert {request[5] for request in asked} == {1}


async def test_the_heartbeat_of_a_converter_is_no_reply_to_what_the_device_lacks() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await reader.readexactly(8)
            writer.write(b"HB\r\n" + registers(request) * (request[2:4] == b"\0\5"))
            await writer.drain()

    device = a_device(
        x=RegisterPoint(address=5), y=RegisterPoint(address=900), z=RegisterPoint(address=901)
    )
    async with serving(talk, "rtu+tcp") as url, connect(Options(url=url, timeout=0.5), ()) as bus:
        with pytest.raises(ReadFailed):
            await bus.read(device)
        for _ in range(2):
            assert await bus.read(device) == {"holding": {5: 5}}


async def test_a_published_reply_with_number_0() -> None:
    """From a public report: five floating-point numbers of unit 160."""
    reply = bytes.fromhex(
        "00 00 00 00 00 17 A0 03 14 41 56 45 A2 41 D1 DF 3B 42 43 CE 95 3F 80 00 00 00 00 00 00"
    )

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            assert await reader.readexactly(12)
            writer.write(reply)

    device = a_device(160, **{f"t{n}": RegisterPoint(address=14 + 2 * n, type="float32") for n in range(5)})
    async with tcp(talk) as bus:
        words = (await bus.read(device))["holding"]
    assert [words[at] for at in range(14, 24)] == list(struct.unpack(">10H", reply[9:]))


async def test_a_write_is_confirmed_by_its_repetition_under_any_number() -> None:
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await reader.readexactly(12)
            asked.append(request)
            writer.write(b"\0\0" + request[2:])

    async with tcp(talk) as bus:
        for _ in range(2):
            assert await bus.write(a_module(), "on", {}) == {"siren": True}
    assert len(asked) == 2


async def test_a_server_that_repeats_numbers_and_units_is_held_to_it() -> None:
    frame: Frame = right
    async with tcp(talking(lambda: frame)) as bus:
        for unit in (7, 8):
            await bus.read(a_device(unit))
        for habit in ("number 0", "unit 1", "number one less"):
            frame = HABITS[habit]
            for unit in (7, 9):
                with pytest.raises(ReadFailed, match="reply-header"):
                    await bus.read(a_device(unit, name=f"d{unit}"))
        frame = right
        assert await bus.read(a_device()) == {"holding": {0: 0}}


async def test_the_first_strange_reply_is_not_believed() -> None:
    """It may be one to somebody else's request; if a right one follows, it was."""
    asked = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while True:
            request = await reader.readexactly(12)
            asked += 1
            words, number = (99, b"\x12\x34") if asked == 1 else (5, request[:2])
            writer.write(right(number, rtu(7, 3, words)[:-2]))

    async with tcp(talk) as bus:
        assert await bus.read(a_device()) == {"holding": {0: 5}}
    assert asked == 2


async def test_without_numbers_a_late_reply_is_never_taken_for_another() -> None:
    """After a timeout the next request goes out on a new connection, where nothing is owed."""
    late: list[Callable[[], None]] = []
    opened = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await reader.readexactly(12)
                reply = right(b"\0\0", registers(request[6:])[:-2])
                if request[9] == 66:
                    late.append(lambda reply=reply: writer.write(reply))  # type: ignore[misc]
                    continue
                for send in late:
                    send()
                late.clear()
                writer.write(reply)

    far = a_device(name="far", x=RegisterPoint(address=66))
    async with tcp(talk) as bus:
        for _ in range(3):
            assert await bus.read(a_device()) == {"holding": {0: 0}}
            with pytest.raises(ReadFailed, match="timeout"):
                await bus.read(far)
    assert opened == 3


class Keeper:
    """A server that ends its connections as it is told, and counts."""

    def __init__(self) -> None:
        self.opened = 0
        self.asked: list[bytes] = []
        self.end_before_request: Callable[[int], bool] = lambda opened: False
        self.end_before_reply: Callable[[int], bool] = lambda asked: False
        self.end_after_reply: Callable[[int], bool] = lambda asked: False
        self.resets = False
        self.only_one = False
        self._busy = False
        self.ended = asyncio.Event()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.only_one and self._busy:
            return
        self._busy = True
        try:
            await self._talk(reader, writer)
        finally:
            self._busy = False
            if self.resets:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.close()
            self.ended.set()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        if self.end_before_request(self.opened):
            return
        while True:
            request = await reader.readexactly(12)
            self.asked.append(request)
            if self.end_before_reply(len(self.asked)):
                return
            body = request[6:] if request[7] in (5, 6) else registers(request[6:])[:-2]
            writer.write(right(request[:6], body))
            await writer.drain()
            if self.end_after_reply(len(self.asked)):
                return


@pytest.mark.parametrize("resets", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize("only_one", [False, True], ids=["several", "only one"])
async def test_a_server_that_ends_the_connection_after_each_reply(resets: bool, only_one: bool) -> None:
    keeper = Keeper()
    keeper.end_after_reply, keeper.resets, keeper.only_one = lambda asked: True, resets, only_one
    async with patient(keeper.talk) as bus:
        for _ in range(5):
            assert await bus.read(a_device()) == {"holding": {0: 0}}
            assert await bus.write(a_module(), "on", {}) == {"siren": True}
            keeper.ended.clear()
    assert (keeper.opened, len(keeper.asked)) == (10, 10)


@pytest.mark.parametrize("resets", [False, True], ids=["closes", "resets"])
async def test_a_server_that_ends_the_connection_instead_of_a_reply(resets: bool) -> None:
    keeper = Keeper()
    keeper.end_before_reply, keeper.resets = lambda asked: asked in (1, 3), resets
    async with patient(keeper.talk) as bus:
        for _ in range(3):
            assert await bus.read(a_device()) == {"holding": {0: 0}}
    assert (keeper.opened, len(keeper.asked)) == (3, 5)


async def test_a_server_that_ends_every_second_connection_at_once() -> None:
    keeper = Keeper()
    keeper.end_before_request = lambda opened: opened % 2 == 1
    keeper.end_after_reply = lambda asked: True
    async with patient(keeper.talk) as bus:
        for _ in range(5):
            assert await bus.read(a_device()) == {"holding": {0: 0}}
    assert len(keeper.asked) == 5


async def test_a_server_that_never_replies_before_it_ends_the_connection_is_down() -> None:
    keeper = Keeper()
    keeper.end_before_reply = lambda asked: True
    async with patient(keeper.talk) as bus:
        with pytest.raises(LinkDown):
            await bus.read(a_device())
    assert (keeper.opened, len(keeper.asked)) == (2, 2)


async def test_a_write_that_may_have_been_executed_is_not_sent_again() -> None:
    keeper = Keeper()
    keeper.end_before_reply = lambda asked: keeper.asked[-1][7] == 5
    async with patient(keeper.talk) as bus:
        with pytest.raises(ReadFailed, match="write-unanswered"):
            await bus.write(a_module(), "on", {})
        assert await bus.read(a_device()) == {"holding": {0: 0}}
    assert [request[7] for request in keeper.asked] == [5, 3]


async def test_a_converter_that_closes_idle_connections() -> None:
    asked = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        request = await reader.readexactly(8)
        asked += 1
        writer.write(registers(request))

    async with patient(talk, "rtu+tcp") as bus:
        for address in (0, 500, 0, 500):
            device = a_device(name=f"r{address}", x=RegisterPoint(address=address))
            assert await bus.read(device) == {"holding": {address: address}}
    assert asked == 4


async def test_a_connection_that_was_dropped_without_a_word_is_replaced_before_the_device_is_offline() -> (
    None
):
    opened = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        for _ in itertools.count() if opened > 1 else range(3):
            request = await reader.readexactly(12)
            writer.write(right(request[:6], registers(request[6:])[:-2]))
        await reader.read()

    async with tcp(talk) as bus:
        for _ in range(3):
            assert await bus.read(a_device()) == {"holding": {0: 0}}
        for _ in range(2):
            with pytest.raises(ReadFailed, match="timeout"):
                await bus.read(a_device())
        for _ in range(3):
            assert await bus.read(a_device()) == {"holding": {0: 0}}
    assert opened == 2


async def test_a_server_that_is_mute_after_the_first_reply_of_each_connection() -> None:
    """As a WiFi converter in github.com/wimb0/home-assistant-saj-r5-modbus/issues/92."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readexactly(12)
        writer.write(right(request[:6], registers(request[6:])[:-2]))
        await reader.read()

    replies_in_a_row = 0
    async with tcp(talk) as bus:
        for _ in range(100):
            try:
                assert await bus.read(a_device()) == {"holding": {0: 0}}
            except ReadFailed:
                replies_in_a_row = 0
            else:
                replies_in_a_row += 1
            if replies_in_a_row == 5:
                break
    assert replies_in_a_row == 5


async def test_numbers_of_requests_are_never_one_apart() -> None:
    keeper = Keeper()
    keeper.end_after_reply = lambda asked: asked % 3 == 0
    async with patient(keeper.talk) as bus:
        for _ in range(9):
            await bus.read(a_device())
    numbers = [int.from_bytes(request[:2], "big") for request in keeper.asked]
    assert all(abs(later - earlier) > 1 for earlier, later in itertools.combinations(numbers, 2))


async def test_a_line_to_a_server_that_closes_idle_connections_has_no_outage() -> None:
    """Read every 0.3 s, it closes after 0.1 s: each device keeps its pace, and is never offline."""
    opened = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        while True:
            request = await asyncio.wait_for(reader.readexactly(12), 0.1)
            writer.write(right(request[:6], registers(request[6:])[:-2]))

    async def talk_until_idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError):
            await talk(reader, writer)

    async with serving(talk_until_idle) as url:
        async with supervised(url, a_device(every=0.3)) as samples:
            await eventually(lambda: len(samples) >= 8)
        assert [sample.error for sample in samples] == [""] * len(samples)
        seconds = (samples[-1].at.mono_ns - samples[0].at.mono_ns) / 1e9
        assert len(samples) - 1 <= seconds / 0.3 + 1
    assert opened >= 7
