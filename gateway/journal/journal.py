"""Writing the journal: one task, one transaction at a time.

The promise: a power cut loses at most one commit window of telemetry, and no alarm or command that
`commit` returned for. Sequence numbers of telemetry are reserved ahead in blocks, because a sample
may leave before it is committed: none is ever used twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from gateway.model import Changes, Clock, Fact, Lane, Record, Row, Sample, Stamp

from .database import Database, JournalFailed, Statement, connect
from .reader import LANES, UPLINK, Reader
from .rows import pack

BLOCK = 4096
"""Telemetry sequence numbers reserved at a time and device: over an hour at one a second."""

CHECKPOINT = 300.0
"""Seconds between two checkpoints of the sequence numbers; a start re-reads what came after."""

KEPT = 8
"""Committed windows kept in memory for a reader that is nearly up to date."""

_encode = msgspec.msgpack.Encoder().encode


class Window(msgspec.Struct):
    """The telemetry of one commit; `pos` is None until it is committed."""

    records: list[Record] = []
    pos: int | None = None
    ready: int = 0
    """How many records, from the first, may leave already: all once committed; before, those whose
    sequence number a crash could not hand out again."""


class Signal:
    """Wakes everybody who waits, now; who comes later waits for the next."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def send(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self) -> None:
        await self._event.wait()


class Journal(Reader):
    """The writer, in the daemon. Reading goes over a second connection, so it never waits."""

    def __init__(self, writer: Database, reader: Database, clock: Clock, window: float) -> None:
        super().__init__(reader)
        self._writer = writer
        self._clock = clock
        self._window = window
        self._streams: dict[tuple[Lane, str], list[int]] = {}
        self._events: list[Record] = []
        self._alarms: list[Record] = []
        self._changes: dict[tuple[str, str], Row | None] = {}
        self._cursors: dict[int, int] = {}
        self._reserve: dict[str, int] = {}
        self._durable: dict[str, int] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._window_due = False
        self._windows: deque[Window] = deque([Window()])
        self._checkpoint_due = 0.0
        self.changed = Signal()
        """Sent when a sample was taken in, and when something was committed."""
        self.settled = Signal()
        """Sent when something was committed, and not at every sample."""
        self.epoch = ""
        self.committed = dict.fromkeys(LANES, 0)
        """The newest position of each lane."""
        self.delivered = dict.fromkeys(LANES, 0)
        """The position up to which the platform has acknowledged each lane."""
        self.commits = 0
        self.failure: JournalFailed | None = None
        """Why the last commit did not succeed; what it held is kept and tried again."""

    @staticmethod
    @asynccontextmanager
    async def open(path: Path, clock: Clock, window: float) -> AsyncIterator[Journal]:  # type: ignore[override]
        """Open or create the journal; on the way out everything pending is committed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        async with connect(path) as writer, connect(path, readonly=True) as reader:
            journal = Journal(writer, reader, clock, window)
            await journal._load()
            try:
                async with asyncio.TaskGroup() as tasks:
                    running = (
                        tasks.create_task(journal._write(), name="journal-writer"),
                        tasks.create_task(journal._close_windows(), name="journal-window"),
                    )
                    yield journal
                    for task in running:
                        task.cancel()
            finally:
                await _unbroken(journal._flush(telemetry=True, closing=True))

    async def _load(self) -> None:
        self.epoch = await self.meta("epoch")
        for lane in LANES:
            self.committed[lane] = await self.last(lane)
            self.delivered[lane] = await self.cursor(lane)
        clean = await self.meta("clean") == "1"
        for (lane, device), (written, reserved) in (await self.streams()).items():
            self._streams[lane, device] = [written, reserved]
            self._durable[device] = max(reserved, self._durable.get(device, 0))
            if lane is Lane.TELEMETRY and not clean and reserved > written:
                # Nobody knows which of these left before the power went; none may be used again.
                self._streams[lane, device] = [reserved, reserved]
                self._take(_gap(device, written + 1, reserved, self._clock.now()))
        await self._writer.transact([("UPDATE meta SET value = '0' WHERE key = 'clean'", ())])
        self._checkpoint_due = self._clock.mono() + CHECKPOINT

    def sample(self, sample: Sample) -> Record:
        """Take a sample into the open window; readers in this process see it at once."""
        body: dict[str, Any] = {"quality": sample.quality, "values": sample.values}
        if sample.bad:
            body["bad"] = sample.bad
        if sample.error:
            body["error"] = sample.error
        record = self._number(Lane.TELEMETRY, sample.device, "sample", sample.at, body)
        window = self._windows[-1]
        if window.ready == len(window.records) and record.seq <= self._durable.get(record.device, 0):
            window.ready += 1
        window.records.append(record)
        self.changed.send()
        return record

    def append(self, service: str, facts: Iterable[Fact], changes: Changes) -> None:
        """Take facts and the rows they lead to; they are committed together, with the window."""
        for fact in facts:
            self._take(fact)
        for key, row in changes.items():
            self._changes[service, key] = row

    async def commit(self) -> None:
        """Return once everything appended so far is on the disk. Raises `JournalFailed`."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wake.set()
        await done

    def advance(self, lane: Lane, pos: int) -> None:
        """The platform has acknowledged a lane up to here; made durable with the next commit."""
        if pos > self.delivered[lane]:
            self.delivered[lane] = self._cursors[lane] = pos

    def window_after(self, pos: int) -> Window | None:
        """The window that follows a position, if memory still has it."""
        if pos >= self.committed[Lane.TELEMETRY]:
            return next(window for window in self._windows if window.pos is None)
        return next((window for window in self._windows if window.pos == pos + 1), None)

    def _take(self, fact: Fact) -> None:
        record = self._number(fact.lane, fact.device, fact.kind, fact.at, fact.body)
        (self._alarms if fact.lane is Lane.ALARM else self._events).append(record)

    def _number(self, lane: Lane, device: str, kind: str, at: Stamp, body: dict[str, Any]) -> Record:
        stream = self._streams.setdefault((lane, device), [0, 0])
        stream[0] += 1
        if lane is Lane.TELEMETRY and stream[0] + BLOCK // 2 > stream[1]:
            stream[1] = self._reserve[device] = stream[0] + BLOCK
        return Record(lane, device, stream[0], kind, at, body)

    async def _close_windows(self) -> None:
        while True:
            await self._clock.sleep(self._window)
            self._window_due = True
            self._wake.set()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._window_due = self._window_due, False
            await _unbroken(self._flush(telemetry=due))

    async def _flush(self, *, telemetry: bool, closing: bool = False) -> None:
        """One transaction with all that is pending; what fails stays pending."""
        waiting, self._waiting = self._waiting, []
        alarms, self._alarms = self._alarms, []
        events, self._events = self._events, []
        changes, self._changes = self._changes, {}
        cursors, self._cursors = self._cursors, {}
        reserve, self._reserve = self._reserve, {}
        windows = self._due_windows() if telemetry else []
        packs = [(Lane.ALARM, [record]) for record in alarms]
        packs += [(Lane.EVENT, events)] if events else []
        packs += [(Lane.TELEMETRY, window.records) for window in windows]
        statements = [
            *(_insert(lane, records) for lane, records in packs),
            *(_put_state(service, key, row) for (service, key), row in changes.items()),
            *(_put_cursor(lane, pos) for lane, pos in cursors.items()),
            *(_put_reserved(device, number) for device, number in reserve.items()),
        ]
        if closing or self._clock.mono() >= self._checkpoint_due:
            statements += self._checkpoint(len(windows), closing)
        try:
            ids = await self._writer.transact(statements) if statements else []
        except JournalFailed as failure:
            self.failure = failure
            self._alarms[:0], self._events[:0] = alarms, events
            self._changes = {**changes, **self._changes}
            self._cursors = {**cursors, **self._cursors}
            self._reserve = {**reserve, **self._reserve}
            _settle(waiting, failure)
            return
        for (lane, _), pos in zip(packs, ids, strict=False):
            self.committed[lane] = pos
        for window, pos in zip(windows, ids[len(packs) - len(windows) :], strict=False):
            window.pos, window.ready = pos, len(window.records)
        self._durable.update(reserve)
        self.failure = None
        self.commits += bool(statements)
        while len(self._windows) > KEPT and self._windows[0].pos is not None:
            self._windows.popleft()
        _settle(waiting, None)
        self.settled.send()
        self.changed.send()

    def _due_windows(self) -> list[Window]:
        """Close the open window; all that are closed and not committed, oldest first."""
        if self._windows[-1].records:
            self._windows.append(Window())
        return [window for window in self._windows if window.pos is None and window.records]

    def _checkpoint(self, due: int, closing: bool) -> list[Statement]:
        """Sequence numbers as they will be once the `due` oldest open windows are committed."""
        self._checkpoint_due = self._clock.mono() + CHECKPOINT
        later = [window.records for window in self._windows if window.pos is None][due:]
        ahead = Counter(
            (record.lane, record.device)
            for records in (*later, self._alarms, self._events)
            for record in records
        )
        return [
            *(
                (
                    "INSERT INTO stream VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE "
                    "SET written = ?3, reserved = ?4",
                    (int(lane), device, last - ahead[lane, device], reserved),
                )
                for (lane, device), (last, reserved) in self._streams.items()
            ),
            (
                "UPDATE meta SET value = (SELECT json_group_array(coalesce(seq, 0)) FROM "
                "(VALUES ('alarm'), ('event'), ('telemetry')) LEFT JOIN sqlite_sequence "
                "ON name = column1) WHERE key = 'checkpoint'",
                (),
            ),
            ("UPDATE meta SET value = ? WHERE key = 'clean'", (str(int(closing)),)),
        ]


async def _unbroken(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end even when cancelled: a half-done transaction helps nobody."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _settle(waiting: list[asyncio.Future[None]], failure: JournalFailed | None) -> None:
    for future in waiting:
        if future.done():
            continue
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(failure)


def _gap(device: str, first: int, last: int, at: Stamp) -> Fact:
    body = {"lane": Lane.TELEMETRY.name.lower(), "first": first, "last": last, "reason": "restart"}
    return Fact(Lane.EVENT, device, "gap", at, body)


def _insert(lane: Lane, records: list[Record]) -> Statement:
    body, crc = pack(records)
    return (
        f"INSERT INTO {lane.name} (count, body, crc) VALUES (?, ?, ?)",  # noqa: S608
        (len(records), body, crc),
    )


def _put_state(service: str, key: str, row: Row | None) -> Statement:
    if row is None:
        return "DELETE FROM state WHERE service = ? AND key = ?", (service, key)
    return "INSERT OR REPLACE INTO state VALUES (?, ?, ?)", (service, key, _encode(row))


def _put_cursor(lane: int, pos: int) -> Statement:
    return "INSERT OR REPLACE INTO cursor VALUES (?, ?, ?)", (UPLINK, lane, pos)


def _put_reserved(device: str, reserved: int) -> Statement:
    return (
        "INSERT INTO stream VALUES (?1, ?2, 0, ?3) ON CONFLICT DO UPDATE SET reserved = ?3",
        (int(Lane.TELEMETRY), device, reserved),
    )
