"""Drills, from the records of their alarms and their reports."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from gateway.model import Hazard, Record, Stamp

from ..services.alarms import AlarmMode
from ..services.emergency_plans import EmergencyPlan
from .names import HistoryNames

LocalClock = Callable[[Stamp], datetime.datetime | None]


class LoggedDrill(msgspec.Struct):
    """One drill. Without a `report` it still runs, or there was no plan for it."""

    began: datetime.datetime
    hazard: Hazard
    by: str
    ended: datetime.datetime | None = None
    ended_by: str = ""
    report: dict[str, Any] | None = None


class DrillLog:
    """Collects the drills of one month (`2026-11`) or year (`2026`), from records oldest first."""

    def __init__(self, period: str, local_time: LocalClock) -> None:
        self.period = period
        self._local_time = local_time
        self._drills: dict[str, LoggedDrill] = {}

    def add_record(self, record: Record) -> None:
        """Add a record of the alarm or event lane; those of the alarm lane come first."""
        body = record.body
        if record.kind == "drill-report" and body.get("alarm") in self._drills:
            self._drills[body["alarm"]].report = body
        at = self._local_time(record.at)
        if record.kind != "alarm" or body.get("mode") != AlarmMode.DRILL or at is None:
            return
        drill = self._drills.get(body["id"])
        if body["change"] == "raised" and f"{at:%Y-%m}".startswith(self.period):
            self._drills[body["id"]] = LoggedDrill(at, Hazard(body["hazard"]), str(body["by"]))
        elif body["change"] == "closed" and drill is not None:
            drill.ended, drill.ended_by = at, str(body["by"])

    def drills(self) -> list[LoggedDrill]:
        """Newest first."""
        return sorted(self._drills.values(), key=lambda drill: drill.began, reverse=True)


class DrillRow(NamedTuple):
    """One drill in words; what is not known is empty."""

    time: str
    hazard: Hazard
    what: str
    by: str
    lasted: str
    steps: str
    skipped: list[str]
    found: str
    acknowledged: str


def drill_row(drill: LoggedDrill, plans: Mapping[Hazard, EmergencyPlan], names: HistoryNames) -> DrillRow:
    """A drill for the page."""
    report, ended = drill.report, drill.ended
    lasted = names.duration((ended - drill.began).total_seconds()) if ended else names.text("drill-runs")
    if report is None:
        steps, skipped, found, acknowledged = names.text("drill-no-plan") if ended else "", [], "", ""
    else:
        plan = plans.get(drill.hazard)
        words = {name: step.do for name, step in plan.steps.items()} if plan else {}
        steps = f"{len(report['steps'])}/{len(report['steps']) + len(report['skipped'])}"
        skipped = [names.title(words.get(step, {}), step) for step in report["skipped"]]
        counts = ("?" if report[key] is None else report[key] for key in ("found", "inside"))
        found = names.text("drill-found", found=next(counts), inside=next(counts))
        act = report.get("acknowledged")
        acknowledged = (
            names.text("after-by", after=names.duration(act["seconds"]), by=names.person(act["by"]))
            if act
            else names.text("not-acknowledged")
        )
    return DrillRow(
        time=f"{drill.began:%Y-%m-%d %H:%M}",
        hazard=drill.hazard,
        what=names.word("hazard", drill.hazard),
        by=names.person(drill.by),
        lasted=lasted,
        steps=steps,
        skipped=skipped,
        found=found,
        acknowledged=acknowledged,
    )
