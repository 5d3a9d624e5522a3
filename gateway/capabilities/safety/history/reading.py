"""Reads the history from the journal, newest first, as much as is asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.journal import JournalReader
from gateway.model import Lane, Record, Stamp
from gateway.services.timekeeping import Boot, Timekeeping, correct_stamp

from ..services.alarms import Safety
from ..services.alarms.episodes import AlarmEpisode, EpisodeCollector, Position

PACKS_PER_READ = 128
STRIDE = 2048
"""Positions from one look at the time to the next, on the way to a time."""
PACKS_PROBED = 8
"""Rows that are tried for a look at the time: one may be damaged."""
MAX_SCANNED = 300_000
"""Records that a query of a page reads at most."""
IN_A_ROW = 5000
"""After this many records from beyond a time, one after the other, none from before it is expected: the
clock may have been set once, but not that often."""


class HistoryRecord(NamedTuple):
    """A record with its place in its lane, and the time at which it was made, corrected."""

    pos: Position
    at: Stamp
    record: Record


class History:
    """Queries of one open journal. Times are Unix milliseconds."""

    def __init__(
        self,
        reader: JournalReader,
        standing: frozenset[str],
        correct: Callable[[Stamp], Stamp],
        max_scanned: int,
    ) -> None:
        self._reader = reader
        self._max_scanned = max_scanned
        self._standing = standing
        self._correct = correct
        self.undated = 0
        """Records of unknown time that were left out."""
        self.scanned_until: Stamp | None = None
        """Where the last query gave up; None if it came to an end."""

    @staticmethod
    @asynccontextmanager
    async def open(journal: Path, max_scanned: int = MAX_SCANNED) -> AsyncIterator[History]:
        """`max_scanned`: how many records a query reads at most. Raises `JournalFailed`."""
        async with JournalReader.open(journal) as reader:
            rows = await reader.service_rows(Timekeeping.name)
            boots = {key: msgspec.msgpack.decode(body, type=Boot) for key, body in rows.items()}
            alarms = (await reader.service_rows(Safety.name)).values()
            standing = (msgspec.msgpack.decode(body, type=Safety.row) for body in alarms)
            yield History(
                reader,
                frozenset(alarm.id for alarm in standing),
                lambda at: correct_stamp(boots, at),
                max_scanned,
            )

    async def episodes(
        self, since_ms: int, until_ms: int, before: Position | None = None
    ) -> AsyncGenerator[AlarmEpisode, None]:
        """The alarms raised from `since_ms` until before `until_ms`, and before a position, drills
        included.

        All records of later alarms are read too: what has become of these alarms is among them.
        """
        collector = EpisodeCollector(self._standing, self._correct)
        async for pos, at, record in self._newest_first(Lane.ALARM, None, since_ms):
            episode = collector.add_record(pos, record)
            if episode is None or (before is not None and pos >= before):
                continue
            if not at.is_set:
                self.undated += 1
            elif since_ms <= at.wall_ms < until_ms:
                yield episode

    async def records(
        self, lane: Lane, since_ms: int, until_ms: int, before: Position | None = None
    ) -> AsyncGenerator[HistoryRecord, None]:
        """The records of a lane made from `since_ms` until before `until_ms`, and before a position."""
        start = before or (await self._end_before(lane, until_ms), 0)
        async for found in self._newest_first(lane, start, since_ms):
            if not found.at.is_set:
                self.undated += 1
            elif since_ms <= found.at.wall_ms < until_ms:
                yield found

    async def records_onward(self, lane: Lane, since_ms: int, until_ms: int) -> AsyncIterator[Record]:
        """The records of a lane, oldest first, with corrected stamps: all that were made from `since_ms`
        until before `until_ms`, some of before and after, and those of unknown time among them."""
        after = await self._start_after(lane, since_ms)
        newer = 0
        while packs := await self._reader.read_after(lane, after, PACKS_PER_READ):
            for record in (record for pack in packs for record in pack.records):
                at = self._correct(record.at)
                newer = newer + 1 if at.is_set and at.wall_ms >= until_ms else 0
                if newer >= IN_A_ROW:
                    return
                yield msgspec.structs.replace(record, at=at)
            after = packs[-1].pos

    async def beginning_ms(self) -> int | None:
        """When the oldest record was made that is still here; None without any."""
        times = []
        for lane in Lane:
            for pack in await self._reader.read_after(lane, 0, 1):
                times += [self._correct(record.at) for record in pack.records[:1]]
        return min((at.wall_ms for at in times if at.is_set), default=None)

    async def _newest_first(
        self, lane: Lane, before: Position | None, since_ms: int
    ) -> AsyncGenerator[HistoryRecord, None]:
        """The records before a position, until those from before `since_ms` begin."""
        end = before or (await self._reader.last_pos(lane) + 1, 0)
        scanned = older = 0
        next_pos = end[0] + 1
        self.scanned_until = None
        while packs := await self._reader.read_before(lane, next_pos, PACKS_PER_READ):
            for pack in packs:
                for index in reversed(range(len(pack.records))):
                    if (pack.pos, index) >= end:
                        continue
                    record = pack.records[index]
                    at = self._correct(record.at)
                    scanned += 1
                    older = older + 1 if at.is_set and at.wall_ms < since_ms else 0
                    if older >= IN_A_ROW:
                        return
                    if scanned > self._max_scanned:
                        self.scanned_until = at
                        return
                    yield HistoryRecord((pack.pos, index), at, record)
            next_pos = packs[-1].pos

    async def _end_before(self, lane: Lane, until_ms: int) -> int:
        """A position after which no record of a lane is from before a time: in strides from the newest one,
        so that a clock that was ahead long ago hides nothing."""
        pos = await self._reader.last_pos(lane) + 1
        while pos > STRIDE:
            time = await self._time_before(lane, pos - STRIDE)
            if time is None or time < until_ms:
                break
            pos -= STRIDE
        return pos

    async def _start_after(self, lane: Lane, since_ms: int) -> int:
        """A position before which no record of a lane is from after a time: in strides from the oldest one,
        so that a clock that was behind later hides nothing."""
        oldest = await self._reader.read_after(lane, 0, 1)
        pos, last = (oldest[0].pos - 1 if oldest else 0), await self._reader.last_pos(lane)
        while pos + STRIDE <= last:
            time = await self._time_before(lane, pos + STRIDE + 1)
            if time is None or time >= since_ms:
                break
            pos += STRIDE
        return pos

    async def _time_before(self, lane: Lane, pos: int) -> int | None:
        """When the last record before a position was made; None if that is not known."""
        for pack in await self._reader.read_before(lane, pos, PACKS_PROBED):
            if pack.records:
                return self._correct(pack.records[-1].at).wall_if_set
        return None
