"""The alarms of a site: raised by rules, kept until a person has dealt with them.

An alarm is raised while a condition is true, not only when it becomes true, and survives a restart. A
safety device that does not answer is a fault, never "normal" (GB 16806). The gateway is an auxiliary, not
a certified fire device.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from math import inf
from typing import Any

import msgspec

from gateway.model import (
    GATEWAY_DEVICE,
    MORE_PLACES,
    UNKNOWN_FIRE_POINT,
    AlarmSpec,
    Command,
    ConfigurationAdopted,
    Device,
    Fact,
    Hazard,
    Lane,
    Message,
    RowChanges,
    Rows,
    Sample,
    Service,
    Stamp,
    Tick,
    Value,
)
from gateway.model.hours import WeeklyHours

from .rule_evaluator import RuleChange, RuleEvaluator
from .rules import LocalClock, Rule, rule_of_point, rules_of_device, unusable_rules
from .state_machine import UNACKNOWLEDGED_STATES, AlarmEvent, AlarmState, find_transition

GATEWAY_FAULT_POINTS = ("journal_failing", "journal_damaged", "config_refused", "alarm_undelivered")
_HOUR_S = 3600.0


class AlarmMode(StrEnum):
    """What a person has decided about an alarm. All but a drill end after a limited time."""

    SHELVED = "shelved"
    """Known and being dealt with: it makes no sound and notifies nobody."""
    DISABLED = "disabled"
    """Out of service (屏蔽, GB 26875.3 status bit 3): its condition is ignored."""
    TEST = "test"
    """Being tested: when its condition holds, that is recorded as a test and raises no alarm."""
    DRILL = "drill"
    """A practice alarm, started by a person."""


MAX_PLACES = 256
"""Places of one point that have an alarm of their own; one more alarm stands for all others."""
ACKNOWLEDGED_BEFORE_SHELVED = frozenset({Hazard.FIRE, Hazard.GAS, Hazard.SOS})
"""Alarms of these hazards must be acknowledged before they can be shelved: somebody may be in danger."""
MAX_MUTE_S = 7 * _HOUR_S
"""After this time a muted alarm that still stands sounds again (GB 20517-2025, 5.11: (7 ± 1) h)."""
RESOUND_S = 60.0
"""After this time a muted alarm that nobody has acknowledged sounds again, as at a fire panel; faults and
drills stay muted."""
MAX_MODE_S = {AlarmMode.SHELVED: 8 * _HOUR_S, AlarmMode.DISABLED: 24 * _HOUR_S, AlarmMode.TEST: 2 * _HOUR_S}
"""The longest time that each mode may last, whatever was requested."""


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm; its key is its rule's id, with a place behind it where it has one, or `drill/hazard`. A
    point without a row is normal."""

    id: str
    device: str
    point: str
    hazard: Hazard
    place: str = ""
    """The address of the place behind the device, of a point that stands for many (`Sample.places`)."""
    where: str = ""
    """That place's name for people."""
    state: AlarmState = AlarmState.NORMAL
    raised: Stamp
    value: Value = False
    title: dict[str, str] = {}
    latch: bool = False
    acknowledged_by: str = ""
    muted: bool = False
    """Its sound is off; a new alarm sounds again (GB 20517-2025, 5.11)."""
    muted_until: Stamp | None = None
    mode: AlarmMode | None = None
    until: Stamp | None = None
    """When the mode ends."""
    mode_by: str = ""
    why: str = ""
    tested: bool = False
    """Its condition held at least once while it was in test."""
    tripping: bool = False
    """In test, its condition holds now: when the test ends, this is an alarm."""

    @property
    def is_current(self) -> bool:
        """Whether people must deal with it now."""
        return self.state is not AlarmState.NORMAL and self.mode not in (
            AlarmMode.SHELVED,
            AlarmMode.DISABLED,
            AlarmMode.TEST,
        )

    @property
    def is_sounding(self) -> bool:
        """Whether it requires a siren."""
        return self.is_current and self.state is not AlarmState.LATCHED and not self.muted


class Safety(Service):
    """Raises alarms by rules, and changes their state by the table in `state_machine`.

    `inside_figure` is the `service.figure` that says how many people must be found when a fire alarm is
    raised.
    """

    name = "safety"
    row = Alarm
    actions = frozenset(
        "acknowledge reset mute shelve unshelve disable enable test end-test drill".split()  # noqa: SIM905
    )
    follows_summaries = True

    def __init__(
        self,
        devices: Mapping[str, Device],
        rules: Iterable[Rule] = (),
        local_time: LocalClock = lambda _: None,
        opening_hours: WeeklyHours | None = None,
        inside_figure: str = "",
    ) -> None:
        hazards = {UNKNOWN_FIRE_POINT: Hazard.FIRE, **dict.fromkeys(GATEWAY_FAULT_POINTS, Hazard.FAULT)}
        own = (
            rule_of_point(GATEWAY_DEVICE, point, AlarmSpec(hazard=hazard))
            for point, hazard in hazards.items()
        )
        profiles = (rule for device in devices.values() for rule in rules_of_device(device, opening_hours))
        of_site = list(rules)
        unusable = unusable_rules(devices, of_site)
        self._evaluator = RuleEvaluator([*own, *profiles, *unusable, *of_site], local_time)
        self._inside: Value | None = None
        self._inside_service, _, self._inside_name = inside_figure.partition(".")
        self._commands: dict[str, Callable[[_ChangeSet, Command], None]] = {
            "acknowledge": _acknowledge_alarm,
            "reset": _reset_alarm,
            "mute": _mute_alarms,
            "shelve": _shelve_alarm,
            "unshelve": _unshelve_alarm,
            "disable": self._disable_alarms,
            "enable": self._end_disable_or_test,
            "test": self._start_test,
            "end-test": self._end_disable_or_test,
            "drill": self._start_drill,
        }

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        changes = _ChangeSet(rows, message.at)
        if isinstance(message, Sample):
            if message.device == self._inside_service:
                self._inside = message.values.get(self._inside_name)
            for change in self._evaluator.evaluate_sample(message):
                self._apply_rule_change(changes, change)
        elif isinstance(message, Tick):
            for change in self._evaluator.evaluate_time(message.at):
                self._apply_rule_change(changes, change)
            for key, alarm in rows.items():
                if alarm.until is not None and _has_passed(alarm.until, message.at):
                    self._end_mode(changes, key, "expired", "")
                if alarm.muted and (
                    alarm.muted_until is None or _has_passed(alarm.muted_until, message.at)
                ):
                    changes.record(key, _replace(changes.get(key) or alarm, muted=False), "unmuted")
        elif isinstance(message, ConfigurationAdopted):
            self._apply_configuration(changes)
        elif isinstance(message, Command) and message.action in self._commands:
            self._commands[message.action](changes, message)
        return changes.rows, changes.facts

    def restore(self, rows: Rows) -> Rows:
        """Alarms survive a restart as they stood."""
        self._resume_rules(rows)
        return rows

    def summary(self, rows: Rows) -> dict[str, Value]:
        alarms: list[Alarm] = list(rows.values())
        return {
            "alarms": sum(alarm.is_current for alarm in alarms),
            "unacknowledged": sum(
                alarm.is_current and alarm.state in UNACKNOWLEDGED_STATES for alarm in alarms
            ),
            "shelved": sum(alarm.mode is AlarmMode.SHELVED for alarm in alarms),
            "disabled": sum(alarm.mode is AlarmMode.DISABLED for alarm in alarms),
            "test": sum(alarm.mode is AlarmMode.TEST for alarm in alarms),
        }

    def _resume_rules(self, rows: Rows) -> None:
        standing = (AlarmState.ACTIVE, AlarmState.ACKNOWLEDGED)
        alarms = {key: alarm for key, alarm in rows.items() if alarm.state in standing}
        self._evaluator.resume(key for key, alarm in alarms.items() if not alarm.place)
        for key, alarm in alarms.items():
            if alarm.place:
                self._evaluator.resume_place(_point_rule_id(key, alarm), alarm.place, alarm.where)

    def _apply_configuration(self, changes: _ChangeSet) -> None:
        """Remove the alarms whose rule is no longer configured: nothing would clear them."""
        self._resume_rules(changes.alarms)
        for key, alarm in changes.alarms.items():
            if (
                _point_rule_id(key, alarm) not in self._evaluator.rules
                and alarm.mode is not AlarmMode.DRILL
            ):
                changes.record(
                    key, _replace(alarm, state=AlarmState.NORMAL, mode=None, until=None), "removed"
                )

    def _apply_rule_change(self, changes: _ChangeSet, change: RuleChange) -> None:
        """Raise or clear the alarm of a rule."""
        rule = change.rule
        of_point = changes.get(rule.point_rule_id)
        mode = of_point.mode if of_point else None
        if mode is AlarmMode.DISABLED:
            return
        if mode is AlarmMode.TEST:
            assert of_point is not None
            if change.holds:
                tested = _replace(of_point, tested=True, tripping=True, value=change.value)
                changes.record(rule.point_rule_id, tested, "tested", **_place_facts(rule.place, rule.where))
            else:
                changes.rows[rule.point_rule_id] = _replace(
                    of_point, tripping=self._holds_anywhere(rule.point_rule_id)
                )
            return
        if rule.place and changes.get(rule.id) is None:
            rule = self._rule_within_limit(changes, rule)
        if rule.place == MORE_PLACES and not change.holds and self._has_unlisted_places(changes, rule):
            return
        old = changes.get(rule.id)
        alarm = old or _new_alarm(rule, changes.at)
        if rule.place == MORE_PLACES and alarm.state is AlarmState.ACKNOWLEDGED:
            alarm = _replace(alarm, state=AlarmState.NORMAL)  # It is another place.
        if change.holds and alarm.state in (AlarmState.NORMAL, AlarmState.LATCHED):
            # A new occurrence gets a new id: a late click must not acknowledge it.
            alarm = _replace(
                alarm, id=_occurrence_id(rule.id, changes.at), raised=changes.at, acknowledged_by=""
            )
        more: dict[str, Any] = {}
        if change.holds:
            alarm = _replace(alarm, value=change.value, muted=False)
            more = self._muster_figures(rule.hazard)
        changes.apply_event(rule.id, alarm, AlarmEvent.RAISE if change.holds else AlarmEvent.CLEAR, **more)

    def _holds_anywhere(self, point_rule_id: str) -> bool:
        """Whether the rule of a point holds now, for the point or one of its places."""
        return self._evaluator.holds(point_rule_id) or any(self._evaluator.places_holding(point_rule_id))

    def _rule_within_limit(self, changes: _ChangeSet, rule: Rule) -> Rule:
        """The rule of a place that has no alarm, or the one that stands for all places without room."""
        if changes.place_counts[rule.point_rule_id] < MAX_PLACES:
            return rule
        return self._evaluator.rules[rule.point_rule_id].at_place(MORE_PLACES, "")

    def _has_unlisted_places(self, changes: _ChangeSet, rule: Rule) -> bool:
        """Whether the rule of a point holds at places that have no alarm of their own."""
        holding = self._evaluator.places_holding(rule.point_rule_id)
        return any(each.place == MORE_PLACES or changes.get(each.id) is None for each in holding)

    def _muster_figures(self, hazard: Hazard) -> dict[str, Any]:
        """For a fire alarm, how many people must be found, if that is known."""
        return {"inside": self._inside} if hazard is Hazard.FIRE and self._inside is not None else {}

    def _rules_named_by(self, command: Command) -> list[Rule]:
        """The rules of the device, or of the one point of it, that a command is for."""
        point = command.args.get("point")
        return [
            rule
            for rule in self._evaluator.rules.values()
            if rule.device == command.device and point in (None, rule.point)
        ]

    def _disable_alarms(self, changes: _ChangeSet, command: Command) -> None:
        for rule in self._rules_named_by(command):
            alarm = changes.get(rule.id) or _new_alarm(rule, changes.at)
            alarm = _with_mode(alarm, AlarmMode.DISABLED, command, changes.at)
            changes.record(rule.id, _replace(alarm, state=AlarmState.NORMAL, muted=False), "disabled")
            for key, other in changes.places_of(rule.id).items():
                ended = _replace(other, state=AlarmState.NORMAL, mode=None, until=None, mode_by=command.by)
                changes.record(key, ended, "disabled")

    def _start_test(self, changes: _ChangeSet, command: Command) -> None:
        """Only a normal point can be tested: a real alarm is never turned into a test."""
        for rule in self._rules_named_by(command):
            alarm = changes.get(rule.id) or _new_alarm(rule, changes.at)
            is_normal = alarm.state is AlarmState.NORMAL and not changes.places_of(rule.id)
            if is_normal and alarm.mode is None:
                alarm = _with_mode(_replace(alarm, tested=False), AlarmMode.TEST, command, changes.at)
                changes.record(rule.id, alarm, "test-begun")

    def _end_disable_or_test(self, changes: _ChangeSet, command: Command) -> None:
        wanted = AlarmMode.TEST if command.action == "end-test" else AlarmMode.DISABLED
        for rule in self._rules_named_by(command):
            alarm = changes.get(rule.id)
            if alarm is not None and alarm.mode is wanted:
                self._end_mode(changes, rule.id, "", command.by)

    def _end_mode(self, changes: _ChangeSet, key: str, why: str, by: str) -> None:
        """End a mode; if the condition holds by then, the alarm is raised."""
        alarm = changes.get(key)
        if alarm is None or alarm.mode is None:
            return
        change = {AlarmMode.SHELVED: "unshelved", AlarmMode.DISABLED: "enabled"}.get(
            alarm.mode, "test-ended"
        )
        raises = alarm.mode in (AlarmMode.DISABLED, AlarmMode.TEST) and self._evaluator.holds(key)
        ended = _replace(alarm, mode=None, until=None, mode_by=by, why=why, tripping=False)
        changes.record(key, ended, change)
        rule = self._evaluator.rules.get(key)
        if raises and rule is not None:
            self._apply_rule_change(changes, RuleChange(rule, True, alarm.value))
        if alarm.mode in (AlarmMode.DISABLED, AlarmMode.TEST):
            for at_place in self._evaluator.places_holding(key):
                self._apply_rule_change(changes, RuleChange(at_place, True, True))

    def _start_drill(self, changes: _ChangeSet, command: Command) -> None:
        """Raise a practice alarm."""
        hazard = command.args.get("hazard", Hazard.FIRE)
        if hazard not in list(Hazard) or changes.get(f"drill/{hazard}"):
            return
        key = f"drill/{hazard}"
        alarm = Alarm(
            id=_occurrence_id(key, changes.at),
            device=GATEWAY_DEVICE,
            point="drill",
            hazard=Hazard(str(hazard)),
            raised=changes.at,
            value=True,
            mode=AlarmMode.DRILL,
            mode_by=command.by,
            latch=True,
        )
        changes.apply_event(
            key, alarm, AlarmEvent.RAISE, by=command.by, **self._muster_figures(alarm.hazard)
        )


class _ChangeSet:
    """The rows and facts that one message causes."""

    def __init__(self, rows: Rows, at: Stamp) -> None:
        self._old_rows = rows
        self.at = at
        self.rows: RowChanges = {}
        self.facts: list[Fact] = []

    @property
    def alarms(self) -> dict[str, Alarm]:
        """As they were before the message."""
        return dict(self._old_rows)

    @functools.cached_property
    def place_counts(self) -> Counter[str]:
        """How many places of each point have an alarm, by the id of its rule. `record` counts on."""
        places = ((key, row) for key, row in self._old_rows.items() if row.place)
        return Counter(_point_rule_id(key, row) for key, row in places)

    def places_of(self, point_rule_id: str) -> dict[str, Alarm]:
        """The alarms of the places of a point, as they are now."""
        rows = {**self._old_rows, **self.rows}
        return {
            key: alarm
            for key, alarm in rows.items()
            if alarm is not None and alarm.place and _point_rule_id(key, alarm) == point_rule_id
        }

    def get(self, key: str) -> Alarm | None:
        row = self.rows[key] if key in self.rows else self._old_rows.get(key)
        assert row is None or isinstance(row, Alarm)
        return row

    def apply_event(self, key: str, alarm: Alarm, event: AlarmEvent, **more: Any) -> None:
        """Change the state by the table; an event without a transition changes nothing."""
        transition = find_transition(alarm.state, event, alarm.latch)
        if transition is not None:
            self.record(key, _replace(alarm, state=transition.next), transition.change, **more)

    def record(self, key: str, alarm: Alarm, change: str, **more: Any) -> None:
        """Store an alarm as it is now, with a fact of what has changed."""
        is_normal = alarm.state is AlarmState.NORMAL and alarm.mode in (None, AlarmMode.DRILL)
        if alarm.place and self.get(key) is None:
            self.place_counts[_point_rule_id(key, alarm)] += 1
        self.rows[key] = None if is_normal else alarm
        body = {
            "id": alarm.id,
            "change": change,
            "state": alarm.state,
            "point": alarm.point,
            "hazard": alarm.hazard,
            "latch": alarm.latch,
            "value": alarm.value,
            "raised": alarm.raised.wall_ms,
            "by": alarm.mode_by if change in _MODE_CHANGES else alarm.acknowledged_by,
            "mode": alarm.mode or "",
            "why": alarm.why,
            **_place_facts(alarm.place, alarm.where),
            **more,
        }
        self.facts.append(Fact(Lane.ALARM, alarm.device, "alarm", self.at, body))


_MODE_CHANGES = frozenset(
    {"shelved", "unshelved", "disabled", "enabled", "test-begun", "tested", "test-ended", "muted"}
)


def must_acknowledge_first(alarm: Alarm) -> bool:
    """Whether somebody must look after an alarm before it may be shelved."""
    return alarm.hazard in ACKNOWLEDGED_BEFORE_SHELVED and alarm.state in UNACKNOWLEDGED_STATES


def _acknowledge_alarm(changes: _ChangeSet, command: Command) -> None:
    """By alarm id, so that a late click never acknowledges a newer alarm of the same point; or all alarms
    of a device."""
    for key, alarm in _alarms_named_by(changes, command) or _alarms_of_device(changes, command):
        until = _stamp_after(changes.at, MAX_MUTE_S) if alarm.muted else alarm.muted_until
        signed = _replace(alarm, acknowledged_by=command.by, muted_until=until)
        changes.apply_event(key, signed, AlarmEvent.ACKNOWLEDGE)


def _reset_alarm(changes: _ChangeSet, command: Command) -> None:
    """A reset is recorded with the person's name. It ends a drill in any state."""
    for key, alarm in _alarms_named_by(changes, command) or _alarms_of_device(changes, command):
        signed = _replace(alarm, acknowledged_by=command.by)
        if alarm.mode is AlarmMode.DRILL:
            changes.record(key, _replace(signed, state=AlarmState.NORMAL), "closed")
        else:
            changes.apply_event(key, signed, AlarmEvent.RESET)


def _mute_alarms(changes: _ChangeSet, command: Command) -> None:
    """Mute one alarm, or all that sound now; the alarms still stand."""
    alarm_id = command.args.get("alarm")
    for key, alarm in changes.alarms.items():
        if alarm.is_sounding and alarm_id in (None, alarm.id):
            until = _stamp_after(changes.at, RESOUND_S if _must_resound(alarm) else MAX_MUTE_S)
            changes.record(key, _replace(alarm, muted=True, muted_until=until, mode_by=command.by), "muted")


def _must_resound(alarm: Alarm) -> bool:
    is_real = alarm.hazard is not Hazard.FAULT and alarm.mode is not AlarmMode.DRILL
    return is_real and alarm.state in UNACKNOWLEDGED_STATES


def _shelve_alarm(changes: _ChangeSet, command: Command) -> None:
    for key, alarm in _alarms_named_by(changes, command):
        if alarm.is_current and alarm.mode is None and not must_acknowledge_first(alarm):
            changes.record(key, _with_mode(alarm, AlarmMode.SHELVED, command, changes.at), "shelved")


def _unshelve_alarm(changes: _ChangeSet, command: Command) -> None:
    for key, alarm in _alarms_named_by(changes, command):
        if alarm.mode is AlarmMode.SHELVED:
            changes.record(
                key, _replace(alarm, mode=None, until=None, muted=False, mode_by=command.by), "unshelved"
            )


def _alarms_named_by(changes: _ChangeSet, command: Command) -> list[tuple[str, Alarm]]:
    wanted = command.args.get("alarm")
    return [(key, alarm) for key, alarm in changes.alarms.items() if alarm.id == wanted]


def _alarms_of_device(changes: _ChangeSet, command: Command) -> list[tuple[str, Alarm]]:
    """If the command names no alarm, those of its device; with `seen` only those raised until then (Unix
    milliseconds): a late click concerns no newer one."""
    seen = command.args.get("seen", inf)
    if "alarm" in command.args or command.device == GATEWAY_DEVICE or not isinstance(seen, int | float):
        return []
    return [
        (key, alarm)
        for key, alarm in changes.alarms.items()
        if alarm.device == command.device and alarm.is_current and alarm.raised.wall_ms <= seen
    ]


def _with_mode(alarm: Alarm, mode: AlarmMode, command: Command, at: Stamp) -> Alarm:
    requested = command.args.get("seconds")
    max_s = MAX_MODE_S[mode]
    seconds = (
        min(float(requested), max_s) if isinstance(requested, int | float) and requested > 0 else max_s
    )
    return _replace(
        alarm,
        mode=mode,
        until=_stamp_after(at, seconds),
        mode_by=command.by,
        why=str(command.args.get("why", "")),
    )


def _stamp_after(at: Stamp, seconds: float) -> Stamp:
    return _replace(
        at, wall_ms=at.wall_ms + round(seconds * 1e3), mono_ns=at.mono_ns + round(seconds * 1e9)
    )


def _has_passed(deadline: Stamp, now: Stamp) -> bool:
    """Where no clock can tell, protection resumes too early rather than too late."""
    return now.seconds_since(deadline, if_unknown=inf, if_stepped_back=-inf) >= 0


def _new_alarm(rule: Rule, at: Stamp) -> Alarm:
    return Alarm(
        id=_occurrence_id(rule.id, at),
        device=rule.device,
        point=rule.point,
        hazard=rule.hazard,
        place=rule.place,
        where=rule.where,
        raised=at,
        title=rule.title,
        latch=rule.latching,
    )


def _point_rule_id(key: str, alarm: Alarm) -> str:
    """The id of the rule of the whole point, from the key of an alarm."""
    return key.removesuffix(f"/{alarm.place}") if alarm.place else key


def _place_facts(place: str, where: str) -> dict[str, Any]:
    return {"place": place, "where": where} if place else {}


def _occurrence_id(key: str, at: Stamp) -> str:
    return f"{key}/{at.wall_ms:x}"


_replace = msgspec.structs.replace
