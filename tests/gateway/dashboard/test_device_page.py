"""The page of one device."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from gateway.base.control import Handler
from gateway.config import load_site
from gateway.dashboard import settings_of
from gateway.dashboard.device_page import device_choice
from gateway.journal import Journal
from gateway.model import ReadFailed, Role
from gateway.web.passwords import hash_password
from gateway.web.people import Person, people_file, write_people
from gateway.web.settings import DeviceInfo
from gateway.web.spreadsheet import BOM
from tests.gateway.browser import Page, fill
from tests.gateway.dashboard_fixtures import NASTY, House, Served

KNOWN = {
    "maker": NASTY,
    "model": "XNX",
    "source": "XNX 3.2",
    "profile": "gas/xnx",
    "address": "unit = 7",
    "bus": "rs485",
}


class ReadableHouse(House):
    """Its daemon reads a device on request."""

    reads: list[str]

    async def _handlers(self, journal: Journal) -> dict[str, Handler]:
        return {**await super()._handlers(journal), "read": self._read}

    async def _read(self, request: dict[str, Any]) -> dict[str, Any]:
        self.reads.append(request["device"])
        if request["device"] == "smoke":
            raise ReadFailed("timeout")
        if request["device"] == "nasty":
            return {"waits": 60.0}
        return {
            "raw": f"01 03 {NASTY}",
            "values": {"lel": 2.5, "valve": True},
            "bad": ["fault"],
            "seconds": 0.1,
        }


@pytest.fixture
def house(tmp_path: Path) -> Any:
    house = ReadableHouse(tmp_path)
    house.reads = []
    devices = tuple(
        msgspec.structs.replace(each, **KNOWN) if each.name == "gas" else each
        for each in house.settings.devices
    )
    house.settings = msgspec.structs.replace(house.settings, devices=devices)
    house.start()
    yield house
    house.close()


def test_it_says_what_the_device_is_and_follows_what_it_says(house: ReadableHouse, page: Page) -> None:
    page.driver.get(f"{page.url}/devices")
    page.click("[data-key=gas] h4 a")
    page.shows("厨房燃气", "#device-title")
    for text in (NASTY, "XNX 3.2", "unit = 7", "rs485", "燃气浓度", "1 次读数"):
        assert text in page.text(), text
    house.says("gas", lel=7.5)
    page.shows("7.5", "#device")
    assert house.reads == []
    page.click("a[href*=read]")
    page.shows("01 03 <img", "pre.raw")
    assert "读到的值不可能" in page.text()
    assert house.reads == ["gas"]
    page.click(".way-back a")
    page.until(lambda: page.has("#devices"))


@pytest.mark.parametrize(("device", "text"), [("smoke", "无应答"), ("nasty", "这台设备自行上报")])
def test_a_device_that_cannot_be_read_says_why(served: Served, device: str, text: str) -> None:
    cookie = served.cookie()
    status, _, page = served.ask(
        "GET", f"/device?name={device}&read=1", cookie=cookie, accept_language="zh"
    )
    assert status == 200
    assert text in page


def test_its_history_is_given_as_csv(house: ReadableHouse, served: Served) -> None:
    house.says("gas", ago=20, lel=2.5)
    house.says("gas", ago=10, lel=7.5)
    house.stop()
    house.start()
    status, headers, text = served.ask(
        "GET", "/device.csv?name=gas&point=lel", cookie=served.cookie(), accept_language="zh"
    )
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''gas-1h.csv"
    heads, *lines = text.removeprefix(BOM).splitlines()
    assert heads == "测点,从,到,单位,最低,平均,最高,读数"
    assert [line.split(",")[0] for line in lines] == ["燃气浓度"] * len(lines)
    values = [line.split(",", 3)[3] for line in lines]
    assert "%LEL,7.5,7.5,7.5,1" in values
    assert values.count("%LEL,2.5,2.5,2.5,1") == len(values) - 1
    assert served.ask("GET", "/device.csv?name=no-such", cookie=served.cookie())[0] == 404
    assert served.ask("GET", "/device.csv?name=gas")[0] == 401


@pytest.mark.parametrize("name", ["", "no-such", NASTY, "x" * 9999])
def test_a_device_that_is_not_there_is_not_found(served: Served, name: str) -> None:
    assert served.ask("GET", f"/device?name={quote(name)}", cookie=served.cookie())[0] == 404


def test_the_message_is_for_installers(house: ReadableHouse, page: Page) -> None:
    write_people(
        people_file(house.settings.access), {"王芳": Person(Role.DUTY, hash_password("long enough"))}
    )
    page.driver.delete_all_cookies()
    page.driver.get(f"{page.url}/device?name=gas&read=1")
    fill(page, "form", name="王芳", key="long enough")
    page.shows("厨房燃气", "#device-title")
    assert not page.has("pre.raw")
    assert not page.has("a[href*=read]")
    assert house.reads == []


def test_choices_are_in_the_address() -> None:
    assert device_choice({"name": "gas"}).query == "name=gas"
    assert device_choice({"name": "a&b", "hours": "24"}).query == "name=a%26b&hours=24"
    for hours in ("", "0", "-1", "9999", "x"):
        assert device_choice({"name": "gas", "hours": hours}).hours == 1


def test_what_the_site_says_of_a_device_is_known_without_its_secrets() -> None:
    site = load_site(Path("config/site.example.toml"))
    infos = {info.name: info for info in settings_of(site).devices}
    smoke: DeviceInfo = infos["smoke-hall"]
    assert smoke.address == "unit = 1"
    assert smoke.profile == "smoke/generic-rs485"
    assert smoke.maker
    assert smoke.source
    assert not [info for info in infos.values() if "secret" in info.address or "_file" in info.address]
