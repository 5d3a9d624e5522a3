"""Reading the journal, from any process, without ever standing in the writer's way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from gateway.model import Lane, Record

from .database import Database, connect
from .rows import unpack

LANES = tuple(Lane)
UPLINK = "uplink"


class Pack(msgspec.Struct, frozen=True):
    """A row of a lane: the records that were committed together at `pos`."""

    pos: int
    records: list[Record]


class StreamLedger(msgspec.Struct, frozen=True):
    """What became of one device's records in one lane."""

    lane: Lane
    device: str
    written: int
    """The last sequence number that is stored."""
    pending: int
    """Records the platform has not acknowledged."""


class Reader:
    """Queries on the journal. Damaged rows are left out and counted in `damaged`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.damaged = 0

    @staticmethod
    @asynccontextmanager
    async def open(path: Path) -> AsyncIterator[Reader]:
        """A read-only reader; raises `JournalFailed` when there is no journal yet."""
        async with connect(path, readonly=True) as database:
            yield Reader(database)

    async def read(self, lane: Lane, after: int, limit: int) -> list[Pack]:
        """The next `limit` packs of a lane, oldest first."""
        return self._packs(
            await self._database.rows(
                f"SELECT pos, body, crc FROM {lane.name} WHERE pos > ? ORDER BY pos LIMIT ?",  # noqa: S608
                after,
                limit,
            )
        )

    async def before(self, lane: Lane, pos: int, limit: int) -> list[Pack]:
        """The `limit` packs of a lane before `pos`, newest first."""
        return self._packs(
            await self._database.rows(
                f"SELECT pos, body, crc FROM {lane.name} WHERE pos < ? ORDER BY pos DESC LIMIT ?",  # noqa: S608
                pos,
                limit,
            )
        )

    def _packs(self, rows: list[tuple[Any, ...]]) -> list[Pack]:
        packs = []
        for pos, body, crc in rows:
            try:
                packs.append(Pack(pos, unpack(body, crc)))
            except ValueError:
                self.damaged += 1
                packs.append(Pack(pos, []))
        return packs

    async def last(self, lane: Lane) -> int:
        """The newest position of a lane, 0 when it is empty; it never goes back."""
        rows = await self._database.rows(
            "SELECT seq FROM sqlite_sequence WHERE name = ?", lane.name.lower()
        )
        return rows[0][0] if rows else 0

    async def cursor(self, lane: Lane, reader: str = UPLINK) -> int:
        """How far a reader has come."""
        rows = await self._database.rows(
            "SELECT pos FROM cursor WHERE reader = ? AND lane = ?", reader, int(lane)
        )
        return rows[0][0] if rows else 0

    async def pending(self, lane: Lane) -> int:
        """Records of a lane that the platform has not acknowledged."""
        rows = await self._database.rows(
            f"SELECT coalesce(sum(count), 0) FROM {lane.name} WHERE pos > ?",  # noqa: S608
            await self.cursor(lane),
        )
        return int(rows[0][0])

    async def meta(self, key: str) -> str:
        """A fact about the journal itself; `epoch` is its identity."""
        rows = await self._database.rows("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0])

    async def state(self, service: str) -> dict[str, bytes]:
        """A service's rows, as MessagePack."""
        return dict(await self._database.rows("SELECT key, body FROM state WHERE service = ?", service))

    async def changes(self) -> int:
        """A number that differs once another connection has committed."""
        return int((await self._database.rows("PRAGMA data_version"))[0][0])

    async def streams(self) -> dict[tuple[Lane, str], tuple[int, int]]:
        """Last sequence number written and highest reserved, by stream, as of the last commit."""
        streams = {
            (Lane(lane), device): (written, reserved)
            for lane, device, written, reserved in await self._database.rows(
                "SELECT lane, device, written, reserved FROM stream"
            )
        }
        for lane, pos in zip(LANES, json.loads(await self.meta("checkpoint")), strict=True):
            async for record in self.records(lane, pos):
                stream = lane, record.device
                written, reserved = streams.get(stream, (0, 0))
                streams[stream] = max(written, record.seq), reserved
        return streams

    async def records(self, lane: Lane, after: int) -> AsyncIterator[Record]:
        """Every record of a lane after a position, a few rows in memory at a time."""
        while packs := await self.read(lane, after, 64):
            for pack in packs:
                for record in pack.records:
                    yield record
            after = packs[-1].pos

    async def ledger(self) -> list[StreamLedger]:
        """Per device and lane: what is stored and what is still to be delivered."""
        pending: dict[tuple[Lane, str], int] = {}
        for lane in LANES:
            async for record in self.records(lane, await self.cursor(lane)):
                pending[lane, record.device] = pending.get((lane, record.device), 0) + 1
        return [
            StreamLedger(lane, device, written, pending.get((lane, device), 0))
            for (lane, device), (written, _) in sorted((await self.streams()).items())
        ]
