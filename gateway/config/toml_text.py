"""TOML as people type it: its text in whatever encoding an editor saved, and what is wrong with its syntax.

`tomllib` names a line and an English reason. Here the line is read again, to name what was written and what
to write instead.
"""

from __future__ import annotations

import errno
import itertools
import re
import tomllib
import unicodedata
from pathlib import Path
from typing import Any

from gateway.model import ConfigError

MAX_FILE_BYTES = 1 << 20
"""A larger file is refused."""
MAX_DOTS = 1000
"""In one line."""
MAX_QUOTED_CHARACTERS = 60
"""Of a line that a sentence quotes."""
MAX_LINES_OF_VALUE = 100
"""How many lines before the reported one the beginning of an unfinished value is searched for."""

KEY = r"(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')"
DOTTED_KEY = rf"{KEY}(?:\s*\.\s*{KEY})*"

_OPEN_ERRORS = {
    errno.ENOENT: "file-missing", errno.ENOTDIR: "file-missing",
    errno.EISDIR: "file-folder", errno.EACCES: "file-denied", errno.EPERM: "file-denied",
}  # fmt: skip

_ASCII_OF = {
    **dict.fromkeys("“”„‟〝〞″‶«»「」『』", '"'), **dict.fromkeys("‘’‚‛′‵´", "'"),
    **dict.fromkeys("‐‑‒–—―−", "-"),
    "。": ".", "、": ",", "【": "[", "】": "]", "《": "<", "》": ">",
}  # fmt: skip
"""What an input method or a word processor writes for ASCII; full-width forms are found by Unicode."""


INVISIBLE_CATEGORIES = ("Cc", "Cf", "Zl", "Zp", "Zs")
"""Of Unicode: controls, format characters, and what separates lines, paragraphs and words."""


class TomlError(ConfigError):
    """What is wrong with the syntax of a file, and in which line (counted from 1)."""

    def __init__(self, key: str, line: int, **facts: object) -> None:
        super().__init__(key, **facts)
        self.line = line


def read_text(file: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark. Raises `TomlError`."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        key = _OPEN_ERRORS.get(error.errno or 0, "file-unreadable")
        raise TomlError(key, 1, reason=error) from error
    if len(data) > MAX_FILE_BYTES:
        raise TomlError("file-large", 1, megabytes=MAX_FILE_BYTES >> 20)
    return _decode(data).replace("\r\n", "\n").replace("\r", "\n")


def _decode(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or re.match(rb"[^\0]\0[^\0]\0|\0[^\0]\0[^\0]", data):
        raise TomlError("file-utf16", 1)
    if b"\0" in data:
        raise TomlError("file-zeros", data[: data.index(b"\0")].count(b"\n") + 1)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        bad_line = data.split(b"\n")[line - 1]
        try:
            data.decode("gb18030")
        except UnicodeDecodeError:
            raise TomlError("file-encoding", line) from error
        raise TomlError("file-gbk", line, read=_quoted(bad_line.decode("gb18030"))) from error


def parse(text: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises `TomlError`."""
    for number, line in enumerate(text.split("\n"), 1):
        # The time that tomllib takes for a dotted key grows with the square of its parts.
        if line.count(".") > MAX_DOTS:
            raise TomlError("toml-limits", number)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _explain(text, str(error)) from error
    except (ValueError, RecursionError) as error:
        # Python's own limits, which tomllib does not catch: digits of a number, depth of nesting.
        raise TomlError("toml-limits", 1) from error


def find_lookalike(text: str) -> tuple[str, str] | None:
    """The first character that only looks like ASCII or is invisible, and the ASCII for it ("" if none)."""
    for character in text:
        if character in _ASCII_OF:
            return character, _ASCII_OF[character]
        if not character.isascii():
            ascii_form = unicodedata.normalize("NFKC", character)
            is_invisible = unicodedata.category(character) in INVISIBLE_CATEGORIES
            if is_invisible or (ascii_form.isascii() and unicodedata.east_asian_width(character) == "F"):
                return character, "" if unicodedata.category(character) == "Cf" else ascii_form
    return None


def lookalike_facts(character: str, ascii_form: str) -> tuple[str, dict[str, object]]:
    """The key of the sentence about a character of `find_lookalike`, and its facts."""
    code = f"U+{ord(character):04X}"
    if not ascii_form.strip():
        return "character-invisible", {"code": code}
    return "character-lookalike", {"character": character, "code": code, "ascii": ascii_form}


def _explain(text: str, reason: str) -> TomlError:
    lines = text.split("\n")
    found = re.search(r"at line (\d+)", reason)
    reported = min(int(found[1]) if found else len(lines), len(lines))
    if again := re.search(r"Duplicate inline table key '(.*)'", reason):
        return TomlError("toml-twice", reported, name=again[1], first=reported)
    if re.search(r"Cannot (declare|overwrite|mutate|redefine)", reason):
        return _twice(lines, reported)
    begin = _beginning(lines, reported)
    key, facts = _explain_statement("\n".join(lines[begin - 1 : reported]), reason)
    return TomlError(key, begin, read=_quoted(lines[begin - 1]), **facts)


def _twice(lines: list[str], reported: int) -> TomlError:
    """A table or key that stands in two places. `reported` may be a line after the second one."""
    for line in range(reported, 0, -1):
        words = re.match(rf"\s*(\[+\s*{DOTTED_KEY}\s*\]+|{DOTTED_KEY}\s*=)", lines[line - 1])
        if not words:
            continue
        wanted = re.sub(r"\s", "", words[1])
        # A key belongs to the table above it; a table stands anywhere before.
        for earlier in range(line - 1, 0, -1):
            if re.sub(r"\s", "", lines[earlier - 1]).startswith(wanted):
                return TomlError("toml-twice", line, name=wanted.rstrip("="), first=earlier)
            if not wanted.startswith("[") and lines[earlier - 1].lstrip().startswith("["):
                break
        return TomlError("toml-redefined", line, read=_quoted(lines[line - 1]))
    return TomlError("toml", reported, read=_quoted(lines[reported - 1]))


def _beginning(lines: list[str], reported: int) -> int:
    """The line in which the statement begins that ends, wrongly, in the reported one."""
    first = max(1, reported - MAX_LINES_OF_VALUE + 1)
    # From a table on, so that a long file is not parsed once for each line of the value.
    start = next((line for line in range(first, 1, -1) if lines[line - 1].startswith("[")), 1)
    if not _is_toml("\n".join(lines[: start - 1])):
        start = 1
    for line in range(reported, first - 1, -1):
        if not _is_toml("\n".join(lines[start - 1 : line - 1])):
            continue
        # Above the statement there may be empty lines and comments.
        skipped = itertools.takewhile(
            lambda text: not text.strip() or text.lstrip()[0] == "#", lines[line - 1 :]
        )
        return min(line + len(list(skipped)), reported)
    return reported


_STRING = re.compile(r'"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|(?<!\\)"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'')
_COMMENT = re.compile(r"#[^\n]*")

_MARKS = (
    re.compile(r"\s*(```\w*|\*\*|\\(?=\[))"),
    re.compile(rf"\s*([-*>]|[0-9]+[.:|]?)\s+(?=\[|{DOTTED_KEY}\s*=)"),
    re.compile(r"[^#]*?(&(?:#\w+|[a-z]+);)"),
)
"""What a web page, a document or a chat adds to lines that are copied from it."""
_SPREADSHEET = re.compile(rf'\s*"\s*(\[|{DOTTED_KEY}\s*=\s*"")')
"""A line as a spreadsheet copies it out of a cell: in quotes, and with those in it doubled."""
VALUE_ENDS = ",;，；。、"
"""What people put after a value by habit."""

_REMARK = re.compile(r"(?<=[\w\"'\]}])\s*(//|;|/\*|--|\s[(（]).*$", re.DOTALL)
"""Behind a value, what people write by habit in place of `#`."""

MEANINGLESS = tuple("();!?$%&*/<>@\\^`|~")
"""ASCII that means nothing in TOML outside of quotes."""

_STATEMENTS = (
    ("toml-format", rf"[{{<]|---\s*$|{DOTTED_KEY}\s*:\s*$"),
    ("toml-comment", r"//|;|/\*|--|%"),
    ("toml-header", r"\["),
    ("toml-colon", rf"{DOTTED_KEY}\s*:[^=]*$"),
    ("toml-equals", rf"{DOTTED_KEY}\s*(==|=>|:=|->)"),
    ("toml-statement", r"[^=]*$"),
    ("toml-key", rf"(?!{DOTTED_KEY}\s*=)"),
)  # fmt: skip
"""What is wrong with a statement before its value: the first pattern that matches its beginning."""

_VALUES = (
    ("toml-value-missing", r"$"),
    ("toml-boolean", r"(?i:true|yes|on|false|no|off|是|否|开|关)$"),
    ("toml-braces-colon", r'[\[{\s]*\{\s*[\w"-]+\s*:'),
    ("toml-list", r"[\[{]"),
    ("toml-null", r"(?i:null|none|nil)$"),
    ("toml-date", r"\d{4}-\d"),
    # A time, an address, a hexadecimal number.
    ("toml-unquoted", r"\+?[\dA-Fa-f]+[:-][\dA-Fa-f]|\d+\.\d+\.\d|\d+[A-Fa-f]+\d"),
    ("toml-leading-zero", r"[+-]?0\d"),
    ("toml-number", r"[+-]?[\d.]"),
    ("toml-rest", r'""'),
    ("toml-unquoted", r""),
)
"""What is wrong with a value, as above."""


def _explain_statement(statement: str, reason: str) -> tuple[str, dict[str, object]]:
    """The sentence for a statement that is not TOML, by what its author probably meant."""
    unquoted = _STRING.sub('""', statement)
    return (
        _explain_pasted(statement, unquoted)
        or _explain_characters(statement, unquoted)
        or _explain_key(statement, unquoted)
        or _explain_value(statement, unquoted, reason)
    )


def _explain_pasted(statement: str, unquoted: str) -> tuple[str, dict[str, object]] | None:
    """What came along when it was copied from elsewhere, or follows the value by habit."""
    if mark := next((found for each in _MARKS if (found := each.match(unquoted))), None):
        return "toml-mark", {"mark": mark[1]}
    if _SPREADSHEET.match(statement):
        return "toml-spreadsheet", {}
    whole = statement.rstrip()
    value = whole.rstrip(VALUE_ENDS)
    if value != whole and _is_toml(value):
        return "toml-rest", {"rest": _quoted(whole[len(value) :])}
    remark = _REMARK.search(whole)
    if remark and _is_toml(whole[: remark.start()]):
        return "toml-rest", {"rest": _quoted(remark[0])}
    return None


def _explain_characters(statement: str, unquoted: str) -> tuple[str, dict[str, object]] | None:
    lookalike = find_lookalike(_COMMENT.sub("", unquoted))
    # The ASCII of others, such as a full-width parenthesis, would be as wrong.
    if lookalike and lookalike[1] not in MEANINGLESS:
        return lookalike_facts(*lookalike)
    control = re.search(r"[\x00-\x08\x0b-\x1f\x7f]", statement)
    return lookalike_facts(control[0], "") if control else None


def _explain_key(statement: str, unquoted: str) -> tuple[str, dict[str, object]] | None:
    bare = _COMMENT.sub("", unquoted).strip(" \t\n")
    key = next((key for key, pattern in _STATEMENTS if re.match(pattern, bare)), None)
    if key == "toml-colon":
        name, _, value = statement.partition(":")
        return key, {"name": name.strip(), "value": value.strip()}
    return (key, {}) if key else None


def _explain_value(statement: str, unquoted: str, reason: str) -> tuple[str, dict[str, object]]:
    if _QUOTES_WITHIN.search(statement) and not re.search(r"[\[{]\s*[\w\"']", unquoted):
        return "toml-quotes-within", {}
    key = _value_mistake(_COMMENT.sub("", unquoted).partition("=")[2].strip(), reason)
    if key == "toml-list":
        key = _mistake_in_list(unquoted) or key
    string = _STRING.search(statement, statement.index("="))
    return key, {"rest": _quoted(statement[string.end() :])} if key == "toml-rest" and string else {}


_QUOTES_WITHIN = re.compile(r'=\s*"[^"\n]*"[^\s#,"][^"\n]*"')
"""A text in double quotes that has others inside."""


def _mistake_in_list(unquoted: str) -> str:
    """The sentence for the first item of a list or of braces that is wrong by itself; empty if none is."""
    for item in re.findall(r"(?<=[=,\[])\s*([^\s,\[\]{}=\"][^,\[\]{}=\"]*)(?=[,\]}])", unquoted):
        if not _is_toml(f"x = {item.strip()}"):
            return _value_mistake(item.strip(), "")
    return ""


def _is_toml(statement: str) -> bool:
    try:
        tomllib.loads(statement)
    except ValueError:
        return False
    return True


def _value_mistake(value: str, reason: str) -> str:
    """`value`: without comments, and with every complete string replaced by an empty one."""
    if "Unescaped" in reason or "hex value" in reason:
        return "toml-backslash"
    if value.count('"') % 2 or value.count("'") % 2:
        return "toml-quote-open"
    if value.count("{") > value.count("}"):
        return "toml-brace-open"
    if value.count("[") != value.count("]") or value.count("{") != value.count("}"):
        return "toml-bracket-open"
    return next(key for key, pattern in _VALUES if re.match(pattern, value))


def _quoted(line: str) -> str:
    line = line.strip()
    return line if len(line) <= MAX_QUOTED_CHARACTERS else f"{line[:MAX_QUOTED_CHARACTERS]}…"
