"""The sealed particulars on disk: an SQLite file for a single process.

Each call opens the file and closes it again. With `secure_delete`, and a rollback journal that is
overwritten before it is deleted, nothing of what was destroyed remains on disk after a call.
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
from .seal import KEY_BYTES, new_key, seal, unseal

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
BINDING_PREFIX = "linli/needs/1/"
"""Prefix of the bindings of everything sealed."""


class StoredParticulars(msgspec.Struct, frozen=True):
    """An entry of the store; `at` is Unix time in milliseconds."""

    at: int
    confirmed: bool
    """Whether its need has been registered in the journal."""


class ParticularsStore:
    """Every call blocks: use a thread. Every call raises `GatewayError`."""

    def __init__(self, path: Path, key_file: Path) -> None:
        self._path = path
        self._key_file = key_file

    def insert(self, number: str, particulars: Particulars, at: int) -> None:
        """Seal and store the particulars of a need that is about to be registered."""
        with self._open() as database:
            master = self._master_key(database)
            key = new_key()
            wrapped, body = (
                seal(master, key, f"{BINDING_PREFIX}key/{number}"),
                _seal_particulars(key, number, particulars),
            )
            database.execute(
                "INSERT INTO need (id, key, body, at) VALUES (?, ?, ?, ?)", (number, wrapped, body, at)
            )
            failpoint("need-sealing")

    def confirm(self, number: str) -> None:
        """Mark the need as registered."""
        with self._open() as database:
            database.execute("UPDATE need SET confirmed = 1 WHERE id = ?", (number,))

    def get(self, number: str) -> Particulars | None:
        """The particulars of a need; None if there are none."""
        with self._open() as database:
            return self._unseal_row(database, number)[1]

    def replace(self, number: str, particulars: Particulars) -> None:
        """Replace the particulars, sealed with the need's existing key."""
        with self._open() as database:
            key, _ = self._unseal_row(database, number)
            body = _seal_particulars(key, number, particulars)
            database.execute("UPDATE need SET body = ? WHERE id = ?", (body, number))

    def check_key(self) -> None:
        """Raise `GatewayError` if the master key is missing or does not match the store."""
        if self._exists():
            with self._open() as database:
                self._master_key(database)

    def stored(self) -> dict[str, StoredParticulars]:
        """All entries by the number of the need; works without the master key."""
        if not self._exists():
            return {}
        with self._open() as database:
            rows = database.execute("SELECT id, at, confirmed FROM need").fetchall()
        return {number: StoredParticulars(at, bool(confirmed)) for number, at, confirmed in rows}

    def destroy(self, numbers: Iterable[str]) -> None:
        """Overwrite texts and keys; works without the master key."""
        with self._open() as database:
            database.executemany("DELETE FROM need WHERE id = ?", [(number,) for number in numbers])
            failpoint("need-destroying")

    def _exists(self) -> bool:
        try:
            self._path.stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._failure(error) from error
        return True

    def _failure(self, error: Exception) -> GatewayError:
        return GatewayError("needs-store", file=self._path, reason=error)

    def _unseal_row(self, database: sqlite3.Connection, number: str) -> tuple[bytes, Particulars | None]:
        found = database.execute("SELECT key, body FROM need WHERE id = ?", (number,)).fetchone()
        if found is None:
            return b"", None
        key = unseal(self._master_key(database), found[0], f"{BINDING_PREFIX}key/{number}")
        plain = unseal(key, found[1], f"{BINDING_PREFIX}text/{number}")
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
                    self._create_tables(database)
                    yield database
            self._overwrite_rollback_journal()
        except (sqlite3.Error, OSError, msgspec.DecodeError) as error:
            raise self._failure(error) from error

    def _overwrite_rollback_journal(self) -> None:
        """Overwrite and delete the rollback journal of a finished transaction: SQLite would free its blocks
        without overwriting the destroyed data in them."""
        journal = Path(f"{self._path}-journal")
        if journal.exists():
            with journal.open("r+b") as file:
                file.write(bytes(journal.stat().st_size))
                file.flush()
                os.fsync(file.fileno())
            journal.unlink()

    def _create_tables(self, database: sqlite3.Connection) -> None:
        ((version,),) = database.execute("PRAGMA user_version")
        if version == 0:
            for statement in SCHEMA.split(";"):
                database.execute(statement)

    def _master_key(self, database: sqlite3.Connection) -> bytes:
        """The master key. It is created for a new store; a lost key is not replaced, as a new one could not
        open what is stored."""
        proof = database.execute("SELECT sealed FROM proof").fetchone()
        if not self._key_file.exists():
            if proof:
                raise GatewayError("needs-key-missing", file=self._key_file)
            create_durably(self._key_file, f"{new_key().hex()}\n".encode())
        try:
            master = bytes.fromhex(read_secret(self._key_file))
        except ValueError as error:
            raise GatewayError("needs-key-form", file=self._key_file) from error
        if len(master) != KEY_BYTES:
            raise GatewayError("needs-key-form", file=self._key_file)
        if proof is None:
            database.execute(
                "INSERT INTO proof VALUES (?)", (seal(master, b"linli", f"{BINDING_PREFIX}proof"),)
            )
            return master
        try:
            unseal(master, proof[0], f"{BINDING_PREFIX}proof")
        except GatewayError as error:
            raise GatewayError("needs-key-wrong", file=self._key_file) from error
        return master


def _seal_particulars(key: bytes, number: str, particulars: Particulars) -> bytes:
    return seal(key, msgspec.json.encode(particulars), f"{BINDING_PREFIX}text/{number}")
