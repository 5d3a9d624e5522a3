"""The visitors' page: what it shows, what can be taken away, and what it makes of a bad question."""

from __future__ import annotations

import contextlib
import csv
import http.client
import io
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from selenium.webdriver.common.by import By

from gateway.capabilities.visitors.services import facts
from gateway.capabilities.visitors.statistics.aggregation import AggregationBatch, Bin, StoredFact
from gateway.capabilities.visitors.statistics.database import connect
from gateway.capabilities.visitors.statistics.results import CentreLayout
from tests.gateway.browser import Page
from tests.gateway.dashboard_fixtures import NASTY, House, Served

ZONE = ZoneInfo("Asia/Shanghai")
DAY = date(2026, 3, 4)
CENTRE = CentreLayout(
    timezone="Asia/Shanghai",
    doors={"door.counter": ("counter",)},
    places={"centre": ("door.counter",), "door.counter": ("door.counter",)},
    titles={"door.counter": {"zh": "南门", "en": "South door"}},
)


def quarter(day: date, hour: int) -> int:
    return round(datetime(day.year, day.month, day.day, hour, tzinfo=ZONE).timestamp()) // 900


@pytest.fixture
def house(house: House) -> House:
    """Two weeks of March: on each day ten more come than on that weekday a week before."""
    house.configure("visitors", centre=CENTRE)
    batch = AggregationBatch()
    for n in range(14):
        day = date(2026, 3, 2) + timedelta(days=n)
        came = 40 if n < 7 else 50
        for place in ("centre", "door.counter"):
            batch.bins[quarter(day, 9), place] = Bin(came, 0, came // 2)
            batch.bins[quarter(day, 12), place] = Bin(0, came)
    batch.coverage_changes["counter", quarter(date(2026, 3, 2), 0) * 900_000] = True
    batch.coverage_changes["counter", quarter(date(2026, 3, 6), 0) * 900_000] = False
    batch.coverage_changes["counter", quarter(date(2026, 3, 6), 6) * 900_000] = True
    body = {"title": NASTY, "class": "tour", "room": "", "expected": 9, "came": 8, "left": 8, "peak": 7}
    at = quarter(DAY, 20) * 900_000
    batch.stored_facts.append(
        StoredFact(at, "attendance", "gateway", {**body, "from": at, "until": at + 1})
    )
    database = connect(house.settings.journal.with_name("statistics.db"))
    database.apply(batch)
    database.close()
    return house


def test_a_week_as_a_person_would_say_it(served: Served) -> None:
    cookie = served.cookie()
    status, headers, text = served.ask("GET", f"/visitors?unit=week&day={DAY}", cookie=cookie)
    assert status == 200
    assert headers["cache-control"] == "no-store"
    assert "2026年第10周（3月2日至3月8日）" in text
    assert "至少 280 人次来访" in text
    assert "其中活动人员 140 人次，参访人员 140 人次。" in text
    assert "有 96.4% 的时间在计数" in text
    assert NASTY not in text
    assert " style=" not in text
    _, _, text = served.ask(
        "GET", "/visitors?unit=week&day=2026-03-11&place=door.counter&lang=en", cookie=cookie
    )
    assert "350 visits" in text
    assert "25% more than the week before (280 visits); per average day, 25% more." in text
    assert '<option value="door.counter" selected>South door</option>' in text


def test_any_question_is_answered_and_a_bad_one_with_a_sentence(served: Served) -> None:
    cookie = served.cookie()
    for query, said in (
        ("day=2026-02-30", "日期应写作"),
        ("day=0001-01-01", "日期应写作"),
        ("day=9999-12-31", "日期应写作"),
        ("unit=decade", "时段只能是"),
        ("place=..%2Fetc", "没有这个位置"),
        (f"day={'9' * 400}&place=%00%FF", "日期应写作"),
        *((f"unit={unit}&day=1970-01-02", "没有人来访") for unit in ("day", "week", "month", "year")),
        *((f"unit={unit}&day=2200-12-31", "全中心") for unit in ("day", "week", "month", "year")),
    ):
        status, _, text = served.ask("GET", f"/visitors?{query}", cookie=cookie)
        assert status == 200, query
        assert said in text, query


def fetch(served: Served, path: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"cookie": served.cookie()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def test_what_can_be_taken_away(served: Served) -> None:
    query = f"unit=week&day={DAY}&lang="
    status, headers, data = fetch(served, f"/visitors/table.csv?{query}zh")
    assert (status, headers["content-disposition"]) == (
        200, 'attachment; filename="visitors-centre-week-2026-03-02.csv"',
    )  # fmt: skip
    assert data.startswith(b"\xef\xbb\xbf")
    lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))
    assert lines[0][:4] == ["日期", "星期", "时间", "进"]
    assert len(lines) == 1 + 7 * 96
    assert sum(int(line[3]) for line in lines[1:]) == 280
    status, _, data = fetch(served, f"/visitors/book.xlsx?{query}en")
    assert status == 200
    book = openpyxl.load_workbook(io.BytesIO(data))
    assert book.sheetnames[0] == "Summary"
    attended = [cell.value for cell in book["Attendance of activities"][2]]
    assert attended[2:4] == [NASTY, "visiting group"]
    status, _, data = fetch(served, f"/visitors/report?{query}zh")
    assert status == 200
    assert "滨江邻里中心客流统计：2026年第10周" in data.decode()
    assert "<style" not in data.decode()
    status, headers, _ = fetch(served, "/visitors/report.css")
    assert (status, headers["content-type"]) == (200, "text/css; charset=utf-8")


def test_what_has_just_happened_is_there_and_nothing_of_a_missing_or_damaged_file(
    house: House, served: Served
) -> None:
    cookie = served.cookie()
    today = house.local_day()

    async def pass_by() -> None:
        assert house._journal
        house._journal.append("", [facts.crossing("counter", house.now(), 3, 1)], {})
        await house._journal.commit()

    house.do(pass_by())
    assert "3 人次来访" in served.ask("GET", f"/visitors?unit=day&day={today}", cookie=cookie)[2]
    file = house.settings.journal.with_name("statistics.db")
    file.write_bytes(b"no database at all" * 400)
    status, _, text = served.ask("GET", "/visitors", cookie=cookie)
    assert status == 200
    assert "统计文件无法读取" in text
    assert fetch(served, "/visitors/table.csv")[0] == 503
    file.unlink()
    assert "还没有客流数据" in served.ask("GET", "/visitors", cookie=cookie)[2]


@pytest.fixture
def narrow(page: Page) -> Iterator[Page]:
    """On a phone."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield page
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_in_a_browser_the_charts_are_styled_and_have_tables(page: Page) -> None:
    page.driver.get(f"{page.url}/visitors?unit=week&day={DAY}")
    assert len(page.driver.find_elements(By.CSS_SELECTOR, "svg.chart")) == 4
    bar = page.driver.find_element(By.CSS_SELECTOR, ".chart .whole")
    assert bar.value_of_css_property("fill") == "rgb(11, 95, 107)"
    assert bar.size["height"] > 20
    square = page.driver.find_element(By.CSS_SELECTOR, ".chart .none")
    assert square.value_of_css_property("stroke") != "none", "an hour without figures is seen"
    page.click(".pair details summary")
    assert "2026-03-02 周一 40 0" in page.text(".pair details table").replace("40 40", "40 0")
    page.click("a[rel=next]")
    page.shows("第11周", ".figures h3")
    page.shows("比前一周多 25%", ".figures")
    page.click("footer [hreflang=en]")
    page.shows("Week 11 of 2026", ".figures h3")
    page.click(".units a:nth-child(4)")
    page.shows("Whole centre", ".figures h3")
    page.shows("≥", ".chart")


def test_on_a_phone_nothing_is_wider_than_the_page(narrow: Page) -> None:
    for unit in ("day", "week", "month", "year"):
        narrow.driver.get(f"{narrow.url}/visitors?unit={unit}&day={DAY}")
        widths = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        inner, outer = narrow.driver.execute_script(widths)
        assert inner <= outer
