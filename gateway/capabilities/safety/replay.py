"""What would these rules have done? Tried on what the journal still holds."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.model import Record, Sample, Stamp, Value

from .services.alarms import LocalClock, Rule, RuleChange, RuleEvaluator

TIME_STEP_MS = 10_000
"""Milliseconds between two looks at the clock, where nothing was read: delays are right to that."""


class ReplayedAlarm(msgspec.Struct, frozen=True):
    """One time that a rule would have raised an alarm. Times are Unix milliseconds; `ended` is None where
    it still holds."""

    rule: str
    began: int
    ended: int | None
    value: Value


def sample_of_record(record: Record) -> Sample | None:
    """The reading in a telemetry record, if it is one."""
    if record.kind != "sample":
        return None
    body = record.body
    return Sample(record.device, record.at, body.get("values", {}), error=body.get("error", ""))


class RuleReplay:
    """Takes readings in order, and keeps in `episodes` every alarm that the rules would have raised."""

    def __init__(self, rules: Iterable[Rule], local: LocalClock) -> None:
        self._judge = RuleEvaluator(rules, local)
        self._open: dict[str, int] = {}
        self._last: Stamp | None = None
        self.episodes: list[ReplayedAlarm] = []

    def take(self, sample: Sample) -> None:
        """One reading, and the time since the one before."""
        # History spans restarts: only the wall clock orders it.
        at = _by_wall(sample.at, sample.at.wall)
        if self._last:
            for wall in range(self._last.wall + TIME_STEP_MS, at.wall, TIME_STEP_MS):
                then = _by_wall(at, wall)
                self._note(self._judge.look(then), then)
        self._note(self._judge.read(msgspec.structs.replace(sample, at=at)), at)
        self._note(self._judge.look(at), at)
        self._last = at

    def _note(self, verdicts: Iterable[RuleChange], at: Stamp) -> None:
        for rule, holds, value in verdicts:
            if holds:
                self._open[rule.id] = len(self.episodes)
                self.episodes.append(ReplayedAlarm(rule.id, at.wall, None, value))
            elif rule.id in self._open:
                number = self._open.pop(rule.id)
                self.episodes[number] = msgspec.structs.replace(self.episodes[number], ended=at.wall)


def _by_wall(at: Stamp, wall: int) -> Stamp:
    return msgspec.structs.replace(at, wall=wall, mono=wall * 1_000_000, boot="")
