"""Everything that the pages show, as one value: all regions are rendered from the same `View`, so they
cannot disagree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from gateway.model import Record, Role, Sentence, Stamp, Value, stale_after_s

MIN_CARD_YEARS = 2.0
"""Years a memory card should last at least."""

SUMMARY_INTERVAL_S = 60.0
"""Within which the daemon repeats each service's summary."""

CLOCK_STEP_MS = 2000
"""By how much two clocks may differ before the wall clock counts as stepped."""


class GatewayState(StrEnum):
    """The state of the gateway."""

    WAITING = "waiting"
    """There is no journal: it has never run."""
    AWAY = "away"
    TROUBLE = "trouble"
    RUNNING = "running"


class DeviceCondition(StrEnum):
    """How far a device's reading can be trusted, worst first."""

    OFFLINE = "offline"
    STALE = "stale"
    NOT_HEARD = "not-heard"
    """Nothing has come since the gateway started; the values are those of before."""
    UNCERTAIN = "uncertain"
    GOOD = "good"


class PointRow(msgspec.Struct, frozen=True):
    """One value of a device; None: impossible, and left out. `earlier`: not of the latest reading, but
    of one at `at` (Unix milliseconds; None: unknown)."""

    point: str
    value: Value | None
    unit: str = ""
    earlier: bool = False
    at: int | None = None


class LastCommandRow(msgspec.Struct, frozen=True):
    """The last command that a device was given, and its outcome."""

    action: str
    status: str
    detail: str
    by: str
    at: int | None
    facts: dict[str, Any] = {}
    """What is in the sentence `error.{detail}`."""


class DiagnosisRow(msgspec.Struct, frozen=True):
    """A sentence of the bus doctor, `doctor.{key}`; `device` is empty where it concerns the bus."""

    key: str
    device: str
    title: dict[str, str]
    facts: dict[str, Any]


class BusReport(msgspec.Struct, frozen=True):
    """One bus as the bus doctor sees it; `use` is in percent."""

    name: str
    up: bool
    use: float
    devices: tuple[dict[str, Any], ...]
    diagnoses: tuple[DiagnosisRow, ...]
    titles: dict[str, dict[str, str]]
    """The titles of its devices, by device and language."""


class Severity(StrEnum):
    """How bad something is, the least first; the page has a colour for each."""

    NONE = ""
    FAULT = "fault"
    """A fault or a supervisory signal: yellow, as on a fire panel."""
    DANGER = "danger"
    """A danger to people: red."""


class DeviceAnnotation(msgspec.Struct, frozen=True):
    """What a capability adds to the row of a device; a part derives its own from this one."""

    severity: Severity = Severity.NONE
    """The row is marked with it, and the worst are sorted first."""
    is_out_of_service: bool = False
    """People have disabled it, or are testing it."""


class DeviceRow(msgspec.Struct, frozen=True):
    """One device. `at` is Unix time in milliseconds, of the reading or, offline, of its loss."""

    name: str
    title: dict[str, str]
    kind: str
    is_safety_device: bool
    condition: DeviceCondition
    values: tuple[PointRow, ...] = ()
    at: int | None = None
    error: str = ""
    reason: Sentence | None = None
    """The error with its facts, where the daemon tells it."""
    actions: tuple[str, ...] = ()
    action_roles: Mapping[str, Role] = {}
    order: LastCommandRow | None = None
    diagnoses: tuple[DiagnosisRow, ...] = ()
    annotations: Mapping[str, DeviceAnnotation] = {}
    """By the name of the part that adds it."""
    bus: str = ""
    room: dict[str, str] = {}

    @property
    def severity(self) -> Severity:
        """The worst of its annotations."""
        return worst(each.severity for each in self.annotations.values())

    @property
    def needs_attention(self) -> bool:
        """Whether somebody has to look after it."""
        return bool(self.severity) or self.condition not in {
            DeviceCondition.GOOD,
            DeviceCondition.NOT_HEARD,
        }

    @property
    def is_in_order(self) -> bool:
        """Whether its reading is good, and nothing is wrong with it or switched off."""
        return (
            self.condition is DeviceCondition.GOOD
            and not self.severity
            and not any(each.is_out_of_service for each in self.annotations.values())
        )


class UplinkStatus(msgspec.Struct, frozen=True):
    """The connection to a platform; `online` is None while unknown."""

    title: Mapping[str, str] = {}
    """By language; empty for the only platform."""
    online: bool | None = None
    since: int | None = None
    error: str = ""
    pending: int | None = None


class StorageStatus(msgspec.Struct, frozen=True):
    """Wear of the memory card, and records that were not delivered."""

    bytes_per_day: int
    card_years: float
    dropped: int
    dead_letters: int

    @property
    def troubled(self) -> bool:
        return bool(self.dropped or self.dead_letters) or self.card_years < MIN_CARD_YEARS


class Reminder(msgspec.Struct, frozen=True):
    """Something to attend to: `count` is a value of the sentence, `link` leads to the page."""

    sentence: str
    """Its key in the words."""
    count: int
    link: str
    order: int = 100
    """Lower comes first."""


class PlaceCount(msgspec.Struct, frozen=True):
    """How many parking bays or compartments are free; `free` is None when not one of them is known."""

    free: int | None = None
    total: int | None = None
    unknown: int = 0
    open: int = 0
    stale: bool = False


class BoardCell(msgspec.Struct, frozen=True):
    """One bay or compartment of a board."""

    device: str
    number: str
    """Empty if the device has only this one."""
    title: dict[str, str]
    """Of the device, by language."""
    state: str


class View(msgspec.Struct, frozen=True):
    """What the pages show of the gateway, its devices and each capability."""

    gateway: GatewayState
    trouble: str
    refused: Mapping[str, list[str]]
    known: bool
    """Whether the journal has been read: before that, no alarm does not mean no danger."""
    title: Mapping[str, str]
    """The site's, by language."""
    day: str
    """The local date: what happened on another day is shown with its date."""
    devices: tuple[DeviceRow, ...]
    uplinks: tuple[UplinkStatus, ...] = ()
    storage: StorageStatus | None = None
    reminders: tuple[Reminder, ...] = ()
    parts: Mapping[str, Any] = {}
    """The view of each page part, by the part's name."""
    last_word: int | None = None
    """When the newest reading was taken, once the gateway does not answer."""


def wall_ms(at: Stamp, now: Stamp) -> int | None:
    """The time of a stamp by the clock as it is set now (Unix milliseconds); None if unknown."""
    wall = at.wall_by(now)
    if wall is None:
        return None
    return at.wall_ms if abs(wall - at.wall_ms) < CLOCK_STEP_MS else wall // 1000 * 1000


def is_stale(at: int | None, interval_s: float, now: Stamp) -> bool:
    """Whether a reading is older than `stale_after_s`. `at` is Unix time in milliseconds; None: unknown,
    which is stale."""
    return at is None or now.wall_ms - at > stale_after_s(interval_s) * 1000


def place_count(summary: Record | None, now: Stamp) -> PlaceCount:
    """The counts in a service's summary of bays or compartments."""
    if summary is None or "total" not in summary.body["values"]:
        return PlaceCount()
    values = summary.body["values"]
    total, unknown = int(values["total"]), int(values.get("unknown", 0))
    return PlaceCount(
        free=None if unknown >= total else int(values["free"]),
        total=total,
        unknown=unknown,
        open=int(values.get("open", 0)),
        stale=is_stale(wall_ms(summary.at, now), SUMMARY_INTERVAL_S, now),
    )


def worst(severities: Iterable[Severity]) -> Severity:
    """The worst of the severities."""
    return max(severities, key=list(Severity).index, default=Severity.NONE)
