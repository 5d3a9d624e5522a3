"""The dashboard as an app: what a phone installs, and what it shows when the gateway is out of reach."""

from __future__ import annotations

import json

from selenium.webdriver.common.by import By

from gateway.capabilities.safety.services.alarms import AlarmState
from tests.gateway.browser import Page
from tests.gateway.dashboard_fixtures import House, Served


def test_what_a_phone_installs_says_only_the_name(served: Served) -> None:
    status, headers, text = served.ask("GET", "/manifest.webmanifest")
    assert (status, headers["content-type"]) == (200, "application/manifest+json")
    manifest = json.loads(text)
    assert manifest["name"] == "滨江邻里中心"
    for icon in manifest["icons"]:
        status, headers, _ = served.ask("HEAD", icon["src"])
        assert (status, headers["content-type"]) == (200, icon["type"])
    status, headers, _ = served.ask("GET", "/service-worker.js")
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/javascript")
    assert "烟感" not in served.ask("GET", "/offline")[2]


def test_without_the_gateway_the_app_says_so_and_what_was_known(
    house: House, served: Served, page: Page
) -> None:
    house.alarm(AlarmState.ACTIVE)
    page.shows("一层活动室烟感", "#alarms")
    ready = "return navigator.serviceWorker.ready.then((each) => each.active.state)"
    page.until(lambda: page.driver.execute_script(ready) == "activated")
    served.end()
    page.driver.get(f"{page.url}/safety")
    page.shows("连不上网关")
    page.shows("一层活动室烟感", "#known")
    assert page.driver.find_element(By.ID, "again").is_displayed()
    assert not page.has("#alarms")


def test_after_logging_out_the_phone_knows_nothing(house: House, page: Page) -> None:
    known = "return localStorage.getItem('last-known')"
    page.until(lambda: page.driver.execute_script(known))
    page.driver.find_element(By.CSS_SELECTOR, 'form[action="/logout"] button').click()
    page.until(lambda: page.has("#key"))
    assert page.driver.execute_script(known) is None
