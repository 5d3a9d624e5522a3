"""What may be done without a session: registering a need, and how often."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from gateway.web.access import SESSION_LIFETIME_S, Access

COOKIE = "linli-need"
PURPOSE = "needs"
KIOSK, PHONE = "kiosk", "phone"
PHONE_LIFETIME_S = 3600
"""A phone's pass lasts until the form is read and filled in; a kiosk's stays."""
ALLOWED_REQUESTS = {
    KIOSK: frozenset({"GET /need", "POST /need", "POST /need/state", "GET /need/qr.svg"}),
    PHONE: frozenset({"GET /need", "POST /need"}),
}
"""All that a pass opens."""

HOUR_S = 3600.0
MAX_PER_ADDRESS, ADDRESS_WINDOW_S = 5, 600.0
"""Needs of one phone within the window."""
MAX_PER_KIOSK_HOUR = 60
MAX_UNKNOWN_NUMBERS, UNKNOWN_WINDOW_S = 20, 600.0
"""Wrong numbers of receipts within the window."""
MAX_ADDRESSES = 1024
"""That are counted; the oldest are removed first."""
MAX_TIMES = 1000
"""Of one key that are counted."""


class RateLimit:
    """Counts events by key within a sliding window, on a monotonic clock in seconds."""

    def __init__(self, mono: Callable[[], float]) -> None:
        self._mono = mono
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, key: str, limit: int, window_s: float) -> int:
        """Seconds until there may be one more."""
        times, now = self._times.get(key, deque()), self._mono()
        while times and times[0] <= now - window_s:
            times.popleft()
        if len(times) < limit:
            return 0
        return int(times[-limit] + window_s - now) + 1 if limit else round(window_s)

    def add(self, key: str) -> None:
        """There is one. Added before anything is awaited: those that come at the same time count."""
        self._times.setdefault(key, deque(maxlen=MAX_TIMES)).append(self._mono())
        self._times.move_to_end(key)
        while len(self._times) > MAX_ADDRESSES:
            self._times.popitem(last=False)

    def remove_last(self, key: str) -> None:
        """The last one did not happen after all."""
        if times := self._times.get(key):
            times.pop()


class Passes:
    """Which channel a pass is for, and whether its holder has to wait."""

    def __init__(self, access: Access, mono: Callable[[], float]) -> None:
        self._access = access
        self._by_address = RateLimit(mono)
        self._by_channel = RateLimit(mono)
        self._unknown_numbers = RateLimit(mono)

    def issue(self, channel: str) -> str:
        """A new pass."""
        return self._access.sign_token(PURPOSE, channel)

    def channel(self, token: str | None) -> str | None:
        """What a pass is for; None when it is not ours or too old."""
        channel = self._access.token_content(PURPOSE, token, SESSION_LIFETIME_S)
        if channel == PHONE:
            return self._access.token_content(PURPOSE, token, PHONE_LIFETIME_S)
        return channel

    def registration_wait_s(self, channel: str, address: str, phones_per_hour: int) -> int:
        """Seconds before this one may register another need."""
        if channel == PHONE:
            all_phones = self._by_channel.wait_s(PHONE, phones_per_hour, HOUR_S)
            return max(all_phones, self._by_address.wait_s(address, MAX_PER_ADDRESS, ADDRESS_WINDOW_S))
        return self._by_channel.wait_s(KIOSK, MAX_PER_KIOSK_HOUR, HOUR_S) if channel == KIOSK else 0

    def count_registration(self, channel: str, address: str) -> None:
        """A need is about to be registered."""
        self._by_channel.add(channel)
        self._by_address.add(address)

    def uncount_registration(self, channel: str, address: str) -> None:
        """It was not registered."""
        self._by_channel.remove_last(channel)
        self._by_address.remove_last(address)

    def lookup_wait_s(self, address: str) -> int:
        """Seconds before this one may look up another number."""
        return self._unknown_numbers.wait_s(address, MAX_UNKNOWN_NUMBERS, UNKNOWN_WINDOW_S)

    def count_lookup(self, address: str) -> None:
        """A number is about to be looked up."""
        self._unknown_numbers.add(address)

    def uncount_lookup(self, address: str) -> None:
        """There was such a number."""
        self._unknown_numbers.remove_last(address)
