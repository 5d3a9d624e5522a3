"""The page in a real browser, as the people of the centre use it."""

from __future__ import annotations

import pytest
from markupsafe import escape
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from gateway.capabilities.safety.services.alarms import Alarm, Mode, State
from gateway.capabilities.safety.services.emergency_plans import LoggedAction, Muster
from gateway.capabilities.safety.services.findings import Finding
from gateway.capabilities.safety.services.patrols import CheckIn, PatrolRound
from gateway.model import Hazard
from gateway.services.commands import CommandStatus
from tests.gateway.dashboard.browser import Page, fill
from tests.gateway.dashboard.conftest import KEY, NASTY, House, Served


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
    assert "128" in page.text(".tile.crossings")
    assert page.text(".tile.bays") == "空闲车位 7 共 20 个 1 个未知"
    house.visitors(130, 98)
    house.says("parking", free=0, occupied=0, unknown=20, total=20)
    page.shows("32", ".tile.inside .number")
    page.shows("—", ".tile.bays .number")
    assert page.text(".tile.lockers").endswith("1 个未知 1 扇门开着")
    assert page.driver.execute_script("return window.sameDocument")


def test_every_device_is_listed_with_its_quality_and_age(house: House, page: Page) -> None:
    house.says("gas", error="timeout")
    page.shows("离线", "[data-key=gas]")
    assert "无应答：请检查设备电源、地址和接线" in page.text("[data-key=gas]")
    assert "烟雾 正常 在线" in page.text("[data-key=smoke]")
    assert "暂无读数" in page.text("[data-key=locker].line")
    age = "[data-key=smoke] time"
    page.until(lambda: page.text(age).endswith("秒前"))
    first = page.text(age)
    page.until(lambda: page.text(age) != first)
    house.says("smoke", ago=21, smoke=False)
    page.shows("数据过时", "[data-key=smoke]")


def test_an_alarm_appears_and_a_click_acknowledges_exactly_it(house: House, page: Page) -> None:
    assert "没有报警" in page.text("#alarms")
    name = house.alarm(State.ACTIVE)
    page.shows("火警 一层活动室烟感", "#alarms")
    assert page.text(".tile.alarms .number") == "1"
    assert "火警" in page.text("[data-key=smoke].line")
    page.until(lambda: page.driver.title.startswith("⚠ 1 条报警"))
    assert "新报警：火警" in page.driver.find_element(By.ID, "announce").get_attribute("textContent")
    page.click("#alarms .panel li .act")
    page.shows("已确认：火警，一层活动室烟感", "#toast")
    (command,) = house.commands
    assert command["device"] == "smoke"
    assert command["action"] == "acknowledge"
    assert command["args"] == {"alarm": name}
    assert command["by"] == "Wang"
    house.alarm(State.ACKNOWLEDGED)
    page.shows("已确认，尚未恢复", "#alarms")
    assert not page.has("#alarms .panel li > .act")
    assert page.text(".tile.alarms .number") == "1"
    house.alarm(None)
    page.shows("没有报警", "#alarms")
    page.shows("刚刚结束的报警", "#alarms")
    assert "一层活动室烟感" in page.text("#alarms .ended")


def test_a_compartment_opens_after_a_second_thought_only(house: House, page: Page) -> None:
    button = "[data-key='2'] button"
    page.until(lambda: page.has("html.script"))
    page.click(button)
    page.shows("确定打开“东侧快递柜”2 号格？", "dialog")
    assert page.driver.switch_to.active_element.text == "取消"
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.until(lambda: not page.has("dialog[open]"))
    assert house.commands == []
    page.click(button)
    page.click("dialog .danger")
    page.shows("“东侧快递柜”2 号格已打开", "#toast.done")
    assert [(each["action"], each["args"]) for each in house.commands] == [("open", {"lock": 2})]
    house.compartment(2, occupied=True, door_open=True)
    page.shows("门开着", "[data-key='2']")
    assert not page.has(button)


def test_a_device_does_what_it_offers_after_a_second_thought(house: House, page: Page) -> None:
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
    house.says("gas", ago=125, valve=True)
    house.says("gas", lel=3.5)
    page.shows("燃气浓度 3.5%LEL 阀门 开启 2 分钟前", "[data-key=gas]")
    house.says("gas", valve=False)
    page.shows("阀门 关闭 燃气浓度 3.5%LEL", "[data-key=gas]")


def test_a_refusal_is_told_with_its_reason(house: House, page: Page) -> None:
    house.answer = lambda _: {"status": "denied", "detail": "no-such-reason"}
    page.click("[data-key='1'] button")
    page.click("dialog .danger")
    page.shows("不允许：no-such-reason", "#toast.denied")


def test_focus_stays_where_it_is_while_the_page_changes(house: House, page: Page) -> None:
    button = page.driver.find_element(By.CSS_SELECTOR, "[data-key='2'] button")
    page.driver.execute_script("arguments[0].focus()", button)
    house.compartment(1, occupied=True)
    page.shows("占用", "[data-key='1']")
    assert page.driver.switch_to.active_element == button


def test_a_device_may_have_any_name(page: Page) -> None:
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
    assert "报警情况未知" in page.text("#alarms")
    assert "数据过时" in page.text("[data-key=smoke]")
    house.start()
    page.shows("各项安全监测均无报警", "#alarms")
    assert page.text("#banners") == ""


def test_a_dashboard_that_is_gone_is_told(page: Page, served: Served) -> None:
    page.until(lambda: page.has("html.script"))
    served.end()
    page.shows("与看板的连接已断开", "#lost")


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
    house.alarm(State.ACTIVE)
    page.shows("火警", "#alarms")
    size = {"height": 1080, "deviceScaleFactor": 1, "mobile": False}
    try:
        for width in (320, 390, 768, 1440, 1920):
            page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size | {"width": width})
            assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_an_alarm_is_shelved_for_a_reason_and_the_form_outlives_the_news(house: House, page: Page) -> None:
    name = house.alarm(State.ACTIVE)
    page.until(lambda: page.has("#alarms .aside summary"))
    page.click("#alarms .aside summary")
    form = "#alarms .aside form"
    fill(page, form)
    assert house.commands == []  # the reason is missing
    page.driver.find_element(By.CSS_SELECTOR, f"{form} [name=why]").send_keys("扬尘")
    house.alarm(State.ACTIVE, "gas", 14.5)
    page.shows("燃气泄漏", "#alarms")
    assert page.driver.switch_to.active_element.get_attribute("value") == "扬尘"
    page.click(f"{form} [type=submit]")
    page.shows("已搁置：火警，一层活动室烟感", "#toast.done")
    (command,) = house.commands
    assert (command["device"], command["action"]) == ("smoke", "shelve")
    assert command["args"] == {"alarm": name, "seconds": 3600, "why": "扬尘"}


def test_a_double_click_acts_once(house: House, page: Page) -> None:
    house.alarm(State.ACTIVE)
    button = "#alarms .panel li .act"
    page.until(lambda: page.has(button))
    ActionChains(page.driver).double_click(page.driver.find_element(By.CSS_SELECTOR, button)).perform()
    page.shows("已确认", "#toast.done")
    assert len(house.commands) == 1


def test_what_sounds_is_muted_by_somebody(house: House, page: Page) -> None:
    name = house.alarm(State.ACTIVE)
    page.until(lambda: page.has(".mute"))
    page.click(".mute")
    page.shows("已消音", "#toast.done")
    assert [(each["device"], each["action"], each["args"]) for each in house.commands] == [
        ("gateway", "mute", {})
    ]
    row = Alarm(
        id=name,
        device="smoke",
        point="smoke",
        hazard=Hazard.FIRE,
        state=State.ACTIVE,
        raised=house.now(),
        muted=True,
        mode_by=NASTY,
    )
    house.rows("safety", smoke__smoke=row)
    page.shows(f"{NASTY} 已消音", "#alarms")
    assert not page.has(".mute")


def test_a_rules_alarm_has_its_title_and_value_and_not_its_name(house: House, page: Page) -> None:
    row = Alarm(
        id="gas/kitchen-heats/1",
        device="gas",
        point="kitchen-heats",
        hazard=Hazard.FIRE,
        state=State.ACTIVE,
        raised=house.now(),
        value=39.5,
        title={"zh": "厨房升温过快"},
    )
    house.rows("safety", **{"gas__kitchen-heats": row})
    page.shows("火警 厨房升温过快 报警中，待确认 厨房燃气 39.5", "#alarms")


def test_a_plan_is_ticked_off_and_people_are_counted(house: House, page: Page) -> None:
    name = house.alarm(State.ACTIVE)
    house.case(name)
    page.shows("火灾应急预案 0/2", "#alarms")
    page.shows("须找到 31 人", "#alarms")
    assert page.has("a[href='tel:119']")
    page.click("[data-key=look] .tick")
    page.shows("这一步完成", "#toast.done")
    house.case(
        name, done={"look": LoggedAction("Wang", house.now())}, muster=Muster("Wang", house.now(), 28)
    )
    page.shows("火灾应急预案 1/2", "#alarms")
    page.shows("还差 3 人", "#alarms")
    page.click("[data-key=look] .tick")
    page.click("dialog .danger")
    page.until(lambda: len(house.commands) == 2)
    fill(page, ".muster form", found="31")
    page.shows("找到 31 人", "#toast.done")
    assert [(each["action"], each["args"]) for each in house.commands] == [
        ("step", {"alarm": name, "step": "look"}),
        ("unstep", {"alarm": name, "step": "look"}),
        ("muster", {"alarm": name, "found": 31}),
    ]


def test_a_drill_is_begun_after_a_second_thought_and_is_never_taken_for_an_alarm(
    house: House, page: Page
) -> None:
    page.driver.get(f"{page.url}/safety")
    page.click("#drill [type=submit]")
    page.shows("确定开始演练？", "dialog")
    assert house.commands == []
    page.click("dialog .danger")
    page.shows("演练开始：火警", "#toast.done")
    name = house.drill()
    page.shows("不是真实报警", ".panel.drill")
    page.shows("没有报警", "#alarms")
    page.until(lambda: page.driver.title.startswith("演练"))
    page.click(".panel.drill li .act")
    page.shows("演练结束：火警", "#toast.done")
    assert [(each["device"], each["action"], each["args"]) for each in house.commands] == [
        ("gateway", "drill", {"hazard": "fire"}),
        ("gateway", "reset", {"alarm": name}),
    ]


def test_what_is_out_of_service_is_not_forgotten(house: House, page: Page) -> None:
    page.until(lambda: page.has("html.script"))
    page.click("[data-key=smoke].line summary")
    fill(page, "[data-key=smoke].line [data-key=disable]", why=NASTY)
    page.shows("“一层活动室烟感”已屏蔽", "#toast.done")
    house.out("smoke", Mode.DISABLED, NASTY)
    page.shows("1 台屏蔽", "header")
    page.shows("但有 1 台设备已屏蔽", "#alarms")
    page.shows("屏蔽", "[data-key=smoke].line .mode")
    page.click("header .pill a")
    page.shows(f"原因：{NASTY} 王芳 至", "#out")
    page.click("#out .act")
    page.shows("“一层活动室烟感”已恢复使用", "#toast.done")
    house.rows("safety", smoke__smoke=None)
    page.shows("均在工作", "#out")
    assert [(each["action"], each["args"]) for each in house.commands] == [
        ("disable", {"seconds": 3600, "why": NASTY}),
        ("enable", {}),
    ]


def test_a_walk_test_ticks_off_each_detector_as_it_is_pressed(house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/walk-test")
    assert page.text("[data-key='smoke/smoke']").startswith("未测试 一层活动室烟感 烟雾 从未测试")
    page.click(".tools [type=submit]")
    page.shows("“全部探测器”开始测试", "#toast.done")
    assert {(each["device"], each["action"]) for each in house.commands} == {
        ("smoke", "test"),
        ("gas", "test"),
    }
    house.trial("smoke", "smoke", ticked=False)
    house.trial("gas", "lel", ticked=False)
    page.shows("0/2", "#walk h2")
    page.shows("等待按下", "[data-key='smoke/smoke']")
    house.trial("smoke", "smoke", ticked=True)
    page.shows("已响应", "[data-key='smoke/smoke']")
    page.shows("1/2", "#walk h2")
    house.alarm(State.ACTIVE, "gas", 14.5)
    page.shows("燃气泄漏", "#alarms")


def test_what_is_switched_and_what_does_not_obey_is_told(house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/safety")
    page.shows("尚无反馈", "#outputs")
    house.alarm(State.ACTIVE)
    house.says("outputs", **{"siren": True, "siren.failed": False})
    page.shows("起因：火警 一层活动室烟感 已启动", "#outputs")
    row = Alarm(
        id="outputs/siren.failed/1",
        device="outputs",
        point="siren.failed",
        hazard=Hazard.FAULT,
        state=State.ACTIVE,
        raised=house.now(),
        value=True,
    )
    house.rows("safety", **{"outputs__siren.failed": row})
    page.shows("动作未确认", "#outputs")
    page.shows("设备故障 厨房燃气", "#alarms")


def test_patrols_and_hazards_are_reported_and_closed(house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/safety")
    fill(page, "[data-key=kitchen] form", note="灶台未关")
    page.shows("已签到", "#toast.done")
    house.rows(
        "patrols",
        fire=PatrolRound(round="1", since=house.now(), visits={"kitchen": CheckIn("王", house.now())}),
    )
    page.shows("防火巡查 本轮 1/2", "#patrols")
    assert not page.has("[data-key=kitchen] form")
    page.click("[data-key=report] summary")
    fill(page, "[data-key=report] form", where="楼梯", what=NASTY)
    page.shows("已上报隐患：楼梯", "#toast.done")
    found = Finding(
        where=NASTY, what=NASTY, severity="major", by="王", at=house.now(7201), hours=2, overdue=True
    )
    house.rows("hazards", hazard__1=found)
    page.shows("已超期", "#hazards")
    assert NASTY in page.text("#hazards")
    page.click("#hazards .row summary")
    fill(page, "#hazards .row form", what="清走了")
    page.shows("隐患已整改", "#toast.done")
    assert [(each["action"], each["args"]) for each in house.commands] == [
        ("check-in", {"patrol": "fire", "checkpoint": "kitchen", "note": "灶台未关"}),
        ("hazard-found", {"where": "楼梯", "what": NASTY, "severity": "general"}),
        ("hazard-closed", {"id": "hazard/1", "what": "清走了"}),
    ]


def test_the_bus_doctor_speaks_beside_the_device_and_on_its_page(house: House, served: Served) -> None:
    figures = dict.fromkeys(("share", "polls", "silent", "damaged", "refused", "p50"), 1)
    device = {"device": "nasty", "offline": True, "p99": None, **figures}
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
        _, _, text = again.ask("GET", "/", cookie=cookie)
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
    house.alarm(State.ACTIVE)
    page.until(lambda: page.driver.title.startswith("🔔"))
    page.driver.get(f"{page.url}/?kiosk")
    page.until(lambda: page.driver.title.startswith("🔔"))


def test_a_kiosk_shows_alarms_and_no_buttons(house: House, page: Page) -> None:
    name = house.alarm(State.ACTIVE)
    house.case(name)
    page.driver.get(f"{page.url}/?kiosk&key={KEY}")
    page.shows("火警 一层活动室烟感", "#alarms")
    page.shows("到场查看", "#alarms")
    assert page.driver.current_url == f"{page.url}/?kiosk"
    buttons = page.driver.find_elements(By.CSS_SELECTOR, "main button")
    assert buttons
    assert not any(button.is_displayed() for button in buttons)


@pytest.mark.parametrize("path", ["safety", "walk-test", "lines", "?kiosk"])
def test_each_page_fits_reads_without_a_script_and_says_what_it_is_not(
    page: Page, house: House, path: str
) -> None:
    house.case(house.alarm(State.ACTIVE))
    house.out("gas", Mode.DISABLED, NASTY * 3)
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
