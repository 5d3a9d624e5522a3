"""A device of the site, its points and its actions."""

from __future__ import annotations

import functools
from typing import Any, ClassVar, Literal, Self

import msgspec

from gateway.model.alarm import LATCHING_HAZARDS, AlarmSpec, Hazard
from gateway.model.checks import Checks
from gateway.model.role import Role
from gateway.model.sample import Value

FAILURES_UNTIL_OFFLINE = 3
"""Polls without a reply, or missing messages, before a device counts as offline."""


def stale_after_s(interval_s: float) -> float:
    """The age at which a reading is stale, of a device that reports so often."""
    return FAILURES_UNTIL_OFFLINE * interval_s + 5


@functools.cache
def decimals_of_scale(scale: float) -> int:
    """As many decimals as the scale has: 0.1 gives one, instead of 23.400000000000002."""
    text = f"{scale:.9f}".rstrip("0")
    return len(text.partition(".")[2])


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The correction of one point of one device: what it measures, times `scale`, plus `offset` in its
    unit."""

    scale: float = 1.0
    offset: float = 0.0

    def corrected(self, measured: float) -> float:
        """The corrected value."""
        return measured * self.scale + self.offset

    def measured(self, corrected: float) -> float:
        """What was measured, from the corrected value."""
        return (corrected - self.offset) / self.scale


CALIBRATED_DECIMALS = 3
"""Of a corrected value, unless the profile says how many or its scale is finer."""
ROUNDING = 1e-9
"""Less than any device resolves."""
CALIBRATED_SHARE = 0.025
"""By which part of its range a calibration may change a value, where the profile says nothing else."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a device. Drivers extend this with where to find it.

    What is on the wire becomes the value in this order: `words` replaces a word; `bit` or `equals` make
    it a boolean; else `scale` and `offset` make it a quantity in `unit`, `min` and `max` say what is
    possible, and `true_above` or `true_below` turn a quantity into a boolean.
    """

    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0
    decimals: int | None = None
    min: float | None = None
    max: float | None = None
    words: dict[str, Value] = {}
    """What the device's words stand for, whatever their case: `{ ON = true, OFF = false }`. Any other word
    is bad."""
    invalid: tuple[int, ...] = ()
    """The numbers on the wire by which the device says that it has no value, such as 0xFFFF."""
    bit: int | None = None
    equals: int | str | bool | tuple[int | str, ...] | None = None
    true_above: float | None = None
    true_below: float | None = None
    alarm: AlarmSpec | None = None
    repeat: int = 0
    """In a profile: the point stands for this many points, named `name.1`, `name.2` …"""
    index: int = 1
    """The number of this one among them."""
    optional: bool = False
    """A reading without it is complete."""
    wraps: int = 1 << 32
    """Of a running total: the count at which it restarts from zero."""
    calibration: float | None = None
    """By how much a calibration may change the value, in its unit; 0: not at all. None: by
    `CALIBRATED_SHARE` of the range from `min` to `max`, if both are given."""

    CHECKS: ClassVar[Checks] = {
        "scale": (lambda scale: scale != 0, "scale-zero"),
        "bit": (lambda bit: bit is None or 0 <= bit < 64, "bit-range"),
        "repeat": (lambda times: 0 <= times <= 4096, "repeat-range"),
        "wraps": (lambda count: count > 1, "wraps-range"),
        "calibration": (lambda change: change is None or change >= 0, "positive"),
        "alarm": (
            lambda spec: spec is None or not spec.while_open or spec.hazard is Hazard.TAMPER,
            "alarm-always",
        ),
    }

    STRUCT_CHECKS: ClassVar[Checks] = {
        "min": (
            lambda point: point.min is None or point.max is None or point.min <= point.max, "min-above-max"
        ),
        "alarm": (
            lambda point: point.alarm is None or point.can_be(point.alarm.above, point.alarm.below),
            "limit-never",
        ),
        "true_above": (lambda point: point.can_be(point.true_above, None), "limit-never"),
        "true_below": (lambda point: point.can_be(None, point.true_below), "limit-never"),
        "equals": (
            lambda point: (point.bit is not None) + (point.equals is not None) + bool(point.words) <= 1,
            "tests-several",
        ),
    }  # fmt: skip

    def can_be(self, above: float | None, below: float | None) -> bool:
        """Whether a reading within `min` and `max` can be above the one and below the other."""
        is_above = above is None or self.max is None or above < self.max
        return is_above and (below is None or self.min is None or below > self.min)

    @property
    def is_boolean(self) -> bool:
        """Whether its value is known to be true or false. Drivers whose own keys say so extend this."""
        tests = (self.bit, self.equals, self.true_above, self.true_below)
        of_words = bool(self.words) and all(isinstance(value, bool) for value in self.words.values())
        return of_words or any(test is not None for test in tests)

    @property
    def calibration_limit(self) -> float:
        """By how much a calibration may change the value anywhere in its range; 0 of a point that may not
        be calibrated: what is true or false, a word, or has no range."""
        if self.is_boolean or self.words or self.min is None or self.max is None:
            return 0.0
        return (self.max - self.min) * CALIBRATED_SHARE if self.calibration is None else self.calibration

    def admits(self, calibration: Calibration) -> bool:
        """Whether a calibration stays within the limit."""
        ends = (end for end in (self.min, self.max) if end is not None)
        limit = self.calibration_limit * (1 + 1e-9)
        return calibration.scale > 0 and all(abs(calibration.corrected(end) - end) <= limit for end in ends)

    def calibrated(self, calibration: Calibration) -> Self:
        """The point with corrected values. What is possible is still judged by what was measured: a
        reading at the end of the range is not left out."""
        scale = self.scale * calibration.scale
        # A device that sends 4.2 has more decimals than its scale.
        finest = max(CALIBRATED_DECIMALS, decimals_of_scale(self.scale))
        decimals = finest if self.decimals is None else self.decimals
        # Values are rounded before they are compared with these; at a half, one or the other way.
        low = None if self.min is None else round(calibration.corrected(self.min) - ROUNDING, decimals)
        high = None if self.max is None else round(calibration.corrected(self.max) + ROUNDING, decimals)
        offset = self.offset * calibration.scale + calibration.offset
        return msgspec.structs.replace(
            self, scale=scale, offset=offset, decimals=decimals, min=low, max=high
        )


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """An action that a device can execute. Drivers extend this with how."""

    confirm: dict[str, Value] = {}
    """The values by which the next reading confirms it."""
    role: Role = Role.MANAGER
    """The least role that may do it on the dashboard."""


class ListenerAction(Action, frozen=True, kw_only=True):
    """An action of a device that pushes."""

    confirm_within: float = 0.0
    """Seconds until it must have confirmed; 0: as long as it may be silent without being offline."""

    CHECKS: ClassVar[Checks] = {
        "confirm_within": (lambda seconds: 0 <= seconds <= 7 * 86_400, "confirm-range")
    }


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One device of the site, with the points and actions of its profile."""

    name: str
    title: dict[str, str]
    """Its display name, by language."""
    room: dict[str, str] = {}
    """Where it is, by language; empty if the site does not say."""
    kind: str
    profile: str
    bus: str
    address: Any
    """The driver's `Address`: unit id, board number, topic …"""
    points: dict[str, Any]
    """The driver's points, each a `Point`, as they are calibrated."""
    calibrations: dict[str, Calibration] = {}
    """By point."""
    serial: str = ""
    """The serial number of the device that is there now."""
    every: float
    """Seconds between polls; for a device that pushes, the longest silence to expect."""
    retained: Literal["", "state"] = ""
    """`state`: what is retained of its messages is its present state; else it is not used."""
    actions: dict[str, Any] = {}
    """The actions of its profile, each the driver's `Action`."""

    @property
    def is_safety_device(self) -> bool:
        """Whether one of its points is an alarm: such devices are polled first."""
        return any(point.alarm for point in self.points.values())

    @property
    def calibration_role(self) -> Role:
        """The least role that may calibrate it: the installer, where lives depend on one of its points."""
        alarms = (point.alarm for point in self.points.values())
        vital = any(alarm and alarm.hazard in LATCHING_HAZARDS for alarm in alarms)
        return Role.INSTALLER if vital else Role.MANAGER

    def confirm_timeout_s(self, action: str) -> float:
        """Seconds that a device which pushes has to confirm the action."""
        declared = self.actions.get(action)
        within = declared.confirm_within if isinstance(declared, ListenerAction) else 0.0
        return within or FAILURES_UNTIL_OFFLINE * self.every
