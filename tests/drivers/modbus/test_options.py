from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Mistakes, load_site
from gateway.config.profile import load_profile
from gateway.words import LANGUAGES

SITE = """\
schema = "linli/site/1"

[site]
id = "demo"
title = "Demo"

[bus.line]
driver = "modbus"
url = "{url}"

[device.d]
profile = "smoke/generic-rs485"
bus = "line"
unit = {unit}
"""
PROFILE = """\
schema = "linli/profile/1"
kind = "thermometer"
maker = "a"
model = "b"
driver = "modbus"
source = "a test"

[points.temperature]
repeat = 80
{keys}

[[examples]]
raw.holding = {{ 0 = [1] }}
values = {{ "temperature.1" = 1 }}
"""


@pytest.mark.parametrize(
    ("url", "unit", "possible"),
    [
        ("rtu:/dev/ttyS9", 0, False), ("rtu:/dev/ttyS9", 1, True), ("rtu:/dev/ttyS9", 247, True),
        ("rtu:/dev/ttyS9", 248, False), ("rtu:/dev/ttyS9", 250, False), ("rtu:/dev/ttyS9", 255, False),
        ("rtu+tcp://127.0.0.1:4001", 0, False), ("rtu+tcp://127.0.0.1:4001", 255, False),
        ("rtu+tcp://127.0.0.1:4001", 247, True), ("tcp://127.0.0.1", 0, True),
        ("tcp://127.0.0.1", 255, True), ("tcp://127.0.0.1", 250, True),
    ],
)  # fmt: skip
def test_units_of_serial_lines_are_1_to_247(tmp_path: Path, url: str, unit: int, possible: bool) -> None:
    file = tmp_path / "site.toml"
    file.write_text(SITE.format(url=url, unit=unit), "utf-8")
    if possible:
        assert load_site(file).devices["d"].address.unit == unit
        return
    with pytest.raises(Mistakes) as refused:
        load_site(file)
    ((mistake),) = refused.value.mistakes
    assert (mistake.key, mistake.line) == ("modbus-unit-serial", 11)
    assert all(str(unit) in mistake.text(language) for language in LANGUAGES)


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        ("longest = 28", ""), ("longest = 125", ""), ("longest = 1", ""), ("", ""),
        ("longest = 126", "modbus-longest"), ("longest = -1", "modbus-longest"),
        ('type = "float32"\nlongest = 2', ""), ('type = "float32"\nlongest = 1', "modbus-longest"),
        ('table = "coil"\nlongest = 2000', ""), ('table = "coil"\nlongest = 2001', "modbus-longest"),
        ("bit = 15", ""), ("bit = 16", "bit-range"), ('table = "coil"\nbit = 0', ""),
        ('table = "coil"\nbit = 1', "bit-range"), ('type = "uint32"\nstride = 2\nbit = 31', ""),
        ('type = "uint32"\nstride = 2\nbit = 32', "bit-range"),
        ("address = 65456", ""), ("address = 65457", "modbus-beyond"), ("stride = -1", "modbus-beyond"),
    ],
)  # fmt: skip
def test_the_registers_of_a_model_are_checked(tmp_path: Path, keys: str, mistake: str) -> None:
    file = tmp_path / "model.toml"
    keys = keys if "address" in keys else f"{keys}\naddress = 0"
    file.write_text(PROFILE.format(keys=keys), "utf-8")
    if not mistake:
        assert len(load_profile(file).points) == 80
        return
    with pytest.raises(Mistakes) as refused:
        load_profile(file)
    assert [each.key for each in refused.value.mistakes] == [mistake]
