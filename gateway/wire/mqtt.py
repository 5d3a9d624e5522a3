"""MQTT on the event loop, through paho: the only file that imports it.

The threads, queue and reconnection of paho are not used: unsent records are in the journal, a connection
that ends is replaced by a new one, and only its PUBACK makes a message count as delivered.

What a broker does not offer or refuses is done without (`gateway.wire.restrictions`): it is logged once,
and tried again from time to time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar, NamedTuple

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.base.log import error_text, log_event
from gateway.model import Arrival, GatewayError, LinkDown, Raw, ReadFailed, StoredReading

from .bounded_socket import BoundedSocket
from .broker import BrokerLogin, BrokerOptions
from .broker_errors import (
    connection_error,
    end_error,
    most_specific_error,
    not_mqtt_error,
    refusal_error,
    unanswered_error,
)
from .inbox import FairInbox
from .restrictions import ConnectTerms, Item, Restrictions, other_terms, refused_item_error
from .trust import certificate_end_s

KEEPALIVE_S = 12
"""A connection to a peer that is gone ends within twice this and a second."""
RESPONSE_TIMEOUT_S = 10.0
"""For the TCP connection, the CONNACK and each PUBACK."""
SESSION_EXPIRY_S = 86_400
"""How long a broker keeps messages for a gateway that is away."""
TLS_PROBE_TIMEOUT_S = 3.0
MAX_INBOX_BLOCKS = 1000
"""Incoming messages that may wait, in blocks of `inbox.BLOCK_BYTES`."""
MAX_PACKET_BYTES = 1 << 20
"""A larger message is not accepted; before MQTT 5, where this cannot be agreed on, it is discarded while it
arrives."""
MAX_BLAME_DELAY_S = 5.0
"""A message or subscription is blamed for the end of a connection if it was sent at most so long before."""
MAX_UNACKNOWLEDGED = 10
"""Incoming messages that are acknowledged once they have been processed, fewer than usual brokers deliver
at a time. In a flood older ones are acknowledged at once: it must wait in the inbox, which is shared
fairly, and not in the broker's queue, which is not."""
MAX_REMEMBERED = 10_000
"""Topics, and messages not processed to the end: a broker may send any number of them."""
MAX_READING_S = 0.005
"""Packets are read for so long in one turn of the event loop."""
MAX_DELIVERIES = 3
"""A message whose processing failed so often is not processed again."""
NO_MATCHING_SUBSCRIBERS = 0x10
"""MQTT 5, 3.4.2.1: the PUBACK's reason code for a message without a subscriber."""
FIRST_FAILURE_CODE = 0x80
"""MQTT 5, 2.4: reason codes from here on mean failure."""
KEEPALIVE_TIMEOUT, SESSION_TAKEN_OVER = 0x8D, 0x8E
NOT_THE_MESSAGES_FAULT = frozenset(
    {0x88, 0x89, 0x8B, KEEPALIVE_TIMEOUT, SESSION_TAKEN_OVER, 0x98, 0x9C, 0x9D, 0xA0}
)
"""Reason codes of a DISCONNECT that has nothing to do with what was sent before it."""
WILDCARDS_NOT_SUPPORTED = 0xA2
BARRIER_FILTER = "linli/none"
"""Nothing is subscribed by this filter: where there is no PUBACK (QoS 0), its UNSUBACK shows that the
broker has read all that was sent before."""
MAX_KNOWN_BROKERS = 64
QUEUE_DELIVERY_S = 5.0
"""After a session was resumed, so long come messages that the broker had queued in it."""
REFUSALS_OF_ONE_MESSAGE = frozenset({0x90, 0x95, 0x99})
"""Topic name, size, format: reason codes of a PUBACK that say nothing about other messages of the topic."""


class Will(NamedTuple):
    """What the broker publishes, with QoS 1, when the connection ends without a disconnect."""

    topic: str
    payload: bytes
    retain: bool = True


_restrictions: dict[tuple[Any, ...], Restrictions] = {}
"""What is known of each broker; it outlives the connections."""
_deliveries: dict[int, int] = {}
"""How often a message was taken from an inbox without having been processed to the end, by the hash of its
broker, topic and payload; of the latest `MAX_REMEMBERED`."""


class IncomingMessage(msgspec.Struct, frozen=True):
    """A message from the broker or, with an `error`, why the messages of a topic cannot be received."""

    topic: str
    payload: bytes
    retained: bool
    queued: bool = False
    """The broker had it in the session: it was sent at an unknown time while the gateway was away."""
    error: ReadFailed | None = None
    message_id: int = 0
    """To be acknowledged, if not 0."""

    def as_reading(self, raw: Raw) -> Raw:
        """A reading of this message, marked if it did not come directly from the device."""
        if self.retained:
            return StoredReading(raw, Arrival.RETAINED)
        return StoredReading(raw, Arrival.QUEUED) if self.queued else raw


class _Outgoing(msgspec.Struct, eq=False):
    """A message to publish, or a filter to subscribe."""

    item: Item
    payload: bytes
    retain: bool
    qos: int
    done: asyncio.Future[None]
    sent_s: float = 0.0


class _BoundedClient(paho.Client):
    """paho, with a bound for what it reads, and without the sockets of failed handshakes that it leaves."""

    bounded_socket: BoundedSocket | None = None
    max_packet_bytes = MAX_PACKET_BYTES
    tls: ssl.SSLContext | None = None
    certificate_ends_s: float | None = None
    """Unix time until which the broker's certificate is valid."""

    def _create_socket(self) -> Any:
        sock = socket.create_connection((self.host, self.port), RESPONSE_TIMEOUT_S)
        if self.tls:
            sock = self.tls.wrap_socket(sock, server_hostname=self.host, do_handshake_on_connect=False)
            try:
                sock.do_handshake()
                self.certificate_ends_s = certificate_end_s(sock.getpeercert())
            except OSError:
                sock.close()
                raise
        self.bounded_socket = BoundedSocket(sock, self.max_packet_bytes, int(self.protocol))
        return self.bounded_socket


class Connection:
    """One connection, from CONNACK to its end."""

    dropped: ClassVar[int] = 0
    """Incoming messages of all connections that did not fit into a full inbox."""

    shares_subscriptions = True
    """Whether the broker divides the messages of a subscription among a group of clients (MQTT 5, 4.8.2);
    without it, a filter that names a group would receive nothing."""

    def __init__(
        self,
        client: _BoundedClient,
        options: BrokerOptions,
        owner: str,
        terms: ConnectTerms,
        learned: Restrictions,
        *,
        has_will: bool,
        keeps_session: bool,
        sender_of: Callable[[str], str],
        receive: Callable[[IncomingMessage], None] | None,
    ) -> None:
        self._client = client
        self._options = options
        self._owner = owner
        self._terms = terms
        self._learned = learned
        self._has_will = has_will
        self._keeps_session = keeps_session
        self._sender_of, self._receive = sender_of, receive
        self._socket: Any = None
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._unacknowledged: dict[int, _Outgoing] = {}
        self._commands: set[asyncio.Future[None]] = set()
        """Messages that fail if there is no subscriber."""
        self._outbox: deque[_Outgoing] = deque()
        """What waits until the broker has acknowledged some of what was sent before it."""
        self._receive_maximum = 0xFFFF
        self._has_wildcards = True
        self._delivers_queue_until = 0.0
        """Until then messages may come from the session's queue."""
        self._inbox: FairInbox[IncomingMessage] = FairInbox(MAX_INBOX_BLOCKS)
        """By sender, so that a device that floods costs no other its messages."""
        self._arrived = asyncio.Event()
        self._to_acknowledge: deque[int] = deque()
        """Identifiers of incoming messages."""
        self._received_topics: dict[int, int] = {}
        """Topics, by their hash, with a message that is newer than what the broker has retained of them."""
        self._too_large: dict[int, int] = {}
        """Topics, by their hash, of messages that were too large."""
        self._dropped_in_a_row = 0
        """Incoming messages dropped since the inbox was last empty."""
        self.certificate_ends_s: float | None = None
        """Unix time until which the broker's certificate is valid; None without TLS."""
        self.max_packet_bytes = 0
        """Largest packet the broker accepts; 0 where it states no limit."""
        self.connected: asyncio.Future[None] = self._loop.create_future()
        """Done with the CONNACK, or failed with `LinkDown`."""
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Fails with `LinkDown` when the connection is gone."""
        self.ended.add_done_callback(lambda _: self._arrived.set())
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_message = self._on_message
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write

    def notices(self) -> list[tuple[str, dict[str, Any]]]:
        """What the broker does not offer ("restriction"), and what it refuses at present ("error"), for
        `linli doctor`."""
        return notices_of(self._options)

    def refuses(self, topic: str) -> bool:
        """Whether the broker refuses messages to this topic at present."""
        return ("publish", topic) in self._learned.refusals

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1
    ) -> asyncio.Future[None]:
        """Send. The future is done with the PUBACK (with QoS 0, or where the broker supports no more, when
        the broker has read it), or fails with `LinkDown`: `message-refused` with the broker's `code`
        concerns this topic, any other key the connection."""
        item: Item = ("publish", topic)
        if not self._learned.is_held(item, self._loop.time()):
            return self._send(item, payload, retain=retain, qos=qos)
        return self._refused(item, self._learned.refusals[item].code)

    def subscribe(self, topic: str) -> asyncio.Future[None]:
        """Subscribe. The future is done with the SUBACK, or fails as that of `publish`. If the broker
        refuses, `messages` yields the error, and it is tried again later."""
        item: Item = ("subscribe", topic)
        if not self._has_wildcards and set(topic) & set("+#"):
            code = WILDCARDS_NOT_SUPPORTED
        elif self._learned.is_held(item, self._loop.time()):
            code = self._learned.refusals[item].code
        else:
            return self._send(item)
        self._record_refusal(item, code)
        return self._refused(item, code)

    def _refused(self, item: Item, code: int) -> asyncio.Future[None]:
        refused: asyncio.Future[None] = self._loop.create_future()
        _fail_future(refused, LinkDown("message-refused", topic=item[1], code=code))
        return refused

    def unsubscribe(self, topic: str) -> None:
        """End a subscription of the session that is no longer wanted."""
        self._client.unsubscribe(topic)

    def _send(
        self, item: Item, payload: bytes = b"", *, retain: bool = False, qos: int = 1
    ) -> asyncio.Future[None]:
        outgoing = _Outgoing(item, payload, retain, qos, self._loop.create_future())
        self._outbox.append(outgoing)
        self._send_outbox()
        return outgoing.done

    def _send_outbox(self) -> None:
        # MQTT 5, 3.2.2.3.3: more unacknowledged messages would cost the connection.
        while self._outbox and len(self._unacknowledged) < self._receive_maximum:
            following = self._next_outgoing()
            if following is None:
                return
            self._outbox.remove(following)
            message_id = self._send_packet(following)
            if message_id is None:
                _fail_future(following.done, LinkDown("broker-lost"))
            else:
                following.sent_s = self._loop.time()
                self._unacknowledged[message_id] = following

    def _next_outgoing(self) -> _Outgoing | None:
        """The oldest that waits; None: not now. A suspect is sent alone, so that it can be blamed for the
        end of the connection, and what has cost connections comes last."""
        learned = self._learned
        if not learned.has_suspects:
            return self._outbox[0]
        following = min(self._outbox, key=lambda each: learned.lost_connections(each.item))
        in_flight = [each.item for each in self._unacknowledged.values()]
        alone = any(learned.is_suspect(item) for item in (following.item, *in_flight))
        return None if alone and in_flight else following

    def _send_packet(self, outgoing: _Outgoing) -> int | None:
        """Returns the identifier of the packet that the broker acknowledges; None if it was not sent."""
        kind, topic = outgoing.item
        message_id: int | None
        if kind == "subscribe":
            result, message_id = self._client.subscribe(topic, qos=1)
        else:
            qos, retain = min(outgoing.qos, self._terms.qos), outgoing.retain and self._terms.retain
            info = self._client.publish(topic, outgoing.payload, qos=qos, retain=retain)
            result, message_id = info.rc, info.mid
            if not qos:
                result, message_id = self._client.unsubscribe(BARRIER_FILTER)
        return message_id if result == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    async def publish_command(self, topic: str, payload: bytes) -> None:
        """Publish a message that needs a subscriber, and wait for the PUBACK. Raises `LinkDown`, or
        `ReadFailed` where the broker refuses it or (with MQTT 5) reports that there is no subscriber."""
        future = self.publish(topic, payload)
        self._commands.add(future)
        try:
            await future
        except LinkDown as down:
            if down.key in ("message-refused", "nobody-subscribed"):
                raise ReadFailed(down.key, **{"topic": topic, **down.facts}) from down
            raise
        finally:
            self._commands.discard(future)

    async def messages(self) -> AsyncIterator[IncomingMessage]:
        """Messages of the subscriptions, until `LinkDown`. Usually each is acknowledged when the next is
        requested, so that one whose processing was cut short comes again."""
        while True:
            while not self._inbox:
                self._arrived.clear()
                if self.ended.done():
                    self.ended.result()
                await self._arrived.wait()
            message = self._inbox.take()
            if self._dropped_in_a_row and not self._inbox:
                log_event(logging.WARNING, "inbox-emptied", count=self._dropped_in_a_row)
                self._dropped_in_a_row = 0
            key = hash((self._options.connection_key, message.topic, message.payload))
            deliveries = _deliveries.pop(key, 0) + 1
            _remember(_deliveries, key, deliveries)
            if deliveries <= MAX_DELIVERIES:
                yield message
                await asyncio.sleep(0)  # Taking what has already arrived does not yield to other tasks.
            _deliveries.pop(key, None)
            self._acknowledge(message)

    def _acknowledge(self, message: IncomingMessage) -> None:
        if message.message_id in self._to_acknowledge:
            self._to_acknowledge.remove(message.message_id)
            self._client.ack(message.message_id, 1)

    def acknowledge(self, message: IncomingMessage) -> None:
        """Acknowledge a message that was passed to `receive`."""
        if message.message_id:
            self._client.ack(message.message_id, 1)

    def pause_reading(self) -> None:
        """Leave what arrives in the socket. After twice `KEEPALIVE_S` that costs the connection."""
        self._loop.remove_reader(self._socket.fileno())

    def resume_reading(self) -> None:
        """Read again after `pause_reading`."""
        self._add_reader(self._socket)
        self._loop.call_soon(self._read_socket)  # TLS may have decrypted some already.

    def fail_all(self, error: LinkDown) -> None:
        """Fail every future of this connection with the error; it has the fact `unsent` for what was still
        waiting to be sent."""
        sent = [each.done for each in self._unacknowledged.values()]
        unsent = [each.done for each in self._outbox]
        self._unacknowledged.clear()
        self._outbox.clear()
        for future in (self.connected, self.ended, *sent):
            _fail_future(future, error)
        for future in unsent:
            _fail_future(future, LinkDown(error.key, **{**error.facts, "unsent": True}))

    async def keep_alive(self) -> None:
        """Send pings and check for their replies, and subscribe again what was refused."""
        while True:
            await asyncio.sleep(1)
            self._client.loop_misc()
            for item in self._learned.start_retries(self._loop.time()):
                self._send(item)

    def _on_connect(
        self,
        _client: Any,
        _userdata: Any,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason_code.value >= FIRST_FAILURE_CODE:
            self.fail_all(refusal_error(self._options, reason_code.value))
        elif not self.connected.done():
            terms = self._terms
            self.max_packet_bytes = getattr(properties, "MaximumPacketSize", 0)
            self._receive_maximum = getattr(properties, "ReceiveMaximum", 0xFFFF)
            self._has_wildcards = bool(getattr(properties, "WildcardSubscriptionAvailable", 1))
            self.shares_subscriptions = terms.version == 5 and bool(
                getattr(properties, "SharedSubscriptionAvailable", 1)
            )
            if terms.version == 5:
                self._terms = self._learned.terms = msgspec.structs.replace(
                    terms,
                    retain=terms.retain and bool(getattr(properties, "RetainAvailable", 1)),
                    qos=min(terms.qos, getattr(properties, "MaximumQoS", 1)),
                )
            if flags.session_present:
                self._delivers_queue_until = self._loop.time() + QUEUE_DELIVERY_S
            expires = getattr(properties, "SessionExpiryInterval", SESSION_EXPIRY_S)
            self._report_missing(has_session=bool(expires) and terms.own_client_id)
            self.connected.set_result(None)

    def _report_missing(self, *, has_session: bool) -> None:
        """Log once what the broker does not offer."""
        terms, known = self._terms, self._learned.missing
        missing = {
            "broker-without-version-5": terms.version < 5,
            "broker-without-will": self._has_will and not terms.will,
            "broker-without-retain": self._has_will and not terms.retain,
            "broker-without-qos": not terms.qos,
            "broker-without-session": self._keeps_session and not has_session,
        }
        for key, is_missing in missing.items():
            if not is_missing:
                known.pop(key, None)
            elif key not in known:
                known[key] = GatewayError(key, url=self._options.url)
                self._log_restriction(known[key])

    def _log_restriction(self, error: GatewayError) -> None:
        reason = error_text(error.key, **error.facts)
        log_event(
            logging.WARNING, "broker-restricted", broker=self._owner or self._options.url, reason=reason
        )

    def _on_disconnect(
        self,
        _client: Any,
        _userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        _properties: Any,
    ) -> None:
        code: int | None = reason_code.value
        if not flags.is_disconnect_packet_from_server and code != KEEPALIVE_TIMEOUT:
            code = None
        if not self.connected.done():
            sock = self._client.bounded_socket
            self.fail_all(unanswered_error(self._options, sock.first_byte if sock else None))
            return
        if code not in NOT_THE_MESSAGES_FAULT:
            self._find_culprit()
        self.fail_all(end_error(self._options, code))

    def _find_culprit(self) -> None:
        """The broker has closed the connection, perhaps because of what it did not acknowledge."""
        now, learned = self._loop.time(), self._learned
        recent = [each for each in self._unacknowledged.values() if now - each.sent_s <= MAX_BLAME_DELAY_S]
        has_published = any(each.item[0] == "publish" for each in recent)
        if self._terms.version < 5 and has_published and learned.changes_qos(self._terms):
            return
        refused = learned.record_lost_connection((each.item for each in recent), now)
        if refused:
            self._log_restriction(refused_item_error(refused, learned.refusals[refused].code))
        elif self._terms.version < 5 and any(
            each.retain and learned.lost_connections(each.item) > 1 for each in recent
        ):
            learned.terms = msgspec.structs.replace(self._terms, retain=False)

    def _on_publish(
        self, _client: Any, _userdata: Any, message_id: int, reason_code: ReasonCode, _properties: Any
    ) -> None:
        self._on_acknowledgement(message_id, reason_code.value)

    def _on_subscribe(
        self,
        _client: Any,
        _userdata: Any,
        message_id: int,
        reason_codes: list[ReasonCode],
        _properties: Any,
    ) -> None:
        self._on_acknowledgement(message_id, max(code.value for code in reason_codes))

    def _on_unsubscribe(
        self, _client: Any, _userdata: Any, message_id: int, _reason_codes: Any, _properties: Any
    ) -> None:
        self._on_acknowledgement(message_id, 0)

    def _on_acknowledgement(self, message_id: int, code: int) -> None:
        outgoing = self._unacknowledged.pop(message_id, None)
        if self._outbox:
            self._loop.call_soon(self._send_outbox)
        if outgoing is None:
            return
        if code >= FIRST_FAILURE_CODE:
            self._refuse(outgoing, code)
            return
        if self._learned.record_acceptance(outgoing.item):
            log_event(logging.INFO, "topic-accepted", broker=self._owner, topic=outgoing.item[1])
        if outgoing.done.done():
            return
        if code == NO_MATCHING_SUBSCRIBERS and outgoing.done in self._commands:
            _fail_future(outgoing.done, LinkDown("nobody-subscribed"))
        else:
            outgoing.done.set_result(None)

    def _refuse(self, outgoing: _Outgoing, code: int) -> None:
        self._record_refusal(outgoing.item, code)
        _fail_future(outgoing.done, LinkDown("message-refused", topic=outgoing.item[1], code=code))

    def _record_refusal(self, item: Item, code: int) -> None:
        kind, topic = item
        if code in REFUSALS_OF_ONE_MESSAGE and kind == "publish":
            return
        error, now = refused_item_error(item, code), self._loop.time()
        if not self._learned.is_held(item, now) and self._learned.record_refusal(item, code, now):
            self._log_restriction(error)
        if kind == "subscribe" and not self._receive:
            self._put(
                IncomingMessage(topic, b"", retained=False, error=ReadFailed(error.key, **error.facts))
            )

    def _on_message(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        topic = _topic_of(message)
        if not topic:
            self.fail_all(not_mqtt_error(self._options))
            return
        sock = self._client.bounded_socket
        error = None
        if sock and sock.discarded_bytes:
            error = ReadFailed("message-large", topic=topic, bytes=sock.discarded_bytes)
            if hash(topic) not in self._too_large:
                _remember(self._too_large, hash(topic))
                self._log_restriction(error)
        if self._receive:
            message_id = message.mid if message.qos else 0
            self._receive(
                IncomingMessage(
                    topic, bytes(message.payload), message.retain, error=error, message_id=message_id
                )
            )
            return
        if self._keeps_session and not message.retain:
            _remember(self._received_topics, hash(topic))
        elif hash(topic) in self._received_topics:
            self._client.ack(message.mid, message.qos)
            return
        if message.qos:
            self._to_acknowledge.append(message.mid)
        self._put(
            IncomingMessage(
                topic,
                bytes(message.payload),
                message.retain,
                queued=self._loop.time() < self._delivers_queue_until,
                error=error,
                message_id=message.mid if message.qos else 0,
            )
        )
        while len(self._to_acknowledge) > MAX_UNACKNOWLEDGED:
            self._client.ack(self._to_acknowledge.popleft(), 1)

    def _put(self, incoming: IncomingMessage) -> None:
        size = len(incoming.topic) + len(incoming.payload)
        dropped = self._inbox.put(self._sender_of(incoming.topic), incoming, size)
        self._arrived.set()
        for each in dropped:
            # A broker sends no more while as many as it allows wait to be acknowledged.
            self._acknowledge(each)
        if dropped and not self._dropped_in_a_row:
            log_event(logging.WARNING, "inbox-full", topic=dropped[0].topic, count=len(self._inbox))
        Connection.dropped += len(dropped)
        self._dropped_in_a_row += len(dropped)

    def _on_socket_open(self, _client: Any, _userdata: Any, sock: Any) -> None:
        # Nagle's algorithm would delay an alarm until earlier packets are acknowledged.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._call_on_loop(self._add_reader, sock)

    def _add_reader(self, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.add_reader(sock.fileno(), self._read_socket)

    def _read_socket(self) -> None:
        # A flood must be read faster than it is processed: other devices' messages are behind it.
        read_until = self._loop.time() + MAX_READING_S
        self._client.loop_read()
        while self._loop.time() < read_until and self._has_data():
            self._client.loop_read()
        # Data that TLS has already decrypted does not make the socket readable.
        while (sock := self._client.socket()) and hasattr(sock, "pending") and sock.pending():
            self._client.loop_read()

    def _has_data(self) -> bool:
        sock = self._client.socket()
        if sock is None:
            return False
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))

    def _on_socket_close(self, _client: Any, _userdata: Any, sock: Any) -> None:
        self._loop.remove_reader(sock.fileno())
        self._loop.remove_writer(sock.fileno())

    def close(self) -> None:
        """Disconnect, without waiting for a broker that does not read any more."""
        client = self._client
        client.on_disconnect = None
        # What says that the gateway goes may be unsent: without a DISCONNECT the broker publishes the will.
        if not (self._has_will and self._outbox):
            client.disconnect()
            client.loop_write()
        if self._socket and self._socket.fileno() >= 0:
            self._on_socket_close(None, None, self._socket)
            self._socket.close()
        # paho closes its socket when it is collected, which may be after the loop.
        client.on_socket_close = client.on_socket_unregister_write = None

    def _on_register_write(self, _client: Any, _userdata: Any, sock: Any) -> None:
        self._call_on_loop(self._add_writer, sock)

    def _add_writer(self, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.add_writer(sock.fileno(), self._client.loop_write)

    def _on_unregister_write(self, _client: Any, _userdata: Any, sock: Any) -> None:
        self._call_on_loop(self._loop.remove_writer, sock.fileno())

    def _call_on_loop(self, call: Callable[..., object], *args: Any) -> None:
        """Call at once in the loop's thread, else schedule: paho's connect() runs in another thread."""
        if threading.get_ident() == self._thread:
            call(*args)
        else:
            self._loop.call_soon_threadsafe(call, *args)


@contextlib.asynccontextmanager
async def connect(
    options: BrokerOptions,
    *,
    owner: str = "",
    login: BrokerLogin | None = None,
    will: Will | None = None,
    keep_session: bool = False,
    max_packet_bytes: int = MAX_PACKET_BYTES,
    sender_of: Callable[[str], str] = str,
    receive: Callable[[IncomingMessage], None] | None = None,
    receive_maximum: int = 0,
    session_expiry_s: int = SESSION_EXPIRY_S,
) -> AsyncIterator[Connection]:
    """Connect with what the broker offers, and disconnect on the way out. Raises `LinkDown` within 20 s.

    `sender_of`: of a topic, the device that may publish to it, where that may be several topics. `owner`:
    whose connection it is, for the log. `login`: instead of what the options say.
    `keep_session`: what is published with QoS 1 while the gateway is away is delivered when it is
    back, for up to `session_expiry_s`; this needs `options.client_id`. `receive`: takes each message as it
    arrives, instead of `messages`; the caller acknowledges it, and the broker sends no more (with MQTT 5)
    while `receive_maximum` are unacknowledged. Of one that is larger than `max_packet_bytes` it is told.
    """
    learned = restrictions_of(options)
    learned.terms = learned.initial_terms(asyncio.get_running_loop().time())
    errors: list[LinkDown] = []
    tried = list(learned.hopeless)
    async with contextlib.AsyncExitStack() as stack:
        while True:
            tried.append(learned.terms)
            try:
                connection = await stack.enter_async_context(
                    _connect_once(
                        options,
                        owner,
                        login or BrokerLogin(),
                        learned,
                        will,
                        keep_session,
                        max_packet_bytes,
                        sender_of,
                        receive,
                        receive_maximum,
                        session_expiry_s,
                    )
                )
                break
            except LinkDown as down:
                errors.append(down)
                other = other_terms(learned.terms, down, tried)
                if other is None:
                    learned.record_failure(down)
                    error = most_specific_error(errors)
                    if error.key == "broker-closes" and await asyncio.to_thread(_speaks_tls, options):
                        raise LinkDown("broker-only-tls", **error.facts) from down
                    raise error from down
                learned.terms = other
        learned.hopeless.clear()
        yield connection


@contextlib.asynccontextmanager
async def _connect_once(
    options: BrokerOptions,
    owner: str,
    login: BrokerLogin,
    learned: Restrictions,
    will: Will | None,
    keep_session: bool,
    max_packet_bytes: int,
    sender_of: Callable[[str], str],
    receive: Callable[[IncomingMessage], None] | None,
    receive_maximum: int,
    session_expiry_s: int,
) -> AsyncIterator[Connection]:
    """One attempt, with the terms that are tried now."""
    terms = learned.terms
    keep_session = keep_session and bool(options.client_id)
    resume = keep_session and terms.own_client_id
    client_id = (login.client_id or options.client_id) if terms.own_client_id else ""
    if not client_id and terms.version < 5:
        client_id = f"linli{secrets.token_hex(8)}"  # An empty one need not be accepted (3.1.1, 3.1.3.1).
    client = _BoundedClient(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=not resume if terms.version < 5 else None,
        protocol=MQTTProtocolVersion(terms.version),
        reconnect_on_failure=False,
        manual_ack=True,
    )
    client.max_packet_bytes = max_packet_bytes
    client.max_inflight_messages_set(0)  # The connection counts them itself.
    if will and terms.will:
        retain = will.retain and terms.retain
        client.will_set(will.topic, will.payload, qos=terms.qos, retain=retain)
    has_will = will is not None
    connection = Connection(
        client,
        options,
        owner,
        terms,
        learned,
        has_will=has_will,
        keeps_session=keep_session,
        sender_of=sender_of,
        receive=receive,
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(connection.fail_all, LinkDown("broker-lost", url=options.url))
        stack.callback(connection.close)
        try:
            if username := login.username or options.username:
                client.username_pw_set(username, login.password or options.read_password())
            client.tls = options.tls_context()
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            if receive is None:
                properties.MaximumPacketSize = max_packet_bytes
            if receive_maximum:
                properties.ReceiveMaximum = receive_maximum
            if resume:
                properties.SessionExpiryInterval = session_expiry_s
            await _connect_client(client, options, properties, resume=resume)
            connection.certificate_ends_s = client.certificate_ends_s
        except (OSError, ValueError) as error:
            raise connection_error(error, options) from error
        keepalive = asyncio.create_task(connection.keep_alive(), name="mqtt-keepalive")
        stack.callback(keepalive.cancel)
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT_S):
                await asyncio.shield(connection.connected)
        except TimeoutError as error:
            raise LinkDown("broker-silent", url=options.url, port=options.port) from error
        yield connection


def notices_of(options: BrokerOptions) -> list[tuple[str, dict[str, Any]]]:
    """Of a broker: see `Connection.notices`."""
    learned = restrictions_of(options)
    exposed = [LinkDown(options.exposure, host=options.host)] if options.exposure else []
    keys = {"restriction": learned.missing.values(), "error": [*learned.errors(), *exposed]}
    return [(key, {"reason": error.as_sentence()}) for key, errors in keys.items() for error in errors]


def restrictions_of(options: BrokerOptions) -> Restrictions:
    """What is known of a broker."""
    broker = options.connection_key
    if broker not in _restrictions and len(_restrictions) >= MAX_KNOWN_BROKERS:
        del _restrictions[next(iter(_restrictions))]
    return _restrictions.setdefault(broker, Restrictions())


async def _connect_client(
    client: _BoundedClient, options: BrokerOptions, properties: Properties, *, resume: bool
) -> None:
    """Connect in a thread: name lookup and TLS handshake block."""
    details: dict[str, Any] = {}
    if client.protocol == MQTTProtocolVersion.MQTTv5:
        details = {"properties": properties, "clean_start": not resume}
    await asyncio.to_thread(client.connect, options.host, options.port, KEEPALIVE_S, **details)


def _speaks_tls(options: BrokerOptions) -> bool:
    """Whether the port completes a TLS handshake. Nothing is sent on it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((options.host, options.port), TLS_PROBE_TIMEOUT_S) as sock,
            context.wrap_socket(sock, server_hostname=options.host),
        ):
            return True
    except OSError:
        return False


def _remember(known: dict[int, int], key: int, value: int = 1) -> None:
    """Put a key last; beyond `MAX_REMEMBERED` the first is forgotten."""
    known.pop(key, None)
    known[key] = value
    if len(known) > MAX_REMEMBERED:
        del known[next(iter(known))]


def _topic_of(message: paho.MQTTMessage) -> str:
    """Empty where there is none, or it is not UTF-8 (MQTT 5, 1.5.4; topic aliases are not agreed on)."""
    try:
        return message.topic
    except UnicodeDecodeError:
        return ""


def _fail_future(future: asyncio.Future[Any], error: LinkDown) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # Marks it as retrieved: not every caller awaits it.
