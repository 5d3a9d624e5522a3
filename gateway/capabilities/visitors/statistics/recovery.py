"""Recovery of a damaged statistics file. It holds years, the journal only weeks: what is older than the
journal is copied as far as it can be read, the rest is aggregated again from the journal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from gateway.journal import JournalReader
from gateway.model import Lane

from .aggregation import QUARTER_MS, AggregationBatch, CorrectStamp, Cursor
from .database import PAGE_BYTES, StatisticsDatabase, StatisticsFailed, connect
from .intervals import Interval, Intervals

QUARTERS_PER_DAY = 86_400_000 // QUARTER_MS
QUARTERS_PER_READ = 365 * QUARTERS_PER_DAY
"""Where reading fails it is tried with half as many, down to a day."""
FILE_DAMAGED = "damaged"
MAX_FILE_BYTES = 1 << 30


async def first_complete_quarter(journal: JournalReader, correct: CorrectStamp) -> int | None:
    """The first quarter of which the journal has all records; None if it has no dated ones."""
    for pack in await journal.read_after(Lane.EVENT, 0, 64):
        stamps = [correct(record.at) for record in pack.records]
        walls = [at.wall_ms for at in stamps if at.is_set]
        if walls:
            # The quarter of its oldest record is incomplete, unless that is the first record ever.
            return min(walls) // QUARTER_MS + (pack.pos > 1)
    return None


def salvage(damaged: Path, first_complete: int | None, epoch: str) -> AggregationBatch:
    """Read from a damaged file what it has of the quarters before `first_complete`, from which on the
    journal of that epoch is complete; of all quarters where that is None."""
    batch = AggregationBatch()
    with contextlib.suppress(StatisticsFailed, OSError):
        _extend_to_declared_size(damaged)
        with contextlib.closing(connect(damaged, readonly=True)) as database:
            _salvage_into(database, batch, first_complete)
    if batch.bins:
        newest = 1 + max(at for at, _ in batch.bins)
        newest_ms = QUARTER_MS * (newest if first_complete is None else first_complete)
        batch.cursors[epoch] = Cursor(0, newest_ms, 0 if first_complete else newest_ms, first_complete or 0)
    return batch


def _extend_to_declared_size(file: Path) -> None:
    """SQLite reads no row of a file that is shorter than its header says."""
    with file.open("r+b") as cut:
        header = cut.read(32)
        size = min(
            MAX_FILE_BYTES, PAGE_BYTES * int.from_bytes(header[28:32])
        )  # sqlite.org/fileformat2.html, 1.3
        if file.stat().st_size < size:
            cut.truncate(size)


def _salvage_into(
    database: StatisticsDatabase, batch: AggregationBatch, first_complete: int | None
) -> None:
    first = database.first_quarter()
    if first is None:
        return
    # No count is newer than the file. Its newest bin cannot tell: that page may be damaged.
    written = round(database.path.stat().st_mtime * 1000) // QUARTER_MS + 1
    until = written if first_complete is None else min(first_complete, written)
    unreadable = [
        interval
        for start in range(first, until, QUARTERS_PER_READ)
        for interval in _salvage_bins(database, batch, start, min(start + QUARTERS_PER_READ, until))
    ]
    batch.gaps.update(
        (since * QUARTER_MS, end * QUARTER_MS, "", FILE_DAMAGED) for since, end in Intervals(unreadable)
    )
    with contextlib.suppress(StatisticsFailed):
        batch.coverage_changes |= {
            (counter, at): covered for counter, at, covered in database.coverage_changes()
        }
    with contextlib.suppress(StatisticsFailed):
        batch.gaps.update(database.gaps())
    with contextlib.suppress(StatisticsFailed):
        batch.stored_facts += database.stored_facts(0, until * QUARTER_MS)


def _salvage_bins(
    database: StatisticsDatabase, batch: AggregationBatch, since: int, until: int
) -> Iterator[Interval]:
    """Add the readable bins to the batch, and yield the days that cannot be read."""
    try:
        batch.bins |= database.bins_of_all_places(since, until)
    except StatisticsFailed:
        if until - since <= QUARTERS_PER_DAY:
            yield since, until
            return
        middle = (since + until) // 2
        yield from _salvage_bins(database, batch, since, middle)
        yield from _salvage_bins(database, batch, middle, until)
