from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from drivers.dlt645 import DRIVER, Options
from drivers.dlt645.frames import MeterFrame, split_frames
from gateway.base.clock import SystemClock
from gateway.config import Mistakes, load_site
from gateway.field.scan.scanner import Scanner, ScanOptions
from gateway.model import Driver
from tests.drivers.conftest import Line
from tests.drivers.dlt645.meters import Replay
from tests.drivers.modbus.lines import eventually
from tests.gateway.field.scan.conftest import MODELS, Rig

SITE = """
schema = "linli/site/1"

[site]
id = "here"
title = "Here"

[bus.line]
driver = "dlt645"
url = "serial:/dev/ttyS9"

[device.meter]
profile = "energy-meter/generic-dlt645-1p"
bus = "line"
meter = "000000000161"
every = 60
"""


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def load(tmp_path: Path, old: str = "", new: str = "") -> Any:
    file = tmp_path / "site.toml"
    assert old in SITE
    file.write_text(SITE.replace(old, new), "utf-8")
    return load_site(file)


def test_a_line_is_at_the_standards_speed_unless_the_site_says_otherwise(tmp_path: Path) -> None:
    options = load(tmp_path).buses["line"].options
    assert (options.baud, options.parity, options.stop_bits) == (2400, "E", 1)


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ("serial:/dev/ttyS9", "/dev/ttyS9", "dlt645-url"),
        ("serial:/dev/ttyS9", "serial:ttyS9", "dlt645-url"),
        ("serial:/dev/ttyS9", "tcp://10.0.0.9", "dlt645-url"),
        ('"000000000161"', '"161"', "dlt645-meter"),
        ('"000000000161"', '"00000000016F"', "dlt645-meter"),
        ('"000000000161"', '"999999999999"', "dlt645-meter"),
        ('"000000000161"', "161", "value-text"),
        ('"000000000161"', '"AAAAAAAAAAAA"', "dlt645-wildcard"),
        ('"000000000161"', '"AAAAAAAA0161"', "dlt645-wildcard"),
    ],
)
def test_what_is_wrong_in_a_site_is_named(tmp_path: Path, old: str, new: str, mistake: str) -> None:
    with pytest.raises(Mistakes) as wrong:
        load(tmp_path, old, new)
    assert [found.key for found in wrong.value.mistakes] == [mistake]


def scanner(rig: Rig, timeout_s: float = 0.5, driver: Driver = DRIVER) -> Scanner:
    return Scanner(
        site=rig.site(),
        models=MODELS,
        drivers={"dlt645": driver},
        report=rig,
        clock=SystemClock(),
        options=ScanOptions(timeout_s=timeout_s, listen_s=0.1),
        control_socket=rig.socket,
    )


def meters(*numbers: str) -> Any:
    """Meters on one line, all of which reply to a request that is for any of them: what then arrives is
    none of their replies."""
    replay = Replay(*numbers)

    def answer(request: bytes) -> list[tuple[float, bytes]]:
        (frame,), _ = split_frames(request)
        meant = [
            number for number in numbers
            if all(asked in ("A", digit) for asked, digit in zip(frame.meter, number, strict=True))
        ]  # fmt: skip
        if len(meant) > 1:
            return [(0.0, b"\xfe\x68\x00\x12")]
        if not meant:
            return []
        own = MeterFrame(meant[0], frame.control, frame.data).encode()
        refusal = MeterFrame(meant[0], 0xD1, b"\x02").encode()
        return replay.answer(own) or replay.answer(request) or [(0.0, refusal)]

    return answer


async def test_the_only_meter_on_a_line_is_found_with_its_number_and_model(line: Line, rig: Rig) -> None:
    line.answer = meters("000000000161")
    await scanner(rig).scan_ports([line.path])
    found = rig.only()
    assert found.address == {"meter": "000000000161"}
    assert found.matches[0].profile == "energy-meter/generic-dlt645-1p"
    assert found.matches[0].values["voltage"] == 100.1
    site = rig.pasted()
    (device,) = site.devices.values()
    assert device.address.meter == "000000000161"
    controls = {request[12] for request in line.requests}
    assert controls <= {0x11, 0x13}


async def test_meters_that_all_reply_at_once_are_found_one_by_one(line: Line, rig: Rig) -> None:
    line.answer = meters("000000000161", "201000000012")
    asked = [{"meter": f"AAAAAAAA{digits}"} for digits in ("AAAA", "AA12", "AA13", "AA61", "0161")]
    assert DRIVER.scan
    scan = msgspec.structs.replace(DRIVER.scan, candidate_addresses=lambda options: asked)
    few = msgspec.structs.replace(DRIVER, scan=scan)
    await scanner(rig, driver=few).scan_ports([line.path])
    assert [found.address["meter"] for found in rig.found] == ["201000000012", "000000000161"]


def test_a_scan_asks_for_all_meters_then_for_each_pair_of_last_digits() -> None:
    assert DRIVER.scan
    assert DRIVER.scan.candidate_addresses
    first, *others = DRIVER.scan.candidate_addresses(Options(url="serial:/dev/ttyS9"))
    assert first == {"meter": "AAAAAAAAAAAA"}
    assert [others[0], others[-1], len(others)] == [
        {"meter": "AAAAAAAAAA00"},
        {"meter": "AAAAAAAAAA99"},
        100,
    ]


async def test_a_silent_line_is_asked_twice_at_each_speed(line: Line, rig: Rig) -> None:
    await scanner(rig, timeout_s=0.05).scan_ports([line.path])
    assert rig.found == []

    def sent() -> list[MeterFrame]:
        # The kernel may pass on several requests at once.
        return split_frames(b"".join(line.requests))[0]

    await eventually(lambda: len(sent()) >= 16)
    # Once among the unlikely addresses, once as the first.
    assert sent().count(MeterFrame("A" * 12, 0x13)) == 8
    assert len(sent()) == 16


def test_a_line_is_known_by_its_port_or_server() -> None:
    assert DRIVER.scan
    assert DRIVER.scan.target_of(Options(url="tcp://10.0.0.9:4001")) == "tcp://10.0.0.9:4001"
    assert DRIVER.scan.target_of(Options(url="serial:/dev/ttyS9")) == "/dev/ttyS9"
