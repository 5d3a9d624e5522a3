"""Reads the statistics from any process: the file, and on top of it what the journal holds after the file's
cursor. So the figures are current although the file is written once an hour."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from gateway.journal import JournalFailed, JournalReader

from .aggregation import AggregationBatch, Bin, CountingGap, StoredFact
from .database import StatisticsDatabase, connect
from .writer import aggregate_next

MAX_TAIL_ROWS = 4096
"""Rows of the journal that are aggregated when reading; if there are more, the figures are behind."""


class VisitorFigures:
    """The current figures. Calls block: use a thread."""

    def __init__(self, database: StatisticsDatabase, tail: AggregationBatch, *, behind: bool) -> None:
        self._database = database
        self._tail = tail
        self.behind = behind
        """Whether the newest rows of the journal are missing."""

    def close(self) -> None:
        self._database.close()

    def places(self) -> list[str]:
        return sorted({*self._database.places(), *(place for _, place in self._tail.bins)})

    def bins(self, place: str, since: int, until: int) -> list[tuple[int, Bin]]:
        """The counts of a place, of quarters from `since` to before `until`, oldest first."""
        merged = dict(self._database.bins(place, since, until))
        for (at, name), counts in self._tail.bins.items():
            if name == place and since <= at < until:
                merged[at] = merged.get(at, Bin()).plus(counts)
        return sorted(merged.items())

    def totals(self, since: int, until: int) -> dict[str, Bin]:
        """The total of every place, of quarters from `since` to before `until`."""
        totals = self._database.totals(since, until)
        for (at, name), counts in self._tail.bins.items():
            if since <= at < until:
                totals[name] = totals.get(name, Bin()).plus(counts)
        return totals

    def coverage_changes(self) -> dict[str, list[tuple[int, bool]]]:
        """When each counter became trustworthy (true) or ceased to be, oldest first; Unix milliseconds."""
        changes = {(counter, at): covered for counter, at, covered in self._database.coverage_changes()}
        by_counter: dict[str, list[tuple[int, bool]]] = {}
        for (counter, at), covered in sorted((changes | self._tail.coverage_changes).items()):
            by_counter.setdefault(counter, []).append((at, covered))
        return by_counter

    def gaps(self) -> list[CountingGap]:
        """Times in which a counter did not count, or whose counts are lost, oldest first."""
        return sorted({*self._database.gaps(), *self._tail.gaps})

    def stored_facts(self, since: int, until: int) -> list[StoredFact]:
        """Facts from `since` to before `until` (Unix milliseconds), oldest first."""
        fresh = [each for each in self._tail.stored_facts if since <= each.at < until]
        return sorted([*self._database.stored_facts(since, until), *fresh], key=lambda each: each.at)

    def first_quarter(self) -> int | None:
        """The first quarter that has counts."""
        known = [
            at
            for at in (self._database.first_quarter(), *(at for at, _ in self._tail.bins))
            if at is not None
        ]
        return min(known, default=None)

    def undated(self) -> int:
        """How many facts wait until the clock is set."""
        return len(self._database.undated()) + len(self._tail.undated)


async def open_figures(path: Path, journal: Path) -> VisitorFigures:
    """The current figures; without a readable journal, those of the file. Raises `StatisticsFailed`."""
    database = await asyncio.to_thread(connect, path, readonly=True)
    with contextlib.ExitStack() as stack:
        stack.callback(database.close)
        # A commit after the cursor was read would be counted twice.
        database.begin_snapshot()
        cursors = await asyncio.to_thread(database.cursors)
        tail, behind = AggregationBatch(), False
        with contextlib.suppress(JournalFailed):
            async with JournalReader.open(journal) as reader:
                aggregator, behind = await aggregate_next(cursors, reader, MAX_TAIL_ROWS)
                tail = aggregator.batch
        stack.pop_all()
    return VisitorFigures(database, tail, behind=behind)
