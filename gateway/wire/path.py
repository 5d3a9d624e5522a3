"""Paths into a parsed message: keys, list indices, and members of lists that are found by their content.

`counts[name=fw].value` finds members by their content, `zones[*].total` takes all of them, and with
`records[].from` each member is a reading of its own. A key with dots or brackets in it stands in quotation
marks: `values."room.temperature"`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from gateway.model import Raw, ReadFailed

MAX_READINGS, MAX_COPIED_KEYS = 2000, 200_000
"""In one message: two thousand quarters of an hour are three weeks. The second bounds the work."""

_STEP = re.compile(r"(\"[^\"]*\"|[^.\[\]\"]*)((?:\[[^\[\]]*\])*)(?:\.|$)")
_MARKS = re.compile(r"[.\[\]]")
_SELECTOR = re.compile(r"\[([^\]]*)\]")


class Step(msgspec.Struct, frozen=True):
    """One key of a path, and which members of the list that is there. An element that XML has once is a
    list of one member."""

    key: str
    splits: bool = False
    """`key[]`: each member is a reading of its own."""
    selects: bool = False
    """`key[*]` or `key[name=fw]`: all members, or those with that content."""
    content: tuple[tuple[str, str], ...] = ()

    def find(self, parent: Raw) -> Raw | None:
        """What is at the key."""
        if isinstance(parent, dict):
            return parent.get(self.key)
        if isinstance(parent, list) and self.key.isdecimal() and int(self.key) < len(parent):
            return parent[int(self.key)]
        return None

    def members(self, found: Raw) -> list[Any]:
        """The members of the list found at the key."""
        members = found if isinstance(found, list) else [] if found is None else [found]
        if not self.content:
            return members
        objects = (each for each in members if isinstance(each, dict | list))
        return [each for each in objects if all(_has(each, *wanted) for wanted in self.content)]


def _has(member: Raw, path: str, text: str) -> bool:
    values = find_parts(member, path)
    return any((str(value).lower() if isinstance(value, bool) else str(value)) == text for value in values)


def quoted_key(key: str) -> str:
    """A key as it stands in a path."""
    return f'"{key}"' if _MARKS.search(key) else key


def find_parts(raw: Raw, path: str) -> Sequence[Raw]:
    """What is at a path: one part or, where the path selects members of lists, several; none if a selected
    member does not have it."""
    return _find(raw, _parsed(path))


def parent_objects(raw: Raw, path: str) -> list[dict[str, Any]]:
    """The objects on the way to what is at a path, the nearest first."""
    steps = _parsed(path)
    found = (part for end in range(len(steps) - 1, -1, -1) for part in _find(raw, steps[:end]))
    return [part for part in found if isinstance(part, dict)]


def is_null_at(raw: Raw, path: str) -> bool:
    """Whether a message says that there is nothing at a path: `null`."""
    if not (steps := _parsed(path)):
        return raw is None
    *parents, last = steps
    return any(_has_null(parent, last.key) for parent in _find(raw, parents))


def _has_null(parent: Raw, key: str) -> bool:
    if isinstance(parent, dict):
        return key in parent and parent[key] is None
    inside = isinstance(parent, list) and key.isdecimal() and int(key) < len(parent)
    return inside and parent[int(key)] is None


def _find(raw: Raw, steps: Sequence[Step]) -> Sequence[Raw]:
    found: list[Raw] = [raw]
    for step in steps:
        parts = [step.find(parent) for parent in found]
        if step.splits or step.selects:
            members = [member for part in parts for member in step.members(part)]
            found = members[:1] if step.splits else members
        elif any(part is None for part in parts):
            return ()
        else:
            found = parts
    return found


def split_readings(raw: Raw, paths: Sequence[str]) -> list[Raw]:
    """The readings in a message: copies of it, each with one member of the lists that the paths split.
    Of a message that is a list as a whole, each member is a message, unless a path has its number.

    Raises `ReadFailed` if there are too many.
    """
    first_keys = [steps[0].key if (steps := _parsed(path)) else "" for path in paths]
    is_list_of_messages = isinstance(raw, list) and all(key and not key.isdecimal() for key in first_keys)
    messages = raw if is_list_of_messages else [raw]
    split = max((_split_steps(path) for path in paths), key=len, default=())
    readings: list[Raw] = []
    copied = 0
    for reading, keys in (each for message in messages for each in _readings_of(message, split)):
        copied += keys
        if len(readings) == MAX_READINGS or copied > MAX_COPIED_KEYS:
            raise ReadFailed("many-readings", limit=MAX_READINGS)
        readings.append(reading)
    return readings or [raw]


def _readings_of(message: Raw, split: Sequence[Step]) -> Iterator[tuple[Raw, int]]:
    """As `_each_reading`; a message without the list is one reading."""
    is_empty = True
    for each in _each_reading(message, split):
        is_empty = False
        yield each
    if is_empty:
        yield message, 0


def _each_reading(raw: Raw, steps: Sequence[Step]) -> Iterator[tuple[Raw, int]]:
    """Each reading, and how many keys were copied for it."""
    if not steps:
        yield raw, 0
        return
    step, rest = steps[0], steps[1:]
    found = step.find(raw)
    parts = step.members(found) if step.splits or step.selects else [found]
    for part in parts:
        for reading, keys in _each_reading(part, rest):
            changed = [reading] if step.splits or step.selects else reading
            if isinstance(raw, dict):
                yield {**raw, step.key: changed}, keys + len(raw)
            else:
                yield [*raw[: int(step.key)], changed, *raw[int(step.key) + 1 :]], keys + len(raw)


def _split_steps(path: str) -> tuple[Step, ...]:
    """The steps up to the last that splits."""
    steps = _parsed(path)
    return steps[: max((number for number, step in enumerate(steps, 1) if step.splits), default=0)]


def is_valid_path(path: str) -> bool:
    """Whether brackets are where they have a meaning, and it does not begin with the `$` of JSONPath."""
    return not path or (not path.startswith("$") and all(step is not None for step in _steps(path)))


@functools.lru_cache(maxsize=4096)
def _parsed(path: str) -> tuple[Step, ...]:
    """The steps of a path; an empty one has none. A step that has no meaning leads nowhere."""
    return tuple(step or Step("", selects=True) for step in _steps(path)) if path else ()


def _steps(path: str) -> Iterator[Step | None]:
    place = 0
    while place <= len(path):
        found = _STEP.match(path, place)
        if not found:
            yield None
            return
        yield _step(found[1], _SELECTOR.findall(found[2]))
        place = found.end() + (found.end() == len(path) and not found[0].endswith("."))


def _step(key: str, selectors: list[str]) -> Step | None:
    content = [tuple(selector.split("=", 1)) for selector in selectors if selector not in ("", "*")]
    if any(len(pair) != 2 for pair in content):
        return None
    splits = "" in selectors
    return Step(key.strip('"'), splits, bool(selectors) and not splits, tuple(content))  # type: ignore[arg-type]
