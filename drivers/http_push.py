"""Devices that post over HTTP: Hikvision people counting (ISAPI `EventNotificationAlert`), JSON webhooks.

XML and JSON both become a tree of keys, in which a point's `path` finds its value.

The server uses h11 directly. uvicorn has no deadline for headers and no limit on silent connections that
still lets devices in, and it parses everything that a refused client goes on sending.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit
from xml.parsers import expat

import h11
import msgspec

from gateway.model import Checks, Device, Driver, LinkDown, Listener, Point, Raw, ReadFailed, Value
from gateway.wire.codec import value_at
from gateway.wire.json_text import decode_text, parse_json
from gateway.wire.path import is_valid_path
from gateway.wire.readings import has_values, split_message
from gateway.wire.secret import read_secret

MAX_BODY_BYTES = 2 * 1024 * 1024
"""An alert may contain its picture."""
CONNECTION_TIMEOUT_S = 10.0
"""From the opening of a connection until it is closed."""
MAX_UNAUTHENTICATED_CONNECTIONS, MAX_CONCURRENT_BODIES = 64, 8
"""These two bound the memory: connections that have not shown a valid token yet, and bodies being read."""
MAX_HEADER_BYTES = 16 * 1024
READ_BYTES = 4096
"""Parsed at a time, before other tasks run: at worst seven hundred chunks."""
MAX_XML_DEPTH = 32
MIN_TOKEN_CHARACTERS = 12
"""A shorter token can be guessed."""


def _is_host_and_port(text: str) -> bool:
    url = urlsplit(f"//{text}")
    return bool(url.hostname and url.port) and not (url.path or url.username)


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`listen`: host:port. `secret_file`: the token of all devices that have none of their own."""

    listen: str
    secret_file: Path

    CHECKS: ClassVar[Checks] = {"listen": (_is_host_and_port, "http-listen")}


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The path the device posts to. It sends its token as the password of HTTP Basic (with any user
    name), as a Bearer token, or, if it supports neither, as one more segment of the path."""

    path: str
    secret_file: Path | None = None

    CHECKS: ClassVar[Checks] = {
        "path": (lambda path: bool(re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path)), "http-path")
    }


class TreePoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """Where the value is in the message: keys and list indices, joined by dots; in XML the names of
    elements below the root, without their namespace. A list may also be searched, and `records[]` makes
    each member of a list a reading of its own (see `gateway.wire.path`).

    `when` and `unless` select the messages that the point applies to: paths, and the values that these
    must and must not have.
    """

    path: str
    when: dict[str, Value] = msgspec.field(default_factory=dict)
    unless: dict[str, Value] = msgspec.field(default_factory=dict)

    CHECKS: ClassVar[Checks] = {**Point.CHECKS, "path": (is_valid_path, "point-path")}

    def applies_to(self, raw: Raw) -> bool:
        return all(value_at(raw, path) == value for path, value in self.when.items()) and not any(
            value_at(raw, path) == value for path, value in self.unless.items()
        )


def decode(points: Mapping[str, TreePoint], raw: Raw) -> dict[str, Value | None]:
    """Decode a parsed message to values; what it does not contain is left out, and what points do not apply
    to it is None."""
    values: dict[str, Value | None] = {}
    for name, point in points.items():
        if not point.applies_to(raw):
            values[name] = None
        elif (value := value_at(raw, point.path)) is not None:
            values[name] = value
    return values


def parse_example(fields: Mapping[str, Any]) -> Raw:
    """A worked example: `xml = '<EventNotificationAlert>…'` or `json = '{"in": 3}'`."""
    return _parse_xml(fields["xml"]) if "xml" in fields else parse_json(fields["json"])


def split(points: Mapping[str, TreePoint], raw: Raw) -> list[Raw]:
    """The readings in a message. Raises `ReadFailed`."""
    return split_message(points, raw, decode)


def format_raw(raw: Raw) -> str:
    return msgspec.json.encode(raw).decode()


def parse_body(body: bytes) -> Raw:
    """Parse a body to a tree. Raises `ReadFailed`.

    Cameras send the alert and its pictures as parts of one form. The boundary is taken from the first line
    of the body, as not all of them name it in the header.
    """
    body = body.strip()
    if body.startswith(b"--"):
        boundary = body.partition(b"\n")[0].rstrip()
        parts = (_BLANK_LINE.split(part, 1)[-1].strip() for part in body.split(boundary)[1:])
        body = next((part for part in parts if part[:1] in (b"<", b"{", b"[")), b"")
    text = decode_text(body)
    if text[:1] != "<":
        return parse_json(text)
    try:
        return _parse_xml(text)
    except (ValueError, RecursionError) as error:
        raise ReadFailed("not-xml", reason=error) from error


_BLANK_LINE = re.compile(rb"\r?\n\r?\n")


_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_UNESCAPED_AMPERSAND = re.compile(r"&(?!#?\w+;)")
"""Some cameras do not escape names: "Hall & Garden"."""
_BOOLEANS: dict[str, Value] = {"true": True, "false": False}


def _parse_value(text: str) -> Value:
    """XML has no types: text that looks like a number or a boolean becomes one."""
    if number := _NUMBER.fullmatch(text):
        return float(text) if number[1] else int(text)
    return _BOOLEANS.get(text, text)


def _parse_xml(text: str) -> Raw:
    """The root's children by local name; a repeated name makes a list.

    Raises `ValueError`, also for a document type: its entities could expand without limit or read files.
    """
    root: dict[str, Any] = {}
    open_elements: list[tuple[str, dict[str, Any], list[str]]] = [("", root, [])]

    def reject_doctype(*_: object) -> None:
        raise ValueError("it has a document type")

    def start_element(name: str, _: object) -> None:
        if len(open_elements) > MAX_XML_DEPTH:
            raise ValueError("too many elements within elements")
        open_elements.append((name.rpartition(" ")[2], {}, []))

    def end_element(_: str) -> None:
        name, children, text_parts = open_elements.pop()
        value = children or _parse_value("".join(text_parts).strip())
        siblings = open_elements[-1][1]
        if name not in siblings:
            siblings[name] = value
        elif isinstance(siblings[name], list):
            siblings[name].append(value)
        else:
            siblings[name] = [siblings[name], value]

    def add_text(text_parts: str) -> None:
        open_elements[-1][2].append(text_parts)

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reject_doctype
    parser.StartElementHandler = start_element
    parser.EndElementHandler = end_element
    parser.CharacterDataHandler = add_text
    try:
        parser.Parse(_UNESCAPED_AMPERSAND.sub("&amp;", text), True)
    except expat.ExpatError as error:
        raise ValueError(error) from error
    (tree,) = root.values()
    return tree


class _HttpConnection:
    """A connection, which carries one request and its response."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)

    async def next_event(self) -> Any:
        """The next part of the request. Raises `h11.RemoteProtocolError`."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._writer.write(
                    self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                )
            self._http.receive_data(await self._reader.read(READ_BYTES))
            await asyncio.sleep(0)  # Reading what has already arrived does not yield to other tasks.
        return event

    async def read_body(self) -> bytes | None:
        """The whole body; None when it is too large."""
        body = bytearray()
        while isinstance(event := await self.next_event(), h11.Data):
            body += event.data
            if len(body) > MAX_BODY_BYTES:
                return None
        return bytes(body)

    async def respond(self, status: int) -> None:
        """Send the response and close. Remaining input is read and discarded: closing a socket with unread
        data would reset the connection, and the response would be lost."""
        headers = [("connection", "close"), ("content-length", "0")]
        if status == 401:
            headers.append(("www-authenticate", 'Basic realm="linli"'))
        self._writer.write(self._http.send(h11.Response(status_code=status, headers=headers)) or b"")
        self._writer.write(self._http.send(h11.EndOfMessage()) or b"")
        self._writer.write_eof()
        while await self._reader.read(READ_BYTES):
            pass


class PushListener(Listener):
    """An HTTP port, with one path for each device."""

    def __init__(self, options: Options, devices: tuple[Device, ...]) -> None:
        self._devices = {
            device.address.path: (device, _read_token(device.address.secret_file or options.secret_file))
            for device in devices
        }
        self._inbox: asyncio.Queue[tuple[str, Raw | ReadFailed, asyncio.Future[None]]] = asyncio.Queue(
            MAX_CONCURRENT_BODIES
        )
        self._body_slots = asyncio.Semaphore(MAX_CONCURRENT_BODIES)
        self._unauthenticated: dict[asyncio.StreamWriter, None] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def listen(self) -> AsyncIterator[tuple[str, Raw | ReadFailed]]:
        while True:
            name, raw, accepted = await self._inbox.get()
            if not accepted.done():  # Else it timed out: the device was not told that it arrived.
                yield name, raw
            if not accepted.done():
                accepted.set_result(None)

    async def handle_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection. It is closed within `CONNECTION_TIMEOUT_S`, whatever the client does."""
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if len(self._unauthenticated) >= MAX_UNAUTHENTICATED_CONNECTIONS:
            # The one that has been silent for the longest is the least likely to be a device.
            oldest = next(iter(self._unauthenticated))
            del self._unauthenticated[oldest]
            oldest.transport.abort()
        self._unauthenticated[writer] = None
        connection = _HttpConnection(reader, writer)
        try:
            async with asyncio.timeout(CONNECTION_TIMEOUT_S):
                try:
                    status = await self._handle_request(connection, writer)
                except h11.RemoteProtocolError as error:
                    status = error.error_status_hint
                await connection.respond(status)
        except (OSError, TimeoutError, h11.LocalProtocolError):
            pass  # Disconnected, or too slow: an answer would not arrive.
        except asyncio.CancelledError:
            pass  # By `close`. Python 3.11 would log a cancelled connection as a failed callback.
        finally:
            self._unauthenticated.pop(writer, None)
            writer.transport.abort()

    async def close(self) -> None:
        """Close all connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _handle_request(self, connection: _HttpConnection, writer: asyncio.StreamWriter) -> int:
        request = await connection.next_event()
        if not isinstance(request, h11.Request):
            return 400
        headers = {name: value.decode("latin-1") for name, value in request.headers}
        device = self._authenticate(request.target.decode("latin-1"), headers.get(b"authorization", ""))
        if isinstance(device, int):
            return device
        if request.method != b"POST":
            return 405
        self._unauthenticated.pop(writer, None)
        async with self._body_slots:
            body = await connection.read_body()
            if body is None:
                return 413
            return await self._accept_body(device, body)

    def _authenticate(self, target: str, authorization: str) -> Device | int:
        """The device that posts to this path, or the HTTP status of the refusal."""
        path, token_sent = target.partition("?")[0], _token_from_header(authorization)
        if path not in self._devices:
            path, _, last = path.rpartition("/")
            token_sent = unquote(last)
        if path not in self._devices:
            return 404
        device, token = self._devices[path]
        return device if hmac.compare_digest(token_sent.encode(), token.encode()) else 401

    async def _accept_body(self, device: Device, body: bytes) -> int:
        raw: Raw | ReadFailed
        try:
            raw = parse_body(body)
            readings = split(device.points, raw)
        except ReadFailed as failed:
            raw, status = failed, 400
        else:
            # A heartbeat, or another event of the same camera, is accepted too.
            applies = any(point.applies_to(each) for each in readings for point in device.points.values())
            status = 422 if applies and not has_values(decode(device.points, readings[0])) else 200
        accepted = asyncio.get_running_loop().create_future()
        try:
            await self._inbox.put((device.name, raw, accepted))
            await accepted
        finally:
            accepted.cancel()
        return status


def _token_from_header(authorization: str) -> str:
    """The token in an Authorization header; empty when there is none."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        with suppress(binascii.Error, ValueError):
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
    return ""


def _read_token(file: Path) -> str:
    token = read_secret(file)
    if len(token) < MIN_TOKEN_CHARACTERS:
        raise LinkDown("secret-short", file=file, least=MIN_TOKEN_CHARACTERS)
    return token


@asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[PushListener]:
    """Open the port. On exit all connections are closed."""
    listener = PushListener(options, devices)
    url = urlsplit(f"//{options.listen}")
    try:
        server = await asyncio.start_server(
            listener.handle_connection, url.hostname, url.port, limit=MAX_HEADER_BYTES
        )
    except OSError as error:
        raise LinkDown("http-port", listen=options.listen, reason=error) from error
    try:
        yield listener
    finally:
        server.close()
        await listener.close()


DRIVER = Driver(
    occupies=lambda options: options.listen,
    options=Options,
    address=Address,
    point=TreePoint,
    connect=connect,
    decode=decode,
    parse_example=parse_example,
    format_raw=format_raw,
    split=split,
)
