"""Keys, cookies and waits."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gateway.base.rate_limit import MAX_KEYS
from gateway.model import ConfigError
from gateway.web.access import WRONG_KEY_LIMIT, Access, read_key


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_first_start_makes_a_key_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "access.key"
    key = read_key(path)
    assert len(key) >= 20
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_key(path) == key
    assert list(path.parent.iterdir()) == [path]


def test_an_empty_key_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "access.key"
    path.write_text("\n")
    with pytest.raises(ConfigError, match="access-key-empty"):
        read_key(path)


def test_an_unreadable_key_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="access-key-unreadable"):
        read_key(tmp_path)


def test_after_some_wrong_keys_an_address_waits() -> None:
    time = Time()
    access = Access("right", time)
    for _ in range(WRONG_KEY_LIMIT.events):
        assert access.wait_s("a") == 0
        assert not access.check_key("a", "wrong")
    assert access.wait_s("a") > 0
    assert access.wait_s("b") == 0
    time.now += WRONG_KEY_LIMIT.seconds
    assert access.wait_s("a") == 0
    assert access.check_key("a", "right")


def test_a_right_key_forgives() -> None:
    access = Access("right", Time())
    for _ in range(WRONG_KEY_LIMIT.events - 1):
        access.check_key("a", "wrong")
    assert access.check_key("a", "right")
    assert not access.check_key("a", "wrong")
    assert access.wait_s("a") == 0


def test_the_memory_of_addresses_is_bounded() -> None:
    access = Access("right", Time())
    for number in range(MAX_KEYS + 5):
        for _ in range(WRONG_KEY_LIMIT.events):
            access.check_key(str(number), "wrong")
    assert access.wait_s("0") == 0
    assert access.wait_s(str(MAX_KEYS + 4)) > 0
    assert len(access._wrong_keys._events) == MAX_KEYS


def test_a_cookie_is_good_for_the_key_that_made_it() -> None:
    access = Access("right", Time())
    cookie = access.sign_session("王芳")
    assert access.session_person(cookie) == "王芳"
    assert Access("right", Time()).session_person(cookie) == "王芳"
    assert Access("other", Time()).session_person(cookie) is None
    assert access.session_person("x" + cookie) is None
    assert access.session_person(None) is None


def test_a_token_is_good_for_its_purpose_alone() -> None:
    access = Access("right", Time())
    token = access.sign_token("needs", "phone")
    assert access.token_content("needs", token, 60) == "phone"
    assert access.token_content("rooms", token, 60) is None
    assert access.token_content("needs", access.sign_session("phone"), 60) is None
    assert access.session_person(token) is None
    assert Access("other", Time()).token_content("needs", token, 60) is None
