"""The facts of each sentence: what code gives is in the sentence, and what the sentence needs is given."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

from gateway.words import LANGUAGES, words

ROOT = Path(__file__).parents[1]
ERRORS = {"GatewayError", "ConfigError", "LinkDown", "ReadFailed", "TomlError", "DeliveryFailed"}
TABLES = {"cli_text": "cli.", "error_text": "error.", "log_event": "log.", "log_warning": "log."}
UNSAID = {
    # For programs: what to try instead, or which part of a message was refused.
    "error.broker-refused": {"code"},
    "error.message-refused": {"code"},
    # The device is named beside it.
    "error.timeout": {"unit", "bytes"},
    "error.reply-header": {"unit"},
    # The address has it already.
    "error.broker-silent": {"port"},
}
"""Facts that programs read."""
ADDED_LATER = {"error.nobody-subscribed": {"topic"}, "error.broker-lost": {"url"}}
"""Facts that whoever passes the error on adds."""


def calls() -> Iterator[tuple[str, str, set[str]]]:
    """Where a sentence is named literally with all its facts: the place, the key, and the facts."""
    for path in sorted([*(ROOT / "gateway").rglob("*.py"), *(ROOT / "drivers").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            prefix = "error." if name in ERRORS else "" if name == "sentence" else TABLES.get(name)
            position = 1 if name == "log_event" else 0
            if prefix is None or len(node.args) <= position:
                continue
            key = node.args[position]
            given = {keyword.arg for keyword in node.keywords}
            if isinstance(key, ast.Constant) and isinstance(key.value, str) and None not in given:
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                yield place, prefix + key.value, {fact for fact in given if fact}


CALLS = list(calls())


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_fact_is_dropped_and_none_is_missing(language: str) -> None:
    assert len(CALLS) > 300
    wrong = []
    for place, key, given in CALLS:
        sentence = words(language).get(key)
        if sentence is None:
            wrong.append(f"{place}: {key} has no sentence")
            continue
        needed = {name for _, name, _, _ in Formatter().parse(sentence) if name}
        if missing := needed - given - ADDED_LATER.get(key, set()):
            wrong.append(f"{place}: {key} is not given {sorted(missing)}")
        # The log says every fact behind the sentence.
        unsaid = given - needed - UNSAID.get(key, set())
        if unsaid and not key.startswith("log."):
            wrong.append(f"{place}: {key} does not say {sorted(unsaid)}")
    assert wrong == []
