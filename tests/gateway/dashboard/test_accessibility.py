"""Nobody is kept out: each page in its states to axe, in both languages, on light, dark and high-contrast
screens; and what the keyboard and a screen reader meet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from gateway.capabilities.safety.services.alarms import AlarmMode, AlarmState
from gateway.capabilities.visitors.pages.cameras import CameraInfo
from gateway.dashboard.parts import page_parts
from gateway.model import Role
from gateway.web.part import HOME, KIOSK
from gateway.web.passwords import hash_password
from gateway.web.people import Person, people_file, write_people
from gateway.web.settings import DeviceInfo
from tests.gateway.axe import violations
from tests.gateway.browser import Page
from tests.gateway.capabilities.floors.test_pages import SVG, post
from tests.gateway.capabilities.needs.pages.house import NeedsHouse, register
from tests.gateway.capabilities.visitors.pages.test_cameras import COUNTED, counting
from tests.gateway.dashboard.test_site_settings import Centre
from tests.gateway.dashboard_fixtures import KEY, NASTY, Served
from tests.gateway.simulate.conftest import eventually

PIN = "274951"
LIGHT, DARK = {"prefers-color-scheme": "light"}, {"prefers-color-scheme": "dark"}
MORE = {"prefers-contrast": "more"}
FORCED = {"forced-colors": "active"}
PATHS = (
    "", "?kiosk", *(
        page.name for part in page_parts() for page in part.pages
        if page.name not in {HOME, KIOSK, "settings", "plan-edit"}  # the last two need a site file
    ),
    "device?name=gas", "visitors/report", "privacy", "need", "history/events", "trust", "offline",
    "no-such-page",
)  # fmt: skip
PARTS = 4
"""Tests among which they are divided, as each test may take a minute only."""
LIVE_PATHS = ("", "?kiosk", "devices", "visits", "lockers", "safety", "needs")
"""Those whose figures grow old."""
ALARM_PATHS = (*LIVE_PATHS, "bookings", "parking", "history", "device?name=gas", "need", "trust", "privacy")
"""The frame is the same on all others."""
COUNT_REACHED = """
const controls = "a[href], button, input:not([type=hidden], [type=radio]), select, textarea, summary"
window.reachable = [...document.querySelectorAll(controls)].filter((node) => node.checkVisibility())
window.missed = new Set(reachable.map((node) => node.outerHTML))
window.unmarked = new Set()
document.addEventListener("focusin", ({ target }) => {
  missed.delete(target.outerHTML)
  if (getComputedStyle(target).outlineStyle === "none") unmarked.add(target.outerHTML)
})
document.activeElement.blur()
"""
TOLD = """
window.told = []
for (const node of document.querySelectorAll("[role=alert]"))
  new MutationObserver(() => node.checkVisibility() && window.told.push(node.textContent.trim()))
    .observe(node, { subtree: true, childList: true, characterData: true })
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[NeedsHouse]:
    """With something on each page."""
    house = NeedsHouse(tmp_path)
    house.start()
    house.bays(*[number % 3 == 0 for number in range(31)], None)
    house.curve(3, 9, 12, 5, 0, 0, 7, 2, -4, -6)
    house.booking("书法班", -3600, kind="activity", room="dance")
    cameras = (
        CameraInfo("cam", "overhead", True, (counting("east"), counting("hall", True, NASTY))),
        CameraInfo("west-cam", "oblique", False, (counting("west"),)),
    )
    house.configure("visitors", cameras=cameras, contact={"zh": "王芳", "en": "Wang Fang"})
    cards = [DeviceInfo(name, {"zh": name}, "door-counter", 10) for name in ("east", "hall", "west")]
    house.settings = msgspec.structs.replace(house.settings, devices=(*house.settings.devices, *cards))
    house.still = cv2.imencode(".jpg", np.full((360, 640, 3), (30, 90, 200), np.uint8))[1].tobytes()
    house.says("east", **COUNTED, **{"in": 12, "out": 9})
    house.report = {"hall": {"up": True, "use": 12.0, "devices": [], "findings": []}}
    yield house
    house.close()


def seen_with(page: Page, **features: str) -> None:
    """As somebody sees it who has set this."""
    listed = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": listed})


def walk(
    page: Page,
    lang: str,
    paths: Sequence[str],
    features: dict[str, str],
    other: dict[str, str] | None = None,
) -> list[str]:
    """What axe finds on these pages; with other features the contrast only."""
    found = []
    for path in paths:
        seen_with(page, **features)
        page.driver.get(f"{page.url}/{path}{'&' if '?' in path else '?'}lang={lang}")
        found += [f"/{path} {lang} {features}: {each}" for each in violations(page)]
        if other:
            seen_with(page, **other)
            found += [f"/{path} {lang} {other}: {each}" for each in violations(page, ["color-contrast"])]
    seen_with(page)
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_a_calm_day(house: NeedsHouse, served: Served, page: Page, part: int) -> None:
    assert register(served, served.cookie())[0] == 200
    need = f"needs/{next(iter(house.needs()))}"
    assert walk(page, "zh", (*PATHS, need)[part::PARTS], LIGHT, DARK) == []


@pytest.mark.parametrize("part", range(2))
def test_an_alarm(house: NeedsHouse, page: Page, part: int) -> None:
    house.case(house.alarm(AlarmState.ACTIVE))
    house.out("gas", AlarmMode.DISABLED, "施工")
    page.shows("火警", "#alarms")
    assert walk(page, "en", ALARM_PATHS[part::2], DARK | MORE) == []


def test_an_alarm_in_forced_colours_and_a_drill(house: NeedsHouse, page: Page) -> None:
    house.alarm(AlarmState.ACTIVE)
    page.shows("火警", "#alarms")
    assert walk(page, "en", ("", "?kiosk", "devices"), FORCED, LIGHT | MORE) == []
    house.alarm(None)
    house.drill()
    page.driver.get(f"{page.url}/?lang=en")
    page.shows("drill", "#alarms")
    assert walk(page, "en", ("", "safety", "?kiosk"), LIGHT, DARK) == []


def test_old_data(house: NeedsHouse, page: Page) -> None:
    house.stop()
    page.until(lambda: page.has("body.old-data"))
    assert walk(page, "zh", LIVE_PATHS, LIGHT, DARK) == []


def test_the_way_in_and_the_dialogs(house: NeedsHouse, page: Page) -> None:
    people = {"李强": Person(Role.MANAGER, hash_password("password-of-li"), hash_password(PIN))}
    write_people(people_file(house.settings.access), people)
    page.driver.get(f"{page.url}/safety?lang=zh")
    page.click("form[data-confirm]:has([name=hazard]) [type=submit]")
    page.until(lambda: page.has("#confirm[open]"))
    assert violations(page) == []
    page.driver.get(f"{page.url}/sessions")
    fields = page.driver.find_element("css selector", "[name=screen]")
    fields.send_keys("大厅", Keys.ENTER)
    page.until(lambda: not page.has("[name=screen]"))
    house.alarm(AlarmState.ACTIVE)
    page.driver.get(page.url)
    page.click("#alarms [data-alarm] > button")
    page.until(lambda: page.has("#sign[open] .keypad"))
    for features in (LIGHT, DARK):
        seen_with(page, **features)
        assert violations(page) == []
    page.driver.delete_all_cookies()
    for path in ("", "?key=wrong&name=somebody"):
        page.driver.get(f"{page.url}/{path}")
        assert page.has("form[action='/login']")
        for features in (DARK, LIGHT):
            seen_with(page, **features)
            assert violations(page) == []


def press(page: Page, *keys: str) -> None:
    """On the keyboard, wherever the focus is."""
    for key in keys:
        ActionChains(page.driver).send_keys(key).perform()


def has_focus(page: Page, selector: str) -> bool:
    focused: bool = page.driver.execute_script(
        "return document.activeElement.matches(arguments[0])", selector
    )
    return focused


def focus(page: Page, selector: str) -> None:
    page.driver.execute_script("document.querySelector(arguments[0]).focus()", selector)


def test_the_keyboard_gets_past_the_menu_and_to_everything(page: Page) -> None:
    press(page, Keys.TAB)
    assert has_focus(page, ".skip")
    assert page.driver.find_element("css selector", ".skip").rect["x"] >= 0
    press(page, Keys.ENTER, Keys.TAB)
    assert has_focus(page, "main *")
    for path in ("devices", "visitors"):
        page.driver.get(f"{page.url}/{path}")
        page.driver.execute_script(COUNT_REACHED)
        for _ in range(page.driver.execute_script("return reachable.length") + 6):  # a date has parts
            press(page, Keys.TAB)
        assert page.driver.execute_script("return [...missed, ...unmarked]") == [], path


def test_the_focus_is_not_lost_by_what_is_done(house: NeedsHouse, page: Page) -> None:
    house.alarm(AlarmState.ACTIVE)
    button = "#alarms button[data-key=acknowledge]"
    page.until(lambda: page.has(button))
    house.answer = lambda _: {"status": "failed", "detail": "timeout"}
    focus(page, button)
    press(page, Keys.ENTER)
    page.shows("没有成功", "#toast")
    assert has_focus(page, button)
    house.answer = lambda _: {"status": "done"}
    press(page, Keys.ENTER)
    page.shows("已确认", "#toast")
    house.alarm(AlarmState.LATCHED)
    page.until(lambda: page.has("#alarms button[data-key=reset]"))
    assert has_focus(page, "#alarms li[data-alarm]"), "not the button that resets: Enter may be held down"
    house.alarm(None)
    page.until(lambda: not page.has("#alarms [data-alarm]"))
    assert has_focus(page, "#alarms")


def test_a_dialog_keeps_the_focus_and_gives_it_back(house: NeedsHouse, page: Page) -> None:
    page.driver.get(f"{page.url}/safety")
    button = "form[data-confirm]:has([name=hazard]) [type=submit]"
    focus(page, button)
    press(page, Keys.ENTER)
    page.until(lambda: has_focus(page, "#confirm button"))
    for _ in range(5):
        press(page, Keys.TAB)
        assert has_focus(page, "#confirm button, body")
    press(page, Keys.ESCAPE)
    page.until(lambda: has_focus(page, button))
    assert house.commands == []
    press(page, Keys.ENTER, Keys.TAB)
    assert has_focus(page, "#confirm-yes")
    press(page, Keys.ENTER)
    page.until(lambda: has_focus(page, button))
    page.until(lambda: house.commands)


def test_a_screen_reader_is_told_each_alarm_once_and_no_seconds(house: NeedsHouse, page: Page) -> None:
    page.driver.execute_script(TOLD)
    for count in (1, 2):
        house.alarm(AlarmState.ACTIVE)
        page.until(lambda: page.has("#alarms [data-alarm=active]"))
        told = page.driver.execute_script("return told")
        assert [text.partition(" ")[0] for text in told] == ["新报警：火警，一层活动室烟感"] * count
        house.alarm(None)
        page.until(lambda: not page.has("#alarms [data-alarm]"))
    house.stop()
    page.until(lambda: page.has("body.old-data time.ago"))
    page.driver.execute_script(TOLD)
    ago = page.text("#banners time.ago")
    page.until(lambda: page.text("#banners time.ago") != ago)
    assert page.driver.execute_script("return told") == []


def test_the_settings_and_the_editing_of_the_plan(tmp_path: Path, chromium: Chrome) -> None:
    centre = Centre(tmp_path)
    try:
        fields = {"group": "floor", "name": "ground", "v0.zh": "一层", "digest": centre.digest}
        assert centre.post("/settings/floors", **fields)[0] == 303
        eventually(lambda: centre.get("/plan/ground")[0] == 200)
        assert post(centre, "/plan/ground/picture", SVG)[0] == 200
        page = Page(chromium, centre.served.url)
        page.driver.get(f"{page.url}/?key={KEY}&name=Wang")
        page.driver.get(f"{page.url}/settings")
        links = page.driver.find_elements("css selector", "main a[href^='/settings/']")
        sections = {str(link.get_attribute("href")).removeprefix(f"{page.url}/") for link in links}
        assert len(sections) > 4
        paths = ("settings", *sorted(sections), "settings/history/2", "plan/ground", "plan")
        assert walk(page, "zh", paths, DARK) == []
    finally:
        centre.end()
