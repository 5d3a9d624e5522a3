"""Response: what people do about an alarm by the centre's emergency plan (应急预案), step by step and by
name, until it is over; in a drill (演练) as in earnest, but recorded apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from gateway.model import (
    Changes,
    Command,
    Fact,
    Hazard,
    Lane,
    Message,
    Rows,
    Service,
    Stamp,
    Value,
)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do, in words by language."""

    who: dict[str, str]
    do: dict[str, str]
    call: str = ""
    """A number to dial."""
    source: dict[str, str] = {}
    """The standard or law that asks for it."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about a hazard, in order."""

    hazard: Hazard
    title: dict[str, str]
    source: dict[str, str]
    approved: str = ""
    """By whom and when; without it the plan is a template."""
    together: bool = False
    """One case serves every alarm of the hazard (a house burns once); else each alarm is a case."""
    steps: dict[str, Step]


class Act(msgspec.Struct, frozen=True):
    """Who did something, and when."""

    by: str
    at: Stamp


class Muster(Act, frozen=True):
    """How many people were found at the meeting point."""

    found: int


class Case(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is being done about an alarm.

    Its key is the alarm's rule (`smoke-1/smoke`, `drill/fire`), or the hazard where one case serves all;
    the rows of those alarms then only say `of` which case they are. See `case_of`.
    """

    id: str
    """The alarm that began it."""
    alarm: str
    """The newest occurrence of that alarm."""
    of: str = ""
    device: str
    hazard: Hazard
    drill: bool = False
    by: str = ""
    """Who began the drill."""
    raised: Stamp
    inside: int | None = None
    """How many people must be found."""
    steps: tuple[str, ...] = ()
    """The plan's steps as they were when it began."""
    done: dict[str, Act] = {}
    acknowledged: Act | None = None
    muster: Muster | None = None


class Response(Service):
    """Opens a case with the plan's steps when an alarm is raised, and reports on it when it is over."""

    name = "response"
    row = Case
    actions = frozenset({"step", "unstep", "muster"})
    follows_alarms = True

    def __init__(self, plans: Mapping[Hazard, Plan]) -> None:
        self._plans = plans

    def apply(self, rows: Rows, message: Message) -> tuple[Changes, list[Fact]]:
        if isinstance(message, Fact) and message.kind == "alarm":
            return self._follow(rows, message)
        if isinstance(message, Command) and message.action in self.actions:
            found = case_of(rows, str(message.args.get("alarm")))
            if found is not None:
                return (_count if message.action == "muster" else _tick)(*found, message)
        return {}, []

    def restore(self, rows: Rows) -> Rows:
        """A damaged journal may have lost the case that an alarm belonged to."""
        return {key: case for key, case in rows.items() if not case.of or case.of in rows}

    def summary(self, rows: Rows) -> dict[str, Value]:
        cases: list[Case] = [case for case in rows.values() if not case.of]
        return {
            "cases": sum(not case.drill for case in cases),
            "drills": sum(case.drill for case in cases),
            "steps_open": sum(len(case.steps) - len(case.done) for case in cases),
        }

    def _follow(self, rows: Rows, fact: Fact) -> tuple[Changes, list[Fact]]:
        body = fact.body
        key = _rule(body["id"])
        if body["change"] == "raised":
            return self._open(rows, key, fact)
        if key not in rows:
            return {}, []
        row: Case = rows[key]
        main = row.of or key
        case: Case = rows[main]
        if case.acknowledged is None and body["change"] in ("acknowledged", "closed"):
            case = _replace(case, acknowledged=Act(body["by"], fact.at))
        if body["state"] != "normal":
            return ({main: case} if case != rows[main] else {}), []
        others = row.of and any(each.of == main for name, each in rows.items() if name != key)
        if others:
            return {key: None, main: case}, []
        return {key: None, main: None}, [_report(case, fact)]

    def _open(self, rows: Rows, key: str, fact: Fact) -> tuple[Changes, list[Fact]]:
        """A new case; or one more alarm of a case, or one more occurrence of an alarm."""
        body = fact.body
        alarm, hazard = body["id"], Hazard(body["hazard"])
        if key in rows:
            old: Case = rows[key]
            return ({key: _replace(old, alarm=alarm)} if old.alarm != alarm else {}), []
        plan = self._plans.get(hazard)
        if plan is None:
            return {}, []
        drill = body["mode"] == "drill"
        case = Case(
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
        changes: Changes = {}
        main = key
        if plan.together and not drill:
            main = str(hazard)
            changes[key] = Case(
                id=alarm, alarm=alarm, of=main, device=fact.device, hazard=hazard, raised=fact.at
            )
        if main in rows:
            return changes, []
        opened = {"hazard": hazard, "steps": list(case.steps), "inside": case.inside, "by": case.by}
        return {**changes, main: case}, [_fact(case, "plan-opened", fact.at, **opened)]


def case_of(rows: Rows, alarm: str) -> tuple[str, Case] | None:
    """The case that an alarm belongs to, with its key; None if it is over, or was of another occurrence."""
    key = _rule(alarm)
    row: Case | None = rows.get(key)
    if row is None or alarm not in (row.id, row.alarm):
        return None
    key = row.of or key
    return key, rows[key]


class Item(NamedTuple):
    """A line of a checklist. `step` is None where the plan no longer has it."""

    name: str
    step: Step | None
    done: Act | None


def checklist(case: Case, plan: Plan | None) -> list[Item]:
    """A case's steps in order, with their words and who has done them."""
    steps = plan.steps if plan else {}
    return [Item(name, steps.get(name), case.done.get(name)) for name in case.steps]


def _tick(key: str, case: Case, command: Command) -> tuple[Changes, list[Fact]]:
    """Check a step off, or take that back."""
    step, undo = command.args.get("step"), command.action == "unstep"
    if not isinstance(step, str) or step not in case.steps or (step in case.done) is not undo:
        return {}, []
    done = {name: act for name, act in case.done.items() if name != step}
    if not undo:
        done[step] = Act(_name(command), command.at)
    body = {"step": step, "by": _name(command), "seconds": _seconds(case, command.at)}
    return {key: _replace(case, done=done)}, [_fact(case, command.action, command.at, **body)]


def _count(key: str, case: Case, command: Command) -> tuple[Changes, list[Fact]]:
    """Note how many were found; a later count takes the place of an earlier one."""
    found = command.args.get("found")
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        return {}, []
    counted = Muster(_name(command), command.at, found)
    if case.muster and (case.muster.by, case.muster.found) == (counted.by, found):
        return {}, []
    body = {
        "found": found,
        **_missing(case.inside, found),
        "by": counted.by,
        "seconds": _seconds(case, command.at),
    }
    return {key: _replace(case, muster=counted)}, [_fact(case, "muster", command.at, **body)]


def _missing(inside: int | None, found: int | None) -> dict[str, int | None]:
    missing = None if inside is None or found is None else max(0, inside - found)
    return {"inside": inside, "missing": missing}


def _report(case: Case, fact: Fact) -> Fact:
    """The whole case, in one record: seconds count from when it was raised."""
    found = case.muster.found if case.muster else None
    body = {
        "hazard": case.hazard,
        "raised": case.raised.wall,
        "by": case.by,
        "acknowledged": _act(case, case.acknowledged),
        "steps": {step: _act(case, case.done[step]) for step in case.steps if step in case.done},
        "skipped": [step for step in case.steps if step not in case.done],
        "found": found,
        **_missing(case.inside, found),
        "ended": fact.body["change"],
        "ended_by": fact.body["by"],
        "seconds": _seconds(case, fact.at),
    }
    return _fact(case, "drill-report" if case.drill else "alarm-report", fact.at, **body)


def _act(case: Case, act: Act | None) -> dict[str, Any] | None:
    return None if act is None else {"by": act.by, "seconds": _seconds(case, act.at)}


def _seconds(case: Case, at: Stamp) -> float | None:
    seconds = at.seconds_since(case.raised)
    return None if seconds is None else round(seconds, 1)


def _fact(case: Case, kind: str, at: Stamp, **body: Any) -> Fact:
    body = {"alarm": case.id, "drill": case.drill, **body}
    return Fact(Lane.EVENT, case.device, kind, at, body, durable=True)


def _name(command: Command) -> str:
    return command.by or command.origin


def _rule(alarm: str) -> str:
    """An alarm's id is its rule's and the occurrence's."""
    return alarm.rpartition("/")[0]


_replace = msgspec.structs.replace
