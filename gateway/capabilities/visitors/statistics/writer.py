"""Keeping the statistics file: a reader of the journal's event lane with a cursor of its own.

It reads once an hour (a card bears only so many writes) and at the start; who looks in between folds the
rest of the journal for themselves (`reader.py`). A kill costs nothing: the cursor moves with the bins.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec

from gateway.base.log import error_text, log_event
from gateway.journal import JournalDamaged, JournalFailed, Reader
from gateway.model import GATEWAY, Clock, ClockQuality, Fact, GatewayError, Lane, Stamp, elapsed
from gateway.services.timekeeping import Boot, Timekeeping, correct

from .aggregation import GATEWAY_DOWN, Aggregator, CorrectStamp, Cursor
from .database import (
    SUFFIXES,
    Database,
    StatisticsDamaged,
    StatisticsFailed,
    connect,
    finish_replacement,
    replace_damaged,
    replacement_path,
)
from .recovery import first_complete_quarter, salvage

COMMIT_INTERVAL_S = 3600.0
"""Seconds between two commits; the journal keeps what is younger many times as long."""
RETRY_DELAY_S = 60.0
"""Seconds until a file that failed is tried again."""
ROWS_PER_TRANSACTION, ROWS_PER_READ = 512, 16
"""Rows of the journal in one transaction, and read at a time."""
MIN_DOWNTIME_S = 60.0
"""Seconds between two signs of life after which nobody has been counting."""


async def maintain_statistics(path: Path, journal: Reader, clock: Clock) -> None:
    """Keep the file for as long as the daemon runs. One that cannot be written is told of once, and tried
    again. Raises `JournalDamaged`: the daemon's next start takes over what is sound."""
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
async def _open_database(path: Path, journal: Reader) -> AsyncIterator[Database]:
    """The file, whole. A damaged one is put aside, and begun anew from what the journal still holds, and
    from what can be read of it where that is older."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        database = await asyncio.to_thread(_open_checked, path)
    except StatisticsDamaged as damage:
        first_complete = await first_complete_quarter(journal, await _stamp_corrector(journal))
        aside = await asyncio.to_thread(_rebuild_damaged, path, first_complete, await journal.meta("epoch"))
        log_event(
            logging.ERROR, "statistics-damaged", path=path, aside=aside, reason=damage.facts["reason"]
        )
        database = await asyncio.to_thread(connect, path)
    try:
        yield database
    finally:
        database.close()


def _open_checked(path: Path) -> Database:
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


async def catch_up(database: Database, journal: Reader) -> None:
    """Fold all that the journal holds after the cursor, each batch in one transaction with it."""
    more = True
    while more:
        cursors = await asyncio.to_thread(database.cursors)
        undated = await asyncio.to_thread(database.undated)
        aggregator, more = await aggregate_next(cursors, journal, ROWS_PER_TRANSACTION)
        dated = aggregator.add_undated(undated)
        if aggregator.batch.cursors or dated:
            await asyncio.to_thread(database.apply, aggregator.batch, dated)


async def aggregate_next(
    cursors: Mapping[str, Cursor], journal: Reader, max_rows: int
) -> tuple[Aggregator, bool]:
    """Fold the next rows of the journal, `max_rows` or a few more, and say whether there may be others."""
    aggregator = Aggregator(await journal.meta("epoch"), cursors, await _stamp_corrector(journal))
    if await journal.last(Lane.EVENT) < aggregator.cursor.position:
        aggregator.restart_from_first_row()
    after, count = aggregator.cursor.position, 0
    while packs := await journal.read(Lane.EVENT, after, ROWS_PER_READ):
        for pack in packs:
            aggregator.add_row(pack.pos, pack.records)
        after, count = packs[-1].pos, count + len(packs)
        if count >= max_rows:
            break
    # Without a cursor not one of them could be read: the same again would be no better.
    return aggregator, bool(packs and aggregator.batch.cursors)


async def _stamp_corrector(journal: Reader) -> CorrectStamp:
    """Makes the best of a stamp, by what the journal knows of each boot."""
    rows = await journal.state(Timekeeping.name)
    boots = {key: msgspec.msgpack.decode(body, type=Boot) for key, body in rows.items()}
    return lambda at: correct(boots, at)


async def detect_downtime(journal: Reader, now: Stamp) -> Fact | None:
    """Since when there has been no sign of life, if nobody was counting for a while; of the start."""
    packs = await journal.before(Lane.TELEMETRY, await journal.last(Lane.TELEMETRY) + 1, 1)
    if not packs or not packs[0].records:
        return None
    last = (await _stamp_corrector(journal))(packs[0].records[-1].at)
    seconds = elapsed(last, now)
    if last.clock is ClockQuality.UNSET or (seconds is not None and seconds < MIN_DOWNTIME_S):
        return None
    return Fact(Lane.EVENT, GATEWAY, GATEWAY_DOWN, now, {"since": last.wall})
