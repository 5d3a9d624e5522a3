"""Alarm rules as data, from device profiles and from the site file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

import msgspec

from gateway.model import (
    FAILURES_UNTIL_OFFLINE,
    LATCHING_HAZARDS,
    AlarmSpec,
    Device,
    Hazard,
    Limit,
    Stamp,
)
from gateway.model.hours import WeeklyHours

LINK_POINT = "link"
"""The point that stands for the connection to a device: true while the device does not answer."""
UNUSABLE_POINT = "unusable"
"""The point that stands for what a device reports: true while there is no usable value of a point that must
raise an alarm."""
FAULT_WITHIN_S = 100.0
"""States must be shown within this time (GB 25506-2010)."""

LocalClock = Callable[[Stamp], datetime | None]
"""The local time at the site for a stamp; None while the clock has not been set."""


class RuleCondition(Limit, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"equals": "is"}):
    """One test of one point, written `device.point`. Exactly one of the tests is given."""

    point: str
    equals: bool | int | str | None = None
    rises: float | None = None
    """By how much the value goes up `within` so many seconds."""
    falls: float | None = None
    within: float = 60.0
    missing: float | None = None
    """Seconds without a reading of it."""
    stuck: float | None = None
    """Seconds in which it has kept exactly the same value although it was read."""

    @property
    def device(self) -> str:
        return self.point.partition(".")[0]

    @property
    def test_names(self) -> list[str]:
        """The tests that are given, by their keys in the site file."""
        given = {
            "is": self.equals,
            "above": self.above,
            "below": self.below,
            "rises": self.rises,
            "falls": self.falls,
            "missing": self.missing,
            "stuck": self.stuck,
        }
        return [name for name, value in given.items() if value is not None]


class UnusableCondition(RuleCondition, frozen=True, kw_only=True):
    """Whether the device reports, but no usable value of this point for as long as is said here."""

    missing_s: float
    """Seconds in which it may be missing: it may be in the next message."""
    invalid_s: float
    """Seconds for any other reason."""
    is_optional: bool
    """A reading without it is complete."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """When an alarm is raised.

    The rule holds once at least `required_count` of its conditions (0: all) have held for `on_delay_s`
    without a break while it applies; it ceases to hold once that has not been so for `off_delay_s`.
    """

    id: str
    device: str
    """The device that the alarm is recorded for."""
    point: str
    hazard: Hazard
    conditions: tuple[RuleCondition, ...]
    title: dict[str, str] = {}
    required_count: int = 0
    applies_at: Callable[[datetime], bool] | None = None
    """Whether it applies at a local time. It always applies while the clock has not been set."""
    on_delay_s: float = 0.0
    off_delay_s: float = 5.0
    latching: bool
    place: str = ""
    """The address of the one place that it is for, of a point that stands for many (`Sample.places`)."""
    where: str = ""
    """That place's name for people."""

    def at_place(self, place: str, where: str) -> Rule:
        """The same rule for one of the places of its point."""
        return msgspec.structs.replace(self, id=f"{self.id}/{place}", place=place, where=where)

    @property
    def is_of_point(self) -> bool:
        """Whether it is the rule of one point in a device's profile."""
        return self.id == f"{self.device}/{self.point}"

    @property
    def point_rule_id(self) -> str:
        """The id of the rule of the whole point."""
        return self.id.removesuffix(f"/{self.place}") if self.place else self.id

    @property
    def depends_on_time(self) -> bool:
        """Whether it can begin or cease to hold without a new reading."""
        return self.applies_at is not None or any(
            each.missing is not None or isinstance(each, UnusableCondition) for each in self.conditions
        )


def rules_of_device(device: Device, opening_hours: WeeklyHours | None = None) -> Iterator[Rule]:
    """The rules in a device's profile; a safety device has one more, for when it does not answer.

    `opening_hours` are those of the site, for alarms that apply `while_open`.
    """
    for name, point in device.points.items():
        if spec := point.alarm:
            yield rule_of_point(device.name, name, spec, opening_hours)
    if device.is_safety_device:
        yield rule_of_point(device.name, LINK_POINT, AlarmSpec(hazard=Hazard.FAULT, off_delay=0.0))


def rule_of_point(
    device: str, point: str, spec: AlarmSpec, opening_hours: WeeklyHours | None = None
) -> Rule:
    """The rule for one point with an alarm in its profile."""
    has_limit = spec.above is not None or spec.below is not None
    path = f"{device}.{point}"
    condition = (
        RuleCondition(point=path, above=spec.above, below=spec.below, hysteresis=spec.hysteresis)
        if has_limit
        else RuleCondition(point=path, equals=True)
    )
    return Rule(
        id=f"{device}/{point}",
        device=device,
        point=point,
        hazard=spec.hazard,
        conditions=(condition,),
        applies_at=opening_hours.__contains__ if spec.while_open and opening_hours is not None else None,
        on_delay_s=spec.delay,
        off_delay_s=spec.off_delay,
        latching=spec.hazard in LATCHING_HAZARDS if spec.latch is None else spec.latch,
    )


def unusable_rules(devices: Mapping[str, Device], rules: Iterable[Rule] = ()) -> Iterator[Rule]:
    """For each device with a point that raises alarms, by its profile or by one of these rules of the site:
    the fault that such a point has no usable value."""
    named = {condition.point for rule in rules for condition in rule.conditions}
    for device in devices.values():
        conditions = tuple(
            _unusable_condition(device, name)
            for name, point in device.points.items()
            if point.alarm or f"{device.name}.{name}" in named
        )
        if conditions:
            yield Rule(
                id=f"{device.name}/{UNUSABLE_POINT}",
                device=device.name,
                point=UNUSABLE_POINT,
                hazard=Hazard.FAULT,
                conditions=conditions,
                required_count=1,
                off_delay_s=0.0,
                latching=False,
            )


def _unusable_condition(device: Device, point: str) -> UnusableCondition:
    silence_s = FAILURES_UNTIL_OFFLINE * device.every
    return UnusableCondition(
        point=f"{device.name}.{point}",
        missing_s=silence_s,
        invalid_s=min(silence_s, FAULT_WITHIN_S),
        is_optional=device.points[point].optional,
    )
