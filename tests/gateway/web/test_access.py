"""Keys, cookies and waits."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from gateway.base.rate_limit import MAX_KEYS
from gateway.model import ConfigError
from gateway.web import access as access_module
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


@pytest.mark.parametrize(
    ("content", "mode", "key"),
    [("four\n", 0o600, "access-key-short"), ("long enough for anybody\n", 0o640, "access-key-open")],
)
def test_a_key_that_others_can_guess_or_read_is_refused(
    tmp_path: Path, content: str, mode: int, key: str
) -> None:
    path = tmp_path / "access.key"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=key):
        read_key(path)


async def test_an_ended_session_stays_ended(tmp_path: Path) -> None:
    path = tmp_path / "access.key"
    key = read_key(path)
    access = Access(key, Time(), path)
    ended, other = access.sign_session("王芳"), access.sign_session("王芳")
    await asyncio.gather(access.end_session(ended), access.end_session("no session at all"))
    for later in (access, Access(key, Time(), path)):
        assert later.session_person(ended) is None
        assert later.session_person(other) == "王芳"
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert files == {"access.key": 0o600, "access.key.ended": 0o600}
    assert ended not in (tmp_path / "access.key.ended").read_text()


async def test_the_memory_of_ended_sessions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_module, "MAX_ENDED_SESSIONS", 2)
    access = Access("right", Time())
    cookies = [access.sign_session("王芳") for _ in range(3)]
    for cookie in cookies:
        await access.end_session(cookie)
    assert [access.session_person(cookie) for cookie in cookies] == ["王芳", None, None]


def test_a_cookie_of_an_earlier_version_is_still_good() -> None:
    access = Access("right", Time())
    assert access.session_person(access._sessions.dumps("王芳")) == "王芳"


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


def test_the_addresses_of_an_ipv6_network_wait_together() -> None:
    access = Access("right", Time())
    for number in range(WRONG_KEY_LIMIT.events):
        access.check_key(f"2001:db8:0:1::{number}", "wrong")
    assert access.wait_s("2001:db8:0:1:ffff::1") > 0
    assert access.wait_s("2001:db8:0:2::1") == 0


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
