"""Events that concern the security of the gateway (EN 303 645, 5.10): who came in, and who was turned away.

They wait here until they are taken to the journal. Nobody who records one waits, and a flood of them is few
records: what is beyond the limits is counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

import msgspec

from .connections import network_of
from .rate_limit import RateLimit, RateLimiter

SOURCE_LIMIT = RateLimit(5, 3600.0)
"""Records of one event of one address, person and device."""
EVENT_LIMIT = RateLimit(30, 3600.0)
"""Records of one event."""
MAX_SOURCES = 32
"""Addresses, persons and devices whose events wait at the same time, for each event; further ones are
counted together, without an address."""
MAX_SECURITY_EVENTS = 50
"""In one call on the control socket."""
SECURITY_EVENTS = (
    "login",
    "login-failed",
    "login-too-often",
    "logout",
    "access-key-changed",
    "access-key-refused",
    "people-refused",
    "role-refused",
    "session-ended",
    "screen-bound",
    "phone-added",
    "phone-removed",
    "others-phone-removed",
    "passkey-added",
    "passkey-removed",
    "others-passkey-removed",
    "passkey-refused",
    "passkey-copied",
    "pin-set",
    "feed-changed",
    "sign-failed",
    "push-token",
    "push-path",
    "push-invalid",
    "packet-missing",
    "packet-damaged",
    "page-foreign",
    "session-refused",
    "too-often",
    "call-refused",
    "command-refused",
    "sender-unknown",
)
"""Each has a sentence in `security` of the words."""

Text = Annotated[str, msgspec.Meta(max_length=64)]


class SecurityEvent(msgspec.Struct, frozen=True):
    """One event that occurred `count` times, first `seconds` ago. `by` is the person, `device` the one that
    somebody claimed to be."""

    event: Text
    address: Text
    by: Text
    device: Text
    count: int
    seconds: int


class SecurityLog:
    """Those of this process that are not in the journal yet. `mono` gives seconds on a monotonic clock."""

    def __init__(self, mono: Callable[[], float] = time.monotonic) -> None:
        self._mono = mono
        self._waiting: dict[str, dict[tuple[str, str, str], tuple[float, int]]] = {}
        """By event, then by address, person and device: since when, and how many."""
        self._by_source = RateLimiter(mono)
        self._by_event = RateLimiter(mono)

    def add(self, event: str, address: str = "", *, by: str = "", device: str = "") -> None:
        """It has occurred now. No password, token or session may be in any of the texts."""
        sources = self._waiting.setdefault(event, {})
        source = network_of(address)[:64], by[:64], device[:64]
        if source not in sources and len(sources) >= MAX_SOURCES:
            source = "", "", ""
        since, count = sources.get(source, (self._mono(), 0))
        sources[source] = since, count + 1

    def take(self, *, every: bool = False) -> list[SecurityEvent]:
        """Remove those that may be recorded now, or `every` one because the process ends."""
        now, taken = self._mono(), []
        for event, sources in self._waiting.items():
            for source, (since, count) in list(sources.items()):
                key = " ".join((event, *source))
                is_limited = self._by_source.wait_s(key, SOURCE_LIMIT) or self._by_event.wait_s(
                    event, EVENT_LIMIT
                )
                if is_limited and not every:
                    continue
                self._by_source.record(key)
                self._by_event.record(event)
                del sources[source]
                taken.append(SecurityEvent(event, *source, count, round(now - since)))
        return taken


SECURITY_LOG = SecurityLog()
"""That of this process."""
