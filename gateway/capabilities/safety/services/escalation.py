"""Escalation: who is notified of an alarm, when and by which channel.

The service follows the alarms, and keeps a case for each that people must be notified of. A case goes
through the steps of its hazard's plan until a person has acknowledged the alarm. Each step creates
notices; `notifications` delivers them and reports the outcomes. Cases and notices are rows: after a
restart every open notice is still delivered, and no delivered one is sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any, ClassVar

import msgspec

from gateway.model import (
    Checks,
    ConfigurationAdopted,
    Fact,
    Hazard,
    Lane,
    Message,
    Outcome,
    RowChanges,
    Rows,
    Service,
    Stamp,
    Tick,
    Value,
    is_delay_s,
)

DUTY_RECIPIENT = "duty"
"""In a step, the name for the contacts who are on duty at that moment."""
TEST_DEVICE = "gateway"
"""The device that a test of a channel is recorded for."""
TEST_ALARM_ID = "trial"
"""The alarm id in the record of a channel test."""
FAILURES_UNTIL_FAULT = 3
"""Failed deliveries in a row to one contact after which a channel counts as failed."""
MAX_DELIVERY_AGE_S = 3600.0
"""After this time an undelivered notice is abandoned; a repeated step creates a new one."""
MIN_RETRY_DELAY_S, MAX_RETRY_DELAY_S = 5.0, 300.0
"""The delay before a failed delivery is retried doubles with each attempt, between these two."""

DutyRoster = Callable[[Stamp], tuple[str, ...]]
"""The contacts on duty at a moment; empty when there are none."""
ReachableContacts = Mapping[str, frozenset[str] | None]
"""The contacts that each channel has an address for; None for a channel to a group."""

REPORTED_CHANGES = frozenset({"raised", "acknowledged", "cleared", "closed", "shelved", "disabled"})
"""The changes of an alarm that are reported to the contacts who were notified of it."""


class EscalationStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step in the site file: the contacts to notify, by which channels, `after` so many seconds."""

    after: float = 0.0
    tell: tuple[str, ...]
    by: tuple[str, ...]

    CHECKS: ClassVar[Checks] = {"after": (is_delay_s, "delay-range")}


class EscalationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The steps for the alarms of a hazard, until each is acknowledged."""

    steps: tuple[EscalationStep, ...]
    repeat_interval_s: float = 600.0
    """The last step is repeated at this interval."""
    fallback_contacts: tuple[str, ...] = ()
    """The contacts to notify when nobody is on duty."""
    flap_window_s: float = 600.0
    """An alarm that returns within this time of its latest notices does not restart the plan."""
    include_drills: bool = False
    """Whether drills are notified, marked as such."""


class AlarmSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a notice says of its alarm."""

    id: str
    device: str
    point: str
    hazard: Hazard
    raised: int
    """Unix time in milliseconds."""
    value: Value = False
    drill: bool = False
    place: str = ""
    where: str = ""
    """The place behind the device: its address, and its name for people."""


class EscalationCase(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="case",
    rename={
        "alarm": "about",
        "last_step_at": "last",
        "steps_taken": "steps",
        "recipients": "told",
        "change": "news",
        "reported_change": "said",
        "reported_at": "said_at",
        "round_number": "tellings",
        "flapping": "again",
    },
):
    """One alarm that people must be notified of; its key is the alarm's id without the occurrence."""

    alarm: AlarmSummary
    open: bool
    """Nobody has acknowledged the alarm: the plan goes on."""
    began: Stamp
    last_step_at: Stamp
    steps_taken: int = 0
    recipients: tuple[tuple[str, str], ...] = ()
    """Channel and contact of each notice that was created."""
    change: str = "raised"
    """The latest change of the alarm."""
    by: str = ""
    """Who caused it."""
    reported_change: str = ""
    """The change that the recipients were last notified of."""
    reported_at: Stamp
    round_number: int = 0
    """How many rounds of notices there were: the number of the latest notices."""
    flapping: bool = False
    """The alarm has returned within the flap window."""


class Notice(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="notice",
    rename={
        "alarm": "about",
        "change": "news",
        "created_at": "at",
        "failed_attempts": "tries",
        "last_attempt_at": "tried",
    },
):
    """A change of one alarm, to be sent to one contact or one group by one channel. The notice of a later
    change replaces it."""

    alarm: AlarmSummary
    change: str
    by: str
    channel: str
    contact: str
    """Empty for a group."""
    mention: tuple[str, ...] = ()
    """The contacts that a message to a group mentions."""
    created_at: Stamp
    number: int
    """The round of its case: no two notices to the same contact have the same number."""
    failed_attempts: int = 0
    last_attempt_at: Stamp | None = None


class ChannelHealth(msgspec.Struct, frozen=True, kw_only=True, tag="health"):
    """Deliveries by one channel to one contact that failed in a row."""

    channel: str
    failures: int


class Escalation(Service):
    """Takes each case through its plan. The contacts and channels in the plans must exist."""

    name = "escalation"
    row: ClassVar[Any] = EscalationCase | Notice | ChannelHealth
    follows_alarms = True

    def __init__(
        self,
        plans: Mapping[Hazard, EscalationPlan],
        reachable: ReachableContacts,
        on_duty: DutyRoster,
    ) -> None:
        self._plans = plans
        self._reachable = reachable
        self._on_duty = on_duty

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        changes: RowChanges = {}
        if isinstance(message, Fact) and message.kind == "alarm":
            self._process_alarm(rows, changes, message)
        elif isinstance(message, Tick):
            for key, row in rows.items():
                if isinstance(row, EscalationCase):
                    case = self._advance_case(rows, changes, row, message.at)
                    if case != row:
                        changes[key] = case
        elif isinstance(message, Outcome):
            return _process_outcome(rows, message)
        elif isinstance(message, ConfigurationAdopted):
            # Remove what the plans and channels no longer have.
            kept = {
                key: self._without_removed_channels(row) if self._is_configured(row) else None
                for key, row in rows.items()
            }
            changes = {key: row for key, row in kept.items() if row != rows[key]}
        return changes, []

    def summary(self, rows: Rows) -> dict[str, Value]:
        failed = {
            row.channel
            for row in rows.values()
            if isinstance(row, ChannelHealth) and row.failures >= FAILURES_UNTIL_FAULT
        }
        return {f"{channel}.failed": channel in failed for channel in self._reachable}

    def _without_removed_channels(self, row: Any) -> Any:
        if not isinstance(row, EscalationCase):
            return row
        return _replace(row, recipients=tuple(pair for pair in row.recipients if self._reaches(*pair)))

    def _is_configured(self, row: EscalationCase | Notice | ChannelHealth) -> bool:
        if isinstance(row, EscalationCase):
            return row.alarm.hazard in self._plans
        if isinstance(row, Notice):
            return self._reaches(row.channel, row.contact)
        return row.channel in self._reachable

    def _reaches(self, channel: str, contact: str) -> bool:
        """Whether a channel still has an address for a contact."""
        contacts = self._reachable.get(channel, frozenset())
        return contacts is None or contact in contacts

    def _process_alarm(self, rows: Rows, changes: RowChanges, fact: Fact) -> None:
        """Open, update or close the case of an alarm."""
        body, at = fact.body, fact.at
        hazard, mode = Hazard(body["hazard"]), body["mode"]
        plan = self._plans.get(hazard)
        if plan is None or (mode == "drill" and not plan.include_drills):
            return
        # A latched alarm still needs a person when its condition is gone.
        is_open = body["state"] == "active" or (body["state"] == "cleared" and body["latch"])
        is_open = is_open and mode in ("", "drill")
        alarm = AlarmSummary(
            id=body["id"], device=fact.device, point=body["point"], hazard=hazard,
            raised=body["raised"], value=body["value"], drill=mode == "drill",
            place=body.get("place", ""), where=body.get("where", ""),
        )  # fmt: skip
        key, change = alarm.id.rpartition("/")[0], body["change"]
        case: EscalationCase | None = rows.get(key)
        if case is None or case.alarm.id != alarm.id:
            if not is_open:
                return
            case = EscalationCase(alarm=alarm, open=True, began=at, last_step_at=at, reported_at=at)
        elif is_open and (change == "raised" or not case.open):
            is_new = _seconds_between(case.reported_at, at) >= plan.flap_window_s
            case = _replace(case, began=at, steps_taken=0) if is_new and not case.open else case
            case = _replace(case, change="raised", flapping=not is_new)
        change = change if change in REPORTED_CHANGES else case.change
        case = _replace(case, alarm=alarm, open=is_open, change=change, by=body["by"])
        case = self._advance_case(rows, changes, case, at)
        changes[key] = case if body["state"] != "normal" else None

    def _advance_case(
        self, rows: Rows, changes: RowChanges, case: EscalationCase, at: Stamp
    ) -> EscalationCase:
        """Report a change to the recipients, and take the steps that are due."""
        plan = self._plans[case.alarm.hazard]
        is_held = case.flapping and case.change in ("raised", "cleared")
        if (
            case.reported_change
            and case.change != case.reported_change
            and not (is_held and _seconds_between(case.reported_at, at) < plan.flap_window_s)
        ):
            case = _replace(case, round_number=case.round_number + 1)
            for channel, contact in case.recipients:
                _add_notice(rows, changes, case, channel, contact, (), at)
            case = _replace(case, reported_change=case.change, reported_at=at)
        while case.open and _is_step_due(case, plan, at):
            step = plan.steps[min(case.steps_taken, len(plan.steps) - 1)]
            recipients = dict.fromkeys(case.recipients)
            case = _replace(case, round_number=case.round_number + 1)
            for channel, contact, mention in self._recipients(step, plan, at):
                _add_notice(rows, changes, case, channel, contact, mention, at)
                recipients[channel, contact] = None
            case = _replace(
                case,
                steps_taken=case.steps_taken + 1,
                last_step_at=at,
                recipients=tuple(recipients),
                reported_change=case.change,
                reported_at=at,
            )
        return case

    def _recipients(
        self, step: EscalationStep, plan: EscalationPlan, at: Stamp
    ) -> Iterable[tuple[str, str, tuple[str, ...]]]:
        """Channel, contact (empty for a group) and the contacts to mention."""
        people: dict[str, None] = {}
        for name in step.tell:
            on_duty = (self._on_duty(at) or plan.fallback_contacts) if name == DUTY_RECIPIENT else (name,)
            people |= dict.fromkeys(on_duty)
        for channel in step.by:
            reachable = self._reachable[channel]
            if reachable is None:
                yield channel, "", tuple(people)
            else:
                yield from ((channel, contact, ()) for contact in people if contact in reachable)


def due_notices(rows: Rows, channel: str, now: Stamp, contact: str | None = None) -> dict[str, Notice]:
    """The notices that a channel must deliver now by their keys, most urgent first. `contact`: to that one
    alone."""
    due = {
        key: row
        for key, row in rows.items()
        if isinstance(row, Notice)
        and row.channel == channel
        and contact in {None, row.contact}
        and (
            row.last_attempt_at is None
            or _seconds_between(row.last_attempt_at, now) >= retry_delay_s(row.failed_attempts)
        )
    }
    order = list(Hazard)

    def urgency(item: tuple[str, Notice]) -> tuple[bool, bool, int, int]:
        notice = item[1]
        return (
            notice.change != "raised",
            notice.alarm.drill,
            order.index(notice.alarm.hazard),
            notice.created_at.wall_ms,
        )

    return dict(sorted(due.items(), key=urgency))


def retry_delay_s(failed_attempts: int) -> float:
    """The delay before the next attempt."""
    return float(min(MIN_RETRY_DELAY_S * 2 ** min(failed_attempts - 1, 16), MAX_RETRY_DELAY_S))


def delivery_id(key: str, number: int) -> str:
    """The id of a delivery, which is `Outcome.command`; `key` is that of the notice."""
    return f"{key}|{number}"


def notice_key(alarm_id: str, channel: str, contact: str) -> str:
    """The row key of a notice; `contact` is empty for a group."""
    return f"{alarm_id}|{channel}|{contact}"


def _add_notice(
    rows: Rows,
    changes: RowChanges,
    case: EscalationCase,
    channel: str,
    contact: str,
    mention: tuple[str, ...],
    at: Stamp,
) -> None:
    key = notice_key(case.alarm.id, channel, contact)
    old = changes[key] if key in changes else rows.get(key)
    new = Notice(
        alarm=case.alarm, change=case.change, by=case.by, channel=channel, contact=contact,
        mention=mention, created_at=at, number=case.round_number,
    )  # fmt: skip
    if isinstance(old, Notice):
        new = _replace(new, failed_attempts=old.failed_attempts, last_attempt_at=old.last_attempt_at)
    changes[key] = new


def _is_step_due(case: EscalationCase, plan: EscalationPlan, at: Stamp) -> bool:
    if case.steps_taken < len(plan.steps):
        return _seconds_between(case.began, at) >= plan.steps[case.steps_taken].after
    return _seconds_between(case.last_step_at, at) >= plan.repeat_interval_s


def _process_outcome(rows: Rows, outcome: Outcome) -> tuple[RowChanges, list[Fact]]:
    """Record how a delivery ended; when it failed, schedule a retry or abandon the notice."""
    key, _, number = outcome.command.rpartition("|")
    alarm, channel, contact = key.rsplit("|", 2)
    done = outcome.status == "done"
    changes: RowChanges = {}
    notice: Notice | None = rows.get(key)
    health = f"|{channel}|{contact}"
    before: ChannelHealth | None = rows.get(health)
    if not done:
        changes[health] = ChannelHealth(
            channel=channel, failures=min((before.failures if before else 0) + 1, 99)
        )
    elif before:
        changes[health] = None
    current = notice is not None and notice.number == int(number)
    status = "delivered" if done else "failed"
    attempts = notice.failed_attempts + 1 if notice else 1
    if notice is not None and current:
        if done:
            changes[key] = None
        elif _seconds_between(notice.created_at, outcome.at) >= MAX_DELIVERY_AGE_S:
            changes[key], status = None, "abandoned"
        else:
            changes[key] = _replace(notice, failed_attempts=attempts, last_attempt_at=outcome.at)
    # Record each success, each end and the first failure, but not every retry.
    if status == "failed" and attempts > 1:
        return changes, []
    body: dict[str, Any] = {
        "alarm": alarm,
        "news": notice.change if notice and current else "",
        "channel": channel,
        "contact": contact,
        "mention": list(notice.mention) if notice and current else [],
        "status": status,
        "tries": attempts,
        "seconds": round(_seconds_between(notice.created_at, outcome.at), 3)
        if notice and current
        else None,
        "detail": outcome.detail,
    }
    device = notice.alarm.device if notice else TEST_DEVICE
    return changes, [Fact(Lane.EVENT, device, "notice", outcome.at, body, durable=done)]


def _seconds_between(earlier: Stamp, later: Stamp) -> float:
    """Infinite where no clock can tell: a message too early is better than none."""
    return later.seconds_since(earlier, if_unknown=inf, if_stepped_back=inf)


_replace = msgspec.structs.replace
