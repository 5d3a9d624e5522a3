"""The people who may log in, each with a role and a password, in a file beside the access key.

`linli dashboard` writes the file (see `gateway/cli/dashboard.py`); the dashboard reads it, and follows it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gateway.base.files import give_to_owner_of_folder, write_durably
from gateway.config.reading import Mistakes, TomlReader
from gateway.model import ConfigError, Role
from gateway.wire.secret import is_open_to_others

from .passwords import HASH_PATTERN, MAX_PASSWORD_CHARACTERS, MIN_PASSWORD_CHARACTERS

PEOPLE_SCHEMA = "linli/people/1"
MAX_NAME_CHARACTERS = 40
MAX_PEOPLE = 500
HEAD = f"""schema = "{PEOPLE_SCHEMA}"

# 看板的人员，由 linli dashboard add、password、pin、role、remove 修改。
# The people of the dashboard; changed by linli dashboard add, password, pin, role and remove.
"""


class Person(msgspec.Struct, frozen=True):
    """`[person."name"]`: the role, and the PHC strings of the password and of the PIN, if there is one."""

    role: Role
    password: str
    pin: str = ""


People = Mapping[str, Person]
"""By name."""


def people_file(access_key: Path) -> Path:
    """Beside the access key."""
    return access_key.with_name("people.toml")


def normalized_name(name: str) -> str:
    """A name as it is stored, however it was typed."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def is_valid_name(name: str) -> bool:
    """Whether a person can have that name: it is shown, recorded, and quoted in the file."""
    return (
        0 < len(name) <= MAX_NAME_CHARACTERS
        and name == normalized_name(name)
        and name.isprintable()
        and not set(name) & set("\"'\\")
    )


def check_new_password(password: str) -> None:
    """Raises `ConfigError` if nobody may have that password."""
    length = len(unicodedata.normalize("NFC", password))
    if length < MIN_PASSWORD_CHARACTERS:
        raise ConfigError("password-short", least=MIN_PASSWORD_CHARACTERS)
    if length > MAX_PASSWORD_CHARACTERS:
        raise ConfigError("password-long", most=MAX_PASSWORD_CHARACTERS)


def read_people(file: Path) -> People:
    """Nobody if there is no file. Raises `Mistakes`, and `ConfigError`: others can read the file."""
    try:
        if is_open_to_others(file):
            raise ConfigError("people-open", file=file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError("people-unreadable", file=file, reason=error) from error
    return _PeopleReader(file).people()


class _PeopleReader(TomlReader):
    def people(self) -> People:
        data = self.parse_file(PEOPLE_SCHEMA) or {}
        self.check_keys(data, ("schema", "person"), ())
        tables = data.get("person", {})
        if not isinstance(tables, dict):
            self.add_mistake(("person",), "table-expected", key="person")
            tables = {}
        people = {}
        for name, table in tables.items():
            path = ("person", name)
            if not is_valid_name(name):
                self.add_mistake(path, "person-name", most=MAX_NAME_CHARACTERS)
            person = self.build_struct(Person, table, path)
            if person and not HASH_PATTERN.fullmatch(person.password):
                self.add_mistake((*path, "password"), "person-password")
            if person and person.pin and not HASH_PATTERN.fullmatch(person.pin):
                self.add_mistake((*path, "pin"), "person-pin")
            if person:
                people[name] = person
        if len(people) > MAX_PEOPLE:
            self.add_mistake(("person",), "people-many", most=MAX_PEOPLE)
        if self.mistakes:
            raise Mistakes(self.mistakes)
        return people


def write_people(file: Path, people: People) -> None:
    """Replace the file; root gives it to the owner of the folder, which the dashboard runs as. Raises
    `OSError`."""
    tables = (
        f'\n[person."{name}"]\nrole = "{person.role}"\npassword = "{person.password}"\n'
        + (f'pin = "{person.pin}"\n' if person.pin else "")
        for name, person in people.items()
    )
    write_durably(file, (HEAD + "".join(tables)).encode())
    give_to_owner_of_folder(file)
