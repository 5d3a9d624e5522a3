"""Benchmarks of the field: number of devices, utilisation of a line, cost of faulty devices for others."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any
from urllib.parse import urlsplit

from liar import FAULTS, value
from pymodbus.client import AsyncModbusSerialClient
from pymodbus.exceptions import ModbusException
from rig import Rig, Slave, until
from rtu import BAUD, GAP
from subjects import Extent, Figures, Span, on_the_daemons_core, reference

from drivers import modbus
from gateway.base import control
from gateway.base.clock import SystemClock
from gateway.config import BusSpec
from gateway.field.line import Line
from gateway.model import Device, Sample

logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)
UNITS = 20
DEAD = range(4, UNITS + 1, 4)
TIMEOUT = 0.5
"""Seconds; the same as in the driver."""
LIES = 0.15
"""The share of wrong replies of the hostile devices."""
PATIENCE = 0.02
"""Seconds to wait for a reply: with the usual 0.5 s, 100,000 requests would take hours."""
BAUDS = 115200
OUTCOMES = "polls", "readings", "silent", "damaged", "refused"


def thousand(extent: Extent) -> Figures:
    """1,000 devices of 32 points at 1 s over 20 connections, including the uplink."""
    devices, points = 1000, 32
    with Rig("thousand") as rig:
        lines = rig.plc(20)
        witness = rig.broker()
        bare = reference(rig, lines[0], points, 0.001, 10 * extent.part)
        daemon = rig.enter_context(rig.daemon(rig.site(lines, devices=devices, points=points)))
        until(lambda: witness.samples)
        time.sleep(5 * extent.part)
        with Span(daemon) as span:
            before = len(witness.samples)
            time.sleep(60 * extent.part)
            arrived = len(witness.samples) - before
        resident = daemon.resident()
    return {
        "points_per_second": span.polls * points / span.seconds,
        "arrived_per_second": arrived * points / span.seconds,
        "missed_percent": span.missed_percent,
        "cpu_s_per_100k_points": 1e5 * span.cpu / (span.polls * points),
        "times_reference": span.cpu / span.polls / bare,
        "resident_mb": resident,
    }


def crowd(extent: Extent) -> Figures:
    """500 devices of 20 registers at 1 s, over many and few, fast and slow connections."""
    return {
        "missed_percent_50_lines": _missed(extent, 50, 0.0),
        "missed_percent_10_lines": _missed(extent, 10, 0.0),
        "missed_percent_10_slow_lines": _missed(extent, 10, 0.015),
        "missed_percent_2_lines": _missed(extent, 2, 0.0),
    }


def _missed(extent: Extent, connections: int, thinking: float) -> float:
    with Rig("crowd") as rig:
        lines = rig.plc(connections, thinking)
        witness = rig.broker()
        daemon = rig.enter_context(rig.daemon(rig.site(lines, devices=500, points=20)))
        until(lambda: witness.samples)
        time.sleep(3 * extent.part)
        with Span(daemon) as span:
            time.sleep(30 * extent.part)
    return span.missed_percent


def wire(extent: Extent) -> Figures:
    """A serial line of 9600 baud with 10 devices, polled as fast as possible."""
    return {
        "use_percent": _use(extent, 20),
        "use_percent_short": _use(extent, 2),
        "use_percent_reference": _bare_use(extent),
    }


def _use(extent: Extent, points: int) -> float:
    with Rig("wire") as rig:
        line = rig.slave("rtu.py", [])
        witness = rig.broker()
        site = rig.site([line.at], devices=10, points=points, every=0.05, timeout=TIMEOUT)
        rig.enter_context(rig.daemon(site))
        until(lambda: witness.samples)
        before = line.told()
        time.sleep(20 * extent.part)
        return _percent_used(before, line.told())


def _percent_used(before: dict[str, Any], after: dict[str, Any]) -> float:
    return 100 * float(after["ideal"] - before["ideal"]) / float(after["at"] - before["at"])


def _bare_use(extent: Extent) -> float:
    """pymodbus alone, with the silence that a line needs and that pymodbus does not keep."""
    with Rig("wire") as rig:
        line = rig.slave("rtu.py", [])
        before = line.told()
        asyncio.run(_ask_in_turn(line.at, range(1, 11), 27, 20 * extent.part, 0.0))
        return _percent_used(before, line.told())


async def _ask_in_turn(url: str, units: Iterable[int], count: int, seconds: float, every: float) -> None:
    client = AsyncModbusSerialClient(urlsplit(url).path, baudrate=BAUD, timeout=TIMEOUT, retries=0)
    client.set_max_no_responses(1_000_000)
    await client.connect()
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        for unit in units:
            try:
                await client.read_holding_registers(0, count=count, device_id=unit)
            except ModbusException:
                continue
            await asyncio.sleep(GAP)
        await asyncio.sleep(began + every - time.monotonic())
    client.close()


def dead(extent: Extent) -> Figures:
    """A serial line of 9600 baud with 20 units polled each second, 5 of which never respond."""
    seconds = 60 * extent.part
    with Rig("dead") as rig:
        line = rig.slave("rtu.py", list(DEAD))
        rig.broker()
        site = rig.site([line.at], devices=UNITS, points=2, timeout=TIMEOUT)
        rig.enter_context(rig.daemon(site))
        until(lambda: line.told()["asked"])
        early = _kept(line, seconds / 6)
        whole = (early + 5 * _kept(line, seconds * 5 / 6)) / 6
        later = _kept(line, seconds)
    with Rig("dead") as rig:
        line = rig.slave("rtu.py", list(DEAD))
        before = line.told()
        asyncio.run(_ask_in_turn(line.at, range(1, UNITS + 1), 10, seconds / 2, 1.0))
        bare = _cadence(before, line.told())
    return {
        "cadence_percent": whole,
        "cadence_percent_first": early,
        "cadence_percent_later": later,
        "cadence_percent_reference": bare,
    }


def _kept(line: Slave, seconds: float) -> float:
    before = line.told()
    time.sleep(seconds)
    return _cadence(before, line.told())


def _cadence(before: dict[str, Any], after: dict[str, Any]) -> float:
    """Replies of the working units, in percent of one per second and unit."""
    answers = sum(after["answered"].values()) - sum(before["answered"].values())
    return 100 * answers / (UNITS - len(DEAD)) / float(after["at"] - before["at"])


def hostile(extent: Extent) -> Figures:
    """Devices that reply wrongly to a share of the requests, on serial lines and TCP: 24 devices per line
    with 20 registers in two ranges of the same length, two devices per unit, polled as fast as possible."""
    with on_the_daemons_core(), Rig("hostile") as rig:
        liar = rig.slave("liar.py", ["rtu"] * 4 + ["rtu+tcp", "tcp"], LIES, PATIENCE)
        figures = asyncio.run(_ask_liars(liar, extent.transactions))
        spared = rig.slave("liar.py", ["rtu"], LIES, PATIENCE)
        asked, wrong = asyncio.run(_believe(spared.at[0], extent.transactions / 20))
    return {**figures, "misattributed_reference": 1e5 * wrong / asked}


async def _ask_liars(liar: Slave, transactions: float) -> Figures:
    wrong = 0
    polls: Counter[str] = Counter()

    async def sink(sample: Sample) -> None:
        nonlocal wrong
        unit = int(sample.device.split("-")[1])
        for name, got in sample.values.items():
            wrong += got != value(unit, int(name))

    buses = [
        Line(BusSpec(url, modbus.DRIVER, modbus.Options(url=url, baud=BAUDS, timeout=PATIENCE)),
                _devices(), SystemClock(), sink)
        for url in liar.at
    ]  # fmt: skip
    tasks = [asyncio.create_task(bus.run()) for bus in buses]
    while (told := Counter(liar.told())).total() < transactions:
        await asyncio.sleep(0.5)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for bus in buses:
        for device in bus.report()["devices"]:
            polls.update(
                {key: device[key] for key in ("polls", "readings", "silent", "damaged", "refused")}
            )
    lies = {f"lie_{fault}": told[fault] for fault in FAULTS}
    return {
        "transactions": told.total(),
        "faulty": sum(lies.values()),
        "misattributed": wrong,
        **polls,
        **lies,
    }


def _devices() -> tuple[Device, ...]:
    ranges = {"a": (0, 30), "b": (60, 90)}
    return tuple(
        Device(
            name=f"{name}-{unit}", title={}, kind="", profile="", bus="", every=0.01,
            address=modbus.Address(unit=unit),
            points={
                str(at): modbus.RegisterPoint(address=at)
                for first in firsts for at in range(first, first + 10)
            },
        )
        for unit in range(1, 7)
        for name, firsts in ranges.items()
    )  # fmt: skip


async def _believe(url: str, transactions: float) -> tuple[int, int]:
    """The same ranges, read by pymodbus alone: how many requests, and how many of them wrong."""
    client = AsyncModbusSerialClient(urlsplit(url).path, baudrate=BAUDS, timeout=PATIENCE, retries=0)
    client.set_max_no_responses(1_000_000)
    await client.connect()
    asked = wrong = 0
    while asked < transactions:
        for unit, first in product(range(1, 7), (0, 30, 60, 90)):
            asked += 1
            try:
                reply = await client.read_holding_registers(first, count=10, device_id=unit)
            except ModbusException:
                continue
            said = list(reply.registers)
            wrong += not reply.isError() and said != [value(unit, at) for at in range(first, first + 10)]
    client.close()
    return asked, wrong


def siren(extent: Extent) -> Figures:
    """From the reply that reports a call point to the write that reaches the siren, including the second
    reading that confirms the alarm, but not the poll."""
    with Rig("siren") as rig:
        desk = rig.slave("desk.py")
        site = rig.desk(desk.at)
        rig.broker()
        rig.enter_context(rig.daemon(site))
        socket = site.parent / "sock"
        until(socket.exists)
        delays = []
        for number in range(round(200 * extent.part)):
            delays.append(desk.told("press"))
            expires = round(time.time() * 1000) + 10_000
            asked = {"id": f"mute-{number}", "device": "gateway", "action": "mute", "origin": "console"}
            asyncio.run(control.call(socket, "command", by="bench", expires=expires, **asked))
            desk.told("quiet")
            # Until the release of the call point has been read as well.
            time.sleep(0.4)
    delays.sort()
    return {
        "siren_p50_ms": delays[len(delays) // 2],
        "siren_p99_ms": delays[min(len(delays) - 1, round(0.99 * len(delays)))],
        "siren_samples": len(delays),
    }


FIELD: dict[str, Callable[[Extent], Figures]] = {
    function.__name__: function for function in (thousand, crowd, wire, dead, hostile, siren)
}
