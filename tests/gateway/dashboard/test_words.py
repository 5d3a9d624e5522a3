"""The two languages say the same things, and each sentence that the page asks for exists."""

from __future__ import annotations

import re
import string
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

import gateway.dashboard
from gateway.dashboard.view import Condition
from gateway.model import Hazard
from gateway.services.safety import AlarmState
from gateway.words import LANGUAGES, known, say

WORDS = {
    lang: tomllib.loads(files("gateway.words").joinpath(f"{lang}.toml").read_text("utf-8"))
    for lang in LANGUAGES
}
SOURCE = Path(gateway.dashboard.__file__).parent


def fields(sentence: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


def test_both_languages_have_the_same_sentences_and_facts() -> None:
    zh, en = (WORDS[lang] for lang in LANGUAGES)
    assert zh.keys() == en.keys()
    for table in zh:
        assert zh[table].keys() == en[table].keys(), table
        for word, sentence in zh[table].items():
            assert fields(sentence) == fields(en[table][word]), f"{table}.{word}"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_word_of_the_vocabulary_is_there(lang: str) -> None:
    for table, vocabulary in (("hazard", Hazard), ("alarm-state", AlarmState), ("quality", Condition)):
        for word in vocabulary:
            assert known(lang, f"{table}.{word}"), f"{table}.{word}"


def test_the_page_asks_for_no_sentence_that_is_missing() -> None:
    asked = {
        key
        for file in [*SOURCE.glob("*.py"), *SOURCE.glob("templates/*.html")]
        for key in re.findall(r"""["']dashboard\.([a-z-]+)["']""", file.read_text("utf-8"))
        if not key.endswith("-")
    }
    assert len(asked) > 40
    assert asked <= WORDS["zh"]["dashboard"].keys()


def test_what_is_missing_shows_its_key_and_unknown_facts_show_as_such() -> None:
    assert say("zh", "dashboard.no-such-sentence") == "dashboard.no-such-sentence"
    assert say("zh", "dashboard.total") == "共 … 个"
    assert say("xx", "dashboard.enter") == "进入"
