"""Every sentence a person reads, in Chinese and in English: code holds keys, the files hold words."""

from __future__ import annotations

import functools
import os
import re
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from importlib.resources import files

LANGUAGES = ("zh", "en")

_LEFT_OUT = "…"
_ASIDE = re.compile(rf"\s*[（(]{_LEFT_OUT}[）)]|[:：]\s*{_LEFT_OUT}$")
"""What says nothing without its fact."""


@functools.cache
def words(language: str) -> Mapping[str, str]:
    """All sentences of a language by dotted key."""
    tables = tomllib.loads(files(__package__).joinpath(f"{language}.toml").read_text("utf-8"))
    return {f"{table}.{key}": text for table, texts in tables.items() for key, text in texts.items()}


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
