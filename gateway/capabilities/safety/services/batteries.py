"""Batteries: how many days each has left, by a straight line through the lowest reading of each day.

The line is a Theil-Sen estimate, the median of all slopes, which occasional wrong readings hardly change.
It is a forecast and only as good as the sensor: the voltage of lithium cells falls steeply at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import median

import msgspec

from gateway.model import (
    Device,
    Fact,
    Lane,
    Message,
    RowChanges,
    Rows,
    Sample,
    Service,
    Stamp,
    Tick,
    Value,
)

BATTERY_POINT = "battery"
MAX_HISTORY_DAYS = 90
"""How many days of readings are kept."""
MIN_FORECAST_DAYS = 7
"""A forecast needs readings of at least this many days."""
LOW_DAYS_LEFT = 30.0
"""A battery with no more days left is reported as low: time to buy a new one."""
MAX_DAYS_LEFT = 999.0
"""The longest forecast."""
DAY_MS = 86_400_000
MIN_CHANGE_RATIO = 0.005
"""A lower reading on the same day is stored if it fell by this part of the full reading."""
EMPTY_LEVEL = {"%": 10.0}
"""The reading of an empty battery by unit; for volts it is four fifths of full (2.4 V of 3 V)."""
REPLACEMENT_RISE = {"%": 20.0}
"""A battery was replaced if a day's lowest reading is this far above those of the three days before, by
unit; for volts it is an eighth of full."""


class Battery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One device's battery; its key is the device's name."""

    unit: str
    full: float
    """The highest daily minimum since the battery was replaced."""
    days: tuple[tuple[int, float], ...]
    """Days since 1970 (UTC) with the lowest reading of each, oldest first; the last is today."""
    left: float | None = None
    """Days until it is empty, forecast yesterday; None without a forecast or if the level does not fall."""
    reported_low: bool = msgspec.field(default=False, name="told")

    @property
    def level(self) -> float:
        """The lowest reading of the newest day."""
        return self.days[-1][1]


class Batteries(Service):
    """Forecasts each point named `battery` that is a number."""

    name = "batteries"
    row = Battery

    def __init__(self, devices: Mapping[str, Device]) -> None:
        self._units = {
            name: str(device.points[BATTERY_POINT].unit)
            for name, device in devices.items()
            if BATTERY_POINT in device.points
        }

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        if isinstance(message, Tick):
            return {key: None for key in rows if key not in self._units}, []
        if isinstance(message, Sample) and message.device in self._units and not message.error:
            value = message.values.get(BATTERY_POINT)
            if not isinstance(value, bool | str | None) and message.at.is_set:
                return self._record_level(rows.get(message.device), message, round(float(value), 3))
        return {}, []

    def _record_level(
        self, old: Battery | None, sample: Sample, level: float
    ) -> tuple[RowChanges, list[Fact]]:
        name, today = sample.device, sample.at.wall_ms // DAY_MS
        unit = self._units[name]
        if old is not None and old.unit == unit:
            if today == old.days[-1][0]:
                if level > old.level - MIN_CHANGE_RATIO * abs(old.full):
                    return {}, []
                return {name: _replace(old, days=(*old.days[:-1], (today, level)))}, []
            # Days after today were recorded with a wrong clock.
            if past := tuple(day for day in old.days if day[0] < today):
                new, facts = _close_day(_replace(old, days=past), name, sample.at)
                return {name: _replace(new, days=(*new.days, (today, level))[-MAX_HISTORY_DAYS:])}, facts
        return {name: Battery(unit=unit, full=level, days=((today, level),))}, []

    def summary(self, rows: Rows) -> dict[str, Value]:
        return {"low": sum(row.reported_low for row in rows.values())} if rows else {}


def _close_day(row: Battery, device: str, at: Stamp) -> tuple[Battery, list[Fact]]:
    """Forecast again at the end of a day, when its lowest reading is known."""
    if len(row.days) > 1:
        before = median(value for _, value in row.days[-4:-1])
        level = row.level
        if level - before >= REPLACEMENT_RISE.get(row.unit, row.full / 8):
            body = {"before": before, "level": level, "unit": row.unit}
            replaced = Battery(unit=row.unit, full=level, days=row.days[-1:])
            return replaced, [Fact(Lane.EVENT, device, "battery-replaced", at, body)]
    row = _replace(row, full=max(row.full, row.level))
    empty = EMPTY_LEVEL.get(row.unit, row.full * 0.8)
    row = _replace(row, left=forecast_days_left(row.days, empty))
    low = row.left is not None and row.left <= LOW_DAYS_LEFT
    if low and not row.reported_low:
        body = {"days_left": row.left, "level": row.level, "unit": row.unit}
        return _replace(row, reported_low=True), [
            Fact(Lane.EVENT, device, "battery-low", at, body, durable=True)
        ]
    # A level that varies around the limit is reported once.
    return (
        row
        if low or (row.left or MAX_DAYS_LEFT) < 1.5 * LOW_DAYS_LEFT
        else _replace(row, reported_low=False)
    ), []


def forecast_days_left(days: Sequence[tuple[int, float]], empty_level: float) -> float | None:
    """Days from the last one until the level reaches `empty_level`; 0 when it is below already.

    None with too few days, or if the level does not fall.
    """
    if len(days) < MIN_FORECAST_DAYS:
        return None
    slope = median((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(days, 2))
    level = median(value + slope * (days[-1][0] - day) for day, value in days)
    if level <= empty_level:
        return 0.0
    return round(min(MAX_DAYS_LEFT, (empty_level - level) / slope), 1) if slope < 0 else None


_replace = msgspec.structs.replace
