"""Disk space: a hard cap on the journal, a reserve for a full disk, and the wear of the SD card."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
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
    """In bytes: `cap_bytes` for database, log and reserve together; `daily_bytes` for the writes of a day;
    `endurance_bytes` for those of the card's life."""

    cap_bytes: int = JournalOptions().cap
    daily_bytes: int = JournalOptions().daily
    endurance_bytes: int = JournalOptions().endurance

    @property
    def max_pages(self) -> int:
        """Pages the database may ever have."""
        return max(2048, (self.cap_bytes - MAX_WAL_BYTES - RESERVE_BYTES) // PAGE_BYTES)

    @property
    def max_telemetry_pages(self) -> int:
        """Pages it may have before telemetry is evicted."""
        return int(self.max_pages * (1 - ALARM_RESERVED_SHARE))


class DiskReserve:
    """The file of zeros beside the journal."""

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_name(journal.name + "-reserve")

    def fill(self) -> bool:
        """Create the file if it is missing; False while there is no room."""
        try:
            if self.size_bytes() == RESERVE_BYTES:
                return True
            # After a release, creating it at once would fill the disk again.
            if self._free_bytes() < 2 * RESERVE_BYTES:
                return False
            write_synced(self._path, bytes(RESERVE_BYTES))
        except OSError:
            self.release()
            return False
        return True

    def release_if_disk_full(self) -> None:
        """Before a start: without room for its log, a database cannot even be read."""
        if self.size_bytes() and self._free_bytes() < RESERVE_BYTES:
            self.release()

    def _free_bytes(self) -> int:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize

    def release(self) -> None:
        """Delete the file to free its space."""
        # A folder of its name, or a disk that cannot be written: then there is nothing to free.
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def size_bytes(self) -> int:
        return self._path.stat().st_size if self._path.is_file() else 0


def is_writable(journal: Path) -> bool:
    """Whether its disk has room for a journal, or for the copy of a damaged one, and takes it."""
    probe = journal.with_name(journal.name + "-probe")
    try:
        journal.parent.mkdir(parents=True, exist_ok=True)
        disk = os.statvfs(journal.parent)
        size = journal.stat().st_size if journal.exists() else 0
        if disk.f_bavail * disk.f_frsize < size + MAX_WAL_BYTES:
            return False
        write_synced(probe, bytes(PAGE_BYTES))
        probe.unlink()
    except OSError:
        return False
    return True


@functools.cache
def _open_counters() -> int:
    """Opened once: a process that has run out of file descriptors can still read it."""
    return os.open("/proc/self/io", os.O_RDONLY)


def process_bytes_written() -> int:
    """Bytes that this process has had written to disks since it began (proc(5), `/proc/pid/io`)."""
    lines = os.pread(_open_counters(), 4096, 0).decode().splitlines()
    counts = {name: int(value) for name, _, value in (line.partition(": ") for line in lines)}
    return counts["write_bytes"] - counts["cancelled_write_bytes"]


class CardWear:
    """Bytes this process writes to the card, and how long the card will last.

    The rate leaves out the first minute, in which a journal may be created.
    """

    def __init__(
        self,
        clock: Clock,
        limits: StorageLimits,
        window: float,
        total_written: Callable[[], int] = process_bytes_written,
    ) -> None:
        """`total_written` gives all bytes that have been written so far."""
        self._clock = clock
        self._total_written = total_written
        self._limits = limits
        self._configured_window_s = window
        self._rate_since_s = clock.mono()
        self._bytes_at_start = self._total_written()
        self._bytes_at_rate_start = self._bytes_at_start
        self._first_minute_over = False
        self._last_adaptation = self._rate_since_s, self._bytes_at_start
        self.window_s = window
        """Seconds between two commits of telemetry: longer while the daily budget is exceeded."""

    @property
    def bytes_written(self) -> int:
        """Bytes since the start."""
        return self._total_written() - self._bytes_at_start

    @property
    def bytes_per_day(self) -> float:
        """At the rate since the start; 0 while that is unknown."""
        written = self._total_written() - self._bytes_at_rate_start if self._first_minute_over else 0
        return written / max(1.0, self._clock.mono() - self._rate_since_s) * DAY_S

    @property
    def lifetime_years(self) -> float:
        """How long the card will last at that rate."""
        return self._limits.endurance_bytes / max(1.0, self.bytes_per_day) / 365.25

    def adapt_window(self) -> None:
        """Lengthen or shorten the window by the rate since the last call."""
        now, written = self._clock.mono(), self._total_written()
        seconds = now - self._last_adaptation[0]
        if seconds < 60:
            return
        if not self._first_minute_over:
            self._first_minute_over, self._rate_since_s, self._bytes_at_rate_start = True, now, written
        pace = (written - self._last_adaptation[1]) / seconds * DAY_S
        self._last_adaptation = now, written
        if pace > self._limits.daily_bytes:
            self.window_s = min(MAX_WINDOW_S, self.window_s * 2)
        elif pace < self._limits.daily_bytes / 2:
            self.window_s = max(self._configured_window_s, self.window_s / 2)
