"""What a bus notices besides its devices: who was turned away, what came from a stranger."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from gateway.base.log import log_event
from gateway.base.security import SECURITY_LOG

MAX_NOTICES = 32
"""The one that has not occurred for the longest makes room for a new one."""
NOTICE_LIFETIME_S = 3600.0
"""After this time without a further occurrence, a notice is over."""


class _Notice:
    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.count = 0
        self.last_s = 0.0


class Notices:
    """One for each kind and address: a line in the log once, and a finding of the bus doctor as long as it
    is fresh; each occurrence is also a security event. `mono` gives seconds on a monotonic clock."""

    def __init__(self, mono: Callable[[], float] = time.monotonic) -> None:
        self._mono = mono
        self._notices: OrderedDict[tuple[str, str], _Notice] = OrderedDict()

    def add(self, key: str, address: str, **facts: Any) -> None:
        """Something came from that address, perhaps again. `key` names a sentence in `log` and one in
        `doctor`; both have the address and the facts, the latter also `count`."""
        SECURITY_LOG.add(key, address, device=str(facts.get("device", "")))
        self._forget_old()
        identity = key, address
        if identity not in self._notices:
            self._notices[identity] = _Notice()
            log_event(logging.WARNING, key, address=address, **facts)
        notice = self._notices[identity]
        notice.facts = facts
        notice.count += 1
        notice.last_s = self._mono()
        self._notices.move_to_end(identity)
        if len(self._notices) > MAX_NOTICES:
            self._notices.popitem(last=False)

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The key and the facts of each fresh one."""
        self._forget_old()
        for (key, address), notice in self._notices.items():
            yield key, {"address": address, **notice.facts, "count": notice.count}

    def _forget_old(self) -> None:
        while self._notices:
            identity, oldest = next(iter(self._notices.items()))
            if self._mono() - oldest.last_s < NOTICE_LIFETIME_S:
                return
            del self._notices[identity]
