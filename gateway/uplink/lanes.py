"""The lanes on one connection: order, messages in flight, message size, and what the broker refuses."""

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

from .native import Message, NativeDialect

MAX_IN_FLIGHT = {Lane.ALARM: 4, Lane.EVENT: 4, Lane.TELEMETRY: 12}
"""Unacknowledged messages per lane: no lane waits for another, and together they stay below the limits of
common brokers."""
DEFAULT_MAX_PACKET_BYTES = 131_072
"""Used where the broker states no limit."""
PUBLISH_OVERHEAD_BYTES = 32
"""A PUBLISH without topic and payload, rounded up."""
MAX_LOST_CONNECTIONS = 3
"""Connections a record may break before it is a dead letter."""
MAX_SINGLE_SENDS = 1000
"""Messages sent singly after a broken connection: a suspect that the journal has evicted in the meantime is
never acknowledged."""
MAX_BLAME_DELAY_S = 2.0
"""A message is blamed for the end of a connection if it was sent at most so long before."""
REFUSAL_REASONS = {0x90: "topic", 0x95: "oversize", 0x99: "format"}
"""Permanent reasons to refuse one message (MQTT 5, 2.4), and the reason of the dead letter."""

RecordKey = tuple[Lane, str, int]
T = TypeVar("T")


class Thinning:
    """Sends one record per device and `to` seconds of history that is older than `after` seconds.

    Age and intervals are measured by the monotonic clock, which does not leap. A decision about a record is
    final, even on another connection: the record may have arrived already.
    """

    def __init__(self, min_age_s: float, interval_s: float) -> None:
        self._min_age_s = min_age_s
        self._interval_ns = round(interval_s * 1e9)
        self._last_decisions: dict[str, tuple[int, tuple[str, int]]] = {}
        """Per device, the last record decided on, and the interval of the last one to send."""
        self._selected: set[tuple[str, int]] = set()
        """To be sent, and not yet acknowledged."""

    def split_records(self, records: Sequence[Record], now: Stamp) -> tuple[list[Record], list[Record]]:
        """The records to send, and those to drop."""
        kept: list[Record] = []
        lost: list[Record] = []
        for record in records:
            (kept if self._is_selected(record, now) else lost).append(record)
        return kept, lost

    def remove_acknowledged(self, records: Iterable[Record]) -> None:
        """Remove the decisions about records that have been acknowledged."""
        self._selected.difference_update((record.device, record.seq) for record in records)

    def _is_selected(self, record: Record, now: Stamp) -> bool:
        key, place = (record.device, record.seq), (record.at.boot, record.at.mono_ns // self._interval_ns)
        last, last_place = self._last_decisions.get(record.device, (0, ("", 0)))
        if record.seq <= last:
            return key in self._selected
        keep = place != last_place or now.seconds_since(record.at, if_unknown=0.0) <= self._min_age_s
        self._last_decisions[record.device] = record.seq, place
        if keep:
            self._selected.add(key)
        return keep


class PoisonDetector:
    """Finds records that make the broker close the connection. It outlives connections.

    A connection that ends takes sound messages with it. So all records that were in flight are suspect, and
    until all of them are acknowledged, messages are sent singly, on a connection that is proven to work. A
    single message in flight when the connection ends is blamed: each of its records is sent separately from
    then on, and after `MAX_LOST_CONNECTIONS` of them a record is poison.
    """

    def __init__(self) -> None:
        self._lost_connections: dict[RecordKey, int] = {}
        """Connections that each suspect has been blamed for."""
        self._poisonous: set[RecordKey] = set()
        self._single_sends_left = 0

    @property
    def must_send_singly(self) -> bool:
        """Whether messages must be sent singly."""
        return bool(self._lost_connections)

    def record_lost_connection(
        self, in_flight: Sequence[tuple[Sequence[Record], float]], *, closed_by_broker: bool
    ) -> None:
        """The connection ended with these messages in flight, each with the seconds since it was sent.

        `closed_by_broker`: the broker closed the connection.
        """
        blame = (
            self.must_send_singly
            and closed_by_broker
            and len(in_flight) == 1
            and in_flight[0][1] <= MAX_BLAME_DELAY_S
        )
        for records, _ in in_flight:
            for key in map(_record_key, records):
                lost = self._lost_connections[key] = self._lost_connections.get(key, 0) + blame
                if lost >= MAX_LOST_CONNECTIONS:
                    del self._lost_connections[key]
                    self._poisonous.add(key)
        self._single_sends_left = MAX_SINGLE_SENDS

    def record_refusal(self, records: Iterable[Record]) -> None:
        """The broker has refused a message with these: the next connection finds out which one it is."""
        self._lost_connections |= dict.fromkeys(map(_record_key, records), 1)

    def record_acknowledgement(self, records: Iterable[Record]) -> None:
        """The broker has acknowledged a message with these."""
        for key in map(_record_key, records):
            self._lost_connections.pop(key, None)
        self._single_sends_left -= 1
        if not self._single_sends_left:
            self._lost_connections.clear()

    def is_suspect(self, record: Record) -> bool:
        return self._lost_connections.get(_record_key(record), 0) > 0

    def is_poison(self, record: Record) -> bool:
        return _record_key(record) in self._poisonous


class DeliveryBatch:
    """Messages that move the cursor to `pos` together, once `pos` is known and all are acknowledged."""

    def __init__(self) -> None:
        self.pos: int | None = None
        self.unacknowledged = 0
        self.on_acknowledged: Callable[[], None] = lambda: None
        """Called when the cursor has moved."""
        self.thinned: list[Record] = []
        self.dead_letters: list[tuple[Record, str]] = []


class LaneSender:
    """One lane on one connection: limits the messages in flight, and moves the cursor in order."""

    def __init__(
        self,
        lane: Lane,
        journal: Journal,
        link: mqtt.Connection,
        clock: Clock,
        dialect: NativeDialect,
        poison: PoisonDetector,
        single_send: asyncio.Lock,
        count_acknowledged: Callable[[Lane, Sequence[Record]], None],
    ) -> None:
        self.lane = lane
        self._journal = journal
        self._link = link
        self._clock = clock
        self._dialect = dialect
        self._poison = poison
        self._single_send = single_send
        self._count_acknowledged = count_acknowledged
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT[lane])
        self._batches: deque[DeliveryBatch] = deque()
        self._in_flight: dict[asyncio.Future[None], tuple[Sequence[Record], float]] = {}
        self._last_progress_s = 0.0
        self.fatal_refusal: LinkDown | None = None
        """The refusal that must end this connection."""

    def start_batch(self) -> DeliveryBatch:
        """Start the next batch."""
        self._batches.append(DeliveryBatch())
        return self._batches[-1]

    async def send(
        self, batch: DeliveryBatch, records: Sequence[Record], *, backfill: bool = False
    ) -> None:
        """Publish records of a batch, while the messages in flight allow it."""
        make = functools.partial(self._dialect.records_message, backfill=backfill)
        batch.dead_letters += [(record, "poison") for record in records if self._poison.is_poison(record)]
        sound = [record for record in records if not self._poison.is_poison(record)]
        for group in self._group_by_device(sound):
            for part, message in split_to_fit(make, group, self._link.max_packet_bytes):
                if message is None:
                    batch.dead_letters.append((part[0], "oversize"))
                elif self._poison.must_send_singly:
                    async with self._single_send:
                        await self._publish_records(batch, part, message)
                        await self._wait_for_acknowledgements()
                else:
                    await self._publish_records(batch, part, message)

    def _group_by_device(self, records: Iterable[Record]) -> Iterator[list[Record]]:
        """The records by device, in order; suspects separately."""
        streams: dict[str, list[Record]] = {}
        for record in records:
            streams.setdefault(record.device, []).append(record)
        for stream in streams.values():
            for _, run in itertools.groupby(
                stream, lambda record: record.seq if self._poison.is_suspect(record) else 0
            ):
                yield list(run)

    async def _publish_records(
        self, batch: DeliveryBatch, records: Sequence[Record], message: Message
    ) -> None:
        await self._slots.acquire()
        if not self._in_flight:
            self._last_progress_s = self._clock.mono()
        batch.unacknowledged += 1
        future = self._link.publish(*message)
        failpoint("published")
        self._in_flight[future] = records, self._clock.mono()
        future.add_done_callback(functools.partial(self._on_acknowledgement, batch))

    async def _wait_for_acknowledgements(self) -> None:
        while self._in_flight:
            await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)  # The futures' callbacks run after this task.
            if self._link.ended.done():
                self._link.ended.result()

    def complete_batch(self, batch: DeliveryBatch, pos: int) -> None:
        """All of the batch has been sent; it ends at `pos`."""
        batch.pos = pos
        self._advance_cursor()

    def is_stalled(self) -> bool:
        """Whether an acknowledgement is overdue."""
        return (
            bool(self._in_flight) and self._clock.mono() - self._last_progress_s > mqtt.RESPONSE_TIMEOUT_S
        )

    def messages_in_flight(self) -> list[tuple[Sequence[Record], float]]:
        """Unacknowledged messages, each with the seconds since it was sent."""
        now = self._clock.mono()
        return [(records, now - sent) for records, sent in self._in_flight.values()]

    def _on_acknowledgement(self, batch: DeliveryBatch, future: asyncio.Future[None]) -> None:
        failpoint("acknowledged")
        error = future.exception() if not future.cancelled() else None
        records, _ = self._in_flight[future]
        if isinstance(error, LinkDown) and error.key == "message-refused":
            reason = REFUSAL_REASONS.get(int(str(error.facts["code"])))
            if reason and len(records) > 1:
                self._poison.record_refusal(records)
            if reason is None or len(records) > 1:
                self.fatal_refusal = error
                return
            batch.dead_letters.append((records[0], reason))
        elif error or future.cancelled():
            return  # The connection is over; the record is still in the journal.
        del self._in_flight[future]
        self._poison.record_acknowledgement(records)
        self._slots.release()
        batch.unacknowledged -= 1
        self._last_progress_s = self._clock.mono()
        self._count_acknowledged(self.lane, records)
        self._advance_cursor()

    def _advance_cursor(self) -> None:
        while self._batches and not self._batches[0].unacknowledged and self._batches[0].pos is not None:
            batch = self._batches.popleft()
            if batch.thinned:
                self._journal.drop(batch.thinned, "thinned")
            for record, reason in batch.dead_letters:
                self._journal.dead_letter(record, reason)
            self._journal.acknowledge(self.lane, batch.pos or 0)
            batch.on_acknowledged()
            failpoint("cursor")


def split_to_fit(
    build_message: Callable[[Sequence[T]], Message], items: Sequence[T], max_bytes: int
) -> Iterator[tuple[Sequence[T], Message | None]]:
    """Messages of the items, halved until each fits `max_bytes` bytes; None for an item that cannot fit."""
    topic, payload = build_message(items)
    if len(topic.encode()) + len(payload) + PUBLISH_OVERHEAD_BYTES <= (
        max_bytes or DEFAULT_MAX_PACKET_BYTES
    ):
        yield items, (topic, payload)
    elif len(items) == 1:
        yield items, None
    else:
        middle = len(items) // 2
        yield from split_to_fit(build_message, items[:middle], max_bytes)
        yield from split_to_fit(build_message, items[middle:], max_bytes)


def _record_key(record: Record) -> RecordKey:
    return record.lane, record.device, record.seq
