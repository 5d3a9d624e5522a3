"""Reading TOML files written by hand: all mistakes are found at once, with line and remedy."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

import drivers
from drivers import load_driver
from gateway.model import Checks, ConfigError, Driver
from gateway.words import LANGUAGES, translate

MAX_FILE_CHARACTERS = 1 << 20
"""A larger file is refused."""
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""Names end up in MQTT topics and metric labels."""

T = TypeVar("T", bound=msgspec.Struct)
Table = dict[str, Any]


class Mistake(msgspec.Struct, frozen=True):
    """One mistake in a file."""

    file: Path
    line: int
    where: str
    key: str
    facts: dict[str, object]

    def text(self, language: str) -> str:
        """The sentence that a person reads, with file and line."""
        where = f"{self.where}: " if self.where else ""
        return f"{self.file}:{self.line}: {where}{translate(language, f'error.{self.key}', **self.facts)}"

    def as_json(self) -> dict[str, Any]:
        """For the control socket; the receiver makes the sentence."""
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
    """Reads one file, and collects mistakes instead of stopping at the first.

    `saved_text` is read instead of the file, if given.
    """

    def __init__(self, file: Path, saved_text: str | None = None) -> None:
        self._file = file
        self._saved_text = saved_text
        self.text = ""
        """The text of the file."""
        self._lines: dict[tuple[str, ...], int] = {}
        self.mistakes: list[Mistake] = []

    def load_driver(self, name: Any, path: tuple[str, ...]) -> Driver | None:
        try:
            return load_driver(str(name))
        except ConfigError as error:
            self.add_mistake(path, error.key, 0, **error.facts)
            return None

    def named_tables(self, data: Table, section: str) -> list[tuple[str, Table]]:
        tables = data.get(section, {})
        if not isinstance(tables, dict):
            self.add_mistake((section,), "table-expected", key=section)
            return []
        found = []
        for name, table in tables.items():
            if not isinstance(table, dict):
                self.add_mistake((section, name), "table-expected", key=f"{section}.{name}")
                continue
            self.check_name(name, (section, name))
            found.append((name, dict(table)))
        return found

    def check_name(self, name: str, path: tuple[str, ...]) -> None:
        if not NAME_PATTERN.fullmatch(name):
            self.add_mistake(path, "name-form", name=name)

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
        self._add_field_mistakes(path, _unknown_keys(table, known))

    def _add_field_mistakes(self, path: tuple[str, ...], mistakes: Iterable[FieldMistake]) -> None:
        for mistake in mistakes:
            self.add_mistake((*path, *mistake.path), mistake.key, **mistake.facts)

    def parse_file(self, schema: str) -> Table | None:
        text = self._saved_text
        try:
            if text is None:
                with self._file.open(encoding="utf-8") as file:
                    text = file.read(MAX_FILE_CHARACTERS + 1)
            if len(text) > MAX_FILE_CHARACTERS:
                self.add_mistake((), "file-large", megabytes=MAX_FILE_CHARACTERS >> 20)
                return None
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"at line (\d+)", str(error))
            last = (text or "").count("\n") + 1
            self.add_mistake((), "toml", int(line[1]) if line else last, reason=error)
            return None
        except (OSError, UnicodeDecodeError) as error:
            self.add_mistake((), "file-unreadable", reason=error)
            return None
        except (ValueError, RecursionError) as error:
            # Python's own limits, which tomllib does not catch: digits of a number, depth of nesting.
            self.add_mistake((), "toml", reason=error)
            return None
        self.text = text
        self._lines = _line_numbers(text, data)
        if data.get("schema") != schema:
            self.add_mistake(("schema",), "schema", wanted=schema)
        return data

    def add_mistake(self, path: tuple[str, ...], key: str, at_line: int = 0, /, **facts: object) -> None:
        tried = [path[:n] for n in range(len(path), 0, -1)]
        line = at_line or next((self._lines[part] for part in tried if part in self._lines), 1)
        self.mistakes.append(Mistake(self._file, line, ".".join(path), key, facts))


class FieldMistake(msgspec.Struct, frozen=True):
    """What is wrong with one key of a table; `path` is empty for a key that is missing."""

    path: tuple[str, ...]
    key: str
    facts: dict[str, object] = {}


def struct_from_table(struct_type: type[T], table: Table) -> tuple[T | None, list[FieldMistake]]:
    """A struct from a table of plain values, and everything that is wrong with it: keys that are unknown
    or missing, wrong types, and what the struct's `CHECKS` and `STRUCT_CHECKS` reject. Pure."""
    checks: Checks = getattr(struct_type, "CHECKS", {})
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct_type)}
    mistakes = list(_unknown_keys(table, fields))
    values: Table = {}
    for name, field in fields.items():
        if name not in table:
            if field.required:
                mistakes.append(FieldMistake((), "key-missing", {"key": name}))
            continue
        try:
            value = values[field.name] = msgspec.convert(table[name], field.type, dec_hook=_decode_path)
        except msgspec.ValidationError as error:
            found = re.match(r"Expected `(.+?)`, got `(.+?)`", str(error))
            if found:
                mistakes.append(FieldMistake((name,), "value-type", {"wanted": found[1], "got": found[2]}))
            else:
                facts = {"value": table[name], "reason": error}
                mistakes.append(FieldMistake((name,), "value-wrong", facts))
            continue
        holds, sentence = checks.get(name, (lambda _: True, ""))
        if not _check_passes(holds, value):
            mistakes.append(FieldMistake((name,), sentence))
    if mistakes:
        return None, mistakes
    built = struct_type(**values)
    struct_checks: Checks = getattr(struct_type, "STRUCT_CHECKS", {})
    return built, [
        FieldMistake((name,), sentence)
        for name, (holds, sentence) in struct_checks.items() if not _check_passes(holds, built)
    ]  # fmt: skip


def _unknown_keys(table: Table, known: Any) -> Iterator[FieldMistake]:
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, list(known), 1)
            yield FieldMistake((key,), "key-unknown", {"known": ", ".join(close or sorted(known))})


def driver_name(driver: Driver) -> str:
    return next(name for name in drivers.driver_names() if load_driver(name) is driver)


def localized(title: str | Mapping[str, str]) -> dict[str, str]:
    """A title in every language; one that is given without a language is used for all."""
    if isinstance(title, str):
        return dict.fromkeys(LANGUAGES, title)
    first = next(iter(title.values()))
    return {language: title.get(language, first) for language in LANGUAGES}


def _check_passes(check: Callable[[Any], bool], value: Any) -> bool:
    """Whether a check holds; one that raises `ValueError` (not a URL at all) does not."""
    try:
        return check(value)
    except ValueError:
        return False


def _decode_path(field_type: type, value: Any) -> Any:
    if field_type is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"Expected `str`, got `{type(value).__name__}`")


_KEY_PATTERN = r"(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')"
_HEADER_PATTERN = re.compile(rf"\s*\[+\s*({_KEY_PATTERN}(?:\s*\.\s*{_KEY_PATTERN})*)\s*\]+")
_ASSIGNMENT_PATTERN = re.compile(rf"\s*({_KEY_PATTERN}(?:\s*\.\s*{_KEY_PATTERN})*)\s*=")


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
    return tuple(key.strip("\"'") for key in re.findall(_KEY_PATTERN, dotted))


def _contains(data: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if isinstance(data, list):
            data = data[-1] if data else {}
        if not isinstance(data, dict) or key not in data:
            return False
        data = data[key]
    return True
