"""Keys, passwords and cookies."""

from __future__ import annotations

import asyncio
import stat
import time
from pathlib import Path

import msgspec
import pytest

from gateway.model import ConfigError, Role
from gateway.web.access import SESSION_LIFETIME_S, Access, Session, read_key
from gateway.web.passwords import hash_password
from gateway.web.people import Person, people_file, read_people, write_people
from gateway.web.sessions import session_id

OWNER = Session("王芳", Role.INSTALLER, by_key=True)


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
    access = Access(key, path)
    ended, other = access.sign_owner_session("王芳"), access.sign_owner_session("王芳")
    await asyncio.gather(access.sessions.end([session_id(ended)]), access.sessions.end(["none at all"]))
    for later in (access, Access(key, path)):
        assert later.session(ended) is None
        assert later.session(other) == OWNER
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert files == {"access.key": 0o600, "access.key.ended": 0o600}
    assert ended not in (tmp_path / "access.key.ended").read_text()


def test_a_screen_has_the_role_it_was_bound_with(house: Access) -> None:
    for role in (Role.DISPLAY, Role.DUTY):
        cookie = house.sign_screen_session("值班室", role)
        assert house.session(cookie) == Session("值班室", role, is_screen=True)


async def test_the_list_of_sessions_follows_people_passwords_and_the_key(
    house: Access, tmp_path: Path
) -> None:
    file = people_file(tmp_path / "access.key")
    cookies = [
        house.sign_session("王芳"),
        house.sign_session("李强"),
        house.sign_owner_session("赵工"),
        house.sign_screen_session("大厅", Role.DISPLAY),
    ]
    for cookie in cookies:
        await house.use(cookie, "192.0.2.1", "Firefox")
    assert await house.use("forged", "192.0.2.1", "") not in {each.id for each in house.open_sessions()}
    assert {(each.person, each.role) for each in house.open_sessions()} == {
        ("王芳", Role.DUTY),
        ("李强", Role.MANAGER),
        ("赵工", Role.INSTALLER),
        ("大厅", Role.DISPLAY),
    }
    stored = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert not any(cookie.encode() in stored for cookie in cookies)
    people = read_people(file)
    write_people(file, {"李强": people["李强"]})
    assert [each.person for each in house.open_sessions()] == ["大厅", "赵工", "李强"]
    write_people(file, {"李强": Person(Role.MANAGER, hash_password("a new one!"))})
    assert [each.person for each in house.open_sessions()] == ["大厅", "赵工"]
    (tmp_path / "access.key").write_text("another long key")
    assert house.open_sessions() == []


def test_a_session_lasts_a_year_and_that_of_a_screen_on(
    house: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, owner, screen = (
        house.sign_session("王芳"),
        house.sign_owner_session("王芳"),
        house.sign_screen_session("大厅", Role.DISPLAY),
    )
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + SESSION_LIFETIME_S - 60)
    assert all(map(house.session, (person, owner, screen)))
    monkeypatch.setattr(time, "time", lambda: now + SESSION_LIFETIME_S + 60)
    assert [bool(house.session(each)) for each in (person, owner, screen)] == [False, False, True]


def test_a_cookie_of_an_earlier_version_is_still_good() -> None:
    access = Access("right")
    assert access.session(access._sessions.dumps("王芳")) == OWNER


def test_an_unreadable_key_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="access-key-unreadable"):
        read_key(tmp_path)


def test_a_key_is_told_from_what_is_none() -> None:
    access = Access("right")
    assert access.is_key("right")
    assert not any(access.is_key(wrong) for wrong in ("", "wrong", "right ", "对", "\ud800"))


@pytest.fixture
def house(tmp_path: Path) -> Access:
    """With 王芳, who is on duty, and 李强, the manager."""
    path = tmp_path / "access.key"
    key = read_key(path)
    people = {
        "王芳": Person(Role.DUTY, hash_password("long enough")),
        "李强": Person(Role.MANAGER, hash_password("another one")),
    }
    write_people(people_file(path), people)
    return Access(key, path)


async def test_a_person_has_one_password(house: Access) -> None:
    assert await house.has_password("王芳", "long enough")
    for name, password in (
        ("王芳", "another one"), ("王芳", ""), ("王芳", "long enough "), ("王芳", "x" * 60_000),
        ("nobody", "long enough"), ("", ""), ("王芳", "\ud800"),
    ):  # fmt: skip
        assert not await house.has_password(name, password), (name, password)


async def test_many_passwords_at_once_are_checked_one_after_the_other(house: Access) -> None:
    tried = (house.has_password("王芳", str(number)) for number in range(20))
    assert not any(await asyncio.gather(*tried, house.has_password("nobody", "long enough")))


def test_a_session_has_the_role_that_its_person_has_now(house: Access, tmp_path: Path) -> None:
    file = people_file(tmp_path / "access.key")
    cookie = house.sign_session("王芳")
    assert house.session(cookie) == Session("王芳", Role.DUTY)
    people = dict(read_people(file))
    write_people(file, {**people, "王芳": msgspec.structs.replace(people["王芳"], role=Role.DISPLAY)})
    assert house.session(cookie) == Session("王芳", Role.DISPLAY)


def test_a_session_ends_with_its_person_and_with_its_password(house: Access, tmp_path: Path) -> None:
    file = people_file(tmp_path / "access.key")
    cookie, other = house.sign_session("王芳"), house.sign_session("李强")
    people = dict(read_people(file))
    write_people(file, {**people, "王芳": Person(Role.DUTY, hash_password("a new one!"))})
    assert house.session(cookie) is None
    assert house.session(other)
    cookie = house.sign_session("王芳")
    write_people(file, {"李强": people["李强"]})
    assert house.session(cookie) is None
    assert house.session(house.sign_session("王芳")) is None, "who is nobody"


async def test_while_the_people_are_unreadable_the_key_alone_is_good(
    house: Access, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = people_file(tmp_path / "access.key")
    kept, cookie, owner = file.read_text(), house.sign_session("王芳"), house.sign_owner_session("王芳")
    for spoil in (lambda: file.write_text("schema = 1"), lambda: file.chmod(0o644)):
        spoil()
        caplog.clear()
        for _ in range(3):
            assert house.session(cookie) is None
            assert not await house.has_password("王芳", "long enough")
            assert house.session(owner) == OWNER
        assert len([each for each in caplog.records if "people-refused" in each.getMessage()]) == 1
        assert "argon2id" not in caplog.text
    file.chmod(0o600)
    file.write_text(kept)
    assert house.session(cookie) == Session("王芳", Role.DUTY)


def test_a_cookie_is_good_for_the_key_that_made_it() -> None:
    access = Access("right")
    cookie = access.sign_owner_session("王芳")
    assert access.session(cookie) == OWNER
    assert Access("right").session(cookie) == OWNER
    assert Access("other").session(cookie) is None
    assert access.session("x" + cookie) is None
    assert access.session(None) is None


def test_a_token_is_good_for_its_purpose_alone() -> None:
    access = Access("right")
    token = access.sign_token("needs", "phone")
    assert access.token_content("needs", token, 60) == "phone"
    assert access.token_content("rooms", token, 60) is None
    assert access.token_content("needs", access.sign_owner_session("phone"), 60) is None
    assert access.session(token) is None
    assert Access("other").token_content("needs", token, 60) is None
