"""Everything the page shows, as one value folded from what was read. Pure.

Each widget is drawn from the same `View`, so no two of them can disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.model import ClockQuality, Hazard, Quality, Record, Rows, Stamp, Value
from gateway.services.commands import Commands, Order
from gateway.services.lockers import KIND as LOCKER
from gateway.services.lockers import Compartment, Lockers
from gateway.services.parking import Parking
from gateway.services.presence import Link, Presence
from gateway.services.safety import GATEWAY, LINK, Alarm, Safety, State
from gateway.services.visitors import KIND as COUNTER
from gateway.services.visitors import Visitors

from .settings import DeviceCard

UPLINK = "uplink"
"""The device name that the connection to the platform goes by."""

SUMMARY_EVERY = 60.0
"""Seconds within which the daemon repeats each service's summary."""

SHORT_LIFE = 2.0
"""Years a card should last at least."""

UNSEEN = (State.ACTIVE, State.CLEARED)
"""An alarm that nobody has acknowledged."""

STEP = 2000
"""Milliseconds by which two clocks may differ before the wall clock counts as stepped."""


class Gateway(StrEnum):
    """How the gateway is."""

    WAITING = "waiting"
    """There is no journal: it has never run."""
    AWAY = "away"
    TROUBLE = "trouble"
    RUNNING = "running"


class Condition(StrEnum):
    """How far a device's reading can be trusted, worst first."""

    OFFLINE = "offline"
    STALE = "stale"
    NONE = "none"
    UNCERTAIN = "uncertain"
    GOOD = "good"


_RANK = list(Condition)


class Health(msgspec.Struct, frozen=True):
    """What the daemon says of itself; `trouble` is empty when all is well."""

    trouble: str = ""
    refused: Mapping[str, list[str]] = {}
    """Why it does not run what the site's file says, by language."""


class Known(msgspec.Struct, frozen=True):
    """What has been read so far."""

    rows: Mapping[str, Rows] | None = None
    """Each service's rows; None when there is no journal."""
    samples: Mapping[str, Record] = {}
    """The latest sample of each device, pseudo-devices included."""
    pending: int | None = None
    health: Health | None = None
    """None: the daemon does not answer."""
    trouble: str = ""
    """Why the journal cannot be read."""
    values: Mapping[str, Mapping[str, tuple[Value, Stamp]]] = {}
    """The last value of each point of each device, and when it was measured: many a device tells them in
    different messages."""


class PointLine(msgspec.Struct, frozen=True):
    """One value of a device; None: impossible, and left out. `earlier`: not of the latest reading, but
    of one at `at` (Unix milliseconds; None: nobody knows when)."""

    point: str
    value: Value | None
    unit: str = ""
    earlier: bool = False
    at: int | None = None


class OrderLine(msgspec.Struct, frozen=True):
    """The last thing a device was told to do, and what came of it."""

    action: str
    status: str
    detail: str
    by: str
    at: int | None


class DeviceLine(msgspec.Struct, frozen=True):
    """One device. `at` is Unix time in milliseconds, of the reading or, offline, of its loss."""

    name: str
    title: dict[str, str]
    kind: str
    safety: bool
    condition: Condition
    values: tuple[PointLine, ...] = ()
    at: int | None = None
    error: str = ""
    hazards: tuple[Hazard, ...] = ()
    """What it has raised an alarm of that is not over: such a device is never shown as merely well."""
    actions: tuple[str, ...] = ()
    order: OrderLine | None = None


class AlarmLine(msgspec.Struct, frozen=True):
    """One alarm that is not over."""

    id: str
    device: str
    title: dict[str, str]
    hazard: Hazard
    state: State
    point: str
    value: Value
    unit: str
    raised: int | None
    by: str


class Cell(msgspec.Struct, frozen=True):
    """One compartment: `free`, `occupied`, `open`, `shut` (nothing looks inside) or `unknown`."""

    number: int
    state: str


class Cabinet(msgspec.Struct, frozen=True):
    """One parcel locker."""

    name: str
    title: dict[str, str]
    cells: tuple[Cell, ...]


class Places(msgspec.Struct, frozen=True):
    """Bays or compartments; `free` is None when not one of them is known."""

    free: int | None = None
    total: int | None = None
    unknown: int = 0
    open: int = 0
    stale: bool = False


class Uplink(msgspec.Struct, frozen=True):
    """The connection to the platform; `online` is None while unknown."""

    online: bool | None = None
    since: int | None = None
    error: str = ""
    pending: int | None = None


class Storage(msgspec.Struct, frozen=True):
    """What the journal costs the card, and what it could not deliver."""

    written_per_day: int
    card_years: float
    dropped: int
    dead: int

    @property
    def troubled(self) -> bool:
        return bool(self.dropped or self.dead) or self.card_years < SHORT_LIFE


class View(msgspec.Struct, frozen=True):
    """The page."""

    gateway: Gateway
    trouble: str
    refused: Mapping[str, list[str]]
    known: bool
    """Whether anything was ever read: without it, no alarm is not the same as no danger."""
    day: str
    """The local date: what happened on another day is shown with its date."""
    inside: int | None
    came: int | None
    left: int | None
    counters_silent: int
    """Door counters without a sound reading."""
    bays: Places
    lockers: Places
    alarms: tuple[AlarmLine, ...]
    devices: tuple[DeviceLine, ...]
    cabinets: tuple[Cabinet, ...]
    uplink: Uplink
    storage: Storage | None = None

    @property
    def unacknowledged(self) -> int:
        return sum(alarm.state in UNSEEN for alarm in self.alarms)


def fold(cards: tuple[DeviceCard, ...], zone: ZoneInfo, known: Known, now: Stamp) -> View:
    """The view of `Settings.devices` and what is known of them at a moment."""
    rows = known.rows or {}
    day = datetime.fromtimestamp(now.wall / 1000, zone).date().isoformat()
    links: Mapping[str, Link] = rows.get(Presence.name, {})
    gateway = _gateway(known)
    alarms = _alarms(rows.get(Safety.name, {}), {card.name: card for card in cards}, now)
    lines = tuple(
        sorted(
            (
                _line(
                    card,
                    known,
                    links.get(card.name),
                    tuple(alarm for alarm in alarms if alarm.device == card.name),
                    _order(card, rows.get(Commands.name, {}), now),
                    gateway is Gateway.AWAY,
                    now,
                )
                for card in cards
            ),
            key=lambda line: (not line.safety, not line.hazards, _RANK.index(line.condition)),
        )
    )
    visitors = _visitors(rows.get(Visitors.name, {}), day)
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
        devices=lines,
        cabinets=tuple(_cabinet(card, rows.get(Lockers.name, {})) for card in cards if card.kind == LOCKER),
        uplink=_uplink(links.get(UPLINK), known.pending, now),
        storage=_storage(known.samples.get(GATEWAY)),
    )


def _gateway(known: Known) -> Gateway:
    if known.rows is None and not known.trouble:
        return Gateway.WAITING
    if known.health is None:
        return Gateway.AWAY
    return Gateway.TROUBLE if known.trouble or known.health.trouble else Gateway.RUNNING


def _wall(at: Stamp, now: Stamp) -> int | None:
    """When a stamp was made, by the clock as it is set now; None when nobody can tell."""
    if at.boot != now.boot:
        return None if at.clock is ClockQuality.UNSET else at.wall
    wall = now.wall - (now.mono - at.mono) // 1_000_000
    return at.wall if abs(wall - at.wall) < STEP else wall // 1000 * 1000


def _stale(at: int | None, every: float, now: Stamp) -> bool:
    """Three readings missed, and a little more."""
    return at is None or now.wall - at > (3 * every + 5) * 1000


def _line(
    card: DeviceCard,
    known: Known,
    link: Link | None,
    alarms: tuple[AlarmLine, ...],
    order: OrderLine | None,
    away: bool,
    now: Stamp,
) -> DeviceLine:
    """While the daemon is `away` nobody reads the devices: every reading is an old one."""
    hazards = tuple(dict.fromkeys(alarm.hazard for alarm in alarms if alarm.point != LINK))

    def line(condition: Condition, **fields: Any) -> DeviceLine:
        return DeviceLine(
            card.name,
            card.title,
            card.kind,
            card.safety,
            condition,
            hazards=hazards,
            actions=card.actions,
            order=order,
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
    """Nothing when the doors still stand at another day: yesterday's visitors are not today's."""
    if any(door.day not in {"", day} for door in rows.values()):
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


def _alarms(rows: Rows, cards: Mapping[str, DeviceCard], now: Stamp) -> tuple[AlarmLine, ...]:
    """Unacknowledged first, then the most urgent hazard, then the newest."""
    hazards = list(Hazard)
    alarms: list[Alarm] = sorted(
        (alarm for alarm in rows.values() if alarm.stands),
        key=lambda alarm: (
            alarm.state not in UNSEEN,
            hazards.index(alarm.hazard),
            -alarm.raised.wall,
        ),
    )
    return tuple(
        AlarmLine(
            id=alarm.id,
            device=alarm.device,
            title=card.title if (card := cards.get(alarm.device)) else {},
            hazard=alarm.hazard,
            state=alarm.state,
            point=alarm.point,
            value=alarm.value,
            unit=card.units.get(alarm.point, "") if card else "",
            raised=_wall(alarm.raised, now),
            by=alarm.acknowledged_by,
        )
        for alarm in alarms
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
