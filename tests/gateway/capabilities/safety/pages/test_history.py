"""The history as people look through it and take it with them."""

from __future__ import annotations

import csv
import http.client
import io
from contextlib import closing
from datetime import datetime
from urllib.parse import quote, urlencode

import openpyxl
import pytest
from selenium.webdriver.common.by import By

from gateway.capabilities.safety.services.alarms import AlarmState
from gateway.model import Fact, Lane, Role
from gateway.web.passwords import hash_password
from gateway.web.people import Person, people_file, write_people
from tests.gateway.browser import Page
from tests.gateway.dashboard_fixtures import NASTY, House, Served

FORMULA = "=HYPERLINK(1)"


def change(house: House, ago: float, what: str, number: int, device: str = "smoke", by: str = "") -> Fact:
    point, hazard = {"smoke": ("smoke", "fire"), "gas": ("lel", "gas"), "nasty": ("link", "fault")}[device]
    at = house.now(ago)
    body = {
        "id": f"{device}/{point}/{number}", "change": what, "state": "", "point": point, "hazard": hazard,
        "latch": hazard != "fault", "value": 14.5 if device == "gas" else True, "raised": at.wall_ms,
        "by": by, "mode": "", "why": "",
    }  # fmt: skip
    return Fact(Lane.ALARM, device, "alarm", at, body)


def event(house: House, ago: float, kind: str, device: str = "gateway", **body: object) -> Fact:
    return Fact(Lane.EVENT, device, kind, house.now(ago), body)


def an_evening(house: House) -> None:
    """A fire that was reset, gas that nobody has acknowledged, and what people did."""
    house.happened(
        change(house, 4000, "raised", 1),
        change(house, 3970, "acknowledged", 1, by="王芳"),
        change(house, 3800, "cleared", 1, by="王芳"),
        change(house, 3400, "closed", 1, by="Zhang Wei"),
        change(house, 300, "raised", 2, "gas"),
        change(house, 200, "raised", 3, "nasty"),
        change(house, 150, "cleared", 3, "nasty"),
        change(house, 100, "closed", 3, "nasty", by=FORMULA),
        event(house, 4100, "command", "smoke", action="test", by="王芳", status="accepted", detail=""),
        event(house, 900, "hazard-found", where=NASTY, what=FORMULA, severity="major", by="李雷"),
        event(house, 800, "link", "gas", online=False, error="timeout"),
        event(house, 700, "crossing", "counter", **{"in": 2, "out": 1}),
        event(house, 600, "security", event="login-failed", address="", by="", device="", count=1),
        event(house, 500, "no-such-kind", number=1),
    )


def fetch(served: Served, path: str, cookie: str = "") -> tuple[int, str, bytes]:
    """Status, disposition and body."""
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)) as connection:
        connection.request("GET", path, headers={"cookie": cookie or served.cookie()})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("content-disposition", ""), answer.read()


def test_each_alarm_is_told_with_how_long_and_by_whom(house: House, page: Page) -> None:
    an_evening(house)
    house.alarm(AlarmState.ACTIVE, "gas")
    page.driver.get(f"{page.url}/history")
    rows = page.driver.find_elements(By.CSS_SELECTOR, ".records tbody tr")
    told = [" ".join(row.text.split()).partition(" ")[2].partition(" ")[2] for row in rows]
    assert told[2] == "火警 一层活动室烟感 3 分钟 30 秒后，王芳 已复位：10 分钟后，Zhang Wei"
    assert told[1] == "燃气泄漏 厨房燃气 未恢复 未确认 结束情况没有记录"
    assert told[0] == f"设备故障 {NASTY} 50 秒 100 秒后，{FORMULA} 确认后结束：100 秒后，{FORMULA}"
    assert not page.has("img[src=x]")


def test_filters_outlive_the_news(house: House, page: Page) -> None:
    an_evening(house)
    page.driver.get(f"{page.url}/history?what=fire&who=zhang")
    page.shows("一层活动室烟感", ".records")
    assert "厨房燃气" not in page.text(".records")
    field = page.driver.find_element(By.NAME, "who")
    field.clear()
    field.send_keys("王")
    house.alarm(AlarmState.ACTIVE)
    page.shows("火警 一层活动室烟感", "#alarms")
    assert page.driver.switch_to.active_element == field
    assert field.get_attribute("value") == "王"
    page.click(".filters [type=submit]")
    page.shows("一层活动室烟感", ".records")
    assert "who=%E7%8E%8B" in page.driver.current_url
    page.driver.get(f"{page.url}/history?who=nobody")
    page.shows("这段时间没有符合条件的报警", "#history")


def test_events_are_sentences_and_everyday_counts_are_asked_for(house: House, page: Page) -> None:
    an_evening(house)
    page.driver.get(f"{page.url}/history/events")
    text = page.text(".records")
    for told in (
        "下达：开始测试", f"发现隐患（重大）：{NASTY}，{FORMULA}", "离线：无应答", "登录看板失败", "李雷",
    ):  # fmt: skip
        assert told in text
    assert "客流：" not in text
    page.driver.get(f"{page.url}/history/events?what=other")
    page.shows("客流：进 2 人，出 1 人", ".records")
    assert "no-such-kind" in page.text(".records")
    page.driver.get(f"{page.url}/history/events?lang=en&what=duty")
    page.shows("Finding (Major)", ".records")
    page.driver.get(f"{page.url}/history?lang=zh")


def test_pages_follow_one_another(house: House, served: Served) -> None:
    house.happened(*(event(house, 9000 - n, "config", number=n) for n in range(230)))
    cookie, seen, address = served.cookie(), [], "/history/events"
    while address:
        _, _, body = fetch(served, address, cookie)
        text = body.decode()
        seen += [part.partition(" 版")[0] for part in text.split("采用第 ")[1:]]
        link = text.partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0]
        address = link.replace("&amp;", "&") if 'rel="next"' in text else ""
        assert len(seen) <= 230
    assert seen == [str(n) for n in reversed(range(230))]


def test_downloads_hold_all_of_it_and_run_nothing(house: House, served: Served) -> None:
    an_evening(house)
    status, name, body = fetch(served, "/history.csv")
    rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig"))))
    assert status == 200
    assert name.startswith('attachment; filename="alarms-')
    assert rows[0][:4] == ["时间", "报警", "位置", "数值"]
    assert rows[3][5:] == [
        "200.0", rows[3][6], "30.0", "王芳", rows[3][9], "600.0", "已复位", "Zhang Wei", "smoke/smoke/1",
    ]  # fmt: skip
    assert rows[1][2] == f"{NASTY}"
    assert rows[1][12] == f"'{FORMULA}"
    _, _, body = fetch(served, "/history/events.csv?what=all")
    assert len(list(csv.reader(io.StringIO(body.decode("utf-8-sig"))))) == 7
    _, _, body = fetch(served, "/history.xlsx?lang=en")
    sheet = openpyxl.load_workbook(io.BytesIO(body))["Alarms"]
    assert isinstance(sheet["A2"].value, datetime)
    assert sheet["M2"].value == FORMULA
    assert {cell.data_type for row in sheet for cell in row} <= {"d", "s", "n"}


@pytest.mark.parametrize("path", ["/history", "/history/events", "/history.csv", "/history/events.xlsx"])
@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (
            {"since": "2026-11-20", "until": "2026-11-10"},
            "结束日期（2026-11-10）早于开始日期（2026-11-20）",
        ),
        ({"since": "2026-13-01"}, "没有“2026-13-01”这一天"),
        ({"device": NASTY}, "没有名为“"),
    ],
)
def test_a_wrong_filter_is_refused_in_a_sentence(
    served: Served, path: str, query: dict[str, str], sentence: str
) -> None:
    status, _, body = fetch(served, f"{path}?{urlencode(query)}")
    assert status == 422
    assert sentence in body.decode()
    assert path.endswith((".csv", ".xlsx")) or NASTY not in body.decode()


def test_who_is_on_duty_looks_and_the_manager_takes_along(house: House, served: Served) -> None:
    password = hash_password("a long password")
    people = {role.value: Person(role, password) for role in (Role.DISPLAY, Role.DUTY, Role.MANAGER)}
    write_people(people_file(house.settings.access), people)
    allowed = {}
    for name in people:
        form = urlencode({"name": name, "key": "a long password"})
        _, headers, _ = served.ask("POST", "/login", form, content_type="application/x-www-form-urlencoded")
        cookie = headers["set-cookie"].partition(";")[0]
        paths = ("/history", "/history/events", "/history.csv", "/history/events.xlsx")
        allowed[name] = [fetch(served, path, cookie)[0] for path in paths]
        text = fetch(served, "/history", cookie)[2].decode()
        assert ("/history.csv" in text) is (name == "manager")
    assert allowed == {
        "display": [403, 403, 403, 403],
        "duty": [200, 200, 403, 403],
        "manager": [200, 200, 200, 200],
    }


def test_without_a_journal_it_says_so(house: House, served: Served) -> None:
    cookie = served.cookie()
    house.stop()
    for file in house.settings.journal.parent.glob("journal.db*"):
        file.unlink()
    status, _, body = fetch(served, "/history", cookie)
    assert (status, "现在读不到历史记录" in body.decode()) == (200, True)
    assert fetch(served, f"/history.csv?who={quote('王')}", cookie)[0] == 503
