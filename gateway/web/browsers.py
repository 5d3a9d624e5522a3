"""Browsers by the names that people know them by."""

from __future__ import annotations

from gateway.words import translate

BROWSERS = (
    ("MicroMessenger", "微信 WeChat"),
    ("DingTalk", "钉钉 DingTalk"),
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("HuaweiBrowser", "华为浏览器 Huawei Browser"),
    ("ArkWeb", "华为浏览器 Huawei Browser"),
    ("MiuiBrowser", "小米浏览器 Mi Browser"),
    ("VivoBrowser", "vivo"),
    ("HeyTapBrowser", "OPPO"),
    ("UCBrowser", "UC"),
    ("QQBrowser", "QQ 浏览器 QQ Browser"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrom", "Chrome"),
    ("Safari", "Safari"),
    ("curl", "curl"),
)
"""What is in `User-Agent`, and the name; the first that fits, as most also pretend to be others."""
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
    names = [next((name for mark, name in known if mark in agent), None) for known in (BROWSERS, SYSTEMS)]
    return " · ".join(filter(None, names)) or translate(lang, "dashboard.browser-unknown")
