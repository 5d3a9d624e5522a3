"""What is wrong with a dialect file whose keys are right: examples that it does not keep."""

from __future__ import annotations

import re

from gateway.config import Mistake
from gateway.config.dialect.rules import DIALECT_SCHEMA, DialectFile
from gateway.config.reading import TomlReader
from gateway.model import ConfigError

from .examples import run_example

MAX_SHOWN_CHARACTERS = 400
"""Of a payload in a sentence."""


def inspect_dialect(dialect: DialectFile) -> list[Mistake]:
    """Examples that fail, each with its line."""
    text = dialect.texts[dialect.name]
    reader = TomlReader(dialect.file, text)
    reader.parse_file(DIALECT_SCHEMA)
    for number, example in enumerate(dialect.examples, 1):
        line = _line_of_example(text, number)
        try:
            differences = list(run_example(dialect, example))
        except ConfigError as error:
            reader.add_mistake(("examples",), error.key, line, **error.facts)
            continue
        for difference in differences:
            wanted, got = (_shortened(each) for each in (difference.wanted, difference.got))
            facts = {"number": number, "what": difference.what, "wanted": wanted, "got": got}
            reader.add_mistake(("examples",), "dialect-example-differs", line, **facts)
    return reader.mistakes


def _line_of_example(text: str, number: int) -> int:
    lines = [
        n for n, line in enumerate(text.split("\n"), 1) if re.match(r"\s*\[\[\s*examples\s*\]\]", line)
    ]
    return lines[number - 1] if number <= len(lines) else 1


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"
