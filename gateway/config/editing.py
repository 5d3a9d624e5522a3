"""Changing values of a TOML file that people also write by hand: comments, order and spelling stay."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from typing import Any

import msgspec
import tomlkit
from tomlkit.exceptions import TOMLKitError

from gateway.model import GatewayError


class Edit(msgspec.Struct, frozen=True):
    """A value of a file; None removes it, or a whole table."""

    path: tuple[str, ...]
    """The names of the tables, and the key; the place in a list, from 0, as text."""
    value: Any = None


def edited(text: str, edits: Iterable[Edit]) -> str:
    """The text with the edits, in their order.

    Raises `GatewayError` where the file is written in a way that only a person can change.
    """
    edits = tuple(edits)
    try:
        wanted, document = tomllib.loads(text), tomlkit.parse(text)
        for edit in edits:
            _apply(wanted, edit)
        new_tables = [table for edit in edits for table in _apply(document, edit)]
        for table in new_tables:
            table.add(tomlkit.nl())  # An empty line between two tables.
        found = tomlkit.dumps(document)
        if tomllib.loads(found) == wanted:
            return found
    except (TOMLKitError, AttributeError, IndexError, TypeError, ValueError):
        pass
    raise GatewayError("edit-by-hand", where=", ".join(".".join(edit.path) for edit in edits))


def _apply(document: Any, edit: Edit) -> list[Any]:
    """Apply an edit to a document or its data, in the layout that people use: a table for each thing, and
    what is within it on one line. Returns the table of the key if it is new."""
    *names, key = edit.path
    table, new = document, []
    for depth, name in enumerate(names):
        if isinstance(table, list):
            table = table[int(name)]
            continue
        if name not in table:
            if edit.value is None:
                return []
            table[name] = tomlkit.table(is_super_table=depth < len(names) - 1)
            new = [table[name]]
        table = table[name]
    if edit.value is not None:
        table[key] = _on_one_line(edit.value) if names else edit.value
        return new
    removed = table.pop(key, None)
    if isinstance(removed, dict) and names and not table:
        _apply(document, Edit(tuple(names)))  # The last `[contact.…]` has gone: so has `contact`.
    return []


def _on_one_line(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    line = tomlkit.inline_table()
    line.update(value)
    return line
