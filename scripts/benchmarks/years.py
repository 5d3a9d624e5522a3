"""Visitor statistics of ten years: file size, writes to the storage card, and speed of the analysis."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

from subjects import Figures, Workload, on_the_daemons_core

from gateway.base.clock import SystemClock
from gateway.capabilities.visitors.services import facts
from gateway.capabilities.visitors.statistics import VisitorFigures as Seen
from gateway.capabilities.visitors.statistics import open_figures, writer
from gateway.capabilities.visitors.statistics.aggregation import AggregationBatch, Bin
from gateway.capabilities.visitors.statistics.analysis import Analyst
from gateway.capabilities.visitors.statistics.database import StatisticsDatabase, connect
from gateway.capabilities.visitors.statistics.export import workbook_tables
from gateway.capabilities.visitors.statistics.formatting import Formatter
from gateway.capabilities.visitors.statistics.results import CentreLayout, period_containing
from gateway.journal import Journal, JournalReader
from gateway.model import ClockQuality, Stamp
from gateway.web.workbook import write_workbook

DOOR_COUNT, YEAR_COUNT = 10, 10
ZONE = ZoneInfo("Asia/Shanghai")
FIRST_DAY = date(2017, 1, 1)
OPEN_QUARTERS = range(28, 90)
"""Quarter hours of the day with visitors: from 7:00 to 22:30."""


def statistics(workload: Workload) -> Figures:
    """Ten doors and a room, with visitors in each open quarter hour."""
    years = max(1, round(YEAR_COUNT * workload.time_factor))
    with on_the_daemons_core(), TemporaryDirectory(dir="/var/tmp") as folder:
        file = Path(folder) / "statistics.db"
        dice = random.Random(1)
        database = connect(file)
        for year in range(years):
            _add_days(database, FIRST_DAY + timedelta(days=365 * year), 365, dice)
        database.close()
        size = file.stat().st_size
        figures: Figures = {
            "file_mb": size * YEAR_COUNT / years / 1e6,
            "mb_per_door_and_year": size / years / DOOR_COUNT / 1e6,
        }
        seen = asyncio.run(open_figures(file, Path(folder) / "none.db"))
        last = FIRST_DAY + timedelta(days=365 * years - 10)
        analyst = Analyst(seen, _centre(), _quarter(last, 96) * 900)
        for unit in ("day", "month", "year"):
            figures[f"{unit}_ms"] = 1000 * min(
                _timed(lambda unit=unit: analyst.analyse("centre", period_containing(unit, last)))
                for _ in range(3)
            )
        figures["workbook_s"] = _timed(lambda: _write_workbook(seen, analyst, last, Path(folder)))
        seen.close()
        journal = Path(folder) / "journal.db"
        count = asyncio.run(_crossings(journal, round(100_000 * workload.time_factor)))
        figures["facts_per_second"] = count / _timed(
            lambda: asyncio.run(_catch_up(journal, Path(folder) / "fresh.db"))
        )
        figures["written_mb_per_day"] = _bytes_per_day(file, last + timedelta(days=20), dice) / 1e6
    return figures


def _add_days(database: StatisticsDatabase, first: date, days: int, dice: random.Random) -> None:
    batch = AggregationBatch()
    for number in range(days):
        start = _quarter(first + timedelta(days=number), 0)
        for quarter in OPEN_QUARTERS:
            _add_quarter(batch, start + quarter, dice)
    database.apply(batch)


def _add_quarter(batch: AggregationBatch, at: int, dice: random.Random) -> None:
    whole = Bin()
    for door in range(DOOR_COUNT):
        passed = Bin(dice.randrange(1, 30), dice.randrange(1, 30), dice.randrange(50) // 49)
        batch.bins[at, f"door.{door}"] = passed
        whole = whole.plus(passed)
    batch.bins[at, "centre"] = batch.bins[at, "room.hall"] = whole


def _quarter(day: date, quarter: int) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=ZONE).timestamp()) // 900 + quarter


def _centre() -> CentreLayout:
    doors = {f"door.{door}": (str(door),) for door in range(DOOR_COUNT)}
    return CentreLayout(timezone=ZONE.key, doors=doors, places={"centre": tuple(doors)})


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _write_workbook(seen: Seen, analyst: Analyst, day: date, folder: Path) -> None:
    analysis, formatter = (
        analyst.analyse("centre", period_containing("year", day)),
        Formatter("zh", _centre()),
    )
    write_workbook(folder / "book.xlsx", workbook_tables(analyst, analysis, formatter), "2026")


async def _crossings(path: Path, count: int) -> int:
    """Append facts in groups of ten, one for each door."""
    dice = random.Random(2)
    start = _quarter(FIRST_DAY, 0) * 900_000
    async with Journal.open(path, SystemClock()) as journal:
        for number in range(0, count, 10):
            at = Stamp(start + number * 1000, number * 10**9, "bench", ClockQuality.SYNCED)
            passed = [facts.crossing(str(door), at, dice.randrange(3), 1) for door in range(DOOR_COUNT)]
            journal.append("", passed, {})
            await journal.commit()
    return count


async def _catch_up(journal: Path, file: Path) -> None:
    database = connect(file)
    async with JournalReader.open(journal) as reader:
        await writer.catch_up(database, reader)
    database.close()


def _bytes_per_day(file: Path, day: date, dice: random.Random) -> float:
    """Bytes written by a day of hourly commits, including the write-ahead log and its checkpoint."""
    database = connect(file)
    before = _written_bytes()
    for hour in range(24):
        batch = AggregationBatch()
        for quarter in range(4 * hour, 4 * hour + 4):
            if quarter in OPEN_QUARTERS:
                _add_quarter(batch, _quarter(day, quarter), dice)
        if batch.bins:
            database.apply(batch)
    database.close()
    return _written_bytes() - before


def _written_bytes() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"])


YEARLY: dict[str, Callable[[Workload], Figures]] = {"statistics": statistics}
