"""Wires, and the devices of other makes at their far ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.simulate.modbus import crc16
from tests.broker import Broker, running
from tests.npm import FOREIGN, NODE, installed
from tests.ports import free_port

Answer = Callable[[bytes], list[tuple[float, bytes]]]
"""What a request makes a device send: delays in seconds, and bytes."""


class Line:
    """A serial line: `path` is the gateway's end; the test is the device at the other."""

    def __init__(self, near: int, path: str) -> None:
        self._near: int | None = near
        self.path = path
        self.requests: list[bytes] = []
        self.answer: Answer = lambda request: []
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(near, self._readable)

    def _readable(self) -> None:
        assert self._near is not None
        request = os.read(self._near, 4096)
        self.requests.append(request)
        for delay, data in self.answer(request):
            self._loop.call_later(delay, self.say, data)

    def say(self, data: bytes) -> None:
        if self._near is not None:
            os.write(self._near, data)

    def unplug(self) -> None:
        if self._near is not None:
            self._loop.remove_reader(self._near)
            os.close(self._near)
            self._near = None


@contextlib.contextmanager
def new_line() -> Iterator[Line]:
    near, far = os.openpty()
    tty.setraw(far)
    line = Line(near, os.ttyname(far))
    os.set_blocking(near, False)
    # Kept open while plugged in: a pty that nobody has open hangs up.
    try:
        yield line
    finally:
        line.unplug()
        os.close(far)


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    with new_line() as new:
        yield new


def rtu(unit: int, function: int, *words: int) -> bytes:
    """A reply with registers."""
    body = bytes((unit, function, 2 * len(words))) + b"".join(word.to_bytes(2, "big") for word in words)
    return body + crc16(body)


@pytest.fixture
def foreign_tcp() -> Iterator[Callable[[dict[str, Any]], int]]:
    """Start npm's `modbus-serial` as a server with these runs of cells; returns its port."""
    folder = installed("modbus-serial")
    with contextlib.ExitStack() as stack:

        def start(runs: dict[str, Any]) -> int:
            port = free_port()
            server = stack.enter_context(
                subprocess.Popen(
                    [NODE, "server.js", str(port), json.dumps(runs)],
                    cwd=folder,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            stack.callback(server.kill)
            assert server.stdout
            assert server.stdout.readline() == b"ready\n"
            return port

        yield start


@pytest.fixture(scope="session")
def foreign_rtu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """libmodbus as a slave: a program that takes a port and a unit."""
    program = tmp_path_factory.mktemp("foreign") / "rtu_slave"
    flags = ["-I/usr/include/modbus", "-I/usr/include", "-lmodbus"]
    subprocess.run(["gcc", "-O1", "-o", program, FOREIGN / "rtu_slave.c", *flags], check=True)
    return program


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path) as new:
        yield new
