"""What may be done without a session: registering a need, and at what pace."""

from __future__ import annotations

from collections.abc import Callable

from gateway.base.rate_limit import Rate, RateLimiter
from gateway.web.access import Access

COOKIE = "linli-need"
KIOSK, PHONE = "kiosk", "phone"
REACH = {
    KIOSK: frozenset({"GET /need", "POST /need", "POST /need/state", "GET /need/qr.svg"}),
    PHONE: frozenset({"GET /need", "POST /need"}),
}
"""All that a pass opens."""

HOUR_S = 3600.0
NEEDS_PER_PHONE = Rate(5, 600.0)
NEEDS_OF_KIOSKS = Rate(60, HOUR_S)
WRONG_NUMBERS = Rate(20, 600.0)
"""Wrong receipt numbers per address."""


class Passes:
    """Who holds a pass, and whether they have to wait."""

    def __init__(self, access: Access, mono: Callable[[], float]) -> None:
        self._access = access
        self._registered = RateLimiter(mono)
        self._total = RateLimiter(mono)
        self._asked = RateLimiter(mono)

    def issue(self, channel: str) -> str:
        """A new pass: a phone's for an hour, a kiosk's to stay."""
        return self._access.pass_for(channel)

    def channel(self, token: str | None) -> str | None:
        """Whose pass this is; None when it is not ours or too old."""
        return self._access.channel(token)

    def wait(self, channel: str, address: str, hourly: int) -> int:
        """Seconds before this one may register another need; `hourly` is what all phones may in an hour."""
        if channel == PHONE:
            total = self._total.wait_s(PHONE, Rate(hourly, HOUR_S))
            return max(total, self._registered.wait_s(address, NEEDS_PER_PHONE))
        return self._total.wait_s(KIOSK, NEEDS_OF_KIOSKS) if channel == KIOSK else 0

    def registering(self, channel: str, address: str) -> None:
        """One is about to be registered."""
        self._total.record(channel)
        self._registered.record(address)

    def failed(self, channel: str, address: str) -> None:
        """It was not."""
        self._total.undo(channel)
        self._registered.undo(address)

    def wait_to_ask(self, address: str) -> int:
        """Seconds before this one may ask for another number."""
        return self._asked.wait_s(address, WRONG_NUMBERS)

    def asking(self, address: str) -> None:
        """Somebody asks for a number."""
        self._asked.record(address)

    def answered(self, address: str) -> None:
        """There was such a number."""
        self._asked.undo(address)
