from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from drivers.dlt645 import Address, Options
from drivers.dlt645.bus import LATE_REPLY_WINDOW_S, connect
from drivers.dlt645.frames import MeterFrame
from gateway.model import FailureKind, LinkDown, ReadFailed
from tests.drivers.conftest import Line
from tests.drivers.dlt645.meters import (
    ENERGY,
    LONG,
    SHORT,
    VOLTAGE,
    WAKE_UP,
    MeterPoint,
    Replay,
    Server,
    a_meter,
    on_line,
    on_tcp,
    raw,
)

READ_ITEMS = {"00010000": raw("26000000"), "02010100": raw("0110")}
VOLTAGE_REQUEST = WAKE_UP + raw("68 61 01 00 00 00 00 68 11 04 33 34 34 35 17 16")
ENERGY_REQUEST = WAKE_UP + raw("68 61 01 00 00 00 00 68 11 04 33 33 34 33 14 16")


@pytest.mark.parametrize("preamble", range(5))
@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("noise", [b"", b"\x00\x68\x16\xff"])
async def test_a_meter_on_a_serial_line(line: Line, preamble: int, echo: bool, noise: bytes) -> None:
    line.answer = Replay("000000000161", preamble=preamble, echo=echo, noise=noise).answer
    async with on_line(line) as bus:
        assert await bus.read(a_meter()) == READ_ITEMS
    assert line.requests == [ENERGY_REQUEST, VOLTAGE_REQUEST]


@pytest.mark.parametrize("close_after", [None, 1])
async def test_a_meter_behind_a_tcp_server(close_after: int | None) -> None:
    """A server that closes the connection after each reply is in order."""
    server = Server(Replay("000000000161"), close_after)
    async with on_tcp(server) as bus:
        for _ in range(2):
            assert await bus.read(a_meter()) == READ_ITEMS
    assert server.connections == (1 if close_after is None else 4)


async def test_a_connection_that_was_closed_while_idle_is_opened_again() -> None:
    server = Server(Replay("000000000161"))
    async with on_tcp(server) as bus:
        assert await bus.read(a_meter()) == READ_ITEMS
        server.writers[0].transport.abort()
        assert await bus.read(a_meter()) == READ_ITEMS
    assert server.connections == 2


async def test_a_server_that_always_closes_is_a_line_that_is_down() -> None:
    class Closing(Server):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)

    async with on_tcp(Closing(Replay())) as bus:
        with pytest.raises(LinkDown, match="line-down"):
            await bus.read(a_meter())


async def test_a_server_that_is_not_there_is_a_line_that_is_down() -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
    with pytest.raises(LinkDown, match="line-open"):
        async with connect(Options(url=f"tcp://127.0.0.1:{port}"), ()):
            pass


async def test_replies_of_another_meter_or_to_another_item_are_never_taken(line: Line) -> None:
    other = MeterFrame("000000000162", 0x91, raw("00010102") + raw("9999")).encode()
    late = MeterFrame("000000000161", 0x91, raw("00000100") + raw("77777777")).encode()
    line.answer = lambda request: [(0.0, other + late)]
    async with on_line(line) as bus:
        bus.timeout_s = SHORT
        with pytest.raises(ReadFailed, match="timeout") as failed:
            await bus.read(a_meter(voltage=VOLTAGE))
        assert failed.value.kind is FailureKind.TIMEOUT
        bus.timeout_s = LONG
        unasked = MeterFrame("000000000161", 0x91, raw("00000200") + raw("77777777")).encode()
        line.answer = Replay("000000000161", noise=other + unasked).answer
        assert await bus.read(a_meter()) == READ_ITEMS


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"", FailureKind.TIMEOUT),
        (ENERGY_REQUEST, FailureKind.TIMEOUT),
        (b"\xfe\xfe", FailureKind.TIMEOUT),
        (raw("68 61 01 00 00 00 00 68 91 08 33 33 34 33 59 33 33 33 8B 16"), FailureKind.DAMAGED),
        (raw("68 61 01 00 00 00 00 68 91 08 33 33 34"), FailureKind.DAMAGED),
    ],
)
async def test_without_a_valid_reply_the_reading_fails(line: Line, said: bytes, kind: FailureKind) -> None:
    line.answer = lambda request: [(0.0, said)]
    async with on_line(line, timeout=SHORT) as bus:
        with pytest.raises(ReadFailed) as failed:
            await bus.read(a_meter())
    assert failed.value.kind is kind
    assert len(line.requests) == 1


@pytest.mark.parametrize("refuses", [True, False])
async def test_an_item_that_the_meter_does_not_have_is_left_out_for_a_while(
    line: Line, refuses: bool
) -> None:
    replay = Replay("201000000012")
    demand = WAKE_UP + raw("68 12 00 00 00 10 20 68 11 04 33 33 34 36 F7 16")
    if not refuses:  # Some meters are silent instead.
        del replay.replies[demand]
    line.answer = replay.answer
    blocks = {
        "energy": MeterPoint(di="0001FF00", format="XXXXXX.XX"),
        "demand": MeterPoint(di="03010000", format="XX"),
        "voltage": MeterPoint(di="0201FF00", format="XXX.X"),
    }
    async with on_line(line, timeout=1) as bus:
        for _ in range(23):
            items = await bus.read(a_meter("201000000012", **blocks))
            assert list(items) == ["0001FF00", "0201FF00"]
        # A reply may be lost once.
        assert line.requests.count(demand) == (2 if refuses else 3)


@pytest.mark.parametrize("heartbeat", [b"HB:01", b"www.usr.cn", b"heartbeat!"])
async def test_the_heartbeat_of_a_converter_costs_no_item(line: Line, heartbeat: bytes) -> None:
    replay = Replay("000000000161")
    line.answer = lambda request: [(0.0, heartbeat), *replay.answer(request)]
    absent = MeterPoint(di="02800002", format="XX.XX")
    async with on_line(line, timeout=1) as bus:
        for _ in range(3):
            assert await bus.read(a_meter(energy=ENERGY, frequency=absent, voltage=VOLTAGE)) == READ_ITEMS


async def test_a_meter_that_falls_silent_within_a_reading_loses_no_item_for_long(line: Line) -> None:
    replay = Replay("000000000161")
    line.answer = lambda request: replay.answer(request) if len(line.requests) == 1 else []
    async with on_line(line, timeout=SHORT) as bus:
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(a_meter())
        assert line.requests == [ENERGY_REQUEST, VOLTAGE_REQUEST, ENERGY_REQUEST]
        line.answer = replay.answer
        bus.timeout_s = LONG
        assert await bus.read(a_meter()) == READ_ITEMS


async def test_a_meter_that_has_none_of_the_items_refuses(line: Line) -> None:
    refusal = MeterFrame("000000000161", 0xD1, b"\x02").encode()
    line.answer = lambda request: [(0.0, refusal)]
    async with on_line(line) as bus:
        for _ in range(2):
            with pytest.raises(ReadFailed, match="dlt645-refused") as failed:
                await bus.read(a_meter())
    assert failed.value.kind is FailureKind.REFUSED
    assert failed.value.facts["code"] == "02"


class Clock:
    """Monotonic time, which stands still until it is set."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


async def test_a_late_refusal_is_not_that_of_the_next_item(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = MeterFrame("000000000161", 0xD1, b"\x02").encode()
    replay, clock = Replay("000000000161"), Clock()
    monkeypatch.setattr("drivers.dlt645.bus.time", clock)
    async with on_line(line, timeout=SHORT) as bus:
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(a_meter(demand=MeterPoint(di="03010000", format="XX")))
        line.answer = lambda request: [(0.0, refusal), *replay.answer(request)]
        bus.timeout_s = LONG
        assert await bus.read(a_meter()) == READ_ITEMS
        # Where nothing else comes, it tells nothing until it can be no late one.
        line.answer = lambda request: [(0.0, refusal)]
        bus.timeout_s = SHORT
        for key in ("timeout", "dlt645-refused"):
            with pytest.raises(ReadFailed, match=key):
                await bus.read(a_meter())
            clock.now_s = LATE_REPLY_WINDOW_S


def continued(
    parts: list[bytes], wrong: Callable[[int], int] = lambda number: number
) -> Callable[..., object]:
    """A meter whose item comes in parts: B1, then B2 and at last 92 with their numbers."""

    def answer(request: bytes) -> list[tuple[float, bytes]]:
        control, data = request[12], bytes(byte - 0x33 & 0xFF for byte in request[14:-2])
        number = data[4] if control == 0x12 else 0
        last = number == len(parts) - 1
        head = 0x92 if number else 0x91
        tail = bytes((wrong(number),)) if number else b""
        reply = MeterFrame("000000000161", head | (0 if last else 0x20), data[:4] + parts[number] + tail)
        return [(0.0, reply.encode())]

    return answer


async def test_an_item_in_several_frames(line: Line) -> None:
    parts = [bytes(range(90)), bytes(range(90, 180)), b"\x01\x02"]
    line.answer = continued(parts)  # type: ignore[assignment]
    async with on_line(line) as bus:
        assert await bus.read(a_meter(energy=ENERGY)) == {"00010000": b"".join(parts)}
    # The published request for a continuation of a public master has this form: DI, then the number.
    assert line.requests[1] == MeterFrame("000000000161", 0x12, raw("0000010001")).encode()
    line.answer = continued(parts, wrong=lambda number: number + 1)  # type: ignore[assignment]
    async with on_line(line, timeout=SHORT) as bus:
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(a_meter(energy=ENERGY))


async def test_a_meter_that_never_ends_is_read_no_longer_than_any(line: Line) -> None:
    line.answer = continued([b"\x01" * 4] * 300)  # type: ignore[assignment]
    async with on_line(line) as bus:
        items = await bus.read(a_meter(energy=ENERGY))
    assert len(line.requests) == 17
    assert len(items["00010000"]) == 68


async def test_a_port_that_is_pulled_out_is_down(line: Line) -> None:
    async with on_line(line) as bus:
        line.unplug()
        with pytest.raises(LinkDown):
            await bus.read(a_meter())


async def test_the_number_of_the_only_meter_is_read(line: Line) -> None:
    line.answer = Replay("201000000012", echo=True).answer
    async with on_line(line) as bus:
        assert await bus.probe(Address(meter="A" * 12)) == {"meter": "201000000012"}


async def test_a_meter_that_answers_only_readings_is_found_too(line: Line) -> None:
    reply = raw("68 61 01 00 00 00 00 68 91 08 33 33 34 33 59 33 33 33 8A 16")
    line.answer = lambda request: [(0.0, reply)] if request[12] == 0x11 else []
    async with on_line(line, timeout=1) as bus:
        assert await bus.probe(Address(meter="A" * 12)) == {"meter": "000000000161"}


@pytest.mark.parametrize(
    "all_reply", ["00", "68 61 01 00 00 00 00 68 D1 01 35 39 16 68 12 00 00 00 10 20 68 D1 01 35 19 16"]
)
async def test_where_several_reply_at_once_each_is_found_by_its_last_digits(
    line: Line, all_reply: str
) -> None:
    reply = raw("68 61 01 00 00 00 00 68 91 08 33 33 34 33 59 33 33 33 8A 16")
    known = MeterFrame("AAAAAAAAAA61", 0x11, raw("00000100")).encode()
    line.answer = lambda request: [(0.0, reply if request == known else raw(all_reply))]
    async with on_line(line, timeout=1) as bus:
        assert await bus.probe(Address(meter="AAAAAAAAAA61")) == {"meter": "000000000161"}
        with pytest.raises(ReadFailed):
            await bus.probe(Address(meter="A" * 12))
        bus.timeout_s = SHORT
        with pytest.raises(ReadFailed):
            await bus.probe(Address(meter="AAAAAAAAAA62"))


async def test_where_not_several_reply_none_is_asked_by_its_last_digits(line: Line) -> None:
    async with on_line(line, timeout=SHORT) as bus:
        for digits in range(5):
            with pytest.raises(ReadFailed):
                await bus.probe(Address(meter=f"AAAAAAAAAA{digits:02}"))
        assert len(line.requests) == 2
        line.answer = Replay("201000000012", echo=True).answer
        bus.timeout_s = 1
        assert await bus.probe(Address(meter="A" * 12)) == {"meter": "201000000012"}
        with pytest.raises(ReadFailed):
            await bus.probe(Address(meter="AAAAAAAAAA12"))
    assert len(line.requests) == 3


async def test_a_number_that_is_not_in_digits_is_none(line: Line) -> None:
    line.answer = lambda request: [(0.0, MeterFrame("00000000016F", 0x93, raw("6F0100000000")).encode())]
    async with on_line(line, timeout=SHORT) as bus:
        with pytest.raises(ReadFailed):
            await bus.probe(Address(meter="A" * 12))
