"""From numbers on the wire to values people know. Pure; no input makes it raise."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

from gateway.model import Point, Raw, Value

WORDS = (bool, str)
"""What is no quantity."""
LIMIT = 2**64
"""No wire format of ours has longer integers; JSON has."""


def follow(raw: Raw, path: str) -> Value | None:
    """The value to which a path of keys and list indices, joined by dots, leads in a parsed message."""
    found = raw
    for key in path.split("."):
        if isinstance(found, dict):
            found = found.get(key)
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found if isinstance(found, bool | int | float | str) else None


def leaves(raw: Raw, path: str = "") -> dict[str, Value]:
    """Every value in a parsed message by the path that leads to it: the reverse of `follow`."""
    parts: dict[str, Value] = {}
    inside = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    for key, part in inside:
        parts |= leaves(part, f"{path}.{key}" if path else str(key))
    return parts or ({path: raw} if path and isinstance(raw, bool | int | float | str) else {})


def finish(
    points: Mapping[str, Point], wire: Mapping[str, Value]
) -> tuple[dict[str, Value], dict[str, str]]:
    """Apply each point's scaling and limits.

    Returns the values, and for each value that is missing or impossible why it was left out
    (`missing`, `not-a-number`, `out-of-range`; `wrong-type` for a word where the point wants a quantity,
    or for what is neither true nor false where it wants an alarm).
    """
    values: dict[str, Value] = {}
    bad: dict[str, str] = {}
    for name, point in points.items():
        if name not in wire:
            if not point.optional:
                bad[name] = "missing"
            continue
        raw = wire[name]
        if isinstance(raw, int) and not -LIMIT < raw < LIMIT:
            bad[name] = "out-of-range"
            continue
        value = _convert(point, raw)
        if isinstance(value, float) and not math.isfinite(value):
            bad[name] = "not-a-number"
        elif value is None or not _fits(point, value):
            bad[name] = "wrong-type"
        elif not _possible(point, value):
            bad[name] = "out-of-range"
        else:
            values[name] = _threshold(point, value)
    return values, bad


def _fits(point: Point, value: Value) -> bool:
    """A smoke detector that says "yes" where true is expected must not pass for one that sees no smoke."""
    alarm = point.alarm
    level = alarm is not None and (alarm.above is not None or alarm.below is not None)
    judged = point.true_above is not None or point.true_below is not None
    if not isinstance(value, WORDS):
        return alarm is None or level or judged
    quantity = level or judged or point.min is not None or point.max is not None
    return not quantity and (alarm is None or isinstance(value, bool))


def _convert(point: Point, value: Value) -> Value | None:
    if point.bit is not None:
        return bool(value >> point.bit & 1) if isinstance(value, int) else None
    if point.equals is not None:
        return value in point.equals if isinstance(point.equals, tuple) else value == point.equals
    plain = point.scale == 1 and point.offset == 0 and point.decimals is None
    if plain or isinstance(value, WORDS):
        return value
    scaled = value * point.scale + point.offset
    return round(scaled, _decimals(point.scale) if point.decimals is None else point.decimals)


@functools.cache
def _decimals(scale: float) -> int:
    """As many digits as the scale itself has: a tenth gives one, not 23.400000000000002."""
    text = f"{scale:.9f}".rstrip("0")
    return len(text.partition(".")[2])


def _possible(point: Point, value: Value) -> bool:
    if isinstance(value, WORDS):
        return True
    return (point.min is None or value >= point.min) and (point.max is None or value <= point.max)


def _threshold(point: Point, value: Value) -> Value:
    if isinstance(value, WORDS):
        return value
    if point.true_above is not None:
        return value > point.true_above
    if point.true_below is not None:
        return value < point.true_below
    return value
