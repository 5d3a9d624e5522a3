"""The three lanes on one connection: order, slots, size, and what the broker will not take."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from gateway.base.failpoint import failpoint
from gateway.journal import Journal
from gateway.model import Clock, Lane, LinkDown, Record, Stamp
from gateway.wire import mqtt

from .native import Message, Native

IN_FLIGHT = {Lane.ALARM: 4, Lane.EVENT: 4, Lane.TELEMETRY: 12}
"""Unacknowledged messages a lane may have: an alarm never waits for telemetry's slots, nor the
other way round, and together they stay below what brokers allow."""
LARGEST = 131_072
"""Bytes of a message where the broker names no limit of its own."""
OVERHEAD = 32
"""Bytes of a PUBLISH beside topic and payload, generously."""
STRIKES = 3
"""Connections a record may cost before it goes to the dead letters."""
CAREFUL = 1000
"""Messages sent one by one at most after a break: a suspect that the journal had to give up in the
meantime never passes."""
PROMPT = 2.0
"""Seconds after a message within which the connection's end is laid to it."""
UNTAKABLE = {0x90: "topic", 0x95: "oversize", 0x99: "format"}
"""Reasons (MQTT 5, 2.4) to refuse one message for ever, and what we call them."""

Key = tuple[Lane, str, int]
T = TypeVar("T")


class Thinning:
    """History older than `after` seconds leaves as one record a device and `to` seconds.

    Age and intervals go by the monotonic clock, which no leap of the wall clock touches. What was once
    decided of a record stands, whatever connection asks again: it may have arrived already.
    """

    def __init__(self, after: float, to: float) -> None:
        self._after = after
        self._to = round(to * 1e9)
        self._decided: dict[str, tuple[int, tuple[str, int]]] = {}
        """Per device, the last record decided on, and the interval of the last one kept."""
        self._kept: set[tuple[str, int]] = set()
        """Kept, and not yet acknowledged."""

    def split(self, records: Sequence[Record], now: Stamp) -> tuple[list[Record], list[Record]]:
        """What is sent, and what is given up."""
        kept: list[Record] = []
        lost: list[Record] = []
        for record in records:
            (kept if self._keeps(record, now) else lost).append(record)
        return kept, lost

    def settle(self, records: Iterable[Record]) -> None:
        """These have been acknowledged: nobody will ask again."""
        self._kept.difference_update((record.device, record.seq) for record in records)

    def _keeps(self, record: Record, now: Stamp) -> bool:
        key, place = (record.device, record.seq), (record.at.boot, record.at.mono // self._to)
        last, last_place = self._decided.get(record.device, (0, ("", 0)))
        if record.seq <= last:
            return key in self._kept
        keep = place != last_place or now.seconds_since(record.at, unknown=0.0) <= self._after
        self._decided[record.device] = record.seq, place
        if keep:
            self._kept.add(key)
        return keep


class Suspicion:
    """Which record breaks the connection. It outlives connections.

    A broker that dies takes innocent messages with it; so after a break whatever was under way is
    suspect, and until all of it has passed messages go one by one, on a connection that has proved
    itself. One that is alone under way when it breaks gets the blame: its records go singly from then
    on, and at the third time the record is convicted.
    """

    def __init__(self) -> None:
        self._strikes: dict[Key, int] = {}
        """Of each suspect."""
        self._convicted: set[Key] = set()
        self._patience = 0

    @property
    def careful(self) -> bool:
        """Whether messages must go one by one."""
        return bool(self._strikes)

    def broke(self, under_way: Sequence[tuple[Sequence[Record], float]], *, prompt: bool) -> None:
        """The connection ended with these messages under way, sent so many seconds ago."""
        blame = self.careful and prompt and len(under_way) == 1 and under_way[0][1] <= PROMPT
        for records, _ in under_way:
            for key in map(_key, records):
                strikes = self._strikes[key] = self._strikes.get(key, 0) + blame
                if strikes >= STRIKES:
                    del self._strikes[key]
                    self._convicted.add(key)
        self._patience = CAREFUL

    def suspect(self, records: Iterable[Record]) -> None:
        """The broker has refused a message with these: the next connection finds out which it is."""
        self._strikes |= dict.fromkeys(map(_key, records), 1)

    def passed(self, records: Iterable[Record]) -> None:
        """The broker has taken a message with these."""
        for key in map(_key, records):
            self._strikes.pop(key, None)
        self._patience -= 1
        if not self._patience:
            self._strikes.clear()

    def singly(self, record: Record) -> bool:
        return self._strikes.get(_key(record), 0) > 0

    def convicted(self, record: Record) -> bool:
        return _key(record) in self._convicted


class Batch:
    """Messages that move the cursor to `pos` together, once `pos` is known and all are acknowledged."""

    def __init__(self) -> None:
        self.pos: int | None = None
        self.waiting = 0
        self.settled: Callable[[], None] = lambda: None
        """Called when the cursor has moved."""
        self.thinned: list[Record] = []
        self.dead: list[tuple[Record, str]] = []


class LaneSender:
    """One lane on one connection: bounded in flight, and the cursor advances in order."""

    def __init__(
        self,
        lane: Lane,
        journal: Journal,
        link: mqtt.Connection,
        clock: Clock,
        dialect: Native,
        suspicion: Suspicion,
        alone: asyncio.Lock,
        count: Callable[[Lane, Sequence[Record]], None],
    ) -> None:
        self.lane = lane
        self._journal = journal
        self._link = link
        self._clock = clock
        self._dialect = dialect
        self._suspicion = suspicion
        self._alone = alone
        self._count = count
        self._slots = asyncio.Semaphore(IN_FLIGHT[lane])
        self._batches: deque[Batch] = deque()
        self._under_way: dict[asyncio.Future[None], tuple[Sequence[Record], float]] = {}
        self._progress = 0.0
        self.refused: LinkDown | None = None
        """Why the broker takes nothing of us."""

    def batch(self) -> Batch:
        """Begin the next batch."""
        self._batches.append(Batch())
        return self._batches[-1]

    async def send(self, batch: Batch, records: Sequence[Record], *, backfill: bool = False) -> None:
        """Publish records of a batch, waiting for slots."""
        make = functools.partial(self._dialect.records, backfill=backfill)
        batch.dead += [(record, "poison") for record in records if self._suspicion.convicted(record)]
        innocent = [record for record in records if not self._suspicion.convicted(record)]
        for group in self._groups(innocent):
            for part, message in fitting(make, group, self._link.limit):
                if message is None:
                    batch.dead.append((part[0], "oversize"))
                elif self._suspicion.careful:
                    async with self._alone:
                        await self._publish(batch, part, message)
                        await self._drained()
                else:
                    await self._publish(batch, part, message)

    def _groups(self, records: Iterable[Record]) -> Iterator[list[Record]]:
        """The records by device, each device's in order; and some by themselves."""
        streams: dict[str, list[Record]] = {}
        for record in records:
            streams.setdefault(record.device, []).append(record)
        for stream in streams.values():
            for _, run in itertools.groupby(
                stream, lambda record: record.seq if self._suspicion.singly(record) else 0
            ):
                yield list(run)

    async def _publish(self, batch: Batch, records: Sequence[Record], message: Message) -> None:
        await self._slots.acquire()
        if not self._under_way:
            self._progress = self._clock.mono()
        batch.waiting += 1
        future = self._link.publish(*message)
        failpoint("published")
        self._under_way[future] = records, self._clock.mono()
        future.add_done_callback(functools.partial(self._acknowledged, batch))

    async def _drained(self) -> None:
        while self._under_way:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)  # The callbacks come after us.
            if self._link.ended.done():
                self._link.ended.result()

    def complete(self, batch: Batch, pos: int) -> None:
        """All of the batch has been sent; it ends at that position."""
        batch.pos = pos
        self._advance()

    def stalled(self) -> bool:
        """Whether the broker owes an acknowledgement for too long."""
        return bool(self._under_way) and self._clock.mono() - self._progress > mqtt.PATIENCE

    def under_way(self) -> list[tuple[Sequence[Record], float]]:
        """What the broker has not acknowledged, and how many seconds ago it was sent."""
        now = self._clock.mono()
        return [(records, now - sent) for records, sent in self._under_way.values()]

    def _acknowledged(self, batch: Batch, future: asyncio.Future[None]) -> None:
        failpoint("acknowledged")
        error = future.exception() if not future.cancelled() else None
        records, _ = self._under_way[future]
        if isinstance(error, LinkDown) and error.key == "message-refused":
            reason = UNTAKABLE.get(int(str(error.facts["code"])))
            if reason and len(records) > 1:
                self._suspicion.suspect(records)
            if reason is None or len(records) > 1:
                self.refused = error
                return
            batch.dead.append((records[0], reason))
        elif error or future.cancelled():
            return  # The connection is over; the journal still has it.
        del self._under_way[future]
        self._suspicion.passed(records)
        self._slots.release()
        batch.waiting -= 1
        self._progress = self._clock.mono()
        self._count(self.lane, records)
        self._advance()

    def _advance(self) -> None:
        while self._batches and not self._batches[0].waiting and self._batches[0].pos is not None:
            batch = self._batches.popleft()
            if batch.thinned:
                self._journal.drop(batch.thinned, "thinned")
            for record, reason in batch.dead:
                self._journal.dead_letter(record, reason)
            self._journal.acknowledge(self.lane, batch.pos or 0)
            batch.settled()
            failpoint("cursor")


def fitting(
    make: Callable[[Sequence[T]], Message], items: Sequence[T], limit: int
) -> Iterator[tuple[Sequence[T], Message | None]]:
    """Messages of the items, halved until the broker can take them; None for one that never fits."""
    topic, payload = make(items)
    if len(topic.encode()) + len(payload) + OVERHEAD <= (limit or LARGEST):
        yield items, (topic, payload)
    elif len(items) == 1:
        yield items, None
    else:
        middle = len(items) // 2
        yield from fitting(make, items[:middle], limit)
        yield from fitting(make, items[middle:], limit)


def _key(record: Record) -> Key:
    return record.lane, record.device, record.seq
