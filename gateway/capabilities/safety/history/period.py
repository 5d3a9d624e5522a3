"""Reads a month or a year from the journal, oldest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

from gateway.model import Lane, Record

from .reading import History

EARLIER = timedelta(days=370)
"""How long before a period records are read: a finding that was reported then may still have been open."""


class RecordCollector(Protocol):
    """What is made of the records of a period."""

    period: str
    """A month (`2026-11`) or a year (`2026`)."""

    def add_record(self, record: Record) -> None:
        """Add one record."""
        ...


async def read_period(journal: Path, timezone: str, lanes: Sequence[Lane], log: RecordCollector) -> None:
    """Give the records of the period, and of some time before, to what is made of them: one lane after the
    other, with the stamps from before the clock was set corrected. Raises `JournalFailed`."""
    first, until = period_bounds(log.period)
    zone = ZoneInfo(timezone)
    since_ms, until_ms = (
        round(datetime.combine(day, time(), zone).timestamp() * 1000) for day in (first - EARLIER, until)
    )
    async with History.open(journal) as history:
        for lane in lanes:
            async for record in history.records_onward(lane, since_ms, until_ms):
                log.add_record(record)


def period_bounds(period: str) -> tuple[date, date]:
    """The first day of a month or a year, and the first one after it."""
    if len(period) == len("2026"):
        year = int(period)
        return date(year, 1, 1), date(year + 1, 1, 1)
    first = date.fromisoformat(f"{period}-01")
    return first, (first + timedelta(days=31)).replace(day=1)
