"""The particulars of a need: their normalization and validation. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import msgspec

MAX_LENGTHS: Mapping[str, int] = {"text": 500, "name": 40, "phone": 20, "address": 100}
"""Maximum characters of each field; for a note that of `text` applies."""
MAX_NOTES = 50
MAX_LINES = 20
"""Further lines of a text are joined to the last one."""

_PHONE = re.compile(r"\+?[\d ()-]{5,19}")
_WHITESPACE = re.compile(r"[^\S\n]+")


class Note(msgspec.Struct, frozen=True):
    """A note that staff added with a step; `at` is Unix time in milliseconds."""

    at: int
    by: str
    what: str
    """The name of the step."""
    text: str


class Particulars(msgspec.Struct, frozen=True):
    """All personal data of a need."""

    text: str
    name: str = ""
    phone: str = ""
    address: str = ""
    notes: tuple[Note, ...] = ()


def normalize_text(text: str) -> str:
    """Remove invisible characters that could mislead: controls, direction marks, and unpaired surrogates;
    normalize spaces and line ends. Emoji and rare characters stay."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " "))
    shown = "".join(letter for letter in text if letter in "\n\u200d" or not _is_invisible(letter))
    lines = [_WHITESPACE.sub(" ", line).strip() for line in shown.strip().split("\n")]
    lines[MAX_LINES - 1 :] = (
        [" ".join(lines[MAX_LINES - 1 :])] if len(lines) > MAX_LINES else lines[MAX_LINES - 1 :]
    )
    return "\n".join(lines)


def _is_invisible(letter: str) -> bool:
    return unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def normalized_fields(typed_fields: Mapping[str, Any]) -> dict[str, str]:
    """The normalized fields of a form; all but `text` become a single line."""
    fields = {name: normalize_text(str(typed_fields.get(name) or "")) for name in MAX_LENGTHS}
    one_line = {name: text.replace("\n", " ") for name, text in fields.items() if name != "text"}
    return fields | one_line | {"phone": unicodedata.normalize("NFKC", one_line["phone"])}


def field_errors(fields: Mapping[str, str]) -> dict[str, str]:
    """The invalid fields, each with the key of its error."""
    found = {
        name: "need-long" for name, max_length in MAX_LENGTHS.items() if len(fields[name]) > max_length
    }
    if not fields["text"]:
        found["text"] = "need-text"
    if fields["phone"] and not _PHONE.fullmatch(fields["phone"]):
        found.setdefault("phone", "need-phone")
    return found
