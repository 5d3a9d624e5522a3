"""The simulator as a process of its own, and a real broker."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.simulate.modbus import crc16


def eventually(true: Callable[[], Any], seconds: float = 40.0) -> Any:
    """What `true` returns as soon as it is truthy."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := true():
            return result
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


class Simulator:
    """A running simulator and its console."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        self.process = process
        self.ready = json.loads(process.stdout.readline())
        self.modbus: int = self.ready["modbus"]
        self.rs485, self.lockers = Path(self.ready["rs485"]), Path(self.ready["lockers"])

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.ready['console']}/{path}"

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url(path), timeout=5) as response:
            return str(response.read(), "utf-8")

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.get("state"))
        return state

    def do(self, action: str, body: bytes = b"") -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(self.url(f"do/{action}"), data=body, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


@contextmanager
def simulator(folder: Path, *options: str) -> Iterator[Simulator]:
    """Run `python -m gateway.simulate` on any free ports at ten in the morning."""
    command = [sys.executable, "-W", "error", "-m", "gateway.simulate", "--dir", str(folder)]
    ports = ["--modbus-port", "0", "--console-port", "0", "--start", "10:00"]
    process = subprocess.Popen(
        [*command, *ports, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield Simulator(process)
        finally:
            process.terminate()


@pytest.fixture
def simulate(tmp_path: Path) -> Iterator[Callable[..., Simulator]]:
    """Start a simulator with these options; it ends with the test."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(simulator(tmp_path / "wires", *options))


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """One simulator for all tests of a file; each leaves it as it found it."""
    with simulator(tmp_path_factory.mktemp("sim"), "--broker", "127.0.0.1:1") as running:
        yield running


@contextmanager
def mosquitto(folder: Path, port: int) -> Iterator[None]:
    """A real broker on loopback, listening when the block begins."""
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    with subprocess.Popen(["mosquitto", "-c", config], stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: _listens(port))
            yield
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(path: Path, body: bytes, length: int, seconds: float = 3.0) -> bytes:
    """Send an RTU request on a line opened for it; what came back, at most `length` bytes."""
    return exchange(path, body + crc16(body), length, seconds)


def exchange(path: Path, request: bytes, length: int, seconds: float = 3.0) -> bytes:
    """What a serial line, opened for it, answers to a request."""
    port = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        termios.tcflush(port, termios.TCIFLUSH)
        os.write(port, request)
        reply = b""
        while len(reply) < length and select.select([port], [], [], seconds)[0]:
            reply += os.read(port, length - len(reply))
        return reply
    finally:
        os.close(port)
