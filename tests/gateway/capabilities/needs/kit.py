"""A gateway's journal, engine and desk on a real disk, without lines; also as a process that can be killed.

`python -m tests.gateway.capabilities.needs.kit FOLDER` registers and erases as fast as it can, and prints
each number once the caller has it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.base.clock import SystemClock
from gateway.capabilities.needs.registry import NeedsRegistry
from gateway.capabilities.needs.services import Category, Need, Needs, Reception
from gateway.capabilities.needs.site import NeedsOptions
from gateway.capabilities.needs.store import ParticularsStore
from gateway.daemon.engine import Engine
from gateway.journal import Journal
from gateway.model import Clock
from tests.gateway.all_services import services

RECEPTION = Reception(
    categories={"repair": Category(title={"zh": "报修"}, days=3, owner="desk", referral="property")},
    owners={"desk": {"zh": "服务台"}},
    referrals={"property": {"zh": "物业"}},
    keep_days=180,
)


class Office:
    """The desk and what it writes to."""

    def __init__(self, folder: Path, journal: Journal, clock: Clock) -> None:
        self.options = NeedsOptions(folder / "needs.db", folder / "needs.key")
        self.store = ParticularsStore(self.options.path, self.options.key)
        own = services({}, {"dashboard": Needs.actions}, reception=RECEPTION)
        self.engine = Engine(own, journal, clock)
        self.desk = NeedsRegistry(
            lambda: RECEPTION,
            lambda: self.options,
            lambda: self.engine.rows(Needs.name),
            self.engine.submit_command,
            clock,
        )

    @property
    def rows(self) -> dict[str, Need]:
        return dict(self.engine.rows(Needs.name))

    async def ask(self, name: str, /, **request: Any) -> dict[str, Any]:
        return await self.desk.handlers()[name](request)

    async def register(self, text: str = "楼道灯坏了", **request: Any) -> str:
        given = {"category": "repair", "channel": "desk", "by": "王芳", "text": text, **request}
        return str((await self.ask("need-register", **given))["id"])

    async def update(self, number: str, action: str, note: str = "", **args: Any) -> None:
        await self.ask(
            "need-update", action=f"need-{action}", args={"id": number, **args}, note=note, by="李强"
        )


@asynccontextmanager
async def office(folder: Path, clock: Clock | None = None) -> AsyncIterator[Office]:
    clock = clock or SystemClock()
    async with Journal.open(folder / "journal.db", clock, 0.1) as journal:
        there = Office(folder, journal, clock)
        await there.engine.restore()
        await there.desk.sweep()
        yield there


def text_of(once: str) -> str:
    """What the need of a form says."""
    return f"需求 {once} 是我的"


async def _work(folder: Path) -> None:
    async with office(folder) as there:
        for n in range(1000):
            once = f"{len(there.rows)}-{n}"
            number = await there.register(text_of(once), once=once)
            print("registered", number, once, flush=True)
            await there.update(number, "close", note="已办好", outcome="met")
            if n % 2:
                await there.update(number, "erase")
                print("erased", number, once, flush=True)


def whole(there: Office) -> None:
    """What holds once the sealed store has followed the journal."""
    kept, rows = there.store.stored(), there.rows
    assert kept.keys() == {number for number, row in rows.items() if row.sealed}
    assert all(each.confirmed for each in kept.values())
    for number in kept:
        assert there.store.get(number).text == text_of(rows[number].once)  # type: ignore[union-attr]


if __name__ == "__main__":
    asyncio.run(_work(Path(sys.argv[1])))
