"""Several counters at one door: one is active, and when another replaces it nobody is counted twice.

Between two readings of one counter another may report several times. So each counter has a balance:
positive, how many people the door has already counted that this counter will still report; negative, how
many this counter has reported while on standby that the active one has not.
"""

from __future__ import annotations

from .counters import InOutCount

Balances = dict[str, InOutCount]
"""By counter."""
NONE_PASSED: InOutCount = (0, 0)


def count_reading(
    balances: Balances, active: str, counter: str, passed: InOutCount
) -> tuple[InOutCount, Balances]:
    """Process a reading of one of a door's counters: returns how many of the people are new to the door,
    and the new balances."""
    came, left = balances[counter]
    if counter != active:
        return NONE_PASSED, {**balances, counter: (min(0, came - passed[0]), min(0, left - passed[1]))}
    return _add_counted(
        balances, counter, (max(0, passed[0] - max(0, came)), max(0, passed[1] - max(0, left)))
    )


def activate_counter(balances: Balances, counter: str) -> tuple[InOutCount, Balances]:
    """Make a counter the active one: returns how many people it has reported that the door has not counted,
    and the new balances."""
    came, left = balances[counter]
    if came >= 0 and left >= 0:
        return NONE_PASSED, balances
    news = max(0, -came), max(0, -left)
    counted, after = _add_counted(balances, counter, news)
    return counted, {**after, counter: (max(0, came), max(0, left))}


def _add_counted(balances: Balances, counter: str, counted: InOutCount) -> tuple[InOutCount, Balances]:
    after = {
        name: (max(0, came + counted[0]), max(0, left + counted[1]))
        for name, (came, left) in balances.items()
    }
    return counted, {**after, counter: NONE_PASSED}
