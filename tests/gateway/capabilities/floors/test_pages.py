"""The plan, with a real daemon, a real dashboard and a real browser."""

from __future__ import annotations

import http.client
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from gateway.capabilities.floors.pictures import MAX_PICTURE_BYTES
from gateway.model import Role
from gateway.web.passwords import hash_password
from gateway.web.people import Person, people_file, write_people
from gateway.web.sessions import append_ended, session_id
from tests.gateway.browser import Page, browsing
from tests.gateway.dashboard.test_site_settings import Centre
from tests.gateway.dashboard_fixtures import KEY
from tests.gateway.simulate.conftest import eventually

SCRIPT = "<script>document.title=1</script>"
SVG = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 400">{SCRIPT}</svg>'


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    centre = Centre(tmp_path)
    fields = {"group": "floor", "name": "ground", "v0.zh": "一层", "digest": centre.digest}
    assert centre.post("/settings/floors", **fields)[0] == 303
    eventually(lambda: centre.get("/plan/ground")[0] == 200)  # The pages follow within a second or so.
    yield centre
    centre.end()


def post(centre: Centre, path: str, body: str, cookie: str = "") -> tuple[int, str]:
    address = f"{path}?digest={centre.digest}"
    status, _, text = centre.served.ask("POST", address, body, cookie or centre.cookie)
    return status, text


def test_a_picture_and_places(centre: Centre) -> None:
    eventually(lambda: "还没有图片" in centre.get("/plan")[1])
    assert post(centre, "/plan/ground/picture", SVG)[0] == 200
    assert post(centre, "/plan/ground/places", '{"smoke": [0.25, 0.5]}')[0] == 200
    floor = tomllib.loads(centre.text())["floor"]["ground"]
    assert (floor["size"], floor["places"]) == ([800, 400], {"smoke": [0.25, 0.5]})
    marker = r'<g class="marker [a-z-]+" data-key="smoke" transform="translate\(250 250\)">'
    eventually(lambda: re.search(marker, centre.get("/plan")[1]))

    address = f"/plan/picture/{floor['picture']}"
    status, headers, text = centre.served.ask("GET", address, cookie=centre.cookie)
    assert (status, headers["content-type"], text) == (200, "image/svg+xml", SVG)
    assert "sandbox" in headers["content-security-policy"]
    assert centre.served.ask("GET", address)[0] == 401

    # Whoever has gone keeps the place; whoever is left out loses it.
    centre.house.file.write_text(centre.text().replace("places = {", "places = { gone = [0, 0], "), "utf-8")
    centre.reload()
    assert post(centre, "/plan/ground/places", "{}")[0] == 200
    assert tomllib.loads(centre.text())["floor"]["ground"]["places"] == {"gone": [0, 0]}


def test_what_is_wrong_changes_nothing(centre: Centre) -> None:
    before = centre.text()
    for body in ("", "GIF89a", "%PDF-1.4", "<svg/>"):
        status, text = post(centre, "/plan/ground/picture", body)
        assert status == 422
        assert json.loads(text)["message"]
    wrong_places = ("[0, 1.1]", "[-1, 0]", "[0]", "null")
    for body in ("[]", "{", '{"nobody": [0, 0]}', *(f'{{"smoke": {place}}}' for place in wrong_places)):
        assert post(centre, "/plan/ground/places", body)[0] == 400, body
    for path in ("/plan/cellar/picture", "/plan/cellar/places"):
        assert post(centre, path, "{}")[0] == 404
    for name in ("../access.key", "0123456789abcdef.svg", "x.svg"):
        assert centre.get(f"/plan/picture/{name}")[0] == 404
    assert centre.text() == before


def test_two_managers_do_not_overwrite_each_other(centre: Centre) -> None:
    path = f"/plan/ground/places?digest={centre.digest}"
    assert post(centre, "/plan/ground/picture", SVG)[0] == 200
    status, _, _ = centre.served.ask("POST", path, '{"smoke": [0, 0]}', centre.cookie)
    assert status == 409
    assert "places" not in tomllib.loads(centre.text())["floor"]["ground"]


def test_a_picture_that_is_too_large_is_cut_off(centre: Centre) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", centre.served.port, timeout=10)
    connection.putrequest("POST", "/plan/ground/picture")
    for name, value in (
        ("origin", centre.served.url),
        ("cookie", centre.cookie),
        ("content-length", str(MAX_PICTURE_BYTES + 1)),
    ):
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(bytes(MAX_PICTURE_BYTES + 1))
    assert connection.getresponse().status == 413
    connection.close()


def test_only_managers_change_the_plan(centre: Centre) -> None:
    people = {"duty": Person(Role.DUTY, hash_password("duty-password-1"))}
    write_people(people_file(centre.house.folder / "access.key"), people)
    _, headers, _ = centre.served.ask("POST", "/login", "name=duty&key=duty-password-1")
    cookie = headers["set-cookie"].partition(";")[0]
    status, _, page = centre.served.ask("GET", "/plan", cookie=cookie)
    assert status == 200
    assert "/plan/ground" not in page
    assert post(centre, "/plan/ground/places", "{}", cookie)[0] == 403
    assert post(centre, "/plan/ground/picture", SVG, cookie)[0] == 403
    assert centre.served.ask("GET", "/plan/ground", cookie=cookie)[0] == 403


def test_a_device_is_placed_by_touching_the_plan(centre: Centre, tmp_path: Path) -> None:
    assert post(centre, "/plan/ground/picture", SVG)[0] == 200
    with browsing(tmp_path / "chromium", (1280, 1600)) as driver:
        driver.get(f"{centre.served.url}/?key={KEY}")
        driver.get(f"{centre.served.url}/plan/ground")
        page = Page(driver, centre.served.url)
        page.click("[name=device][value=smoke]")
        page.click("#drawing")  # In the middle.
        page.until(lambda: page.has("#drawing .marker.chosen"))
        driver.find_element(By.CSS_SELECTOR, "#places-form button").click()
        page.until(lambda: driver.current_url.endswith("/plan"))
        page.until(lambda: page.has(".floor .marker[data-key=smoke]"))
        # The script in the picture has not run.
        assert driver.title != "1"
        x, y = tomllib.loads(centre.text())["floor"]["ground"]["places"]["smoke"]
        assert (x, y) == pytest.approx((0.5, 0.5), abs=0.02)
        told = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
        assert told == []


def test_the_password_is_asked_for_again_and_no_place_is_lost(centre: Centre, tmp_path: Path) -> None:
    assert post(centre, "/plan/ground/picture", SVG)[0] == 200
    access_key = centre.house.folder / "access.key"
    with browsing(tmp_path / "chromium", (1280, 1600)) as driver:
        driver.get(f"{centre.served.url}/static/icon.svg")
        driver.add_cookie(centre.served.idle_cookie(access_key))
        driver.get(f"{centre.served.url}/plan/ground")
        page = Page(driver, centre.served.url)
        page.click("[name=device][value=smoke]")
        page.click("#drawing")
        page.click("#places-form button")
        page.shows("请再输入一次访问密钥", "#sign")
        page.click("#sign [data-close]")
        page.until(lambda: page.has("#drawing .marker.chosen"))
        page.click("#places-form button")
        page.until(lambda: page.has("#sign[open]"))
        driver.find_element(By.CSS_SELECTOR, "#sign [name=secret]").send_keys(KEY)
        page.click("#sign [type=submit]")
        page.until(lambda: page.has(".floor .marker[data-key=smoke]"))
        assert tomllib.loads(centre.text())["floor"]["ground"]["places"].keys() == {"smoke"}
        # Somebody ends the session while the page is open.
        driver.get(f"{centre.served.url}/plan/ground")
        page.until(lambda: page.has("#drawing .marker"))
        cookie = driver.get_cookie("linli-session")
        assert cookie
        driver.execute_script("stream.close()")  # it has not been heard of yet
        append_ended(access_key, [session_id(cookie["value"])])
        page.click("#places-form button")
        page.shows("请在另一个标签页重新登录", "#toast")
        assert page.has("#drawing .marker")
