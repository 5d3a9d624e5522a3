"""USB serial adapters that are pulled out and come back under another number (fault 34)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
import tty
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.base.clock import SystemClock
from gateway.config import load_site
from gateway.field.line import Line as FieldLine
from gateway.model import Command, GatewayError, Sample
from gateway.simulate.modbus import crc16
from tests.drivers.conftest import Answer, Line

SITE = 'schema = "linli/site/1"\n[site]\nid = "here"\ntitle = "Here"\n'


def module(request: bytes) -> list[tuple[float, bytes]]:
    """An I/O module: nothing is on, and it does what it is told."""
    reply = request[:2] + b"\x01\x00" if request[1] in (1, 2) else request[:-2]
    return [(0, reply + crc16(reply))]


def lockers(request: bytes) -> list[tuple[float, bytes]]:
    """A CU16: all doors are shut."""
    return [(0, bytes.fromhex("02 00 36 00 00 00 00 03 3B"))] if request[2] == 0x30 else []


FIRE = bytes.fromhex(
    "40400100 0101 180D11160A14 000000000000 060504030201 0A00 02 18 01 04 07 301213010814 24 2323"
)
WIRES: dict[str, tuple[str, Answer, bytes]] = {
    # Through pymodbus, and through our own serial port, asked and listened to: the site, the device at
    # the far end, and what it says by itself.
    "modbus": (
        """
        [bus.line]
        driver = "modbus"
        url = "rtu:PORT"
        [device.d]
        profile = "io-module/generic-di2-do1"
        bus = "line"
        unit = 7
        every = 0.2
        """,
        module,
        b"",
    ),
    "lockboard": (
        """
        [bus.line]
        driver = "lockboard"
        port = "PORT"
        dialect = "cu16"
        [device.d]
        profile = "parcel-locker/kerong-cu16"
        bus = "line"
        every = 0.2
        """,
        lockers,
        b"",
    ),
    "gb26875": (
        """
        [bus.line]
        driver = "gb26875"
        listen = "PORT"
        [device.d]
        profile = "fire-panel/gb26875"
        bus = "line"
        source = "00:00:00:00:00:00"
        every = 60
        """,
        lambda _: [],
        FIRE,
    ),
}


class Adapter:
    """What udev makes of an adapter: a name that stays, and a number that does not."""

    def __init__(self, folder: Path, answer: Answer) -> None:
        self.path = folder / "usb-FTDI_FT232R-if00-port0"
        self.answer = answer
        self.requests: list[bytes] = []
        self._taken: list[int] = []

    def plug(self) -> None:
        """Back, under a number that it has never had: the old ones stay taken."""
        near, far = os.openpty()
        tty.setraw(far)
        os.set_blocking(near, False)
        self._taken.append(far)
        self.line = Line(near, os.ttyname(far))
        self.line.requests = self.requests
        self.line.answer = self.answer
        self.path.symlink_to(self.line.path)

    def pull(self) -> None:
        self.path.unlink()
        self.line.unplug()

    def held(self) -> int:
        """Descriptors that the gateway has of the port (one is ours)."""
        links = []
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                links.append(os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)"))
        return links.count(self.line.path) - 1

    def close(self) -> None:
        self.line.unplug()
        for far in self._taken:
            os.close(far)


class Rig:
    """A bus on an adapter, with its samples."""

    def __init__(self, folder: Path, name: str) -> None:
        site, answer, self._says = WIRES[name]
        self.adapter = Adapter(folder, answer)
        file = folder / "site.toml"
        file.write_text(SITE + site.replace("PORT", str(self.adapter.path)))
        checked = load_site(file)
        self.samples: list[Sample] = []
        self.task = FieldLine(
            checked.buses["line"], tuple(checked.devices.values()), SystemClock(), self._sink
        )

    async def _sink(self, sample: Sample) -> None:
        self.samples.append(sample)

    async def until(self, true: Callable[[], Any], seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while not true():
                if self._says:
                    self.adapter.line.say(self._says)
                await asyncio.sleep(0.02)

    async def until_well(self) -> None:
        before = len(self.samples)
        await self.until(lambda: any(sample.values for sample in self.samples[before:]))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        job = asyncio.create_task(self.task.run())
        try:
            yield
        finally:
            job.cancel()
            await asyncio.wait([job])


@pytest.fixture
async def plugged(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path, request.param)
    rig.adapter.plug()
    yield rig
    rig.adapter.close()


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Keys of the log lines, in order."""
    caplog.set_level(logging.INFO, "linli")
    return lambda: [
        record.getMessage().rpartition("  [")[2].split()[0].rstrip("]")
        for record in caplog.records
        if record.name == "linli"
    ]


@pytest.mark.parametrize(
    ("plugged", "away"), [("modbus", 8.0), ("lockboard", 0.5), ("gb26875", 0.5)], indirect=["plugged"]
)
async def test_an_adapter_comes_back_under_another_number(
    plugged: Rig, away: float, told: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """Away for long enough once, so that the attempts to open it are as rare as they ever become."""
    adapter = plugged.adapter
    async with plugged.running():
        await plugged.until_well()
        number = adapter.line.path
        assert adapter.held() == 1
        adapter.pull()
        await plugged.until(lambda: plugged.samples[-1].error)
        assert adapter.held() == 0
        await asyncio.sleep(away)
        adapter.plug()
        back = time.monotonic()
        assert adapter.line.path != number
        await plugged.until_well()
        assert time.monotonic() - back < 5
        assert adapter.held() == 1
    assert told() == ["bus-up", "bus-down", "device-offline", "bus-up", "device-online"]
    assert not re.search(r"[(（]\?[)）]", caplog.text), "a reason is missing"


@pytest.mark.parametrize("plugged", ["modbus", "lockboard"], indirect=True)
async def test_the_number_is_given_back_before_the_next_poll(plugged: Rig) -> None:
    spec = plugged.task.spec
    async with spec.driver.connect(spec.options, ()):
        assert plugged.adapter.held() == 1
        plugged.adapter.pull()
        await plugged.until(lambda: plugged.adapter.held() == 0, 2)


@pytest.mark.parametrize(
    ("plugged", "action", "args", "is_order"),
    [
        ("modbus", "siren-on", {}, lambda request: request[1] == 5),
        ("lockboard", "open", {"lock": 3}, lambda request: request[2] == 0x31),
    ],
    ids=["modbus", "lockboard"],
    indirect=["plugged"],
)
async def test_a_command_that_the_adapter_took_with_it_has_failed_and_is_not_repeated(
    plugged: Rig, action: str, args: dict[str, Any], is_order: Callable[[bytes], bool]
) -> None:
    adapter, answer = plugged.adapter, plugged.adapter.answer

    def pulled_out(request: bytes) -> list[tuple[float, bytes]]:
        if is_order(request):
            adapter.pull()
        return answer(request)

    async with plugged.running():
        await plugged.until_well()
        adapter.line.answer = pulled_out
        now = SystemClock().now()
        order = Command(
            id="c",
            at=now,
            device="d",
            action=action,
            args=args,
            expires=now.wall_ms + 60_000,
            origin="upstream",
        )
        with pytest.raises(GatewayError, match="line-down"):
            await plugged.task.execute(order)
        adapter.plug()
        await plugged.until_well()
        await plugged.until_well()
    assert sum(map(is_order, adapter.requests)) == 1
