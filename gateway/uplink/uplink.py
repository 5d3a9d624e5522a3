"""Delivery of the journal to the platform: each record is sent until the broker has acknowledged it.

Telemetry is sent from the open window while the link is up; after an outage it is read from the journal at
the lane's cursor, oldest first, while the platform also receives the latest values. Alarms and events are
read from the journal only: they are sent once committed.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import datetime
import functools
import hashlib
import logging
import math
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from gateway.base.log import error_text, log_event
from gateway.base.security import SECURITY_LOG
from gateway.base.tasks import run_all, run_in_own_task
from gateway.config.options import UplinkOptions
from gateway.journal import DEFAULT_READER, Journal, JournalDamaged, JournalFailed, RecordPack
from gateway.model import (
    CONFIGURE,
    Clock,
    Command,
    GatewayError,
    Lane,
    LinkDown,
    Record,
    Sample,
    sentence,
    uplink_device,
)
from gateway.services.commands import CommandRow
from gateway.wire import mqtt
from gateway.wire.trust import seconds_until_end

from .dialect import Confirmation, Dialect, Message, OpeningRequest, PlatformPresence, Request
from .lanes import LaneSender, PoisonDetector, Thinning, fits, split_to_fit
from .link import Link

ROWS_PER_READ = {Lane.ALARM: 32, Lane.EVENT: 32, Lane.TELEMETRY: 4}
"""A row of telemetry has up to 1024 records: more at a time would delay an alarm."""
MAX_ROWS_PER_READ, MAX_RECORDS_PER_READ = 64, 4096
"""Of a backlog of telemetry whose rows are shorter: a message takes many records of a device at hardly more
cost than one."""
MAX_WINDOWS_BEHIND = 3
"""Unacknowledged windows of telemetry above which the platform counts as behind."""
LATEST_INTERVAL_S = 10.0
LEDGER_INTERVAL_S = 3600.0
LEDGER_DAYS = 2
LATEST_PER_MESSAGE, LEDGER_ROWS_PER_MESSAGE = 400, 1000
MAX_RECONNECT_DELAY_S = 45.0
"""A restored link must be in use within a minute, the CONNACK included."""
PROBE_INTERVAL_S = 1.0
"""While nothing answers at any address, how often that is tried. A platform that refuses the connection is
not tried more often for it."""
PROBE_TIMEOUT_S = 2.0
NOBODY_ANSWERS = frozenset({
    "broker-away", "broker-port-closed", "broker-unreachable", "broker-name-unknown", "platform-away",
    "platform-port-closed",
})  # fmt: skip
"""Why a connection failed, where nobody refused it."""
DAY_S = 86_400
CERTIFICATE_NOTICE_S = 30 * DAY_S
"""So long before a certificate ends this is said."""
STATUS_RETRY_S = 60.0
"""After a broker has refused the status, which is otherwise published once."""
PRESENCE_TIMEOUT_S = 30.0
"""How long the platform's application is waited for before another broker address is tried."""
SHORT_CONNECTION_S = 30.0
MAX_SHORT_CONNECTIONS = 3
"""After more than this many connections in a row that each ended within `SHORT_CONNECTION_S`, the next ones
are delayed as well."""
MAX_DOUBLINGS_AFTER_CONNECTION = 4
"""Step of the back-off that this delay is limited to: 8 s."""
ALARM_DELAY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 100.0)
"""A fire alarm must reach the centre within 10 s (GB 26875.1-2011, 4.1.2)."""
MAX_OPEN_COMMANDS = 256
"""Commands from the platform that are not finished; a battery sensor may take hours for one."""

T = TypeVar("T")
ExecuteCommand = Callable[[Command], Awaitable[CommandRow]]
SampleSink = Callable[[Sample], Awaitable[None]]


def origin_of(uplink: str) -> str:
    """The origin of an uplink's commands."""
    return "upstream" if uplink == DEFAULT_READER else f"upstream.{uplink}"


class Uplink:
    """The connection to a platform, reopened for as long as the gateway runs."""

    def __init__(
        self,
        uplink: str,
        options: UplinkOptions,
        dialect: Dialect,
        journal: Journal,
        clock: Clock,
        execute: ExecuteCommand,
        publish_sample: SampleSink,
    ) -> None:
        self.uplink = uplink
        """Its name in the site file; that of the journal's reader."""
        self.name = uplink_device(uplink)
        self._addresses = deque(
            msgspec.structs.replace(options, url=url) for url in (options.url, *options.fallback_urls)
        )
        """The options with each address of the platform; the first is in use, or tried next."""
        self._dialect = dialect
        self._journal = journal
        self._delivery = journal.deliveries[uplink]
        self._clock = clock
        self._execute = execute
        self._publish_sample = publish_sample
        self._backlog_rows_per_read = ROWS_PER_READ[Lane.TELEMETRY]
        self._thinning = Thinning(options.thin_after, options.thin_to) if options.thin_after else None
        self._poison = PoisonDetector()
        self._holds_telemetry = False
        self._command_slots = asyncio.Semaphore(MAX_OPEN_COMMANDS)
        self._tasks = asyncio.TaskGroup()
        """Commands that are being executed, and probes: they outlive a connection."""
        self._probes: dict[str, asyncio.Task[bool]] = {}
        self._reported_offline = False
        self.offline_error: GatewayError | None = None
        """Why there is no connection."""
        self._link: Link | None = None
        self._platform_is_present = asyncio.Event()
        self._openings: asyncio.Queue[OpeningRequest] = asyncio.Queue(maxsize=1)
        """What the platform has asked for on this connection, and was not done yet."""
        self.is_online = False
        self.acknowledged_messages = dict.fromkeys(Lane, 0)
        """Messages acknowledged since the start."""
        self.alarm_delay_counts = [0] * (len(ALARM_DELAY_BUCKETS_S) + 1)
        """Alarms by the time from the measurement to the platform's acknowledgement: one count for each of
        `ALARM_DELAY_BUCKETS_S`, and one for longer delays."""
        self.alarm_delay_sum_s = 0.0
        """The sum of these times."""

    @property
    def _options(self) -> UplinkOptions:
        return self._addresses[0]

    def notices(self) -> list[tuple[str, dict[str, Any]]]:
        """Why there is no connection ("error"), what the broker does not offer ("restriction"), and what it
        refuses at present ("error"), for `linli doctor`."""
        offline = [("error", {"reason": self.offline_error.as_sentence()})] if self.offline_error else []
        return offline + self._ending_certificates() + mqtt.notices_of(self._options)

    def command_notices(self) -> list[tuple[str, dict[str, Any]]]:
        """The commands that are executed without a signature ("unsigned"), and those that never are because
        they cannot have one ("unsignable")."""
        options = self._options
        actions = {
            "unsigned": [action for action in options.commands if options.trust.get(action) == "broker"],
            "unsignable": options.unsignable_commands(self._dialect.has_signatures),
        }
        return [(key, {"actions": ", ".join(each)}) for key, each in actions.items() if each]

    def _ending_certificates(self) -> list[tuple[str, dict[str, Any]]]:
        """The platform's, and the gateway's own, before they end."""
        now_s = self._clock.now().wall_ms / 1000
        ends_s = self._link.certificate_ends_s if self._link else None
        left = {"certificate-ending": ends_s - now_s if ends_s else None}
        if self._options.certificate_file:
            with contextlib.suppress(OSError, ValueError):
                left["own-certificate-ending"] = seconds_until_end(self._options.certificate_file, now_s)
        return [
            (key, {"days": int(seconds // DAY_S)})
            for key, seconds in left.items()
            if seconds is not None and seconds < CERTIFICATE_NOTICE_S
        ]

    async def run(self) -> None:
        async with self._tasks:
            await self._keep_connected()

    async def _keep_connected(self) -> None:
        attempts = brief = 0
        while True:
            began, is_silent = self._clock.mono(), False
            try:
                await run_in_own_task(self._run_connection())
            except LinkDown as down:
                is_silent = down.key in NOBODY_ANSWERS
                lasted = self._clock.mono() - began
                if self._link:
                    brief = brief + 1 if lasted < SHORT_CONNECTION_S else 0
                    attempts = min(max(0, brief - MAX_SHORT_CONNECTIONS), MAX_DOUBLINGS_AFTER_CONNECTION)
                await self._mark_offline(down, is_unsteady=brief > MAX_SHORT_CONNECTIONS)
            except JournalFailed as failed:
                await self._mark_offline(failed)
            wait_s = min(0.5 * 2.0 ** min(attempts, 10), MAX_RECONNECT_DELAY_S) * random.uniform(0.5, 1.0)  # noqa: S311
            self._addresses.rotate(-1)
            if is_silent:
                await self._wait_for_listener(wait_s)
            else:
                await self._clock.sleep(wait_s)
            attempts += 1

    async def _wait_for_listener(self, limit_s: float) -> None:
        """Wait until something listens at one of the addresses, which is used next."""
        until = self._clock.mono() + limit_s
        while (left_s := until - self._clock.mono()) > 0:
            # Of a thousand gateways, not all at the same moment.
            await self._clock.sleep(min(left_s, PROBE_INTERVAL_S * random.uniform(0.5, 1.0)))  # noqa: S311
            for _ in self._addresses:
                if await self._is_answered(self._options.url):
                    return
                self._addresses.rotate(-1)

    async def _is_answered(self, url: str) -> bool:
        # A name server that does not answer holds a thread for long: never a second one for the same name.
        probe = self._probes.get(url)
        if probe is None or probe.done():
            options = self._options
            probe = self._tasks.create_task(_listens(options.host, options.port), name=f"probe {url}")
            self._probes[url] = probe
        done, _ = await asyncio.wait((probe,), timeout=PROBE_TIMEOUT_S)
        return bool(done) and probe.result()

    async def _mark_online(self, link: Link) -> None:
        """Publish the status; its acknowledgement proves that the connection works."""
        status = self._dialect.status_message(True)
        proof = link.publish(status) if status else None
        self._link, self.is_online, self._reported_offline = link, True, False
        self.offline_error = None
        log_event(logging.INFO, "uplink-up", uplink=self.name, url=self._options.url)
        for key, facts in self._ending_certificates():
            log_event(logging.WARNING, f"uplink-{key}", uplink=self.name, **facts)
        await self._publish_sample(Sample(self.name, self._clock.now(), {"connected": True}))
        if proof and self._poison.must_send_singly:
            done, _ = await asyncio.wait((proof,), timeout=mqtt.RESPONSE_TIMEOUT_S)
            if not done:
                raise LinkDown("broker-stalled", seconds=round(mqtt.RESPONSE_TIMEOUT_S))
            _raise_if_down(proof)

    async def _mark_offline(self, error: GatewayError, *, is_unsteady: bool = False) -> None:
        self._link, self.is_online = None, False
        self.offline_error = error
        if not self._reported_offline:
            self._reported_offline = True
            why = error_text(error.key, **error.facts)
            if is_unsteady and error.key == "broker-lost":
                # Two clients with one id disconnect each other; few brokers say so (MQTT 5, 0x8E).
                why = error_text("broker-unsteady", reason=why)
            log_event(logging.WARNING, "uplink-down", uplink=self.name, reason=why)
            await self._publish_sample(
                Sample(self.name, self._clock.now(), error=error.key, facts=error.stored_facts())
            )

    async def _run_connection(self) -> None:
        """Open one connection and deliver until it ends."""
        if self._options.is_http:
            from . import http  # noqa: PLC0415  its library is large, and seldom needed

            async with http.connect(self._options) as posts:
                await self._deliver(Link(posts, self._dialect))
            return
        self._dialect.begin_connection()
        death = self._dialect.status_message(False)
        will = mqtt.Will(death.topic, death.payload, death.retain) if death else None
        login = self._dialect.login()
        async with mqtt.connect(self._options, owner=self.name, login=login, will=will) as transport:
            await self._deliver(Link(transport, self._dialect))

    async def _deliver(self, link: Link) -> None:
        self._openings = asyncio.Queue(maxsize=1)
        self._platform_is_present.clear()
        for topic in self._dialect.reply_topics:
            link.subscribe(topic)
        if not self._dialect.opening_grants_topics:
            # Whoever sees that the gateway is online may command at once.
            self._subscribe_to_commands(link)
        single_send = asyncio.Lock()
        lanes = [
            LaneSender(
                lane,
                self._delivery,
                link,
                self._clock,
                self._dialect,
                self._poison,
                single_send,
                self._count_acknowledged,
            )
            for lane in Lane
            if lane in self._delivery.streams.lanes
        ]
        try:
            if not self._dialect.waits_for_presence:
                self._platform_is_present.set()
                await self._mark_online(link)
            await run_all(
                records=self._send_records(link, lanes),
                incoming=self._receive(link),
                refused=self._send_refused(link, lanes),
                watch=self._check_senders(lanes),
                end=_wait_for_disconnect(link),
            )
        except JournalDamaged:
            raise
        except JournalFailed as failed:
            # The disk does not answer now: what is in memory is sent over the next connection.
            raise LinkDown(failed.key, **failed.facts) from failed
        except LinkDown as down:
            in_flight = [message for lane in lanes for message in lane.messages_in_flight()]
            self._poison.record_lost_connection(in_flight, closed_by_broker=down.key == "broker-lost")
            raise
        finally:
            # After a proper disconnect the broker does not publish the will.
            if self.is_online and (status := self._dialect.status_message(False)):
                link.publish(status)

    async def _send_records(self, link: Link, lanes: list[LaneSender]) -> None:
        if not self._platform_is_present.is_set():
            await self._mark_offline(LinkDown("platform-absent"))
            wait_s = PRESENCE_TIMEOUT_S if len(self._addresses) > 1 else math.inf
            await self._clock.wait(self._platform_is_present, wait_s)
            if not self._platform_is_present.is_set():
                raise LinkDown("platform-absent")
            await self._mark_online(link)
        await self._send_opening(link)
        if self._dialect.opening_grants_topics:
            self._subscribe_to_commands(link)
        send = {Lane.TELEMETRY: self._send_telemetry}
        await run_all(
            **{each.lane.name: send.get(each.lane, self._send_committed)(each) for each in lanes},
            unkept=self._send_uncommitted_alarms(link),
            latest=self._send_latest(link),
            ledger=self._send_ledger(link),
            heartbeat=self._send_heartbeats(link),
            openings=self._repeat_openings(link),
        )

    def _subscribe_to_commands(self, link: Link) -> None:
        # Where no commands are allowed, the account may not be allowed to subscribe either.
        if self._options.commands:
            for topic in self._dialect.command_topics:
                link.subscribe(topic)

    async def _send_opening(self, link: Link) -> None:
        for step in self._dialect.opening_messages(self._journal.latest_samples):
            if step:
                # What is refused or not replied to concerns some devices: the others are not to wait.
                sent = [link.publish(message) for message in step]
                await asyncio.wait(sent, timeout=mqtt.RESPONSE_TIMEOUT_S)

    async def _repeat_openings(self, link: Link) -> None:
        """Say again what begins a connection, when the platform asks for it."""
        while True:
            asked = await self._openings.get()
            await self._clock.sleep(asked.within_s * random.random())  # noqa: S311
            if status := self._dialect.status_message(True):
                link.publish(status)
            await self._send_opening(link)

    def _count_acknowledged(self, lane: Lane, records: Sequence[Record]) -> None:
        self.acknowledged_messages[lane] += 1
        if lane is Lane.ALARM:
            now = self._clock.now()
            for record in records:
                seconds = now.seconds_since(record.at, if_unknown=0.0)
                self.alarm_delay_counts[bisect.bisect_left(ALARM_DELAY_BUCKETS_S, seconds)] += 1
                self.alarm_delay_sum_s += seconds

    async def _send_committed(self, sender: LaneSender) -> None:
        """Send a lane of alarms or events as the journal commits them, in order."""
        lane, journal = sender.lane, self._journal
        pos = self._delivery.positions[lane]
        while True:
            if pos >= journal.committed_pos[lane]:
                await journal.commit_attempted.wait()
                continue
            end = journal.committed_pos[lane]
            packs = await journal.reader.read_after(lane, pos, ROWS_PER_READ[lane])
            # Without rows up to `end` these were evicted; rows committed meanwhile were not.
            pos = packs[-1].pos if packs else end
            batch = sender.start_batch()
            await sender.send(batch, self._records_of(packs))
            sender.complete_batch(batch, pos)

    async def _send_uncommitted_alarms(self, link: Link) -> None:
        """Send alarms at once that a failing disk cannot store."""
        sent: set[tuple[str, int]] = set()
        while True:
            await self._journal.commit_attempted.wait()
            alarms = self._journal.uncommitted_alarms()
            for alarm in alarms:
                message = self._dialect.urgent_message(alarm)
                if message and self._selects(alarm) and (alarm.device, alarm.seq) not in sent:
                    link.publish(message)
            sent = {(alarm.device, alarm.seq) for alarm in alarms}

    async def _send_telemetry(self, sender: LaneSender) -> None:
        """Send the open window as it fills; before that, the rows of the journal."""
        journal = self._journal
        pos = self._delivery.positions[Lane.TELEMETRY]
        while True:
            window = journal.window_after(pos)
            if window is None:
                pos = await self._catch_up(sender, pos)
                continue
            batch, sent = sender.start_batch(), 0
            while window.pos is None or sent < len(window.records):
                fresh = window.records[sent : window.ready_count]
                is_due = window.pos is not None or not self._dialect.waits_for_commit or journal.failure
                if fresh and is_due:
                    sent += len(fresh)
                    await sender.send(batch, [record for record in fresh if self._selects(record)])
                else:
                    await journal.changed.wait()
            pos = window.pos
            sender.complete_batch(batch, pos)

    async def _catch_up(self, sender: LaneSender, after: int) -> int:
        """Send the next rows of the backlog; returns their last position."""
        began = self._clock.mono()
        end = self._journal.committed_pos[Lane.TELEMETRY]
        least = ROWS_PER_READ[Lane.TELEMETRY]
        rows = least if self._options.rate else self._backlog_rows_per_read
        packs = await self._journal.reader.read_after(Lane.TELEMETRY, after, rows)
        pos = packs[-1].pos if packs else end
        longest = max((len(pack.records) for pack in packs), default=0)
        fitting = MAX_RECORDS_PER_READ // max(1, longest)
        self._backlog_rows_per_read = min(max(least, fitting), MAX_ROWS_PER_READ)
        records, batch = self._records_of(packs), sender.start_batch()
        if self._thinning:
            records, batch.thinned = self._thinning.split_records(records, self._clock.now())
            batch.on_acknowledged = functools.partial(self._thinning.remove_acknowledged, records)
        await sender.send(batch, records, backfill=True)
        sender.complete_batch(batch, pos)
        if self._options.rate:
            points = sum(len(record.body["values"]) for record in records)
            spent = self._clock.mono() - began
            await self._clock.sleep(max(0.0, points / self._options.rate - spent))
        return pos

    async def _send_latest(self, link: Link) -> None:
        """While a backlog is being sent, publish the latest values as well."""
        while True:
            # While messages go singly, nothing else may be in flight.
            if self._is_behind() and not self._poison.must_send_singly:
                latest = [
                    record
                    for record in self._journal.latest_samples.values()
                    if self._selects(record) and not self._poison.is_poison(record)
                ]
                make, most = self._dialect.latest_message, LATEST_PER_MESSAGE
                for group in self._dialect.latest_groups(latest):
                    async for _, message in self._parts(link, make, group, most):
                        await asyncio.wait((link.publish(message),))
            await self._clock.sleep(LATEST_INTERVAL_S)

    async def _send_heartbeats(self, link: Link) -> None:
        while interval_s := self._dialect.heartbeat_interval_s:
            await self._clock.sleep(interval_s)
            if not self._poison.must_send_singly and (message := self._dialect.heartbeat_message()):
                link.publish(message)

    async def _send_ledger(self, link: Link) -> None:
        """Publish the ledger, by which the platform can prove that no record is missing."""
        while True:
            await self._clock.sleep(LATEST_INTERVAL_S)
            if self._is_behind() or self._poison.must_send_singly:
                continue
            reader = self._journal.reader
            today = datetime.date.fromisoformat(reader.day_of(self._clock.now()))
            since = today - datetime.timedelta(days=LEDGER_DAYS - 1)
            rows = await reader.ledger(since.isoformat(), self.uplink)
            make, most = self._dialect.ledger_message, LEDGER_ROWS_PER_MESSAGE
            parts = [part async for part, _ in self._parts(link, make, rows, most)]
            for number, part in enumerate(parts, 1):
                if message := make(part, part=number, is_last=number == len(parts)):
                    await asyncio.wait((link.publish(message),))
            await self._clock.sleep(LEDGER_INTERVAL_S)

    @property
    def windows_behind(self) -> int:
        """Windows that the platform has not acknowledged, though it accepts telemetry."""
        if self._holds_telemetry or Lane.TELEMETRY not in self._delivery.streams.lanes:
            return 0
        return self._journal.windows_behind(self._delivery)

    def _selects(self, record: Record) -> bool:
        return self._delivery.selects(record.lane, record.device)

    def _records_of(self, packs: list[RecordPack]) -> list[Record]:
        """Those that this platform receives."""
        return [record for pack in packs for record in pack.records if self._selects(record)]

    def is_alarm_pending(self) -> bool:
        """Whether there is an alarm that the platform has not acknowledged."""
        lane = Lane.ALARM
        return (
            lane in self._delivery.streams.lanes
            and self._delivery.positions[lane] < self._journal.committed_pos[lane]
        )

    def _is_behind(self) -> bool:
        return self.windows_behind > MAX_WINDOWS_BEHIND

    async def _parts(
        self,
        link: Link,
        build_message: Callable[[Sequence[T]], Message | None],
        items: Sequence[T],
        most: int,
    ) -> AsyncIterator[tuple[Sequence[T], Message]]:
        """The items of each message, and the message; however many there are, an alarm waits for one of
        them at most."""
        for first in range(0, len(items), most):
            part = items[first : first + most]
            for fitting, message in split_to_fit(build_message, part, link.max_packet_bytes):
                if message:
                    yield fitting, message
            await asyncio.sleep(0)

    async def _receive(self, link: Link) -> None:
        async for message in link.messages():
            try:
                if message.retained and not self._dialect.reads_retained(message.topic):
                    raise GatewayError("command-form", reason=sentence("cause.retained"))
                meanings = list(self._dialect.parse(message.topic, message.payload, self._clock.now()))
            except GatewayError as error:
                why = error_text(error.key, **error.facts)
                log_event(logging.WARNING, "command-refused", topic=message.topic, reason=why)
                SECURITY_LOG.add("command-refused")
                continue
            for meaning in meanings:
                if isinstance(meaning, Confirmation):
                    link.confirm(meaning)
                elif isinstance(meaning, Message):
                    link.publish(meaning)
                elif isinstance(meaning, PlatformPresence):
                    self._record_presence(meaning)
                elif isinstance(meaning, OpeningRequest):
                    # One that was not begun yet answers all that asked before.
                    with contextlib.suppress(asyncio.QueueFull):
                        self._openings.put_nowait(meaning)
                else:
                    await self._command_slots.acquire()
                    task = self._tasks.create_task(
                        self._execute_and_reply(message.topic, meaning),
                        name=f"command-{meaning.command.id}",
                    )
                    task.add_done_callback(lambda _: self._command_slots.release())

    def _record_presence(self, presence: PlatformPresence) -> None:
        if presence.online:
            self._platform_is_present.set()
        elif self._platform_is_present.is_set():
            raise LinkDown("platform-absent")

    async def _execute_and_reply(self, topic: str, request: Request) -> None:
        try:
            order = await self._execute(self._own_command(request))
        except GatewayError as error:
            why = error_text(error.key, **error.facts)
            log_event(logging.ERROR, "command-refused", topic=topic, reason=why)
        else:
            await self._reply(request, order)

    def _own_command(self, request: Request) -> Command:
        """With an id of its own, as platforms may use the same ids; and with an objection if it must be
        signed and is not."""
        command = request.command
        own_id = command.id if self.uplink == DEFAULT_READER else f"{self.uplink}/{command.id}"
        objection = command.objection
        if not request.signed_with and self._options.must_be_signed(command.action):
            objection = objection or "unsigned"
        if command.action == CONFIGURE:
            if request.signed_with not in self._options.configuration_keys:
                objection = objection or "signature-key-limited"
            if command.args.get("sha256") != hashlib.sha256(command.attachment.encode()).hexdigest():
                objection = objection or "attachment-differs"
        origin = origin_of(self.uplink)
        return msgspec.structs.replace(
            command, id=own_id, origin=origin, key=request.signed_with, objection=objection
        )

    async def _reply(self, request: Request, order: CommandRow) -> None:
        """Publish until the platform has acknowledged it, over any number of connections."""
        while True:
            if self._link:
                message = self._dialect.reply_message(request, order)
                if message and not fits(message, self._link.max_packet_bytes):
                    brief = msgspec.structs.replace(order, result={"left_out": True})
                    message = self._dialect.reply_message(request, brief)
                if message is None:
                    return None
                try:
                    return await self._link.publish(message)
                except LinkDown as down:
                    if down.key == "message-refused":
                        return None
            await self._clock.sleep(1.0)

    async def _send_refused(self, link: Link, senders: list[LaneSender]) -> None:
        """Send again, from time to time, what the broker refuses because of its topic."""
        status, status_due_s = self._dialect.status_message(True), 0.0
        while True:
            await self._clock.sleep(1.0)
            for sender in senders:
                await sender.send_held()
            self._holds_telemetry = any(
                sender.holds_messages for sender in senders if sender.lane is Lane.TELEMETRY
            )
            if status and link.refuses(status.topic) and self._clock.mono() >= status_due_s:
                status_due_s = self._clock.mono() + STATUS_RETRY_S
                link.publish(status)

    async def _check_senders(self, senders: list[LaneSender]) -> None:
        """End a connection on which the broker refuses messages or stops acknowledging them."""
        while True:
            await self._clock.sleep(1.0)
            for sender in senders:
                if sender.fatal_refusal:
                    raise sender.fatal_refusal
                if sender.is_stalled():
                    raise LinkDown("broker-stalled", seconds=round(mqtt.RESPONSE_TIMEOUT_S))


async def _listens(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


def _raise_if_down(acknowledgement: asyncio.Future[None]) -> None:
    """Raises `LinkDown` if the connection has ended; that the message was refused is no reason to."""
    error = acknowledgement.exception()
    if isinstance(error, LinkDown) and error.key != "message-refused":
        raise error


async def _wait_for_disconnect(link: Link) -> None:
    await asyncio.shield(link.ended)
