"""From raw values on the wire to values in the units of their points. Pure; never raises on any input."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gateway.model import Point, Raw, Value, decimals_of_scale

from .json_text import number_in_text
from .path import find_parts, is_null_at, parent_objects, quoted_key

NON_NUMERIC_TYPES = (bool, str)
"""Types of values that are not quantities."""
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1
"""What the journal can store (MessagePack, int 64 and uint 64). JSON may contain anything."""
BOOLEANS = {"true": True, "false": False, "on": True, "off": False, "1": True, "0": False}
"""What firmware writes for the booleans of JSON. Any other word says nothing: "yes" from a smoke detector
must not count as no smoke."""
MAX_TEXT_CHARACTERS = 256
"""Of a value that is a text. A device may send any amount of it, in every message."""


def value_at(raw: Raw, path: str) -> Value | None:
    """The value in a parsed message at a path of keys and list indices, joined by dots; None without one.
    An empty path leads to the message itself.

    Where the path selects several members of lists (see `path`), numbers are added, and of booleans one
    true is enough.
    """
    found = find_parts(raw, path)
    if len(found) > 1:
        return _combined(found)
    return found[0] if found and isinstance(found[0], bool | int | float | str) else None


def point_value_at(point: Point, raw: Raw, path: str) -> Value | None:
    """The value of a point in a parsed message; None if the message does not contain it. If it says that
    there is none (`null`, as from a thermometer whose probe is broken), a quantity is NaN."""
    value = value_at(raw, path)
    if value is None and _is_number(point) and is_null_at(raw, path):
        return math.nan
    if point.unit == "°C" and value is not None and not isinstance(value, bool):
        return _celsius(point, value, raw, path)
    return value


UNIT_KEYS = (
    "TempUnit", "tempUnit", "temp_unit", "TemperatureUnit", "temperatureUnit", "temperature_unit",
    "temperature_units", "unit", "Unit", "units", "unit_of_measurement", "uom",
)  # fmt: skip
"""Where messages name the unit of a temperature, beside it or in an object around it."""
OTHER_SCALES = {
    **dict.fromkeys(("f", "°f", "℉", "degf", "fahrenheit"), (5 / 9, -160 / 9)),
    **dict.fromkeys(("k", "kelvin"), (1.0, -273.15)),
}
"""By unit, what a number is multiplied by, and what is added to it, to be in °C."""
CONVERTED_DECIMALS = 2


def _celsius(point: Point, value: Value, raw: Raw, path: str) -> Value:
    """A temperature on the wire as it would be in °C, if the message says that it is in another unit."""
    parents = parent_objects(raw, path)
    units = (parent[key] for parent in parents for key in UNIT_KEYS if isinstance(parent.get(key), str))
    scale = OTHER_SCALES.get(next(units, "").strip().casefold())
    number = number_in_text(value) if isinstance(value, str) else value
    if scale is None or number is None or not _is_storable(number):
        return value
    celsius = (number * point.scale + point.offset) * scale[0] + scale[1]
    return (round(celsius, CONVERTED_DECIMALS) - point.offset) / point.scale


def _combined(values: Sequence[Raw]) -> Value | None:
    if all(isinstance(value, bool) for value in values):
        return any(values)
    numbers = [number_in_text(value) if isinstance(value, str) else value for value in values]
    wanted = [each for each in numbers if isinstance(each, int | float) and not isinstance(each, bool)]
    return sum(wanted) if len(wanted) == len(values) else None


def values_by_path(raw: Raw, path: str = "") -> dict[str, Value]:
    """Every value in a parsed message by its path: the reverse of `value_at`."""
    parts: dict[str, Value] = {}
    inside = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    for key, part in inside:
        step = quoted_key(str(key))
        parts |= values_by_path(part, f"{path}.{step}" if path else step)
    return parts or ({path: raw} if path and isinstance(raw, bool | int | float | str) else {})


def convert_values(
    points: Mapping[str, Point], wire_values: Mapping[str, Value | None]
) -> tuple[dict[str, Value], dict[str, str]]:
    """Apply each point's words, scaling and limits.

    Returns the values, and the reason for each value that was left out: `missing`, `not-a-number`,
    `out-of-range`, `too-long` or `wrong-type` (a word that the point does not have, a string where it is a
    quantity, or not a boolean where it is an alarm).
    """
    values: dict[str, Value] = {}
    bad: dict[str, str] = {}
    for name, point in points.items():
        if name not in wire_values:
            if not point.optional:
                bad[name] = "missing"
            continue
        if (raw := wire_values[name]) is None:
            continue
        if isinstance(raw, str) and len(raw) > MAX_TEXT_CHARACTERS:
            bad[name] = "too-long"
            continue
        if raw in point.invalid and not isinstance(raw, bool):
            bad[name] = "not-a-number"
            continue
        if not _is_storable(raw):
            bad[name] = "out-of-range"
            continue
        value = _scaled_value(point, raw)
        if isinstance(value, float) and not math.isfinite(value):
            bad[name] = "not-a-number"
        elif value is None or not _has_right_type(point, value):
            bad[name] = "wrong-type"
        elif not _is_in_range(point, value):
            bad[name] = "out-of-range"
        else:
            values[name] = _thresholded_value(point, value)
    return values, bad


def _has_right_type(point: Point, value: Value) -> bool:
    alarm = point.alarm
    level = alarm is not None and (alarm.above is not None or alarm.below is not None)
    thresholded = point.true_above is not None or point.true_below is not None
    if not isinstance(value, NON_NUMERIC_TYPES):
        return alarm is None or level or thresholded
    if isinstance(value, str):
        return alarm is None and not _is_number(point)
    quantity = level or thresholded or point.min is not None or point.max is not None
    return not quantity


def _scaled_value(point: Point, value: Value) -> Value | None:
    if point.words:
        return _value_of_word(point, value)
    if isinstance(value, str) and _is_number(point):
        number = number_in_text(_without_unit(value, point.unit))
        value = value if number is None else number
    if isinstance(value, float) and not math.isfinite(value):
        return value  # Not equal to anything, which must not mean "no alarm".
    if point.bit is not None or point.equals is not None or _is_alarm_state(point):
        return _tested_value(point, value)
    plain = point.scale == 1 and point.offset == 0 and point.decimals is None
    if plain or isinstance(value, NON_NUMERIC_TYPES):
        return value
    scaled = value * point.scale + point.offset
    return round(scaled, decimals_of_scale(point.scale) if point.decimals is None else point.decimals)


def _tested_value(point: Point, value: Value) -> bool | None:
    """Whether the value passes the test of a point that has one; None if it says nothing about that."""
    if point.bit is not None:
        return bool(value >> point.bit & 1) if isinstance(value, int) else None
    if point.equals is None:
        return _boolean(value)
    if isinstance(point.equals, bool):
        state = _boolean(value)
        return None if state is None else state == point.equals
    choices = point.equals if isinstance(point.equals, tuple) else (point.equals,)
    return any(_is_same(value, choice) for choice in choices)


def _is_alarm_state(point: Point) -> bool:
    """Whether the value itself says that there is an alarm."""
    tests = (
        point.true_above,
        point.true_below,
        point.alarm and point.alarm.above,
        point.alarm and point.alarm.below,
    )
    return point.alarm is not None and all(test is None for test in tests)


def _boolean(value: Value) -> bool | None:
    """The boolean that a value is; None for any other."""
    return BOOLEANS.get(f"{value:g}" if isinstance(value, float) else str(value).strip().casefold())


def _is_same(value: Value, choice: Value) -> bool:
    if isinstance(value, str) and isinstance(choice, str):
        return value.strip().casefold() == choice.casefold()
    return value == choice


def _without_unit(text: str, unit: str) -> str:
    """A number as some devices write it, without the unit behind it (`21.5 °C`). In another unit it is no
    number here."""
    text = text.strip()
    for written in (unit, unit.replace("°C", "℃"), unit.replace("°C", "C")):
        if written and text.casefold().endswith(written.casefold()):
            return text[: -len(written)]
    return text


def _value_of_word(point: Point, value: Value) -> Value | None:
    known = {word.casefold(): meaning for word, meaning in point.words.items()}
    word = str(value).casefold()
    return known.get(word, value if isinstance(value, bool) and point.is_boolean else None)


def _is_number(point: Point) -> bool:
    """Whether the value on the wire is a number, so that a text is one in quotes."""
    if point.equals is not None:
        choices = point.equals if isinstance(point.equals, tuple) else (point.equals,)
        return not any(isinstance(choice, str) for choice in choices)
    tests = (point.bit, point.decimals, point.min, point.max, point.true_above, point.true_below)
    level = point.alarm is not None and (point.alarm.above is not None or point.alarm.below is not None)
    scaled = point.scale != 1 or point.offset != 0 or bool(point.unit)
    return level or scaled or any(test is not None for test in tests)


def _is_storable(value: Value) -> bool:
    return not isinstance(value, int) or MIN_INTEGER <= value <= MAX_INTEGER


def _is_in_range(point: Point, value: Value) -> bool:
    if isinstance(value, NON_NUMERIC_TYPES):
        return True
    if not _is_storable(value):  # It was a text.
        return False
    return (point.min is None or value >= point.min) and (point.max is None or value <= point.max)


def _thresholded_value(point: Point, value: Value) -> Value:
    if isinstance(value, NON_NUMERIC_TYPES):
        return value
    if point.true_above is not None:
        return value > point.true_above
    if point.true_below is not None:
        return value < point.true_below
    return value
