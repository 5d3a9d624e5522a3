"""The view of safety. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import inf
from typing import Any

import msgspec

from gateway.capabilities.safety.services.alarms import (
    LINK_POINT,
    OUTPUTS_DEVICE,
    UNACKNOWLEDGED_STATES,
    Alarm,
    AlarmMode,
    AlarmState,
    Output,
    Safety,
    alarms_requiring,
    must_acknowledge_first,
)
from gateway.capabilities.safety.services.batteries import LOW_DAYS_LEFT, Batteries, Battery
from gateway.capabilities.safety.services.emergency_plans import (
    EmergencyCase,
    EmergencyPlan,
    EmergencyPlans,
    LoggedAction,
    find_case,
)
from gateway.capabilities.safety.services.findings import HOUR_S, Finding, Findings
from gateway.capabilities.safety.services.patrols import Patrol, PatrolRound, Patrols
from gateway.capabilities.safety.services.supervision import Sensor, Supervision
from gateway.model import Hazard, Record, Sentence, Stamp, Value
from gateway.web.part import PartInput
from gateway.web.view import DeviceAnnotation, DeviceCondition, Reminder, Severity, wall_ms, worst

from .settings import SafetySettings

MAX_ENDED = 3
"""Alarms that just ended and are shown."""
ENDED_SHOWN_S = 300.0
"""How long the end of an alarm is shown (GB 26875.1-2011, 4.1.2: at least five minutes)."""

CURRENT_CONDITIONS = (DeviceCondition.GOOD, DeviceCondition.UNCERTAIN)
"""The conditions of a device whose reading is of now."""

DANGERS = frozenset({Hazard.FIRE, Hazard.GAS, Hazard.ELECTRICAL, Hazard.SOS, Hazard.EXIT, Hazard.CROWD})
"""Hazards to people, shown in red; the others are faults and supervisory signals, shown in yellow."""

MAX_REDUCED_NAMES = 4
"""Places of one line about reduced protection that are named; the others are counted."""

HAZARDS_WITHOUT_DRILL = (Hazard.FAULT, Hazard.TAMPER)


class PlanStepRow(msgspec.Struct, frozen=True):
    """One step of an emergency plan, and who marked it as done, and when; `by` is empty before that."""

    key: str
    by: str = ""
    at: int | None = None


class CaseRow(msgspec.Struct, frozen=True):
    """The progress of an emergency plan."""

    steps: tuple[PlanStepRow, ...]
    found: int | None
    by: str
    """The person who counted."""
    at: int | None

    @property
    def done(self) -> int:
        return sum(bool(step.by) for step in self.steps)


class AlarmRow(msgspec.Struct, frozen=True):
    """One alarm that is not over, or one drill."""

    id: str
    device: str
    title: dict[str, str]
    hazard: Hazard
    state: AlarmState
    point: str
    value: Value
    unit: str
    raised: int | None
    by: str
    rule: dict[str, str] = {}
    """The title of the site's rule that has raised it, by language; empty for a point's own alarm."""
    drill: bool = False
    sounds: bool = False
    muted_by: str = ""
    inside: int | None = None
    """On a fire alarm, the number of people to be found."""
    case: CaseRow | None = None
    """The plan, shown with the first of the alarms that it covers."""
    output: str = ""
    """The output that has failed to confirm."""
    place: str = ""
    where: str = ""
    """The place behind the device: its address, and its name for people."""
    numbered_point: str = ""
    """The point, where the device has several of its kind (`gas.3`)."""
    reason: Sentence | None = None
    """Why its device is offline now, with the facts; None if that is not known."""
    acknowledge_first: bool = False
    """It must be acknowledged before it can be shelved."""
    is_first_fire: bool = False
    """The earliest of several fires: where it began. Fire panels keep it in sight, too."""

    @property
    def severity(self) -> Severity:
        return severity_of(self.hazard)


class DeviceAlarms(msgspec.Struct, frozen=True):
    """The alarms of the places behind one device, to be acknowledged or reset together."""

    device: str
    title: dict[str, str]
    unacknowledged: int
    latched: int
    seen: int
    """When the newest of them was raised, Unix milliseconds by the clock of then."""


class EndedRow(msgspec.Struct, frozen=True):
    """One alarm that ended recently."""

    id: str
    name: str
    title: dict[str, str]
    hazard: Hazard
    rule: dict[str, str]
    at: int | None
    place: str
    where: str
    numbered_point: str


class OutOfServiceRow(msgspec.Struct, frozen=True):
    """Something out of service: a shelved `alarm`, or a device with the hazards that it does not detect
    meanwhile."""

    mode: AlarmMode
    device: str
    title: dict[str, str]
    hazards: tuple[Hazard, ...]
    rule: dict[str, str]
    alarm: str
    by: str
    why: str
    until: int | None
    place: str = ""
    where: str = ""
    numbered_point: str = ""
    tripping: bool = False
    """In test, and its condition holds now."""


class ReducedProtection(msgspec.Struct, frozen=True):
    """What one person took out of service in one act: the rows, of which the first few are named."""

    mode: AlarmMode
    by: str
    why: str
    until: int | None
    named: tuple[OutOfServiceRow, ...]
    more: int


class OutputRow(msgspec.Struct, frozen=True):
    """One siren, valve or door: `on`, `off`, `unknown`, `waiting` to go on, or `failed` to confirm; `why`
    are the alarms that require it."""

    name: str
    title: dict[str, str]
    device: str
    action: str
    """The action of the device that switches it on."""
    state: str
    sound: bool
    why: tuple[AlarmRow, ...]


class DetectorRow(msgspec.Struct, frozen=True):
    """One point of the walk test. `tested` is when it last worked; in test mode, `ticked` is when its
    button was pressed."""

    device: str
    title: dict[str, str]
    point: str
    tested: int | None = None
    by: str = ""
    due: bool = False
    trial: bool = False
    ticked: int | None = None
    tripping: bool = False
    """In test, and its condition holds now."""


class BatteryRow(msgspec.Struct, frozen=True):
    """A battery that is running low."""

    device: str
    title: dict[str, str]
    level: float
    unit: str
    days_left: float


class PatrolRoundRow(msgspec.Struct, frozen=True):
    """The current round of a patrol: who was at which checkpoint, and when."""

    open: bool
    done: bool
    missed: bool
    visits: dict[str, tuple[str, int | None]]


class FindingRow(msgspec.Struct, frozen=True):
    """An open finding, and its deadline."""

    id: str
    where: str
    what: str
    severity: str
    by: str
    at: int | None
    until: int | None
    overdue: bool


class SafetyAnnotation(DeviceAnnotation, frozen=True):
    """Safety's annotation of a device's row."""

    hazards: tuple[Hazard, ...] = ()
    """The hazards of its alarms that have not ended; such a device is never shown as simply good."""
    modes: tuple[AlarmMode, ...] = ()
    """The modes that it is in."""
    tripping: bool = False
    """It is in test, and trips now."""


class SafetyView(msgspec.Struct, frozen=True):
    """Alarms, and the work about them."""

    alarms: tuple[AlarmRow, ...]
    ended: tuple[EndedRow, ...]
    groups: tuple[DeviceAlarms, ...] = ()
    """Devices with alarms of several places."""
    drills: tuple[AlarmRow, ...] = ()
    """Drills, which are never among `alarms`."""
    out: tuple[OutOfServiceRow, ...] = ()
    reduced: tuple[ReducedProtection, ...] = ()
    """The same, in one line an act."""
    outputs: tuple[OutputRow, ...] = ()
    detectors: tuple[DetectorRow, ...] = ()
    batteries: tuple[BatteryRow, ...] = ()
    """Low batteries, the lowest first."""
    rounds: dict[str, PatrolRoundRow] = {}
    findings: tuple[FindingRow, ...] = ()
    """Open findings, the earliest deadline first."""
    plans: Mapping[Hazard, EmergencyPlan] = {}
    patrols: Mapping[str, Patrol] = {}
    severities: tuple[str, ...] = ()
    """The severities of findings."""
    is_monitored: bool = True
    """Whether there is any safety device, or a rule."""
    blind: int = 0
    """Safety devices without a current reading: whether they would raise an alarm is not known."""

    @property
    def unacknowledged(self) -> int:
        return sum(alarm.state in UNACKNOWLEDGED_STATES for alarm in self.alarms)

    @property
    def severity(self) -> Severity:
        """That of the alarm panel: the worst that nobody has acknowledged, or else of all."""
        unacknowledged = [alarm for alarm in self.alarms if alarm.state in UNACKNOWLEDGED_STATES]
        return worst(alarm.severity for alarm in unacknowledged or self.alarms)

    @property
    def hazard_counts(self) -> dict[Hazard, int]:
        """How many alarms there are by hazard, the most urgent first."""
        hazards = [alarm.hazard for alarm in self.alarms]
        return {hazard: hazards.count(hazard) for hazard in Hazard if hazard in hazards}

    @property
    def takeover(self) -> tuple[AlarmRow, ...]:
        """What the wall shows instead of all else: alarms if one is a danger, else drills; the first is
        shown large."""
        dangers = tuple(alarm for alarm in self.alarms if alarm.severity is Severity.DANGER)
        others = tuple(alarm for alarm in self.alarms if alarm.severity is not Severity.DANGER)
        return (*dangers, *others) if dangers else self.drills

    @property
    def tripping(self) -> tuple[DetectorRow, ...]:
        """Points in test whose condition holds now."""
        return tuple(detector for detector in self.detectors if detector.tripping)

    @property
    def sounding(self) -> bool:
        """Whether any alarm is sounding."""
        return any(alarm.sounds for alarm in (*self.alarms, *self.drills))

    @property
    def drill_hazards(self) -> tuple[Hazard, ...]:
        """The hazards that a drill can be started for."""
        running = {drill.hazard for drill in self.drills}
        return tuple(
            hazard for hazard in Hazard if hazard not in running and hazard not in HAZARDS_WITHOUT_DRILL
        )

    @property
    def out_counts(self) -> dict[AlarmMode, int]:
        """The number of rows of `out` by mode."""
        modes = [row.mode for row in self.out]
        return {mode: modes.count(mode) for mode in modes}


def severity_of(hazard: Hazard) -> Severity:
    return Severity.DANGER if hazard in DANGERS else Severity.FAULT


def safety_view(settings: SafetySettings, part_input: PartInput) -> SafetyView:
    """The view of the services' rows."""
    now = part_input.now
    alarms: Mapping[str, Alarm] = part_input.rows(Safety)
    standing = _alarm_rows(settings, part_input)
    supervision: Mapping[str, Sensor] = part_input.rows(Supervision)
    output_states = part_input.snapshot.samples.get(OUTPUTS_DEVICE)
    out = _out_of_service_rows(part_input)
    tripping = {(alarm.device, alarm.point) for alarm in alarms.values() if alarm.tripping}
    return SafetyView(
        alarms=tuple(alarm for alarm in standing if not alarm.drill),
        ended=_ended_rows(part_input),
        groups=_device_alarms(part_input),
        drills=tuple(alarm for alarm in standing if alarm.drill),
        out=out,
        reduced=_reduced_protection(out),
        outputs=tuple(
            _output_row(name, output, part_input.title_of(output.device), alarms, standing, output_states)
            for name, output in settings.outputs.items()
        ),
        detectors=tuple(
            _detector_row(device, part_input.title_of(device), point, supervision, tripping, now)
            for device in part_input.device_infos
            for point in settings.tested_points.get(device, ())
        ),
        batteries=_battery_rows(part_input),
        rounds={name: _round_row(row, now) for name, row in part_input.rows(Patrols).items()},
        findings=_finding_rows(part_input.rows(Findings), now),
        plans=settings.plans,
        patrols=settings.patrols,
        severities=tuple(settings.finding_hours),
        is_monitored=any(device.is_safety_device for device in part_input.devices)
        or bool(settings.log.rules),
        blind=sum(
            device.is_safety_device and device.condition not in CURRENT_CONDITIONS
            for device in part_input.devices
        ),
    )


def annotate(part: SafetyView, device: str) -> SafetyAnnotation:
    """The annotation of that device's row."""
    hazards = (
        alarm.hazard for alarm in part.alarms if alarm.device == device and alarm.point != LINK_POINT
    )
    modes = tuple(dict.fromkeys(row.mode for row in part.out if row.device == device))
    found = tuple(dict.fromkeys(hazards))
    return SafetyAnnotation(
        severity=worst(map(severity_of, found)),
        is_out_of_service=bool(modes),
        hazards=found,
        modes=modes,
        tripping=any(row.device == device and row.tripping for row in part.out),
    )


def reminders(part: SafetyView) -> Iterable[Reminder]:
    """What needs attention. Disabled and tested devices are also in the header of every page."""
    overdue = sum(finding.overdue for finding in part.findings)
    counts = (
        ("shelved", part.out_counts.get(AlarmMode.SHELVED, 0), "/safety#out"),
        ("outputs", sum(row.state == "failed" for row in part.outputs), "/safety#outputs"),
        ("overdue", overdue, "/safety#hazards"),
        ("hazards", len(part.findings) - overdue, "/safety#hazards"),
        ("missed", sum(each.missed for each in part.rounds.values()), "/safety#patrols"),
        ("due", sum(detector.due for detector in part.detectors), "/walk-test"),
        ("batteries", len(part.batteries), "/safety#duties"),
    )
    return [Reminder(f"dashboard.remind-{key}", count, link, order=10) for key, count, link in counts]


def _alarm_rows(settings: SafetySettings, part_input: PartInput) -> tuple[AlarmRow, ...]:
    """Unacknowledged first, then the most urgent hazard, then the newest."""
    rows: Mapping[str, Alarm] = part_input.rows(Safety)
    cases: Mapping[str, EmergencyCase] = part_input.rows(EmergencyPlans)
    hazards = list(Hazard)
    alarms = sorted(
        (alarm for alarm in rows.values() if alarm.is_current),
        key=lambda alarm: (
            alarm.state not in UNACKNOWLEDGED_STATES,
            hazards.index(alarm.hazard),
            -alarm.raised.wall_ms,
        ),
    )
    fires = [each for each in alarms if each.hazard is Hazard.FIRE and each.mode is not AlarmMode.DRILL]
    first_fire = min(fires, key=lambda each: each.raised.wall_ms) if len(fires) > 1 else None
    shown_cases: set[str] = set()
    reasons = {device.name: device.reason for device in part_input.devices}

    def row(alarm: Alarm) -> AlarmRow:
        is_output = alarm.device == OUTPUTS_DEVICE
        output = settings.outputs.get(alarm.point.removesuffix(".failed")) if is_output else None
        info = part_input.device_infos.get(output.device if output else alarm.device)
        key, case = find_case(cases, alarm.id) or ("", None)
        is_first = key not in shown_cases
        shown_cases.add(key)
        inside = (
            case.inside
            if case and case.inside is not None
            else part_input.figures.get(settings.people_inside)
        )
        return AlarmRow(
            id=alarm.id,
            device=alarm.device,
            title=info.title if info else {},
            hazard=alarm.hazard,
            state=alarm.state,
            point=alarm.point,
            value=alarm.value,
            unit=info.units.get(settings.rule_points.get(alarm.point, alarm.point), "") if info else "",
            raised=wall_ms(alarm.raised, part_input.now),
            by=alarm.acknowledged_by,
            rule=alarm.title,
            drill=alarm.mode is AlarmMode.DRILL,
            sounds=alarm.is_sounding,
            muted_by=alarm.mode_by if alarm.muted else "",
            inside=inside if alarm.hazard is Hazard.FIRE else None,
            case=_case_row(case, part_input.now) if case and is_first else None,
            output=alarm.point.removesuffix(".failed") if output else "",
            place=alarm.place,
            where=alarm.where,
            numbered_point=_numbered_point(alarm.point),
            reason=reasons.get(alarm.device),
            acknowledge_first=must_acknowledge_first(alarm),
            is_first_fire=alarm is first_fire,
        )

    return tuple(row(alarm) for alarm in alarms)


def _device_alarms(part_input: PartInput) -> tuple[DeviceAlarms, ...]:
    rows: Mapping[str, Alarm] = part_input.rows(Safety)
    of_device: dict[str, list[Alarm]] = {}
    for alarm in rows.values():
        if alarm.is_current and alarm.device in part_input.device_infos:
            of_device.setdefault(alarm.device, []).append(alarm)
    return tuple(
        DeviceAlarms(
            device=device,
            title=part_input.title_of(device),
            unacknowledged=sum(alarm.state in UNACKNOWLEDGED_STATES for alarm in alarms),
            latched=sum(alarm.state is AlarmState.LATCHED for alarm in alarms),
            seen=max(alarm.raised.wall_ms for alarm in alarms),
        )
        for device, alarms in of_device.items()
        if sum(alarm.place != "" for alarm in alarms) > 1
    )


def _ended_rows(part_input: PartInput) -> tuple[EndedRow, ...]:
    """Newest first, a point once."""
    now = part_input.now
    removed: tuple[tuple[Alarm, Stamp], ...] = part_input.snapshot.removed.get(Safety.name, ())
    rows = {
        (alarm.device, alarm.point, alarm.place): EndedRow(
            id=alarm.id,
            name=alarm.device,
            title=part_input.title_of(alarm.device),
            hazard=alarm.hazard,
            rule=alarm.title,
            at=wall_ms(at, now),
            place=alarm.place,
            where=alarm.where,
            numbered_point=_numbered_point(alarm.point),
        )
        for alarm, at in sorted(removed, key=lambda each: each[1].mono_ns)
        if alarm.is_current
        and alarm.mode is not AlarmMode.DRILL
        and now.seconds_since(at, if_unknown=inf) < ENDED_SHOWN_S
    }
    newest_first = sorted(rows.values(), key=lambda row: -(row.at or 0))
    return tuple(newest_first[:MAX_ENDED])


def _numbered_point(point: str) -> str:
    return point if point.rpartition(".")[2].isdigit() else ""


def _case_row(case: EmergencyCase, now: Stamp) -> CaseRow:
    def step(key: str) -> PlanStepRow:
        action: LoggedAction | None = case.done.get(key)
        return PlanStepRow(key, action.by, wall_ms(action.at, now)) if action else PlanStepRow(key)

    muster = case.muster
    return CaseRow(
        steps=tuple(step(key) for key in case.steps),
        found=muster.found if muster else None,
        by=muster.by if muster else "",
        at=wall_ms(muster.at, now) if muster else None,
    )


def _out_of_service_rows(part_input: PartInput) -> tuple[OutOfServiceRow, ...]:
    """One row for a device with all its hazards, as it is disabled and enabled as a whole."""
    found: dict[tuple[object, ...], OutOfServiceRow] = {}
    rows: Mapping[str, Alarm] = part_input.rows(Safety)
    for alarm in rows.values():
        if alarm.mode is None or alarm.mode is AlarmMode.DRILL:
            continue
        until = wall_ms(alarm.until, part_input.now) if alarm.until else None
        shelved = alarm.mode is AlarmMode.SHELVED
        key = alarm.mode, alarm.device, alarm.id if shelved else "", alarm.mode_by, alarm.why
        old = found.get(key)
        found[key] = OutOfServiceRow(
            mode=alarm.mode,
            device=alarm.device,
            title=part_input.title_of(alarm.device),
            hazards=tuple(dict.fromkeys((*(old.hazards if old else ()), alarm.hazard))),
            rule=alarm.title if shelved else {},
            alarm=alarm.id if shelved else "",
            by=alarm.mode_by,
            why=alarm.why,
            until=until,
            place=alarm.place if shelved else "",
            where=alarm.where if shelved else "",
            numbered_point=_numbered_point(alarm.point) if shelved else "",
            tripping=alarm.tripping or (old is not None and old.tripping),
        )
    order = (AlarmMode.DISABLED, AlarmMode.SHELVED, AlarmMode.TEST)
    return tuple(sorted(found.values(), key=lambda row: (order.index(row.mode), row.until or 0)))


def _reduced_protection(out: Iterable[OutOfServiceRow]) -> tuple[ReducedProtection, ...]:
    acts: dict[tuple[object, ...], list[OutOfServiceRow]] = {}
    for row in out:
        acts.setdefault((row.mode, row.by, row.why, row.until), []).append(row)
    return tuple(
        ReducedProtection(
            mode=rows[0].mode,
            by=rows[0].by,
            why=rows[0].why,
            until=rows[0].until,
            named=tuple(rows[:MAX_REDUCED_NAMES]),
            more=len(rows[MAX_REDUCED_NAMES:]),
        )
        for rows in acts.values()
    )


def _output_row(
    name: str,
    output: Output,
    title: dict[str, str],
    rows: Mapping[str, Alarm],
    alarms: Iterable[AlarmRow],
    states: Record | None,
) -> OutputRow:
    """The state that it last confirmed; a missing confirmation is an alarm of its own."""
    asking_alarms = {alarm.id for alarm in alarms_requiring(output, rows.values())}
    fault = rows.get(f"{OUTPUTS_DEVICE}/{name}.failed")
    failed = fault is not None and fault.state in (AlarmState.ACTIVE, AlarmState.ACKNOWLEDGED)
    confirmed: Any = states.body["values"].get(name) if states else None
    waiting = bool(asking_alarms) and confirmed is not True
    state = "waiting" if waiting else {True: "on", False: "off"}.get(confirmed, "unknown")
    return OutputRow(
        name=name,
        title=title,
        device=output.device,
        action=output.on,
        state="failed" if failed else state,
        sound=output.sound,
        why=tuple(alarm for alarm in alarms if alarm.id in asking_alarms),
    )


def _detector_row(
    device: str,
    title: dict[str, str],
    point: str,
    rows: Mapping[str, Sensor],
    tripping: Collection[tuple[str, str]],
    now: Stamp,
) -> DetectorRow:
    row = rows.get(f"{device}/{point}")
    if row is None:
        return DetectorRow(device, title, point)
    ticked = row.trial.ticked if row.trial else None
    return DetectorRow(
        device,
        title,
        point,
        tested=wall_ms(row.tested, now) if row.tested else None,
        by=row.tested_by,
        due=row.due,
        trial=row.trial is not None,
        ticked=wall_ms(ticked, now) if ticked else None,
        tripping=(device, point) in tripping,
    )


def _battery_rows(part_input: PartInput) -> tuple[BatteryRow, ...]:
    batteries: Mapping[str, Battery] = part_input.rows(Batteries)
    rows = (
        BatteryRow(name, part_input.title_of(name), row.level, row.unit, row.left)
        for name, row in batteries.items()
        if name in part_input.device_infos and row.left is not None and row.left <= LOW_DAYS_LEFT
    )
    return tuple(sorted(rows, key=lambda row: row.days_left))


def _round_row(row: PatrolRound, now: Stamp) -> PatrolRoundRow:
    visits = {name: (visit.by, wall_ms(visit.at, now)) for name, visit in row.visits.items()}
    return PatrolRoundRow(open=bool(row.round), done=row.done, missed=row.missed, visits=visits)


def _finding_rows(rows: Mapping[str, Finding], now: Stamp) -> tuple[FindingRow, ...]:
    found = []
    for key, row in rows.items():
        at = wall_ms(row.at, now)
        until = None if at is None else at + round(row.hours * HOUR_S * 1000)
        found.append(FindingRow(key, row.where, row.what, row.severity, row.by, at, until, row.overdue))
    return tuple(sorted(found, key=lambda row: row.until or 0))
