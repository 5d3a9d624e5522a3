"""A rate limit per key (an address, a channel): a sliding window with bounded memory."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

MAX_KEYS = 1024
"""Keys remembered at most; the one with the oldest last event is evicted first."""
MAX_EVENTS_PER_KEY = 1000


class RateLimit(NamedTuple):
    """At most so many events in any so many seconds."""

    events: int
    seconds: float


class RateLimiter:
    """Counts the events of each key. `mono` gives seconds on a monotonic clock."""

    def __init__(self, mono: Callable[[], float]) -> None:
        self._mono = mono
        self._events: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, key: str, rate: RateLimit) -> int:
        """Whole seconds until the key may have another event, rounded up; 0: now."""
        events, now = self._events.get(key, deque()), self._mono()
        while events and events[0] <= now - rate.seconds:
            events.popleft()
        if len(events) < rate.events:
            return 0
        return int(events[-rate.events] + rate.seconds - now) + 1 if rate.events else round(rate.seconds)

    def record(self, key: str) -> None:
        """Count an event. Call this before anything is awaited, so that simultaneous events all count."""
        self._events.setdefault(key, deque(maxlen=MAX_EVENTS_PER_KEY)).append(self._mono())
        self._events.move_to_end(key)
        while len(self._events) > MAX_KEYS:
            self._events.popitem(last=False)

    def remove_last(self, key: str) -> None:
        """Remove the key's last event: it did not happen after all."""
        if events := self._events.get(key):
            events.pop()

    def reset(self, key: str) -> None:
        """Remove all events of the key."""
        self._events.pop(key, None)
