"""The file of trends in SQLite. Every call blocks: use a thread.

WAL with synchronous NORMAL: a power cut may lose the last commits, but does not damage the file. What they
held is still in the journal after the stored cursor, and is read again.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from gateway.base.failpoint import failpoint
from gateway.model import GatewayError, sentence

from .calendar import Calendar
from .packing import SpannedBin, pack_quarters, thinned, unpack_quarters, unpack_spans
from .statistics import Bins, Held, HeldValues, TrendBin, TrendCursor

SCHEMA_VERSION = 1
PAGE_BYTES = 4096
MAX_BYTES = 256_000_000
"""Of the file: a year of quarters for about a thousand points, then days."""
QUARTERS_KEPT_DAYS = 400
"""After that, one bin is left of a day."""
DAYS_KEPT = 3660
MIN_QUARTERS_KEPT_DAYS = 7
DAYS_THINNED_AT_A_TIME = 31
MAX_NAME_CHARACTERS = 200
SUFFIXES = ("", "-wal", "-shm")


class TrendsFailed(GatewayError):
    """The file could not be read or written: a full disk, a read-only one, no permission."""


class TrendsDamaged(TrendsFailed):
    """The file is corrupt or no SQLite database."""


def trends_file(journal: Path) -> Path:
    """The file of trends that belongs to a journal."""
    return journal.with_name("trends.db")


class TrendDatabase:
    """One connection, guarded by a lock: a cancelled task leaves its thread running, and the next call must
    wait for it."""

    def __init__(self, connection: sqlite3.Connection, path: Path, max_bytes: int) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._max_pages = max_bytes // PAGE_BYTES
        self.path = path

    def close(self) -> None:
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _query(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        with self._lock, _sqlite_errors("trends-read", self.path):
            return self._connection.execute(sql, args).fetchall()

    def check_integrity(self) -> None:
        """Check the whole file. Raises `TrendsDamaged`."""
        ((found,),) = self._query("PRAGMA quick_check(1)")
        if found != "ok":
            raise TrendsDamaged("trends-open", path=self.path, reason=sentence("cause.damaged"))

    def cursors(self) -> dict[str, TrendCursor]:
        """By the epoch of each journal that was ever read."""
        return {epoch: TrendCursor(*rest) for epoch, *rest in self._query("SELECT * FROM cursor")}

    def held(self) -> HeldValues:
        """The last value of each point, at the cursor."""
        found: HeldValues = {}
        for device, point, *rest in self._query("SELECT * FROM held"):
            found.setdefault(device, {})[point] = Held(*rest)
        return found

    def points(self, device: str) -> list[str]:
        """The points of a device that have statistics."""
        return [point for (point,) in self._query("SELECT point FROM point WHERE device = ?", device)]

    def bins(self, device: str, point: str, days: range, quarters: int = 1) -> Iterator[SpannedBin]:
        """The statistics of a point, of these local days, oldest first; those of each so many quarters as
        one. Damaged rows are left out."""
        for (packed,) in self._query(
            "SELECT bins FROM json_each(?) AS wanted JOIN day ON day.day = wanted.value AND day.point = "
            "(SELECT id FROM point WHERE device = ? AND point = ?) ORDER BY wanted.value",
            json.dumps(list(days)), device, point,
        ):  # fmt: skip
            with contextlib.suppress(ValueError):
                yield from tuple(unpack_spans(packed, quarters))

    def apply(
        self, bins: Bins, held: HeldValues, epoch: str, cursor: TrendCursor, calendar: Calendar
    ) -> None:
        """Add statistics, and replace held values and cursor, in one transaction. Raises `TrendsFailed`."""
        with self._lock, _sqlite_errors("trends-write", self.path), self._transaction():
            self._add(bins, calendar)
            self._connection.execute("DELETE FROM held")
            self._connection.executemany(
                "INSERT INTO held VALUES (?, ?, ?, ?, ?)",
                [
                    (device, point, *msgspec.structs.astuple(last))
                    for device, own in held.items()
                    for point, last in own.items()
                ],
            )
            self._connection.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?, ?, ?)", (epoch, *cursor))
            failpoint("trends-within")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            # On a full disk SQLite may have rolled back already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _add(self, bins: Bins, calendar: Calendar) -> None:
        rows: dict[tuple[int, str, str], dict[int, TrendBin]] = {}
        for (device, point, quarter), added in bins.items():
            rows.setdefault((calendar.day_of(quarter), device, point), {})[quarter] = added
        ((before,),) = self._connection.execute("SELECT before FROM thinned")
        for (day, device, point), quarters in sorted(rows.items(), key=lambda row: row[0]):
            number = self._point_id(device[:MAX_NAME_CHARACTERS], point[:MAX_NAME_CHARACTERS])
            found = self._connection.execute(
                "SELECT bins FROM day WHERE day = ? AND point = ?", (day, number)
            ).fetchone()
            packed = _merged(found[0] if found else None, quarters)
            if day < before:
                span = calendar.quarters_of(day)
                packed = thinned(packed, span.start, len(span))
            self._connection.execute("INSERT OR REPLACE INTO day VALUES (?, ?, ?)", (day, number, packed))

    def _point_id(self, device: str, point: str) -> int:
        self._connection.execute(
            "INSERT OR IGNORE INTO point (device, point) VALUES (?, ?)", (device, point)
        )
        ((number,),) = self._connection.execute(
            "SELECT id FROM point WHERE device = ? AND point = ?", (device, point)
        )
        return int(number)

    def make_room(self, today: int, calendar: Calendar) -> None:
        """Leave one bin of each old day, and delete very old ones; earlier where the file is too large. A
        part at a time: call it often. Raises `TrendsFailed`."""
        with self._lock, _sqlite_errors("trends-write", self.path), self._transaction():
            ((pages,),) = self._connection.execute(
                "SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count"
            )
            ((before,),) = self._connection.execute("SELECT before FROM thinned")
            is_large = pages > self._max_pages
            ((first,),) = self._connection.execute("SELECT min(day) FROM day WHERE day >= ?", (before,))
            until = today - (MIN_QUARTERS_KEPT_DAYS if is_large else QUARTERS_KEPT_DAYS)
            if first is not None and first < until:
                self._thin(range(first, min(until, first + DAYS_THINNED_AT_A_TIME)), calendar)
                return
            oldest = today - DAYS_KEPT
            if is_large:
                ((first,),) = self._connection.execute("SELECT min(day) FROM day")
                oldest = first + DAYS_THINNED_AT_A_TIME
            # Days after tomorrow are from a clock that was wrong.
            self._connection.execute("DELETE FROM day WHERE day < ? OR day > ?", (oldest, today + 1))

    def _thin(self, days: range, calendar: Calendar) -> None:
        for day in days:
            rows = self._connection.execute("SELECT point, bins FROM day WHERE day = ?", (day,)).fetchall()
            quarters = calendar.quarters_of(day)
            for point, packed in rows:
                try:
                    left = thinned(packed, quarters.start, len(quarters))
                except ValueError:
                    self._connection.execute("DELETE FROM day WHERE day = ? AND point = ?", (day, point))
                else:
                    self._connection.execute(
                        "UPDATE day SET bins = ? WHERE day = ? AND point = ?", (left, day, point)
                    )
        self._connection.execute("UPDATE thinned SET before = ?", (days.stop,))


def _merged(packed: bytes | None, added: dict[int, TrendBin]) -> bytes:
    """What is stored of a day, with further quarters."""
    found: dict[int, TrendBin] = {}
    if packed is not None:
        with contextlib.suppress(ValueError):
            found = unpack_quarters(packed)
    merged = {**found, **{key: found[key].plus(new) if key in found else new for key, new in added.items()}}
    return pack_quarters(merged)


@contextlib.contextmanager
def _sqlite_errors(key: str, path: Path) -> Iterator[None]:
    """Raise SQLite's errors as `TrendsFailed` or `TrendsDamaged`."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        damaged = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        raise (TrendsDamaged if damaged else TrendsFailed)(key, path=path, reason=error) from error


def connect(path: Path, *, readonly: bool = False, max_bytes: int = MAX_BYTES) -> TrendDatabase:
    """Open the file; created unless `readonly`. Raises `TrendsFailed`."""
    with _sqlite_errors("trends-open", path), contextlib.ExitStack() as stack:
        uri = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rwc'}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        stack.callback(connection.close)
        connection.execute("PRAGMA busy_timeout=5000")
        if not readonly:
            connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(f"PRAGMA max_page_count={2 * max_bytes // PAGE_BYTES}")
        ((version,),) = connection.execute("PRAGMA user_version")
        if version == 0 and not readonly:
            script = files(__package__).joinpath("schema.sql").read_text("utf-8")
            connection.executescript(
                f"BEGIN IMMEDIATE; {script} PRAGMA user_version={SCHEMA_VERSION}; COMMIT"
            )
        elif version != SCHEMA_VERSION:
            raise TrendsFailed("trends-version", path=path, version=version)
        stack.pop_all()
    return TrendDatabase(connection, path, max_bytes)


def set_aside(path: Path) -> Path:
    """Move a damaged file out of the way; returns its new path. Raises `OSError`."""
    aside = path.with_name(path.name + ".damaged")
    # The log is moved first: SQLite would apply it to a new file of that name.
    for suffix in reversed(SUFFIXES):
        aside.with_name(aside.name + suffix).unlink(missing_ok=True)
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside
