"""A sixth capability, added in a temporary folder: it reaches every part of the gateway, and no other line
changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.broker import Broker, running
from tests.gateway.conftest import ROOT
from tests.gateway.simulate.conftest import eventually
from tests.ports import free_port

SITE = """\
schema = "linli/site/1"
[site]
id = "centre"
title = "Centre"
[journal]
path = "{folder}/journal.db"
[control]
socket = "{folder}/control.sock"
[metrics]
port = {metrics}
[dashboard]
port = {dashboard}
access = "{folder}/access.key"
[bus.radio]
driver = "mqtt_json"
url = "{broker}"
[device.motion]
profile = "occupancy/acme-presence"
title = "Motion"
bus = "radio"
topic = "acme/presence"
every = 60
[meeting_room.blue]
sensor = "motion"
[rule.full]
hazard = "crowd"
title = "No meeting room is free"
when = [{{ point = "meeting-rooms.free", below = 1 }}]
"""
PROFILE = """\
schema = "linli/profile/1"
kind = "occupancy"
maker = "Acme"
model = "Presence"
driver = "mqtt_json"
source = "made up"
[points.occupied]
path = "occupied"
[[examples]]
raw.json = '{ "occupied": true }'
values = { occupied = true }
"""


class Tree:
    """A copy of the product with one folder more, and a site that uses it."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.root = folder / "tree"
        self.metrics, self.dashboard = free_port(), free_port()
        for part in ("gateway", "drivers", "config"):
            shutil.copytree(ROOT / part, self.root / part, ignore=shutil.ignore_patterns("__pycache__"))
        added = Path(__file__).with_name("meeting_rooms")
        shutil.copytree(added, self.root / "gateway/capabilities/meeting_rooms")
        profile = folder / "profiles/occupancy/acme-presence.toml"
        profile.parent.mkdir(parents=True)
        profile.write_text(PROFILE, "utf-8")
        self.site = folder / "site.toml"
        self.text = SITE.format(
            folder=folder, metrics=self.metrics, dashboard=self.dashboard, broker=broker.url
        )
        self.site.write_text(self.text, "utf-8")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-W", "error", "-m", "gateway.cli", *arguments, "--config", str(self.site)]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "LINLI_LANG": "en"}

    def linli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = self.command(*arguments) if arguments[0] not in ("check", "--help") else [
            sys.executable, "-W", "error", "-m", "gateway.cli", *arguments,
        ]  # fmt: skip
        return subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False,
            timeout=30,
        )  # fmt: skip

    def figures(self) -> dict[str, float]:
        """What /metrics says of the capability's service."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=5) as answer:
                families = text_string_to_metric_families(answer.read().decode())
        except urllib.error.URLError:
            return {}
        return {
            sample.labels["figure"]: sample.value
            for family in families
            for sample in family.samples
            if family.name == "linli_figure" and sample.labels["service"] == "meeting-rooms"
        }


@contextmanager
def dashboard(tree: Tree, folder: Path) -> Iterator[Callable[[str], str]]:
    """`linli dashboard`, and what it answers to somebody with the access key."""
    (folder / "access.key").write_text("the-key-of-the-house\n", "utf-8")
    (folder / "access.key").chmod(0o600)
    jar = urllib.request.HTTPCookieProcessor()
    opener = urllib.request.build_opener(jar)

    def get(path: str) -> str:
        address = f"http://127.0.0.1:{tree.dashboard}{path}"
        request = urllib.request.Request(address, headers={"accept-language": "en"})
        with opener.open(request, timeout=5) as answer:
            body: bytes = answer.read()
        return body.decode()

    def enters() -> bool:
        try:
            return bool(get("/?key=the-key-of-the-house"))
        except urllib.error.URLError:
            return False

    process = subprocess.Popen(tree.command("dashboard"), cwd=tree.root, env=tree.environment)
    try:
        eventually(enters)
        yield get
    finally:
        process.terminate()
        process.wait(15)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path) as broker:
        yield broker


@pytest.fixture
def tree(tmp_path: Path, broker: Broker) -> Tree:
    return Tree(tmp_path, broker)


def test_the_site_file_knows_it_and_names_its_mistakes(tree: Tree) -> None:
    done = tree.linli("check", str(tree.site))
    assert done.returncode == 0, done.stdout + done.stderr
    tree.site.write_text(
        tree.text.replace('sensor = "motion"', 'sensor = "motoin"\nseats = 0\nsofa = true')
    )
    done = tree.linli("check", str(tree.site))
    assert done.returncode == 78
    line = tree.text.splitlines().index("[meeting_room.blue]") + 1
    for number, key in enumerate(("seats", "sofa"), line + 2):
        assert f"site.toml:{number}: meeting_room.blue.{key}" in done.stderr
    tree.site.write_text(tree.text.replace("[device.motion]", "[device.meeting-rooms]"))
    assert "device.meeting-rooms" in tree.linli("check", str(tree.site)).stderr
    tree.site.write_text(tree.text.replace("meeting-rooms.free", "meeting-rooms.empty"))
    assert "free, total" in tree.linli("check", str(tree.site)).stderr


def test_the_command_line_offers_it(tree: Tree) -> None:
    assert "Which meeting rooms are in use" in tree.linli("--help").stdout


def test_it_runs(tree: Tree, broker: Broker, tmp_path: Path) -> None:
    def publish(occupied: bool) -> None:
        message = json.dumps({"occupied": occupied})
        subprocess.run(
            ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", "acme/presence", "-m", message],
            check=True, timeout=10,
        )  # fmt: skip

    log = (tmp_path / "log.txt").open("ab")
    with log:
        daemon = subprocess.Popen(
            tree.command("run"), cwd=tree.root, env=tree.environment, stdout=log, stderr=log
        )
    try:

        def becomes(free: float) -> bool:
            publish(occupied=not free)
            return tree.figures() == {"free": free, "total": 1}

        eventually(lambda: becomes(1))
        assert "blue free" in tree.linli("meeting-rooms").stdout
        eventually(lambda: becomes(0))
        assert "blue in use" in tree.linli("meeting-rooms").stdout
        # The rule on its figure has raised an alarm.
        eventually(lambda: "No meeting room is free" in (tmp_path / "log.txt").read_text("utf-8")
                   or "rule/full" in (tmp_path / "log.txt").read_text("utf-8"))  # fmt: skip
        with dashboard(tree, tmp_path) as get:
            assert "Meeting rooms" in get("/")
            eventually(lambda: "blue (8): in use" in get("/meeting-rooms"))
            assert "会议室" in get("/meeting-rooms?lang=zh")
        done = tree.linli("do", "gateway", "vacate-room", "room=blue", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "blue free" in tree.linli("meeting-rooms").stdout
    finally:
        daemon.terminate()
        assert daemon.wait(15) == 0
