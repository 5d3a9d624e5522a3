"""Every sentence a person reads, in Chinese and in English: code holds keys, the files hold words."""

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

_LEFT_OUT = "…"
_ASIDE = re.compile(rf"\s*[（(]{_LEFT_OUT}[）)]|[:：]\s*{_LEFT_OUT}$")
"""What says nothing without its fact."""


@functools.cache
def words(language: str) -> Mapping[str, str]:
    """All sentences of a language by dotted key: the core's, and those that lie with each capability."""
    sentences: dict[str, str] = {}
    for file in _files(language):
        for table, texts in tomllib.loads(file.read_text("utf-8")).items():
            for key, text in texts.items():
                dotted = f"{table}.{key}"
                if dotted in sentences:
                    raise ValueError(f"{file}: {dotted} is given twice")
                sentences[dotted] = text
    return sentences


def _files(language: str) -> Iterator[Traversable]:
    yield files(__package__) / f"{language}.toml"
    capabilities = files(__package__.partition(".")[0]) / "capabilities"
    for folder in sorted(capabilities.iterdir(), key=lambda folder: folder.name):
        file = folder / "words" / f"{language}.toml"
        if file.is_file():
            yield file


def translate(language: str, key: str, /, **facts: object) -> str:
    """The sentence of that key with its facts filled in; a key without a sentence stands for itself."""
    sentence = words(language).get(key)
    if sentence is None:
        return " ".join((key, *(f"{name}={value}" for name, value in facts.items())))
    return sentence.format_map(defaultdict(lambda: "?", facts))


def error_summary(language: str, key: str) -> str:
    """The sentence of an error without the facts, which were not kept; the bare key where there is none."""
    sentence = words(language).get(f"error.{key}")
    return key if sentence is None else _ASIDE.sub("", sentence.format_map(defaultdict(lambda: _LEFT_OUT)))


def preferred() -> str:
    """The language of the person at the terminal; Chinese unless their locale says English."""
    locale = os.environ.get("LINLI_LANG") or os.environ.get("LC_ALL") or os.environ.get("LANG") or ""
    return "en" if locale.startswith("en") else "zh"
