"""Everything the page shows, as one value: each widget is drawn from the same `View`, so no two of them
can disagree."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from gateway.capabilities.safety.services.alarms import Alarm, Mode, State
from gateway.capabilities.safety.site import Duties
from gateway.model import Hazard, Record, Rows, Stamp, Value

from .cameras import CameraCard
from .visits import Visits

SHORT_LIFE = 2.0
"""Years a card should last at least."""

UNSEEN = (State.ACTIVE, State.CLEARED)
"""An alarm that nobody has acknowledged."""


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
    ended: tuple[tuple[Alarm, Stamp], ...] = ()
    """Alarms that were seen to end, and when."""
    lines: Mapping[str, Any] | None = None
    """The bus doctor's report of each line; None while nobody has answered."""


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


class FindingLine(msgspec.Struct, frozen=True):
    """A sentence of the bus doctor, `doctor.{key}`; `device` is empty where it concerns the line."""

    key: str
    device: str
    title: dict[str, str]
    facts: dict[str, Any]


class LineReport(msgspec.Struct, frozen=True):
    """One line as the bus doctor sees it; `use` is in percent."""

    name: str
    up: bool
    use: float
    devices: tuple[dict[str, Any], ...]
    findings: tuple[FindingLine, ...]
    titles: dict[str, dict[str, str]]
    """What people call its devices."""


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
    out: tuple[Mode, ...] = ()
    """In which ways it is out of service."""
    findings: tuple[FindingLine, ...] = ()


class StepLine(msgspec.Struct, frozen=True):
    """One step of an emergency plan, and who did it when; nobody yet: `by` is empty."""

    key: str
    by: str = ""
    at: int | None = None


class CaseLine(msgspec.Struct, frozen=True):
    """What is being done about an alarm."""

    steps: tuple[StepLine, ...]
    found: int | None
    by: str
    """Who counted."""
    at: int | None

    @property
    def done(self) -> int:
        return sum(bool(step.by) for step in self.steps)


class AlarmLine(msgspec.Struct, frozen=True):
    """One alarm that is not over, or one drill."""

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
    rule: dict[str, str] = {}
    """What the site's rule calls it, if one has raised it."""
    drill: bool = False
    sounds: bool = False
    muted_by: str = ""
    inside: int | None = None
    """How many people must be found, on a fire alarm."""
    case: CaseLine | None = None
    """Told with the first of the alarms that it serves."""
    output: str = ""
    """The siren, valve or door that does not obey."""


class EndedLine(msgspec.Struct, frozen=True):
    """One alarm that is over since a moment ago."""

    id: str
    name: str
    title: dict[str, str]
    hazard: Hazard
    rule: dict[str, str]
    at: int | None


class OutLine(msgspec.Struct, frozen=True):
    """Something that is out of service: a shelved `alarm`, or a device with the hazards it does not warn
    of meanwhile."""

    mode: Mode
    device: str
    title: dict[str, str]
    hazards: tuple[Hazard, ...]
    rule: dict[str, str]
    alarm: str
    by: str
    why: str
    until: int | None


class OutputLine(msgspec.Struct, frozen=True):
    """One siren, valve or door: `on`, `off`, `unknown`, `waiting` to go on, or `failed` to confirm; `why`
    are the alarms that ask for it."""

    name: str
    title: dict[str, str]
    device: str
    state: str
    sound: bool
    why: tuple[AlarmLine, ...]


class SensorLine(msgspec.Struct, frozen=True):
    """One point that a walk-test tries. `tested` is when it last proved that it works; in a test, `ticked`
    is when its button was pressed."""

    device: str
    title: dict[str, str]
    point: str
    tested: int | None = None
    by: str = ""
    due: bool = False
    trial: bool = False
    ticked: int | None = None


class BatteryLine(msgspec.Struct, frozen=True):
    """A battery that is running low; `left` is in days."""

    device: str
    title: dict[str, str]
    level: float
    unit: str
    left: float


class RoundLine(msgspec.Struct, frozen=True):
    """A patrol's present round: who was at which checkpoint, and when."""

    open: bool
    done: bool
    missed: bool
    visits: dict[str, tuple[str, int | None]]


class HazardLine(msgspec.Struct, frozen=True):
    """A hazard that somebody has found, and until when it is to be closed."""

    id: str
    where: str
    what: str
    severity: str
    by: str
    at: int | None
    until: int | None
    overdue: bool


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
    ended: tuple[EndedLine, ...]
    devices: tuple[DeviceLine, ...]
    cabinets: tuple[Cabinet, ...]
    uplink: Uplink
    storage: Storage | None = None
    drills: tuple[AlarmLine, ...] = ()
    """Practice alarms: never among `alarms`."""
    out: tuple[OutLine, ...] = ()
    outputs: tuple[OutputLine, ...] = ()
    sensors: tuple[SensorLine, ...] = ()
    batteries: tuple[BatteryLine, ...] = ()
    """Those that are running low, the lowest first."""
    rounds: dict[str, RoundLine] = {}
    hazards: tuple[HazardLine, ...] = ()
    """The open ones, the one that is due first at the top."""
    lines: tuple[LineReport, ...] | None = None
    duties: Duties = Duties()
    """The words of the plans and the patrols."""
    needs: Mapping[str, int] = {}
    """How many of the residents' needs are `new`, how many `overdue`."""
    visits: Visits = Visits()
    cameras: tuple[CameraCard, ...] = ()

    @property
    def unacknowledged(self) -> int:
        return sum(alarm.state in UNSEEN for alarm in self.alarms)

    @property
    def sounding(self) -> bool:
        """Whether there is a sound to be muted."""
        return any(alarm.sounds for alarm in (*self.alarms, *self.drills))

    @property
    def reminders(self) -> dict[str, int]:
        """What somebody should see to, by the words `dashboard.remind-…`; nothing that is nought."""
        modes = [line.mode for line in self.out]
        counts = {
            "disabled": modes.count(Mode.DISABLED),
            "shelved": modes.count(Mode.SHELVED),
            "test": modes.count(Mode.TEST),
            "outputs": sum(line.state == "failed" for line in self.outputs),
            "overdue": sum(hazard.overdue for hazard in self.hazards),
            "hazards": sum(not hazard.overdue for hazard in self.hazards),
            "missed": sum(each.missed for each in self.rounds.values()),
            "due": sum(sensor.due for sensor in self.sensors),
            "batteries": len(self.batteries),
            "stills": sum(camera.stills for camera in self.cameras),
            "findings": sum(len(line.findings) for line in self.lines or ()),
            "needs-new": self.needs.get("new", 0),
            "needs-overdue": self.needs.get("overdue", 0),
        }
        return {key: count for key, count in counts.items() if count}
