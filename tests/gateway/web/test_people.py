"""The file of the people."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gateway.config.reading import Mistakes
from gateway.model import ConfigError, Role
from gateway.web.passwords import hash_password
from gateway.web.people import (
    Person,
    check_new_password,
    is_valid_name,
    normalized_name,
    read_people,
    write_people,
)

HASH = hash_password("long enough")


def test_what_is_written_is_read_and_for_the_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "people.toml"
    assert read_people(file) == {}
    people = {
        name: Person(role, HASH) for name, role in zip(("王芳", "O.Brien", "a = [b] #"), Role, strict=False)
    }
    write_people(file, people)
    assert read_people(file) == people
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    write_people(file, {})
    assert read_people(file) == {}


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ('role = "boss"\npassword = "{hash}"', 3, "choice"),
        ('role = "duty"\npassword = "secret"', 4, "person-password"),
        ('role = "duty"', 2, "key-missing"),
        ('role = "duty"\npassword = "{hash}"\nage = 3', 5, "key-none-of"),
        ('role = "duty"\npassword = ', 4, ""),
    ],
)
def test_a_mistake_is_told_with_its_line_and_no_password(
    tmp_path: Path, text: str, line: int, key: str
) -> None:
    file = tmp_path / "people.toml"
    head = 'schema = "linli/people/1"\n[person."王芳"]\n'
    file.write_text(head + text.replace("{hash}", HASH))
    file.chmod(0o600)
    with pytest.raises(Mistakes) as raised:
        read_people(file)
    (mistake,) = raised.value.mistakes
    assert mistake.line == line
    assert key in mistake.key
    for lang in ("zh", "en"):
        assert "argon2id" not in mistake.text(lang)
        assert "secret" not in mistake.text(lang)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "people.toml"
    write_people(file, {})
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="people-open"):
        read_people(file)
    (tmp_path / "blocked").write_text("")
    with pytest.raises(ConfigError, match="people-unreadable"):
        read_people(tmp_path / "blocked" / "people.toml")


def test_names_are_what_can_be_shown_and_quoted() -> None:
    assert all(map(is_valid_name, ("王芳", "Li Qiang", "x" * 40)))
    bad = ("", " 王芳", "a  b", "x" * 41, 'a"b', "a'b", "a\\b", "a\nb", "a\u202eb", "e\u0301")
    assert not any(map(is_valid_name, bad))
    assert normalized_name(" 王芳\u3000 e\u0301 ") == "王芳 é"


def test_a_new_password_is_neither_short_nor_endless() -> None:
    check_new_password("八个汉字也够长了")
    for wrong, key in (("seven77", "password-short"), ("", "password-short"), ("x" * 257, "password-long")):
        with pytest.raises(ConfigError, match=key):
            check_new_password(wrong)


def test_each_role_includes_those_before_it() -> None:
    assert [[each.includes(other) for other in Role] for each in Role] == [
        [number <= own for number in range(4)] for own in range(4)
    ]
