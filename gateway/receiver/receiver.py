"""From the broker into the database: a message is acknowledged once the transaction with it has ended."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import NoReturn

from gateway.base.failpoint import failpoint
from gateway.base.log import log_event, report_held_back
from gateway.base.tasks import run_in_own_task
from gateway.model import Clock, LinkDown, sentence
from gateway.wire.broker import BrokerOptions
from gateway.wire.mqtt import Connection, IncomingMessage, connect
from gateway.wire.restrictions import hex_code

from .database import Database, MessageRefused, Reject
from .messages import LANES, Parsed, Rejected, parse

FILTERS = (
    *(f"linli/v1/+/{level}{lane}" for lane in LANES for level in ("+/", "")),
    "linli/v1/+/ledger",
    "linli/v1/+/ledger/+",
    "linli/v1/+/urgent",
)
MAX_MESSAGES = 2000
"""Unacknowledged; with MQTT 5 the broker sends no more at a time."""
MAX_PACKET_BYTES = 4 << 20
MAX_BATCH_BYTES = 8 << 20
MAX_WAITING_BYTES = 32 << 20
"""If more waits for the database, no more is read from the broker for the time being."""
BATCH_INTERVAL_S = 0.1
"""So long messages are collected for one transaction, unless none has arrived for `QUIET_S`."""
QUIET_S = 0.01
SESSION_EXPIRY_S = 7 * 86_400
"""How long the broker keeps what arrives while this receiver is away."""
SHARED_NOT_SUPPORTED, WILDCARDS_NOT_SUPPORTED = 0x9E, 0xA2
"""MQTT 5, 3.9.3 and 3.14.2.1: reason codes of a SUBACK, or of a DISCONNECT instead."""
MIN_RETRY_S, MAX_RETRY_S = 1.0, 15.0
STEADY_S = 60.0
"""What ends sooner counts as one attempt more, as when two processes have the same name."""
STORE_TIMEOUT_S = 60.0
SILENCE_S = 30.0
"""A node that has lost its cluster may keep its connections and deliver nothing. After so long without a
message a new connection is made, which costs little."""


class Receiver:
    """One process of those that share the subscription of a `group`. Without one, or where the broker
    shares nothing, it subscribes alone: the database keeps each record once, however often it arrives.

    `brokers`: the nodes of one cluster, which have the same sessions; the next is tried when one fails or
    sends nothing. Their `client_id` names this receiver's session, and must be its own.
    """

    def __init__(self, brokers: Iterable[BrokerOptions], database: str, group: str, clock: Clock) -> None:
        self._brokers = deque(brokers)
        self._database = database
        self._group = group
        self._clock = clock
        self.is_receiving = False
        """Whether it has subscribed, and has a database."""
        self._logged_errors: set[str] = set()
        """Those that have been logged since it last received."""
        self.rejected: Counter[str] = Counter()
        """Messages by the reason why they were rejected; the first of each is logged."""
        self.acknowledged = 0
        """Messages, with the rejected ones."""

    @property
    def _options(self) -> BrokerOptions:
        """Of the node that is in use, or tried next."""
        return self._brokers[0]

    async def run(self) -> NoReturn:
        """Receive until cancelled. Raises `ConfigError` if the database's URL is wrong."""
        delay_s = MIN_RETRY_S
        while True:
            began_s = self._clock.mono()
            try:
                await run_in_own_task(self._receive_until_silence())
                delay_s = MIN_RETRY_S
            except LinkDown as down:
                # What has not been stored was not acknowledged: the broker sends it again.
                if self._clock.mono() - began_s > STEADY_S:
                    delay_s = MIN_RETRY_S
                    self._logged_errors.clear()
                if down.key not in self._logged_errors:
                    log_event(logging.WARNING, "receiver-stopped", reason=down.as_sentence())
                self.is_receiving = False
                self._logged_errors.add(down.key)
            self._brokers.rotate(-1)
            report_held_back()
            await self._clock.sleep(delay_s * random.uniform(0.5, 1))  # noqa: S311  not a secret
            delay_s = min(delay_s * 2, MAX_RETRY_S)

    async def _receive_until_silence(self) -> None:
        inbox = _Inbox()
        async with (
            Database.open(self._database) as database,
            connect(
                self._options,
                owner="receiver",
                keep_session=True,
                max_packet_bytes=MAX_PACKET_BYTES,
                receive=inbox.put,
                receive_maximum=MAX_MESSAGES,
                session_expiry_s=SESSION_EXPIRY_S,
            ) as connection,
        ):
            inbox.connection = connection
            connection.ended.add_done_callback(lambda _: inbox.arrived.set())
            await self._subscribe(connection)
            if not self.is_receiving:
                self._log_start()
            self.is_receiving = True
            while messages := await inbox.take(self._clock):
                try:
                    async with asyncio.timeout(STORE_TIMEOUT_S):
                        parsed = itertools.chain.from_iterable(map(self._parse, messages))
                        await self._store(database, list(parsed))
                except TimeoutError as error:
                    raise LinkDown("database-slow", seconds=STORE_TIMEOUT_S) from error
                failpoint("stored")
                for message in messages:
                    connection.acknowledge(message)
                self.acknowledged += len(messages)

    def _log_start(self) -> None:
        if self._group:
            log_event(logging.INFO, "receiver-started", broker=self._options.url, group=self._group)
        else:
            log_event(logging.INFO, "receiver-alone", broker=self._options.url)

    async def _subscribe(self, connection: Connection) -> None:
        """Raises `LinkDown` if nothing can be received; one refused filter costs that one alone, and the
        connection tells of it."""
        if self._group and not connection.shares_subscriptions:
            self._leave_group()
        prefix = f"$share/{self._group}/" if self._group else ""
        asked = [connection.subscribe(prefix + name) for name in FILTERS]
        await asyncio.wait(asked)
        errors = [each.exception() for each in asked]
        downs = [error for error in errors if isinstance(error, LinkDown)]
        if self._group and any(down.facts.get("code") == SHARED_NOT_SUPPORTED for down in downs):
            self._leave_group()
            await self._subscribe(connection)
        elif down := next((each for each in downs if each.key != "message-refused"), None):
            raise down
        elif len(downs) == len(FILTERS):
            raise self._subscription_error(downs[0])

    def _leave_group(self) -> None:
        self._group = ""
        log_event(logging.WARNING, "receiver-unshared", broker=self._options.url)

    def _subscription_error(self, refused: LinkDown) -> LinkDown:
        code = int(str(refused.facts["code"]))
        key = "receiver-wildcards" if code == WILDCARDS_NOT_SUPPORTED else "topic-subscribe"
        return LinkDown(key, broker=self._options.url, topic=refused.facts["topic"], code=hex_code(code))

    async def _store(self, database: Database, contents: Sequence[Parsed | Reject]) -> None:
        try:
            await database.store(contents)
        except MessageRefused:
            # Which one it is, halving tells.
            middle = len(contents) // 2
            only = contents[0]
            if middle:
                await self._store(database, contents[:middle])
                await self._store(database, contents[middle:])
            elif isinstance(only, Parsed):
                await self._store(database, [self._reject(only.message, "database")])

    def _parse(self, message: IncomingMessage) -> Sequence[Parsed | Reject]:
        try:
            if message.error:
                raise Rejected("size")
            return parse(message)
        except Rejected as rejected:
            return [self._reject(message, rejected.reason)]

    def _reject(self, message: IncomingMessage, reason: str) -> Reject:
        self.rejected[reason] += 1
        if self.rejected[reason] == 1:
            log_event(
                logging.WARNING,
                "receiver-rejects",
                topic=message.topic,
                reason=sentence(f"rejected.{reason}"),
            )
        size = int(str(message.error.facts.get("bytes", 0))) if message.error else len(message.payload)
        return Reject(reason, message.topic, size, message.payload)


class _Inbox:
    """Messages that wait for the database."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.connection: Connection | None = None
        self._messages: list[IncomingMessage] = []
        self._bytes = 0
        self._paused = False

    def put(self, message: IncomingMessage) -> None:
        self._messages.append(message)
        self._bytes += len(message.payload)
        self.arrived.set()
        if self._bytes > MAX_WAITING_BYTES and not self._paused and self.connection:
            self._paused = True
            self.connection.pause_reading()

    async def take(self, clock: Clock) -> list[IncomingMessage]:
        """What has arrived, up to `MAX_BATCH_BYTES`; nothing if nothing has for `SILENCE_S`. Raises
        `LinkDown`."""
        assert self.connection
        while not self._messages:
            self.arrived.clear()
            if self.connection.ended.done():
                self.connection.ended.result()
            await clock.wait(self.arrived, SILENCE_S)
            if not self.arrived.is_set():
                return []
        # Many brokers send but a few until these are acknowledged.
        seen, until_s = 0, clock.mono() + BATCH_INTERVAL_S
        while seen < len(self._messages) and clock.mono() < until_s:
            seen = len(self._messages)
            await clock.sleep(QUIET_S)
        size = count = 0
        while count < len(self._messages) and (not count or size < MAX_BATCH_BYTES):
            size += len(self._messages[count].payload)
            count += 1
        taken, self._messages = self._messages[:count], self._messages[count:]
        self._bytes -= size
        if self._paused:
            self._paused = False
            self.connection.resume_reading()
        return taken
