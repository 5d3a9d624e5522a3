"""Parcel lockers in a real browser."""

from __future__ import annotations

from selenium.webdriver.common.keys import Keys

from tests.gateway.browser import Page
from tests.gateway.dashboard_fixtures import House


def test_a_compartment_opens_after_a_second_thought_only(house: House, page: Page) -> None:
    button = "[data-key='2'] button"
    page.until(lambda: page.has("html.script"))
    page.click(button)
    page.shows("确定打开“东侧快递柜”2 号格？", "dialog")
    assert page.driver.switch_to.active_element.text == "取消"
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.until(lambda: not page.has("dialog[open]"))
    assert house.commands == []
    page.click(button)
    page.click("dialog .danger")
    page.shows("“东侧快递柜”2 号格已打开", "#toast.done")
    assert [(each["action"], each["args"]) for each in house.commands] == [("open", {"lock": 2})]
    house.compartment(2, occupied=True, door_open=True)
    page.shows("门开着", "[data-key='2']")
    assert not page.has(button)
