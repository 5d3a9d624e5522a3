"""The reference receiver: a backlog of many gateways at a broker, into PostgreSQL with fsync on."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from rig import DAEMON_CORES, OTHER_CORES, Process, Rig, accepts_connections, process, wait_until
from subjects import Figures, Workload

from tests.postgres import Postgres, postgres

SITES, DEVICES, RECORDS_PER_MESSAGE = 50, 20, 20
TIMEOUT_S = 300.0


def receiver(workload: Workload) -> Figures:
    """Records of 20 points, as most devices have, and of one point; each in messages of 20 records."""
    usual = _drain(workload, points=20)
    single = _drain(workload, points=1)
    return {
        "points_per_second": usual["points_per_second"],
        "cpu_us_per_point": usual["cpu_us_per_point"],
        "postgres_cpu_us_per_point": usual["postgres_cpu_us_per_point"],
        "growth_mb": usual["growth_mb"],
        "published_points_per_second": usual["published_points_per_second"],
        "single_points_per_second": single["points_per_second"],
        "single_cpu_us_per_point": single["cpu_us_per_point"],
        "single_postgres_cpu_us_per_point": single["postgres_cpu_us_per_point"],
        "single_growth_mb": single["growth_mb"],
    }


def _drain(workload: Workload, points: int) -> Figures:
    # As many bytes of backlog with one point a record as with twenty, about.
    messages = max(50, workload.backlog // (20 if points > 1 else 8) // RECORDS_PER_MESSAGE)
    records = messages * RECORDS_PER_MESSAGE
    with Rig("receiver") as rig:
        config = rig.directory / "mosquitto.conf"
        config.write_text(
            f"listener {rig.broker_port} 127.0.0.1\nallow_anonymous true\nuser root\n"
            "max_queued_messages 0\nmax_inflight_messages 0\nset_tcp_nodelay true\n"
        )
        rig.enter_context(process("mosquitto", "-c", config, cores=OTHER_CORES, log=rig.log))
        wait_until(lambda: accepts_connections(rig.broker_port))
        database = rig.enter_context(postgres())
        command = (
            sys.executable, "-m", "gateway.cli", "receive", "--broker", f"mqtt://127.0.0.1:{rig.broker_port}",
            "--database", database.url, "--name", "bench",
        )  # fmt: skip
        with process(*command, cores=DAEMON_CORES, log=rig.log):
            # Its session, in which the backlog waits.
            wait_until(lambda: "receiver-started" in rig.log.read_text())
        published = _publish(rig.broker_port, list(_messages(messages, points)))
        with process(*command, cores=DAEMON_CORES, log=rig.log) as child:
            measured = Process(child.pid)
            wait_until(lambda: _count(database) > 0)
            began, first, cpu = time.monotonic(), _count(database), measured.cpu()
            postgres_cpu, resident = _postgres_cpu(database), 0.0
            while (stored := _count(database)) < records:
                if not resident and stored > records / 4:
                    resident = measured.resident_mb()
                assert time.monotonic() < began + TIMEOUT_S, f"{stored} of {records}"
                time.sleep(0.2)
            counted = (records - first) * points or 1
            return {
                "points_per_second": counted / (time.monotonic() - began),
                "cpu_us_per_point": 1e6 * (measured.cpu() - cpu) / counted,
                "postgres_cpu_us_per_point": 1e6 * (_postgres_cpu(database) - postgres_cpu) / counted,
                "growth_mb": measured.resident_mb() - resident if resident else 0.0,
                "published_points_per_second": records * points / published,
            }


def _messages(count: int, points: int) -> Iterator[tuple[str, bytes]]:
    now_ms = int(time.time() * 1000)
    values = {f"point_{number}": 20.5 + number for number in range(points)}
    for number in range(count):
        turn, place = divmod(number, SITES * DEVICES)
        site, device = f"site-{place % SITES}", f"device-{place // SITES}"
        first = turn * RECORDS_PER_MESSAGE + 1
        records = [
            {
                "seq": first + each, "kind": "sample", "at": now_ms + first + each, "clock": "synced",
                "mono": (first + each) * 1_000_000, "boot": "12345678",
                "data": {"quality": "good", "values": values},
            }
            for each in range(RECORDS_PER_MESSAGE)
        ]  # fmt: skip
        sent = {"epoch": "0123456789abcdef", "device": device, "lane": "telemetry", "records": records}
        yield f"linli/v1/{site}/{device}/telemetry", json.dumps(sent, separators=(",", ":")).encode()


def _publish(port: int, messages: list[tuple[str, bytes]]) -> float:
    """Seconds that a bare paho client takes until all are acknowledged."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.max_inflight_messages_set(100)
    client.connect("127.0.0.1", port)
    client.loop_start()
    began = time.monotonic()
    sent = [client.publish(topic, payload, qos=1) for topic, payload in messages]
    for each in sent:
        each.wait_for_publish(TIMEOUT_S)
    took = time.monotonic() - began
    client.disconnect()
    client.loop_stop()
    return took


def _count(database: Postgres) -> int:
    return int(database.value("SELECT count(*) FROM record"))


def _postgres_cpu(database: Postgres) -> float:
    """CPU time in seconds of the server's processes that last."""
    return sum(each.cpu() for each in (Process(database.pid), *Process(database.pid).descendants()))
