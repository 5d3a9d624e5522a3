"""Batteries: how many days each has left, by a straight line through the lowest reading of each day.

The line is that of Theil and Sen, the median of all slopes: a sensor that lies now and then bends it
little. It is a forecast, and only as good as the sensor; lithium cells fall steeply at their end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import median

import msgspec

from gateway.model import (
    Changes,
    Device,
    Fact,
    Lane,
    Message,
    Rows,
    Sample,
    Service,
    Stamp,
    Tick,
    Value,
)

POINT = "battery"
KEPT = 90
"""Days remembered."""
FEWEST = 7
"""Days from which a line may be drawn."""
WARN = 30.0
"""Days left at which people are told: time to buy a battery."""
FAR = 999.0
"""Days beyond which nobody plans."""
DAY = 86_400_000
GRAIN = 0.005
"""What must change, as a part of the full reading, to be written down again on the same day."""
EMPTY = {"%": 10.0}
"""The reading at which a battery is empty; in volts it is four fifths of full (2.4 V of 3 V)."""
FRESH = {"%": 20.0}
"""How far a day's lowest lies above those of the three days before once there is a new battery; in volts
an eighth of full."""


class Battery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One device's battery; its key is the device's name."""

    unit: str
    full: float
    """The highest daily minimum since it was new."""
    days: tuple[tuple[int, float], ...]
    """Day since 1970 (UTC) and the lowest reading of it, oldest first; the last is today."""
    left: float | None = None
    """Days until it is empty, by yesterday's line; None while none can be drawn, or it does not fall."""
    told: bool = False

    @property
    def level(self) -> float:
        """The lowest reading of the newest day."""
        return self.days[-1][1]


class Batteries(Service):
    """Follows every point named `battery` that is a number."""

    name = "batteries"
    row = Battery

    def __init__(self, devices: Mapping[str, Device]) -> None:
        self._units = {
            name: str(device.points[POINT].unit)
            for name, device in devices.items()
            if POINT in device.points
        }

    def apply(self, rows: Rows, message: Message) -> tuple[Changes, list[Fact]]:
        if isinstance(message, Tick):
            return {key: None for key in rows if key not in self._units}, []
        if isinstance(message, Sample) and message.device in self._units and not message.error:
            value = message.values.get(POINT)
            if not isinstance(value, bool | str | None) and message.at.is_set:
                return self._read(rows.get(message.device), message, round(float(value), 3))
        return {}, []

    def _read(self, old: Battery | None, sample: Sample, level: float) -> tuple[Changes, list[Fact]]:
        name, today = sample.device, sample.at.wall // DAY
        unit = self._units[name]
        if old is not None and old.unit == unit:
            if today == old.days[-1][0]:
                if level > old.level - GRAIN * abs(old.full):
                    return {}, []
                return {name: _replace(old, days=(*old.days[:-1], (today, level)))}, []
            # Days after today are those of a clock that was wrong.
            if past := tuple(day for day in old.days if day[0] < today):
                new, facts = _settle(_replace(old, days=past), name, sample.at)
                return {name: _replace(new, days=(*new.days, (today, level))[-KEPT:])}, facts
        return {name: Battery(unit=unit, full=level, days=((today, level),))}, []

    def summary(self, rows: Rows) -> dict[str, Value]:
        return {"low": sum(row.told for row in rows.values())} if rows else {}


def _settle(row: Battery, device: str, at: Stamp) -> tuple[Battery, list[Fact]]:
    """A day is over, and with it its lowest reading is known: draw the line anew."""
    if len(row.days) > 1:
        before = median(value for _, value in row.days[-4:-1])
        level = row.level
        if level - before >= FRESH.get(row.unit, row.full / 8):
            body = {"before": before, "level": level, "unit": row.unit}
            fresh = Battery(unit=row.unit, full=level, days=row.days[-1:])
            return fresh, [Fact(Lane.EVENT, device, "battery-replaced", at, body)]
    row = _replace(row, full=max(row.full, row.level))
    empty = EMPTY.get(row.unit, row.full * 0.8)
    row = _replace(row, left=forecast(row.days, empty))
    low = row.left is not None and row.left <= WARN
    if low and not row.told:
        body = {"days_left": row.left, "level": row.level, "unit": row.unit}
        return _replace(row, told=True), [Fact(Lane.EVENT, device, "battery-low", at, body, durable=True)]
    # One that hovers about the mark is told of once.
    return (row if low or (row.left or FAR) < 1.5 * WARN else _replace(row, told=False)), []


def forecast(days: Sequence[tuple[int, float]], empty: float) -> float | None:
    """Days from the last one until the line reaches `empty`; 0 when it is below already."""
    if len(days) < FEWEST:
        return None
    slope = median((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(days, 2))
    level = median(value + slope * (days[-1][0] - day) for day, value in days)
    if level <= empty:
        return 0.0
    return round(min(FAR, (empty - level) / slope), 1) if slope < 0 else None


_replace = msgspec.structs.replace
