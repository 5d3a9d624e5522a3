"""The pages of lockers and bays: as a function of rows and samples, and in a real browser."""

from __future__ import annotations

from selenium.webdriver.common.keys import Keys

from gateway.capabilities.parcels.services import Compartment
from gateway.web.settings import DeviceInfo
from gateway.web.view import PlaceCount
from tests.gateway.browser import Page
from tests.gateway.dashboard_fixtures import House
from tests.gateway.views import at, sample, view

DOORS = {"door.1": "", "door.2": "", "door.10": ""}
LOCKER = DeviceInfo("box", {"zh": "柜"}, "parcel-locker", 10, DOORS, actions=("open", "reboot"))


def test_places_that_are_all_unknown_are_not_zero() -> None:
    samples = (
        sample("parking", free=0, occupied=0, unknown=4, total=4),
        sample("lockers", at(600), free=2, occupied=1, open=1, unknown=1, total=4),
    )
    seen = view(samples=samples)
    assert seen.parts["parking"].bays == PlaceCount(free=None, total=4, unknown=4)
    assert seen.parts["parcels"].compartments == PlaceCount(free=2, total=4, unknown=1, open=1, stale=True)


def test_compartments_are_those_declared_and_those_reported_in_order() -> None:
    rows = {
        "box/10": Compartment(False, True, at()),
        "box/2": Compartment(True, False, at()),
        "box/3": Compartment(False, False, at(), live=False),
        "box/11": Compartment(False, None, at()),
        "other/1": Compartment(False, False, at()),
    }
    (cabinet,) = view(LOCKER, lockers=rows).parts["parcels"].cabinets
    assert [(cell.number, cell.state) for cell in cabinet.compartments] == [
        (1, "unknown"),
        (2, "open"),
        (3, "unknown"),
        (10, "occupied"),
        (11, "shut"),
    ]


def test_the_list_of_devices_leaves_the_compartments_to_their_own_region() -> None:
    (row,) = view(LOCKER, samples=(sample("box", **{"door.1": True, "battery": 80}),)).devices
    assert [point.point for point in row.values] == ["battery"]
    assert row.actions == ("reboot",)


def test_a_compartment_opens_after_a_second_thought_only(house: House, page: Page) -> None:
    button = "[data-key='2'] button"
    page.driver.get(f"{page.url}/lockers")
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
