"""Ten years of visitor statistics: size on disk, bytes written to the card, speed of queries."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

from subjects import Extent, Figures, on_the_daemons_core

from gateway.base.clock import SystemClock
from gateway.capabilities.visitors.services import facts
from gateway.capabilities.visitors.statistics import Figures as Seen
from gateway.capabilities.visitors.statistics import look, writer
from gateway.capabilities.visitors.statistics.analysis import Analyst
from gateway.capabilities.visitors.statistics.database import Database, connect
from gateway.capabilities.visitors.statistics.export import sheets
from gateway.capabilities.visitors.statistics.fold import Batch, Bin
from gateway.capabilities.visitors.statistics.terms import Centre, period
from gateway.capabilities.visitors.statistics.wording import Wording
from gateway.capabilities.visitors.statistics.workbook import write
from gateway.journal import Journal, Reader
from gateway.model import ClockQuality, Stamp

DOORS, YEARS = 10, 10
ZONE = ZoneInfo("Asia/Shanghai")
FIRST = date(2017, 1, 1)
OPEN = range(28, 90)
"""Quarters of the day in which people pass each door: from 7:00 to 22:30."""


def statistics(extent: Extent) -> Figures:
    """Ten doors and a room, each passed in each quarter of each day."""
    years = max(1, round(YEARS * extent.part))
    with on_the_daemons_core(), TemporaryDirectory(dir="/var/tmp") as folder:
        file = Path(folder) / "statistics.db"
        dice = random.Random(1)
        database = connect(file)
        for year in range(years):
            _live(database, FIRST + timedelta(days=365 * year), 365, dice)
        database.close()
        size = file.stat().st_size
        figures: Figures = {
            "file_mb": size * YEARS / years / 1e6,
            "mb_per_door_and_year": size / years / DOORS / 1e6,
        }
        seen = asyncio.run(look(file, Path(folder) / "none.db"))
        last = FIRST + timedelta(days=365 * years - 10)
        analyst = Analyst(seen, _centre(), _quarter(last, 96) * 900)
        for unit in ("day", "month", "year"):
            figures[f"{unit}_ms"] = 1000 * min(
                _timed(lambda unit=unit: analyst.analyse("centre", period(unit, last))) for _ in range(3)
            )
        figures["workbook_s"] = _timed(lambda: _book(seen, analyst, last, Path(folder)))
        seen.close()
        journal = Path(folder) / "journal.db"
        count = asyncio.run(_crossings(journal, round(100_000 * extent.part)))
        figures["facts_per_second"] = count / _timed(
            lambda: asyncio.run(_catch_up(journal, Path(folder) / "fresh.db"))
        )
        figures["written_mb_per_day"] = _day_of_hours(file, last + timedelta(days=20), dice) / 1e6
    return figures


def _live(database: Database, first: date, days: int, dice: random.Random) -> None:
    batch = Batch()
    for number in range(days):
        start = _quarter(first + timedelta(days=number), 0)
        for quarter in OPEN:
            _pass(batch, start + quarter, dice)
    database.apply(batch)


def _pass(batch: Batch, at: int, dice: random.Random) -> None:
    whole = Bin()
    for door in range(DOORS):
        passed = Bin(dice.randrange(1, 30), dice.randrange(1, 30), dice.randrange(50) // 49)
        batch.bins[at, f"door.{door}"] = passed
        whole = whole.plus(passed)
    batch.bins[at, "centre"] = batch.bins[at, "room.hall"] = whole


def _quarter(day: date, quarter: int) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=ZONE).timestamp()) // 900 + quarter


def _centre() -> Centre:
    doors = {f"door.{door}": (str(door),) for door in range(DOORS)}
    return Centre(timezone=ZONE.key, doors=doors, places={"centre": tuple(doors)})


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _book(seen: Seen, analyst: Analyst, day: date, folder: Path) -> None:
    analysis, wording = analyst.analyse("centre", period("year", day)), Wording("zh", _centre())
    write(folder / "book.xlsx", sheets(analyst, analysis, wording), "2026")


async def _crossings(path: Path, count: int) -> int:
    """Facts in groups of ten, as from ten doors."""
    dice = random.Random(2)
    start = _quarter(FIRST, 0) * 900_000
    async with Journal.open(path, SystemClock()) as journal:
        for number in range(0, count, 10):
            at = Stamp(start + number * 1000, number * 10**9, "bench", ClockQuality.SYNCED)
            passed = [facts.crossing(str(door), at, dice.randrange(3), 1) for door in range(DOORS)]
            journal.append("", passed, {})
            await journal.commit()
    return count


async def _catch_up(journal: Path, file: Path) -> None:
    database = connect(file)
    async with Reader.open(journal) as reader:
        await writer.catch_up(database, reader)
    database.close()


def _day_of_hours(file: Path, day: date, dice: random.Random) -> float:
    """Bytes that a day of hourly commits writes, including the log and its checkpoint."""
    database = connect(file)
    before = _written()
    for hour in range(24):
        batch = Batch()
        for quarter in range(4 * hour, 4 * hour + 4):
            if quarter in OPEN:
                _pass(batch, _quarter(day, quarter), dice)
        if batch.bins:
            database.apply(batch)
    database.close()
    return _written() - before


def _written() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"])


YEARLY: dict[str, Callable[[Extent], Figures]] = {"statistics": statistics}
