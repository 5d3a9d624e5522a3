"""The list of the open sessions, and those that were ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.model import Role
from gateway.web import sessions as sessions_module
from gateway.web.sessions import (
    MAX_SESSIONS,
    MAX_SESSIONS_PER_PERSON,
    MAX_UNUSED_MS,
    SAVE_INTERVAL_S,
    OpenSession,
    Sessions,
    append_ended,
    ended_file,
    sessions_file,
)

DAY_MS = 86_400_000


class Time:
    wall_ms = 1_800_000_000_000
    mono_s = 1000.0


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "access.key"


def list_of(key: Path | None, time: Time | None = None) -> Sessions:
    time = time or Time()
    return Sessions(key, lambda: time.wall_ms, lambda: time.mono_s)


def session(name: str, person: str = "王芳", agent: str = "Firefox") -> OpenSession:
    return OpenSession(
        id=name, person=person, role=Role.DUTY, proof="p", is_screen=False, began_ms=1, agent=agent
    )


def names(sessions: Sessions) -> list[str]:
    return [each.id for each in sessions.open()]


async def test_the_list_outlasts_the_process(key: Path) -> None:
    time = Time()
    first = list_of(key, time)
    for name in ("a", "b"):
        time.wall_ms += 1
        assert first.use(session(name)) == []
    await first.save()
    again = list_of(key, time)
    assert again.open() == first.open()
    assert names(again) == ["b", "a"]


async def test_it_is_written_when_sessions_begin_and_else_seldom(key: Path) -> None:
    time = Time()
    sessions = list_of(key, time)
    sessions.use(session("a"))
    await sessions.save()
    sessions_file(key).unlink()
    for _ in range(100):
        sessions.use(session("a"))
        sessions.touch("a")
        await sessions.save()
    assert not sessions_file(key).exists()
    time.mono_s += SAVE_INTERVAL_S
    await sessions.save()
    assert sessions_file(key).stat().st_mode & 0o777 == 0o600


def test_a_person_has_so_many_sessions_and_the_house_so_many() -> None:
    sessions = list_of(None)
    for number in range(MAX_SESSIONS_PER_PERSON):
        assert sessions.use(session(f"{number}")) == []
    sessions.use(session("0"))
    assert sessions.use(session("more")) == ["1"], "used least recently"
    sessions = list_of(None)
    for number in range(MAX_SESSIONS):
        assert sessions.use(session(f"{number}", person=f"{number}")) == []
    sessions.touch("0")
    assert sessions.use(session("more", person="more")) == ["1"]


async def test_what_is_not_used_ends() -> None:
    time = Time()
    sessions = list_of(None, time)
    sessions.use(session("wall"))
    sessions.use(session("drawer"))
    for _ in range(31):
        time.wall_ms += DAY_MS
        sessions.touch("wall")
    assert not sessions.is_ended("wall")
    assert sessions.is_ended("drawer")
    assert names(sessions) == ["wall"]
    assert MAX_UNUSED_MS == 30 * DAY_MS


async def test_one_that_is_ended_at_the_command_line_ends_at_once_and_for_ever(key: Path) -> None:
    sessions = list_of(key)
    for name in ("a", "b", "c"):
        sessions.use(session(name))
    append_ended(key, ["a"])
    assert ended_file(key).stat().st_mode & 0o777 == 0o600
    assert sessions.is_ended("a")
    await sessions.end(["b"])
    assert names(sessions) == ["c"]
    again = list_of(key)
    assert [again.is_ended(name) for name in "abc"] == [True, True, False]


def test_a_line_that_a_power_cut_left_spoils_no_other(key: Path) -> None:
    ended_file(key).write_text("cut off by a power cu")
    append_ended(key, ["a"])
    assert list_of(key).is_ended("a")


async def test_those_that_were_ended_are_bounded(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "MAX_ENDED_SESSIONS", 2)
    monkeypatch.setattr(sessions_module, "MAX_ENDED_BYTES", 100)
    sessions = list_of(key)
    for number in range(200):
        await sessions.end([f"session {number}".replace(" ", "-")])
    assert [sessions.is_ended(f"session-{number}") for number in (197, 198, 199)] == [False, True, True]
    assert ended_file(key).stat().st_size < 200


@pytest.mark.parametrize("content", [b"", b"[{", b"[1]", b"\xff", b"[{}]"])
async def test_a_damaged_list_is_begun_again(key: Path, content: bytes) -> None:
    sessions_file(key).write_bytes(content)
    sessions = list_of(key)
    sessions.use(session("a", agent="x" * 10_000))
    await sessions.save()
    assert names(list_of(key)) == ["a"]
    assert sessions_file(key).stat().st_size < 1000


async def test_without_a_disk_sessions_still_begin_and_end(tmp_path: Path) -> None:
    sessions = list_of(tmp_path / "missing" / "access.key")
    sessions.use(session("a"))
    sessions.use(session("b"))
    await sessions.save()
    await sessions.end(["a"])
    assert names(sessions) == ["b"]


def test_how_long_nobody_has_done_anything() -> None:
    time = Time()
    sessions = list_of(None, time)
    assert sessions.idle_s("a") == float("inf")
    sessions.act("a")
    time.mono_s += 60
    assert sessions.idle_s("a") == 60
