"""What to do with a damaged journal: put it aside whole, and take over what is still sound."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from gateway.faults import reach
from gateway.model import Lane

from .database import Database, JournalFailed, Statement, connect

SUFFIXES = ("", "-wal", "-shm")
MARK = "-damaged"
STEP = 64
LEAP = 1_000_000
"""Sequence numbers passed over per stream: the damaged part may have held some that were used."""

_TABLES = ("meta", "stream", "state", "cursor", "day", "gap", "dead")


def mark_damaged(path: Path) -> None:
    """Leave word for the next start that the file must not be used."""
    with contextlib.suppress(OSError):
        path.with_name(path.name + MARK).touch()


def is_marked_damaged(path: Path) -> bool:
    return path.with_name(path.name + MARK).exists()


def quarantine(path: Path) -> Path:
    """Move the database with its log out of the way; returns where it went."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in SUFFIXES:
        part = path.with_name(path.name + suffix)
        if part.exists():
            reach("quarantine")
            part.rename(aside.with_name(aside.name + suffix))
    path.with_name(path.name + MARK).unlink(missing_ok=True)
    return aside


async def salvage(aside: Path, into: Database) -> int:
    """Copy every sound row of a damaged journal into a new one; returns how many rows of the lanes.

    A journal whose identity (`meta`) cannot be read gives only the state of its services: without its
    epoch, nobody could tell its records from those of others.
    """
    try:
        async with connect(aside, readonly=True) as damaged:
            kept = {table: [row async for row in _rows(damaged, table)] for table in _TABLES}
            if not any(key == "epoch" for key, *_ in kept["meta"]):
                await into.transact(_insert("state", kept["state"]))
                return 0
            saved = 0
            for table, rows in kept.items():
                reach("salvage")
                await into.transact(_insert(table, rows))
            for lane in Lane:
                async for row in _rows(damaged, lane.name.lower()):
                    await into.transact(_insert(lane.name.lower(), [row]))
                    saved += 1
                    reach("salvage")
            await into.transact([("UPDATE stream SET written = written + ?", (LEAP,))])
            return saved
    except JournalFailed:
        return 0


async def _rows(damaged: Database, table: str) -> AsyncIterator[tuple[Any, ...]]:
    """Every row that can be read. The tables of the lanes are walked by position, around the holes."""
    try:
        if table not in {lane.name.lower() for lane in Lane}:
            for row in await damaged.rows(f"SELECT * FROM {table}"):  # noqa: S608
                yield row
            return
        ((last,),) = await damaged.rows(
            "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?", table
        )
    except JournalFailed:
        return
    for start in range(0, last, STEP):
        for row in await _span(damaged, table, start, min(start + STEP, last)):
            yield row


async def _span(damaged: Database, table: str, after: int, until: int) -> list[tuple[Any, ...]]:
    """The rows of a span; a span that cannot be read is halved until its hole is one row wide."""
    sql = f"SELECT * FROM {table} WHERE pos > ? AND pos <= ? ORDER BY pos"  # noqa: S608
    try:
        return await damaged.rows(sql, after, until)
    except JournalFailed:
        if until - after <= 1:
            return []
        middle = (after + until) // 2
        left = await _span(damaged, table, after, middle)
        return left + await _span(damaged, table, middle, until)


def _insert(table: str, rows: list[tuple[Any, ...]]) -> list[Statement]:
    return [
        (f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * len(row))})", row)  # noqa: S608
        for row in rows
    ]
