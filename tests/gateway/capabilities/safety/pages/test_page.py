"""Alarms, drills, tests and patrols in a real browser, as the people of the centre use them."""

from __future__ import annotations

import json
import re

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from gateway.capabilities.safety.services.alarms import Alarm, AlarmMode, AlarmState
from gateway.capabilities.safety.services.emergency_plans import LoggedAction, MusterCount
from gateway.capabilities.safety.services.findings import Finding
from gateway.capabilities.safety.services.patrols import CheckpointVisit, PatrolRound
from gateway.model import Hazard
from tests.gateway.browser import Page, fill
from tests.gateway.dashboard_fixtures import NASTY, House


def test_an_alarm_appears_and_a_click_acknowledges_exactly_it(house: House, page: Page) -> None:
    assert "没有报警" in page.text("#alarms")
    name = house.alarm(AlarmState.ACTIVE)
    page.shows("火警 一层活动室烟感", "#alarms")
    assert page.text("#alarms .count") == "1"
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
    house.alarm(AlarmState.ACKNOWLEDGED)
    page.shows("已确认，尚未恢复", "#alarms")
    assert not page.has("#alarms .panel li > .act")
    assert page.text("#alarms .count") == "1"
    house.alarm(None)
    page.shows("没有报警", "#alarms")
    page.shows("刚刚结束的报警", "#alarms")
    assert "一层活动室烟感" in page.text("#alarms .ended")


def test_an_alarm_is_shelved_for_a_reason_and_the_form_outlives_the_news(house: House, page: Page) -> None:
    name = house.alarm(AlarmState.ACKNOWLEDGED)
    page.until(lambda: page.has("#alarms .aside summary"))
    page.click("#alarms .aside summary")
    form = "#alarms .aside form"
    fill(page, form)
    assert house.commands == []  # the reason is missing
    page.driver.find_element(By.CSS_SELECTOR, f"{form} [name=why]").send_keys("扬尘")
    house.alarm(AlarmState.ACTIVE, "gas", 14.5)
    page.shows("燃气泄漏", "#alarms")
    assert page.driver.switch_to.active_element.get_attribute("value") == "扬尘"
    page.click(f"{form} [type=submit]")
    page.shows("已搁置：火警，一层活动室烟感", "#toast.done")
    (command,) = house.commands
    assert (command["device"], command["action"]) == ("smoke", "shelve")
    assert command["args"] == {"alarm": name, "seconds": 3600, "why": "扬尘"}


def test_a_double_click_acts_once(house: House, page: Page) -> None:
    house.alarm(AlarmState.ACTIVE)
    button = "#alarms .panel li .act"
    page.until(lambda: page.has(button))
    ActionChains(page.driver).double_click(page.driver.find_element(By.CSS_SELECTOR, button)).perform()
    page.shows("已确认", "#toast.done")
    assert len(house.commands) == 1


def test_what_sounds_is_muted_by_somebody(house: House, page: Page) -> None:
    name = house.alarm(AlarmState.ACTIVE)
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
        state=AlarmState.ACTIVE,
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
        state=AlarmState.ACTIVE,
        raised=house.now(),
        value=39.5,
        title={"zh": "厨房升温过快"},
    )
    house.rows("safety", **{"gas__kitchen-heats": row})
    page.shows("火警 厨房升温过快 报警中，待确认 厨房燃气 39.5", "#alarms")


def test_a_plan_is_ticked_off_and_people_are_counted(house: House, page: Page) -> None:
    name = house.alarm(AlarmState.ACTIVE)
    house.case(name)
    page.shows("火灾应急预案 0/2", "#alarms")
    page.shows("须找到 31 人", "#alarms")
    assert page.has("a[href='tel:119']")
    page.click("[data-key=look] .tick")
    page.shows("这一步完成", "#toast.done")
    house.case(
        name, done={"look": LoggedAction("Wang", house.now())}, muster=MusterCount("Wang", house.now(), 28)
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
    page.driver.get(f"{page.url}/devices")
    page.click("[data-key=smoke].line summary")
    fill(page, "[data-key=smoke].line [data-key=disable]", why=NASTY)
    page.shows("“一层活动室烟感”已屏蔽", "#toast.done")
    house.out("smoke", AlarmMode.DISABLED, NASTY)
    page.shows("1 台屏蔽", "header")
    page.shows("屏蔽 一层活动室烟感 至", "#alarms .reduced .acts")
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


@pytest.mark.parametrize("mode", [AlarmMode.SHELVED, AlarmMode.DISABLED, AlarmMode.TEST])
def test_reduced_protection_is_told_on_every_page_and_never_green(
    house: House, page: Page, mode: AlarmMode
) -> None:
    word = {"shelved": "搁置", "disabled": "屏蔽", "test": "测试"}[mode]
    house.out("smoke", mode, "施工扬尘")
    for path in ("/", "/?kiosk", "/visits", "/visitors", "/needs", "/safety", "/walk-test", "/lines"):
        page.driver.get(f"{page.url}{path}")
        page.shows("防护不完整 以下报警或探测器暂不起作用 没有其他报警", ".reduced")
        said = page.text(".reduced .acts")
        assert said.startswith(word), path
        assert all(part in said for part in ("一层活动室烟感", "至 ", "原因：施工扬尘", "王芳")), path
        assert not page.has(".calm"), path
    page.driver.get(page.url)
    house.rows("safety", smoke__smoke=None)
    page.until(lambda: page.has("#alarms .calm") and not page.has("#alarms .reduced"))


@pytest.mark.parametrize("device", ["smoke", "gas"])
def test_a_danger_is_acknowledged_before_it_can_be_shelved(house: House, page: Page, device: str) -> None:
    name = house.alarm(AlarmState.ACTIVE, device)
    page.until(lambda: page.has("#alarms li.danger"))
    assert not page.has("#alarms .aside")
    script = """
        const [body, done] = arguments;
        fetch("/command", {method: "POST", headers: {"content-type": "application/json"}, body})
          .then(async (answer) => done([answer.status, (await answer.json()).message]));"""
    body = json.dumps({"action": "shelve", "alarm": name, "seconds": 3600, "why": "dust"})
    assert page.driver.execute_async_script(script, body) == [404, "请先到场核实并确认，再搁置。"]
    assert house.commands == []


def test_a_test_that_ends_while_a_detector_trips_asks_first(house: House, page: Page) -> None:
    house.trial("smoke", "smoke", ticked=True)
    house.trial("gas", "lel", ticked=False)
    house.out("smoke", AlarmMode.TEST, tripping=True)
    house.out("gas", AlarmMode.TEST)
    asked = "“一层活动室烟感 烟雾”此刻仍在触发，结束测试会立即报警。"
    page.driver.get(f"{page.url}/walk-test")
    page.until(lambda: page.has(".tools > .act[data-confirm]"))
    for button in (".tools > .act", "[data-key='smoke/smoke'] .act"):
        page.click(button)
        page.shows(asked, "dialog")
        page.click("dialog button:not(.danger)")
        page.until(lambda: not page.has("dialog[open]"))
    assert house.commands == []
    page.click("[data-key='gas/lel'] .act")
    page.shows("“厨房燃气”测试结束", "#toast.done")
    page.driver.get(f"{page.url}/safety")
    page.click("[data-key^='test/smoke'] .act")
    page.shows("“一层活动室烟感”此刻仍在触发", "dialog")
    page.click("dialog .danger")
    page.shows("“一层活动室烟感”测试结束", "#toast.done")
    assert [(each["device"], each["action"]) for each in house.commands] == [
        ("gas", "end-test"),
        ("smoke", "end-test"),
    ]


def background(page: Page, selector: str) -> tuple[int, ...]:
    """Red, green and blue of what is behind a text."""
    element = page.driver.find_element(By.CSS_SELECTOR, selector)
    return tuple(map(int, re.findall(r"\d+", element.value_of_css_property("background-color"))[:3]))


def test_a_danger_is_red_and_a_fault_is_yellow(house: House, page: Page) -> None:
    fault = Alarm(
        id="fridge/link/1",
        device="fridge",
        point="link",
        hazard=Hazard.FAULT,
        state=AlarmState.ACTIVE,
        raised=house.now(),
        value=True,
    )
    house.rows("safety", fridge__link=fault)
    page.until(lambda: page.has("#alarms .panel.alarm.fault"))
    red, green, blue = background(page, "#alarms .panel.alarm")
    assert min(red, green) > 180 > blue
    house.alarm(AlarmState.ACTIVE)
    page.until(lambda: page.has("#alarms .panel.alarm.danger"))
    for selector, is_yellow in (
        ("#alarms .panel.alarm", False),
        ("#alarms li.danger", False),
        ("#alarms li.fault", True),
    ):
        red, green, _ = background(page, selector)
        assert red > 130
        assert (green > 130) is is_yellow


def test_a_walk_test_ticks_off_each_detector_as_it_is_pressed(house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/walk-test")
    assert page.text("[data-key='smoke/smoke']").startswith("未测试 一层活动室烟感 烟雾 从未测试")
    page.click(".tools [type=submit]")
    page.shows("让 2 台设备全部进入测试？ 测试期间，这些设备触发不会报警", "dialog")
    assert house.commands == []
    page.click("dialog .danger")
    page.shows("“全部探测器”开始测试", "#toast.done")
    assert {(each["device"], each["action"]) for each in house.commands} == {
        ("smoke", "test"),
        ("gas", "test"),
    }
    house.trial("smoke", "smoke", ticked=False)
    house.trial("gas", "lel", ticked=False)
    page.shows("0/2", "#walk h2")
    page.shows("等待触发", "[data-key='smoke/smoke']")
    house.trial("smoke", "smoke", ticked=True)
    page.shows("已响应", "[data-key='smoke/smoke']")
    page.shows("1/2", "#walk h2")
    house.alarm(AlarmState.ACTIVE, "gas", 14.5)
    page.shows("燃气泄漏", "#alarms")


def test_what_is_switched_and_what_does_not_obey_is_told(house: House, page: Page) -> None:
    page.driver.get(f"{page.url}/safety")
    page.shows("尚无反馈", "#outputs")
    house.alarm(AlarmState.ACTIVE)
    house.says("outputs", **{"siren": True, "siren.failed": False})
    page.shows("起因：火警 一层活动室烟感 已启动", "#outputs")
    assert "siren" not in page.text("#outputs").lower()
    row = Alarm(
        id="outputs/siren.failed/1",
        device="outputs",
        point="siren.failed",
        hazard=Hazard.FAULT,
        state=AlarmState.ACTIVE,
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
        fire=PatrolRound(
            round="1", since=house.now(), visits={"kitchen": CheckpointVisit("王", house.now())}
        ),
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
