"""Another configuration while the gateway runs, on real wires: the sockets say what was disturbed."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config.adoption import load_adopted
from gateway.daemon.reload import MIN_TRIAL_S
from gateway.journal import JournalReader
from gateway.model import Lane, Record
from tests.gateway.conftest import ROOT, Centre, linli
from tests.gateway.simulate.conftest import eventually
from tests.gateway.sites import HEAD, bus, device
from tests.ports import free_port


class Server:
    """A Modbus TCP server that says who came when. A unit that is not in `units` is answered with an
    exception, and all registers of the others are `value`."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.units = {1, 2, 3}
        self.value = 0
        self.hangs_up = False
        self.patience = threading.Event()
        """A write is answered when this is set."""
        self.accepted: list[float] = []
        self.closed = 0
        self.asked: list[tuple[float, int]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.accepted.append(time.monotonic())
                if self.hangs_up:
                    connection.close()
                else:
                    threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as wire, contextlib.suppress(OSError):
            while len(head := wire.read(7)) == 7:
                number, _, length, unit = struct.unpack(">HHHB", head)
                function, first, count = struct.unpack(">BHH", wire.read(length - 1))
                self.asked.append((time.monotonic(), unit))
                if function == 5:
                    self.patience.wait(10)
                    self.value = 1
                    connection.sendall(struct.pack(">HHHBBHH", number, 0, 6, unit, 5, first, count))
                    continue
                words = struct.pack(f">{count}H", *[self.value] * count)
                data = words if function in (3, 4) else bytes([self.value] * -(-count // 8))
                body = bytes([function, len(data)]) + data
                if unit not in self.units:
                    body = bytes([function | 0x80, 11])
                connection.sendall(struct.pack(">HHHB", number, 0, len(body) + 1, unit) + body)
        self.closed += 1

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class House:
    """`linli run` as a process, on a site that the test writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "site.toml"
        self.log = folder / "log.txt"
        self.metrics, self.web = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, *parts: str) -> str:
        text = HEAD.format(folder=self.folder, metrics=self.metrics, web=self.web) + "".join(parts)
        self.file.write_text(text, "utf-8")
        return text

    def start(self, **environment: str) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "gateway.cli", "run", "--config", self.file],
                cwd=ROOT, env={**os.environ, "LINLI_LANG": "en", **environment}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
            )  # fmt: skip
        eventually(self.config)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process
        process, self.process = self.process, None
        process.send_signal(number)
        return process.wait(15)

    def get(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/{path}", timeout=5) as answer:
                return str(answer.read(), "utf-8")
        except urllib.error.HTTPError as error:
            with error:
                return str(error.read(), "utf-8")
        except OSError:
            return "{}"

    def config(self) -> dict[str, Any]:
        """What health says of the configuration."""
        found: dict[str, Any] = json.loads(self.get("healthz")).get("config", {})
        return found

    def reload(self, *options: str) -> subprocess.CompletedProcess[str]:
        return linli("reload", "--config", self.file, *options)

    def logged(self, key: str) -> int:
        return self.log.read_text("utf-8").count(f"[{key} ")

    def records(self, lane: Lane) -> list[Record]:
        async def read() -> list[Record]:
            async with JournalReader.open(self.folder / "journal.db") as reader:
                return [record async for record in reader.records(lane, 0)]

        return asyncio.run(read())

    def revisions(self) -> list[tuple[int, str]]:
        return [
            (record.body["number"], record.body["by"])
            for record in self.records(Lane.EVENT)
            if record.kind == "config"
        ]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    if house.process:
        house.end(signal.SIGKILL)


@pytest.fixture
def server() -> Iterator[Callable[[], Server]]:
    with contextlib.ExitStack() as stack:

        def serve() -> Server:
            server = Server()
            stack.callback(server.close)
            return server

        yield serve


def attempts(server: Server) -> list[float]:
    """When it was tried to connect: a broker that hangs up is asked for less several times in a row."""
    pairs = itertools.pairwise([float("-inf"), *server.accepted])
    return [later for earlier, later in pairs if later - earlier > 0.25]


def test_only_what_changed_restarts(house: House, server: Callable[[], Server]) -> None:
    """The sockets say so: who keeps its connection, its schedule, its back-off."""
    calm, changed, gone, new, lost = (server() for _ in range(5))
    lost.hangs_up = True
    steady = (
        bus("calm", calm.port)
        + device("a", "calm")
        + f'\n[bus.lost]\ndriver = "mqtt_json"\nurl = "mqtt://127.0.0.1:{lost.port}"\n'
        + '\n[device.b]\nprofile = "thermometer/generic-mqtt"\nbus = "lost"\ntopic = "t"\nevery = 1\n'
    )
    house.write(
        steady, bus("changed", changed.port), device("c", "changed"), bus("gone", gone.port),
        device("d", "gone"),
    )  # fmt: skip
    house.start()
    eventually(lambda: calm.asked and changed.asked and gone.asked)
    # Wait until the back-off is long: 0.5, 1, 2, 3 s, each by a factor of 0.6 to 1.
    eventually(lambda: len(attempts(lost)) >= 5, 20)
    house.write(
        steady, bus("changed", changed.port), device("c", "changed", 2), bus("new", new.port),
        device("e", "new"),
    )  # fmt: skip
    done = house.reload("--no-return")
    assert (done.returncode, done.stderr) == (0, "")
    assert "revision 2 was adopted" in done.stdout
    for said in ("opened: new", "closed: gone", "restarted: changed", "added: e", "removed: d"):
        assert said in done.stdout
    eventually(lambda: new.asked and gone.closed)
    eventually(lambda: changed.asked and changed.asked[-1][1] == 2)
    assert (len(calm.accepted), len(changed.accepted), len(new.accepted)) == (1, 2, 1)
    eventually(lambda: len(calm.asked) >= 8)
    polls = [moment for moment, _ in calm.asked]
    assert all(0.5 < later - earlier < 1.5 for earlier, later in itertools.pairwise(polls[1:]))
    assert calm.closed == 0
    eventually(lambda: len(attempts(lost)) >= 6)
    assert all(later - earlier > 1.7 for earlier, later in itertools.pairwise(attempts(lost)[4:]))
    assert "linli_config_revision 2.0" in house.get("metrics")
    assert 'linli_bus_up{bus="gone"}' not in house.get("metrics")
    assert 'linli_bus_up{bus="new"} 1.0' in house.get("metrics")
    assert house.end() == 0
    assert "Traceback" not in house.log.read_text("utf-8")


@pytest.mark.parametrize("how", ["console", "signal"])
def test_one_mistake_refuses_all(house: House, server: Callable[[], Server], how: str) -> None:
    one = server()
    text = house.write(bus("hall", one.port), device("a", "hall"))
    house.start()
    eventually(lambda: one.asked)
    wrong = text.replace("unit = 1", "unit = 999") + device("b", "hall", 2) + device("c", "hal", 3)
    house.file.write_text(wrong, "utf-8")
    lines = {
        "unit id must be": wrong[: wrong.index("unit = 999")].count("\n") + 1,
        "no bus": wrong[: wrong.index('"hal"')].count("\n") + 1,
    }
    if how == "console":
        done = house.reload()
        assert done.returncode == 78
        said = done.stderr
        assert "2 error(s) to correct; the gateway continues with the previous configuration" in said
    else:
        assert house.process
        house.process.send_signal(signal.SIGHUP)
        eventually(lambda: house.logged("reload-refused"))
        said = house.log.read_text("utf-8")
    for line in lines.values():
        assert f"{house.file}:{line}: " in said
    assert house.config()["revision"] == 1
    asked = len(one.asked)
    eventually(lambda: len(one.asked) > asked + 1)
    assert (len(one.accepted), {unit for _, unit in one.asked}) == (1, {1})


def test_what_the_daemon_alone_can_refuse_is_told_at_the_console(house: House) -> None:
    text = house.write(bus("hall", free_port()), device("a", "hall"))
    house.start()
    house.file.write_text(text.replace('id = "demo"', 'id = "other"'), "utf-8")
    done = house.reload()
    assert done.returncode == 78
    assert f"{house.file}:4: site.id: cannot change while the gateway is running" in done.stderr


def test_sighup_reloads(house: House, server: Callable[[], Server]) -> None:
    one = server()
    text = house.write(bus("hall", one.port), device("a", "hall"))
    house.start()
    house.file.write_text(text + device("b", "hall", 2), "utf-8")
    assert house.process
    house.process.send_signal(signal.SIGHUP)
    eventually(lambda: any(unit == 2 for _, unit in one.asked))
    eventually(lambda: house.config()["revision"] == 2)
    assert house.config()["by"] == "signal"


def test_rows_outlive_a_reload_and_alarms_of_the_removed_are_closed(
    house: House, server: Callable[[], Server]
) -> None:
    doors, smoke = server(), server()
    door = bus("doors", doors.port) + device("d", "doors", profile="door-counter/generic-ir2")
    fires = bus("fires", smoke.port) + device("s", "fires")
    house.write(door, fires)
    house.start()
    eventually(lambda: doors.asked and smoke.asked)
    smoke.value = 1
    doors.value = 1  # Both words: 65,537 people have passed. That is no crossing of this minute.
    eventually(lambda: house.records(Lane.ALARM))
    eventually(lambda: any(r.kind == "counter-implausible" for r in house.records(Lane.EVENT)))
    house.write(door, device("e", "doors", 2, profile="door-counter/generic-ir2"))
    assert house.reload("--no-return").returncode == 0
    alarms = [record.body["change"] for record in house.records(Lane.ALARM)]
    assert alarms == ["raised", "removed"]
    eventually(lambda: any(unit == 2 for _, unit in doors.asked))

    def newest() -> int:
        return max(r.seq for r in house.records(Lane.TELEMETRY) if r.device == "d")

    before = newest()
    eventually(lambda: newest() >= before + 2)
    # Where the counter stood was not forgotten: nothing has passed since.
    told = [
        r.kind for r in house.records(Lane.EVENT) if r.device == "d" and r.kind not in ("link", "coverage")
    ]
    assert told == ["counter-implausible"]
    listed = json.loads(linli("config", "--json", "--config", house.file).stdout)
    assert [each["number"] for each in listed] == [1, 2]
    assert listed[1]["changes"]["device"] == {"added": ["e"], "removed": ["s"]}
    heads, _, last = linli("config", "--config", house.file).stdout.splitlines()
    assert heads.split() == ["revision", "time", "origin", "digest", "changes"]
    assert last.startswith("2 ")
    assert "linli reload" in last
    assert last.endswith("devices removed: s")


def test_it_returns_by_itself_and_says_so(house: House, server: Callable[[], Server]) -> None:
    one = server()
    text = house.write(bus("hall", one.port), device("a", "hall"), device("b", "hall", 2))
    house.start()
    eventually(lambda: {unit for _, unit in one.asked} == {1, 2})
    house.file.write_text(text.replace("unit = 2", "unit = 9"), "utf-8")
    began = time.monotonic()
    done = house.reload()
    assert MIN_TRIAL_S - 1 < time.monotonic() - began < MIN_TRIAL_S + 8
    assert done.returncode == 1
    assert "revision 2 was adopted" in done.stdout
    assert "was restored as revision 3, because these devices stopped responding: b" in done.stderr
    assert house.config()["revision"] == 3
    assert house.config()["refused"]["zh"]
    assert json.loads(house.get("healthz"))["ok"] is False
    eventually(lambda: one.asked[-1][1] == 2 or one.asked[-2][1] == 2)
    eventually(
        lambda: any(
            (record.device, record.body["point"], record.body["change"])
            == ("gateway", "config_refused", "raised")
            for record in house.records(Lane.ALARM)
        )
    )
    house.file.write_text(text, "utf-8")
    done = house.reload()
    assert (done.returncode, done.stdout) == (0, "nothing has changed; revision 3 keeps running\n")
    assert json.loads(house.get("healthz"))["ok"] is True
    assert house.revisions() == [(1, "start"), (2, "console"), (3, "rollback")]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("stage", "told"),
    [
        ("file-drafted", [(1, "start"), (2, "start")]),
        ("config-kept", [(1, "start"), (2, "console")]),
        ("config-switched", [(1, "start"), (2, "console")]),
        ("file-drafted:2", [(1, "start"), (2, "console")]),
        ("file-drafted:3", [(1, "start"), (2, "console"), (3, "rollback")]),
        ("config-kept:2", [(1, "start"), (2, "console"), (3, "rollback")]),
        ("config-switched:2", [(1, "start"), (2, "console"), (3, "rollback")]),
    ],
)
def test_kill_at_any_stage_leaves_the_old_or_the_new(
    house: House, server: Callable[[], Server], stage: str, told: list[tuple[int, str]]
) -> None:
    """Adoption and return, cut off: the next start runs one of the two, and tells each number once."""
    one = server()
    text = house.write(bus("hall", one.port), device("a", "hall"), device("b", "hall", 2))
    house.start()
    eventually(lambda: {unit for _, unit in one.asked} == {1, 2})
    house.end()
    house.start(LINLI_KILL_AT=stage)
    asked = len(one.asked)
    eventually(lambda: {unit for _, unit in one.asked[asked:]} == {1, 2})
    new = text.replace("unit = 2", "unit = 9") + device("c", "hall", 3)
    house.file.write_text(new, "utf-8")
    house.reload("--no-wait")
    assert house.process
    assert house.process.wait(MIN_TRIAL_S + 10) == -signal.SIGKILL
    house.start()
    asked = len(one.asked)
    if told[-1][1] == "rollback":
        # The first of these was cut off before it was kept, and so the trial is held again.
        eventually(lambda: house.config()["by"] == "rollback", MIN_TRIAL_S + 10)
        expected = {1, 2}
    else:
        expected = {1, 9, 3}
    asked = len(one.asked)
    eventually(lambda: {unit for _, unit in one.asked[asked:]} == expected)
    assert house.revisions() == told
    assert load_adopted(house.file, house.folder / "journal.db")


def test_a_torn_file_at_boot_runs_the_last_good_one(house: House, server: Callable[[], Server]) -> None:
    one = server()
    text = house.write(bus("hall", one.port), device("a", "hall"))
    house.start()
    eventually(lambda: one.asked)
    house.end()
    house.file.write_text(text[:-12], "utf-8")
    asked = len(one.asked)
    house.start()
    eventually(lambda: len(one.asked) > asked)
    state = json.loads(house.get("healthz"))
    assert (state["ok"], state["config"]["revision"]) == (False, 1)
    line = text[:-12].count("\n") + 1
    assert state["config"]["refused"]["en"][0].startswith(f"{house.file}:{line}: ")
    assert house.logged("config-last-good") == 1
    assert linli("check", house.file).returncode == 78
    eventually(
        lambda: any(record.body["point"] == "config_refused" for record in house.records(Lane.ALARM))
    )
    # What was adopted can be had again.
    assert linli("config", "--text", "--config", house.file).stdout == text
    assert linli("read", "a", "--config", house.file).returncode == 0
    house.file.write_text(text, "utf-8")
    assert house.reload().returncode == 0
    assert json.loads(house.get("healthz"))["ok"] is True
    assert house.revisions() == [(1, "start")]


def test_without_a_last_good_one_it_ends_with_78(house: House) -> None:
    house.file.write_text(house.write()[:-12] + "port = ", "utf-8")
    assert linli("run", "--config", house.file).returncode == 78


def test_the_dashboard_follows_and_keeps_its_sessions(house: House, server: Callable[[], Server]) -> None:
    one = server()
    text = house.write(bus("hall", one.port), device("a", "hall", more='title = "First one"\n'))
    house.start()
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "gateway.cli", "dashboard", "--config", house.file],
        cwd=ROOT, stderr=subprocess.DEVNULL,
    ) as dashboard:  # fmt: skip
        try:
            eventually(lambda: _listens(house.web))
            key = (house.folder / "access.key").read_text().strip()
            cookie = ""

            def page(path: str = "/devices") -> str:
                nonlocal cookie
                connection = http.client.HTTPConnection("127.0.0.1", house.web, timeout=5)
                with contextlib.closing(connection):
                    headers = {"cookie": f"{cookie}; linli-lang=en", "accept-language": "en"}
                    connection.request("GET", path, headers=headers)
                    answer = connection.getresponse()
                    if found := re.search(r"linli-session=[^;]+", answer.headers.get("set-cookie", "")):
                        cookie = found[0]
                    return str(answer.read(), "utf-8")

            page(f"/?key={key}")
            assert cookie
            eventually(lambda: "First one" in page())
            added = device("b", "hall", 2, more='title = "Second one"\n')
            house.file.write_text(text.replace("First one", "One renamed") + added, "utf-8")
            assert house.reload("--no-return").returncode == 0
            eventually(lambda: "Second one" in page() and "One renamed" in page())
            assert "First one" not in page()
            assert "file is not in use" not in page()
            house.end()
            house.file.write_text("[", "utf-8")
            house.start(STATE_DIRECTORY=str(house.folder))
            eventually(lambda: "file is not in use" in page())
            assert "Second one" in page()
        finally:
            dashboard.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_an_uplink_that_changed_reconnects_and_the_lines_go_on(centre: Centre) -> None:
    centre.broker.start()
    centre.witness.start()
    centre.daemon.start()
    eventually(lambda: centre.witness.latest("smoke-hall").get("quality") == "good")
    log = centre.daemon.log
    lines = log.read_text("utf-8").count("[bus-up ")
    text = centre.daemon.site.read_text("utf-8").replace("linli-demo", "linli-other")
    centre.daemon.site.write_text(text, "utf-8")
    done = linli("reload", "--no-wait", "--config", centre.daemon.site)
    assert (done.returncode, done.stderr) == (0, "")
    assert "uplink restarted" in done.stdout
    eventually(lambda: log.read_text("utf-8").count("[uplink-up ") == 2)
    centre.command("after", "smoke-hall", "reboot")
    assert centre.reply("after")["status"] == "denied"
    assert log.read_text("utf-8").count("[bus-up ") == lines
    assert centre.witness.find("gateway", "event", number=2, by="console")
    assert centre.daemon.end() == 0


def test_a_command_in_hand_outlives_the_uplink_that_brought_it(
    centre: Centre, server: Callable[[], Server]
) -> None:
    one = server()
    text = centre.daemon.site.read_text("utf-8").replace('commands = ["open"', 'commands = ["siren-on"')
    text = text.replace("trust = { open", "trust = { siren-on")
    text = text.replace("[device.door-east]", bus("io", one.port) + device(
        "io", "io", profile="io-module/generic-di2-do1") + "\n[device.door-east]")  # fmt: skip
    centre.daemon.site.write_text(text.replace("timeout = 0.2", "timeout = 5.0"), "utf-8")
    centre.broker.start()
    centre.witness.start()
    centre.daemon.start()
    eventually(lambda: centre.witness.latest("io").get("quality") == "good")
    centre.command("siren", "io", "siren-on")
    eventually(lambda: centre.witness.find("io", "event", id="siren", status="accepted"))
    new = centre.daemon.site.read_text("utf-8").replace("linli-demo", "linli-other")
    centre.daemon.site.write_text(new, "utf-8")
    assert linli("reload", "--no-wait", "--config", centre.daemon.site).returncode == 0
    one.patience.set()
    eventually(lambda: centre.witness.find("io", "event", id="siren", status="done"))
    assert len(one.accepted) == 1
    centre.command("siren", "io", "siren-on")
    assert centre.reply("siren")["status"] == "done"
    assert centre.daemon.end() == 0
