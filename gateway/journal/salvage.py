"""Salvage of a damaged journal: move it aside whole, and copy the rows that are still sound.

The sound rows are written to a new file, which replaces the damaged one only once it is complete: after a
power cut at any moment, the next start finds one of the two and completes the replacement.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from gateway.base.failpoint import failpoint
from gateway.base.files import sync_file, sync_folder
from gateway.model import Lane

from .database import DATABASE_SUFFIXES, JournalDatabase, JournalFailed, Statement, connect
from .reader import DAMAGE_REASON
from .rows import unpack_records
from .space import DiskReserve

DAMAGE_MARK_SUFFIX = "-damaged"
SALVAGE_SUFFIX = "-salvage"
RESCUE_SUFFIX = "-rescued"
"""A complete copy of a journal whose files were lost while they were open."""
ROWS_PER_READ = 64
MAX_DAMAGED_COPIES = 2
"""Damaged files kept for inspection; they do not count against the cap."""
SKIPPED_SEQUENCE_NUMBERS = 1_000_000
"""Sequence numbers skipped per stream: some may have been used in the damaged part."""
FIRST_NUMBERS_KEY = "first"
"""The key in `meta` of the number after which streams begin: one may have existed in the damaged part only,
and its numbers must not be used again."""

Rows = list[tuple[Any, ...]]

_LANES = tuple(lane.name.lower() for lane in Lane)
_TABLES = ("meta", "stream", "state", "reader", "cursor", "day", "gap", "dead")


def mark_damaged(path: Path) -> None:
    """Mark the file for the next start, which must not use it."""
    with contextlib.suppress(OSError):
        path.with_name(path.name + DAMAGE_MARK_SUFFIX).touch()


def is_marked_damaged(path: Path) -> bool:
    return path.with_name(path.name + DAMAGE_MARK_SUFFIX).exists()


async def replace_damaged(path: Path, pages: int) -> Path:
    """Replace a damaged journal by its sound rows; returns the new path of the damaged file.

    Raises `JournalFailed` when there is no room; nothing is moved then.
    """
    mark_damaged(path)
    fresh = path.with_name(path.name + SALVAGE_SUFFIX)
    for suffix in DATABASE_SUFFIXES:
        fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)
    for old in _damaged_copies(path)[: 1 - MAX_DAMAGED_COPIES]:
        for suffix in DATABASE_SUFFIXES:
            old.with_name(old.name + suffix).unlink(missing_ok=True)
    async with connect(fresh, pages=pages) as database:
        await salvage(path, database)
    aside = _next_aside(path)
    failpoint("quarantine")
    path.rename(aside)
    finish_replacement(path)
    return aside


async def rescue(path: Path, lost: JournalDatabase) -> None:
    """Copy a journal whose files were deleted, replaced or cut while they were open; the next start uses
    the copy. Raises `JournalFailed` or `OSError` when that is not possible."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + RESCUE_SUFFIX + ".new")
    draft.unlink(missing_ok=True)
    try:
        await lost.copy_to(draft)
        sync_file(draft)
        draft.rename(path.with_name(path.name + RESCUE_SUFFIX))
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def finish_replacement(path: Path) -> None:
    """Complete a replacement that was interrupted, if there was one."""
    rescued = path.with_name(path.name + RESCUE_SUFFIX)
    if rescued.exists():
        if path.exists():
            path.rename(_next_aside(path))
        # The log belongs to the lost file: the copy has what is in it.
        for suffix in (*DATABASE_SUFFIXES[1:], DAMAGE_MARK_SUFFIX):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        failpoint("rescue")
        rescued.rename(path)
        sync_folder(path.parent)
    if path.exists():
        return
    fresh, asides = path.with_name(path.name + SALVAGE_SUFFIX), _damaged_copies(path)
    if fresh.exists() and asides:
        for suffix in DATABASE_SUFFIXES[1:]:
            part = path.with_name(path.name + suffix)
            if part.exists():
                failpoint("quarantine")
                part.rename(asides[-1].with_name(asides[-1].name + suffix))
    # Remove the mark first: it does not apply to the new file.
    path.with_name(path.name + DAMAGE_MARK_SUFFIX).unlink(missing_ok=True)
    failpoint("quarantine")
    if fresh.exists() and asides:
        fresh.rename(path)


def delete_journal(path: Path) -> None:
    """Delete a journal in memory that is no longer used."""
    for suffix in DATABASE_SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    DiskReserve(path).release()


def _next_aside(path: Path) -> Path:
    number = max(map(_number, _damaged_copies(path)), default=0) + 1
    return path.with_name(f"{path.name}.damaged-{number}")


def _damaged_copies(path: Path) -> list[Path]:
    """Damaged files moved aside, oldest first."""
    found = [file for file in path.parent.glob(f"{path.name}.damaged-*") if _number(file)]
    return sorted(found, key=_number)


def _number(aside: Path) -> int:
    number = aside.name.rpartition(".damaged-")[2]
    return int(number) if number.isdigit() else 0


async def salvage(damaged: Path, into: JournalDatabase) -> None:
    """Copy every sound row into a new journal. Raises `JournalFailed` when that cannot be written.

    A journal that lost its epoch or its sequence numbers continues under a new epoch: pending records are
    delivered under the new one, so no number of the old epoch is used again.
    """
    async with AsyncExitStack() as stack:
        try:
            old = await stack.enter_async_context(connect(damaged, readonly=True))
        except JournalFailed:
            return
        tables = {table: await _read_table(old, table) for table in _TABLES}
        meta: dict[str, str] = dict(tables["meta"] or ())
        if tables["stream"] is None:
            meta.pop("epoch", None)
        if tables["reader"]:
            await into.transact([("DELETE FROM reader", ())])
        for table, rows in {**tables, "meta": list(meta.items())}.items():
            failpoint("salvage")
            await into.transact(_insert(table, rows or [], await _column_names(old, table)))
        streams = {(lane, device): written for lane, device, written in tables["stream"] or ()}
        ends = []
        for lane in Lane:
            table = lane.name.lower()
            cursors = [pos for _, number, pos in tables["cursor"] or () if number == lane]
            end = max([await _last_pos(old, table), *cursors])
            async for rows in _read_spans(old, table, end):
                failpoint("salvage")
                await into.transact(_insert(table, [row for row in rows if _is_sound(row, lane, streams)]))
            ends.append(end)
        await into.transact([
            *_insert(
                "stream",
                [(*key, written + SKIPPED_SEQUENCE_NUMBERS) for key, written in streams.items()],
            ),
            # Positions must not go back either: nothing is read below a cursor.
            ("DELETE FROM sqlite_sequence", ()),
            *_insert("sqlite_sequence", list(zip(_LANES, ends, strict=True))),
            *_insert("meta", [
                ("clean", DAMAGE_REASON),
                ("checkpoint", meta.get("checkpoint", str(ends))),
                (FIRST_NUMBERS_KEY, str(_first_number(meta, streams))),
            ]),
        ])  # fmt: skip


def _first_number(meta: dict[str, str], streams: dict[tuple[int, str], int]) -> int:
    highest = max([int(meta.get(FIRST_NUMBERS_KEY, 0)), *streams.values()])
    return highest + SKIPPED_SEQUENCE_NUMBERS if meta or streams else 0


async def _read_table(damaged: JournalDatabase, table: str) -> Rows | None:
    """All rows of a small table; None if any of it cannot be read."""
    try:
        return await damaged.rows(f"SELECT * FROM {table}")  # noqa: S608
    except JournalFailed:
        return None


async def _last_pos(damaged: JournalDatabase, table: str) -> int:
    """The newest position of a lane, from what is still readable."""
    last = 0
    for sql in (
        f"SELECT seq FROM sqlite_sequence WHERE name = '{table}'",  # noqa: S608
        f"SELECT max(pos) FROM {table}",  # noqa: S608
    ):
        with contextlib.suppress(JournalFailed):
            last = max([last, *(int(pos or 0) for (pos,) in await damaged.rows(sql))])
    return last


async def _read_spans(damaged: JournalDatabase, table: str, last: int) -> AsyncIterator[Rows]:
    """The readable rows of a lane, by position."""
    for start in range(0, last, ROWS_PER_READ):
        yield await _read_span(damaged, table, start, min(start + ROWS_PER_READ, last))


async def _read_span(damaged: JournalDatabase, table: str, after: int, until: int) -> Rows:
    """The readable rows of a span; an unreadable span is halved until single rows are left out."""
    sql = f"SELECT * FROM {table} WHERE pos > ? AND pos <= ? ORDER BY pos"  # noqa: S608
    try:
        return await damaged.rows(sql, after, until)
    except JournalFailed:
        if until - after <= 1:
            return []
        middle = (after + until) // 2
        left = await _read_span(damaged, table, after, middle)
        return left + await _read_span(damaged, table, middle, until)


def _is_sound(row: tuple[Any, ...], lane: Lane, streams: dict[tuple[int, str], int]) -> bool:
    """Whether a row is intact; its sequence numbers are entered in `streams`."""
    try:
        records = unpack_records(row[2], row[3])
    except (ValueError, TypeError):
        return False
    for record in records:
        stream = int(lane), record.device
        streams[stream] = max(streams.get(stream, 0), record.seq)
    return True


async def _column_names(damaged: JournalDatabase, table: str) -> str:
    """For an insertion: a journal of an older version may have fewer columns. Empty if unreadable."""
    with contextlib.suppress(JournalFailed):
        return ",".join(
            name for (name,) in await damaged.rows("SELECT name FROM pragma_table_info(?)", table)
        )
    return ""


def _insert(table: str, rows: Rows, columns: str = "") -> list[Statement]:
    into = f"{table} ({columns})" if columns else table
    return [
        (f"INSERT OR REPLACE INTO {into} VALUES ({','.join('?' * len(row))})", row)  # noqa: S608
        for row in rows
    ]
