from __future__ import annotations

import asyncio
import contextlib

import pytest

from drivers.modbus.registers import RegisterPoint
from gateway.model import ReadFailed
from gateway.simulate.modbus import crc16
from tests.drivers.conftest import Line, rtu
from tests.drivers.modbus.lines import GOOD, a_device, on_line, registers, tcp


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        ([], "timeout"),
        ([(0, GOOD[:4])], "garbage"),
        ([(0, GOOD[:-1] + b"\x00")], "garbage"),
        ([(0, rtu(8, 3, 1234))], "reply-unit"),
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


async def test_an_adapter_that_hears_itself_disturbs_neither_reply_nor_silence(line: Line) -> None:
    near, far = a_device(name="near"), a_device(name="far", x=RegisterPoint(address=500))
    async with on_line(line) as bus:
        for device, first in ((near, 0), (far, 500), (near, 0)):
            line.answer = lambda request: [(0, request), (0.01, registers(request))]
            assert await bus.read(device) == {"holding": {first: first}}
        # No reply looks like another: each was asked for as it is.
        assert {request[5] for request in line.requests} == {1}
        line.answer = lambda request: [(0, request)]
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(near)


async def test_a_refusal_on_tcp_is_one_after_a_timeout_too() -> None:
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await reader.readexactly(12)
            asked.append(request)
            if len(asked) > 1:
                writer.write(request[:2] + b"\0\0\0\x03\x07\x83\x02")

    async with tcp(talk) as bus:
        for key in ("timeout", "modbus-exception"):
            with pytest.raises(ReadFailed, match=key):
                await bus.read(a_device())


async def test_a_broken_frame_on_tcp_is_not_filled_up_from_the_next() -> None:
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await reader.readexactly(12)
            asked.append(request)
            good = request[:2] + b"\0\0\0\x05" + GOOD[:-2]
            writer.write(good[:-2] + b"\0\x63" + good[2:] if len(asked) == 1 else good)

    async with tcp(talk) as bus:
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
