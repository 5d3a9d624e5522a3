"""Browsers by the names that people know them by."""

from __future__ import annotations

from gateway.words import translate, words

BROWSERS = (
    ("MicroMessenger", "wechat"),
    ("DingTalk", "dingtalk"),
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("HuaweiBrowser", "huawei"),
    ("ArkWeb", "huawei"),
    ("MiuiBrowser", "xiaomi"),
    ("VivoBrowser", "vivo"),
    ("HeyTapBrowser", "OPPO"),
    ("UCBrowser", "UC"),
    ("QQBrowser", "qq"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrom", "Chrome"),
    ("Safari", "Safari"),
    ("curl", "curl"),
)
"""What is in `User-Agent`, and the name, or its key in `browser` of the words; the first that fits, as most
also pretend to be others."""
SYSTEMS = (
    ("OpenHarmony", "HarmonyOS"),
    ("HarmonyOS", "HarmonyOS"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "Mac"),
    ("Linux", "Linux"),
)


def browser_in_words(lang: str, agent: str) -> str:
    """The browser and the system of a `User-Agent`, as far as it names any that we know."""
    found = [next((name for mark, name in known if mark in agent), "") for known in (BROWSERS, SYSTEMS)]
    names = [words(lang).get(f"browser.{name}", name) for name in found if name]
    return " · ".join(names) or translate(lang, "dashboard.browser-unknown")
