"""Who may register, who may see what, and what is refused. No browser."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markupsafe import escape

from gateway.capabilities.needs.pages.passes import (
    ALLOWED_REQUESTS,
    LOOKUP_LIMIT,
    PHONE_LIFETIME_S,
    PHONE_REGISTRATION_LIMIT,
    Passes,
)
from gateway.capabilities.needs.services import NeedState
from gateway.dashboard import application
from gateway.dashboard.app import PATHS_WITHOUT_SESSION
from gateway.web.access import SESSION_LIFETIME_S, Access
from tests.gateway.capabilities.needs.pages.house import SAID, NeedsHouse, post, register
from tests.gateway.dashboard_fixtures import KEY, NASTY, Served

TYPED = ("张小凡", "13800138000", "老李知道")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[NeedsHouse]:
    house = NeedsHouse(tmp_path)
    house.start()
    yield house
    house.close()


def passes(key: str = KEY) -> Passes:
    return Passes(Access(key), time.monotonic)


def cookie_for(channel: str) -> str:
    return f"linli-need={passes().issue_pass(channel)}"


@pytest.mark.parametrize("channel", ["phone", "kiosk"])
def test_a_pass_opens_the_form_and_nothing_else(house: NeedsHouse, served: Served, channel: str) -> None:
    _, number = register(served, served.cookie())
    cookie, opened = cookie_for(channel), set()
    for route in application(house.settings).routes:
        path = route.path.replace("{number}", number)  # type: ignore[attr-defined]
        for method in getattr(route, "methods", None) or {"GET"}:
            status, _, text = served.ask(method, path, "", cookie)
            assert not any(typed in text for typed in TYPED)
            if status != 401 and path not in {
                "/login",
                "/login/passkey",
                "/static",
                "/calendar/{file}",  # a calendar has a secret address of its own
                *PATHS_WITHOUT_SESSION,
            }:
                opened.add(f"{method} {path}".replace("HEAD", "GET"))
    assert opened == ALLOWED_REQUESTS[channel]
    for path in (
        "/?kiosk",
        "/events",
        f"/needs/{number}?pass=1",
        "/needs?pass=1",
        "/needs.csv",
    ):
        assert served.ask("GET", path, "", cookie)[0] == 401
    wish = json.dumps({"action": "drill", "hazard": "fire"})
    assert served.ask("POST", "/command", wish, cookie)[0] == 401
    assert house.commands == []


def test_a_pass_is_no_session_and_a_session_no_pass(served: Served) -> None:
    token = cookie_for("phone").partition("=")[2]
    session = served.cookie().partition("=")[2]
    for cookie in (f"linli-session={token}", f"linli-need={session}", "linli-need=forged", ""):
        assert served.ask("GET", "/needs", "", cookie)[0] == 401
    status, _, text = served.ask("GET", "/need", "", f"linli-need={session}")
    assert status == 401
    assert "请扫描二维码" in text
    assert served.ask("GET", "/need?pass=forged")[0] == 401
    assert served.ask("GET", f"/need?pass={session}")[0] == 401


def test_a_pass_becomes_a_cookie_and_leaves_the_address(served: Served) -> None:
    token = cookie_for("phone").partition("=")[2]
    status, headers, _ = served.ask("GET", f"/need?pass={token}")
    assert (status, headers["location"]) == (303, "/need")
    (cookie,) = SimpleCookie(headers["set-cookie"]).values()
    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (
        True,
        "strict",
        str(PHONE_LIFETIME_S),
    )
    assert served.ask("GET", "/need", "", f"linli-need={cookie.value}")[0] == 200


def test_a_phones_pass_ends_after_an_hour_and_a_kiosks_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    issued = passes()
    phone, kiosk = issued.issue_pass("phone"), issued.issue_pass("kiosk")
    now = time.time()
    for seconds, expected in (
        (PHONE_LIFETIME_S - 5, ("phone", "kiosk")),
        (PHONE_LIFETIME_S + 5, (None, "kiosk")),
        (SESSION_LIFETIME_S + 5, (None, None)),
    ):
        monkeypatch.setattr(time, "time", lambda later=now + seconds: later)
        assert (issued.pass_channel(phone), issued.pass_channel(kiosk)) == expected
    assert passes("another key").pass_channel(kiosk) is None


def test_a_form_with_something_missing_says_what_and_keeps_what_was_typed(
    house: NeedsHouse, served: Served
) -> None:
    cookie = cookie_for("phone")
    status, text = register(served, cookie, category="", text=" ", phone="call me", consent="")
    assert status == 422
    assert "请补充或改正：诉求内容、电话、类别、同意" in text
    assert 'value="张小凡"' in text
    assert 'value="call me"' in text
    status, text = register(served, cookie, text=f"{NASTY} " + "长" * 500, name="")
    assert status == 422
    assert f"{escape(NASTY)} 长长" in text
    assert NASTY not in text
    assert 'value="repair" checked' in text
    once = re.search(r'name="once" value="(\w+)"', text)
    assert once
    assert once[1] in register(served, cookie, text="", once=once[1])[1]
    assert house.needs() == {}


def test_it_is_registered_once_and_its_state_can_be_asked_without_a_name(
    house: NeedsHouse, served: Served
) -> None:
    cookie = cookie_for("kiosk")
    status, number = register(served, cookie, once="form1")
    assert status == 200
    assert register(served, cookie, once="form1") == (200, number)
    (need,) = house.needs().values()
    assert (need.state, need.channel, need.category) == (NeedState.REGISTERED, "kiosk", "repair")
    desk = served.cookie()
    post(served, f"/needs/{number}", desk, {"step": "refer", "to": "property"})
    status, _, text = post(served, "/need/state", cookie, {"number": f" {number[:4]} {number[4:]} "})
    assert status == 200
    assert "已转介" in text
    assert "已转给物业公司" in text
    assert not any(typed in text for typed in TYPED)


def test_numbers_cannot_be_guessed_at_leisure(house: NeedsHouse, served: Served) -> None:
    _, number = register(served, served.cookie())
    cookie = cookie_for("kiosk")
    for guess in range(LOOKUP_LIMIT.events):
        assert post(served, "/need/state", cookie, {"number": str(guess)})[0] == 404
    assert post(served, "/need/state", cookie, {"number": number})[0] == 429
    served.end()
    assert "too-often" in [each["event"] for each in house.security_events]


def test_a_phone_has_to_wait_after_some_and_all_phones_after_more(
    house: NeedsHouse, served: Served
) -> None:
    cookie = cookie_for("phone")
    for _ in range(PHONE_REGISTRATION_LIMIT.events):
        assert register(served, cookie)[0] == 200
    status, text = register(served, cookie)
    assert status == 429
    assert "提交得太频繁" in text
    assert "张小凡" in text, "what was typed is kept"
    assert len(house.needs()) == PHONE_REGISTRATION_LIMIT.events
    assert register(served, served.cookie())[0] == 200, "the desk goes on"


def test_those_that_come_at_the_same_time_count(house: NeedsHouse, served: Served) -> None:
    cookie = cookie_for("phone")
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: register(served, cookie)[0], range(12)))
    assert sorted(answers) == [200] * PHONE_REGISTRATION_LIMIT.events + [429] * (
        12 - PHONE_REGISTRATION_LIMIT.events
    )
    assert len(house.needs()) == PHONE_REGISTRATION_LIMIT.events


def test_the_pace_of_each_and_of_all() -> None:
    now = 0.0
    limited = Passes(Access(KEY), lambda: now)
    for n in range(8):
        assert limited.registration_wait_s("phone", f"a{n}", 8) == 0
        limited.count_registration("phone", f"a{n}")
        now += 10
    assert limited.registration_wait_s("phone", "fresh", 8) == 3600 - 80 + 1
    assert limited.registration_wait_s("phone", "fresh", 0) > 0
    assert (
        limited.registration_wait_s("kiosk", "fresh", 8)
        == limited.registration_wait_s("desk", "fresh", 8)
        == 0
    )
    now = 3600.5
    assert limited.registration_wait_s("phone", "fresh", 8) == 0


def test_the_desk_sees_to_a_need_and_who_looked_is_on_record(house: NeedsHouse, served: Served) -> None:
    cookie = served.cookie()
    _, number = register(served, cookie, address="3 幢 501")
    page = f"/needs/{number}"
    _, _, text = served.ask("GET", page, "", cookie)
    assert not any(typed in text for typed in TYPED)
    status, leads, _ = post(
        served, page, cookie, {"step": "accept", "owner": "nurse", "note": "已联系老李"}
    )
    assert (status, leads) == (303, f"{page}?done=accept")
    status, _, text = post(served, f"{page}/particulars", cookie, {})
    assert status == 200
    for typed in (*TYPED, "3 幢 501", "已联系老李", str(escape(NASTY))):
        assert typed in text
    assert NASTY not in text
    assert "\u202e" not in text
    assert "😀" in text
    _, _, text = served.ask("GET", page, "", cookie)
    assert "查看个人资料 · 王芳" in text
    assert "已联系老李" not in text
    status, _, text = post(served, page, cookie, {"step": "note", "note": "长" * 7000})
    assert (status, "内容太长" in text) == (409, True)
    mended = {"step": "correct", "text": "是楼上的灯", "name": "张小凡", "phone": "打电话"}
    status, _, text = post(served, page, cookie, mended)
    assert (status, "是楼上的灯" in text, "打电话" in text) == (409, True, True)
    assert post(served, page, cookie, {**mended, "phone": "139 0000 0000"})[0] == 303
    _, _, text = post(served, f"{page}/particulars", cookie, {})
    assert "139 0000 0000" in text
    assert "13800138000" not in text
    due = {"step": "change", "due": "2099-01-01", "category": "nasty"}
    status, _, text = post(served, page, cookie, {**due, "note": "不该丢"})
    assert (status, "一年之内" in text) == (409, True)
    assert post(served, page, cookie, {"step": "close", "outcome": "met", "satisfaction": "9"})[0] == 409
    assert post(served, page, cookie, {"step": "close", "outcome": "met", "satisfaction": "4"})[0] == 303
    assert post(served, page, cookie, {"step": "done"})[0] == 409
    status, _, text = post(served, page, cookie, {"step": "accept", "note": "<b>打过电话了"})
    assert status == 409
    assert "&lt;b&gt;打过电话了" in text
    assert post(served, page, cookie, {"step": "look"})[0] == 409
    assert post(served, page, cookie, {"step": "erase"})[0] == 303
    status, _, text = post(served, f"{page}/particulars", cookie, {})
    assert (status, "已经删除" in text) == (409, True)
    assert house.store.stored() == {}
    need = house.needs()[number]
    assert (need.owner, need.outcome, need.satisfaction) == ("nurse", "met", 4)
    assert served.ask("GET", "/needs/12345678", "", cookie)[0] == 404


def test_nobody_looks_without_a_name(house: NeedsHouse, served: Served) -> None:
    _, number = register(served, served.cookie())
    _, headers, _ = served.ask("GET", f"/?key={KEY}")
    nameless = headers["set-cookie"].partition(";")[0]
    status, _, text = post(served, f"/needs/{number}/particulars", nameless, {})
    assert (status, "须署名" in text) == (409, True)
    assert not any(typed in text for typed in TYPED)
    assert house.needs()[number].steps == ()


def test_the_list_the_figures_and_the_export_have_nothing_personal(
    house: NeedsHouse, served: Served
) -> None:
    cookie = served.cookie()
    numbers = [register(served, cookie)[1] for _ in range(3)]
    _, other = register(served, cookie, category="nasty")
    post(served, f"/needs/{numbers[0]}", cookie, {"step": "accept", "owner": "nurse"})
    post(served, f"/needs/{numbers[1]}", cookie, {"step": "withdraw"})

    def listed(query: str) -> set[str]:
        _, _, text = served.ask("GET", f"/needs?{query}", "", cookie)
        assert not any(typed in text for typed in TYPED)
        assert NASTY not in text
        return set(re.findall(r'data-need="(\d+)"', text))

    assert listed("") == {numbers[0], numbers[2], other}
    assert listed("state=") == {*numbers, other}
    assert listed("state=withdrawn") == {numbers[1]}
    assert listed("category=nasty") == {other}
    assert listed("owner=nurse&category=repair") == {numbers[0]}
    assert listed("overdue=1") == set()
    assert listed("state=%3Cscript%3E&category=%00") == set()
    _, headers, text = served.ask("GET", "/needs.csv?category=repair", "", cookie, accept_language="en")
    assert headers["content-type"].startswith("text/csv")
    assert "attachment" in headers["content-disposition"]
    heads, *lines = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
    assert heads[:4] == ["Number", "Category", "Channel", "State"]
    assert {line[0] for line in lines} == set(numbers)
    assert {line[3] for line in lines} == {"Registered", "In progress", "Withdrawn"}
    assert not any(typed in text for typed in TYPED)


def test_a_screen_that_becomes_a_kiosk_leaves_the_dashboard(served: Served) -> None:
    status, headers, _ = served.ask("POST", "/needs/kiosk", "", served.cookie())
    assert (status, headers["location"]) == (303, "/need")
    cookies = SimpleCookie()
    for header in headers.get_all("set-cookie") or []:
        cookies.load(header)
    assert cookies["linli-session"].value == ""
    _, _, text = served.ask("GET", "/need", "", f"linli-need={cookies['linli-need'].value}")
    assert 'data-idle="180"' in text
    assert 'autocomplete="tel"' not in text
    _, _, text = served.ask("GET", "/need", "", cookie_for("phone"))
    assert "data-idle" not in text
    assert "/need/state" not in text


def test_the_code_leads_to_the_form_with_a_pass_of_its_own(house: NeedsHouse, served: Served) -> None:
    cookie = served.cookie()
    first, second = (served.ask("GET", "/need/qr.svg", "", cookie) for _ in range(2))
    assert first[1]["content-type"] == "image/svg+xml"
    assert ElementTree.fromstring(second[2]).tag.endswith("svg")
    assert "/need/qr.svg" in served.ask("GET", "/?kiosk", "", cookie)[2]
    assert served.ask("GET", "/need/qr.svg")[0] == 401


def test_a_gateway_that_is_away_loses_nothing_that_was_typed(house: NeedsHouse, served: Served) -> None:
    cookie = served.cookie()
    _, number = register(served, cookie)
    house.stop()
    status, text = register(served, cookie_for("phone"))
    assert status == 503
    assert "尚未登记" in text
    assert "张小凡" in text
    assert number in served.ask("GET", "/needs", "", cookie)[2], "the list is read from the journal"
    status, _, text = post(served, f"/needs/{number}", cookie, {"step": "accept", "note": "记着"})
    assert (status, "记着" in text) == (409, True)
    for _ in range(PHONE_REGISTRATION_LIMIT.events):
        assert register(served, cookie_for("phone"))[0] == 503, "what failed does not count"
    house.start()
    assert register(served, cookie_for("phone"))[0] == 200


def test_a_lost_key_is_told_in_words(house: NeedsHouse, served: Served) -> None:
    register(served, served.cookie())
    (house.folder / "needs.key").unlink()
    status, text = register(served, cookie_for("phone"))
    assert (status, "密钥" in text, "张小凡" in text) == (503, True, True)


def test_what_another_site_sends_is_refused(house: NeedsHouse, served: Served) -> None:
    form = {"category": "repair", "consent": "1", **SAID}
    for cookie in (cookie_for("phone"), served.cookie()):
        for path in ("/need", "/needs/kiosk", "/needs/12345678/particulars"):
            assert post(served, path, cookie, form, origin="http://evil.example")[0] == 403
    assert house.needs() == {}
    assert served.ask("POST", "/need", "x=" + "y" * 70_000, cookie_for("phone"))[0] == 413
    many = "&".join(f"a{n}=1" for n in range(99))
    assert served.ask("POST", "/need", many, cookie_for("phone"))[0] == 422


def test_a_centre_that_registers_no_needs_says_how_to_begin(house: NeedsHouse, served: Served) -> None:
    served.end()
    house.configure("needs", reception=None)
    plain = Served(house.settings)
    try:
        cookie = plain.cookie()
        assert "[needs]" in plain.ask("GET", "/need", "", cookie)[2]
        assert "[needs]" in plain.ask("GET", "/needs", "", cookie)[2]
        assert plain.ask("GET", "/need/qr.svg", "", cookie)[0] == 404
    finally:
        plain.end()
