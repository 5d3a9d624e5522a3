"""Looking at the statistics, from any process: the file, and on top of it what the journal has beyond its
cursor. So the figures are of this moment although the file is written once an hour."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from gateway.journal import JournalFailed, Reader

from .aggregation import Batch, Bin, CountingGap, StoredFact
from .database import Database, connect
from .writer import aggregate_next

MAX_TAIL_ROWS = 4096
"""Rows of the journal that somebody who looks folds themselves; with more, the file is behind."""


class Figures:
    """What is known at this moment. Calls block: use a thread."""

    def __init__(self, database: Database, tail: Batch, *, behind: bool) -> None:
        self._database = database
        self._tail = tail
        self.behind = behind
        """Whether the latest of the journal is missing."""

    def close(self) -> None:
        self._database.close()

    def places(self) -> list[str]:
        return sorted({*self._database.places(), *(place for _, place in self._tail.bins)})

    def bins(self, place: str, since: int, until: int) -> list[tuple[int, Bin]]:
        """What a place has, of quarters from `since` to before `until`, oldest first."""
        merged = dict(self._database.bins(place, since, until))
        for (at, name), counts in self._tail.bins.items():
            if name == place and since <= at < until:
                merged[at] = merged.get(at, Bin()).plus(counts)
        return sorted(merged.items())

    def totals(self, since: int, until: int) -> dict[str, Bin]:
        """What every place has in all of that time."""
        totals = self._database.totals(since, until)
        for (at, name), counts in self._tail.bins.items():
            if since <= at < until:
                totals[name] = totals.get(name, Bin()).plus(counts)
        return totals

    def coverage_changes(self) -> dict[str, list[tuple[int, bool]]]:
        """When each counter began or ceased to be trustworthy, oldest first; Unix milliseconds."""
        changes = {(counter, at): covered for counter, at, covered in self._database.coverage_changes()}
        by_counter: dict[str, list[tuple[int, bool]]] = {}
        for (counter, at), covered in sorted((changes | self._tail.coverage_changes).items()):
            by_counter.setdefault(counter, []).append((at, covered))
        return by_counter

    def gaps(self) -> list[CountingGap]:
        """Times in which a counter did not count, or whose counts are lost."""
        return sorted({*self._database.gaps(), *self._tail.gaps})

    def stored_facts(self, since: int, until: int) -> list[StoredFact]:
        """Facts of a time in Unix milliseconds, oldest first."""
        fresh = [each for each in self._tail.stored_facts if since <= each.at < until]
        return sorted([*self._database.stored_facts(since, until), *fresh], key=lambda each: each.at)

    def first_quarter(self) -> int | None:
        """The first quarter that holds anything."""
        known = [
            at
            for at in (self._database.first_quarter(), *(at for at, _ in self._tail.bins))
            if at is not None
        ]
        return min(known, default=None)

    def undated(self) -> int:
        """Facts that wait for a clock to be set."""
        return len(self._database.undated()) + len(self._tail.undated)


async def open_figures(path: Path, journal: Path) -> Figures:
    """The figures of this moment; without a journal, those of the file. Raises `StatisticsFailed`."""
    database = await asyncio.to_thread(connect, path, readonly=True)
    with contextlib.ExitStack() as stack:
        stack.callback(database.close)
        # What is committed after the cursor was read must not be seen: it would count twice.
        database.begin_snapshot()
        cursors = await asyncio.to_thread(database.cursors)
        tail, behind = Batch(), False
        with contextlib.suppress(JournalFailed):
            async with Reader.open(journal) as reader:
                aggregator, behind = await aggregate_next(cursors, reader, MAX_TAIL_ROWS)
                tail = aggregator.batch
        stack.pop_all()
    return Figures(database, tail, behind=behind)
