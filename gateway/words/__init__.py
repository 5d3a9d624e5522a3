"""What people read, in Chinese and English: code holds keys, `zh.toml` and `en.toml` the sentences."""

from __future__ import annotations

import functools
import tomllib
from importlib.resources import files

LANGUAGES = ("zh", "en")
"""The first is the default."""


class _Facts(dict[str, object]):
    """A sentence whose fact nobody knows is still better than none."""

    def __missing__(self, name: str) -> str:
        return "…"


def say(lang: str, key: str, /, **facts: object) -> str:
    """The sentence `table.word` with its `{placeholders}` filled in; a missing one is its key."""
    table, _, word = key.partition(".")
    sentence = _words(lang if lang in LANGUAGES else LANGUAGES[0]).get(table, {}).get(word)
    return key if sentence is None else sentence.format_map(_Facts(facts))


def known(lang: str, key: str) -> bool:
    """Whether there is such a sentence."""
    table, _, word = key.partition(".")
    return word in _words(lang).get(table, {})


@functools.cache
def _words(lang: str) -> dict[str, dict[str, str]]:
    return tomllib.loads(files(__package__).joinpath(f"{lang}.toml").read_text("utf-8"))
