"""Patrols (巡查): rounds that are due by local time, and the check-ins at their checkpoints.

A round is named after the day it began and its number on that day (`2026-11-21/03`), or its week
(`2026-W47`). A check-in is recorded whether or not a round is due.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import msgspec

from gateway.model import (
    GATEWAY_DEVICE,
    Command,
    Fact,
    Lane,
    Message,
    RowChanges,
    Rows,
    Service,
    Stamp,
    Tick,
    Value,
)

from .alarms.rules import LocalClock

MINUTES_PER_DAY = 1440
WEEKLY_INTERVAL = 0
"""The value of `Patrol.interval_minutes` for a patrol that is due once a week."""


class Patrol(msgspec.Struct, frozen=True, kw_only=True):
    """`[patrol.…]`: all checkpoints must be visited every `interval_minutes` within a span of the day."""

    title: dict[str, str]
    checkpoints: dict[str, dict[str, str]]
    """Titles by name."""
    interval_minutes: int
    span_minutes: tuple[int, int] = (0, MINUTES_PER_DAY)
    """Begin and end, in minutes of the day; after midnight they go beyond `MINUTES_PER_DAY`."""
    weekdays: frozenset[int] = frozenset(range(7))
    """Monday is 0."""

    def round_at(self, local: datetime) -> str:
        """The name of the round at a local time; empty between two rounds."""
        minute = local.hour * 60 + local.minute
        for days_ago in (0, 1):
            # A span past midnight belongs to the day on which it began.
            day = date.fromordinal(local.toordinal() - days_ago)
            minutes_in = minute + days_ago * MINUTES_PER_DAY - self.span_minutes[0]
            if (
                day.weekday() in self.weekdays
                and 0 <= minutes_in < self.span_minutes[1] - self.span_minutes[0]
            ):
                if self.interval_minutes == WEEKLY_INTERVAL:
                    year, week, _ = day.isocalendar()
                    return f"{year}-W{week:02}"
                return f"{day}/{minutes_in // self.interval_minutes + 1:02}"
        return ""


class CheckpointVisit(msgspec.Struct, frozen=True):
    """Who was at a checkpoint, and when."""

    by: str
    at: Stamp


class PatrolRound(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The current round of a patrol; its key is the patrol's name."""

    round: str
    """Empty between two rounds."""
    since: Stamp
    visits: dict[str, CheckpointVisit] = {}
    done: bool = False
    excused: bool = False
    """It was under way when the patrol was first configured: it cannot be missed."""
    missed: bool = False
    """A round was missed, and none has been completed since."""


class Patrols(Service):
    """Records check-ins, and reports the rounds that were completed or missed."""

    name = "patrols"
    row = PatrolRound
    actions = frozenset({"check-in"})

    def __init__(self, patrols: Mapping[str, Patrol], local_time: LocalClock = lambda _: None) -> None:
        self._patrols = patrols
        self._local_time = local_time

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        changes: RowChanges = {}
        facts: list[Fact] = []
        if isinstance(message, Tick):
            changes |= {name: None for name in rows if name not in self._patrols}
            for name in self._patrols:
                row = self._current_round(name, rows.get(name), message.at, facts)
                if row != rows.get(name):
                    changes[name] = row
        elif isinstance(message, Command) and message.action in self.actions:
            name = str(message.args.get("patrol"))
            if name in self._patrols:
                row = self._current_round(name, rows.get(name), message.at, facts)
                row = self._check_in(name, row or PatrolRound(round="", since=message.at), message, facts)
                if row != rows.get(name):
                    changes[name] = row
        return changes, facts

    def summary(self, rows: Rows) -> dict[str, Value]:
        if not self._patrols:
            return {}
        return {
            "open": sum(bool(row.round) and not row.done for row in rows.values()),
            "missed": sum(row.missed for row in rows.values()),
        }

    def _current_round(
        self, name: str, row: PatrolRound | None, at: Stamp, facts: list[Fact]
    ) -> PatrolRound | None:
        """The round at that moment: closes a round that is over, and begins the next."""
        local = self._local_time(at)
        if local is None:
            return row
        patrol = self._patrols[name]
        current = patrol.round_at(local)
        if row is None:
            return PatrolRound(round=current, since=at, excused=True)
        # A weekly round goes on outside its hours.
        if current == row.round or (not current and patrol.interval_minutes == WEEKLY_INTERVAL):
            return row
        missed = row.missed
        # A clock that was set back ends no round.
        if row.round and not row.done and not row.excused and (not current or current > row.round):
            missed = True
            unseen = [each for each in patrol.checkpoints if each not in row.visits]
            body = {"patrol": name, "round": row.round, "unseen": unseen}
            facts.append(_fact("patrol-missed", at, **body))
        return PatrolRound(round=current, since=at, missed=missed)

    def _check_in(self, name: str, row: PatrolRound, command: Command, facts: list[Fact]) -> PatrolRound:
        checkpoints = self._patrols[name].checkpoints
        checkpoint, note = str(command.args.get("checkpoint")), str(command.args.get("note", ""))
        if checkpoint not in checkpoints or (checkpoint in row.visits and not note):
            return row
        by = command.by or command.origin
        where = {"patrol": name, "round": row.round}
        facts.append(_fact("check-in", command.at, **where, checkpoint=checkpoint, by=by, note=note))
        row = _replace(row, visits={checkpoint: CheckpointVisit(by, command.at), **row.visits})
        if row.done or not row.round or row.visits.keys() < checkpoints.keys():
            return row
        people = sorted({visit.by for visit in row.visits.values()})
        first = min((visit.at for visit in row.visits.values()), key=lambda at: at.wall_ms)
        took = command.at.seconds_since(first)
        seconds = None if took is None else round(took)
        facts.append(_fact("patrol-done", command.at, **where, by=people, seconds=seconds))
        return _replace(row, done=True, missed=False)


def _fact(kind: str, at: Stamp, **body: Any) -> Fact:
    return Fact(Lane.EVENT, GATEWAY_DEVICE, kind, at, body, durable=True)


_replace = msgspec.structs.replace
