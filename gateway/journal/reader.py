"""Reading the journal, from any process, without blocking the writer."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from gateway.base.tasks import with_pauses
from gateway.model import Lane, Record, Stamp

from .database import JournalDatabase, connect
from .rows import unpack_records
from .stream_filter import StreamFilter

LANES = tuple(Lane)
DEFAULT_READER = "uplink"
"""The reader of a journal whose site has no uplink yet, or one without a name."""
DAMAGE_REASON = "damaged"
"""The reason of a gap due to damage, and the value of `meta.clean` until all such gaps are recorded."""
CRASH_REASON = "restart"
"""The reason of a gap due to a crash: see `LedgerRow`."""

Stream = tuple[Lane, str]
LedgerKey = tuple[str, Lane, str, str]
"""Day, lane, device and the epoch that a `Record` states."""


class RecordPack(msgspec.Struct, frozen=True):
    """A row of a lane: the records that were committed together at `pos`."""

    pos: int
    records: list[Record]


DayOf = Callable[[Stamp], str]
"""The local day of a stamp, ISO 8601."""


def utc_day(at: Stamp) -> str:
    """The day in UTC, where no time zone is configured."""
    return datetime.datetime.fromtimestamp(at.wall_ms / 1000, datetime.UTC).date().isoformat()


class LedgerGap(msgspec.Struct, frozen=True):
    """Sequence numbers `first` to `last` of a stream, `count` of which were lost."""

    lane: Lane
    device: str
    first: int
    last: int
    count: int
    reason: str
    """`restart` and `damaged` (at most these; those that arrived are genuine), `space`, `disk`,
    `thinned`, `dead`; `before` (recorded before the reader was configured)."""
    reader: str = ""
    """Whose gap it is; empty: of all readers."""
    epoch: str = ""
    """As that of a `Record`."""


class LedgerRow(msgspec.Struct, frozen=True):
    """What became of the records of one device, one day and one lane, for one reader.

    `measured` = `delivered` + `pending` + `dropped`. `uncertain` counts further sequence numbers that were
    open at a crash: either a record of that number was delivered, or none was ever stored.
    """

    day: str
    lane: Lane
    device: str
    measured: int
    delivered: int
    pending: int
    dropped: dict[str, int]
    """Records that will never arrive, by reason."""
    uncertain: int
    gaps: list[tuple[int, int, str]]
    """First and last sequence number, and why."""
    epoch: str = ""
    """As that of a `Record`."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that the platform refused."""

    lane: Lane
    device: str
    seq: int
    reason: str
    reader: str
    """Whose platform; empty: no platform can have it."""


class ReaderRow(msgspec.Struct, frozen=True):
    """A reader of the journal."""

    name: str
    streams: str
    """As `StreamFilter.to_text` writes it."""
    since: str
    """The first day of its ledger; empty: as far back as there is one."""
    left: str
    """The day it was last configured; empty: it is."""


class JournalReader:
    """Queries on the journal. Damaged rows are left out and counted in `damaged`."""

    def __init__(
        self,
        database: JournalDatabase,
        day_of: DayOf = utc_day,
        on_damage: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_damage` is called for each read that found a damaged row, and may raise."""
        self._database = database
        self.day_of = day_of
        self._on_damage = on_damage
        self.damaged = 0

    @staticmethod
    @asynccontextmanager
    async def open(path: Path, day_of: DayOf = utc_day) -> AsyncIterator[JournalReader]:
        """A read-only reader; raises `JournalFailed` when there is no journal yet."""
        async with connect(path, readonly=True) as database:
            yield JournalReader(database, day_of)

    async def read_after(self, lane: Lane, after: int, limit: int) -> list[RecordPack]:
        """The next `limit` packs of a lane, oldest first."""
        return await self._decode_packs(
            await self._database.rows(
                f"SELECT pos, body, crc FROM {lane.name} WHERE pos > ? ORDER BY pos LIMIT ?",  # noqa: S608
                after,
                limit,
            )
        )

    async def read_before(self, lane: Lane, pos: int, limit: int) -> list[RecordPack]:
        """The `limit` packs of a lane before `pos`, newest first."""
        return await self._decode_packs(
            await self._database.rows(
                f"SELECT pos, body, crc FROM {lane.name} WHERE pos < ? ORDER BY pos DESC LIMIT ?",  # noqa: S608
                pos,
                limit,
            )
        )

    async def _decode_packs(self, rows: list[tuple[Any, ...]]) -> list[RecordPack]:
        packs: list[RecordPack] = []
        async for pos, body, crc in with_pauses(rows, between=1):
            try:
                packs.append(RecordPack(pos, unpack_records(body, crc)))
            except ValueError:
                self.damaged += 1
                packs.append(RecordPack(pos, []))
        if self.damaged:
            self._on_damage()
        return packs

    async def oldest_positions(self, lane: Lane, limit: int) -> list[int]:
        """The positions of the `limit` oldest packs of a lane."""
        rows = await self._database.rows(
            f"SELECT pos FROM {lane.name} ORDER BY pos LIMIT ?",  # noqa: S608
            limit,
        )
        return [pos for (pos,) in rows]

    async def last_pos(self, lane: Lane) -> int:
        """The newest position of a lane, 0 when it is empty; it never goes back."""
        rows = await self._database.rows(
            "SELECT seq FROM sqlite_sequence WHERE name = ?", lane.name.lower()
        )
        return rows[0][0] if rows else 0

    async def reader_names(self) -> list[str]:
        """Those that are configured."""
        return [row.name for row in await self.reader_rows() if not row.left]

    async def reader_rows(self) -> list[ReaderRow]:
        """Every reader."""
        return [ReaderRow(*row) for row in await self._database.rows("SELECT * FROM reader")]

    async def cursor_pos(self, lane: Lane, reader: str = DEFAULT_READER) -> int:
        """The position a reader has reached."""
        rows = await self._database.rows(
            "SELECT pos FROM cursor WHERE reader = ? AND lane = ?", reader, int(lane)
        )
        return rows[0][0] if rows else 0

    async def pending_count(self, reader: str = DEFAULT_READER) -> int:
        """Records that a reader has not received yet."""
        count = 0
        for row in [row for row in await self.reader_rows() if row.name == reader]:
            streams = StreamFilter.from_text(row.streams)
            for lane in streams.lanes:
                after = await self.cursor_pos(lane, reader)
                count += await self._count_after(lane, after, streams)
        return count

    async def _count_after(self, lane: Lane, after: int, streams: StreamFilter) -> int:
        if streams.devices is not None:
            return sum([record.device in streams.devices async for record in self.records(lane, after)])
        sql = f"SELECT coalesce(sum(count), 0) FROM {lane.name} WHERE pos > ?"  # noqa: S608
        return int((await self._database.rows(sql, after))[0][0])

    async def read_meta(self, key: str, default: str = "") -> str:
        """A fact about the journal itself; `epoch` is its identity."""
        rows = await self._database.rows("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else default

    async def service_rows(self, service: str) -> dict[str, bytes]:
        """A service's rows, as MessagePack."""
        return dict(await self._database.rows("SELECT key, body FROM state WHERE service = ?", service))

    async def data_version(self) -> int:
        """A number that changes when another connection commits."""
        return int((await self._database.rows("PRAGMA data_version"))[0][0])

    async def stream_and_day_counts(self) -> tuple[dict[Stream, int], Counter[LedgerKey]]:
        """The last sequence number of each stream as of the last commit, and the records of each day,
        lane and device since the last checkpoint. Records of another epoch are not counted: see
        `gateway.journal.merge`."""
        streams = {
            (Lane(lane), device): int(written)
            for lane, device, written in await self._database.rows("SELECT * FROM stream")
        }
        days: Counter[LedgerKey] = Counter()
        for lane, pos in zip(LANES, json.loads(await self.read_meta("checkpoint")), strict=True):
            async for record in self.records(lane, pos):
                if not record.epoch:
                    stream = lane, record.device
                    streams[stream] = max(streams.get(stream, 0), record.seq)
                    days[self.ledger_key(record)] += 1
        return streams, days

    def ledger_key(self, record: Record) -> LedgerKey:
        """Under which the ledger counts a record."""
        return self.day_of(record.at), record.lane, record.device, record.epoch

    async def day_counts(self, since: str = "") -> Counter[LedgerKey]:
        """The records of each day, lane and device as of the last commit; from a day on."""
        _, counts = await self.stream_and_day_counts()
        days = await self._database.rows(
            "SELECT day, lane, device, epoch, measured FROM day WHERE day >= ?", since
        )
        async for day, lane, device, epoch, count in with_pauses(days):
            counts[day, Lane(lane), device, epoch] += count
        return counts

    async def packs(self, lane: Lane, after: int, until: int | None = None) -> AsyncIterator[RecordPack]:
        """Every row of a lane after a position, up to another, a few in memory at a time."""
        while until is None or after < until:
            packs = await self.read_after(lane, after, 8)
            async for pack in with_pauses(packs, between=1):
                if until is None or pack.pos <= until:
                    yield pack
            if not packs:
                return
            after = packs[-1].pos

    async def records(self, lane: Lane, after: int, until: int | None = None) -> AsyncIterator[Record]:
        """Every record of a lane after a position, up to another."""
        async for pack in self.packs(lane, after, until):
            for record in pack.records:
                yield record

    async def ledger(self, since: str = "", reader: str = DEFAULT_READER) -> list[LedgerRow]:
        """Per day, lane and device, what a reader has received: see `LedgerRow`; from a day on."""
        known = next((row for row in await self.reader_rows() if row.name == reader), None)
        if known is None:
            return []
        positions = {lane: await self.cursor_pos(lane, reader) for lane in LANES}
        selects = StreamFilter.from_text(known.streams).selects
        return await self.ledger_of(reader, positions, selects, max(since, known.since))

    async def ledger_of(
        self, reader: str, positions: Mapping[Lane, int], selects: Callable[[Lane, str], bool], since: str
    ) -> list[LedgerRow]:
        """The ledger of a reader with these places in the lanes, which receives these streams."""
        measured = await self.day_counts(since)
        pending: Counter[LedgerKey] = Counter()
        for lane in LANES:
            async for record in self.records(lane, positions[lane]):
                pending[self.ledger_key(record)] += 1
        gaps: dict[LedgerKey, list[LedgerGap]] = {}
        for day, gap in await self.gaps(reader):
            gaps.setdefault((day, gap.lane, gap.device, gap.epoch), []).append(gap)
        found = measured.keys() | gaps.keys()
        keys = await asyncio.to_thread(lambda: sorted(key for key in found if key[0] >= since))
        return [
            _ledger_row(key, measured[key], pending[key], gaps.get(key, []))
            async for key in with_pauses(keys)
            if selects(key[1], key[2])
        ]

    async def gaps(self, reader: str | None = None) -> list[tuple[str, LedgerGap]]:
        """Every gap of the ledger with its day, oldest first; those that concern one reader, if named."""
        return [
            (str(day), LedgerGap(Lane(lane), *rest))
            for day, lane, *rest in await self._database.rows(
                "SELECT day, lane, device, first, last, count, reason, reader, epoch FROM gap "
                "WHERE ?1 IS NULL OR reader IN ('', ?1) ORDER BY id",
                reader,
            )
        ]

    async def dead_letter_count(self) -> int:
        """Records in the dead-letter table."""
        return int((await self._database.rows("SELECT count(*) FROM dead"))[0][0])

    async def dead_rows(self) -> list[tuple[Any, ...]]:
        """The dead letters as they are stored: lane, device, number, reason, body, CRC and reader."""
        return await self._database.rows("SELECT lane, device, seq, reason, body, crc, reader FROM dead")

    async def state_rows(self) -> list[tuple[Any, ...]]:
        """The rows of all services: service, key and MessagePack."""
        return await self._database.rows("SELECT service, key, body FROM state")

    async def dead_letters(self) -> list[DeadLetter]:
        """Records that a platform refused."""
        rows = await self._database.rows("SELECT lane, device, seq, reason, reader FROM dead")
        return [DeadLetter(Lane(lane), *rest) for lane, *rest in rows]


def _ledger_row(key: LedgerKey, measured: int, pending: int, gaps: list[LedgerGap]) -> LedgerRow:
    dropped: Counter[str] = Counter()
    for gap in gaps:
        dropped[gap.reason] += gap.count
    uncertain = dropped.pop(CRASH_REASON, 0) + dropped.pop(DAMAGE_REASON, 0)
    delivered = measured - pending - dropped.total()
    spans = [(gap.first, gap.last, gap.reason) for gap in gaps]
    day, lane, device, epoch = key
    lost = dict(dropped)
    return LedgerRow(day, lane, device, measured, delivered, pending, lost, uncertain, spans, epoch)
