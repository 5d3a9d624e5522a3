"""The one buffer: an append-only journal in SQLite, with a cursor for each of its readers.

A lane is a table, a row is a pack of records, and every record has a sequence number in its stream
(one device in one lane). `Journal` writes, in the daemon; `JournalReader` reads, in any process.
"""

from .database import JournalDamaged, JournalFailed, JournalFull, JournalLost
from .delivery import Delivery
from .journal import Journal
from .pending import TelemetryWindow
from .reader import DEFAULT_READER, LANES, DeadLetter, JournalReader, LedgerGap, LedgerRow, RecordPack
from .space import StorageLimits, is_writable
from .stream_filter import StreamFilter

__all__ = [
    "DEFAULT_READER",
    "LANES",
    "DeadLetter",
    "Delivery",
    "Journal",
    "JournalDamaged",
    "JournalFailed",
    "JournalFull",
    "JournalLost",
    "JournalReader",
    "LedgerGap",
    "LedgerRow",
    "RecordPack",
    "StorageLimits",
    "StreamFilter",
    "TelemetryWindow",
    "is_writable",
]
