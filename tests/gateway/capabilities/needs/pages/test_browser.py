"""The kiosk, a phone and the desk in a real browser: a need from the form to its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from gateway.capabilities.needs.services import NeedState
from tests.gateway.browser import Page
from tests.gateway.capabilities.needs.pages.house import SAID, NeedsHouse
from tests.gateway.dashboard_fixtures import NASTY

CODE = "//img[@class='qr']"


WINDOW = 1280, 1400


@pytest.fixture
def house(tmp_path: Path) -> Iterator[NeedsHouse]:
    house = NeedsHouse(tmp_path)
    house.start()
    yield house
    house.close()


def fill(page: Page, **fields: str) -> None:
    for name, text in fields.items():
        page.driver.find_element(By.ID, name).send_keys(text)


def value(page: Page, name: str) -> str:
    return str(page.driver.find_element(By.ID, name).get_property("value"))


def choose(page: Page, category: str) -> None:
    page.click(f".categories label:has([value={category}])")


def number(page: Page) -> str:
    page.until(lambda: page.has("#receipt"))
    return page.text("#receipt").replace(" ", "")


def test_a_phone_scans_its_way_to_the_form(house: NeedsHouse, page: Page, tmp_path: Path) -> None:
    import cv2  # noqa: PLC0415

    page.driver.get(f"{page.url}/needs")
    picture = tmp_path / "code.png"
    image = page.driver.find_element(By.XPATH, CODE)
    page.until(lambda: image.get_property("naturalWidth"))
    picture.write_bytes(image.screenshot_as_png)
    address, *_ = cv2.QRCodeDetector().detectAndDecode(cv2.imread(str(picture)))
    assert address.startswith(f"{page.url}/need?pass=")
    page.driver.delete_all_cookies()
    page.driver.get(address)
    page.until(lambda: page.has("#register"))
    assert page.driver.current_url == f"{page.url}/need"
    choose(page, "repair")
    fill(page, text="想学用智能手机", name="李奶奶")
    page.click(".consent input")
    page.click("#register [type=submit]")
    receipt = number(page)
    assert house.needs()[receipt].channel == "phone"
    page.driver.get(f"{page.url}/needs/{receipt}")
    assert page.has("#key")
    assert "李奶奶" not in page.driver.page_source


def test_the_desk_sees_a_need_through(house: NeedsHouse, page: Page) -> None:
    page.driver.get(f"{page.url}/need")
    choose(page, "repair")
    fill(page, text=SAID["text"].replace("😀", ""), name="张小凡", address="3 幢 501")
    page.click(".consent input")
    page.click("#register [type=submit]")
    receipt = number(page)
    page.click("a.primary")
    page.click("#particulars button")
    page.shows("3 幢 501", "#particulars")
    page.shows(NASTY, "#particulars")
    assert page.driver.title != "owned"
    page.click("#step-refer summary")
    page.driver.find_element(By.CSS_SELECTOR, "#step-refer textarea").send_keys("已电话联系物业")
    page.click("#step-refer button")
    page.shows("✓ 转介", "[role=status]")
    page.shows("转介 · 物业公司 · Wang", ".history")
    page.click("#step-close summary")
    page.click("#step-close [value=partly]")
    page.click("#step-close button")
    page.shows("已办结", "#need-title")
    need = house.needs()[receipt]
    assert (need.state, need.outcome, need.referral) == (NeedState.CLOSED, "partly", "property")
    page.driver.get(f"{page.url}/needs?state=closed")
    page.shows("报修", f"[data-need='{receipt}']")
    page.shows("已办结 1", "#need-statistics")
    page.driver.get(f"{page.url}/needs/{receipt}")
    page.click("#step-erase summary")
    page.click("#step-erase button")
    page.shows("这条诉求的个人资料已经删除", "#particulars")
    assert house.store.stored() == {}
