"""What to do with a damaged file: years are in it, and the journal holds weeks. What is older than the
journal is taken over as far as it can be read; the rest is folded again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from gateway.journal import Reader
from gateway.model import ClockQuality, Lane

from .aggregation import QUARTER, Batch, Correct, Cursor
from .database import PAGE, Database, StatisticsFailed, connect
from .intervals import Span, Spans

DAY = 86_400_000 // QUARTER
SPAN = 365 * DAY
"""Quarters read at a time; where that fails, half as many, down to a day."""
DAMAGED = "damaged"
LARGEST = 1 << 30


async def complete_from(journal: Reader, correct: Correct) -> int | None:
    """The first quarter of which the journal has everything; None: it has nothing."""
    for pack in await journal.read(Lane.EVENT, 0, 64):
        stamps = [correct(record.at) for record in pack.records]
        walls = [at.wall for at in stamps if at.clock is not ClockQuality.UNSET]
        if walls:
            # Of the quarter it begins in it has given up a part, unless it began then.
            return min(walls) // QUARTER + (pack.pos > 1)
    return None


def take_over(damaged: Path, floor: int | None, epoch: str) -> Batch:
    """What a damaged file has of the quarters before `floor`, from which on the journal of that epoch is to
    be folded; without one, all of it."""
    batch = Batch()
    with contextlib.suppress(StatisticsFailed, OSError):
        _pad(damaged)
        with contextlib.closing(connect(damaged, readonly=True)) as database:
            _take(database, batch, floor)
    if batch.bins:
        newest = 1 + max(at for at, _ in batch.bins)
        wall = QUARTER * (newest if floor is None else floor)
        batch.cursors[epoch] = Cursor(0, wall, 0 if floor else wall, floor or 0)
    return batch


def _pad(file: Path) -> None:
    """Of a file that is shorter than it says SQLite reads not one row."""
    with file.open("r+b") as cut:
        head = cut.read(32)
        size = min(LARGEST, PAGE * int.from_bytes(head[28:32]))  # sqlite.org/fileformat2.html, 1.3
        if file.stat().st_size < size:
            cut.truncate(size)


def _take(database: Database, batch: Batch, floor: int | None) -> None:
    first = database.first()
    if first is None:
        return
    # Nothing in it is younger than the file; its last page may be the one that is lost.
    written = round(database.path.stat().st_mtime * 1000) // QUARTER + 1
    until = written if floor is None else min(floor, written)
    lost = [
        span
        for start in range(first, until, SPAN)
        for span in _bins(database, batch, start, min(start + SPAN, until))
    ]
    batch.holes.update((since * QUARTER, end * QUARTER, "", DAMAGED) for since, end in Spans(lost))
    with contextlib.suppress(StatisticsFailed):
        batch.trust |= {(counter, at): covered for counter, at, covered in database.trust()}
    with contextlib.suppress(StatisticsFailed):
        batch.holes.update(database.holes())
    with contextlib.suppress(StatisticsFailed):
        batch.happenings += database.happenings(0, until * QUARTER)


def _bins(database: Database, batch: Batch, since: int, until: int) -> Iterator[Span]:
    """Take in what can be read; gives the days that cannot."""
    try:
        batch.bins |= database.all_bins(since, until)
    except StatisticsFailed:
        if until - since <= DAY:
            yield since, until
            return
        middle = (since + until) // 2
        yield from _bins(database, batch, since, middle)
        yield from _bins(database, batch, middle, until)
