"""Every page in every state, pictured; nothing sticks out of any of them."""

from __future__ import annotations

import base64
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from selenium.webdriver import Chrome

from gateway.dashboard.parts import page_parts
from gateway.web.gallery import STATES
from gateway.web.part import HOME
from tests.gateway.axe import violations
from tests.gateway.browser import Page
from tests.gateway.dashboard.test_wall import STICKS_OUT

SIZES = {"": ((1440, 900), (390, 844)), "kiosk": ((1920, 1080), (1080, 1920))}
SAYS = {
    "empty": "没有接入安全探测器",
    "waiting": "报警情况未知",
    "calm": "没有报警",
    "stale": "没有当前读数",
    "away": "网关没有运行",
    "fault": "故障 厨房冰箱",
    "alarm": "火警 一层活动室烟感",
    "acknowledged": "李强",
    "reduced": "防护不完整",
    "drill": "不是真实报警",
    "long-names": "滨江街道第二邻里中心",
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of the gallery."""
    command = [sys.executable, "-m", "gateway.cli", "dashboard", "--gallery"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip().removesuffix("/gallery")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


BAR_LEADS_HOME = """
const bar = document.elementFromPoint(20, innerHeight - 20)?.closest("nav")
return !document.querySelector("header nav") || !!bar?.querySelector("a[href='/']")
"""
"""Whether the menu is at the thumb, and nothing above it."""


def gallery_links(address: str) -> list[tuple[str, ...]]:
    """Where the index leads: pages, each with a state and a language."""
    with urlopen(f"{address}/gallery?lang=zh", timeout=10) as answer:
        index = answer.read().decode()
    links = (unescape(link) for link in re.findall(r'href="/([^"]*gallery=[^"]*)"', index))
    return [
        (page.rstrip("?&"), *rest.split("&lang="))
        for page, _, rest in (link.partition("gallery=") for link in links)
    ]


@pytest.mark.timeout(120)
def test_the_gallery_leads_to_every_state_of_every_page(address: str) -> None:
    linked = gallery_links(address)
    pages = {page for page, _, _ in linked}
    assert {page.partition("?")[0].partition("/")[0] for page in pages} >= {
        page.name for part in page_parts() for page in part.pages
    } - {HOME, "plan-edit"}
    assert pages >= {"", "components", "plan/ground", "history/events", "shifts/1", "settings/hours"}
    assert len(linked) == len(pages) * len(STATES) * 2
    for number, page in enumerate(sorted(pages)):
        for state in {"calm", STATES[number % len(STATES)]} - {"empty", "waiting"}:
            query = "&" if "?" in page else "?"
            with urlopen(f"{address}/{page}{query}gallery={state}&lang=zh", timeout=30) as answer:
                assert answer.status == 200, (page, state)
    with pytest.raises(HTTPError, match="404"):
        urlopen(f"{address}/?gallery=nothing", timeout=10)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("state", "lang", "width"), [("calm", "zh", 1440), ("empty", "zh", 390), ("long-names", "en", 390)]
)
def test_nothing_sticks_out_of_any_page(
    address: str, chromium: Chrome, tmp_path: Path, state: str, lang: str, width: int
) -> None:
    """The pictures stay in the test's folder, to be looked at."""
    chromium.get_log("browser")
    try:
        chromium.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 1600, "deviceScaleFactor": 1, "mobile": width == 390},
        )
        for name in sorted({name for name, _, _ in gallery_links(address)} - set(SIZES)):
            query = "&" if "?" in name else "?"
            chromium.get(f"{address}/{name}{query}gallery={state}&lang={lang}")
            assert chromium.execute_script("return document.documentElement.scrollWidth") <= width, name
            if width == 390:
                assert chromium.execute_script(BAR_LEADS_HOME), name
            whole = {"format": "png", "captureBeyondViewport": True}
            picture = chromium.execute_cdp_cmd("Page.captureScreenshot", whole)["data"]
            file = re.sub(r"\W", "-", name)
            (tmp_path / f"{file}-{state}-{lang}.png").write_bytes(base64.b64decode(picture))
        assert not [each for each in chromium.get_log("browser") if each["source"] == "javascript"]
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("state", STATES)
def test_a_state_looks_like_itself(
    address: str, chromium: Chrome, tmp_path: Path, name: str, state: str
) -> None:
    """The pictures stay in the test's folder, to be looked at."""
    page = Page(chromium, address)
    pictures = set()
    try:
        for lang in ("zh", "en"):
            for width, height in SIZES[name]:
                chromium.execute_cdp_cmd(
                    "Emulation.setDeviceMetricsOverride",
                    {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width == 390},
                )
                chromium.get(f"{address}/{name}?gallery={state}&lang={lang}")
                page.until(lambda: page.has("html.script"))
                if lang == "zh" and state in SAYS:
                    assert SAYS[state] in page.text("main")
                assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
                if name == "kiosk":
                    assert page.driver.execute_script(STICKS_OUT) == "", (lang, width)
                picture = chromium.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
                (tmp_path / f"{name or HOME}-{state}-{lang}-{width}.png").write_bytes(
                    base64.b64decode(picture)
                )
                pictures.add(picture)
        assert len(pictures) == 4
        assert not [each for each in chromium.get_log("browser") if each["source"] == "javascript"]
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_square_of_a_board_has_room_for_a_name_without_a_number(address: str, chromium: Chrome) -> None:
    chromium.get(f"{address}/?gallery=long-names&lang=zh")
    squares = "return [...document.querySelectorAll('.board li')].map((each) => each.offsetHeight)"
    assert 0 < max(chromium.execute_script(squares)) < 60


HIDDEN_FOCUS = """
const shown = [...document.querySelectorAll("main :is(a, button, select, input, summary)")]
  .filter((node) => node.checkVisibility() && node.getClientRects().length)
for (const node of shown.reverse()) {
  node.focus()
  const { left, top, width } = node.getBoundingClientRect()
  const above = document.elementFromPoint(left + width / 2, top + 2)
  if (above?.closest(".lost, nav") && !above.closest(".lost, nav").contains(node)) return node.outerHTML
}
return ""
"""
"""What has the focus, and is behind the banner at the top or the bar at the bottom."""


@pytest.mark.parametrize("name", ["devices", "safety"])
def test_nothing_covers_what_has_the_focus(address: str, chromium: Chrome, name: str) -> None:
    page = Page(chromium, address)
    try:
        chromium.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 390, "height": 700, "deviceScaleFactor": 1, "mobile": True},
        )
        chromium.get(f"{address}/{name}?gallery=away&lang=zh")
        page.until(lambda: page.has("body.old-data"))
        assert chromium.execute_script(HIDDEN_FOCUS) == ""
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


PLAIN = ("login", "sign", "problem", "offline")


def test_what_pages_are_made_of_and_the_pages_outside_of_the_frame(
    address: str, chromium: Chrome, tmp_path: Path
) -> None:
    page = Page(chromium, address)
    paths = [
        *(f"components?gallery={state}&" for state in ("calm", "away")),
        *(f"plain/{name}?" for name in PLAIN),
    ]
    try:
        for number, path in enumerate(paths):
            for lang, width, scheme in (("zh", 1440, "light"), ("en", 390, "dark")):
                chromium.execute_cdp_cmd(
                    "Emulation.setDeviceMetricsOverride",
                    {"width": width, "height": 2400, "deviceScaleFactor": 1, "mobile": width == 390},
                )
                features = [{"name": "prefers-color-scheme", "value": scheme}]
                chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
                chromium.get(f"{address}/{path}lang={lang}")
                assert chromium.execute_script("return document.documentElement.scrollWidth") <= width, path
                assert violations(page) == [], (path, lang)
                picture = chromium.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
                (tmp_path / f"{number}-{lang}.png").write_bytes(base64.b64decode(picture))
        chromium.get(f"{address}/gallery?lang=en")
        linked = re.findall(r'href="/plain/([a-z]+)\?lang=zh"', chromium.page_source)
        assert linked == list(PLAIN)
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    with pytest.raises(HTTPError, match="404"):
        urlopen(f"{address}/plain/nothing", timeout=10)
