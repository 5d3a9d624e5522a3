"""A scan through the running gateway, which owns the line and polls a smoke detector on it each second."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.base import control
from gateway.field.polled import SCAN_REQUEST_S
from gateway.field.scan.requests import decode_points, encode_points
from gateway.journal import JournalReader
from gateway.model import GatewayError, Lane
from tests.drivers.conftest import Line
from tests.gateway.conftest import ROOT
from tests.gateway.field.scan.conftest import SMOKE, Rig, units
from tests.gateway.field.scan.test_match import ASKED
from tests.gateway.field.scan.test_scanner import READS, Tcp, requests
from tests.ports import free_port

DEFAULT_SILENCE_S = {3: (0, 12, 228, 3012)}
SITE = """
[bus.rs485]
driver = "modbus"
url = "rtu:{path}"
timeout = 5.0

[device.smoke-hall]
profile = "smoke/generic-rs485"
bus = "rs485"
unit = 1
every = {every}
"""


POLL = bytes((1, 3, 0, 0, 0, 4))


class Wire:
    """The line with what was asked on it, and whether somebody answers that."""

    def __init__(self, line: Line, known: dict[int, Any]) -> None:
        self.asked: list[tuple[bytes, bool]] = []
        reply = units(known)

        def answer(request: bytes) -> list[tuple[float, bytes]]:
            replies = reply(request)
            self.asked.append((request, bool(replies)))
            # A unit takes 20 ms for its answer, as on a wire.
            return [(0.02, data) for _, data in replies]

        line.answer = answer

    def polls(self) -> int:
        """How often the detector was polled."""
        return sum(request.startswith(POLL) for request, _ in self.asked)

    def unanswered_between_polls(self) -> list[int]:
        """How many questions nobody answered between each poll of the detector and the next."""
        counts = [0]
        for request, is_answered in self.asked:
            if request.startswith(POLL):
                counts.append(0)
            elif not is_answered:
                counts[-1] += 1
        return counts


@contextlib.asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[Callable[[str], float]]:
    """`linli run`, once its lines are open; gives its metrics."""
    port = free_port()
    with rig.file.open("a", encoding="utf-8") as file:
        file.write(f'\n[journal]\npath = "{rig.journal}"\n[metrics]\nport = {port}\n')
    command = [sys.executable, "-W", "error", "-m", "gateway.cli", "run", "--config", str(rig.file)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=subprocess.DEVNULL)

    def metric(name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = str(answer.read(), "utf-8").splitlines()
        (value,) = (line.rpartition(" ")[2] for line in lines if line.startswith(name))
        return float(value)

    try:
        async with asyncio.timeout(15):
            while not await control_answers(rig):
                await asyncio.sleep(0.05)
        yield metric
    finally:
        process.terminate()
        await process.wait()


async def control_answers(rig: Rig) -> bool:
    try:
        health = await control.call_daemon(rig.socket, "health")
    except GatewayError:
        return False
    return all(health["buses"].values())


async def readings(rig: Rig) -> list[dict[str, Any]]:
    """Every reading of the detector in the journal."""
    async with JournalReader.open(rig.journal) as reader:
        records = [record async for record in reader.records(Lane.TELEMETRY, 0)]
    return [record.body for record in records if record.device == "smoke-hall"]


async def test_a_scan_through_the_gateway_misses_no_poll_and_mixes_up_no_value(
    line: Line, rig: Rig
) -> None:
    rig.write(SITE.format(path=line.path, every=1.0))
    wire = Wire(line, {1: DEFAULT_SILENCE_S, 9: SMOKE, 30: SMOKE})
    async with running(rig) as metric:
        await rig.scanner(numbers=range(1, 41)).scan_ports([line.path])
        assert await asyncio.to_thread(metric, "linli_polls_missed_total") == 0
        assert await asyncio.to_thread(metric, "linli_poll_failures_total") == 0
    assert [(met.configured_as, met.address) for met in rig.found] == [
        ("smoke-hall", {"unit": 1}),
        ("", {"unit": 9}),
        ("", {"unit": 30}),
    ]
    smoke = next(fit for fit in rig.found[1].matches if fit.profile == "smoke/generic-rs485")
    assert smoke.values["smoke"] is True
    # The detector's own values, and no stranger's.
    kept = await readings(rig)
    assert {(r["quality"], r["values"]["smoke"], r["values"]["temperature"]) for r in kept} == {
        ("good", False, 22.8)
    }
    assert wire.polls() - 1 <= len(kept) <= wire.polls()
    # A question that nobody answers takes so long or, on a slow machine, longer; a poll is due each second.
    assert max(wire.unanswered_between_polls()) <= 1.0 / SCAN_REQUEST_S + 1
    assert sum(wire.unanswered_between_polls()) >= 37
    # What the wire heard is requests to read, one at a time, to nobody who is configured but his own.
    assert len(requests(line)) == len(line.requests)
    assert {request[1] for request in requests(line)} <= READS
    assert [r for r in requests(line) if r[0] == 1 and r[:6] != bytes((1, 3, 0, 0, 0, 4))] == []
    site = rig.pasted("smoke/generic-rs485")
    assert [(d.bus, d.address.unit) for d in site.devices.values()] == [
        ("rs485", 1),
        ("rs485", 9),
        ("rs485", 30),
    ]
    assert list(site.buses) == ["rs485"]


async def test_a_converter_that_waits_for_an_absent_unit_is_not_asked_again(rig: Rig) -> None:
    """Who is in use behind it would wait, too."""
    tcp = Tcp({1: DEFAULT_SILENCE_S, 2: SMOKE}, silent=True)
    async with tcp.serve() as place:
        rig.write(SITE.format(path="", every=1.0).replace("rtu:", f"tcp://{place}"))
        async with running(rig) as metric:
            await rig.scanner(numbers=range(1, 9)).scan_hosts([place])
            assert await asyncio.to_thread(metric, "linli_poll_failures_total") == 0
    assert [met.address for met in rig.found] == [{"unit": 1}, {"unit": 2}]
    assert rig.told() == ["scan.through", "error.scan-queue"]
    assert {unit for unit, request in tcp.asked} == {1, 2, 3}
    assert tcp.connections == 1


async def test_nobody_asks_a_configured_device_in_the_name_of_a_scan(line: Line, rig: Rig) -> None:
    rig.write(SITE.format(path=line.path, every=1.0))
    Wire(line, {1: DEFAULT_SILENCE_S})
    async with running(rig):
        for request, error in (
            ({"bus": "rs485", "address": {"unit": 1}}, "scan-configured"),
            ({"bus": "rs485", "address": {"unit": 256}}, "modbus-unit"),
            ({"bus": "rs485", "address": {"unit": "9"}}, "value-integer"),
            ({"bus": "rs485", "address": {"unit": 9}, "points": {"x": 7}}, "command-form"),
            ({"bus": "nowhere", "address": {"unit": 9}}, "bus-unknown"),
        ):
            with pytest.raises(GatewayError, match=error):
                await control.call_daemon(rig.socket, "scan", **request)
        answer = await control.call_daemon(rig.socket, "scan", bus="rs485", address={"unit": 9})
        assert answer == {"nobody": "timeout", "kind": "timeout"}


async def test_a_line_whose_devices_speak_is_refused_with_a_way_out(line: Line, rig: Rig) -> None:
    rig.write(
        f"""
        [bus.fire]
        driver = "gb26875"
        listen = "{line.path}"
        [device.panel]
        profile = "fire-panel/gb26875"
        bus = "fire"
        source = "00:00:00:00:00:00"
        """
    )
    async with running(rig):
        await rig.scanner().scan_ports([line.path])
    assert rig.said == [("scan.speaks", {"place": line.path, "bus": "fire"})]


async def test_a_site_that_was_changed_since_the_gateway_read_it(line: Line, rig: Rig) -> None:
    rig.write(SITE.format(path=line.path, every=1.0))
    Wire(line, {1: DEFAULT_SILENCE_S, 2: SMOKE})
    async with running(rig):
        rig.write("")
        await rig.scanner(numbers=[2]).scan_ports([line.path])
    assert rig.told() == ["scan.differs"]
    assert {request[0] for request in line.requests} <= {1}


def test_points_travel_unchanged() -> None:
    for profile in ASKED.values():
        assert len(json.dumps(encode_points(profile.points))) < control.MAX_REQUEST_BYTES / 2
        assert decode_points(profile.driver, encode_points(profile.points)) == profile.points
