"""What the journal says to the database: one SQL statement each. Pure."""

from __future__ import annotations

import msgspec

from gateway.model import Lane, Record, Row

from .database import Statement
from .reader import UPLINK, Gap, Stream
from .rows import pack

_encode = msgspec.msgpack.Encoder().encode


def insert(lane: Lane, records: list[Record]) -> Statement:
    """A row of a lane."""
    body, crc = pack(records)
    return (
        f"INSERT INTO {lane.name} (count, body, crc) VALUES (?, ?, ?)",  # noqa: S608
        (len(records), body, crc),
    )


def remove(lane: Lane, until: int) -> Statement:
    """The end of a lane's oldest rows."""
    return f"DELETE FROM {lane.name} WHERE pos <= ?", (until,)  # noqa: S608


def put_state(service: str, key: str, row: Row | None) -> Statement:
    """A row of a service, or its end."""
    if row is None:
        return "DELETE FROM state WHERE service = ? AND key = ?", (service, key)
    return "INSERT OR REPLACE INTO state VALUES (?, ?, ?)", (service, key, _encode(row))


def put_cursor(lane: Lane, pos: int) -> Statement:
    """How far the platform has come."""
    return "INSERT OR REPLACE INTO cursor VALUES (?, ?, ?)", (UPLINK, int(lane), pos)


def put_stream(stream: Stream, written: int) -> Statement:
    """The last sequence number of a stream."""
    return "INSERT OR REPLACE INTO stream VALUES (?, ?, ?)", (int(stream[0]), stream[1], written)


def add_day(day: str, lane: Lane, device: str, count: int) -> Statement:
    """So many more records of a day in the ledger."""
    return (
        "INSERT INTO day VALUES (?, ?, ?, ?4) ON CONFLICT DO UPDATE SET measured = measured + ?4",
        (day, int(lane), device, count),
    )


def put_checkpoint() -> Statement:
    """The newest row of each lane: a start counts from there on what `put_stream` does not know."""
    return (
        "UPDATE meta SET value = (SELECT json_group_array(coalesce(seq, 0)) FROM "
        "(VALUES ('alarm'), ('event'), ('telemetry')) LEFT JOIN sqlite_sequence "
        "ON name = column1) WHERE key = 'checkpoint'",
        (),
    )


def put_clean(clean: bool) -> Statement:
    """Whether the journal was closed in order."""
    return "UPDATE meta SET value = ? WHERE key = 'clean'", (str(int(clean)),)


def put_gap(day: str, gap: Gap) -> Statement:
    """An entry of the ledger."""
    return (
        "INSERT INTO gap (day, lane, device, first, last, count, reason) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (day, int(gap.lane), gap.device, gap.first, gap.last, gap.count, gap.reason),
    )


def put_dead(record: Record, reason: str) -> Statement:
    """A dead letter."""
    body, crc = pack([record])
    return (
        "INSERT OR REPLACE INTO dead VALUES (?, ?, ?, ?, ?, ?)",
        (int(record.lane), record.device, record.seq, reason, body, crc),
    )
