"""The SQL statements that write to the journal. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.model import Lane, Record, Row

from .database import Statement
from .reader import LedgerGap, LedgerKey, Stream
from .rows import Pack, encode, pack_records

MAX_DEAD_LETTERS = 100
"""The newest of each stream are kept."""
MAX_GAPS_PER_DAY = 32
"""Of one stream and reason, in the ledger."""
MAX_LEDGER_DAYS = 400


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


def add_state(service: str, key: str, body: bytes) -> Statement:
    """Store a row of a service, as MessagePack, if there is none with its key."""
    return "INSERT OR IGNORE INTO state VALUES (?, ?, ?)", (service, key, body)


def set_meta(key: str, value: str) -> Statement:
    """Store a fact about the journal itself."""
    return "INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value)


def set_cursor(reader: str, lane: Lane, pos: int) -> Statement:
    """Store the position up to which a reader is done with a lane."""
    return "INSERT OR REPLACE INTO cursor VALUES (?, ?, ?)", (reader, int(lane), pos)


def set_reader(name: str, streams: str, since: str, left: str = "") -> Statement:
    """Store a reader; `left` is the day on which it was last configured, empty if it is."""
    return "INSERT OR REPLACE INTO reader VALUES (?, ?, ?, ?)", (name, streams, since, left)


def rename_reader(old: str, new: str) -> list[Statement]:
    """Give the place of a reader to another."""
    return [
        ("UPDATE reader SET name = ? WHERE name = ?", (new, old)),
        *(
            (f"UPDATE {table} SET reader = ? WHERE reader = ?", (new, old))  # noqa: S608
            for table in ("cursor", "gap", "dead")
        ),
    ]


def forget_reader(name: str) -> list[Statement]:
    """Delete what is known of a reader."""
    return [
        ("DELETE FROM reader WHERE name = ?", (name,)),
        *((f"DELETE FROM {table} WHERE reader = ?", (name,)) for table in ("cursor", "gap", "dead")),  # noqa: S608
    ]


def set_stream(stream: Stream, written: int) -> Statement:
    """Store the last sequence number of a stream."""
    return "INSERT OR REPLACE INTO stream VALUES (?, ?, ?)", (int(stream[0]), stream[1], written)


def add_day(key: LedgerKey, count: int) -> Statement:
    """Add to the number of records of a day in the ledger."""
    day, lane, device, epoch = key
    return (
        "INSERT INTO day (day, lane, device, epoch, measured) VALUES (?, ?, ?, ?, ?5) "
        "ON CONFLICT DO UPDATE SET measured = measured + ?5",
        (day, int(lane), device, epoch, count),
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


def add_gap(day: str, gap: LedgerGap) -> Statement:
    """Add a gap to the ledger. One that follows another of the same reason, or of which the stream has too
    many on that day, makes the last of them longer: the counts stay right."""
    same = "day = ?1 AND lane = ?2 AND device = ?3 AND reason = ?7 AND reader = ?9 AND epoch = ?10"
    return (
        "INSERT INTO gap (id, day, lane, device, first, last, count, reason, reader, epoch) VALUES "  # noqa: S608
        f"((SELECT max(id) FROM gap WHERE {same} AND (last = ?4 - 1 OR "
        f"(SELECT count(*) FROM gap WHERE {same}) >= ?8)), ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?9, ?10) "
        "ON CONFLICT (id) DO UPDATE SET first = min(first, excluded.first), "
        "last = max(last, excluded.last), count = count + excluded.count",
        (
            *(day, int(gap.lane), gap.device, gap.first, gap.last, gap.count, gap.reason),
            *(MAX_GAPS_PER_DAY, gap.reader, gap.epoch),
        ),
    )


def prune_ledger() -> list[Statement]:
    """Delete the days that are too old. Days are counted, as the clock may have been years ahead once."""
    # Not LIMIT 1 OFFSET with DISTINCT: of one row, SQLite 3.40 returns it whatever the offset.
    oldest = "(SELECT min(day) FROM (SELECT DISTINCT day FROM day ORDER BY day DESC LIMIT ?))"
    # The gaps first: which days are too old is known from those that were measured.
    return [
        (f"DELETE FROM {table} WHERE day < {oldest}", (MAX_LEDGER_DAYS,))  # noqa: S608
        for table in ("gap", "day")
    ]


def add_dead_letter(row: Sequence[Any], epoch: str) -> Statement:
    """Add a row of the dead-letter table of another journal, as `JournalReader.dead_rows` gives it."""
    return (
        "INSERT OR REPLACE INTO dead (lane, device, seq, reason, body, crc, reader, epoch) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*row, epoch),
    )


def insert_dead_letter(record: Record, reason: str, reader: str) -> list[Statement]:
    """Add a record to the dead-letter table, and delete those of its stream that are too many."""
    body, crc = pack_records([record])
    stream = int(record.lane), record.device
    same = "lane = ?1 AND device = ?2 AND reader = ?4 AND epoch = ?5"
    return [
        (
            "INSERT OR REPLACE INTO dead (lane, device, seq, reason, body, crc, reader, epoch) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*stream, record.seq, reason, body, crc, reader, record.epoch),
        ),
        (
            f"DELETE FROM dead WHERE {same} AND seq <= (SELECT seq FROM dead "  # noqa: S608
            f"WHERE {same} ORDER BY seq DESC LIMIT 1 OFFSET ?3)",
            (*stream, MAX_DEAD_LETTERS, reader, record.epoch),
        ),
    ]
