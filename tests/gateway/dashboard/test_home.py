"""The overview on a desk and on a phone: what a manager asks, and the alarms first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium.webdriver.common.by import By

from gateway.capabilities.safety.services.alarms import AlarmMode, AlarmState
from tests.gateway.browser import Page
from tests.gateway.dashboard_fixtures import House

PHONE = 390, 844
SMALL_TARGETS = """
const found = []
for (const node of document.querySelectorAll("a, button, input, select, summary, textarea")) {
  const { width, height } = node.getBoundingClientRect()
  if (width && height && !node.matches("p a:not(.pill a), .skip") && Math.min(width, height) < 44 - .5)
    found.push(`${node.outerHTML.slice(0, 120)} ${width}×${height}`)
}
return found
"""
PAGES = ("", "devices", "visits", "visitors", "needs", "lockers", "safety", "walk-test", "lines")


@pytest.fixture
def house(house: House) -> House:
    """With bays, and people who have come today."""
    house.bays(*[number % 3 == 0 for number in range(31)], None)
    house.curve(3, 9, 12, 5, 0, 0, 7, 2, -4, -6)
    house.booking("书法班", -3600, kind="activity", room="dance")
    return house


@pytest.fixture
def resize(page: Page) -> Iterator[None]:
    """The page as the test has left it is not that of the next one."""
    yield
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def resized(page: Page, size: tuple[int, int]) -> None:
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE},
    )
    page.until(lambda: page.driver.execute_script(f"return innerWidth === {size[0]}"))


def top_of(page: Page, selector: str) -> float:
    top: float = page.driver.execute_script(
        "return document.querySelector(arguments[0]).getBoundingClientRect().top + scrollY", selector
    )
    return top


def test_the_overview_answers_what_a_manager_asks(house: House, page: Page) -> None:
    assert "没有报警" in page.text("#alarms")
    assert "31" in page.text(".inside .number")
    assert page.driver.find_element(By.CSS_SELECTOR, ".inside .chart .curve").is_displayed()
    states = [
        each.get_attribute("class") for each in page.driver.find_elements(By.CSS_SELECTOR, ".bays li")
    ]
    assert [states.count(each) for each in ("free", "occupied", "unknown")] == [20, 11, 1]
    assert len(page.driver.find_elements(By.CSS_SELECTOR, ".lockers li")) == 4
    assert "书法班 舞蹈室" in page.text(".activities")
    assert page.text(".todo") == "待办 没有待办"
    house.says("needs", open=3, new=2, overdue=1)
    page.shows("2 条新诉求", ".todo")
    page.click(".lockers h2 a")
    page.until(lambda: page.driver.current_url == f"{page.url}/lockers")
    assert page.has("[data-key='1'] button")


@pytest.mark.usefixtures("resize")
def test_on_a_phone_the_alarm_comes_first_and_the_pages_are_at_the_thumb(house: House, page: Page) -> None:
    house.case(house.alarm(AlarmState.ACTIVE))
    house.out("gas", AlarmMode.DISABLED, "维修")
    resized(page, PHONE)
    page.shows("火警", "#alarms .panel.alarm")
    page.shows("台屏蔽", ".status")
    assert top_of(page, "#alarms") < 120
    page.driver.execute_script("scrollTo(0, document.documentElement.scrollHeight)")
    bar = page.driver.find_element(By.CSS_SELECTOR, "nav")
    assert bar.rect["y"] + bar.rect["height"] - page.driver.execute_script("return scrollY") == 844
    shown = [each.text for each in bar.find_elements(By.CSS_SELECTOR, "a, button") if each.is_displayed()]
    assert shown == ["概况", "在场与预约", "客流统计", "设备", "更多"]
    page.click("nav .more-pages")
    page.click("#more-pages a[href='/safety']")
    page.until(lambda: page.driver.current_url == f"{page.url}/safety")
    assert page.has("nav button[aria-current]")
    assert top_of(page, "#alarms") < 120


@pytest.mark.usefixtures("resize")
@pytest.mark.parametrize("path", PAGES)
def test_on_a_phone_everything_is_as_large_as_a_thumb_and_nothing_sticks_out(
    house: House, page: Page, path: str
) -> None:
    house.case(house.alarm(AlarmState.ACTIVE))
    page.driver.get(f"{page.url}/{path}")
    resized(page, PHONE)
    page.until(lambda: page.has("html.script"))
    assert page.driver.execute_script("return document.documentElement.scrollWidth") == 390
    assert page.driver.execute_script(SMALL_TARGETS) == []
    for table in page.driver.find_elements(By.CSS_SELECTOR, ".scroll"):
        assert table.get_property("scrollWidth") <= table.get_property("clientWidth")
