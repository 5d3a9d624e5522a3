"""PostgreSQL, through psycopg: the only file that imports it, which is an extra.

A batch is one transaction: COPY into a temporary table, and from there what is new into the partition of
its month. The schema is in `migrations/`, in files that are applied in the order of their numbers.
"""

from __future__ import annotations

import datetime
import functools
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from gateway.base.log import log_event
from gateway.model import ConfigError, LinkDown

from . import statements
from .messages import GapData, Parsed, ReceivedLedger, ReceivedRecords, UrgentAlarm
from .report import Gap, Hole, LedgerLine, Stored, StoredCount, Stream

CONNECT_TIMEOUT_S = 10
OPTIONS = (
    "-c search_path=linli -c timezone=UTC -c work_mem=64MB -c temp_buffers=64MB"
    " -c client_min_messages=error"
)
FIRST_MONTH = datetime.date(2020, 1, 1)
UNDATED = datetime.date(1970, 1, 1)
"""The month of records whose time is before `FIRST_MONTH` or after `MAX_AHEAD`: so anybody's absurd times
make no partitions."""
MAX_AHEAD = datetime.timedelta(days=31)
MAX_KNOWN_STREAMS = 200_000
COPY_BYTES = 1 << 16
MAX_REJECTED_ROWS = 10_000
MAX_REJECTED_PER_BATCH = 100
MAX_REJECTED_BYTES = 2048
"""What is kept of a payload."""
MIGRATION_LOCK, PARTITION_LOCK = 0x6C696E6C, 0x6C696E6D
"""Advisory locks: of several receivers, one changes tables."""
MIGRATIONS = Path(__file__).with_name("migrations")

_LINK_KEYS = {
    "08": "database-lost",
    "28": "database-login",
    "3D": "database-missing",
    "42501": "database-rights",
    "53100": "database-full",
    "53300": "database-connections",
    "25006": "database-readonly",
    "57P": "database-stopping",
}
"""The key of the error, by the beginning of the SQLSTATE (PostgreSQL manual, appendix A)."""
_REFUSED_CLASSES = ("22", "23", "54")
"""Data exception, constraint violation, program limit exceeded."""


class MessageRefused(Exception):
    """The database does not accept something in the batch; the text is the SQLSTATE."""


class Reject(NamedTuple):
    """A message that is not stored."""

    reason: str
    topic: str
    size: int
    payload: bytes


class Database:
    """A connection, with the schema as this program needs it."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[Any, ...]], server: str) -> None:
        self._connection = connection
        self._server = server
        self._streams: dict[Stream, int] = {}
        self._months: set[datetime.date] = set()

    @staticmethod
    @asynccontextmanager
    async def open(url: str, *, migrate: bool = True) -> AsyncIterator[Database]:
        """Connect by a `postgresql://` URL or a connection string of libpq, and bring the schema up to
        date. Raises `LinkDown`, or `ConfigError` for a wrong URL or a newer schema."""
        try:
            parts = psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            raise ConfigError("database-url", reason=str(error).strip()) from error
        server = f"{parts.get('host', '') or 'localhost'}:{parts.get('port', '') or 5432}"
        try:
            connection = await psycopg.AsyncConnection.connect(
                url,
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name="linli-receive",
                options=f"{parts.get('options') or ''} {OPTIONS}",
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
            )
        except psycopg.Error as error:
            raise _link_error(error, server, connecting=True) from error
        async with connection:
            database = Database(connection, server)
            await database._prepare(migrate)
            yield database

    async def _prepare(self, migrate: bool) -> None:
        try:
            if migrate:
                await self._migrate()
                await self._connection.execute(statements.STAGING)
                await self._connection.execute(statements.STAGED)
            elif await self._rows("SELECT WHERE to_regclass('linli.migration') IS NULL"):
                raise LinkDown("database-empty", server=self._server)
        except psycopg.Error as error:
            raise _link_error(error, self._server) from error

    async def _migrate(self, folder: Path = MIGRATIONS) -> None:
        encoding = self._connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise ConfigError("database-encoding", encoding=encoding)
        execute = self._connection.execute
        async with self._connection.transaction():
            await execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            if not await self._rows("SELECT FROM pg_namespace WHERE nspname = 'linli'"):
                await execute("CREATE SCHEMA linli")
            await execute(statements.CREATE_MIGRATION)
            applied = {number for (number,) in await self._rows("SELECT number FROM migration")}
            files = {int(file.name[:4]): file for file in sorted(folder.glob("[0-9]*.sql"))}
            if newer := applied - files.keys():
                raise ConfigError("database-newer", number=max(newer))
            for number in sorted(files.keys() - applied):
                await execute(files[number].read_bytes())
                await execute("INSERT INTO migration (number) VALUES (%s)", (number,))
                log_event(logging.INFO, "receiver-migrated", file=files[number].name)

    async def _rows(
        self, query: LiteralString, parameters: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        return await (await self._connection.execute(query, parameters)).fetchall()

    async def store(self, contents: Iterable[Parsed | Reject]) -> None:
        """Store it in one transaction. Raises `LinkDown`, or `MessageRefused`; then nothing is stored."""
        batch = _Batch(contents)
        try:
            try:
                await self._store(batch)
            except psycopg.errors.CheckViolation:
                self._months.clear()  # A partition was dropped meanwhile.
                await self._store(batch)
        except psycopg.Error as error:
            if (error.sqlstate or "")[:2] in _REFUSED_CLASSES:
                raise MessageRefused(error.sqlstate) from error
            raise _link_error(error, self._server) from error

    async def _store(self, batch: _Batch) -> None:
        await self._find_streams(batch.envelopes)
        rows, months = self._copy_rows(batch.envelopes)
        for month in sorted(months - self._months):
            await self._add_partition(month)
        async with self._connection.transaction(), self._connection.cursor() as cursor:
            if rows:
                async with cursor.copy(statements.COPY_STAGING) as copy:
                    for block in rows:
                        await copy.write(block)
                await cursor.execute(statements.INSERT_RECORDS)
                if any(
                    each.clock not in ("synced", "set")
                    for _, sent in batch.envelopes
                    for each in sent.records
                ):
                    await cursor.execute(statements.LOCK_REDATED)
                    await cursor.execute(statements.INSERT_REDATED)
            if batch.ledgers:
                await cursor.executemany(statements.INSERT_LEDGER, _ledger_rows(batch.ledgers))
            if batch.urgents:
                await cursor.executemany(
                    statements.INSERT_URGENT, [_urgent_row(*each) for each in batch.urgents]
                )
            if batch.rejects:
                await self._store_rejects(batch.rejects)

    async def _find_streams(self, envelopes: Iterable[tuple[str, ReceivedRecords]]) -> None:
        wanted = {Stream(site, each.epoch, each.device, each.lane) for site, each in envelopes}
        if len(self._streams) > MAX_KNOWN_STREAMS:
            self._streams.clear()
        unknown = sorted(wanted - self._streams.keys())
        if not unknown:
            return
        columns = [list(column) for column in zip(*unknown, strict=True)]
        await self._connection.execute(statements.INSERT_STREAMS, columns)
        found = await self._rows(statements.SELECT_STREAMS, columns)
        self._streams |= {Stream(*stream): id_ for id_, *stream in found}

    def _copy_rows(
        self, envelopes: Iterable[tuple[str, ReceivedRecords]]
    ) -> tuple[list[bytearray], set[datetime.date]]:
        """Blocks of rows in the text format of COPY, and the months that they are of."""
        blocks: list[bytearray] = []
        months = set()
        newest_day = (datetime.datetime.now(datetime.UTC) + MAX_AHEAD).date().toordinal()
        block = bytearray()
        for site, sent in envelopes:
            stream = self._streams[Stream(site, sent.epoch, sent.device, sent.lane)]
            backfill = b"t" if sent.backfill else b"f"
            for each in sent.records:
                month, month_text = _month_of(each.at // 86_400_000, newest_day)
                months.add(month)
                block += b"%d\t%d\t%b\t%d\t%b\t%b\t%d\t%b\t%b\t%b\n" % (
                    stream,
                    each.seq,
                    month_text,
                    each.at,
                    _escape_text(each.clock),
                    _escape_text(each.kind),
                    each.mono,
                    _escape_text(each.boot),
                    backfill,
                    _escape(bytes(each.data)),
                )
            if len(block) > COPY_BYTES:
                blocks.append(block)
                block = bytearray()
        return [*blocks, block] if block else blocks, months

    async def _add_partition(self, month: datetime.date) -> None:
        name = "record_undated" if month == UNDATED else f"record_{month:%Y_%m}"
        async with self._connection.transaction():
            await self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (PARTITION_LOCK,))
            if await self._rows("SELECT WHERE to_regclass(%s) IS NULL", (name,)):
                for statement in (
                    statements.CREATE_PARTITION,
                    statements.ATTACH_PARTITION,
                ):
                    await self._connection.execute(
                        sql.SQL(statement).format(
                            name=sql.Identifier(name), month=sql.Literal(month.isoformat())
                        )
                    )
        self._months.add(month)

    async def stored(self, site: str, first_day: str, last_day: str, timezone: str) -> Stored:
        """What is stored of these local days, of one site or (empty) of all. Raises `LinkDown`."""
        zone = ZoneInfo(timezone)
        first = datetime.datetime.combine(datetime.date.fromisoformat(first_day), datetime.time(), zone)
        after = datetime.date.fromisoformat(last_day) + datetime.timedelta(days=1)
        end = datetime.datetime.combine(after, datetime.time(), zone)
        months = {
            (first + datetime.timedelta(days=each)).astimezone(datetime.UTC).date().replace(day=1)
            for each in range((end - first).days + 2)
        }
        within = {
            "months": sorted(months | {UNDATED}), "first": first, "end": end,
            "site": site, "timezone": timezone, "first_day": first_day, "last_day": last_day,
        }  # fmt: skip
        try:
            counts = [
                StoredCount(Stream(*stream), day.isoformat(), count)
                for *stream, day, count in await self._rows(statements.SELECT_COUNTS, within)
            ]
            holes = [
                Hole(Stream(*stream), day.isoformat(), start, last)
                for *stream, day, start, last in await self._rows(statements.SELECT_HOLES, within)
            ]
            epochs = sorted({(hole.stream.site, hole.stream.epoch) for hole in holes})
            within |= {"sites": [site for site, _ in epochs], "epochs": [epoch for _, epoch in epochs]}
            gaps = [
                gap
                for site_, epoch, device, data in await self._rows(statements.SELECT_GAPS, within)
                if (gap := _gap_of(site_, epoch, device, data))
            ]
            ledger = [
                LedgerLine(Stream(*stream), *rest)
                for *stream, rest in (
                    (*row[:4], row[4:]) for row in await self._rows(statements.SELECT_LEDGER, within)
                )
            ]
            rejected = dict(await self._rows(statements.SELECT_REJECTED))
        except psycopg.Error as error:
            raise _link_error(error, self._server) from error
        return Stored(counts, holes, gaps, ledger, (first_day, last_day), rejected)

    async def _store_rejects(self, rejects: Sequence[Reject]) -> None:
        async with self._connection.cursor() as cursor:
            await cursor.executemany(
                statements.INSERT_REJECTED,
                [
                    (
                        each.reason,
                        each.topic.replace("\0", "\ufffd"),
                        each.size,
                        each.payload[:MAX_REJECTED_BYTES],
                    )
                    for each in rejects[:MAX_REJECTED_PER_BATCH]
                ],
            )
            await cursor.execute(statements.PRUNE_REJECTED, (MAX_REJECTED_ROWS,))


class _Batch:
    """What one transaction stores; all but the rejects with their site."""

    def __init__(self, contents: Iterable[Parsed | Reject]) -> None:
        self.envelopes: list[tuple[str, ReceivedRecords]] = []
        self.ledgers: list[tuple[str, ReceivedLedger]] = []
        self.urgents: list[tuple[str, UrgentAlarm]] = []
        self.rejects: list[Reject] = []
        for each in contents:
            match each:
                case Reject():
                    self.rejects.append(each)
                case Parsed(site=site, body=ReceivedRecords() as envelope):
                    self.envelopes.append((site, envelope))
                case Parsed(site=site, body=ReceivedLedger() as ledger):
                    self.ledgers.append((site, ledger))
                case Parsed(site=site, body=UrgentAlarm() as urgent):
                    self.urgents.append((site, urgent))


def _ledger_rows(ledgers: Iterable[tuple[str, ReceivedLedger]]) -> list[tuple[Any, ...]]:
    """In the order of their key, so that receivers wait for each other, and not in a circle."""
    rows: list[tuple[Any, ...]] = [
        (
            *(site, row.epoch or ledger.epoch, row.day, row.lane, row.device),
            *(row.measured, row.delivered, row.pending),
            *(Jsonb(row.dropped), row.uncertain, Jsonb(row.gaps)),
        )
        for site, ledger in ledgers
        for row in ledger.rows
    ]
    return sorted(rows, key=lambda row: row[:5])


def _gap_of(site: str, epoch: str, device: str, data: Any) -> Gap | None:
    """A gap record; None if it says nothing of this platform. Those of one platform of several are in the
    ledger that it gets."""
    try:
        gap = msgspec.convert(data, GapData)
    except msgspec.ValidationError:
        return None
    return (
        None
        if gap.uplink
        else Gap(
            Stream(site, gap.epoch or epoch, device, gap.lane), gap.first, gap.last, gap.reason, gap.count
        )
    )


def _urgent_row(site: str, alarm: UrgentAlarm) -> tuple[Any, ...]:
    return (
        *(site, alarm.device, alarm.kind, alarm.boot, alarm.mono, alarm.at, alarm.clock),
        bytes(alarm.data).decode(),
    )


@functools.lru_cache(maxsize=4096)
def _month_of(day: int, newest_day: int) -> tuple[datetime.date, bytes]:
    """The month of a day since 1970, and its text. `newest_day` is a proleptic ordinal."""
    ordinal = day + datetime.date(1970, 1, 1).toordinal()
    month = datetime.date.fromordinal(ordinal).replace(day=1)
    if month < FIRST_MONTH or ordinal > newest_day:
        month = UNDATED
    return month, month.isoformat().encode()


@functools.lru_cache(maxsize=4096)
def _escape_text(text: str) -> bytes:
    return _escape(text.encode())


def _escape(text: bytes) -> bytes:
    """As COPY's text format wants it (PostgreSQL manual, COPY)."""
    text = text.replace(b"\\", b"\\\\")
    return text.replace(b"\t", b"\\t").replace(b"\n", b"\\n").replace(b"\r", b"\\r")


def _link_error(error: psycopg.Error, server: str, *, connecting: bool = False) -> LinkDown:
    state = error.sqlstate or ""
    key = next((key for start, key in _LINK_KEYS.items() if state.startswith(start)), "")
    said = str(error)
    if not key and connecting:
        key = next((key for text, key in _CONNECT_TEXTS.items() if text in said), "database-unreachable")
    key = key or ("database-other" if state else "database-lost")
    return LinkDown(key, server=server, reason=" ".join(said.split())[:300])


_CONNECT_TEXTS = {
    "password authentication failed": "database-login",
    "no password supplied": "database-login",
    "no pg_hba.conf entry": "database-login",
    "does not exist": "database-missing",
    "too many clients": "database-connections",
    "starting up": "database-stopping",
    "shutting down": "database-stopping",
}
"""libpq keeps no SQLSTATE of a failed connection."""
