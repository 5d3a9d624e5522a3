"""What a person says of a need, and what must hold of it. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import msgspec

LIMITS: Mapping[str, int] = {"text": 500, "name": 40, "phone": 20, "address": 100}
"""Characters of each field; a note may be as long as a text."""
NOTES = 50
LINES = 20
"""Lines of a text; what is beyond goes on in the last one."""

_PHONE = re.compile(r"\+?[\d ()-]{5,19}")
_BLANK = re.compile(r"[^\S\n]+")


class Note(msgspec.Struct, frozen=True):
    """What the staff wrote with a step; `at` is Unix time in milliseconds."""

    at: int
    by: str
    what: str
    """The step's name."""
    text: str


class Particulars(msgspec.Struct, frozen=True):
    """All that is personal about a need."""

    text: str
    name: str = ""
    phone: str = ""
    address: str = ""
    notes: tuple[Note, ...] = ()


def tidy(text: str) -> str:
    """Without what cannot be seen but does harm: controls, marks that turn the direction of writing, and
    half characters. Emoji and rare characters stay."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " "))
    shown = "".join(letter for letter in text if letter in "\n\u200d" or not _harmful(letter))
    lines = [_BLANK.sub(" ", line).strip() for line in shown.strip().split("\n")]
    lines[LINES - 1 :] = [" ".join(lines[LINES - 1 :])] if len(lines) > LINES else lines[LINES - 1 :]
    return "\n".join(lines)


def _harmful(letter: str) -> bool:
    return unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def fields_of(given: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a form as they are kept; all but the text are one line."""
    fields = {name: tidy(str(given.get(name) or "")) for name in LIMITS}
    one_line = {name: text.replace("\n", " ") for name, text in fields.items() if name != "text"}
    return fields | one_line | {"phone": unicodedata.normalize("NFKC", one_line["phone"])}


def problems(fields: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with each of the fields, as keys of errors."""
    found = {name: "need-long" for name, most in LIMITS.items() if len(fields[name]) > most}
    if not fields["text"]:
        found["text"] = "need-text"
    if fields["phone"] and not _PHONE.fullmatch(fields["phone"]):
        found.setdefault("phone", "need-phone")
    return found
