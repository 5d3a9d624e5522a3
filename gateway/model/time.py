"""Timestamps, how far each can be trusted, and the clock that makes them."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Protocol

import msgspec


class ClockQuality(StrEnum):
    """How far a wall-clock stamp can be trusted."""

    SYNCED = "synced"
    """The kernel says that a time source disciplines the clock."""
    SET = "set"
    """Plausible (not before this software was made), but nobody vouches for it."""
    CORRECTED = "corrected"
    """Stamped before the clock was set, and reckoned back once it was."""
    UNSET = "unset"
    """Before this software was made: a Pi without RTC or network, counting from 1970."""


class Stamp(msgspec.Struct, frozen=True, array_like=True):
    """When something was measured.

    `wall` is Unix time in milliseconds, `mono` nanoseconds since `boot` (the kernel's boot id):
    the order within one boot never depends on the wall clock.
    """

    wall: int
    mono: int
    boot: str
    clock: ClockQuality


def elapsed(since: Stamp, until: Stamp) -> float | None:
    """Seconds from one stamp to another: by the monotonic clock within a boot, else by the wall clock.

    None where no clock can tell.
    """
    if since.boot == until.boot:
        return (until.mono - since.mono) / 1e9
    if ClockQuality.UNSET in (since.clock, until.clock):
        return None
    return max(0.0, (until.wall - since.wall) / 1e3)


class Clock(Protocol):
    """Time is injected: the daemon passes the machine's, tests pass their own."""

    def now(self) -> Stamp:
        """The present moment."""
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
