"""What a manager may change without an installer: the core's own settings, and the form of all others.

The wiring (buses, drivers, addresses, models) is never among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from gateway.model import Role

from .fields import Table

MAX_NUMBER = 1e15
"""Beyond it, whole numbers are not exact."""
Path = tuple[str, ...]
"""Names of tables, and a key. A number, as text, is a place in a list, from 0."""


class SettingKind(StrEnum):
    """How a value is entered."""

    TEXT = "text"
    TITLE = "title"
    """Text by language."""
    NUMBER = "number"
    NAMES = "names"
    """Some of the `choices`."""
    ROWS = "rows"
    """A list of tables with the same keys, the `columns`."""
    WEEKLY = "weekly"
    """Spans by weekday, and dates in `closed`, as keys of the group's own table."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a group."""

    key: Path
    """Below the group's path; empty for a `WEEKLY`."""
    label: str
    """In the table `setting` of the words."""
    kind: SettingKind = SettingKind.TEXT
    unit: str = ""
    least: float | None = None
    most: float | None = None
    default: str = ""
    """What applies while the value is not in the file."""
    choices: Mapping[str, Mapping[str, str]] = {}
    """Names with their titles by language."""
    columns: tuple[Setting, ...] = ()
    """Of `ROWS`: the values of each row, with keys below that row."""
    about: str = ""
    """The point, or the key of an address, that it is about; it is named before the label."""

    def admits(self, number: float) -> bool:
        """Whether a `NUMBER` is within its bounds."""
        least = float("-inf") if self.least is None else self.least
        most = float("inf") if self.most is None else self.most
        return least <= number <= most and abs(number) < MAX_NUMBER


class SettingGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that are saved together: those of one thing, such as a room or a contact."""

    path: Path
    source: str = ""
    """The file, as in `Site.sources`: the site file, or one in a folder beside it (`plans/fire`)."""
    title: Mapping[str, str] = {}
    """Of the thing, by language."""
    settings: tuple[Setting, ...]
    role: Role = Role.MANAGER
    """The least role that may change it."""
    removable: bool = False
    """Whether the thing itself may be removed."""
    test_call: str = ""
    """The daemon's call that sends a test message to the `contact` with the group's name. It answers, for
    each of the `channels`, what went wrong."""

    @property
    def id(self) -> str:
        """Identifies the group within its section."""
        return ".".join(self.path) or self.source

    def fits(self, data: Table) -> bool:
        """Whether it is in its file, or may be added: a thing with a name is the installer's to add."""
        return len(self.path) < 2 or value_at(data, self.path) is not None


class SettingSection(msgspec.Struct, frozen=True, kw_only=True):
    """A page of settings."""

    name: str
    """In the table `settings` of the words."""
    groups: tuple[SettingGroup, ...]
    role: Role = Role.MANAGER
    """The least role that sees it."""
    new: SettingGroup | None = None
    """For a further thing, whose name is to be added to the path."""

    def group(self, group_id: str) -> SettingGroup | None:
        """The group of an id."""
        return next((group for group in self.groups if group.id == group_id), None)


def value_at(data: Table, path: Iterable[str]) -> Any:
    """The value of a file; None if it is not there."""
    found: Any = data
    for name in path:
        if isinstance(found, list):
            found = found[int(name)] if name.isdecimal() and int(name) < len(found) else None
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found


def number_setting(name: str, label: str, least: float, most: float, **more: Any) -> Setting:
    """A number at a key of the group's table."""
    return Setting(key=(name,), label=label, kind=SettingKind.NUMBER, least=least, most=most, **more)


def title_setting(name: str = "title", label: str = "title") -> Setting:
    """Text by language at a key of the group's table."""
    return Setting(key=(name,), label=label, kind=SettingKind.TITLE)


WEEKLY_HOURS = Setting(key=(), label="week", kind=SettingKind.WEEKLY)
