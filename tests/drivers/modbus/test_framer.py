from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest

from drivers.modbus.framer import ReplyFramer, SerialFramer, TcpFramer
from drivers.modbus.registers import RegisterPoint
from gateway.model import FailureKind, ReadFailed
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


def request_body(function: int, count: int = 1, unit: int = 7) -> bytes:
    return bytes((unit, function)) + b"\0\0" + count.to_bytes(2, "big")


def reply_body(function: int, size: int, unit: int = 7) -> bytes:
    return bytes((unit, function, size)) + bytes(range(size))


def summed(body: bytes) -> bytes:
    return body + crc16(body)


def hear(framer: ReplyFramer, *pieces: bytes) -> list[bytes]:
    """What is passed on after each piece. pymodbus hands over all that has come since the last reply."""
    arrived, passed = b"", []
    for piece in pieces:
        arrived += piece
        passed.append(framer(False, arrived))
        arrived = arrived[len(passed[-1]) :]
    return passed


def each_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


class Serial(SerialFramer):
    """One that counts what belongs to no request."""

    def __init__(self) -> None:
        super().__init__()
        self.strays = 0
        self.on_stray = self._count

    def _count(self) -> None:
        self.strays += 1

    def ask(self, function: int = 3, count: int = 1, unit: int = 7) -> bytes:
        frame = summed(request_body(function, count, unit))
        assert self(True, frame) == frame
        return frame


SIZES = [
    (1, 1, 1), (1, 8, 1), (1, 9, 2), (2, 16, 2), (2, 17, 3), (1, 2000, 250),
    (3, 1, 2), (3, 2, 4), (4, 125, 250),
]  # fmt: skip
"""Function, count, and the bytes of data in a reply (V1.1b3, 6.1 to 6.4)."""


@pytest.mark.parametrize(("function", "count", "size"), SIZES)
def test_a_reply_is_known_by_its_size_once_it_is_whole(function: int, count: int, size: int) -> None:
    framer, reply = Serial(), summed(reply_body(function, size))
    for _ in range(2):
        framer.ask(function, count)
        assert hear(framer, *each_byte(reply)) == [b""] * (len(reply) - 1) + [reply]
        assert not framer.is_waiting
    for other in (size - 1, size + 1):
        framer.ask(function, count)
        assert hear(framer, summed(reply_body(function, other))) == [b""]
    assert framer.strays == 0


@pytest.mark.parametrize("function", [1, 2, 3, 4, 5, 6])
def test_a_refusal_is_a_reply(function: int) -> None:
    framer = Serial()
    framer.ask(function)
    refusal = summed(bytes((7, function + 128, 2)))
    assert hear(framer, refusal) == [refusal]


@pytest.mark.parametrize("function", [5, 6])
def test_a_write_is_confirmed_by_its_repetition(function: int) -> None:
    framer = Serial()
    written = framer.ask(function, 0xFF00)
    assert hear(framer, written) == [written]
    framer.ask(function, 0xFF00)
    assert hear(framer, written[:-1]) == [b""]


@pytest.mark.parametrize(
    "before", [b"\0", b"\xff\xff", b"\x07\x03", b"\x07\x03\x02", GOOD[:-1], b"\x07" * 5]
)
def test_a_reply_is_found_behind_noise(before: bytes) -> None:
    framer = Serial()
    framer.ask()
    assert hear(framer, before + GOOD[:3], GOOD[3:]) == [b"", GOOD]
    assert framer.strays == 0


def test_a_reply_is_found_behind_a_byte_that_could_be_its_first() -> None:
    framer, reply = Serial(), summed(b"\1\1\1\0")
    framer.ask(1, unit=1)
    assert hear(framer, b"\1" + reply) == [reply]


@pytest.mark.parametrize(
    "stray", [GOOD, rtu(9, 4, 1, 2), summed(b"\x07\x83\x02"), summed(b"\x07\x06\0\1\0\2")]
)
def test_a_whole_reply_outside_of_a_request_is_stray(stray: bytes) -> None:
    framer = Serial()
    assert hear(framer, b"HB\r\n", stray[:4], stray[4:] + b"\0") == [b""] * 3
    assert framer.strays == 1
    framer.ask(function=3)
    assert hear(framer, stray + b"\0" + rtu(7, 3, 5)) == [GOOD if stray == GOOD else rtu(7, 3, 5)]
    assert framer.strays == 2


def test_what_comes_behind_a_reply_or_without_a_request_is_stray() -> None:
    framer = Serial()
    assert hear(framer, GOOD) == [b""]
    assert framer.strays == 1
    framer.ask()
    assert hear(framer, GOOD) == [GOOD]
    assert framer.strays == 1
    assert hear(framer, b"\0") == [b""]
    assert framer.strays == 1
    framer.ask()
    assert hear(framer, GOOD + b"\0") == [GOOD]
    assert framer.strays == 1
    framer.ask()
    assert hear(framer, GOOD + GOOD) == [GOOD]
    assert framer.strays == 2


def test_an_echo_is_no_reply_and_not_stray() -> None:
    framer = Serial()
    echo = framer.ask()
    assert hear(framer, *each_byte(echo), GOOD) == [b""] * len(echo) + [GOOD]
    assert framer.strays == 0
    framer.ask()
    assert hear(framer, echo) == [b""]
    assert (framer.classify_failure().key, framer.strays) == ("timeout", 0)


def test_a_serial_line_is_in_step_and_knows_when_it_was_last_heard() -> None:
    framer = Serial()
    assert framer.is_in_step
    assert framer.last_byte_at == float("-inf")
    before = time.monotonic()
    hear(framer, b"\0")
    assert before <= framer.last_byte_at <= time.monotonic()


@pytest.mark.parametrize(
    ("heard", "key", "kind", "facts"),
    [
        (b"", "timeout", FailureKind.TIMEOUT, {"unit": 7}),
        (GOOD[:4], "garbage", FailureKind.DAMAGED, {"bytes": 4}),
        (GOOD[:-1] + b"\0", "garbage", FailureKind.DAMAGED, {"bytes": 7}),
        (summed(b"\x07\x03"), "garbage", FailureKind.DAMAGED, {"bytes": 4}),
        (summed(b"\x07\x2b\x0e"), "reply-length", FailureKind.DAMAGED, {"unit": 7, "bytes": 0}),
        (rtu(7, 3, 1, 2), "reply-length", FailureKind.DAMAGED, {"unit": 7, "bytes": 4}),
        (rtu(8, 3, 1), "reply-unit", FailureKind.TIMEOUT, {"unit": 7, "other": 8}),
    ],
)
def test_what_came_instead_of_a_reply_is_said(
    heard: bytes, key: str, kind: FailureKind, facts: dict[str, Any]
) -> None:
    framer = Serial()
    framer.ask()
    hear(framer, *([heard] if heard else []))
    failed = framer.classify_failure()
    assert (failed.key, failed.kind, failed.facts) == (key, kind, facts)
    assert not framer.is_waiting


class Tcp(TcpFramer):
    """One that counts the replies that were left unused, and numbers its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = 0
        self.on_strange = self._count
        self.number = 0x0100

    def _count(self) -> None:
        self.unused += 1

    def ask(self, function: int = 3, count: int = 1, unit: int = 7) -> None:
        self.number += 0x10
        frame = tcp_frame(self.number, request_body(function, count, unit))
        assert self(True, frame) == frame

    def converse(self, number: int | None = None, unit: int = 7, asked: int = 7) -> bool:
        """Ask, and hear a reply with another number or unit. Returns whether it was used."""
        self.ask(unit=asked)
        sent = tcp_frame(self.number if number is None else number, reply_body(3, 2, unit))
        (passed,) = hear(self, sent)
        assert passed in (b"", tcp_frame(self.number, reply_body(3, 2, asked)))
        return bool(passed)


def tcp_frame(number: int, body: bytes, protocol: int = 0, size: int | None = None) -> bytes:
    size = len(body) if size is None else size
    return b"".join(part.to_bytes(2, "big") for part in (number, protocol, size)) + body


@pytest.mark.parametrize(("function", "count", "size"), SIZES)
def test_a_reply_on_tcp_is_known_by_its_header(function: int, count: int, size: int) -> None:
    framer = Tcp()
    for _ in range(2):
        framer.ask(function, count)
        reply = tcp_frame(framer.number, reply_body(function, size))
        assert hear(framer, *each_byte(reply)) == [b""] * (len(reply) - 1) + [reply]
        assert not framer.is_waiting
        assert framer.is_in_step
    framer.ask(function, count)
    assert hear(framer, tcp_frame(framer.number, reply_body(function, size + 1))) == [b""]


def test_a_reply_on_tcp_is_found_behind_a_late_one() -> None:
    framer = Tcp()
    framer.ask()
    late, asked = framer.number, framer.classify_failure()
    assert (asked.key, framer.is_in_step) == ("timeout", False)
    framer.ask()
    reply = tcp_frame(framer.number, reply_body(3, 2))
    assert hear(framer, tcp_frame(late, reply_body(3, 2)), reply) == [b"", reply]


def test_a_reply_with_a_wrong_number_is_used_from_the_second_on() -> None:
    framer = Tcp()
    assert [framer.converse(number=0) for _ in range(4)] == [False, True, True, True]
    assert framer.unused == 1
    assert [framer.converse(), framer.converse(number=0)] == [True, False], "the first again"
    assert framer.converse(number=0), "one right number proves nothing"


def test_a_refusal_with_a_wrong_number_is_used_from_the_second_on() -> None:
    framer = Tcp()
    for used in (False, True):
        framer.ask()
        refusal = bytes((7, 0x83, 2))
        assert hear(framer, tcp_frame(0, refusal)) == [tcp_frame(framer.number, refusal) if used else b""]


def test_a_server_whose_numbers_were_right_twice_in_a_row_is_held_to_them() -> None:
    framer = Tcp()
    assert [framer.converse(), framer.converse(number=0), framer.converse(number=0)] == [True, False, True]
    assert [framer.converse(), framer.converse()] == [True, True]
    assert [framer.converse(number=0) for _ in range(3)] == [False] * 3
    assert framer.unused == 1, "it is no reply at all"


def test_a_unit_that_was_right_once_is_held_to_it_and_all_are_after_two() -> None:
    framer = Tcp()
    assert framer.converse()
    assert [framer.converse(unit=255) for _ in range(3)] == [False] * 3
    assert [framer.converse(unit=255, asked=8) for _ in range(3)] == [False, True, True]
    assert framer.converse(unit=9, asked=9)
    assert [framer.converse(unit=255, asked=8) for _ in range(3)] == [False] * 3
    assert framer.unused == 1


def test_a_write_is_never_asked_for_twice() -> None:
    """It is confirmed by its repetition, under any number and unit."""
    framer = Tcp()
    framer.ask(6, 1234)
    body = request_body(6, 1234)
    assert hear(framer, tcp_frame(0, b"\xff" + body[1:])) == [tcp_frame(framer.number, body)]
    assert framer.unused == 0


@pytest.mark.parametrize(("later", "used"), [(31, False), (32, True)])
def test_the_numbers_of_32_requests_that_were_given_up_are_remembered(later: int, used: bool) -> None:
    framer = Tcp()
    framer.ask()
    late = framer.number
    for _ in range(later):
        framer.classify_failure()
        framer.ask()
    framer.classify_failure()
    assert [framer.converse(number=0), framer.converse(number=late)] == [False, used]


def test_a_reply_that_is_cut_short_behind_a_late_one_is_told_from_a_wrong_one() -> None:
    framer = Tcp()
    framer.ask()
    late = tcp_frame(framer.number, reply_body(3, 2))
    framer.classify_failure()
    framer.ask()
    assert hear(framer, late + tcp_frame(framer.number, reply_body(3, 2))[:-1]) == [b""]
    failed = framer.classify_failure()
    assert (failed.key, failed.facts["start"]) == ("reply-header", "01 20 00 00 00 05 07 03")


def test_a_reply_of_the_connection_before_is_none() -> None:
    for framer in (Serial(), Tcp()):
        framer.ask()
        assert framer.is_waiting
        framer.begin_connection()
        assert not framer.is_waiting


@pytest.mark.parametrize("number", [0, 0x0110])
def test_the_longest_replies_are_used_under_any_number(number: int) -> None:
    framer = Tcp()
    for used in (number != 0, True):
        framer.number = 0x0100
        framer.ask(count=125)
        reply = reply_body(3, 250)
        assert hear(framer, tcp_frame(number, reply)) == [tcp_frame(framer.number, reply) if used else b""]


def test_what_may_still_come_puts_a_connection_out_of_step() -> None:
    framer = Tcp()
    assert framer.is_in_step
    framer.ask()
    framer.classify_failure()
    assert not framer.is_in_step
    framer.begin_connection()
    assert framer.is_in_step
    framer.ask()
    hear(framer, tcp_frame(framer.number, reply_body(3, 2)) + b"\0")
    assert not framer.is_in_step
    framer.begin_connection()
    assert framer.is_in_step
    assert framer.converse()
    framer.ask()
    framer.classify_failure()
    assert framer.is_in_step, "its numbers tell"


@pytest.mark.parametrize("habit", [{"size": 0}, {"size": 4}, {"size": 11}, {"protocol": 1}])
def test_a_header_with_a_wrong_length_or_protocol_is_put_right(habit: dict[str, int]) -> None:
    framer = Tcp()
    framer.ask()
    sent = tcp_frame(framer.number, reply_body(3, 2), **habit)
    assert hear(framer, *each_byte(sent)) == [b""] * (len(sent) - 1) + [
        tcp_frame(framer.number, reply_body(3, 2))
    ]


@pytest.mark.parametrize("counted", [True, False])
def test_a_checksum_behind_a_reply_is_left_off(counted: bool) -> None:
    framer, body = Tcp(), reply_body(3, 2)
    framer.ask()
    sent = tcp_frame(framer.number, body + b"\x12\x34", size=len(body) + 2 * counted)
    assert hear(framer, sent) == [tcp_frame(framer.number, body)]


def test_a_reply_that_lacks_bytes_is_not_filled_up_from_the_next() -> None:
    framer = Tcp()
    framer.ask(count=5)
    short = tcp_frame(framer.number, reply_body(3, 10))[:-4]
    assert hear(framer, short + tcp_frame(framer.number, reply_body(3, 10))) == [b""]


def test_a_flood_is_cut_off() -> None:
    framer = Tcp()
    framer.ask()
    reply = tcp_frame(framer.number, reply_body(3, 2))
    assert hear(framer, bytes(1024 - len(reply)), reply) == [b"", reply]
    framer.ask()
    reply = tcp_frame(framer.number, reply_body(3, 2))
    assert hear(framer, bytes(1025 - len(reply)), reply) == [b"", b""]


@pytest.mark.parametrize(
    ("body", "number", "key", "kind", "facts"),
    [
        (reply_body(3, 4), 0, "reply-length", FailureKind.DAMAGED, {"unit": 7, "bytes": 4}),
        (reply_body(4, 2), 0, "reply-length", FailureKind.DAMAGED, {"unit": 7, "bytes": 2}),
        (
            reply_body(3, 4), 5, "reply-header", FailureKind.OUT_OF_STEP,
            {"unit": 7, "start": "01 15 00 00 00 07 07 03"},
        ),
        (
            reply_body(3, 4, unit=8), 0, "reply-header", FailureKind.OUT_OF_STEP,
            {"unit": 7, "start": "01 10 00 00 00 07 08 03"},
        ),
        (b"", 0, "reply-header", FailureKind.OUT_OF_STEP, {"unit": 7, "start": "01 10 00 00 00 00"}),
    ],
)  # fmt: skip
def test_what_came_on_tcp_instead_of_a_reply_is_said(
    body: bytes, number: int, key: str, kind: FailureKind, facts: dict[str, Any]
) -> None:
    framer = Tcp()
    framer.ask()
    assert hear(framer, tcp_frame(framer.number + number, body)) == [b""]
    failed = framer.classify_failure()
    assert (failed.key, failed.kind, failed.facts) == (key, kind, facts)
    assert not framer.is_waiting
    framer.ask()
    hear(framer, tcp_frame(framer.number - 0x10, reply_body(3, 4)))
    late = framer.classify_failure()
    assert (late.key, late.kind) == ("timeout", FailureKind.TIMEOUT), "it belongs to the one before"
