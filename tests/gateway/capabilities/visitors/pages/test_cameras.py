"""Cameras as the people of the centre see them: how they do, and a line drawn where it is to be."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from gateway.capabilities.visitors.pages.cameras import CameraInfo, CountingDevice
from gateway.config import load_site
from gateway.web.settings import DeviceInfo
from tests.gateway.browser import Page
from tests.gateway.dashboard_fixtures import DEVICES, KEY, NASTY, House, Served

WINDOW = 500, 900
COUNTED = {
    "tamper": False,
    "invalid": False,
    "picture": "good",
    "calibrated": True,
    "fps": 15.0,
    "cost": 2.9,
}
SITE = 'schema = "linli/site/1"\n[site]\nid = "here"\ntitle = "Here"\n'
BUS = '[bus.cam]\ndriver = "camera"\nurl = "rtsp://192.0.2.7/"\nview = "overhead"\n'


def counting(name: str, zone: bool = False, title: str = "") -> CountingDevice:
    return CountingDevice(
        name=name,
        title={"zh": title or "东门", "en": title or "East door"},
        profile="occupancy/camera-zone" if zone else "door-counter/camera-line",
        line=None if zone else (0.5, 1.0, 0.5, 0.0),
        zone=((0.1, 0.1), (0.9, 0.1), (0.9, 0.9)) if zone else None,
        person=None if zone else (0.1, 0.25),
        every=10.0,
    )


@pytest.fixture
def served(house: House) -> Iterator[Served]:
    """A dashboard with two cameras, of which one may be looked through."""
    counters = [
        ("east", "door-counter", {"zh": "东门", "en": "East door"}),
        ("hall", "occupancy", {"zh": NASTY, "en": NASTY}),
        ("west", "door-counter", {"zh": "西门", "en": "West door"}),
    ]
    cards = [DeviceInfo(name, title, kind, 10) for name, kind, title in counters]
    open_one = CameraInfo("cam", "overhead", True, (counting("east"), counting("hall", True, NASTY)))
    shut_one = CameraInfo("west-cam", "oblique", False, (counting("west"),))
    house.configure(
        "visitors",
        cameras=(open_one, shut_one),
        contact={"zh": "王芳 0571-88880000", "en": "Wang Fang 0571-88880000"},
    )
    served = Served(msgspec.structs.replace(house.settings, devices=(*DEVICES, *cards)))
    picture = np.full((360, 640, 3), (30, 90, 200), np.uint8)
    house.still = cv2.imencode(".jpg", picture)[1].tobytes()
    house.says("east", **COUNTED, **{"in": 12, "out": 9})
    house.says("hall", **COUNTED | {"tamper": True, "invalid": True, "picture": "dark"}, occupancy=0)
    house.says("west", error="camera-unreadable")
    yield served
    served.end()


def test_a_still_is_for_who_has_a_session_and_asks_from_the_page(house: House, served: Served) -> None:
    cookie, wish = served.cookie(), json.dumps({"camera": "cam"})
    assert served.ask("POST", "/still", wish)[0] == 401
    assert served.ask("POST", "/still", wish, cookie, origin="http://elsewhere.example")[0] == 403
    assert served.ask("GET", "/still", "", cookie)[0] == 405
    for nonsense in ("", "[]", "{}", '{"camera": 3}', "x" * 70_000):
        assert served.ask("POST", "/still", nonsense, cookie)[0] in {400, 413}
    assert house.looks == []
    house.still = b""
    status, _, answer = served.ask("POST", "/still", wish, cookie)
    assert status == 503
    assert "stills = true" in json.loads(answer)["message"]
    assert house.looks == [{"bus": "cam", "by": "王芳"}]
    house.stop()
    status, _, answer = served.ask("POST", "/still", wish, cookie)
    assert status == 503
    assert str(house.settings.control) in json.loads(answer)["message"], "which socket, it says"


def test_a_notice_for_visitors_says_what_the_law_asks_for(served: Served) -> None:
    assert served.ask("GET", "/privacy")[0] == 401
    _, _, chinese = served.ask("GET", "/privacy?lang=zh", "", served.cookie())
    for said in ("滨江邻里中心", "王芳 0571-88880000", "处理目的", "保存期限", "第十七条", "第二十六条"):
        assert said in chinese
    _, _, english = served.ask("GET", "/privacy?lang=en", "", served.cookie())
    for said in ("Binjiang Neighbourhood Centre", "Wang Fang", "Article 17", "Article 26"):
        assert said in english


@pytest.fixture
def page(page: Page) -> Page:
    """On the page of the cameras."""
    page.driver.get(f"{page.url}/cameras")
    return page


def drawn(page: Page, tmp_path: Path) -> dict[str, Any]:
    """The device that the text on the page describes, as a site reads it."""
    text = page.driver.find_element(By.ID, "tune-text").get_property("value")
    assert isinstance(text, str)
    file = tmp_path / "site.toml"
    file.write_text(SITE + BUS + text, "utf-8")
    assert len(load_site(file).devices) == 1
    ((name, table),) = tomllib.loads(text)["device"].items()
    return {"name": name, **table}


def test_every_camera_says_how_it_does(house: House, page: Page) -> None:
    page.shows("正常", "[data-key=east]")
    assert "进 12，出 9" in page.text("[data-key=east]")
    assert "15.0 2.9 ms" in page.text("[data-key=east]")
    assert "全黑：镜头是否被遮挡？" in page.text("[data-key=hall]")
    assert "不可信" in page.text("[data-key=hall]")
    assert "摄像头不应答" in page.text("[data-key=west]")
    assert "允许查看画面" in page.text("[data-key=cam]")
    page.driver.get(f"{page.url}/")
    page.shows("1 个摄像头允许查看画面", ".todo")


def test_a_line_is_drawn_on_what_the_camera_sees(house: House, page: Page, tmp_path: Path) -> None:
    assert house.looks == []
    page.click("#tune-look")
    pixel = "return [...tune.querySelector('canvas').getContext('2d').getImageData(9, 9, 1, 1).data]"
    page.until(lambda: page.driver.execute_script(pixel)[3] == 255)
    blue, green, red = page.driver.execute_script(pixel)[2::-1]
    assert abs(red - 200) + abs(green - 90) + abs(blue - 30) < 15
    assert house.looks == [{"bus": "cam", "by": "Wang"}]
    assert drawn(page, tmp_path) == {
        "name": "east", "profile": "door-counter/camera-line", "bus": "cam", "every": 10,
        "title": {"zh": "东门", "en": "East door"}, "line": [0.5, 1, 0.5, 0], "person": [0.1, 0.25],
    }  # fmt: skip
    second = page.driver.find_elements(By.CSS_SELECTOR, ".handle.line")[1]
    second.send_keys(Keys.SHIFT, Keys.ARROW_DOWN)
    second.send_keys(Keys.ARROW_RIGHT * 2)
    assert "51 %, 5 %" in str(second.get_attribute("aria-label"))
    width = page.driver.find_element(By.ID, "tune-stage").size["width"]
    ActionChains(page.driver).drag_and_drop_by_offset(second, round(width / 4), 0).perform()
    assert drawn(page, tmp_path)["line"] == pytest.approx([0.5, 1, 0.76, 0.05], abs=0.005)
    # The arrow stands to the right of who looks from the first point to the second.
    tip = "return tune.querySelector('.tip').points[0].x / tune.querySelector('canvas').width"
    assert page.driver.execute_script(tip) > 0.63
    page.click("#tune-swap")
    assert page.driver.execute_script(tip) < 0.63
    assert drawn(page, tmp_path)["line"][2:] == [0.5, 1]
    corner = page.driver.find_elements(By.CSS_SELECTOR, ".handle.person")[1]
    corner.send_keys(Keys.SHIFT, Keys.ARROW_RIGHT)
    assert drawn(page, tmp_path)["person"] == [0.15, 0.25]
    page.click("#tune-sized")
    assert "person" not in drawn(page, tmp_path)
    page.click("#tune-copy")
    page.shows("已复制", "#toast")


def test_a_zone_has_as_many_corners_as_one_likes(page: Page, tmp_path: Path) -> None:
    Select(page.driver.find_element(By.ID, "tune-device")).select_by_visible_text(f"{NASTY} (hall)")
    page.click("#tune-more")
    page.driver.find_elements(By.CSS_SELECTOR, ".handle.zone")[3].send_keys(Keys.SHIFT, Keys.ARROW_LEFT)
    zone = drawn(page, tmp_path)
    assert zone["title"]["en"] == NASTY
    assert zone["zone"] == [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.45, 0.5]]
    for _ in range(3):
        page.click("#tune-less")
    assert len(drawn(page, tmp_path)["zone"]) == 3


def test_a_new_line_and_a_camera_that_may_not_be_looked_through(page: Page, tmp_path: Path) -> None:
    Select(page.driver.find_element(By.ID, "tune-device")).select_by_visible_text("新计数线")
    assert drawn(page, tmp_path)["name"] == "cam-line"
    Select(page.driver.find_element(By.ID, "tune-camera")).select_by_value("west-cam")
    assert not page.driver.find_element(By.ID, "tune-look").is_enabled()
    page.shows("stills = true", "#tune-problem")


def test_the_password_is_asked_for_again_before_the_picture_is_shown(
    house: House, served: Served, page: Page
) -> None:
    page.driver.get(f"{page.url}/static/icon.svg")
    page.driver.delete_all_cookies()
    page.driver.add_cookie(served.idle_cookie(house.settings.access))
    page.driver.get(f"{page.url}/cameras")
    page.click("#tune-swap")
    drawn = page.driver.find_element(By.ID, "tune-text").get_attribute("value")
    page.click("#tune-look")
    page.until(lambda: page.has("#sign[open]"))
    assert house.looks == []
    page.driver.find_element(By.CSS_SELECTOR, "#sign [name=secret]").send_keys(KEY)
    page.click("#sign [type=submit]")
    page.until(lambda: house.looks)
    page.until(lambda: page.driver.find_element(By.ID, "tune-still").get_property("width") == 640)
    assert page.driver.find_element(By.ID, "tune-text").get_attribute("value") == drawn
