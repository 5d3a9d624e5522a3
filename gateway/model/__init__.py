"""What the gateway talks about: devices, samples, facts, records, commands, and the driver contract.

Nothing here does I/O, and nothing here imports anything of ours: every other module imports this one.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import IntEnum, StrEnum
from typing import Annotated, Any, ClassVar, Protocol

import msgspec

Value = bool | int | float | str
"""One measured or counted thing, in the unit its point declares."""

Raw = Any
"""What a driver read, before decoding; only that driver knows its shape."""


MISSES_UNTIL_OFFLINE = 3
"""Answers or messages a device may owe before it counts as offline."""


Checks = Mapping[str, tuple[Callable[[Any], bool], str]]
"""What a type cannot say of a key in a file: a test, and the sentence for who fails it. A struct that
is read from a file may carry one as `CHECKS`, and one as `TOGETHER` whose tests are of the whole struct,
each under the key that is to blame."""


class GatewayError(Exception):
    """An error a person reads: `key` names the sentence in `words/`, `facts` fill it in."""

    def __init__(self, key: str, /, **facts: object) -> None:
        super().__init__(key, facts)
        self.key = key
        self.facts = facts

    def __str__(self) -> str:
        return f"{self.key} {self.facts}" if self.facts else self.key


class ConfigError(GatewayError):
    """A mistake in a file a person wrote: never needs hardware to be found; the process exits 78."""


class LinkDown(GatewayError):
    """The transport is gone (port, connection): it must be reopened."""


class ReadFailed(GatewayError):
    """This device did not answer as it should, this time. The transport is thought to be sound."""


class ClockQuality(StrEnum):
    """How far a wall-clock stamp can be trusted."""

    SYNCED = "synced"
    """The kernel says that a time source disciplines the clock."""
    SET = "set"
    """Plausible (not before this software was made), but nobody vouches for it."""
    CORRECTED = "corrected"
    """Stamped before the clock was set, and reckoned back once it was."""
    UNSET = "unset"
    """Before this software was made: a Pi without RTC or network, counting from 1970."""


class Stamp(msgspec.Struct, frozen=True, array_like=True):
    """When something was measured.

    `wall` is Unix time in milliseconds, `mono` nanoseconds since `boot` (the kernel's boot id):
    the order within one boot never depends on the wall clock.
    """

    wall: int
    mono: int
    boot: str
    clock: ClockQuality


def elapsed(since: Stamp, until: Stamp) -> float | None:
    """Seconds from one stamp to another: by the monotonic clock within a boot, else by the wall clock.

    None where no clock can tell.
    """
    if since.boot == until.boot:
        return (until.mono - since.mono) / 1e9
    if ClockQuality.UNSET in (since.clock, until.clock):
        return None
    return max(0.0, (until.wall - since.wall) / 1e3)


class Clock(Protocol):
    """Time is injected: the daemon passes the machine's, tests pass their own."""

    def now(self) -> Stamp:
        """The present moment."""
        ...

    def mono(self) -> float:
        """Seconds on the monotonic clock."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after that many monotonic seconds."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return when the event is set, or after that many seconds."""
        ...


class Quality(StrEnum):
    """How good one sample is."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    """Some values were impossible and left out: `Sample.bad` says which."""
    OFFLINE = "offline"
    """The device does not answer; there are no values."""


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One poll or one push of one device. An outage is a sample too: no values, and why in `error`."""

    device: str
    at: Stamp
    values: dict[str, Value] = {}
    bad: dict[str, str] = {}
    error: str = ""
    memory: bytes | None = None
    """What its driver must know of it when it begins anew; kept with the alarms, and never sent."""

    @property
    def quality(self) -> Quality:
        if self.error:
            return Quality.OFFLINE
        return Quality.UNCERTAIN if self.bad else Quality.GOOD


class Lane(IntEnum):
    """The order in which records leave, and how they are kept."""

    ALARM = 0
    """Committed and synced one by one before anything else happens."""
    EVENT = 1
    TELEMETRY = 2
    """Committed in groups; published at once while the link is up."""


class Fact(msgspec.Struct, frozen=True):
    """Something a service concluded. It becomes a record when the journal gives it a sequence number."""

    lane: Lane
    device: str
    kind: str
    at: Stamp
    body: dict[str, Any]
    durable: bool = False
    """Committed at once, whatever the lane (commands); alarms always are."""


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A fact or sample with its place in the journal.

    `seq` counts from 1 without a gap within one stream: one device in one lane.
    """

    lane: Lane
    device: str
    seq: int
    kind: str
    at: Stamp
    body: dict[str, Any]


GATEWAY = "gateway"
"""The gateway itself, as a device: what concerns the whole centre is filed under it."""

Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}(?!\s)$")]
"""What a device may be called: names become topics, so a stranger's are checked before they travel."""
Argument = bool | Integer | float | Annotated[str, msgspec.Meta(max_length=256)]
"""What a stranger may say in a command: it must fit into the journal."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A wish of a person or a platform, as received `at`. `expires` is Unix time in milliseconds."""

    id: Id
    at: Stamp
    device: Name
    action: Id
    args: dict[str, Argument] = {}
    expires: Integer
    origin: str
    """`upstream`, `dashboard` or `console`: what may be asked depends on where it came from."""
    by: str = ""
    """Who asked, for the audit."""


class Outcome(msgspec.Struct, frozen=True):
    """How a command ended: `done`, `failed`, `denied` or `unknown` (the power went in the middle)."""

    command: str
    status: str
    at: Stamp
    detail: str = ""


class Tick(msgspec.Struct, frozen=True):
    """A second has passed."""

    at: Stamp
    day: str
    """The local date at the site, ISO 8601."""


class Revision(msgspec.Struct, frozen=True):
    """A configuration that was adopted; they are numbered from 1."""

    number: int
    digest: str
    at: Stamp
    by: str
    """`console`, `signal`, `start` or `rollback`."""
    changes: dict[str, dict[str, list[str]]] = {}
    """`bus`, `device` and `uplink` to `added`, `removed` and `changed` to names; nothing for the first."""
    silent: tuple[str, ...] = ()
    """The devices whose silence was the reason for a `rollback`."""


class Adopted(msgspec.Struct, frozen=True):
    """The configuration that holds from now on. `present` are all who may speak under it, the gateway and
    its uplink among them."""

    revision: Revision
    at: Stamp
    present: frozenset[str]


Message = Sample | Command | Outcome | Tick | Fact | Adopted
"""What a service is stepped with; facts are those of the alarm lane, for services that follow alarms."""


class Hazard(StrEnum):
    """What an alarm warns of, most urgent first."""

    FIRE = "fire"
    GAS = "gas"
    ELECTRICAL = "electrical"
    SOS = "sos"
    EXIT = "exit"
    """A fire lane, an exit or a way out is blocked."""
    CROWD = "crowd"
    """More people inside than the place is made for."""
    WATER = "water"
    FOOD = "food"
    TAMPER = "tamper"
    FAULT = "fault"


LATCHING = frozenset({Hazard.FIRE, Hazard.GAS, Hazard.ELECTRICAL, Hazard.SOS})
"""What stays an alarm until a named person has reset it, although the condition is gone
(GB 26875.1-2011; GB 14287.5-2025)."""


class Limit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a value is beyond what it may be: a boolean when true, a number beyond `above` or `below`.

    A number must come back by `hysteresis` before it counts as back.
    """

    above: float | None = None
    below: float | None = None
    hysteresis: float = 0.0

    def exceeded(self, value: Value, already: bool = False) -> bool:
        """Whether the value is beyond its limit, or with `already` still so."""
        if isinstance(value, bool | str):
            return value is True
        band = self.hysteresis if already else 0.0
        high = self.above is not None and value > self.above - band
        low = self.below is not None and value < self.below + band
        return high or low


class AlarmSpec(Limit, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a point is an alarm, in a device's profile.

    It must last for `delay` seconds, and be gone for `off_delay`, before it counts (ISA-18.2, 16.5: on-
    and off-delay): an input that flaps is one alarm.
    """

    hazard: Hazard
    delay: float = 0.0
    off_delay: float = 5.0
    latch: bool | None = None
    """Whether it stays until it is reset; by default what its hazard asks for."""
    while_open: bool = False
    """Of tampering: it is an alarm in the site's opening hours alone, where there are any. When the lights
    are out, a camera sees nothing, either."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a device. Drivers extend this with where to find it.

    The number on the wire becomes the value in this order: `bit` or `equals` make it a boolean;
    else `scale` and `offset` make it a quantity in `unit`, `min` and `max` say what is possible,
    and `true_above` or `true_below` turn a quantity into a boolean.
    """

    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0
    decimals: int | None = None
    min: float | None = None
    max: float | None = None
    bit: int | None = None
    equals: int | str | bool | tuple[int | str, ...] | None = None
    true_above: float | None = None
    true_below: float | None = None
    alarm: AlarmSpec | None = None
    repeat: int = 0
    """In a profile: the point stands for this many, named `name.1`, `name.2` …"""
    index: int = 1
    """Which of them this one is."""
    optional: bool = False
    """A reading may come without it, and is no worse for that."""
    wraps: int = 1 << 32
    """Of a running total: the count at which it begins again from nought."""

    CHECKS: ClassVar[Checks] = {
        "bit": (lambda bit: bit is None or 0 <= bit < 64, "bit-range"),
        "repeat": (lambda times: 0 <= times <= 4096, "repeat-range"),
        "wraps": (lambda count: count > 1, "wraps-range"),
        "alarm": (
            lambda spec: spec is None or not spec.while_open or spec.hazard is Hazard.TAMPER,
            "alarm-always",
        ),
    }


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """Something a device can be told to do. Drivers extend this with how."""

    confirm: dict[str, Value] = {}
    """The values that the next reading must show for it to be true."""


class ListenerAction(Action, frozen=True, kw_only=True):
    """Something a device that speaks when it likes can be told to do."""

    confirm_within: float = 0.0
    """Seconds in which it must have said so; 0: as long as it may be silent without being offline."""

    CHECKS: ClassVar[Checks] = {
        "confirm_within": (lambda seconds: 0 <= seconds <= 7 * 86_400, "confirm-range")
    }


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One device of the site, with what its profile says of the model."""

    name: str
    title: dict[str, str]
    """What people call it, by language."""
    kind: str
    profile: str
    bus: str
    address: Any
    """The driver's `Address`: unit id, board number, topic …"""
    points: dict[str, Any]
    """The driver's points, each a `Point`."""
    every: float
    """Seconds between polls; for a device that pushes, the longest silence to expect."""
    actions: dict[str, Any] = {}
    """What its profile says it can be told to do, each the driver's `Action`."""

    @property
    def safety(self) -> bool:
        """Whether a life may depend on it: such devices are polled first."""
        return any(point.alarm for point in self.points.values())

    def patience(self, action: str) -> float:
        """Seconds that a device which speaks when it likes has to show that it obeyed."""
        declared = self.actions.get(action)
        within = declared.confirm_within if isinstance(declared, ListenerAction) else 0.0
        return within or MISSES_UNTIL_OFFLINE * self.every


class Bus:
    """One open line or connection: one task owns it, so no two transactions ever overlap.

    A bus opens, reads, writes and listens. It never sleeps, retries or loops over time:
    scheduling, back-off and budgets belong to the supervisor.
    """

    lessons: dict[str, Any]
    """What the bus has learned of each device, by name; it outlives the connection."""
    settle: float = 0.0
    """Seconds of silence the line needs after a timeout, so that a late reply finds nobody waiting."""
    timeout: float = 0.5
    """Seconds an answer is waited for; may be set, for a scan is in a hurry."""

    async def read(self, device: Device) -> Raw:
        """One reading. Raises `ReadFailed` or `LinkDown`."""
        raise NotImplementedError

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """Act once, never retried. Returns the values that the next reading must show for it to be true.

        Raises `ReadFailed` (refused or unanswered) or `LinkDown`.
        """
        raise ReadFailed("action-unknown", device=device.name, action=action)

    async def probe(self, address: Any) -> dict[str, str]:
        """Whether somebody is at that address (the driver's `Address`), by a request that changes
        nothing, and what it says of itself. Raises `ReadFailed` (nobody is) or `LinkDown`."""
        raise NotImplementedError


class Listener(ABC):
    """A bus whose devices speak when they like. One that is a `Bus` as well is also polled."""

    @abstractmethod
    def listen(self) -> AsyncIterator[tuple[str, Raw | ReadFailed]]:
        """Device name and what it said (or why that is no reading), until `LinkDown`."""

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        """As `Bus.write`; what the device says from then on must show the values, in one message or in
        several. Commands overlap with each other and with `listen`; one that takes too long is cancelled.
        """
        raise ReadFailed("action-unknown", device=device.name, action=action)

    async def look(self) -> bytes:
        """What a camera sees now, as JPEG, for who sets it up. Raises `ReadFailed` or `LinkDown`."""
        raise ReadFailed("stills-off")

    def recall(self, device: str, memory: bytes) -> None:  # noqa: B027
        """What `Driver.remember` made of the device's last message; told before `listen` begins."""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who spoke unasked while a scan listened."""

    address: dict[str, Any]
    """The keys of its `[device.…]` table."""
    says: dict[str, str] = {}
    """What it says of itself, by the names in `Scan.says`."""
    raw: Raw = None
    """What it said, where that can be read."""
    needs: dict[str, Any] = {}
    """More keys of its table, for what a person must provide first."""


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """How a driver takes part in `linli scan`: what is worth trying, and what is said there. When and how
    often is the scan's business. A driver whose devices wait to be asked has `addresses`, and a bus with
    `probe`; one whose devices speak has `overhear`."""

    lines: Callable[[str], Sequence[dict[str, Any]]]
    """Pure: the `[bus.…]` tables worth trying at a target (`/dev/…`, `tcp://host:port`, `mqtt://host`,
    `ble:`), likeliest first; none where the target is not the driver's."""
    place: Callable[[Any], str]
    """Pure: the target that a line with these options is at."""
    rank: int = 1
    """Where several drivers have lines at a target, those of the lowest are tried first."""
    shared: bool = False
    """Whether others may listen there at the same time."""
    addresses: Callable[[Any], Sequence[dict[str, Any]]] | None = None
    """Pure: the address keys of the `[device.…]` tables that a line with these options may have."""
    overhear: Callable[[Any], AsyncIterator[Heard | ReadFailed]] | None = None
    """What is said on a line with these options, by whomever, without ever answering; a `ReadFailed` is
    something that is none of the driver's. Raises `LinkDown`."""
    says: tuple[str, ...] = ()
    """What a device may say of itself; a profile's `[fingerprint]` has a pattern for any of these."""


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """What each protocol in `drivers/` offers as `DRIVER`: data, and four functions."""

    options: type[msgspec.Struct]
    """The keys of a `[bus.…]` table."""
    address: type[msgspec.Struct]
    """The extra keys of a `[device.…]` table."""
    point: type[Point]
    """The keys of a profile's `[points.…]`."""
    connect: Callable[[Any, tuple[Device, ...]], AbstractAsyncContextManager[Bus | Listener]]
    """Open the line with its options, for those devices; raises `LinkDown`."""
    decode: Callable[[Mapping[str, Any], Raw], dict[str, Value]]
    """Pure: points and a raw reading to the numbers on the wire, before scaling."""
    example: Callable[[Mapping[str, Any]], Raw]
    """Pure: a profile's worked example to a raw reading; raises `ValueError`."""
    show: Callable[[Raw], str]
    """Pure: a raw reading as an engineer wants to see it."""
    remember: Callable[[Raw], bytes] | None = None
    """Pure: what must not be forgotten when the line or the gateway begins anew, for devices that tell
    a state once and not again, or count from nought each time."""
    actions: tuple[str, ...] = ()
    """What every device of this driver can be told to do."""
    action: type[Action] | None = None
    """The keys of a profile's `[actions.…]`, where the driver has such."""
    check: Callable[[Device, tuple[Device, ...]], None] = lambda device, others: None
    """Pure: raises `ConfigError` for a device that its model, or the others on its bus, rule out."""
    scan: Scan | None = None
    """How it takes part in a scan, if it does."""
    stills: Callable[[Any], bool] | None = None
    """Pure, of a driver whose lines are cameras: whether one with these options may be looked at, by a
    person who sets it up."""


Row = msgspec.Struct
Rows = Mapping[str, Any]
"""A service's whole state: a table of frozen rows."""

Changes = dict[str, Row | None]
"""The rows a step changes; None deletes."""


class Service(ABC):
    """A reducer: it does no I/O, owns no clock and no task.

    The state after a step is `{**rows, **changes}`; the journal keeps the changed rows in the
    transaction that keeps the facts, so that a restart finds both or neither.
    """

    name: ClassVar[str]
    row: ClassVar[type[Row]]
    actions: ClassVar[frozenset[str]] = frozenset()
    """The commands this service carries out itself."""
    follows_alarms: ClassVar[bool] = False
    """Whether it is stepped with each fact of the alarm lane, once the fact is known."""
    hears: ClassVar[frozenset[str]] = frozenset()
    """The services whose summaries it takes in, as samples of a device of that name."""
    durable: ClassVar[bool] = False
    """Its rows are committed as soon as they change."""

    @abstractmethod
    def apply(self, rows: Rows, message: Message) -> tuple[Changes, list[Fact]]:
        """One step."""

    def restore(self, rows: Rows) -> Rows:
        """The state a restart begins with: what needs a new reading to be known becomes unknown."""
        return rows

    def summary(self, rows: Rows) -> dict[str, Value]:
        """The figures people ask for; published as telemetry of a device named like the service."""
        return {}
