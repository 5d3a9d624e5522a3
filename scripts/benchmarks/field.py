"""Subjects about devices: their number, the use of a line, and the effect of faulty devices on others."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any
from urllib.parse import urlsplit

from hostile_slaves import FAULTS, register_value
from pymodbus.client import AsyncModbusSerialClient
from pymodbus.exceptions import ModbusException
from rig import FieldProgram, Rig, wait_until
from rtu import BAUD_RATE, FRAME_GAP_S
from subjects import Figures, Measurement, Workload, on_the_daemons_core, reference

from drivers import modbus
from gateway.base import control
from gateway.base.clock import SystemClock
from gateway.config import BusSpec
from gateway.field.line import Line
from gateway.model import Device, Sample

logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)
UNIT_COUNT = 20
DEAD_UNITS = range(4, UNIT_COUNT + 1, 4)
RESPONSE_TIMEOUT_S = 0.5
"""The driver's default."""
FAULT_SHARE = 0.15
"""Share of wrong answers of the hostile slaves."""
HOSTILE_TIMEOUT_S = 0.02
"""Shorter than the default of half a second, with which 100,000 requests would take hours."""
HOSTILE_BAUD_RATE = 115200
OUTCOMES = "polls", "readings", "silent", "damaged", "refused"


def thousand(workload: Workload) -> Figures:
    """1,000 devices of 32 points at 1 s over 20 connections, including the uplink."""
    devices, points = 1000, 32
    with Rig("thousand") as rig:
        lines = rig.start_plc(20)
        recorder = rig.start_broker()
        bare = reference(rig, lines[0], points, 0.001, 10 * workload.time_factor)
        daemon = rig.enter_context(rig.run_daemon(rig.write_site(lines, devices=devices, points=points)))
        wait_until(lambda: recorder.samples)
        time.sleep(5 * workload.time_factor)
        with Measurement(daemon) as measured:
            before = len(recorder.samples)
            time.sleep(60 * workload.time_factor)
            arrived = len(recorder.samples) - before
        resident = daemon.resident_mb()
    return {
        "points_per_second": measured.polls * points / measured.seconds,
        "arrived_per_second": arrived * points / measured.seconds,
        "missed_percent": measured.missed_percent,
        "cpu_s_per_100k_points": 1e5 * measured.cpu / (measured.polls * points),
        "times_reference": measured.cpu / measured.polls / bare,
        "resident_mb": resident,
    }


def crowd(workload: Workload) -> Figures:
    """500 devices of 20 registers at 1 s, with different numbers of connections, fast and slow."""
    return {
        "missed_percent_50_lines": _missed(workload, 50, 0.0),
        "missed_percent_10_lines": _missed(workload, 10, 0.0),
        "missed_percent_10_slow_lines": _missed(workload, 10, 0.015),
        "missed_percent_2_lines": _missed(workload, 2, 0.0),
    }


def _missed(workload: Workload, connections: int, reply_delay_s: float) -> float:
    with Rig("crowd") as rig:
        lines = rig.start_plc(connections, reply_delay_s)
        recorder = rig.start_broker()
        daemon = rig.enter_context(rig.run_daemon(rig.write_site(lines, devices=500, points=20)))
        wait_until(lambda: recorder.samples)
        time.sleep(3 * workload.time_factor)
        with Measurement(daemon) as measured:
            time.sleep(30 * workload.time_factor)
    return measured.missed_percent


def wire(workload: Workload) -> Figures:
    """A serial line of 9600 baud with 10 devices, polled as fast as possible."""
    return {
        "use_percent": _line_use(workload, 20),
        "use_percent_short": _line_use(workload, 2),
        "use_percent_reference": _reference_line_use(workload),
    }


def _line_use(workload: Workload, points: int) -> float:
    with Rig("wire") as rig:
        line = rig.start_program("rtu.py", [])
        recorder = rig.start_broker()
        site = rig.write_site([line.at], devices=10, points=points, every=0.05, timeout=RESPONSE_TIMEOUT_S)
        rig.enter_context(rig.run_daemon(site))
        wait_until(lambda: recorder.samples)
        before = line.query()
        time.sleep(20 * workload.time_factor)
        return _percent_used(before, line.query())


def _percent_used(before: dict[str, Any], after: dict[str, Any]) -> float:
    return 100 * float(after["ideal"] - before["ideal"]) / float(after["at"] - before["at"])


def _reference_line_use(workload: Workload) -> float:
    """pymodbus alone, with the silence between frames, which it does not keep by itself."""
    with Rig("wire") as rig:
        line = rig.start_program("rtu.py", [])
        before = line.query()
        asyncio.run(_read_in_turn(line.at, range(1, 11), 27, 20 * workload.time_factor, 0.0))
        return _percent_used(before, line.query())


async def _read_in_turn(
    url: str, units: Iterable[int], count: int, seconds: float, interval_s: float
) -> None:
    client = AsyncModbusSerialClient(
        urlsplit(url).path, baudrate=BAUD_RATE, timeout=RESPONSE_TIMEOUT_S, retries=0
    )
    client.set_max_no_responses(1_000_000)
    await client.connect()
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        for unit in units:
            try:
                await client.read_holding_registers(0, count=count, device_id=unit)
            except ModbusException:
                continue
            await asyncio.sleep(FRAME_GAP_S)
        await asyncio.sleep(began + interval_s - time.monotonic())
    client.close()


def dead(workload: Workload) -> Figures:
    """A serial line of 9600 baud with 20 units polled every second, 5 of which never answer."""
    seconds = 60 * workload.time_factor
    with Rig("dead") as rig:
        line = rig.start_program("rtu.py", list(DEAD_UNITS))
        rig.start_broker()
        site = rig.write_site([line.at], devices=UNIT_COUNT, points=2, timeout=RESPONSE_TIMEOUT_S)
        rig.enter_context(rig.run_daemon(site))
        wait_until(lambda: line.query()["asked"])
        early = _measure_cadence(line, seconds / 6)
        whole = (early + 5 * _measure_cadence(line, seconds * 5 / 6)) / 6
        later = _measure_cadence(line, seconds)
    with Rig("dead") as rig:
        line = rig.start_program("rtu.py", list(DEAD_UNITS))
        before = line.query()
        asyncio.run(_read_in_turn(line.at, range(1, UNIT_COUNT + 1), 10, seconds / 2, 1.0))
        bare = _cadence(before, line.query())
    return {
        "cadence_percent": whole,
        "cadence_percent_first": early,
        "cadence_percent_later": later,
        "cadence_percent_reference": bare,
    }


def _measure_cadence(line: FieldProgram, seconds: float) -> float:
    before = line.query()
    time.sleep(seconds)
    return _cadence(before, line.query())


def _cadence(before: dict[str, Any], after: dict[str, Any]) -> float:
    """Answers of the live units, in percent of one per second and unit."""
    answers = sum(after["answered"].values()) - sum(before["answered"].values())
    return 100 * answers / (UNIT_COUNT - len(DEAD_UNITS)) / float(after["at"] - before["at"])


def hostile(workload: Workload) -> Figures:
    """Slaves that answer a part of all requests wrongly, on serial lines and on TCP: 24 devices a line, of
    20 registers in two ranges of the same length, two devices a unit, asked as fast as it goes."""
    with on_the_daemons_core(), Rig("hostile") as rig:
        slaves = rig.start_program(
            "hostile_slaves.py", ["rtu"] * 4 + ["rtu+tcp", "tcp"], FAULT_SHARE, HOSTILE_TIMEOUT_S
        )
        figures = asyncio.run(_poll_hostile_slaves(slaves, workload.transactions))
        reference_slave = rig.start_program("hostile_slaves.py", ["rtu"], FAULT_SHARE, HOSTILE_TIMEOUT_S)
        asked, wrong = asyncio.run(_poll_with_pymodbus(reference_slave.at[0], workload.transactions / 20))
    return {**figures, "misattributed_reference": 1e5 * wrong / asked}


async def _poll_hostile_slaves(slaves: FieldProgram, transactions: float) -> Figures:
    wrong = 0
    polls: Counter[str] = Counter()

    async def sink(sample: Sample) -> None:
        nonlocal wrong
        unit = int(sample.device.split("-")[1])
        for name, got in sample.values.items():
            wrong += got != register_value(unit, int(name))

    buses = [
        Line(
            BusSpec(
                url,
                modbus.DRIVER,
                modbus.Options(url=url, baud=HOSTILE_BAUD_RATE, timeout=HOSTILE_TIMEOUT_S),
            ),
            _devices(),
            SystemClock(),
            sink,
        )
        for url in slaves.at
    ]
    tasks = [asyncio.create_task(bus.run()) for bus in buses]
    while (counts := Counter(slaves.query())).total() < transactions:
        await asyncio.sleep(0.5)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for bus in buses:
        for device in bus.report()["devices"]:
            polls.update(
                {key: device[key] for key in ("polls", "readings", "silent", "damaged", "refused")}
            )
    faults = {f"lie_{fault}": counts[fault] for fault in FAULTS}
    return {
        "transactions": counts.total(),
        "faulty": sum(faults.values()),
        "misattributed": wrong,
        **polls,
        **faults,
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


async def _poll_with_pymodbus(url: str, transactions: float) -> tuple[int, int]:
    """Read the same ranges with pymodbus alone: the number of requests, and of wrong ones."""
    client = AsyncModbusSerialClient(
        urlsplit(url).path, baudrate=HOSTILE_BAUD_RATE, timeout=HOSTILE_TIMEOUT_S, retries=0
    )
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
            read_values = list(reply.registers)
            wrong += not reply.isError() and read_values != [
                register_value(unit, at) for at in range(first, first + 10)
            ]
    client.close()
    return asked, wrong


def siren(workload: Workload) -> Figures:
    """Time from the first reply with the alarm to the write of the siren. It includes the second reading,
    which confirms the alarm, but not the wait for the first poll."""
    with Rig("siren") as rig:
        panel = rig.start_program("siren_panel.py")
        site = rig.write_siren_site(panel.at)
        rig.start_broker()
        rig.enter_context(rig.run_daemon(site))
        socket = site.parent / "sock"
        wait_until(socket.exists)
        delays = []
        for number in range(round(200 * workload.time_factor)):
            delays.append(panel.query("press"))
            expires = round(time.time() * 1000) + 10_000
            asked = {"id": f"mute-{number}", "device": "gateway", "action": "mute", "origin": "console"}
            asyncio.run(control.call_daemon(socket, "command", by="bench", expires=expires, **asked))
            panel.query("quiet")
            # Until the release of the call point has been read as well.
            time.sleep(0.4)
    delays.sort()
    return {
        "siren_p50_ms": delays[len(delays) // 2],
        "siren_p99_ms": delays[min(len(delays) - 1, round(0.99 * len(delays)))],
        "siren_samples": len(delays),
    }


FIELD: dict[str, Callable[[Workload], Figures]] = {
    function.__name__: function for function in (thousand, crowd, wire, dead, hostile, siren)
}
