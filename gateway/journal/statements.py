"""The SQL statements that write to the journal. Pure."""

from __future__ import annotations

from gateway.model import Lane, Record, Row

from .database import Statement
from .reader import UPLINK_READER, LedgerGap, Stream
from .rows import Pack, encode, pack_records

MAX_DEAD_LETTERS = 100
"""The newest of each stream are kept."""


def insert_pack(lane: Lane, count: int, pack: Pack) -> Statement:
    """Add a row of so many records to a lane."""
    return f"INSERT INTO {lane.name} (count, body, crc) VALUES (?, ?, ?)", (count, *pack)  # noqa: S608


def delete_packs(lane: Lane, until: int) -> Statement:
    """Delete a lane's oldest rows."""
    return f"DELETE FROM {lane.name} WHERE pos <= ?", (until,)  # noqa: S608


def set_state(service: str, key: str, row: Row | None) -> Statement:
    """Store or delete a row of a service. Raises `ValueError` if it cannot be encoded."""
    encode(key)
    if row is None:
        return "DELETE FROM state WHERE service = ? AND key = ?", (service, key)
    return "INSERT OR REPLACE INTO state VALUES (?, ?, ?)", (service, key, encode(row))


def set_cursor(lane: Lane, pos: int) -> Statement:
    """Store the position that the platform has acknowledged."""
    return "INSERT OR REPLACE INTO cursor VALUES (?, ?, ?)", (UPLINK_READER, int(lane), pos)


def set_stream(stream: Stream, written: int) -> Statement:
    """Store the last sequence number of a stream."""
    return "INSERT OR REPLACE INTO stream VALUES (?, ?, ?)", (int(stream[0]), stream[1], written)


def add_day(day: str, lane: Lane, device: str, count: int) -> Statement:
    """Add to the number of records of a day in the ledger."""
    return (
        "INSERT INTO day VALUES (?, ?, ?, ?4) ON CONFLICT DO UPDATE SET measured = measured + ?4",
        (day, int(lane), device, count),
    )


def set_checkpoint() -> Statement:
    """Store the newest position of each lane: a start counts after it what `set_stream` does not count."""
    return (
        "UPDATE meta SET value = (SELECT json_group_array(coalesce(seq, 0)) FROM "
        "(VALUES ('alarm'), ('event'), ('telemetry')) LEFT JOIN sqlite_sequence "
        "ON name = column1) WHERE key = 'checkpoint'",
        (),
    )


def set_clean(clean: bool) -> Statement:
    """Store whether the journal was closed properly."""
    return "UPDATE meta SET value = ? WHERE key = 'clean'", (str(int(clean)),)


def set_epoch(epoch: str) -> Statement:
    """Store the identity of the journal."""
    return "UPDATE meta SET value = ? WHERE key = 'epoch'", (epoch,)


def insert_gap(day: str, gap: LedgerGap) -> Statement:
    """Add a gap to the ledger."""
    return (
        "INSERT INTO gap (day, lane, device, first, last, count, reason) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (day, int(gap.lane), gap.device, gap.first, gap.last, gap.count, gap.reason),
    )


def insert_dead_letter(record: Record, reason: str) -> list[Statement]:
    """Add a record to the dead-letter table, and delete those of its stream that are too many."""
    body, crc = pack_records([record])
    stream = int(record.lane), record.device
    return [
        (
            "INSERT OR REPLACE INTO dead VALUES (?, ?, ?, ?, ?, ?)",
            (*stream, record.seq, reason, body, crc),
        ),
        (
            "DELETE FROM dead WHERE lane = ?1 AND device = ?2 AND seq <= (SELECT seq FROM dead "
            "WHERE lane = ?1 AND device = ?2 ORDER BY seq DESC LIMIT 1 OFFSET ?3)",
            (*stream, MAX_DEAD_LETTERS),
        ),
    ]
