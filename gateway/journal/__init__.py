"""The one buffer: an append-only journal in SQLite, with a cursor for each of its readers.

A lane is a table, a row is a pack of records, and every record has a sequence number in its stream
(one device in one lane). `Journal` writes, in the daemon; `Reader` reads, in any process.
"""

from .database import JournalDamaged, JournalFailed, JournalFull
from .journal import Journal, Window
from .reader import LANES, DeadLetter, Gap, LedgerRow, Pack, Reader
from .space import Limits

__all__ = [
    "LANES",
    "DeadLetter",
    "Gap",
    "Journal",
    "JournalDamaged",
    "JournalFailed",
    "JournalFull",
    "LedgerRow",
    "Limits",
    "Pack",
    "Reader",
    "Window",
]
