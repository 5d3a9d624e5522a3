"""Room on the disk: a hard cap on the journal, a reserve that makes room when the disk is full, and what
the writing costs the card."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from gateway.config.options import JournalOptions
from gateway.model import Clock

PAGE = 1024
RESERVE = 2 * 1024 * 1024
"""Bytes set aside in a file of zeros: given up when the disk is full, so that alarms still fit."""
WAL_ROOM = 8 * 1024 * 1024
"""What the write-ahead log may grow to, counted against the cap."""
KEEP_FREE = 0.05
"""The part of the cap that only alarms may use."""
DAY = 86_400.0
LONGEST_WINDOW = 10.0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`cap` is bytes for database, log and reserve together; `daily` bytes a day the card should bear;
    `endurance` the bytes it bears in its life."""

    cap: int = JournalOptions().cap
    daily: int = JournalOptions().daily
    endurance: int = JournalOptions().endurance

    @property
    def pages(self) -> int:
        """Pages the database may ever have."""
        return max(2048, (self.cap - WAL_ROOM - RESERVE) // PAGE)

    @property
    def telemetry_pages(self) -> int:
        """Pages it may have before telemetry must go."""
        return int(self.pages * (1 - KEEP_FREE))


class Reserve:
    """The file of zeros beside the journal."""

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_name(journal.name + "-reserve")

    def fill(self) -> bool:
        """Set the space aside again; False while there is none."""
        try:
            if self.size() == RESERVE:
                return True
            # Just given up: taking it back at once would fill the disk again.
            if self._free() < 2 * RESERVE:
                return False
            with self._path.open("wb") as file:
                file.write(bytes(RESERVE))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self.release()
            return False
        return True

    def make_way(self) -> None:
        """Before a start: a disk too full for a log could not even be read from."""
        if self.size() and self._free() < RESERVE:
            self.release()

    def _free(self) -> int:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize

    def release(self) -> None:
        """Give it up; the disk has that much room again."""
        self._path.unlink(missing_ok=True)

    def size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0


class Wear:
    """What this process writes to the card, and how long the card will bear it.

    From /proc/self/io: `write_bytes`, less what was taken back before it reached the card. The first
    minute, in which a journal is made, is left out of the pace.
    """

    def __init__(self, clock: Clock, limits: Limits, window: float) -> None:
        self._clock = clock
        self._limits = limits
        self._base = window
        self._since = clock.mono()
        self._first = _written()
        self._base_written = self._first
        self._settled = False
        self._mark = self._since, self._first
        self.window = window
        """Seconds between two commits of telemetry: widened while the budget of the day is short."""

    @property
    def written(self) -> int:
        """Bytes since the start."""
        return _written() - self._first

    @property
    def per_day(self) -> float:
        """Bytes a day at the pace since the start; 0 while nobody can tell."""
        written = _written() - self._base_written if self._settled else 0
        return written / max(1.0, self._clock.mono() - self._since) * DAY

    @property
    def years(self) -> float:
        """How long the card will last at that pace."""
        return self._limits.endurance / max(1.0, self.per_day) / 365.25

    def adapt(self) -> None:
        """Widen or narrow the window by the pace since the last call."""
        now, written = self._clock.mono(), _written()
        seconds = now - self._mark[0]
        if seconds < 60:
            return
        if not self._settled:
            self._settled, self._since, self._base_written = True, now, written
        pace = (written - self._mark[1]) / seconds * DAY
        self._mark = now, written
        if pace > self._limits.daily:
            self.window = min(LONGEST_WINDOW, self.window * 2)
        elif pace < self._limits.daily / 2:
            self.window = max(self._base, self.window / 2)


def _written() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    counts = {name: int(value) for name, _, value in (line.partition(": ") for line in lines)}
    return counts["write_bytes"] - counts["cancelled_write_bytes"]
