"""The gateway as a process of its own, between a simulated centre and a real broker.

What left it is told by a foreign client: the output of `mosquitto_sub`, parsed.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.journal.rows import unpack_records
from tests.gateway.simulate.conftest import Simulator, eventually, simulator
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
SITE = "linli/v1/demo"


class Key(NamedTuple):
    """What tells a record apart for ever."""

    epoch: str
    device: str
    lane: str
    seq: int


class Broker:
    """A mosquitto of our own that keeps nothing; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(["mosquitto", "-c", self._config], stderr=subprocess.DEVNULL)
        eventually(lambda: self.publish("probe", "") == 0)

    def send(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process:
            self._process.send_signal(number)
            self._process.wait(10)
            self._process = None

    def publish(self, topic: str, payload: str | bytes, *options: str) -> int:
        """As a foreign client does; returns its exit code."""
        body = payload.encode() if isinstance(payload, str) else payload
        command = ["mosquitto_pub", "-p", str(self.port), "-q", "1", "-t", topic, *options]
        command.append("-s" if body else "-n")
        return subprocess.run(
            command, input=body, stderr=subprocess.DEVNULL, check=False, timeout=20
        ).returncode


class Witness:
    """Everything that any client of the broker published, in the order of arrival."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self._broker = broker
        self._file = folder / "witness.txt"
        self._file.touch()
        self._read = 0
        self._messages: list[tuple[str, Any]] = []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Listen; returns when the broker has taken the subscription."""
        command = ["mosquitto_sub", "-v", "-q", "1", "-p", str(self._broker.port), "-t", "#"]
        with self._file.open("ab") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        mark = len(self.messages())

        def hears() -> bool:
            self._broker.publish("probe", "{}")
            return any(topic == "probe" for topic, _ in self.messages()[mark:])

        eventually(hears)

    def end(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def messages(self) -> list[tuple[str, Any]]:
        """Topics and parsed payloads."""
        data = self._file.read_bytes()[self._read :]
        complete = data[: data.rfind(b"\n") + 1]
        self._read += len(complete)
        for line in complete.decode().splitlines():
            topic, _, payload = line.partition(" ")
            try:
                self._messages.append((topic, json.loads(payload)))
            except (ValueError, RecursionError):
                self._messages.append((topic, payload))
        return self._messages

    def records(self) -> list[tuple[Key, dict[str, Any]]]:
        """Every record in every message of the gateway."""
        return [
            (Key(message["epoch"], message["device"], message["lane"], entry["seq"]), entry)
            for topic, message in self.messages()
            if topic.startswith(SITE) and topic.rpartition("/")[2] in ("alarm", "event", "telemetry")
            for entry in message["records"]
        ]

    def find(self, device: str, lane: str, **body: Any) -> list[dict[str, Any]]:
        """The records of a stream whose data has these items."""
        return [
            entry
            for key, entry in self.records()
            if (key.device, key.lane) == (device, lane) and body.items() <= entry["data"].items()
        ]

    def latest(self, device: str) -> dict[str, Any]:
        """What was last measured by a device, or the failure to."""
        found = self.find(device, "telemetry")
        return dict(found[-1]["data"]) if found else {}


class Daemon:
    """`linli run` on a demo site of its own."""

    def __init__(self, folder: Path, sim: Simulator, broker: Broker) -> None:
        self.folder = folder
        self.metrics_port = free_port()
        self.site = folder / "site.toml"
        self.journal = folder / "journal.db"
        self.socket = folder / "control.sock"
        self.log = folder / "log.txt"
        text = (ROOT / "config" / "demo.toml").read_text("utf-8")
        for ours, theirs in {
            ".demo/rs485": str(sim.rs485),
            ".demo/lockers": str(sim.lockers),
            ".demo": str(folder),
            "18830": str(broker.port),
            "15020": str(sim.modbus),
        }.items():
            text = text.replace(ours, theirs)
        self.site.write_text(f"{text}\n[metrics]\nport = {self.metrics_port}\n", "utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> None:
        """Start it, without waiting."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "gateway.cli", "run", "--config", self.site],
                cwd=ROOT,
                env={**os.environ, "LINLI_LANG": "en", **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def up(self) -> bool:
        return self.health() is not None

    def send(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; returns its exit code."""
        assert self.process
        process, self.process = self.process, None
        process.send_signal(number)
        return process.wait(15)

    def get(self, path: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.metrics_port}/{path}", timeout=5
            ) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def health(self) -> dict[str, Any] | None:
        """What /healthz says; None while nobody answers."""
        try:
            state: dict[str, Any] = json.loads(self.get("healthz")[1])
        except (urllib.error.URLError, ConnectionError):
            return None
        return state


def linli(*arguments: str | Path, lang: str = "en") -> subprocess.CompletedProcess[str]:
    """The command line, as a process."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "gateway.cli", *arguments], cwd=ROOT,
        env={**os.environ, "LINLI_LANG": lang}, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip


class Centre:
    """A simulated centre, a broker with a witness, and the gateway between them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.broker = Broker(folder)
        stack.callback(self.broker.end)
        options = ("--broker", f"127.0.0.1:{self.broker.port}", "--speed", "4")
        self.sim = stack.enter_context(simulator(folder / "wires", *options))
        self.witness = Witness(self.broker, folder)
        stack.callback(self.witness.end)
        self.daemon = Daemon(folder, self.sim, self.broker)
        stack.callback(lambda: self.daemon.process and self.daemon.end(signal.SIGKILL))

    def do(self, action: str, **fields: object) -> None:
        """Make something happen at the simulated centre."""
        status, answer = self.sim.do(action, json.dumps(fields).encode())
        assert status == 200, answer

    def command(
        self, name: str, device: str, action: str, *, expires: float = 30.0, **args: object
    ) -> None:
        """Ask as the platform does."""
        asked = {
            "id": name, "device": device, "action": action, "args": args,
            "expires": int((time.time() + expires) * 1000), "by": "platform",
        }  # fmt: skip
        assert self.broker.publish(f"{SITE}/command", json.dumps(asked)) == 0

    def reply(self, name: str) -> dict[str, Any]:
        """The newest reply to a command, waited for."""
        found: list[dict[str, Any]] = eventually(lambda: self.replies(name))
        return found[-1]

    def replies(self, name: str) -> list[dict[str, Any]]:
        return [
            body
            for topic, body in self.witness.messages()
            if topic == f"{SITE}/reply" and body["id"] == name
        ]


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """A centre whose broker and gateway the test starts."""
    with ExitStack() as stack:
        yield Centre(tmp_path, stack)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    """One running centre for all tests that leave it as they found it."""
    with ExitStack() as stack:
        centre = Centre(tmp_path_factory.mktemp("centre"), stack)
        centre.broker.start()
        centre.witness.start()
        centre.daemon.start()
        devices = tomllib.loads(centre.daemon.site.read_text("utf-8"))["device"]
        eventually(lambda: all(centre.witness.latest(device) for device in devices))
        # The journal holds what the witness has once the window has ended.
        eventually(lambda: all(device in _kept(centre) for device in devices))
        yield centre


def _kept(centre: Centre) -> set[str]:
    with closing(sqlite3.connect(f"{centre.daemon.journal.as_uri()}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT body, crc FROM telemetry").fetchall()
    return {record.device for row in rows for record in unpack_records(*row)}


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Any:
    """Keys of the log lines that were told, in order."""
    caplog.set_level(logging.INFO, "linli")
    return lambda: [
        record.getMessage().rpartition("  [")[2].split()[0].rstrip("]")
        for record in caplog.records
        if record.name == "linli" and record.getMessage()
    ]
