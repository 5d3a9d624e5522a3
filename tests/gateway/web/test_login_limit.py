"""Wrong passwords by the thousand, without waiting."""

from __future__ import annotations

import itertools

from gateway.web.login_limit import LOGIN_LIMITS, MAX_KNOWN, STRANGERS_LIMIT, LoginLimit

HOUR_S = 3600.0


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def failures(limit: LoginLimit, time: Time, seconds: float, address: str, name: str) -> int:
    """How many passwords somebody can try who tries as often as possible."""
    tried, end = 0, time.now + seconds
    while time.now < end:
        if wait_s := limit.wait_s(address, name):
            time.now += wait_s
            continue
        limit.count(address, name)
        tried += 1
    return tried


def test_a_second_a_minute_and_an_hour_have_their_limits() -> None:
    for limit in LOGIN_LIMITS:
        time = Time()
        assert failures(LoginLimit(time), time, limit.seconds, "192.0.2.1", "王芳") == limit.events


def test_a_thousand_wrong_passwords_take_two_days() -> None:
    time = Time()
    assert failures(LoginLimit(time), time, 48 * HOUR_S, "192.0.2.1", "王芳") <= 48 * 20 + 20


def test_a_name_is_limited_from_all_addresses_together() -> None:
    time = Time()
    limit = LoginLimit(time)
    tried = 0
    for number in range(1000):
        if not limit.wait_s(f"192.0.2.{number % 250}", "王芳"):
            limit.count(f"192.0.2.{number % 250}", "王芳")
            tried += 1
        time.now += 1
    assert tried == 20


def test_an_address_is_limited_whatever_name_it_tries() -> None:
    time = Time()
    limit = LoginLimit(time)
    tried = 0
    for number in range(1000):
        if not limit.wait_s("2001:db8:0:1::7", f"name {number}"):
            limit.count(f"2001:db8:0:1::{number:x}", f"name {number}")
            tried += 1
        time.now += 1
    assert tried == 20
    assert limit.wait_s("2001:db8:0:2::1", "name 0") == 0, "another network"


def test_strangers_together_cannot_keep_the_machine_busy() -> None:
    time = Time()
    limit = LoginLimit(time)
    limit.remember("192.0.2.9", "王芳")
    tried = 0
    for number in range(5000):
        address, name = f"10.0.{number // 250}.{number % 250}", f"name {number}"
        if not limit.wait_s(address, name):
            limit.count(address, name)
            tried += 1
    assert tried == STRANGERS_LIMIT.events
    assert limit.wait_s("192.0.2.9", "王芳") == 0


def test_a_flood_from_elsewhere_does_not_lock_a_person_out() -> None:
    time = Time()
    limit = LoginLimit(time)
    limit.remember("192.0.2.9", "王芳")
    for number in range(10_000):
        limit.count(f"10.0.{number // 250}.{number % 250}", "王芳")
        limit.count("192.0.2.9", f"name {number}")
    assert limit.wait_s("192.0.2.9", "王芳") == 0
    assert limit.wait_s("192.0.2.10", "王芳") > 0
    assert failures(limit, time, HOUR_S, "192.0.2.9", "王芳") == 20, (
        "but there are no more tries there either"
    )


def test_a_login_that_did_not_fail_does_not_count() -> None:
    time = Time()
    limit = LoginLimit(time)
    for _ in range(100):
        assert limit.wait_s("192.0.2.1", "王芳") == 0
        limit.count("192.0.2.1", "王芳")
        limit.uncount("192.0.2.1", "王芳")


def test_many_at_once_are_not_more() -> None:
    limit = LoginLimit(Time())
    admitted = 0
    for _ in itertools.repeat(None, 1000):
        if not limit.wait_s("192.0.2.1", "王芳"):
            limit.count("192.0.2.1", "王芳")
            admitted += 1
    assert admitted == 1


def test_what_is_remembered_is_bounded() -> None:
    time = Time()
    limit = LoginLimit(time)
    for number in range(MAX_KNOWN + 1):
        limit.remember("192.0.2.1", f"name {number}")
    assert len(limit._known) == MAX_KNOWN
