"""Writes the statistics file: a reader of the journal's event lane with a cursor of its own.

It runs at the start and then once an hour, to spare the SD card; readers in between aggregate the rest of
the journal themselves (`reader.py`). Bins and cursor are committed together, so a kill loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from math import inf
from pathlib import Path

import msgspec

from gateway.base.log import error_text, log_event
from gateway.journal import JournalDamaged, JournalFailed, JournalReader
from gateway.model import GATEWAY_DEVICE, Clock, Fact, GatewayError, Lane, Stamp
from gateway.services.timekeeping import Boot, Timekeeping, correct_stamp

from .aggregation import GATEWAY_DOWN, Aggregator, CorrectStamp, Cursor
from .database import (
    SUFFIXES,
    StatisticsDamaged,
    StatisticsDatabase,
    StatisticsFailed,
    connect,
    finish_replacement,
    replace_damaged,
    replacement_path,
)
from .recovery import first_complete_quarter, salvage

COMMIT_INTERVAL_S = 3600.0
"""The journal keeps records many times as long."""
RETRY_DELAY_S = 60.0

ROWS_PER_TRANSACTION, ROWS_PER_READ = 512, 16

MIN_DOWNTIME_S = 60.0
"""A shorter time between the last record and a start is no downtime."""


async def maintain_statistics(path: Path, journal: JournalReader, clock: Clock) -> None:
    """Keep the file up to date while the daemon runs. A write failure is logged once and retried. Raises
    `JournalDamaged`: the daemon's next start salvages the journal."""
    failed = False
    while True:
        try:
            async with _open_database(path, journal) as database:
                while True:
                    await catch_up(database, journal)
                    if failed:
                        log_event(logging.INFO, "statistics-well")
                        failed = False
                    await clock.sleep(COMMIT_INTERVAL_S)
        except JournalDamaged:
            raise
        except (StatisticsFailed, JournalFailed, OSError) as error:
            if not failed:
                why = error_text(error.key, **error.facts) if isinstance(error, GatewayError) else error
                log_event(logging.ERROR, "statistics-failed", path=path, reason=why)
                failed = True
        await clock.sleep(RETRY_DELAY_S)


@contextlib.asynccontextmanager
async def _open_database(path: Path, journal: JournalReader) -> AsyncIterator[StatisticsDatabase]:
    """Open the file. A damaged one is moved aside and replaced by a new file, filled from the journal and,
    for older quarters, from what can be read of the damaged file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        database = await asyncio.to_thread(_open_checked, path)
    except StatisticsDamaged as damage:
        first_complete = await first_complete_quarter(journal, await _stamp_corrector(journal))
        aside = await asyncio.to_thread(
            _rebuild_damaged, path, first_complete, await journal.read_meta("epoch")
        )
        log_event(
            logging.ERROR, "statistics-damaged", path=path, aside=aside, reason=damage.facts["reason"]
        )
        database = await asyncio.to_thread(connect, path)
    try:
        yield database
    finally:
        database.close()


def _open_checked(path: Path) -> StatisticsDatabase:
    finish_replacement(path)
    database = connect(path)
    with contextlib.ExitStack() as stack:
        stack.callback(database.close)
        database.check_integrity()
        stack.pop_all()
    return database


def _rebuild_damaged(path: Path, first_complete: int | None, epoch: str) -> Path:
    for suffix in SUFFIXES:
        replacement_path(path).with_name(replacement_path(path).name + suffix).unlink(missing_ok=True)
    with contextlib.closing(connect(replacement_path(path))) as database:
        database.apply(salvage(path, first_complete, epoch))
    return replace_damaged(path)


async def catch_up(database: StatisticsDatabase, journal: JournalReader) -> None:
    """Aggregate all that the journal holds after the cursor, each batch in one transaction with its
    cursor."""
    more = True
    while more:
        cursors = await asyncio.to_thread(database.cursors)
        undated = await asyncio.to_thread(database.undated)
        aggregator, more = await aggregate_next(cursors, journal, ROWS_PER_TRANSACTION)
        dated = aggregator.add_undated(undated)
        if aggregator.batch.cursors or dated:
            await asyncio.to_thread(database.apply, aggregator.batch, dated)


async def aggregate_next(
    cursors: Mapping[str, Cursor], journal: JournalReader, max_rows: int
) -> tuple[Aggregator, bool]:
    """Aggregate the next rows of the journal, about `max_rows`; returns whether there may be more."""
    aggregator = Aggregator(await journal.read_meta("epoch"), cursors, await _stamp_corrector(journal))
    if await journal.last_pos(Lane.EVENT) < aggregator.cursor.position:
        aggregator.restart_from_first_row()
    after, count = aggregator.cursor.position, 0
    while packs := await journal.read_after(Lane.EVENT, after, ROWS_PER_READ):
        for pack in packs:
            aggregator.add_row(pack.pos, pack.records)
        after, count = packs[-1].pos, count + len(packs)
        if count >= max_rows:
            break
    # Without a cursor none of the rows was readable: trying again would not end.
    return aggregator, bool(packs and aggregator.batch.cursors)


async def _stamp_corrector(journal: JournalReader) -> CorrectStamp:
    """A function that corrects stamps by what the journal knows of each boot."""
    rows = await journal.service_rows(Timekeeping.name)
    boots = {key: msgspec.msgpack.decode(body, type=Boot) for key, body in rows.items()}
    return lambda at: correct_stamp(boots, at)


async def detect_downtime(journal: JournalReader, now: Stamp) -> Fact | None:
    """At the start: the fact that says since when the gateway had not been running, or None."""
    packs = await journal.read_before(Lane.TELEMETRY, await journal.last_pos(Lane.TELEMETRY) + 1, 1)
    if not packs or not packs[0].records:
        return None
    last = (await _stamp_corrector(journal))(packs[0].records[-1].at)
    if not last.is_set or now.seconds_since(last, if_unknown=inf) < MIN_DOWNTIME_S:
        return None
    return Fact(Lane.EVENT, GATEWAY_DEVICE, GATEWAY_DOWN, now, {"since": last.wall_ms})
