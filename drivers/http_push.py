"""Devices that post over HTTP: Hikvision people counting (ISAPI `EventNotificationAlert`), JSON webhooks.

XML and JSON both become a tree of keys, in which a point's `path` finds its value.
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
from gateway.wire.codec import follow
from gateway.wire.secret import read_secret

LARGEST = 2 * 1024 * 1024
"""Bytes of a body: an alert may bring its picture."""
PATIENCE = 10.0
"""Seconds a connection may take, from its beginning to its end."""
STRANGERS, BODIES = 64, 8
"""Connections without a credential so far, and bodies that are read at one time: what bounds memory."""
CHUNK = 16 * 1024
DEPTH = 32
SHORTEST = 12
"""Characters of a token: fewer can be guessed."""


def _is_listen(text: str) -> bool:
    url = urlsplit(f"//{text}")
    return bool(url.hostname and url.port) and not (url.path or url.username)


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`listen`: host:port. `secret_file`: the token of all devices that have none of their own."""

    listen: str
    secret_file: Path

    CHECKS: ClassVar[Checks] = {"listen": (_is_listen, "http-listen")}


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The path the device posts to. It shows its token as the password of HTTP Basic (with any user
    name), as a Bearer token, or, if it can do neither, as one more segment of the path."""

    path: str
    secret_file: Path | None = None

    CHECKS: ClassVar[Checks] = {
        "path": (lambda path: bool(re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path)), "http-path")
    }


class TreePoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """Where in the message the value stands: keys and list indices, joined by dots; in XML the names of
    elements below the root, whatever their namespace.

    `when` and `unless` say for which messages the point is meant: paths, and the values they must and
    must not have.
    """

    path: str
    when: dict[str, Value] = msgspec.field(default_factory=dict)
    unless: dict[str, Value] = msgspec.field(default_factory=dict)

    def concerns(self, raw: Raw) -> bool:
        return all(follow(raw, path) == value for path, value in self.when.items()) and not any(
            follow(raw, path) == value for path, value in self.unless.items()
        )


def decode(points: Mapping[str, TreePoint], raw: Raw) -> dict[str, Value]:
    """A parsed message to values; what it does not hold is left out."""
    found = {name: follow(raw, point.path) for name, point in points.items() if point.concerns(raw)}
    return {name: value for name, value in found.items() if value is not None}


def example(fields: Mapping[str, Any]) -> Raw:
    """A worked example: `xml = '<EventNotificationAlert>…'` or `json = '{"in": 3}'`."""
    return _parse_xml(fields["xml"]) if "xml" in fields else msgspec.json.decode(fields["json"])


def show(raw: Raw) -> str:
    return msgspec.json.encode(raw).decode()


def parse(body: bytes) -> Raw:
    """A body to a tree. Raises `ReadFailed`.

    Cameras send the alert and its pictures as parts of one form; the form begins with its boundary, which
    not all of them name in the header.
    """
    body = body.strip()
    if body.startswith(b"--"):
        boundary = body.partition(b"\n")[0].rstrip()
        parts = (_SEPARATOR.split(part, 1)[-1].strip() for part in body.split(boundary)[1:])
        body = next((part for part in parts if part[:1] in (b"<", b"{", b"[")), b"")
    text = _text(body)
    key, read = ("not-xml", _parse_xml) if text[:1] == "<" else ("not-json", msgspec.json.decode)
    try:
        return read(text)
    except (ValueError, RecursionError) as error:
        raise ReadFailed(key, reason=error) from error


_SEPARATOR = re.compile(rb"\r?\n\r?\n")


def _text(body: bytes) -> str:
    """UTF-8, or what Chinese devices send instead, whatever they say of it; a name that is garbled
    costs no count."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return body.decode("gb18030", "replace")


_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_LOOSE = re.compile(r"&(?!#?\w+;)")
"""Some cameras write a name as it is, "Hall & Garden"."""
_WORDS: dict[str, Value] = {"true": True, "false": False}


def _value(text: str) -> Value:
    """XML knows text alone; what looks like a number or a truth is one."""
    if number := _NUMBER.fullmatch(text):
        return float(text) if number[1] else int(text)
    return _WORDS.get(text, text)


def _parse_xml(text: str) -> Raw:
    """The root's children by local name; a name that comes again makes a list.

    Raises `ValueError`; also for a document type, whose entities could grow without bound or name files.
    """
    root: dict[str, Any] = {}
    open_elements: list[tuple[str, dict[str, Any], list[str]]] = [("", root, [])]

    def refuse(*_: object) -> None:
        raise ValueError("it has a document type")

    def start(name: str, _: object) -> None:
        if len(open_elements) > DEPTH:
            raise ValueError("too many elements within elements")
        open_elements.append((name.rpartition(" ")[2], {}, []))

    def end(_: str) -> None:
        name, children, words = open_elements.pop()
        value = children or _value("".join(words).strip())
        siblings = open_elements[-1][1]
        if name not in siblings:
            siblings[name] = value
        elif isinstance(siblings[name], list):
            siblings[name].append(value)
        else:
            siblings[name] = [siblings[name], value]

    def add(words: str) -> None:
        open_elements[-1][2].append(words)

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = add
    try:
        parser.Parse(_LOOSE.sub("&amp;", text), True)
    except expat.ExpatError as error:
        raise ValueError(error) from error
    (tree,) = root.values()
    return tree


class _Peer:
    """A connection, with its one request and its answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=CHUNK)

    async def event(self) -> Any:
        """The next part of the request. Raises `h11.RemoteProtocolError`."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._writer.write(
                    self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                )
            self._http.receive_data(await self._reader.read(CHUNK))
        return event

    async def body(self) -> bytes | None:
        """The whole of it; None when it is too large."""
        body = bytearray()
        while isinstance(event := await self.event(), h11.Data):
            body += event.data
            if len(body) > LARGEST:
                return None
        return bytes(body)

    async def answer(self, status: int) -> None:
        """Answer, and end: what still comes is read away, or the answer would be lost with it."""
        headers = [("connection", "close"), ("content-length", "0")]
        if status == 401:
            headers.append(("www-authenticate", 'Basic realm="linli"'))
        self._writer.write(self._http.send(h11.Response(status_code=status, headers=headers)) or b"")
        self._writer.write(self._http.send(h11.EndOfMessage()) or b"")
        self._writer.write_eof()
        while await self._reader.read(CHUNK):
            pass


class PushListener(Listener):
    """A port, and the paths of its devices."""

    def __init__(self, options: Options, devices: tuple[Device, ...]) -> None:
        self._devices = {
            device.address.path: (device, _token(device.address.secret_file or options.secret_file))
            for device in devices
        }
        self._inbox: asyncio.Queue[tuple[str, Raw | ReadFailed, asyncio.Future[None]]] = asyncio.Queue(
            BODIES
        )
        self._bodies = asyncio.Semaphore(BODIES)
        self._strangers: dict[asyncio.StreamWriter, None] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def listen(self) -> AsyncIterator[tuple[str, Raw | ReadFailed]]:
        while True:
            name, raw, taken = await self._inbox.get()
            if not taken.done():  # Else nobody waits any more: the device was not told that it arrived.
                yield name, raw
            if not taken.done():
                taken.set_result(None)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection; whatever its far end does, it is over within `PATIENCE`."""
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if len(self._strangers) >= STRANGERS:
            # The one that has said nothing for the longest means nothing, or harm.
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.transport.abort()
        self._strangers[writer] = None
        peer = _Peer(reader, writer)
        try:
            async with asyncio.timeout(PATIENCE):
                try:
                    status = await self._request(peer, writer)
                except h11.RemoteProtocolError as error:
                    status = error.error_status_hint
                await peer.answer(status)
        except (OSError, TimeoutError, h11.LocalProtocolError):
            pass  # Gone, or too slow: there is nobody to tell.
        finally:
            self._strangers.pop(writer, None)
            writer.transport.abort()

    async def close(self) -> None:
        """End all connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _request(self, peer: _Peer, writer: asyncio.StreamWriter) -> int:
        request = await peer.event()
        if not isinstance(request, h11.Request):
            return 400
        headers = {name: value.decode("latin-1") for name, value in request.headers}
        device = self._device(request.target.decode("latin-1"), headers.get(b"authorization", ""))
        if isinstance(device, int):
            return device
        if request.method != b"POST":
            return 405
        self._strangers.pop(writer, None)
        async with self._bodies:
            body = await peer.body()
            if body is None:
                return 413
            return await self._hear(device, body)

    def _device(self, target: str, authorization: str) -> Device | int:
        """Who posts there, or the status that refuses."""
        path, shown = target.partition("?")[0], _shown(authorization)
        if path not in self._devices:
            path, _, last = path.rpartition("/")
            shown = unquote(last)
        if path not in self._devices:
            return 404
        device, token = self._devices[path]
        return device if hmac.compare_digest(shown.encode(), token.encode()) else 401

    async def _hear(self, device: Device, body: bytes) -> int:
        raw: Raw | ReadFailed
        try:
            raw = parse(body)
        except ReadFailed as failed:
            raw, status = failed, 400
        else:
            if not any(point.concerns(raw) for point in device.points.values()):
                return 200  # A heartbeat, or another event of the same camera.
            status = 200 if decode(device.points, raw) else 422
        taken = asyncio.get_running_loop().create_future()
        try:
            await self._inbox.put((device.name, raw, taken))
            await taken
        finally:
            taken.cancel()
        return status


def _shown(authorization: str) -> str:
    """The token in an Authorization header; empty when there is none."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        with suppress(binascii.Error, ValueError):
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
    return ""


def _token(file: Path) -> str:
    token = read_secret(file)
    if len(token) < SHORTEST:
        raise LinkDown("secret-short", file=file, least=SHORTEST)
    return token


@asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[PushListener]:
    """Open the port; whoever is connected when it closes is cut."""
    listener = PushListener(options, devices)
    url = urlsplit(f"//{options.listen}")
    try:
        server = await asyncio.start_server(listener.serve, url.hostname, url.port, limit=CHUNK)
    except OSError as error:
        raise LinkDown("http-port", listen=options.listen, reason=error) from error
    try:
        yield listener
    finally:
        server.close()
        await listener.close()


DRIVER = Driver(
    options=Options,
    address=Address,
    point=TreePoint,
    connect=connect,
    decode=decode,
    parse_example=example,
    format_raw=show,
)
