"""The stream of events that all tabs share, on a network and in a browser with faults."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from selenium import webdriver

from gateway.capabilities.safety.services.alarms import AlarmState
from gateway.web.settings import DeviceInfo
from tests.gateway.browser import Page
from tests.gateway.dashboard_fixtures import DEVICES, KEY, House, Served

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
        if WORKER in self.headers.get("Referer", ""):
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
        return [each["targetId"] for each in targets if each["url"].startswith(page.url + WORKER)]

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


class Listener:
    """Follows views as a browser does, and counts what comes on the wire."""

    def __init__(self, served: Served, *views: str) -> None:
        query = urlencode([("view", view) for view in views])
        request = (
            f"GET /events?{query} HTTP/1.1\r\nHost: {served.url}\r\nCookie: {served.cookie()}\r\n"
            "Accept-Encoding: gzip\r\n\r\n"
        )
        self.bytes = 0
        self.pages: dict[str, dict[str, list[str]]] = {}
        self.regions_sent: list[str] = []
        self._socket = socket.create_connection(("127.0.0.1", served.port), timeout=10)
        self._socket.sendall(request.encode())
        self._answer = http.client.HTTPResponse(self._socket)
        self._answer.begin()
        assert self._answer.headers["content-encoding"] == "gzip"
        self._unpack = zlib.decompressobj(zlib.MAX_WBITS + 16)
        self._rest = b""

    def hear(self) -> None:
        """Take what comes next."""
        piece = self._answer.read1()
        assert piece
        self.bytes += len(piece)
        *events, self._rest = (self._rest + self._unpack.decompress(piece)).split(b"\n\n")
        for event in events:
            _, _, data = event.partition(b"data: ")
            if b"event: view" in event:
                self._apply(json.loads(data))

    def _apply(self, told: dict[str, Any]) -> None:
        regions = self.pages.setdefault(told["view"], {})
        for region, change in told["regions"].items():
            self.regions_sent.append(region)
            if isinstance(change, str):
                regions[region] = change.split("\n")
            else:
                for at, count, lines in reversed(change):
                    regions[region][at : at + count] = lines

    def hear_until(self, view: str, region: str, text: str) -> None:
        while not any(text in line for line in self.pages.get(view, {}).get(region, ())):
            self.hear()

    def close(self) -> None:
        self._answer.close()
        self._socket.close()


METERS = tuple(DeviceInfo(f"meter-{n}", {"zh": f"{n} 号电表"}, "energy-meter", 1.0) for n in range(20))


def test_a_quiet_home_costs_less_than_a_kilobyte_each_second(house: House) -> None:
    """Twenty-five devices have a new reading each second."""
    house.settings = msgspec.structs.replace(house.settings, devices=DEVICES + METERS)
    house.furnish()
    served = Served(house.settings)
    listener = Listener(served, "devices.zh", "overview.zh")
    seconds = 20
    try:
        listener.hear_until("overview.zh", "tiles", "31")
        for second in range(seconds):
            for each in METERS:
                house.says(each.name, energy=1000 + second / 10)
            house.says("gas", lel=second / 10)
            house.says("smoke", smoke=False)
            house.says("nasty", temperature=20 + second / 10)
            house.says("counter", **{"in": 5128, "out": 5097})
            if not second:
                listener.hear_until("devices.zh", "devices", f"<b>{1000}</b>")
                whole, listener.bytes = listener.bytes, 0
            listener.hear_until("devices.zh", "devices", f"<b>{20 + second / 10:g}</b>")
            listener.hear_until("devices.zh", "devices", f"<b>{1000 + second / 10:g}</b>")
        assert listener.regions_sent.count("devices") > seconds / 2
        assert whole > 2000
        print("MEASURED", whole, listener.bytes / seconds)
        assert listener.bytes / seconds < 1000
        _, _, page = served.ask("GET", "/devices", cookie=served.cookie(), accept_language="zh")
        for line in listener.pages["devices.zh"]["devices"]:
            assert "<time" in line or line in page
    finally:
        listener.close()
        served.end()
