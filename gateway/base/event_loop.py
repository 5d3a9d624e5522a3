"""The event loop of the daemon, which knows for how long it has had nothing to do."""

from __future__ import annotations

import asyncio
import selectors
import time


class TimedSelector(selectors.DefaultSelector):
    """Measures the waiting: time without a task that could run."""

    waited_s = 0.0
    """Since the start."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        began = time.monotonic()
        ready = super().select(timeout)
        self.waited_s += time.monotonic() - began
        return ready


class TimedEventLoop(asyncio.SelectorEventLoop):
    """An event loop that measures its idle time."""

    def __init__(self) -> None:
        self._timed_selector = TimedSelector()
        super().__init__(self._timed_selector)

    @property
    def idle_s(self) -> float:
        """Seconds since the start in which no task could run."""
        return self._timed_selector.waited_s
