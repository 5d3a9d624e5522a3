"""Reading TOML files written by hand: all mistakes are found at once, with line and remedy."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

import drivers
from drivers import load_driver
from gateway.model import ConfigError, Driver, as_fact
from gateway.model.hours import WeeklyHours, parse_week
from gateway.words import LANGUAGES, translate, words

from .fields import FieldMistake, Table, as_read, lookalike_mistake, struct_from_table, unknown_keys
from .toml_text import DOTTED_KEY, KEY, MAX_LINES_OF_VALUE, TomlError, parse, read_text

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""Names end up in MQTT topics and metric labels."""

NAME_FACTS = ("device", "point", "action")
"""Facts of mistakes that are names, as they stand in a list or within a text."""

T = TypeVar("T", bound=msgspec.Struct)


class Mistake(msgspec.Struct, frozen=True):
    """One mistake in a file."""

    file: Path
    line: int
    where: str
    key: str
    facts: dict[str, object]

    def text(self, language: str) -> str:
        """The sentence that a person reads, with file and line."""
        facts = {name: as_fact(fact) for name, fact in self.facts.items()}
        says_read = "read" not in facts or "{read}" in words(language)[f"error.{self.key}"]
        where = self.where if says_read else f"{self.where} = {facts['read']}"
        sentence = translate(language, f"error.{self.key}", **facts)
        return f"{self.file}:{self.line}: {where}{': ' if where else ''}{sentence}"

    def as_json(self) -> dict[str, Any]:
        """For the control socket; the receiver makes the sentence."""
        known = ((name, as_fact(fact)) for name, fact in self.facts.items())
        facts = {name: fact if isinstance(fact, dict) else str(fact) for name, fact in known}
        return {
            "file": str(self.file), "line": self.line, "where": self.where, "key": self.key, "facts": facts,
        }  # fmt: skip


class Mistakes(ConfigError):
    """All the mistakes of a configuration."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("config-refused", count=len(mistakes), file=mistakes[0].file)
        self.mistakes = mistakes


class TomlReader:
    """Reads one file, and collects mistakes instead of stopping at the first.

    `saved_text` is read instead of the file, if given.
    """

    def __init__(self, file: Path, saved_text: str | None = None) -> None:
        self._file = file
        self._saved_text = saved_text
        self.text = ""
        """The text of the file."""
        self._data: Table = {}
        self._lines: dict[tuple[str, ...], int] = {}
        self.mistakes: list[Mistake] = []

    def load_driver(self, name: Any, path: tuple[str, ...]) -> Driver | None:
        try:
            return load_driver(str(name))
        except ConfigError as error:
            self.add_mistake(path, error.key, 0, **error.facts)
            return None

    def named_tables(self, data: Table, section: str, required: str = "") -> list[tuple[str, Table]]:
        """The tables `[section.name]`. Reports names that are wrong; and, if each must have the key
        `required`, tables that only hold tables with it: TOML takes a dot in a name for another level."""
        tables = data.get(section, {})
        if not has_named_tables(data, section):
            self.add_mistake((section,), "table-unnamed", section=section)
            return []
        found = []
        for name, table in tables.items():
            if not isinstance(table, dict):
                self.add_mistake((section, name), "table-expected", key=f"{section}.{name}")
                continue
            self.check_name(name, (section, name))
            parts = [part for part, each in table.items() if isinstance(each, dict) and required in each]
            if parts and len(parts) == len(table):
                for part in parts:
                    facts = {"section": section, "name": f"{name}-{part}"}
                    self.add_mistake((section, name, part), "name-dotted", **facts)
                continue
            found.append((name, dict(table)))
        return found

    def read_week(self, table: Table, path: tuple[str, ...]) -> WeeklyHours | None:
        """Spans by days, and the dates in `closed`; reports every key that is wrong."""
        before = len(self.mistakes)
        for key, value in table.items():
            try:
                parse_week(*(({}, value) if key == "closed" else ({key: value},)))
            except (TypeError, ValueError):
                self.add_hours_mistake((*path, key), value)
        if len(self.mistakes) > before:
            return None
        days = {key: value for key, value in table.items() if key != "closed"}
        return parse_week(days, table.get("closed", ()))

    def add_hours_mistake(self, path: tuple[str, ...], value: Any, key: str = "hours-form") -> None:
        """Report hours that cannot be read; a character that only looks right is named."""
        texts = [path[-1], *(value if isinstance(value, list) else [value])]
        found = next(filter(None, (lookalike_mistake(path, text) for text in texts)), None)
        mistake = found or FieldMistake(path, key, as_read(value))
        self.add_mistake(mistake.path, mistake.key, 0, **mistake.facts)

    def check_name(self, name: str, path: tuple[str, ...]) -> None:
        if not NAME_PATTERN.fullmatch(name):
            mistake = lookalike_mistake((), name) or FieldMistake((), "name-form")
            self.add_mistake(path, mistake.key, 0, **mistake.facts)

    def read_section(
        self, struct_type: type[T], data: Table, name: str, required: bool = False
    ) -> T | None:
        table = data.get(name, {})
        if required and name not in data:
            self.add_mistake((), "key-missing", key=f"[{name}]")
            return None
        return self.build_struct(struct_type, table, (name,))

    def build_struct(self, struct_type: type[T], table: Any, path: tuple[str, ...]) -> T | None:
        """A struct from a table; reports every field that is wrong, missing or unknown. None if any is."""
        if not isinstance(table, dict):
            self.add_mistake(path, "table-expected", key=".".join(path))
            return None
        built, mistakes = struct_from_table(struct_type, table)
        self._add_field_mistakes(path, mistakes)
        return built

    def check_keys(self, table: Table, known: Any, path: tuple[str, ...]) -> None:
        self._add_field_mistakes(path, unknown_keys(table, known))

    def _add_field_mistakes(self, path: tuple[str, ...], mistakes: Iterable[FieldMistake]) -> None:
        for mistake in mistakes:
            line = self._line_within(path, mistake) if len(mistake.path) > 1 else 0
            self.add_mistake((*path, *mistake.path), mistake.key, line, **mistake.facts)

    def _line_within(self, path: tuple[str, ...], mistake: FieldMistake) -> int:
        """The line of something in a value that has several lines; 0 if it is not found."""
        first = self._lines.get((*path, mistake.path[0]), 1)
        key, read = mistake.facts.get("key"), re.escape(str(mistake.facts.get("read")))
        name = "" if mistake.path[-1].isdecimal() else rf"{mistake.path[-1]}\s*=\s*"
        pattern = re.compile(rf"(?<![\w-]){key}\s*=" if key else name + read)
        lines = self.text.split("\n")[first - 1 : first - 1 + MAX_LINES_OF_VALUE]
        return next((number for number, line in enumerate(lines, first) if pattern.search(line)), 0)

    def parse_file(self, schema: str) -> Table | None:
        try:
            text = read_text(self._file) if self._saved_text is None else self._saved_text
            data = parse(text)
        except TomlError as error:
            self.add_mistake((), error.key, error.line, **error.facts)
            return None
        self.text = text
        self._data = data
        self._lines = _line_numbers(text, data)
        if data.get("schema") != schema:
            # In a file of another kind, all else would be wrong too.
            self.add_mistake(("schema",), "schema", wanted=schema, **as_read(data.get("schema", "")))
            return None
        return data

    def add_mistake(self, path: tuple[str, ...], key: str, at_line: int = 0, /, **facts: object) -> None:
        tried = [path[:n] for n in range(len(path), 0, -1)]
        within = (line for key, line in self._lines.items() if path and key[: len(path)] == path)
        found = (self._lines[part] for part in tried if part in self._lines)
        line = at_line or next(itertools.chain(found, within), 1)
        texts = [_text_at(self._data, path), *(facts[name] for name in NAME_FACTS if name in facts)]
        if lookalike := next(filter(None, (lookalike_mistake((), text) for text in texts)), None):
            key, facts = lookalike.key, lookalike.facts
        self.mistakes.append(Mistake(self._file, line, ".".join(path), key, facts))


def has_named_tables(data: Table, section: str) -> bool:
    """Whether all of a section is in tables with a name, not in `[section]` itself."""
    tables = data.get(section, {})
    return isinstance(tables, dict) and all(
        isinstance(each, dict) or (isinstance(each, list) and all(isinstance(item, dict) for item in each))
        for each in tables.values()
    )


def table_names(data: Table, section: str) -> list[str]:
    """The names of a section's tables, those with mistakes included."""
    tables = data.get(section)
    return list(tables) if isinstance(tables, dict) else []


def line_with(text: str, found: str, otherwise: int = 0, *, last: bool = False) -> int:
    """The number of the first (or last) line that contains the words, unless it is a comment."""
    numbers = [
        number
        for number, line in enumerate(text.split("\n"), 1)
        if re.search(rf"(?<![\w.-]){re.escape(found)}(?![\w/-])", line.partition("#")[0])
    ]
    return numbers[-1 if last else 0] if numbers else otherwise


def driver_name(driver: Driver) -> str:
    return next(name for name in drivers.driver_names() if load_driver(name) is driver)


def localized(title: str | Mapping[str, str]) -> dict[str, str]:
    """A title in every language; one that is given without a language is used for all."""
    if isinstance(title, str):
        return dict.fromkeys(LANGUAGES, title)
    first = next(iter(title.values()))
    return {language: title.get(language, first) for language in LANGUAGES}


_HEADER_PATTERN = re.compile(rf"\s*\[+\s*({DOTTED_KEY})\s*\]+")
_ASSIGNMENT_PATTERN = re.compile(rf"\s*({DOTTED_KEY})\s*=")


def _line_numbers(text: str, data: Table) -> dict[tuple[str, ...], int]:
    """The line number of each table and key, which `tomllib` does not give. What only looks like a key
    (inside a multi-line string) is recognised by not being in the data."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER_PATTERN.match(line):
            table = path = _split_dotted(header[1])
        elif assignment := _ASSIGNMENT_PATTERN.match(line):
            path = (*table, *_split_dotted(assignment[1]))
        else:
            continue
        if _contains(data, path):
            lines.setdefault(path, number)
    return lines


def _split_dotted(dotted: str) -> tuple[str, ...]:
    return tuple(key.strip("\"'") for key in re.findall(KEY, dotted))


def _text_at(data: Any, path: tuple[str, ...]) -> str:
    """The text of a value, in which a mistake was found; empty if it is none."""
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, str) else ""


def _contains(data: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if isinstance(data, list):
            data = data[-1] if data else {}
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True
