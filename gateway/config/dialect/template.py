"""Templates of a dialect file: texts and JSON with placeholders, checked before anything is sent.

A placeholder is `{name}`, `{name:format}`, or `{name?}` where it may be missing. A JSON string that is one
placeholder alone becomes its value, with its type. An object with the key `$each` is repeated.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any

import msgspec


class Level(IntEnum):
    """What a placeholder depends on: each level is within the one before it."""

    GATEWAY = 0
    MESSAGE = 1
    DEVICE = 2
    RECORD = 3
    VALUE = 4


EACH = "$each"
LOOPS = {"device": Level.DEVICE, "record": Level.RECORD, "value": Level.VALUE}
"""What `$each` may name."""
TIME_FORMATS = ("ms", "s", "iso", "utc")
VALUE_FORMATS = ("text", "int", "float", "01", "json", "url", "name")
"""Further formats are `%…` and `local %…` (strftime, in UTC and at the site; `%3f` are milliseconds), `.2f`
(a text with so many decimals), and tables of `[maps]`."""

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}:]*)(?::([^{}]*))?\}|[{}]")
_NOW = re.compile(r"now\+(\d{1,9})")
_STRFTIME = re.compile(r"(local )?[^%]*%.*", re.DOTALL)
_DECIMALS = re.compile(r"\.\d{1,2}f")


class TemplateMistake(Exception):
    """What is wrong with a template: the key of its sentence, and `line` within the template, from 0."""

    def __init__(self, key: str, line: int = 0, /, **facts: object) -> None:
        super().__init__(key)
        self.key, self.line, self.facts = key, line, facts


class Placeholder(msgspec.Struct, frozen=True):
    """One placeholder of a template."""

    name: str
    format: str = ""
    optional: bool = False
    level: Level = Level.GATEWAY

    @property
    def parts(self) -> list[str]:
        """The name and the field within it: `data.open` is a field of `data`."""
        return self.name.split(".", 1)


Text = tuple[str | Placeholder, ...]
"""A text with placeholders."""


class Literal(msgspec.Struct, frozen=True):
    """A part of JSON without placeholders."""

    value: Any


class Typed(msgspec.Struct, frozen=True):
    """The value of one placeholder, with its type."""

    placeholder: Placeholder


class Joined(msgspec.Struct, frozen=True):
    """A JSON string with placeholders in it."""

    text: Text


class Array(msgspec.Struct, frozen=True):
    """A list; its items that are `Each` are repeated."""

    items: tuple[Node, ...]


class Object(msgspec.Struct, frozen=True):
    """An object. A member whose value is a missing optional placeholder is left out."""

    members: tuple[tuple[Text, Node], ...]


class Each(msgspec.Struct, frozen=True):
    """Once for each device, record or value: an item of a list, or members of an object."""

    over: Level
    body: Object


Node = Literal | Typed | Joined | Array | Object | Each


class Names(msgspec.Struct, frozen=True):
    """What a template may name. Of a name that ends in `.*` every field may be named."""

    levels: Mapping[str, Level]
    maps: frozenset[str] = frozenset()
    pointers: bool = False
    """Whether `/pointer` names a value of the message that was received (RFC 6901)."""

    def level_of(self, name: str) -> Level | None:
        """None: there is no such name."""
        if self.pointers and name.startswith("/"):
            return Level.GATEWAY
        if name in self.levels:
            return self.levels[name]
        if _NOW.fullmatch(name):
            return self.levels.get("now")
        return self.levels.get(f"{name.partition('.')[0]}.*") if "." in name else None


def parse_text(text: str, names: Names, line: int = 0) -> Text:
    """A text with its placeholders. Raises `TemplateMistake`."""
    parts: list[str | Placeholder] = []
    end = 0
    for found in _PLACEHOLDER.finditer(text):
        parts.append(text[end : found.start()])
        end = found.end()
        if found[0] in ("{{", "}}"):
            parts.append(found[0][0])
        elif found[1] is None:
            raise TemplateMistake("template-brace", line, read=_shortened(text))
        else:
            parts.append(_placeholder(found[1], found[2] or "", names, line))
    parts.append(text[end:])
    return _merged(parts)


def parse_json(text: str, names: Names) -> Node:
    """A JSON template. Raises `TemplateMistake`."""
    try:
        document = json.loads(text, object_pairs_hook=_Pairs)
        return _Parser(text, names).node(document, is_item=False)
    except json.JSONDecodeError as error:
        raise TemplateMistake("template-json", error.lineno - 1, column=error.colno) from error
    except RecursionError as error:
        raise TemplateMistake("template-json", 0, column=1) from error


def levels_outside_loops(node: Node) -> Iterator[Level]:
    """The levels of the placeholders that stand in no `$each`."""
    if isinstance(node, Typed):
        yield node.placeholder.level
    elif isinstance(node, Joined):
        yield from text_levels(node.text)
    elif isinstance(node, Array):
        for item in node.items:
            yield from levels_outside_loops(item)
    elif isinstance(node, Object):
        for key, value in node.members:
            yield from text_levels(key)
            yield from levels_outside_loops(value)


def text_levels(text: Text) -> Iterator[Level]:
    """The levels of the placeholders of a text."""
    for part in text:
        if isinstance(part, Placeholder):
            yield part.level


def loops(node: Node, within: tuple[Level, ...] = ()) -> Iterator[tuple[tuple[Level, ...], Each]]:
    """Every `$each`, with those around it."""
    children: tuple[Node, ...] = ()
    if isinstance(node, Each):
        yield within, node
        within, children = (*within, node.over), (node.body,)
    elif isinstance(node, Array):
        children = node.items
    elif isinstance(node, Object):
        children = tuple(value for _, value in node.members)
    for child in children:
        yield from loops(child, within)


def placeholders(template: Text | Node) -> Iterator[Placeholder]:
    """Every placeholder."""
    if isinstance(template, tuple):
        yield from (part for part in template if isinstance(part, Placeholder))
    elif isinstance(template, Typed):
        yield template.placeholder
    elif isinstance(template, Joined):
        yield from placeholders(template.text)
    elif isinstance(template, Array):
        for item in template.items:
            yield from placeholders(item)
    elif isinstance(template, Object):
        for key, value in template.members:
            yield from placeholders(key)
            yield from placeholders(value)
    elif isinstance(template, Each):
        yield from placeholders(template.body)


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object, in order; told from a list by its type."""


class _Parser:
    """Makes nodes of a decoded document; finds the lines of mistakes by what was read."""

    def __init__(self, text: str, names: Names) -> None:
        self._lines = text.split("\n")
        self._names = names

    def node(self, value: Any, *, is_item: bool) -> Node:
        if isinstance(value, _Pairs):
            return self._object(value, is_item=is_item)
        if isinstance(value, list):
            items = tuple(self.node(item, is_item=True) for item in value)
            known = [item.value for item in items if isinstance(item, Literal)]
            return Literal(known) if len(known) == len(items) else Array(items)
        if not isinstance(value, str):
            return Literal(value)
        text = self._text(value)
        if len(text) == 1 and isinstance(text[0], Placeholder):
            return Typed(text[0])
        if any(isinstance(part, Placeholder) for part in text):
            return Joined(text)
        return Literal("".join(str(part) for part in text))

    def _object(self, pairs: _Pairs, *, is_item: bool) -> Node:
        members = tuple(self._member(key, value) for key, value in pairs if key != EACH)
        over = next((value for key, value in pairs if key == EACH), None)
        body = Object(members)
        if over is not None:
            if not is_item:
                raise TemplateMistake("template-each-item", self._line(EACH), read=str(over))
            return Each(self._level(over, EACH), body)
        plain = all(isinstance(part, str) for key, _ in members for part in key)
        known = {
            "".join(map(str, key)): value.value for key, value in members if isinstance(value, Literal)
        }
        return Literal(known) if plain and len(known) == len(members) else body

    def _member(self, key: str, value: Any) -> tuple[Text, Node]:
        """A member of an object; one called `$each …` stands for several."""
        if not key.startswith(f"{EACH} "):
            return self._text(key), self.node(value, is_item=False)
        if not isinstance(value, _Pairs):
            raise TemplateMistake("template-each-members", self._line(key), key=key)
        over = self._level(key.removeprefix(EACH).strip(), key)
        body = Object(tuple(self._member(*pair) for pair in value))
        return (), Each(over, body)

    def _level(self, over: Any, key: str) -> Level:
        if not isinstance(over, str) or over not in LOOPS:
            raise TemplateMistake("template-each", self._line(key), read=str(over), known=", ".join(LOOPS))
        return LOOPS[over]

    def _text(self, text: str) -> Text:
        return parse_text(text, self._names, self._line(text))

    def _line(self, text: str) -> int:
        written = json.dumps(text, ensure_ascii=False)
        return next((number for number, line in enumerate(self._lines) if written in line), 0)


def _placeholder(name: str, format_: str, names: Names, line: int) -> Placeholder:
    optional = name.endswith("?")
    name = name.removesuffix("?")
    level = names.level_of(name)
    if level is None:
        known = sorted(names.levels)
        raise TemplateMistake(
            "template-name", line, name=name, near=_nearest(name, known), known=", ".join(known)
        )
    formats = (*TIME_FORMATS, *VALUE_FORMATS, *sorted(names.maps))
    is_pattern = _STRFTIME.fullmatch(format_) or _DECIMALS.fullmatch(format_)
    if format_ and format_ not in formats and not is_pattern:
        raise TemplateMistake("template-format", line, format=format_, name=name, known=", ".join(formats))
    return Placeholder(name, format_, optional, level)


def _nearest(name: str, known: list[str]) -> str:
    return next(iter(difflib.get_close_matches(name, known, 1)), known[0] if known else "–")


def _merged(parts: list[str | Placeholder]) -> Text:
    """Without empty texts, and with texts that follow one another as one."""
    merged: list[str | Placeholder] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(last := merged[-1], str):
            merged[-1] = last + part
        elif part != "":
            merged.append(part)
    return tuple(merged)


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}…"
