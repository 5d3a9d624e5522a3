"""Keeping the statistics file: a reader of the journal's event lane with a cursor of its own.

It reads once an hour (a card bears only so many writes) and at the start; who looks in between folds the
rest of the journal for themselves (`reader.py`). A kill costs nothing: the cursor moves with the bins.
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
from gateway.journal import JournalDamaged, JournalFailed, Reader
from gateway.model import GATEWAY, Clock, Fact, GatewayError, Lane, Stamp
from gateway.services.timekeeping import Boot, Timekeeping, correct_stamp

from .database import (
    SUFFIXES,
    Database,
    StatisticsDamaged,
    StatisticsFailed,
    connect,
    exchange,
    finish,
    fresh,
)
from .fold import AWAY, Correct, Cursor, Fold
from .rescue import complete_from, take_over

EVERY = 3600.0
"""Seconds between two commits; the journal keeps what is younger many times as long."""
AGAIN = 60.0
"""Seconds until a file that failed is tried again."""
ROWS, STEP = 512, 16
"""Rows of the journal in one transaction, and read at a time."""
ABSENT = 60.0
"""Seconds between two signs of life after which nobody has been counting."""


async def keep(path: Path, journal: Reader, clock: Clock) -> None:
    """Keep the file for as long as the daemon runs. One that cannot be written is told of once, and tried
    again. Raises `JournalDamaged`: the daemon's next start takes over what is sound."""
    told = False
    while True:
        try:
            async with _open(path, journal) as database:
                while True:
                    await catch_up(database, journal)
                    if told:
                        log_event(logging.INFO, "statistics-well")
                        told = False
                    await clock.sleep(EVERY)
        except JournalDamaged:
            raise
        except (StatisticsFailed, JournalFailed, OSError) as error:
            if not told:
                why = error_text(error.key, **error.facts) if isinstance(error, GatewayError) else error
                log_event(logging.ERROR, "statistics-failed", path=path, reason=why)
                told = True
        await clock.sleep(AGAIN)


@contextlib.asynccontextmanager
async def _open(path: Path, journal: Reader) -> AsyncIterator[Database]:
    """The file, whole. A damaged one is put aside, and begun anew from what the journal still holds, and
    from what can be read of it where that is older."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        database = await asyncio.to_thread(_sound, path)
    except StatisticsDamaged as damage:
        floor = await complete_from(journal, await _corrector(journal))
        aside = await asyncio.to_thread(_replace, path, floor, await journal.meta("epoch"))
        log_event(
            logging.ERROR, "statistics-damaged", path=path, aside=aside, reason=damage.facts["reason"]
        )
        database = await asyncio.to_thread(connect, path)
    try:
        yield database
    finally:
        database.close()


def _sound(path: Path) -> Database:
    finish(path)
    database = connect(path)
    with contextlib.ExitStack() as stack:
        stack.callback(database.close)
        database.check()
        stack.pop_all()
    return database


def _replace(path: Path, floor: int | None, epoch: str) -> Path:
    for suffix in SUFFIXES:
        fresh(path).with_name(fresh(path).name + suffix).unlink(missing_ok=True)
    with contextlib.closing(connect(fresh(path))) as database:
        database.apply(take_over(path, floor, epoch))
    return exchange(path)


async def catch_up(database: Database, journal: Reader) -> None:
    """Fold all that the journal holds after the cursor, each batch in one transaction with it."""
    more = True
    while more:
        cursors = await asyncio.to_thread(database.cursors)
        undated = await asyncio.to_thread(database.undated)
        fold, more = await read_on(cursors, journal, ROWS)
        settled = fold.settle(undated)
        if fold.batch.cursors or settled:
            await asyncio.to_thread(database.apply, fold.batch, settled)


async def read_on(cursors: Mapping[str, Cursor], journal: Reader, most: int) -> tuple[Fold, bool]:
    """Fold the next rows of the journal, `most` or a few more, and say whether there may be others."""
    fold = Fold(await journal.meta("epoch"), cursors, await _corrector(journal))
    if await journal.last(Lane.EVENT) < fold.cursor.pos:
        fold.start_over()
    after, count = fold.cursor.pos, 0
    while packs := await journal.read(Lane.EVENT, after, STEP):
        for pack in packs:
            fold.take(pack.pos, pack.records)
        after, count = packs[-1].pos, count + len(packs)
        if count >= most:
            break
    # Without a cursor not one of them could be read: the same again would be no better.
    return fold, bool(packs and fold.batch.cursors)


async def _corrector(journal: Reader) -> Correct:
    """Makes the best of a stamp, by what the journal knows of each boot."""
    rows = await journal.state(Timekeeping.name)
    boots = {key: msgspec.msgpack.decode(body, type=Boot) for key, body in rows.items()}
    return lambda at: correct_stamp(boots, at)


async def absence(journal: Reader, now: Stamp) -> Fact | None:
    """Since when there has been no sign of life, if nobody was counting for a while; of the start."""
    packs = await journal.before(Lane.TELEMETRY, await journal.last(Lane.TELEMETRY) + 1, 1)
    if not packs or not packs[0].records:
        return None
    last = (await _corrector(journal))(packs[0].records[-1].at)
    if not last.is_set or now.seconds_since(last, unknown=inf) < ABSENT:
        return None
    return Fact(Lane.EVENT, GATEWAY, AWAY, now, {"since": last.wall})
