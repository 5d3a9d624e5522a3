"""Emergency plans (应急预案): the steps that people take after an alarm, recorded with names until the
alarm is closed. A drill (演练) works the same way, but is recorded as a drill.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.model import (
    Command,
    Fact,
    Hazard,
    Lane,
    Message,
    RowChanges,
    Rows,
    Service,
    Stamp,
    Value,
)


class PlanStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a plan: who does what, in texts by language."""

    who: dict[str, str]
    do: dict[str, str]
    call: str = ""
    """A number to dial."""
    source: dict[str, str] = {}
    """The standard or law that requires it."""


class EmergencyPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The steps for a hazard, in order."""

    hazard: Hazard
    title: dict[str, str]
    source: dict[str, str]
    approved: str = ""
    """Who approved it, and when; a plan without approval is a template."""
    together: bool = False
    """All alarms of the hazard share one case (there is only one fire); else each alarm has its own."""
    steps: dict[str, PlanStep]


class LoggedAction(msgspec.Struct, frozen=True):
    """Who did something, and when."""

    by: str
    at: Stamp


class MusterCount(LoggedAction, frozen=True):
    """How many people were found at the meeting point."""

    found: int


class EmergencyCase(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The response to an alarm, until it is closed.

    Its key is the id of the alarm's rule (`smoke-1/smoke`, `drill/fire`), or the hazard where all alarms
    share a case; then each of those alarms has a row whose `of` is the key of that case. See `find_case`.
    """

    id: str
    """The alarm that opened it."""
    alarm: str
    """The newest occurrence of that alarm."""
    of: str = ""
    device: str
    hazard: Hazard
    drill: bool = False
    by: str = ""
    """Who started the drill."""
    raised: Stamp
    inside: int | None = None
    """How many people must be found."""
    steps: tuple[str, ...] = ()
    """The names of the plan's steps when the case was opened."""
    done: dict[str, LoggedAction] = {}
    acknowledged: LoggedAction | None = None
    muster: MusterCount | None = None


class EmergencyPlans(Service):
    """Opens a case with the plan's steps when an alarm is raised, and reports when the alarm is closed."""

    name = "response"
    row = EmergencyCase
    actions = frozenset({"step", "unstep", "muster"})
    follows_alarms = True

    def __init__(self, plans: Mapping[Hazard, EmergencyPlan]) -> None:
        self._plans = plans

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        if isinstance(message, Fact) and message.kind == "alarm":
            return self._process_alarm(rows, message)
        if isinstance(message, Command) and message.action in self.actions:
            entry = find_case(rows, str(message.args.get("alarm")))
            if entry is not None:
                apply = _record_muster if message.action == "muster" else _check_step
                return apply(*entry, message)
        return {}, []

    def restore(self, rows: Rows) -> Rows:
        """Remove rows whose shared case is missing: a damaged journal may have lost it."""
        return {key: case for key, case in rows.items() if not case.of or case.of in rows}

    def summary(self, rows: Rows) -> dict[str, Value]:
        cases: list[EmergencyCase] = [case for case in rows.values() if not case.of]
        return {
            "cases": sum(not case.drill for case in cases),
            "drills": sum(case.drill for case in cases),
            "steps_open": sum(len(case.steps) - len(case.done) for case in cases),
        }

    def _process_alarm(self, rows: Rows, fact: Fact) -> tuple[RowChanges, list[Fact]]:
        body = fact.body
        key = _rule_id(body["id"])
        if body["change"] == "raised":
            return self._open_case(rows, key, fact)
        if key not in rows:
            return {}, []
        row: EmergencyCase = rows[key]
        case_key = row.of or key
        case: EmergencyCase = rows[case_key]
        if case.acknowledged is None and body["change"] in ("acknowledged", "closed"):
            case = _replace(case, acknowledged=LoggedAction(body["by"], fact.at))
        if body["state"] != "normal":
            return ({case_key: case} if case != rows[case_key] else {}), []
        has_others = row.of and any(each.of == case_key for name, each in rows.items() if name != key)
        if has_others:
            return {key: None, case_key: case}, []
        return {key: None, case_key: None}, [_final_report(case, fact)]

    def _open_case(self, rows: Rows, key: str, fact: Fact) -> tuple[RowChanges, list[Fact]]:
        """Open a case, or add an alarm or its new occurrence to an open case."""
        body = fact.body
        alarm, hazard = body["id"], Hazard(body["hazard"])
        if key in rows:
            old: EmergencyCase = rows[key]
            return ({key: _replace(old, alarm=alarm)} if old.alarm != alarm else {}), []
        plan = self._plans.get(hazard)
        if plan is None:
            return {}, []
        drill = body["mode"] == "drill"
        case = EmergencyCase(
            id=alarm,
            alarm=alarm,
            device=fact.device,
            hazard=hazard,
            drill=drill,
            by=body["by"] if drill else "",
            raised=fact.at,
            inside=body.get("inside"),
            steps=tuple(plan.steps),
        )
        changes: RowChanges = {}
        case_key = key
        if plan.together and not drill:
            case_key = str(hazard)
            changes[key] = EmergencyCase(
                id=alarm, alarm=alarm, of=case_key, device=fact.device, hazard=hazard, raised=fact.at
            )
        if case_key in rows:
            return changes, []
        opened = {"hazard": hazard, "steps": list(case.steps), "inside": case.inside, "by": case.by}
        return {**changes, case_key: case}, [_fact(case, "plan-opened", fact.at, **opened)]


def find_case(rows: Rows, alarm_id: str) -> tuple[str, EmergencyCase] | None:
    """The key and the case of an alarm; None if the case is closed, or is of another occurrence."""
    key = _rule_id(alarm_id)
    row: EmergencyCase | None = rows.get(key)
    if row is None or alarm_id not in (row.id, row.alarm):
        return None
    key = row.of or key
    return key, rows[key]


def _check_step(key: str, case: EmergencyCase, command: Command) -> tuple[RowChanges, list[Fact]]:
    """Mark a step as done, or undo that."""
    step, is_undo = command.args.get("step"), command.action == "unstep"
    if not isinstance(step, str) or step not in case.steps or (step in case.done) is not is_undo:
        return {}, []
    done = {name: act for name, act in case.done.items() if name != step}
    if not is_undo:
        done[step] = LoggedAction(_person_of(command), command.at)
    body = {"step": step, "by": _person_of(command), "seconds": _seconds_since_raised(case, command.at)}
    return {key: _replace(case, done=done)}, [_fact(case, command.action, command.at, **body)]


def _record_muster(key: str, case: EmergencyCase, command: Command) -> tuple[RowChanges, list[Fact]]:
    """Record how many people were found; a later count replaces an earlier one."""
    found = command.args.get("found")
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        return {}, []
    muster = MusterCount(_person_of(command), command.at, found)
    if case.muster and (case.muster.by, case.muster.found) == (muster.by, found):
        return {}, []
    body = {
        "found": found,
        **_headcount(case.inside, found),
        "by": muster.by,
        "seconds": _seconds_since_raised(case, command.at),
    }
    return {key: _replace(case, muster=muster)}, [_fact(case, "muster", command.at, **body)]


def _headcount(inside: int | None, people_found: int | None) -> dict[str, int | None]:
    """How many were inside and how many of them are missing; None where that is not known."""
    missing = None if inside is None or people_found is None else max(0, inside - people_found)
    return {"inside": inside, "missing": missing}


def _final_report(case: EmergencyCase, fact: Fact) -> Fact:
    """The whole case in one record; seconds are counted from when the alarm was raised."""
    found = case.muster.found if case.muster else None
    body = {
        "hazard": case.hazard,
        "raised": case.raised.wall_ms,
        "by": case.by,
        "acknowledged": _action_body(case, case.acknowledged),
        "steps": {step: _action_body(case, case.done[step]) for step in case.steps if step in case.done},
        "skipped": [step for step in case.steps if step not in case.done],
        "found": found,
        **_headcount(case.inside, found),
        "ended": fact.body["change"],
        "ended_by": fact.body["by"],
        "seconds": _seconds_since_raised(case, fact.at),
    }
    return _fact(case, "drill-report" if case.drill else "alarm-report", fact.at, **body)


def _action_body(case: EmergencyCase, act: LoggedAction | None) -> dict[str, Any] | None:
    return None if act is None else {"by": act.by, "seconds": _seconds_since_raised(case, act.at)}


def _seconds_since_raised(case: EmergencyCase, at: Stamp) -> float | None:
    seconds = at.seconds_since(case.raised)
    return None if seconds is None else round(seconds, 1)


def _fact(case: EmergencyCase, kind: str, at: Stamp, **body: Any) -> Fact:
    body = {"alarm": case.id, "drill": case.drill, **body}
    return Fact(Lane.EVENT, case.device, kind, at, body, durable=True)


def _person_of(command: Command) -> str:
    """Who gave the command, for the record."""
    return command.by or command.origin


def _rule_id(alarm_id: str) -> str:
    """An alarm's id is that of its rule, a slash and the occurrence."""
    return alarm_id.rpartition("/")[0]


_replace = msgspec.structs.replace
