"""However many security events there are, their records are few, and none is uncounted."""

from __future__ import annotations

import itertools
from collections import Counter

from gateway.base.security import EVENT_LIMIT, MAX_SOURCES, SOURCE_LIMIT, SecurityEvent, SecurityLog


def test_each_event_is_taken_once() -> None:
    log = SecurityLog()
    log.add("login", "192.0.2.7", by="Wang")
    log.add("push-token", "2001:db8::1", device="east")
    assert log.take() == [
        SecurityEvent("login", "192.0.2.7", "Wang", "", 1, 0),
        SecurityEvent("push-token", "2001:db8::/64", "", "east", 1, 0),
    ]
    assert log.take() == []


def test_a_flood_of_one_address_is_few_records_and_none_is_uncounted() -> None:
    taken, seconds = [], itertools.count()
    now = next(seconds)
    log = SecurityLog(lambda: now)
    for _ in range(3 * 3600):
        for _ in range(10):
            log.add("login-failed", "192.0.2.7")
        taken += log.take()
        now = next(seconds)
    taken += log.take(every=True)
    assert sum(each.count for each in taken) == 3 * 36_000
    assert len(taken) <= 3 * SOURCE_LIMIT.events + 1
    assert max(each.seconds for each in taken) > 3000


def test_a_flood_of_many_addresses_hides_nothing_else() -> None:
    taken, seconds = [], itertools.count()
    now = next(seconds)
    log = SecurityLog(lambda: now)
    for second in range(3600):
        for host in range(10):
            log.add("login-failed", f"10.0.{second % 256}.{host}")
        if second == 1800:
            log.add("login", "192.0.2.7", by="Wang")
        taken += log.take()
        now = next(seconds)
    assert [each.by for each in taken if each.event == "login"] == ["Wang"]
    assert len(taken) <= EVENT_LIMIT.events + 1
    taken += log.take(every=True)
    assert len(taken) <= EVENT_LIMIT.events + MAX_SOURCES + 2
    counts = Counter[str]()
    for each in taken:
        counts[each.event] += each.count
    assert counts == {"login-failed": 36_000, "login": 1}


def test_texts_are_bounded() -> None:
    log = SecurityLog()
    log.add("login", "x" * 1000, by="y" * 1000, device="z" * 1000)
    (event,) = log.take()
    assert (event.address, event.by, event.device) == ("x" * 64, "y" * 64, "z" * 64)
