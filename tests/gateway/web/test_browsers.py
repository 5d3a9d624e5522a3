"""Browsers by what they really send."""

from __future__ import annotations

import pytest

from gateway.web.browsers import browser_in_words


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
         "Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0", "Edge · Windows"),
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 "
         "Safari/537.36", "Chrome · Linux"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
         "Version/18.1 Mobile/15E148 Safari/604.1", "Safari · iPhone"),
        ("Mozilla/5.0 (Linux; Android 14; V2309A) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
         "Chrome/130.0.0.0 Mobile Safari/537.36 MicroMessenger/8.0.50", "WeChat · Android"),
        ("Mozilla/5.0 (Phone; OpenHarmony 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.0.0 "
         "Safari/537.36 ArkWeb/4.1.6.1 Mobile", "Huawei Browser · HarmonyOS"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:132.0) Gecko/20100101 Firefox/132.0",
         "Firefox · Mac"),
        ("curl/8.5.0", "curl"),
        ("", "unknown browser"),
        ("<script>", "unknown browser"),
    ],
)  # fmt: skip
def test_a_browser_is_named_as_people_name_it(agent: str, words: str) -> None:
    assert browser_in_words("en", agent) == words


def test_a_browser_has_its_chinese_name() -> None:
    assert (
        browser_in_words("zh", "Chrome/130 MicroMessenger/8.0.50 (Linux; Android 14)") == "微信 · Android"
    )
