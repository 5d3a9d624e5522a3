"""Following the journal and the daemon: one poller for all who look."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from math import inf
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from gateway.base import control
from gateway.base.control import DaemonNotRunning
from gateway.base.tasks import Signal
from gateway.capabilities.parcels.services import Lockers
from gateway.capabilities.parking.services import Parking
from gateway.capabilities.safety.services.alarms import Alarm, Safety
from gateway.capabilities.safety.services.batteries import Batteries
from gateway.capabilities.safety.services.emergency_plans import EmergencyPlans
from gateway.capabilities.safety.services.findings import Findings
from gateway.capabilities.safety.services.patrols import Patrols
from gateway.capabilities.safety.services.supervision import Supervision
from gateway.capabilities.visitors.services import Visitors
from gateway.journal import JournalFailed, Pack, Reader
from gateway.model import Clock, GatewayError, Lane, Record, Rows, Service, Stamp, Value
from gateway.services.commands import Commands
from gateway.services.configuration import Configuration, newest_revision
from gateway.services.presence import Presence

from .fold import INDICATED, fold
from .settings import Settings, adopted
from .view import Health, Known, View

SERVICES: tuple[type[Service], ...] = (
    Safety,
    EmergencyPlans,
    Presence,
    Supervision,
    Batteries,
    Patrols,
    Findings,
    Visitors,
    Lockers,
    Commands,
    Configuration,
)

POLL = 0.5
ASK = 2.0
COUNT = 5.0
EXAMINE = 30.0
"""Seconds between two looks at the journal, at the daemon's health, at what is still to deliver, and at the
bus doctor's report."""

PATIENCE = 5.0
"""Seconds the daemon has to say how it is."""

SHARE = 20
"""Counting a long backlog may take no more than one part in so many of the time."""

BACK = 600
"""Telemetry rows to go back for the latest sample of each device: about ten minutes."""

SEARCH = 1.0
"""Seconds to go on going back for points that the latest samples do not hold."""

BATCH = 50

Values = Mapping[str, Mapping[str, tuple[Value, Stamp]]]
"""As `Known.values`."""


class Watch:
    """Keeps `view` up to date while `running`."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        """As the gateway has them now."""
        self._clock = clock
        self._zone = ZoneInfo(settings.timezone)
        self._revision = 0
        self._changed = Signal()
        self._known = Known()
        self.view = self._fold()
        self.closed = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Poll in the background; the first look is done when this is entered."""
        await self._ask()
        await self._examine()
        looked = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            running = (
                tasks.create_task(self._follow(looked), name="journal"),
                tasks.create_task(self._every(ASK, self._ask), name="health"),
                tasks.create_task(self._every(EXAMINE, self._examine), name="doctor"),
                tasks.create_task(self._backlog(), name="backlog"),
            )
            try:
                await looked.wait()
                yield
            finally:
                self.close()
            for task in running:
                task.cancel()

    def close(self) -> None:
        """Let everybody who waits go."""
        self.closed = True
        self._changed.send()

    def now(self) -> int:
        """Unix time in milliseconds."""
        return self._clock.now().wall

    async def changed(self, seen: View | None, patience: float) -> bool:
        """Wait until there is another view than `seen`; False when the patience ran out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self.view is seen and not self.closed:
                    await self._changed.wait()
        return self.view is not seen

    def _fold(self) -> View:
        there = self.settings
        return fold(
            there.devices, self._zone, self._known, self._clock.now(),
            there.outputs, there.duties, there.layout, there.cameras,
        )  # fmt: skip

    def _learn(self, **news: object) -> None:
        """Fold again, whether or not there is news: readings grow old by themselves."""
        self._known = msgspec.structs.replace(self._known, **news)
        view = self._fold()
        if view != self.view:
            self.view = view
            self._changed.send()

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._clock.sleep(seconds)
            await work()

    async def _ask(self) -> None:
        health: Health | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await control.call(self.settings.control, "health")
            journal = str(answer.get("journal", "ok"))
            refused = answer.get("config", {}).get("refused", {})
            health = Health("" if journal == "ok" else journal, refused)
        except (DaemonNotRunning, TimeoutError):
            pass
        except GatewayError as error:
            health = Health(error.key)
        self._learn(health=health)

    async def _examine(self) -> None:
        lines = None
        with contextlib.suppress(GatewayError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                lines = (await control.call(self.settings.control, "doctor"))["buses"]
        self._learn(lines=lines)

    async def _backlog(self) -> None:
        """On a connection of its own: after a long outage the count takes a while."""
        while True:
            pending, pause = None, COUNT
            began = self._clock.mono()
            with contextlib.suppress(JournalFailed):
                async with Reader.open(self.settings.journal) as reader:
                    pending = sum([await reader.pending(lane) for lane in Lane])
                    pause = max(COUNT, SHARE * (self._clock.mono() - began))
            self._learn(pending=pending)
            await self._clock.sleep(pause)

    async def _follow(self, looked: asyncio.Event) -> None:
        while True:
            try:
                await self._read(looked)
            except JournalFailed as failure:
                if self.settings.journal.exists():
                    self._learn(trouble=failure.key)
                else:
                    self._learn(rows=None, samples={}, values={}, trouble="")
            looked.set()
            await self._clock.sleep(POLL)

    async def _read(self, looked: asyncio.Event) -> None:
        """Read until the file at the journal's path is another one. Raises `JournalFailed`."""
        path = self.settings.journal
        async with Reader.open(path) as reader:
            file, version = _identity(path), None
            after = await reader.last(Lane.TELEMETRY)
            samples, values = await self._latest(reader, after)
            while file == _identity(path):
                if version == (version := await reader.data_version()):
                    self._learn()
                else:
                    rows = {service.name: await _rows(reader, service) for service in SERVICES}
                    await self._follow_site(newest_revision(rows[Configuration.name]))
                    while packs := await reader.read(Lane.TELEMETRY, after, BATCH):
                        after = packs[-1].pos
                        samples = {**samples, **_by_device(packs)}
                        values = _merged(values, _by_point(packs))
                    ended = self._ended(rows[Safety.name])
                    self._learn(rows=rows, samples=samples, values=values, ended=ended, trouble="")
                looked.set()
                await self._clock.sleep(POLL)

    def _ended(self, alarms: Rows) -> tuple[tuple[Alarm, Stamp], ...]:
        """The alarms that have ended of late, those among them that stood when we looked last."""
        now = self._clock.now()
        before: Mapping[str, Alarm] = (self._known.rows or {}).get(Safety.name, {})
        recent = (each for each in self._known.ended if now.seconds_since(each[1], unknown=inf) < INDICATED)
        over = ((alarm, now) for key, alarm in before.items() if alarm.stands and key not in alarms)
        return (*recent, *over)

    async def _follow_site(self, revision: int) -> None:
        """The gateway may have adopted another configuration since we looked."""
        if revision != self._revision:
            self._revision = revision
            self.settings = await asyncio.to_thread(adopted, self.settings)

    async def _latest(self, reader: Reader, last: int) -> tuple[dict[str, Record], Values]:
        """The latest sample of each device and the last value of each point, as far back as reasonable."""
        samples: dict[str, Record] = {}
        values: Values = {}
        before, went, began = last + 1, 0, self._clock.mono()

        wanted = {Parking.name, Lockers.name, *(card.name for card in self.settings.devices)}

        def enough() -> bool:
            if not wanted <= samples.keys():
                return False
            complete = all(card.units.keys() <= values[card.name].keys() for card in self.settings.devices)
            return complete or self._clock.mono() - began > SEARCH

        while went < BACK and not enough():
            packs = await reader.before(Lane.TELEMETRY, before, BATCH)
            if not packs:
                break
            before, went = packs[-1].pos, went + len(packs)
            packs.reverse()
            samples = {**_by_device(packs), **samples}
            values = _merged(_by_point(packs), values)
        return samples, values


def _by_device(packs: Iterable[Pack]) -> dict[str, Record]:
    """The latest sample of each device in packs that come oldest first."""
    return {record.device: record for pack in packs for record in pack.records if record.kind == "sample"}


def _by_point(packs: Iterable[Pack]) -> Values:
    """The last value of each point in packs that come oldest first, with the time of its sample."""
    values: dict[str, dict[str, tuple[Value, Stamp]]] = {}
    for record in (record for pack in packs for record in pack.records if record.kind == "sample"):
        said = {point: (value, record.at) for point, value in record.body["values"].items()}
        values.setdefault(record.device, {}).update(said)
    return values


def _merged(older: Values, newer: Values) -> Values:
    return {
        device: {**older.get(device, {}), **newer.get(device, {})} for device in older.keys() | newer.keys()
    }


async def _rows(reader: Reader, service: type[Service]) -> Rows:
    """A service's rows; one that cannot be read is left out, as the reader does with records."""
    rows = {}
    for key, body in (await reader.state(service.name)).items():
        with contextlib.suppress(msgspec.DecodeError):
            rows[key] = msgspec.msgpack.decode(body, type=service.row)
    return rows


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
