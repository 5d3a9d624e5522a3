"""Disk space: a hard cap on the journal, a reserve for a full disk, and the wear of the SD card."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from gateway.base.files import write_synced
from gateway.config.options import JournalOptions
from gateway.model import Clock

PAGE_BYTES = 1024
RESERVE_BYTES = 2 * 1024 * 1024
"""Size of a file of zeros that is deleted when the disk is full, so that alarms still fit."""
MAX_WAL_BYTES = 8 * 1024 * 1024
"""Size of the write-ahead log that is counted against the cap."""
ALARM_RESERVED_SHARE = 0.05
"""Fraction of the cap that only alarms may use."""
DAY_S = 86_400.0
MAX_WINDOW_S = 10.0


class StorageLimits(msgspec.Struct, frozen=True, kw_only=True):
    """In bytes: `cap` for database, log and reserve together; `daily` for the writes of a day; `endurance`
    for those of the card's life."""

    cap: int = JournalOptions().cap
    daily: int = JournalOptions().daily
    endurance: int = JournalOptions().endurance

    @property
    def pages(self) -> int:
        """Pages the database may ever have."""
        return max(2048, (self.cap - MAX_WAL_BYTES - RESERVE_BYTES) // PAGE_BYTES)

    @property
    def telemetry_pages(self) -> int:
        """Pages it may have before telemetry is evicted."""
        return int(self.pages * (1 - ALARM_RESERVED_SHARE))


class DiskReserve:
    """The file of zeros beside the journal."""

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_name(journal.name + "-reserve")

    def fill(self) -> bool:
        """Create the file if it is missing; False while there is no room."""
        try:
            if self.size() == RESERVE_BYTES:
                return True
            # After a release, creating it at once would fill the disk again.
            if self._free() < 2 * RESERVE_BYTES:
                return False
            write_synced(self._path, bytes(RESERVE_BYTES))
        except OSError:
            self.release()
            return False
        return True

    def release_if_disk_full(self) -> None:
        """Before a start: without room for its log, a database cannot even be read."""
        if self.size() and self._free() < RESERVE_BYTES:
            self.release()

    def _free(self) -> int:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize

    def release(self) -> None:
        """Delete the file to free its space."""
        self._path.unlink(missing_ok=True)

    def size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0


class CardWear:
    """Bytes this process writes to the card, and how long the card will last.

    From /proc/self/io: `write_bytes` minus `cancelled_write_bytes`. The rate leaves out the first minute,
    in which a journal may be created.
    """

    def __init__(self, clock: Clock, limits: StorageLimits, window: float) -> None:
        self._clock = clock
        self._limits = limits
        self._base = window
        self._since = clock.mono()
        self._first = _process_bytes_written()
        self._base_written = self._first
        self._settled = False
        self._mark = self._since, self._first
        self.window_s = window
        """Seconds between two commits of telemetry: longer while the daily budget is exceeded."""

    @property
    def bytes_written(self) -> int:
        """Bytes since the start."""
        return _process_bytes_written() - self._first

    @property
    def bytes_per_day(self) -> float:
        """At the rate since the start; 0 while that is unknown."""
        written = _process_bytes_written() - self._base_written if self._settled else 0
        return written / max(1.0, self._clock.mono() - self._since) * DAY_S

    @property
    def lifetime_years(self) -> float:
        """How long the card will last at that rate."""
        return self._limits.endurance / max(1.0, self.bytes_per_day) / 365.25

    def adapt_window(self) -> None:
        """Lengthen or shorten the window by the rate since the last call."""
        now, written = self._clock.mono(), _process_bytes_written()
        seconds = now - self._mark[0]
        if seconds < 60:
            return
        if not self._settled:
            self._settled, self._since, self._base_written = True, now, written
        pace = (written - self._mark[1]) / seconds * DAY_S
        self._mark = now, written
        if pace > self._limits.daily:
            self.window_s = min(MAX_WINDOW_S, self.window_s * 2)
        elif pace < self._limits.daily / 2:
            self.window_s = max(self._base, self.window_s / 2)


def _process_bytes_written() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    counts = {name: int(value) for name, _, value in (line.partition(": ") for line in lines)}
    return counts["write_bytes"] - counts["cancelled_write_bytes"]
