"""The shift log as two people use it, one after the other."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from gateway.capabilities.safety.services.shift_log import DutyShift, Remark, ShiftLog
from gateway.model import Fact, Lane, Role
from gateway.model.command import Command
from gateway.web.passwords import hash_password
from gateway.web.people import Person, people_file, write_people
from tests.gateway.browser import Page
from tests.gateway.dashboard_fixtures import KEY, NASTY, House, Served


class Duty:
    """Stands for the daemon: executes the commands of the shift log by its service."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._rows: dict[str, Any] = {}
        self._executed: set[str] = set()
        house.answer = self.execute

    async def execute(self, request: dict[str, Any]) -> dict[str, Any]:
        fields = {
            name: request[name] for name in ("id", "device", "action", "args", "expires", "origin", "by")
        }
        if request["id"] in self._executed:
            return {"status": "done"}
        changes, facts = ShiftLog().apply(self._rows, Command(at=self._house.now(), **fields))
        if not changes:
            return {"status": "failed", "detail": "nothing-to-do"}
        self._executed.add(request["id"])
        self._rows = {key: row for key, row in {**self._rows, **changes}.items() if row is not None}
        journal = self._house._journal
        assert journal
        journal.append("shifts", facts, changes)
        await journal.commit()
        return {"status": "done"}


def alarm(house: House, ago: float, change: str, by: str = "", **more: Any) -> Fact:
    body = {
        "id": "smoke/smoke/1", "change": change, "state": "", "point": "smoke", "hazard": "fire",
        "latch": True, "value": True, "raised": house.now(ago).wall_ms, "by": by, "mode": "", "why": "",
        **more,
    }  # fmt: skip
    return Fact(Lane.ALARM, "smoke", "alarm", house.now(ago), body)


def log_in(page: Page, name: str) -> None:
    page.driver.delete_all_cookies()
    page.driver.get(f"{page.url}/?{urlencode({'key': KEY, 'name': name})}")


def test_a_shift_from_taking_over_to_an_amendment(house: House, page: Page) -> None:
    Duty(house)
    page.driver.get(f"{page.url}/shifts")
    page.shows("现在没有人值班", "#shifts")
    page.click("form [type=submit][class=act]")
    page.shows("已接班", "#shifts")
    page.shows("当前值班：Wang", "#shifts")
    house.happened(
        alarm(house, 0, "raised"),
        alarm(house, 0, "acknowledged", "Wang"),
        alarm(house, 0, "disabled", "Wang", why=NASTY),
        Fact(Lane.EVENT, "gas", "link", house.now(), {"online": False, "error": "timeout"}),
    )
    page.driver.find_element(By.NAME, "text").send_keys(f"三楼 {NASTY}")
    house.visitors(131, 99)  # news leave the text alone
    page.click("form:has([value=remark]) [type=submit]")
    page.shows("已记下", "#shifts")
    assert f"三楼 {NASTY}" in page.text("#shifts .rows")
    happened = page.text("#shifts .records")
    for told in ("火警：发生报警", "火警：已确认", f"火警：已屏蔽 {NASTY}", "离线：无应答", "厨房燃气"):
        assert told in happened
    page.click("form:has([value=end]) [type=submit]")
    page.shows("已交班", "#shifts")
    assert "报警 1 故障 0 确认 1 屏蔽 1 测试 0 演练 0 离线 1 未结束的报警 0" in page.text("[data-shift]")
    log_in(page, "李雷")
    page.driver.get(f"{page.url}/shifts")
    page.click("form [type=submit][class=act]")
    page.shows("接自 Wang", "#shifts")
    page.click("[data-shift] a")
    page.shows("Wang 于", "#shift")
    assert "签字交班" in page.text("#shift")
    assert not page.has("form:has([value=remark])")
    page.driver.find_element(By.NAME, "text").send_keys("应为四楼")
    page.click("form:has([value=amend]) [type=submit]")
    page.shows("已补充", "#shift")
    assert "应为四楼 李雷" in page.text("#shift")
    assert f"三楼 {NASTY} Wang" in page.text("#shift")
    assert not page.has("img[src=x]")
    assert {each["by"] for each in house.commands} == {"Wang", "李雷"}


def test_a_name_is_needed_to_sign(house: House, served: Served) -> None:
    Duty(house)
    _, headers, _ = served.ask("GET", f"/?key={KEY}")
    cookie = headers["set-cookie"].partition(";")[0]
    assert "请用自己的姓名登录" in served.ask("GET", "/shifts", cookie=cookie)[2]
    status, _, text = post(served, cookie, step="begin")
    assert (status, "请用自己的姓名登录" in text) == (422, True)
    assert house.commands == []


def post(served: Served, cookie: str, path: str = "/shifts", **fields: str) -> tuple[int, Any, str]:
    return served.ask(
        "POST", path, urlencode(fields), cookie, content_type="application/x-www-form-urlencoded"
    )


def test_what_cannot_be_done_is_told_and_the_text_is_kept(house: House, served: Served) -> None:
    Duty(house)
    cookie = served.cookie()
    for fields, told in (
        ({"step": "remark", "text": "水管报修"}, "没有记下"),
        ({"step": "end"}, "没有交班"),
        ({"step": "remark", "text": "  \n"}, "请先写下内容"),
        ({"step": "remark", "text": "字" * 201}, "最多 200 个字"),
        ({"step": "amend", "text": "x"}, "没有这种操作"),
        ({"step": "drop"}, "没有这种操作"),
    ):
        status, _, text = post(served, cookie, **fields)
        assert (status, told in text) == (422, True), fields
    assert "水管报修" in post(served, cookie, step="remark", text="水管报修")[2]
    assert post(served, cookie, "/shifts/0", step="amend", text="x")[0] == 404
    assert served.ask("GET", "/shifts/..%2f", cookie=cookie)[0] == 404
    assert post(served, cookie, step="remark", text="x" * 100_000)[0] == 413


def test_a_double_click_writes_once(house: House, served: Served) -> None:
    Duty(house)
    cookie = served.cookie()
    assert post(served, cookie, step="begin")[0] == 303
    once = re.search('name="once" value="([0-9a-f]{32})"', served.ask("GET", "/shifts", cookie=cookie)[2])
    assert once
    for _ in range(2):
        assert post(served, cookie, step="remark", text="一次", once=once[1])[0] == 303
    assert served.ask("GET", "/shifts", cookie=cookie)[2].count('class="text">一次<') == 1


def test_who_takes_over_without_a_handover_is_warned_and_it_is_said(house: House, served: Served) -> None:
    Duty(house)
    post(served, served.cookie(), step="begin")
    _, headers, _ = served.ask("GET", f"/?key={KEY}&name=Li")
    other = headers["set-cookie"].partition(";")[0]
    assert "王芳 还没有签字交班" in served.ask("GET", "/shifts", cookie=other)[2]
    post(served, other, step="begin")
    assert "没有签字交班" in served.ask("GET", "/shifts", cookie=other)[2]


def test_a_long_log_is_listed_in_part_and_printed(house: House, page: Page) -> None:
    began = house.now(90_000)
    shifts = {
        f"shift__{n:x}": DutyShift(
            by="王芳", began=house.now(90_000 + n * 1000), ended=house.now(89_000 + n * 1000), signed=True,
            ended_by="王芳", counts={"alarms": 0}, remarks=(Remark("王芳", began, "平安"),),
        )
        for n in range(80)
    }  # fmt: skip
    house.rows("shifts", **shifts)
    page.driver.get(f"{page.url}/shifts")
    assert len(page.driver.find_elements(By.CSS_SELECTOR, "[data-shift]")) == 60
    page.driver.get(f"{page.url}/shifts/0?lang=en")
    page.shows("Shift of 王芳", "#shift")
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert "Handed over by:" in page.text(".signatures")
    assert not page.driver.find_element(By.CSS_SELECTOR, "#shift form").is_displayed()
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    page.driver.get(f"{page.url}/shifts?lang=zh")


def test_a_screen_sees_no_shifts(house: House, served: Served) -> None:
    password = hash_password("a long password")
    people = {role.value: Person(role, password) for role in (Role.DISPLAY, Role.DUTY)}
    write_people(people_file(house.settings.access), people)
    for name, expected in (("display", 403), ("duty", 200)):
        form = f"name={name}&key=a+long+password"
        _, headers, _ = served.ask("POST", "/login", form, content_type="application/x-www-form-urlencoded")
        cookie = headers["set-cookie"].partition(";")[0]
        assert served.ask("GET", "/shifts", cookie=cookie)[0] == expected
        assert (post(served, cookie, step="begin")[0] == 403) is (name == "display")


def bind_screen(house: House, served: Served) -> str:
    """The cookie of a screen, on which two people may sign."""
    password, pin = hash_password("a long password"), hash_password("274951")
    people = {name: Person(Role.DUTY, password, pin) for name in ("王芳", "李雷")}
    write_people(people_file(house.settings.access), people)
    form = urlencode({"screen": "值班室", "role": Role.DUTY})
    _, headers, _ = served.ask("POST", "/sessions", form, served.cookie())
    return str(headers["set-cookie"].partition(";")[0])


def test_what_was_written_on_a_screen_outlives_the_signature(
    house: House, served: Served, page: Page
) -> None:
    Duty(house)
    post(served, served.cookie(), step="begin")
    name, _, value = bind_screen(house, served).partition("=")
    page.driver.delete_all_cookies()
    page.driver.add_cookie({"name": name, "value": value})
    page.driver.get(f"{page.url}/shifts")
    form = "form:has([value=remark])"
    page.driver.find_element(By.CSS_SELECTOR, f"{form} textarea").send_keys("三楼水管报修")
    page.click(f"{form} [type=submit]")
    page.until(lambda: page.has("#sign[open]"))
    page.click("#sign [data-close]")
    field = page.driver.find_element(By.CSS_SELECTOR, f"{form} textarea")
    assert field.get_attribute("value") == "三楼水管报修"
    page.click(f"{form} [type=submit]")
    page.until(lambda: page.has("#sign[open]"))
    page.driver.find_element(By.CSS_SELECTOR, "#sign [name=secret]").send_keys("274951", Keys.ENTER)
    page.shows("已记下", "#shifts")
    assert page.driver.find_element(By.CSS_SELECTOR, f"{form} textarea").get_attribute("value") == ""
    assert house.commands[-1]["args"] == {"text": "三楼水管报修"}
    assert house.commands[-1]["by"] in ("王芳", "李雷")


def test_on_a_screen_each_signs_with_a_number_of_their_own(house: House, served: Served) -> None:
    Duty(house)
    screen = bind_screen(house, served)

    def sign(name: str) -> int:
        return served.ask("POST", "/sign", urlencode({"name": name, "secret": "274951"}), screen)[0]

    assert "签字接班" in served.ask("GET", "/shifts", cookie=screen)[2]
    status, _, text = post(served, screen, step="begin")
    assert (status, 'action="/sign"' in text) == (403, True)
    assert sign("王芳") == 200
    assert post(served, screen, step="begin")[0] == 303
    assert post(served, screen, step="end")[0] == 403, "what was signed was the beginning"
    assert sign("王芳") == 200
    assert post(served, screen, step="end")[0] == 303
    assert post(served, screen, step="begin")[0] == 403, "it is somebody else's turn"
    assert sign("李雷") == 200
    assert post(served, screen, step="begin")[0] == 303
    assert [(each["action"], each["by"]) for each in house.commands] == [
        ("shift-begin", "王芳"), ("shift-end", "王芳"), ("shift-begin", "李雷"),
    ]  # fmt: skip
