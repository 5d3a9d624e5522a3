"""SQLite behind aiosqlite: the only file that knows either.

WAL with synchronous FULL: a commit that returned survives a power cut, if the card honours flush.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiosqlite

from gateway.base.failpoint import failpoint
from gateway.model import GatewayError, sentence

from .space import PAGE_BYTES

Statement = tuple[str, Sequence[Any]]

DATABASE_SUFFIXES = ("", "-wal", "-shm")
"""The file, its log, and the index of the log."""
WAL_HEADER_BYTES, FRAME_BYTES = 32, 24 + PAGE_BYTES
"""Sizes in the log (sqlite.org/fileformat2.html, 4.1). Bytes 4 to 8 of a frame are not 0 where a
transaction ends; bytes 8 to 16 equal the header's salts if the frame was written since the log was last
reset."""


class JournalFailed(GatewayError):
    """The journal could not be read or written: a full disk, a read-only or a damaged one."""

    @property
    def cause(self) -> str:
        """Why, as a key of the table `cause` in `words/`."""
        reason = self.facts.get("reason")
        return str(reason["sentence"]).removeprefix("cause.") if isinstance(reason, dict) else "damaged"


class JournalDamaged(JournalFailed):
    """The file is not a sound database."""


class JournalLost(JournalDamaged):
    """The open files were deleted, replaced or cut. While they are open, they can often still be read."""


class JournalFull(JournalFailed):
    """The file's cap or the disk is full."""


class JournalDatabase:
    """One connection. Only one task may call `transact`: two would share a transaction."""

    def __init__(self, connection: aiosqlite.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path
        self._known_files: dict[Path, os.stat_result] = {}
        self.on_damage: Callable[[JournalDamaged], None] = lambda _: None
        """Called when a query finds damage, before that is raised."""

    async def rows(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        """All rows of a query, fetched at once: an open statement would block the checkpoints."""
        try:
            return [tuple(row) for row in await self._connection.execute_fetchall(sql, args)]
        except sqlite3.Error as error:
            failure = _failure("journal-read", self.path, error)
            if isinstance(failure, JournalDamaged):
                self.on_damage(failure)
            raise failure from error

    def check_files(self) -> None:
        """Check that the files at the paths are those that were seen first, and have not become shorter:
        somebody may delete, replace or cut them. Raises `JournalLost`."""
        for suffix in DATABASE_SUFFIXES:
            file = self.path.with_name(self.path.name + suffix)
            before = self._known_files.get(file)
            try:
                now = file.stat()
            except (FileNotFoundError, NotADirectoryError) as error:
                if before or not suffix:
                    raise JournalLost("journal-lost", path=file, reason=sentence("cause.lost")) from error
                continue
            except OSError:
                # The disk does not answer: the next write will say so.
                continue
            if before and (before.st_dev, before.st_ino) != (now.st_dev, now.st_ino):
                raise JournalLost("journal-lost", path=file, reason=sentence("cause.lost"))
            if before and now.st_size < before.st_size:
                raise JournalLost("journal-lost", path=file, reason=sentence("cause.lost"))
            self._known_files[file] = now

    async def copy_to(self, file: Path) -> None:
        """Write all that is committed to a new file, from the open ones. Raises `JournalFailed`."""
        try:
            async with self._connection.execute("VACUUM INTO ?", (str(file),)):
                pass
        except sqlite3.Error as error:
            raise _failure("journal-write", file, error) from error

    async def check(self) -> None:
        """Check the whole file. Raises `JournalDamaged`."""
        ((found,),) = await self.rows("PRAGMA quick_check(1)")
        if found != "ok":
            raise JournalDamaged("journal-open", path=self.path, reason=sentence("cause.damaged"))

    async def check_log(self) -> None:
        """Check for transactions beyond the sound part of the log. Raises `JournalDamaged`.

        A killed process leaves at most one incomplete transaction. A complete one beyond a broken frame may
        or may not have been synced before a power cut, so it counts as damage; SQLite ignores it silently.
        Call this before the first write, from the only writer.
        """
        ((_, frames, _),) = await self.rows("PRAGMA wal_checkpoint(PASSIVE)")
        file = self.path.with_name(self.path.name + "-wal")
        log = file.read_bytes() if file.exists() else b""
        # A damaged header has no valid salts: take those of the first frame.
        first = WAL_HEADER_BYTES
        salts = log[16:24] if log.startswith(b"\x37\x7f\x06") else log[first + 8 : first + 16]
        starts = range(first + max(0, frames) * FRAME_BYTES, len(log), FRAME_BYTES)
        ends = [start for start in starts if any(log[start + 4 : start + 8])]
        if any(log[start + 8 : start + 16] == salts for start in ends):
            raise JournalDamaged("journal-open", path=self.path, reason=sentence("cause.damaged"))

    async def used_pages(self) -> int:
        """Pages in use."""
        ((used,),) = await self.rows(
            "SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count"
        )
        return int(used)

    def size(self) -> int:
        """Bytes of the file and its log."""
        parts = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(part.stat().st_size for part in parts if part.exists())

    async def transact(self, statements: Iterable[Statement]) -> list[int]:
        """Run all or none; returns each statement's last row id. An iterator is consumed in the
        connection's thread."""
        try:
            # In one call of the connection's thread: between two, an alarm would wait for the event loop.
            # aiosqlite has no public method for that.
            ids: list[int] = await self._connection._execute(  # type: ignore[no-untyped-call]
                _run_transaction, self._connection._conn, statements
            )
            return ids
        except sqlite3.Error as error:
            raise _failure("journal-write", self.path, error) from error


def _run_transaction(connection: sqlite3.Connection, statements: Iterable[Statement]) -> list[int]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        ids = [connection.execute(sql, args).lastrowid or 0 for sql, args in statements]
        connection.execute("COMMIT")
    except sqlite3.Error:
        # A full disk may already have rolled back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return ids


def _failure(key: str, path: Path, error: sqlite3.Error) -> JournalFailed:
    log = path.with_name(path.name + "-wal")
    try:
        # When the disk no longer answers, SQLite may report a malformed file. Closing the database itself
        # would end the locks that SQLite holds on it (fcntl(2)), so its log is read while it is in use.
        with (log if log.exists() else path).open("rb") as file:
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
) -> AsyncIterator[JournalDatabase]:
    """Open the file; a writer creates it and brings its schema up to date.

    `pages` caps its size; with `check` the whole file is checked first. Raises `JournalFailed`, or its
    subclass `JournalDamaged` when the file is unusable.
    """
    uri = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rwc'}"
    try:
        # Try in this thread first: aiosqlite's thread survives a failure, and may outlive the loop.
        sqlite3.connect(uri, uri=True).close()
        async with aiosqlite.connect(uri, uri=True, isolation_level=None) as connection:
            database = JournalDatabase(connection, path)
            await connection.execute("PRAGMA busy_timeout=5000")
            if check:
                await database.check()
            if not readonly:
                await connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
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
