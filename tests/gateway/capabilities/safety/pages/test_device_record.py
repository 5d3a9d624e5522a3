"""The page of a device says what has happened to it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.capabilities.safety.pages.device_record import battery_sentence
from gateway.capabilities.safety.services.batteries import Battery
from gateway.model import Fact, Lane
from gateway.web.settings import DeviceInfo
from tests.gateway.dashboard_fixtures import House, Served
from tests.gateway.views import at

DAY = at().wall_ms // 86_400_000


def battery(days: int, left: float | None = None) -> Battery:
    levels = tuple((DAY - days + n, 90.0 - n) for n in range(days))
    return Battery(unit="%", full=90.0, days=levels, left=left)


def info(*booleans: str, **units: str) -> DeviceInfo:
    return DeviceInfo("smoke", {}, "smoke", 60, units, frozenset(booleans))


@pytest.mark.parametrize(
    ("row", "key"),
    [
        (None, "unheard"),
        (battery(3), "too-short"),
        (battery(30), "steady"),
        (battery(30, 999.0), "long"),
        (battery(30, 0.0), "empty"),
        (battery(30, 45.5), "month"),
    ],
)
def test_when_a_battery_will_be_empty_is_told_only_where_it_is_known(row: Battery | None, key: str) -> None:
    found = battery_sentence(info(battery="%"), row, at())
    assert found
    assert found["sentence"] == f"battery.{key}"


def test_a_device_without_a_level_says_why_and_one_without_a_battery_nothing() -> None:
    for device in (info("low_battery", low_battery=""), info("battery", battery="")):
        found = battery_sentence(device, None, at())
        assert found
        assert found["sentence"] == "battery.flag-only"
    assert battery_sentence(info(smoke=""), None, at()) is None


def test_the_month_is_that_of_the_forecast() -> None:
    found = battery_sentence(info(battery="%"), battery(30, 60.0), at())
    assert found
    assert found["facts"]["month"] == "2026-11"
    assert found["facts"]["level"] == "61 %"


def happened(house: House, lane: Lane, kind: str, ago: float, **body: Any) -> None:
    house.happened(Fact(lane, "smoke", kind, house.now(ago), body))


def test_tests_alarms_outages_and_replacements_of_a_device_are_on_its_page(
    house: House, served: Served
) -> None:
    alarm: dict[str, Any] = {
        "id": "smoke/smoke/1",
        "point": "smoke",
        "hazard": "fire",
        "mode": "real",
        "value": True,
    }
    test: dict[str, Any] = {
        "id": "smoke/smoke/test",
        "point": "smoke",
        "hazard": "fire",
        "mode": "test",
        "value": True,
    }
    raised = house.now(9000)
    alarm["raised"] = test["raised"] = raised.wall_ms
    house.happened(Fact(Lane.ALARM, "smoke", "alarm", raised, {"change": "raised", **alarm}))
    happened(house, Lane.ALARM, "alarm", 8400, change="cleared", **alarm)
    happened(house, Lane.ALARM, "alarm", 8300, change="closed", how="reset", by="王芳", **alarm)
    happened(house, Lane.ALARM, "alarm", 7000, change="test-begun", by="赵强", **test)
    happened(house, Lane.ALARM, "alarm", 6900, change="tested", by="赵强", **test)
    happened(house, Lane.ALARM, "alarm", 6800, change="test-ended", by="赵强", **test)
    happened(house, Lane.EVENT, "link", 5000, online=False, error="timeout")
    happened(house, Lane.EVENT, "link", 3200, online=True, error="")
    happened(
        house, Lane.EVENT, "device-replaced", 3100, device="smoke", address_before="unit = 1",
        address="unit = 9", serial_before="A1", serial="B2", by="李明",
    )  # fmt: skip
    happened(house, Lane.EVENT, "link", 100, online=False, error="timeout")
    house.happened(Fact(Lane.EVENT, "gas", "device-replaced", house.now(50), {"serial": "other"}))
    page = served.ask("GET", "/device?name=smoke", cookie=served.cookie(), accept_language="zh")[2]
    order = ("仍未恢复", "序列号 A1 → B2；地址 unit = 1 → unit = 9", "李明", "30 分钟", "10 分钟")
    listed = page.split("faults-title")[-1]
    places = [listed.find(text) for text in order]
    assert min(places) > 0
    assert places == sorted(places)
    assert "赵强" in page
    assert "other" not in page.split("faults-title")[1]
    page = served.ask("GET", "/device?name=gas", cookie=served.cookie(), accept_language="en")[2]
    assert "No tests on record" in page
