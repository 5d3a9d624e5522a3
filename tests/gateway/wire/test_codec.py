from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.model import AlarmSpec, Hazard, Point, Value
from gateway.wire.codec import convert_values, point_value_at, value_at, values_by_path

messages = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inside: st.lists(inside) | st.dictionaries(st.text("ab", min_size=1, max_size=2), inside),
)
maybe = st.none() | st.floats(-1e6, 1e6)
alarms = st.builds(AlarmSpec, hazard=st.sampled_from(Hazard), above=maybe, below=maybe)
points = st.builds(
    Point,
    scale=st.sampled_from((1.0, 0.1, 0.01, 0.001, 10.0, -1.0, 1 / 3)),
    offset=st.sampled_from((0.0, -40.0, 0.5)),
    decimals=st.none() | st.integers(0, 3),
    min=maybe,
    max=maybe,
    bit=st.none() | st.integers(0, 63),
    equals=st.none()
    | st.integers(0, 3)
    | st.text(max_size=2)
    | st.tuples(st.integers(0, 3), st.text(max_size=2)),
    true_above=maybe,
    true_below=maybe,
    alarm=st.none() | alarms,
)
wire = st.booleans() | st.integers() | st.integers(10**300, 10**400) | st.floats() | st.text(max_size=4)


def one(value: Value, **point: Any) -> Any:
    """What becomes of a number on the wire: the value, or in brackets why there is none."""
    values, bad = convert_values({"x": Point(**point)}, {"x": value})
    return values["x"] if values else [bad.get("x")]


@given(st.dictionaries(st.sampled_from("abcd"), points), st.dictionaries(st.sampled_from("abcde"), wire))
def test_finishing_never_raises_and_forgets_no_point(
    wanted: dict[str, Point], said: dict[str, Value]
) -> None:
    values, bad = convert_values(wanted, said)
    assert set(values) | set(bad) == set(wanted)
    assert not set(values) & set(bad)
    for name, value in values.items():
        point = wanted[name]
        assert isinstance(value, bool | int | float | str)
        if isinstance(value, bool | str):
            continue
        assert math.isfinite(value)
        assert point.min is None or value >= point.min
        assert point.max is None or value <= point.max


@given(points, wire)
@example(Point(max=0.0, alarm=AlarmSpec(hazard=Hazard.FIRE)), 0)
def test_an_alarm_always_gets_what_it_can_judge(point: Point, said: Value) -> None:
    values, _ = convert_values({"x": point}, {"x": said})
    if point.alarm and values:
        level = point.alarm.above is not None or point.alarm.below is not None
        thresholds = point.true_above is not None or point.true_below is not None
        assert isinstance(values["x"], bool) or (
            level and not thresholds and not isinstance(values["x"], str)
        )


@given(st.integers(-(10**6), 10**6), st.sampled_from((1, 2, 3)))
def test_scaling_by_a_power_of_ten_is_exact(number: int, digits: int) -> None:
    assert one(number, scale=10**-digits) == float(f"{number}e-{digits}")


@pytest.mark.parametrize(
    ("value", "point", "result"),
    [
        (234, {"scale": 0.1}, 23.4),
        (234, {"scale": 0.1, "offset": -40}, -16.6),
        (3, {"scale": 1 / 3, "decimals": 2}, 1.0),
        (230.1999969482422, {"decimals": 1}, 230.2),
        (math.nan, {"decimals": 1}, ["not-a-number"]),
        (7, {}, 7),
        (2.345, {}, 2.345),
        ("on", {}, "on"),
        (True, {}, True),
        (5, {"bit": 0}, True),
        (5, {"bit": 1}, False),
        (-1, {"bit": 15}, True),
        (2, {"equals": 2}, True),
        (3, {"equals": (1, 2)}, False),
        ("ON", {"equals": "ON"}, True),
        ("ON", {"equals": ("OPEN", "ON")}, True),
        (1499, {"true_below": 1500}, True),
        (1500, {"true_below": 1500}, False),
        (1500, {"true_above": 1500}, False),
        (1501, {"true_above": 1500}, True),
        (100, {"max": 100}, 100),
        (101, {"max": 100}, ["out-of-range"]),
        (0, {"min": 0}, 0),
        (-1, {"min": 0}, ["out-of-range"]),
        (101, {"max": 100, "true_above": 50}, ["out-of-range"]),
        (math.nan, {}, ["not-a-number"]),
        (math.inf, {"scale": 0.1}, ["not-a-number"]),
        (1e308, {"scale": 10}, ["not-a-number"]),
        (10**400, {"scale": 0.1}, ["out-of-range"]),
        (2**64 - 1, {}, 2**64 - 1),
        (2**64, {}, ["out-of-range"]),
        (-(2**63), {}, -(2**63)),
        (-(2**63) - 1, {}, ["out-of-range"]),
        ("unavailable", {"max": 100}, ["wrong-type"]),
        ("unavailable", {"min": 0}, ["wrong-type"]),
        ("unavailable", {"true_above": 8}, ["wrong-type"]),
        ("5", {"scale": 0.1}, 0.5),
        ("5", {"offset": -40}, -35.0),
        ("9", {"alarm": AlarmSpec(hazard=Hazard.FOOD, above=8)}, 9),
        ("1", {"alarm": AlarmSpec(hazard=Hazard.FOOD, below=2)}, 1),
        ("9", {"alarm": AlarmSpec(hazard=Hazard.FOOD, above=8, below=2)}, 9),
        ("3", {"bit": 0}, True),
        ("3.0", {"bit": 0}, ["wrong-type"]),
        ("23.4", {"unit": "°C"}, 23.4),
        ("23.4 °C", {"unit": "°C"}, 23.4),
        ("-3,5℃", {"unit": "°C"}, -3.5),
        (" 21 c ", {"unit": "°C"}, 21),
        ("56%", {"unit": "%"}, 56),
        ("1.2 kW", {"unit": "W"}, ["wrong-type"]),
        ("ERR", {"scale": 0.1}, ["wrong-type"]),
        ("70 °F", {"unit": "°C", "max": 90.0}, ["wrong-type"]),
        ("°C", {"unit": "°C", "max": 90.0}, ["wrong-type"]),
        (" +5 ", {"min": 0}, 5),
        ("4.2", {}, "4.2"),
        ("1", {"equals": 1}, True),
        ("1", {"equals": "1"}, True),
        ("nan", {"max": 100}, ["not-a-number"]),
        (math.nan, {"equals": (1, 2)}, ["not-a-number"]),
        ("ON", {"words": {"on": True, "off": False}}, True),
        ("off", {"words": {"ON": True, "OFF": False}}, False),
        ("unavailable", {"words": {"ON": True, "OFF": False}}, ["wrong-type"]),
        (True, {"words": {"open": True, "closed": False}}, True),
        (1, {"words": {"1": True, "0": False}}, True),
        (2, {"words": {"1": True, "0": False}}, ["wrong-type"]),
        (None, {}, [None]),
        ("x" * 256, {}, "x" * 256),
        ("x" * 257, {}, ["too-long"]),
        (3.0, {"bit": 0}, ["wrong-type"]),
        ("yes", {"alarm": AlarmSpec(hazard=Hazard.FIRE)}, ["wrong-type"]),
        # rtl_433 and other firmware write 1 and 0, or a word, for true and false.
        (1, {"alarm": AlarmSpec(hazard=Hazard.FIRE)}, True),
        (0.0, {"alarm": AlarmSpec(hazard=Hazard.FIRE)}, False),
        (2, {"alarm": AlarmSpec(hazard=Hazard.FIRE)}, ["wrong-type"]),
        (-1, {"alarm": AlarmSpec(hazard=Hazard.FIRE)}, ["wrong-type"]),
        ("True", {"alarm": AlarmSpec(hazard=Hazard.FIRE)}, True),
        ("OFF", {"alarm": AlarmSpec(hazard=Hazard.FIRE)}, False),
        (math.nan, {"alarm": AlarmSpec(hazard=Hazard.FIRE)}, ["not-a-number"]),
        ("true", {"equals": True}, True),
        ("true", {"equals": False}, False),
        (0, {"equals": False}, True),
        ("yes", {"equals": True}, ["wrong-type"]),
        ("Locked", {"equals": "locked"}, True),
        ("leakage_trip ", {"equals": ("leakage_alarm", "leakage_trip")}, True),
        (True, {"alarm": AlarmSpec(hazard=Hazard.FIRE)}, True),
        ("hot", {"alarm": AlarmSpec(hazard=Hazard.FOOD, above=8)}, ["wrong-type"]),
        (9, {"alarm": AlarmSpec(hazard=Hazard.FOOD, above=8)}, 9),
        (9, {"true_above": 8, "alarm": AlarmSpec(hazard=Hazard.WATER)}, True),
    ],
)
def test_worked_examples(value: Value, point: dict[str, Any], result: Any) -> None:
    got = one(value, **point)
    assert got == result
    assert type(got) is type(result)


@pytest.mark.parametrize("first", [None, "x" * 257, 2**64])
def test_a_value_that_is_none_costs_no_other(first: Value | None) -> None:
    values, _ = convert_values({"x": Point(), "y": Point()}, {"x": first, "y": 1})
    assert values == {"y": 1}


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({"t": None}, "t"),
        ({"DS18B20": {"Temperature": None}}, "DS18B20.Temperature"),
        ({"probes": [{"t": 1.5}, {"t": None}]}, "probes.1.t"),
        ({"probes": [{"t": 1.5}, {"t": None}]}, "probes[*].t"),
        ({"t": [21.5, None]}, "t.1"),
        (None, ""),
    ],
)
def test_a_broken_probe_is_told_from_one_that_is_not_in_the_message(message: Any, path: str) -> None:
    """Firmware writes `null` for it."""
    value = point_value_at(Point(unit="°C"), message, path)
    assert convert_values({"t": Point(unit="°C")}, {"t": value}) == ({}, {"t": "not-a-number"})
    assert point_value_at(Point(), message, path) is None, "a text, or a word for it"


@pytest.mark.parametrize("path", ["u", "t.x", "probes.2", "probes.2.t", "probes.x", "probes.0.u", "probes"])
def test_what_is_not_in_the_message_is_no_value(path: str) -> None:
    assert point_value_at(Point(unit="°C"), {"t": 21.5, "probes": [{"t": 1.5}, None]}, path) is None


@pytest.mark.parametrize(
    ("members", "value"),
    [
        ([False, True], True),
        ([False, False], False),
        ([2, 3], 5),
        ([2, "3"], 5),
        ([2, True], None),
        ([2, None], None),
        ([2, {}], None),
        ([{}], None),
    ],
)
def test_selected_members_are_added_or_of_booleans_one_is_enough(members: list[Any], value: Any) -> None:
    found = value_at({"a": members}, "a[*]")
    assert (found, type(found)) == (value, type(value))


def test_what_is_missing_is_said_so() -> None:
    assert convert_values({"x": Point(), "y": Point()}, {"y": 1, "z": 2}) == ({"y": 1}, {"x": "missing"})


def test_what_not_every_message_carries_is_not_missed() -> None:
    assert convert_values({"x": Point(optional=True), "y": Point()}, {"y": 1}) == ({"y": 1}, {})


@given(messages)
def test_every_value_of_a_message_is_found_by_its_path(message: Any) -> None:
    found = values_by_path(message)
    assert found == {path: value_at(message, path) for path in found}
    assert values_by_path({"a": [1, {"b": None, "c": "x"}], "d": {}}) == {"a.0": 1, "a.1.c": "x"}


numbers_in_text = st.integers(-(10**25), 10**25).map(str) | st.floats().map(str)


@given(wire | st.text() | numbers_in_text, st.builds(Point) | points | st.just(Point(unit="kWh")))
@example("99999999999999999999", Point(unit="kWh"))
@example("-9999999999999999999", Point(min=None, max=100))
@example(["9" * 18] * 400, Point())
def test_what_is_let_through_can_be_stored(value: Any, point: Point) -> None:
    """A record that cannot be encoded would be lost, with all other values of its message."""
    found = value_at({"a": [{"b": each} for each in value]}, "a[*].b") if isinstance(value, list) else value
    values, bad = convert_values({"x": point}, {"x": found})
    assert set(values) | set(bad) == {"x"}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(values)) == values


@pytest.mark.parametrize(
    ("message", "path", "celsius"),
    [
        ({"DS18B20": {"Temperature": 73.4}, "TempUnit": "F"}, "DS18B20.Temperature", 23.0),
        ({"DS18B20": {"Temperature": 23.4}, "TempUnit": "C"}, "DS18B20.Temperature", 23.4),
        ({"temperature": "73.4", "temperature_unit": "Fahrenheit"}, "temperature", 23.0),
        ({"t": [{"value": 296.15, "unit": "K"}, {"value": 1, "unit": "F"}]}, "t.0.value", 23.0),
        ({"value": 73.4, "unit": " °F "}, "value", 23.0),
        ({"outer": {"value": 20, "unit": "°C"}, "unit": "F"}, "outer.value", 20),
        ({"value": 20, "unit": 3}, "value", 20),
    ],
)
def test_a_temperature_in_another_unit_that_the_message_names_is_converted(
    message: Any, path: str, celsius: float
) -> None:
    point = Point(unit="°C", min=-55, max=125)
    assert convert_values({"t": point}, {"t": point_value_at(point, message, path)}) == ({"t": celsius}, {})


def test_what_is_scaled_is_converted_too_and_no_other_quantity_is() -> None:
    point = Point(unit="°C", scale=0.1)
    assert convert_values({"t": point}, {"t": point_value_at(point, {"t": 734, "unit": "F"}, "t")}) == (
        {"t": 23.0}, {},
    )  # fmt: skip
    assert point_value_at(Point(unit="%"), {"h": 50, "unit": "F"}, "h") == 50
    assert point_value_at(point, {"t": 10**400, "unit": "F"}, "t") == 10**400


def test_every_path_of_a_message_leads_back_to_its_value() -> None:
    message = {"a.b": {"c": 1}, "d": [{"e[0]": True}]}
    assert {value_at(message, path) for path in values_by_path(message)} == {1}
    assert set(values_by_path(message)) == {'"a.b".c', 'd.0."e[0]"'}


def test_a_number_that_stands_for_no_value_is_none() -> None:
    point = Point(unit="cm", invalid=(0xFFFF, 0xFFFD), alarm=AlarmSpec(hazard=Hazard.WATER, above=50))
    for number in (0xFFFF, 0xFFFD):
        assert convert_values({"level": point}, {"level": number}) == ({}, {"level": "not-a-number"})
    assert convert_values({"level": point}, {"level": 0xFFFE}) == ({"level": 0xFFFE}, {})
    assert convert_values({"on": Point(invalid=(1,))}, {"on": True}) == ({"on": True}, {})


@pytest.mark.parametrize("code", [2, 255, -1])
def test_a_code_that_the_maker_does_not_have_is_not_no_alarm(code: int) -> None:
    point = Point(words={"0": False, "1": True}, alarm=AlarmSpec(hazard=Hazard.GAS))
    assert convert_values({"gas": point}, {"gas": code}) == ({}, {"gas": "wrong-type"})
    assert convert_values({"gas": point}, {"gas": 1}) == ({"gas": True}, {})
