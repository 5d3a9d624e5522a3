"""A clock that only moves when a test moves it."""

import asyncio

from gateway.model import ClockQuality, Stamp


class FakeClock:
    """Implements `gateway.model.Clock`."""

    def __init__(self, mono: float = 1000.0, wall: int = 1_795_252_000_000) -> None:
        self._mono = mono
        self.wall = wall - round(mono * 1000)
        """Unix time in milliseconds when `mono` was nought: change it, and the wall clock jumps."""
        self.quality = ClockQuality.SYNCED
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> Stamp:
        return Stamp(self.wall + round(self._mono * 1000), round(self._mono * 1e9), "boot", self.quality)

    def mono(self) -> float:
        return self._mono

    async def sleep(self, seconds: float) -> None:
        await self.wait(asyncio.Event(), seconds)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._mono + max(0.0, seconds), over))
        waiting = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait((waiting, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            over.cancel()

    async def advance(self, seconds: float) -> None:
        """Let the time pass, waking each sleeper at its own moment."""
        end = self._mono + seconds
        while True:
            await settle()
            self._sleepers = [(due, over) for due, over in self._sleepers if not over.done()]
            due = min((due for due, _ in self._sleepers), default=end + 1)
            if due > end:
                break
            self._mono = max(self._mono, due)
            for when, over in self._sleepers:
                if when <= self._mono and not over.done():
                    over.set_result(None)
        self._mono = end
        await settle()


async def settle(rounds: int = 20) -> None:
    """Let every task run that can."""
    for _ in range(rounds):
        await asyncio.sleep(0)
