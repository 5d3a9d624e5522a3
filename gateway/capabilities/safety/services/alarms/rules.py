"""Alarm rules as data, from device profiles and from the site file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

import msgspec

from gateway.model import LATCHING_HAZARDS, AlarmSpec, Device, Hazard, Limit, Stamp
from gateway.model.hours import WeeklyHours

LINK_POINT = "link"
"""The point that stands for the connection to a device: true while the device does not answer."""

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
        return self.applies_at is not None or any(each.missing is not None for each in self.conditions)


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
