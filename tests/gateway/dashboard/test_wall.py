"""The screen on the wall in a real browser: it fits, a danger takes it over, and nobody has to touch it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from gateway.capabilities.needs.notices import PublicNotice
from gateway.capabilities.safety.services.alarms import Alarm, AlarmMode, AlarmState
from gateway.capabilities.safety.services.emergency_plans import (
    EmergencyCase,
    LoggedAction,
    MusterCount,
    PlanStep,
)
from gateway.model import Hazard
from tests.gateway.browser import Page
from tests.gateway.dashboard_fixtures import KEY, NASTY, PLAN, House, Served

SIZES = {"1080p": (1920, 1080), "4K": (3840, 2160), "21:9": (3440, 1440), "portrait": (1080, 1920)}
LONG = "滨江街道第二邻里中心三层东侧走廊尽头多功能活动室吊顶内的感烟火灾探测器 "
STICKS_OUT = """
const { innerWidth: width, innerHeight: height } = window
const { scrollWidth, scrollHeight } = document.documentElement
if (scrollWidth > width || scrollHeight > height) return `page ${scrollWidth}×${scrollHeight}`
for (const node of document.querySelectorAll("header, main, footer, main *:not(.hidden, .hidden *)")) {
  const box = node.getBoundingClientRect()
  if (!box.width || !box.height) continue
  if (box.left < -1 || box.top < -1 || box.right > width + 1 || box.bottom > height + 1)
    return `${node.outerHTML.slice(0, 200)} at ${box.left},${box.top}–${box.right},${box.bottom}`
}
const boxes = "main, .tile, .panel, .takeover, .summary, .plan, [data-trim], .board"
for (const node of document.querySelectorAll(boxes))
  if (node.scrollHeight > node.clientHeight + 1 || node.scrollWidth > node.clientWidth + 1)
    return `${node.className} ${[node.scrollWidth, node.scrollHeight, node.clientWidth, node.clientHeight]}`
return ""
"""


@pytest.fixture
def house(house: House) -> House:
    """With bays, and people who have come today."""
    house.bays(*[number % 3 == 0 for number in range(31)], None)
    house.curve(3, 9, 12, 5, 0, 0, 7, 2, -4, -6)
    for number, title in enumerate(("书法班", "太极拳", NASTY, LONG, "儿童绘本", "议事会")):
        house.booking(title, -3600 * number, kind="activity", room="dance")
    return house


@pytest.fixture
def wall(page: Page) -> Iterator[Page]:
    """The wall."""
    page.driver.get(f"{page.url}/?kiosk&key={KEY}")
    page.until(lambda: page.has("html.script"))
    yield page
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def resize(page: Page, size: str) -> None:
    width, height = SIZES[size]
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )
    page.until(lambda: page.driver.execute_script(f"return innerWidth === {width}"))


def fits(page: Page) -> None:
    for size in SIZES:
        for lang in ("zh", "en"):
            page.driver.get(f"{page.url}/?kiosk&lang={lang}")
            resize(page, size)
            page.until(lambda: page.has("html.script"))
            page.driver.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0]))")
            assert page.driver.execute_script(STICKS_OUT) == "", (size, lang)


def is_above_all(page: Page, selector: str) -> bool:
    """Whether it covers the middle of the screen and most of it, and the tiles are away."""
    covered: bool = page.driver.execute_script(
        "const node = document.querySelector(arguments[0]), box = node.getBoundingClientRect();"
        "const middle = document.elementFromPoint(innerWidth / 2, innerHeight / 2);"
        "return node.contains(middle) && box.width * box.height > innerWidth * innerHeight * .7",
        selector,
    )
    return covered and not page.driver.find_element(By.ID, "wall-tiles").is_displayed()


def test_a_calm_day_fits_every_screen_and_is_all_there(wall: Page) -> None:
    for selector in (".inside .curve svg", ".bays .board li", ".lockers .board li", ".agenda li"):
        assert wall.driver.find_element(By.CSS_SELECTOR, selector).is_displayed(), selector
    assert "31" in wall.text(".inside .number")
    assert "没有报警" in wall.text("#wall-alarms")
    assert datetime.now(UTC).strftime("%Y") in wall.text("#date")
    assert "星期" in wall.text("#date")
    assert "数据更新于" in wall.text("footer")
    assert "未经消防产品认证" in wall.text("footer")
    assert not wall.driver.find_elements(By.CSS_SELECTOR, "main :is(a, button, input)")
    fits(wall)


@pytest.mark.parametrize("size", SIZES)
def test_the_type_follows_the_screen(wall: Page, size: str) -> None:
    resize(wall, size)
    root = wall.driver.execute_script(
        "return parseFloat(getComputedStyle(document.documentElement).fontSize)"
    )
    assert root == pytest.approx(min(SIZES[size]) / 45, rel=0.01)


def test_reduced_protection_and_a_fault_are_shown_beside_the_rest(house: House, wall: Page) -> None:
    house.out("smoke", AlarmMode.DISABLED, NASTY)
    house.rows("safety", gas__link=Alarm(
        id="gas/link/1", device="gas", point="link", hazard=Hazard.FAULT, state=AlarmState.ACTIVE,
        raised=house.now(60), value="timeout",
    ))  # fmt: skip
    wall.shows("故障 厨房燃气", ".strip.fault")
    wall.shows("防护不完整", "#wall-alarms")
    assert wall.driver.find_element(By.ID, "wall-tiles").is_displayed()
    fits(wall)


def test_a_fire_takes_the_wall_over(house: House, wall: Page) -> None:
    name = house.alarm(AlarmState.ACTIVE)
    house.case(name)
    for text in ("火警", "一层活动室烟感", "发生于", "1 分钟前", "应清点人数 31", "尚无人确认", "到场查看"):
        wall.shows(text, ".takeover")
    assert is_above_all(wall, ".takeover")
    assert "到场查看" in wall.text(".plan .next")
    action = LoggedAction("李强", house.now())
    house.case(name, done={"look": action}, muster=MusterCount("王芳", house.now(), 20))
    house.rows("safety", smoke__smoke=Alarm(
        id=name, device="smoke", point="smoke", hazard=Hazard.FIRE, state=AlarmState.ACKNOWLEDGED,
        raised=house.now(65), acknowledged_by="李强",
    ))  # fmt: skip
    wall.shows("李强 已确认", ".takeover .who")
    wall.shows("已找到 20", ".muster")
    wall.shows("还差 11", ".muster")
    wall.shows("李强", ".plan .done")
    assert "119" in wall.text(".plan .next")
    assert is_above_all(wall, ".takeover")
    fits(wall)
    house.alarm(None)
    wall.until(lambda: wall.driver.find_element(By.ID, "wall-tiles").is_displayed())


def test_a_notice_of_one_line_is_shown(house: House, chromium: Chrome) -> None:
    text = "欢迎来到滨江邻里中心；活动室可在服务台预约。"
    house.configure("needs", notices={"welcome": PublicNotice(text={"zh": text, "en": "Welcome"})})
    house.furnish()
    served = Served(house.settings)
    try:
        page = Page(chromium, served.url)
        chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})  # the language that another test chose
        for size in SIZES:
            resize(page, size)
            chromium.get(f"{served.url}/?kiosk&key={KEY}")
            page.until(lambda: page.has("html.script"))
            page.until(lambda: chromium.find_element(By.CSS_SELECTOR, ".notices li").text == text)
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        served.end()


def test_the_worst_fire_fits_and_says_what_it_leaves_out(house: House, chromium: Chrome) -> None:
    steps = {
        f"step-{n}": PlanStep(who={"zh": "值班员"}, do={"zh": f"第{n}步 " + LONG * 2}, call="119")
        for n in range(30)
    }
    house.configure("safety", plans={Hazard.FIRE: msgspec.structs.replace(PLAN, steps=steps)})
    house.settings = msgspec.structs.replace(
        house.settings,
        devices=tuple(
            msgspec.structs.replace(device, title={"zh": LONG * 2, "en": LONG * 2})
            for device in house.settings.devices
        ),
    )
    name = house.alarm(AlarmState.ACTIVE)
    house.rows("response", smoke__smoke=EmergencyCase(
        id=name, alarm=name, device="smoke", hazard=Hazard.FIRE, raised=house.now(60), inside=31,
        steps=tuple(steps), done={"step-0": LoggedAction("李强", house.now())},
    ))  # fmt: skip
    house.rows("safety", **{
        f"smoke__smoke{n}": Alarm(
            id=f"smoke/smoke{n}/1", device="smoke", point="smoke", hazard=Hazard.FIRE,
            state=AlarmState.ACTIVE, raised=house.now(30), place=f"{n}", where=LONG,
        )
        for n in range(40)
    })  # fmt: skip
    served = Served(house.settings)
    try:
        chromium.get(f"{served.url}/?kiosk&key={KEY}")
        wall = Page(chromium, served.url)
        fits(wall)
        wall.driver.get(f"{wall.url}/?kiosk&lang=zh")
        wall.until(lambda: "另有" in (left(wall, ".plan ol") or ""))
        assert "条报警" in left(wall, ".others")
        colours = "const list = document.querySelector('.plan ol'); return ['', '::after'].map("
        colours += "(part) => getComputedStyle(list, part || null).color)"
        assert len(set(wall.driver.execute_script(colours))) == 1, "on red, it is as white as the steps"
        assert wall.driver.find_element(By.CSS_SELECTOR, ".plan .next").is_displayed()
        assert "第1步" in wall.text(".plan .next")
        assert is_above_all(wall, ".takeover")
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        served.end()


def left(page: Page, selector: str) -> str:
    """What a list says of the items that it leaves out."""
    return page.driver.find_element(By.CSS_SELECTOR, selector).get_attribute("data-left") or ""


def test_a_drill_says_that_it_is_one_and_a_fire_is_above_it(house: House, wall: Page) -> None:
    house.drill()
    wall.shows("演练", ".takeover.drill .mark")
    assert is_above_all(wall, ".takeover.drill")
    house.alarm(AlarmState.ACTIVE)
    wall.shows("一层活动室烟感", ".takeover.danger")
    assert not wall.has(".takeover.drill")


@pytest.mark.parametrize(("hours_away", "is_night"), [(2, True), (12, False)])
def test_the_night_is_dark_but_not_for_an_alarm(
    house: House, chromium: Chrome, hours_away: int, is_night: bool
) -> None:
    """`hours_away`: the hour that it is at the site, by its time zone."""
    east = (hours_away - datetime.now(UTC).hour + 11) % 24 - 11
    zone = f"Etc/GMT{-east:+d}"
    house.settings = msgspec.structs.replace(house.settings, timezone=zone)
    house.furnish()
    served = Served(house.settings)
    try:
        chromium.get(f"{served.url}/?kiosk&key={KEY}")
        wall = Page(chromium, served.url)
        wall.until(lambda: wall.has("html.script"))
        wall.until(lambda: wall.has("body.night") is is_night)
        paper = wall.driver.find_element(By.CSS_SELECTOR, "body").value_of_css_property("background-color")
        assert (paper == "rgba(14, 20, 18, 1)") is is_night
        house.alarm(AlarmState.ACTIVE)
        wall.until(lambda: wall.has(".takeover") and not wall.has("body.night"))
    finally:
        served.end()


def test_nothing_stays_at_one_place(wall: Page) -> None:
    places = wall.driver.execute_script(
        """const places = new Set()
        for (let step = 0; step < 8; step++) {
          offset = step * SHIFT_INTERVAL_MS
          followTime()
          const { left, top } = document.querySelector("h1").getBoundingClientRect()
          places.add(`${left} ${top}`)
        }
        return [...places]"""
    )
    assert len(places) == 8


def test_a_wall_of_an_earlier_version_loads_the_new_one(wall: Page) -> None:
    wall.driver.execute_script("window.isOld = true; document.body.dataset.version = 'earlier'")
    wall.until(lambda: not wall.driver.execute_script("return window.isOld"))
    assert wall.driver.current_url.endswith("/?kiosk")


def test_a_wall_that_hears_nothing_though_the_dashboard_answers_starts_again(wall: Page) -> None:
    wall.driver.execute_script("window.isOld = true; lastHeardAt -= STUCK_MS; recover()")
    wall.until(lambda: not wall.driver.execute_script("return window.isOld"))


def test_a_wall_without_a_dashboard_waits_and_does_not_look_well(wall: Page, served: Served) -> None:
    served.end()
    wall.shows("与看板的连接已断开", "#lost")
    wall.until(lambda: wall.has("body.old-data"))
    wall.driver.execute_script("lastHeardAt -= STUCK_MS; recover()")
    assert not wall.driver.find_element(By.CSS_SELECTOR, ".panel.calm").is_displayed()
    assert wall.driver.execute_script(STICKS_OUT) == ""


def test_the_screen_is_kept_on(wall: Page) -> None:
    """Where the browser allows it: on this machine's own address."""
    added = wall.driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument",
        {"source": "navigator.wakeLock.request = async (kind) => { window.kept = kind }"},
    )
    try:
        wall.driver.refresh()
        wall.until(lambda: wall.driver.execute_script("return window.kept") == "screen")
    finally:
        wall.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
