"""How much of the log one kind of message may take: a flood of bad requests must not fill the disk, nor
hide everything else."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from .rate_limit import RateLimit, RateLimiter

SOURCE_LIMIT = RateLimit(20, 60.0)
"""Lines of one kind about one device, address or the like."""
KIND_LIMIT = RateLimit(200, 60.0)
REPORT_INTERVAL_S = 60.0
MAX_KINDS = 256
"""Of which messages are held back at the same time; there are fewer."""


class LogLimit(logging.Filter):
    """Holds back what is beyond the limits, and tells how much that was: `tell` gets a kind and a count.

    The kind and the source of a record are its attributes `kind` and `source`; where it has none, as those
    of libraries, the kind is the place in the code. `mono` gives seconds on a monotonic clock.
    """

    def __init__(
        self, tell: Callable[[str, int], None], mono: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._tell = tell
        self._mono = mono
        self._by_source = RateLimiter(mono)
        self._by_kind = RateLimiter(mono)
        self._held_back: dict[str, tuple[float, int]] = {}
        """By kind, since when, and how many."""

    def filter(self, record: logging.LogRecord) -> bool:
        self.report()
        kind = getattr(record, "kind", f"{record.name}:{record.lineno}")
        source = f"{kind} {getattr(record, 'source', '')}"
        if self._by_source.wait_s(source, SOURCE_LIMIT) or self._by_kind.wait_s(kind, KIND_LIMIT):
            since, count = self._held_back.get(kind, (self._mono(), 0))
            if kind in self._held_back or len(self._held_back) < MAX_KINDS:
                self._held_back[kind] = since, count + 1
            return False
        self._by_source.record(source)
        self._by_kind.record(kind)
        return True

    def report(self) -> None:
        """Tell what was held back, once a minute and kind. To be called now and then: perhaps no record
        follows a flood."""
        now = self._mono()
        for kind, (since, _) in list(self._held_back.items()):
            # To tell of one is a message, before which the others are told.
            if now - since >= REPORT_INTERVAL_S and kind in self._held_back:
                _, count = self._held_back.pop(kind)
                self._tell(kind, count)
