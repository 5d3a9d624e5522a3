"""The page in a real browser, as the people of the centre use it."""

from __future__ import annotations

import re
import signal
from urllib.parse import quote

import msgspec
import pytest
from markupsafe import escape
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from gateway.capabilities.safety.services.alarms import AlarmMode, AlarmState
from gateway.model import Role
from gateway.services.commands import CommandStatus
from gateway.web.passwords import hash_password
from gateway.web.people import Person, people_file, read_people, write_people
from gateway.web.sessions import append_ended, session_id
from gateway.web.settings import DeviceInfo
from tests.gateway.browser import Page, fill
from tests.gateway.dashboard_fixtures import DEVICES, KEY, NASTY, House, Served


def test_a_wrong_key_is_refused_and_the_right_one_gets_in(page: Page) -> None:
    page.driver.delete_all_cookies()
    page.driver.get(page.url)
    page.driver.find_element(By.ID, "key").send_keys("wrong", Keys.ENTER)
    page.shows("密钥不对", "#problem")
    assert not page.has("#tiles")
    page.driver.find_element(By.ID, "key").send_keys(KEY, Keys.ENTER)
    page.until(lambda: page.has("#tiles"))
    assert page.driver.current_url == f"{page.url}/"


def test_the_tiles_follow_the_journal_without_a_reload(house: House, page: Page) -> None:
    page.driver.execute_script("window.sameDocument = true")
    assert "31" in page.text(".tile.inside")
    assert "128" in page.text(".crossings")
    assert page.text(".tile.bays") == "空闲车位 至少 7 共 20 个 1 个未知"
    house.visitors(130, 98)
    house.says("parking", free=0, occupied=0, unknown=20, total=20)
    page.shows("32", ".tile.inside .number")
    page.shows("—", ".tile.bays .number")
    assert page.text(".tile.lockers").endswith("1 个未知 1 扇门开着")
    assert page.driver.execute_script("return window.sameDocument")


def test_every_device_is_listed_with_its_quality_and_age(house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/devices")
    house.says("gas", error="timeout")
    page.shows("离线", "[data-key=gas]")
    assert "无应答：请检查设备电源、地址和接线" in page.text("[data-key=gas]")
    assert "烟雾 正常 在线" in page.text("[data-key=smoke]")
    assert "尚无消息" in page.text("[data-key=locker].line")
    age = "[data-key=smoke] time"
    page.until(lambda: page.text(age).endswith("秒前"))
    first = page.text(age)
    page.until(lambda: page.text(age) != first)
    house.says("smoke", ago=21, smoke=False)
    page.shows("数据过时", "[data-key=smoke]")


def test_a_device_does_what_it_offers_after_a_second_thought(house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/devices")
    button = "[data-key=gas] .acts > button"
    page.until(lambda: page.has("html.script"))
    names = [each.text for each in page.driver.find_elements(By.CSS_SELECTOR, button)]
    assert names == ["关阀", "whistle"]
    page.click(button)
    page.shows("“厨房燃气”：确定关阀？", "dialog")
    assert page.text("#confirm-yes") == "关阀"
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.until(lambda: not page.has("dialog[open]"))
    assert house.commands == []
    house.answer = lambda _: {"status": "accepted", "detail": ""}
    page.click(button)
    page.click("dialog .danger")
    page.shows("已下发", "#toast.accepted")
    assert [(each["device"], each["action"]) for each in house.commands] == [("gas", "close-valve")]
    house.ordered("gas", "close-valve", CommandStatus.ACCEPTED)
    page.shows("关阀：执行中", "[data-key=gas]")
    house.ordered("gas", "close-valve", CommandStatus.FAILED, "unconfirmed")
    page.shows("关阀：未成功，设备未显示已执行 · 1 分钟前 · Wang", "[data-key=gas]")


def test_a_value_that_was_told_earlier_keeps_its_own_age(house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/devices")
    house.says("gas", ago=125, valve=True)
    house.says("gas", lel=3.5)
    page.shows("燃气浓度 3.5%LEL 阀门 开启 2 分钟前", "[data-key=gas]")
    house.says("gas", valve=False)
    page.shows("阀门 关闭 燃气浓度 3.5%LEL", "[data-key=gas]")


def test_a_refusal_is_told_with_its_reason(house: House, page: Page) -> None:
    house.answer = lambda _: {"status": "denied", "detail": "no-such-reason"}
    page.driver.get(f"{page.url}/lockers")
    page.click("[data-key='1'] button")
    page.click("dialog .danger")
    page.shows("不允许：no-such-reason", "#toast.denied")


def test_focus_stays_where_it_is_while_the_page_changes(house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/lockers")
    button = page.driver.find_element(By.CSS_SELECTOR, "[data-key='2'] button")
    page.driver.execute_script("arguments[0].focus()", button)
    house.compartment(1, occupied=True)
    page.shows("占用", "[data-key='1']")
    assert page.driver.switch_to.active_element == button


def test_a_device_may_have_any_name(page: Page) -> None:
    page.driver.get(f"{page.url}/devices")
    page.until(lambda: "秒前" in page.text("[data-key=nasty]"))
    assert "<img src=x onerror" in page.text("[data-key=nasty]")
    assert not page.has("img[src=x]")
    assert page.driver.title == "滨江邻里中心"


def test_the_other_language(page: Page) -> None:
    page.click("footer a[lang=en]")
    page.shows("People inside", "#tiles")
    assert "Binjiang Neighbourhood Centre" in page.text("h1")
    page.driver.get(page.url)
    assert "Free parking bays" in page.text("#tiles")
    page.click("footer a[lang=zh]")
    page.shows("当前在场", "#tiles")


def test_a_gateway_that_is_away_is_told_and_its_return_too(house: House, page: Page) -> None:
    house.stop()
    page.shows("网关没有运行", "#banners")
    looks_old(page)
    assert "最后消息" in page.text("#banners")
    assert "报警情况未知" in page.text("#alarms")
    assert "数据过时" in page.text("[data-key=smoke]")
    house.start()
    page.shows("各项安全监测均无报警", "#alarms")
    assert page.text("#banners") == ""
    looks_live(page)


def looks_old(page: Page) -> None:
    """Nothing is green, and the tab says so too."""
    page.until(lambda: page.has("body.old-data"))
    page.until(lambda: "数据已停止更新" in page.driver.title)
    assert page.has("link[rel=icon][href$='icon-lost.svg']")
    for pill in page.driver.find_elements(By.CSS_SELECTOR, ".pill"):
        red, green, blue = map(int, re.findall(r"\d+", pill.value_of_css_property("color"))[:3])
        assert green - max(red, blue) < 20, pill.text
    claims = page.driver.find_elements(By.CSS_SELECTOR, ".calm, .if-live")
    assert not any(each.is_displayed() for each in claims)


def looks_live(page: Page) -> None:
    page.until(lambda: not page.has("body.old-data"))
    page.until(lambda: "数据已停止更新" not in page.driver.title)
    assert page.has("link[rel=icon][href$='icon.svg']")
    assert page.driver.find_element(By.CSS_SELECTOR, ".panel.calm").is_displayed()


def test_a_dashboard_that_is_gone_is_told(page: Page, served: Served) -> None:
    page.until(lambda: page.has("html.script"))
    served.end()
    page.shows("与看板的连接已断开", "#lost")
    looks_old(page)


def test_a_connection_that_is_silent_is_told_within_ten_seconds(page: Page, served: Served) -> None:
    """As when a cable is pulled: nobody closes the connection."""
    page.until(lambda: page.has("html.script"))
    looks_live(page)
    served.process.send_signal(signal.SIGSTOP)
    try:
        page.until(lambda: page.text("#lost").startswith("与看板的连接已断开"), seconds=10)
        looks_old(page)
        assert re.search(r"最后消息 \d\d:\d\d · \d+ 秒前", page.text("#lost"))
        assert "报警情况未知" in page.text("#alarms")
    finally:
        served.process.send_signal(signal.SIGCONT)
    page.until(lambda: not page.driver.find_element(By.ID, "lost").is_displayed(), seconds=15)
    looks_live(page)


def test_a_page_that_never_heard_anything_knows_how_old_it_is(house: House, served: Served) -> None:
    _, _, page = served.ask("GET", "/?lang=zh", cookie=served.cookie())
    assert re.search(r'<b id="last-word-at">\d\d:\d\d</b>', page)


def test_ten_tabs_live_on_one_stream_and_commands_get_through(house: House, page: Page) -> None:
    """A browser opens six connections to a server, and each stream would keep one of them."""
    driver, first = page.driver, page.driver.current_window_handle
    page.until(lambda: page.has("html.script"))
    paths = ("", "safety", "walk-test", "lines", "visits", "visitors", "needs", "?kiosk", "", "?lang=en")
    try:
        for path in paths[1:]:
            driver.switch_to.new_window("tab")
            driver.get(f"{page.url}/{path}")
        name = house.alarm(AlarmState.ACTIVE)
        for handle in driver.window_handles:
            driver.switch_to.window(handle)
            page.until(lambda: page.has("[data-alarm=active]"))
        assert "Fire" in page.text("#alarms")
        page.click("#alarms .panel li .act")
        page.shows("Acknowledged", "#toast")
        assert [each["args"] for each in house.commands] == [{"alarm": name}]
    finally:
        for handle in driver.window_handles:
            driver.switch_to.window(handle)
            if handle != first:
                driver.close()
        driver.switch_to.window(first)
    house.alarm(None)
    page.until(lambda: page.has("#alarms .panel.calm"))


def test_a_command_that_gets_no_answer_says_so(house: House, page: Page) -> None:
    page.driver.execute_script(
        "AbortSignal.timeout = () => AbortSignal.abort(new DOMException('', 'TimeoutError'))"
    )
    house.alarm(AlarmState.ACTIVE)
    page.click("#alarms .panel li .act")
    page.shows("网关没有及时回应，结果不明", "#toast.unknown")


def test_without_a_script_the_page_can_be_read(page: Page) -> None:
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.driver.get(page.url)
        assert "浏览器未启用 JavaScript" in page.text()
        assert "31" in page.text(".tile.inside")
        assert not any(
            button.is_displayed() for button in page.driver.find_elements(By.CSS_SELECTOR, "main button")
        )
    finally:
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_nothing_sticks_out(page: Page, house: House) -> None:
    house.alarm(AlarmState.ACTIVE)
    page.shows("火警", "#alarms")
    size = {"height": 1080, "deviceScaleFactor": 1, "mobile": False}
    try:
        for width in (320, 390, 768, 1440, 1920):
            page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size | {"width": width})
            assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_bus_doctor_speaks_beside_the_device_and_on_its_page(house: House, served: Served) -> None:
    figures = dict.fromkeys(("share", "polls", "silent", "damaged", "refused", "p50"), 1)
    device = {"device": "nasty", "state": "offline", "p99": None, **figures}
    finding = {"key": "device-dead", "device": "nasty", "facts": {"share": 76}}
    down = {
        "up": False,
        "use": 0,
        "devices": [],
        "findings": [{"key": "line-down", "device": "", "facts": {}}],
    }
    busy = {"up": True, "use": 82, "devices": [device], "findings": [finding]}
    house.report = {"rs485": busy, "tcp": down}
    again = Served(house.settings)
    try:
        cookie = again.cookie()
        _, _, text = again.ask("GET", "/devices", cookie=cookie)
        said = f"{escape(NASTY)} 从不应答，占用线路 76 %"
        assert said in text.partition('data-key="nasty"')[2]
        _, _, text = again.ask("GET", "/lines", cookie=cookie)
        assert said in text
        assert "rs485：线路占用 82 %" in text
        assert "线路未打开" in text
    finally:
        again.end()


def test_the_sound_is_off_until_a_person_turns_it_on_and_says_so(house: House, page: Page) -> None:
    page.shows("提示音已关", "#sound")
    page.click("#sound")
    page.shows("提示音：开", "#sound")
    house.alarm(AlarmState.ACTIVE)
    page.until(lambda: page.driver.title.startswith("🔔"))
    page.driver.get(f"{page.url}/?kiosk")
    page.until(lambda: page.driver.title.startswith("🔔"))


MANY = tuple(
    DeviceInfo(
        f"meter-{n}",
        {"zh": f"{n} 号电表", "en": f"Meter {n}"},
        "energy-meter",
        3600,
        bus="basement",
        room={"zh": "地下室", "en": "Cellar"} if n % 2 else {"zh": "大厅", "en": "Hall"},
    )
    for n in range(1, 121)
)


def names(page: Page) -> list[str]:
    script = "return [...document.querySelectorAll('#devices .line')].map((row) => row.dataset.key)"
    return list(page.driver.execute_script(script))


@pytest.fixture
def many(house: House) -> None:
    """A house with many devices, in rooms."""
    house.settings = msgspec.structs.replace(house.settings, devices=DEVICES + MANY)
    for device in MANY:
        house.says(device.name, energy=1.0)
    house.says("meter-77", error="timeout")


def test_devices_are_found_and_sorted_as_one_types(many: None, house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/devices")
    page.driver.execute_script("window.sameDocument = true")
    assert page.has("[data-key='attention/'] [data-key=meter-77]")
    assert len(names(page)) == 50
    search = page.driver.find_element(By.NAME, "text")
    search.send_keys("ＣＥＬＬＡＲ 7")
    cellar = {device.name for device in MANY if "7" in device.name and device.room["en"] == "Cellar"}
    page.until(lambda: set(names(page)) == cellar)
    assert page.text("#devices [role=status]") == f"符合条件的设备：{len(cellar)} 台 显示全部"
    search.clear()
    search.send_keys("烟感")
    page.until(lambda: names(page) == ["smoke"])
    house.alarm(AlarmState.ACTIVE)
    page.shows("火警", "[data-key=smoke].line")
    assert names(page) == ["smoke"]
    assert search.get_attribute("value") == "烟感"
    assert page.driver.switch_to.active_element == search
    search.clear()
    Select(page.driver.find_element(By.NAME, "state")).select_by_value("offline")
    page.until(lambda: names(page) == ["meter-77"])
    Select(page.driver.find_element(By.NAME, "state")).select_by_value("")
    Select(page.driver.find_element(By.NAME, "kind")).select_by_value("energy-meter")
    Select(page.driver.find_element(By.NAME, "sort")).select_by_value("name")
    page.until(lambda: names(page)[:1] == ["meter-1"])
    assert page.driver.current_url.endswith("/devices?kind=energy-meter&sort=name")
    assert page.driver.execute_script("return window.sameDocument")


def test_what_was_chosen_survives_a_reload_and_going_back(many: None, page: Page) -> None:
    page.driver.get(f"{page.url}/devices")
    page.driver.find_element(By.NAME, "text").send_keys("9")
    Select(page.driver.find_element(By.NAME, "sort")).select_by_value("name")
    page.until(lambda: "sort=name" in page.driver.current_url)
    chosen = sorted(device.name for device in MANY if "9" in device.name)
    page.until(lambda: sorted(names(page)) == chosen)
    chosen = names(page)
    page.driver.refresh()
    assert names(page) == chosen
    page.click("nav a[href='/lines']")
    page.until(lambda: page.has("#lines"))
    page.driver.back()
    page.until(lambda: page.has("#devices"))
    assert names(page) == chosen
    assert page.driver.find_element(By.NAME, "text").get_attribute("value") == "9"
    page.click("footer a[lang=en]")
    page.shows("Cellar", "#devices")
    page.shows("Matching devices: ", "#devices")
    assert sorted(names(page)) == sorted(chosen)


def test_devices_are_shown_in_parts(many: None, house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/devices?kind=energy-meter")
    first = names(page)
    page.shows("显示更多（还有 70 台）", "#devices")
    page.driver.find_element(By.CSS_SELECTOR, "#devices [name=rows]").send_keys(Keys.ENTER)
    page.until(lambda: len(names(page)) == 100)
    assert names(page)[:50] == first
    page.click("#devices [name=rows]")
    page.until(lambda: len(names(page)) == 120)
    assert not page.has("#devices [name=rows]")
    house.says("meter-77", energy=2.0)
    page.until(lambda: not page.has("[data-key='attention/'] [data-key=meter-77]"))
    assert len(names(page)) == 120


def test_devices_are_chosen_without_a_script_too(many: None, page: Page) -> None:
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.driver.get(f"{page.url}/devices?lang=en")
        page.driver.find_element(By.NAME, "text").send_keys("cellar", Keys.ENTER)
        page.until(lambda: "text=cellar" in page.driver.current_url)
        assert "Matching devices: 60" in page.text("#devices")
        page.click("#devices [name=rows]")
        page.until(lambda: len(names(page)) == 60)
        assert not page.has("#devices .acts button:not([data-command])")
    finally:
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


STRANGE = ("rows=-1", "rows=9999999999", "rows=²", "state=x&sort=y&kind=z", "text=%00%ff", "a=1&" * 99)


@pytest.mark.parametrize("query", STRANGE)
def test_an_address_may_choose_anything(house: House, served: Served, query: str) -> None:
    cookie = served.cookie()
    status, _, text = served.ask("GET", f"/devices?{quote(query, safe='=&%')}", cookie=cookie)
    assert status == 200
    assert 'id="devices-title"' in text
    view = quote(f"devices?{query}.zh", safe="")
    assert served.ask("GET", f"/events?view={view}", cookie=cookie)[0] == 200


def test_the_overview_shows_the_devices_that_need_somebody(house: House, page: Page) -> None:
    house.says("nasty", error="timeout")
    house.says("smoke", smoke=False)
    house.says("gas", lel=2.5)
    house.says("counter", **{"in": 5128, "out": 5097})
    page.shows("离线", "#attention [data-key=nasty]")
    page.until(lambda: "3 台设备正常" in page.text("#attention .rest"))
    assert "1 台尚无消息" in page.text("#attention .rest")
    assert not page.has("#attention [data-key=gas]")
    assert not page.has("#attention [data-command]")
    house.out("gas", AlarmMode.DISABLED)
    page.shows("1 台在屏蔽或测试中", "#attention .rest")
    page.shows("2 台设备正常", "#attention .rest")
    page.click("#attention [data-key=nasty] a")
    page.shows(NASTY, "#device-title")
    page.driver.back()
    page.click("#attention .rest .if-live")
    page.until(lambda: len(names(page)) == 5)


@pytest.mark.parametrize("path", ["safety", "walk-test", "lines"])
def test_each_page_fits_reads_without_a_script_and_says_what_it_is_not(
    page: Page, house: House, path: str
) -> None:
    house.case(house.alarm(AlarmState.ACTIVE))
    house.out("gas", AlarmMode.DISABLED, NASTY * 3)
    page.driver.get(f"{page.url}/{path}")
    page.shows("火警", "#alarms")
    assert "未经消防产品认证" in page.text("footer")
    size = {"height": 1080, "deviceScaleFactor": 1, "mobile": False}
    try:
        for width in (360, 768, 1440, 1920):
            page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size | {"width": width})
            assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        page.driver.get(f"{page.url}/{path}")
        assert "火警 一层活动室烟感" in page.text("#alarms")
        fields = page.driver.find_elements(By.CSS_SELECTOR, "main :is(button, input, select)")
        assert not any(field.is_displayed() for field in fields)
    finally:
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_person_sees_what_the_role_may_do(house: House, page: Page) -> None:
    people = {"王芳": Person(Role.DUTY, hash_password("long enough"))}
    write_people(people_file(house.settings.access), people)
    house.alarm(AlarmState.ACTIVE)
    page.driver.delete_all_cookies()
    page.driver.get(f"{page.url}/safety")
    fill(page, "form", name="王芳", key="long enough")
    page.until(lambda: page.driver.current_url == f"{page.url}/safety")
    page.shows("确认", "#alarms")
    assert "线路" not in page.text("nav")
    assert page.text("footer .person") == "王芳"
    page.driver.get(page.url)
    page.until(lambda: page.has("html.script"))
    page.click("#alarms button.act")
    page.until(lambda: house.commands)
    assert house.commands[0]["by"] == "王芳"
    page.driver.get(f"{page.url}/lockers")
    house.compartment(1, occupied=True)
    page.shows("占用", "[data-key='1']")
    assert not page.driver.find_element(By.CSS_SELECTOR, "[data-key='1'] button").is_displayed()
    page.driver.get(f"{page.url}/devices")
    page.until(lambda: page.has("html.script"))
    disable = page.driver.find_element(By.CSS_SELECTOR, "[data-key=gas] [data-key=disable]")
    assert not disable.is_displayed()


def test_an_act_that_the_role_may_not_do_any_more_is_refused_in_words(house: House, page: Page) -> None:
    file = people_file(house.settings.access)
    write_people(file, {"李强": Person(Role.MANAGER, hash_password("long enough"))})
    page.driver.delete_all_cookies()
    page.driver.get(f"{page.url}/lockers")
    fill(page, "form", name="李强", key="long enough")
    page.click("[data-key='1'] button")
    page.shows("打开", "dialog")
    write_people(file, {"李强": msgspec.structs.replace(read_people(file)["李强"], role=Role.DUTY)})
    page.click("dialog .danger")
    page.shows("您的角色是“值班”，此项操作需要“管理”", "#toast.denied")
    assert house.commands == []


def test_a_session_that_is_ended_elsewhere_says_so_on_its_open_page(house: House, page: Page) -> None:
    page.shows("没有报警")
    value = page.driver.get_cookie("linli-session")
    assert value
    append_ended(house.settings.access, [session_id(value["value"])])
    page.shows("您的登录已失效", "#problem")
    assert page.driver.current_url == f"{page.url}/"


def test_what_is_done_on_a_screen_is_signed_with_a_pin(house: House, page: Page) -> None:
    people = {"王芳": Person(Role.DUTY, hash_password("long enough"), hash_password("274951"))}
    write_people(people_file(house.settings.access), people)
    page.driver.get(f"{page.url}/sessions")
    page.driver.find_element(By.CSS_SELECTOR, "[name=role] [value=duty]").click()
    fill(page, ".bind form", screen="值班室平板")
    page.shows("值班室平板", "footer")
    assert not page.has("footer form")
    page.driver.get(f"{page.url}/devices")
    page.click("[data-key=gas] [data-command*=close-valve]")
    page.click("#confirm-yes")
    page.shows("公用的屏幕", "#sign")
    for digit in "111111":
        page.click(f"#sign [data-digit='{digit}']")
    page.click("#sign [type=submit]")
    page.shows("不对", "#sign-problem")
    assert house.commands == []
    page.driver.find_element(By.CSS_SELECTOR, "#sign [name=secret]").send_keys("long enough", Keys.ENTER)
    page.shows("已", "#toast.done")
    assert [(each["action"], each["by"]) for each in house.commands] == [("close-valve", "王芳")]
    assert not page.has("#sign[open]")
