"""Aggregates facts into counts per quarter of an hour. Pure: however the facts are split into batches, the
bins are the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from gateway.capabilities.visitors.services import CENTRE, OUTSIDE
from gateway.model import Record, Stamp

QUARTER_MS = 900_000
"""In every time zone hours, days and years begin on a quarter of an hour."""
MAX_PERIOD_MS = 7 * 86_400_000
"""A longer period of a counter is counted at its end."""
STORED_KINDS = frozenset({"attendance", "visitor-drift", "visitor-corrected", "opening-day"})
"""Kinds of facts that are stored unchanged: a few a day."""
GATEWAY_DOWN = "away"
"""The kind of the fact that the gateway writes at its start after downtime, and the reason of the gap."""
RECORDS_LOST, BEFORE_FIRST_RECORD = "lost", "before"
"""Reasons of gaps: records were deleted or damaged before they were read; the time before the first
record."""
UNCOUNTED_KINDS = {
    "counter-restarted": "restarted",
    "counter-missed": "missed",
    "counter-implausible": "implausible",
}
"""Kinds of facts by which a counter reports an uncounted time, with the reason of the gap."""
TIMED_KINDS = STORED_KINDS | UNCOUNTED_KINDS.keys() | {"crossing", "tour-marked", "coverage", GATEWAY_DOWN}
"""Kinds of facts that are kept until their time is known if the clock was not set."""

CorrectStamp = Callable[[Stamp], Stamp]
"""Corrects a stamp by what is known of its boot: see `timekeeping.correct`."""


class Bin(NamedTuple):
    """People who came and went; `tours` of those who came were on a guided tour (参访人员)."""

    came: int = 0
    went: int = 0
    tours: int = 0

    def plus(self, other: Bin) -> Bin:
        return Bin(self.came + other.came, self.went + other.went, self.tours + other.tours)


class Cursor(NamedTuple):
    """How far one journal has been aggregated: the position in its event lane and the newest time there.
    Records up to `skip_until_ms` came from the previous journal (Unix milliseconds); quarters before
    `first_quarter` are complete already."""

    position: int = 0
    newest_ms: int = 0
    skip_until_ms: int = 0
    first_quarter: int = 0


class StoredFact(NamedTuple):
    """A fact that is stored unchanged; `at` in Unix milliseconds."""

    at: int
    kind: str
    device: str
    body: dict[str, Any]


DOOR_PREFIX, ROOM_PREFIX = "door.", "room."
"""Prefixes of place names, of all places but the centre."""

CountingGap = tuple[int, int, str, str]
"""From and until (Unix milliseconds), the counter (empty: all of them) and the reason why there are no
counts of that time."""


class AggregationBatch:
    """What one transaction adds to the file."""

    def __init__(self) -> None:
        self.bins: dict[tuple[int, str], Bin] = {}
        """By quarter (since 1970) and place."""
        self.coverage_changes: dict[tuple[str, int], bool] = {}
        self.gaps: set[CountingGap] = set()
        self.stored_facts: list[StoredFact] = []
        self.undated: list[Record] = []
        self.cursors: dict[str, Cursor] = {}


class Aggregator:
    """Aggregates the event lane of one journal, in order, from a cursor on."""

    def __init__(self, epoch: str, cursors: Mapping[str, Cursor], correct: CorrectStamp) -> None:
        before = max((cursor.newest_ms for cursor in cursors.values()), default=0)
        self._epoch = epoch
        self._correct = correct
        self.cursor = cursors.get(epoch) or Cursor(0, before, before)
        self.batch = AggregationBatch()

    def restart_from_first_row(self) -> None:
        """The journal was replaced by an older copy of itself: read it again, and skip what is counted
        already."""
        self.cursor = self.cursor._replace(position=0, skip_until_ms=self.cursor.newest_ms)

    def add_row(self, position: int, records: Iterable[Record]) -> None:
        """Add one row of the lane; an unreadable row has no records and is treated as missing."""
        stamped = [(record, self._correct(record.at)) for record in records]
        if not stamped:
            return
        last, newest_ms, skip_until_ms, first_quarter = self.cursor
        walls = [at.wall_ms for _, at in stamped if at.is_set]
        if walls and position > last + 1 and (last or not newest_ms):
            # Rows are missing: deleted to make room, or damaged.
            self._add_gap(newest_ms, min(walls), RECORDS_LOST if last else BEFORE_FIRST_RECORD)
        for record, at in stamped:
            if at.is_set:
                if at.wall_ms > skip_until_ms:
                    self._add_record(record, at.wall_ms)
            elif record.kind in TIMED_KINDS:
                self.batch.undated.append(record)
        self.cursor = Cursor(position, max([newest_ms, *walls]), skip_until_ms, first_quarter)
        self.batch.cursors[self._epoch] = self.cursor

    def add_undated(self, undated: Iterable[Record]) -> list[Record]:
        """Add the records whose time is known by now, and return them."""
        dated = []
        for record in undated:
            at = self._correct(record.at)
            if at.is_set:
                self._add_record(record, at.wall_ms)
                dated.append(record)
        return dated

    def _add_record(self, record: Record, at: int) -> None:
        # A fact written by another version may have another shape: leave it out.
        with contextlib.suppress(KeyError, TypeError):
            self._add_fact(record, at, record.body)

    def _add_fact(self, record: Record, at: int, body: dict[str, Any]) -> None:
        if record.kind == "crossing":
            self._add_crossing(record.device, at, body)
        elif record.kind == "coverage":
            self.batch.coverage_changes[record.device, at] = bool(body["covered"])
        elif record.kind == "tour-marked":
            self._add_counts(CENTRE, Bin(0, 0, body["count"]), body["since"], body["until"])
        elif record.kind == GATEWAY_DOWN:
            self._add_gap(body["since"], at, GATEWAY_DOWN)
        elif record.kind in UNCOUNTED_KINDS and body.get("since") is not None:
            self._add_gap(body["since"], body["until"] or at, UNCOUNTED_KINDS[record.kind], record.device)
        elif record.kind == "gap" and body["reason"] == "damaged" and body["lane"] == "event":
            self._add_gap(self.cursor.newest_ms, at, RECORDS_LOST)
        elif record.kind in STORED_KINDS:
            self.batch.stored_facts.append(StoredFact(at, record.kind, record.device, body))

    def _add_gap(self, since: int, until: int, reason: str, counter: str = "") -> None:
        if until > since:
            self.batch.gaps.add((since, until, counter, reason))

    def _add_crossing(self, counter: str, at: int, body: Mapping[str, Any]) -> None:
        """Count for the door, for the centre if the door leads outside, and for the rooms on both sides."""
        counts = Bin(body["in"], body["out"], body.get("tours", 0))
        # Of people who leave it is not known who is on a tour.
        back = Bin(body["out"], body["in"])
        since, until = body.get("since", at), body.get("until", at + 1)
        origin, target = body.get("from", OUTSIDE), body.get("to", CENTRE)
        self._add_counts(DOOR_PREFIX + body.get("door", counter), counts, since, until)
        if origin == OUTSIDE:
            self._add_counts(CENTRE, counts, since, until)
        elif target == OUTSIDE:
            self._add_counts(CENTRE, back, since, until)
        if target not in (OUTSIDE, CENTRE):
            self._add_counts(ROOM_PREFIX + target, counts, since, until)
        if origin not in (OUTSIDE, CENTRE):
            self._add_counts(ROOM_PREFIX + origin, back, since, until)

    def _add_counts(self, place: str, counts: Bin, since: int, until: int) -> None:
        if not 0 < until - since <= MAX_PERIOD_MS:
            since = until - 1
        for quarter, part in split_by_quarter_hour(counts, since, until):
            if quarter < self.cursor.first_quarter:
                continue
            self.batch.bins[quarter, place] = self.batch.bins.get((quarter, place), Bin()).plus(part)


def split_by_quarter_hour(counts: Bin, since: int, until: int) -> Iterator[tuple[int, Bin]]:
    """Divide the counts of a period among its quarters by time, in whole people that add up to the
    total."""
    before = Bin()
    for quarter in range(since // QUARTER_MS, (until - 1) // QUARTER_MS + 1):
        passed, whole = min(until, (quarter + 1) * QUARTER_MS) - since, until - since
        came = counts.came * passed // whole
        # In proportion to who came so far: `tours` never exceeds `came`.
        tours = came * counts.tours // counts.came if counts.came else counts.tours * passed // whole
        upto = Bin(came, counts.went * passed // whole, tours)
        part = Bin(upto.came - before.came, upto.went - before.went, upto.tours - before.tours)
        before = upto
        if any(part):
            yield quarter, part
