"""SQLite behind aiosqlite: the only file that knows either.

WAL with synchronous FULL: a commit that returned survives a power cut, if the card honours flush.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiosqlite

from gateway.base.failpoint import failpoint
from gateway.model import GatewayError

from .space import PAGE

Statement = tuple[str, Sequence[Any]]

WAL_HEADER, FRAME = 32, 24 + PAGE
"""Bytes in the log (sqlite.org/fileformat2.html, 4.1); a frame's bytes 4 to 8 are not 0 where a transaction
ends, 8 to 16 are the header's if it belongs to the present round of the log."""


class JournalFailed(GatewayError):
    """The journal could not be read or written: a full disk, a read-only or a damaged one."""


class JournalDamaged(JournalFailed):
    """The file is no sound database."""


class JournalFull(JournalFailed):
    """There is no room, in the file's cap or on the disk."""


class Database:
    """One connection. `transact` is for one task alone: two tasks would share a transaction."""

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    async def rows(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        """All rows of a query, fetched at once: a reader left open would stop the checkpoints."""
        try:
            return [tuple(row) for row in await self._connection.execute_fetchall(sql, args)]
        except sqlite3.Error as error:
            raise _failure("journal-read", self.path, error) from error

    async def check(self) -> None:
        """Look through the whole file. Raises `JournalDamaged`."""
        ((found,),) = await self.rows("PRAGMA quick_check(1)")
        if found != "ok":
            raise JournalDamaged("journal-open", path=self.path, reason=found)

    async def check_log(self) -> None:
        """See whether the log goes on behind its sound part. Raises `JournalDamaged`.

        A kill leaves at most a transaction without its end. One that ends behind the tear may have been
        synced, or have met a power cut: nobody can tell, so it counts as damage. SQLite says nothing of
        it. To be called before the first write, by the only writer.
        """
        ((_, frames, _),) = await self.rows("PRAGMA wal_checkpoint(PASSIVE)")
        file = self.path.with_name(self.path.name + "-wal")
        log = file.read_bytes() if file.exists() else b""
        # A damaged header cannot name the round: the first frame is of it.
        salts = log[16:24] if log.startswith(b"\x37\x7f\x06") else log[WAL_HEADER + 8 : WAL_HEADER + 16]
        starts = range(WAL_HEADER + max(0, frames) * FRAME, len(log), FRAME)
        ends = [start for start in starts if any(log[start + 4 : start + 8])]
        if any(log[start + 8 : start + 16] == salts for start in ends):
            raise JournalDamaged("journal-open", path=self.path, reason="log")

    async def used_pages(self) -> int:
        """Pages that hold something."""
        ((count,),) = await self.rows("PRAGMA page_count")
        ((free,),) = await self.rows("PRAGMA freelist_count")
        return int(count) - int(free)

    def size(self) -> int:
        """Bytes of the file and its log."""
        parts = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(part.stat().st_size for part in parts if part.exists())

    async def transact(self, statements: Iterable[Statement]) -> list[int]:
        """Run all or none; returns each statement's last row id."""
        execute, ids = self._connection.execute, []
        try:
            await execute("BEGIN IMMEDIATE")
            try:
                for sql, args in statements:
                    async with execute(sql, args) as cursor:
                        ids.append(cursor.lastrowid or 0)
                await execute("COMMIT")
            except sqlite3.Error:
                # A full disk may already have rolled back by itself.
                if self._connection.in_transaction:
                    await execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise _failure("journal-write", self.path, error) from error
        return ids


def _failure(key: str, path: Path, error: sqlite3.Error) -> JournalFailed:
    try:
        # Of a disk that no longer answers SQLite may say that the file is malformed.
        with path.open("rb") as file:
            file.read(1)
    except OSError as unreadable:
        return JournalFailed(key, path=path, reason=unreadable)
    code = (error.sqlite_errorcode if hasattr(error, "sqlite_errorcode") else 0) & 0xFF
    kinds = {
        sqlite3.SQLITE_CORRUPT: JournalDamaged,
        sqlite3.SQLITE_NOTADB: JournalDamaged,
        sqlite3.SQLITE_FULL: JournalFull,
    }
    return kinds.get(code, JournalFailed)(key, path=path, reason=error)


@asynccontextmanager
async def connect(
    path: Path, *, readonly: bool = False, pages: int = 0, check: bool = False
) -> AsyncIterator[Database]:
    """Open the file; a writer creates it and brings its schema up to date.

    `pages` caps its size; `check` looks through all of it first. Raises `JournalFailed`, of which
    `JournalDamaged` says that the file is beyond use.
    """
    uri = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rwc'}"
    try:
        # Tried in this thread first: aiosqlite's own outlives a failure, and may outlive the loop.
        sqlite3.connect(uri, uri=True).close()
        async with aiosqlite.connect(uri, uri=True, isolation_level=None) as connection:
            database = Database(connection, path)
            await connection.execute("PRAGMA busy_timeout=5000")
            if check:
                await database.check()
            if not readonly:
                await connection.execute(f"PRAGMA page_size={PAGE}")
                await connection.execute("PRAGMA journal_mode=WAL")
                await connection.execute("PRAGMA synchronous=FULL")
                await connection.execute(f"PRAGMA max_page_count={pages or 2**31}")
                await _migrate(connection)
            yield database
    except sqlite3.Error as error:
        raise _failure("journal-open", path, error) from error


async def _migrate(connection: aiosqlite.Connection) -> None:
    """Numbered SQL files, each in one transaction with its number in `user_version`."""
    ((version,),) = await connection.execute_fetchall("PRAGMA user_version")
    for file in sorted(files(__package__).joinpath("schema").iterdir(), key=lambda f: f.name):
        number = int(Path(file.name).stem)
        if number > version:
            failpoint("migrate")
            await connection.executescript(
                f"BEGIN IMMEDIATE; {file.read_text()} PRAGMA user_version={number}; COMMIT"
            )
