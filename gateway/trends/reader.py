"""Reads the trends of a device, from any process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from .calendar import Calendar
from .database import TrendsFailed, connect
from .packing import SpannedBin
from .statistics import QUARTER_MS


class Trend(msgspec.Struct, frozen=True):
    """Statistics of points. What came after `until` (Unix milliseconds) is not among them yet."""

    points: Mapping[str, tuple[SpannedBin, ...]] = {}
    """By point, oldest first."""
    until: int = 0


async def read_trend(
    path: Path,
    epoch: str,
    device: str,
    points: Iterable[str],
    since: int,
    until: int,
    calendar: Calendar,
    quarters: int = 1,
) -> Trend:
    """The statistics of a device's points between two times (Unix milliseconds), of so many quarters of an
    hour each; empty where there is no file, or it cannot be read. `epoch`: that of the journal."""

    def read_all() -> Trend:
        with contextlib.closing(connect(path, readonly=True)) as database:
            cursor = database.cursors().get(epoch)
            days = range(calendar.day_of(since // QUARTER_MS), calendar.day_of(until // QUARTER_MS) + 1)
            found = {
                point: tuple(
                    each
                    for each in database.bins(device, point, days, quarters)
                    if since < each[1] and each[0] < until
                )
                for point in points
            }
            return Trend(found, cursor.newest_ms if cursor else 0)

    with contextlib.suppress(TrendsFailed):
        return await asyncio.to_thread(read_all)
    return Trend()
