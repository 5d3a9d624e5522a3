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

from gateway.model import GatewayError

Statement = tuple[str, Sequence[Any]]


class JournalFailed(GatewayError):
    """The journal could not be read or written: a full disk, a read-only or a damaged one."""


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
            raise JournalFailed("journal-read", path=self.path, reason=error) from error

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
            raise JournalFailed("journal-write", path=self.path, reason=error) from error
        return ids


@asynccontextmanager
async def connect(path: Path, *, readonly: bool = False) -> AsyncIterator[Database]:
    """Open the file; a writer creates it and brings its schema up to date. Raises `JournalFailed`."""
    uri = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rwc'}"
    try:
        # Tried in this thread first: aiosqlite's own outlives a failure, and may outlive the loop.
        sqlite3.connect(uri, uri=True).close()
        async with aiosqlite.connect(uri, uri=True, isolation_level=None) as connection:
            await connection.execute("PRAGMA busy_timeout=5000")
            if not readonly:
                await connection.execute("PRAGMA page_size=1024")
                await connection.execute("PRAGMA journal_mode=WAL")
                await connection.execute("PRAGMA synchronous=FULL")
                await _migrate(connection)
            yield Database(connection, path)
    except sqlite3.Error as error:
        raise JournalFailed("journal-open", path=path, reason=error) from error


async def _migrate(connection: aiosqlite.Connection) -> None:
    """Numbered SQL files, each in one transaction with its number in `user_version`."""
    ((version,),) = await connection.execute_fetchall("PRAGMA user_version")
    for file in sorted(files(__package__).joinpath("schema").iterdir(), key=lambda f: f.name):
        number = int(Path(file.name).stem)
        if number > version:
            await connection.executescript(
                f"BEGIN IMMEDIATE; {file.read_text()} PRAGMA user_version={number}; COMMIT"
            )
