"""The one buffer: an append-only journal in SQLite, and the cursors of those who read it.

A lane is a table, a row is a pack of records, and every record has its place in its stream
(one device in one lane). `Journal` writes, in the daemon; `Reader` reads, in any process.
"""

from .database import JournalFailed
from .journal import Journal, Window
from .reader import LANES, Pack, Reader, StreamLedger

__all__ = ["LANES", "Journal", "JournalFailed", "Pack", "Reader", "StreamLedger", "Window"]
