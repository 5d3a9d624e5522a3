"""The kiosk for residents in a real browser: one question a screen, and nothing stays of what was typed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from gateway.capabilities.needs.notices import PublicNotice
from gateway.capabilities.safety.services.alarms import AlarmState
from tests.gateway.browser import Page
from tests.gateway.capabilities.needs.pages.house import NeedsHouse
from tests.gateway.dashboard_fixtures import NASTY

CLOCK = """
{
const timers = new Map();
let now = 0, next = 1;
window.setTimeout = (act, ms = 0) => { timers.set(next, [now + ms, act]); return next++; };
window.clearTimeout = (id) => timers.delete(id);
window.passTime = (ms) => {
  now += ms;
  for (const [id, [at, act]] of [...timers].sort((a, b) => a[1][0] - b[1][0]))
    if (at <= now && timers.delete(id)) act();
};
}
"""
"""Time passes when the test says so."""
VOICES = """
const said = [];
window.said = said;
Object.defineProperty(window, "speechSynthesis", { value: {
  getVoices: () => VOICES, cancel() {}, addEventListener() {},
  speak(utterance) { said.push(utterance.text); },
} });
window.SpeechSynthesisUtterance = class { constructor(text) { this.text = text; } };
"""
SECRET = "13800138000"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[NeedsHouse]:
    house = NeedsHouse(tmp_path)
    house.configure(
        "needs",
        notices={
            "nasty": PublicNotice({"zh": NASTY, "en": NASTY}),
            "water": PublicNotice({"zh": "停水", "en": "No water"}),
        },
    )
    house.start()
    yield house
    house.close()


@pytest.fixture
def script(page: Page) -> Iterator[list[str]]:
    """Scripts that run before those of each page; they are removed afterwards."""
    scripts: list[str] = []
    yield scripts
    for each in scripts:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": each})


def before_pages(page: Page, scripts: list[str], source: str) -> None:
    answer = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    scripts.append(answer["identifier"])


def become_kiosk(page: Page) -> None:
    page.driver.get(f"{page.url}/needs")
    page.click("form[action='/needs/kiosk'] button")
    page.until(lambda: page.has("html.script #screen-start:not([hidden])"))


def typed(page: Page, digits: str) -> None:
    for digit in digits:
        page.click(f"#screen-contact [data-type='{digit}']")


def value(page: Page, name: str) -> str:
    return str(page.driver.find_element(By.ID, name).get_property("value"))


def screen(page: Page) -> str:
    return str(page.driver.execute_script("return document.querySelector('.screen:not([hidden])')?.id"))


def fill_in(page: Page) -> None:
    """Up to the telephone number."""
    page.click("[data-go=category]")
    page.click("label:has([value=repair])")
    page.click("[data-phrase]:nth-child(2)")
    page.driver.find_element(By.ID, "phone").send_keys(SECRET)


def pass_time(page: Page, seconds: float) -> None:
    page.driver.execute_script("passTime(arguments[0])", seconds * 1000)


def test_a_need_is_registered_by_touch_alone_and_asked_for(house: NeedsHouse, page: Page) -> None:
    become_kiosk(page)
    length = page.driver.execute_script("return history.length")
    page.click("[data-go=category]")
    page.click("label:has([value=repair])")
    page.click("[data-phrase]:nth-child(2)")
    typed(page, SECRET)
    assert value(page, "phone") == SECRET
    page.click("#screen-contact .primary")
    page.click("#screen-consent [type=submit]")
    page.shows("同意", "#screen-consent .problem")
    page.click(".consent input")
    page.click("#screen-consent [type=submit]")
    page.until(lambda: page.has("#receipt"))
    receipt = page.text("#receipt").replace(" ", "")
    need = house.needs()[receipt]
    assert (need.channel, need.category) == ("kiosk", "repair")
    page.click("footer a[hreflang=en]")
    page.shows("Your request is registered", "h1")
    assert page.text("#receipt").replace(" ", "") == receipt, "it is registered once"
    assert len(house.needs()) == 1
    page.click("a.primary")
    page.until(lambda: page.has("#screen-start:not([hidden])"))
    assert SECRET not in page.driver.page_source
    page.click("[data-go=ask]")
    for digit in receipt:
        page.click(f"#screen-ask [data-type='{digit}']")
    page.click("#screen-ask [type=submit]")
    page.shows("Registered", "#state")
    assert page.driver.execute_script("return history.length") == length, "nothing to go back to"
    page.driver.back()
    page.until(lambda: receipt not in page.driver.page_source)
    assert SECRET not in page.driver.page_source


def test_after_three_minutes_it_forgets(page: Page, script: list[str]) -> None:
    before_pages(page, script, CLOCK)
    become_kiosk(page)
    fill_in(page)
    pass_time(page, 159)
    assert not page.has("#still[open]")
    pass_time(page, 1)
    page.shows("您还在吗", "#still")
    page.click("[data-still]")
    pass_time(page, 159)
    assert value(page, "phone") == SECRET, "a touch starts the time again"
    page.driver.execute_script("window.before = true")
    pass_time(page, 21)
    page.until(lambda: not page.driver.execute_script("return window.before"))
    page.until(lambda: screen(page) == "screen-start")
    assert [value(page, name) for name in ("text", "name", "phone")] == ["", "", ""]
    assert not page.has(":checked")
    assert SECRET not in page.driver.page_source


def test_it_forgets_although_the_gateway_is_away(page: Page, script: list[str]) -> None:
    before_pages(page, script, CLOCK)
    become_kiosk(page)
    fill_in(page)
    page.click("#screen-contact .primary")
    page.click(".consent input")
    network = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    page.driver.execute_cdp_cmd("Network.enable", {})
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", network)
    try:
        page.click("#screen-consent [type=submit]")
        page.shows("尚未登记", "#away")
        assert value(page, "phone") == SECRET, "what was typed is kept"
        pass_time(page, 180)
        page.until(lambda: screen(page) == "screen-start")
        assert value(page, "phone") == ""
    finally:
        online = {**network, "offline": False, "downloadThroughput": -1, "uploadThroughput": -1}
        page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", online)
        page.driver.get_log("browser")  # type: ignore[no-untyped-call]


def test_each_question_can_be_asked_in_the_other_language(page: Page) -> None:
    become_kiosk(page)
    fill_in(page)
    page.click("footer [lang=en]")
    page.shows("How can we reach you?", "#screen-contact h1")
    assert (screen(page), value(page, "phone")) == ("screen-contact", SECRET)
    assert page.has("[value=repair]:checked")
    assert page.driver.execute_script("return document.documentElement.lang") == "en"
    page.click("footer [lang=zh]")
    page.shows("怎么联系您", "#screen-contact h1")


def test_the_elder_mode_is_larger_and_offers_less(page: Page) -> None:
    become_kiosk(page)

    def size() -> float:
        return float(
            page.driver.execute_script(
                "return parseFloat(getComputedStyle(document.documentElement).fontSize)"
            )
        )

    usual, categories = size(), len(page.driver.find_elements(By.CSS_SELECTOR, "[name=category]"))
    page.click("footer [name=show]:not([lang])")
    page.until(lambda: page.has("body.elder"))
    assert size() > usual
    assert len(page.driver.find_elements(By.CSS_SELECTOR, "[name=category]")) == min(6, categories)
    fill_in(page)
    assert not page.has("label[for=name]")
    page.click("#screen-contact .primary")
    page.click(".consent input")
    page.click("#screen-consent [type=submit]")
    page.until(lambda: page.has("#receipt"))


def test_notices_are_text_and_on_the_first_screen(page: Page) -> None:
    become_kiosk(page)
    page.shows(NASTY, "#screen-start .notices")
    page.shows("停水", "#screen-start .notices")
    assert page.driver.title != "owned"


@pytest.mark.parametrize(
    ("voices", "offered"),
    [
        ("[]", False),
        ("[{ localService: false, lang: 'zh-CN' }]", False),
        ("[{ localService: true, lang: 'en-US' }]", False),
        ("[{ localService: true, lang: 'zh-CN' }]", True),
    ],
)
def test_a_voice_of_the_machine_itself_reads_aloud(
    page: Page, script: list[str], voices: str, offered: bool
) -> None:
    before_pages(page, script, VOICES.replace("() => VOICES", f"() => {voices}"))
    become_kiosk(page)
    button = page.driver.find_element(By.CSS_SELECTOR, "[data-speak]")
    assert button.is_displayed() == offered
    if offered:
        fill_in(page)
        page.click("[data-speak]")
        (said,) = page.driver.execute_script("return said")
        assert "怎么联系您" in said
        assert SECRET not in said, "who stands behind does not hear it"


def test_a_danger_takes_the_place_of_notices_on_the_wall(house: NeedsHouse, page: Page) -> None:
    page.driver.get(f"{page.url}/?kiosk")
    page.shows("停水", ".tile.notices")
    page.shows(NASTY, ".tile.notices")
    house.case(house.alarm(AlarmState.ACTIVE))
    page.until(lambda: not page.driver.find_element(By.CSS_SELECTOR, ".tile.notices").is_displayed())


def test_nothing_else_is_open_to_the_kiosk(page: Page) -> None:
    become_kiosk(page)
    for path in ("/", "/needs", "/safety", "/bookings", "/settings", "/?kiosk", "/history"):
        page.driver.get(f"{page.url}{path}")
        assert page.has("#key"), path


def test_the_browser_is_to_remember_nothing(page: Page) -> None:
    become_kiosk(page)
    fields = page.driver.find_elements(
        By.CSS_SELECTOR, "input:not([type=radio], [type=checkbox], [type=hidden]), textarea"
    )
    assert {field.get_attribute("autocomplete") for field in fields} == {"off"}
    fill_in(page)
    stored = page.driver.execute_script(
        "return JSON.stringify([localStorage, sessionStorage, document.cookie])"
    )
    assert SECRET not in stored
