"""`[rule.…]` and `[output.…]`: a site's own alarm rules, and its outputs.

A rule that can never be true, or names something that does not exist, is a mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from gateway.capabilities.safety.services.alarms import (
    LINK_POINT,
    Output,
    Rule,
    RuleCondition,
    rule_of_point,
)
from gateway.config.capability import Figures, SiteDraft
from gateway.config.reading import TomlReader, localized
from gateway.config.site import Site
from gateway.model import LATCHING_HAZARDS, Checks, Hazard, Point, is_delay_s
from gateway.model.hours import WeeklyHours, parse_every_day


class RuleKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`[rule.…]`: an alarm of the site's own. `during` is `08:00-21:30`, `open` or `closed`."""

    hazard: Hazard
    when: tuple[RuleCondition, ...]
    title: str | dict[str, str] = ""
    need: int = 0
    during: str = ""
    delay: float = 0.0
    off_delay: float = 5.0
    latch: bool | None = None

    CHECKS: ClassVar[Checks] = {
        "when": (bool, "rule-empty"),
        "delay": (is_delay_s, "delay-range"),
        "off_delay": (is_delay_s, "delay-range"),
    }


def read_rules(draft: SiteDraft, figures: Figures) -> dict[str, Rule]:
    """Every valid rule of the site, and those of figures with an alarm."""
    reader, opening = draft.reader, draft.hours
    points: dict[str, Mapping[str, Point]] = {name: device.points for name, device in draft.devices.items()}
    points |= {
        service: {name: figure.point for name, figure in own.items()} for service, own in figures.items()
    }
    found = _rules_of_figures(figures)
    for name, table in reader.named_tables(draft.data, "rule"):
        path = ("rule", name)
        before = len(reader.mistakes)
        keys = reader.build_struct(RuleKeys, table, path)
        if keys is None:
            continue
        for number, condition in enumerate(keys.when, 1):
            if not draft.is_reported(condition.device):
                _check_condition(reader, path, number, condition, points)
        _check_contradictions(reader, path, keys)
        hours_are_wrong = opening is None and "hours" in draft.data
        applies = None if hours_are_wrong else _applies_during(reader, path, keys.during, opening)
        if len(reader.mistakes) == before:
            found[name] = _build_rule(name, keys, applies)
    return found


def inspect_durations(site: Site, rules: Mapping[str, Rule], reader: TomlReader) -> None:
    """Report durations that are not longer than a polling interval: two readings hardly ever fit into one,
    one is missing before each poll, or a value is stuck that was read twice."""
    for name, rule in rules.items():
        for number, condition in enumerate(rule.conditions, 1):
            device = site.devices.get(condition.device)
            if device is None or site.buses[device.bus].driver.silence_s is not None:
                continue
            moves = condition.rises is not None or condition.falls is not None
            durations = {
                "within": condition.within if moves else None,
                "missing": condition.missing,
                "stuck": condition.stuck,
            }
            for test, seconds in durations.items():
                if seconds is not None and seconds <= device.every:
                    reader.add_mistake(
                        ("rule", name, "when"),
                        f"rule-{test}",
                        number=number,
                        point=condition.point,
                        device=device.name,
                        seconds=f"{seconds:g}",
                        every=f"{device.every:g}",
                        enough=f"{2 * device.every:g}",
                    )


def _rules_of_figures(figures: Figures) -> dict[str, Rule]:
    """The rules of figures with an alarm."""
    return {
        figure.rule: msgspec.structs.replace(
            rule_of_point(service, name, figure.point.alarm),
            id=f"rule/{figure.rule}",
            point=figure.rule,
            title=figure.title,
        )
        for service, own in figures.items()
        for name, figure in own.items()
        if figure.point.alarm
    }


def _build_rule(name: str, keys: RuleKeys, applies: Callable[[datetime], bool] | None) -> Rule:
    return Rule(
        id=f"rule/{name}",
        device=keys.when[0].device,
        point=name,
        hazard=keys.hazard,
        conditions=keys.when,
        title=localized(keys.title or name),
        required_count=keys.need,
        applies_at=applies,
        on_delay_s=keys.delay,
        off_delay_s=keys.off_delay,
        latching=keys.hazard in LATCHING_HAZARDS if keys.latch is None else keys.latch,
    )


def _applies_during(
    reader: TomlReader, path: tuple[str, ...], text: str, opening: WeeklyHours | None
) -> Callable[[datetime], bool] | None:
    if not text:
        return None
    if text in ("open", "closed"):
        if opening is None:
            reader.add_mistake((*path, "during"), "rule-no-hours", during=text)
            return None
        is_open = opening.__contains__
        return is_open if text == "open" else lambda local: not is_open(local)
    try:
        return parse_every_day(text).__contains__
    except ValueError:
        reader.add_hours_mistake((*path, "during"), text, "rule-during")
        return None


def _check_condition(
    reader: TomlReader,
    path: tuple[str, ...],
    number: int,
    condition: RuleCondition,
    points: Mapping[str, Mapping[str, Point]],
) -> None:
    """Report what is wrong with one condition."""

    def mistake(key: str, **facts: Any) -> None:
        reader.add_mistake((*path, "when"), key, number=number, **facts)

    device, _, name = condition.point.partition(".")
    if device not in points:
        mistake("rule-device", device=device, known=", ".join(points))
        return
    if name not in points[device] and name != LINK_POINT:
        mistake("rule-point", device=device, point=name, known=", ".join(points[device]))
        return
    if len(condition.test_names) - ({"above", "below"} <= set(condition.test_names)) != 1:
        mistake("rule-tests", given=", ".join(condition.test_names) or "–")
        return
    point = points[device].get(name, Point())
    bounds = {"above": (point.max, float.__ge__), "below": (point.min, float.__le__)}
    for test, (bound, beyond) in bounds.items():
        limit = getattr(condition, test)
        if limit is not None and bound is not None and beyond(float(limit), float(bound)):
            mistake("rule-never", point=condition.point, test=test, limit=limit, bound=bound)
    boolean = name == LINK_POINT or point.is_boolean
    if boolean and condition.test_names[0] not in ("is", "missing", "stuck"):
        mistake("rule-boolean", point=condition.point, test=condition.test_names[0])
    # Some drivers do not declare the type of a point; one with a unit is a number.
    wanted = condition.equals
    if wanted is not None and isinstance(wanted, bool) != boolean and (boolean or point.unit):
        mistake("rule-kind", point=condition.point, value=wanted)
    for test in ("missing", "stuck", "within", "rises", "falls"):
        value = getattr(condition, test)
        if value is not None and value <= 0:
            mistake("rule-positive", test=test)


def _check_contradictions(reader: TomlReader, path: tuple[str, ...], keys: RuleKeys) -> None:
    """Report conditions that can never be true at the same time."""
    if not 0 <= keys.need <= len(keys.when):
        reader.add_mistake((*path, "need"), "rule-need", count=len(keys.when))
        return
    if keys.need not in (0, len(keys.when)):
        return
    for point in {condition.point for condition in keys.when}:
        same = [condition for condition in keys.when if condition.point == point]
        wanted = {condition.equals for condition in same if condition.equals is not None}
        low = max((c.above for c in same if c.above is not None and c.below is None), default=None)
        high = min((c.below for c in same if c.below is not None and c.above is None), default=None)
        if len(wanted) > 1 or (low is not None and high is not None and low >= high):
            reader.add_mistake((*path, "when"), "rule-contradiction", point=point)


def read_outputs(draft: SiteDraft) -> dict[str, Output]:
    """Every output with a known device; reports actions that the device does not have."""
    reading, devices = draft.reader, draft.devices
    found: dict[str, Output] = {}
    for name, table in reading.named_tables(draft.data, "output"):
        path = ("output", name)
        output = reading.build_struct(Output, table, path)
        if output is None:
            continue
        device = devices.get(output.device)
        if device is None:
            if draft.is_reported(output.device):
                continue
            reading.add_mistake(
                (*path, "device"), "device-unknown", device=output.device, known=", ".join(devices)
            )
            continue
        known = {*device.actions, *draft.buses[device.bus].driver.actions}
        for key, action in (("on", output.on), ("off", output.off)):
            if action is not None and action not in known:
                listed = ", ".join(sorted(known)) or "–"
                reading.add_mistake(
                    (*path, key), "output-action", device=device.name, action=action, known=listed
                )
        found[name] = output
    return found
