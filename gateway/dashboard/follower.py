"""Follows the journal and the daemon, once for all open pages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from math import inf
from pathlib import Path
from typing import Any

import msgspec

from gateway.base import control
from gateway.base.control import DaemonNotRunning
from gateway.base.security import MAX_SECURITY_EVENTS, SECURITY_LOG, SecurityEvent
from gateway.base.tasks import Signal
from gateway.journal import JournalFailed, JournalReader, RecordPack
from gateway.model import Clock, GatewayError, Lane, Record, Rows, Service, Stamp, Value
from gateway.services.configuration import Configuration, newest_revision
from gateway.web.settings import Settings
from gateway.web.snapshot import DaemonHealth, PointValues, Snapshot
from gateway.web.view import View

from .assembly import build_view
from .parts import Part
from .settings import adopted_settings

JOURNAL_POLL_INTERVAL_S = 0.1
"""How soon an alarm or event is noticed."""
VIEW_INTERVAL_S = 0.5
"""How often the view is built again for telemetry, and because time passes."""
URGENT_LANES = (Lane.ALARM, Lane.EVENT)
"""What is new in them is shown at once."""
HEALTH_INTERVAL_S = 2.0
DOCTOR_INTERVAL_S = 30.0
BACKLOG_INTERVAL_S = 5.0
SECURITY_INTERVAL_S = 1.0
HISTORY_INTERVAL_S = 60.0

RESPONSE_TIMEOUT_S = 5.0
"""Timeout of a call to the daemon."""
SECURITY_TIMEOUT_S = 2.0
"""Of one with security events, for which the end of the process waits."""

BACKLOG_PAUSE_FACTOR = 20
"""After counting the backlog, pause for this many times the duration of the count."""

MAX_PACKS_SEARCHED = 600
"""How many packs of telemetry to search back for the latest sample of each device: ten minutes."""

POINT_SEARCH_TIMEOUT_S = 1.0
"""How long to search back for points that are not in the latest samples."""

PACKS_PER_BATCH = 50


class Follower:
    """Keeps `view` up to date while `running`."""

    def __init__(self, settings: Settings, parts: Iterable[Part], clock: Clock) -> None:
        self.settings = settings
        """Those of the configuration that the gateway runs now."""
        self._parts = tuple(parts)
        self._services = tuple(service for part in self._parts for service in part.services)
        self._removed_rows_s = {
            name: seconds for part in self._parts for name, seconds in part.removed_rows_s.items()
        }
        self._clock = clock
        self._revision = 0
        self._changed = Signal()
        self._snapshot = Snapshot()
        self._unrecorded: list[SecurityEvent] = []
        """Security events that the daemon does not have yet."""
        self._passing = asyncio.Lock()
        """An event must not be passed twice."""
        self.view = self._build_view()
        self.closed = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Poll in the background; returns when everything has been read once."""
        await self._poll_health()
        await self._poll_doctor()
        journal_read = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            running = (
                tasks.create_task(self._follow_journal(journal_read), name="journal"),
                tasks.create_task(self._repeat(HEALTH_INTERVAL_S, self._poll_health), name="health"),
                tasks.create_task(self._repeat(DOCTOR_INTERVAL_S, self._poll_doctor), name="doctor"),
                tasks.create_task(self._count_backlog(), name="backlog"),
                tasks.create_task(self._read_history(), name="history"),
                tasks.create_task(
                    self._repeat(SECURITY_INTERVAL_S, self._pass_security_events), name="security"
                ),
            )
            try:
                await journal_read.wait()
                yield
            finally:
                self.close()
            await self._pass_security_events(every=True)
            for task in running:
                task.cancel()

    def close(self) -> None:
        """End every `wait_for_change`."""
        self.closed = True
        self._changed.send()

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return self._clock.now().wall_ms

    async def wait_for_change(self, last_view: View | None, timeout_s: float) -> bool:
        """Wait until there is another view than `last_view`; False at the timeout."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.view is last_view and not self.closed:
                    await self._changed.wait()
        return self.view is not last_view

    def _build_view(self) -> View:
        return build_view(self._parts, self.settings, self._snapshot, self._clock.now())

    def _update(self, **changes: object) -> None:
        """Build the view again, even if nothing has changed: readings become stale with time."""
        self._snapshot = msgspec.structs.replace(self._snapshot, **changes)
        view = self._build_view()
        if view != self.view:
            self.view = view
            self._changed.send()

    async def _repeat(self, interval_s: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._clock.sleep(interval_s)
            await work()

    async def _pass_security_events(self, *, every: bool = False) -> None:
        """Pass those of this process to the daemon, which records them; while it is away they wait."""
        async with self._passing:
            if every or not self._unrecorded:
                self._unrecorded += SECURITY_LOG.take(every=every)
            with contextlib.suppress(GatewayError):
                while batch := self._unrecorded[:MAX_SECURITY_EVENTS]:
                    await control.call_daemon(
                        self.settings.control, "security", SECURITY_TIMEOUT_S, events=batch
                    )
                    del self._unrecorded[:MAX_SECURITY_EVENTS]

    async def _poll_health(self) -> None:
        health: DaemonHealth | None = None
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT_S):
                answer = await control.call_daemon(self.settings.control, "health")
            journal = str(answer.get("journal", "ok"))
            refused = answer.get("config", {}).get("refused", {})
            health = DaemonHealth("" if journal == "ok" else journal, refused)
        except (DaemonNotRunning, TimeoutError):
            pass
        except GatewayError as error:
            health = DaemonHealth(error.key)
        self._update(health=health)

    async def _poll_doctor(self) -> None:
        buses = None
        with contextlib.suppress(GatewayError, TimeoutError):
            async with asyncio.timeout(RESPONSE_TIMEOUT_S):
                buses = (await control.call_daemon(self.settings.control, "doctor"))["buses"]
        self._update(buses=buses)

    async def _count_backlog(self) -> None:
        """Uses its own connection: after a long outage, counting takes a while."""
        while True:
            pending, pause_s = None, BACKLOG_INTERVAL_S
            started = self._clock.mono()
            with contextlib.suppress(JournalFailed):
                async with JournalReader.open(self.settings.journal) as reader:
                    pending = {name: await reader.pending_count(name) for name in self.settings.uplinks}
                    duration_s = self._clock.mono() - started
                    pause_s = max(BACKLOG_INTERVAL_S, BACKLOG_PAUSE_FACTOR * duration_s)
            self._update(pending=pending)
            await self._clock.sleep(pause_s)

    async def _read_history(self) -> None:
        while True:
            history = {
                part.name: await part.history(
                    self.settings.parts.get(part.name), self.settings.journal, self._clock.now()
                )
                for part in self._parts
                if part.history
            }
            self._update(history=history)
            await self._clock.sleep(HISTORY_INTERVAL_S)

    async def _follow_journal(self, journal_read: asyncio.Event) -> None:
        while True:
            try:
                await self._read_journal(journal_read)
            except JournalFailed as failure:
                if self.settings.journal.exists():
                    self._update(trouble=failure.cause)
                else:
                    self._update(rows=None, samples={}, values={}, trouble="")
            journal_read.set()
            await self._clock.sleep(JOURNAL_POLL_INTERVAL_S)

    async def _read_journal(self, journal_read: asyncio.Event) -> None:
        """Read until the file at the journal's path is replaced. Raises `JournalFailed`."""
        path = self.settings.journal
        async with JournalReader.open(path) as reader:
            file, version, urgent, due_s = _file_identity(path), None, None, -inf
            after = await reader.last_pos(Lane.TELEMETRY)
            samples, values = await self._search_latest(reader, after)
            while file == _file_identity(path):
                is_changed = version != (newest := await reader.data_version())
                positions = [await reader.last_pos(lane) for lane in URGENT_LANES] if is_changed else urgent
                if positions != urgent or self._clock.mono() >= due_s:
                    changes: dict[str, object] = {}
                    if is_changed:
                        version, urgent = newest, positions
                        rows = {each.name: await _service_rows(reader, each) for each in self._services}
                        await self._follow_configuration(newest_revision(rows[Configuration.name]))
                        while packs := await reader.read_after(Lane.TELEMETRY, after, PACKS_PER_BATCH):
                            after = packs[-1].pos
                            samples = {**samples, **_latest_by_device(packs)}
                            values = _merge_point_values(values, _latest_by_point(packs))
                        removed = {
                            name: self._recently_removed(name, rows[name]) for name in self._removed_rows_s
                        }
                        changes = {"rows": rows, "samples": samples, "values": values, "removed": removed}
                    self._update(**changes, trouble="")
                    due_s = self._clock.mono() + VIEW_INTERVAL_S
                journal_read.set()
                await self._clock.sleep(JOURNAL_POLL_INTERVAL_S)

    def _recently_removed(self, service: str, rows: Rows) -> tuple[tuple[Any, Stamp], ...]:
        """The rows that were removed recently: since the last read, or within `PagePart.removed_rows_s`."""
        now, kept_s = self._clock.now(), self._removed_rows_s[service]
        before = self._snapshot.removed.get(service, ())
        recent = (each for each in before if now.seconds_since(each[1], if_unknown=inf) < kept_s)
        gone = ((row, now) for key, row in self._snapshot.service(service).items() if key not in rows)
        return (*recent, *gone)

    async def _follow_configuration(self, revision: int) -> None:
        """Load the settings again if the gateway has adopted another configuration."""
        if revision != self._revision:
            self._revision = revision
            self.settings = await asyncio.to_thread(adopted_settings, self.settings, self._parts)

    async def _search_latest(
        self, reader: JournalReader, last: int
    ) -> tuple[dict[str, Record], PointValues]:
        """The latest sample of each device and the last value of each point, within the search limits."""
        samples: dict[str, Record] = {}
        values: PointValues = {}
        before, searched, started = last + 1, 0, self._clock.mono()
        devices = self.settings.devices
        wanted = {
            *(device.name for device in devices),
            *(summary for part in self._parts for summary in part.summaries),
        }

        def is_enough() -> bool:
            if not wanted <= samples.keys():
                return False
            complete = all(device.units.keys() <= values[device.name].keys() for device in devices)
            return complete or self._clock.mono() - started > POINT_SEARCH_TIMEOUT_S

        while searched < MAX_PACKS_SEARCHED and not is_enough():
            packs = await reader.read_before(Lane.TELEMETRY, before, PACKS_PER_BATCH)
            if not packs:
                break
            before, searched = packs[-1].pos, searched + len(packs)
            packs.reverse()
            samples = {**_latest_by_device(packs), **samples}
            values = _merge_point_values(_latest_by_point(packs), values)
        return samples, values


def _latest_by_device(packs: Iterable[RecordPack]) -> dict[str, Record]:
    """The latest sample of each device in packs that come oldest first."""
    return {record.device: record for pack in packs for record in pack.records if record.kind == "sample"}


def _latest_by_point(packs: Iterable[RecordPack]) -> PointValues:
    """The last value of each point in packs that come oldest first, with the time of its sample."""
    values: dict[str, dict[str, tuple[Value, Stamp]]] = {}
    for record in (record for pack in packs for record in pack.records if record.kind == "sample"):
        points = {point: (value, record.at) for point, value in record.body["values"].items()}
        values.setdefault(record.device, {}).update(points)
    return values


def _merge_point_values(older: PointValues, newer: PointValues) -> PointValues:
    return {
        device: {**older.get(device, {}), **newer.get(device, {})} for device in older.keys() | newer.keys()
    }


async def _service_rows(reader: JournalReader, service: type[Service]) -> Rows:
    """A service's rows; one that cannot be read is left out, as the reader does with records."""
    rows = {}
    for key, body in (await reader.service_rows(service.name)).items():
        with contextlib.suppress(msgspec.DecodeError):
            rows[key] = msgspec.msgpack.decode(body, type=service.row)
    return rows


def _file_identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
