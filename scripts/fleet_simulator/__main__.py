"""Many gateways in a few processes: each has its own connection and sends what a real one sends.

A gateway with D devices polled every S seconds sends D messages in S seconds. With `--storm` all connect at
the same moment, as after a power cut of the broker; else within a minute, as gateways do by their jitter.
With `--restart` the broker of this run ends in the middle and starts again. With `--receive` everything is
stored by `linli receive` in a PostgreSQL of this run.
With `--backlog` each first sends the telemetry of so many hours, as after an outage: that is time
compressed, and shows how many centres a broker can take at their real pace.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from gateway.base.clock import SystemClock
from gateway.model import Lane, LinkDown, Record
from gateway.uplink import NativeDialect
from gateway.wire import mqtt
from gateway.wire.broker import BrokerOptions

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

from tests.postgres import Postgres, postgres  # noqa: E402

CONNECT_SPREAD_S = 60.0
RECORDS_PER_MESSAGE = 100
"""Of a backlog, in one message."""
MAX_IN_FLIGHT = 12
"""Messages of one gateway that are not acknowledged, as in `gateway.uplink.lanes`."""
FILES_FOR_EACH = 4
RESTART_S = 5.0
"""For which the broker is away."""


class SimulatedGateway:
    """One gateway's connection and its numbers."""

    def __init__(self, site: str, options: argparse.Namespace, clock: SystemClock) -> None:
        self._dialect = NativeDialect(site, f"{abs(hash(site)) % 16**8:08x}")
        self._devices = [f"device-{number:03}" for number in range(options.devices)]
        self._options = options
        self._clock = clock
        self._seq = 0
        self._in_flight = asyncio.Semaphore(MAX_IN_FLIGHT)
        self.acknowledged = 0
        self.records = 0
        self.delays_s: list[float] = []
        self.connected_s: float | None = None
        self.reconnected_s = 0.0
        self.failed = 0

    async def run(self, delay_s: float, until_s: float) -> None:
        await asyncio.sleep(delay_s)
        host, _, port = self._options.broker.rpartition(":")
        broker = BrokerOptions(url=f"mqtt://{host}:{port}", client_id=self._dialect.command_topics[0][9:40])
        while time.monotonic() < until_s:
            try:
                async with mqtt.connect(broker) as link:
                    self.reconnected_s = time.monotonic()
                    self.connected_s = self.connected_s or self.reconnected_s
                    await self._send_all(link, until_s)
            except LinkDown:
                self.failed += 1
                # As `gateway.uplink` asks whether a broker is back.
                await asyncio.sleep(random.uniform(0.5, 1.0))

    async def _send_all(self, link: mqtt.Connection, until_s: float) -> None:
        per_device = round(self._options.backlog * 3600 / self._options.interval)
        for first in range(0, per_device, RECORDS_PER_MESSAGE):
            for device in self._devices:
                count = min(RECORDS_PER_MESSAGE, per_device - first)
                await self._send(link, device, count, backfill=True)
        pause_s = self._options.interval / len(self._devices)
        due = time.monotonic()
        while time.monotonic() < until_s:
            for device in self._devices:
                await self._send(link, device, 1)
                due += pause_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _send(
        self, link: mqtt.Connection, device: str, count: int, *, backfill: bool = False
    ) -> None:
        at, values = self._clock.now(), {"temperature": 21.5, "humidity": 47, "battery": 88, "smoke": False}
        body = {"quality": "good", "values": values}
        records = [
            Record(Lane.TELEMETRY, device, self._seq + n, "sample", at, body) for n in range(1, count + 1)
        ]
        self._seq += count
        topic, payload, *_ = self._dialect.records_message(records, backfill=backfill)
        await self._in_flight.acquire()
        sent_s = time.monotonic()

        def done(future: asyncio.Future[None]) -> None:
            self._in_flight.release()
            if not future.cancelled() and future.exception() is None:
                self.acknowledged += 1
                self.records += count
                self.delays_s.append(time.monotonic() - sent_s)

        link.publish(topic, payload).add_done_callback(done)
        if link.ended.done():
            link.ended.result()


def simulate(numbers: range, total: int, options: argparse.Namespace, results: Any) -> None:
    """So many gateways in this process."""
    limit = len(numbers) * FILES_FOR_EACH + 100
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (limit, max(limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    )
    results.put(asyncio.run(_simulate(numbers, total, options)))


async def _simulate(numbers: range, total: int, options: argparse.Namespace) -> dict[str, Any]:
    clock, start_s = SystemClock(), time.monotonic()
    gateways = [SimulatedGateway(f"centre-{number:05}", options, clock) for number in numbers]
    spread_s = 0.0 if options.storm else min(CONNECT_SPREAD_S, options.seconds / 2)
    until_s = start_s + options.seconds
    await asyncio.gather(
        *(
            each.run(spread_s * number / total, until_s)
            for number, each in zip(numbers, gateways, strict=True)
        )
    )
    connected = [each.connected_s - start_s for each in gateways if each.connected_s]
    return {
        "connected": len(connected),
        "last_connected_s": max(connected, default=0.0),
        "last_reconnected_s": max(each.reconnected_s for each in gateways),
        "messages": sum(each.acknowledged for each in gateways),
        "records": sum(each.records for each in gateways),
        "failed": sum(each.failed for each in gateways),
        "delays_s": [delay for each in gateways for delay in each.delays_s[::10]],
        "cpu_s": time.process_time(),
    }


class Broker:
    """A mosquitto for this run."""

    def __init__(self, folder: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self._port = server.getsockname()[1]
        self.address = f"127.0.0.1:{self._port}"
        self._config = Path(folder) / "mosquitto.conf"
        self._config.write_text(
            f"listener {self._port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nuser root\n"
        )
        self._cpu_before_s = 0.0
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(["mosquitto", "-c", self._config], stderr=subprocess.DEVNULL)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port)).close()
            except ConnectionRefusedError:
                time.sleep(0.02)
            else:
                return

    def end(self) -> None:
        self._cpu_before_s = self.cpu_s()
        self._process.kill()
        self._process.wait()

    def cpu_s(self) -> float:
        return self._cpu_before_s + cpu_s(self._process.pid)


def cpu_s(pid: int) -> float:
    """Of a process and its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / 100


class Receiver:
    """`linli receive`, and its database."""

    def __init__(self, broker: str, database: Postgres) -> None:
        self._database = database
        command = (
            sys.executable, "-m", "gateway.cli", "receive", "--broker", f"mqtt://{broker}", "--group", "",
            "--database", database.url, "--name", "fleet",
        )  # fmt: skip
        self._process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        while not self._is_connected():
            time.sleep(0.1)

    def _is_connected(self) -> bool:
        return bool(self._database.value("SELECT to_regclass('linli.record') IS NOT NULL"))

    def figures(self, records: int) -> dict[str, float]:
        """Once all of so many records are stored, or no more come."""
        stored, before = self._stored(), -1
        while before < stored < records:
            time.sleep(5.0)
            stored, before = self._stored(), stored
        size = self._database.value(
            "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits "
            "WHERE inhparent = 'record'::regclass"
        )
        server = Path(f"/proc/{self._database.pid}/task/{self._database.pid}/children").read_text().split()
        database_s = sum(map(cpu_s, map(int, server))) + cpu_s(self._database.pid)
        return {
            "stored_records": stored,
            "missing_records": max(0, records - stored),
            "receiver_cpu_us_per_record": round(1e6 * cpu_s(self._process.pid) / stored, 1),
            "database_cpu_us_per_record": round(1e6 * database_s / stored, 1),
            "database_bytes_per_record": round(int(size) / stored),
        }

    def _stored(self) -> int:
        return int(self._database.value("SELECT count(*) FROM record"))

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()


@contextmanager
def own_broker(options: argparse.Namespace) -> Iterator[Broker | None]:
    """One, if none is named."""
    if options.broker:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(folder)
        options.broker = broker.address
        try:
            yield broker
        finally:
            broker.end()


def main() -> None:
    parser = argparse.ArgumentParser("scripts/fleet", description="许多网关 · many gateways")
    parser.add_argument("gateways", type=int)
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument(
        "--interval", type=float, default=10.0, help="每台设备的轮询周期（秒） · seconds between polls"
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--backlog", type=float, default=0.0, help="先补传几小时 · hours sent first")
    parser.add_argument("--storm", action="store_true", help="同时连接 · all connect at once")
    parser.add_argument(
        "--restart", action="store_true", help="中途重启服务器 · the broker restarts in the middle"
    )
    parser.add_argument(
        "--receive", action="store_true", help="接收并存入数据库 · receive, and store in a database"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--broker", default="", help="主机:端口；不写则自带 · else one of its own")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        broker = stack.enter_context(own_broker(options))
        receiver = None
        if options.receive:
            receiver = Receiver(options.broker, stack.enter_context(postgres()))
            stack.callback(receiver.end)
            time.sleep(2.0)
        results: Any = multiprocessing.Queue()
        shares = [range(n, options.gateways, options.processes) for n in range(options.processes)]
        began_s, restarted_s = time.monotonic(), 0.0
        workers = [
            multiprocessing.Process(target=simulate, args=(share, options.gateways, options, results))
            for share in shares
        ]
        for worker in workers:
            worker.start()
        if broker and options.restart:
            time.sleep(options.seconds / 2)
            broker.end()
            time.sleep(RESTART_S)
            broker.start()
            restarted_s = time.monotonic()
        found = [results.get() for _ in workers]
        for worker in workers:
            worker.join()
        seconds = time.monotonic() - began_s
        broker_s = broker.cpu_s() if broker else 0.0
        records = sum(each["records"] for each in found)
        stored = receiver.figures(records) if receiver else {}
    delays = sorted(delay for each in found for delay in each["delays_s"]) or [0.0]
    messages = sum(each["messages"] for each in found)
    figures = {
        "gateways": options.gateways,
        "connected": sum(each["connected"] for each in found),
        "last_connected_s": round(max(each["last_connected_s"] for each in found), 1),
        "last_reconnected_s": round(max(each["last_reconnected_s"] for each in found) - restarted_s, 1)
        if restarted_s
        else 0.0,
        "failed_connections": sum(each["failed"] for each in found),
        "messages_per_second": round(messages / seconds),
        "points_per_second": round(4 * records / seconds),
        "acknowledged_p50_ms": round(1000 * statistics.median(delays), 1),
        "acknowledged_p99_ms": round(1000 * delays[int(0.99 * (len(delays) - 1))], 1),
        "broker_cpu_percent": round(100 * broker_s / seconds),
        "broker_cpu_us_per_message": round(1e6 * broker_s / messages) if messages else 0,
        "simulator_cpu_percent": round(100 * sum(each["cpu_s"] for each in found) / seconds),
    }
    figures |= stored
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:28}{value}")


if __name__ == "__main__":
    main()
