"""What to do with a damaged file: years are in it, and the journal holds weeks. What is older than the
journal is taken over as far as it can be read; the rest is folded again."""

from __future__ import annotations

import contextlib
from pathlib import Path

from gateway.journal import Reader
from gateway.model import ClockQuality, Lane

from .database import PAGE, Database, StatisticsFailed, connect
from .fold import QUARTER, Batch, Correct, Cursor

DAY = 86_400_000 // QUARTER
SPAN = 365 * DAY
"""Quarters read at a time; where that fails, half as many, down to a day."""
DAMAGED = "damaged"
LARGEST = 1 << 30


async def oldest(journal: Reader, correct: Correct) -> int | None:
    """Since when the journal has everything (Unix milliseconds); None: since ever, or it is empty."""
    for pack in await journal.read(Lane.EVENT, 0, 64):
        stamps = [correct(record.at) for record in pack.records]
        walls = [at.wall for at in stamps if at.clock is not ClockQuality.UNSET]
        if pack.pos == 1:
            return None
        if walls:
            return min(walls)
    return None


def take_over(aside: Path, since: int, epoch: str) -> Batch:
    """What a damaged file has of the time before `since` (Unix milliseconds), from when on the journal of
    that epoch is to be folded."""
    batch = Batch()
    floor = since // QUARTER + 1
    with contextlib.suppress(StatisticsFailed, OSError):
        _pad(aside)
        database = connect(aside, readonly=True)
        try:
            _take(database, batch, floor)
        finally:
            database.close()
    if batch.bins:
        batch.cursors[epoch] = Cursor(0, since, 0, floor)
    return batch


def _pad(file: Path) -> None:
    """Of a file that is shorter than it says SQLite reads not one row."""
    with file.open("r+b") as cut:
        head = cut.read(32)
        size = min(LARGEST, PAGE * int.from_bytes(head[28:32]))  # sqlite.org/fileformat2.html, 1.3
        if file.stat().st_size < size:
            cut.truncate(size)


def _take(database: Database, batch: Batch, floor: int) -> None:
    first = database.first()
    if first is None:
        return
    for start in range(first, floor, SPAN):
        _bins(database, batch, start, min(start + SPAN, floor))
    with contextlib.suppress(StatisticsFailed):
        batch.trust |= {(counter, at): covered for counter, at, covered in database.trust()}
    with contextlib.suppress(StatisticsFailed):
        batch.holes.update(database.holes())
    with contextlib.suppress(StatisticsFailed):
        batch.happenings += database.happenings(0, floor * QUARTER)


def _bins(database: Database, batch: Batch, since: int, until: int) -> None:
    try:
        batch.bins |= database.all_bins(since, until)
    except StatisticsFailed:
        if until - since <= DAY:
            batch.holes.add((since * QUARTER, until * QUARTER, "", DAMAGED))
            return
        middle = (since + until) // 2
        _bins(database, batch, since, middle)
        _bins(database, batch, middle, until)
