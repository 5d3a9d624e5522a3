"""Devices that post over HTTP: Hikvision people counting (ISAPI `EventNotificationAlert`), JSON webhooks.

XML and JSON both become a tree of keys, in which a point's `path` finds its value.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import re
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit
from xml.parsers import expat

import msgspec

from gateway.model import (
    Checks,
    ConfigError,
    Device,
    Driver,
    LinkDown,
    Listener,
    Point,
    Raw,
    ReadFailed,
    Value,
    is_host,
    sentence,
)
from gateway.wire.codec import point_value_at, value_at
from gateway.wire.http_server import HttpRefused, HttpRequest, HttpResponse, serve_http
from gateway.wire.json_text import MAX_OBJECTS, MAX_QUICK_BYTES, check_parts, decode_text, parse_json
from gateway.wire.notices import Notices
from gateway.wire.path import find_parts, is_valid_path
from gateway.wire.readings import has_values, split_message
from gateway.wire.secret import read_secret

MAX_BODY_BYTES = 2 * 1024 * 1024
"""An alert may contain its picture."""
MAX_CONCURRENT_BODIES = 8
"""Bodies that are read at the same time, each of another device."""
MAX_TEXT_BYTES = 256 * 1024
"""Of a message without its pictures."""
XML_MARKS, ALL_MARKS = "<&=", "<&={["
"""What opens an element, an entity, an attribute."""
MAX_XML_DEPTH = 32
MAX_PARTS = 32
"""Of a form: the alert, and pictures."""
MAX_PATHS_LOGGED = 10
MIN_TOKEN_CHARACTERS = 12
"""A shorter token can be guessed."""


Readings = Sequence[Raw | ReadFailed]
"""Those in one message."""


def _is_host_and_port(text: str) -> bool:
    url = urlsplit(f"//{text}")
    return is_host(url.hostname) and bool(url.port) and not (url.path or url.username)


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`listen`: host:port. `secret_file`: the token of all devices that have none of their own."""

    listen: str
    secret_file: Path

    MIN_SECRET_CHARACTERS: ClassVar[int] = MIN_TOKEN_CHARACTERS
    CHECKS: ClassVar[Checks] = {"listen": (_is_host_and_port, "http-listen")}


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """The path the device posts to. It sends its token as the password of HTTP Basic (with any user
    name), as a Bearer token, or, if it supports neither, as one more segment of the path."""

    path: str
    secret_file: Path | None = None

    MIN_SECRET_CHARACTERS: ClassVar[int] = MIN_TOKEN_CHARACTERS
    CHECKS: ClassVar[Checks] = {
        "path": (lambda path: bool(re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path)), "http-path")
    }


class TreePoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """Where the value is in the message: keys and list indices, joined by dots; in XML the names of
    elements below the root, without their namespace. A list may also be searched, and `records[]` makes
    each member of a list a reading of its own (see `gateway.wire.path`). `also`: the paths where other
    devices of the model have it.

    `when` and `unless` select the messages that the point applies to: paths, and the values that these
    must and must not have.
    """

    path: str
    also: tuple[str, ...] = ()
    when: dict[str, Value] = msgspec.field(default_factory=dict)
    unless: dict[str, Value] = msgspec.field(default_factory=dict)

    CHECKS: ClassVar[Checks] = {
        "path": (is_valid_path, "point-path"),
        "also": (lambda paths: all(map(is_valid_path, paths)), "point-path"),
    }

    def applies_to(self, raw: Raw) -> bool:
        return all(value_at(raw, path) == value for path, value in self.when.items()) and not any(
            value_at(raw, path) == value for path, value in self.unless.items()
        )


def decode(points: Mapping[str, TreePoint], raw: Raw) -> dict[str, Value | None]:
    """Decode a parsed message to values; what it does not contain is left out, and what points do not apply
    to it is None."""
    values: dict[str, Value | None] = {}
    raw = _without_root(points, raw)
    for name, point in points.items():
        if not point.applies_to(raw):
            values[name] = None
            continue
        found = (point_value_at(point, raw, path) for path in (point.path, *point.also))
        if (value := next((each for each in found if each is not None), None)) is not None:
            values[name] = value
    return values


def _without_root(points: Mapping[str, TreePoint], raw: Raw) -> Raw:
    """A message as the paths see it: JSON from a device that also sends XML may have XML's root, which no
    path names."""
    if not isinstance(raw, dict) or len(raw) != 1:
        return raw
    (inside,) = raw.values()
    paths = (path for point in points.values() for path in (point.path, *point.also, *point.when))
    is_named = any(find_parts(raw, path) for path in paths) or not isinstance(inside, dict)
    return raw if is_named else inside


def parse_example(fields: Mapping[str, Any]) -> Raw:
    """A worked example: `xml = '<EventNotificationAlert>…'` or `json = '{"in": 3}'`."""
    return _parse_xml(fields["xml"]) if "xml" in fields else parse_json(fields["json"])


def split(points: Mapping[str, TreePoint], raw: Raw) -> list[Raw]:
    """The readings in a message. Raises `ReadFailed`."""
    if not isinstance(raw, tuple):
        return split_message(points, _without_root(points, raw), decode)
    inside = {
        name: msgspec.structs.replace(point, path=f"documents[].{point.path}")
        for name, point in points.items()
    }
    readings = split_message(
        inside,
        {"documents": [_without_root(points, each) for each in raw]},
        lambda _, reading: decode(points, reading["documents"][0]),
    )
    return [reading["documents"][0] for reading in readings]


def format_raw(raw: Raw) -> str:
    return msgspec.json.encode(raw).decode()


def parse_body(body: bytes) -> Raw:
    """Parse a body to a tree or, if it has several documents, to a tuple of trees. Raises `ReadFailed`.

    Cameras send alerts and their pictures as parts of one form. The boundary is taken from the first line
    of the body, as not all of them name it in the header. JSON documents may be on lines of their own.
    """
    body = _decompressed(body).strip()
    if body.startswith(b"--"):
        boundary = body.partition(b"\n")[0].rstrip()
        parts = (_BLANK_LINE.split(part, 1)[-1].strip() for part in body.split(boundary, MAX_PARTS)[1:])
        bodies = [part for part in parts if part[:1] in (b"<", b"{", b"[")] or [b""]
    else:
        bodies = [body]
    if sum(map(len, bodies)) > MAX_TEXT_BYTES:
        raise ReadFailed("push-large", kilobytes=MAX_TEXT_BYTES // 1024)
    texts = [line for body in bodies for line in _json_lines(decode_text(body))]
    if len(texts) > 1:
        check_parts("".join(texts), ALL_MARKS, MAX_OBJECTS)
    documents = tuple(map(_parse_document, texts))
    return documents if len(documents) > 1 else documents[0]


def _is_compressed(body: bytes) -> bool:
    """Whether a body is as `Content-Encoding` gzip or deflate says (RFC 1952, RFC 1950)."""
    is_zlib = body[:1] == b"x" and body[1:2] in (b"\x01", b"\x9c", b"\xda")
    return is_zlib or body.startswith(b"\x1f\x8b")


def _decompressed(body: bytes) -> bytes:
    if not _is_compressed(body):
        return body
    try:
        text = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise ReadFailed("push-compressed") from error
    if len(text) > MAX_BODY_BYTES:
        raise ReadFailed("push-large", kilobytes=MAX_TEXT_BYTES // 1024)
    return text


def _json_lines(text: str) -> list[str]:
    """The documents of a text with a JSON object on each line (jsonlines.org); of any other, itself."""
    lines = list(filter(str.strip, text.splitlines()))
    return lines if len(lines) > 1 and all(_JSON_LINE.fullmatch(line) for line in lines) else [text]


def _parse_document(text: str) -> Raw:
    if text[:1] != "<":
        return parse_json(text)
    check_parts(text, XML_MARKS, MAX_OBJECTS)
    return _parse_xml(text)


_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_JSON_LINE = re.compile(r"\s*\{.*\}\s*")


_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_UNESCAPED_AMPERSAND = re.compile(r"&(?!#?\w{1,32};)")
"""Some cameras do not escape names: "Hall & Garden"."""
_CONTROL_CHARACTERS = dict.fromkeys({*range(0x20)} - {*map(ord, "\t\n\r")}, " ")
"""XML has none of these, not even escaped; names that were typed on a device do."""
_BOOLEANS: dict[str, Value] = {"true": True, "false": False}


def _parse_value(text: str) -> Value:
    """XML has no types: text that looks like a number or a boolean becomes one."""
    if number := _NUMBER.fullmatch(text):
        return float(text) if number[1] else int(text)
    return _BOOLEANS.get(text, text)


def _parse_xml(text: str) -> Raw:
    """The root's children by local name; a repeated name makes a list.

    Raises `ReadFailed`, also for a document type: its entities could expand without limit or read files.
    """
    root: dict[str, Any] = {}
    open_elements: list[tuple[str, dict[str, Any], list[str]]] = [("", root, [])]

    def reject_doctype(*_: object) -> None:
        raise ReadFailed("not-xml", reason=sentence("cause.document-type"))

    def start_element(name: str, _: object) -> None:
        if len(open_elements) > MAX_XML_DEPTH:
            raise ReadFailed("not-xml", reason=sentence("cause.too-deep"))
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
        parser.Parse(_UNESCAPED_AMPERSAND.sub("&amp;", text.translate(_CONTROL_CHARACTERS)), True)
    except expat.ExpatError as error:
        place = sentence("cause.form-at", line=error.lineno, column=error.offset + 1)
        raise ReadFailed("not-xml", reason=place) from error
    (tree,) = root.values()
    return tree


class PushListener(Listener):
    """An HTTP port, with one path for each device."""

    def __init__(self, options: Options, devices: tuple[Device, ...]) -> None:
        self._devices = {
            tuple(device.address.path.split("/")[1:]): (
                device,
                _read_token(device.address.secret_file or options.secret_file),
            )
            for device in devices
        }
        self._inbox: asyncio.Queue[tuple[str, Readings, asyncio.Future[None]]] = asyncio.Queue()
        """At most one message a device."""
        self._turns = {device.name: asyncio.Lock() for device in devices}
        """A device's bodies are read one after the other, so that one that sends many delays no other."""
        self._body_slots = asyncio.Semaphore(MAX_CONCURRENT_BODIES)
        self._parser_turn = asyncio.Lock()
        """Two bodies are not parsed without other tasks running between them."""
        self._notices = Notices()

    async def listen(self) -> AsyncIterator[tuple[str, Raw | ReadFailed]]:
        while True:
            name, readings, accepted = await self._inbox.get()
            for reading in readings:
                if not accepted.done():  # Else it timed out: the device was not told that it arrived.
                    yield name, reading
                    await asyncio.sleep(0)  # There may be thousands.
            if not accepted.done():
                accepted.set_result(None)

    def notices(self) -> Iterable[tuple[str, Mapping[str, Any]]]:
        return self._notices

    def tell_invalid(self, address: str) -> None:
        """Something came from there that is no HTTP."""
        self._notices.add("push-invalid", address)

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """Take the body of a device that has shown its token."""
        device = self._authenticate(request)
        if device is None:
            return HttpResponse(401, {"WWW-Authenticate": 'Basic realm="linli"'})
        # Buttons and relays call a URL with the values in it.
        has_query = request.method == "GET" and bool(request.query)
        if request.method not in ("POST", "PUT") and not has_query:
            return HttpResponse(405, {"Allow": "GET, POST, PUT"})
        request.trust()
        async with self._turns[device.name], self._body_slots:
            body = request.query.encode() if has_query else await request.read_body(MAX_BODY_BYTES)
            async with self._parser_turn:
                await asyncio.sleep(0)
                if len(body) > MAX_QUICK_BYTES or _is_compressed(body):
                    status, readings = await asyncio.to_thread(_parse_message, device, body)
                else:
                    status, readings = _parse_message(device, body)
            await self._deliver(device, readings)
        return HttpResponse(status)

    def _authenticate(self, request: HttpRequest) -> Device | None:
        """The device that posts to this path; None if its token is wrong. Raises `HttpRefused` where no
        device posts to."""
        path, token_sent = request.path, _token_from_header(request.headers.get("authorization", ""))
        if path not in self._devices and path:
            *beginning, token_sent = path
            path = tuple(beginning)
        if path not in self._devices:
            # Neither what may be a token.
            shown = (part if len(part) < MIN_TOKEN_CHARACTERS else "…" for part in request.path[:4])
            paths = [device.address.path for device, _ in self._devices.values()]
            known = ", ".join(paths if len(paths) <= MAX_PATHS_LOGGED else [*paths[:MAX_PATHS_LOGGED], "…"])
            self._notices.add("push-path", request.address, path="/" + "/".join(shown), known=known)
            raise HttpRefused(404)
        device, token = self._devices[path]
        if hmac.compare_digest(token_sent.encode(), token.encode()):
            return device
        self._notices.add("push-token", request.address, device=device.name)
        return None

    async def _deliver(self, device: Device, readings: Readings) -> None:
        """Pass a message to the core. Returns when it has been processed."""
        accepted = asyncio.get_running_loop().create_future()
        try:
            await self._inbox.put((device.name, readings, accepted))
            await accepted
        finally:
            accepted.cancel()


def _parse_message(device: Device, body: bytes) -> tuple[int, Readings]:
    """The status of the response, and the readings."""
    try:
        readings = split(device.points, parse_body(body))
    except ReadFailed as failed:
        return 400, [failed]
    # A heartbeat, or another event of the same camera, is accepted too: some send it again until it is.
    wanted = [point for point in device.points.values() if not point.optional]
    applies = any(point.applies_to(each) for each in readings for point in wanted)
    return 422 if applies and not has_values(decode(device.points, readings[0])) else 200, readings


def _token_from_header(authorization: str) -> str:
    """The token in an Authorization header; empty when there is none."""
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        with suppress(binascii.Error, ValueError):
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
    return ""


def _read_token(file: Path) -> str:
    return read_secret(file, MIN_TOKEN_CHARACTERS)


@asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[PushListener]:
    """Open the port. On exit all connections are closed."""
    listener = PushListener(options, devices)
    url = urlsplit(f"//{options.listen}")
    async with AsyncExitStack() as stack:
        try:
            server = serve_http(url.hostname, url.port, listener.answer, listener.tell_invalid)
            await stack.enter_async_context(server)
        except OSError as error:
            raise LinkDown("http-port", listen=options.listen, reason=error) from error
        yield listener


def check_device(device: Device, other_devices: tuple[Device, ...], options: Options) -> None:
    """Raises `ConfigError` where another device posts to the same path: only that tells them apart, also
    cameras behind one recorder."""
    twin = next((each for each in other_devices if each.address.path == device.address.path), None)
    if twin:
        raise ConfigError("address-twice", other=twin.name, bus=device.bus)


DRIVER = Driver(
    occupies=lambda options: options.listen,
    options=Options,
    address=Address,
    point=TreePoint,
    connect=connect,
    decode=decode,
    parse_example=parse_example,
    format_raw=format_raw,
    silence_s=3600,
    split=split,
    check_device=check_device,
)
