from __future__ import annotations

from pathlib import Path

import pytest

from drivers import load_driver
from gateway.config import Mistakes, Profile, load_profile
from gateway.field.scan.match import (
    ProfileMatch,
    contradicts_identity,
    is_certain_enough,
    match_profile,
    matching_profiles,
)
from gateway.wire.codec import convert_values
from tests.gateway.field.scan.conftest import MODELS

ASKED = {name: m for name, m in MODELS.items() if m.driver.scan and m.driver.scan.candidate_addresses}
HEARD = {name: m for name, m in MODELS.items() if m.driver.scan and m.driver.scan.overhear}


def among(models: dict[str, Profile], one: Profile, raw: object, **says: str) -> list[str]:
    """The models of the profile's driver that fit a reading."""
    rivals = {name: model for name, model in models.items() if model.driver is one.driver}
    wires = {name: [model.driver.decode(model.points, raw)] for name, model in rivals.items()}
    return [fit.profile for fit in matching_profiles(rivals, says, wires)]


@pytest.mark.parametrize("name", [*ASKED, *HEARD])
def test_every_model_fits_its_own_examples(name: str) -> None:
    profile = MODELS[name]
    for example in profile.examples:
        raw = profile.driver.parse_example(example["raw"])
        values, bad = convert_values(profile.points, profile.driver.decode(profile.points, raw))
        assert (name in among(MODELS, profile, raw)) == bool(values and not bad), example


def test_a_value_that_cannot_be_is_no_fit() -> None:
    smoke = MODELS["smoke/generic-rs485"]
    for words, fitting in (
        ([2, 12, 228, 3012], True),
        ([0, 0, 0, 0], True),
        ([7, 12, 228, 3012], False),  # no such state
        ([0, 12, 2280, 3012], False),  # 228 °C
        ([0, 12, 228], False),  # a range is not granted
    ):
        raw = {"holding": dict(enumerate(words))}
        assert ("smoke/generic-rs485" in among(MODELS, smoke, raw)) == fitting, words


def test_the_model_that_demands_more_comes_first_and_none_that_protects_life_is_guessed() -> None:
    smoke = MODELS["smoke/generic-rs485"]
    raw = {"holding": dict(enumerate([0, 12, 228, 3012, 0]))}
    found = among(MODELS, smoke, raw)
    assert found.index("smoke/generic-rs485") < found.index("gas/honeywell-midas")
    assert found.index("door-counter/generic-ir2") < found.index("smoke/generic-rs485")


def test_a_plug_is_not_taken_for_a_siren() -> None:
    """It would be switched on at every alarm."""
    siren = MODELS["siren/generic-tasmota"]
    wire = siren.driver.decode(siren.points, {"POWER": "ON"})
    match = match_profile("siren/generic-tasmota", siren, {}, [wire])
    assert match
    assert not is_certain_enough([match])


@pytest.mark.parametrize(
    ("matches", "certain"),
    [
        ([ProfileMatch("fridge/a", 5, {})], True),
        ([ProfileMatch("fridge/a", 5, {}), ProfileMatch("fridge/b", 4, {})], True),
        ([ProfileMatch("fridge/a", 5, {}), ProfileMatch("fridge/b", 5, {})], False),
        ([ProfileMatch("fridge/a", 5, {}), ProfileMatch("smoke/b", 9, {}, protects_life=True)], False),
        ([ProfileMatch("fridge/a", 5, {}), ProfileMatch("smoke/b", 4, {}, protects_life=True)], True),
        ([ProfileMatch("smoke/b", 9, {}, protects_life=True)], False),
        ([ProfileMatch("smoke/b", 9, {}, is_identified=True, protects_life=True)], True),
    ],
)
def test_a_model_is_proposed_as_it_is_only_when_it_stands_out(
    matches: list[ProfileMatch], certain: bool
) -> None:
    assert is_certain_enough(matches) is certain


def test_what_a_device_says_of_itself_decides() -> None:
    cu16, wkly = MODELS["parcel-locker/kerong-cu16"], MODELS["parcel-locker/generic-wkly"]
    raw = cu16.driver.parse_example(cu16.examples[0]["raw"])
    assert among(MODELS, cu16, raw, dialect="cu16") == ["parcel-locker/kerong-cu16"]
    assert contradicts_identity(wkly, {"dialect": "cu16"})
    assert not contradicts_identity(wkly, {})
    leak = MODELS["water/milesight-em300-zld"]
    raw = leak.driver.parse_example(leak.examples[0]["raw"])
    for said in ("Milesight EM300-ZLD", "em300_zld v2"):
        assert among(MODELS, leak, raw, profile=said)[0] == "water/milesight-em300-zld"


def test_a_format_alone_names_no_model_but_a_product_does() -> None:
    ble = {name: model for name, model in MODELS.items() if model.driver is load_driver("ble")}
    assert matching_profiles(ble, {"format": "bthome", "encrypted": "true"}, {}) == []
    known = matching_profiles(ble, {"format": "mibeacon", "product": "0997"}, {})
    assert [fit.profile for fit in known] == ["smoke/xiaomi-jtyjgd03mi"]


def test_a_message_that_holds_nothing_of_a_model_speaks_for_it_as_little_as_against_it() -> None:
    lora = {name: model for name, model in MODELS.items() if model.driver is load_driver("lorawan")}
    leak = lora["water/milesight-em300-zld"]
    empty, full = {}, leak.driver.decode(leak.points, leak.driver.parse_example(leak.examples[0]["raw"]))
    name = "water/milesight-em300-zld"
    assert matching_profiles({name: leak}, {}, {name: [empty]}) == []
    assert [fit.profile for fit in matching_profiles({name: leak}, {}, {name: [empty, full]})] == [name]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('colour = "red"', "key-none-of"),
        ("dialect = 16", "value-text"),
    ],
)
def test_check_names_a_fingerprint_that_no_scan_could_use(tmp_path: Path, line: str, said: str) -> None:
    file = Path("config/profiles/parcel-locker/kerong-cu16.toml")
    text = (Path(__file__).parents[4] / file).read_text("utf-8")
    bad = tmp_path / "bad.toml"
    bad.write_text(text.replace('dialect = "cu16"', line, 1), "utf-8")
    with pytest.raises(Mistakes) as wrong:
        load_profile(bad)
    (mistake,) = wrong.value.mistakes
    assert (mistake.key, mistake.where.partition(".")[0], mistake.line) == (said, "fingerprint", 9)


def test_no_driver_promises_a_scan_that_it_cannot_do() -> None:
    for name in ("modbus", "lockboard", "dlt645", "gb26875", "ble", "mqtt_json", "lorawan"):
        scan = load_driver(name).scan
        assert scan
        assert bool(scan.candidate_addresses) != bool(scan.overhear)
        assert scan.candidate_buses("nonsense:") == []
