"""Rules as data, and the judge who applies them to readings: from values to "it holds" and "it is gone".

A judge counts time by the monotonic clock alone, and remembers no more than its rules look back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from gateway.model import LATCHING, AlarmSpec, Device, Hazard, Limit, Sample, Stamp, Value
from gateway.model.hours import Hours

LINK_POINT = "link"
"""The point a device's own silence is filed under: true while it does not answer."""
MAX_HISTORY_READINGS = 64
"""Readings kept of the stretch of time that `rises` looks back on, at most."""

LocalClock = Callable[[Stamp], datetime | None]
"""The local time at the site; None while the clock was never set."""


class Condition(Limit, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"equals": "is"}):
    """One test of one point, written `device.point`. Exactly one of the tests is given."""

    point: str
    equals: bool | int | str | None = None
    rises: float | None = None
    """By how much it goes up `within` so many seconds."""
    falls: float | None = None
    within: float = 60.0
    missing: float | None = None
    """Seconds without a reading of it."""
    stuck: float | None = None
    """Seconds in which it has kept exactly the same value, while it was read."""

    @property
    def device(self) -> str:
        return self.point.partition(".")[0]

    @property
    def tests(self) -> list[str]:
        """The names of the tests that it makes."""
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
    """When something is an alarm.

    It holds when at least `need` of its conditions do (0: all), within `hours`, for `delay` seconds on
    end; and is gone when it has not held for `off_delay`.
    """

    id: str
    device: str
    """Whom the alarm is filed under."""
    point: str
    hazard: Hazard
    when: tuple[Condition, ...]
    title: dict[str, str] = {}
    need: int = 0
    hours: Callable[[datetime], bool] | None = None
    """Whether it applies at that local time; without a set clock it does."""
    delay: float = 0.0
    off_delay: float = 5.0
    latch: bool

    @property
    def timed(self) -> bool:
        """Whether time alone can change it."""
        return self.hours is not None or any(
            each.missing is not None or each.stuck is not None for each in self.when
        )


def rules_of_device(device: Device, opening: Hours | None = None) -> Iterator[Rule]:
    """What a device's model says of its points, and that it must not fall silent. `opening`: the hours in
    which the site is open."""
    for name, point in device.points.items():
        if spec := point.alarm:
            yield rule_of_point(device.name, name, spec, opening)
    if device.safety:
        yield rule_of_point(device.name, LINK_POINT, AlarmSpec(hazard=Hazard.FAULT, off_delay=0.0))


def rule_of_point(device: str, point: str, spec: AlarmSpec, opening: Hours | None = None) -> Rule:
    """The rule of one point with an alarm; `opening` as above."""
    limited = spec.above is not None or spec.below is not None
    where = f"{device}.{point}"
    condition = (
        Condition(point=where, above=spec.above, below=spec.below, hysteresis=spec.hysteresis)
        if limited
        else Condition(point=where, equals=True)
    )
    return Rule(
        id=f"{device}/{point}",
        device=device,
        point=point,
        hazard=spec.hazard,
        when=(condition,),
        hours=opening.__contains__ if spec.while_open and opening is not None else None,
        delay=spec.delay,
        off_delay=spec.off_delay,
        latch=spec.hazard in LATCHING if spec.latch is None else spec.latch,
    )


class RuleChange(NamedTuple):
    """A rule's level has changed."""

    rule: Rule
    holds: bool
    value: Value


class _ConditionState:
    """One condition and what it remembers. `level` is None while nothing is known."""

    def __init__(self, condition: Condition) -> None:
        self._condition = condition
        self._heard: float | None = None
        self._changed = 0.0
        self._past: deque[tuple[float, float]] = deque()
        self.value: Value = False
        self.level: bool | None = None

    def read(self, value: Value, now: float) -> None:
        if value != self.value or self._heard is None:
            self._changed = now
        self.value, self._heard = value, now
        self.level = self._judge(value, now)

    def look(self, now: float) -> None:
        """Time has passed."""
        condition = self._condition
        if condition.missing is not None:
            if self._heard is None:
                self._heard = now
            self.level = now - self._heard >= condition.missing
        elif condition.stuck is not None and self._heard is not None:
            self.level = self._heard - self._changed >= condition.stuck

    def _judge(self, value: Value, now: float) -> bool | None:
        condition = self._condition
        if condition.missing is not None:
            return False
        if condition.stuck is not None:
            return now - self._changed >= condition.stuck
        if condition.equals is not None:
            return value == condition.equals
        if condition.rises is None and condition.falls is None:
            return condition.exceeded(value, self.level is True)
        if isinstance(value, str):
            return None
        return self._moves(float(value), now)

    def _moves(self, value: float, now: float) -> bool:
        condition, past = self._condition, self._past
        while past and now - past[0][0] > condition.within:
            past.popleft()
        if not past or now - past[-1][0] >= condition.within / MAX_HISTORY_READINGS:
            past.append((now, value))
        if condition.rises is not None:
            return value - min(v for _, v in past) >= condition.rises
        assert condition.falls is not None
        return max(v for _, v in past) - value >= condition.falls


class _RuleState:
    """One rule, its gauges, and since when it holds or is gone."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.gauges = tuple(_ConditionState(condition) for condition in rule.when)
        self.holds = False
        self.turned: float | None = None
        """Since when the conditions say otherwise than `holds`."""

    def judge(self, at: Stamp, local: LocalClock) -> bool:
        """Whether `holds` has changed."""
        now, level = at.mono / 1e9, self._level(at, local)
        if level is None or level == self.holds:
            self.turned = None
            return False
        if self.turned is None:
            self.turned = now
        if now - self.turned < (self.rule.delay if level else self.rule.off_delay):
            return False
        self.holds, self.turned = level, None
        return True

    def _level(self, at: Stamp, local: LocalClock) -> bool | None:
        rule = self.rule
        if rule.hours is not None and (time := local(at)) is not None and not rule.hours(time):
            return False
        need = rule.need or len(self.gauges)
        held = sum(gauge.level is True for gauge in self.gauges)
        unknown = sum(gauge.level is None for gauge in self.gauges)
        if held >= need:
            return True
        return None if held + unknown >= need else False


class RuleEvaluator:
    """All rules of a site."""

    def __init__(self, rules: Iterable[Rule], local: LocalClock) -> None:
        self._local = local
        self._dockets = {rule.id: _RuleState(rule) for rule in rules}
        self._by_device: dict[str, dict[str, list[tuple[_RuleState, _ConditionState, str]]]] = {}
        for docket in self._dockets.values():
            for gauge, condition in zip(docket.gauges, docket.rule.when, strict=True):
                device, _, point = condition.point.partition(".")
                mine = self._by_device.setdefault(device, {})
                mine.setdefault(docket.rule.id, []).append((docket, gauge, point))
        self._timed = [docket for docket in self._dockets.values() if docket.rule.timed]

    @property
    def rules(self) -> Mapping[str, Rule]:
        return {name: docket.rule for name, docket in self._dockets.items()}

    def holds(self, rule: str) -> bool:
        """Whether it holds, by the last verdict."""
        docket = self._dockets.get(rule)
        return docket is not None and docket.holds

    def begin(self, holding: Iterable[str]) -> None:
        """Take up where another judge left off: those rules hold until a reading says otherwise."""
        for name in holding:
            if name in self._dockets:
                self._dockets[name].holds = True

    def read(self, sample: Sample) -> Iterator[RuleChange]:
        """What a reading changes."""
        mine = self._by_device.get(sample.device)
        if mine is None:
            return
        now = sample.at.mono / 1e9
        values: Mapping[str, Value] = {**sample.values, LINK_POINT: bool(sample.error)}
        for gauges in mine.values():
            for _, gauge, point in gauges:
                if point in values:
                    gauge.read(values[point], now)
            docket = gauges[0][0]
            if docket.judge(sample.at, self._local):
                value = sample.error if docket.rule.point == LINK_POINT else docket.gauges[0].value
                yield RuleChange(docket.rule, docket.holds, value)

    def look(self, at: Stamp) -> Iterator[RuleChange]:
        """What the passing of time changes."""
        for docket in self._timed:
            for gauge in docket.gauges:
                gauge.look(at.mono / 1e9)
        for docket in self._dockets.values():
            if (docket.turned is not None or docket.rule.timed) and docket.judge(at, self._local):
                yield RuleChange(docket.rule, docket.holds, docket.gauges[0].value)
