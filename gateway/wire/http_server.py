"""An HTTP server for devices and monitors: one request a connection, everything bounded.

It takes HTTP/1.0 and 1.1 (RFC 9112) as firmware writes it: lines that end with LF only, an absolute URL in
the request line, no or a strange `Host` (it is not looked at), any case. As the connection is closed after
one response, nothing that follows can be taken for a request.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

from .tcp_server import TcpClient, TcpLimits, serve_tcp

CONNECTION_TIMEOUT_S = 10.0
"""From the opening of a connection until it is closed, whatever the client does."""
MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS = 128, 64
MAX_HEADER_BYTES = 16 * 1024
MAX_HEADER_LINES = 256
"""Empty ones before the request line included."""
READ_BYTES = 16 * 1024
LIMITS = TcpLimits(MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS, MAX_HEADER_BYTES)
SILENCE_AFTER_BODY_S = 1.0
TLS_HANDSHAKE = b"\x16"
"""The first byte of a TLS connection (RFC 8446, 5.1)."""
MAX_CHUNKS = 4096
"""Of one body with `Transfer-Encoding: chunked`, extensions and trailers included."""
MAX_DISCARDED_BYTES = 8 * 1024 * 1024
"""Read, and not looked at, after a response."""

_REQUEST_LINE = re.compile(r"([A-Za-z]{1,20}) +(\S+)(?: +HTTP/1\.[01])? *")
_ABSOLUTE_FORM = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(;.*)?\r?\n", re.DOTALL)
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)


class HttpRefused(Exception):
    """The request is answered with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class HttpResponse(NamedTuple):
    """What is sent back."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""


class HttpRequest:
    """A request whose header has been read; its body is read when it is wanted."""

    def __init__(self, lines: Sequence[str], connection: _HttpConnection) -> None:
        """`lines`: of the header, the first is the request line. Raises `HttpRefused`."""
        parsed = _REQUEST_LINE.fullmatch(lines[0])
        if parsed is None:
            raise HttpRefused(400)
        method, target = parsed.groups()
        self.method = method.upper()
        self.path = tuple(map(unquote, filter(None, _path_of(target).split("/"))))
        """Its segments, decoded, without empty ones."""
        self.query = target.partition("?")[2]
        """What is behind the question mark, as it was sent."""
        self.headers = _parse_headers(lines[1:])
        """By lower-case name; of several with the same name, joined by commas."""
        self.address = connection.address
        """Of the client, an IP address."""
        self.trust = connection.trust
        """To be called when the client has shown that it may come in: others are disconnected first."""
        self._connection = connection

    async def read_body(self, max_bytes: int) -> bytes:
        """The whole body. Raises `HttpRefused`."""
        reader = self._connection.reader
        if self.headers.get("expect", "").lower() == "100-continue":
            self._connection.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            if "chunked" in self.headers.get("transfer-encoding", "").lower():
                return await _read_chunks(reader, max_bytes)
            length = self._body_bytes()
            if length is None:
                return await _read_until_silent(reader, max_bytes)
            if length > max_bytes:
                raise HttpRefused(413)
            return await reader.readexactly(length)
        except asyncio.IncompleteReadError as error:
            raise HttpRefused(400) from error

    def _body_bytes(self) -> int | None:
        """The stated length of the body, if there is one. Raises `HttpRefused`."""
        stated = {text.strip() for text in self.headers.get("content-length", "").split(",")}
        if stated == {""}:
            return None
        length = stated.pop()
        if stated or not _LENGTH.fullmatch(length):
            raise HttpRefused(400)
        return int(length)


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


async def _read_until_silent(reader: asyncio.StreamReader, max_bytes: int) -> bytes:
    """A body without a length: it ends with the connection, or where nothing follows for a while."""
    body = bytearray()
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(SILENCE_AFTER_BODY_S):
                data = await reader.read(READ_BYTES)
            if not data:
                break
            body += data
            if len(body) > max_bytes:
                raise HttpRefused(413)
    return bytes(body)


async def _read_chunks(reader: asyncio.StreamReader, max_bytes: int) -> bytes:
    """A body with `Transfer-Encoding: chunked`; extensions are ignored, and trailers left unread."""
    body = bytearray()
    for _ in range(MAX_CHUNKS):
        await asyncio.sleep(0)  # Reading what has already arrived does not yield to other tasks.
        size = _CHUNK_SIZE.fullmatch(await _read_line(reader))
        if size is None:
            raise HttpRefused(400)
        length = int(size[1], 16)
        if len(body) + length > max_bytes:
            raise HttpRefused(413)
        if not length:
            return bytes(body)
        body += await reader.readexactly(length)
        if (await _read_line(reader)).strip():
            raise HttpRefused(400)
    raise HttpRefused(413)


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError as error:
        raise HttpRefused(431) from error


def _path_of(target: str) -> str:
    """The path of a request target of any form, as it was sent."""
    return re.split("[?#]", _ABSOLUTE_FORM.sub("", target, count=1), maxsplit=1)[0]


def _parse_headers(lines: Sequence[str]) -> dict[str, str]:
    """Raises `HttpRefused`."""
    headers: dict[str, str] = {}
    name = ""
    for line in lines:
        if line[:1].isspace() and name:  # The previous line goes on here.
            headers[name] = f"{headers[name]} {line.strip()}".strip()
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or not name:
            raise HttpRefused(400)
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    return headers


class _HttpConnection:
    """A connection, which carries one request and its response."""

    def __init__(self, client: TcpClient) -> None:
        self.reader = client.reader
        self.writer = client.writer
        self.address = client.address
        self.trust = client.trust

    async def serve(self, handler: Handler, tell_invalid: Callable[[str], None]) -> None:
        """Answer the request, if there is one. `tell_invalid` gets the address of what sent no HTTP."""
        try:
            lines = await self._read_header()
            request = HttpRequest(lines, self) if lines else None
        except HttpRefused as refused:
            left = isinstance(refused.__cause__, asyncio.IncompleteReadError)
            if refused.status == HTTPStatus.BAD_REQUEST and not left:
                tell_invalid(self.address)
            await self._respond(HttpResponse(refused.status))
            return
        if request is None:
            return
        try:
            response = await handler(request)
            await self._respond(response, with_body=request.method != "HEAD")
        except HttpRefused as refused:
            await self._respond(HttpResponse(refused.status))

    async def _read_header(self) -> list[str]:
        """Its lines; empty if the client has left without a request. Raises `HttpRefused`."""
        lines: list[str] = []
        size = 0
        try:
            first = await self.reader.readexactly(1)
            if first == TLS_HANDSHAKE:  # It has no lines, and waits for a reply.
                raise HttpRefused(400)
            for _ in range(MAX_HEADER_LINES):
                line = first if first == b"\n" else first + await _read_line(self.reader)
                first = b""
                size += len(line)
                if size > MAX_HEADER_BYTES:
                    raise HttpRefused(431)
                if text := line.decode("latin-1").rstrip("\r\n"):
                    lines.append(text)
                elif lines:
                    return lines
            raise HttpRefused(431)
        except asyncio.IncompleteReadError as error:
            if lines or error.partial:
                raise HttpRefused(400) from error
            return []

    async def _respond(self, response: HttpResponse, *, with_body: bool = True) -> None:
        """Send the response, and read what the client still sends: closing a socket with unread data resets
        the connection, and the response would be lost."""
        status = HTTPStatus(response.status)
        head = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            f"Content-Length: {len(response.body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in response.headers.items()),
        ]
        self.writer.write("\r\n".join((*head, "", "")).encode("latin-1"))
        if with_body:
            self.writer.write(response.body)
        self.writer.write_eof()
        for _ in range(MAX_DISCARDED_BYTES // READ_BYTES):
            if not await self.reader.read(READ_BYTES):
                break
            await asyncio.sleep(0)


@asynccontextmanager
async def serve_http(
    host: str | None,
    port: int | None,
    handler: Handler,
    tell_invalid: Callable[[str], None] = lambda address: None,
) -> AsyncIterator[None]:
    """Answer requests; on the way out all connections are closed. `tell_invalid` gets the address of what
    sent something that is no HTTP, such as TLS. Raises `OSError` if the port cannot be opened."""

    async def handle(client: TcpClient) -> None:
        async with asyncio.timeout(CONNECTION_TIMEOUT_S):
            await _HttpConnection(client).serve(handler, tell_invalid)

    async with serve_tcp(host, port, handle, LIMITS):
        yield
