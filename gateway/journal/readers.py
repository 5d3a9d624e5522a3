"""The readers of the journal: those that are configured and, for a while, those that were."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from gateway.base.tasks import with_pauses
from gateway.model import Lane

from .database import JournalDamaged, JournalFailed
from .delivery import Delivery
from .pending import Pending
from .reader import DEFAULT_READER, LANES, JournalReader, LedgerGap, LedgerKey
from .statements import forget_reader, rename_reader, set_reader
from .stream_filter import StreamFilter

MAX_ABSENCE_DAYS = 30
"""So long one that is no longer configured keeps its place: a mistake in the site file costs nothing."""

RECORDS_PER_TURN, LOSSES_PER_TURN = 500, 100
"""While rows are evicted, alarms wait for so many at most."""


class Readers:
    """Their places, and what each loses when rows are evicted."""

    def __init__(
        self,
        reader: JournalReader,
        pending: Callable[[], Pending],
        record_gap: Callable[[str, LedgerGap, bool], None],
    ) -> None:
        """`record_gap` takes the day, the gap, and whether it is for the ledger alone."""
        self._reader = reader
        self._pending = pending
        self._record_gap = record_gap
        self.configured: dict[str, Delivery] = {}
        self.wanted: tuple[Mapping[str, StreamFilter], asyncio.Future[None]] | None = None
        """Those to be configured next, and what is done then."""
        self._absent: dict[str, tuple[Delivery, str]] = {}
        """With the day each was last configured."""

    async def load(self) -> None:
        """Read them from the journal."""
        for row in await self._reader.reader_rows():
            positions = {lane: await self._reader.cursor_pos(lane, row.name) for lane in LANES}
            streams = StreamFilter.from_text(row.streams)
            delivery = self._make_delivery(row.name, streams, positions, row.since)
            if row.left:
                self._absent[row.name] = delivery, row.left
            else:
                self.configured[row.name] = delivery

    def all(self) -> Iterator[Delivery]:
        """Those that are configured, and those that were."""
        yield from self.configured.values()
        yield from (delivery for delivery, _ in self._absent.values())

    @property
    def is_single(self) -> bool:
        """Whether a gap of one reader is a gap of all."""
        return len(self.configured) + len(self._absent) <= 1

    def rearmost(self, lane: Lane) -> int:
        """The place of the reader that is furthest behind in a lane."""
        return min((each.positions[lane] for each in self._all_of(lane)), default=0)

    async def configure(
        self, filters: Mapping[str, StreamFilter], today: str, committed: Mapping[Lane, int]
    ) -> None:
        """See `Journal.configure_readers`; `committed` is the newest position of each lane."""
        changes = self._pending().readers
        new = [name for name in filters if name not in self.configured and name not in self._absent]
        if new and DEFAULT_READER in self.configured and DEFAULT_READER not in filters:
            self._rename(DEFAULT_READER, new[0])
        for name in [name for name in self.configured if name not in filters]:
            delivery = self.configured.pop(name)
            self._absent[name] = delivery, today
            changes.append(set_reader(name, delivery.streams.to_text(), delivery.since, today))
        for name, streams in filters.items():
            await self._configure_one(name, streams, today, committed)
        self.configured = {name: self.configured[name] for name in filters}
        for name, (_, left) in list(self._absent.items()):
            if _days_between(left, today) > MAX_ABSENCE_DAYS:
                del self._absent[name]
                changes += forget_reader(name)

    async def _configure_one(
        self, name: str, streams: StreamFilter, today: str, committed: Mapping[Lane, int]
    ) -> None:
        pending = self._pending()
        old = StreamFilter(frozenset())
        if name in self.configured or name in self._absent:
            delivery = self.configured.get(name) or self._absent.pop(name)[0]
            old = delivery.streams
            delivery.select(streams)
        else:
            delivery = self._make_delivery(name, streams, committed, today)
        is_returning = name not in self.configured
        self.configured[name] = delivery
        for lane in streams.lanes - old.lanes:
            delivery.positions[lane] = pending.cursors[name, lane] = committed[lane]
        if streams != old:
            await self._record_earlier(delivery, old, today)
        if is_returning or streams != old:
            pending.readers.append(set_reader(name, streams.to_text(), delivery.since))

    async def _record_earlier(self, delivery: Delivery, old: StreamFilter, today: str) -> None:
        """Enter in the ledger what was recorded before the reader received these streams."""

        def is_new(lane: Lane, device: str) -> bool:
            return delivery.selects(lane, device) and not old.selects(lane, device)

        try:
            rows = await self._reader.ledger_of(delivery.name, delivery.positions, is_new, delivery.since)
            numbers, _ = await self._reader.stream_and_day_counts()
        except JournalDamaged:
            raise
        except JournalFailed:
            # What was recorded today is not known: its ledger begins with tomorrow.
            tomorrow = datetime.date.fromisoformat(today) + datetime.timedelta(days=1)
            delivery.since = tomorrow.isoformat()
            return
        async for row in with_pauses(rows):
            if row.delivered > 0:
                last = row.delivered if row.epoch else numbers.get((row.lane, row.device), row.delivered)
                before = "before", delivery.name, row.epoch
                gap = LedgerGap(row.lane, row.device, 1, last, row.delivered, *before)
                self._record_gap(row.day, gap, True)

    async def evict(self, lane: Lane, until: int) -> None:
        """The rows of a lane up to a position are deleted: record what readers had not received."""
        behind = [each for each in self._all_of(lane) if each.positions[lane] < until]
        lost: dict[LedgerKey, dict[str, list[int]]] = {}
        if behind:
            async for pack in self._reader.packs(lane, min(each.positions[lane] for each in behind), until):
                readers = [each for each in behind if each.positions[lane] < pack.pos]
                async for record in with_pauses(pack.records, RECORDS_PER_TURN):
                    numbers = lost.setdefault(self._reader.ledger_key(record), {})
                    for each in readers:
                        if each.selects(lane, record.device):
                            numbers.setdefault(each.name, []).append(record.seq)
        readers = self._all_of(lane)
        async for (day, _, device, epoch), numbers in with_pauses(lost.items(), LOSSES_PER_TURN):
            names = [each.name for each in readers if each.selects(lane, device)]
            for gap in _gaps_of(lane, device, numbers, names):
                self._record_gap(day, msgspec.structs.replace(gap, epoch=epoch), False)
        for each in behind:
            each.acknowledge(lane, until)

    def _all_of(self, lane: Lane) -> list[Delivery]:
        return [each for each in self.all() if lane in each.streams.lanes]

    def _rename(self, old: str, new: str) -> None:
        pending, delivery = self._pending(), self.configured.pop(old)
        delivery.name, self.configured[new] = new, delivery
        pending.readers += rename_reader(old, new)
        for lane in LANES:
            if (old, lane) in pending.cursors:
                pending.cursors[new, lane] = pending.cursors.pop((old, lane))

    def _make_delivery(
        self, name: str, streams: StreamFilter, positions: Mapping[Lane, int], since: str
    ) -> Delivery:
        return Delivery(
            name, streams, positions, since, self._reader.day_of, self._pending, self._record_gap
        )


def _gaps_of(
    lane: Lane, device: str, lost: Mapping[str, list[int]], receivers: Sequence[str]
) -> Iterator[LedgerGap]:
    """What each reader has lost; what all that receive the stream have lost is one gap."""
    first = next(iter(lost.values()), [])
    if len(lost) == len(receivers) and all(numbers == first for numbers in lost.values()):
        lost = {"": first} if first else {}
    for name, numbers in lost.items():
        yield LedgerGap(lane, device, numbers[0], numbers[-1], len(numbers), "space", name)


def _days_between(earlier: str, later: str) -> int:
    return (datetime.date.fromisoformat(later) - datetime.date.fromisoformat(earlier)).days
