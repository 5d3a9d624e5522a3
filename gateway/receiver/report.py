"""Per gateway and day: is everything here, and if not, which numbers are missing, and why.

Pure: the rows come from the database.
"""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

UNCERTAIN_REASONS = frozenset({"restart", "damaged"})
"""The gateway does not know itself how many of these numbers it had used."""
REPLACED_REASON = "replaced"
"""The journal ended before the gateway sent them; its successor has another epoch."""


class Stream(NamedTuple):
    """Whose numbers run from 1."""

    site: str
    epoch: str
    device: str
    lane: str


class StoredCount(NamedTuple):
    """How many records of a day are stored."""

    stream: Stream
    day: str
    stored: int


class Hole(NamedTuple):
    """Numbers that are not stored; the next that is, is of this day."""

    stream: Stream
    day: str
    first: int
    last: int


class Gap(NamedTuple):
    """A gateway says that it lost so many of these numbers (None: all), and why."""

    stream: Stream
    first: int
    last: int
    reason: str
    lost: int | None = None


class LedgerLine(NamedTuple):
    """What a gateway says of a day."""

    stream: Stream
    day: str
    delivered: int
    pending: int
    dropped: Mapping[str, int]
    gaps: Sequence[tuple[int, int, str]]
    last_seq: int
    """The highest number that is stored of the stream; 0 if there is none."""
    is_replaced: bool
    """The gateway has begun another epoch since."""


class Stored(NamedTuple):
    """What the database has of some days."""

    counts: list[StoredCount]
    holes: list[Hole]
    gaps: list[Gap]
    ledger: list[LedgerLine]
    """Of these days, and of all days of the streams with holes."""
    days: tuple[str, str]
    """The first and the last."""
    rejected: Mapping[str, int] = {}
    """Messages that are kept as rejected, by reason."""


class Missing(msgspec.Struct, frozen=True):
    """Numbers that are missing; without a `reason`, nobody has said why."""

    epoch: str
    device: str
    lane: str
    first: int
    last: int
    reason: str

    @property
    def count(self) -> int:
        return self.last - self.first + 1


class DayReport(msgspec.Struct, frozen=True):
    """One gateway and day."""

    site: str
    day: str
    records: int
    missing: list[Missing]
    """The unexplained ones first."""

    @property
    def unexplained(self) -> int:
        return sum(each.count for each in self.missing if not each.reason)

    @property
    def explained(self) -> int:
        return sum(each.count for each in self.missing if each.reason)


def make_reports(stored: Stored) -> list[DayReport]:
    """By site and day."""
    records: Counter[tuple[str, str]] = Counter()
    missing: defaultdict[tuple[str, str], list[Missing]] = defaultdict(list)
    unexplained: Counter[Stream] = Counter()
    for count in stored.counts:
        records[count.stream.site, count.day] += count.stored
    for stream, day, found in _explain(stored):
        missing[stream.site, day].append(found)
        unexplained[stream] += 0 if found.reason else found.count
    for stream, day, found in _missing_at_the_end(stored, unexplained):
        missing[stream.site, day].append(found)
    return [
        DayReport(
            site, day, records[site, day],
            sorted(missing[site, day], key=lambda it: (bool(it.reason), it.device, it.lane, it.first)),
        )
        for site, day in sorted(records.keys() | missing.keys())
    ]  # fmt: skip


def _explain(stored: Stored) -> Iterator[tuple[Stream, str, Missing]]:
    """The holes, in pieces for each of which there is one reason or none."""
    gaps = defaultdict(list)
    recorded: Counter[tuple[Stream, str]] = Counter()
    in_ledger: Counter[tuple[Stream, str]] = Counter()
    for gap in stored.gaps:
        gaps[gap.stream].append(gap)
        recorded[gap.stream, gap.reason] += gap.last - gap.first + 1 if gap.lost is None else gap.lost
    for line in stored.ledger:
        gaps[line.stream] += [Gap(line.stream, *gap) for gap in line.gaps]
        for reason, count in line.dropped.items():
            in_ledger[line.stream, reason] += count
    # Gap records and the ledger say the same; either may be the one that has not arrived yet.
    left = recorded | in_ledger
    holes: defaultdict[Stream, list[Hole]] = defaultdict(list)
    for hole in stored.holes:
        holes[hole.stream].append(hole)
    for stream, of_stream in holes.items():
        unexplained = sorted(of_stream, key=lambda hole: hole.first)
        for gap in gaps[stream]:
            for hole, end in _cut(unexplained, gap, left):
                yield stream, hole.day, _missing(stream, hole.first, end, gap.reason)
        for hole in unexplained:
            yield stream, hole.day, _missing(stream, hole.first, hole.last, "")


def _cut(holes: list[Hole], gap: Gap, left: Counter[tuple[Stream, str]]) -> Iterator[tuple[Hole, int]]:
    """Cut from the holes, in their order, what a gap explains: each time a hole, and its last such number.

    `left`: how many numbers the gaps of a stream and reason still explain: one may name more than it lost.
    """
    index = bisect.bisect_left(holes, gap.first, key=lambda hole: hole.last)
    key = gap.stream, gap.reason
    while index < len(holes) and holes[index].first <= gap.last:
        hole = holes[index]
        start, end = max(hole.first, gap.first), min(hole.last, gap.last)
        if gap.reason not in UNCERTAIN_REASONS:
            end = min(end, start + left[key] - 1)
            left[key] -= max(0, end - start + 1)
        if end < start:
            return
        yield hole._replace(first=start), end
        rest = [hole._replace(last=start - 1), hole._replace(first=end + 1)]
        holes[index : index + 1] = [each for each in rest if each.first <= each.last]
        index = bisect.bisect_right(holes, end, key=lambda each: each.first)


def _missing_at_the_end(
    stored: Stored, unexplained: Mapping[Stream, int]
) -> Iterator[tuple[Stream, str, Missing]]:
    """Beyond the last number: what a ledger calls delivered, and what an ended journal did not send."""
    received: Counter[Stream] = Counter()
    for count in stored.counts:
        received[count.stream] += count.stored
    lines: defaultdict[Stream, list[LedgerLine]] = defaultdict(list)
    for line in stored.ledger:
        if stored.days[0] <= line.day <= stored.days[1]:
            lines[line.stream].append(line)
    for stream, days in lines.items():
        newest = max(days, key=lambda line: line.day)
        here = received[stream] + unexplained.get(stream, 0)
        lost = max(0, sum(line.delivered for line in days) - here)
        first = newest.last_seq + 1
        if lost:
            yield stream, newest.day, _missing(stream, first, first + lost - 1, "")
        if newest.is_replaced:
            unsent = sum(line.delivered + line.pending for line in days) - here - lost
            if unsent > 0:
                first += lost
                yield stream, newest.day, _missing(stream, first, first + unsent - 1, REPLACED_REASON)


def _missing(stream: Stream, first: int, last: int, reason: str) -> Missing:
    return Missing(stream.epoch, stream.device, stream.lane, first, last, reason)
