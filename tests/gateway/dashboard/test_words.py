"""Each sentence that the page asks for exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gateway.dashboard
from gateway.capabilities.safety.services.alarms import AlarmMode, AlarmState
from gateway.capabilities.safety.services.findings import CLOSE_WITHIN_HOURS
from gateway.dashboard.parts import page_parts
from gateway.model import Hazard
from gateway.web.view import DeviceCondition
from gateway.words import LANGUAGES, error_summary, words

SOURCE = Path(gateway.dashboard.__file__).parents[1]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_word_of_the_vocabulary_is_there(lang: str) -> None:
    tables = {"hazard": Hazard, "alarm-state": AlarmState, "quality": DeviceCondition, "mode": AlarmMode}
    for table, vocabulary in tables.items():
        for word in vocabulary:
            assert f"{table}.{word}" in words(lang), f"{table}.{word}"
    assert {f"severity.{name}" for name in CLOSE_WITHIN_HOURS} <= words(lang).keys()


def test_every_page_is_named_and_every_command_is_answered_in_words() -> None:
    tags = {each.__struct_config__.tag for part in page_parts() for each in part.requests}
    assert len(tags) > 15
    assert {f"dashboard.done-{tag}" for tag in tags} <= words("zh").keys()
    assert {page.title for part in page_parts() for page in part.pages} <= words("zh").keys()


def test_the_page_asks_for_no_sentence_that_is_missing() -> None:
    asked = {
        key
        for file in [*SOURCE.rglob("*.py"), *SOURCE.rglob("templates/*.html")]
        for key in re.findall(r"""["']((?:dashboard|visits)\.[a-z-]+)["']""", file.read_text("utf-8"))
        if not key.endswith("-")
    }
    assert len(asked) > 80
    assert asked <= words("zh").keys()


def test_every_reason_not_to_trust_a_counter_has_its_words() -> None:
    reasons = {"offline", "invalid", "implausible", "clock", "unheard"}
    assert {f"visits.why-{why}" for why in reasons} | {"visits.activity", "visits.tour"} <= words(
        "zh"
    ).keys()


def test_a_reason_goes_without_what_nobody_knows() -> None:
    assert error_summary("zh", "broker-away") == "无法连接 MQTT 服务器 …：请检查地址和网络"
    assert error_summary("zh", "silent") == "已 … 秒没有消息：请检查设备电源和网络"
    assert error_summary("en", "line-open").startswith("… cannot be opened: is it plugged in")
    assert error_summary("en", "not-json") == "the message is not JSON"
    assert error_summary("en", "no-such-reason") == "no-such-reason"
