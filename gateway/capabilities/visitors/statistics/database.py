"""The statistics file in SQLite. Every call blocks: use a thread.

WAL with synchronous NORMAL: a power cut may lose the last commits, but does not damage the file. What the
lost commits held is still in the journal after the stored cursor, and is aggregated again.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from gateway.base.failpoint import failpoint
from gateway.model import GatewayError, Record, sentence

from .aggregation import AggregationBatch, Bin, CountingGap, Cursor, StoredFact

SCHEMA_VERSION = 1
PAGE_BYTES = 4096
MAX_UNDATED_RECORDS = 50_000
"""Records that may wait for the clock to be set; if it never is, later ones are not stored."""
SUFFIXES = ("", "-wal", "-shm")


class StatisticsFailed(GatewayError):
    """The file could not be read or written: a full disk, a read-only one, no permission."""


class StatisticsDamaged(StatisticsFailed):
    """The file is corrupt or no SQLite database."""


class StatisticsMissing(StatisticsFailed):
    """The file does not exist yet."""


class StatisticsDatabase:
    """One connection, guarded by a lock: a cancelled task leaves its thread running, and the next call must
    wait for it."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.path = path

    def close(self) -> None:
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _query(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        with self._lock, _sqlite_errors("statistics-read", self.path):
            return self._connection.execute(sql, args).fetchall()

    def begin_snapshot(self) -> None:
        """From here on read the file as it is now, whatever is committed meanwhile."""
        self._query("BEGIN")

    def check_integrity(self) -> None:
        """Check the whole file. Raises `StatisticsDamaged`."""
        ((found,),) = self._query("PRAGMA quick_check(1)")
        if found != "ok":
            raise StatisticsDamaged("statistics-open", path=self.path, reason=sentence("cause.damaged"))

    def cursors(self) -> dict[str, Cursor]:
        """By the epoch of each journal that was ever aggregated."""
        return {epoch: Cursor(*rest) for epoch, *rest in self._query("SELECT * FROM cursor")}

    def places(self) -> list[str]:
        return [name for (name,) in self._query("SELECT name FROM place ORDER BY name")]

    def bins(self, place: str, since: int, until: int) -> list[tuple[int, Bin]]:
        """The counts of a place, of quarters from `since` to before `until`, oldest first."""
        return [
            (at, Bin(came, went, tours))
            for at, came, went, tours in self._query(
                "SELECT at, came, went, tours FROM bin WHERE at >= ? AND at < ? "
                "AND place = (SELECT id FROM place WHERE name = ?) ORDER BY at",
                since, until, place,
            )
        ]  # fmt: skip

    def totals(self, since: int, until: int) -> dict[str, Bin]:
        """The total of every place, of quarters from `since` to before `until`."""
        return {
            name: Bin(*counts)
            for name, *counts in self._query(
                "SELECT name, sum(came), sum(went), sum(tours) FROM bin JOIN place ON id = place "
                "WHERE at >= ? AND at < ? GROUP BY place",
                since, until,
            )
        }  # fmt: skip

    def coverage_changes(self) -> list[tuple[str, int, bool]]:
        """When each counter became trustworthy (true) or ceased to be, by counter, oldest first; Unix
        ms."""
        return [
            (counter, at, bool(covered))
            for counter, at, covered in self._query("SELECT * FROM trust ORDER BY counter, at")
        ]

    def gaps(self) -> list[CountingGap]:
        return [
            (row[0], row[1], row[2], row[3]) for row in self._query("SELECT * FROM hole ORDER BY since")
        ]

    def bins_of_all_places(self, since: int, until: int) -> dict[tuple[int, str], Bin]:
        """The counts of quarters from `since` to before `until`."""
        rows = self._query(
            "SELECT at, name, came, went, tours FROM bin LEFT JOIN place ON id = place "
            "WHERE at >= ? AND at < ?",
            since,
            until,
        )
        return {(at, name or "?"): Bin(*counts) for at, name, *counts in rows}

    def stored_facts(self, since: int, until: int) -> list[StoredFact]:
        """Facts from `since` to before `until` (Unix milliseconds), oldest first."""
        found = []
        for at, kind, device, body in self._query(
            "SELECT * FROM fact WHERE at >= ? AND at < ? ORDER BY at", since, until
        ):
            with contextlib.suppress(msgspec.DecodeError):
                found.append(StoredFact(at, kind, device, msgspec.json.decode(body, type=dict[str, Any])))
        return found

    def first_quarter(self) -> int | None:
        """The first quarter that has counts."""
        ((at,),) = self._query("SELECT min(at) FROM bin")
        return None if at is None else int(at)

    def undated(self) -> list[Record]:
        """Records that wait until the time of their boot is known."""
        found = []
        for (record,) in self._query("SELECT record FROM undated ORDER BY boot, mono"):
            with contextlib.suppress(msgspec.DecodeError):
                found.append(msgspec.msgpack.decode(record, type=Record))
        return found

    def apply(self, batch: AggregationBatch, dated: Iterable[Record] = ()) -> None:
        """Write a batch and its cursor in one transaction; `dated` are the undated records that it
        includes."""
        with self._lock, _sqlite_errors("statistics-write", self.path):
            failpoint("statistics-before")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._write(batch, dated)
                failpoint("statistics-within")
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                # On a full disk SQLite may have rolled back already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            failpoint("statistics-after")

    def _write(self, batch: AggregationBatch, dated: Iterable[Record]) -> None:
        many = self._connection.executemany
        names = {place for _, place in batch.bins}
        many("INSERT OR IGNORE INTO place (name) VALUES (?)", [(name,) for name in sorted(names)])
        ids = {name: number for number, name in self._connection.execute("SELECT * FROM place")}
        many(
            "INSERT INTO bin VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET came = came + excluded.came, "
            "went = went + excluded.went, tours = tours + excluded.tours",
            sorted((at, ids[place], *counts) for (at, place), counts in batch.bins.items()),
        )
        many("INSERT OR REPLACE INTO trust VALUES (?, ?, ?)", [
            (counter, at, int(covered)) for (counter, at), covered in batch.coverage_changes.items()
        ])  # fmt: skip
        many("INSERT OR IGNORE INTO hole VALUES (?, ?, ?, ?)", sorted(batch.gaps))
        many("INSERT OR IGNORE INTO fact VALUES (?, ?, ?, ?)", [
            (each.at, each.kind, each.device, msgspec.json.encode(each.body).decode())
            for each in batch.stored_facts
        ])  # fmt: skip
        many("DELETE FROM undated WHERE record = ?", [(_encode(record),) for record in dated])
        ((waiting,),) = self._connection.execute("SELECT count(*) FROM undated")
        many("INSERT OR IGNORE INTO undated VALUES (?, ?, ?)", [
            (record.at.boot, record.at.mono_ns, _encode(record))
            for record in batch.undated[: max(0, MAX_UNDATED_RECORDS - waiting)]
        ])  # fmt: skip
        many("INSERT OR REPLACE INTO cursor VALUES (?, ?, ?, ?, ?)", [
            (epoch, *cursor) for epoch, cursor in batch.cursors.items()
        ])  # fmt: skip


def _encode(record: Record) -> bytes:
    return msgspec.msgpack.encode(record)


@contextlib.contextmanager
def _sqlite_errors(key: str, path: Path) -> Iterator[None]:
    """Raise SQLite's errors as `StatisticsFailed` or `StatisticsDamaged`."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        damaged = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        raise (StatisticsDamaged if damaged else StatisticsFailed)(key, path=path, reason=error) from error


def connect(path: Path, *, readonly: bool = False) -> StatisticsDatabase:
    """Open the file; created unless `readonly`. Raises `StatisticsFailed`."""
    if readonly and not path.exists():
        raise StatisticsMissing("statistics-missing", path=path)
    with _sqlite_errors("statistics-open", path), contextlib.ExitStack() as stack:
        uri = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rwc'}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        stack.callback(connection.close)
        connection.execute("PRAGMA busy_timeout=5000")
        if not readonly:
            connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
        ((version,),) = connection.execute("PRAGMA user_version")
        if version == 0 and not readonly:
            script = files(__package__).joinpath("schema.sql").read_text("utf-8")
            connection.executescript(
                f"BEGIN IMMEDIATE; {script} PRAGMA user_version={SCHEMA_VERSION}; COMMIT"
            )
        elif version == 0:
            raise StatisticsMissing("statistics-missing", path=path)
        elif version != SCHEMA_VERSION:
            raise StatisticsFailed("statistics-version", path=path, version=version)
        stack.pop_all()
    return StatisticsDatabase(connection, path)


def replace_damaged(path: Path) -> Path:
    """Move the damaged file aside and the new one in its place; returns the damaged file's new path. After
    an interruption `finish_replacement` completes this."""
    aside = path.with_name(path.name + ".damaged")
    # The WAL is moved first: SQLite would apply it to a new file of that name.
    for suffix in reversed(SUFFIXES):
        aside.with_name(aside.name + suffix).unlink(missing_ok=True)
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    finish_replacement(path)
    return aside


def finish_replacement(path: Path) -> None:
    """Complete an interrupted `replace_damaged`, if there was one."""
    if not path.exists() and replacement_path(path).exists():
        replacement_path(path).rename(path)


def replacement_path(path: Path) -> Path:
    """Where the new file is written before it replaces a damaged one."""
    return path.with_name(path.name + "-fresh")
