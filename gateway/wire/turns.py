"""Tasks that take turns, shared fairly among those on whose behalf they work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .inbox import FairInbox


class FairTurns:
    """A lock: one task at a time has the turn. Who opens many connections has no more of the turns than
    others, and who takes long ones has fewer of them (see `FairInbox`)."""

    def __init__(self, max_waiting: int) -> None:
        """`max_waiting`: tasks. Beyond it, one of those of the sender with the most loses its turn."""
        self._waiting: FairInbox[asyncio.Future[None]] = FairInbox(max_waiting)
        self._is_taken = False

    @asynccontextmanager
    async def turn(self, sender: str, size_bytes: int) -> AsyncIterator[None]:
        """Wait for the turn of a sender, to process these bytes. Raises `ConnectionError` if it is lost."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for lost in self._waiting.put(sender, turn, size_bytes):
            if not lost.done():
                lost.set_exception(ConnectionError("too many wait"))
        self._give_next()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled() and not turn.exception():
                self._is_taken = False
                self._give_next()

    def _give_next(self) -> None:
        while self._waiting and not self._is_taken:
            turn = self._waiting.take()
            if not turn.done():  # Else the task no longer waits.
                turn.set_result(None)
                self._is_taken = True
