"""Who gets in, what is refused, and how the process starts and ends. No browser."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import html
import http.client
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from starlette.routing import Route

from gateway.base.security import SOURCE_LIMIT
from gateway.capabilities.safety.services.alarms import AlarmState
from gateway.dashboard import application
from gateway.dashboard.accounts import Accounts, is_local_address
from gateway.dashboard.http_protocol import MAX_CONNECTIONS
from gateway.dashboard.parts import page_parts
from gateway.model import Role
from gateway.web.commands import CommandRequest
from gateway.web.passwords import hash_password
from gateway.web.people import People, Person, people_file, read_people, write_people
from gateway.web.requests import MAX_FORM_FIELDS
from gateway.web.sessions import append_ended, session_id, sessions_file
from tests.gateway.dashboard_fixtures import KEY, House, Served

INSTALLED = {"/manifest.webmanifest", "/offline", "/service-worker.js"}
FEED = "/calendar/{file}"  # whoever knows an address may read it
OPEN = {"/login", "/login/passkey", "/static", "/favicon.ico", FEED, *INSTALLED}


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
    status, _, text = served.ask("GET", "/devices", cookie=served.cookie())
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
        assert served.ask("POST", "/login", f"key={key}")[0] in (401, 429)
    file.write_text(KEY)
    assert served.ask("GET", f"/?key={KEY}")[0] == 303


def test_who_came_in_and_who_did_not_is_in_the_log(served: Served) -> None:
    cookie = served.cookie()
    served.ask("POST", "/login", "key=wrong-secret")
    assert served.ask("POST", "/login", "key=wrong-secret")[0] == 429
    served.ask("POST", "/logout", cookie=cookie)
    served.end()
    told = [line.rpartition("  [")[2].strip() for line in served.said[1:]]
    failed, blocked = "login-failed address='127.0.0.1']", "login-too-often address='127.0.0.1']"
    assert told == [
        "login by='王芳' address='127.0.0.1']",
        failed,
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
    statuses = Counter(
        served.ask("POST", "/login", "key=wrong-secret&name=right-secret")[0] for _ in range(100)
    )
    assert statuses.keys() == {401, 429}
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
        ("login-failed", "127.0.0.1", ""): statuses[401],
        ("login-too-often", "127.0.0.1", ""): statuses[429],
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
    assert served.ask("GET", "/?key=wrong")[0] == 401
    status, headers, text = served.ask("POST", "/login", "key=wrong")
    assert status == 429
    assert 0 < int(headers["retry-after"]) <= 61
    assert headers["retry-after"] in text
    assert served.ask("POST", "/login", f"key={KEY}")[0] == 303, "the owner is not locked out"


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
        assert "camera=()" in headers["permissions-policy"]
        assert headers["cache-control"] == ("no-cache" if path.startswith("/static/") else "no-store")


def test_a_browser_keeps_the_scripts_and_styles_of_a_version(served: Served) -> None:
    _, _, page = served.ask("GET", "/", cookie=served.cookie())
    assets = re.findall(r'(?:src|href)="(/static/[^"]+\.(?:js|css)[^"]*)"', page)
    assert len(assets) >= 3
    for path in assets:
        status, headers, _ = served.ask("GET", path)
        assert status == 200
        assert "immutable" in headers["cache-control"]
        status, headers, _ = served.ask("GET", path.partition("?")[0], if_none_match=headers["etag"])
        assert (status, headers["cache-control"]) == (304, "no-cache")
    version = assets[0].partition("?")[2]
    for path, status in ((f"/static/none.js?{version}", 404), (f"/?{version}", 200)):
        got, headers, _ = served.ask("GET", path, cookie=served.cookie())
        assert (got, headers["cache-control"]) == (status, "no-store")
    _, headers, _ = served.ask("GET", "/static/app.js?v=older")
    assert headers["cache-control"] == "no-cache"


def test_what_is_sent_is_compressed_for_those_who_can_read_it(served: Served) -> None:
    for path in ("/devices", "/static/style.css"):
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        with contextlib.closing(connection):
            headers = {"cookie": served.cookie(), "accept-encoding": "gzip, br", "accept-language": "zh"}
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            packed = answer.read()
            _, _, plain = served.ask("GET", path, cookie=served.cookie(), accept_language="zh")
            assert answer.headers["content-encoding"] == "gzip"
            unpacked = gzip.decompress(packed).decode()
            assert unpacked[:100] == plain[:100]
            assert len(packed) < len(unpacked) / 2


def test_a_body_has_an_end_and_a_form(served: Served) -> None:
    assert served.ask("POST", "/login", "key=" + "x" * 70_000)[0] == 413
    assert served.ask("POST", "/login", "&".join(f"key{n}=1" for n in range(MAX_FORM_FIELDS + 1)))[0] == 400


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
        _, _, page = served.ask("GET", "/devices", cookie=served.cookie(), accept_language="en")
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

    monkeypatch.setattr(Accounts, "log_in", fail)
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


PASSWORD = "long enough for 王芳"


def let_in(house: House, **roles: Role) -> People:
    """People with one password, by name."""
    people = {name: Person(role, hash_password(PASSWORD)) for name, role in roles.items()}
    write_people(people_file(house.settings.access), people)
    return people


def log_in(served: Served, name: str, password: str = PASSWORD) -> str:
    """The cookie of a person."""
    form = urlencode({"name": name, "key": password})
    status, headers, _ = served.ask("POST", "/login", form)
    assert status == 303
    return headers["set-cookie"].partition(";")[0]


def requests_of(structure: type[CommandRequest]) -> Iterator[type[CommandRequest]]:
    yield structure
    for each in structure.__subclasses__():
        yield from requests_of(each)


def test_each_request_declares_the_role_that_it_needs() -> None:
    offered = {request for part in page_parts() for request in part.requests}
    assert len(offered) > 20
    assert {
        each for each in requests_of(CommandRequest) if each in offered and "role" not in vars(each)
    } == set()
    needed = {str(each.__struct_config__.tag): each.role for each in offered}
    assert {tag for tag, role in needed.items() if role is Role.MANAGER} == {
        "disable",
        "shelve",
        "drill",
        "open",
    }
    assert Role.DISPLAY not in needed.values()


def test_to_ask_what_a_form_needs_does_nothing(house: House, served: Served) -> None:
    """Whether the password is needed first or not."""
    idle = served.idle_cookie(house.settings.access)
    cookies = served.cookie(), f"{idle['name']}={idle['value']}"
    statuses = set()
    for route in application(house.settings).routes:
        if not isinstance(route, Route) or route.path in ENTRANCES or "POST" not in (route.methods or ()):
            continue
        path = route.path.replace(":int}", "}").replace("{number}", "1")
        for cookie in cookies:
            headers = {"linli_only_ask": "1", "accept": "application/json"}
            status, _, text = served.ask("POST", path, "end=others", cookie, **headers)
            assert status == 204 or json.loads(text)["status"] == "sign", (path, status)
            statuses.add(status)
    assert statuses == {204, 403}
    assert house.commands == house.looks == []
    assert all(served.ask("GET", "/", cookie=cookie)[0] == 200 for cookie in cookies)


ENTRANCES = {
    "/login", "/login/passkey", "/logout", "/sign", "/sign/passkey", "/command", "/events", "/favicon.ico",
}  # fmt: skip


def test_each_route_beyond_the_core_needs_a_role(house: House, served: Served) -> None:
    """Whatever a display may open is named here; what is new is refused until somebody declares it."""
    let_in(house, 显示屏=Role.DISPLAY)
    cookie = log_in(served, "显示屏")
    routes = [route for route in application(house.settings).routes if isinstance(route, Route)]
    shown = {
        route.path
        for route in routes
        for method in route.methods or ()
        if route.path not in ENTRANCES
        if served.ask(method, route.path.replace(":int}", "}").replace("{number}", "1"), cookie=cookie)[0]
        != 403
    }
    assert shown == {
        "/", "/kiosk", "/visits", "/need/qr.svg", "/privacy", "/phones", "/plan/picture/{file}",
        "/account", "/account/passkey", "/parking", FEED, *INSTALLED,
    }  # fmt: skip


def test_a_person_may_do_what_the_role_includes(house: House, served: Served) -> None:
    let_in(house, 屏=Role.DISPLAY, 王芳=Role.DUTY, 李强=Role.MANAGER, 赵工=Role.INSTALLER)
    alarm = house.alarm(AlarmState.ACTIVE)
    drill = house.drill()
    cookies = {name: log_in(served, name) for name in ("屏", "王芳", "李强", "赵工")}
    eventually(lambda: "演练" in served.ask("GET", "/", cookie=cookies["赵工"])[2])
    wishes: dict[str, tuple[dict[str, object], str]] = {
        "acknowledge": ({"alarm": alarm}, "王芳"),
        "mute": ({}, "王芳"),
        "reset": ({"alarm": drill}, "李强"),
        "disable": ({"device": "smoke", "seconds": 3600, "why": "dust"}, "李强"),
        "shelve": ({"alarm": drill, "seconds": 3600, "why": "dust"}, "李强"),
        "drill": ({"hazard": "fire"}, "李强"),
        "open": ({"device": "locker", "lock": 2}, "李强"),
    }
    names = list(cookies)
    for action, (fields, least) in wishes.items():
        for name, cookie in cookies.items():
            house.commands.clear()
            wish = json.dumps({"action": action, **fields})
            status, _, text = served.ask("POST", "/command", wish, cookie)
            if names.index(name) >= names.index(least):
                assert status == 200, (action, name)
                assert [each["by"] for each in house.commands] == [name]
            else:
                assert (status, json.loads(text)["status"]) == (403, "denied"), (action, name)
                assert "您的角色是" in json.loads(text)["message"]
                assert house.commands == []
    for path, least in (
        ("/lines", "赵工"),
        ("/needs.csv", "李强"),
        ("/visitors/table.csv", "李强"),
        ("/safety", "王芳"),
    ):
        for name, cookie in cookies.items():
            refused = names.index(name) < names.index(least)
            status, _, text = served.ask("GET", path, cookie=cookie)
            assert (status == 403) == refused, (path, name)
            assert not refused or "您的角色是" in text
    assert served.ask("GET", "/events?view=lines.zh", cookie=cookies["王芳"])[0] == 403
    menu = served.ask("GET", "/", cookie=cookies["王芳"])[2]
    assert 'href="/safety"' in menu
    assert 'href="/lines"' not in menu
    served.end()
    assert ("role-refused", "王芳") in {(each["event"], each["by"]) for each in house.security_events}


def test_a_password_is_no_way_in_by_the_address(house: House, served: Served) -> None:
    let_in(house, 王芳=Role.DUTY)
    assert served.ask("GET", "/?" + urlencode({"name": "王芳", "key": PASSWORD}))[0] == 401
    _, headers, _ = served.ask("POST", "/login", urlencode({"name": " 王芳 ", "key": KEY}))
    assert headers["location"] == "/", "the key opens with any name"


def test_one_is_led_to_where_one_was_going(house: House, served: Served) -> None:
    let_in(house, 王芳=Role.DUTY)
    status, _, form = served.ask("GET", "/safety?lang=en&x=%22%3E")
    assert status == 401
    destination = html.unescape(
        form.partition('name="destination" type="hidden" value="')[2].partition('"')[0]
    )
    assert destination == "/safety?lang=en&x=%22%3E"
    status, _, form = served.ask(
        "POST", "/login", urlencode({"name": "王芳", "key": "x", "destination": destination})
    )
    assert status == 401
    assert 'value="/safety?lang=en&amp;x=%22%3E"' in form
    assert 'value="王芳"' in form
    for wanted, given in (
        (destination, destination),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nset-cookie: x", "/"),
        ("", "/"),
    ):
        form = urlencode({"name": "王芳", "key": KEY, "destination": wanted})
        assert served.ask("POST", "/login", form)[1]["location"] == given, wanted
    assert not any(map(is_local_address, ("//[", "/\t/evil", "evil", "http:///x")))


def test_a_form_that_was_sent_too_late_leads_back_to_its_page(served: Served) -> None:
    for referer, expected in (
        (f"{served.url}/needs/7?x=1", "/needs/7?x=1"),
        ("http://evil.example/needs/7", "/"),
        (f"{served.url}/login", "/"),
        (f"{served.url}/?key=secret", "/"),
        (f"{served.url}//evil.example", "/"),
        ("http://[", "/"),
        ("", "/"),
    ):
        status, _, form = served.ask("POST", "/needs/7", referer=referer)
        assert status == 401
        assert f'name="destination" type="hidden" value="{expected}"' in form, referer
    assert served.ask("GET", "/login")[1]["location"] == "/", "as after a failed login"


def test_the_login_in_the_other_language_still_leads_there(served: Served) -> None:
    form = served.ask("GET", "/visits?day=2026-11-01&lang=zh")[2]
    assert 'href="/visits?day=2026-11-01&amp;lang=en"' in form


def test_a_refusal_and_a_mistake_are_one_page(house: House, served: Served) -> None:
    let_in(house, 王芳=Role.DUTY)
    cookie = log_in(served, "王芳")
    for lang, heading, back in (
        ("zh", "您没有这项权限", "返回概况"),
        ("en", "Your role does not allow this", "Back to the overview"),
    ):
        status, _, text = served.ask("GET", f"/lines?lang={lang}", cookie=cookie)
        assert status == 403
        assert f"<title>{heading}</title>" in text
        assert back in text
        assert 'action="/logout"' in text
        text = served.ask("GET", f"/nothing?lang={lang}", cookie=cookie)[2]
        assert back in text
        assert 'action="/logout"' not in text


def test_a_flood_of_wrong_passwords_locks_nobody_out(house: House, served: Served) -> None:
    """The key always opens; so does the password where its person was logged in before."""
    let_in(house, 王芳=Role.DUTY, 李强=Role.DUTY)
    log_in(served, "王芳")
    statuses = [
        served.ask("POST", "/login", urlencode({"name": "李强", "key": "wrong"}))[0] for _ in range(50)
    ]
    assert 429 in statuses
    assert served.ask("POST", "/login", urlencode({"name": "李强", "key": PASSWORD}))[0] == 429
    log_in(served, "王芳")
    assert served.ask("POST", "/login", urlencode({"name": "李强", "key": KEY}))[0] == 303
    assert served.ask("GET", f"/?key={KEY}")[0] == 303


def test_a_person_who_is_removed_is_out_at_once(house: House, served: Served) -> None:
    let_in(house, 王芳=Role.DUTY, 李强=Role.DUTY)
    cookie = log_in(served, "王芳")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)) as connection:
        connection.request("GET", "/events", headers={"cookie": cookie})
        stream = connection.getresponse()
        file = people_file(house.settings.access)
        write_people(file, {"李强": read_people(file)["李强"]})
        assert served.ask("GET", "/", cookie=cookie)[0] == 401
        assert stream.read().startswith(b"retry: "), "the stream has ended"


def act(served: Served, cookie: str, action: str, **fields: object) -> tuple[int, dict[str, Any]]:
    """The answer to a command."""
    status, _, text = served.ask("POST", "/command", json.dumps({"action": action, **fields}), cookie)
    return status, json.loads(text)


def sign(served: Served, cookie: str, **form: str) -> tuple[int, dict[str, Any]]:
    """The answer to a signature."""
    status, _, text = served.ask("POST", "/sign", urlencode(form), cookie)
    return status, json.loads(text)


OPEN_LOCKER: dict[str, Any] = {"action": "open", "device": "locker", "lock": 2}


def known_as(cookie: str) -> str:
    """What a session is known by."""
    return session_id(cookie.partition("=")[2])


def end_session(served: Served, cookie: str, which: str) -> int:
    return served.ask("POST", "/sessions", urlencode({"end": which}), cookie)[0]


def test_each_sees_and_ends_their_own_sessions_and_a_manager_those_of_everybody(
    house: House, served: Served
) -> None:
    let_in(house, 王芳=Role.DUTY, 李强=Role.MANAGER, 屏=Role.DISPLAY)
    duty, second, manager, display = (log_in(served, name) for name in ("王芳", "王芳", "李强", "屏"))
    agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1) Version/18.1 Safari/604.1"
    shown = served.ask("GET", "/sessions", cookie=duty, user_agent=agent)[2]
    assert "Safari · iPhone" in shown
    assert all(known_as(each) in shown for each in (duty, second))
    assert not any(known_as(each) in shown for each in (manager, display))
    assert not any(each.partition("=")[2] in shown for each in (duty, second))
    shown = served.ask("GET", "/sessions", cookie=manager)[2]
    assert all(known_as(each) in shown for each in (duty, second, manager, display))
    assert served.ask("GET", "/sessions", cookie=display)[0] == 403
    assert end_session(served, display, known_as(duty)) == 403
    assert end_session(served, duty, known_as(manager)) == 303, "not among those that are hers"
    assert [served.ask("GET", "/", cookie=each)[0] for each in (duty, manager)] == [200, 200]
    assert end_session(served, duty, "others") == 303
    cookies = (duty, second, manager, display)
    assert [served.ask("GET", "/", cookie=each)[0] for each in cookies] == [200, 401, 200, 200]
    assert end_session(served, manager, known_as(display)) == 303
    assert end_session(served, duty, known_as(duty)) == 303
    assert [served.ask("GET", "/", cookie=each)[0] for each in cookies] == [401, 401, 200, 401]
    assert "您的登录已失效" in served.ask("GET", "/", cookie=duty)[2]
    assert "您的登录已失效" not in served.ask("GET", "/")[2]
    served.end()
    assert ("session-ended", "李强") in {(each["event"], each["by"]) for each in house.security_events}


def test_whoever_logs_in_again_leaves_no_session_behind(house: House, served: Served) -> None:
    let_in(house, 王芳=Role.DUTY)
    first = served.cookie()
    form = urlencode({"name": "王芳", "key": PASSWORD})
    status, headers, _ = served.ask("POST", "/login", form, first)
    assert status == 303
    assert served.ask("GET", "/", cookie=first)[0] == 401
    assert served.ask("GET", "/", cookie=headers["set-cookie"].partition(";")[0])[0] == 200


def test_a_session_that_is_ended_ends_its_open_pages(house: House, served: Served) -> None:
    let_in(house, 李强=Role.MANAGER)
    owner = served.cookie()
    ways: tuple[Callable[[str], object], ...] = (
        lambda known: end_session(served, owner, known),
        lambda known: append_ended(house.settings.access, [known]),
    )
    for end in ways:
        cookie = log_in(served, "李强")
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        ) as connection:
            connection.request("GET", "/events", headers={"cookie": cookie})
            stream = connection.getresponse()
            assert stream.readline() == b"retry: 2000\n"
            end(known_as(cookie))
            assert b"event: ended\n" in stream.read()


def test_sessions_outlast_the_process_and_are_listed_again(house: House, served: Served) -> None:
    let_in(house, 王芳=Role.DUTY)
    cookie = log_in(served, "王芳")
    served.end()
    sessions_file(house.settings.access).unlink()
    again = Served(house.settings)
    try:
        assert known_as(cookie) in again.ask("GET", "/sessions", cookie=cookie)[2]
        status, answer = act(again, again.cookie(), **OPEN_LOCKER)
        assert (status, answer["status"]) == (200, "done"), "who has just shown the key"
    finally:
        again.end()


def test_after_a_while_what_can_do_harm_needs_the_password_again(house: House) -> None:
    """Reading, and what is done on duty, goes on; nothing but the password makes the session new."""
    let_in(house, 李强=Role.MANAGER, 王芳=Role.DUTY)
    house.furnish()
    served = Served(msgspec.structs.replace(house.settings, password_again_minutes=0))
    try:
        manager, owner = log_in(served, "李强"), served.cookie()
        alarm = house.alarm(AlarmState.ACTIVE)
        eventually(lambda: alarm in served.ask("GET", "/", cookie=manager)[2])
        status, answer = act(served, manager, **OPEN_LOCKER)
        assert (status, answer["status"], answer["people"]) == (403, "sign", [])
        assert "请再输入一次您的密码" in answer["message"]
        assert "访问密钥" in act(served, owner, **OPEN_LOCKER)[1]["message"]
        assert sign(served, owner, secret=PASSWORD)[0] == 403, "a person of that name has another role"
        assert act(served, manager, action="acknowledge", alarm=alarm)[0] == 200
        assert act(served, manager, **OPEN_LOCKER)[0] == 403
        assert [each["action"] for each in house.commands] == ["acknowledge"]
        status, _, text = served.ask("POST", "/sessions", urlencode({"screen": "大厅"}), manager)
        assert status == 403
        assert 'action="/sign"' in text
    finally:
        served.end()


def test_the_password_makes_a_session_new(house: House, served: Served) -> None:
    let_in(house, 李强=Role.MANAGER)
    cookie = log_in(served, "李强")
    served.end()
    again = Served(house.settings)
    try:
        assert act(again, cookie, **OPEN_LOCKER)[1]["status"] == "sign", "nobody knows since when"
        assert sign(again, cookie, secret="wrong password", name="somebody else")[0] == 403
        assert sign(again, cookie, secret=PASSWORD)[0] == 429, "as often as a login"
        assert sign(again, cookie, secret=KEY) == (200, {"status": "done", "message": ""})
        assert act(again, cookie, **OPEN_LOCKER)[1]["status"] == "done"
    finally:
        again.end()
    assert [each["by"] for each in house.commands] == ["李强"]


def bind(served: Served, cookie: str, name: str, role: Role) -> str:
    """The cookie of a screen."""
    form = urlencode({"screen": name, "role": role})
    status, headers, _ = served.ask("POST", "/sessions", form, cookie)
    assert status == 303
    return headers["set-cookie"].partition(";")[0]


PIN = "274951"


def give_pins(house: House) -> None:
    file = people_file(house.settings.access)
    people = read_people(file)
    write_people(file, {n: msgspec.structs.replace(p, pin=hash_password(PIN)) for n, p in people.items()})


def test_what_is_done_on_a_screen_is_signed(house: House, served: Served) -> None:
    let_in(house, 王芳=Role.DUTY, 李强=Role.MANAGER, 屏=Role.DISPLAY)
    give_pins(house)
    manager = log_in(served, "李强")
    assert served.ask("POST", "/sessions", urlencode({"screen": "大厅"}), log_in(served, "王芳"))[0] == 403
    for wrong in (
        {"screen": " "},
        {"screen": "大厅", "role": "manager"},
        {"screen": 'a"b', "role": "duty"},
    ):
        assert served.ask("POST", "/sessions", urlencode(wrong), manager)[0] != 303
    screen = bind(served, manager, "值班室平板", Role.DUTY)
    assert served.ask("GET", "/", cookie=manager)[0] == 401, "the manager is not logged in there"
    assert served.ask("GET", "/safety", cookie=screen)[0] == 200
    assert served.ask("GET", "/lines", cookie=screen)[0] == 403
    alarm = house.alarm(AlarmState.ACTIVE)
    eventually(lambda: alarm in served.ask("GET", "/", cookie=screen)[2])
    status, answer = act(served, screen, action="acknowledge", alarm=alarm)
    assert (status, answer["status"], answer["people"]) == (403, "sign", ["李强", "王芳"])
    assert sign(served, screen, name="王芳", secret=PIN)[0] == 200
    assert act(served, screen, action="acknowledge", alarm=alarm)[0] == 200
    assert act(served, screen, action="mute")[0] == 200, "a fire leaves no time"
    assert act(served, screen, **OPEN_LOCKER)[1]["status"] == "denied", "nor has she the role"
    assert act(served, screen, **OPEN_LOCKER)[1]["people"] == ["李强"]
    assert sign(served, screen, name="李强", secret=PASSWORD)[0] == 200, "the password is as good"
    assert act(served, screen, **OPEN_LOCKER)[0] == 200
    assert act(served, screen, **OPEN_LOCKER)[1]["status"] == "sign", "once"
    assert [(each["action"], each["by"]) for each in house.commands] == [
        ("acknowledge", "王芳"), ("mute", "王芳"), ("open", "李强"),
    ]  # fmt: skip
    status, _, text = served.ask("POST", "/logout", cookie=screen)
    assert (status, 'action="/sign"' in text) == (403, True), "whoever passes does not put it out of use"


def test_a_public_screen_shows_little_and_whoever_signs_acts(house: House, served: Served) -> None:
    let_in(house, 王芳=Role.DUTY)
    give_pins(house)
    screen = bind(served, served.cookie(), "大厅", Role.DISPLAY)
    assert served.ask("GET", "/safety", cookie=screen)[0] == 403
    _, headers, page = served.ask("GET", "/", cookie=screen)
    assert "acknowledge" in page.partition('data-permitted="')[2].partition('"')[0]
    assert "open" not in page.partition('data-permitted="')[2].partition('"')[0].split()
    assert 'action="/logout"' not in page
    assert headers["set-cookie"].partition(";")[0] == screen, "for as long as it is in use"
    assert sign(served, screen, name="王芳", secret=PIN)[0] == 200
    assert act(served, screen, action="mute")[0] == 200
    assert [each["by"] for each in house.commands] == ["王芳"]
    assert served.ask("POST", "/needs/7", cookie=screen)[0] == 403


def test_a_form_on_a_screen_is_signed_first(house: House, served: Served) -> None:
    let_in(house, 王芳=Role.DUTY)
    give_pins(house)
    screen = bind(served, served.cookie(), "值班室", Role.DUTY)
    headers = {"referer": f"{served.url}/needs/7"}
    status, _, text = served.ask("POST", "/needs/7", cookie=screen, **headers)
    assert status == 403
    assert "<option>王芳</option>" in text
    assert 'name="destination" type="hidden" value="/needs/7"' in text
    form = {"name": "王芳", "secret": "000000", "needed": "duty", "destination": "/needs/7"}
    status, _, text = served.ask("POST", "/sign", urlencode(form), screen)
    assert (status, "不对" in text) == (403, True)
    form["secret"] = PASSWORD
    status, headers_, _ = served.ask("POST", "/sign", urlencode(form), screen)
    assert (status, headers_["location"]) == (303, "/needs/7")
    assert served.ask("POST", "/needs/7", cookie=screen, **headers)[0] == 404, "no such need, but admitted"


def test_wrong_pins_lock_the_pin_and_not_the_password(house: House, served: Served) -> None:
    let_in(house, 王芳=Role.DUTY)
    give_pins(house)
    screen = bind(served, served.cookie(), "大厅", Role.DISPLAY)
    other = bind(served, served.cookie(), "值班室", Role.DUTY)
    statuses = Counter(sign(served, screen, name="王芳", secret=f"{n:06}")[0] for n in range(100))
    assert statuses.keys() == {403, 429}
    assert statuses[403] <= 5
    assert sign(served, screen, name="王芳", secret=PIN)[0] == 429
    assert sign(served, other, name="王芳", secret=PIN)[0] == 429, "the person's PIN, on all screens"
    assert sign(served, screen, name="王芳", secret=PASSWORD)[0] == 200
    log_in(served, "王芳")
    wrong = served.ask("POST", "/login", urlencode({"name": "王芳", "key": PIN}))
    assert wrong[0] == 401, "it is no password"


def test_wrong_passwords_by_the_thousand_cost_neither_the_owner_nor_the_page(
    house: House, served: Served
) -> None:
    """From many addresses at once, with many names. Each that is checked costs 19 MiB for a moment."""
    let_in(house, **{f"person{number}": Role.DUTY for number in range(20)})
    owner = served.cookie()
    statuses: Counter[int] = Counter()

    def guess(worker: int) -> None:
        for number in range(250):
            source = f"127.0.{worker}.{number % 250 + 1}"
            connection = http.client.HTTPConnection(
                "127.0.0.1", served.port, timeout=30, source_address=(source, 0)
            )
            with contextlib.closing(connection):
                form = urlencode({"name": f"person{number % 25}", "key": f"wrong {number}"})
                connection.request("POST", "/login", form, {"origin": served.url})
                statuses[connection.getresponse().status] += 1

    guessing = [threading.Thread(target=guess, args=(worker,)) for worker in range(1, 9)]
    for each in guessing:
        each.start()
    seen = 0
    while any(each.is_alive() for each in guessing):
        assert served.ask("GET", "/", cookie=owner)[0] == 200
        assert served.ask("GET", f"/?key={KEY}")[0] == 303
        seen += 1
    assert seen > 3
    assert sum(statuses.values()) == 2000
    assert statuses.keys() == {401, 429}
    assert statuses[401] <= 200, "few were worth a check"
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{served.process.pid}/status").read_text("utf-8"))
    assert peak
    assert int(peak[1]) < 200_000


def test_each_action_of_a_device_needs_its_own_role(house: House) -> None:
    let_in(house, 王芳=Role.DUTY, 李强=Role.MANAGER, 赵工=Role.INSTALLER)
    house.furnish()
    roles = {"close-valve": Role.DUTY, "reboot": Role.INSTALLER}
    devices = [
        msgspec.structs.replace(each, actions=("close-valve", "open-valve", "reboot"), action_roles=roles)
        for each in house.settings.devices
        if each.name == "gas"
    ]
    served = Served(msgspec.structs.replace(house.settings, devices=tuple(devices)))
    try:
        for person, allowed in (
            ("王芳", ["close-valve"]),
            ("李强", ["close-valve", "open-valve"]),
            ("赵工", ["close-valve", "open-valve", "reboot"]),
        ):
            house.commands.clear()
            cookie = log_in(served, person)
            for action in devices[0].actions:
                status, _ = act(served, cookie, action="do", device="gas", name=action)
                assert (status == 200) == (action in allowed), (person, action)
            assert [(each["action"], each["by"]) for each in house.commands] == [
                (action, person) for action in allowed
            ]
            page = served.ask("GET", "/devices", cookie=cookie)[2]
            assert 'data-needs="manager"' in page, "what no profile has declared"
            shown = page.partition('data-roles="')[2].partition('"')[0].split()
            assert ("manager" in shown) == ("open-valve" in allowed)
    finally:
        served.end()
