from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from drivers.modbus import Address, Options, connect
from drivers.modbus.bus import LATE_REPLY_MARGIN_S, LATE_REPLY_WINDOW_S, ModbusBus
from drivers.modbus.registers import RegisterPoint
from gateway.model import Device, LinkDown, ReadFailed, sentence
from gateway.simulate.modbus import crc16
from tests.drivers.conftest import Line, rtu
from tests.drivers.modbus.lines import (
    GOOD,
    SHORT,
    a_device,
    a_module,
    eventually,
    on_line,
    registers,
    serving,
    tcp,
)


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


@pytest.mark.parametrize("lost", [0, 500])
@pytest.mark.parametrize("refuses", [True, False], ids=["refuses", "is silent"])
async def test_a_device_that_answers_no_longer_request_loses_only_what_cannot_be_told_apart(
    line: Line, monkeypatch: pytest.MonkeyPatch, lost: int, refuses: bool
) -> None:
    refusal = b"\x07\x83\x02"
    pauses: list[float] = []
    monkeypatch.setattr("drivers.modbus.bus.time", WatchedClock(lambda: pauses.pop() if pauses else 0.0))

    def answer(request: bytes) -> list[tuple[float, bytes]]:
        if request[5] == 1:
            return [(0, registers(request))]
        return [(0, refusal + crc16(refusal))] if refuses else []

    pair = a_device(x=RegisterPoint(address=0), y=RegisterPoint(address=500))
    async with on_line(line) as bus:
        line.answer = answer
        assert await bus.read(pair) == {"holding": {0: 0, 500: 500}}
        line.answer = lambda request: [] if request[3] == lost & 0xFF else answer(request)
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(pair)
        line.answer = answer
        for _ in range(3):
            assert await bus.read(pair) == {"holding": {lost: lost}}
        # The longer request was sent once only.
        assert [request[5] for request in line.requests[-4:]].count(2) == 1
        pauses.append(LATE_REPLY_WINDOW_S)
        assert await bus.read(pair) == {"holding": {0: 0, 500: 500}}


async def test_a_late_reply_that_was_heard_may_come_again(line: Line) -> None:
    async with on_line(line) as bus:
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(a_device())
        line.say(rtu(7, 3, 0))
        await eventually(lambda: bus._framer.last_byte_at > 0)
        line.answer = lambda request: [(0, rtu(7, 3, 0)), (0, registers(request))]
        assert await bus.read(a_device(name="far", x=RegisterPoint(address=500))) == {"holding": {500: 500}}


async def test_a_line_is_left_alone_for_as_long_as_its_latest_reply_was_late(line: Line) -> None:
    async with on_line(line) as bus:
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(a_device())
        bus.timeout_s = 60
        line.say(GOOD)
        await eventually(lambda: bus._framer.last_byte_at > 0)
        bus.timeout_s = SHORT
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(a_device(unit=9, name="absent"))
        assert bus.settle_s >= LATE_REPLY_MARGIN_S


async def test_who_has_just_answered_is_waited_for_and_who_never_did_is_not(line: Line) -> None:
    async with on_line(line) as bus:
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(a_device())
        assert bus.settle_s == 0
        line.answer = lambda request: [(0, registers(request))]
        await bus.read(a_device())
        line.answer = lambda _: []
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.read(a_device())
        assert bus.settle_s == SHORT


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


class WatchedClock:
    """Monotonic time; `on_look` is called before it is told."""

    def __init__(self, on_look: Callable[[], float]) -> None:
        """`on_look` returns for how many seconds the machine pauses."""
        self._on_look = on_look
        self._paused_s = 0.0

    def monotonic(self) -> float:
        self._paused_s += self._on_look()
        return time.monotonic() + self._paused_s


class Converter:
    """A serial line at 300 baud behind TCP, where the silence between frames lasts an eighth of a second.
    Registers hold their own addresses."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []

    @contextlib.asynccontextmanager
    async def connected(self, timeout_s: float) -> AsyncIterator[ModbusBus]:
        async with (
            serving(self._talk, "rtu+tcp") as url,
            connect(Options(url=url, timeout=timeout_s, baud=300), ()) as bus,
        ):
            yield bus

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        while True:
            self.requests.append(await reader.readexactly(8))
            self.say(registers(self.requests[-1]))

    def say(self, data: bytes) -> None:
        """At once."""
        self._writer.write(data)

    def asked_counts(self) -> list[int]:
        return [int.from_bytes(request[4:6], "big") for request in self.requests]


NEAR, FAR = a_device(name="near"), a_device(name="far", x=RegisterPoint(address=500))


async def test_a_line_that_never_falls_silent_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    converter = Converter()

    def babble() -> float:
        converter.say(b"\x55")
        return 0.0

    async with converter.connected(SHORT) as bus:
        assert await bus.read(NEAR) == {"holding": {0: 0}}
        monkeypatch.setattr("drivers.modbus.bus.time", WatchedClock(babble))
        with pytest.raises(ReadFailed, match="babble"):
            await bus.read(NEAR)
    assert converter.asked_counts() == [1]


async def test_a_reply_that_comes_again_before_the_line_is_silent_is_not_the_next() -> None:
    converter = Converter()
    async with converter.connected(10) as bus:
        assert await bus.read(NEAR) == {"holding": {0: 0}}
        asyncio.get_running_loop().call_later(0.01, converter.say, registers(converter.requests[0]))
        assert await bus.read(FAR) == {"holding": {500: 500}}
    # It may come a third time.
    assert converter.asked_counts() == [1, 2]


@pytest.mark.parametrize("looks", [1, 2])
async def test_a_pause_of_the_machine_is_no_silence_of_the_line(
    looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What arrives in the pause is read before the request is sent, wherever the pause comes."""
    converter = Converter()
    left = looks

    def pause() -> float:
        nonlocal left
        left -= 1
        if left:
            return 0.0
        converter.say(registers(converter.requests[0]))
        return 1.0

    async with converter.connected(10) as bus:
        assert await bus.read(NEAR) == {"holding": {0: 0}}
        clock = WatchedClock(pause)
        monkeypatch.setattr("drivers.modbus.bus.time", clock)
        monkeypatch.setattr("drivers.modbus.framer.time", clock)
        assert await bus.read(FAR) == {"holding": {500: 500}}
    assert converter.asked_counts() == [1, 2]


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
    assert refused.value.facts["reason"] == sentence("cause.refused")


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


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        (b"", "timeout"),
        (b"\x07\x05\x00\x04\xff\x00", "modbus-echo"),
        (b"\x07\x05\x00\x03\x00\x00", "modbus-echo"),
        (b"\x07\x06\x00\x03\xff\x00", "modbus-echo"),
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


async def test_a_late_reply_to_a_write_is_not_that_to_the_next(line: Line) -> None:
    async with on_line(line) as bus:
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.write(a_module(), "off", {})
        line.answer = lambda request: [(0, line.requests[0]), (0, request)]
        assert await bus.write(a_module(), "on", {}) == {"siren": True}


async def test_a_late_refusal_of_a_write_is_not_that_of_the_next(line: Line) -> None:
    refusal = b"\x07\x85\x02"
    async with on_line(line) as bus:
        with pytest.raises(ReadFailed, match="timeout"):
            await bus.write(a_module(), "nowhere", {})
        line.answer = lambda _: [(0, refusal + crc16(refusal))]
        with pytest.raises(ReadFailed, match="reply-owed"):
            await bus.write(a_module(), "on", {})


class Slave(asyncio.Protocol):
    def __init__(self, open_connections: set[Slave]) -> None:
        self._open_connections = open_connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._open_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data[:4] + struct.pack(">HBBBH", 5, data[6], 3, 2, 7))


async def test_a_cancellation_that_meets_the_reply_is_not_lost() -> None:
    """A read that is cancelled ends, at whatever moment the cancellation comes."""
    device = Device(
        name="d", title={}, kind="thermometer", profile="p", bus="b", every=1.0,
        address=Address(unit=1), points={"value": RegisterPoint(address=0)},
    )  # fmt: skip
    open_connections: set[Slave] = set()
    server = await asyncio.get_running_loop().create_server(lambda: Slave(open_connections), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    cut_short = finished = 0
    async with server:
        for turns in range(60):
            # A new connection each time: what is cut short leaves its reply on the wire.
            async with connect(Options(url=f"tcp://127.0.0.1:{port}"), (device,)) as bus:
                reading = asyncio.create_task(bus.read(device))
                for _ in range(turns % 15):
                    await asyncio.sleep(0)
                if reading.done():
                    finished += 1
                    continue
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
                cut_short += 1
        while open_connections:
            await asyncio.sleep(0.01)
    assert cut_short
    assert finished
