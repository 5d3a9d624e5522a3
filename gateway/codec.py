"""From numbers on the wire to values people know. Pure; no input makes it raise."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

from .model import Point, Value


def finish(
    points: Mapping[str, Point], wire: Mapping[str, Value]
) -> tuple[dict[str, Value], dict[str, str]]:
    """Apply each point's scaling and limits.

    Returns the values, and for each value that is missing or impossible why it was left out
    (`missing`, `not-a-number`, `out-of-range`).
    """
    values: dict[str, Value] = {}
    bad: dict[str, str] = {}
    for name, point in points.items():
        if name not in wire:
            bad[name] = "missing"
            continue
        value = _convert(point, wire[name])
        if isinstance(value, float) and not math.isfinite(value):
            bad[name] = "not-a-number"
        elif not _possible(point, value):
            bad[name] = "out-of-range"
        else:
            values[name] = _threshold(point, value)
    return values, bad


def _convert(point: Point, value: Value) -> Value:
    if point.bit is not None:
        return isinstance(value, int) and bool(value >> point.bit & 1)
    if point.equals is not None:
        return value in point.equals if isinstance(point.equals, tuple) else value == point.equals
    if isinstance(value, bool | str) or (point.scale == 1 and point.offset == 0):
        return value
    scaled = value * point.scale + point.offset
    return round(scaled, _decimals(point.scale) if point.decimals is None else point.decimals)


@functools.cache
def _decimals(scale: float) -> int:
    """As many digits as the scale itself has: a tenth gives one, not 23.400000000000002."""
    text = f"{scale:.9f}".rstrip("0")
    return len(text.partition(".")[2])


def _possible(point: Point, value: Value) -> bool:
    if isinstance(value, bool | str):
        return True
    return (point.min is None or value >= point.min) and (point.max is None or value <= point.max)


def _threshold(point: Point, value: Value) -> Value:
    if isinstance(value, bool | str):
        return value
    if point.true_above is not None:
        return value > point.true_above
    if point.true_below is not None:
        return value < point.true_below
    return value
