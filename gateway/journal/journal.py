"""Writing the journal: one task, one transaction at a time.

The promise: a power cut loses at most one commit window of telemetry, and no alarm or command that
`commit` returned for; the end of the process alone loses nothing (tail.py). While the link is up telemetry
leaves before it is committed, so a number is never used twice by rule: no record leaves whose number is
more than BLOCK above the last committed one of its stream, and a start after a power cut goes on BLOCK
above it, leaving a gap record for the rest.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from gateway.base.failpoint import failpoint
from gateway.base.tasks import Signal, run_to_end
from gateway.model import Changes, Clock, Fact, Lane, Record, Row, Sample, Stamp

from .database import Database, JournalDamaged, JournalFailed, JournalFull, Statement, connect
from .holes import holes
from .reader import DAMAGED, LANES, UNCERTAIN, DayOf, Gap, Pack, Reader, Stream, utc_day
from .salvage import finish, is_marked_damaged, mark_damaged, replace
from .space import Limits, Reserve, Wear
from .statements import (
    add_day,
    insert,
    put_checkpoint,
    put_clean,
    put_cursor,
    put_dead,
    put_gap,
    put_state,
    put_stream,
    remove,
)
from .tail import Tail

BLOCK = 256
"""Telemetry records of one device that may leave between two commits."""
CHECKPOINT = 300.0
"""Seconds between two checkpoints of the sequence numbers; a start re-reads what came after."""
KEPT = 8
"""Committed windows kept in memory for a reader that is nearly up to date."""
UNWRITTEN = 600
"""Windows kept in memory while the disk takes nothing; then the oldest goes, with a gap record."""
EVICTED = 64
"""Rows of telemetry removed at a time to make room."""
SMALL = 64 * 1024 * 1024
"""Bytes of a journal that is checked before it is used; a larger one is checked while it is."""


class Window(msgspec.Struct):
    """The telemetry of one commit; `pos` is None until it is committed."""

    records: list[Record] = []
    pos: int | None = None
    ready: int = 0
    """How many records, from the first, may leave already: all once committed; before, those whose
    sequence number a crash could not hand out again."""


class _Pending(msgspec.Struct):
    """What the next transaction will hold."""

    alarms: list[Record] = []
    events: list[Record] = []
    changes: dict[tuple[str, str], Row | None] = {}
    cursors: dict[Lane, int] = {}
    gaps: list[tuple[str, Gap]] = []
    dead: list[tuple[Record, str]] = []
    deletions: list[Statement] = []
    waiting: list[asyncio.Future[None]] = []

    def put_back(self, older: _Pending) -> None:
        """A transaction failed: what it held goes first in the next one."""
        self.alarms[:0], self.events[:0] = older.alarms, older.events
        self.gaps[:0], self.dead[:0] = older.gaps, older.dead
        self.deletions[:0] = older.deletions
        self.changes = {**older.changes, **self.changes}
        self.cursors = {**older.cursors, **self.cursors}


class Journal(Reader):
    """The writer, in the daemon. Reading goes over a second connection, so it never waits."""

    def __init__(
        self,
        writer: Database,
        reader: Database,
        clock: Clock,
        limits: Limits,
        window: float,
        day_of: DayOf,
        runtime: Path | None,
    ) -> None:
        super().__init__(reader, day_of)
        self._runtime = runtime
        self._tail: Tail | None = None
        self._numbers: dict[Stream, int] = {}
        self._writer = writer
        self._clock = clock
        self._limits = limits
        self._reserve = Reserve(writer.path)
        self._streams: dict[Stream, int] = {}
        self._committed_seq: dict[str, int] = {}
        self._days: Counter[tuple[str, Lane, str]] = Counter()
        self._pending = _Pending()
        self._wake = asyncio.Event()
        self._window_due = False
        self._windows: deque[Window] = deque([Window()])
        self._checkpoint_due = float("-inf")
        self._tasks: list[asyncio.Task[None]] = []
        self.wear = Wear(clock, limits, window)
        self.latest: dict[str, Record] = {}
        """The newest sample of each device, since the start."""
        self.changed = Signal()
        """Sent when a sample was taken in, and when something was committed."""
        self.settled = Signal()
        """Sent when something was committed or could not be, and not at every sample."""
        self.epoch = ""
        self.committed = dict.fromkeys(LANES, 0)
        """The newest position of each lane."""
        self.delivered = dict.fromkeys(LANES, 0)
        """The position up to which the platform has acknowledged each lane."""
        self.commits = 0
        self.dropped = 0
        """Records given up since the start."""
        self.dead = 0
        """Records in the dead-letter table."""
        self.bytes = 0
        """What the journal takes on the disk, its log and reserve included, as of the last look."""
        self.failure: JournalFailed | None = None
        """Why the last commit did not succeed; what it held is kept and tried again."""
        self.salvaged: Path | None = None
        """Where a damaged journal was put aside at this start."""

    @staticmethod
    @asynccontextmanager
    async def open(  # type: ignore[override]
        path: Path,
        clock: Clock,
        window: float = 1.0,
        limits: Limits | None = None,
        day_of: DayOf | None = None,
        runtime: Path | None = None,
    ) -> AsyncIterator[Journal]:
        """Open or create the journal; a damaged one is put aside and what is sound is taken over.

        `runtime` is a folder in memory, where what is not committed yet outlives the process. On the
        way out everything pending is committed. Raises `JournalFailed`.
        """
        limits = limits or Limits()
        path.parent.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            aside = None
            finish(path)
            try:
                journal = await _start(stack, path, clock, window, limits, day_of, runtime)
            except JournalDamaged:
                await stack.aclose()
                Reserve(path).release()
                aside = await replace(path, limits.pages)
                journal = await _start(stack, path, clock, window, limits, day_of, runtime)
            journal.salvaged = aside
            journal._tasks = [
                asyncio.create_task(journal._write(), name="journal-writer"),
                asyncio.create_task(journal._close_windows(), name="journal-window"),
            ]
            try:
                yield journal
            finally:
                for task in journal._tasks:
                    task.cancel()
                await asyncio.gather(*journal._tasks, return_exceptions=True)
                await run_to_end(journal._flush(telemetry=True, closing=True))
                if journal._tail and journal.failure is None:
                    journal._tail.remove()

    async def run(self) -> None:
        """Ends only with the writer: raises `JournalDamaged` when the file is beyond use."""
        large = self._writer.path.stat().st_size > SMALL
        await asyncio.gather(*self._tasks, *([self.verify()] if large else []))

    async def _load(self) -> None:
        self.epoch = await self.meta("epoch")
        if self._runtime:
            self._tail = Tail(self._runtime, f"{self.epoch} {self._clock.now().boot}")
        for lane in LANES:
            self.committed[lane] = await self.last(lane)
            self.delivered[lane] = await self.cursor(lane)
        self._streams, self._days = await self.counts()
        self._numbers = dict(self._streams)
        clean = await self.meta("clean")
        if clean == DAMAGED:
            await self._tell_holes()
        if clean == "0" and not self._take_over():
            # Nobody knows which of these left before the power went; none may be used again.
            for (lane, device), written in list(self._streams.items()):
                if lane is Lane.TELEMETRY:
                    gap = Gap(lane, device, written + 1, written + BLOCK, BLOCK, UNCERTAIN)
                    self._streams[lane, device] = written + BLOCK
                    self._tell_gap(self.day_of(self._clock.now()), gap)
        # A checkpoint: numbers are passed over in the transaction that tells of it, or not at all.
        await self._commit(telemetry=True)
        if isinstance(self.failure, JournalFull):
            self._reserve.release()
            await self._commit(telemetry=True)
        if self.failure:
            raise self.failure
        if self._tail:
            self._numbers = dict(self._streams)
            self._tail.reset(self._numbers, [])
        for (lane, device), written in self._streams.items():
            if lane is Lane.TELEMETRY:
                self._committed_seq[device] = written
        self.dead = int((await self._database.rows("SELECT count(*) FROM dead"))[0][0])
        self._reserve.fill()
        await self._make_room()

    def _take_over(self) -> bool:
        """What a killed process had taken in and not committed; False if nobody knows what that was."""
        found = self._tail.recover() if self._tail else None
        if found is None:
            return False
        for stream, seq in found.committed.items():
            self._pass_over(stream, seq)
        for record in found.records:
            stream = record.lane, record.device
            if record.seq > self._streams.get(stream, 0):
                self._pass_over(stream, record.seq - 1)
                self._streams[stream] = record.seq
                self._windows[-1].records.append(record)
        return True

    def _pass_over(self, stream: Stream, seq: int) -> None:
        """Numbers that were committed once and are not in the file: damage took them, nobody gets them."""
        last = self._streams.get(stream, 0)
        if seq > last:
            self._streams[stream] = seq
            gap = Gap(*stream, last + 1, seq, seq - last, DAMAGED)
            self._tell_gap(self.day_of(self._clock.now()), gap)

    async def _tell_holes(self) -> None:
        """Tell of every number that damage may have cost, and again of the gaps whose record it took."""
        told, known = await holes(self, self._streams, self.delivered)
        day = self.day_of(self._clock.now())
        for gap in told:
            self._tell_gap(day, gap)
        for then, gap in known:
            self._tell_gap(then, gap, again=True)

    def _packs(self, rows: list[tuple[Any, ...]]) -> list[Pack]:
        packs = super()._packs(rows)
        if self.damaged:
            # The next start tells of what it cost.
            mark_damaged(self._writer.path)
            raise JournalDamaged("journal-read", path=self._writer.path, reason="crc")
        return packs

    def sample(self, sample: Sample) -> Record:
        """Take a sample into the open window; readers in this process see it at once."""
        body: dict[str, Any] = {"quality": sample.quality, "values": sample.values}
        if sample.bad:
            body["bad"] = sample.bad
        if sample.error:
            body["error"] = sample.error
        record = self._number(Lane.TELEMETRY, sample.device, "sample", sample.at, body)
        window = self._windows[-1]
        known = self._committed_seq.get(record.device)
        if window.ready == len(window.records) and known is not None and record.seq <= known + BLOCK:
            window.ready += 1
        window.records.append(record)
        if self._tail:
            self._tail.add(record)
        self.latest[record.device] = record
        self.changed.send()
        return record

    def append(self, service: str, facts: Iterable[Fact], changes: Changes) -> None:
        """Take facts and the rows they lead to; they are committed together, with the window."""
        for fact in facts:
            record = self._number(fact.lane, fact.device, fact.kind, fact.at, fact.body)
            (self._pending.alarms if fact.lane is Lane.ALARM else self._pending.events).append(record)
        for key, row in changes.items():
            self._pending.changes[service, key] = row

    async def commit(self) -> None:
        """Return once everything appended so far is on the disk. Raises `JournalFailed`."""
        done = asyncio.get_running_loop().create_future()
        self._pending.waiting.append(done)
        self._wake.set()
        await done

    def advance(self, lane: Lane, pos: int) -> None:
        """The platform has acknowledged a lane up to here; made durable with the next commit."""
        if pos > self.delivered[lane]:
            self.delivered[lane] = self._pending.cursors[lane] = pos

    def lose(self, records: Iterable[Record], reason: str) -> None:
        """Records that will never be delivered: the ledger and the platform are told which and why."""
        lost: dict[tuple[str, Lane, str], list[int]] = {}
        for record in records:
            lost.setdefault((self.day_of(record.at), record.lane, record.device), []).append(record.seq)
        for (day, lane, device), seqs in lost.items():
            self._tell_gap(day, Gap(lane, device, seqs[0], seqs[-1], len(seqs), reason))

    def bury(self, record: Record, reason: str) -> None:
        """A record that the broker will not take goes to the dead-letter table."""
        self._pending.dead.append((record, reason))
        self.dead += 1
        # A gap record that is itself refused is not told of by another.
        self._tell_gap(
            self.day_of(record.at),
            Gap(record.lane, record.device, record.seq, record.seq, 1, "dead"),
            to_ledger_only=record.kind == "gap",
        )

    def unkept_alarms(self) -> list[Record]:
        """Alarms that the disk would not take: they leave all the same, and again once it has."""
        return list(self._pending.alarms) if self.failure else []

    def window_after(self, pos: int) -> Window | None:
        """The window that follows a position, if memory still has it."""
        if pos >= self.committed[Lane.TELEMETRY]:
            return next(window for window in self._windows if window.pos is None)
        return next((window for window in self._windows if window.pos == pos + 1), None)

    def _tell_gap(self, day: str, gap: Gap, *, to_ledger_only: bool = False, again: bool = False) -> None:
        if not again:
            self.dropped += gap.count if gap.reason != UNCERTAIN else 0
            self._pending.gaps.append((day, gap))
        if to_ledger_only:
            return
        body = {**msgspec.structs.asdict(gap), "lane": gap.lane.name.lower()}
        del body["device"]
        self.append("", [Fact(Lane.EVENT, gap.device, "gap", self._clock.now(), body)], {})

    def _number(self, lane: Lane, device: str, kind: str, at: Stamp, body: dict[str, Any]) -> Record:
        seq = self._streams[lane, device] = self._streams.get((lane, device), 0) + 1
        return Record(lane, device, seq, kind, at, body)

    async def _close_windows(self) -> None:
        while True:
            await self._clock.sleep(self.wear.window)
            self.wear.adapt()
            self._window_due = True
            self._wake.set()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._window_due = self._window_due, False
            await run_to_end(self._flush(telemetry=due))

    async def _flush(self, *, telemetry: bool, closing: bool = False) -> None:
        """Commit, and see to it that the next commit finds room. Raises `JournalDamaged`."""
        try:
            await self._commit(telemetry=telemetry, closing=closing)
            if isinstance(self.failure, JournalFull):
                # The reserve makes room for the alarms; without telemetry they may fit.
                self._reserve.release()
                await self._evict(Lane.TELEMETRY)
            elif telemetry and self.failure is None:
                await self._make_room()
        except JournalDamaged:
            raise
        except (JournalFailed, OSError) as failed:
            # A disk that is gone: on in memory, until it is back or somebody comes.
            path = self._writer.path
            self.failure = (
                failed
                if isinstance(failed, JournalFailed)
                else JournalFailed("journal-write", path=path, reason=failed)
            )
        self._forget_unwritten()

    async def _commit(self, *, telemetry: bool, closing: bool = False) -> None:
        """One transaction with all that is pending; what fails stays pending. Raises `JournalDamaged`."""
        pending, self._pending = self._pending, _Pending()
        windows = self._due_windows() if telemetry else []
        try:
            await self._transact(pending, windows, closing)
        except JournalFailed as failure:
            self.failure = failure
            self._pending.put_back(pending)
            _settle(pending.waiting, failure)
            self.settled.send()
            if isinstance(failure, JournalDamaged):
                # The next start puts the file aside and takes over what is sound.
                mark_damaged(self._writer.path)
                raise
            return
        self.failure = None
        while len(self._windows) > KEPT and self._windows[0].pos is not None:
            self._windows.popleft()
        _settle(pending.waiting, None)
        self.settled.send()
        self.changed.send()

    async def _transact(self, pending: _Pending, windows: list[Window], closing: bool) -> None:
        packs = [(Lane.ALARM, [record]) for record in pending.alarms]
        packs += [(Lane.EVENT, pending.events)] if pending.events else []
        packs += [(Lane.TELEMETRY, window.records) for window in windows]
        statements = [
            *(insert(lane, records) for lane, records in packs),
            *pending.deletions,
            *(put_state(service, key, row) for (service, key), row in pending.changes.items()),
            *(put_cursor(lane, pos) for lane, pos in pending.cursors.items()),
            *(put_gap(day, gap) for day, gap in pending.gaps),
            *(put_dead(record, reason) for record, reason in pending.dead),
        ]
        fresh = {
            record.device: record.seq
            for window in windows
            for record in window.records
            if record.device not in self._committed_seq
        }
        statements += [put_stream((Lane.TELEMETRY, device), 0) for device in fresh]
        days = Counter(
            (self.day_of(record.at), lane, record.device) for lane, records in packs for record in records
        )
        # Rows that go take the numbers with them that were used since the last checkpoint.
        checkpoint = closing or bool(pending.deletions) or self._clock.mono() >= self._checkpoint_due
        if checkpoint:
            statements += self._checkpoint(len(windows), self._days + days, closing)
        stage = "alarm-commit" if pending.alarms else "window-commit" if windows else "other-commit"
        failpoint(f"before-{stage}")
        ids = await self._writer.transact(statements) if statements else []
        failpoint(f"after-{stage}")
        for (lane, _), pos in zip(packs, ids, strict=False):
            self.committed[lane] = pos
        for window, pos in zip(windows, ids[len(packs) - len(windows) :], strict=False):
            window.pos, window.ready = pos, len(window.records)
            for record in window.records:
                self._committed_seq[record.device] = record.seq
        if self._tail:
            self._note_in_tail(self._tail, [record for _, records in packs for record in records], windows)
        if checkpoint:
            self._checkpoint_due = self._clock.mono() + CHECKPOINT
        self._days = Counter() if checkpoint else self._days + days
        self.commits += bool(statements)

    def _note_in_tail(self, tail: Tail, committed: list[Record], windows: list[Window]) -> None:
        """What is on the disk now is no longer the tail's to keep, but its numbers are."""
        numbers = {(record.lane, record.device): record.seq for record in committed}
        self._numbers |= numbers
        if windows:
            later = (record for window in self._windows if window.pos is None for record in window.records)
            tail.reset(self._numbers, later)
        else:
            tail.commit(numbers)

    def _due_windows(self) -> list[Window]:
        """Close the open window; all that are closed and not committed, oldest first."""
        if self._windows[-1].records:
            self._windows.append(Window())
        return [window for window in self._windows if window.pos is None and window.records]

    def _checkpoint(self, due: int, days: Counter[tuple[str, Lane, str]], closing: bool) -> list[Statement]:
        """Sequence numbers as they will be once the `due` oldest open windows are committed."""
        later = [window.records for window in self._windows if window.pos is None][due:]
        ahead = Counter(
            (record.lane, record.device)
            for records in (*later, self._pending.alarms, self._pending.events)
            for record in records
        )
        return [
            *(put_stream(stream, last - ahead[stream]) for stream, last in self._streams.items()),
            *(add_day(day, lane, device, count) for (day, lane, device), count in days.items()),
            put_checkpoint(),
            put_clean(closing),
        ]

    async def _make_room(self) -> None:
        """Keep below the cap: the oldest telemetry goes first, then events; alarms last of all."""
        while (used := await self._writer.used_pages()) > self._limits.telemetry_pages:
            if await self._evict(Lane.TELEMETRY) or await self._evict(Lane.EVENT):
                continue
            if used <= self._limits.pages or not await self._evict(Lane.ALARM):
                break
        self._reserve.fill()
        self.bytes = self._writer.size() + self._reserve.size()

    async def _evict(self, lane: Lane) -> bool:
        """Remove the oldest rows of a lane; what was not delivered becomes gaps. False if it is empty."""
        packs = await self.read(lane, 0, EVICTED)
        if not packs:
            return False
        until, delivered = packs[-1].pos, self.delivered[lane]
        self.lose((record for pack in packs if pack.pos > delivered for record in pack.records), "space")
        self._pending.deletions.append(remove(lane, until))
        self.advance(lane, until)
        failpoint("evict")
        await self._commit(telemetry=False)
        failpoint("evicted")
        return self.failure is None

    def _forget_unwritten(self) -> None:
        """Memory is bounded too: the oldest window nobody could write is given up, and told of."""
        unwritten = [window for window in self._windows if window.pos is None]
        if len(unwritten) <= UNWRITTEN:
            return
        window = unwritten[0]
        self._windows.remove(window)
        records = list(window.records)
        # Who still reads this window finds its end; what might not leave before never will.
        del window.records[window.ready :]
        window.pos = self.committed[Lane.TELEMETRY]
        self.changed.send()
        self._days += Counter((self.day_of(record.at), record.lane, record.device) for record in records)
        self.lose(records, "disk")

    async def verify(self) -> None:
        """Look through the whole file while it is in use. Raises `JournalDamaged`."""
        try:
            # On a connection of its own, for it takes long and readers would wait.
            async with connect(self._writer.path, readonly=True) as database:
                await database.check()
        except JournalDamaged:
            mark_damaged(self._writer.path)
            raise


async def _start(
    stack: AsyncExitStack,
    path: Path,
    clock: Clock,
    window: float,
    limits: Limits,
    day_of: DayOf | None,
    runtime: Path | None,
) -> Journal:
    small = path.exists() and path.stat().st_size <= SMALL
    if is_marked_damaged(path):
        raise JournalDamaged("journal-open", path=path, reason="damaged")
    Reserve(path).make_way()
    writer = await stack.enter_async_context(connect(path, pages=limits.pages, check=small))
    await writer.check_log()
    reader = await stack.enter_async_context(connect(path, readonly=True))
    journal = Journal(writer, reader, clock, limits, window, day_of or utc_day, runtime)
    await journal._load()
    return journal


def _settle(waiting: list[asyncio.Future[None]], failure: JournalFailed | None) -> None:
    for future in waiting:
        if future.done():
            continue
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(failure)
