"""What may be done without a session: registering a need, and at what pace."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from gateway.web.access import Access

COOKIE = "linli-need"
KIOSK, PHONE = "kiosk", "phone"
REACH = {
    KIOSK: frozenset({"GET /need", "POST /need", "POST /need/state", "GET /need/qr.svg"}),
    PHONE: frozenset({"GET /need", "POST /need"}),
}
"""All that a pass opens."""

HOUR = 3600.0
ADDRESS = 5, 600.0
"""Needs of one phone, in so many seconds."""
KIOSK_HOURLY = 60
ASKS = 20, 600.0
"""Wrong numbers of receipts."""
KNOWN = 1024
"""Addresses remembered at most; the oldest are forgotten first."""


class Pace:
    """So many in so many seconds, by whoever it is; by a monotonic clock."""

    def __init__(self, mono: Callable[[], float]) -> None:
        self._mono = mono
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, who: str, most: int, seconds: float) -> int:
        """Seconds until there may be one more."""
        times, now = self._times.get(who, deque()), self._mono()
        while times and times[0] <= now - seconds:
            times.popleft()
        if len(times) < most:
            return 0
        return int(times[-most] + seconds - now) + 1 if most else round(seconds)

    def note(self, who: str) -> None:
        """There is one. Noted before anything is waited for: those that come at the same time count."""
        self._times.setdefault(who, deque(maxlen=1000)).append(self._mono())
        self._times.move_to_end(who)
        while len(self._times) > KNOWN:
            self._times.popitem(last=False)

    def undo(self, who: str) -> None:
        """There was none after all."""
        if times := self._times.get(who):
            times.pop()


class Passes:
    """Who holds a pass, and whether they have to wait."""

    def __init__(self, access: Access, mono: Callable[[], float]) -> None:
        self._access = access
        self._registered = Pace(mono)
        self._total = Pace(mono)
        self._asked = Pace(mono)

    def issue(self, channel: str) -> str:
        """A new pass: a phone's for an hour, a kiosk's to stay."""
        return self._access.pass_for(channel)

    def channel(self, token: str | None) -> str | None:
        """Whose pass this is; None when it is not ours or too old."""
        return self._access.channel(token)

    def wait(self, channel: str, address: str, hourly: int) -> int:
        """Seconds before this one may register another need; `hourly` is what all phones may in an hour."""
        if channel == PHONE:
            total = self._total.wait(PHONE, hourly, HOUR)
            return max(total, self._registered.wait(address, *ADDRESS))
        return self._total.wait(KIOSK, KIOSK_HOURLY, HOUR) if channel == KIOSK else 0

    def registering(self, channel: str, address: str) -> None:
        """One is about to be registered."""
        self._total.note(channel)
        self._registered.note(address)

    def failed(self, channel: str, address: str) -> None:
        """It was not."""
        self._total.undo(channel)
        self._registered.undo(address)

    def wait_to_ask(self, address: str) -> int:
        """Seconds before this one may ask for another number."""
        return self._asked.wait(address, *ASKS)

    def asking(self, address: str) -> None:
        """Somebody asks for a number."""
        self._asked.note(address)

    def answered(self, address: str) -> None:
        """There was such a number."""
        self._asked.undo(address)
