"""Sending what the journal holds, in lanes, each record until the broker has acknowledged it.

Telemetry follows the open window while the link is up; after an outage it reads the journal from its
cursor and so catches up. Alarms and events are read from the journal only: they leave once committed.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from gateway import mqtt
from gateway.journal import Journal, JournalFailed
from gateway.log import reason, tell
from gateway.model import Clock, Command, GatewayError, Lane, LinkDown, Sample
from gateway.services.commands import Order
from gateway.tasks import together

from .native import Message, Native

IN_FLIGHT = {Lane.ALARM: 4, Lane.EVENT: 4, Lane.TELEMETRY: 12}
"""Unacknowledged messages a lane may have: an alarm never waits for telemetry's slots, nor the
other way round, and together they stay below what brokers allow."""
ROWS = 32
"""Rows of the journal read at a time when catching up."""
LONGEST_WAIT = 60.0
HELD = 30.0
"""Seconds after which a connection was a good one; one that is dropped sooner, as by a twin with the
same client id, is tried ever less often."""
COMMANDS = 16
"""Commands from the platform in hand at a time."""

Obey = Callable[[Command], Awaitable[Order]]
Sink = Callable[[Sample], Awaitable[None]]


class Uplink:
    """The connection to the platform, kept up for ever."""

    name = "uplink"

    def __init__(
        self, options: mqtt.Options, dialect: Native, journal: Journal, clock: Clock, obey: Obey, sink: Sink
    ) -> None:
        self._options = options
        self._dialect = dialect
        self._journal = journal
        self._clock = clock
        self._obey = obey
        self._sink = sink
        self._version = 5
        self._slots = asyncio.Semaphore(COMMANDS)
        self.online = False
        self._told_offline = False
        self.sent = dict.fromkeys(Lane, 0)
        """Messages acknowledged since the start."""

    async def run(self) -> None:
        # A command in hand outlives the connection that brought it.
        async with asyncio.TaskGroup() as self._answers:
            await self._keep_connected()

    async def _keep_connected(self) -> None:
        attempts = 0
        while True:
            began = self._clock.mono()
            try:
                will = self._dialect.status(False)
                async with mqtt.connect(self._options, will=will, version=self._version) as link:
                    await self._came_up(link)
                    try:
                        await self._serve(link)
                    finally:
                        # Leaving in order, the broker would not say it for us.
                        link.publish(*self._dialect.status(False), retain=True)
            except LinkDown as down:
                if down.facts.get("code") == mqtt.UNSUPPORTED_PROTOCOL:
                    self._version = 4 if self._version == 5 else 5
                await self._went_down(down)
            except JournalFailed as failed:
                await self._went_down(failed)
            if self._clock.mono() - began > HELD:
                attempts = 0
            wait = min(0.5 * 2.0 ** min(attempts, 10), LONGEST_WAIT)
            await self._clock.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
            attempts += 1

    async def _came_up(self, link: mqtt.Connection) -> None:
        self.online, self._told_offline = True, False
        tell(logging.INFO, "uplink-up", url=self._options.url)
        link.publish(*self._dialect.status(True), retain=True)
        link.subscribe(self._dialect.command_topic)
        await self._sink(Sample(self.name, self._clock.now(), {"connected": True}))

    async def _went_down(self, error: GatewayError) -> None:
        self.online = False
        if not self._told_offline:
            self._told_offline = True
            tell(logging.WARNING, "uplink-down", reason=reason(error.key, **error.facts))
            await self._sink(Sample(self.name, self._clock.now(), error=error.key))

    async def _serve(self, link: mqtt.Connection) -> None:
        lanes = [_Sender(lane, self._journal, link, self._clock, self.sent) for lane in Lane]
        alarm, event, telemetry = lanes
        await together(
            alarm=self._committed(alarm),
            event=self._committed(event),
            telemetry=self._telemetry(telemetry),
            commands=self._commands(link),
            stall=self._watch(lanes),
            end=_wait_for_end(link),
        )

    async def _committed(self, sender: _Sender) -> None:
        """Alarms and events: what the journal has committed, in order."""
        lane, journal = sender.lane, self._journal
        pos = journal.delivered[lane]
        while True:
            if pos >= journal.committed[lane]:
                await journal.changed.wait()
                continue
            pos = await self._replay(sender, pos)

    async def _replay(self, sender: _Sender, after: int) -> int:
        """Send the next rows of the journal; returns how far they reached."""
        end = self._journal.committed[sender.lane]
        packs = await self._journal.read(sender.lane, after, ROWS)
        batch = sender.batch()
        await sender.send(batch, self._dialect.messages(r for pack in packs for r in pack.records))
        # Rows that were committed meanwhile are not among those that are no longer there.
        pos = packs[-1].pos if packs else end
        sender.complete(batch, pos)
        return pos

    async def _telemetry(self, sender: _Sender) -> None:
        """The open window as it fills; further back, the journal's rows."""
        journal = self._journal
        pos = journal.delivered[Lane.TELEMETRY]
        while True:
            window = journal.window_after(pos)
            if window is None:
                pos = await self._replay(sender, pos)
                continue
            batch, sent = sender.batch(), 0
            while window.pos is None or sent < len(window.records):
                if fresh := window.records[sent : window.ready]:
                    sent += len(fresh)
                    await sender.send(batch, self._dialect.messages(fresh))
                else:
                    await journal.changed.wait()
            pos = window.pos
            sender.complete(batch, pos)

    async def _commands(self, link: mqtt.Connection) -> None:
        async for message in link.messages():
            try:
                if message.retained:
                    raise GatewayError("command-form", reason="retained")
                command = self._dialect.command(message.payload, self._clock.now())
            except GatewayError as error:
                why = reason(error.key, **error.facts)
                tell(logging.WARNING, "command-refused", topic=message.topic, reason=why)
                continue
            await self._slots.acquire()
            task = self._answers.create_task(self._answer(link, command), name=f"command-{command.id}")
            task.add_done_callback(lambda _: self._slots.release())

    async def _answer(self, link: mqtt.Connection, command: Command) -> None:
        try:
            order = await self._obey(command)
        except GatewayError as error:
            tell(
                logging.ERROR,
                "command-refused",
                topic=self._dialect.command_topic,
                reason=reason(error.key, **error.facts),
            )
        else:
            link.publish(*self._dialect.reply(command.id, order))

    async def _watch(self, senders: list[_Sender]) -> None:
        """A broker that takes messages but acknowledges none is as good as gone."""
        while True:
            await self._clock.sleep(1.0)
            for sender in senders:
                if sender.stalled():
                    raise LinkDown("broker-stalled", seconds=round(mqtt.PATIENCE))


class _Batch:
    """Messages that move the cursor to `pos` together, once `pos` is known and all are acknowledged."""

    def __init__(self) -> None:
        self.pos: int | None = None
        self.waiting = 0


class _Sender:
    """One lane on one connection: bounded in flight, and the cursor advances in order."""

    def __init__(
        self, lane: Lane, journal: Journal, link: mqtt.Connection, clock: Clock, sent: dict[Lane, int]
    ) -> None:
        self.lane = lane
        self._journal = journal
        self._link = link
        self._clock = clock
        self._sent = sent
        self._slots = asyncio.Semaphore(IN_FLIGHT[lane])
        self._batches: deque[_Batch] = deque()
        self._progress = 0.0

    def batch(self) -> _Batch:
        """Begin the next batch."""
        self._batches.append(_Batch())
        return self._batches[-1]

    async def send(self, batch: _Batch, messages: Iterable[Message]) -> None:
        """Publish messages of a batch, waiting for slots."""
        for topic, payload in messages:
            await self._slots.acquire()
            if not self.waiting:
                self._progress = self._clock.mono()
            batch.waiting += 1
            future = self._link.publish(topic, payload)
            future.add_done_callback(functools.partial(self._acknowledged, batch))

    def complete(self, batch: _Batch, pos: int) -> None:
        """All of the batch has been sent; it ends at that position."""
        batch.pos = pos
        self._advance()

    @property
    def waiting(self) -> int:
        """Messages the broker has not acknowledged."""
        return sum(batch.waiting for batch in self._batches)

    def stalled(self) -> bool:
        """Whether the broker owes an acknowledgement for too long."""
        return bool(self.waiting) and self._clock.mono() - self._progress > mqtt.PATIENCE

    def _acknowledged(self, batch: _Batch, future: asyncio.Future[None]) -> None:
        if future.cancelled() or future.exception():
            return  # The connection is over; the journal still has it.
        self._slots.release()
        batch.waiting -= 1
        self._progress = self._clock.mono()
        self._sent[self.lane] += 1
        self._advance()

    def _advance(self) -> None:
        while self._batches and not self._batches[0].waiting and self._batches[0].pos is not None:
            self._journal.advance(self.lane, self._batches.popleft().pos or 0)


async def _wait_for_end(link: mqtt.Connection) -> None:
    await asyncio.shield(link.ended)
