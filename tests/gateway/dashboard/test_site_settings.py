"""Changing the site file on the dashboard: a real daemon, a real dashboard, and the file between them."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from gateway.base import control
from gateway.capabilities.safety.site import SafetySite
from gateway.config import load_site
from gateway.config.adoption import load_adopted
from gateway.dashboard import settings_of
from gateway.dashboard.site_settings import changed_lines
from gateway.model import Hazard, Lane, Role
from gateway.web.passwords import hash_password
from gateway.web.people import Person, people_file, write_people
from tests.gateway.browser import Page, browsing
from tests.gateway.daemon.test_reload_live import House
from tests.gateway.dashboard_fixtures import KEY, Served
from tests.gateway.simulate.conftest import eventually
from tests.ports import free_port

SITE = """
[bus.a]
driver = "modbus"
url = "tcp://127.0.0.1:1"
timeout = 0.2

# 东门边上
[device.smoke]
profile = "smoke/generic-rs485"
bus = "a"
unit = 1

[visitors]
limit = 300

[contact.wang]
title = { zh = "王主任", en = "Ms Wang" }
phone = "+8613800138000"

[roster.day]
contacts = ["wang"]
mon-sun = "00:00-24:00"
"""


FRIDGE = """
[device.fridge]
profile = "fridge/generic-xy-md02"
bus = "a"
unit = 2
title = "冰箱"
"""


class Centre:
    """A gateway and its dashboard."""

    def __init__(self, folder: Path) -> None:
        self.house = House(folder)
        self.house.write(SITE)
        key = folder / "access.key"
        key.write_text(KEY)
        key.chmod(0o600)
        self.house.start()
        site = load_site(self.house.file)
        people = {"duty": Person(Role.DUTY, hash_password("duty-password-1"))}
        write_people(people_file(site.dashboard.access), people)
        settings = settings_of(site, self.house.file)
        self.served = Served(settings)
        self.journal = site.journal.path
        self.cookie = self.served.cookie()

    def text(self) -> str:
        return self.house.file.read_text("utf-8")

    @property
    def digest(self) -> str:
        adopted = load_adopted(self.house.file, self.journal)
        assert adopted
        return adopted.revision.digest

    def get(self, path: str) -> tuple[int, str]:
        status, _, text = self.served.ask("GET", path, cookie=self.cookie)
        return status, text

    def post(self, path: str, **fields: str) -> tuple[int, str, str]:
        """Status, where to go next, and the page."""
        status, headers, text = self.served.ask("POST", path, urlencode(fields), self.cookie)
        return status, headers.get("location", ""), text

    def cookie_of_manager(self) -> str:
        """That of somebody who is no installer."""
        people = people_file(load_site(self.house.file).dashboard.access)
        write_people(people, {"manager": Person(Role.MANAGER, hash_password("manager-password-1"))})
        form = urlencode({"name": "manager", "key": "manager-password-1"})
        _, headers, _ = self.served.ask("POST", "/login", form)
        return headers["set-cookie"].partition(";")[0]

    def reload(self) -> None:
        """As `linli reload` does it."""
        call = control.call_daemon(self.house.folder / "control.sock", "reload", returning=False)
        answer = asyncio.run(call)
        assert answer["adopted"], answer

    def end(self) -> None:
        self.served.end()
        self.house.end()


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    centre = Centre(tmp_path)
    yield centre
    centre.end()


def phone(text: str) -> Any:
    return tomllib.loads(text)["contact"]["wang"]["phone"]


def test_a_change_is_shown_then_saved_and_can_be_undone(centre: Centre) -> None:
    before = centre.text()
    fields = {"group": "contact.wang", "v0.zh": "王主任", "v0.en": "Ms Wang", "v1": "+8613900139000"}
    status, _, page = centre.post("/settings/contacts", **fields)
    assert status == 200
    assert "- phone = &#34;+8613800138000&#34;" in page
    assert "+ phone = &#34;+8613900139000&#34;" in page
    assert centre.text() == before

    given = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page))
    status, location, _ = centre.post("/settings/contacts", **given)
    assert (status, location) == (303, "/settings/contacts?done=2")
    assert centre.text() == before.replace("13800138000", "13900139000")
    assert centre.house.config()["revision"] == 2
    assert "王芳" in centre.get("/settings/history")[1]
    assert "13900139000" in centre.get("/settings/contacts")[1]

    assert "+ phone = &#34;+8613900139000&#34;" in centre.get("/settings/history/2")[1]
    status, _, page = centre.post("/settings/history/1")
    assert "+ phone = &#34;+8613800138000&#34;" in page
    assert centre.post("/settings/history/1", digest=centre.digest)[:2] == (303, "/settings/history?done=3")
    assert centre.text() == before


def test_what_would_be_wrong_is_not_saved(centre: Centre) -> None:
    """Neither what a field refuses, nor what only the whole site shows."""
    before = centre.text()
    status, _, page = centre.post("/settings/visitors", group="visitors", v0="-3")
    assert status == 422
    assert 'value="-3"' in page
    # Nobody would be on duty then.
    status, _, page = centre.post("/settings/rosters", group="roster.day", **{"v0.wang": ""})
    assert status == 422
    assert "site.toml:" in page
    digest = centre.digest
    status, _, page = centre.post("/settings/rosters", group="roster.day", digest=digest, **{"v0.wang": ""})
    assert status == 422
    assert centre.text() == before


def test_only_settings_are_changed_here(centre: Centre) -> None:
    before, digest = centre.text(), centre.digest
    for group in ("bus.a", "device.smoke.unit", "site", "", "contact", "../etc"):
        assert centre.post("/settings/contacts", group=group, digest=digest, v0="x")[0] == 400, group
    for name in ("wang", "Bad Name", "a/b", "", "x" * 64):
        fields = {"group": "contact", "name": name or " ", "v1": "123"}
        assert centre.post("/settings/contacts", digest=digest, **fields)[0] == 422, name
    assert centre.get("/settings/no-such-section")[0] == 404
    assert centre.get("/settings/history/99")[0] == 404
    assert centre.text() == before


def test_two_people_do_not_overwrite_each_other(centre: Centre) -> None:
    digest = centre.digest
    assert centre.post("/settings/visitors", group="visitors", digest=digest, v0="200")[0] == 303
    fields = {"group": "contact.wang", "v0.zh": "王主任", "v0.en": "Ms Wang", "v1": "110"}
    # What the second person saw is shown again, with what the first has done.
    status, _, _ = centre.post("/settings/contacts", digest=digest, **fields)
    assert status == 200
    assert phone(centre.text()) == "+8613800138000"


def test_an_edit_by_hand_is_not_lost(centre: Centre) -> None:
    mine = centre.text().replace("limit = 300", "limit = 250 # 春节")
    centre.house.file.write_text(mine, "utf-8")
    fields = {"group": "contact.wang", "v0.zh": "王主任", "v0.en": "Ms Wang", "v1": "110"}
    status, _, page = centre.post("/settings/contacts", digest=centre.digest, **fields)
    assert status == 409
    assert "linli reload" in page
    assert centre.text() == mine


def test_a_contact_comes_and_goes(centre: Centre) -> None:
    fields = {"group": "contact", "name": "li", "v0.zh": "李", "v1": "119"}
    assert centre.post("/settings/contacts", digest=centre.digest, **fields)[0] == 303
    assert tomllib.loads(centre.text())["contact"]["li"] == {"title": {"zh": "李"}, "phone": "119"}
    gone = {"group": "contact.li", "remove": "1"}
    assert centre.post("/settings/contacts", digest=centre.digest, **gone)[0] == 303
    assert "li" not in tomllib.loads(centre.text())["contact"]
    assert "# 东门边上\n[device.smoke]" in centre.text()


def test_a_calibration_is_checked_shown_and_undone(centre: Centre) -> None:
    fridge = centre.text() + FRIDGE
    centre.house.file.write_text(fridge, "utf-8")
    centre.reload()
    # The page follows within a second or so.
    eventually(lambda: "现在没有可用的读数" in centre.get("/settings/calibration?q=fridge")[1])
    assert "温度 · 修正值" in centre.get("/settings/calibration?q=fridge")[1]
    fields = {"group": "device.fridge", "v0": "-0.6"}
    status, _, page = centre.post("/settings/calibration", **fields)
    assert status == 200
    assert "+ offset = -0.6" in page
    assert centre.post("/settings/calibration", digest=centre.digest, **fields)[0] == 303
    assert tomllib.loads(centre.text())["device"]["fridge"]["calibrate"] == {
        "temperature": {"offset": -0.6}
    }
    for wrong in ({"v0": "9"}, {"v0": "2.4", "v1": "1.04"}, {"v0": "x"}):
        assert (
            centre.post("/settings/calibration", group="device.fridge", digest=centre.digest, **wrong)[0]
            == 422
        )
    assert centre.post("/settings/calibration", digest=centre.digest, group="device.fridge")[0] == 303
    assert "offset" not in centre.text()
    # A manager may undo what a manager may do, but nothing that lives depend on.
    cookie = centre.cookie_of_manager()

    def restore(number: int) -> int:
        form = urlencode({"digest": centre.digest})
        return centre.served.ask("POST", f"/settings/history/{number}", form, cookie)[0]

    assert restore(3) == 303
    assert "offset = -0.6" in centre.text()
    smoke = {"group": "device.smoke", "v0": "0.5"}
    assert centre.post("/settings/calibration", digest=centre.digest, **smoke)[0] == 303
    assert centre.served.ask("POST", "/settings/calibration", urlencode(smoke), cookie)[0] == 403
    assert restore(3) == 422


def test_a_device_is_replaced_by_installers_alone_and_that_is_recorded(centre: Centre) -> None:
    fields = {"group": "device.smoke", "v0": "SN-77", "v1": "9"}
    status, _, page = centre.post("/settings/replacement", **fields)
    assert status == 200
    for line in ("- unit = 1", "+ unit = 9", "SN-77"):
        assert line in page
    assert centre.post("/settings/replacement", digest=centre.digest, **fields)[0] == 303
    smoke = tomllib.loads(centre.text())["device"]["smoke"]
    assert (smoke["unit"], smoke["serial"]) == (9, "SN-77")
    wrong = {"group": "device.smoke", "digest": centre.digest, "v0": "SN-77", "v1": "999"}
    assert centre.post("/settings/replacement", **wrong)[0] == 422
    (record,) = [each for each in centre.house.records(Lane.EVENT) if each.kind == "device-replaced"]
    assert record.device == "smoke"
    assert record.body["by"] == "王芳"
    assert (record.body["address_before"], record.body["address"]) == ("unit = 1", "unit = 9")
    cookie = centre.cookie_of_manager()
    for method in ("GET", "POST"):
        form = urlencode(fields) if method == "POST" else ""
        assert centre.served.ask(method, "/settings/replacement", form, cookie)[0] == 403
    assert "/settings/replacement" not in centre.served.ask("GET", "/settings", "", cookie)[2]


ESCALATION = """
[channel.desk]
type = "webhook"
url = "https://127.0.0.1:1/"
secret_file = "{secret}"

[escalation.default]
steps = [{ after = 0, tell = ["duty"], by = ["desk"] }]  # 先通知当班
"""


def test_who_is_told_after_how_long_is_a_setting(centre: Centre) -> None:
    secret = centre.house.folder / "secret"
    secret.write_text("s3cret")
    secret.chmod(0o600)
    added = ESCALATION.replace("{secret}", str(secret))
    centre.house.file.write_text(centre.text() + added, "utf-8")
    centre.reload()
    page = centre.get("/settings/escalation")[1]
    assert 'name="v0.0.1.duty" value="1" checked' in page
    assert 'name="v0.1.1.wang"' in page
    assert 'name="v0.2' not in page

    def steps() -> Any:
        return tomllib.loads(centre.text())["escalation"]["default"]["steps"]

    def save(**fields: str) -> int:
        given = {"group": "escalation.default", "digest": centre.digest, **fields}
        return centre.post("/settings/escalation", **given)[0]

    first = {"v0.0.0": "0", "v0.0.1.duty": "1", "v0.0.2.desk": "1"}
    second = {"v0.1.0": "300", "v0.1.1.wang": "1", "v0.1.2.desk": "1"}
    assert save(**first, **second) == 303
    assert steps() == [
        {"after": 0, "tell": ["duty"], "by": ["desk"]},
        {"after": 300, "tell": ["wang"], "by": ["desk"]},
    ]
    assert save(**first, **{**second, "v0.1.0": "600"}) == 303
    assert steps()[1]["after"] == 600
    # A step before the one above it, one that tells nobody, and none at all.
    wrong = ({**second, "v0.0.0": "900"}, {"v0.1.0": "600"}, {**second, "v0.1.0": "-1"})
    for fields in wrong:
        assert save(**{**first, **fields}) == 422, fields
    assert save(v1="600") == 422
    assert save(**first, v1="900") == 303
    assert len(steps()) == 1
    assert tomllib.loads(centre.text())["escalation"]["default"]["repeat"] == 900
    fire = {"group": "escalation", "name": "fire", **first}
    assert centre.post("/settings/escalation", digest=centre.digest, **fire)[0] == 303
    fire["name"] = "no-hazard"
    assert centre.post("/settings/escalation", digest=centre.digest, **fire)[0] == 422


def test_the_name_of_the_centre_is_on_all_pages_at_once(centre: Centre) -> None:
    before = centre.text()
    fields = {"group": "site", "v0.zh": "新邻里中心", "v0.en": "New Centre"}
    assert centre.post("/settings/centre", digest=centre.digest, **fields)[0] == 303
    assert tomllib.loads(centre.text())["site"]["title"] == {"zh": "新邻里中心", "en": "New Centre"}
    eventually(lambda: "<h1>新邻里中心</h1>" in centre.get("/")[1])
    assert "新邻里中心" in centre.served.ask("GET", "/")[2], "on the page for logging in"
    assert centre.post("/settings/centre", digest=centre.digest, group="site")[0] == 422
    assert centre.post("/settings/history/1", digest=centre.digest)[0] == 303
    assert centre.text() == before
    eventually(lambda: "新邻里中心" not in centre.get("/")[1])


def test_settings_are_for_managers(centre: Centre) -> None:
    form = urlencode({"name": "duty", "key": "duty-password-1"})
    _, headers, _ = centre.served.ask("POST", "/login", form)
    cookie = headers["set-cookie"].partition(";")[0]
    for method, path in (
        ("GET", "/settings"),
        ("GET", "/settings/contacts"),
        ("POST", "/settings/contacts"),
    ):
        assert centre.served.ask(method, path, cookie=cookie)[0] == 403
    assert "/settings" not in centre.served.ask("GET", "/", cookie=cookie)[2]


def test_differences() -> None:
    assert changed_lines("a\nb\n", "a\nb\n") == []
    assert changed_lines("a\nb\n", "a\nc\n") == [("@", "1"), (" ", "a"), ("-", "b"), ("+", "c")]


def test_a_plan_is_approved_in_a_file_of_the_centres_own(centre: Centre) -> None:
    folder = centre.house.folder / "plans"
    assert not folder.exists()
    fields = {"group": "plans/fire", "v0": "王芳 2026-11-30", "digest": centre.digest}
    assert centre.post("/settings/plans", **fields)[0] == 303
    plan = tomllib.loads((folder / "fire.toml").read_text("utf-8"))
    assert plan["approved"] == "王芳 2026-11-30"
    assert len(plan["step"]) > 3
    assert [file.name for file in folder.iterdir()] == ["fire.toml"]
    site = load_site(centre.house.file)
    assert site.part(SafetySite).duties.plans[Hazard.FIRE].approved == "王芳 2026-11-30"
    assert centre.house.config()["revision"] == 2


def test_a_contact_is_told_whether_messages_arrive(centre: Centre) -> None:
    assert 'name="test"' not in centre.get("/settings/contacts")[1]
    secret = centre.house.folder / "secret"
    secret.write_text("a-secret-of-the-hook")
    secret.chmod(0o600)
    hook = f'\n[channel.hook]\ntype = "webhook"\nurl = "https://127.0.0.1:{free_port()}/"\n'
    text = f'{centre.text()}{hook}secret_file = "{secret}"\n'
    centre.house.file.write_text(text, "utf-8")
    centre.reload()
    assert 'name="test"' in centre.get("/settings/contacts")[1]
    status, _, page = centre.post("/settings/contacts", group="contact.wang", test="1")
    assert status == 200
    assert re.search(r'class="problem">hook · [^<]+<', page)


def test_wiring_is_not_undone_by_a_manager(centre: Centre) -> None:
    text = centre.text().replace("timeout = 0.2", "timeout = 0.3")
    centre.house.file.write_text(text, "utf-8")
    centre.reload()
    people = {"chief": Person(Role.MANAGER, hash_password("chief-password-1"))}
    write_people(people_file(centre.house.folder / "access.key"), people)
    form = urlencode({"name": "chief", "key": "chief-password-1"})
    _, headers, _ = centre.served.ask("POST", "/login", form)
    cookie, fields = headers["set-cookie"].partition(";")[0], urlencode({"digest": centre.digest})
    assert centre.served.ask("POST", "/settings/history/1", fields, cookie)[0] == 422
    assert centre.text() == text
    assert centre.post("/settings/history/1", digest=centre.digest)[0] == 303
    assert "timeout = 0.2" in centre.text()


def test_what_was_typed_outlives_the_question_for_the_password(centre: Centre, tmp_path: Path) -> None:
    with browsing(tmp_path / "chromium", (1280, 900)) as driver:
        page = Page(driver, centre.served.url)
        driver.get(f"{centre.served.url}/static/icon.svg")
        driver.add_cookie(centre.served.idle_cookie(centre.house.folder / "access.key"))
        driver.get(f"{centre.served.url}/settings/contacts")
        phone = driver.find_element(By.CSS_SELECTOR, "input[value='+8613800138000']")
        phone.clear()
        phone.send_keys("13912345678", Keys.ENTER)
        page.until(lambda: page.has("#sign[open]"))
        page.click("#sign [data-close]")
        assert phone.get_attribute("value") == "13912345678"
        phone.send_keys(Keys.ENTER)
        page.until(lambda: page.has("#sign[open]"))
        driver.find_element(By.CSS_SELECTOR, "#sign [name=secret]").send_keys(KEY, Keys.ENTER)
        page.shows("13912345678", "main")
        page.until(lambda: not page.has("#sign[open]"))
        assert "13912345678" not in centre.text(), "it is shown first"
