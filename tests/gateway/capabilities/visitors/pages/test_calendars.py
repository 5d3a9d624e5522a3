"""Bookings for other calendar programs, and calendars of others, over HTTP and in a browser."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from selenium.webdriver.common.by import By

from gateway.capabilities.visitors.feeds import Feeds
from gateway.model import Role
from gateway.scheduling import BookingState
from gateway.scheduling.icalendar import busy_times
from gateway.web.passwords import hash_password
from gateway.web.people import Person, people_file, write_people
from tests.gateway.browser import Page
from tests.gateway.dashboard_fixtures import House, Served
from tests.gateway.simulate.conftest import eventually

ZONE = ZoneInfo("Asia/Shanghai")
DAY_MS = 86_400_000
PASSWORD = "quiet river 42"


def renew(served: Served, kind: str, cookie: str = "") -> int:
    form = urlencode({"room": "dance", "kind": kind})
    return served.ask("POST", "/calendars/feed", form, cookie or served.cookie())[0]


def feed_of(house: House, kind: str) -> str:
    [token] = [each.token for each in Feeds(house.settings.access).all() if each.kind == kind]
    return f"/calendar/{token}.ics"


def calendar(*events: str) -> str:
    whole = (line for each in events for line in ("BEGIN:VEVENT", *each.split("|"), "END:VEVENT"))
    return "\r\n".join(("BEGIN:VCALENDAR", "X-WR-CALNAME:街道会议", *whole, "END:VCALENDAR"))


def day_after(days: int) -> str:
    return f"{datetime.now(ZONE) + timedelta(days=days):%Y%m%d}"


def booked(house: House, served: Served, title: str, days: int, **fields: Any) -> str:
    """A booking in some days that the pages show already."""
    key = house.booking(title, -days * DAY_MS / 1000, kind="activity", **fields)
    day = f"{datetime.now(ZONE) + timedelta(days=days):%Y-%m-%d}"
    eventually(lambda: title in served.ask("GET", f"/bookings?day={day}", cookie=served.cookie())[2])
    return key


def send(served: Served, text: str, **query: str) -> tuple[int, dict[str, Any]]:
    address = f"/calendars/import?{urlencode({'room': 'dance', **query})}"
    body = text.encode().decode("latin-1")
    status, _, answer = served.ask("POST", address, body, served.cookie(), accept="application/json")
    return status, json.loads(answer)


def test_other_programs_read_the_bookings_without_logging_in(house: House, served: Served) -> None:
    booked(house, served, "王芳的生日", 1, room="dance", person="王芳")
    booked(house, served, "书法课", 2, room="dance", state=BookingState.WAITING)
    booked(house, served, "象棋", 1, room="")
    assert renew(served, "public") == renew(served, "staff") == 303
    status, headers, text = served.ask("GET", feed_of(house, "public"), accept_language="zh")
    assert (status, headers["content-type"]) == (200, "text/calendar; charset=utf-8")
    now = house.now().wall_ms
    found = busy_times(text, now, now + 10 * DAY_MS, ZONE)
    assert len(found.intervals) == 1
    assert found.name.startswith("滨江邻里中心")
    assert "SUMMARY:已预约" in text
    for hidden in ("王芳", "生日", "书法课", "象棋"):
        assert hidden not in text
    staff = served.ask("GET", feed_of(house, "staff"))[2]
    assert "王芳的生日 (王芳)" in staff
    assert "书法课" not in staff


def test_an_old_or_guessed_address_is_nothing(house: House, served: Served) -> None:
    renew(served, "public")
    old = feed_of(house, "public")
    renew(served, "public")
    for address in (old, "/calendar/.ics", "/calendar/x", feed_of(house, "public").removesuffix(".ics"),
                    feed_of(house, "public") + "x", "/calendar/" + "a" * 9999):  # fmt: skip
        assert served.ask("GET", address)[0] == 404
    assert served.ask("GET", feed_of(house, "public"))[0] == 200
    assert served.ask("POST", feed_of(house, "public"))[0] in {403, 405}
    form = urlencode({"room": "dance", "kind": "public", "remove": "1"})
    served.ask("POST", "/calendars/feed", form, served.cookie())
    assert Feeds(house.settings.access).all() == []
    assert served.ask("POST", "/calendars/feed", "room=x&kind=public", served.cookie())[0] == 400


def test_only_managers_see_and_renew_addresses(house: House, served: Served) -> None:
    renew(served, "public")
    people = {"李强": Person(Role.DUTY, hash_password(PASSWORD))}
    write_people(people_file(house.settings.access), people)
    form = urlencode({"name": "李强", "key": PASSWORD})
    cookie = served.ask("POST", "/login", form)[1]["set-cookie"].partition(";")[0]
    token = Feeds(house.settings.access).all()[0].token
    page = served.ask("GET", "/calendars", cookie=cookie)[2]
    assert token not in page
    assert "地址由管理员查看和更换" in page
    assert renew(served, "public", cookie) == 403
    assert Feeds(house.settings.access).all()[0].token == token
    assert token in served.ask("GET", "/calendars", cookie=served.cookie())[2]
    assert served.ask("GET", feed_of(house, "public"), cookie=cookie)[0] == 200


def test_the_busy_times_of_a_calendar_hold_the_room(house: House, served: Served) -> None:
    weekly = f"UID:1|SUMMARY:secret|DTSTART:{day_after(2)}T090000|DURATION:PT1H|RRULE:FREQ=WEEKLY;COUNT=2"
    status, answer = send(served, calendar(weekly))
    assert (status, answer["problems"]) == (200, [])
    assert "新占用 2 个时间" in answer["message"]
    assert {each["action"] for each in house.commands} == {"book"}
    first, second = (each["args"] for each in house.commands)
    assert (first["title"], first["calendar"], first["room"]) == ("街道会议", "街道会议", "dance")
    assert second["from"] - first["from"] == 7 * DAY_MS
    assert "secret" not in json.dumps(house.commands, ensure_ascii=False)


def test_each_conflict_is_named_and_may_be_skipped(house: House, served: Served) -> None:
    booked(house, served, "书法课", 3, room="dance")
    days = "|".join(("UID:1", f"DTSTART;VALUE=DATE:{day_after(3)}", f"DTEND;VALUE=DATE:{day_after(5)}"))
    other = f"UID:2|DTSTART:{day_after(9)}T090000|DURATION:PT1H"
    strange = f"UID:3|SUMMARY:周会|DTSTART;TZID=Mars/Phobos:{day_after(9)}T090000|DURATION:PT1H"
    text = calendar(days, other, strange)
    status, answer = send(served, text)
    assert status == 422
    assert house.commands == []
    assert any("已被“书法课”预约" in each for each in answer["problems"])
    assert any("“周会”：不认识的时区 Mars/Phobos" in each for each in answer["problems"])
    status, answer = send(served, text, skip="1", name="会议室")
    assert status == 200
    assert {each["args"]["calendar"] for each in house.commands} == {"会议室"}


def test_what_is_no_more_in_the_calendar_becomes_free(house: House, served: Served) -> None:
    kept = booked(house, served, "街道会议", 2, room="dance", calendar="街道会议")
    other = booked(house, served, "书法课", 9, room="dance", calendar="别的日历")
    status, answer = send(served, calendar(f"UID:2|DTSTART:{day_after(5)}T090000|DURATION:PT1H"))
    assert (status, answer["problems"]) == (200, [])
    done = [(each["action"], each["args"].get("booking")) for each in house.commands]
    assert done == [("cancel-booking", kept), ("book", None)]
    assert other not in str(house.commands)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello", "第 1 行起不是日历文件"),
        ("BEGIN:VCALENDAR\r\nEND:VCALENDAR", "没有日历名称"),
        (calendar(f"DTSTART:{day_after(1)}T0900{'00'}|DURATION:PT1H|RRULE:FREQ=DAILY"), "最多 200 个"),
    ],
)
def test_what_cannot_be_imported_says_why(house: House, served: Served, text: str, said: str) -> None:
    status, answer = send(served, text)
    assert status == 422
    assert said in answer["message"]
    assert house.commands == []


def test_a_calendar_is_imported_by_hand(house: House, page: Page, tmp_path: Path) -> None:
    file = tmp_path / "meetings.ics"
    file.write_text(calendar(f"UID:1|DTSTART:{day_after(2)}T090000|DURATION:PT1H"))
    page.driver.get(f"{page.url}/bookings")
    page.click("a[href='/calendars']")
    page.until(lambda: page.has("#import"))
    page.driver.find_element(By.CSS_SELECTOR, "#import [name=file]").send_keys(str(file))
    page.click("#import button")
    page.shows("新占用 1 个时间", "#import-result")
    other = tmp_path / "other.ics"
    other.write_text("no calendar")
    page.driver.find_element(By.CSS_SELECTOR, "#import [name=file]").send_keys(str(other))
    page.click("#import button")
    page.shows("不是日历文件", "#import-result .problem")


def test_a_booking_is_moved_on_the_page(house: House, page: Page) -> None:
    key = house.booking("书法课", -3 * DAY_MS / 1000, kind="activity", room="dance")
    selector = f"#{key.replace('/', '-')} [data-key=move]"
    page.driver.get(f"{page.url}/bookings?day={datetime.now(ZONE) + timedelta(days=3):%Y-%m-%d}")
    page.click(f"{selector} summary")
    page.click(f"{selector} button")
    page.shows("已改期：书法课", "#toast.done")
    asked = house.commands[-1]
    assert (asked["action"], asked["args"]["booking"], asked["args"]["room"]) == (
        "move-booking",
        key,
        "dance",
    )
