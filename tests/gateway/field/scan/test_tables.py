from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.config import load_site
from gateway.field.scan.match import ProfileMatch
from gateway.field.scan.tables import FoundDevice, site_tables, toml_value
from gateway.model import Value
from tests.gateway.field.scan.conftest import HEAD, uncommented

URL = "mqtt://broker"
FIT = ProfileMatch("thermometer/generic-mqtt", 1, {"temperature": 4.2})
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


def found(
    topic: str,
    matches: list[ProfileMatch],
    identity: Mapping[str, str] = {},
    received: Mapping[str, Value] = {},
) -> FoundDevice:
    return FoundDevice(
        driver="mqtt_json",
        target=URL,
        bus_table={"url": URL},
        address={"topic": topic},
        identity=dict(identity),
        pushes=True,
        matches=matches,
        received=dict(received),
    )


def check(folder: Path, tables: str) -> list[Any]:
    """The devices of a site with these tables."""
    file = folder / "site.toml"
    file.write_text(HEAD.format(socket=folder / "s") + tables, "utf-8")
    return list(load_site(file).devices.values())


@given(
    st.lists(texts.filter(lambda t: t and not set(t) & set("+#")), max_size=4, unique=True), texts, texts
)
def test_whatever_strangers_say_the_tables_pass(topics: list[str], name: str, word: str) -> None:
    strangers = [
        found(topic, [FIT] if n % 2 else [], {"name": name}, {word: word}) for n, topic in enumerate(topics)
    ]
    data = tomllib.loads(site_tables(strangers, {"mqtt-json", "thermometer-1"}, "en"))
    assert set(data) <= {"bus", "device"}
    assert set(data.get("bus", {})) <= {"mqtt-json-2"}
    devices = data.get("device", {})
    assert [device["topic"] for device in devices.values()] == topics[1::2]
    assert "thermometer-1" not in devices


def test_names_are_told_apart_and_none_is_the_gateways_own(tmp_path: Path) -> None:
    strangers = [found("a/b", [FIT]), found("A.b", [FIT]), found("温度", [FIT]), found("x" * 200, [FIT])]
    devices = check(tmp_path, site_tables(strangers, set(), "zh"))
    assert [device.name for device in devices] == [
        "thermometer-a-b",
        "thermometer-a-b-2",
        "thermometer",
        f"thermometer-{'x' * 44}",
    ]
    assert devices[2].title == {"zh": "温度计 温度", "en": "Thermometer 温度"}


def test_several_models_are_all_named_and_the_first_is_taken(tmp_path: Path) -> None:
    tables = site_tables([found("t", [FIT, ProfileMatch("fridge/other", 0, {})])], set(), "en")
    assert "matches thermometer/generic-mqtt (temperature = 4.2), and also fridge/other" in tables
    assert [device.profile for device in check(tmp_path, tables)] == ["thermometer/generic-mqtt"]


def test_values_are_written_as_toml_has_them() -> None:
    for value in (True, 7, 2.5, 'quote " back \\ line \n delete \x7f', {"zh": "门", "en": "Door"}):
        assert tomllib.loads(f"x = {toml_value(value)}") == {"x": value}


def test_models_that_match_equally_are_left_to_a_person(tmp_path: Path) -> None:
    twins = [FIT, ProfileMatch("fridge/other", 1, {})]
    for language, said in (("en", "compare the label"), ("zh", "核对铭牌")):
        tables = site_tables([found("t", twins)], set(), language)
        assert said in tables
        assert '# profile = "thermometer/generic-mqtt"\n# profile = "fridge/other"\n' in tables
        assert check(tmp_path, tables) == []
    kept = uncommented(tables, ["thermometer/generic-mqtt"])
    (device,) = check(tmp_path, kept)
    assert (device.name, device.title["zh"]) == ("device-t", "设备 t")


def test_what_protects_life_is_not_guessed(tmp_path: Path) -> None:
    smoke = ProfileMatch("smoke/heiman-hs1sa-e", 9, {}, protects_life=True)
    assert check(tmp_path, site_tables([found("t", [smoke])], set(), "zh")) == []
