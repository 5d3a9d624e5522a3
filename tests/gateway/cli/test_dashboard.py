"""Who may log in, changed at the command line."""

from __future__ import annotations

import datetime
import io
import socket
import stat
from pathlib import Path

import pytest

from gateway.cli import EX_CONFIG, main
from gateway.model import Role
from gateway.web.access import Access, read_key
from gateway.web.certificates import LocalAuthority
from gateway.web.passwords import is_password_of
from gateway.web.people import people_file, read_people


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site file whose access key is beside it."""
    file = tmp_path / "site.toml"
    file.write_text(
        f"""
schema = "linli/site/1"
[site]
id = "c"
title = "C"
[journal]
path = "{tmp_path / "journal.db"}"
[dashboard]
access = "{tmp_path / "access.key"}"
"""
    )
    return file


def linli(monkeypatch: pytest.MonkeyPatch, site: Path, *arguments: str, typed: str = "") -> int:
    """`linli dashboard …`, with that on standard input."""
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    return main(["dashboard", *arguments, "--config", str(site)])


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_port_that_cannot_be_opened_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], site: Path, language: str
) -> None:
    monkeypatch.setenv("LINLI_LANG", language)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        site.write_text(site.read_text().replace("[dashboard]", f"[dashboard]\nport = {port}"))
        assert linli(monkeypatch, site) == 1
    said = capsys.readouterr().err
    assert f"127.0.0.1:{port}" in said
    assert not any(word in said for word in ("Errno", "Traceback", "errno", "bind on"))


def test_people_are_added_listed_changed_and_removed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], site: Path
) -> None:
    file = people_file(site.with_name("access.key"))
    assert linli(monkeypatch, site, "add", "王芳", "--role", "duty", typed="long enough\n") == 0
    person = read_people(file)["王芳"]
    assert person.role is Role.DUTY
    assert is_password_of("long enough", person.password)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert linli(monkeypatch, site, "role", " 王芳 ", "--role", "manager") == 0
    assert linli(monkeypatch, site, "password", "王芳", typed="another one\r\n") == 0
    person = read_people(file)["王芳"]
    assert person.role is Role.MANAGER
    assert is_password_of("another one", person.password)
    assert linli(monkeypatch, site, "people") == 0
    told = capsys.readouterr().out
    assert "王芳" in told
    assert "argon2id" not in told
    assert linli(monkeypatch, site, "remove", "王芳") == 0
    assert read_people(file) == {}


@pytest.mark.parametrize(
    ("arguments", "typed"),
    [
        (("add",), "long enough"),
        (("add", "王芳", "--role", "manager"), "long enough"),
        (("add", "李强"), "long enough"),
        (("add", "李强", "--role", "duty"), "short"),
        (("add", "李强", "--role", "duty"), ""),
        (("add", 'a"b', "--role", "duty"), "long enough"),
        (("role", "王芳"), ""),
        (("password", "王芳"), ""),
        (("remove", "李强"), ""),
        (("pin", "王芳"), "12345"),
        (("pin", "王芳"), "123456"),
        (("pin", "李强"), "274951"),
        (("sessions", "revoke", "王芳"), ""),
        (("sessions", "revoke"), ""),
        (("sessions", "end", "王芳"), ""),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    site: Path,
    arguments: tuple[str, ...],
    typed: str,
) -> None:
    file = people_file(site.with_name("access.key"))
    assert linli(monkeypatch, site, "add", "王芳", "--role", "duty", typed="long enough") == 0
    before = file.read_bytes()
    capsys.readouterr()
    assert linli(monkeypatch, site, *arguments, typed=typed) in (1, EX_CONFIG)
    assert capsys.readouterr().err.strip()
    assert file.read_bytes() == before


def test_a_pin_is_set_beside_the_password(monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
    file = people_file(site.with_name("access.key"))
    assert linli(monkeypatch, site, "add", "王芳", "--role", "duty", typed="long enough\n") == 0
    before = read_people(file)["王芳"]
    assert linli(monkeypatch, site, "pin", "王芳", typed="274951\n") == 0
    assert linli(monkeypatch, site, "role", "王芳", "--role", "manager") == 0
    person = read_people(file)["王芳"]
    assert is_password_of("274951", person.pin)
    assert person.password == before.password
    assert "274951" not in file.read_text("utf-8")


async def test_sessions_are_listed_and_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], site: Path
) -> None:
    key_file = site.with_name("access.key")
    assert linli(monkeypatch, site, "sessions") == 0
    assert not key_file.exists(), "it is the dashboard that makes it"
    access = Access(read_key(key_file), key_file)
    cookies = [access.sign_owner_session(name) for name in ("Wang Fang", "Wang Fang", "李强")]
    ids = [await access.use(cookie, "192.0.2.7", "Firefox") for cookie in cookies]
    capsys.readouterr()
    assert linli(monkeypatch, site, "sessions") == 0
    told = capsys.readouterr().out
    assert all(part in told for part in ("Wang Fang", "李强", "192.0.2.7", "Firefox", ids[2][:8]))
    assert linli(monkeypatch, site, "sessions", "revoke", "Wang", "Fang") == 0
    assert [access.session(cookie) is None for cookie in cookies] == [True, True, False]
    assert linli(monkeypatch, site, "sessions", "revoke", ids[2][:8]) == 0
    assert access.session(cookies[2]) is None


def check(site: Path) -> int:
    """`linli check`."""
    return main(["check", str(site)])


def test_pages_that_others_can_read_are_found(
    capsys: pytest.CaptureFixture[str], site: Path, tmp_path: Path
) -> None:
    text = site.read_text("utf-8")
    for added, code, said in (
        ("", 0, ""),
        ('host = "0.0.0.0"', 0, "0.0.0.0"),
        ('host = "0.0.0.0"\nplain_http = true', 0, ""),
        ('host = "0.0.0.0"\nlocal_ca = true', 0, ""),
        ('host = "0.0.0.0"\nlocal_ca = true\nplain_http = true', EX_CONFIG, "plain_http"),
        (f'certificate_file = "{tmp_path}/own.pem"', EX_CONFIG, "private_key_file"),
        (
            f'certificate_file = "{tmp_path}/own.pem"\nprivate_key_file = "{tmp_path}/own.key"',
            EX_CONFIG,
            "own.pem",
        ),
    ):
        site.write_text(f"{text}\n{added}\n", "utf-8")
        capsys.readouterr()
        assert check(site) == code, added
        told = capsys.readouterr().err
        assert said in told, added
        assert told or not said


def test_the_fingerprint_is_printed_beside_the_gateway(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], site: Path
) -> None:
    assert linli(monkeypatch, site, "certificate") == EX_CONFIG, "there is none yet"
    authority = LocalAuthority(site.with_name("access.key"))
    authority.renew("linli-pi", (), datetime.datetime.now(datetime.UTC))
    capsys.readouterr()
    assert linli(monkeypatch, site, "certificate") == 0
    assert authority.fingerprint() in capsys.readouterr().out
