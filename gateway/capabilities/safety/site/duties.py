"""The duties of the staff: emergency plans (separate files), `[tests]`, `[patrol.…]` and `[hazards]`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from gateway.capabilities.safety.services.emergency_plans import EmergencyPlan, PlanStep
from gateway.capabilities.safety.services.findings import CLOSE_WITHIN_HOURS
from gateway.capabilities.safety.services.patrols import WEEKLY_INTERVAL, Patrol
from gateway.capabilities.safety.services.supervision import TEST_INTERVAL_DAYS
from gateway.config.fields import Table
from gateway.config.reading import Mistakes, TomlReader, localized
from gateway.model import Checks, Hazard
from gateway.model.hours import parse_days, parse_span
from gateway.words import words

PLAN_SCHEMA = "linli/plan/1"
PLAN_SOURCE_PREFIX = "plans/"
"""Prefix of plans in `Site.sources`."""
MAX_PLAN_STEPS = 32
"""A longer plan would not be followed."""
MAX_INTERVAL_DAYS = 366
Text = str | dict[str, str]


def _is_filled_in(text: Text) -> bool:
    return bool(text) and all(each.strip() for each in localized(text).values())


class Duties(msgspec.Struct, frozen=True, kw_only=True):
    """Plans by hazard, patrols by name, days between tests by kind of device, and hours in which a finding
    is to be closed, by severity."""

    plans: Mapping[Hazard, EmergencyPlan] = {}
    patrols: Mapping[str, Patrol] = {}
    tests: Mapping[str, float] = msgspec.field(default_factory=lambda: dict(TEST_INTERVAL_DAYS))
    hazards: Mapping[str, float] = msgspec.field(default_factory=lambda: dict(CLOSE_WITHIN_HOURS))


class _PlanKeys(msgspec.Struct, frozen=True, kw_only=True):
    schema: str
    hazard: Hazard
    title: Text
    source: Text
    approved: str = ""
    together: bool = False

    CHECKS: ClassVar[Checks] = {
        "title": (_is_filled_in, "title-empty"),
        "source": (_is_filled_in, "text-empty"),
    }


class _StepKeys(msgspec.Struct, frozen=True, kw_only=True):
    who: Text
    do: Text
    call: str = ""
    source: Text = ""

    CHECKS: ClassVar[Checks] = {
        "who": (_is_filled_in, "text-empty"),
        "do": (_is_filled_in, "text-empty"),
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
        "checkpoints": (
            lambda each: bool(each) and all(map(_is_filled_in, each.values())),
            "patrol-checkpoints",
        ),
        "hours": (lambda text: bool(parse_span(text)), "patrol-hours"),
        "days": (lambda text: bool(parse_days(text)), "patrol-days"),
    }


def load_plan(file: Path) -> EmergencyPlan:
    """Read and check one emergency plan. Raises `Mistakes`."""
    return _read_plan(file)[0]


def _read_plan(file: Path, saved_text: str | None = None) -> tuple[EmergencyPlan, str]:
    """A plan and the text of its file; `saved_text` is what the file once said."""
    reading = _PlanReader(file, saved_text)
    plan = reading.read_plan()
    if reading.mistakes:
        raise Mistakes(reading.mistakes)
    assert plan is not None
    return plan, reading.text


class _PlanReader(TomlReader):
    """The file of an emergency plan."""

    def read_plan(self) -> EmergencyPlan | None:
        data = self.parse_file(PLAN_SCHEMA)
        if data is None:
            return None
        steps: dict[str, PlanStep] = {}
        for name, table in self.named_tables(data, "step"):
            keys = self.build_struct(_StepKeys, table, ("step", name))
            if keys is not None:
                steps[name] = PlanStep(
                    who=localized(keys.who),
                    do=localized(keys.do),
                    call=keys.call,
                    source=localized(keys.source),
                )
        if not 0 < len(steps) <= MAX_PLAN_STEPS and not self.mistakes:
            self.add_mistake(("step",), "plan-steps", most=MAX_PLAN_STEPS)
        data.pop("step", None)
        head = self.build_struct(_PlanKeys, data, ())
        if head is None:
            return None
        if self._file.stem != head.hazard:
            self.add_mistake(("hazard",), "plan-file", hazard=head.hazard, name=f"{head.hazard}.toml")
        return EmergencyPlan(
            hazard=head.hazard,
            title=localized(head.title),
            source=localized(head.source),
            approved=head.approved,
            together=head.together,
            steps=steps,
        )


def read_duties(reader: TomlReader, data: Table, plans: Mapping[Hazard, EmergencyPlan]) -> Duties:
    """Read all duties."""
    return Duties(
        plans=plans,
        patrols=_read_patrols(reader, data),
        tests=_read_test_intervals(reader, data),
        hazards=_read_closing_hours(reader, data),
    )


def read_plans(
    reader: TomlReader, folders: list[Path], saved_sources: Mapping[str, str] | None
) -> tuple[dict[Hazard, EmergencyPlan], dict[str, str]]:
    """The plan of each hazard, from the first folder that has one, and the texts that were read, by
    `plans/hazard`; `saved_sources` are such texts, read instead of the
    files."""
    files: dict[str, tuple[Path, str | None]] = {}
    if saved_sources is None:
        for folder in reversed(folders):
            files |= {file.stem: (file, None) for file in sorted(folder.glob("*.toml"))}
    else:
        texts = {
            name.removeprefix(PLAN_SOURCE_PREFIX): text
            for name, text in saved_sources.items()
            if name.startswith(PLAN_SOURCE_PREFIX)
        }
        files = {name: (folders[0] / f"{name}.toml", text) for name, text in texts.items()}
    found: dict[Hazard, EmergencyPlan] = {}
    sources: dict[str, str] = {}
    for name, (file, text) in files.items():
        try:
            plan, sources[PLAN_SOURCE_PREFIX + name] = _read_plan(file, text)
        except Mistakes as wrong:
            reader.mistakes += wrong.mistakes
        else:
            found[plan.hazard] = plan
    return found, sources


def _read_patrols(reader: TomlReader, data: Table) -> dict[str, Patrol]:
    patrols: dict[str, Patrol] = {}
    for name, table in reader.named_tables(data, "patrol"):
        path = ("patrol", name)
        keys = reader.build_struct(_PatrolKeys, table, path)
        if keys is None:
            continue
        for checkpoint in keys.checkpoints:
            reader.check_name(checkpoint, (*path, "checkpoints"))
        minutes = _round_minutes(keys.every)
        if minutes is None:
            reader.add_mistake((*path, "every"), "patrol-every", every=keys.every)
            continue
        patrols[name] = Patrol(
            title=localized(keys.title or name),
            checkpoints={each: localized(title) for each, title in keys.checkpoints.items()},
            interval_minutes=minutes,
            span_minutes=parse_span(keys.hours),
            weekdays=frozenset(day % 7 for day in parse_days(keys.days)),
        )
    return patrols


def _round_minutes(every: float | str) -> int | None:
    """Minutes between two rounds; None if `every` is invalid."""
    if isinstance(every, str):
        # A daily round may use its whole span, also past midnight.
        return {"daily": 1440, "weekly": WEEKLY_INTERVAL}.get(every)
    minutes = round(every * 60) if 0 < every <= 24 else 0
    return minutes or None


def _read_test_intervals(reader: TomlReader, data: Table) -> Mapping[str, float]:
    """`[tests]`: days between two tests, by kind of device; 0: never."""
    table = _read_numbers(reader, data, "tests", MAX_INTERVAL_DAYS)
    known = {key.removeprefix("kind.") for key in words("en") if key.startswith("kind.")}
    for kind in table.keys() - known:
        reader.add_mistake(("tests", kind), "kind-unknown", kind=kind, known=", ".join(sorted(known)))
    return {**TEST_INTERVAL_DAYS, **table}


def _read_closing_hours(reader: TomlReader, data: Table) -> Mapping[str, float]:
    """`[hazards]`: hours in which a finding is to be closed, by severity."""
    table = _read_numbers(reader, data, "hazards", MAX_INTERVAL_DAYS * 24)
    reader.check_keys(table, CLOSE_WITHIN_HOURS, ("hazards",))
    for severity, hours in table.items():
        if not hours:
            reader.add_mistake(("hazards", severity), "positive")
    return {**CLOSE_WITHIN_HOURS, **table}


def _read_numbers(reader: TomlReader, data: Table, section: str, maximum: float) -> dict[str, float]:
    table: Any = data.get(section, {})
    if not isinstance(table, dict):
        reader.add_mistake((section,), "table-expected", key=section)
        return {}
    found: dict[str, float] = {}
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= maximum:
            reader.add_mistake((section, key), "number-range", most=maximum)
        else:
            found[key] = value
    return found
