"""A person's own page, in a real browser with a virtual authenticator: passkeys and the PIN."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import Credential, VirtualAuthenticatorOptions

from gateway.model import Role
from gateway.web.passkeys import Passkey
from gateway.web.passwords import hash_password, is_password_of
from gateway.web.people import Person, people_file, read_people, write_people
from tests.gateway.browser import Page, fill
from tests.gateway.dashboard_fixtures import House, Served

WINDOW = (390, 844)
PASSWORD = "quiet river 42"
SHOW = """
const done = arguments[arguments.length - 1];
showPasskey(arguments[0]).then((answer) => done(answer), (error) => done("error: " + error));
"""


@pytest.fixture
def served(house: House) -> Iterator[Served]:
    house.furnish()
    people = {
        "王芳": Person(Role.MANAGER, hash_password(PASSWORD)),
        "李强": Person(Role.DUTY, hash_password(PASSWORD)),
    }
    write_people(people_file(house.settings.access), people)
    served = Served(house.settings)
    yield served
    served.end()


@pytest.fixture
def fang(chromium: Chrome, page: Page) -> Iterator[Page]:
    """Wang Fang at her page, by a name of the machine; her device asks for her fingerprint."""
    page.url = page.url.replace("127.0.0.1", "localhost")
    options = VirtualAuthenticatorOptions()
    options.transport = VirtualAuthenticatorOptions.Transport.INTERNAL
    options.has_resident_key = options.has_user_verification = options.is_user_verified = True
    chromium.add_virtual_authenticator(options)
    chromium.get("about:blank")  # no page is open that would be given its cookie again
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    chromium.get(f"{page.url}/account")
    fill(page, "form", name="王芳", key=PASSWORD)
    page.until(lambda: page.has("#passkey-form"))
    yield page
    chromium.remove_virtual_authenticator()


def add_passkey(page: Page, name: str = "我的手机", password: str = PASSWORD) -> None:
    fill(page, "#passkey-form", name=name, secret=password)
    page.until(lambda: "done=passkey-added" in page.driver.current_url or page.text("#passkey-problem"))


def log_out(page: Page) -> None:
    page.click('footer form[action="/logout"] button')
    page.until(lambda: page.has("#key"))


def ask(served: Served, path: str, cookie: str = "", **fields: str) -> tuple[int, Any]:
    """As the script of a page does, at the name for which the passkeys are."""
    host = f"localhost:{served.port}"
    headers = {"origin": f"http://{host}", "host": host, "accept": "application/json"}
    status, _, text = served.ask("POST", path, urlencode(fields), cookie, **headers)
    return status, json.loads(text)


def cookie_of(page: Page) -> str:
    return "; ".join(f"{each['name']}={each['value']}" for each in page.driver.get_cookies())


def kept(house: House) -> list[Passkey]:
    file = house.settings.access.with_name("access.key.passkeys")
    return msgspec.json.decode(file.read_bytes(), type=list[Passkey]) if file.exists() else []


def test_a_passkey_is_added_lets_in_and_is_removed(house: House, fang: Page) -> None:
    add_passkey(fang)
    fang.shows("已添加")
    fang.shows("我的手机", ".session")
    [passkey] = kept(house)
    assert (passkey.person, passkey.host, passkey.name) == ("王芳", "localhost", "我的手机")
    [made] = fang.driver.get_credentials()
    assert made.is_resident_credential
    assert "王芳".encode() not in made.user_handle.encode()
    log_out(fang)
    fang.driver.get(f"{fang.url}/account")
    fang.click("[data-passkey]")
    fang.until(lambda: fang.has("#passkey-form"))
    fang.shows("王芳", "footer")
    fang.click(".session [name=remove]")
    fang.shows("已移除")
    assert kept(house) == []
    log_out(fang)
    assert not fang.has("[data-passkey]")
    fang.until(
        lambda: (
            {each["event"] for each in house.security_events}
            >= {"passkey-added", "passkey-removed", "login", "logout"}
        )
    )


def test_a_manager_removes_the_passkey_of_another(house: House, served: Served, fang: Page) -> None:
    def log_in(name: str) -> None:
        fang.driver.get(f"{fang.url}/account")
        fill(fang, "form", name=name, key=PASSWORD)
        fang.until(lambda: fang.has("#passkey-form"))

    add_passkey(fang)
    fang.until(lambda: fang.has(".session"))
    [passkey] = kept(house)
    log_out(fang)
    log_in("李强")
    assert not fang.has(".session")
    fields = f"remove={passkey.id}&person=王芳"
    assert served.ask("POST", "/account/others", quote(fields, "&="), cookie_of(fang))[0] == 403
    assert kept(house) == [passkey]
    log_out(fang)
    people = {
        **read_people(people_file(house.settings.access)),
        "赵敏": Person(Role.MANAGER, hash_password(PASSWORD)),
    }
    write_people(people_file(house.settings.access), people)
    log_in("赵敏")
    fang.shows("王芳 我的手机", ".session h3")
    fang.click(".session [name=remove]")
    fang.shows("已移除")
    assert kept(house) == []
    fang.until(
        lambda: (
            [(each["by"], each["device"]) for each in house.security_events if "others" in each["event"]]
            == [("赵敏", "王芳")]
        )
    )


def test_it_is_added_with_the_password_only(house: House, served: Served, fang: Page) -> None:
    add_passkey(fang, password="wrong")
    fang.shows("密码不对", "#passkey-problem")
    assert kept(house) == []
    status, answer = ask(served, "/account/passkey", cookie_of(fang), answer="{}", name="x")
    assert (status, answer["status"]) == (400, "failed")


def test_what_is_asked_for_an_act_adds_no_passkey(house: House, served: Served, fang: Page) -> None:
    """Whoever finds the page open has not the password."""
    add_passkey(fang)
    fang.until(lambda: fang.has(".session"))
    status, question = ask(served, "/sign/passkey", cookie_of(fang))
    assert status == 200
    made = fang.driver.execute_async_script(
        """
        const done = arguments[arguments.length - 1];
        navigator.credentials.create({ publicKey: {
          challenge: bytesOf(arguments[0]), rp: { id: "localhost", name: "x" },
          user: { id: new Uint8Array(4), name: "x", displayName: "x" },
          pubKeyCredParams: [-7, -257].map((alg) => ({ type: "public-key", alg })),
          authenticatorSelection: { userVerification: "required" },
        } }).then((made) => done(passkeyAnswer(made, "clientDataJSON", "attestationObject")));
        """,
        question["publicKey"]["challenge"],
    )
    assert ask(served, "/account/passkey", cookie_of(fang), answer=made, name="x")[0] == 400
    assert len(kept(house)) == 1


def test_an_answer_counts_once_and_where_it_was_asked(house: House, served: Served, fang: Page) -> None:
    add_passkey(fang)
    log_out(fang)
    answer = fang.driver.execute_async_script(SHOW, "/login/passkey")
    host = f"localhost:{served.port}"
    form = urlencode({"passkey": answer})

    def status(name: str) -> int:
        return served.ask("POST", "/login", form, host=name, origin=f"http://{name}")[0]

    assert status("127.0.0.1:1") == 401, "elsewhere"
    assert status(host) == 401, "and then it is used up"
    second = json.loads(answer)
    question = ask(served, "/login/passkey")[1]["publicKey"]
    assert question["challenge"] not in answer
    assert "allowCredentials" not in question, "who has one is not told"
    second["response"]["clientDataJSON"] = "e30"
    assert ask(served, "/login", passkey=json.dumps(second))[0] == 401


@pytest.mark.parametrize(
    "rubbish",
    [
        "",
        "{",
        "[]",
        "null",
        '"x"',
        "{}",
        '{"response":{}}',
        '{"response":{"clientDataJSON":7}}',
        '{"response":{"clientDataJSON":"e30"}}',
        '{"response":{"clientDataJSON":"W10"}}',
        '{"response":{"clientDataJSON":"%%%"}}',
        "[" * 20_000,
    ],
)
def test_what_is_no_passkey_lets_nobody_in(served: Served, rubbish: str) -> None:
    assert ask(served, "/login", passkey=rubbish)[0] == 401
    assert served.ask("GET", "/login")[0] == 303


def test_a_copy_of_a_passkey_is_refused(house: House, served: Served, fang: Page) -> None:
    add_passkey(fang)
    [original] = fang.driver.get_credentials()
    log_out(fang)
    fang.driver.get(f"{fang.url}/account")
    fang.click("[data-passkey]")
    fang.until(lambda: fang.has("#passkey-form"))
    assert kept(house)[0].counter > original.sign_count
    log_out(fang)
    fang.driver.remove_all_credentials()
    fang.driver.add_credential(original)
    fang.driver.get(f"{fang.url}/account")
    fang.click("[data-passkey]")
    fang.shows("通行密钥没有通过")
    fang.until(lambda: "passkey-copied" in {each["event"] for each in house.security_events})


def test_whoever_may_not_log_in_any_more_does_not_by_passkey(house: House, fang: Page) -> None:
    file = people_file(house.settings.access)
    add_passkey(fang)
    people = read_people(file)
    fang.driver.delete_all_cookies()
    fang.driver.get(f"{fang.url}/account")
    assert fang.has("[data-passkey]")
    write_people(file, {"李强": people["李强"]})
    fang.click("[data-passkey]")
    fang.shows("这里还没有可用的通行密钥")
    write_people(file, {**people, "王芳": Person(Role.MANAGER, hash_password("another one"))})
    fang.driver.get(f"{fang.url}/account")
    assert not fang.has("[data-passkey]"), "nor with another password"
    write_people(file, people)
    fang.driver.get(f"{fang.url}/account")
    assert fang.has("[data-passkey]")


def test_a_removed_passkey_lets_nobody_in(house: House, served: Served, fang: Page) -> None:
    add_passkey(fang)
    first: Credential = fang.driver.get_credentials()[0]
    fang.click(".session [name=remove]")
    fang.shows("已移除")
    fang.driver.remove_all_credentials()
    add_passkey(fang, "另一个")
    fang.shows("另一个", ".session")
    log_out(fang)
    fang.driver.remove_all_credentials()
    fang.driver.add_credential(first)
    fang.driver.get(f"{fang.url}/account")
    fang.click("[data-passkey]")
    fang.shows("通行密钥没有通过")


def test_a_passkey_without_the_persons_own_gesture_is_refused(house: House, fang: Page) -> None:
    add_passkey(fang)
    log_out(fang)
    fang.driver.set_user_verified(False)
    fang.driver.get(f"{fang.url}/account")
    fang.click("[data-passkey]")
    fang.shows("没有得到通行密钥")


def test_it_confirms_what_can_do_harm(house: House, fang: Page) -> None:
    add_passkey(fang)
    fang.until(lambda: fang.has(".session"))
    house.settings = msgspec.structs.replace(house.settings, password_again_minutes=15)
    again = Served(msgspec.structs.replace(house.settings, port=0))
    try:
        # A dashboard that has just started does not know of any act in the session.
        cookie = fang.driver.get_cookie("linli-session")
        assert cookie
        fang.driver.get(f"http://localhost:{again.port}/static/icon.svg")
        fang.driver.add_cookie({"name": "linli-session", "value": cookie["value"]})
        fang.driver.get(f"http://localhost:{again.port}/safety")
        fang.until(lambda: fang.has("html.script"))
        done = fang.driver.execute_async_script(
            "const done = arguments[0]; askForSignature('', []).then(done);"
            "document.querySelector('[data-show-passkey]').click();"
        )
        assert done is True
    finally:
        again.end()


def test_the_page_of_the_signature_takes_a_passkey(house: House, fang: Page) -> None:
    add_passkey(fang)
    fang.until(lambda: fang.has(".session"))
    again = Served(house.settings)
    try:
        cookie = fang.driver.get_cookie("linli-session")
        assert cookie
        fang.driver.get(f"http://localhost:{again.port}/static/icon.svg")
        fang.driver.add_cookie({"name": "linli-session", "value": cookie["value"]})
        fang.driver.get(f"http://localhost:{again.port}/sessions")
        fang.until(lambda: fang.has("html.script"))
        fang.driver.find_element(By.NAME, "screen").send_keys("大厅")
        fang.click(".bind [type=submit]")
        fang.click("[data-passkey]")
        fang.until(lambda: fang.has("#bind-title"))
        fang.driver.find_element(By.NAME, "screen").send_keys("大厅")
        fang.click(".bind [type=submit]")
        fang.until(lambda: fang.has("body.kiosk"))
    finally:
        again.end()


def test_at_an_address_the_page_says_why_there_are_none(served: Served, page: Page) -> None:
    page.driver.get(f"{served.url}/account")
    page.shows("通行密钥和 PIN 属于个人")
    page.driver.delete_all_cookies()
    page.driver.get(f"{served.url}/account")
    fill(page, "form", name="王芳", key=PASSWORD)
    page.shows("浏览器只在加密的页面（https://）上允许通行密钥")
    assert not page.has("#passkey-form")


def test_a_person_sets_their_own_pin(house: House, fang: Page) -> None:
    file = people_file(house.settings.access)
    before = read_people(file)
    for pin, password, said in (
        ("123456", PASSWORD, "太容易被猜中"),
        ("739104", PASSWORD, "PIN 已设置"),
        ("857301", "wrong", "密码不对"),
    ):
        fang.until(lambda: fang.has("[name=pin]"))
        fill(fang, "form:has([name=pin])", pin=pin, secret=password)
        fang.shows(said)
    after = read_people(file)
    assert is_password_of("739104", after["王芳"].pin)
    assert msgspec.structs.replace(after["王芳"], pin="") == before["王芳"]
    assert after["李强"] == before["李强"]
    fang.shows("王芳", "footer")
    fang.until(
        lambda: ("pin-set", "王芳") in {(each["event"], each["by"]) for each in house.security_events}
    )
