"""Passes and rate limits of requests without a session, which can only register needs and look them up."""

from __future__ import annotations

from collections.abc import Callable

from gateway.base.rate_limit import RateLimit, RateLimiter
from gateway.web.access import SESSION_LIFETIME_S, Access

COOKIE_NAME = "linli-need"
SIGNING_PURPOSE = "needs"
KIOSK, PHONE = "kiosk", "phone"
PHONE_LIFETIME_S = 3600
"""Lifetime of a pass: long enough for a phone to fill in the form; a kiosk keeps its pass."""
ALLOWED_REQUESTS = {
    KIOSK: frozenset({"GET /need", "POST /need", "POST /need/state", "GET /need/qr.svg"}),
    PHONE: frozenset({"GET /need", "POST /need"}),
}
"""The paths that a pass admits to."""

HOUR_S = 3600.0
PHONE_REGISTRATION_LIMIT = RateLimit(5, 600.0)
KIOSK_REGISTRATION_LIMIT = RateLimit(60, HOUR_S)
LOOKUP_LIMIT = RateLimit(20, 600.0)
"""Wrong receipt numbers per address."""


class Passes:
    """Issues and checks passes, and limits the rate of their use."""

    def __init__(self, access: Access, mono: Callable[[], float]) -> None:
        self._access = access
        self._by_address = RateLimiter(mono)
        self._by_channel = RateLimiter(mono)
        self._wrong_numbers = RateLimiter(mono)

    def issue_pass(self, channel: str) -> str:
        """A new pass for a channel."""
        return self._access.sign_token(SIGNING_PURPOSE, channel)

    def pass_channel(self, token: str | None) -> str | None:
        """The channel of a pass; None if it is invalid or too old."""
        channel = self._access.token_content(SIGNING_PURPOSE, token, SESSION_LIFETIME_S)
        if channel == PHONE:
            return self._access.token_content(SIGNING_PURPOSE, token, PHONE_LIFETIME_S)
        return channel

    def registration_wait_s(self, channel: str, address: str, phones_per_hour: int) -> int:
        """Seconds until this client may register another need."""
        if channel == PHONE:
            all_phones = self._by_channel.wait_s(PHONE, RateLimit(phones_per_hour, HOUR_S))
            return max(all_phones, self._by_address.wait_s(address, PHONE_REGISTRATION_LIMIT))
        return self._by_channel.wait_s(KIOSK, KIOSK_REGISTRATION_LIMIT) if channel == KIOSK else 0

    def count_registration(self, channel: str, address: str) -> None:
        """Count a need that is about to be registered."""
        self._by_channel.record(channel)
        self._by_address.record(address)

    def uncount_registration(self, channel: str, address: str) -> None:
        """Undo the count: the need was not registered."""
        self._by_channel.remove_last(channel)
        self._by_address.remove_last(address)

    def lookup_wait_s(self, address: str) -> int:
        """Seconds until this client may look up another number."""
        return self._wrong_numbers.wait_s(address, LOOKUP_LIMIT)

    def count_lookup(self, address: str) -> None:
        """Count a number that is about to be looked up."""
        self._wrong_numbers.record(address)

    def uncount_lookup(self, address: str) -> None:
        """Undo the count: the number exists."""
        self._wrong_numbers.remove_last(address)
