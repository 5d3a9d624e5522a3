"""The machine's clock, and how far it can be trusted."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import datetime
import functools
import time
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.model import ClockQuality, Stamp

MIN_PLAUSIBLE_TIME_S = 1_735_689_600
"""1 January 2025, before this software was made: an earlier time means that the clock was not set."""

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_QUALITY_CHECK_INTERVAL_S = 10.0


class SystemClock:
    """Wall and monotonic time of this machine."""

    def __init__(self) -> None:
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        self._quality = ClockQuality.UNSET
        self._quality_checked_s = float("-inf")

    def now(self) -> Stamp:
        wall = time.time_ns() // 1_000_000
        mono = time.monotonic_ns()
        if mono / 1e9 - self._quality_checked_s > _QUALITY_CHECK_INTERVAL_S:
            self._quality_checked_s = mono / 1e9
            self._quality = ClockQuality.SYNCED if _is_synchronised() else ClockQuality.SET
        unset = wall < MIN_PLAUSIBLE_TIME_S * 1000
        return Stamp(wall, mono, self._boot, ClockQuality.UNSET if unset else self._quality)

    def mono(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


def local_day(timezone: str) -> Callable[[Stamp], str]:
    """The local date of a stamp, ISO 8601. Days begin on a quarter of an hour in every time zone."""
    zone = ZoneInfo(timezone)

    @functools.lru_cache(maxsize=256)
    def day(quarter: int) -> str:
        return datetime.datetime.fromtimestamp(quarter * 900, zone).date().isoformat()

    return lambda at: day(at.wall_ms // 900_000)


def local_time(timezone: str) -> Callable[[Stamp], datetime.datetime | None]:
    """The local time of a stamp; None if its clock was not set."""
    zone = ZoneInfo(timezone)

    def local(at: Stamp) -> datetime.datetime | None:
        return datetime.datetime.fromtimestamp(at.wall_ms / 1000, zone) if at.is_set else None

    return local


def _is_synchronised() -> bool:
    # struct timex is 208 bytes; modes = 0 only asks.
    return bool(_libc().adjtimex(ctypes.create_string_buffer(256)) not in (-1, _TIME_ERROR))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
