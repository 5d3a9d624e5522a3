"""The lanes on one connection: order, messages in flight, message size, and what the broker refuses."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from gateway.base.failpoint import failpoint
from gateway.base.tasks import Signal
from gateway.journal import Delivery
from gateway.model import Clock, Lane, LinkDown, Record, Stamp
from gateway.wire import mqtt

from .dialect import Dialect, Message, group_by_device
from .link import Link

MAX_IN_FLIGHT = {Lane.ALARM: 4, Lane.EVENT: 4, Lane.TELEMETRY: 12}
"""Unacknowledged messages per lane: no lane waits for another, and together they stay below the limits of
common brokers."""
DEFAULT_MAX_PACKET_BYTES = 131_072
"""Used where the broker states no limit."""
PUBLISH_OVERHEAD_BYTES = 32
"""A PUBLISH without topic and payload, rounded up."""
MAX_LOST_CONNECTIONS = 3
"""Connections a record may break before it is a dead letter."""
MAX_HELD_MESSAGES = {Lane.ALARM: 256, Lane.EVENT: 256, Lane.TELEMETRY: 32}
"""Messages to one refused topic that wait until it is accepted. Beyond that the lane waits too or, where
the broker accepts its other topics, the oldest becomes a dead letter. They hold the lane's cursor, so what
follows them is sent again over the next connection."""
QUOTA_EXCEEDED = 0x97
"""A refusal that will pass: nothing becomes a dead letter."""
MIN_HELD_RETRY_S, MAX_HELD_RETRY_S = 5.0, 60.0
"""One message to a refused topic is sent again after this time, doubled each time."""
MAX_SINGLE_SENDS = 1000
"""Messages sent singly after a broken connection: a suspect that the journal has evicted in the meantime is
never acknowledged."""
MAX_BLAME_DELAY_S = 2.0
"""A message is blamed for the end of a connection if it was sent at most so long before."""
REFUSAL_REASONS = {0x90: "topic", 0x95: "oversize", 0x99: "format"}
"""Permanent reasons to refuse one message (MQTT 5, 2.4), and the reason of the dead letter."""

RecordKey = tuple[Lane, str, str, int]
T = TypeVar("T")


class Thinning:
    """Sends one record per device and `to` seconds of history that is older than `after` seconds.

    Age and intervals are measured by the monotonic clock, which does not leap. A decision about a record is
    final, even on another connection: the record may have arrived already.
    """

    def __init__(self, min_age_s: float, interval_s: float) -> None:
        self._min_age_s = min_age_s
        self._interval_ns = round(interval_s * 1e9)
        self._last_decisions: dict[tuple[str, str], tuple[int, tuple[str, int]]] = {}
        """Per device and epoch, the last record decided on, and the interval of the last one to send."""
        self._selected: set[RecordKey] = set()
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
        self._selected.difference_update(map(_record_key, records))

    def _is_selected(self, record: Record, now: Stamp) -> bool:
        key, place = _record_key(record), (record.at.boot, record.at.mono_ns // self._interval_ns)
        stream = record.device, record.epoch
        last, last_place = self._last_decisions.get(stream, (0, ("", 0)))
        if record.seq <= last:
            return key in self._selected
        keep = place != last_place or now.seconds_since(record.at, if_unknown=0.0) <= self._min_age_s
        self._last_decisions[stream] = record.seq, place
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

    def record_refused_topic(self, records: Iterable[Record]) -> None:
        """The broker refuses messages to the topic of these, whatever is in them."""
        for key in map(_record_key, records):
            self._lost_connections.pop(key, None)

    def record_refusal(self, records: Sequence[Record]) -> None:
        """The broker has refused a message with these: the next connection finds out which one it is. Of
        several devices, each is sent separately at first."""
        of_one_device = all(record.device == records[0].device for record in records)
        for key in map(_record_key, records):
            self._lost_connections[key] = max(self._lost_connections.get(key, 0), int(of_one_device))

    def record_acknowledgement(self, records: Iterable[Record]) -> None:
        """The broker has acknowledged a message with these."""
        for key in map(_record_key, records) if self._lost_connections else ():
            self._lost_connections.pop(key, None)
        self._single_sends_left -= 1
        if not self._single_sends_left:
            self._lost_connections.clear()

    def is_suspect(self, record: Record) -> bool:
        # Nearly always there is none, and a million records are asked about.
        return bool(self._lost_connections) and self._lost_connections.get(_record_key(record), 0) > 0

    def is_poison(self, record: Record) -> bool:
        return bool(self._poisonous) and _record_key(record) in self._poisonous


class DeliveryBatch:
    """Messages that move the cursor to `pos` together, once `pos` is known and all are acknowledged."""

    def __init__(self) -> None:
        self.pos: int | None = None
        self.unacknowledged = 0
        self.on_acknowledged: Callable[[], None] = lambda: None
        """Called when the cursor has moved."""
        self.thinned: list[Record] = []
        self.dead_letters: list[tuple[Record, str]] = []


class _Sending(NamedTuple):
    """A message, and the batch that waits for it. `number`: its place in the order of sending."""

    number: int
    batch: DeliveryBatch
    records: Sequence[Record]
    message: Message


class _HeldTopic:
    """The messages to a topic that the broker refuses, in the order of their records."""

    def __init__(self, code: int, now: float) -> None:
        self.code = code
        self.messages: deque[_Sending] = deque()
        self.room = Signal()
        """Sent when there may be room for more messages."""
        self.interval_s = MIN_HELD_RETRY_S
        self.retry_at_s = now + self.interval_s
        self.is_accepted = False
        """The broker has accepted one of them."""
        self.accepts_others = False
        """The broker has accepted messages to other topics of the lane meanwhile."""

    def hold(self, sending: _Sending) -> None:
        self.messages.append(sending)
        # Those that were in flight are refused one after the other, while newer ones wait already.
        if len(self.messages) > 1 and self.messages[-2].number > sending.number:
            self.messages = deque(sorted(self.messages, key=lambda each: each.number))


class LaneSender:
    """One lane on one connection: limits the messages in flight, and moves the cursor in order."""

    def __init__(
        self,
        lane: Lane,
        delivery: Delivery,
        link: Link,
        clock: Clock,
        dialect: Dialect,
        poison: PoisonDetector,
        single_send: asyncio.Lock,
        count_acknowledged: Callable[[Lane, Sequence[Record]], None],
    ) -> None:
        self.lane = lane
        self._delivery = delivery
        self._link = link
        self._clock = clock
        self._dialect = dialect
        self._poison = poison
        self._single_send = single_send
        self._count_acknowledged = count_acknowledged
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT[lane])
        self._numbers = itertools.count()
        self._batches: deque[DeliveryBatch] = deque()
        self._in_flight: dict[asyncio.Future[None], tuple[_Sending, float]] = {}
        self._held: dict[str, _HeldTopic] = {}
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
        for group in self._groups(sound, backfill):
            for part, message in split_to_fit(make, group, self._link.max_packet_bytes):
                if message is None:
                    batch.dead_letters.append((part[0], "oversize"))
                else:
                    batch.unacknowledged += 1
                    sending = _Sending(next(self._numbers), batch, part, message)
                    if message.topic in self._held:
                        await self._hold_behind(sending)
                    else:
                        await self._publish(sending)

    def _groups(self, records: Iterable[Record], backfill: bool) -> Iterator[list[Record]]:
        """The records of each message; while messages go singly, those of each device separately, and of
        them the suspects."""
        groups = self._dialect.group(records, backfill=backfill)
        if self._poison.must_send_singly:
            groups = itertools.chain.from_iterable(map(group_by_device, groups))
        for group in groups:
            for _, run in itertools.groupby(
                group, lambda record: _record_key(record) if self._poison.is_suspect(record) else None
            ):
                yield list(run)

    @property
    def holds_messages(self) -> bool:
        """Whether the broker refuses one of the topics."""
        return bool(self._held)

    async def send_held(self) -> None:
        """Send what is held for refused topics: one message when it is time to try again, and all of them
        once it was accepted."""
        for topic, held in list(self._held.items()):
            if not held.is_accepted and self._clock.mono() >= held.retry_at_s:
                held.interval_s = min(held.interval_s * 2, MAX_HELD_RETRY_S)
                held.retry_at_s = self._clock.mono() + held.interval_s
                await self._publish(held.messages.popleft())
            while held.is_accepted and held.messages:
                await self._publish(held.messages.popleft())
            if held.is_accepted:
                del self._held[topic]
                held.room.send()

    def _hold(self, sending: _Sending, code: int) -> None:
        """The broker has refused a message because of its topic."""
        held = self._held.setdefault(sending.message.topic, _HeldTopic(code, self._clock.mono()))
        held.is_accepted = False
        held.hold(sending)

    async def _hold_behind(self, sending: _Sending) -> None:
        """Hold a message to a refused topic, when there is room for it."""
        held = self._held[sending.message.topic]
        held.hold(sending)
        while len(held.messages) > MAX_HELD_MESSAGES[self.lane]:
            if held.accepts_others and held.code != QUOTA_EXCEEDED:
                oldest = held.messages.popleft()
                oldest.batch.dead_letters += [(record, "denied") for record in oldest.records]
                oldest.batch.unacknowledged -= 1
                self._advance_cursor()
            else:
                await held.room.wait()

    async def _publish(self, sending: _Sending) -> None:
        if not self._poison.must_send_singly:
            await self._put_in_flight(sending)
            return
        async with self._single_send:
            await self._put_in_flight(sending)
            await self._wait_for_acknowledgements()

    async def _put_in_flight(self, sending: _Sending) -> None:
        await self._slots.acquire()
        if not self._in_flight:
            self._last_progress_s = self._clock.mono()
        future = self._link.publish(sending.message)
        failpoint("published")
        self._in_flight[future] = sending, self._clock.mono()
        future.add_done_callback(self._on_acknowledgement)

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
        return [(sending.records, now - sent) for sending, sent in self._in_flight.values()]

    def _on_acknowledgement(self, future: asyncio.Future[None]) -> None:
        failpoint("acknowledged")
        error = future.exception() if not future.cancelled() else None
        sending, _ = self._in_flight[future]
        _, batch, records, message = sending
        if isinstance(error, LinkDown) and error.key == "message-refused":
            reason = REFUSAL_REASONS.get(int(str(error.facts["code"])))
            if reason is None:
                self._poison.record_refused_topic(records)
                self._leave_flight(future)
                self._hold(sending, int(str(error.facts["code"])))
                return
            if len(records) > 1:
                self._poison.record_refusal(records)
                self.fatal_refusal = error
                return
            batch.dead_letters.append((records[0], reason))
        elif error or future.cancelled():
            # The connection is over; the record is still in the journal. Only what was sent is to blame.
            if isinstance(error, LinkDown) and error.facts.get("unsent"):
                self._leave_flight(future)
            return
        for held_topic, held in self._held.items() if error is None else ():
            held.is_accepted |= held_topic == message.topic
            held.accepts_others |= held_topic != message.topic
            held.room.send()
        self._leave_flight(future)
        self._poison.record_acknowledgement(records)
        batch.unacknowledged -= 1
        self._count_acknowledged(self.lane, records)
        self._advance_cursor()

    def _leave_flight(self, future: asyncio.Future[None]) -> None:
        del self._in_flight[future]
        self._slots.release()
        self._last_progress_s = self._clock.mono()

    def _advance_cursor(self) -> None:
        while self._batches and not self._batches[0].unacknowledged and self._batches[0].pos is not None:
            batch = self._batches.popleft()
            if batch.thinned:
                self._delivery.drop(batch.thinned, "thinned")
            for record, reason in batch.dead_letters:
                self._delivery.dead_letter(record, reason)
            self._delivery.acknowledge(self.lane, batch.pos or 0)
            batch.on_acknowledged()
            failpoint("cursor")


def fits(message: Message, max_bytes: int) -> bool:
    """Whether the broker takes a message of this size; 0: it states no limit."""
    size = len(message.topic.encode()) + len(message.payload) + PUBLISH_OVERHEAD_BYTES
    return size <= (max_bytes or DEFAULT_MAX_PACKET_BYTES)


def split_to_fit(
    build_message: Callable[[Sequence[T]], Message | None], items: Sequence[T], max_bytes: int
) -> Iterator[tuple[Sequence[T], Message | None]]:
    """Messages of the items, halved until each fits `max_bytes` bytes; None for an item that cannot fit."""
    message = build_message(items)
    if message is None:
        return
    if fits(message, max_bytes):
        yield items, message
    elif len(items) == 1:
        yield items, None
    else:
        middle = len(items) // 2
        yield from split_to_fit(build_message, items[:middle], max_bytes)
        yield from split_to_fit(build_message, items[middle:], max_bytes)


def _record_key(record: Record) -> RecordKey:
    return record.lane, record.device, record.epoch, record.seq
