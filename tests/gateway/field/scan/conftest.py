"""A scan in this process, of wires whose far ends are simulated or foreign devices."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from drivers import driver_names, load_driver
from gateway.base.clock import SystemClock
from gateway.config import Site, load_profiles, load_site
from gateway.field.scan import ScanPrinter
from gateway.field.scan.scanner import Scanner, ScanOptions
from gateway.field.scan.tables import FoundDevice, site_tables
from gateway.simulate.modbus import RtuSlaves
from tests.drivers.conftest import Answer, broker, foreign_rtu, foreign_tcp, line

__all__ = ["broker", "foreign_rtu", "foreign_tcp", "line"]

HEAD = """
schema = "linli/site/1"

[site]
id = "here"
title = "Here"

[control]
socket = "{socket}"
"""
DRIVERS = {name: load_driver(name) for name in driver_names()}
MODELS = load_profiles(Path("none.toml"))
"""Read beforehand: a line's far end is in this process, too, and must not be kept from answering."""
SMOKE = {3: (1, 1250, 391, 2987)}
"""A detector that sees smoke, as `smoke/generic-rs485` has it."""


class HeldClock(SystemClock):
    """Whoever sleeps by it, as a scan that listens, does so until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self._released = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        await self._released.wait()

    def release(self) -> None:
        self._released.set()


class Rig(ScanPrinter):
    """A site, a scan of it, and what was said and found."""

    def __init__(self, folder: Path) -> None:
        super().__init__("en", bar=False)
        self.file = folder / "site.toml"
        self.socket = folder / "control.sock"
        self.journal = folder / "journal.db"
        self.clock = SystemClock()
        self.said: list[tuple[str, dict[str, object]]] = []
        self.write("")

    def write(self, tables: str) -> None:
        self.file.write_text(HEAD.format(socket=self.socket) + tables, "utf-8")

    def site(self) -> Site:
        return load_site(self.file)

    def scanner(self, **options: Any) -> Scanner:
        numbers = options.pop("numbers", None)
        drivers = options.pop("drivers", DRIVERS)
        given = {"listen_s": 0.1, "timeout_s": 0.15, **options}
        return Scanner(
            site=self.site(),
            models=MODELS,
            drivers=drivers,
            report=self,
            clock=self.clock,
            options=ScanOptions(numbers=frozenset(numbers) if numbers is not None else None, **given),
            control_socket=self.socket,
        )

    def announce(self, key: str, /, **facts: object) -> None:
        self.said.append((key, facts))
        super().announce(key, **facts)

    def told(self) -> list[str]:
        return [key for key, _ in self.said]

    def only(self) -> FoundDevice:
        (met,) = self.found
        return met

    def pasted(self, *labels: str) -> Site:
        """The site after what was found is pasted into its file: it must pass. Of tables that are commented
        out, those are used that contain the model on one of the labels."""
        before = self.site()
        tables = site_tables(self.found, {*before.buses, *before.devices}, "zh")
        with self.file.open("a", encoding="utf-8") as file:
            file.write("\n" + uncommented(tables, labels))
        return self.site()


def uncommented(tables: str, labels: Sequence[str]) -> str:
    """The tables as an installer makes them: the right model kept, the signs of comments removed."""
    blocks = re.split(r"(?m)^(?=# \[device)|(?=^\n)", tables)
    for label in labels:
        line = f'# profile = "{label}"\n'
        for number, block in enumerate(blocks):
            if line in block:
                without_others = re.sub(rf'(?m)^# profile = "(?!{re.escape(label)}").*\n', "", block)
                blocks[number] = re.sub(r"(?m)^# (\[device|\w+ = )", r"\1", without_others)
    return "".join(blocks)


def units(known: dict[int, Any]) -> Answer:
    """Modbus units on a line; the simulated centre's reading of the standard, not the gateway's."""
    slaves = RtuSlaves(known.get)

    def answer(request: bytes) -> list[tuple[float, bytes]]:
        whole = len(request) == slaves.request_bytes and slaves.is_valid_request(request)
        reply = slaves.reply_to(request) if whole else b""
        return [(0.0, reply)] if reply else []

    return answer


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)
