"""One connection of an uplink, in the words of its dialect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

from gateway.model import LinkDown
from gateway.wire.mqtt import IncomingMessage

from .dialect import Confirmation, Dialect, Message

NOT_AUTHORIZED, TOO_LARGE, QUOTA_EXCEEDED, CONTENT_REFUSED = 0x87, 0x95, 0x97, 0x99
"""Reason codes (MQTT 5, 2.4): of a topic, of one message, of what will pass, of one message. The refusals
of platforms, and those of HTTP, are told apart in the same way."""
MAX_REFUSALS = 32
"""Latest refusals that are kept for `linli doctor`."""


class Transport(Protocol):
    """What carries messages: see `gateway.wire.mqtt.Connection`."""

    max_packet_bytes: int
    certificate_ends_s: float | None
    ended: asyncio.Future[None]

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1
    ) -> asyncio.Future[Any]:
        """The result is the platform's response, where it responds at once; else None."""
        ...

    def subscribe(self, topic: str) -> object: ...

    def refuses(self, topic: str) -> bool: ...

    def messages(self) -> AsyncIterator[IncomingMessage]: ...


class Link:
    """A connection on which a message has arrived when the platform replies to it, where the dialect has
    replies; else when the broker acknowledges it."""

    def __init__(self, transport: Transport, dialect: Dialect) -> None:
        self._transport = transport
        self._dialect = dialect
        self._awaited: dict[str, tuple[str, asyncio.Future[None]]] = {}
        """By the id of the reply: the topic of the message, and what is done with the reply."""
        self.refusals: dict[str, str] = {}
        """By topic, why the platform has refused a message last."""
        transport.ended.add_done_callback(self._fail_awaited)

    @property
    def max_packet_bytes(self) -> int:
        """Largest packet that is accepted; 0 where no limit is stated."""
        limits = self._transport.max_packet_bytes, self._dialect.max_message_bytes
        return min((limit for limit in limits if limit), default=0)

    @property
    def certificate_ends_s(self) -> float | None:
        """Unix time until which the platform's certificate is valid; None without TLS."""
        return self._transport.certificate_ends_s

    @property
    def ended(self) -> asyncio.Future[None]:
        """Fails with `LinkDown` when the connection is gone."""
        return self._transport.ended

    def publish(self, message: Message) -> asyncio.Future[None]:
        """Send. The future is done when the message has arrived, or fails with `LinkDown`:
        `message-refused` with a `code` concerns this message or its topic, any other key the connection."""
        for each in self._dialect.messages_before(message):
            self.publish(each)
        message = self._dialect.number(message)
        sent = self._transport.publish(
            message.topic, message.payload, retain=message.retain, qos=message.qos
        )
        if not message.reply_id:
            return sent
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaited[message.reply_id] = message.topic, arrived
        sent.add_done_callback(lambda sent: self._read_response(message, sent))
        return arrived

    def confirm(self, confirmation: Confirmation) -> None:
        """The platform has replied. A reply to nothing is ignored: it may be of an earlier connection."""
        topic, arrived = self._awaited.pop(confirmation.reply_id, ("", None))
        if arrived is None or arrived.done():
            return
        if not confirmation.error:
            self.refusals.pop(topic, None)
            arrived.set_result(None)
            return
        self.refusals[topic] = confirmation.error
        if len(self.refusals) > MAX_REFUSALS:
            del self.refusals[next(iter(self.refusals))]
        code = QUOTA_EXCEEDED if confirmation.is_passing else CONTENT_REFUSED
        _fail(arrived, LinkDown("message-refused", topic=topic, code=code))

    def subscribe(self, topic: str) -> None:
        self._transport.subscribe(topic)

    def refuses(self, topic: str) -> bool:
        """Whether messages to this topic are refused at present."""
        return self._transport.refuses(topic)

    def messages(self) -> AsyncIterator[IncomingMessage]:
        """What the platform sends, until `LinkDown`."""
        return self._transport.messages()

    def _read_response(self, message: Message, sent: asyncio.Future[Any]) -> None:
        if sent.cancelled():
            return
        if error := sent.exception():
            _, arrived = self._awaited.pop(message.reply_id, ("", None))
            if arrived:
                _fail(arrived, error)
        elif (response := sent.result()) is not None:
            self.confirm(self._dialect.confirm_response(message, response))

    def _fail_awaited(self, ended: asyncio.Future[None]) -> None:
        error = (None if ended.cancelled() else ended.exception()) or LinkDown("broker-lost")
        awaited, self._awaited = self._awaited, {}
        for _, arrived in awaited.values():
            _fail(arrived, error)


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # Marks it as retrieved: not every caller awaits it.
