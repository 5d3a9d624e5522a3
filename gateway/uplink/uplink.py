"""Sending what the journal holds, in lanes, each record until the broker has acknowledged it.

Telemetry follows the open window while the link is up; after an outage it reads the journal from its
cursor, oldest first, and so catches up; meanwhile the platform is told how things stand now. Alarms and
events are read from the journal only: they leave once committed.
"""

from __future__ import annotations

import asyncio
import bisect
import functools
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gateway.base.log import error_text, log_event
from gateway.base.tasks import run_all, run_in_own_task
from gateway.config.options import UplinkOptions
from gateway.journal import Journal, JournalDamaged, JournalFailed, Pack
from gateway.model import Clock, Command, GatewayError, Lane, LinkDown, Record, Sample
from gateway.services.commands import Order
from gateway.wire import mqtt

from .lanes import LaneSender, Suspicion, Thinning, fitting
from .native import Message, Native

ROWS = {Lane.ALARM: 32, Lane.EVENT: 32, Lane.TELEMETRY: 4}
"""Rows of the journal read at a time when catching up. One of telemetry is a whole window: a few are
all that the loop may be busy with while an alarm waits."""
BEHIND = 3
"""Rows of telemetry the platform may lack before it counts as behind."""
LATEST_EVERY = 10.0
LEDGER_EVERY = 3600.0
LEDGER_DAYS = 2
LONGEST_WAIT = 45.0
"""So that a link which is well again is in use within a minute, CONNACK and all."""
BRIEF = 30.0
UNSTEADY = 3
"""More connections in a row than this that lasted less than `BRIEF` seconds are no accident, and the next
ones may wait, up to the step `MODERATE` of the back-off (8 s)."""
MODERATE = 4
DELAYS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 100.0)
"""Seconds; a fire alarm is due at the centre within 10 s (GB 26875.1-2011, 4.1.2)."""
COMMANDS = 256
"""Commands from the platform in hand at a time; a battery sensor may keep one for hours."""

T = TypeVar("T")
Obey = Callable[[Command], Awaitable[Order]]
Sink = Callable[[Sample], Awaitable[None]]


class Uplink:
    """The connection to the platform, kept up for ever."""

    name = "uplink"

    def __init__(
        self,
        options: UplinkOptions,
        dialect: Native,
        journal: Journal,
        clock: Clock,
        obey: Obey,
        sink: Sink,
    ) -> None:
        self._options = options
        self._dialect = dialect
        self._journal = journal
        self._clock = clock
        self._obey = obey
        self._sink = sink
        self._thinning = Thinning(options.thin_after, options.thin_to) if options.thin_after else None
        self._suspicion = Suspicion()
        self._version = 5
        self._slots = asyncio.Semaphore(COMMANDS)
        self._told_offline = False
        self._link: mqtt.Connection | None = None
        self.online = False
        self.sent = dict.fromkeys(Lane, 0)
        """Messages acknowledged since the start."""
        self.delays = [0] * (len(DELAYS) + 1)
        """Alarms by the seconds from their reading to the platform's acknowledgement: as `DELAYS`, and
        the longer ones."""
        self.delay = 0.0
        """The sum of those seconds."""

    async def run(self) -> None:
        # A command in hand outlives the connection that brought it.
        async with asyncio.TaskGroup() as self._answers:
            await self._keep_connected()

    async def _keep_connected(self) -> None:
        attempts = brief = 0
        while True:
            began = self._clock.mono()
            try:
                await run_in_own_task(self._serve())
            except LinkDown as down:
                if down.facts.get("code") == mqtt.UNSUPPORTED_PROTOCOL:
                    self._version = 4 if self._version == 5 else 5
                lasted = self._clock.mono() - began
                if self._link:
                    brief = brief + 1 if lasted < BRIEF else 0
                    attempts = min(max(0, brief - UNSTEADY), MODERATE)
                await self._went_down(down, unsteady=brief > UNSTEADY)
            except JournalFailed as failed:
                await self._went_down(failed)
            wait = min(0.5 * 2.0 ** min(attempts, 10), LONGEST_WAIT)
            await self._clock.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
            attempts += 1

    async def _came_up(self, link: mqtt.Connection) -> None:
        """Say that we are here; a connection that acknowledges it is a sound one."""
        proof = link.publish(*self._dialect.status(True), retain=True)
        link.subscribe(self._dialect.command_topic)
        self._link, self.online, self._told_offline = link, True, False
        log_event(logging.INFO, "uplink-up", url=self._options.url)
        await self._sink(Sample(self.name, self._clock.now(), {"connected": True}))
        if self._suspicion.careful:
            try:
                async with asyncio.timeout(mqtt.PATIENCE):
                    await asyncio.shield(proof)
            except TimeoutError as error:
                raise LinkDown("broker-stalled", seconds=round(mqtt.PATIENCE)) from error

    async def _went_down(self, error: GatewayError, *, unsteady: bool = False) -> None:
        self._link, self.online = None, False
        if not self._told_offline:
            self._told_offline = True
            why = error_text(error.key, **error.facts)
            if unsteady and error.key == "broker-lost":
                # Two clients of one name turn each other out; few brokers say so (MQTT 5, 0x8E).
                why = error_text("broker-unsteady", reason=why)
            log_event(logging.WARNING, "uplink-down", reason=why)
            await self._sink(Sample(self.name, self._clock.now(), error=error.key))

    async def _serve(self) -> None:
        """One connection, for as long as it lasts."""
        will = self._dialect.status(False)
        async with mqtt.connect(self._options, will=will, version=self._version) as link:
            await self._deliver(link)

    async def _deliver(self, link: mqtt.Connection) -> None:
        await self._came_up(link)
        alone = asyncio.Lock()
        lanes = [
            LaneSender(
                lane, self._journal, link, self._clock, self._dialect, self._suspicion, alone, self._count
            )
            for lane in Lane
        ]
        alarm, event, telemetry = lanes
        try:
            await run_all(
                alarm=self._committed(alarm),
                event=self._committed(event),
                telemetry=self._telemetry(telemetry),
                unkept=self._unkept(link),
                latest=self._latest(link),
                ledger=self._ledger(link),
                commands=self._commands(link),
                watch=self._watch(lanes),
                end=_wait_for_end(link),
            )
        except JournalDamaged:
            raise
        except JournalFailed as failed:
            # A disk that does not answer now: what memory holds leaves over the next connection.
            raise LinkDown(failed.key, **failed.facts) from failed
        except LinkDown as down:
            under_way = [message for lane in lanes for message in lane.under_way()]
            self._suspicion.broke(under_way, prompt=down.key == "broker-lost")
            raise
        finally:
            # Leaving in order, the broker would not say it for us.
            link.publish(*self._dialect.status(False), retain=True)

    def _count(self, lane: Lane, records: Sequence[Record]) -> None:
        self.sent[lane] += 1
        if lane is Lane.ALARM:
            now = self._clock.now()
            for record in records:
                seconds = now.seconds_since(record.at, unknown=0.0)
                self.delays[bisect.bisect_left(DELAYS, seconds)] += 1
                self.delay += seconds

    async def _committed(self, sender: LaneSender) -> None:
        """Alarms and events: what the journal has committed, in order."""
        lane, journal = sender.lane, self._journal
        pos = journal.delivered[lane]
        while True:
            if pos >= journal.committed[lane]:
                await journal.commit_attempted.wait()
                continue
            end = journal.committed[lane]
            packs = await journal.reader.read(lane, pos, ROWS[lane])
            # Rows that are committed meanwhile are not among those that are no longer there.
            pos = packs[-1].pos if packs else end
            batch = sender.batch()
            await sender.send(batch, _records(packs))
            sender.complete(batch, pos)

    async def _unkept(self, link: mqtt.Connection) -> None:
        """An alarm does not wait for a disk that fails."""
        told: set[tuple[str, int]] = set()
        while True:
            await self._journal.commit_attempted.wait()
            alarms = self._journal.uncommitted_alarms()
            for alarm in alarms:
                if (alarm.device, alarm.seq) not in told:
                    link.publish(*self._dialect.urgent(alarm))
            told = {(alarm.device, alarm.seq) for alarm in alarms}

    async def _telemetry(self, sender: LaneSender) -> None:
        """The open window as it fills; further back, the journal's rows."""
        journal = self._journal
        pos = journal.delivered[Lane.TELEMETRY]
        while True:
            window = journal.window_after(pos)
            if window is None:
                pos = await self._catch_up(sender, pos)
                continue
            batch, sent = sender.batch(), 0
            while window.pos is None or sent < len(window.records):
                if fresh := window.records[sent : window.ready]:
                    sent += len(fresh)
                    await sender.send(batch, fresh)
                else:
                    await journal.changed.wait()
            pos = window.pos
            sender.complete(batch, pos)

    async def _catch_up(self, sender: LaneSender, after: int) -> int:
        """Send the next rows of the backlog; returns how far they reached."""
        began = self._clock.mono()
        end = self._journal.committed[Lane.TELEMETRY]
        packs = await self._journal.reader.read(Lane.TELEMETRY, after, ROWS[Lane.TELEMETRY])
        pos = packs[-1].pos if packs else end
        records, batch = _records(packs), sender.batch()
        if self._thinning:
            records, batch.thinned = self._thinning.split(records, self._clock.now())
            batch.settled = functools.partial(self._thinning.settle, records)
        await sender.send(batch, records, backfill=True)
        sender.complete(batch, pos)
        if self._options.rate:
            points = sum(len(record.body["values"]) for record in records)
            spent = self._clock.mono() - began
            await self._clock.sleep(max(0.0, points / self._options.rate - spent))
        return pos

    async def _latest(self, link: mqtt.Connection) -> None:
        """While history is on its way, how things stand now."""
        while True:
            # Nothing else may be under way while a record is on trial, nor a convicted one ever again.
            if self._behind() and not self._suspicion.careful:
                convicted = self._suspicion.convicted
                latest = [record for record in self._journal.latest.values() if not convicted(record)]
                self._publish_fitting(link, self._dialect.latest, latest)
            await self._clock.sleep(LATEST_EVERY)

    async def _ledger(self, link: mqtt.Connection) -> None:
        """The account, so that the platform can prove it has everything."""
        while True:
            await self._clock.sleep(LATEST_EVERY)
            if self._behind() or self._suspicion.careful:
                continue
            rows = await self._journal.reader.ledger()
            days = sorted({row.day for row in rows})[-LEDGER_DAYS:]
            rows = [row for row in rows if row.day in days]
            self._publish_fitting(link, self._dialect.ledger, rows, retain=True)
            await self._clock.sleep(LEDGER_EVERY)

    def _behind(self) -> bool:
        journal = self._journal
        return journal.committed[Lane.TELEMETRY] - journal.delivered[Lane.TELEMETRY] > BEHIND

    def _publish_fitting(
        self,
        link: mqtt.Connection,
        make: Callable[[Sequence[T]], Message],
        items: Sequence[T],
        *,
        retain: bool = False,
    ) -> None:
        for _, message in fitting(make, items, link.limit) if items else ():
            if message:
                link.publish(*message, retain=retain)

    async def _commands(self, link: mqtt.Connection) -> None:
        async for message in link.messages():
            try:
                if message.retained:
                    raise GatewayError("command-form", reason="retained")
                command = self._dialect.command(message.payload, self._clock.now())
            except GatewayError as error:
                why = error_text(error.key, **error.facts)
                log_event(logging.WARNING, "command-refused", topic=message.topic, reason=why)
                continue
            await self._slots.acquire()
            task = self._answers.create_task(self._answer(command), name=f"command-{command.id}")
            task.add_done_callback(lambda _: self._slots.release())

    async def _answer(self, command: Command) -> None:
        try:
            order = await self._obey(command)
        except GatewayError as error:
            why = error_text(error.key, **error.facts)
            log_event(logging.ERROR, "command-refused", topic=self._dialect.command_topic, reason=why)
        else:
            await self._reply(self._dialect.reply(command.id, order))

    async def _reply(self, message: Message) -> None:
        """Until the platform has it, over whichever connection."""
        while True:
            if self._link:
                try:
                    return await self._link.publish(*message)
                except LinkDown as down:
                    if down.key == "message-refused":
                        return None
            await self._clock.sleep(1.0)

    async def _watch(self, senders: list[LaneSender]) -> None:
        """A broker that takes messages but acknowledges none is as good as gone."""
        while True:
            await self._clock.sleep(1.0)
            for sender in senders:
                if sender.refused:
                    raise sender.refused
                if sender.stalled():
                    raise LinkDown("broker-stalled", seconds=round(mqtt.PATIENCE))


def _records(packs: list[Pack]) -> list[Record]:
    return [record for pack in packs for record in pack.records]


async def _wait_for_end(link: mqtt.Connection) -> None:
    await asyncio.shield(link.ended)
