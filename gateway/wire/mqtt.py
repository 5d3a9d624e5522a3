"""MQTT on the event loop, through paho: the only file that imports it.

The threads, queue and reconnection of paho are not used: unsent records are in the journal, a connection
that ends is replaced by a new one, and only its PUBACK makes a message count as delivered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import SplitResult, urlsplit

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.base.log import log_event
from gateway.model import LinkDown, ReadFailed

from .broker import BrokerOptions
from .inbox import FairInbox

KEEPALIVE_S = 12
"""A connection to a peer that is gone ends within twice this and a second."""
RESPONSE_TIMEOUT_S = 10.0
"""For the TCP connection, the CONNACK and each PUBACK."""
MAX_INBOX_BLOCKS = 1000
"""Incoming messages that may wait, in blocks of `inbox.BLOCK_BYTES`."""
UNSUPPORTED_PROTOCOL = 0x84
NO_MATCHING_SUBSCRIBERS = 0x10
"""MQTT 5, 3.4.2.1: the PUBACK's reason code for a message without a subscriber."""
FIRST_FAILURE_CODE = 0x80
"""MQTT 5, 2.4: reason codes from here on mean failure."""


class IncomingMessage(msgspec.Struct, frozen=True):
    """A message from the broker."""

    topic: str
    payload: bytes
    retained: bool


class Connection:
    """One connection, from CONNACK to its end."""

    dropped: ClassVar[int] = 0
    """Incoming messages of all connections that did not fit into a full inbox."""

    def __init__(self, client: paho.Client) -> None:
        self._client = client
        self._socket: Any = None
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._unacknowledged: dict[int, asyncio.Future[None]] = {}
        self._commands: set[asyncio.Future[None]] = set()
        """Messages that fail if there is no subscriber."""
        self._outbox: deque[tuple[str, bytes, bool, asyncio.Future[None]]] = deque()
        """Messages that wait until the broker has acknowledged some of those before them."""
        self._receive_maximum = 0xFFFF
        self._inbox: FairInbox[IncomingMessage] = FairInbox(MAX_INBOX_BLOCKS)
        """By topic, so that a device that floods its topic costs no other its messages."""
        self._arrived = asyncio.Event()
        self._dropped_in_a_row = 0
        """Incoming messages dropped since the inbox was last empty."""
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
        client.on_message = self._on_message
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> asyncio.Future[None]:
        """Send with QoS 1. The future is done with the PUBACK, or fails with `LinkDown`: `message-refused`
        with the broker's `code` concerns this message, any other key the connection."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._outbox.append((topic, payload, retain, done))
        self._send_outbox()
        return done

    def _send_outbox(self) -> None:
        # MQTT 5, 3.2.2.3.3: more unacknowledged messages would cost the connection.
        while self._outbox and len(self._unacknowledged) < self._receive_maximum:
            topic, payload, retain, done = self._outbox.popleft()
            info = self._client.publish(topic, payload, qos=1, retain=retain)
            if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                _fail_future(done, LinkDown("broker-lost", reason=paho.error_string(info.rc)))
            else:
                self._unacknowledged[info.mid] = done

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

    def subscribe(self, topic: str) -> None:
        self._client.subscribe(topic, qos=1)

    async def messages(self) -> AsyncIterator[IncomingMessage]:
        """Messages of the subscriptions, until `LinkDown`."""
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
            yield message
            await asyncio.sleep(0)  # Taking what has already arrived does not yield to other tasks.

    def fail_all(self, error: LinkDown) -> None:
        """Fail every future of this connection with the error."""
        waiting = (done for *_, done in self._outbox)
        futures: list[asyncio.Future[Any]] = [
            self.connected, self.ended, *self._unacknowledged.values(), *waiting
        ]  # fmt: skip
        self._unacknowledged.clear()
        self._outbox.clear()
        for future in futures:
            _fail_future(future, error)

    async def keep_alive(self) -> None:
        """Send pings and check for their replies."""
        while True:
            await asyncio.sleep(1)
            self._client.loop_misc()

    def _on_connect(
        self,
        _client: Any,
        _userdata: Any,
        _flags: Any,
        reason_code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason_code.value >= FIRST_FAILURE_CODE:
            self.fail_all(LinkDown("broker-refused", reason=str(reason_code), code=reason_code.value))
        elif not self.connected.done():
            self.max_packet_bytes = getattr(properties, "MaximumPacketSize", 0)
            self._receive_maximum = getattr(properties, "ReceiveMaximum", 0xFFFF)
            self.connected.set_result(None)

    def _on_disconnect(
        self, _client: Any, _userdata: Any, _flags: Any, reason_code: ReasonCode, _properties: Any
    ) -> None:
        self.fail_all(LinkDown("broker-lost", reason=str(reason_code)))

    def _on_publish(
        self, _client: Any, _userdata: Any, message_id: int, reason_code: ReasonCode, _properties: Any
    ) -> None:
        future = self._unacknowledged.pop(message_id, None)
        if self._outbox:
            self._loop.call_soon(self._send_outbox)
        if future is None or future.done():
            return
        if reason_code.value >= FIRST_FAILURE_CODE:
            _fail_future(
                future, LinkDown("message-refused", reason=str(reason_code), code=reason_code.value)
            )
        elif reason_code.value == NO_MATCHING_SUBSCRIBERS and future in self._commands:
            _fail_future(future, LinkDown("nobody-subscribed"))
        else:
            future.set_result(None)

    def _on_subscribe(
        self,
        _client: Any,
        _userdata: Any,
        _message_id: int,
        reason_codes: list[ReasonCode],
        _properties: Any,
    ) -> None:
        for code in reason_codes:
            if code.value >= FIRST_FAILURE_CODE:
                self.fail_all(LinkDown("broker-refused", reason=str(code), code=code.value))

    def _on_message(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        incoming = IncomingMessage(message.topic, bytes(message.payload), message.retain)
        dropped = self._inbox.put(message.topic, incoming, len(incoming.payload))
        self._arrived.set()
        if dropped and not self._dropped_in_a_row:
            log_event(logging.WARNING, "inbox-full", topic=dropped[0], count=len(self._inbox))
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
        self._client.loop_read()
        # Data that TLS has already decrypted does not make the socket readable.
        while (sock := self._client.socket()) and hasattr(sock, "pending") and sock.pending():
            self._client.loop_read()

    def _on_socket_close(self, _client: Any, _userdata: Any, sock: Any) -> None:
        self._loop.remove_reader(sock.fileno())
        self._loop.remove_writer(sock.fileno())

    def close(self) -> None:
        """Disconnect, without waiting for a broker that does not read any more."""
        client = self._client
        client.disconnect()
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
    options: BrokerOptions, *, will: tuple[str, bytes] | None = None, version: int = 5
) -> AsyncIterator[Connection]:
    """Connect, and disconnect on the way out. Raises `LinkDown` within 20 s."""
    url = urlsplit(options.url)
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=options.client_id,
        protocol=MQTTProtocolVersion(version),
        reconnect_on_failure=False,
    )
    client.connect_timeout = RESPONSE_TIMEOUT_S
    client.max_inflight_messages_set(0)  # The connection counts them itself.
    if will:
        client.will_set(*will, qos=1, retain=True)
    connection = Connection(client)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(connection.fail_all, LinkDown("broker-lost", reason="closed"))
        stack.callback(connection.close)
        try:
            if options.username:
                client.username_pw_set(options.username, _read_password(options.password_file))
            if url.scheme == "mqtts":
                client.tls_set(ca_certs=str(options.ca_file) if options.ca_file else None)
            await _connect_client(client, url, version)
            keepalive = asyncio.create_task(connection.keep_alive(), name="mqtt-keepalive")
            stack.callback(keepalive.cancel)
            async with asyncio.timeout(RESPONSE_TIMEOUT_S):
                await asyncio.shield(connection.connected)
        except TimeoutError as error:
            raise LinkDown("broker-silent", url=options.url) from error
        except (OSError, ValueError) as error:
            raise LinkDown("broker-away", url=options.url, reason=error) from error
        yield connection


async def _connect_client(client: paho.Client, url: SplitResult, version: int) -> None:
    """Connect in a thread: name lookup and TLS handshake block."""
    properties = Properties(PacketTypes.CONNECT) if version == 5 else None  # type: ignore[no-untyped-call]
    port = url.port or (8883 if url.scheme == "mqtts" else 1883)
    await asyncio.to_thread(client.connect, url.hostname or "", port, KEEPALIVE_S, properties=properties)


def _fail_future(future: asyncio.Future[Any], error: LinkDown) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # Marks it as retrieved: not every caller awaits it.


def _read_password(file: Path | None) -> str | None:
    """Read for each connection, so that a new password needs no restart."""
    return file.read_text().strip() if file else None
