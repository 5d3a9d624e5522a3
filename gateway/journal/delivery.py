"""How far each reader of the journal has come, and what it will never receive."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from gateway.base.log import log_event
from gateway.model import Lane, Record, sentence

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
        self.given_up: Counter[str] = Counter()
        """Its dead letters since the start, by reason."""
        self._logged: set[tuple[str, str, str]] = set()
        """Device, kind and reason of dead letters that have been logged."""
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
            lost.add((self._day_of(record.at), record.lane, record.device, record.epoch), record.seq)
        for day, gap in lost.gaps(reason, self.name):
            self._record_gap(day, gap, False)

    def dead_letter(self, record: Record, reason: str) -> None:
        """Move a record that the platform refuses to the dead-letter table. The first of each kind of a
        device is logged."""
        self.given_up[reason] += 1
        if (logged := (record.device, record.kind, reason)) not in self._logged:
            self._logged.add(logged)
            log_event(
                logging.WARNING,
                "record-given-up",
                device=record.device,
                kind=record.kind,
                seq=record.seq,
                uplink=self.name,
                reason=sentence(f"lost.{reason}"),
            )
        self._pending().dead_letters.append((record, reason, self.name))
        # A gap record that is itself refused must not cause another one.
        number = record.seq, record.seq, 1
        gap = LedgerGap(record.lane, record.device, *number, "dead", self.name, record.epoch)
        self._record_gap(self._day_of(record.at), gap, record.kind == "gap")
