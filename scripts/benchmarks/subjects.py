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
from rig import OURS, THEIRS, Daemon, Rig, until
from witness import Arrival

from gateway.base.clock import SystemClock
from gateway.journal import Journal
from gateway.journal.rows import unpack
from gateway.model import Sample

Figures = dict[str, float]
LINES = 10


class Extent(msgspec.Struct):
    """How long and how much: a part of the usual time, the points of the backlog, the requests to the
    hostile slaves; and a folder of videos of visitors, in place of the rendered ones."""

    part: float = 1.0
    backlog: int = 1_000_000
    transactions: int = 100_000
    videos: Path | None = None


def saturation(extent: Extent) -> Figures:
    """300 devices of 100 points polled 20 times a second: more than one core can do."""
    points = 100
    with Rig("saturation") as rig:
        lines = rig.plc(LINES)
        witness = rig.broker()
        bare = reference(rig, lines[0], points, 0.0, 5 * extent.part)
        site = rig.site(lines, devices=300, points=points, every=0.05)
        daemon = rig.enter_context(rig.daemon(site))
        until(lambda: witness.samples)
        time.sleep(3 * extent.part)
        with Span(daemon) as span:
            before = len(witness.samples)
            time.sleep(15 * extent.part)
            arrived = len(witness.samples) - before
    return {
        "points_per_second": span.polls * points / span.seconds,
        "arrived_per_second": arrived * points / span.seconds,
        "cpu_percent": 100 * span.cpu / span.seconds,
        "cpu_us_per_poll": 1e6 * span.cpu / span.polls,
        "times_reference": span.cpu / span.polls / bare,
    }


def load(extent: Extent) -> Figures:
    """100 devices of 20 points at 1 s."""
    points = 20
    with Rig("load") as rig:
        lines = rig.plc(LINES)
        witness = rig.broker()
        bare = reference(rig, lines[0], points, 0.01, 10 * extent.part)
        daemon = rig.enter_context(rig.daemon(rig.site(lines, points=points)))
        until(lambda: witness.samples)
        time.sleep(5 * extent.part)
        with Span(daemon) as span:
            before = len(witness.samples)
            time.sleep(30 * extent.part)
            arrived = witness.samples[before:]
        resident, pss = daemon.resident(), daemon.proportional()
    times = _since_read(arrived, "stamp")
    thousands = span.polls * points / 1000
    return {
        "cpu_s_per_100k_points": 100 * span.cpu / thousands,
        "times_reference": span.cpu / span.polls / bare,
        "resident_mb": resident,
        "pss_mb": pss,
        "missed_percent": span.missed_percent,
        "disk_bytes_per_1000_points": span.written / thousands,
        "syncs_per_1000_points": span.commits / thousands,
        "telemetry_p50_ms": _percentile(times, 50),
        "telemetry_p99_ms": _percentile(times, 99),
    }


def latency(extent: Extent) -> Figures:
    """The same load, and 20 gas detectors that together raise 10 alarms a second."""
    with Rig("latency") as rig:
        lines = rig.plc(LINES)
        witness = rig.broker()
        rig.enter_context(rig.daemon(rig.site(lines, alarms=20)))
        until(lambda: witness.alarms)
        time.sleep(3 * extent.part)
        samples, alarms = len(witness.samples), len(witness.alarms)
        time.sleep(30 * extent.part)
        telemetry = _since_read(witness.samples[samples:], "stamp")
        raised = _since_read([a for a in witness.alarms[alarms:] if a.data["change"] == "raised"], "value")
    return {
        "telemetry_p50_ms": _percentile(telemetry, 50),
        "telemetry_p99_ms": _percentile(telemetry, 99),
        "telemetry_samples": len(telemetry),
        "alarm_p50_ms": _percentile(raised, 50),
        "alarm_p99_ms": _percentile(raised, 99),
        "alarm_samples": len(raised),
    }


def idle(extent: Extent) -> Figures:
    """The demo's own 17 devices on its own simulated lines."""
    with Rig("idle") as rig:
        witness = rig.broker()
        daemon = rig.enter_context(rig.daemon(rig.demo()))
        until(lambda: witness.samples)
        time.sleep(3 * extent.part)
        with Span(daemon) as span:
            time.sleep(25 * extent.part)
        resident = daemon.resident()
    return {"cpu_percent": 100 * span.cpu / span.seconds, "resident_mb": resident}


def start(extent: Extent) -> Figures:
    """From exec to the first telemetry of a device, with 100 devices."""
    figures: Figures = {}
    with Rig("start") as rig:
        lines = rig.plc(LINES)
        witness = rig.broker()
        site = rig.site(lines)
        ends = {"fresh_s": signal.SIGTERM, "again_s": signal.SIGKILL, "killed_s": signal.SIGTERM}
        for name, end in ends.items():
            witness.samples.clear()
            began = time.monotonic_ns() // 1000
            with rig.daemon(site) as daemon:
                until(lambda: any(sample.device.startswith("d") for sample in witness.samples))
                first = next(sample for sample in witness.samples if sample.device.startswith("d"))
                time.sleep(5 * extent.part)
                os.kill(daemon.pid, end)
            figures[name] = (first.at - began) / 1e6
            time.sleep(0.5)
    return figures


def journal(extent: Extent) -> Figures:
    """The journal alone, in this process, on the daemon's core."""
    with on_the_daemons_core(), Rig("journal") as rig:
        return {
            "points_per_second": asyncio.run(_append(rig.directory / "fast.db", 5 * extent.part)),
            "bytes_per_record_1s": asyncio.run(_trickle(rig.directory / "1s.db", 1.0, 20 * extent.part)),
            "bytes_per_record_5s": asyncio.run(_trickle(rig.directory / "5s.db", 5.0, 25 * extent.part)),
        }


async def _append(path: Path, seconds: float) -> float:
    """Points per second, from the first accepted to the last written to disk."""
    clock = SystemClock()
    began, count = time.monotonic(), 0
    async with Journal.open(path, clock, 1.0) as book:
        while time.monotonic() < began + seconds:
            for device in range(50):
                values = {f"value.{i}": 20.0 + (count + i) % 97 / 10 for i in range(20)}
                book.sample(Sample(f"d{device}", clock.now(), dict(values)))
                count += 20
            await asyncio.sleep(0)
    return count / (time.monotonic() - began)


async def _trickle(path: Path, window: float, seconds: float) -> float:
    """Device bytes per record of 100 bytes, ten a second; the closing checkpoint included."""
    clock, dice = SystemClock(), random.Random(1)
    async with Journal.open(path, clock, window) as book:
        before, count = _written(), 0
        while count < 10 * seconds:
            values: dict[str, Any] = {"level": dice.uniform(0, 40)}
            record = book.sample(Sample(f"thermometer-hall-{count % 10:02}", clock.now(), values))
            assert 95 <= len(msgspec.msgpack.encode(record)) <= 105
            count += 1
            await asyncio.sleep(0.1)
    return (_written() - before) / count


def _written() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"])


def drain(extent: Extent) -> Figures:
    """Deliver a backlog while 100 devices are polled and 20 gas detectors change 100 times a second."""
    with Rig("drain") as rig:
        lines = rig.plc(LINES)
        site = rig.site(lines, alarms=20, alarm_every=0.2)
        wanted = asyncio.run(_fill(rig.directory / "journal.db", extent.backlog))
        daemon = rig.enter_context(rig.daemon(site))
        until((rig.directory / "sock").exists)
        time.sleep(2)
        resident = daemon.resident()
        # Opened before the broker is there, so that no commit is missed.
        commits = rig.enter_context(_Commits(rig.directory / "journal.db"))
        witness = rig.broker()
        peak, seen, backlog = resident, 0, list[Arrival]()
        patience = time.monotonic() + 60
        while len(backlog) < len(wanted) and time.monotonic() < patience:
            commits.watch(0.1)
            fresh = witness.samples[seen:]
            seen += len(fresh)
            backlog += filter(_is_backlog, fresh)
            peak = max(peak, daemon.resident())
        commits.watch(0.5)
    first, last = backlog[0].at, backlog[-1].at
    got = [(sample.device, sample.seq) for sample in backlog]
    alarms = [(alarm.at, commits.seen[alarm.device, alarm.seq]) for alarm in witness.alarms]
    # Those of the outage go first; what comes after them meets telemetry's backlog alone.
    caught_up = max((at for at, commit in alarms if commit < first), default=first)
    times = [(at - commit) / 1000 for at, commit in alarms if caught_up <= commit <= last]
    return {
        "points_per_second": 20 * len(got) / ((last - first) / 1e6),
        "points": 20 * len(wanted),
        "missing": len(wanted - set(got)),
        "repeated": len(got) - len(set(got)),
        "growth_mb": peak - resident,
        "alarm_samples": len(times),
        "alarm_p50_ms": _percentile(times, 50),
        "alarm_p99_ms": _percentile(times, 99),
    }


def _is_backlog(sample: Arrival) -> bool:
    return bool(sample.data["values"].get("stamp") == 0)


class _Hasty(SystemClock):
    """A clock without waiting: every interval ends immediately."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


async def _fill(path: Path, points: int) -> set[tuple[str, int]]:
    """A backlog as after an outage: one sample of each device per second."""
    clock, written = _Hasty(), set[tuple[str, int]]()
    async with Journal.open(path, clock, 1.0) as book:
        while len(written) * 20 < points:
            for device in range(100):
                values: dict[str, Any] = {"stamp": 0}
                values |= {f"value.{i}": 20.0 + (len(written) + i) % 97 / 10 for i in range(1, 20)}
                record = book.sample(Sample(f"d{device:03}", clock.now(), values))
                written.add((record.device, record.seq))
            await book.commit()
    return written


class _Commits:
    """When each alarm was committed, as another process sees it: a millisecond late at most."""

    def __init__(self, journal: Path) -> None:
        self._database = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
        self._pos = 0
        self.seen: dict[tuple[str, int], int] = {}

    def __enter__(self) -> _Commits:
        self.watch(0.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def watch(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic_ns() // 1000
            rows = self._database.execute("SELECT pos, body, crc FROM alarm WHERE pos > ?", (self._pos,))
            for pos, body, crc in rows.fetchall():
                self._pos = pos
                for record in unpack(body, crc):
                    self.seen[record.device, record.seq] = now
            if time.monotonic() >= end:
                return
            time.sleep(0.001)


class Span:
    """What the daemon used and did between two points in time."""

    seconds = cpu = polls = missed = commits = written = 0.0

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    @property
    def missed_percent(self) -> float:
        return 100 * self.missed / (self.polls + self.missed)

    def __enter__(self) -> Span:
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
        return {**counts, "seconds": time.monotonic(), "cpu": daemon.cpu(), "written": daemon.written()}


def reference(rig: Rig, url: str, points: int, pause: float, seconds: float) -> float:
    """CPU seconds of a bare read and a bare publish of such a device, as often and on the same core."""
    with on_the_daemons_core():
        return asyncio.run(_bare(url, rig.broker_port, points, pause, seconds))


async def _bare(url: str, broker: int, points: int, pause: float, seconds: float) -> float:
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
    os.sched_setaffinity(0, THEIRS)
    try:
        yield
    finally:
        os.sched_setaffinity(0, OURS)


def _since_read(arrivals: list[Arrival], key: str) -> list[float]:
    """Milliseconds from the device's reply to the arrival, for records that contain the former."""
    values = ((a.at, a.data["value"] if key == "value" else a.data["values"].get(key)) for a in arrivals)
    return [(at - stamp) / 1000 for at, stamp in values if stamp]


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


GATEWAY: dict[str, Callable[[Extent], Figures]] = {
    function.__name__: function for function in (saturation, load, latency, idle, start, journal, drain)
}
