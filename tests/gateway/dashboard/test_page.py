"""The page in a real browser, as the people of the centre use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from gateway.services.commands import Status
from gateway.services.safety import State

from .conftest import KEY, House, Served

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=zh-CN",
    "--accept-lang=zh-CN",
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    driver.set_window_size(1440, 900)
    yield driver
    driver.quit()


class Page:
    """What a person sees and does."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def text(self, selector: str = "main") -> str:
        return " ".join(self.driver.find_element(By.CSS_SELECTOR, selector).text.split())

    def shows(self, text: str, selector: str = "body") -> None:
        self.until(lambda: text in self.text(selector), f"{text!r} in {selector}")

    def until(self, true: Callable[[], object], what: str = "") -> None:
        WebDriverWait(self.driver, 8, 0.1).until(lambda _: true(), what)

    def click(self, selector: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, selector).click()

    def has(self, selector: str) -> bool:
        return bool(self.driver.find_elements(By.CSS_SELECTOR, selector))


@pytest.fixture
def page(chromium: webdriver.Chrome, served: Served) -> Iterator[Page]:
    """The page, entered with the key in the address; nothing may be wrong in its console after."""
    chromium.get(f"{served.url}/static/icon.svg")
    chromium.delete_all_cookies()
    chromium.get_log("browser")
    chromium.get(f"{served.url}/?key={KEY}&name=Wang")
    yield Page(chromium, served.url)
    told = chromium.get_log("browser")
    assert not [entry for entry in told if "Content Security Policy" in entry["message"]], told
    assert not [entry for entry in told if entry["source"] == "javascript"], told


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
    page.click("#alarms button")
    page.shows("已确认：火警，一层活动室烟感", "#toast")
    (command,) = house.commands
    assert command["device"] == "smoke"
    assert command["action"] == "acknowledge"
    assert command["args"] == {"alarm": name}
    assert command["by"] == "Wang"
    house.alarm(State.ACKNOWLEDGED)
    page.shows("已确认，尚未恢复", "#alarms")
    assert not page.has("#alarms button")
    assert page.text(".tile.alarms .number") == "1"
    house.alarm(None)
    page.shows("没有报警", "#alarms")


def test_a_compartment_opens_after_a_second_thought_only(house: House, page: Page) -> None:
    button = "[data-key='2'] button"
    page.until(lambda: page.has("html.script"))
    page.click(button)
    page.shows("确定打开「东侧快递柜」2 号格？", "dialog")
    assert page.driver.switch_to.active_element.text == "取消"
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.until(lambda: not page.has("dialog[open]"))
    assert house.commands == []
    page.click(button)
    page.click("dialog .danger")
    page.shows("「东侧快递柜」2 号格已打开", "#toast.done")
    assert [(each["action"], each["args"]) for each in house.commands] == [("open", {"lock": 2})]
    house.compartment(2, occupied=True, door_open=True)
    page.shows("门开着", "[data-key='2']")
    assert not page.has(button)


def test_a_device_does_what_it_offers_after_a_second_thought(house: House, page: Page) -> None:
    button = "[data-key=gas] button"
    page.until(lambda: page.has("html.script"))
    names = [each.text for each in page.driver.find_elements(By.CSS_SELECTOR, button)]
    assert names == ["关阀", "whistle"]
    page.click(button)
    page.shows("「厨房燃气」：确定关阀？", "dialog")
    assert page.text("#confirm-yes") == "关阀"
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.until(lambda: not page.has("dialog[open]"))
    assert house.commands == []
    house.answer = lambda _: {"status": "accepted", "detail": ""}
    page.click(button)
    page.click("dialog .danger")
    page.shows("已下发", "#toast.accepted")
    assert [(each["device"], each["action"]) for each in house.commands] == [("gas", "close-valve")]
    house.ordered("gas", "close-valve", Status.ACCEPTED)
    page.shows("关阀：执行中", "[data-key=gas]")
    house.ordered("gas", "close-valve", Status.FAILED, "unconfirmed")
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
    page.shows("Inside now", "#tiles")
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
