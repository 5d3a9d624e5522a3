"""Work that is requested of an open line from outside: a command, a reading, a request of a scan."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.model import GatewayError, LinkDown, ReadFailed


class LineRequest:
    """Work, and the future by which its result is returned."""

    def __init__(self, bus: str, work: Callable[[], Awaitable[Any]], device: str = "") -> None:
        self._bus = bus
        self.device = device
        """The device that it concerns, if it is one of the site's."""
        self._perform_work = work
        self.result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @property
    def is_abandoned(self) -> bool:
        """Whether the caller no longer waits."""
        return self.result.done()

    async def perform(self) -> None:
        """Do the work, and return its result or its error to the caller. Raises that error as well."""
        try:
            result = await self._perform_work()
        except (LinkDown, ReadFailed) as error:
            self.reject(error)
            raise
        if not self.result.done():
            self.result.set_result(result)

    def reject(self, error: GatewayError) -> None:
        """Return an error, unless there is a result already."""
        if not self.result.done():
            self.result.set_exception(error)

    def close(self, *_: object) -> None:
        """Make sure that the caller does not wait for ever."""
        self.reject(LinkDown("line-down", reason=self._bus))


def reject_all(requests: asyncio.Queue[LineRequest], error: GatewayError) -> None:
    """Return an error to everyone in a queue."""
    while not requests.empty():
        requests.get_nowait().reject(error)
