"""Timestamps, how far each can be trusted, and the clock that makes them."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Protocol, overload

import msgspec


class ClockQuality(StrEnum):
    """How far a wall-clock stamp can be trusted."""

    SYNCED = "synced"
    """The kernel reports that a time source disciplines the clock."""
    SET = "set"
    """Plausible (not before this software was made), but not synchronised."""
    CORRECTED = "corrected"
    """Made before the clock was set, and calculated once it was."""
    UNSET = "unset"
    """Before this software was made: a Pi without RTC or network counts from 1970."""


class Stamp(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When something was measured.

    `wall_ms` is Unix time in milliseconds, `mono_ns` nanoseconds since `boot` (the kernel's boot id):
    the order within one boot never depends on the wall clock.
    """

    wall_ms: int
    mono_ns: int
    boot: str
    clock: ClockQuality

    @property
    def is_set(self) -> bool:
        """Whether `wall_ms` is a real time."""
        return self.clock is not ClockQuality.UNSET

    @property
    def wall_if_set(self) -> int | None:
        """Unix time in milliseconds; None from a clock that was not set."""
        return self.wall_ms if self.is_set else None

    def wall_by(self, now: Stamp) -> int | None:
        """Unix time in milliseconds by the clock as it stands `now`, which may have been set since.

        None for a stamp of another boot from a clock that was not set.
        """
        if self.boot == now.boot:
            return now.wall_ms - (now.mono_ns - self.mono_ns) // 1_000_000
        return self.wall_if_set

    @overload
    def seconds_since(
        self, earlier: Stamp, *, if_unknown: float, if_stepped_back: float = 0.0
    ) -> float: ...

    @overload
    def seconds_since(
        self, earlier: Stamp, *, if_unknown: None = None, if_stepped_back: float = 0.0
    ) -> float | None: ...

    def seconds_since(
        self, earlier: Stamp, *, if_unknown: float | None = None, if_stepped_back: float = 0.0
    ) -> float | None:
        """Seconds from `earlier` to this stamp, by the monotonic clock within a boot, else by the wall
        clock.

        `if_unknown` is the answer where either clock was not set, and `if_stepped_back` where the wall
        clock says that `earlier` came later, so one of the two was wrong.
        """
        if self.boot == earlier.boot:
            return (self.mono_ns - earlier.mono_ns) / 1e9
        if not (self.is_set and earlier.is_set):
            return if_unknown
        return (
            (self.wall_ms - earlier.wall_ms) / 1e3 if self.wall_ms >= earlier.wall_ms else if_stepped_back
        )


class Clock(Protocol):
    """Time is injected: the daemon passes the machine's clock, tests pass their own."""

    def now(self) -> Stamp:
        """The current time."""
        ...

    def mono(self) -> float:
        """Seconds on the monotonic clock."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after that many monotonic seconds."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return when the event is set, or after that many seconds."""
        ...
