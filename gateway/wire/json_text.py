"""JSON as devices write it: RFC 8259, and what their firmware makes of it.

Firmware prints numbers with `printf` (`nan`, `-inf`, `+5`, `.5`, `23,4`), sends its buffer with the final
NUL or with what is left in it of a longer message, saves text as GBK, and publishes a single value without
anything around it (`23.4`, `ON`), as a form (`t=23.4&door=open`), or several messages as lines of one. One
word that is no JSON costs that value, not the message.
"""

from __future__ import annotations

import json
import math
import re
from urllib.parse import parse_qsl

import msgspec

from gateway.model import Raw, ReadFailed

MAX_JSON_DEPTH = 32
"""Objects and lists within each other. Devices need five; a few thousand end a recursive reader."""
MAX_OBJECTS, MAX_VALUES = 3000, 20_000
"""Objects and lists, and values, in one message: these bound the time of parsing it, and of all that is
done with it afterwards."""
MAX_OTHER_BYTES = 256 * 1024
"""A longer text must be JSON in UTF-8: the time of decoding others."""
MAX_REPAIRED_CHARACTERS = 16 * 1024
"""A longer text must be JSON as it is: repair takes a microsecond for a character."""
MAX_QUICK_BYTES = 4096
"""A longer message is to be parsed beside the event loop."""
MAX_INTEGER_DIGITS = 20
"""Longer numbers become floats: a conversion takes time that grows with the square of the digits."""

_TOKENS = re.compile(
    r"""
    (?P<string> "[^"\\]*(?:\\.[^"\\]*)*"? | '[^'\\]*(?:\\.[^'\\]*)*'? )
    | (?P<trailing> ,(?=\s*[}\]]) )
    | (?P<empty> :(?=\s*[,}]) )
    | (?P<commas> (?::\s*)(?P<figures> [-+]?[0-9]+(?:,[0-9]+)+ )(?=\s*[,}]) )
    | (?P<word> [^\s{}\[\],:"'](?:[^{}\[\],:"'\r\n]*[^\s{}\[\],:"'])? )
    """,
    re.VERBOSE | re.DOTALL,
)
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_FORM = re.compile(r"""[^\s{}\[\]"'<>=&]+=[^\s{}"<>=&][^\s{}"<>]*""")
_DECIMAL_COMMA = re.compile(r"[-+]?[0-9]+,([0-9]{1,2}|[0-9]{4,})")
"""Not before three digits: there it may separate thousands."""
_NO_NUMBER = re.compile(r"[-+]?(nan(\(.*\))?|inf(inity)?|1\.#\w+)", re.IGNORECASE)
_ESCAPE = re.compile(
    r"""\\(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"""
    r"""|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|u[0-9a-fA-F]{4}|["\\/bfnrt]|(?P<other>.?))""",
    re.DOTALL,
)
_CONSTANTS = {"true": "true", "false": "false", "null": "null", "none": "null", "undefined": "null"}


def parse_json(body: bytes | str) -> Raw:
    """A message as a tree of dicts, lists and values; a single value is a tree of its own. A number that is
    none is NaN. Of a key that is given twice the last value counts, as in every common reader (RFC 8259,
    section 4, leaves it open). Of several objects or lists, one after the other, it is a list of them; what
    follows them and is no JSON is left out.

    Raises `ReadFailed`: it is not JSON, has too many parts, or is nested deeper than `MAX_JSON_DEPTH`.
    """
    check_parts(body, "{[", MAX_OBJECTS)
    check_parts(body, ",", MAX_VALUES)
    try:
        tree = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        if len(body) > MAX_OTHER_BYTES:
            start = body[:48] if isinstance(body, str) else body[:48].decode(errors="replace")
            raise _not_json(start, 0) from error
        tree = _parse_text(body if isinstance(body, str) else decode_text(body))
    if not _is_shallow(tree):
        raise ReadFailed("json-deep", limit=MAX_JSON_DEPTH)
    return tree


def check_parts(body: bytes | str, marks: str, most: int) -> None:
    """Raises `ReadFailed` if a message has more of these characters. Those within texts count too."""
    text = body if isinstance(body, str) else body.decode("latin-1")
    if sum(map(text.count, marks)) > most:
        raise ReadFailed("message-parts", most=most)


def decode_text(body: bytes) -> str:
    """Decode UTF-8, UTF-16, UTF-32 or GB 18030, with or without a byte order mark, up to the first NUL. A
    declared encoding is ignored, as it is often wrong; a name that is garbled does not affect a value."""
    try:
        text = body.decode(json.detect_encoding(body))
    except UnicodeDecodeError:
        text = body.decode("gb18030", "replace")
    return text.partition("\0")[0].removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}").strip()


def number_in_text(text: str) -> int | float | None:
    """The number that a text is, in decimal; NaN for a word that says that there is none (`nan`, `inf`).
    None for any other text."""
    text = text.strip()
    if _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    if _NUMBER.fullmatch(text):
        return _integer(text) if text.lstrip("+-").isdecimal() else float(text)
    return math.nan if _NO_NUMBER.fullmatch(text) else None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_INTEGER_DIGITS else float(digits)


def _parse_text(text: str) -> Raw:
    number = number_in_text(text)
    if number is not None:
        return number
    if len(text) <= MAX_REPAIRED_CHARACTERS and _FORM.fullmatch(text):
        return {key: _form_value(value) for key, value in parse_qsl(text, keep_blank_values=True)}
    try:
        if len(text) > MAX_REPAIRED_CHARACTERS:
            return msgspec.json.decode(text)
        return _parse_values(_TOKENS.sub(_as_json, text))
    except json.JSONDecodeError as error:
        raise _not_json(error.doc, error.pos) from error
    except ValueError as error:
        place = re.search(r"\(byte ([0-9]+)\)", str(error))
        before = text.encode()[: int(place[1])] if place else b""
        raise _not_json(text, len(before.decode(errors="ignore"))) from error
    except RecursionError as error:
        raise ReadFailed("json-deep", limit=MAX_JSON_DEPTH) from error


_decode_value = json.JSONDecoder(strict=False, parse_int=_integer).raw_decode
_BETWEEN = re.compile(r"[\s,]*")


def _parse_values(text: str) -> Raw:
    """A value, or several objects and lists, up to what is no JSON."""
    first, end = _decode_value(text)
    trees = [first]
    while (start := _BETWEEN.match(text, end).end()) < len(text):  # type: ignore[union-attr]
        if not isinstance(first, dict | list):
            raise json.JSONDecodeError("a second value", text, start)
        try:
            tree, end = _decode_value(text, start)
        except (json.JSONDecodeError, RecursionError):
            break
        if isinstance(tree, dict | list):
            trees.append(tree)
    return first if len(trees) == 1 else trees


def _as_json(token: re.Match[str]) -> str:
    """A token, as JSON has it."""
    text = token[0]
    if token.lastgroup == "word":
        return _word_as_json(text)
    if token.lastgroup == "string":
        return _string_as_json(text)
    if token.lastgroup == "commas":
        return ":" + _word_as_json(token["figures"])
    return "" if token.lastgroup == "trailing" else ":null"


def _form_value(text: str) -> Raw:
    number = number_in_text(text)
    return {"true": True, "false": False}.get(text.lower(), text) if number is None else number


def _word_as_json(text: str) -> str:
    if _JSON_NUMBER.fullmatch(text):
        return text
    if constant := _CONSTANTS.get(text.lower()):
        return constant
    number = number_in_text(text)
    if number is not None:
        return str(number) if math.isfinite(number) else "NaN"
    is_word = text.isprintable() and text[0] != "<" and "\N{REPLACEMENT CHARACTER}" not in text
    return msgspec.json.encode(text).decode() if is_word else text


def _string_as_json(text: str) -> str:
    """A string, in double or single quotes, with escapes that JSON has and no half of a surrogate pair."""
    if text.startswith("'") and text.endswith("'", 1):
        text = '"' + text[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'
    return _ESCAPE.sub(_escape_as_json, text) if "\\" in text else text


def _escape_as_json(escape: re.Match[str]) -> str:
    if escape["half"]:
        return "\\ufffd"
    return escape[0] if escape["other"] is None else "\\" + escape[0]


def _not_json(text: str, place: int) -> ReadFailed:
    """With what is around the first character that makes no sense."""
    return ReadFailed("not-json", text=repr(text[max(0, place - 12) : place + 12]))


def _is_shallow(tree: Raw) -> bool:
    """Whether it is nested no deeper than `MAX_JSON_DEPTH`. Without recursion."""
    level = [tree]
    for _ in range(MAX_JSON_DEPTH):
        level = [
            part
            for parts in level
            if isinstance(parts, dict | list)
            for part in (parts.values() if isinstance(parts, dict) else parts)
            if isinstance(part, dict | list)
        ]
        if not level:
            return True
    return False
