"""A person turns on that their phone rings, in a real browser; and what its service worker then shows.

The browser itself knows no push service here: its subscription leads to one on loopback.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

import pytest
from selenium.webdriver import Chrome
from websocket import create_connection

from gateway.capabilities.safety.channels import AlarmMessage
from gateway.capabilities.safety.channels.push import notification
from gateway.capabilities.safety.pages.settings import RingingPhones
from gateway.capabilities.safety.phones import Phones
from gateway.capabilities.safety.services.alarms import AlarmState
from gateway.model import Role
from gateway.web.passwords import hash_password
from gateway.web.people import Person, people_file, write_people
from tests.gateway.browser import Page, fill
from tests.gateway.dashboard_fixtures import House, Served

WINDOW = (390, 844)
PASSWORD = "quiet river 42"
SERVICE = "https://push.lan:8443"
ENDPOINT = f"{SERVICE}/phone/1"
P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
KEYS = {"p256dh": P256DH, "auth": AUTH}
SUBSCRIBED = (
    f"const keys = {json.dumps(KEYS)}, endpoint = {json.dumps(ENDPOINT)};"
    + """
const own = {
  endpoint,
  toJSON: () => ({ endpoint, keys }),
  unsubscribe: async () => { localStorage.removeItem("pushes"); return true; },
};
PushManager.prototype.getSubscription = async () => (localStorage.getItem("pushes") ? own : null);
PushManager.prototype.subscribe = async (options) => {
  localStorage.setItem("pushes", JSON.stringify(options));
  return own;
};
"""
)


@pytest.fixture
def served(house: House) -> Iterator[Served]:
    """With a person, and a channel that tells her by phone."""
    house.furnish()
    house.configure("safety", ringing=RingingPhones(SERVICE, frozenset({"王芳"})))
    people = {
        "王芳": Person(Role.DUTY, hash_password(PASSWORD)),
        "李强": Person(Role.DISPLAY, hash_password(PASSWORD)),
        "赵敏": Person(Role.MANAGER, hash_password(PASSWORD)),
    }
    write_people(people_file(house.settings.access), people)
    served = Served(house.settings)
    yield served
    served.end()


def log_in(page: Page, name: str) -> None:
    page.driver.delete_all_cookies()
    page.driver.get(f"{page.url}/phones")
    fill(page, "form", name=name, key=PASSWORD)
    page.until(lambda: page.has("#phones-title"))


@pytest.fixture
def fang(chromium: Chrome, page: Page) -> Iterator[Page]:
    """Wang Fang's phone, on her page."""
    script = chromium.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": SUBSCRIBED})
    chromium.execute_cdp_cmd(
        "Browser.grantPermissions", {"origin": page.url, "permissions": ["notifications"]}
    )
    log_in(page, "王芳")
    yield page
    chromium.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_it_is_turned_on_tried_and_removed(house: House, fang: Page) -> None:
    phones = Phones(house.settings.access)
    fang.shows("本机还不会响铃")
    fang.shows("警笛等就地动作、本看板、短信和其他通知不依赖推送")
    fang.click("#ring")
    fang.shows("已打开")
    fang.shows("本机会响铃")
    fang.until(lambda: fang.text(".session .this") == "本机")
    [phone] = phones.of("王芳")
    assert (phone.endpoint, phone.lang) == (ENDPOINT, "zh")
    options = json.loads(fang.driver.execute_script("return localStorage.getItem('pushes')"))
    assert options == {"userVisibleOnly": True, "applicationServerKey": phone.server_key}
    fang.click("[name=test]")
    fang.shows("推送服务已收下试验消息")
    [asked] = house.phone_tests
    assert (asked["person"], asked["phone"]) == ("王芳", phone.id)
    fang.click("[name=remove]")
    fang.shows("已移除")
    assert phones.of("王芳") == []
    fang.shows("本机还不会响铃")
    fang.until(
        lambda: {each["event"] for each in house.security_events} >= {"phone-added", "phone-removed"}
    )
    assert {each["by"] for each in house.security_events if "phone" in each["event"]} == {"王芳"}


def test_nobody_sees_or_removes_the_phone_of_another(house: House, served: Served, fang: Page) -> None:
    fang.click("#ring")
    fang.shows("本机会响铃")
    [phone] = Phones(house.settings.access).of("王芳")
    log_in(fang, "李强")
    fang.shows("站点文件还没有安排用手机通知“李强”")
    assert not fang.has(".session")
    cookie = "; ".join(f"{each['name']}={each['value']}" for each in fang.driver.get_cookies())
    for act in ("remove", "test"):
        assert served.ask("POST", "/phones", f"{act}={phone.id}", cookie)[0] == 400
    assert Phones(house.settings.access).of("王芳") == [phone]
    assert house.phone_tests == []


def test_a_manager_removes_the_phone_of_another(house: House, served: Served, fang: Page) -> None:
    fang.click("#ring")
    fang.shows("本机会响铃")
    [phone] = Phones(house.settings.access).of("王芳")
    cookie = "; ".join(f"{each['name']}={each['value']}" for each in fang.driver.get_cookies())
    assert served.ask("POST", "/phones/others", f"remove={phone.id}", cookie)[0] == 403
    assert Phones(house.settings.access).of("王芳") == [phone]
    log_in(fang, "赵敏")
    fang.shows("王芳", "[data-key] h3")
    assert not fang.has("[name=test]")
    fang.click("[name=remove]")
    fang.shows("已移除")
    assert Phones(house.settings.access).all() == []
    fang.until(
        lambda: (
            [(each["by"], each["device"]) for each in house.security_events if "others" in each["event"]]
            == [("赵敏", "王芳")]
        )
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"endpoint": "https://127.0.0.1:8080/command"},
        {"endpoint": "https://push.lan:8444/x"},
        {"endpoint": "http://push.example.com/x"},
        {"p256dh": P256DH[:-2]},
        {"p256dh": "B" * 87},
        {"auth": "x"},
        {"auth": ""},
    ],
)
def test_a_subscription_that_cannot_be_right_is_refused(
    house: House, served: Served, fang: Page, changed: dict[str, str]
) -> None:
    cookie = "; ".join(f"{each['name']}={each['value']}" for each in fang.driver.get_cookies())
    fields = {"endpoint": ENDPOINT, "p256dh": P256DH, "auth": AUTH, **changed}
    body = "&".join(f"{name}={value}" for name, value in fields.items())
    status, _, text = served.ask("POST", "/phones", body, cookie, accept="application/json")
    assert (status, json.loads(text)["status"]) == (400, "failed")
    assert Phones(house.settings.access).of("王芳") == []


def test_the_key_and_a_screen_are_no_person(served: Served, page: Page) -> None:
    page.driver.get(f"{page.url}/phones")
    page.shows("请用自己的账户登录后再打开")
    assert not page.has("#ring")
    cookie = served.cookie()
    body = f"endpoint={ENDPOINT}&p256dh={P256DH}&auth={AUTH}"
    assert served.ask("POST", "/phones", body, cookie)[0] == 400


def test_without_a_channel_the_page_says_what_to_write(house: House) -> None:
    house.furnish()
    served = Served(house.settings)
    try:
        for lang, said in {
            "zh": "本站还没有设置手机推送",
            "en": "This site has no push to phones yet",
        }.items():
            status, _, text = served.ask("GET", f"/phones?lang={lang}", cookie=served.cookie())
            assert status == 200
            assert said in text
            assert "type = &#34;push&#34;" in text or 'type = "push"' in text
    finally:
        served.end()


# The service worker

SHOWN = """
return navigator.serviceWorker.ready.then((each) => each.getNotifications()).then((all) => all.map(
  ({ title, body, tag, silent, requireInteraction, renotify, vibrate, data }) =>
    ({ title, body, tag, silent, requireInteraction, renotify, vibrate: [...(vibrate ?? [])], data })));
"""


class Worker:
    """The service worker of the page, as a debugger sees it."""

    def __init__(self, page: Page) -> None:
        self._page = page
        ready = "return navigator.serviceWorker.ready.then((each) => each.active.state)"
        page.until(lambda: page.driver.execute_script(ready) == "activated")

    @contextmanager
    def _debugging(self, kind: str) -> Iterator[Callable[..., dict[str, Any]]]:
        """A wire of our own to the page or the worker, as chromedriver passes no events on; a call returns
        the event of the name that it is given, or else the answer."""
        debugger = self._page.driver.capabilities["goog:chromeOptions"]["debuggerAddress"]
        with urlopen(f"http://{debugger}/json", timeout=10) as answer:
            targets = json.load(answer)
        url = next(
            each["webSocketDebuggerUrl"]
            for each in targets
            if each["type"] == kind and each["url"].startswith(self._page.url)
        )
        wire = create_connection(url, timeout=10, suppress_origin=True)

        def call(method: str, event: str = "", **parameters: Any) -> dict[str, Any]:
            wire.send(json.dumps({"id": 1, "method": method, "params": parameters}))
            while True:
                said: dict[str, Any] = json.loads(wire.recv())
                if event and said.get("method") == event and said["params"].get("registrations") != []:
                    return dict(said["params"])
                if not event and said.get("id") == 1:
                    return dict(said["result"])

        try:
            yield call
        finally:
            wire.close()

    def push(self, **content: Any) -> None:
        """A message arrives, decrypted by the browser."""
        with self._debugging("page") as call:
            known = call("ServiceWorker.enable", "ServiceWorker.workerRegistrationUpdated")
            [number] = {
                each["registrationId"]
                for each in known["registrations"]
                if each["scopeURL"].startswith(self._page.url)
            }
            call(
                "ServiceWorker.deliverPushMessage",
                origin=self._page.url,
                registrationId=number,
                data=json.dumps(content, ensure_ascii=False),
            )

    def shown(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._page.driver.execute_script(SHOWN)
        return found

    def run(self, script: str) -> Any:
        """Run it in the worker; returns the value."""
        with self._debugging("service_worker") as call:
            done = call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
            return done["result"].get("value")


def news(change: str, headline: str, text: str) -> dict[str, Any]:
    alarms = ({"notice": "n", "alarm": "smoke/smoke/1", "news": change},)
    message = AlarmMessage(headline=headline, paragraphs=(text,), omitted_sentence="", alarms=alarms)
    return notification(message, "zh")


def test_one_alarm_is_one_notification_that_rings_until_somebody_has_it(fang: Page) -> None:
    worker = Worker(fang)
    worker.push(**news("raised", "【火警】一层活动室烟感", "报警，尚无人确认。"))
    fang.until(worker.shown)
    [shown] = worker.shown()
    assert shown == {
        "title": "【火警】一层活动室烟感", "body": "报警，尚无人确认。", "tag": "smoke/smoke/1",
        "silent": False, "requireInteraction": True, "renotify": True,
        "vibrate": [800, 300, 800, 300, 800, 300, 800], "data": {"url": "/#alarms"},
    }  # fmt: skip
    worker.push(**news("acknowledged", "【火警】一层活动室烟感", "李强 已确认。"))
    fang.until(lambda: worker.shown()[0]["body"] == "李强 已确认。")
    [shown] = worker.shown()
    assert (shown["silent"], shown["requireInteraction"], shown["renotify"]) == (True, False, False)


def test_a_touch_on_it_opens_the_alarm(house: House, fang: Page) -> None:
    worker = Worker(fang)
    house.alarm(AlarmState.ACTIVE)
    fang.driver.get(f"{fang.url}/visits")
    worker.push(**news("raised", "【火警】一层活动室烟感", "报警，尚无人确认。"))
    fang.until(worker.shown)
    # Only a finger's touch may bring a window to the front: what it would call is called, and refused that.
    worker.run("openPage('/#alarms').catch(({ name }) => name)")
    fang.until(lambda: fang.driver.current_url == f"{fang.url}/#alarms")
    fang.shows("一层活动室烟感", "#alarms")
