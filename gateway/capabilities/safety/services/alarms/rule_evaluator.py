"""Evaluates rules on readings and on the passing of time: which rules begin or cease to hold.

Durations are measured by the monotonic clock alone. The history that is kept is bounded by what the rules
look back on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from gateway.model import Arrival, Sample, Stamp, Value

from .rules import LINK_POINT, UNUSABLE_POINT, LocalClock, Rule, RuleCondition, UnusableCondition

MAX_HISTORY_READINGS = 64
"""About how many readings a condition keeps of the period that `rises` and `falls` look back on."""


class RuleChange(NamedTuple):
    """A rule has begun (`holds`) or ceased to hold."""

    rule: Rule
    holds: bool
    value: Value


class _ConditionState:
    """One condition with its latest value and its history. `is_met` is None while it is not known."""

    def __init__(self, condition: RuleCondition) -> None:
        self._condition = condition
        self._last_read_s: float | None = None
        self._last_changed_s = 0.0
        self._history: deque[tuple[float, float]] = deque()
        """When the value was lower than ever since, and how low; for `falls`, the negative value."""
        self.value: Value = False
        self.is_met: bool | None = None

    def update_value(self, value: Value, now_s: float) -> None:
        """Evaluate a new reading."""
        if value != self.value or self._last_read_s is None:
            self._last_changed_s = now_s
        self.value, self._last_read_s = value, now_s
        self.is_met = self._evaluate(value, now_s)

    def update_time(self, now_s: float) -> None:
        """Evaluate what depends on time alone."""
        missing_s = self._condition.missing
        if missing_s is not None:
            if self._last_read_s is None:
                self._last_read_s = now_s
            self.is_met = now_s - self._last_read_s >= missing_s

    def _evaluate(self, value: Value, now_s: float) -> bool | None:
        condition = self._condition
        if condition.missing is not None:
            return False
        if condition.stuck is not None:
            return now_s - self._last_changed_s >= condition.stuck
        if condition.equals is not None:
            return value == condition.equals
        if condition.rises is None and condition.falls is None:
            return condition.exceeded(value, self.is_met is True)
        if isinstance(value, str):
            return None
        return self._has_moved(float(value), now_s)

    def _has_moved(self, value: float, now_s: float) -> bool:
        """Whether the value has risen or fallen by as much as the condition says."""
        condition, history = self._condition, self._history
        change = condition.rises
        if change is None:
            assert condition.falls is not None
            change, value = condition.falls, -value
        while history and now_s - history[0][0] > condition.within:
            history.popleft()
        while history and history[-1][1] >= value:
            history.pop()
        if not history or now_s - history[-1][0] >= condition.within / MAX_HISTORY_READINGS:
            history.append((now_s, value))
        return value - history[0][1] >= change


class _UnusableState(_ConditionState):
    """Whether a point has had no usable value for too long, although its device reports. It is no news of
    that if the device does not."""

    def __init__(self, condition: UnusableCondition) -> None:
        super().__init__(condition)
        self._limits = condition
        self._reason = ""
        """Why the newest value could not be used; empty: it could, or nothing is known of it."""
        self._since_s = 0.0
        self.value = condition.point.partition(".")[2]

    def update_sample(self, sample: Sample, point: str, now_s: float) -> None:
        """Evaluate a reading of the device."""
        reason = sample.bad.get(point, "")
        if sample.error:
            self._reason = ""
        elif reason and not (reason == "missing" and self._limits.is_optional and sample.values):
            self._since_s = self._since_s if self._reason else now_s
            self._reason = reason
            self.update_time(now_s)
        elif point in sample.values or (self._is_settled_without() and sample.values):
            self._reason, self.is_met = "", False

    def _is_settled_without(self) -> bool:
        """Whether a reading with other values says that there is nothing wrong with this one."""
        return (self.is_met is None and not self._reason) or (
            self._limits.is_optional and self._reason == "missing"
        )

    def update_time(self, now_s: float) -> None:
        if self._reason and not self.is_met:
            limit_s = self._limits.missing_s if self._reason == "missing" else self._limits.invalid_s
            self.is_met = now_s - self._since_s >= limit_s


class _RuleState:
    """One rule with the state of its conditions, and whether it holds."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.conditions = tuple(map(_condition_state, rule.conditions))
        self.holds = False
        self.pending_since_s: float | None = None
        """Since when the conditions contradict `holds`; the on-delay or off-delay is running."""

    @property
    def value(self) -> Value:
        """The latest value of its first condition; the names of the points that have no usable value."""
        if self.rule.point != UNUSABLE_POINT:
            return self.conditions[0].value
        return ", ".join(str(condition.value) for condition in self.conditions if condition.is_met)

    def update(self, at: Stamp, local_time: LocalClock) -> bool:
        """Whether `holds` has changed."""
        now_s, is_met = at.mono_ns / 1e9, self._is_met(at, local_time)
        if is_met is None or is_met == self.holds:
            self.pending_since_s = None
            return False
        if self.pending_since_s is None:
            self.pending_since_s = now_s
        delay_s = self.rule.on_delay_s if is_met else self.rule.off_delay_s
        if now_s - self.pending_since_s < delay_s:
            return False
        self.holds, self.pending_since_s = is_met, None
        return True

    def _is_met(self, at: Stamp, local_time: LocalClock) -> bool | None:
        """Whether enough conditions are met now, without delays; None while it is not known."""
        applies_at = self.rule.applies_at
        if applies_at is not None and (time := local_time(at)) is not None and not applies_at(time):
            return False
        required = self.rule.required_count or len(self.conditions)
        met = sum(condition.is_met is True for condition in self.conditions)
        unknown = sum(condition.is_met is None for condition in self.conditions)
        if met >= required:
            return True
        return None if met + unknown >= required else False


def _condition_state(condition: RuleCondition) -> _ConditionState:
    if isinstance(condition, UnusableCondition):
        return _UnusableState(condition)
    return _ConditionState(condition)


class RuleEvaluator:
    """All rules of a site and their states."""

    def __init__(self, rules: Iterable[Rule], local_time: LocalClock) -> None:
        self._local_time = local_time
        self._states = {rule.id: _RuleState(rule) for rule in rules}
        self._by_device: dict[str, dict[str, list[tuple[_RuleState, _ConditionState, str]]]] = {}
        for state in self._states.values():
            for condition, spec in zip(state.conditions, state.rule.conditions, strict=True):
                device, _, point = spec.point.partition(".")
                of_device = self._by_device.setdefault(device, {})
                of_device.setdefault(state.rule.id, []).append((state, condition, point))
        self._places: dict[str, dict[str, _RuleState]] = {}
        """By the id of a point's rule, the states at the places where it holds or is about to."""
        self._time_dependent = [state for state in self._states.values() if state.rule.depends_on_time]

    @property
    def rules(self) -> Mapping[str, Rule]:
        """Every rule by its id."""
        return {rule_id: state.rule for rule_id, state in self._states.items()}

    def holds(self, rule_id: str) -> bool:
        """Whether the rule holds, as of the latest evaluation."""
        state = self._states.get(rule_id)
        return state is not None and state.holds

    def places_holding(self, rule_id: str) -> list[Rule]:
        """The rules of the places where this rule of a point holds."""
        return [state.rule for state in self._places.get(rule_id, {}).values() if state.holds]

    def resume(self, holding_rule_ids: Iterable[str]) -> None:
        """Continue after a restart: the rules with these ids hold until a reading says otherwise."""
        for rule_id in holding_rule_ids:
            if rule_id in self._states:
                self._states[rule_id].holds = True

    def resume_place(self, rule_id: str, place: str, where: str) -> None:
        """As `resume`, for the rule of a point at one of its places."""
        if rule_id in self._states:
            self._state_at_place(self._states[rule_id].rule, place, where).holds = True

    def _state_at_place(self, rule: Rule, place: str, where: str) -> _RuleState:
        of_rule = self._places.setdefault(rule.id, {})
        if place not in of_rule:
            of_rule[place] = _RuleState(rule.at_place(place, where))
        return of_rule[place]

    def evaluate_sample(self, sample: Sample) -> Iterator[RuleChange]:
        """The changes that a sample causes."""
        of_device = self._by_device.get(sample.device)
        if of_device is None:
            return
        now_s = sample.at.mono_ns / 1e9
        values: Mapping[str, Value] = sample.values
        if sample.arrival is not Arrival.RETAINED:
            values = {**values, LINK_POINT: bool(sample.error)}
        for entries in of_device.values():
            state = entries[0][0]
            places = sample.places.get(state.rule.point) if state.rule.is_of_point else None
            for _, condition, point in entries:
                if isinstance(condition, _UnusableState):
                    if sample.arrival is not Arrival.RETAINED:
                        condition.update_sample(sample, point, now_s)
                elif places is not None:
                    condition.update_value("" in places, now_s)
                elif point in values:
                    condition.update_value(values[point], now_s)
            if state.update(sample.at, self._local_time):
                value = sample.error if state.rule.point == LINK_POINT else state.value
                yield RuleChange(state.rule, state.holds, value)
            if places is not None:
                yield from self._evaluate_places(state.rule, places, sample.at)

    def _evaluate_places(self, rule: Rule, places: Mapping[str, str], at: Stamp) -> Iterator[RuleChange]:
        """The changes at the places of a point. Those that hold as before cost nothing."""
        known = self._places.get(rule.id, {})
        new = {place: None for place in places if place and place not in known}
        undecided = [place for place, state in known.items() if state.holds is not (place in places)]
        interrupted = [place for place, state in known.items() if state.pending_since_s is not None]
        for place in dict.fromkeys((*new, *undecided, *interrupted)):
            state = self._state_at_place(rule, place, places.get(place, ""))
            state.conditions[0].update_value(place in places, at.mono_ns / 1e9)
            yield from self._update_place(state, at)

    def _update_place(self, state: _RuleState, at: Stamp) -> Iterator[RuleChange]:
        if state.update(at, self._local_time):
            yield RuleChange(state.rule, state.holds, state.holds)
        if not state.holds and state.pending_since_s is None:
            self._places[state.rule.point_rule_id].pop(state.rule.place, None)

    def evaluate_time(self, at: Stamp) -> Iterator[RuleChange]:
        """The changes that the passing of time causes: delays, hours and `missing`."""
        for state in self._time_dependent:
            for condition in state.conditions:
                condition.update_time(at.mono_ns / 1e9)
        for state in self._states.values():
            is_due = state.pending_since_s is not None or state.rule.depends_on_time
            if is_due and state.update(at, self._local_time):
                yield RuleChange(state.rule, state.holds, state.value)
        for of_rule in self._places.values():
            for state in list(of_rule.values()):
                if state.pending_since_s is not None or state.rule.depends_on_time:
                    yield from self._update_place(state, at)
