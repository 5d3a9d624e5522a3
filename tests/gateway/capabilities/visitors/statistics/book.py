"""A journal with visitors in it, written by hand; and what a statistics file holds."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.capabilities.visitors.services import facts
from gateway.journal import Journal
from gateway.model import ClockQuality, Fact, RowChanges, Stamp
from tests.clock import FakeClock

SHANGHAI = ZoneInfo("Asia/Shanghai")


def stamp(text: str, zone: ZoneInfo = SHANGHAI) -> Stamp:
    """A local time, `2026-03-02T09:05`."""
    wall = round(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)
    return Stamp(wall, (wall - 1_700_000_000_000) * 1_000_000, "boot", ClockQuality.SYNCED)


def quarter(text: str, zone: ZoneInfo = SHANGHAI) -> int:
    return stamp(text, zone).wall_ms // 900_000


def crossing(text: str, came: int, left: int, counter: str = "south", **more: Any) -> Fact:
    return facts.crossing(counter, stamp(text), came, left, **more)


def covered(text: str, counter: str = "south", why: str = "") -> Fact:
    return facts.coverage(counter, stamp(text), why)


def write(path: Path, packs: Iterable[Iterable[Fact]], changes: RowChanges | None = None) -> None:
    """Each pack in one transaction of the journal."""

    async def append() -> None:
        async with Journal.open(path, FakeClock(), 0.1) as journal:
            for pack in packs:
                journal.append("timekeeping" if changes else "", pack, changes or {})
                await journal.commit()

    asyncio.run(append())


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All that a statistics file holds, places by name."""
    asked = {
        "bin": "SELECT at, name, came, went, tours FROM bin JOIN place ON id = place",
        "trust": "SELECT * FROM trust",
        "hole": "SELECT * FROM hole",
        "fact": "SELECT * FROM fact",
        "undated": "SELECT * FROM undated",
    }
    with closing(sqlite3.connect(path)) as database:
        return {table: sorted(database.execute(sql)) for table, sql in asked.items()}


def bins(path: Path, place: str = "centre") -> dict[int, tuple[int, int, int]]:
    """A place's figures by quarter."""
    return {
        at: (came, went, tours) for at, name, came, went, tours in contents(path)["bin"] if name == place
    }


def unset(fact: Fact, mono: int, boot: str = "dark") -> Fact:
    """The same, by a clock that nobody had set."""
    return msgspec.structs.replace(fact, at=Stamp(mono // 1_000_000, mono, boot, ClockQuality.UNSET))
