"""The faults. Each is injected, held and removed by one method of `Nemesis`; faults of one group never
happen at the same time."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from disk import Disk, zero_pages
from oracle import Observer
from parts import Broker, Gateway, Subscriber
from proxy import Mode, Proxy

STAGES = {
    "before-alarm-commit": 40, "after-alarm-commit": 40, "before-window-commit": 30,
    "after-window-commit": 30, "published": 300, "acknowledged": 300, "cursor": 60,
}  # fmt: skip
"""Named places of the gateway, and up to the how manieth time it is let through."""
DISK_STAGES = {"evict": 3, "evicted": 3, "salvage": 12, "quarantine": 3}
"""Those that are reached only with a full or a damaged disk."""
OFFSET_TO_1970_S = -56 * 365 * 86_400


class Nemesis:
    """Everything that can be made to fail, and how."""

    def __init__(
        self,
        rng: random.Random,
        gateway: Gateway,
        broker: Broker,
        witness: Subscriber,
        proxy: Proxy,
        disk: Disk,
        observer: Observer,
        clock: Path | None,
        longest: float,
    ) -> None:
        self._rng = rng
        self._gateway = gateway
        self._broker = broker
        self._witness = witness
        self._proxy = proxy
        self._disk = disk
        self._observer = observer
        self._clock = clock
        self._longest = longest
        self._journal = disk.path / "journal.db"
        self.counts: Counter[str] = Counter()
        self.stages: Counter[str] = Counter()
        self.watching = True
        """False while the observer may see data that is not yet synced, or must not touch the disk."""
        link: dict[str, Fault] = {mode.value: self._link(mode) for mode in Mode if mode is not Mode.PASS}
        self.groups: dict[str, dict[str, Fault]] = {
            "gateway": {
                "kill": self.kill,
                "kill-at-stage": self.kill_at_stage,
                "gateway-stopped": self.gateway_stopped,
            },
            "broker": {
                "broker-restarted": self.broker_restarted,
                "broker-killed": self.broker_killed,
                "broker-stopped": self.broker_stopped,
            },
            "link": {**link, "reset": self._cut(reset=True), "fin": self._cut(reset=False)},
            "disk": {},
            "clock": {},
            "journal": {"journal-lost": self.journal_lost},
        }
        self.groups["gateway"]["zeroed-pages"] = self.zeroed_pages
        if disk.real:
            self.groups["gateway"] |= {"power-cut": self.power_cut, "disk-dead": self.disk_dead}
            self.groups["disk"]["disk-full"] = self.disk_full
        if clock:
            self.groups["clock"]["clock-jump"] = self.clock_jump
            self.groups["gateway"]["boot-1970"] = self.boot_1970

    async def _hold(self) -> None:
        """Most faults are short, some are long."""
        short, long = min(0.2, self._longest), self._longest
        await asyncio.sleep(self._rng.uniform(short, long if self._rng.random() < 0.3 else min(3.0, long)))

    # The gateway

    async def kill(self) -> None:
        """Once, or again while it starts."""
        for _ in range(self._rng.randint(1, 4)):
            await asyncio.sleep(self._rng.uniform(0, 1.8))
            await self._gateway.hold()
            self._gateway.release()

    async def kill_at_stage(self) -> None:
        disk = self._disk.real and self._rng.random() < 0.3
        stages = DISK_STAGES if disk else STAGES
        stage = self._rng.choice(list(stages))
        await self._gateway.hold()
        if stage in ("salvage", "quarantine"):
            self._zero()
        self._gateway.tolerated += 1
        if stage.startswith("evict"):
            self._disk.fill()
        self._gateway.next_env["LINLI_KILL_AT"] = f"{stage}:{self._rng.randint(1, stages[stage])}"
        kills = self._gateway.kills
        self._gateway.release()
        for _ in range(100):
            await asyncio.sleep(0.1)
            if self._gateway.kills > kills:
                self.stages[stage] += 1
                break
        else:
            await self._gateway.hold()
        if stage.startswith("evict"):
            await self._disk.free()
        self._gateway.tolerated -= 1
        self._gateway.release()

    async def gateway_stopped(self) -> None:
        self._gateway.send(signal.SIGSTOP)
        await self._hold()
        self._gateway.send(signal.SIGCONT)

    async def power_cut(self) -> None:
        await asyncio.sleep(self._rng.uniform(0, 1.5))
        await self._cut_power(0.0)

    async def disk_dead(self) -> None:
        """Every write and sync fails, for a while; then the machine is switched off and on."""
        await self._cut_power(self._rng.uniform(0.5, 5.0))

    async def _cut_power(self, lag: float) -> None:
        self.watching = False
        self._gateway.tolerated += 1
        self._disk.shut_down()
        await asyncio.sleep(lag)
        await self._gateway.hold()
        # The runtime folder is memory: what outlives a kill there does not outlive the power.
        runtime = self._gateway.site.parent / "run"
        for tail in runtime.glob("tail-?"):
            tail.unlink()
        shutil.rmtree(runtime / "memory", ignore_errors=True)
        self._disk.mount_again()
        self._gateway.tolerated -= 1
        self.watching = True
        self._gateway.release()

    async def zeroed_pages(self) -> None:
        self._gateway.tolerated += 1
        await self._gateway.hold()
        self._zero()
        self._gateway.release()
        await asyncio.sleep(2.0)
        self._gateway.tolerated -= 1

    async def journal_lost(self) -> None:
        """Somebody deletes, moves, replaces or cuts the journal under the running gateway."""
        while not self._journal.exists():
            await asyncio.sleep(0.02)
        self._observer.read_new_rows()
        other = self._journal.with_name("other")
        way = self._rng.choice(("delete", "move", "replace", "cut"))
        if way == "delete":
            self._journal.unlink()
        elif way == "move":
            self._journal.rename(other)
        elif way == "replace":
            other.write_bytes(b"something else")
            other.replace(self._journal)
        else:
            os.truncate(self._journal, self._rng.choice((0, 5000, 500_000)))
        await asyncio.sleep(2.0)
        other.unlink(missing_ok=True)

    def _zero(self) -> None:
        if self._journal.exists():
            self._observer.read_new_rows()
            log = self._journal.with_name("journal.db-wal")
            victim = log if log.exists() and self._rng.random() < 0.3 else self._journal
            zero_pages(victim, self._rng.randint(1, 4), self._rng)

    # The broker

    async def broker_restarted(self) -> None:
        """A clean stop with its data saved. Connections are refused until the witness is back."""
        self._proxy.shut()
        await self._broker.end()
        await self._hold()
        await self._back()

    async def broker_killed(self) -> None:
        """SIGKILL, and its files are lost too, but only after the witness has drained it."""
        self._proxy.shut()
        await self._witness.drained()
        await self._broker.end(signal.SIGKILL)
        self._broker.delete_store()
        await self._hold()
        await self._back()

    async def _back(self) -> None:
        self._witness.subscribed = False
        await self._broker.start()
        await self._witness.ready()
        self._proxy.gate = True

    async def broker_stopped(self) -> None:
        self._broker.send(signal.SIGSTOP)
        await self._hold()
        self._broker.send(signal.SIGCONT)

    # The link

    def _link(self, mode: Mode) -> Fault:
        async def fault() -> None:
            await self._proxy.set(mode)
            if mode is Mode.SILENT:
                self._proxy.cut(reset=True)
            await self._hold()
            await self._proxy.set(Mode.PASS)

        return fault

    def _cut(self, *, reset: bool) -> Fault:
        async def fault() -> None:
            for _ in range(self._rng.randint(1, 4)):
                self._proxy.cut(reset=reset)
                await asyncio.sleep(self._rng.uniform(0, 2))

        return fault

    # Disk and clock

    async def disk_full(self) -> None:
        self._gateway.tolerated += 1
        self._disk.fill()
        await self._hold()
        await self._disk.free()
        self._gateway.tolerated -= 1

    async def clock_jump(self) -> None:
        """Hours forward or back, and home again."""
        self._set_clock(self._rng.choice((1, -1)) * self._rng.randint(1800, 90_000))
        await self._hold()
        self._set_clock(0)

    async def boot_1970(self) -> None:
        """A start with an unset clock, which is set later."""
        await self._gateway.hold()
        self._set_clock(OFFSET_TO_1970_S)
        self._gateway.release()
        await self._hold()
        self._set_clock(0)

    def _set_clock(self, offset: int) -> None:
        if self._clock:
            self._clock.write_text(f"{offset:+d}\n")


Fault = Callable[[], Awaitable[None]]
