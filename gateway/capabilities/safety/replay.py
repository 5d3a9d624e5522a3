"""Applies alarm rules to the readings in the journal: which alarms would they have raised?"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.model import Record, Sample, Stamp, Value

from .services.alarms import LocalClock, Rule, RuleChange, RuleEvaluator

TIME_STEP_MS = 10_000
"""The interval at which time is evaluated between two readings, and so the precision of delays."""


class ReplayedAlarm(msgspec.Struct, frozen=True):
    """One period in which a rule would have held. Times are Unix milliseconds; `ended` is None where it
    holds to the end."""

    rule: str
    began: int
    ended: int | None
    value: Value


def sample_of_record(record: Record) -> Sample | None:
    """The sample in a telemetry record; None for a record of another kind."""
    if record.kind != "sample":
        return None
    body = record.body
    return Sample(record.device, record.at, body.get("values", {}), error=body.get("error", ""))


class RuleReplay:
    """Processes samples in order, and collects in `alarms` what the rules would have raised."""

    def __init__(self, rules: Iterable[Rule], local_time: LocalClock) -> None:
        self._evaluator = RuleEvaluator(rules, local_time)
        self._open: dict[str, int] = {}
        """The index in `alarms` of each rule that holds."""
        self._last: Stamp | None = None
        self.alarms: list[ReplayedAlarm] = []

    def process_sample(self, sample: Sample) -> None:
        """Evaluate the time since the sample before, then this sample."""
        # The journal spans restarts: only the wall clock orders it.
        at = _by_wall_clock(sample.at, sample.at.wall_ms)
        if self._last:
            for wall_ms in range(self._last.wall_ms + TIME_STEP_MS, at.wall_ms, TIME_STEP_MS):
                between = _by_wall_clock(at, wall_ms)
                self._record_changes(self._evaluator.evaluate_time(between), between)
        self._record_changes(self._evaluator.evaluate_sample(msgspec.structs.replace(sample, at=at)), at)
        self._record_changes(self._evaluator.evaluate_time(at), at)
        self._last = at

    def _record_changes(self, changes: Iterable[RuleChange], at: Stamp) -> None:
        for rule, holds, value in changes:
            if holds:
                self._open[rule.id] = len(self.alarms)
                self.alarms.append(ReplayedAlarm(rule.id, at.wall_ms, None, value))
            elif rule.id in self._open:
                index = self._open.pop(rule.id)
                self.alarms[index] = msgspec.structs.replace(self.alarms[index], ended=at.wall_ms)


def _by_wall_clock(at: Stamp, wall_ms: int) -> Stamp:
    """A stamp whose monotonic time is its wall-clock time."""
    return msgspec.structs.replace(at, wall_ms=wall_ms, mono_ns=wall_ms * 1_000_000, boot="")
