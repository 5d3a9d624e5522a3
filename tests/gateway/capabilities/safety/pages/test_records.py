"""Drills, walk tests and the test log on pages of their own."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from gateway.capabilities.safety.pages.records import parse_period
from gateway.capabilities.safety.testlog import LoggedDevice, LogNames
from gateway.model import Fact, Lane, Role
from gateway.web.passwords import hash_password
from gateway.web.people import Person, people_file, write_people
from tests.gateway.browser import Page
from tests.gateway.dashboard_fixtures import NASTY, House, Served

TODAY = date(2026, 11, 30)


@pytest.mark.parametrize(
    ("text", "is_year", "found", "problem"),
    [
        ("", False, ("2026-11", "2026-10", ""), ""),
        ("2026-01", False, ("2026-01", "2025-12", "2026-02"), ""),
        ("2025-12", False, ("2025-12", "2025-11", "2026-01"), ""),
        ("", True, ("2026", "2025", ""), ""),
        ("2024", True, ("2024", "2023", "2025"), ""),
        ("2026-13", False, ("2026-11", "2026-10", ""), "wrong-month"),
        ("2026-00", False, ("2026-11", "2026-10", ""), "wrong-month"),
        ("2026-1", False, ("2026-11", "2026-10", ""), "wrong-month"),
        ("2026-11\n", False, ("2026-11", "2026-10", ""), "wrong-month"),
        ("2026", False, ("2026-11", "2026-10", ""), "wrong-month"),
        ("x" * 10_000_000, False, ("2026-11", "2026-10", ""), "wrong-month"),
        ("2026-12", False, ("2026-11", "2026-10", ""), "wrong-future"),
        ("0001-01", False, ("2026-11", "2026-10", ""), "wrong-period"),
        ("0000", True, ("2026", "2025", ""), "wrong-period"),
        ("9999", True, ("2026", "2025", ""), "wrong-future"),
        ("26", True, ("2026", "2025", ""), "wrong-year"),
        ("二〇二六", True, ("2026", "2025", ""), "wrong-year"),
    ],
)
def test_a_period_is_one_that_exists(
    text: str, is_year: bool, found: tuple[str, str, str], problem: str
) -> None:
    period = parse_period(text, TODAY, is_year)
    assert (period.text, period.earlier, period.later) == found
    assert [each["sentence"] for each in period.problems] == ([f"history.{problem}"] if problem else [])
    assert all(len(str(each["facts"]["text"])) < 50 for each in period.problems)


def alarm(house: House, ago: float, change: str, mode: str, device: str, by: str, **more: Any) -> Fact:
    point, hazard = {"smoke": ("smoke", "fire"), "gas": ("lel", "gas"), "gateway": ("drill", "fire")}[
        device
    ]
    body = {
        "id": f"{device}/{point}/1", "change": change, "state": "", "point": point, "hazard": hazard,
        "latch": True, "value": True, "raised": house.now(ago).wall_ms, "by": by, "mode": mode, "why": "",
        **more,
    }  # fmt: skip
    return Fact(Lane.ALARM, device, "alarm", house.now(ago), body)


def test_drills_are_listed_with_what_was_done(house: House, page: Page) -> None:
    report = {
        "alarm": "drill/fire/1", "drill": True, "hazard": "fire", "by": "王芳", "seconds": 600,
        "acknowledged": {"by": "李雷", "seconds": 45.0}, "steps": {"look": {"by": "李雷", "seconds": 60}},
        "skipped": ["call"], "found": 30, "inside": 31, "missing": 1, "ended_by": "王芳",
    }  # fmt: skip
    house.happened(
        alarm(house, 700, "raised", "drill", "gateway", "王芳", id="drill/fire/1"),
        alarm(house, 100, "closed", "drill", "gateway", "王芳", id="drill/fire/1"),
        Fact(Lane.EVENT, "gateway", "drill-report", house.now(100), report),
        alarm(house, 90, "raised", "drill", "gateway", NASTY, id="drill/water/2", hazard="water"),
        alarm(house, 80, "closed", "drill", "gateway", NASTY, id="drill/water/2", hazard="water"),
        alarm(house, 70, "raised", "drill", "gateway", "王芳", id="drill/gas/3", hazard="gas"),
    )
    page.driver.get(f"{page.url}/drills")
    page.shows("共 3 次", "#drills")
    text = page.text(".records")
    assert f"火警 王芳 10 分钟 45 秒后，李雷 1/2 {NASTY} 找到 30 人，应有 31 人" in text
    assert f"漏水 {NASTY} 10 秒 – 没有预案" in text
    assert "燃气泄漏 王芳 正在进行" in text
    assert not page.has("img[src=x]")
    page.driver.get(f"{page.url}/drills?year=2031")
    page.shows("2031 还没有到", "#drills")


def test_a_walk_test_names_what_did_not_answer(house: House, page: Page) -> None:
    house.happened(
        alarm(house, 300, "test-begun", "test", "smoke", "王芳"),
        alarm(house, 300, "test-begun", "test", "gas", "王芳"),
        alarm(house, 240, "tested", "test", "smoke", "王芳"),
        alarm(house, 100, "test-ended", "", "smoke", "王芳"),
        alarm(house, 100, "test-ended", "", "gas", "王芳"),
    )
    page.driver.get(f"{page.url}/walk-tests")
    page.shows("1/2", ".records")
    silent = page.text(".records td:last-child")
    assert silent == "未响应 厨房燃气 燃气浓度" or silent == "厨房燃气 燃气浓度"
    page.click(".records summary")
    page.shows("一层活动室烟感 烟雾", ".records details")


def test_the_test_log_is_a_page_to_sign(house: House, page: Page) -> None:
    house.happened(
        alarm(house, 240, "tested", "test", "smoke", "王芳"),
        Fact(
            Lane.EVENT, "gateway", "hazard-found", house.now(60),
            {"id": "hazard/1", "where": NASTY, "what": "x", "severity": "major", "by": "李雷"},
        ),
    )  # fmt: skip
    page.driver.get(f"{page.url}/test-log")
    page.shows("未经消防认证", "#test-log")
    assert "烟雾 王芳" in page.text("#test-log")
    assert NASTY in page.text("#test-log")
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert "测试人：" in page.text(".signatures")
    assert not page.driver.find_element("css selector", "nav").is_displayed()
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.fixture
def house_with_log(house: House) -> House:
    devices = {"smoke": LoggedDevice({"zh": "烟感", "en": "Smoke"}, "smoke", frozenset({"smoke"}), True)}
    house.configure("safety", log=LogNames(devices=devices))
    return house


def test_what_was_not_tested_is_named(house_with_log: House, served: Served) -> None:
    _, _, text = served.ask("GET", "/test-log", cookie=served.cookie())
    assert "烟感" in text
    assert "本月未测试" in text


@pytest.mark.parametrize("path", ["/walk-tests?month=2026-13", "/test-log?month=x", "/drills?year=13"])
def test_a_wrong_period_is_refused_in_a_sentence(served: Served, path: str) -> None:
    status, _, text = served.ask("GET", path, cookie=served.cookie())
    assert status == 422
    assert "没有“" in text


def test_who_is_on_duty_sees_them_and_a_screen_does_not(house: House, served: Served) -> None:
    password = hash_password("a long password")
    people = {role.value: Person(role, password) for role in (Role.DISPLAY, Role.DUTY)}
    write_people(people_file(house.settings.access), people)
    for name in people:
        form = f"name={name}&key=a+long+password"
        _, headers, _ = served.ask("POST", "/login", form, content_type="application/x-www-form-urlencoded")
        cookie = headers["set-cookie"].partition(";")[0]
        for path in ("/drills", "/walk-tests", "/test-log"):
            assert served.ask("GET", path, cookie=cookie)[0] == (200 if name == "duty" else 403)
