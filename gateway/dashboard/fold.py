"""From what was read to the `View`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from math import inf
from typing import Any
from zoneinfo import ZoneInfo

from gateway.capabilities.needs.services import Needs
from gateway.capabilities.parcels.services import KIND as LOCKER
from gateway.capabilities.parcels.services import Compartment, Lockers
from gateway.capabilities.parking.services import Parking
from gateway.capabilities.safety.services.alarms import (
    LINK_POINT,
    OUTPUTS_DEVICE,
    Alarm,
    Mode,
    Output,
    Safety,
    State,
    alarms_requiring,
)
from gateway.capabilities.safety.services.batteries import LOW_DAYS_LEFT, Batteries
from gateway.capabilities.safety.services.emergency_plans import (
    EmergencyCase,
    EmergencyPlans,
    LoggedAction,
    find_case,
)
from gateway.capabilities.safety.services.findings import HOUR_S, Finding, Findings
from gateway.capabilities.safety.services.patrols import PatrolRound, Patrols
from gateway.capabilities.safety.services.supervision import Sensor, Supervision
from gateway.capabilities.safety.site import Duties
from gateway.capabilities.visitors.services import DAY, Day, Layout, Visitors
from gateway.capabilities.visitors.services import KIND as COUNTER
from gateway.model import GATEWAY, Hazard, Quality, Record, Rows, Stamp, Value
from gateway.services.commands import Commands, Order
from gateway.services.presence import Link, Presence

from .cameras import CameraCard
from .settings import DeviceCard
from .view import (
    UNSEEN,
    AlarmLine,
    BatteryLine,
    Cabinet,
    CaseLine,
    Cell,
    Condition,
    DeviceLine,
    EndedLine,
    FindingLine,
    Gateway,
    HazardLine,
    Known,
    LineReport,
    OrderLine,
    OutLine,
    OutputLine,
    Places,
    PointLine,
    RoundLine,
    SensorLine,
    StepLine,
    Storage,
    Uplink,
    View,
)
from .visits import visits

UPLINK = "uplink"
"""The device name that the connection to the platform goes by."""

SUMMARY_EVERY = 60.0
"""Seconds within which the daemon repeats each service's summary."""

INDICATED = 300.0
"""Seconds for which the end of an alarm is shown (GB 26875.1-2011, 4.1.2: at least five minutes)."""
STEP = 2000
"""Milliseconds by which two clocks may differ before the wall clock counts as stepped."""

_RANK = list(Condition)


def fold(
    cards: tuple[DeviceCard, ...],
    zone: ZoneInfo,
    known: Known,
    now: Stamp,
    outputs: Mapping[str, Output] = {},
    duties: Duties = Duties(),  # noqa: B008
    layout: Layout = Layout(),  # noqa: B008
    cameras: tuple[CameraCard, ...] = (),
) -> View:
    """The view of `Settings.devices` and what is known of them at a moment."""
    rows = known.rows or {}
    day = datetime.fromtimestamp(now.wall / 1000, zone).date().isoformat()
    links: Mapping[str, Link] = rows.get(Presence.name, {})
    gateway = _gateway(known)
    by_name = {card.name: card for card in cards}
    visitors = _visitors(rows.get(Visitors.name, {}), day)
    safety: Mapping[str, Alarm] = rows.get(Safety.name, {})
    standing = _alarms(
        safety, by_name, outputs, rows.get(EmergencyPlans.name, {}), visitors.get("inside"), now
    )
    alarms = tuple(alarm for alarm in standing if not alarm.drill)
    out = _out(safety, by_name, now)
    reports = _reports(known.lines, by_name)
    findings = [finding for report in reports or () for finding in report.findings]
    lines = tuple(
        sorted(
            (
                _line(
                    card,
                    known,
                    links.get(card.name),
                    tuple(alarm for alarm in alarms if alarm.device == card.name),
                    gateway is Gateway.AWAY,
                    now,
                    order=_order(card, rows.get(Commands.name, {}), now),
                    out=tuple(dict.fromkeys(each.mode for each in out if each.device == card.name)),
                    findings=tuple(finding for finding in findings if finding.device == card.name),
                )
                for card in cards
            ),
            key=lambda line: (not line.safety, not line.hazards, _RANK.index(line.condition)),
        )
    )
    return View(
        gateway=gateway,
        trouble=known.trouble or (known.health.trouble if known.health else ""),
        refused=known.health.refused if known.health else {},
        known=known.rows is not None,
        day=day,
        inside=visitors.get("inside"),
        came=visitors.get("in"),
        left=visitors.get("out"),
        counters_silent=sum(
            line.kind == COUNTER and line.condition is not Condition.GOOD for line in lines
        ),
        bays=_places(known.samples.get(Parking.name), now),
        lockers=_places(known.samples.get(Lockers.name), now),
        alarms=alarms,
        ended=_ended(known.ended, by_name, now),
        devices=lines,
        cabinets=tuple(_cabinet(card, rows.get(Lockers.name, {})) for card in cards if card.kind == LOCKER),
        uplink=_uplink(links.get(UPLINK), known.pending, now),
        storage=_storage(known.samples.get(GATEWAY)),
        drills=tuple(alarm for alarm in standing if alarm.drill),
        out=out,
        outputs=tuple(
            _output(name, output, by_name, safety, standing, known.samples.get(OUTPUTS_DEVICE))
            for name, output in outputs.items()
        ),
        sensors=tuple(
            _sensor(card, point, rows.get(Supervision.name, {}), now)
            for card in cards
            for point in card.tried
        ),
        batteries=_batteries(rows.get(Batteries.name, {}), by_name),
        rounds={name: _round(row, now) for name, row in rows.get(Patrols.name, {}).items()},
        hazards=_hazards(rows.get(Findings.name, {}), now),
        lines=reports,
        duties=duties,
        needs=known.samples[Needs.name].body["values"] if Needs.name in known.samples else {},
        visits=visits(rows.get(Visitors.name, {}), layout, cards, day, now),
        cameras=cameras,
    )


def _gateway(known: Known) -> Gateway:
    if known.rows is None and not known.trouble:
        return Gateway.WAITING
    if known.health is None:
        return Gateway.AWAY
    return Gateway.TROUBLE if known.trouble or known.health.trouble else Gateway.RUNNING


def _wall(at: Stamp, now: Stamp) -> int | None:
    """When a stamp was made, by the clock as it is set now, to the second; None where that is unknown."""
    wall = at.wall_by(now)
    if wall is None:
        return None
    return at.wall if abs(wall - at.wall) < STEP else wall // 1000 * 1000


def _stale(at: int | None, every: float, now: Stamp) -> bool:
    """Three readings missed, and a little more."""
    return at is None or now.wall - at > (3 * every + 5) * 1000


def _line(
    card: DeviceCard,
    known: Known,
    link: Link | None,
    alarms: tuple[AlarmLine, ...],
    away: bool,
    now: Stamp,
    **beside: Any,
) -> DeviceLine:
    """While the daemon is `away` nobody reads the devices: every reading is an old one."""
    hazards = tuple(dict.fromkeys(alarm.hazard for alarm in alarms if alarm.point != LINK_POINT))

    def line(condition: Condition, **fields: Any) -> DeviceLine:
        return DeviceLine(
            card.name,
            card.title,
            card.kind,
            card.safety,
            condition,
            hazards=hazards,
            actions=card.actions,
            **beside,
            **fields,
        )

    sample = known.samples.get(card.name)
    if sample is None:
        if link is not None and not link.online:
            return line(Condition.OFFLINE, at=_wall(link.since, now), error=link.error)
        return line(Condition.NONE)
    at = _wall(sample.at, now)
    if sample.body["quality"] == Quality.OFFLINE:
        if link is not None and not link.online:
            at = _wall(link.since, now)
        return line(Condition.OFFLINE, at=at, error=sample.body.get("error", ""))
    bad: dict[str, str] = sample.body.get("bad", {})
    condition = Condition.UNCERTAIN if bad else Condition.GOOD
    if away or _stale(at, card.every, now):
        condition = Condition.STALE
    return line(condition, values=_points(card, sample, known.values.get(card.name, {}), now), at=at)


def _points(
    card: DeviceCard, sample: Record, earlier: Mapping[str, tuple[Value, Stamp]], now: Stamp
) -> tuple[PointLine, ...]:
    """What the latest sample says, and what earlier ones said of the points that it passes over."""
    values: dict[str, Value] = sample.body["values"]
    bad: dict[str, str] = sample.body.get("bad", {})
    lines = []
    for point in dict.fromkeys((*values, *bad, *(p for p in card.units if p in earlier))):
        # The compartments have a place of their own on the page.
        if card.kind == LOCKER and "." in point:
            continue
        unit = card.units.get(point, "")
        if point in values or point in bad:
            lines.append(PointLine(point, values.get(point), unit))
        else:
            value, at = earlier[point]
            lines.append(PointLine(point, value, unit, earlier=True, at=_wall(at, now)))
    return tuple(lines)


def _order(card: DeviceCard, orders: Mapping[str, Order], now: Stamp) -> OrderLine | None:
    own = [order for order in orders.values() if order.device == card.name and order.action in card.actions]
    if not own:
        return None
    last = max(own, key=lambda order: order.at.wall)
    return OrderLine(last.action, last.status, last.detail, last.by, _wall(last.at, now))


def _visitors(rows: Rows, day: str) -> Mapping[str, Any]:
    """Nothing when they are still at another day: yesterday's visitors are not today's."""
    if rows.get(DAY, Day()).day not in {"", day}:
        return {}
    return Visitors({}).summary(rows)


def _places(sample: Record | None, now: Stamp) -> Places:
    if sample is None or "total" not in sample.body["values"]:
        return Places()
    values = sample.body["values"]
    total, unknown = int(values["total"]), int(values.get("unknown", 0))
    return Places(
        free=None if unknown >= total else int(values["free"]),
        total=total,
        unknown=unknown,
        open=int(values.get("open", 0)),
        stale=_stale(_wall(sample.at, now), SUMMARY_EVERY, now),
    )


def _alarms(
    rows: Mapping[str, Alarm],
    cards: Mapping[str, DeviceCard],
    outputs: Mapping[str, Output],
    cases: Mapping[str, EmergencyCase],
    inside: int | None,
    now: Stamp,
) -> tuple[AlarmLine, ...]:
    """Unacknowledged first, then the most urgent hazard, then the newest."""
    hazards = list(Hazard)
    alarms = sorted(
        (alarm for alarm in rows.values() if alarm.stands),
        key=lambda alarm: (
            alarm.state not in UNSEEN,
            hazards.index(alarm.hazard),
            -alarm.raised.wall,
        ),
    )
    told: set[str] = set()

    def line(alarm: Alarm) -> AlarmLine:
        obeys = outputs.get(alarm.point.removesuffix(".failed")) if alarm.device == OUTPUTS_DEVICE else None
        card = cards.get(obeys.device if obeys else alarm.device)
        key, case = find_case(cases, alarm.id) or ("", None)
        first = key not in told
        told.add(key)
        missed = case.inside if case and case.inside is not None else inside
        return AlarmLine(
            id=alarm.id,
            device=alarm.device,
            title=card.title if card else {},
            hazard=alarm.hazard,
            state=alarm.state,
            point=alarm.point,
            value=alarm.value,
            unit=card.units.get(alarm.point, "") if card else "",
            raised=_wall(alarm.raised, now),
            by=alarm.acknowledged_by,
            rule=alarm.title,
            drill=alarm.mode is Mode.DRILL,
            sounds=alarm.sounds,
            muted_by=alarm.mode_by if alarm.muted else "",
            inside=missed if alarm.hazard is Hazard.FIRE else None,
            case=_case(case, now) if case and first else None,
            output=alarm.point.removesuffix(".failed") if obeys else "",
        )

    return tuple(line(alarm) for alarm in alarms)


def _ended(
    ended: Iterable[tuple[Alarm, Stamp]], cards: Mapping[str, DeviceCard], now: Stamp
) -> tuple[EndedLine, ...]:
    """Newest first."""
    return tuple(
        EndedLine(
            id=alarm.id,
            name=alarm.device,
            title=card.title if (card := cards.get(alarm.device)) else {},
            hazard=alarm.hazard,
            rule=alarm.title,
            at=_wall(at, now),
        )
        for alarm, at in sorted(ended, key=lambda each: -each[1].mono)
        if alarm.mode is not Mode.DRILL and now.seconds_since(at, unknown=inf) < INDICATED
    )


def _case(case: EmergencyCase, now: Stamp) -> CaseLine:
    def step(key: str) -> StepLine:
        act: LoggedAction | None = case.done.get(key)
        return StepLine(key, act.by, _wall(act.at, now)) if act else StepLine(key)

    muster = case.muster
    return CaseLine(
        steps=tuple(step(key) for key in case.steps),
        found=muster.found if muster else None,
        by=muster.by if muster else "",
        at=_wall(muster.at, now) if muster else None,
    )


def _out(rows: Mapping[str, Alarm], cards: Mapping[str, DeviceCard], now: Stamp) -> tuple[OutLine, ...]:
    """A device is one line, whatever it could warn of: people take it out and put it back as a whole."""
    found: dict[tuple[object, ...], OutLine] = {}
    for alarm in rows.values():
        if alarm.mode is None or alarm.mode is Mode.DRILL:
            continue
        until = _wall(alarm.until, now) if alarm.until else None
        shelved = alarm.mode is Mode.SHELVED
        key = alarm.mode, alarm.device, alarm.id if shelved else "", alarm.mode_by, alarm.why
        old = found.get(key)
        found[key] = OutLine(
            mode=alarm.mode,
            device=alarm.device,
            title=card.title if (card := cards.get(alarm.device)) else {},
            hazards=tuple(dict.fromkeys((*(old.hazards if old else ()), alarm.hazard))),
            rule=alarm.title if shelved else {},
            alarm=alarm.id if shelved else "",
            by=alarm.mode_by,
            why=alarm.why,
            until=until,
        )
    order = (Mode.DISABLED, Mode.SHELVED, Mode.TEST)
    return tuple(sorted(found.values(), key=lambda line: (order.index(line.mode), line.until or 0)))


def _output(
    name: str,
    output: Output,
    cards: Mapping[str, DeviceCard],
    rows: Mapping[str, Alarm],
    alarms: Iterable[AlarmLine],
    sample: Record | None,
) -> OutputLine:
    """Whether it is on, as it last confirmed; that it does not confirm is an alarm of its own."""
    asked = {alarm.id for alarm in alarms_requiring(output, rows.values())}
    fault = rows.get(f"{OUTPUTS_DEVICE}/{name}.failed")
    failed = fault is not None and fault.state in (State.ACTIVE, State.ACKNOWLEDGED)
    said: Any = sample.body["values"].get(name) if sample else None
    waiting = bool(asked) and said is not True
    state = "waiting" if waiting else {True: "on", False: "off"}.get(said, "unknown")
    card = cards.get(output.device)
    return OutputLine(
        name=name,
        title=card.title if card else {},
        device=output.device,
        state="failed" if failed else state,
        sound=output.sound,
        why=tuple(alarm for alarm in alarms if alarm.id in asked),
    )


def _sensor(card: DeviceCard, point: str, rows: Mapping[str, Sensor], now: Stamp) -> SensorLine:
    row = rows.get(f"{card.name}/{point}")
    if row is None:
        return SensorLine(card.name, card.title, point)
    ticked = row.trial.ticked if row.trial else None
    return SensorLine(
        card.name,
        card.title,
        point,
        tested=_wall(row.tested, now) if row.tested else None,
        by=row.tested_by,
        due=row.due,
        trial=row.trial is not None,
        ticked=_wall(ticked, now) if ticked else None,
    )


def _batteries(rows: Rows, cards: Mapping[str, DeviceCard]) -> tuple[BatteryLine, ...]:
    lines = (
        BatteryLine(name, cards[name].title, row.level, row.unit, row.left)
        for name, row in rows.items()
        if name in cards and row.left is not None and row.left <= LOW_DAYS_LEFT
    )
    return tuple(sorted(lines, key=lambda line: line.left))


def _round(row: PatrolRound, now: Stamp) -> RoundLine:
    visits = {name: (visit.by, _wall(visit.at, now)) for name, visit in row.visits.items()}
    return RoundLine(open=bool(row.round), done=row.done, missed=row.missed, visits=visits)


def _hazards(rows: Mapping[str, Finding], now: Stamp) -> tuple[HazardLine, ...]:
    lines = []
    for key, row in rows.items():
        at = _wall(row.at, now)
        until = None if at is None else at + round(row.hours * HOUR_S * 1000)
        lines.append(HazardLine(key, row.where, row.what, row.severity, row.by, at, until, row.overdue))
    return tuple(sorted(lines, key=lambda line: line.until or 0))


def _reports(
    lines: Mapping[str, Any] | None, cards: Mapping[str, DeviceCard]
) -> tuple[LineReport, ...] | None:
    def titles(name: str) -> dict[str, str]:
        return card.title if (card := cards.get(name)) else {}

    if lines is None:
        return None
    return tuple(
        LineReport(
            name,
            report["up"],
            report["use"],
            tuple(report["devices"]),
            tuple(
                FindingLine(each["key"], each["device"], titles(each["device"]), each["facts"])
                for each in report["findings"]
            ),
            {each["device"]: titles(each["device"]) for each in report["devices"]},
        )
        for name, report in lines.items()
    )


def _cabinet(card: DeviceCard, rows: Rows) -> Cabinet:
    """The compartments that the device declares, and those it has reported."""
    cells = {int(point.removeprefix("door.")): "unknown" for point in card.units if _door(point)}
    for key, compartment in rows.items():
        device, _, number = key.rpartition("/")
        if device == card.name:
            cells[int(number)] = _cell(compartment)
    return Cabinet(card.name, card.title, tuple(Cell(n, cells[n]) for n in sorted(cells)))


def _storage(sample: Record | None) -> Storage | None:
    if sample is None or "card_years" not in sample.body["values"]:
        return None
    values = sample.body["values"]
    return Storage(
        values["written_per_day"], values["card_years"], values["records_dropped"], values["dead_letters"]
    )


def _door(point: str) -> bool:
    return point.startswith("door.") and point.removeprefix("door.").isdecimal()


def _cell(compartment: Compartment) -> str:
    if not compartment.live:
        return "unknown"
    if compartment.door_open:
        return "open"
    return {True: "occupied", False: "free", None: "shut"}[compartment.occupied]


def _uplink(link: Link | None, pending: int | None, now: Stamp) -> Uplink:
    if link is None:
        return Uplink(pending=pending)
    return Uplink(link.online, _wall(link.since, now), link.error, pending)
