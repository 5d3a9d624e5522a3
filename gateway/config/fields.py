"""A struct from a table of plain values: every field that is wrong, missing or unknown is found."""

from __future__ import annotations

import datetime
import difflib
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway.model import Checks
from gateway.words import LANGUAGES

from .toml_text import MAX_QUOTED_CHARACTERS, find_lookalike, lookalike_facts

T = TypeVar("T", bound=msgspec.Struct)
Table = dict[str, Any]


class FieldMistake(msgspec.Struct, frozen=True):
    """What is wrong with one key of a table; `path` is empty for a key that is missing."""

    path: tuple[str, ...]
    key: str
    facts: dict[str, object] = {}


def struct_from_table(struct_type: type[T], table: Table) -> tuple[T | None, list[FieldMistake]]:
    """A struct from a table of plain values, and everything that is wrong with it: keys that are unknown
    or missing, wrong types, and what the struct's `CHECKS` and `STRUCT_CHECKS` reject. Pure."""
    checks = _inherited_checks(struct_type, "CHECKS")
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct_type)}
    missing = [name for name, field in fields.items() if field.required and name not in table]
    mistakes = list(unknown_keys(table, fields, missing))
    values: Table = {}
    for name, field in fields.items():
        if name not in table:
            if name in missing:
                mistakes.append(FieldMistake((), "key-missing", {"key": name}))
            continue
        try:
            value = values[field.name] = msgspec.convert(table[name], field.type, dec_hook=_decode_path)
        except msgspec.ValidationError as error:
            mistakes.append(_type_mistake(name, field.type, table[name], str(error)))
            continue
        holds, sentence = checks.get(name, (lambda _: True, ""))
        read = as_read(table[name])
        if inner := list(_mistakes_within(value, (name,))):
            mistakes += inner
        elif isinstance(value, Path) and (key := _path_mistake(table[name])):
            mistakes.append(lookalike_mistake((name,), table[name]) or FieldMistake((name,), key, read))
        elif not _check_passes(holds, value):
            mistakes.append(lookalike_mistake((name,), value) or FieldMistake((name,), sentence, read))
        elif field.type == LOCALIZED and (key := _title_mistake(value)):
            mistakes.append(FieldMistake((name,), key, read))
        elif isinstance(value, str) and (mistake := _address_mistake((name,), value)):
            mistakes.append(mistake)
    if mistakes:
        return None, mistakes
    built = struct_type(**values)
    return built, [
        FieldMistake((name,), sentence)
        for name, (holds, sentence) in _inherited_checks(struct_type, "STRUCT_CHECKS").items()
        if not _check_passes(holds, built)
    ]


def _mistakes_within(value: Any, path: tuple[str, ...]) -> Iterator[FieldMistake]:
    """Numbers that are not finite, and what the checks of structs within the value reject; items of lists
    are numbered from 1."""
    if isinstance(value, float) and not math.isfinite(value):
        yield FieldMistake(path, "value-not-finite")
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _mistakes_within(each, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value, 1):
            yield from _mistakes_within(each, (*path, str(number)))
    elif isinstance(value, msgspec.Struct):
        checks = _inherited_checks(type(value), "CHECKS")
        for field in msgspec.structs.fields(value):
            inner, inner_path = getattr(value, field.name), (*path, field.encode_name)
            holds, sentence = checks.get(field.encode_name, (lambda _: True, ""))
            if found := list(_mistakes_within(inner, inner_path)):
                yield from found
            elif not _check_passes(holds, inner):
                yield FieldMistake(inner_path, sentence, as_read(inner))
        for name, (holds, sentence) in _inherited_checks(type(value), "STRUCT_CHECKS").items():
            if not _check_passes(holds, value):
                yield FieldMistake((*path, name), sentence)


LOCALIZED = str | dict[str, str]
"""The type of a text for people: the same in every language, or by language."""


def _title_mistake(text: str | dict[str, str]) -> str:
    """The key of the sentence for a text that shows nothing in some language; empty if it is right."""
    if isinstance(text, str):
        return "title-empty" if text and not text.strip() else ""
    if not text.keys() <= {*LANGUAGES}:
        return "language-unknown"
    return "" if text and all(each.strip() for each in text.values()) else "title-empty"


def _address_mistake(path: tuple[str, ...], text: str) -> FieldMistake | None:
    """What is wrong with a text that is meant to be a URL, a port or a host with its port."""
    if _ADDRESS.match(text) and (mistake := lookalike_mistake(path, text)):
        return mistake
    if text != text.strip() and _ADDRESS.match(text.strip()):
        return FieldMistake(path, "value-spaces", as_read(text))
    if _WINDOWS_PORT.fullmatch(text):
        return FieldMistake(path, "port-windows", as_read(text))
    return FieldMistake(path, "port-form", as_read(text)) if _PORT_WITHOUT_FOLDER.fullmatch(text) else None


def _path_mistake(text: str) -> str:
    """The key of the sentence for what is not the path of a file here; empty if it may be."""
    if not text.isprintable():
        return "toml-backslash"
    return "path-form" if _NO_PATH.fullmatch(text) else ""


_NO_PATH = re.compile(r"\.?|~.*|[A-Za-z][A-Za-z0-9+.-]*:.*|.*(\\|\$\w|\$\{|%\w+%).*")
"""Nothing, the home folder of a shell, a drive or URL, and what has backslashes or variables."""
_PORT_WITHOUT_FOLDER = re.compile(r"([a-z]+:)?((//)?(dev/+)?tty\w+|\\.*)", re.IGNORECASE)
_WINDOWS_PORT = re.compile(r"([a-z]+:/*)?(\\\\\.\\)?com[0-9]+", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z0-9+]*:?/|[^/]*:[0-9]+$")
"""A URL, a path, or a host with its port."""


def _inherited_checks(struct_type: type, name: str) -> Checks:
    """The checks of a struct and of those that it extends."""
    classes = reversed(struct_type.__mro__)
    return {key: check for each in classes for key, check in vars(each).get(name, {}).items()}


_TYPE_SENTENCES = {
    "float": "value-number", "int": "value-integer", "str": "value-text", "bool": "value-boolean",
    "array": "value-list", "object": "value-table",
}  # fmt: skip
"""What a value must be, by msgspec's word for the type; of several, the first is named."""


def _type_mistake(name: str, field_type: Any, value: Any, reason: str) -> FieldMistake:
    """The mistake in a value that msgspec refuses for the reason."""
    path, value = _find_refused(name, value, reason)
    facts = as_read(value)
    if lookalike := lookalike_mistake(path, value):
        return lookalike
    choices = _choices(msgspec.inspect.type_info(field_type))
    key = "value-wrong"
    if unknown := re.match(r"Object contains unknown field `(.+?)`", reason):
        key, facts["key"] = "key-unknown-within", unknown[1]
        facts["known"] = ", ".join(_keys(msgspec.inspect.type_info(field_type))) or "–"
    elif missing := re.match(r"Object missing required field `(.+?)`", reason):
        key, facts["key"] = "key-missing", missing[1]
    elif (invalid := re.match(r"Invalid enum value '?(.+?)'?( - |$)", reason)) and choices:
        key, facts["known"] = "value-choice", ", ".join(choices)
        if reason.endswith("`key` in `$`"):
            facts |= as_read(invalid[1])
    elif limit := re.match(r"Expected `\w+` ([<>])=? (\S+)", reason):
        key, facts["limit"] = "value-too-large" if limit[1] == "<" else "value-too-small", limit[2]
    elif length := re.match(r"Expected `\w+` of length ([<>]?)=? ?(\d+)", reason):
        key = {"<": "value-too-long", ">": "value-too-short"}.get(length[1], "value-length")
        facts["limit"] = length[2]
    elif expected := re.match(r"Expected `([^`]+)`, got", reason):
        kinds = expected[1].split(" | ")
        key = next((sentence for kind, sentence in _TYPE_SENTENCES.items() if kind in kinds), key)
    return FieldMistake(path, key, facts)


def _find_refused(name: str, value: Any, reason: str) -> tuple[tuple[str, ...], Any]:
    """The path of what msgspec refuses, with items of lists numbered from 1, and what was read there."""
    path = [name]
    found = re.search(r" - at `\$(.+)`$", reason)
    # `[...]` is a value of a table whose key is not told.
    for index, key in re.findall(r"\[(\d+)\]|\.([\w-]+)", found[1].partition("[...]")[0]) if found else ():
        value = value[int(index) if index else key]
        path.append(str(int(index) + 1) if index else key)
    return tuple(path), value


def _keys(type_info: Any) -> list[str]:
    """The keys of the tables that a type admits, wherever they are within it."""
    if isinstance(type_info, msgspec.inspect.StructType | msgspec.inspect.TypedDictType):
        return [field.encode_name for field in type_info.fields]
    return list(dict.fromkeys(key for part in _parts(type_info) for key in _keys(part)))


def _choices(type_info: Any) -> list[str]:
    """The words that a type admits, wherever they are within it."""
    if isinstance(type_info, msgspec.inspect.EnumType):
        return [str(member.value) for member in type_info.cls]
    if isinstance(type_info, msgspec.inspect.LiteralType):
        return [str(value) for value in type_info.values]
    if isinstance(type_info, msgspec.inspect.StructType | msgspec.inspect.TypedDictType):
        return [word for field in type_info.fields for word in _choices(field.type)]
    return [word for part in _parts(type_info) for word in _choices(part)]


def _parts(type_info: Any) -> Iterator[Any]:
    """The types within a union, list or table."""
    for name in ("types", "item_types", "item_type", "key_type", "value_type"):
        part = getattr(type_info, name, ())
        yield from part if isinstance(part, tuple) else (part,)


_URL_PASSWORD = re.compile(r"(://[^/\s:@]*):[^/\s]*@")


def as_read(value: Any) -> dict[str, object]:
    """What was read, as it stands in the file; a password in a URL is left out."""
    if isinstance(value, datetime.date | datetime.time):
        return {"read": str(value)}
    text = _URL_PASSWORD.sub(r"\1:…@", json.dumps(value, ensure_ascii=False, default=str))
    return {"read": text if len(text) <= MAX_QUOTED_CHARACTERS else f"{text[:MAX_QUOTED_CHARACTERS]}…"}


def lookalike_mistake(path: tuple[str, ...], value: Any) -> FieldMistake | None:
    """A wrong value in which a character only looks right: that is what has to be mended."""
    found = find_lookalike(value) if isinstance(value, str) else None
    if found is None:
        return None
    key, facts = lookalike_facts(*found)
    return FieldMistake(path, key, {**facts, **as_read(value)})


def unknown_keys(table: Table, known: Any, missing: Sequence[str] = ()) -> Iterator[FieldMistake]:
    """The keys that are not known. `missing`: those that must be given and are not."""
    for key in table:
        if key not in known and "." in key:
            yield FieldMistake((key,), "key-quoted", {"name": key})
        elif key not in known:
            meant = difflib.get_close_matches(key.lower(), list(known), 1) or missing
            sentence = "key-unknown" if meant else "key-none-of"
            yield FieldMistake((key,), sentence, {"known": ", ".join(meant or sorted(known))})


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
