"""A clock that tests turn by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools

from gateway.model import ClockQuality, Stamp

START = 1_795_252_000_000
"""The wall clock when the test begins, Unix milliseconds."""


class FakeClock:
    """Implements `gateway.model.Clock`. Time stands still until `advance`."""

    def __init__(self) -> None:
        self.wall = START
        """Unix milliseconds when the clock was at nought: change it, and the wall clock leaps."""
        self.quality = ClockQuality.SET
        self._time = 0.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> Stamp:
        return Stamp(self.wall + round(self._time * 1000), round(self._time * 1e9), "test", self.quality)

    def mono(self) -> float:
        return self._time

    async def sleep(self, seconds: float) -> None:
        await self._timer(seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        timer = self._timer(seconds)
        waiting = asyncio.ensure_future(event.wait())
        waiting.add_done_callback(lambda _: _end(timer))
        try:
            await timer
        finally:
            waiting.cancel()

    async def advance(self, seconds: float) -> None:
        """Let that many seconds pass; every task runs as far as it can at each moment in between."""
        end = self._time + seconds
        await self.settle()
        while self._timers and self._timers[0][0] <= end:
            self._time, _, timer = heapq.heappop(self._timers)
            if _end(timer):
                await self.settle()
        self._time = end

    async def settle(self) -> None:
        """Let every task run until it waits. For tasks that wait for this clock only, not for a wire."""
        for _ in range(20):
            await asyncio.sleep(0)

    def _timer(self, seconds: float) -> asyncio.Future[None]:
        timer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Time moves while one waits: else a rest of 1e-17 s would be waited for, for ever.
        heapq.heappush(self._timers, (self._time + max(1e-6, seconds), next(self._order), timer))
        return timer


def _end(timer: asyncio.Future[None]) -> bool:
    """Whether it was still running."""
    if timer.done():
        return False
    timer.set_result(None)
    return True
