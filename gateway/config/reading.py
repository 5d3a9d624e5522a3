"""Reading a file that somebody wrote by hand: every mistake is found at once, with its line and mend."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

import drivers
from drivers import load
from gateway.model import Checks, ConfigError, Driver
from gateway.words import LANGUAGES, translate

LARGEST = 1 << 20
"""Bytes of a file that somebody may have written by hand."""
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""Names end up in MQTT topics and metric labels."""

T = TypeVar("T", bound=msgspec.Struct)
Table = dict[str, Any]


class Mistake(msgspec.Struct, frozen=True):
    """One thing to mend."""

    file: Path
    line: int
    where: str
    key: str
    facts: dict[str, object]

    def say(self, language: str) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{self.file}:{self.line}: {where}{translate(language, f'error.{self.key}', **self.facts)}"

    def portable(self) -> dict[str, Any]:
        """As JSON takes it; whoever reads it says it in their own language."""
        facts = {name: str(fact) for name, fact in self.facts.items()}
        return {
            "file": str(self.file), "line": self.line, "where": self.where, "key": self.key, "facts": facts,
        }  # fmt: skip


class Mistakes(ConfigError):
    """All the mistakes of a configuration."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("config-refused", count=len(mistakes), file=mistakes[0].file)
        self.mistakes = mistakes


class TomlReader:
    """One file being read: collects mistakes instead of stopping at the first.

    `kept` is what the file once said, to be read in its place.
    """

    def __init__(self, file: Path, kept: str | None = None) -> None:
        self._file = file
        self._kept = kept
        self.text = ""
        """What was read."""
        self._lines: dict[tuple[str, ...], int] = {}
        self.mistakes: list[Mistake] = []

    def driver(self, name: Any, path: tuple[str, ...]) -> Driver | None:
        try:
            return load(str(name))
        except ConfigError as error:
            self.mistake(path, error.key, 0, **error.facts)
            return None

    def tables(self, data: Table, section: str) -> list[tuple[str, Table]]:
        tables = data.get(section, {})
        if not isinstance(tables, dict):
            self.mistake((section,), "table-expected", key=section)
            return []
        found = []
        for name, table in tables.items():
            if not isinstance(table, dict):
                self.mistake((section, name), "table-expected", key=f"{section}.{name}")
                continue
            self.check_name(name, (section, name))
            found.append((name, dict(table)))
        return found

    def check_name(self, name: str, path: tuple[str, ...]) -> None:
        if not NAME.fullmatch(name):
            self.mistake(path, "name-form", name=name)

    def section(self, kind: type[T], data: Table, name: str, required: bool = False) -> T | None:
        table = data.get(name, {})
        if required and name not in data:
            self.mistake((), "key-missing", key=f"[{name}]")
            return None
        return self.build(kind, table, (name,))

    def build(self, kind: type[T], table: Any, path: tuple[str, ...]) -> T | None:
        """A struct from a table, with every field that is wrong, missing or unknown named."""
        if not isinstance(table, dict):
            self.mistake(path, "table-expected", key=".".join(path))
            return None
        built, mistakes = build_struct(kind, table)
        for mistake in mistakes:
            self.mistake((*path, *mistake.path), mistake.key, **mistake.facts)
        return built

    def unknown(self, table: Table, known: Any, path: tuple[str, ...]) -> None:
        for mistake in _unknown_keys(table, known):
            self.mistake((*path, *mistake.path), mistake.key, **mistake.facts)

    def parse(self, schema: str) -> Table | None:
        text = self._kept
        try:
            if text is None:
                with self._file.open(encoding="utf-8") as file:
                    text = file.read(LARGEST + 1)
            if len(text) > LARGEST:
                self.mistake((), "file-large", megabytes=LARGEST >> 20)
                return None
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"at line (\d+)", str(error))
            last = (text or "").count("\n") + 1
            self.mistake((), "toml", int(line[1]) if line else last, reason=error)
            return None
        except (OSError, UnicodeDecodeError) as error:
            self.mistake((), "file-unreadable", reason=error)
            return None
        except (ValueError, RecursionError) as error:
            # What tomllib passes on of Python's own limits: digits of a number, depth of nesting.
            self.mistake((), "toml", reason=error)
            return None
        self.text = text
        self._lines = _locate(text, data)
        if data.get("schema") != schema:
            self.mistake(("schema",), "schema", wanted=schema)
        return data

    def mistake(self, path: tuple[str, ...], key: str, at_line: int = 0, /, **facts: object) -> None:
        tried = [path[:n] for n in range(len(path), 0, -1)]
        line = at_line or next((self._lines[part] for part in tried if part in self._lines), 1)
        self.mistakes.append(Mistake(self._file, line, ".".join(path), key, facts))


class FieldMistake(msgspec.Struct, frozen=True):
    """What is wrong with one key of a table; `path` is empty for a key that is missing."""

    path: tuple[str, ...]
    key: str
    facts: dict[str, object] = {}


def build_struct(kind: type[T], table: Table) -> tuple[T | None, list[FieldMistake]]:
    """A struct from a table of plain values, and everything that is wrong with it: keys that are unknown
    or missing, wrong types, and what the struct's `CHECKS` and `STRUCT_CHECKS` reject. Pure."""
    checks: Checks = getattr(kind, "CHECKS", {})
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    mistakes = list(_unknown_keys(table, fields))
    values: Table = {}
    for name, field in fields.items():
        if name not in table:
            if field.required:
                mistakes.append(FieldMistake((), "key-missing", {"key": name}))
            continue
        try:
            value = values[field.name] = msgspec.convert(table[name], field.type, dec_hook=_path)
        except msgspec.ValidationError as error:
            found = re.match(r"Expected `(.+?)`, got `(.+?)`", str(error))
            if found:
                mistakes.append(FieldMistake((name,), "value-type", {"wanted": found[1], "got": found[2]}))
            else:
                facts = {"value": table[name], "reason": error}
                mistakes.append(FieldMistake((name,), "value-wrong", facts))
            continue
        holds, sentence = checks.get(name, (lambda _: True, ""))
        if not _passes(holds, value):
            mistakes.append(FieldMistake((name,), sentence))
    if mistakes:
        return None, mistakes
    built = kind(**values)
    struct_checks: Checks = getattr(kind, "STRUCT_CHECKS", {})
    return built, [
        FieldMistake((name,), sentence)
        for name, (holds, sentence) in struct_checks.items() if not _passes(holds, built)
    ]  # fmt: skip


def _unknown_keys(table: Table, known: Any) -> Iterator[FieldMistake]:
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, list(known), 1)
            yield FieldMistake((key,), "key-unknown", {"known": ", ".join(close or sorted(known))})


def driver_name(driver: Driver) -> str:
    return next(name for name in drivers.names() if load(name) is driver)


def localized(title: str | Mapping[str, str]) -> dict[str, str]:
    """A title in every language; one given without a language serves for all."""
    if isinstance(title, str):
        return dict.fromkeys(LANGUAGES, title)
    first = next(iter(title.values()))
    return {language: title.get(language, first) for language in LANGUAGES}


def _passes(holds: Callable[[Any], bool], value: Any) -> bool:
    """A test that chokes on the value (no url at all) has failed."""
    try:
        return holds(value)
    except ValueError:
        return False


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"Expected `str`, got `{type(value).__name__}`")


_KEY = r"(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')"
_HEADER = re.compile(rf"\s*\[+\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*\]+")
_ASSIGNMENT = re.compile(rf"\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*=")


def _locate(text: str, data: Table) -> dict[tuple[str, ...], int]:
    """The line of each table and key. `tomllib` keeps none; what only looks like a key (inside a
    multi-line string) is told apart by not being in the data."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            table = path = _keys(header[1])
        elif assignment := _ASSIGNMENT.match(line):
            path = (*table, *_keys(assignment[1]))
        else:
            continue
        if _holds(data, path):
            lines.setdefault(path, number)
    return lines


def _keys(dotted: str) -> tuple[str, ...]:
    return tuple(key.strip("\"'") for key in re.findall(_KEY, dotted))


def _holds(data: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if isinstance(data, list):
            data = data[-1] if data else {}
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True
