"""The calendar of bookings in a real browser: by touch and by keyboard."""

from __future__ import annotations

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from gateway.scheduling import BookingState
from tests.gateway.browser import Page, fill
from tests.gateway.dashboard_fixtures import NASTY, House

FREE = "#calendar td.free button[data-room=dance]"


def value(page: Page, name: str) -> str:
    return str(
        page.driver.find_element(By.CSS_SELECTOR, f"#calendar [data-key=book] [name={name}]").get_attribute(
            "value"
        )
    )


def test_a_free_half_hour_is_booked(house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/bookings?view=day&day=2099-12-01")
    page.click(f"{FREE}[data-time='10:30']")
    assert [value(page, name) for name in ("day", "from", "until", "room")] == [
        "2099-12-01", "10:30", "11:30", "dance",
    ]  # fmt: skip
    fill(page, "#calendar [data-key=book] form", title=NASTY)
    page.shows(f"已预约：{NASTY}", "#toast.done")
    asked = house.commands[-1]
    assert (asked["action"], asked["args"]["room"], asked["args"]["title"]) == ("book", "dance", NASTY)
    assert asked["args"]["until"] - asked["args"]["from"] == 3_600_000


def test_the_arrow_keys_move_over_the_day(house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/bookings?view=day&day=2099-12-01")
    page.shows("预约日历", "#calendar-title")

    def focused() -> dict[str, str]:
        data: dict[str, str] = page.driver.execute_script("return {...document.activeElement.dataset}")
        return data

    first = page.driver.find_element(By.CSS_SELECTOR, "#calendar td.free button[tabindex='0']")
    page.driver.execute_script("arguments[0].focus()", first)
    assert (focused()["time"], focused()["room"]) == ("08:00", "")
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_DOWN):
        page.driver.switch_to.active_element.send_keys(key)
    assert (focused()["time"], focused()["room"]) == ("09:00", "dance")
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert (value(page, "from"), value(page, "room")) == ("09:00", "dance")


def test_a_booking_appears_and_is_ended_in_place(house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/bookings")
    page.shows("没有预约", "#calendar [data-key=none]")
    key = house.booking(NASTY, 600, kind="activity", room="dance", state=BookingState.PRESENT)
    page.shows(NASTY, "#calendar .calendar td.booked.present.live")
    page.click(f"#{key.replace('/', '-')} .act[data-confirm]")
    page.shows(f"“{NASTY}”提前结束？", "dialog")
    page.click("dialog .danger")
    page.shows("已结束", "#toast.done")
    assert (house.commands[-1]["action"], house.commands[-1]["args"]) == ("end-booking", {"booking": key})


def test_an_end_before_the_beginning_says_so(house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/bookings?view=day&day=2099-12-01&lang=en")
    page.click(f"{FREE}[data-time='10:30']")
    page.driver.execute_script(
        "document.querySelector('#calendar [data-key=book] [name=until]').value = '09:00'"
    )
    fill(page, "#calendar [data-key=book] form", title="x")
    page.shows("The end must be after the beginning", "#toast")
    assert house.commands == []


def test_on_a_phone_the_week_is_a_list(house: House, page: Page) -> None:
    house.booking(NASTY, 600, kind="activity", room="dance")
    page.driver.set_window_size(400, 900)
    page.driver.get(f"{page.url}/bookings")
    page.shows(NASTY, "#calendar .rows")
    assert not page.driver.find_element(By.CSS_SELECTOR, ".calendar").is_displayed()
    width = page.driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert width <= 0
