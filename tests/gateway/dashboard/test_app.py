"""Who gets in, what is refused, and how the process starts and ends. No browser."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from gateway.base.security import SOURCE_LIMIT
from gateway.dashboard import application
from gateway.dashboard.app import Dashboard
from gateway.dashboard.http_protocol import MAX_CONNECTIONS
from gateway.web.access import WRONG_KEY_LIMIT
from tests.gateway.dashboard_fixtures import KEY, House, Served

OPEN = {"/login", "/static", "/favicon.ico"}


def eventually(true: Callable[[], bool], seconds: float = 5.0) -> None:
    """The page follows within a second or so; nothing tells a plain client when."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_nothing_but_the_way_in_is_shown_without_a_session(house: House, served: Served) -> None:
    routes = {route.path: route for route in application(house.settings).routes}
    assert routes.keys() > OPEN
    for path in {*(routes.keys() - OPEN), "/no-such-page"}:
        methods = getattr(routes.get(path), "methods", None) or {"GET"}
        for method in methods:
            status, _, text = served.ask(method, path)
            assert status == 401, (method, path)
            assert "滨江邻里中心" in text or method == "HEAD" or path == "/events"
            assert "车位" not in text
            assert "烟感" not in text
    for path in ("/favicon.ico", "/static/style.css", "/static/app.js"):
        assert served.ask("GET", path)[0] == 200
    assert served.ask("GET", "/static/../app.py")[0] == 404
    assert served.ask("GET", "/", cookie="linli-session=forged")[0] == 401


def test_a_key_becomes_a_session_and_leaves_the_address(served: Served) -> None:
    status, headers, _ = served.ask("GET", f"/?key={KEY}")
    assert (status, headers["location"]) == (303, "/")
    (cookie,) = SimpleCookie(headers["set-cookie"]).values()
    assert cookie["httponly"]
    assert cookie["samesite"] == "strict"
    assert not cookie["secure"]
    assert KEY not in cookie.value
    status, _, text = served.ask("GET", "/", cookie=served.cookie())
    assert status == 200
    assert "一层活动室烟感" in text
    assert KEY not in text


def test_a_session_over_https_stays_on_https(house: House) -> None:
    """A proxy that is named is believed; everybody else may write what he likes into the headers."""
    for proxies, expected in (((), False), (("127.0.0.0/8",), True), (("192.0.2.1",), False)):
        served = Served(msgspec.structs.replace(house.settings, trusted_proxies=proxies))
        try:
            headers = {"x_forwarded_proto": "https", "x_forwarded_for": "192.0.2.77"}
            assert served.ask("GET", "/?key=wrong-key-of-the-house", **headers)[0] == 401
            _, answer, _ = served.ask("GET", f"/?key={KEY}", **headers)
            assert ("secure" in answer["set-cookie"].lower()) == expected
        finally:
            served.end()
        address = "192.0.2.77" if expected else "127.0.0.1"
        assert f"[login-failed address='{address}']" in "".join(served.said)


def test_a_logout_ends_the_session_wherever_its_cookie_is(house: House, served: Served) -> None:
    stolen, other = served.cookie(), served.cookie()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)) as connection:
        connection.request("GET", "/events", headers={"cookie": stolen})
        stream = connection.getresponse()
        assert served.ask("POST", "/logout", cookie=stolen)[0] == 303
        assert served.ask("GET", "/", cookie=stolen)[0] == 401
        assert stream.read().startswith(b"retry: "), "the stream has ended"
    assert served.ask("GET", "/", cookie=other)[0] == 200
    served.end()
    again = Served(house.settings)
    try:
        assert again.ask("GET", "/", cookie=stolen)[0] == 401
        assert again.ask("GET", "/", cookie=other)[0] == 200
    finally:
        again.end()


def test_another_key_ends_all_sessions_at_once(house: House, served: Served) -> None:
    file = house.settings.access
    cookie = served.cookie()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)) as connection:
        connection.request("GET", "/events", headers={"cookie": cookie})
        stream = connection.getresponse()
        file.unlink()
        assert served.ask("GET", "/", cookie=cookie)[0] == 401
        assert stream.read().startswith(b"retry: "), "the stream has ended"
    assert served.ask("GET", f"/?key={KEY}")[0] == 401
    new = file.read_text("utf-8").strip()
    assert served.ask("GET", f"/?key={new}")[0] == 303
    file.write_text("four")
    for key in (new, "four", ""):
        assert served.ask("POST", "/login", f"key={key}")[0] == 401
    file.write_text(KEY)
    assert served.ask("GET", f"/?key={KEY}")[0] == 303


def test_who_came_in_and_who_did_not_is_in_the_log(served: Served) -> None:
    cookie = served.cookie()
    for _ in range(WRONG_KEY_LIMIT.events + 1):
        served.ask("POST", "/login", "key=wrong-secret")
    served.ask("POST", "/logout", cookie=cookie)
    served.end()
    told = [line.rpartition("  [")[2].strip() for line in served.said[1:]]
    failed, blocked = "login-failed address='127.0.0.1']", "login-too-often address='127.0.0.1']"
    assert told == [
        "login by='王芳' address='127.0.0.1']",
        *[failed] * WRONG_KEY_LIMIT.events,
        blocked,
        "logout by='王芳' address='127.0.0.1']",
    ]
    assert not any(secret in "".join(served.said) for secret in (KEY, "wrong-secret"))


@pytest.mark.parametrize("daemon_is_away", [False, True])
def test_who_came_in_and_who_did_not_is_recorded(
    house: House, served: Served, daemon_is_away: bool
) -> None:
    if daemon_is_away:
        house.stop()
    cookie = served.cookie()
    for _ in range(20 * WRONG_KEY_LIMIT.events):
        assert served.ask("POST", "/login", "key=wrong-secret&name=right-secret")[0] in (401, 429)
    served.ask("POST", "/logout", cookie=cookie)
    if daemon_is_away:
        house.start()
        eventually(lambda: "logout" in str(house.security_events))
    served.end()
    counts = Counter[tuple[str, str, str]]()
    for each in house.security_events:
        counts[each["event"], each["address"], each["by"]] += each["count"]
    assert counts == {
        ("login", "127.0.0.1", "王芳"): 1,
        ("login-failed", "127.0.0.1", ""): WRONG_KEY_LIMIT.events,
        ("login-too-often", "127.0.0.1", ""): 19 * WRONG_KEY_LIMIT.events,
        ("logout", "127.0.0.1", "王芳"): 1,
    }
    assert len(house.security_events) <= 4 * (SOURCE_LIMIT.events + 1)
    told = str(house.security_events)
    assert not any(secret in told for secret in (KEY, "wrong-secret", "right-secret", cookie.split("=")[1]))


def test_refused_requests_are_recorded(house: House, served: Served) -> None:
    cookie = served.cookie()
    wish = json.dumps({"action": "open", "device": "locker", "lock": 1})
    served.ask("POST", "/command", wish, cookie, origin="http://evil.example")
    served.ask("GET", "/", cookie="linli-session=made-up")
    served.ask("POST", "/command", wish)
    assert served.ask("GET", "/")[0] == 401, "whoever comes for the first time"
    served.end()
    counts = Counter[str]()
    for each in house.security_events:
        assert each["address"] == "127.0.0.1"
        counts[each["event"]] += each["count"]
    assert counts == {"login": 1, "page-foreign": 1, "session-refused": 2}


GARBAGE = (
    "",
    "http://[::1",
    "[::1",
    "://",
    "a:b:c",
    "\xff",
    "%00",
    "x" * 5000,
    ';=;,"',
    "::1]",
    "-1",
    "9" * 400,
)


@pytest.mark.parametrize(
    "name",
    ["origin", "host", "cookie", "accept_language", "referer", "sec_fetch_site", "x_forwarded_for",
     "x_forwarded_proto", "content_length", "content_type", "if_modified_since", "if_none_match", "range"],
)  # fmt: skip
def test_no_header_is_an_error_of_ours(served: Served, name: str) -> None:
    cookie = served.cookie()
    paths = (
        "/",
        "/?lang=%ff",
        "/lines/",
        "//",
        "/static/app.js",
        "/events",
        "/need",
        "/need/qr.svg",
        "/a%2fb",
    )
    for value in GARBAGE:
        headers = {"cookie": cookie, name: value}
        for method, path in (*(("GET", path) for path in paths), ("POST", "/command"), ("POST", "/need")):
            with contextlib.suppress(http.client.HTTPException, ConnectionError):
                assert served.ask(method, path, **headers)[0] < 500, (method, path, value)
    assert served.ask("GET", "/", cookie=cookie)[0] == 200
    served.end()
    assert not [line for line in served.said if "Traceback" in line or "Exception" in line]


def test_no_body_is_an_error_of_ours(house: House, served: Served) -> None:
    cookie = served.cookie()
    for path, body in (
        ("/command", "[" * 60_000),
        ("/command", '{"action":' * 6000),
        ("/command", '{"action": "' + "x" * 60_000),
        ("/login", "%ff&&==;" * 1000),
        ("/need", "\0" * 100),
    ):
        assert served.ask("POST", path, body, cookie)[0] < 500, (path, body[:20])
    for path in ("/command", "/login", "/need"):
        with socket.create_connection(("127.0.0.1", served.port), timeout=5) as client:
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nOrigin: {served.url}\r\n"
            client.sendall(f"{head}Cookie: {cookie}\r\nContent-Length: 100\r\n\r\nhalf of it".encode())
    assert served.ask("GET", "/", cookie=cookie)[0] == 200
    served.end()
    assert house.commands == []
    assert not [line for line in served.said if "Traceback" in line or "Exception" in line]


def test_half_requests_shut_nobody_out(served: Served) -> None:
    """More than may be open at all, from one address."""
    cookie = served.cookie()
    with contextlib.ExitStack() as stack:
        crowd = [
            stack.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=5))
            for _ in range(MAX_CONNECTIONS + 50)
        ]
        for client in crowd:
            with contextlib.suppress(ConnectionError):
                client.sendall(b"GET / HTTP/1.1\r\n")
        eventually(lambda: served.ask("GET", "/", cookie=cookie)[0] == 200)
        with contextlib.suppress(ConnectionError):
            assert crowd[0].recv(1) == b"", "the oldest was disconnected"
    assert served.ask("GET", "/", cookie=cookie)[0] == 200


def test_wrong_keys_are_refused_and_then_ignored_for_a_while(served: Served) -> None:
    for _ in range(WRONG_KEY_LIMIT.events):
        assert served.ask("GET", "/?key=wrong")[0] == 401
    status, headers, text = served.ask("POST", "/login", f"key={KEY}")
    assert status == 429
    assert 0 < int(headers["retry-after"]) <= 61
    assert headers["retry-after"] in text


def test_a_post_from_another_site_is_refused(house: House, served: Served) -> None:
    cookie = served.cookie()
    wish = json.dumps({"action": "open", "device": "locker", "lock": 1})
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": ""},
    ):
        assert served.ask("POST", "/command", wish, cookie, **headers)[0] == 403, headers
    assert house.commands == []
    assert served.ask("POST", "/command", wish, cookie)[0] == 200
    assert len(house.commands) == 1


def test_every_answer_is_hardened(served: Served) -> None:
    for path, cookie in (("/", ""), ("/", served.cookie()), ("/static/app.js", "")):
        _, headers, _ = served.ask("GET", path, cookie=cookie)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_a_body_has_an_end_and_a_form(served: Served) -> None:
    assert served.ask("POST", "/login", "key=" + "x" * 70_000)[0] == 413
    assert served.ask("POST", "/login", "&".join(f"key{n}=1" for n in range(99)))[0] == 400


def test_a_senseless_wish_never_reaches_the_daemon(house: House, served: Served) -> None:
    cookie = served.cookie()
    for wish, expected in (
        ({"action": "open", "device": "locker", "lock": 99}, 404),
        ({"action": "open", "device": "smoke", "lock": 1}, 404),
        ({"action": "open", "device": "locker", "lock": "1"}, 400),
        ({"action": "reboot"}, 400),
        ({"action": "do", "device": "gas", "name": "reboot"}, 404),
        ({"action": "do", "device": "smoke", "name": "whistle"}, 404),
        ({"action": "do", "device": "nowhere", "name": "whistle"}, 404),
        ({"action": "do", "device": "gas"}, 400),
        ({"action": "acknowledge", "alarm": "smoke/smoke/0"}, 404),
        ({"action": "acknowledge-all", "device": "counter", "seen": 1}, 404),
        ({"action": "reset-all", "device": "smoke", "seen": "all"}, 400),
        ({"action": "shelve", "alarm": "smoke/smoke/0", "seconds": 3600, "why": "dust"}, 404),
        ({"action": "disable", "device": "smoke", "seconds": 3600, "why": " "}, 400),
        ({"action": "disable", "device": "smoke", "seconds": 3600}, 400),
        ({"action": "disable", "device": "smoke", "seconds": 1e9, "why": "dust"}, 400),
        ({"action": "disable", "device": "smoke", "seconds": 3600, "why": "x" * 201}, 400),
        ({"action": "disable", "device": "counter", "seconds": 3600, "why": "dust"}, 404),
        ({"action": "disable", "device": "", "seconds": 3600, "why": "dust"}, 404),
        ({"action": "test", "device": "nowhere", "seconds": 600}, 404),
        ({"action": "drill", "hazard": "boredom"}, 400),
        ({"action": "muster", "alarm": "smoke/smoke/0", "found": -1}, 400),
        ({"action": "check-in", "patrol": "fire", "checkpoint": "moon"}, 404),
        ({"action": "check-in", "patrol": "water", "checkpoint": "kitchen"}, 404),
        ({"action": "hazard-found", "where": "hall", "what": "wet", "severity": "dire"}, 404),
        ({"action": "hazard-closed", "id": "hazard/9", "what": "dried"}, 404),
        ([], 400),
    ):
        assert served.ask("POST", "/command", json.dumps(wish), cookie)[0] == expected, wish
    assert house.commands == []


def test_all_alarms_of_a_device_are_acknowledged_and_reset_together(house: House, served: Served) -> None:
    cookie = served.cookie()
    for name in ("acknowledge", "reset"):
        wish = json.dumps({"action": f"{name}-all", "device": "smoke", "seen": 1_800_000_000_000})
        assert served.ask("POST", "/command", wish, cookie)[0] == 200
    sent = [(each["device"], each["action"], each["args"]) for each in house.commands]
    assert sent == [("smoke", name, {"seen": 1_800_000_000_000}) for name in ("acknowledge", "reset")]


def test_a_command_says_who_asked_and_until_when(house: House, served: Served) -> None:
    wish = json.dumps({"action": "open", "device": "locker", "lock": 2})
    _, _, text = served.ask("POST", "/command", wish, served.cookie())
    assert json.loads(text) == {"status": "done", "message": "“东侧快递柜”2 号格已打开"}
    (command,) = house.commands
    assert command.pop("id")
    assert 0 < command.pop("expires") - house.now().wall_ms <= 15_000
    assert command == {
        "device": "locker",
        "action": "open",
        "args": {"lock": 2},
        "by": "王芳",
        "origin": "dashboard",
    }


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"status": "done"}, "“Kitchen gas” — Close the valve: done"),
        ({"status": "accepted", "detail": ""}, "Sent."),
        ({"status": "failed", "detail": "unconfirmed"}, "the device did not confirm"),
    ],
)
def test_a_device_is_asked_for_what_it_offers_and_the_outcome_is_told(
    house: House, served: Served, answer: dict[str, str], expected: str
) -> None:
    house.answer = lambda _: answer
    wish = json.dumps({"action": "do", "device": "gas", "name": "close-valve"})
    status, _, text = served.ask("POST", "/command", wish, served.cookie(), accept_language="en")
    told = json.loads(text)
    assert (status, told["status"]) == (200, answer["status"])
    assert expected in told["message"]
    (command,) = house.commands
    assert (command["device"], command["action"], command["args"]) == ("gas", "close-valve", {})


def test_a_wish_for_a_device_from_another_site_is_refused(house: House, served: Served) -> None:
    wish = json.dumps({"action": "do", "device": "gas", "name": "close-valve"})
    assert served.ask("POST", "/command", wish, served.cookie(), origin="http://evil.example")[0] == 403
    assert house.commands == []


def test_a_command_to_a_daemon_that_is_away_was_not_carried_out(house: House, served: Served) -> None:
    cookie = served.cookie()
    house.stop()
    wish = json.dumps({"action": "open", "device": "locker", "lock": 2})
    status, _, text = served.ask("POST", "/command", wish, cookie, accept_language="en-GB,en;q=0.9")
    assert status == 503
    assert json.loads(text)["message"] == "The gateway did not respond; nothing was done."


def test_the_language_is_the_one_asked_for_then_the_browsers_then_chinese(served: Served) -> None:
    cookie = served.cookie()
    assert "当前在场" in served.ask("GET", "/", cookie=cookie)[2]
    assert "当前在场" in served.ask("GET", "/", cookie=cookie, accept_language="fr, zh-CN;q=0.5")[2]
    assert "People inside" in served.ask("GET", "/", cookie=cookie, accept_language="en-GB")[2]
    _, headers, text = served.ask("GET", "/?lang=en", cookie=cookie, accept_language="zh")
    assert "People inside" in text
    chosen = f"{cookie}; {headers['set-cookie'].partition(';')[0]}"
    assert "People inside" in served.ask("GET", "/", cookie=chosen, accept_language="zh")[2]


def test_before_the_first_start_of_the_gateway_the_page_waits(house: House) -> None:
    house.stop()
    house.settings.journal.unlink()
    served = Served(house.settings)
    try:
        cookie = served.cookie()
        assert "网关尚未启动过" in (text := served.ask("GET", "/", cookie=cookie)[2])
        assert "报警情况未知" in text
        house.start()
        house.furnish()
        eventually(lambda: ">31" in served.ask("GET", "/", cookie=cookie)[2])
        assert "没有报警" in served.ask("GET", "/", cookie=cookie)[2]
    finally:
        served.end()


def test_what_was_told_before_the_page_started_is_found_in_the_journal(house: House) -> None:
    house.furnish()
    said = house.now(300).wall_ms
    house.says("gas", ago=300, valve=True)
    for _ in range(3):
        house.says("gas", lel=2.5)
        house.stop()  # Each in a commit of its own.
        house.start()
    served = Served(house.settings)
    try:
        _, _, page = served.ask("GET", "/", cookie=served.cookie(), accept_language="en")
        line = page.partition('data-key="gas"')[2].partition("</li>")[0]
        assert "<dt>Valve</dt><dd><b>open</b>" in line
        ages = [int(at) for at in re.findall(r'data-at="(\d+)"', line)]
        assert [at for at in ages if abs(at - said) < 2000]
        assert [at for at in ages if at > said + 100_000]
    finally:
        served.end()


def test_a_journal_that_cannot_be_written_is_told(house: House, served: Served) -> None:
    cookie = served.cookie()
    house.storage = "no-such-word"
    eventually(lambda: "网关存储异常" in served.ask("GET", "/", cookie=cookie)[2])
    assert "数据可能没有保存：no-such-word" in served.ask("GET", "/", cookie=cookie)[2]


def test_a_replaced_journal_is_followed(house: House, served: Served) -> None:
    cookie = served.cookie()
    assert ">31" in served.ask("GET", "/", cookie=cookie)[2]
    house.stop()
    for file in house.settings.journal.parent.glob("journal.db*"):
        file.unlink()
    house.start()
    house.visitors(500, 23)
    eventually(lambda: ">477" in served.ask("GET", "/", cookie=cookie)[2])


def test_it_ends_at_once_though_streams_are_open_and_has_kept_the_key_to_itself(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        cookie = served.cookie()
        for _ in range(20):
            connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
            stack.enter_context(contextlib.closing(connection))
            connection.request("GET", "/events", headers={"cookie": cookie})
            answer = connection.getresponse()
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.readline() == b"retry: 2000\n"
        began = time.monotonic()
        served.end()
        assert time.monotonic() - began < 2
    assert len(served.said) == 2, served.said
    assert KEY not in "".join(served.said)


def test_a_wish_for_all_detectors_is_a_command_to_each_and_stops_at_a_refusal(
    house: House, served: Served
) -> None:
    cookie = served.cookie()
    wish = json.dumps({"action": "test", "device": "", "seconds": 600})
    status, _, text = served.ask("POST", "/command", wish, cookie, accept_language="en")
    assert (status, json.loads(text)["message"]) == (200, "All detectors: test started")
    assert [(each["device"], each["args"]) for each in house.commands] == [
        ("smoke", {"seconds": 600}),
        ("gas", {"seconds": 600}),
    ]
    house.answer = lambda _: {"status": "denied", "detail": "not-allowed"}
    text = served.ask("POST", "/command", wish, cookie)[2]
    assert json.loads(text)["status"] == "denied"
    assert len(house.commands) == 3


def test_each_page_and_its_stream_want_a_session(served: Served) -> None:
    cookie = served.cookie()
    for path in ("/safety", "/walk-test", "/lines", "/kiosk", "/?kiosk"):
        assert served.ask("GET", path)[0] == 401
        assert served.ask("GET", path, cookie=cookie)[0] == 200
    assert served.ask("GET", "/events?view=safety.zh")[0] == 401
    assert served.ask("GET", "/events?view=safety.zh", cookie=cookie)[0] == 200
    for wrong in ("../../etc/passwd.zh", "safety.fr", "safety", ".", "x" * 500):
        assert served.ask("GET", f"/events?view={quote(wrong)}", cookie=cookie)[0] == 404
    many = "&".join(f"view=safety.{number}" for number in range(33))
    assert served.ask("GET", f"/events?{many}", cookie=cookie)[0] == 400


@pytest.mark.parametrize(
    ("lang", "said"),
    [("zh", ("没有这个页面", "返回概况")), ("en", ("There is no such page", "Back to the overview"))],
)
def test_a_page_that_is_not_there_is_told_in_the_house_style(
    served: Served, lang: str, said: tuple[str, ...]
) -> None:
    cookie = served.cookie()
    status, _, body = served.ask("GET", f"/nothing<b>?lang={lang}", cookie=cookie)
    assert status == 404
    assert all(words in body for words in said)
    assert "<b>" not in body
    status, headers, body = served.ask("DELETE", f"/?lang={lang}", cookie=cookie)
    assert (status, sorted(headers["allow"].split(", "))) == (405, ["GET", "HEAD"])
    assert said[1] in body


async def test_a_mistake_of_the_dashboard_is_told_without_its_text(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret text")

    monkeypatch.setattr(Dashboard, "_log_in", fail)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "query_string": b"key=x&lang=zh",
        "headers": [],
    }
    with pytest.raises(RuntimeError):
        await application(house.settings)(scope, lambda: asyncio.sleep(0), send)
    begin, end = sent
    assert begin["status"] == 500
    assert "看板出错了" in end["body"].decode()
    assert b"secret text" not in end["body"]


def test_a_wall_screen_keeps_its_page_through_the_key(served: Served) -> None:
    status, headers, _ = served.ask("GET", f"/?kiosk&key={KEY}")
    assert (status, headers["location"]) == (303, "/?kiosk")


def test_nobody_is_left_to_think_that_this_is_a_fire_alarm_system(served: Served) -> None:
    assert "not a certified fire protection product" in served.ask("GET", "/", accept_language="en")[2]
    assert "未经消防产品认证" in served.ask("GET", "/walk-test", cookie=served.cookie())[2]
