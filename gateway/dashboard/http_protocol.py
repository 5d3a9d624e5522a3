"""uvicorn's HTTP protocol with the limits that it lacks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.base.connections import Connections
from gateway.base.log import log_event

REQUEST_TIMEOUT_S = 10.0
"""From the opening of a connection, or the first byte of a further request, until all of it is here."""
MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS = 256, 64
"""Those with a session do not count for their address."""

TLS_HANDSHAKE = b"\x16"
"""The first byte of a TLS connection (RFC 8446, 5.1)."""

_connections = Connections(MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS)


class LimitedHttpProtocol(H11Protocol):
    """The application calls `scope["trust"]` for a request with a session: such connections are the last to
    be closed when there are too many."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline: asyncio.TimerHandle | None = None
        application = self.app

        async def trusting(scope: Any, receive: Any, send: Any) -> None:
            scope["trust"] = lambda: _connections.trust(self.transport)
            await application(scope, receive, send)

        self.app = trusting

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        _connections.add(transport)
        self._start_deadline()

    def data_received(self, data: bytes) -> None:
        self._start_deadline()
        super().data_received(data)
        if self.cycle and not self.cycle.more_body:
            self._stop_deadline()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.more_body and not self.transport.is_closing():
            self._start_deadline()  # The next request came with this one, but not all of it.

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        _connections.remove(self.transport)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(msg)
        address, *_ = self.client or ("",)
        log_event(logging.WARNING, "http-invalid", address=address)
        # The application may be waiting for the rest of a body, and has nobody to answer to.
        if self.cycle:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _start_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_TIMEOUT_S, self.transport.abort)

    def _stop_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None


def tls_protocol(context: ssl.SSLContext, **options: Any) -> asyncio.Protocol:
    """What uvicorn is to make for each connection; `options` are its own."""
    return _TlsProtocol(context, LimitedHttpProtocol(**options))


class _TlsProtocol(asyncio.Protocol):
    """TLS before HTTP. A connection counts from its opening, and has its deadline: asyncio would wait a
    minute for the handshake, and nobody would count the connection meanwhile."""

    def __init__(self, context: ssl.SSLContext, http: LimitedHttpProtocol) -> None:
        self._context = context
        self._http = http
        self._handshake: asyncio.Task[None] | None = None
        self._early = b""
        """What came with the end of the handshake."""
        self._is_lost = False
        self._has_news = asyncio.Event()
        """The first bytes have come, or the connection is lost."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        _connections.add(transport)
        self._handshake = asyncio.get_running_loop().create_task(self._shake_hands(transport))

    def data_received(self, data: bytes) -> None:
        self._early += data

    def connection_lost(self, _error: Exception | None) -> None:
        self._is_lost = True
        self._has_news.set()

    async def _shake_hands(self, transport: asyncio.Transport) -> None:
        # What comes now belongs to the handshake. Python 3.11.2 begins to read after
        # `connection_made`, whatever that has done.
        transport.pause_reading()
        encrypted: asyncio.Transport | None = None
        first = await self._first_byte(transport)
        if not first:
            _connections.remove(transport)
            transport.abort()
            return
        if first != TLS_HANDSHAKE:
            # An address of before, with http: the application says where the pages are now.
            _connections.remove(transport)
            transport.set_protocol(self._http)
            self._http.connection_made(transport)
            transport.resume_reading()
            return
        # Refused, cut off or too late: the connection is closed then.
        with contextlib.suppress(OSError):
            encrypted = await asyncio.get_running_loop().start_tls(
                transport, self, self._context, server_side=True, ssl_handshake_timeout=REQUEST_TIMEOUT_S
            )
        _connections.remove(transport)
        if encrypted is None or self._is_lost:
            return
        encrypted.set_protocol(self._http)
        self._http.connection_made(encrypted)
        if self._early:
            self._http.data_received(self._early)

    async def _first_byte(self, transport: asyncio.Transport) -> bytes:
        """The first byte that comes, without taking it from the connection; empty if none comes in time."""
        loop = asyncio.get_running_loop()
        with transport.get_extra_info("socket").dup() as peeked, contextlib.suppress(OSError):
            loop.add_reader(peeked, self._has_news.set)
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    await self._has_news.wait()
            finally:
                loop.remove_reader(peeked)
            first: bytes = b"" if self._is_lost else peeked.recv(1, socket.MSG_PEEK)
            return first
        return b""
