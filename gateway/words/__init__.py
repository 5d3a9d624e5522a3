"""All sentences that people read, in Chinese and English: code has keys, the language files the words."""

from __future__ import annotations

import functools
import os
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

LANGUAGES = ("zh", "en")

_UNKNOWN_FACT = "…"
_EMPTY_PARTS = re.compile(rf"\s*[（(]{_UNKNOWN_FACT}[）)]|[:：]\s*{_UNKNOWN_FACT}$")
"""The parts of a sentence that mean nothing without their fact."""


@functools.cache
def words(language: str) -> Mapping[str, str]:
    """All sentences of a language by dotted key: the core's, and those that lie with each capability."""
    sentences: dict[str, str] = {}
    for file in _language_files(language):
        try:
            tables = tomllib.loads(file.read_text("utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{file}: {error}") from error
        for table, texts in tables.items():
            for key, text in texts.items():
                dotted = f"{table}.{key}"
                if dotted in sentences:
                    raise ValueError(f"{file}: {dotted} is given twice")
                sentences[dotted] = text
    return sentences


def _language_files(language: str) -> Iterator[Traversable]:
    yield files(__package__) / f"{language}.toml"
    capabilities = files(__package__.partition(".")[0]) / "capabilities"
    for folder in sorted(capabilities.iterdir(), key=lambda folder: folder.name):
        file = folder / "words" / f"{language}.toml"
        if file.is_file():
            yield file


def translate(language: str, key: str, /, **facts: object) -> str:
    """The sentence of the key with its facts filled in; the key itself if there is no sentence."""
    sentence = words(language).get(key)
    if sentence is None:
        return " ".join((key, *(f"{name}={value}" for name, value in facts.items())))
    return sentence.format_map(defaultdict(lambda: "?", _fact_texts(language, facts)))


def error_summary(language: str, key: str, facts: Mapping[str, object] = {}) -> str:
    """The sentence of an error, with those of its facts that were stored; the key if there is none."""
    sentence = words(language).get(f"error.{key}")
    if sentence is None:
        return key
    known = defaultdict(lambda: _UNKNOWN_FACT, _fact_texts(language, facts))
    return _EMPTY_PARTS.sub("", sentence.format_map(known))


def _fact_texts(language: str, facts: Mapping[str, object]) -> dict[str, object]:
    """The facts, with those in words that are sentences themselves, or lists of sentences
    (`gateway.model.Sentence`)."""
    return {name: _fact_text(language, value) for name, value in facts.items()}


def _fact_text(language: str, value: object) -> object:
    if isinstance(value, Mapping) and value.keys() >= {"sentence", "facts"}:
        return translate(language, value["sentence"], **value["facts"])
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        return " ".join(str(_fact_text(language, each)) for each in value)
    return value


def preferred_language() -> str:
    """The language for the terminal: Chinese, unless the locale is English."""
    locale = os.environ.get("LINLI_LANG") or os.environ.get("LC_ALL") or os.environ.get("LANG") or ""
    return "en" if locale.startswith("en") else "zh"
