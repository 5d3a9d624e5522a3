"""The three lanes on one connection: order, slots, size, and what the broker will not take."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from gateway import mqtt
from gateway.faults import reach
from gateway.journal import Journal
from gateway.model import Clock, Lane, LinkDown, Record

from .native import Message, Native

IN_FLIGHT = {Lane.ALARM: 4, Lane.EVENT: 4, Lane.TELEMETRY: 12}
"""Unacknowledged messages a lane may have: an alarm never waits for telemetry's slots, nor the
other way round, and together they stay below what brokers allow."""
OTHERS = 4
"""Messages beside the lanes: status, replies, the account."""
LARGEST = 131_072
"""Bytes of a message where the broker names no limit of its own."""
OVERHEAD = 32
"""Bytes of a PUBLISH beside topic and payload, generously."""
STRIKES = 3
"""Connections a record may cost before it goes to the dead letters."""
CAREFUL = 64
"""Messages sent one by one, a record each, after a connection broke with some under way."""
PROMPT = 2.0
"""Seconds after a message within which the connection's end is laid to it."""
UNTAKABLE = {0x90: "topic", 0x95: "oversize", 0x99: "format"}
"""Reasons (MQTT 5, 2.4) to refuse one message for ever, and what we call them."""

Key = tuple[Lane, str, int]


class Thinning(msgspec.Struct, frozen=True):
    """History older than `after` seconds leaves as one record a device and `to` seconds."""

    after: float
    to: float

    def split(self, records: Sequence[Record], now: int) -> tuple[list[Record], list[Record]]:
        """What is sent, and what is given up; the same choice each time it is asked. `now` in ms."""
        kept: list[Record] = []
        lost: list[Record] = []
        seen: set[tuple[str, int]] = set()
        for record in records:
            place = record.device, int(record.at.wall // (self.to * 1000))
            old = now - record.at.wall > self.after * 1000
            (lost if old and place in seen else kept).append(record)
            seen.add(place)
        return kept, lost


class Suspicion:
    """Which record breaks the connection. It outlives connections.

    A broker that dies takes innocent messages with it; so after a break records go one by one, on a
    connection that has proved itself, and only the one that is alone under way gets the blame.
    """

    def __init__(self) -> None:
        self.careful = 0
        """Messages still to be sent one by one."""
        self._strikes: Counter[Key] = Counter()

    def broke(self, under_way: Iterable[tuple[Key, float]], *, prompt: bool) -> None:
        """The connection ended with these under way, sent so many seconds ago."""
        messages = list(under_way)
        if self.careful and prompt and len(messages) == 1 and messages[0][1] <= PROMPT:
            self._strikes[messages[0][0]] += 1
        if messages:
            self.careful = CAREFUL

    def passed(self, key: Key) -> None:
        self._strikes.pop(key, None)
        self.careful = max(0, self.careful - 1)

    def convicted(self, record: Record) -> bool:
        return self._strikes[record.lane, record.device, record.seq] >= STRIKES


class Batch:
    """Messages that move the cursor to `pos` together, once `pos` is known and all are acknowledged."""

    def __init__(self) -> None:
        self.pos: int | None = None
        self.waiting = 0
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
        count: Callable[[Lane], None],
    ) -> None:
        self.lane = lane
        self._journal = journal
        self._link = link
        self._clock = clock
        self._dialect = dialect
        self._suspicion = suspicion
        self._alone = alone
        self._count = count
        share = link.window * IN_FLIGHT[lane] // (sum(IN_FLIGHT.values()) + OTHERS)
        self._slots = asyncio.Semaphore(max(1, min(IN_FLIGHT[lane], share)))
        self._batches: deque[Batch] = deque()
        self._under_way: dict[asyncio.Future[None], tuple[Key, float]] = {}
        self._progress = 0.0
        self.refused: LinkDown | None = None
        """Why the broker takes nothing of us."""

    def batch(self) -> Batch:
        """Begin the next batch."""
        self._batches.append(Batch())
        return self._batches[-1]

    async def send(self, batch: Batch, records: Sequence[Record], *, backfill: bool = False) -> None:
        """Publish records of a batch, waiting for slots."""
        rest = deque(records)
        while rest:
            if self._suspicion.careful:
                record = rest.popleft()
                if self._suspicion.convicted(record):
                    batch.dead.append((record, "poison"))
                    continue
                async with self._alone:
                    await self._publish_all(batch, [record], backfill)
                    await self._drained()
            else:
                await self._publish_all(batch, list(rest), backfill)
                rest.clear()

    async def _publish_all(self, batch: Batch, records: list[Record], backfill: bool) -> None:
        for group in _streams(records):
            for part, message in self._fitting(group, backfill, batch):
                await self._slots.acquire()
                self._publish(batch, part[0], message)

    def _fitting(
        self, records: list[Record], backfill: bool, batch: Batch
    ) -> Iterator[tuple[list[Record], Message]]:
        """Messages of the records, halved until the broker can take them."""
        topic, payload = self._dialect.records(records, backfill=backfill)
        if len(topic) + len(payload) + OVERHEAD <= (self._link.limit or LARGEST):
            yield records, (topic, payload)
        elif len(records) == 1:
            batch.dead.append((records[0], "oversize"))
        else:
            middle = len(records) // 2
            yield from self._fitting(records[:middle], backfill, batch)
            yield from self._fitting(records[middle:], backfill, batch)

    def _publish(self, batch: Batch, first: Record, message: Message) -> None:
        if not self._under_way:
            self._progress = self._clock.mono()
        batch.waiting += 1
        future = self._link.publish(*message)
        reach("published")
        self._under_way[future] = (first.lane, first.device, first.seq), self._clock.mono()
        future.add_done_callback(functools.partial(self._acknowledged, batch, first))

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

    def under_way(self) -> list[tuple[Key, float]]:
        """What the broker has not acknowledged, and how many seconds ago it was sent."""
        now = self._clock.mono()
        return [(key, now - sent) for key, sent in self._under_way.values()]

    def _acknowledged(self, batch: Batch, first: Record, future: asyncio.Future[None]) -> None:
        reach("acknowledged")
        error = future.exception() if not future.cancelled() else None
        if isinstance(error, LinkDown) and error.key == "message-refused":
            reason = UNTAKABLE.get(int(str(error.facts["code"])))
            if reason is None:
                self.refused = error
                return
            batch.dead.append((first, reason))
        elif error or future.cancelled():
            return  # The connection is over; the journal still has it.
        key, _ = self._under_way.pop(future)
        self._suspicion.passed(key)
        self._slots.release()
        batch.waiting -= 1
        self._progress = self._clock.mono()
        self._count(self.lane)
        self._advance()

    def _advance(self) -> None:
        while self._batches and not self._batches[0].waiting and self._batches[0].pos is not None:
            batch = self._batches.popleft()
            if batch.thinned:
                self._journal.lose(batch.thinned, "thinned")
            for record, reason in batch.dead:
                self._journal.bury(record, reason)
            self._journal.advance(self.lane, batch.pos or 0)
            reach("cursor")


def _streams(records: Iterable[Record]) -> Iterable[list[Record]]:
    """The records by device, each device's in order."""
    streams: dict[str, list[Record]] = {}
    for record in records:
        streams.setdefault(record.device, []).append(record)
    return streams.values()
