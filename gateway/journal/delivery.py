"""How far each reader of the journal has come, and what it will never receive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from gateway.model import Lane, Record

from .pending import Losses, Pending
from .reader import DayOf, LedgerGap
from .stream_filter import StreamFilter


class Delivery:
    """One reader's places in the lanes."""

    def __init__(
        self,
        name: str,
        streams: StreamFilter,
        positions: Mapping[Lane, int],
        since: str,
        day_of: DayOf,
        pending: Callable[[], Pending],
        record_gap: Callable[[str, LedgerGap, bool], None],
    ) -> None:
        """`record_gap` takes the day, the gap, and whether it is for the ledger alone."""
        self.name = name
        self.select(streams)
        self.positions = dict(positions)
        """The position up to which each lane is done with."""
        self.since = since
        """The first day of its ledger."""
        self._day_of = day_of
        self._pending = pending
        self._record_gap = record_gap

    def select(self, streams: StreamFilter) -> None:
        """What it receives from now on."""
        self.streams = streams
        self.selects = streams.selects

    def acknowledge(self, lane: Lane, pos: int) -> None:
        """The reader is done with a lane up to `pos`; written with the next commit."""
        if pos > self.positions[lane]:
            self.positions[lane] = self._pending().cursors[self.name, lane] = pos

    def drop(self, records: Iterable[Record], reason: str) -> None:
        """Record that these will never be delivered, and why, in the ledger and for the platform."""
        lost = Losses()
        for record in records:
            lost.add((self._day_of(record.at), record.lane, record.device), record.seq)
        for day, gap in lost.gaps(reason, self.name):
            self._record_gap(day, gap, False)

    def dead_letter(self, record: Record, reason: str) -> None:
        """Move a record that the platform refuses to the dead-letter table."""
        self._pending().dead_letters.append((record, reason, self.name))
        # A gap record that is itself refused must not cause another one.
        gap = LedgerGap(record.lane, record.device, record.seq, record.seq, 1, "dead", self.name)
        self._record_gap(self._day_of(record.at), gap, record.kind == "gap")
