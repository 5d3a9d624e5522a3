"""How often somebody may try to log in, counted for each address and for each name.

Whoever guesses another person's password cannot shut that person out: from an address where they have been
logged in before, only what is tried there under that name counts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

from gateway.base.connections import network_of
from gateway.base.rate_limit import RateLimit, RateLimiter

LOGIN_LIMITS = (RateLimit(1, 1.0), RateLimit(5, 60.0), RateLimit(20, 3600.0))
"""Failed logins of one name, and of one address."""
PIN_LIMITS = (*LOGIN_LIMITS, RateLimit(50, 86_400.0))
"""Wrong PINs of one person, and of one screen: of a million, one is found in some thirty years."""
STRANGERS_LIMIT = RateLimit(20, 10.0)
"""Failed logins from all addresses where the person was never logged in: each costs a tenth of a second."""
MAX_KNOWN = 1000
"""Persons at addresses that are remembered; the one seen least recently is forgotten first."""


class _Limits:
    """Several limits of the same keys."""

    def __init__(self, mono: Callable[[], float], limits: Sequence[RateLimit]) -> None:
        self._limiters = [(limit, RateLimiter(mono)) for limit in limits]

    def wait_s(self, key: str) -> int:
        return max(limiter.wait_s(key, limit) for limit, limiter in self._limiters)

    def record(self, key: str) -> None:
        for _, limiter in self._limiters:
            limiter.record(key)

    def remove_last(self, key: str) -> None:
        for _, limiter in self._limiters:
            limiter.remove_last(key)


class LoginLimit:
    """Time is seconds on a monotonic clock."""

    def __init__(self, mono: Callable[[], float]) -> None:
        self._by_address = _Limits(mono, LOGIN_LIMITS)
        self._by_name = _Limits(mono, LOGIN_LIMITS)
        self._by_known = _Limits(mono, LOGIN_LIMITS)
        self._strangers = _Limits(mono, (STRANGERS_LIMIT,))
        self._known: OrderedDict[str, None] = OrderedDict()

    def _counts(self, address: str, name: str) -> Iterator[tuple[_Limits, str]]:
        """What a login is counted under."""
        network = network_of(address)
        if (known := f"{network} {name}") in self._known:
            yield self._by_known, known
            return
        yield self._by_address, network
        if name:
            yield self._by_name, name
            yield self._strangers, ""

    def wait_s(self, address: str, name: str) -> int:
        """Seconds until that person may try again from that address."""
        return max(limits.wait_s(key) for limits, key in self._counts(address, name))

    def count(self, address: str, name: str) -> None:
        """Count a login that may fail, before its password is checked, as many may come at once."""
        for limits, key in self._counts(address, name):
            limits.record(key)

    def uncount(self, address: str, name: str) -> None:
        """It did not fail. Call `remember` after this."""
        for limits, key in self._counts(address, name):
            limits.remove_last(key)

    def remember(self, address: str, name: str) -> None:
        """That person is logged in at that address."""
        known = f"{network_of(address)} {name}"
        self._known[known] = None
        self._known.move_to_end(known)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


class PinLimit:
    """How often somebody may try a PIN, counted for each screen and for each person."""

    def __init__(self, mono: Callable[[], float]) -> None:
        self._by_screen = _Limits(mono, PIN_LIMITS)
        self._by_person = _Limits(mono, PIN_LIMITS)

    def wait_s(self, screen: str, person: str) -> int:
        """Seconds until that person's PIN may be tried again on that screen."""
        return max(self._by_screen.wait_s(screen), self._by_person.wait_s(person))

    def count(self, screen: str, person: str) -> None:
        """Count one that may be wrong, before it is checked."""
        self._by_screen.record(screen)
        self._by_person.record(person)

    def uncount(self, screen: str, person: str) -> None:
        """It was right."""
        self._by_screen.remove_last(screen)
        self._by_person.remove_last(person)
