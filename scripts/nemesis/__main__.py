"""The gateway under every fault, with an independent witness: see `faults`, `oracle` and `disk`.

`linli run` is fed by a fast Modbus slave and speaks through `proxy` with a mosquitto. The witness is a
client of its own with a persistent session, straight at that broker. "Acknowledged" must imply "seen", so
the broker is ended in order (its queue is on the disk then) or killed once the witness has drained it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

from disk import Disk
from faults import Nemesis
from oracle import Observer, Oracle
from parts import Broker, Field, Gateway, Subscriber, free_port, write_site
from proxy import Proxy

CHANCES = {"gateway": 0.7, "broker": 0.3, "link": 0.4, "disk": 0.1, "clock": 0.1, "journal": 0.0}
"""That a group has a part in a round. A journal that is deleted just before the power fails is lost, so
this happens alone only, where no other group has been chosen."""
RECOVERY_TIMEOUT_S = 60.0
"""Seconds after healing within which something new must have arrived."""
MAX_RSS_BYTES, MAX_FDS, MAX_PENDING = 150_000_000, 80, 500
JOURNAL_CAP_BYTES = 90_000_000


def main() -> None:
    parser = argparse.ArgumentParser("scripts/torture", description="折磨网关 · torture the gateway")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--json", action="store_true", help="末行为 JSON · the last line is JSON")
    parser.add_argument(
        "--only", default="", help="只用这些故障，逗号分隔 · only these faults, comma-separated"
    )
    parser.add_argument(
        "--plan", default="", help="依次执行，如 kill,freeze+kill · in this order instead of by chance"
    )
    parser.add_argument("--keep", action="store_true", help="保留工作目录 · keep the working directory")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="linli-torture-", dir=os.environ.get("TMPDIR")))
    try:
        result = asyncio.run(torture(directory, options))
    finally:
        if not options.keep:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            print(directory)
    for key, value in result.items():
        print(f"  {key:<14} {json.dumps(value, ensure_ascii=False)}")
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    sys.exit(not result["passed"])


async def torture(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One run; the verdict."""
    rng = random.Random(options.seed)
    left_out = []
    async with AsyncExitStack() as stack:
        disk = stack.enter_context(Disk(directory))
        if not disk.real:
            left_out.append("power-cut, disk-dead, disk-full: no root, or no loop device")
        elif not disk.drops_unsynced():
            raise RuntimeError("the power cut does not drop what was not synced: it would prove nothing")
        faketime = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
        if faketime is None:
            left_out.append("clock-jump, boot-1970: no libfaketime")
        field, broker, gateway = Field(directory / "log"), Broker(directory), Gateway(directory)
        stack.push_async_callback(field.end)
        stack.push_async_callback(broker.end)
        await broker.start()
        journal = disk.path / "journal.db"
        oracle = Oracle(journal, directory / "run" / "memory" / "journal.db")
        witness = Subscriber(broker.port, oracle)
        stack.callback(witness.close)
        await witness.ready()
        proxy = await stack.enter_async_context(Proxy(broker.port))
        urls = [f"mqtt://127.0.0.1:{proxy.port}"]
        gateway.site = write_site(directory, journal, await field.start(2), urls, free_port())
        clock = None
        if faketime:
            clock = directory / "clock"
            clock.write_text("+0\n")
            gateway.env = {
                "LD_PRELOAD": str(faketime), "FAKETIME_TIMESTAMP_FILE": str(clock),
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_CACHE_DURATION": "1", "NO_FAKE_STAT": "1",
            }  # fmt: skip
        observer = Observer(journal, oracle)
        longest = 3.0 if options.minutes < 1 else 25.0
        nemesis = Nemesis(rng, gateway, broker, witness, proxy, disk, observer, clock, longest)
        known = {name for group in nemesis.groups.values() for name in group}
        asked = {*options.only.split(","), *options.plan.replace("+", ",").split(",")} - {""}
        if strange := asked - known:
            raise SystemExit(f"{', '.join(strange)}? {', '.join(sorted(known))}")
        run = Run(nemesis, gateway, oracle, observer, disk, rng, set(options.only.split(",")) - {""})
        background = [asyncio.create_task(gateway.restart_forever()), asyncio.create_task(run.watch())]
        stack.push_async_callback(_cancel, background)
        stack.push_async_callback(gateway.stop)
        await run.begin()
        if options.plan:
            for names in options.plan.split(","):
                await run.round(names.split("+"))
        else:
            await run.rounds(time.monotonic() + options.minutes * 60)
        await run.drain()
        code = await gateway.stop()
        await witness.drained()
        observer.read_new_rows()
        pending = observer.pending()
        return run.verdict(oracle.evaluate(pending), left_out, code, journal, options)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Run:
    """The rounds of one run, and what was measured."""

    def __init__(
        self,
        nemesis: Nemesis,
        gateway: Gateway,
        oracle: Oracle,
        observer: Observer,
        disk: Disk,
        rng: random.Random,
        only: set[str],
    ) -> None:
        self._nemesis = nemesis
        self._gateway = gateway
        self._oracle = oracle
        self._observer = observer
        self._disk = disk
        self._rng = rng
        self._groups = {
            group: {name: fault for name, fault in faults.items() if not only or name in only}
            for group, faults in nemesis.groups.items()
        }
        self._groups = {group: faults for group, faults in self._groups.items() if faults}
        self._recoveries: list[float] = []
        self._unrecovered = 0
        self._peak_journal = 0

    async def watch(self) -> None:
        """Observe the journal and the gateway's resources; never returns."""
        while True:
            if self._nemesis.watching:
                self._observer.read_new_rows()
                self._peak_journal = max(self._peak_journal, self._disk.used())
            self._gateway.measure()
            await asyncio.sleep(0.2)

    async def begin(self) -> None:
        """Kill the gateway at every step of creating the journal; afterwards the journal exists."""
        for step in range(1, 5):
            await self._gateway.hold()
            await asyncio.sleep(0.6)
            kills = self._gateway.kills
            self._gateway.next_env["LINLI_KILL_AT"] = f"migrate:{step}"
            self._gateway.release()
            await asyncio.sleep(2.0)
            self._nemesis.stages["migrate"] += self._gateway.kills > kills
        await self._recovered()

    async def rounds(self, end: float) -> None:
        """One fault, or one of each of several groups at the same time, until the time is up."""
        while time.monotonic() < end:
            groups = [group for group in self._groups if self._rng.random() < CHANCES[group]]
            groups = groups or [self._rng.choice(list(self._groups))]
            names = [self._rng.choice(list(self._groups[group])) for group in groups]
            print(f"{end - time.monotonic():6.0f} s ", end="", file=sys.stderr)
            await self.round(names)
            await asyncio.sleep(self._rng.uniform(0, 1.5))

    async def round(self, names: list[str]) -> None:
        """These faults at the same time, until all are removed and new records have arrived."""
        print(" + ".join(names), file=sys.stderr, flush=True)
        self._nemesis.counts.update(names)
        faults = {name: fault for group in self._nemesis.groups.values() for name, fault in group.items()}
        await asyncio.gather(*(faults[name]() for name in names))
        await self._recovered()

    async def _recovered(self) -> None:
        healed = time.monotonic()
        while self._oracle.last_new_at_s < healed:
            await asyncio.sleep(0.02)
            if time.monotonic() > healed + 2 * RECOVERY_TIMEOUT_S:
                self._unrecovered += 1
                self._oracle.add_note(f"nothing new for {2 * RECOVERY_TIMEOUT_S:.0f} s")
                return
        self._recoveries.append(self._oracle.last_new_at_s - healed)

    async def drain(self) -> None:
        """Until what is committed now has arrived."""
        self._observer.read_new_rows()
        with self._oracle.lock:
            wanted = {(stream, seq) for stream, seqs in self._oracle.committed.items() for seq in seqs}
        limit = time.monotonic() + 2 * RECOVERY_TIMEOUT_S
        while time.monotonic() < limit:
            with self._oracle.lock:
                wanted = {
                    (stream, seq)
                    for stream, seq in wanted
                    if not self._oracle.is_accounted_for(stream, seq)
                }
            if not wanted:
                break
            await asyncio.sleep(0.5)
        await asyncio.sleep(1.0)

    def verdict(
        self, judged: dict[str, Any], left_out: list[str], code: int, journal: Path, options: Any
    ) -> dict[str, Any]:
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
            ((dead,),) = database.execute("SELECT count(*) FROM dead").fetchall()
        slowest = round(max(self._recoveries, default=0.0), 1)
        zeros = ("lost", "duplicated", "reordered", "contradicted")
        result = {
            "faults": self._nemesis.counts.total(),
            **judged,
            "kills": self._gateway.kills,
            "stages": dict(self._nemesis.stages),
            "by_fault": dict(self._nemesis.counts),
            "recoveries": len(self._recoveries),
            "slowest_s": slowest,
            "unrecovered": self._unrecovered,
            "crashes": self._gateway.crashes,
            "exits": {str(code): count for code, count in self._gateway.exits.items()},
            "rss_bytes": self._gateway.peak_rss,
            "fds": self._gateway.peak_fds,
            "journal_bytes": self._peak_journal,
            "dead_letters": dead,
            "left_out": left_out,
            "notes": self._oracle.notes,
            "seed": options.seed,
            "minutes": options.minutes,
        }
        result["passed"] = (
            not any(result[key] for key in zeros)
            and not self._unrecovered
            and not self._gateway.crashes
            and code == 0
            and slowest <= RECOVERY_TIMEOUT_S
            and judged["pending"] <= MAX_PENDING
            and self._gateway.peak_rss <= MAX_RSS_BYTES
            and self._gateway.peak_fds <= MAX_FDS
            and self._peak_journal <= JOURNAL_CAP_BYTES
        )
        return result


if __name__ == "__main__":
    main()
