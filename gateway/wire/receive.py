"""What has been received on a line, and the reply that is awaited in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

from gateway.model import FailureKind, LinkDown, ReadFailed

MAX_BUFFER_BYTES = 4096
"""No reply is longer."""

T = TypeVar("T")


class ReceiveBuffer:
    """Filled by the event loop, read by one task."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._data_arrived = asyncio.Event()
        self._error: Exception | None = None

    async def read_available(self) -> bytes:
        """Wait for at least one byte; returns all that were received."""
        while not self._buffer:
            self._raise_if_failed()
            self._data_arrived.clear()
            await self._data_arrived.wait()
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    async def receive(self, parse: Callable[[bytes], T | None], seconds: float) -> T:
        """Wait until `parse` finds a reply; raises `ReadFailed` after that many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    self._raise_if_failed()
                    if (reply := parse(bytes(self._buffer))) is not None:
                        return reply
                    self._data_arrived.clear()
                    await self._data_arrived.wait()
        if self._buffer:
            raise ReadFailed("garbage", FailureKind.DAMAGED, bytes=len(self._buffer))
        raise ReadFailed("timeout", FailureKind.TIMEOUT, bytes=0)

    def _add_received(self, data: bytes) -> None:
        self._buffer += data
        # Noise may arrive for hours.
        del self._buffer[:-MAX_BUFFER_BYTES]
        self._data_arrived.set()

    def _fail(self, error: Exception) -> None:
        self._error = error
        self._data_arrived.set()

    def _raise_if_failed(self) -> None:
        if self._error:
            raise LinkDown("line-down", reason=self._error)
