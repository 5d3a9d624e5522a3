"""One function for each benchmark: it sets up its rig, measures, and returns its figures."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from pymodbus.client import AsyncModbusTcpClient
from recorder import Arrival
from rig import DAEMON_CORES, OTHER_CORES, Daemon, Rig, wait_until

from gateway.base.clock import SystemClock
from gateway.journal import Journal
from gateway.journal.rows import unpack_records
from gateway.model import Sample

Figures = dict[str, float]
CONNECTIONS = 10


class Workload(msgspec.Struct):
    """The size of the measurements: the share of the usual time, the points of the backlog, the requests
    to the hostile slaves; and a folder of visitor videos, instead of the rendered ones."""

    time_factor: float = 1.0
    backlog: int = 1_000_000
    transactions: int = 100_000
    videos: Path | None = None


def saturation(workload: Workload) -> Figures:
    """300 devices of 100 points polled 20 times per second: more than a core can do."""
    points = 100
    with Rig("saturation") as rig:
        lines = rig.start_plc(CONNECTIONS)
        recorder = rig.start_broker()
        bare = reference(rig, lines[0], points, 0.0, 5 * workload.time_factor)
        site = rig.write_site(lines, devices=300, points=points, every=0.05)
        daemon = rig.enter_context(rig.run_daemon(site))
        wait_until(lambda: recorder.samples)
        time.sleep(3 * workload.time_factor)
        with Measurement(daemon) as measured:
            before = len(recorder.samples)
            time.sleep(15 * workload.time_factor)
            arrived = len(recorder.samples) - before
    return {
        "points_per_second": measured.polls * points / measured.seconds,
        "arrived_per_second": arrived * points / measured.seconds,
        "cpu_percent": 100 * measured.cpu / measured.seconds,
        "cpu_us_per_poll": 1e6 * measured.cpu / measured.polls,
        "times_reference": measured.cpu / measured.polls / bare,
    }


def load(workload: Workload) -> Figures:
    """100 devices of 20 points at 1 s."""
    points = 20
    with Rig("load") as rig:
        lines = rig.start_plc(CONNECTIONS)
        recorder = rig.start_broker()
        bare = reference(rig, lines[0], points, 0.01, 10 * workload.time_factor)
        daemon = rig.enter_context(rig.run_daemon(rig.write_site(lines, points=points)))
        wait_until(lambda: recorder.samples)
        time.sleep(5 * workload.time_factor)
        with Measurement(daemon) as measured:
            before = len(recorder.samples)
            time.sleep(30 * workload.time_factor)
            arrived = recorder.samples[before:]
        resident, pss = daemon.resident_mb(), daemon.proportional_mb()
    times = since_read(arrived, "stamp")
    thousands = measured.polls * points / 1000
    return {
        "cpu_s_per_100k_points": 100 * measured.cpu / thousands,
        "times_reference": measured.cpu / measured.polls / bare,
        "resident_mb": resident,
        "pss_mb": pss,
        "missed_percent": measured.missed_percent,
        "disk_bytes_per_1000_points": measured.written / thousands,
        "syncs_per_1000_points": measured.commits / thousands,
        "telemetry_p50_ms": percentile(times, 50),
        "telemetry_p99_ms": percentile(times, 99),
    }


def latency(workload: Workload) -> Figures:
    """The same load, and 20 gas detectors that raise 10 alarms a second between them."""
    with Rig("latency") as rig:
        lines = rig.start_plc(CONNECTIONS)
        recorder = rig.start_broker()
        rig.enter_context(rig.run_daemon(rig.write_site(lines, alarms=20)))
        wait_until(lambda: recorder.alarms)
        time.sleep(3 * workload.time_factor)
        samples, alarms = len(recorder.samples), len(recorder.alarms)
        time.sleep(30 * workload.time_factor)
        telemetry = since_read(recorder.samples[samples:], "stamp")
        raised = since_read([a for a in recorder.alarms[alarms:] if a.data["change"] == "raised"], "value")
    return {
        "telemetry_p50_ms": percentile(telemetry, 50),
        "telemetry_p99_ms": percentile(telemetry, 99),
        "telemetry_samples": len(telemetry),
        "alarm_p50_ms": percentile(raised, 50),
        "alarm_p99_ms": percentile(raised, 99),
        "alarm_samples": len(raised),
    }


def idle(workload: Workload) -> Figures:
    """The 17 devices of the demo, on its simulated lines."""
    with Rig("idle") as rig:
        recorder = rig.start_broker()
        daemon = rig.enter_context(rig.run_daemon(rig.start_demo()))
        wait_until(lambda: recorder.samples)
        time.sleep(3 * workload.time_factor)
        with Measurement(daemon) as measured:
            time.sleep(25 * workload.time_factor)
        resident = daemon.resident_mb()
    return {"cpu_percent": 100 * measured.cpu / measured.seconds, "resident_mb": resident}


def start(workload: Workload) -> Figures:
    """Time from exec to the first telemetry of a device, with 100 devices."""
    figures: Figures = {}
    with Rig("start") as rig:
        lines = rig.start_plc(CONNECTIONS)
        recorder = rig.start_broker()
        site = rig.write_site(lines)
        ends = {"fresh_s": signal.SIGTERM, "again_s": signal.SIGKILL, "killed_s": signal.SIGTERM}
        for name, end in ends.items():
            recorder.samples.clear()
            began = time.monotonic_ns() // 1000
            with rig.run_daemon(site) as daemon:
                wait_until(lambda: any(sample.device.startswith("d") for sample in recorder.samples))
                first = next(sample for sample in recorder.samples if sample.device.startswith("d"))
                time.sleep(5 * workload.time_factor)
                os.kill(daemon.pid, end)
            figures[name] = (first.at - began) / 1e6
            time.sleep(0.5)
    return figures


def journal(workload: Workload) -> Figures:
    """The journal alone, in this process, on the daemon's core."""
    with on_the_daemons_core(), Rig("journal") as rig:
        return {
            "points_per_second": asyncio.run(
                _append_flat_out(rig.directory / "fast.db", 5 * workload.time_factor)
            ),
            "bytes_per_record_1s": asyncio.run(
                _append_slowly(rig.directory / "1s.db", 1.0, 20 * workload.time_factor)
            ),
            "bytes_per_record_5s": asyncio.run(
                _append_slowly(rig.directory / "5s.db", 5.0, 25 * workload.time_factor)
            ),
        }


async def _append_flat_out(path: Path, seconds: float) -> float:
    """Points per second, from the first sample to the last commit."""
    clock = SystemClock()
    began, count = time.monotonic(), 0
    async with Journal.open(path, clock, 1.0) as journal:
        while time.monotonic() < began + seconds:
            for device in range(50):
                values = {f"value.{i}": 20.0 + (count + i) % 97 / 10 for i in range(20)}
                journal.append_sample(Sample(f"d{device}", clock.now(), dict(values)))
                count += 20
            await asyncio.sleep(0)
    return count / (time.monotonic() - began)


async def _append_slowly(path: Path, window: float, seconds: float) -> float:
    """Bytes written to the device per record of 100 bytes, at ten per second; including the final
    checkpoint."""
    clock, dice = SystemClock(), random.Random(1)
    async with Journal.open(path, clock, window) as journal:
        before, count = _written(), 0
        while count < 10 * seconds:
            values: dict[str, Any] = {"level": dice.uniform(0, 40)}
            record = journal.append_sample(Sample(f"thermometer-hall-{count % 10:02}", clock.now(), values))
            assert 95 <= len(msgspec.msgpack.encode(record)) <= 105
            count += 1
            await asyncio.sleep(0.1)
    return (_written() - before) / count


def _written() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"])


def drain(workload: Workload) -> Figures:
    """Delivery of a backlog while 100 devices are polled and 20 gas detectors change 100 times per
    second."""
    with Rig("drain") as rig:
        lines = rig.start_plc(CONNECTIONS)
        site = rig.write_site(lines, alarms=20, alarm_every=0.2)
        wanted = asyncio.run(_write_backlog(rig.directory / "journal.db", workload.backlog))
        daemon = rig.enter_context(rig.run_daemon(site))
        wait_until((rig.directory / "sock").exists)
        time.sleep(2)
        resident = daemon.resident_mb()
        # Opened before the broker is started, so that no commit is missed.
        commits = rig.enter_context(_CommitWatcher(rig.directory / "journal.db"))
        recorder = rig.start_broker()
        peak, seen, backlog = resident, 0, list[Arrival]()
        deadline = time.monotonic() + 60
        while len(backlog) < len(wanted) and time.monotonic() < deadline:
            commits.poll(0.1)
            fresh = recorder.samples[seen:]
            seen += len(fresh)
            backlog += filter(_is_backlog, fresh)
            peak = max(peak, daemon.resident_mb())
        commits.poll(0.5)
    first, last = backlog[0].at, backlog[-1].at
    got = [(sample.device, sample.seq) for sample in backlog]
    alarms = [(alarm.at, commits.seen[alarm.device, alarm.seq]) for alarm in recorder.alarms]
    # Alarms of the outage are delivered first; later ones compete with the telemetry backlog only.
    caught_up = max((at for at, commit in alarms if commit < first), default=first)
    times = [(at - commit) / 1000 for at, commit in alarms if caught_up <= commit <= last]
    return {
        "points_per_second": 20 * len(got) / ((last - first) / 1e6),
        "points": 20 * len(wanted),
        "missing": len(wanted - set(got)),
        "repeated": len(got) - len(set(got)),
        "growth_mb": peak - resident,
        "alarm_samples": len(times),
        "alarm_p50_ms": percentile(times, 50),
        "alarm_p99_ms": percentile(times, 99),
    }


def _is_backlog(sample: Arrival) -> bool:
    return bool(sample.data["values"].get("stamp") == 0)


class _InstantClock(SystemClock):
    """A clock that does not wait: every commit window is over at once."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


async def _write_backlog(path: Path, points: int) -> set[tuple[str, int]]:
    """Write a backlog like that of an outage: rows of one second with each device once."""
    clock, written = _InstantClock(), set[tuple[str, int]]()
    async with Journal.open(path, clock, 1.0) as journal:
        while len(written) * 20 < points:
            for device in range(100):
                values: dict[str, Any] = {"stamp": 0}
                values |= {f"value.{i}": 20.0 + (len(written) + i) % 97 / 10 for i in range(1, 20)}
                record = journal.append_sample(Sample(f"d{device:03}", clock.now(), values))
                written.add((record.device, record.seq))
            await journal.commit()
    return written


class _CommitWatcher:
    """Records when each alarm is committed, seen from another process, within a millisecond."""

    def __init__(self, journal: Path) -> None:
        self._database = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
        self._pos = 0
        self.seen: dict[tuple[str, int], int] = {}

    def __enter__(self) -> _CommitWatcher:
        self.poll(0.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def poll(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic_ns() // 1000
            rows = self._database.execute("SELECT pos, body, crc FROM alarm WHERE pos > ?", (self._pos,))
            for pos, body, crc in rows.fetchall():
                self._pos = pos
                for record in unpack_records(body, crc):
                    self.seen[record.device, record.seq] = now
            if time.monotonic() >= end:
                return
            time.sleep(0.001)


class Measurement:
    """CPU, polls and writes of the daemon within the block."""

    seconds = cpu = polls = missed = commits = written = 0.0

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    @property
    def missed_percent(self) -> float:
        return 100 * self.missed / (self.polls + self.missed)

    def __enter__(self) -> Measurement:
        self._before = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        after = self._now()
        for name, value in after.items():
            setattr(self, name, value - self._before[name])

    def _now(self) -> Figures:
        daemon = self._daemon
        counts = {
            "polls": daemon.metric("linli_polls_total"),
            "missed": daemon.metric("linli_polls_missed_total"),
            "commits": daemon.metric("linli_journal_commits_total"),
        }
        return {
            **counts,
            "seconds": time.monotonic(),
            "cpu": daemon.cpu(),
            "written": daemon.written_bytes(),
        }


def reference(rig: Rig, url: str, points: int, pause: float, seconds: float) -> float:
    """CPU seconds of reading and publishing such a device without the gateway, on the same core."""
    with on_the_daemons_core():
        return asyncio.run(_read_and_publish(url, rig.broker_port, points, pause, seconds))


async def _read_and_publish(url: str, broker: int, points: int, pause: float, seconds: float) -> float:
    modbus = AsyncModbusTcpClient("127.0.0.1", port=urlsplit(url).port or 0)
    await modbus.connect()
    mqtt = paho.Client(CallbackAPIVersion.VERSION2)
    mqtt.connect("127.0.0.1", broker)
    mqtt.loop_start()
    payload = b"x" * (200 + 17 * points)
    began, end, count = time.process_time(), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        await modbus.read_holding_registers(0, count=8 + points, device_id=250)
        mqtt.publish("bench/reference", payload, qos=1)
        count += 1
        await asyncio.sleep(pause)
    used = time.process_time() - began
    modbus.close()
    mqtt.disconnect()
    mqtt.loop_stop()
    return used / count


@contextmanager
def on_the_daemons_core() -> Iterator[None]:
    os.sched_setaffinity(0, DAEMON_CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, OTHER_CORES)


def since_read(arrivals: list[Arrival], key: str) -> list[float]:
    """Milliseconds from the slave's answer to the arrival, for records that contain the time of the
    answer."""
    values = ((a.at, a.data["value"] if key == "value" else a.data["values"].get(key)) for a in arrivals)
    return [(at - stamp) / 1000 for at, stamp in values if stamp]


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


GATEWAY: dict[str, Callable[[Workload], Figures]] = {
    function.__name__: function for function in (saturation, load, latency, idle, start, journal, drain)
}
