from __future__ import annotations

import asyncio
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drivers.modbus import DRIVER, Options, connect
from drivers.modbus.registers import FORMATS, RegisterPoint, Table, Type, decode
from gateway.base.clock import SystemClock
from gateway.config import BusSpec
from gateway.field.line import Line as FieldLine
from gateway.model import Command, GatewayError, ReadFailed, Sample
from tests.drivers.conftest import Line, rtu
from tests.drivers.modbus.lines import SHORT, a_device, a_module, chain, eventually, supervised


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
    return Command(
        id="c", at=now, device="d", action=action, expires=now.wall_ms + 60_000, origin="upstream"
    )


async def test_a_command_is_done_once_the_device_shows_it(
    foreign_tcp: Callable[[dict[str, Any]], int],
) -> None:
    samples: list[Sample] = []

    async def sink(sample: Sample) -> None:
        samples.append(sample)

    spec = BusSpec("line", DRIVER, Options(url=f"tcp://127.0.0.1:{foreign_tcp({})}", timeout=5))
    bus = FieldLine(spec, (a_module(),), SystemClock(), sink)
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
