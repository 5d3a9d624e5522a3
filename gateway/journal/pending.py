"""What has been added to the journal and is not committed yet: telemetry by windows, all else together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from gateway.model import Lane, Record, Row

from .database import Statement
from .reader import LedgerGap, LedgerKey, Stream
from .rows import RowBuilder

MAX_RECORDS_PER_ROW = 1024
"""A row is decoded at once, while alarms wait."""


class TelemetryWindow(msgspec.Struct):
    """The telemetry of one commit, in one row or several; `pos` is None until it is committed."""

    records: list[Record] = []
    encoded: list[bytes] = []
    """Each record as MessagePack, until it is committed."""
    rows: list[RowBuilder] = []
    last_numbers: dict[Stream, int] = {}
    """The last sequence number of each stream."""
    day_counts: Counter[LedgerKey] = msgspec.field(default_factory=Counter)
    first_pos: int | None = None
    pos: int | None = None
    """The positions of the first row and of the last one."""
    ready_count: int = 0
    """How many records, from the first, may be sent: all once committed; before that, those whose
    sequence number cannot be used again after a crash."""

    def add(self, record: Record, encoded: bytes, day: str) -> None:
        """Add a record with its MessagePack and its day."""
        if len(self.records) % MAX_RECORDS_PER_ROW == 0:
            self.rows.append(RowBuilder())
        self.records.append(record)
        self.encoded.append(encoded)
        self.rows[-1].add(encoded)
        self.last_numbers[record.lane, record.device] = record.seq
        self.day_counts[day, record.lane, record.device, record.epoch] += 1

    def set_committed(self, positions: Sequence[int]) -> None:
        """All of it is stored, in rows with these positions."""
        self.first_pos, self.pos, self.ready_count = positions[0], positions[-1], len(self.records)
        self.encoded, self.rows = [], []


class Pending(msgspec.Struct):
    """What the next transaction will contain."""

    merged: list[tuple[Lane, list[Record]]] = []
    """Rows of a journal in memory: see merge.py."""
    statements: list[Statement] = []
    """What becomes of the tables with them."""
    alarms: list[Record] = []
    events: list[Record] = []
    changes: dict[tuple[str, str], Row | None] = {}
    cursors: dict[tuple[str, Lane], int] = {}
    """By reader and lane."""
    gaps: list[tuple[str, LedgerGap]] = []
    dead_letters: list[tuple[Record, str, str]] = []
    """With the reason, and the reader that refuses it, empty for all."""
    deletions: list[Statement] = []
    readers: list[Statement] = []
    """Changes of the table of readers."""
    epoch: str = ""
    waiting: list[asyncio.Future[None]] = []

    def prepend(self, older: Pending) -> None:
        """After a failed transaction: prepend its contents."""
        self.merged[:0], self.statements[:0] = older.merged, older.statements
        self.alarms[:0], self.events[:0] = older.alarms, older.events
        self.gaps[:0], self.dead_letters[:0] = older.gaps, older.dead_letters
        self.deletions[:0], self.readers[:0] = older.deletions, older.readers
        self.changes = {**older.changes, **self.changes}
        self.cursors = {**older.cursors, **self.cursors}
        self.epoch = self.epoch or older.epoch


class Losses:
    """Records that will never be delivered, by day, lane and device."""

    def __init__(self) -> None:
        self._numbers: dict[LedgerKey, list[int]] = {}

    def add(self, key: LedgerKey, seq: int) -> None:
        self._numbers.setdefault(key, []).append(seq)

    def gaps(self, reason: str, reader: str = "") -> Iterator[tuple[str, LedgerGap]]:
        """The gap of each, with its day."""
        for (day, lane, device, epoch), seqs in self._numbers.items():
            yield day, LedgerGap(lane, device, seqs[0], seqs[-1], len(seqs), reason, reader, epoch)
