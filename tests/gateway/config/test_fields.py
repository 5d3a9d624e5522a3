"""Structs from tables: every number has limits, however deep it lies."""

import math
import types
import typing
from typing import Any

import msgspec
import pytest

from drivers import driver_names, load_driver
from gateway.capabilities.safety.services.alarms.rules import RuleCondition
from gateway.capabilities.safety.services.escalation import EscalationStep
from gateway.config import options
from gateway.config.fields import struct_from_table
from gateway.model import LINE_CHECKS, AlarmSpec, Checks, Limit, Point

DRIVERS = [load_driver(name) for name in driver_names()]
OPTIONS = [
    *(kind for driver in DRIVERS for kind in (driver.options, driver.address)),
    options.UplinkOptions,
    options.JournalOptions,
    options.MetricsOptions,
    options.DashboardOptions,
]


def _is_number(hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_is_number(each) for each in typing.get_args(hint))
    return hint in (int, float)


@pytest.mark.parametrize("struct", OPTIONS, ids=lambda each: f"{each.__module__}.{each.__name__}")
def test_every_number_of_a_line_and_of_an_uplink_has_limits(struct: type[msgspec.Struct]) -> None:
    checks: dict[str, Any] = {}
    for each in reversed(struct.__mro__):
        checks |= vars(each).get("CHECKS", {})
    hints = typing.get_type_hints(struct)
    unlimited = {
        name for name in struct.__struct_fields__ if _is_number(hints[name]) and name not in checks
    }
    assert unlimited == set()
    for name in struct.__struct_fields__:
        if _is_number(hints[name]):
            holds, _ = checks[name]
            assert not all(holds(number) for number in (-(10**9), -1, 0, 10**9))


@pytest.mark.parametrize(
    ("key", "value", "holds"),
    [
        ("baud", 9600, True), ("baud", 9601, False), ("baud", 0, False), ("baud", -9600, False),
        ("timeout", 0.5, True), ("timeout", 500, False), ("timeout", 0, False), ("timeout", -1, False),
        ("settle", 0, True), ("settle", None, True), ("settle", 200, False), ("settle", -0.1, False),
    ],
)  # fmt: skip
def test_limits_of_a_line(key: str, value: float | None, holds: bool) -> None:
    check, _ = LINE_CHECKS[key]
    assert check(value) is holds


class Holder(msgspec.Struct, frozen=True):
    spec: AlarmSpec | None = None
    when: tuple[RuleCondition, ...] = ()
    by_name: dict[str, EscalationStep] = {}


class Span(msgspec.Struct, frozen=True):
    first: int
    last: int

    STRUCT_CHECKS: typing.ClassVar[Checks] = {"last": (lambda span: span.first <= span.last, "span-order")}


class Spans(msgspec.Struct, frozen=True):
    spans: list[Span]


@pytest.mark.parametrize(
    ("table", "path", "sentence"),
    [
        ({"spec": {"hazard": "gas", "above": math.nan}}, ("spec", "above"), "value-not-finite"),
        ({"spec": {"hazard": "gas", "delay": -1}}, ("spec", "delay"), "delay-range"),
        ({"spec": {"hazard": "gas", "off_delay": 1e9}}, ("spec", "off_delay"), "delay-range"),
        ({"spec": {"hazard": "gas", "above": 5, "hysteresis": -2}}, ("spec", "hysteresis"), "not-negative"),
        (
            {"when": [{"point": "a.b", "above": 1}, {"point": "a.b", "below": -math.inf}]},
            ("when", "2", "below"),
            "value-not-finite",
        ),
        ({"by_name": {"x": {"after": -1, "tell": [], "by": []}}}, ("by_name", "x", "after"), "delay-range"),
    ],
)
def test_what_lies_within_is_checked_as_well(
    table: dict[str, Any], path: tuple[str, ...], sentence: str
) -> None:
    built, (mistake,) = struct_from_table(Holder, table)
    assert built is None
    assert (mistake.path, mistake.key) == (path, sentence)


@pytest.mark.parametrize(
    ("table", "mistakes"),
    [
        ({"max": 80, "alarm": {"hazard": "food", "above": 80}}, {"alarm": "limit-never"}),
        ({"max": 80, "alarm": {"hazard": "food", "above": 79.9}}, {}),
        ({"min": -40, "alarm": {"hazard": "food", "below": -40}}, {"alarm": "limit-never"}),
        ({"min": -40, "max": 80, "true_above": 90}, {"true_above": "limit-never"}),
        ({"min": 0, "true_below": 0}, {"true_below": "limit-never"}),
        ({"bit": 0, "equals": 1}, {"equals": "tests-several"}),
        ({"bit": 0, "words": {"on": True}}, {"equals": "tests-several"}),
    ],
)
def test_a_point_whose_alarm_can_never_be_is_refused(
    table: dict[str, Any], mistakes: dict[str, str]
) -> None:
    _, found = struct_from_table(Point, table)
    assert {mistake.path[0]: mistake.key for mistake in found} == mistakes


def test_a_limit_that_every_number_exceeds_is_refused() -> None:
    _, (mistake,) = struct_from_table(Limit, {"above": 8, "below": 10})
    assert (mistake.path, mistake.key) == (("above",), "limit-always")
    assert struct_from_table(Limit, {"above": 8, "below": 8})[1] == []


@pytest.mark.parametrize(
    ("table", "key", "known"),
    [
        ({"registr": 1, "y": 2}, "key-unknown", "register"),
        ({"y": 2}, "key-unknown", "register"),
        ({"register": 1, "y": 2}, "key-none-of", "register, width"),
    ],
)
def test_an_unknown_key_is_told_with_what_may_be_meant(table: dict[str, Any], key: str, known: str) -> None:
    class Place(msgspec.Struct):
        register: int
        width: int = 1

    _, found = struct_from_table(Place, table)
    assert (found[0].key, found[0].facts["known"]) == (key, known)


def test_what_lies_within_is_checked_as_a_whole() -> None:
    built, (mistake,) = struct_from_table(
        Spans, {"spans": [{"first": 1, "last": 2}, {"first": 3, "last": 2}]}
    )
    assert built is None
    assert (mistake.path, mistake.key) == (("spans", "2", "last"), "span-order")
