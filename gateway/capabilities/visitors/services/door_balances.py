"""Several counters at one door: one of them counts, and when another takes over nobody is counted twice.

Between two readings of one counter another may have read several times. So each has a balance: by how many
the door is ahead of it since its last reading (what others have counted, and it will tell once more), or
behind (what it has told while it stood by, and the one that counts has not yet).
"""

from __future__ import annotations

from .counters import Pair

Balances = dict[str, Pair]
"""By counter."""
NOBODY: Pair = (0, 0)


def take(balances: Balances, active: str, counter: str, passed: Pair) -> tuple[Pair, Balances]:
    """A reading of one of a door's counters: how many of them the door has not counted yet, and the
    balances after it."""
    came, left = balances[counter]
    if counter != active:
        return NOBODY, {**balances, counter: (min(0, came - passed[0]), min(0, left - passed[1]))}
    return _count(balances, counter, (max(0, passed[0] - max(0, came)), max(0, passed[1] - max(0, left))))


def take_over(balances: Balances, counter: str) -> tuple[Pair, Balances]:
    """A counter counts from now on: how many it has told already whom the door has not counted yet, and
    the balances after it."""
    came, left = balances[counter]
    if came >= 0 and left >= 0:
        return NOBODY, balances
    news = max(0, -came), max(0, -left)
    counted, after = _count(balances, counter, news)
    return counted, {**after, counter: (max(0, came), max(0, left))}


def _count(balances: Balances, counter: str, news: Pair) -> tuple[Pair, Balances]:
    after = {
        name: (max(0, came + news[0]), max(0, left + news[1])) for name, (came, left) in balances.items()
    }
    return news, {**after, counter: NOBODY}
