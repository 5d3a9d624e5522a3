"""Safety: conditions that endanger people, kept until people have dealt with them.

Alarms are raised by the level of a condition, never by its edge, and survive a restart. A safety device
that falls silent is a fault, never "normal" (GB 16806). The gateway is an auxiliary, not a certified
fire device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from math import inf
from typing import Any

import msgspec

from gateway.model import (
    GATEWAY,
    Adopted,
    AlarmSpec,
    Changes,
    Command,
    Device,
    Fact,
    Hazard,
    Lane,
    Message,
    Rows,
    Sample,
    Service,
    Stamp,
    Tick,
    Value,
)
from gateway.model.hours import Hours

from .machine import Event, State, follow
from .rules import Judge, Local, Rule, Verdict, of_point, of_profile

OWN = ("journal_failing", "journal_damaged", "config_refused", "alarm_undelivered")
HOUR = 3600.0


class Mode(StrEnum):
    """What a person has decided about an alarm, always for a limited time."""

    SHELVED = "shelved"
    """Known and being dealt with: it stands, but makes no sound and wakes nobody."""
    DISABLED = "disabled"
    """Out of service (屏蔽, GB 26875.3 status bit 3): its condition is ignored."""
    TEST = "test"
    """Being tried: its condition is noted as a test, and alarms nobody."""
    DRILL = "drill"
    """Not real: a practice alarm, begun by a person."""


QUIET = 7 * HOUR
"""Seconds after which what was muted and still stands sounds again (GB 20517-2025, 5.11: (7 ± 1) h)."""
LONGEST = {Mode.SHELVED: 8 * HOUR, Mode.DISABLED: 24 * HOUR, Mode.TEST: 2 * HOUR}
"""Seconds after which protection is back, whatever was asked for."""


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm; its key is its rule's id, or `drill/hazard`. A point without a row is normal."""

    id: str
    device: str
    point: str
    hazard: Hazard
    state: State = State.NORMAL
    raised: Stamp
    value: Value = False
    title: dict[str, str] = {}
    latch: bool = False
    acknowledged_by: str = ""
    muted: bool = False
    """Its sound is off; a new alarm sounds again (GB 20517-2025, 5.11)."""
    muted_until: Stamp | None = None
    mode: Mode | None = None
    until: Stamp | None = None
    """When the mode ends."""
    mode_by: str = ""
    why: str = ""
    tested: bool = False
    """Its condition was seen to hold while it was in test."""

    @property
    def stands(self) -> bool:
        """Whether it is an alarm that people must deal with now."""
        return self.state is not State.NORMAL and self.mode not in (Mode.SHELVED, Mode.DISABLED, Mode.TEST)

    @property
    def sounds(self) -> bool:
        """Whether it asks for a siren."""
        return self.stands and self.state is not State.LATCHED and not self.muted


class Safety(Service):
    """Raises alarms by rules, and moves them by the table in `machine`.

    `people_inside` is the figure, `service.figure`, that says how many people must be found when a fire
    alarm is raised.
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
        local: Local = lambda _: None,
        opening: Hours | None = None,
        people_inside: str = "",
    ) -> None:
        own = (of_point(GATEWAY, point, AlarmSpec(hazard=Hazard.FAULT)) for point in OWN)
        profiles = (rule for device in devices.values() for rule in of_profile(device, opening))
        self._judge = Judge([*own, *profiles, *rules], local)
        self._inside: Value | None = None
        self._counter, _, self._count = people_inside.partition(".")
        self._commands: dict[str, Callable[[_Step, Command], None]] = {
            "acknowledge": _acknowledge,
            "reset": _reset,
            "mute": _mute,
            "shelve": _shelve,
            "unshelve": _unshelve,
            "disable": self._disable,
            "enable": self._enable,
            "test": self._test,
            "end-test": self._enable,
            "drill": self._drill,
        }

    @property
    def rules(self) -> Mapping[str, Rule]:
        """Every rule by its id."""
        return self._judge.rules

    def apply(self, rows: Rows, message: Message) -> tuple[Changes, list[Fact]]:
        step = _Step(rows, message.at)
        if isinstance(message, Sample):
            if message.device == self._counter:
                self._inside = message.values.get(self._count)
            for verdict in self._judge.read(message):
                self._obey(step, verdict)
        elif isinstance(message, Tick):
            for verdict in self._judge.look(message.at):
                self._obey(step, verdict)
            for key, alarm in rows.items():
                if alarm.until is not None and _over(alarm.until, message.at):
                    self._restore_mode(step, key, "expired", "")
                if alarm.muted and (alarm.muted_until is None or _over(alarm.muted_until, message.at)):
                    step.say(key, _replace(step.get(key) or alarm, muted=False), "unmuted")
        elif isinstance(message, Adopted):
            self._adopt(step)
        elif isinstance(message, Command) and message.action in self._commands:
            self._commands[message.action](step, message)
        return step.changes, step.facts

    def restore(self, rows: Rows) -> Rows:
        """Alarms survive a restart as they stood."""
        self._begin(rows)
        return rows

    def summary(self, rows: Rows) -> dict[str, Value]:
        alarms: list[Alarm] = list(rows.values())
        unseen = (State.ACTIVE, State.CLEARED)
        return {
            "alarms": sum(alarm.stands for alarm in alarms),
            "unacknowledged": sum(alarm.stands and alarm.state in unseen for alarm in alarms),
            "shelved": sum(alarm.mode is Mode.SHELVED for alarm in alarms),
            "disabled": sum(alarm.mode is Mode.DISABLED for alarm in alarms),
            "test": sum(alarm.mode is Mode.TEST for alarm in alarms),
        }

    def _begin(self, rows: Rows) -> None:
        standing = (State.ACTIVE, State.ACKNOWLEDGED)
        self._judge.begin(key for key, alarm in rows.items() if alarm.state in standing)

    def _adopt(self, step: _Step) -> None:
        """Another configuration holds. Nothing will ever clear the alarm of a rule that is gone."""
        self._begin(step.alarms)
        for key, alarm in step.alarms.items():
            if key not in self._judge.rules and alarm.mode is not Mode.DRILL:
                step.say(key, _replace(alarm, state=State.NORMAL, mode=None, until=None), "removed")

    def _obey(self, step: _Step, verdict: Verdict) -> None:
        """Let a verdict move its alarm."""
        rule = verdict.rule
        old = step.get(rule.id)
        mode = old.mode if old else None
        if mode is Mode.DISABLED:
            return
        if mode is Mode.TEST:
            assert old is not None
            if verdict.holds:
                step.say(rule.id, _replace(old, tested=True, value=verdict.value), "tested")
            return
        alarm = old or _new(rule, step.at)
        if verdict.holds and alarm.state in (State.NORMAL, State.LATCHED):
            # A new occurrence has an id of its own: a late click must not acknowledge it.
            alarm = _replace(alarm, id=_id(rule.id, step.at), raised=step.at, acknowledged_by="")
        more: dict[str, Any] = {}
        if verdict.holds:
            alarm = _replace(alarm, value=verdict.value, muted=False)
            more = self._to_find(rule.hazard)
        step.move(rule.id, alarm, Event.RAISE if verdict.holds else Event.CLEAR, **more)

    def _to_find(self, hazard: Hazard) -> dict[str, Any]:
        """How many people must be found."""
        return {"inside": self._inside} if hazard is Hazard.FIRE and self._inside is not None else {}

    def _of(self, command: Command) -> list[Rule]:
        """The rules that a command for a device, or one point of it, is about."""
        point = command.args.get("point")
        return [
            rule
            for rule in self._judge.rules.values()
            if rule.device == command.device and point in (None, rule.point)
        ]

    def _disable(self, step: _Step, command: Command) -> None:
        for rule in self._of(command):
            alarm = step.get(rule.id) or _new(rule, step.at)
            alarm = _with_mode(alarm, Mode.DISABLED, command, step.at)
            step.say(rule.id, _replace(alarm, state=State.NORMAL, muted=False), "disabled")

    def _test(self, step: _Step, command: Command) -> None:
        """Only what is quiet can be tried: a real alarm is never turned into a test."""
        for rule in self._of(command):
            alarm = step.get(rule.id) or _new(rule, step.at)
            if alarm.state is State.NORMAL and alarm.mode is None:
                alarm = _with_mode(_replace(alarm, tested=False), Mode.TEST, command, step.at)
                step.say(rule.id, alarm, "test-begun")

    def _enable(self, step: _Step, command: Command) -> None:
        wanted = Mode.TEST if command.action == "end-test" else Mode.DISABLED
        for rule in self._of(command):
            alarm = step.get(rule.id)
            if alarm is not None and alarm.mode is wanted:
                self._restore_mode(step, rule.id, "", command.by)

    def _restore_mode(self, step: _Step, key: str, why: str, by: str) -> None:
        """A mode ends: what holds by now is an alarm."""
        alarm = step.get(key)
        if alarm is None or alarm.mode is None:
            return
        change = {Mode.SHELVED: "unshelved", Mode.DISABLED: "enabled"}.get(alarm.mode, "test-ended")
        again = alarm.mode in (Mode.DISABLED, Mode.TEST) and self._judge.holds(key)
        step.say(key, _replace(alarm, mode=None, until=None, mode_by=by, why=why), change)
        rule = self._judge.rules.get(key)
        if again and rule is not None:
            self._obey(step, Verdict(rule, True, alarm.value))

    def _drill(self, step: _Step, command: Command) -> None:
        """A practice alarm: everything that says so takes part in it."""
        hazard = command.args.get("hazard", Hazard.FIRE)
        if hazard not in list(Hazard) or step.get(f"drill/{hazard}"):
            return
        key = f"drill/{hazard}"
        alarm = Alarm(
            id=_id(key, step.at),
            device=GATEWAY,
            point="drill",
            hazard=Hazard(str(hazard)),
            raised=step.at,
            value=True,
            mode=Mode.DRILL,
            mode_by=command.by,
            latch=True,
        )
        step.move(key, alarm, Event.RAISE, by=command.by, **self._to_find(alarm.hazard))


class _Step:
    """What one message changes."""

    def __init__(self, rows: Rows, at: Stamp) -> None:
        self._rows = rows
        self.at = at
        self.changes: Changes = {}
        self.facts: list[Fact] = []

    @property
    def alarms(self) -> dict[str, Alarm]:
        return dict(self._rows)

    def get(self, key: str) -> Alarm | None:
        row = self.changes[key] if key in self.changes else self._rows.get(key)
        assert row is None or isinstance(row, Alarm)
        return row

    def move(self, key: str, alarm: Alarm, event: Event, **more: Any) -> None:
        """Follow the table; an event without an arrow changes nothing."""
        arrow = follow(alarm.state, event, alarm.latch)
        if arrow is not None:
            self.say(key, _replace(alarm, state=arrow.next), arrow.change, **more)

    def say(self, key: str, alarm: Alarm, change: str, **more: Any) -> None:
        """Keep an alarm as it is now, and record what has changed."""
        idle = alarm.state is State.NORMAL and alarm.mode in (None, Mode.DRILL)
        self.changes[key] = None if idle else alarm
        body = {
            "id": alarm.id,
            "change": change,
            "state": alarm.state,
            "point": alarm.point,
            "hazard": alarm.hazard,
            "latch": alarm.latch,
            "value": alarm.value,
            "raised": alarm.raised.wall,
            "by": alarm.mode_by if change in _MODE_CHANGES else alarm.acknowledged_by,
            "mode": alarm.mode or "",
            "why": alarm.why,
            **more,
        }
        self.facts.append(Fact(Lane.ALARM, alarm.device, "alarm", self.at, body))


_MODE_CHANGES = frozenset(
    {"shelved", "unshelved", "disabled", "enabled", "test-begun", "tested", "test-ended", "muted"}
)


def _acknowledge(step: _Step, command: Command) -> None:
    """By alarm id, so that a late click never acknowledges a newer alarm of the same point."""
    for key, alarm in _named(step, command):
        step.move(key, _replace(alarm, acknowledged_by=command.by), Event.ACKNOWLEDGE)


def _reset(step: _Step, command: Command) -> None:
    """A logged act by a named person. A drill ends with it, whatever its state."""
    for key, alarm in _named(step, command):
        by = _replace(alarm, acknowledged_by=command.by)
        if alarm.mode is Mode.DRILL:
            step.say(key, _replace(by, state=State.NORMAL), "closed")
        else:
            step.move(key, by, Event.RESET)


def _mute(step: _Step, command: Command) -> None:
    """Silence what sounds now, or one alarm of it; the alarms stand."""
    alarm_id = command.args.get("alarm")
    for key, alarm in step.alarms.items():
        if alarm.sounds and alarm_id in (None, alarm.id):
            until = _later(step.at, QUIET)
            step.say(key, _replace(alarm, muted=True, muted_until=until, mode_by=command.by), "muted")


def _shelve(step: _Step, command: Command) -> None:
    for key, alarm in _named(step, command):
        if alarm.stands and alarm.mode is None:
            step.say(key, _with_mode(alarm, Mode.SHELVED, command, step.at), "shelved")


def _unshelve(step: _Step, command: Command) -> None:
    for key, alarm in _named(step, command):
        if alarm.mode is Mode.SHELVED:
            step.say(
                key, _replace(alarm, mode=None, until=None, muted=False, mode_by=command.by), "unshelved"
            )


def _named(step: _Step, command: Command) -> list[tuple[str, Alarm]]:
    wanted = command.args.get("alarm")
    return [(key, alarm) for key, alarm in step.alarms.items() if alarm.id == wanted]


def _with_mode(alarm: Alarm, mode: Mode, command: Command, at: Stamp) -> Alarm:
    asked = command.args.get("seconds")
    most = LONGEST[mode]
    seconds = min(float(asked), most) if isinstance(asked, int | float) and asked > 0 else most
    return _replace(
        alarm,
        mode=mode,
        until=_later(at, seconds),
        mode_by=command.by,
        why=str(command.args.get("why", "")),
    )


def _later(at: Stamp, seconds: float) -> Stamp:
    return _replace(at, wall=at.wall + round(seconds * 1e3), mono=at.mono + round(seconds * 1e9))


def _over(until: Stamp, now: Stamp) -> bool:
    """Where no clock can tell, protection resumes too early rather than too late."""
    return now.seconds_since(until, unknown=inf, stepped_back=-inf) >= 0


def _new(rule: Rule, at: Stamp) -> Alarm:
    return Alarm(
        id=_id(rule.id, at),
        device=rule.device,
        point=rule.point,
        hazard=rule.hazard,
        raised=at,
        title=rule.title,
        latch=rule.latch,
    )


def _id(key: str, at: Stamp) -> str:
    return f"{key}/{at.wall:x}"


_replace = msgspec.structs.replace
