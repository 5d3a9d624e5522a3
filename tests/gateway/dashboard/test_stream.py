"""The stream of events that all tabs share, on a network and in a browser with faults."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from selenium import webdriver

from gateway.capabilities.safety.services.alarms import AlarmState
from tests.gateway.browser import Page
from tests.gateway.dashboard_fixtures import KEY, House, Served

WORKER = "/static/stream.js"


class SlowNetwork(ThreadingHTTPServer):
    """Stands between the browser and the dashboard; holds back what the worker asks for."""

    def __init__(self, target: int) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.target = target
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.held = threading.Event()
        self.let_go = threading.Event()


class _Relay(BaseHTTPRequestHandler):
    server: SlowNetwork

    def do_GET(self) -> None:
        if self.headers.get("Referer", "").endswith(WORKER):
            self.server.held.set()
            self.server.let_go.wait(20)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=20)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", self.path, headers=dict(self.headers))
            answer = connection.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"content-length", "transfer-encoding", "connection", "date"}:
                    self.send_header(name, value)
            self.end_headers()
            while piece := answer.read1():
                self.wfile.write(piece)
                self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def network(served: Served) -> Iterator[SlowNetwork]:
    with SlowNetwork(served.port) as network:
        thread = threading.Thread(target=network.serve_forever)
        thread.start()
        yield network
        network.let_go.set()
        network.shutdown()
        thread.join()


def test_a_page_that_goes_away_leaves_a_stream_to_the_next(
    house: House, network: SlowNetwork, chromium: webdriver.Chrome
) -> None:
    """What the worker asks for first is on its way when the page that started it goes away."""
    page = Page(chromium, network.url)
    chromium.delete_all_cookies()
    chromium.get(f"{network.url}/?key={KEY}&name=Wang")
    assert network.held.wait(10)
    chromium.get(f"{network.url}/safety")
    network.let_go.set()
    house.alarm(AlarmState.ACTIVE)
    page.until(lambda: page.has("#alarms .panel.alarm"))
    assert not page.has("body.old-data")
    chromium.get("about:blank")


def test_where_there_are_no_shared_workers_a_page_has_a_stream_of_its_own(house: House, page: Page) -> None:
    source = {"source": "delete window.SharedWorker"}
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", source)
    try:
        page.driver.get(page.url)
        house.alarm(AlarmState.ACTIVE)
        page.until(lambda: page.has("#alarms .panel.alarm"))
        assert not page.has("body.old-data")
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
        page.driver.get("about:blank")


def test_a_worker_that_has_gone_is_missed_and_started_again(house: House, page: Page) -> None:
    """Browsers end workers without a word, for memory."""

    def workers() -> list[str]:
        targets = page.driver.execute_cdp_cmd("Target.getTargets", {})["targetInfos"]
        return [each["targetId"] for each in targets if each["url"] == page.url + WORKER]

    page.until(workers)
    page.driver.execute_cdp_cmd("Target.closeTarget", {"targetId": workers()[0]})
    house.alarm(AlarmState.ACTIVE)
    page.until(lambda: page.has("#alarms .panel.alarm"), seconds=30)
    page.until(lambda: not page.has("body.old-data"))


def test_a_worker_that_does_not_start_is_asked_for_again(house: House, page: Page) -> None:
    source = {
        "source": """
        const Worker = window.SharedWorker;
        let count = 0;
        window.SharedWorker = class extends Worker {
            constructor(url) { super(count++ ? url : "/static/no-such-file.js"); }
        };
    """
    }
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", source)
    try:
        page.driver.get(page.url)
        house.alarm(AlarmState.ACTIVE)
        page.until(lambda: page.has("#alarms .panel.alarm"), seconds=30)
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
        page.driver.get("about:blank")
        page.driver.get_log("browser")
