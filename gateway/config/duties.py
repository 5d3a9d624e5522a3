"""What a site asks of its people: emergency plans (files of their own), `[tests]`, `[patrol.…]` and
`[hazards]`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from gateway.hours import parse_days, parse_span
from gateway.model import Checks, Hazard
from gateway.services import Duties
from gateway.services.hazards import HOURS
from gateway.services.patrols import WEEKLY, Patrol
from gateway.services.response import Plan, Step
from gateway.services.supervision import DAYS
from gateway.words import words

from .reading import Mistakes, Reading, Table, titles

PLAN = "linli/plan/1"
MOST = 32
"""Steps of a plan: nobody follows more."""
YEAR = 366
Text = str | dict[str, str]


def _said(text: Text) -> bool:
    return bool(text) and all(each.strip() for each in titles(text).values())


class _PlanKeys(msgspec.Struct, frozen=True, kw_only=True):
    schema: str
    hazard: Hazard
    title: Text
    source: Text
    approved: str = ""
    together: bool = False

    CHECKS: ClassVar[Checks] = {"title": (_said, "title-empty"), "source": (_said, "text-empty")}


class _StepKeys(msgspec.Struct, frozen=True, kw_only=True):
    who: Text
    do: Text
    call: str = ""
    source: Text = ""

    CHECKS: ClassVar[Checks] = {
        "who": (_said, "text-empty"),
        "do": (_said, "text-empty"),
        "source": (lambda text: text != {}, "text-empty"),
    }


class _PatrolKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`every` is hours, `daily` or `weekly`; `hours` a span of the day, `days` like `mon-fri`."""

    title: Text = ""
    checkpoints: dict[str, Text]
    every: float | str
    hours: str = "00:00-24:00"
    days: str = "mon-sun"

    CHECKS: ClassVar[Checks] = {
        "checkpoints": (lambda each: bool(each) and all(map(_said, each.values())), "patrol-checkpoints"),
        "hours": (lambda text: bool(parse_span(text)), "patrol-hours"),
        "days": (lambda text: bool(parse_days(text)), "patrol-days"),
    }


def load_plan(file: Path) -> Plan:
    """Read and check one emergency plan. Raises `Mistakes`."""
    reading = _PlanReading(file)
    plan = reading.plan()
    if reading.mistakes:
        raise Mistakes(reading.mistakes)
    assert plan is not None
    return plan


class _PlanReading(Reading):
    """The file of an emergency plan."""

    def plan(self) -> Plan | None:
        data = self.parse(PLAN)
        if data is None:
            return None
        steps: dict[str, Step] = {}
        for name, table in self.tables(data, "step"):
            keys = self.build(_StepKeys, table, ("step", name))
            if keys is not None:
                steps[name] = Step(
                    who=titles(keys.who), do=titles(keys.do), call=keys.call, source=titles(keys.source)
                )
        if not 0 < len(steps) <= MOST and not self.mistakes:
            self.mistake(("step",), "plan-steps", most=MOST)
        data.pop("step", None)
        head = self.build(_PlanKeys, data, ())
        if head is None:
            return None
        if self._file.stem != head.hazard:
            self.mistake(("hazard",), "plan-file", hazard=head.hazard, name=f"{head.hazard}.toml")
        return Plan(
            hazard=head.hazard,
            title=titles(head.title),
            source=titles(head.source),
            approved=head.approved,
            together=head.together,
            steps=steps,
        )


def duties(reading: Reading, data: Table, folders: list[Path]) -> Duties:
    """Everything the site asks of its people; of each hazard the plan in the first folder that has one."""
    return Duties(
        plans=_plans(reading, folders),
        patrols=_patrols(reading, data),
        tests=_tests(reading, data),
        hazards=_hazards(reading, data),
    )


def _plans(reading: Reading, folders: list[Path]) -> dict[Hazard, Plan]:
    files: dict[str, Path] = {}
    for folder in reversed(folders):
        files |= {file.stem: file for file in sorted(folder.glob("*.toml"))}
    plans: dict[Hazard, Plan] = {}
    for file in files.values():
        try:
            plan = _cached_plan(file, file.stat().st_mtime_ns if file.is_file() else 0)
        except Mistakes as wrong:
            reading.mistakes += wrong.mistakes
        else:
            plans[plan.hazard] = plan
    return plans


@functools.lru_cache(maxsize=64)
def _cached_plan(file: Path, _changed: int) -> Plan:
    return load_plan(file)


def _patrols(reading: Reading, data: Table) -> dict[str, Patrol]:
    patrols: dict[str, Patrol] = {}
    for name, table in reading.tables(data, "patrol"):
        path = ("patrol", name)
        keys = reading.build(_PatrolKeys, table, path)
        if keys is None:
            continue
        for checkpoint in keys.checkpoints:
            reading.check_name(checkpoint, (*path, "checkpoints"))
        minutes = _minutes(keys.every)
        if minutes is None:
            reading.mistake((*path, "every"), "patrol-every", every=keys.every)
            continue
        patrols[name] = Patrol(
            title=titles(keys.title or name),
            checkpoints={each: titles(title) for each, title in keys.checkpoints.items()},
            minutes=minutes,
            span=parse_span(keys.hours),
            days=frozenset(day % 7 for day in parse_days(keys.days)),
        )
    return patrols


def _minutes(every: float | str) -> int | None:
    """Minutes between two rounds; None if that is no time."""
    if isinstance(every, str):
        # A day's round has the whole of its span, past midnight too.
        return {"daily": 1440, "weekly": WEEKLY}.get(every)
    minutes = round(every * 60) if 0 < every <= 24 else 0
    return minutes or None


def _tests(reading: Reading, data: Table) -> Mapping[str, float]:
    """`[tests]`: days between two tests, by kind; 0 is never."""
    table = _numbers(reading, data, "tests", YEAR)
    known = {key.removeprefix("kind.") for key in words("en") if key.startswith("kind.")}
    for kind in table.keys() - known:
        reading.mistake(("tests", kind), "kind-unknown", kind=kind, known=", ".join(sorted(known)))
    return {**DAYS, **table}


def _hazards(reading: Reading, data: Table) -> Mapping[str, float]:
    """`[hazards]`: hours in which a hazard is to be closed, by severity."""
    table = _numbers(reading, data, "hazards", YEAR * 24)
    reading.unknown(table, HOURS, ("hazards",))
    for severity, hours in table.items():
        if not hours:
            reading.mistake(("hazards", severity), "positive")
    return {**HOURS, **table}


def _numbers(reading: Reading, data: Table, section: str, most: float) -> dict[str, float]:
    table: Any = data.get(section, {})
    if not isinstance(table, dict):
        reading.mistake((section,), "table-expected", key=section)
        return {}
    found: dict[str, float] = {}
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            reading.mistake((section, key), "number-range", most=most)
        else:
            found[key] = value
    return found
