"""The dashboard in a real browser: what a page weighs, how soon it is seen, how soon an alarm is seen, and
what its process costs."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import select
import signal
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from rig import (
    AVAILABLE_CORES,
    OTHER_CORES,
    ROOT,
    Process,
    Rig,
    accepts_connections,
    free_port,
    process,
    wait_until,
)
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from subjects import Figures, Workload, percentile

from gateway.config import load_site
from gateway.trends import Calendar, TrendBin, trends_file
from gateway.trends.database import connect
from gateway.trends.statistics import TrendCursor

QUARTERS = 366 * 96
PRESSES, QUIET_S, VIEWS, STREAMS, TABS = 100, 60.0, 7, 50, 5
RATE_BYTES_PER_S, ROUND_TRIP_MS, CPU_SLOWDOWN = 1.6e6 / 8, 150, 4
SETTLED_S = 1.0
"""Without a byte for so long, a page has come."""
LOOKOUT = """
const row = `#alarms [data-alarm="active"][data-key^="${arguments[0]}/"] h3`
window.seen = new Promise((resolve) => {
  const lookout = new MutationObserver(() => {
    if (!document.querySelector(row)) return
    lookout.disconnect()
    // The next frame is made after the first callback, and has been painted by the second.
    const painted = () => resolve(performance.timeOrigin + performance.now())
    requestAnimationFrame(() => requestAnimationFrame(painted))
  })
  lookout.observe(document.body, { childList: true, subtree: true, attributes: true })
})
"""
SEEN = "window.seen.then(arguments[0])"
END = """
const [device, done] = arguments
const tidy = () => {
  const rows = [...document.querySelectorAll(`#alarms [data-alarm][data-key^="${device}/"]`)]
  for (const row of rows) row.querySelector(":scope > button[data-command]:not([aria-disabled])")?.click()
  if (rows.length) setTimeout(tidy, 200)
  else done()
}
tidy()
"""
"""Acknowledges and resets, as a person does, until the alarm has gone."""
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--lang=zh-CN", "--accept-lang=zh-CN",
)  # fmt: skip


class CountingRelay:
    """Passes connections on to a port, and counts the bytes that come back: what is on the wire, whoever in
    the browser asked for it."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listening.getsockname()[1])
        self.received = 0
        self.last_at = time.monotonic()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            other = {client: server, server: client}
            while True:
                for each in select.select(list(other), [], [])[0]:
                    with contextlib.suppress(OSError):
                        if data := each.recv(65536):
                            if each is server:
                                self.received += len(data)
                                self.last_at = time.monotonic()
                            other[each].sendall(data)
                            continue
                    return

    def settled(self, began: int) -> int:
        """Bytes since there were `began`, once no more come."""
        wait_until(lambda: self.received > began and time.monotonic() - self.last_at > SETTLED_S)
        return self.received - began


def dashboard(workload: Workload) -> Figures:
    """The demo's site, by night, when nobody comes."""
    with Rig("dashboard") as rig:
        recorder = rig.start_broker()
        site = rig.start_demo("--start", "03:00")
        port = free_port()
        site.write_text(site.read_text().replace("[dashboard]\n", f"[dashboard]\nport = {port}\n"))
        rig.enter_context(rig.run_daemon(site))
        wait_until(lambda: recorder.samples)
        served = Served(rig, site, port)
        figures: Figures = {}
        with _browser(rig.directory / "browser") as driver:
            relay = CountingRelay(port)
            driver.get(f"http://127.0.0.1:{relay.port}/static/icon.svg")
            served.give_cookie(driver)
            figures |= _weights(driver, relay)
            figures |= _first_paint(driver, relay, workload)
            figures |= _quiet_stream(driver, relay, workload)
            figures |= _presses(driver, rig, workload)
            figures |= _year_curve(driver, relay, load_site(site).journal.path, workload)
        figures["process_mb"] = served.process.proportional_mb()
        figures |= _crowd(rig, served)
        return figures


def _year_curve(
    driver: webdriver.Chrome, relay: CountingRelay, journal: Path, workload: Workload
) -> Figures:
    """A year of one point by quarter of an hour, from the request to the end of loading."""
    now = int(time.time()) // 900
    bins = {
        ("fridge-1", "temperature", now - number): TrendBin(2 + chance, 6 + chance, 4 + chance, 90, 900_000)
        for number in range(1, QUARTERS)
        for chance in [random.random()]
    }
    database = connect(trends_file(journal))
    # As of another journal: the daemon goes on with its own.
    calendar = Calendar("Asia/Shanghai")
    database.apply(bins, database.held(), "benchmark", TrendCursor(1, now * 900_000, 0), calendar)
    database.close()
    took = []
    for _ in range(max(1, round(VIEWS * workload.time_factor))):
        driver.get(f"http://127.0.0.1:{relay.port}/device?name=fridge-1&hours=8784&point=temperature")
        assert driver.execute_script("return document.querySelector('.chart .band').getBBox().width > 470")
        script = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
        took.append(float(driver.execute_script(script)))
    return {"year_curve_ms": statistics.median(took)}


def _unit_environment() -> dict[str, str]:
    """What its systemd unit sets."""
    lines = (ROOT / "systemd" / "linli-dashboard.service").read_text().splitlines()
    settings = (line.removeprefix("Environment=") for line in lines if line.startswith("Environment="))
    return dict(setting.split("=", 1) for setting in settings)


class Served:
    """`linli dashboard`, and a session."""

    def __init__(self, rig: Rig, site: Path, port: int) -> None:
        command = sys.executable, "-m", "gateway.cli", "dashboard", "--config", site
        environment = {**os.environ, **_unit_environment()}
        self.child = rig.enter_context(
            process(*command, cores=OTHER_CORES, log=rig.log, cwd=ROOT, env=environment)
        )
        self.process = Process(self.child.pid)
        self.port = port
        wait_until(lambda: accepts_connections(port))
        key = (rig.directory / "access.key").read_text().strip()
        self.cookie = ""
        headers = self.ask(f"/?key={key}&name={quote('王芳')}")[0]
        self.cookie = headers["set-cookie"].partition(";")[0]

    def ask(self, path: str) -> tuple[http.client.HTTPMessage, bytes]:
        """The answer to one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"cookie": self.cookie})
            answer = connection.getresponse()
            return answer.headers, answer.read()

    def give_cookie(self, driver: webdriver.Chrome) -> None:
        """Let a browser that shows something of the dashboard take part in the session."""
        name, value = self.cookie.split("=", 1)
        driver.add_cookie({"name": name, "value": value, "path": "/"})

    def open_stream(self) -> socket.socket:
        """An event stream, as a browser has it; its first words have come."""
        stream = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        stream.sendall(
            b"GET /events?view=overview.zh HTTP/1.1\r\nhost: 127.0.0.1\r\naccept-encoding: gzip\r\n"
            b"cookie: " + self.cookie.encode() + b"\r\n\r\n"
        )
        assert stream.recv(4096).startswith(b"HTTP/1.1 200")
        return stream


@contextlib.contextmanager
def _browser(folder: Path) -> Iterator[webdriver.Chrome]:
    """It has all cores: elsewhere it is a machine of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for option in (*OPTIONS, f"--user-data-dir={folder}"):
        options.add_argument(option)
    os.sched_setaffinity(0, AVAILABLE_CORES)
    driver = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    os.sched_setaffinity(0, OTHER_CORES)
    driver.set_window_size(1440, 900)
    driver.set_script_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()


def _weights(driver: webdriver.Chrome, relay: CountingRelay) -> Figures:
    """A page for the first time, and again; the first words of its stream belong to it."""
    figures: Figures = {}
    driver.execute_cdp_cmd("Network.clearBrowserCache", {})
    for name in ("first_view_kb", "repeat_view_kb"):
        driver.get("about:blank")
        time.sleep(SETTLED_S)
        began = relay.received
        driver.get(f"http://127.0.0.1:{relay.port}/")
        figures[name] = relay.settled(began) / 1000
    return figures


def _first_paint(driver: webdriver.Chrome, relay: CountingRelay, workload: Workload) -> Figures:
    """On a slow phone: nothing is known of the page yet."""
    driver.execute_cdp_cmd("Network.enable", {})
    slow = {
        "offline": False, "latency": ROUND_TRIP_MS, "downloadThroughput": RATE_BYTES_PER_S,
        "uploadThroughput": RATE_BYTES_PER_S,
    }  # fmt: skip
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
    driver.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": CPU_SLOWDOWN})
    painted = []
    for _ in range(max(1, round(VIEWS * workload.time_factor))):
        driver.get("about:blank")
        driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        driver.get(f"http://127.0.0.1:{relay.port}/")
        script = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        wait_until(lambda: driver.execute_script(script))  # noqa: B023
        painted.append(driver.execute_script(script))
    driver.execute_cdp_cmd("Emulation.setCPUThrottlingRate", {"rate": 1})
    fast = {**slow, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", fast)
    return {"first_paint_ms": statistics.median(painted)}


def _quiet_stream(driver: webdriver.Chrome, relay: CountingRelay, workload: Workload) -> Figures:
    driver.get(f"http://127.0.0.1:{relay.port}/")
    relay.settled(relay.received - 1)
    began, seconds = relay.received, QUIET_S * workload.time_factor
    time.sleep(seconds)
    return {"stream_kb_per_s": (relay.received - began) / 1000 / seconds}


def _presses(driver: webdriver.Chrome, rig: Rig, workload: Workload) -> Figures:
    """From the press to the painted sentence; the detectors are polled, so presses come at any moment."""
    devices = {1: "smoke-hall", 3: "smoke-activity"}  # that in the kitchen has a rule that fires, too
    dice, taken = random.Random(1), list[float]()
    for number in range(max(3, round(PRESSES * workload.time_factor))):
        unit, device = list(devices.items())[number % len(devices)]
        driver.execute_async_script(END, device)
        driver.execute_script(LOOKOUT, device)
        time.sleep(dice.random())
        pressed = time.time()
        rig.press("smoke", unit=unit, on=1)
        taken.append(driver.execute_async_script(SEEN) - 1000 * pressed)
        rig.press("smoke", unit=unit, on=0)
    return {
        "press_p50_ms": percentile(taken, 50),
        "press_p99_ms": percentile(taken, 99),
        "press_samples": len(taken),
    }


def _crowd(rig: Rig, served: Served) -> Figures:
    """Fifty pages, five of them in a browser, while somebody takes the history home."""
    figures: Figures = {}
    with contextlib.ExitStack() as stack:
        driver = stack.enter_context(_browser(rig.directory / "crowd"))
        driver.get(f"http://127.0.0.1:{served.port}/static/icon.svg")
        served.give_cookie(driver)
        for page in ("", "visits", "devices", "history", "safety"):
            driver.switch_to.new_window("tab")
            driver.get(f"http://127.0.0.1:{served.port}/{page}")
        for _ in range(STREAMS - TABS):
            stack.enter_context(contextlib.closing(served.open_stream()))
        time.sleep(5)
        figures["crowd_mb"] = served.process.proportional_mb()
        for path in ("/history.xlsx", "/visitors/book.xlsx"):
            headers, body = served.ask(path)
            assert body.startswith(b"PK"), (path, headers)
        time.sleep(2)
        figures["crowd_export_mb"] = served.process.proportional_mb()
        began = time.monotonic()
        served.child.send_signal(signal.SIGTERM)
        served.child.wait(30)
        figures["end_s"] = time.monotonic() - began
    return figures
