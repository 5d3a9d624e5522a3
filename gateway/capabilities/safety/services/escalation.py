"""Escalation: who is told of an alarm, when, and until whom it has reached is known.

It follows the alarms, and keeps one case for each that people should know of. A case walks through the
steps of its hazard's plan until a person has acknowledged the alarm, and leaves notices, which somebody
else delivers and reports of. Everything is a row: a restart forgets nobody, and tells nobody twice of
what was marked as delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any, ClassVar

import msgspec

from gateway.model import (
    Adopted,
    Changes,
    Fact,
    Hazard,
    Lane,
    Message,
    Outcome,
    Rows,
    Service,
    Stamp,
    Tick,
    Value,
)

DUTY = "duty"
"""Stands for whoever is on duty at that moment."""
DEVICE = "gateway"
"""Whom a trial of a channel is filed under."""
TRIAL = "trial"
"""The alarm that a trial of a channel pretends to be about."""
FAILURES = 3
"""Failures in a row after which a channel that does not reach somebody is a fault."""
PATIENCE = 3600.0
"""Seconds after which a notice that could not be delivered is given up; a repeated step makes it anew."""
FIRST, LONGEST = 5.0, 300.0
"""Seconds until a failed delivery is tried again: doubled each time, up to the longest."""

Duty = Callable[[Stamp], tuple[str, ...]]
"""Who is on duty at a moment; nobody: empty."""
Reach = Mapping[str, frozenset[str] | None]
"""Whom each channel can reach by an address of their own; None for one that speaks to a group."""

NEWS = frozenset({"raised", "acknowledged", "cleared", "closed", "shelved", "disabled"})
"""The changes of an alarm that those are told of who know of it."""


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to tell, by which channels, so many seconds after the alarm was raised."""

    after: float = 0.0
    tell: tuple[str, ...]
    by: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is done about the alarms of a hazard until one has been acknowledged."""

    steps: tuple[Step, ...]
    repeat: float = 600.0
    """Seconds after which the last step is taken again."""
    fallback: tuple[str, ...] = ()
    """Who is told when nobody is on duty."""
    pause: float = 600.0
    """Seconds in which an alarm that comes and goes does not begin anew."""
    drills: bool = False
    """Whether drills are told of, marked as such."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """The alarm that a notice speaks of."""

    id: str
    device: str
    point: str
    hazard: Hazard
    raised: int
    """Unix time in milliseconds."""
    value: Value = False
    drill: bool = False


class Case(msgspec.Struct, frozen=True, kw_only=True, tag="case"):
    """One alarm that people should know of; its key is that of the alarm, without its occurrence."""

    about: About
    open: bool
    """Nobody has acknowledged it: the plan goes on."""
    began: Stamp
    last: Stamp
    """When the last step was taken."""
    steps: int = 0
    """How many were."""
    told: tuple[tuple[str, str], ...] = ()
    """Channel and contact of each notice that was made."""
    news: str = "raised"
    by: str = ""
    said: str = ""
    """The news that those who know were last told."""
    said_at: Stamp
    tellings: int = 0
    """How often people were told: it numbers the notices."""
    again: bool = False
    """It has come back within the pause: it flaps."""


class Notice(msgspec.Struct, frozen=True, kw_only=True, tag="notice"):
    """News of one alarm for one contact, or one group, by one channel. Newer news replace it."""

    about: About
    news: str
    by: str
    channel: str
    contact: str
    """Empty for a group."""
    mention: tuple[str, ...] = ()
    """Whom a group's message calls by name."""
    at: Stamp
    number: int
    """Which telling of its case it is: no two notices to the same contact have the same."""
    tries: int = 0
    tried: Stamp | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True, tag="health"):
    """A channel that does not reach somebody."""

    channel: str
    failures: int


class Escalation(Service):
    """Walks each case through its plan. The plans' contacts and channels were checked before."""

    name = "escalation"
    row: ClassVar[Any] = Case | Notice | Health
    follows_alarms = True

    def __init__(
        self,
        plans: Mapping[Hazard, Plan],
        reach: Reach,
        duty: Duty,
    ) -> None:
        self._plans = plans
        self._reach = reach
        self._duty = duty

    def apply(self, rows: Rows, message: Message) -> tuple[Changes, list[Fact]]:
        changes: Changes = {}
        if isinstance(message, Fact) and message.kind == "alarm":
            self._follow(rows, changes, message)
        elif isinstance(message, Tick):
            for key, row in rows.items():
                if isinstance(row, Case):
                    case = self._advance(rows, changes, row, message.at)
                    if case != row:
                        changes[key] = case
        elif isinstance(message, Outcome):
            return _conclude(rows, message)
        elif isinstance(message, Adopted):
            # What the plans and channels do not know any more is dropped.
            known = {key: self._forget(row) if self._knows(row) else None for key, row in rows.items()}
            changes = {key: row for key, row in known.items() if row != rows[key]}
        return changes, []

    def summary(self, rows: Rows) -> dict[str, Value]:
        failed = {
            row.channel for row in rows.values() if isinstance(row, Health) and row.failures >= FAILURES
        }
        return {f"{channel}.failed": channel in failed for channel in self._reach}

    def _forget(self, row: Any) -> Any:
        if not isinstance(row, Case):
            return row
        return _replace(row, told=tuple(pair for pair in row.told if pair[0] in self._reach))

    def _knows(self, row: Case | Notice | Health) -> bool:
        if isinstance(row, Case):
            return row.about.hazard in self._plans
        return row.channel in self._reach

    def _follow(self, rows: Rows, changes: Changes, fact: Fact) -> None:
        """Take in what has become of an alarm."""
        body, at = fact.body, fact.at
        hazard, mode = Hazard(body["hazard"]), body["mode"]
        plan = self._plans.get(hazard)
        if plan is None or (mode == "drill" and not plan.drills):
            return
        # One whose condition is gone but which must be reset still waits for somebody to look.
        waits = body["state"] == "active" or (body["state"] == "cleared" and body["latch"])
        waits = waits and mode in ("", "drill")
        about = About(
            id=body["id"], device=fact.device, point=body["point"], hazard=hazard,
            raised=body["raised"], value=body["value"], drill=mode == "drill",
        )  # fmt: skip
        key, change = about.id.rpartition("/")[0], body["change"]
        case: Case | None = rows.get(key)
        if case is None or case.about.id != about.id:
            if not waits:
                return
            case = Case(about=about, open=True, began=at, last=at, said_at=at)
        elif waits and (change == "raised" or not case.open):
            fresh = _since(case.said_at, at) >= plan.pause
            case = _replace(case, began=at, steps=0) if fresh and not case.open else case
            case = _replace(case, news="raised", again=not fresh)
        news = change if change in NEWS else case.news
        case = _replace(case, about=about, open=waits, news=news, by=body["by"])
        case = self._advance(rows, changes, case, at)
        changes[key] = case if body["state"] != "normal" else None

    def _advance(self, rows: Rows, changes: Changes, case: Case, at: Stamp) -> Case:
        """Tell the news, and take the steps whose time has come."""
        plan = self._plans[case.about.hazard]
        held = case.again and case.news in ("raised", "cleared")
        if case.said and case.news != case.said and not (held and _since(case.said_at, at) < plan.pause):
            case = _replace(case, tellings=case.tellings + 1)
            for channel, contact in case.told:
                _notify(rows, changes, case, channel, contact, (), at)
            case = _replace(case, said=case.news, said_at=at)
        while case.open and _due(case, plan, at):
            step = plan.steps[min(case.steps, len(plan.steps) - 1)]
            told = dict.fromkeys(case.told)
            case = _replace(case, tellings=case.tellings + 1)
            for channel, contact, mention in self._targets(step, plan, at):
                _notify(rows, changes, case, channel, contact, mention, at)
                told[channel, contact] = None
            case = _replace(
                case, steps=case.steps + 1, last=at, told=tuple(told), said=case.news, said_at=at
            )
        return case

    def _targets(self, step: Step, plan: Plan, at: Stamp) -> Iterable[tuple[str, str, tuple[str, ...]]]:
        """Channel, contact and whom to mention."""
        people: dict[str, None] = {}
        for name in step.tell:
            on_duty = (self._duty(at) or plan.fallback) if name == DUTY else (name,)
            people |= dict.fromkeys(on_duty)
        for channel in step.by:
            reached = self._reach[channel]
            if reached is None:
                yield channel, "", tuple(people)
            else:
                yield from ((channel, contact, ()) for contact in people if contact in reached)


def due(rows: Rows, channel: str, now: Stamp) -> dict[str, Notice]:
    """What a channel has to deliver now, most urgent first."""
    mine = {
        key: row
        for key, row in rows.items()
        if isinstance(row, Notice)
        and row.channel == channel
        and (row.tried is None or _since(row.tried, now) >= backoff(row.tries))
    }
    order = list(Hazard)

    def urgency(item: tuple[str, Notice]) -> tuple[bool, bool, int, int]:
        notice = item[1]
        return notice.news != "raised", notice.about.drill, order.index(notice.about.hazard), notice.at.wall

    return dict(sorted(mine.items(), key=urgency))


def backoff(tries: int) -> float:
    """Seconds until the next try."""
    return float(min(FIRST * 2 ** min(tries - 1, 16), LONGEST))


def attempt(key: str, number: int) -> str:
    """The name of a delivery, by which its `Outcome` is reported; `key` is that of the notice."""
    return f"{key}|{number}"


def key_of(alarm: str, channel: str, contact: str) -> str:
    """The key of a notice."""
    return f"{alarm}|{channel}|{contact}"


def _notify(
    rows: Rows,
    changes: Changes,
    case: Case,
    channel: str,
    contact: str,
    mention: tuple[str, ...],
    at: Stamp,
) -> None:
    key = key_of(case.about.id, channel, contact)
    old = changes[key] if key in changes else rows.get(key)
    new = Notice(
        about=case.about, news=case.news, by=case.by, channel=channel, contact=contact,
        mention=mention, at=at, number=case.tellings,
    )  # fmt: skip
    if isinstance(old, Notice):
        new = _replace(new, tries=old.tries, tried=old.tried)
    changes[key] = new


def _due(case: Case, plan: Plan, at: Stamp) -> bool:
    if case.steps < len(plan.steps):
        return _since(case.began, at) >= plan.steps[case.steps].after
    return _since(case.last, at) >= plan.repeat


def _conclude(rows: Rows, outcome: Outcome) -> tuple[Changes, list[Fact]]:
    """How a delivery ended: on record, and when it failed, tried again or given up."""
    key, _, number = outcome.command.rpartition("|")
    alarm, channel, contact = key.rsplit("|", 2)
    done = outcome.status == "done"
    changes: Changes = {}
    notice: Notice | None = rows.get(key)
    health = f"|{channel}|{contact}"
    before: Health | None = rows.get(health)
    if not done:
        changes[health] = Health(channel=channel, failures=min((before.failures if before else 0) + 1, 99))
    elif before:
        changes[health] = None
    current = notice is not None and notice.number == int(number)
    status = "delivered" if done else "failed"
    tries = notice.tries + 1 if notice else 1
    if notice is not None and current:
        if done:
            changes[key] = None
        elif _since(notice.at, outcome.at) >= PATIENCE:
            changes[key], status = None, "abandoned"
        else:
            changes[key] = _replace(notice, tries=tries, tried=outcome.at)
    # Each success, each end and the first failure: not every try of a line that is down for an hour.
    if status == "failed" and tries > 1:
        return changes, []
    body: dict[str, Any] = {
        "alarm": alarm,
        "news": notice.news if notice and current else "",
        "channel": channel,
        "contact": contact,
        "mention": list(notice.mention) if notice and current else [],
        "status": status,
        "tries": tries,
        "seconds": round(_since(notice.at, outcome.at), 3) if notice and current else None,
        "detail": outcome.detail,
    }
    device = notice.about.device if notice else DEVICE
    return changes, [Fact(Lane.EVENT, device, "notice", outcome.at, body, durable=done)]


def _since(then: Stamp, now: Stamp) -> float:
    """Seconds. Where no clock can tell, it was long ago: a message too early is better than none."""
    return now.seconds_since(then, unknown=inf, stepped_back=inf)


_replace = msgspec.structs.replace
