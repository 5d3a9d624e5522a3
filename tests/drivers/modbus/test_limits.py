"""Devices that are silent, or answer less, where they should refuse: what they answer is found and read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from drivers.modbus.bus import ModbusBus
from drivers.modbus.framer import payload_bytes
from drivers.modbus.registers import RegisterPoint, Table, decode, plan_requests
from gateway.model import Device, ReadFailed
from tests.drivers.conftest import Line, rtu
from tests.drivers.modbus.lines import a_device, on_line, tcp

Answer = Callable[[int, int, int], bytes | None]
"""Function, first address and count to the body of a reply without the unit, or silence."""


def cells(function: int, first: int, count: int) -> bytes:
    """Registers that hold their own addresses; every third bit is set."""
    addresses = range(first, first + count)
    if function > 2:
        data = b"".join(address.to_bytes(2, "big") for address in addresses)
    else:
        bits = sum((address % 3 == 0) << n for n, address in enumerate(addresses))
        data = bits.to_bytes(payload_bytes(function, count), "little")
    return bytes((function, len(data))) + data


class Server:
    """Answers as told, and keeps the counts that it was asked for."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.counts: list[int] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await reader.readexactly(12)
            count = int.from_bytes(request[10:12], "big")
            self.counts.append(count)
            body = self.answer(request[7], int.from_bytes(request[8:10], "big"), count)
            if body is not None:
                body = request[6:7] + body
                writer.write(request[:4] + len(body).to_bytes(2, "big") + body)

    def poll_counts(self) -> list[int]:
        """Since the last call."""
        counts, self.counts = self.counts, []
        return counts


def up_to(limit: int) -> Answer:
    return lambda function, first, count: cells(function, first, count) if count <= limit else None


def row(count: int, table: Table = "holding", **more: Any) -> dict[str, RegisterPoint]:
    return {f"x{n}": RegisterPoint(address=n, table=table, **more) for n in range(count)}


def values_of(count: int, table: Table) -> dict[str, Any]:
    return {f"x{n}": n % 3 == 0 if table in ("coil", "discrete") else n for n in range(count)}


async def poll(bus: ModbusBus, device: Device) -> dict[str, Any]:
    with contextlib.suppress(ReadFailed):
        return decode(device.points, await bus.read(device))
    return {}


@pytest.mark.parametrize(
    ("table", "count", "limit"),
    [
        ("input", 80, 28), ("holding", 80, 28), ("holding", 125, 1), ("holding", 2, 1),
        ("holding", 125, 124), ("coil", 400, 16), ("discrete", 40, 8),
    ],
)  # fmt: skip
async def test_a_server_that_is_silent_to_long_requests(table: Table, count: int, limit: int) -> None:
    server, device = Server(up_to(limit)), a_device(points=row(count, table))
    async with tcp(server.talk) as bus:
        polls = [await poll(bus, device) for _ in range(10)]
        # A poll fails at first; from then on there are values in each, and soon all.
        assert [bool(values) for values in polls] == [False] + [True] * 9
        assert polls[-1] == values_of(count, table)
        server.poll_counts()
        assert await poll(bus, device) == values_of(count, table)
        assert max(server.poll_counts()) <= limit


async def test_the_reply_of_a_converter_for_a_device_that_is_silent_to_long_requests() -> None:
    """It says that it gets no response, exception 0B."""
    server = Server(lambda function, first, count: up_to(28)(function, first, count) or bytes((0x83, 0x0B)))
    async with tcp(server.talk) as bus:
        for _ in range(6):
            values = await poll(bus, a_device(points=row(80)))
        assert values == values_of(80, "holding")


async def test_a_server_that_answers_fewer_registers_than_asked_for() -> None:
    server = Server(lambda function, first, count: cells(function, first, min(count, 30)))
    async with tcp(server.talk) as bus:
        polls = [await poll(bus, a_device(points=row(80))) for _ in range(4)]
        assert polls[-1] == values_of(80, "holding")


async def test_one_lost_reply_makes_no_request_shorter() -> None:
    lost = [900]
    server = Server(
        lambda function, first, count: lost.clear() if first in lost else cells(function, first, count)
    )
    device = a_device(points=row(80) | {"far": RegisterPoint(address=900), "y": RegisterPoint(address=905)})
    async with tcp(server.talk) as bus:
        assert await poll(bus, device) == {}
        server.poll_counts()
        for _ in range(3):
            assert await poll(bus, device) == values_of(80, "holding") | {"far": 900, "y": 905}
        assert server.poll_counts() == [80, 6] * 3


async def test_an_address_that_a_server_is_silent_to_costs_only_its_own_point() -> None:
    server = Server(
        lambda function, first, count: (
            None if first <= 13 < first + count else cells(function, first, count)
        )
    )
    async with tcp(server.talk) as bus:
        for _ in range(12):
            values = await poll(bus, a_device(points=row(40)))
        assert values == {name: value for name, value in values_of(40, "holding").items() if name != "x13"}
        server.poll_counts()
        await poll(bus, a_device(points=row(40)))
        assert len(server.poll_counts()) < 12


async def test_a_dead_device_costs_one_request_a_poll_and_is_read_whole_when_it_is_back() -> None:
    server, device = Server(lambda *_: None), a_device(points=row(80) | {"far": RegisterPoint(address=900)})
    async with tcp(server.talk) as bus:
        for _ in range(7):
            assert await poll(bus, device) == {}
            assert len(server.poll_counts()) == 1
        server.answer = cells
        values = values_of(80, "holding") | {"far": 900}
        assert await poll(bus, device) == values
        server.poll_counts()
        assert await poll(bus, device) == values
        assert server.poll_counts() == [80, 1]
        # Its requests are known to be answered: now it is not taken for one that cannot.
        server.answer = lambda *_: None
        for _ in range(4):
            assert await poll(bus, device) == {}
        assert server.poll_counts() == [80] * 4
        server.answer = lambda function, first, count: cells(function, first, count) if count == 1 else None
        assert await poll(bus, device) == {}


async def test_a_serial_slave_that_is_silent_to_long_requests(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def answer(request: bytes) -> list[tuple[float, bytes]]:
        first, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        asked.append(count)
        return [(0, rtu(7, 3, *range(first, first + count)))] if count <= 28 else []

    line.answer = answer
    device = a_device(points=row(80))
    async with on_line(line) as bus:
        for _ in range(6):
            values = await poll(bus, device)
            assert all(values[name] == int(name[1:]) for name in values)
        assert set(values_of(20, "holding")) <= set(values)
        # While late replies are possible, those of the same length could be taken for one another.
        monkeypatch.setattr("drivers.modbus.bus.LATE_REPLY_WINDOW_S", 0.0)
        assert await poll(bus, device) == values_of(80, "holding")
    assert asked[-4:] == [20] * 4


def test_the_longest_request_of_a_model_is_respected() -> None:
    assert plan_requests(row(80, longest=28).values()) == [
        ("holding", 0, 28), ("holding", 28, 28), ("holding", 56, 24),
    ]  # fmt: skip
    assert plan_requests(row(40, "coil", longest=16).values()) == [
        ("coil", 0, 16), ("coil", 16, 16), ("coil", 32, 8),
    ]  # fmt: skip
    mixed = {"a": RegisterPoint(address=0, longest=3), **row(10)}
    assert plan_requests(mixed.values()) == [("holding", 0, 3), ("holding", 3, 7)]
    wide = {f"w{n}": RegisterPoint(address=2 * n, type="uint32", longest=5) for n in range(4)}
    assert plan_requests(wide.values()) == [("holding", 0, 4), ("holding", 4, 4)]
