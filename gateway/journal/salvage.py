"""What to do with a damaged journal: put it aside whole, and take over what is still sound.

The sound part is written to a file of its own, which takes the damaged one's place only once it is
complete: whenever the power goes, a start finds either the one or the other, and does the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from gateway.base.failpoint import failpoint
from gateway.model import Lane

from .database import Database, JournalFailed, Statement, connect
from .reader import DAMAGED
from .rows import unpack

SUFFIXES = ("", "-wal", "-shm")
MARK = "-damaged"
FRESH = "-salvage"
STEP = 64
KEPT = 2
"""Damaged files kept for somebody to look at: they count against nobody's cap."""
LEAP = 1_000_000
"""Numbers passed over per stream: the damaged part may have held some that were used."""

Rows = list[tuple[Any, ...]]

_LANES = tuple(lane.name.lower() for lane in Lane)
_TABLES = ("meta", "stream", "state", "cursor", "day", "gap", "dead")


def mark_damaged(path: Path) -> None:
    """Leave word for the next start that the file must not be used."""
    with contextlib.suppress(OSError):
        path.with_name(path.name + MARK).touch()


def is_marked_damaged(path: Path) -> bool:
    return path.with_name(path.name + MARK).exists()


async def replace(path: Path, pages: int) -> Path:
    """Put what is sound of a damaged journal in its place; returns where the damaged one went.

    Raises `JournalFailed` when there is no room; then everything is still there.
    """
    mark_damaged(path)
    fresh = path.with_name(path.name + FRESH)
    for suffix in SUFFIXES:
        fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)
    for old in _aside(path)[: 1 - KEPT]:
        for suffix in SUFFIXES:
            old.with_name(old.name + suffix).unlink(missing_ok=True)
    async with connect(fresh, pages=pages) as database:
        await salvage(path, database)
    number = max(map(_number, _aside(path)), default=0) + 1
    aside = path.with_name(f"{path.name}.damaged-{number}")
    failpoint("quarantine")
    path.rename(aside)
    finish(path)
    return aside


def finish(path: Path) -> None:
    """The rest of an exchange that was interrupted, if one was."""
    if path.exists():
        return
    fresh, asides = path.with_name(path.name + FRESH), _aside(path)
    if fresh.exists() and asides:
        for suffix in SUFFIXES[1:]:
            part = path.with_name(path.name + suffix)
            if part.exists():
                failpoint("quarantine")
                part.rename(asides[-1].with_name(asides[-1].name + suffix))
    # The mark goes first: what it says is no longer true of the file that comes.
    path.with_name(path.name + MARK).unlink(missing_ok=True)
    failpoint("quarantine")
    if fresh.exists() and asides:
        fresh.rename(path)


def _aside(path: Path) -> list[Path]:
    """Damaged files put aside, oldest first."""
    found = [file for file in path.parent.glob(f"{path.name}.damaged-*") if _number(file)]
    return sorted(found, key=_number)


def _number(aside: Path) -> int:
    number = aside.name.rpartition(".damaged-")[2]
    return int(number) if number.isdigit() else 0


async def salvage(damaged: Path, into: Database) -> None:
    """Copy every sound row into a new journal. Raises `JournalFailed` when that cannot be written.

    A journal that has lost its identity, or how far its streams had counted, goes on under the new one's:
    what the platform has not acknowledged reaches it under that, and no old number is used again.
    """
    async with AsyncExitStack() as stack:
        try:
            old = await stack.enter_async_context(connect(damaged, readonly=True))
        except JournalFailed:
            return
        kept = {table: await _whole(old, table) for table in _TABLES}
        meta: dict[str, str] = dict(kept["meta"] or ())
        if kept["stream"] is None:
            meta.pop("epoch", None)
        for table, rows in {**kept, "meta": list(meta.items())}.items():
            failpoint("salvage")
            await into.transact(_insert(table, rows or []))
        streams = {(lane, device): written for lane, device, written in kept["stream"] or ()}
        ends = []
        for lane in Lane:
            table = lane.name.lower()
            cursors = [pos for _, number, pos in kept["cursor"] or () if number == lane]
            end = max([await _last(old, table), *cursors])
            async for rows in _spans(old, table, end):
                failpoint("salvage")
                await into.transact(_insert(table, [row for row in rows if _sound(row, lane, streams)]))
            ends.append(end)
        await into.transact([
            *_insert("stream", [(*stream, written + LEAP) for stream, written in streams.items()]),
            # Positions never go back either: nobody looks below a cursor.
            ("DELETE FROM sqlite_sequence", ()),
            *_insert("sqlite_sequence", list(zip(_LANES, ends, strict=True))),
            *_insert("meta", [("clean", DAMAGED), ("checkpoint", meta.get("checkpoint", str(ends)))]),
        ])  # fmt: skip


async def _whole(damaged: Database, table: str) -> Rows | None:
    """All rows of a small table; None if any of it cannot be read."""
    try:
        return await damaged.rows(f"SELECT * FROM {table}")  # noqa: S608
    except JournalFailed:
        return None


async def _last(damaged: Database, table: str) -> int:
    """The newest position of a lane, by whatever can still be read of it."""
    last = 0
    for sql in (
        f"SELECT seq FROM sqlite_sequence WHERE name = '{table}'",  # noqa: S608
        f"SELECT max(pos) FROM {table}",  # noqa: S608
    ):
        with contextlib.suppress(JournalFailed):
            last = max([last, *(int(pos or 0) for (pos,) in await damaged.rows(sql))])
    return last


async def _spans(damaged: Database, table: str, last: int) -> AsyncIterator[Rows]:
    """The rows of a lane by position, around the holes."""
    for start in range(0, last, STEP):
        yield await _span(damaged, table, start, min(start + STEP, last))


async def _span(damaged: Database, table: str, after: int, until: int) -> Rows:
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


def _sound(row: tuple[Any, ...], lane: Lane, streams: dict[tuple[int, str], int]) -> bool:
    """Whether a row is what was written; its numbers are counted in `streams`."""
    try:
        records = unpack(row[2], row[3])
    except (ValueError, TypeError):
        return False
    for record in records:
        stream = int(lane), record.device
        streams[stream] = max(streams.get(stream, 0), record.seq)
    return True


def _insert(table: str, rows: Rows) -> list[Statement]:
    return [
        (f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * len(row))})", row)  # noqa: S608
        for row in rows
    ]
