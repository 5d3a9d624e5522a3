"""Real gateways and `linli receive` at a cluster of three brokers: see `nodes` and `network`.

Each gateway polls a fast Modbus slave and knows the address of every node; so does the receiver, which
writes into a PostgreSQL of its own. While they run, one fault after the other; then all has to be in the
database that is in the journals, with the same content, and every ledger has to say so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT), str(ROOT / "scripts" / "nemesis")]

from network import BROKER_PORT, NODES, Network, address  # noqa: E402
from nodes import Cluster  # noqa: E402
from parts import Field, Gateway, Process, free_port, write_site  # noqa: E402

from gateway.base.clock import local_day  # noqa: E402
from gateway.journal import JournalReader  # noqa: E402
from gateway.model import Lane  # noqa: E402
from tests.postgres import Postgres, postgres  # noqa: E402

QUIET_S = 5.0
"""Between two faults, with everything running."""
SPLIT_S = 20.0
DRAIN_TIMEOUT_S = 180.0
COUNT = "SELECT count(*) FROM record"
RECORDS = """SELECT site, epoch, device, lane, seq, kind, mono, boot, data::text
    FROM record JOIN stream ON id = stream"""

Key = tuple[str, str, str, str, int]


class Rig:
    """Everything that runs."""

    def __init__(self, cluster: Cluster, network: Network, database: Postgres, folder: Path) -> None:
        self.cluster = cluster
        self.network = network
        self.database = database
        self.folder = folder
        self.gateways: dict[str, Gateway] = {}
        self.receiver = Process(folder / "receiver.log")
        self.longest_silence_s = 0.0
        """In which nothing new came into the database, since the fault began."""

    async def add_gateway(self, name: str, stack: AsyncExitStack, first: int) -> None:
        """`first`: the node that it tries first."""
        folder = self.folder / name
        folder.mkdir()
        field = Field(folder / "field.log")
        stack.push_async_callback(field.end)
        order = [*NODES[first:], *NODES[:first]]
        gateway = self.gateways[name] = Gateway(folder)
        gateway.site = write_site(
            folder, folder / "journal.db", await field.start(2), _urls(order), free_port(), site=name
        )
        running = asyncio.create_task(gateway.restart_forever())
        stack.push_async_callback(gateway.stop)
        stack.callback(running.cancel)

    async def start_receiver(self) -> None:
        brokers = [word for url in _urls([2, 3, 1]) for word in ("--broker", url)]
        await self.receiver.spawn(
            sys.executable, "-m", "gateway.cli", "receive", *brokers,
            "--database", self.database.url, "--group", "", "--name", "receiver-1",
        )  # fmt: skip

    async def watch(self) -> None:
        """Never returns."""
        last, since = -1, time.monotonic()
        while True:
            stored = await asyncio.to_thread(self.stored)
            now = time.monotonic()
            if stored not in (-1, last):
                last, since = stored, now
            self.longest_silence_s = max(self.longest_silence_s, now - since)
            await asyncio.sleep(0.2)

    def stored(self) -> int:
        """Records in the database; -1 while it is away."""
        try:
            return int(self.database.value(COUNT))
        except Exception:  # noqa: BLE001  psycopg's, whatever the reason
            return -1

    async def wait_for_more(self) -> None:
        """Return when new records have come into the database."""
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            before = await asyncio.to_thread(self.stored)
            while await asyncio.to_thread(self.stored) <= max(0, before):
                await asyncio.sleep(0.1)


async def _kill_node(rig: Rig) -> None:
    rig.cluster.kill(1)
    await rig.wait_for_more()
    await asyncio.sleep(QUIET_S)
    await rig.cluster.start_node(1)


async def _split(rig: Rig) -> None:
    rig.network.split(2)
    await asyncio.sleep(SPLIT_S)
    await rig.wait_for_more()
    rig.network.heal(2)
    await rig.cluster.wait_until_ready(2)


async def _rolling_restart(rig: Rig) -> None:
    for node in NODES:
        await rig.cluster.stop_node(node)
        await rig.cluster.start_node(node)
        await rig.wait_for_more()


async def _restart_database(rig: Rig) -> None:
    await asyncio.to_thread(rig.database.stop_at_once)
    await asyncio.sleep(QUIET_S)
    await asyncio.to_thread(rig.database.start)


async def _kill_receiver(rig: Rig) -> None:
    import signal  # noqa: PLC0415

    await rig.receiver.end(signal.SIGKILL)
    await asyncio.sleep(QUIET_S)
    await rig.start_receiver()


FAULTS: dict[str, Callable[[Rig], Awaitable[None]]] = {
    "node-killed": _kill_node,
    "network-split": _split,
    "rolling-restart": _rolling_restart,
    "database-restarted": _restart_database,
    "receiver-killed": _kill_receiver,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        "scripts/cluster", description="三节点集群 · clusters of three brokers"
    )
    parser.add_argument("kinds", nargs="*", help="rabbitmq, nats")
    parser.add_argument("--gateways", type=int, default=3)
    parser.add_argument("--fault", action="append", choices=list(FAULTS), default=[])
    parser.add_argument("--keep", action="store_true", help="保留工作目录 · keep the working directory")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kinds = options.kinds or ["rabbitmq", "nats"]
    if unknown := set(kinds) - {"rabbitmq", "nats"}:
        parser.error(f"{unknown}")
    results = {}
    root = Path(tempfile.mkdtemp(prefix="linli-cluster-", dir=os.environ.get("TMPDIR")))
    try:
        with ExitStack() as network_stack:
            network = Network(network_stack, root)
            for kind in kinds:
                folder = root / kind
                folder.mkdir()
                with ExitStack() as stack:
                    results[kind] = asyncio.run(_run(kind, network, folder, stack, options))
    finally:
        if options.keep:
            print(root, file=sys.stderr)
        else:
            shutil.rmtree(root, ignore_errors=True)
    if options.json:
        print(json.dumps(results))
    else:
        for kind, figures in results.items():
            print(kind)
            for name, value in figures.items():
                print(f"  {name:34}{value}")
    sys.exit(not all(figures["passed"] for figures in results.values()))


async def _run(
    kind: str, network: Network, folder: Path, stack: ExitStack, options: argparse.Namespace
) -> dict[str, Any]:
    database = stack.enter_context(postgres())
    cluster = Cluster(kind, network, folder)
    stack.callback(cluster.close)
    await cluster.start()
    rig = Rig(cluster, network, database, folder)
    figures: dict[str, Any] = {}
    async with AsyncExitStack() as running:
        # Its session at the broker keeps what comes from now on.
        running.push_async_callback(rig.receiver.end)
        await rig.start_receiver()
        await _wait_for_log(folder / "receiver.log", "receiver-alone")
        for number in range(options.gateways):
            await rig.add_gateway(f"centre-{number + 1}", running, number % len(NODES))
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            while rig.stored() < 100:
                await asyncio.sleep(0.2)
        watching = asyncio.create_task(rig.watch())
        began_s, before = time.monotonic(), rig.stored()
        await asyncio.sleep(2 * QUIET_S)
        figures["records_per_second"] = round((rig.stored() - before) / (time.monotonic() - began_s))
        for name in options.fault or FAULTS:
            rig.longest_silence_s = 0.0
            began_s = time.monotonic()
            await FAULTS[name](rig)
            await rig.wait_for_more()
            figures[f"{name}_s"] = round(time.monotonic() - began_s, 1)
            await asyncio.sleep(QUIET_S)
            figures[f"{name}_longest_silence_s"] = round(rig.longest_silence_s, 1)
            print(f"{kind} {name}: {figures[f'{name}_longest_silence_s']} s", file=sys.stderr, flush=True)
        watching.cancel()
        figures |= await _settle(rig)
    return figures


async def _settle(rig: Rig) -> dict[str, Any]:
    """End the gateways, deliver what is left, and compare."""
    began_s = time.monotonic()
    for gateway in rig.gateways.values():
        await gateway.stop()
    kept: dict[Key, tuple[Any, ...]] = {}
    delivered: set[Key] = set()
    pending = wrong = 0
    for name, gateway in rig.gateways.items():
        journal = gateway.site.parent / "journal.db"
        async with JournalReader.open(journal, local_day("Asia/Shanghai")) as reader:
            epoch = await reader.read_meta("epoch")
            positions = {lane: await reader.cursor_pos(lane) for lane in Lane}
            for lane in Lane:
                async for pack in reader.packs(lane, 0):
                    for record in pack.records:
                        key = (name, record.epoch or epoch, record.device, lane.name.lower(), record.seq)
                        kept[key] = _content(record.kind, record.at.mono_ns, record.at.boot, record.body)
                        if pack.pos <= positions[lane]:
                            delivered.add(key)
            for row in await reader.ledger():
                pending += row.pending
                wrong += row.measured != row.delivered + row.pending + sum(row.dropped.values())
    stored: dict[Key, tuple[Any, ...]] = {}
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    while time.monotonic() < deadline and delivered - stored.keys():
        await asyncio.sleep(1.0)
        stored = {
            tuple(row[:5]): _content(*row[5:8], json.loads(row[8]))
            for row in await asyncio.to_thread(rig.database.rows, RECORDS)
        }
    lost = delivered - stored.keys()
    unknown = stored.keys() - kept.keys()
    other = sum(kept[key] != stored[key] for key in kept.keys() & stored.keys())
    report = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.cli", "receive", "report", "--database", rig.database.url,
        stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    output, _ = await report.communicate()
    if report.returncode:
        print(output.decode(), file=sys.stderr)
    crashes = sum(gateway.crashes for gateway in rig.gateways.values())
    return {
        "recorded": len(kept),
        "delivered": len(delivered),
        "stored": len(stored),
        "lost": len(lost),
        "stored_but_never_recorded": len(unknown),
        "stored_with_other_content": other,
        "not_delivered_at_the_end": pending,
        "wrong_ledger_rows": wrong,
        "report_exit_code": report.returncode,
        "crashes": crashes,
        "drained_s": round(time.monotonic() - began_s, 1),
        "passed": not (lost or unknown or other or wrong or report.returncode or crashes),
    }


def _content(kind: str, mono: int, boot: str, body: Any) -> tuple[Any, ...]:
    return kind, mono, boot, msgspec.json.encode(msgspec.to_builtins(body), order="sorted")


async def _wait_for_log(file: Path, text: str) -> None:
    async with asyncio.timeout(60):
        while text not in file.read_text():
            await asyncio.sleep(0.1)


def _urls(nodes: list[int]) -> list[str]:
    return [f"mqtt://{address(node)}:{BROKER_PORT}" for node in nodes]


if __name__ == "__main__":
    main()
