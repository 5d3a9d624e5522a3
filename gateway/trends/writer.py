"""Writes the file of trends: a reader of the journal's telemetry lane with a cursor of its own.

It reads each minute, so that no long work is to be done at once, and writes each quarter of an hour, to
spare the SD card. Statistics and cursor are committed together, so a kill loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gateway.base.log import error_text, log_event
from gateway.journal import JournalDamaged, JournalFailed, JournalReader, RecordPack
from gateway.model import Clock, GatewayError, Lane, Record
from gateway.services.timekeeping import Boot, Timekeeping, correct_stamp

from .calendar import Calendar
from .database import TrendDatabase, TrendsDamaged, TrendsFailed, connect, set_aside
from .statistics import QUARTER_MS, TrendCollector, TrendCursor

READ_INTERVAL_S = 60.0
COMMIT_INTERVAL_S = 900.0
RETRY_DELAY_S = 60.0
PACKS_PER_READ = 4
"""So few that nothing else waits for long."""
RECORDS_PER_TURN = 200
PAUSE_PER_WORK = 9.0
"""After each turn it rests so many times as long as that took: a tenth of the time of a computer that has
too much to do is enough for what can be read again."""
ROWS_PER_TRANSACTION = 3600
DEFAULT_HOLD_MS = 185_000
"""For what is not a device: it reports each minute."""


class TrendWriter:
    """Keeps the file up to date while the daemon runs. A failure is logged once, and retried."""

    def __init__(
        self, path: Path, journal: JournalReader, clock: Clock, timezone: str, hold_ms: Mapping[str, float]
    ) -> None:
        """`hold_ms`: by device, for how many milliseconds a value is known at most."""
        self._path = path
        self._journal = journal
        self._clock = clock
        self._calendar = Calendar(timezone)
        self._hold_ms = hold_ms
        self._epoch = ""
        self._collector = TrendCollector(TrendCursor(), {}, self._hold_of)
        self._committed_s = 0.0

    async def run(self) -> None:
        """Run until cancelled. Raises `JournalDamaged`: the daemon's next start salvages the journal."""
        failed = False
        while True:
            try:
                database = await asyncio.to_thread(self._open)
                try:
                    await self._load(database)
                    while True:
                        await self._read(database)
                        if failed:
                            log_event(logging.INFO, "trends-well")
                            failed = False
                        await self._clock.sleep(READ_INTERVAL_S)
                finally:
                    database.close()
            except JournalDamaged:
                raise
            except (TrendsFailed, JournalFailed, OSError) as error:
                if not failed:
                    why = error_text(error.key, **error.facts) if isinstance(error, GatewayError) else error
                    log_event(logging.ERROR, "trends-failed", path=self._path, reason=why)
                    failed = True
            await self._clock.sleep(RETRY_DELAY_S)

    def _open(self) -> TrendDatabase:
        """The file; a damaged one is moved aside, and begun again from what the journal holds."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            database = connect(self._path)
            try:
                database.check_integrity()
            except TrendsFailed:
                database.close()
                raise
        except TrendsDamaged as damage:
            aside = set_aside(self._path)
            log_event(
                logging.ERROR, "trends-damaged", path=self._path, aside=aside, reason=damage.facts["reason"]
            )
            return connect(self._path)
        return database

    async def catch_up(self) -> None:
        """Read and write everything that the journal holds. Raises `TrendsFailed` or `JournalFailed`."""
        database = await asyncio.to_thread(self._open)
        try:
            await self._load(database)
            await self._read(database)
            await self._commit(database)
        finally:
            database.close()

    async def _load(self, database: TrendDatabase) -> None:
        """Go on where the file ends."""
        self._epoch = await self._journal.read_meta("epoch")
        cursors = await asyncio.to_thread(database.cursors)
        held = await asyncio.to_thread(database.held)
        newest_ms = min(
            max((cursor.newest_ms for cursor in cursors.values()), default=0), self._clock.now().wall_ms
        )
        cursor = cursors.get(self._epoch) or TrendCursor(0, newest_ms, newest_ms)
        if await self._journal.last_pos(Lane.TELEMETRY) < cursor.position:
            # The journal was replaced by an older copy of itself.
            cursor = TrendCursor(0, newest_ms, newest_ms)
        self._collector = TrendCollector(cursor, held, self._hold_of)
        self._committed_s = self._clock.mono()

    def _hold_of(self, device: str) -> float:
        return self._hold_ms.get(device, DEFAULT_HOLD_MS)

    async def _read(self, database: TrendDatabase) -> None:
        """Read what is new, and write it where that is due."""
        boots = await self._boots()
        collector, rows = self._collector, 0
        while packs := await self._journal.read_after(
            Lane.TELEMETRY, collector.cursor.position, PACKS_PER_READ
        ):
            for pack in packs:
                timed = self._timed(pack, boots)
                if timed is None:
                    return
                for first in range(0, max(1, len(timed)), RECORDS_PER_TURN):
                    began = self._clock.mono()
                    collector.add_row(pack.pos, timed[first : first + RECORDS_PER_TURN])
                    worked_s = self._clock.mono() - began
                    await asyncio.sleep(0)
                    if worked_s:
                        await self._clock.sleep(PAUSE_PER_WORK * worked_s)
            rows += len(packs)
            if rows % ROWS_PER_TRANSACTION < PACKS_PER_READ:
                await self._commit(database)
            await self._commit_if_due(database)
        await self._commit_if_due(database)

    async def _commit_if_due(self, database: TrendDatabase) -> None:
        if self._clock.mono() - self._committed_s >= COMMIT_INTERVAL_S:
            await self._commit(database)

    async def _boots(self) -> dict[str, Boot]:
        """What the journal knows of the clock of each boot."""
        rows = await self._journal.service_rows(Timekeeping.name)
        return {key: msgspec.msgpack.decode(body, type=Boot) for key, body in rows.items()}

    def _timed(self, pack: RecordPack, boots: Mapping[str, Boot]) -> list[tuple[Record, int | None]] | None:
        """The records with their times; None while the clock of this boot is not set: then they must
        wait."""
        timed: list[tuple[Record, int | None]] = []
        for record in pack.records:
            at = correct_stamp(boots, record.at)
            if not at.is_set and at.boot == self._clock.now().boot:
                return None
            timed.append((record, at.wall_if_set))
        return timed

    def _apply(self, database: TrendDatabase) -> None:
        collector = self._collector
        collector.count_until(collector.cursor.newest_ms)
        bins = collector.take_bins()
        database.apply(bins, collector.held, self._epoch, collector.cursor, self._calendar)

    async def _commit(self, database: TrendDatabase) -> None:
        # With thousands of devices, all of it takes long.
        await asyncio.to_thread(self._apply, database)
        self._committed_s, now = self._clock.mono(), self._clock.now()
        if now.is_set:
            today = self._calendar.day_of(now.wall_ms // QUARTER_MS)
            await asyncio.to_thread(database.make_room, today, self._calendar)
