"""The sealed particulars on the disk: a small SQLite file of their own, for one process.

Each call opens the file and closes it again. A rollback journal rather than a log, overwritten before it is
deleted, and `secure_delete`: after a call there is one file, and nothing of what was destroyed.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from gateway.base.failpoint import failpoint
from gateway.base.files import create_durably
from gateway.model import GatewayError
from gateway.wire.secret import GROUP_AND_OTHERS_MODE, read_secret

from .particulars import Particulars
from .seal import KEY, new_key, seal, unseal

SCHEMA = """
CREATE TABLE proof (sealed BLOB NOT NULL);
CREATE TABLE need (
    id TEXT PRIMARY KEY,
    key BLOB NOT NULL,
    body BLOB NOT NULL,
    at INTEGER NOT NULL,
    confirmed INTEGER NOT NULL DEFAULT 0
);
PRAGMA user_version = 1;
"""
BOUND = "linli/needs/1/"
"""Begins what everything sealed is bound to."""


class Kept(msgspec.Struct, frozen=True):
    """That something is kept; `at` is Unix time in milliseconds."""

    at: int
    confirmed: bool
    """Whether the need it belongs to was registered in the end."""


class Store:
    """Blocks while it works: call it in a thread. Everything raises `GatewayError`."""

    def __init__(self, path: Path, key: Path) -> None:
        self._path = path
        self._key = key

    def put(self, number: str, particulars: Particulars, at: int) -> None:
        """Seal the particulars of a need that is about to be registered."""
        with self._open() as database:
            master = self._master(database)
            key = new_key()
            wrapped, body = seal(master, key, f"{BOUND}key/{number}"), _seal(key, number, particulars)
            database.execute(
                "INSERT INTO need (id, key, body, at) VALUES (?, ?, ?, ?)", (number, wrapped, body, at)
            )
            failpoint("need-sealing")

    def confirm(self, number: str) -> None:
        """It was registered."""
        with self._open() as database:
            database.execute("UPDATE need SET confirmed = 1 WHERE id = ?", (number,))

    def get(self, number: str) -> Particulars | None:
        """What a person said; None if nothing is kept."""
        with self._open() as database:
            return self._get(database, number)[1]

    def replace(self, number: str, particulars: Particulars) -> None:
        """Seal them anew, with the same key."""
        with self._open() as database:
            key, _ = self._get(database, number)
            body = _seal(key, number, particulars)
            database.execute("UPDATE need SET body = ? WHERE id = ?", (body, number))

    def check(self) -> None:
        """Raises what is wrong with the key to what is kept."""
        if self._path.exists():
            with self._open() as database:
                self._master(database)

    def kept(self) -> dict[str, Kept]:
        """What is kept, by number; needs no key."""
        if not self._path.exists():
            return {}
        with self._open() as database:
            rows = database.execute("SELECT id, at, confirmed FROM need").fetchall()
        return {number: Kept(at, bool(confirmed)) for number, at, confirmed in rows}

    def destroy(self, numbers: Iterable[str]) -> None:
        """Overwrite texts and keys; needs no key."""
        with self._open() as database:
            database.executemany("DELETE FROM need WHERE id = ?", [(number,) for number in numbers])
            failpoint("need-destroying")

    def _get(self, database: sqlite3.Connection, number: str) -> tuple[bytes, Particulars | None]:
        found = database.execute("SELECT key, body FROM need WHERE id = ?", (number,)).fetchone()
        if found is None:
            return b"", None
        key = unseal(self._master(database), found[0], f"{BOUND}key/{number}")
        plain = unseal(key, found[1], f"{BOUND}text/{number}")
        return key, msgspec.json.decode(plain, type=Particulars)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # SQLite gives its journal the mode of the file.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            if self._path.stat().st_mode & GROUP_AND_OTHERS_MODE:
                self._path.chmod(0o600)
            with closing(sqlite3.connect(self._path, isolation_level=None)) as database:
                database.execute("PRAGMA journal_mode=PERSIST")
                database.execute("PRAGMA synchronous=EXTRA")
                database.execute("PRAGMA secure_delete=ON")
                database.execute("BEGIN IMMEDIATE")
                with database:
                    self._prepare(database)
                    yield database
            self._wipe()
        except (sqlite3.Error, OSError, msgspec.DecodeError) as error:
            raise GatewayError("needs-store", file=self._path, reason=error) from error

    def _wipe(self) -> None:
        """Overwrite the rollback journal of a transaction that is over: SQLite would give its blocks back
        to the disk as they are, with what was destroyed in them."""
        journal = Path(f"{self._path}-journal")
        if journal.exists():
            with journal.open("r+b") as file:
                file.write(bytes(journal.stat().st_size))
                file.flush()
                os.fsync(file.fileno())
            journal.unlink()

    def _prepare(self, database: sqlite3.Connection) -> None:
        ((version,),) = database.execute("PRAGMA user_version")
        if version == 0:
            for statement in SCHEMA.split(";"):
                database.execute(statement)

    def _master(self, database: sqlite3.Connection) -> bytes:
        """The master key. The first one is made here; one that is lost is not made anew, for it would open
        nothing of what is there."""
        proof = database.execute("SELECT sealed FROM proof").fetchone()
        if not self._key.exists():
            if proof:
                raise GatewayError("needs-key-missing", file=self._key)
            create_durably(self._key, f"{new_key().hex()}\n".encode())
        try:
            master = bytes.fromhex(read_secret(self._key))
        except ValueError as error:
            raise GatewayError("needs-key-form", file=self._key) from error
        if len(master) != KEY:
            raise GatewayError("needs-key-form", file=self._key)
        if proof is None:
            database.execute("INSERT INTO proof VALUES (?)", (seal(master, b"linli", f"{BOUND}proof"),))
            return master
        try:
            unseal(master, proof[0], f"{BOUND}proof")
        except GatewayError as error:
            raise GatewayError("needs-key-wrong", file=self._key) from error
        return master


def _seal(key: bytes, number: str, particulars: Particulars) -> bytes:
    return seal(key, msgspec.json.encode(particulars), f"{BOUND}text/{number}")
