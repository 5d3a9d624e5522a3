"""HTTPS in place of MQTT: each message is one POST, and has arrived with a status of 2xx.

Messages to one path are posted one after the other, in order; those to different paths at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from gateway.config.options import UplinkOptions
from gateway.model import LinkDown
from gateway.wire.broker_errors import connection_error
from gateway.wire.mqtt import RESPONSE_TIMEOUT_S, IncomingMessage
from gateway.wire.secret import read_secret
from gateway.wire.trust import certificate_end_s

from .link import CONTENT_REFUSED, NOT_AUTHORIZED, QUOTA_EXCEEDED, TOO_LARGE

MAX_RESPONSE_BYTES = 64 * 1024
MAX_PATHS = 256
"""Paths with messages at a time; beyond that a message waits."""
_CODES = {400: CONTENT_REFUSED, 413: TOO_LARGE, 415: CONTENT_REFUSED, 422: CONTENT_REFUSED}
"""What a status says of the message (RFC 9110, 15.5): the same as an MQTT reason code."""
_PASSING = frozenset({408, 425, 429})
_PLATFORM_KEYS = {
    "broker-away": "platform-away",
    "broker-port-closed": "platform-port-closed",
    "broker-not-tls": "platform-not-tls",
}


class HttpConnection:
    """A server that could be connected to; the first request that it does not answer ends this."""

    max_packet_bytes = 0
    certificate_ends_s: float | None = None

    def __init__(self, client: httpx2.AsyncClient, options: UplinkOptions) -> None:
        self._client = client
        self._options = options
        self._waiting: dict[str, deque[tuple[bytes, asyncio.Future[Any]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(MAX_PATHS)
        self._refused: set[str] = set()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1
    ) -> asyncio.Future[Any]:
        """POST to a path. The result is the body of the response; HTTP retains nothing, and always
        responds."""
        arrived: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if topic in self._waiting:
            self._waiting[topic].append((payload, arrived))
        else:
            self._waiting[topic] = deque([(payload, arrived)])
            task = asyncio.create_task(self._post_all(topic), name=f"http-post {topic}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return arrived

    def subscribe(self, topic: str) -> None:
        """Over HTTP a platform sends nothing by itself."""

    def refuses(self, topic: str) -> bool:
        return topic in self._refused

    async def messages(self) -> AsyncIterator[IncomingMessage]:
        """None; ends with `LinkDown`."""
        await asyncio.shield(self.ended)
        no_messages: tuple[IncomingMessage, ...] = ()
        for each in no_messages:
            yield each

    async def _post_all(self, topic: str) -> None:
        waiting = self._waiting[topic]
        async with self._slots:
            while waiting and not self.ended.done():
                payload, arrived = waiting[0]
                try:
                    await self._post(topic, payload, arrived)
                except (httpx2.HTTPError, OSError, TimeoutError) as error:
                    self.fail(http_error(error, self._options))
                waiting.popleft()
        del self._waiting[topic]

    async def _post(self, topic: str, payload: bytes, arrived: asyncio.Future[Any]) -> None:
        async with (
            asyncio.timeout(RESPONSE_TIMEOUT_S),
            self._client.stream("POST", topic, content=payload) as response,
        ):
            body = bytearray()
            async for part in response.aiter_raw():
                body += part[: MAX_RESPONSE_BYTES - len(body)]
        if arrived.done():
            return
        status = response.status_code
        if response.is_success:
            self._refused.discard(topic)
            arrived.set_result(bytes(body))
            return
        code = _CODES.get(status, NOT_AUTHORIZED)
        if status in _PASSING or status >= 500:
            code = QUOTA_EXCEEDED
        self._refused.add(topic)
        _fail(arrived, LinkDown("message-refused", topic=topic, code=code))

    def fail(self, error: LinkDown) -> None:
        """End the connection, and all that is on its way."""
        if not self.ended.done():
            self.ended.set_exception(error)
            self.ended.exception()  # Marks it as retrieved.
        for waiting in self._waiting.values():
            for number, (_, arrived) in enumerate(waiting):
                facts = {**error.facts, "unsent": True} if number else error.facts
                _fail(arrived, LinkDown(error.key, **facts))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.fail(LinkDown("platform-away", url=self._options.url, reason=""))


@contextlib.asynccontextmanager
async def connect(options: UplinkOptions, *, wait_for_sent_s: float = 1.0) -> AsyncIterator[HttpConnection]:
    """Connect, which proves that somebody listens there and has the right certificate. What was published
    last has `wait_for_sent_s` seconds to be sent on the way out. Raises `LinkDown`."""
    trust = await asyncio.to_thread(options.tls_context)
    try:
        async with asyncio.timeout(RESPONSE_TIMEOUT_S):
            _, writer = await asyncio.open_connection(
                options.host, options.port, ssl=trust, server_hostname=options.host if trust else None
            )
            tls = writer.get_extra_info("ssl_object")
            ends_s = certificate_end_s(tls.getpeercert()) if tls else None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        raise http_error(error, options) from error
    headers = {"Content-Type": "application/json", **_login_headers(options)}
    async with httpx2.AsyncClient(
        base_url=options.url, headers=headers, verify=trust or True, trust_env=False,
        timeout=RESPONSE_TIMEOUT_S, auth=_basic_login(options),
    ) as client:  # fmt: skip
        connection = HttpConnection(client, options)
        connection.certificate_ends_s = ends_s
        try:
            yield connection
        finally:
            if connection._tasks:
                await asyncio.wait(connection._tasks, timeout=wait_for_sent_s)
            await connection.close()


def http_error(error: Exception, options: UplinkOptions) -> LinkDown:
    """Why there was no response."""
    cause: BaseException = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    found = connection_error(cause if isinstance(cause, OSError) else error, options)
    return LinkDown(_PLATFORM_KEYS.get(found.key, found.key), **found.facts)


def _login_headers(options: UplinkOptions) -> dict[str, str]:
    token = read_secret(options.token_file) if options.token_file else ""
    return {"Authorization": f"Bearer {token}"} if token else {}


def _basic_login(options: UplinkOptions) -> tuple[str, str] | None:
    return (options.username, options.read_password() or "") if options.username else None


def _fail(future: asyncio.Future[Any], error: LinkDown) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # Marks it as retrieved: not every caller awaits it.
