"""`linli scan` as a person runs it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.conftest import Line
from tests.gateway.conftest import ROOT, linli
from tests.gateway.field.scan.conftest import SMOKE, Rig, uncommented, units


async def scan(rig: Rig, *arguments: str, lang: str = "en") -> tuple[str, str]:
    """What it prints: the tables, and how it went."""
    done = await asyncio.to_thread(linli, "scan", *arguments, "--config", rig.file, lang=lang)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize(
    ("lang", "about", "unsure"),
    [("en", r"about \d+ s", "press the test button"), ("zh", r"约需 \d+ 秒", "请按测试按钮")],
)
async def test_what_is_printed_passes_the_check(
    line: Line, rig: Rig, lang: str, about: str, unsure: str
) -> None:
    line.answer = units({2: SMOKE})
    arguments = ["serial", line.path, "--units", "1-3", "--seconds", "0.2", "--baud", "9600"]
    tables, told = await scan(rig, *arguments, lang=lang)
    assert re.search(about, told)
    assert unsure in told
    assert unsure in tables
    tables = uncommented(tables, ["smoke/generic-rs485"])
    rig.file.write_text(rig.file.read_text("utf-8") + tables, "utf-8")
    done = await asyncio.to_thread(linli, "check", rig.file)
    assert "OK (1 lines, 1 devices)" in done.stdout
    whole = json.loads((await scan(rig, *arguments, "--json"))[0])
    (found,) = whole["found"]
    assert (found["address"], found["configured"], found["bus"]) == ({"unit": 2}, "device-2", "modbus")
    assert whole["config"] == ""


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What a shell runs in the background ignores SIGINT, and so would our children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
async def test_an_interrupted_scan_prints_what_it_has_found(line: Line, rig: Rig) -> None:
    line.answer = units({1: SMOKE})
    command = ["serial", line.path, "--seconds", "0.1", "--timeout", "0.3", "--config", str(rig.file)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "gateway.cli", "scan", *command, cwd=ROOT,
        env={**os.environ, "LINLI_LANG": "en"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr
    told = ""
    while "may be smoke" not in told:
        told += (await process.stderr.readline()).decode()
    process.send_signal(signal.SIGINT)
    tables, rest = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in rest
    assert "[device.device-1]" in tables.decode()


def test_a_port_that_cannot_be_opened_is_a_failure(rig: Rig, tmp_path: Path) -> None:
    done = linli("scan", "serial", tmp_path / "ttyUSB7", "--config", rig.file)
    assert done.returncode == 1
    assert f"{tmp_path}/ttyUSB7 cannot be opened" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tcp"], "give an address"),
        (["mqtt", "host:1883"], "give a broker"),
        (["serial", "COM3"], "given by its path"),
        (["tcp", "10.0.0.0/8"], "at most 1024"),
    ],
)
def test_a_target_that_is_none(rig: Rig, arguments: list[str], said: str) -> None:
    done = linli("scan", *arguments, "--config", rig.file)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_site_with_mistakes_is_mended_first(rig: Rig, tmp_path: Path) -> None:
    rig.write("[bus.x]\n")
    done = linli("scan", "serial", "/dev/none", "--config", rig.file)
    assert done.returncode == 78
    assert f"{rig.file}:10: bus.x: 'driver' is missing" in done.stderr
