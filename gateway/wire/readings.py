"""The readings in one message: what a device kept while it was offline comes in one push."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from gateway.model import Raw, Value, parse_device_time

from .path import split_readings

TIME_POINTS = "period_start", "time"
"""The points that say when something was measured."""

Decode = Callable[[Mapping[str, Any], Raw], Mapping[str, Value | None]]


def split_message(points: Mapping[str, Any], raw: Raw, decode: Decode) -> list[Raw]:
    """The readings in a parsed message, in the order of their times: a reading for each member of the lists
    that the paths of the points split, without those that have no value; the whole message if none has.

    Raises `ReadFailed` if there are too many.
    """
    readings = split_readings(raw, [point.path for point in points.values()])
    if len(readings) == 1:
        return readings
    decoded = [(decode(points, reading), reading) for reading in readings]
    kept = [(values, reading) for values, reading in decoded if has_values(values)]
    return [reading for _, reading in sorted(kept, key=lambda each: _measured_at(each[0]))] or [raw]


def has_values(decoded: Mapping[str, Value | None]) -> bool:
    return any(value is not None for value in decoded.values())


def _measured_at(values: Mapping[str, Value | None]) -> datetime:
    times = (parse_device_time(values.get(name)) for name in TIME_POINTS)
    return next((time for time in times if time), datetime.min.replace(tzinfo=UTC))
