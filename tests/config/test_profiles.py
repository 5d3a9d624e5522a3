"""Every device model that comes along keeps its own promises, and one more is one file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.config import (
    Mistakes,
    inspect_profile,
    load_profile,
    load_site,
    run_example,
    untitled_points,
)

CONFIG = Path(__file__).parents[2] / "config"
FILES = sorted((CONFIG / "profiles").glob("*/*.toml"))

METER = """
schema = "linli/profile/1"
kind = "thermometer"
maker = "Acme"
model = "T-1"
driver = "modbus"
source = "the maker's manual, page 4"

[points.temperature]
address = 10
type = "int16"
scale = 0.1
unit = "°C"
max = 125

[[examples]]
raw.holding = { 10 = [65436] }
values = { temperature = -10 }
"""

SITE = """
schema = "linli/site/1"

[site]
id = "here"
title = "Here"

[bus.line]
driver = "modbus"
url = "tcp://127.0.0.1:502"

[device.cellar]
profile = "thermometer/acme-t1"
bus = "line"
unit = 3
"""


# What a neighbourhood centre has, by the kinds of its devices.
KINDS = (
    "door-counter", "parking-bay", "smoke", "heat", "gas", "electrical-fire", "water", "pressure", "fridge",
    "sos", "call-point", "parcel-locker", "lock", "energy-meter", "ev-charger", "fire-panel",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_a_model_of_every_kind_that_one_can_buy(kind: str) -> None:
    assert [file for file in FILES if file.parent.name == kind and not file.stem.startswith("generic-")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_model_keeps_what_its_examples_promise(file: Path) -> None:
    profile = load_profile(file)
    assert [mistake.text("en") for mistake in inspect_profile(file, profile)] == []
    assert untitled_points(profile) == []


def test_a_new_model_is_one_file_beside_the_site(tmp_path: Path) -> None:
    own = tmp_path / "profiles" / "thermometer"
    own.mkdir(parents=True)
    site = tmp_path / "site.toml"
    site.write_text(SITE)
    with pytest.raises(Mistakes) as wrong:
        load_site(site)
    assert [mistake.key for mistake in wrong.value.mistakes] == ["profile-unknown"]
    (own / "acme-t1.toml").write_text(METER)
    profile = load_profile(own / "acme-t1.toml")
    wanted, got = run_example(profile, profile.examples[0])
    assert got == wanted == ({"temperature": -10}, {})
    device = load_site(site).devices["cellar"]
    assert (device.kind, device.points, device.address.unit) == ("thermometer", profile.points, 3)


def test_a_sites_own_model_goes_before_the_one_that_came_along(tmp_path: Path) -> None:
    shutil.copytree(CONFIG / "profiles", tmp_path / "profiles")
    own = tmp_path / "profiles" / "thermometer" / "acme-t1.toml"
    own.write_text(METER)
    door = tmp_path / "profiles" / "door-counter" / "generic-ir2.toml"
    door.write_text(door.read_text("utf-8").replace("address = 4", "address = 5"), "utf-8")
    site = tmp_path / "site.toml"
    site.write_text(SITE.replace("thermometer/acme-t1", "door-counter/generic-ir2"))
    assert load_site(site).devices["cellar"].points["blocked"].address == 5


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "said"),
    [
        ("-10", "10", 18, "example-differs", "example 1: temperature gives -10.0 instead of 10"),
        ("[65436]", "[32767]", 18, "example-nothing", "gives no value instead of -10"),
        ("{ temperature = -10 }", "{ temprature = -10 }", 18, "point-unknown", "available: temperature"),
        ("values = { temperature = -10 }\n", "", 16, "example-empty", "example 1 does not say"),
        (
            "10 = [65436]",
            "ten = [65436]",
            16,
            "example-form",
            'the example cannot be read: raw = {"holding"',
        ),
        ("values = { temperature = -10 }", "values = [-10]", 18, "value-table", "this is [-10]"),
        ("values = { temperature = -10 }", 'values = "-10"', 18, "value-table", 'this is "-10"'),
        ("values = { temperature = -10 }", "values = { temperature = [1] }", 18, "value-number", "[1]"),
        ("values =", "bad = ['x']\nvalues =", 18, "value-table", "bad: must be"),
        ("values =", "reading = 0\nvalues =", 18, "positive", "reading = 0"),
        ("values =", "reading = '1'\nvalues =", 18, "value-integer", "reading: must be"),
        ("values =", "value =", 18, "key-unknown", "did you mean: values"),
        (METER[METER.index("[[examples]]") :], "", 1, "examples-missing", "there is no example"),
        ("[[examples]]", "[points.door]\naddress = 9\nbit = 0\n[[examples]]", 16, "point-unshown", "door"),
        ("values = {", "values = { door = true,", 16, "alarm-unshown", "must show it both true and false"),
        ('kind = "thermometer"', 'kind = "fridge"', 3, "profile-folder", "move it to fridge"),
    ],
)
def test_check_names_the_line_and_the_point(
    tmp_path: Path, old: str, new: str, line: int, key: str, said: str
) -> None:
    file = tmp_path / "profiles" / "thermometer" / "acme-t1.toml"
    file.parent.mkdir(parents=True)
    assert old in METER
    text = METER.replace(old, new)
    if key == "alarm-unshown":
        door = '[points.door]\naddress = 9\nbit = 0\nalarm = { hazard = "exit" }\n'
        text = text.replace("[[examples]]", f"{door}[[examples]]").replace("{ 10 =", "{ 9 = [1], 10 =")
    file.write_text(text, "utf-8")
    (found,) = [each for each in inspect_profile(file, load_profile(file)) if each.key == key]
    assert (found.line, said in found.text("en")) == (line, True)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('source = "the maker\'s manual, page 4"\n', "", "key-missing"),
        ("address = 10", "adress = 10", "key-unknown"),
        ("address = 10", "address = 65536", "modbus-address"),
        ("address = 10", "address = 65535\nrepeat = 2", "modbus-beyond"),
        ("address = 10", "address = 65000\nrepeat = 269\nstride = 2", "modbus-beyond"),
        ("address = 10", "address = 10\nrepeat = 3\nstride = -6", "modbus-beyond"),
        ("address = 10", "address = 10\nrepeat = 1000000000", "repeat-range"),
        ("address = 10", "address = 10\nbit = -1", "bit-range"),
        ("address = 10", "address = 10\nbit = 16", "bit-range"),
        ("address = 10", "address = 10\ntable = 'coil'\nbit = 1", "bit-range"),
        ("address = 10", "address = 10\nwraps = 0", "wraps-range"),
        ("max = 125", "max = 125\nmin = 126", "min-above-max"),
        ("max = 125", 'max = 125\nalarm = { hazard = "fire", hysteresis = 1 }', "limit-none"),
        ("[points.temperature]", "[points.Temperature]", "point-name"),
        ("[points.temperature]", '[points."温度"]', "point-name"),
        ("[points.temperature]", '[points."a/b"]', "point-name"),
        ("[points.temperature]", '[points."a\\nb"]', "point-name"),
        ("[points.temperature]", '[points.""]', "point-name"),
        ("[points.temperature]", '[points."a.b"]', "point-name"),
        ("[points.temperature]", "[points.link]", "name-reserved"),
        ("max = 125", "max = nan", "value-not-finite"),
        ("scale = 0.1", "scale = 0", "scale-zero"),
        ("the maker's manual, page 4", " ", "source-empty"),
        ("address = 10", "address = 10\nalarm = {hazard = 'fire', while_open = true}", "alarm-always"),
        ('"int16"', '"int15"', "value-choice"),
        ('"thermometer"', '"thermostat"', "kind-unknown"),
        ('"modbus"', '"modbuss"', "driver-unknown"),
        ("[[examples]]", "[actions.heat]\nvalue = 1\n[[examples]]", "key-missing"),
        ("[[examples]]", "[actions.heat]\naddress = 1\nvalue = 65536\n[[examples]]", "value-too-large"),
        (
            "[[examples]]",
            "[actions.heat]\naddress = 1\nvalue = 1\ntable = 'input'\n[[examples]]",
            "value-choice",
        ),
        (
            "[[examples]]",
            "[actions.heat]\naddress = 1\nvalue = 1\nconfirm = {heat = 1}\n[[examples]]",
            "point-unknown",
        ),
        ("[[examples]]", "[actions.acknowledge]\naddress = 1\nvalue = 1\n[[examples]]", "name-reserved"),
        ("[[examples]]", "[actions.Heat]\naddress = 1\nvalue = 1\n[[examples]]", "name-form"),
        ("[points", "actions = 3\n[points", "table-unnamed"),
        (
            'driver = "modbus"\nsource = "the maker\'s manual, page 4"',
            'driver = "ble"\nsource = "x"\n[actions.heat]',
            "actions-none",
        ),
    ],
)
def test_a_mistake_in_a_model_is_named(tmp_path: Path, old: str, new: str, key: str) -> None:
    file = tmp_path / "wrong.toml"
    assert old in METER
    file.write_text(METER.replace(old, new))
    with pytest.raises(Mistakes) as wrong:
        load_profile(file)
    assert key in [mistake.key for mistake in wrong.value.mistakes]


@pytest.mark.parametrize(
    "last",
    ["address = 65535", "address = 65001\nrepeat = 268\nstride = 2", "address = 65535\nbit = 15"],
)
def test_what_just_fits_is_taken(tmp_path: Path, last: str) -> None:
    file = tmp_path / "right.toml"
    file.write_text(METER.replace("address = 10", last).replace("\nmax = 125", ""))
    assert load_profile(file).points
