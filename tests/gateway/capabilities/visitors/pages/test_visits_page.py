"""The page of visits in a real browser."""

from datetime import datetime
from zoneinfo import ZoneInfo

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from gateway.capabilities.visitors.services import Flow, Place
from tests.gateway.browser import Page, fill
from tests.gateway.dashboard_fixtures import NASTY, House


def test_a_group_is_booked_for_a_room_and_attended(house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/visits")
    page.click("[data-key=book] summary")
    fill(page, "[data-key=book] form", title=NASTY, expected="25")
    day = page.driver.find_element(By.NAME, "day").get_attribute("value")
    assert day == house.local_day()
    for name, value in (("class", "tour"), ("room", "dance")):
        Select(page.driver.find_element(By.CSS_SELECTOR, f"#bookings [name={name}]")).select_by_value(value)
    for name, value in (("from", "10:00"), ("until", "11:30")):
        page.driver.execute_script(f"document.getElementsByName('{name}')[0].value = '{value}'")
    page.click("[data-key=book] [type=submit]")
    page.shows(f"已预约：{NASTY}", "#toast.done")
    asked = house.commands[-1]
    assert (asked["device"], asked["action"], asked["by"]) == ("gateway", "book", "Wang")
    local = datetime.fromisoformat(f"{day}T10:00").replace(tzinfo=ZoneInfo("Asia/Shanghai"))
    assert asked["args"] == {
        "title": NASTY, "class": "tour", "room": "dance", "from": round(local.timestamp() * 1000),
        "until": round(local.timestamp() * 1000) + 5_400_000, "expected": 25,
    }  # fmt: skip
    key = house.booking(NASTY, 600, kind="tour", room="dance", expected=25, flow=Flow(20, 2), peak=19)
    page.shows("已到 20 人，已走 2 人，最多时 19 人", "#bookings")
    page.shows("进行中", "#bookings .row.live")
    page.click("#bookings .row .act[data-confirm]")
    page.shows(f"取消“{NASTY}”？", "dialog")
    page.click("dialog .danger")
    page.shows("预约已取消", "#toast.done")
    assert house.commands[-1]["args"] == {"booking": key}


def test_who_has_counted_puts_a_room_right_and_marks_a_group(house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/visits")
    page.shows("全中心 进入 128 · 离开 97 · 其中参访人员 12 人 · 上限 200 人", "[data-key='place/']")
    page.shows("偏差占进入人数的 2.9%", "[data-key='drift/']")
    page.shows("此门目前无人计数 · 离线", "[data-key='door/dance']")
    page.click("[data-key='place/dance'] summary")
    fill(page, "[data-key='place/dance'] form", inside="31")
    page.shows("在场人数已更正为 31", "#toast.done")
    page.click("[data-key=mark] summary")
    fill(page, "[data-key=mark] form", count="9")
    page.shows("已标记 9 位参访人员", "#toast.done")
    assert [(each["action"], each["args"]) for each in house.commands] == [
        ("correct-inside", {"room": "dance", "inside": 31}),
        ("mark-tour", {"count": 9, "minutes": 30}),
    ]
    house.rows("visitors", place__dance=Place(inside=31, near=True))
    page.shows("超过上限", "[data-key='place/dance']")
    page.driver.get(page.url)
    page.shows("舞蹈室 31", ".tile.inside .rooms .full")
    page.shows("1 处超过上限", ".tile.inside .flag")


def test_nobody_is_said_to_be_inside_before_the_doors_were_heard(house: House, page: Page) -> None:
    house.rows("visitors", counter__counter=None, door__south=None, place__=None, place__dance=None)
    page.driver.get(page.url)
    page.shows("人数未知：1 个门尚无计数数据", ".tile.inside .flag")
    page.shows("—", ".tile.inside .number")
    page.shows("—", ".crossings .number")
    page.driver.get(f"{page.url}/visits")
    page.shows("尚无数据", "[data-key='place/'] .quality")
    page.shows("—", "[data-key='place/'] .inside .number")
    house.visitors(4, 3)
    page.shows("1 在场", "[data-key='place/']")
