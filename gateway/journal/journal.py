"""Writing the journal: one task, one transaction at a time.

The promise: a power cut loses at most one commit window of telemetry, and no alarm or command that
`commit` returned for; a killed process alone loses nothing (tail.py). While the link is up, telemetry is
sent before it is committed. A sequence number must not be used twice all the same: a record is sent only if
its number is at most MAX_SENT_UNCOMMITTED above the last committed one of its stream, and the start after a
power cut skips that many numbers and records them as a gap.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from gateway.base.failpoint import failpoint
from gateway.base.log import log_event
from gateway.base.tasks import Signal, run_to_end, with_pauses
from gateway.model import Arrival, Clock, Fact, Lane, Record, Row, RowChanges, Sample, Stamp, sentence

from .database import (
    JournalDamaged,
    JournalDatabase,
    JournalFailed,
    JournalFull,
    JournalLost,
    Statement,
    connect,
)
from .delivery import Delivery
from .gaps import find_gaps
from .merge import Merge, end_memory_journal
from .pending import Losses, Pending, TelemetryWindow
from .reader import (
    CRASH_REASON,
    DAMAGE_REASON,
    LANES,
    DayOf,
    JournalReader,
    LedgerGap,
    LedgerKey,
    Stream,
    utc_day,
)
from .readers import Readers
from .rows import encode, pack_records, readable_body
from .salvage import (
    FIRST_NUMBERS_KEY,
    delete_journal,
    finish_replacement,
    is_marked_damaged,
    mark_damaged,
    replace_damaged,
    rescue,
)
from .space import CardWear, DiskReserve, StorageLimits
from .statements import (
    add_day,
    add_gap,
    delete_packs,
    insert_dead_letter,
    insert_pack,
    prune_ledger,
    set_checkpoint,
    set_clean,
    set_cursor,
    set_epoch,
    set_state,
    set_stream,
)
from .stream_filter import StreamFilter
from .tail import Tail

MAX_SENT_UNCOMMITTED = 256
"""Telemetry records of one device that may be sent between two commits."""
CHECKPOINT_INTERVAL_S = 300.0
"""Seconds between two checkpoints of the sequence numbers; a start re-reads the rows after the last."""
MAX_COMMITTED_WINDOWS = 8
"""Committed windows kept in memory for a reader that is nearly up to date."""
MAX_UNWRITTEN_WINDOWS = 600
"""Windows kept in memory while the disk cannot be written; beyond that the oldest is dropped."""
MAX_EVENTS_PER_ROW = 256
"""A row is encoded at once, while alarms wait."""
ROWS_PER_EVICTION = 64
"""Rows of telemetry removed at a time to make room."""
MAX_EVICTIONS_PER_COMMIT = 64
"""For the rows of another journal, on a disk that is nearly full."""
MAX_BYTES_CHECKED_AT_START = 64 * 1024 * 1024
"""A larger file is checked while it is already in use."""


class Journal:
    """The writer, in the daemon. Its `reader` has a connection of its own, so that reads never wait."""

    def __init__(
        self,
        writer: JournalDatabase,
        reader: JournalDatabase,
        clock: Clock,
        limits: StorageLimits,
        window: float,
        day_of: DayOf,
        runtime: Path | None,
    ) -> None:
        self.path = writer.path
        self.reader = JournalReader(reader, day_of, self._fail_on_damage)
        reader.on_damage = self._end_by
        self._runtime = runtime
        self._tail: Tail | None = None
        self._writer = writer
        self._clock = clock
        self._limits = limits
        self._disk_reserve = DiskReserve(writer.path)
        self._streams: dict[Stream, int] = {}
        self._first_number = 0
        """The number after which new streams begin."""
        self._damage: JournalDamaged | None = None
        """Why the writer ends."""
        self._committed_numbers: dict[Stream, int] = {}
        """The last committed sequence number of each stream."""
        self._day_counts: Counter[LedgerKey] = Counter()
        self._pending = Pending()
        self._wake = asyncio.Event()
        self._window_due = False
        self._windows: deque[TelemetryWindow] = deque([TelemetryWindow()])
        self._checkpoint_due_s = float("-inf")
        self._unencodable: set[tuple[Lane, str, str]] = set()
        """Lane, device and kind of the records that could not be encoded, each logged once."""
        self._tasks: list[asyncio.Task[None]] = []
        self.card_wear = CardWear(clock, limits, window)
        self.latest_samples: dict[str, Record] = {}
        """The newest sample of each device, since the start."""
        self.changed = Signal()
        """Sent for each new sample and each commit."""
        self.commit_attempted = Signal()
        """Sent after each commit, whether it succeeded or failed; not for each sample."""
        self.epoch = ""
        self.committed_pos = dict.fromkeys(LANES, 0)
        """The newest position of each lane."""
        self._readers = Readers(self.reader, lambda: self._pending, self._record_gap)
        self.commit_count = 0
        self._newest_day = ""
        """Of the ledger, since the start."""
        self.dropped_count = 0
        """Records dropped since the start."""
        self.dead_letter_count = 0
        """Records in the dead-letter table at the start, and added since."""
        self.size_bytes = 0
        """Bytes on the disk, log and reserve included, when last measured."""
        self.failure: JournalFailed | None = None
        """Why the last commit failed; its contents are in the next one."""
        self.damaged_copy: Path | None = None
        """Where this start moved a damaged journal."""

    @staticmethod
    @asynccontextmanager
    async def open(
        path: Path,
        clock: Clock,
        window: float = 1.0,
        limits: StorageLimits | None = None,
        day_of: DayOf | None = None,
        runtime: Path | None = None,
        memory: Path | None = None,
    ) -> AsyncIterator[Journal]:
        """Open or create the journal; a damaged one is moved aside and its sound rows are copied.

        `window` is seconds between commits of telemetry. `runtime` is a folder in memory, where what is
        not committed yet survives the end of the process. `memory`: a journal that was used while this one
        could not be; if it exists, it is merged into this one and deleted. Everything pending is committed
        on exit. Raises `JournalFailed`.
        """
        limits = limits or StorageLimits()
        path.parent.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            damaged_copy = None
            finish_replacement(path)
            try:
                journal = await _open_journal(stack, path, clock, window, limits, day_of, runtime)
            except JournalDamaged:
                await stack.aclose()
                DiskReserve(path).release()
                damaged_copy = await replace_damaged(path, limits.max_pages)
                journal = await _open_journal(stack, path, clock, window, limits, day_of, runtime)
            journal.damaged_copy = damaged_copy
            if memory:
                await journal._merge(memory, window)
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
                await run_to_end(journal._close())

    def _close_tail(self) -> None:
        if self._tail:
            self._tail.close()

    async def _close(self) -> None:
        """Commit everything. If the files were lost, copy what the open ones hold for the next start."""
        if not isinstance(self._damage, JournalLost):
            await self._flush(telemetry=True, closing=True)
            if self._tail and self.failure is None and self._damage is None:
                self._tail.remove()
            return
        try:
            await self._flush(telemetry=True, closing=True)
            await rescue(self.path, self._writer)
        except (JournalFailed, OSError):
            # The next start copies what is left at the path, and finds the numbers in the tail.
            mark_damaged(self.path)

    async def run(self) -> None:
        """Run until the writer ends. Raises `JournalDamaged` when the file is unusable, `JournalLost` when
        it was deleted, replaced or cut: then open the journal again."""
        large = self._writer.size() > MAX_BYTES_CHECKED_AT_START
        await asyncio.gather(*self._tasks, *([self.verify()] if large else []))

    async def _load(self) -> None:
        self.epoch = await self.reader.read_meta("epoch")
        self._first_number = int(await self.reader.read_meta(FIRST_NUMBERS_KEY, "0"))
        for lane in LANES:
            self.committed_pos[lane] = await self.reader.last_pos(lane)
        await self._readers.load()
        self._streams, self._day_counts = await self.reader.stream_and_day_counts()
        self._committed_numbers = dict(self._streams)
        clean = await self.reader.read_meta("clean")
        if self._runtime:
            self._tail = Tail(self._runtime, self.path, self._clock.now().boot, self.epoch)
            if not self._streams and (lost := self._tail.continue_lost()):
                # It replaces one that was lost, whose numbers must be recorded as gaps.
                self.epoch = self._pending.epoch = lost
                clean = "0"
        if clean == DAMAGE_REASON:
            await self._record_damage()
        if clean == "0" and not self._recover_tail():
            # Some of these numbers may have been sent before the power cut; none may be used again.
            for (lane, device), written in list(self._streams.items()):
                if lane is Lane.TELEMETRY:
                    last = self._streams[lane, device] = written + MAX_SENT_UNCOMMITTED
                    gap = LedgerGap(lane, device, written + 1, last, MAX_SENT_UNCOMMITTED, CRASH_REASON)
                    self._record_gap(self.reader.day_of(self._clock.now()), gap)
        # A checkpoint: numbers are skipped in the transaction that records the gap, or not at all.
        await self._commit(telemetry=True)
        if isinstance(self.failure, JournalFull):
            self._disk_reserve.release()
            await self._commit(telemetry=True)
        if self.failure:
            raise self.failure
        self._committed_numbers = dict(self._streams)
        if self._tail:
            self._tail.reset(self._committed_numbers, [])
        self.dead_letter_count = await self.reader.dead_letter_count()
        self._disk_reserve.fill()
        await self._make_room()

    async def _merge(self, memory: Path, window: float) -> None:
        """Take over what a journal in memory holds, and delete it. Raises `JournalFailed`."""
        day_of = self.reader.day_of

        def open_other(path: Path) -> AbstractAsyncContextManager[Journal]:
            # However large it is: nothing of it is to be evicted now.
            limits = StorageLimits(cap_bytes=2**40)
            return Journal.open(path, self._clock, window, limits, day_of, path.parent)

        try:
            while ended := await end_memory_journal(memory, open_other):
                async with connect(ended, readonly=True) as database:
                    source = JournalReader(database, day_of)
                    merge = Merge(self.reader, source, self._readers, lambda: self._pending)
                    await merge.begin(day_of(self._clock.now()), self.committed_pos)
                    while await merge.add_rows(self.committed_pos):
                        await self._commit_merged()
                    await merge.add_tables()
                    await self._commit_merged()
                failpoint("merge")
                delete_journal(ended)
        except JournalFailed as failed:
            if str(failed.facts["path"]) == str(self.path):
                raise
            # The disk can be used all the same.
            log_event(logging.ERROR, "journal-unmerged", path=memory, reason=failed.facts["reason"])
        self.dead_letter_count = await self.reader.dead_letter_count()

    async def _commit_merged(self) -> None:
        """Commit rows of another journal; the oldest telemetry makes room for them."""
        for _ in range(MAX_EVICTIONS_PER_COMMIT):
            await self._flush(telemetry=False)
            if self.failure is None:
                await self._make_room()
                return
            if not isinstance(self.failure, JournalFull):
                break
        assert self.failure
        raise self.failure

    def _recover_tail(self) -> bool:
        """Restore what a killed process had not committed; False if that is unknown."""
        found = self._tail.recover() if self._tail else None
        if found is None:
            return False
        self._skip_to(found.committed)
        for record in found.records:
            stream = record.lane, record.device
            if record.seq > self._streams.get(stream, 0):
                self._skip_to({stream: record.seq - 1})
                self._streams[stream] = record.seq
                self._windows[-1].add(record, encode(record), self.reader.day_of(record.at))
        return True

    def _skip_to(self, committed: dict[Stream, int]) -> None:
        """Skip numbers that were committed once and are no longer in the file because of damage."""
        lost = {
            stream: (self._streams.get(stream, 0) + 1, seq)
            for stream, seq in committed.items()
            if seq > self._streams.get(stream, 0)
        }
        # First all of them: a gap record takes a number itself.
        self._streams |= {stream: last for stream, (_, last) in lost.items()}
        for stream, (first, last) in lost.items():
            gap = LedgerGap(*stream, first, last, last - first + 1, DAMAGE_REASON)
            self._record_gap(self.reader.day_of(self._clock.now()), gap)

    async def _record_damage(self) -> None:
        """Record every number that may be lost to damage, and again each gap whose record is lost."""
        lost, unreported = await find_gaps(
            self.reader, self._streams, {lane: self.rearmost_pos(lane) for lane in LANES}
        )
        day = self.reader.day_of(self._clock.now())
        for gap in lost:
            self._record_gap(day, gap)
        for gap_day, gap in unreported:
            self._record_gap(gap_day, gap, already_counted=True)

    def _fail_on_damage(self) -> None:
        damage = JournalDamaged("journal-read", path=self.path, reason=sentence("cause.damaged"))
        self._end_by(damage)
        raise damage

    def _end_by(self, damage: JournalDamaged) -> None:
        """End the writer, and with it everything that uses this journal: the next start finds out which
        records are lost, and copies the others."""
        try:
            # Perhaps it is only found so because somebody cut or replaced the file.
            self._writer.check_files()
        except JournalLost as lost:
            damage = lost
        if not isinstance(damage, JournalLost):
            mark_damaged(self.path)
        self._damage = self._damage or damage
        self._wake.set()

    def append_sample(self, sample: Sample) -> Record:
        """Add a sample to the open window, where this process can read it at once."""
        body: dict[str, Any] = {"quality": sample.quality, "values": sample.values}
        if sample.bad:
            body["bad"] = sample.bad
        if sample.error:
            body["error"] = sample.error
            if sample.facts:
                body["facts"] = sample.facts
        if sample.arrival is not Arrival.LIVE:
            body["arrival"] = sample.arrival
        record, encoded = self._numbered_record(Lane.TELEMETRY, sample.device, "sample", sample.at, body)
        if encoded is None:
            return record
        window = self._windows[-1]
        committed = self._committed_numbers.get((record.lane, record.device))
        safe = committed is not None and record.seq <= committed + MAX_SENT_UNCOMMITTED
        if safe and window.ready_count == len(window.records):
            window.ready_count += 1
        window.add(record, encoded, self.reader.day_of(record.at))
        if self._tail:
            self._tail.add(encoded)
        self.latest_samples[record.device] = record
        self.changed.send()
        return record

    def append(self, service: str, facts: Iterable[Fact], changes: RowChanges) -> None:
        """Add facts and the rows that changed with them; both are committed in the next transaction."""
        for fact in facts:
            record, encoded = self._numbered_record(fact.lane, fact.device, fact.kind, fact.at, fact.body)
            if encoded is not None:
                lane = self._pending.alarms if fact.lane is Lane.ALARM else self._pending.events
                lane.append(record)
        for key, row in changes.items():
            self._pending.changes[service, key] = row

    async def commit(self) -> None:
        """Return once all alarms and events appended so far are on the disk. Raises `JournalFailed`."""
        done = asyncio.get_running_loop().create_future()
        self._pending.waiting.append(done)
        self._wake.set()
        await done

    @property
    def deliveries(self) -> Mapping[str, Delivery]:
        """The places of the configured readers, by name."""
        return self._readers.configured

    def rearmost_pos(self, lane: Lane) -> int:
        """The place of the reader that is furthest behind in a lane."""
        return self._readers.rearmost(lane)

    async def configure_readers(self, filters: Mapping[str, StreamFilter]) -> None:
        """The readers from now on, and what each receives; done once that is on the disk. A new one begins
        with what is recorded from now on, or takes the place of the reader that waited for the first one.
        Raises `JournalFailed`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._readers.wanted = filters, done
        self._wake.set()
        await done

    def _dead_letter(self, record: Record, reason: str) -> None:
        """A record that no platform can have."""
        gap = LedgerGap(record.lane, record.device, record.seq, record.seq, 1, "dead")
        self._pending.dead_letters.append((record, reason, ""))
        self._record_gap(self.reader.day_of(record.at), gap, ledger_only=record.kind == "gap")

    def uncommitted_alarms(self) -> list[Record]:
        """Alarms that could not be written: they are sent at once, and again when they are committed."""
        return list(self._pending.alarms) if self.failure else []

    def uncommitted_facts(self) -> list[Fact]:
        """The facts of what could not be committed before the journal was closed."""
        return [
            Fact(record.lane, record.device, record.kind, record.at, record.body)
            for record in (*self._pending.alarms, *self._pending.events)
        ]

    def windows_behind(self, delivery: Delivery) -> int:
        """Committed windows of telemetry with which a reader is not done. Of those that are not in memory,
        the rows are counted."""
        delivered = delivery.positions[Lane.TELEMETRY]
        kept = [window for window in self._windows if window.pos is not None and window.pos > delivered]
        first = (kept[0].first_pos if kept else None) or self.committed_pos[Lane.TELEMETRY] + 1
        return len(kept) + max(0, first - 1 - delivered)

    def window_after(self, pos: int) -> TelemetryWindow | None:
        """The window that follows a position, if it is still in memory."""
        if pos >= self.committed_pos[Lane.TELEMETRY]:
            return next(window for window in self._windows if window.pos is None)
        return next((window for window in self._windows if window.first_pos == pos + 1), None)

    def _record_gap(
        self, day: str, gap: LedgerGap, ledger_only: bool = False, *, already_counted: bool = False
    ) -> None:
        if self._readers.is_single:
            gap = msgspec.structs.replace(gap, reader="")
        if not already_counted:
            self.dropped_count += gap.count if gap.reason not in (CRASH_REASON, "before") else 0
            self.dead_letter_count += gap.reason == "dead"
            self._pending.gaps.append((day, gap))
        if ledger_only:
            return
        body = {**msgspec.structs.asdict(gap), "lane": gap.lane.name.lower()}
        del body["device"]
        if uplink := body.pop("reader"):
            body["uplink"] = uplink
        if not gap.epoch:
            del body["epoch"]
        self.append("", [Fact(Lane.EVENT, gap.device, "gap", self._clock.now(), body)], {})

    def _numbered_record(
        self, lane: Lane, device: str, kind: str, at: Stamp, body: dict[str, Any]
    ) -> tuple[Record, bytes | None]:
        """A record with the next number of its stream, and its MessagePack.

        One that cannot be encoded becomes a dead letter, and its MessagePack is None. But an alarm must be
        told: what cannot be encoded of it becomes text.
        """
        if self._first_number and (lane, device) not in self._streams:
            last = self._streams[lane, device] = self._first_number
            gap = LedgerGap(lane, device, 1, last, 0, DAMAGE_REASON)
            self._record_gap(self.reader.day_of(at), gap)
        seq = self._streams[lane, device] = self._streams.get((lane, device), 0) + 1
        record = Record(lane, device, seq, kind, at, body)
        try:
            return record, encode(record)
        except ValueError as error:
            reason = error
        record = msgspec.structs.replace(record, body=readable_body(body))
        if (lane, device, kind) not in self._unencodable:
            self._unencodable.add((lane, device, kind))
            log_event(
                logging.ERROR, "record-unencodable",
                device=device, kind=kind, reason=reason, content=record.body,
            )  # fmt: skip
        if lane is Lane.ALARM:
            return record, encode(record)
        self._dead_letter(record, "unencodable")
        return record, None

    async def _close_windows(self) -> None:
        while True:
            await self._clock.sleep(self.card_wear.window_s)
            self.card_wear.adapt_window()
            self._window_due = True
            self._wake.set()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._window_due = self._window_due, False
            try:
                self._writer.check_files()
            except JournalLost as lost:
                self._end_by(lost)
            if self._damage:
                raise self._damage
            await run_to_end(self._flush(telemetry=due))

    async def _flush(self, *, telemetry: bool, closing: bool = False) -> None:
        """Commit, and make room for the next commit. Raises `JournalDamaged`."""
        try:
            await self._commit(telemetry=telemetry, closing=closing)
            if isinstance(self.failure, JournalFull):
                # The reserve makes room for the alarms; without telemetry they may fit.
                self._disk_reserve.release()
                await self._evict(Lane.TELEMETRY)
            elif telemetry and self.failure is None:
                await self._make_room()
            await self._configure_readers()
        except JournalDamaged:
            raise
        except (JournalFailed, OSError) as failed:
            # The disk is gone: continue in memory until it is back.
            path = self._writer.path
            self.failure = (
                failed
                if isinstance(failed, JournalFailed)
                else JournalFailed("journal-write", path=path, reason=failed)
            )
        self._drop_unwritten()

    async def _configure_readers(self) -> None:
        """Between two transactions, so that nothing is recorded meanwhile. Raises `JournalFailed`."""
        if self._readers.wanted is None:
            return
        (filters, done), self._readers.wanted = self._readers.wanted, None
        try:
            await self._readers.configure(
                filters, self.reader.day_of(self._clock.now()), self.committed_pos
            )
            await self._commit(telemetry=False)
        except JournalFailed as failure:
            _resolve_waiting([done], failure)
            raise
        _resolve_waiting([done], None)

    async def _commit(self, *, telemetry: bool, closing: bool = False) -> None:
        """One transaction with all that is pending; what fails stays pending. Raises `JournalDamaged`."""
        pending, self._pending = self._pending, Pending()
        windows = self._due_windows() if telemetry else []
        try:
            await self._transact(pending, windows, closing)
        except JournalFailed as failure:
            self.failure = failure
            self._pending.prepend(pending)
            _resolve_waiting(pending.waiting, failure)
            self.commit_attempted.send()
            if isinstance(failure, JournalDamaged):
                self._end_by(failure)
                raise
            return
        self.failure = None
        delivered, left = self.rearmost_pos(Lane.TELEMETRY), []
        while (pos := self._windows[0].pos) is not None and (
            pos <= delivered or len(self._windows) > MAX_COMMITTED_WINDOWS
        ):
            left.append(self._windows.popleft())
        _resolve_waiting(pending.waiting, None)
        self.commit_attempted.send()
        self.changed.send()
        while left:
            # To free the records of many devices takes a while.
            left.pop()
            await asyncio.sleep(0)

    async def _transact(self, pending: Pending, windows: list[TelemetryWindow], closing: bool) -> None:
        own = [(Lane.ALARM, [record]) for record in pending.alarms]
        own += [
            (Lane.EVENT, pending.events[first : first + MAX_EVENTS_PER_ROW])
            for first in range(0, len(pending.events), MAX_EVENTS_PER_ROW)
        ]
        packs = [*pending.merged, *own]
        bodies = [pack_records(records) async for _, records in with_pauses(packs, between=1)]
        rows = [row for window in windows for row in window.rows]
        statements = [
            # First, so that what is added can take their place.
            *pending.deletions,
            *(
                insert_pack(lane, len(records), body)
                for (lane, records), body in zip(packs, bodies, strict=True)
            ),
            *(insert_pack(Lane.TELEMETRY, row.count, row.pack()) for row in rows),
            *pending.statements,
            *([set_epoch(pending.epoch)] if pending.epoch else []),
            *_set_states(pending.changes),
            *pending.readers,
            *(set_cursor(reader, lane, pos) for (reader, lane), pos in pending.cursors.items()),
            *(statement for letter in pending.dead_letters for statement in insert_dead_letter(*letter)),
        ]
        numbers = {(lane, record.device): record.seq for lane, records in own for record in records}
        days = Counter(self.reader.ledger_key(record) for _, records in own for record in records)
        for window in windows:
            fresh = (stream for stream in window.last_numbers if stream not in self._committed_numbers)
            statements += [set_stream(stream, 0) for stream in fresh]
            numbers |= window.last_numbers
            days.update(window.day_counts)
        # A deleted row may hold the only trace of numbers used since the last checkpoint.
        checkpoint = closing or bool(pending.deletions) or self._clock.mono() >= self._checkpoint_due_s
        # Made in the thread that runs them: there may be several for each device.
        many = itertools.chain(
            (add_gap(day, gap) for day, gap in pending.gaps),
            self._checkpoint(len(windows), self._day_counts + days, closing) if checkpoint else (),
        )
        is_empty = not (statements or pending.gaps or checkpoint)
        stage = "alarm-commit" if pending.alarms else "window-commit" if windows else "other-commit"
        failpoint(f"before-{stage}")
        ids = [] if is_empty else await self._writer.transact(itertools.chain(statements, many))
        failpoint(f"after-{stage}")
        positions = iter(ids[len(pending.deletions) :])
        for (lane, _), pos in zip(packs, positions, strict=False):
            self.committed_pos[lane] = pos
        for window in windows:
            window.set_committed([next(positions) for _ in window.rows])
            self.committed_pos[Lane.TELEMETRY] = window.pos or 0
        self._committed_numbers |= numbers
        if self._tail and windows:
            uncommitted = (encoded for window in self._windows for encoded in window.encoded)
            self._tail.reset(self._committed_numbers, uncommitted)
        elif self._tail:
            self._tail.commit(numbers)
        if checkpoint:
            self._checkpoint_due_s = self._clock.mono() + CHECKPOINT_INTERVAL_S
        if checkpoint:
            self._day_counts.clear()
        else:
            self._day_counts.update(days)
        self.commit_count += not is_empty

    def _due_windows(self) -> list[TelemetryWindow]:
        """Close the open window; returns those closed and not committed, oldest first."""
        if self._windows[-1].records:
            self._windows.append(TelemetryWindow())
        return [window for window in self._windows if window.pos is None and window.records]

    def _checkpoint(self, due: int, days: Counter[LedgerKey], closing: bool) -> Iterator[Statement]:
        """Sequence numbers as they will be once the `due` oldest open windows are committed."""
        later = [window.records for window in self._windows if window.pos is None][due:]
        ahead = Counter(
            (record.lane, record.device)
            for records in (*later, self._pending.alarms, self._pending.events)
            for record in records
        )
        newest_day = max((day for day, *_ in days), default="")
        is_new_day, self._newest_day = newest_day > self._newest_day, max(newest_day, self._newest_day)
        streams = list(self._streams.items())
        return itertools.chain(
            (set_stream(stream, last - ahead[stream]) for stream, last in streams),
            (add_day(key, count) for key, count in days.items()),
            prune_ledger() if is_new_day else (),
            (set_checkpoint(), set_clean(closing)),
        )

    async def _make_room(self) -> None:
        """Stay below the cap: evict the oldest telemetry first, then events, alarms last."""
        while (used := await self._writer.used_pages()) > self._limits.max_telemetry_pages:
            if await self._evict(Lane.TELEMETRY) or await self._evict(Lane.EVENT):
                continue
            if used <= self._limits.max_pages or not await self._evict(Lane.ALARM):
                break
        self._disk_reserve.fill()
        self.size_bytes = self._writer.size() + self._disk_reserve.size_bytes()

    async def _evict(self, lane: Lane) -> bool:
        """Delete the oldest rows of a lane; what was not delivered becomes gaps. False if it is empty."""
        positions = await self.reader.oldest_positions(lane, ROWS_PER_EVICTION)
        if not positions:
            return False
        until = positions[-1]
        await self._readers.evict(lane, until)
        self._pending.deletions.append(delete_packs(lane, until))
        failpoint("evict")
        await self._commit(telemetry=False)
        failpoint("evicted")
        return self.failure is None

    def _drop_unwritten(self) -> None:
        """Memory is bounded: drop the oldest window that could not be written, and record the gap."""
        unwritten = [window for window in self._windows if window.pos is None]
        if len(unwritten) <= MAX_UNWRITTEN_WINDOWS:
            return
        window = unwritten[0]
        self._windows.remove(window)
        records = list(window.records)
        # A reader still in this window finds its end; records that were not ready are not sent.
        del window.records[window.ready_count :]
        window.pos = self.committed_pos[Lane.TELEMETRY]
        self.changed.send()
        self._day_counts.update(window.day_counts)
        lost = Losses()
        for record in records:
            lost.add(self.reader.ledger_key(record), record.seq)
        for day, gap in lost.gaps("disk"):
            self._record_gap(day, gap)

    async def verify(self) -> None:
        """Check the whole file while it is in use. Raises `JournalDamaged`."""
        try:
            # On a separate connection: it takes long, and readers would have to wait.
            async with connect(self._writer.path, readonly=True) as database:
                await database.check()
        except JournalDamaged as damage:
            self._end_by(damage)
            raise


async def _open_journal(
    stack: AsyncExitStack,
    path: Path,
    clock: Clock,
    window: float,
    limits: StorageLimits,
    day_of: DayOf | None,
    runtime: Path | None,
) -> Journal:
    small = path.exists() and path.stat().st_size <= MAX_BYTES_CHECKED_AT_START
    if is_marked_damaged(path):
        raise JournalDamaged("journal-open", path=path, reason=sentence("cause.damaged"))
    DiskReserve(path).release_if_disk_full()
    writer = await stack.enter_async_context(connect(path, pages=limits.max_pages, check=small))
    await writer.check_log()
    reader = await stack.enter_async_context(connect(path, readonly=True))
    writer.check_files()
    journal = Journal(writer, reader, clock, limits, window, day_of or utc_day, runtime)
    stack.callback(journal._close_tail)
    await journal._load()
    return journal


def _set_states(changes: dict[tuple[str, str], Row | None]) -> Iterator[Statement]:
    """Without the rows that cannot be encoded: a restart finds what was stored of them before."""
    for (service, key), row in changes.items():
        try:
            yield set_state(service, key, row)
        except ValueError as error:
            log_event(logging.ERROR, "row-unencodable", service=service, row=ascii(key), reason=error)


def _resolve_waiting(waiting: list[asyncio.Future[None]], failure: JournalFailed | None) -> None:
    for future in waiting:
        if future.done():
            continue
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(failure)
