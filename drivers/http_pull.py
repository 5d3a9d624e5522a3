"""Devices that answer HTTP GET: with JSON, as Axis people counters, or with lines of `key.key=value`, as
Dahua's cameras."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, ClassVar, Literal

import httpx2
import msgspec

from gateway.model import (
    LINE_CHECKS,
    Bus,
    Checks,
    Device,
    Driver,
    FailureKind,
    Point,
    Raw,
    ReadFailed,
    Value,
    has_user,
    is_server_url,
)
from gateway.wire.codec import point_value_at
from gateway.wire.http_auth import BasicLogin, Challenge, DigestLogin, Login, parse_challenges
from gateway.wire.json_text import (
    MAX_JSON_DEPTH,
    MAX_OBJECTS,
    MAX_QUICK_BYTES,
    check_parts,
    decode_text,
    parse_json,
)
from gateway.wire.path import is_valid_path
from gateway.wire.secret import read_secret
from gateway.wire.trust import trust_context

MAX_RESPONSE_BYTES = 256 * 1024
MAX_LOGIN_ATTEMPTS = 3
"""With the last challenge, with a new one, and once more if that was stale already."""


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`url`: http://host or https://host:port, the certificate verified; `timeout`: seconds for a whole
    reading. Basic sends the password unencrypted: use it over https only, where possible."""

    url: str
    username: str = ""
    password_file: Path | None = None
    auth: Literal["digest", "basic"] = "digest"
    ca_file: Path | None = None
    timeout: float = 5.0

    CHECKS: ClassVar[Checks] = {
        "url": (lambda url: is_server_url(url, "http", "https"), "http-url"),
        "timeout": LINE_CHECKS["timeout"],
    }
    STRUCT_CHECKS: ClassVar[Checks] = {"username": (has_user, "password-alone")}


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """A server is one device, so no address is needed."""


class ResponsePoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`get`: the path to request; `path`: where the value is in the response: keys and list indices, joined
    by dots, or members of a list by their content (see `gateway.wire.path`). Points with the same `get`
    share one request."""

    get: str
    path: str

    CHECKS: ClassVar[Checks] = {
        "path": (lambda path: is_valid_path(path) and "[]" not in path, "point-path"),
        "get": (lambda get: get[:1] == "/" != get[1:2], "http-get"),
    }


def decode(points: Mapping[str, ResponsePoint], raw: Mapping[str, Raw]) -> dict[str, Value]:
    """Decode parsed responses, by requested path, to values; what they do not contain is left out."""
    found = {
        name: point_value_at(point, raw[point.get], point.path)
        for name, point in points.items()
        if point.get in raw
    }
    return {name: value for name, value in found.items() if value is not None}


def parse_example(fields: Mapping[str, Any]) -> dict[str, Raw]:
    """A worked example: `json."/what/to/get" = '{"in": 3}'`, or `text` with lines of `key.key=value`."""
    answers = fields["json"] if "json" in fields else fields["text"]
    return {get: parse_answer(answer.encode()) for get, answer in answers.items()}


_LINE = re.compile(r"[\w\[\]-]+(?:\.[\w\[\]-]+)+=.*")


def parse_answer(body: bytes) -> Raw:
    """A tree of the JSON, or of the lines `key.key=value`, whose values are texts. Raises `ReadFailed`."""
    lines = [line for line in decode_text(body).splitlines() if line.strip()]
    if not lines or not all(map(_LINE.fullmatch, lines)):
        return parse_json(body)
    check_parts(body, "=", MAX_OBJECTS)
    tree: dict[str, Any] = {}
    for line in lines:
        path, _, value = line.partition("=")
        *outer, last = path.replace("[", ".").replace("]", "").split(".", MAX_JSON_DEPTH)
        branch = tree
        for key in outer:
            inner = branch.setdefault(key, {})
            branch = inner if isinstance(inner, dict) else {}
        branch[last] = value.strip()
    return tree


def format_raw(raw: Mapping[str, Raw]) -> str:
    return msgspec.json.encode(raw).decode()


class HttpBus(Bus):
    """One HTTP server. Each path is requested over a connection of its own: where a server replies twice,
    the second reply would be taken for that to the next path."""

    def __init__(self, new_client: Callable[[], httpx2.AsyncClient], options: Options) -> None:
        self._new_client = new_client
        self._options = options

    async def read(self, device: Device) -> dict[str, Raw]:
        url = self._options.url
        gets = dict.fromkeys(point.get for point in device.points.values())
        try:
            async with asyncio.timeout(self._options.timeout):
                return {get: await self._get_json(get) for get in gets}
        except TimeoutError as error:
            raise ReadFailed("timeout", FailureKind.TIMEOUT) from error
        except httpx2.HTTPError as error:
            raise ReadFailed("http-away", url=url, reason=error) from error

    async def _get_json(self, get: str) -> Raw:
        try:
            return await self._request_json(get)
        except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
            # Some servers ask for a login, and close the connection when it comes.
            return await self._request_json(get)

    async def _request_json(self, get: str) -> Raw:
        async with self._new_client() as client, client.stream("GET", get) as response:
            if response.status_code == 401:
                raise self._refusal(_challenges(response))
            if response.status_code == 403:
                raise ReadFailed("http-denied", status=403)
            if response.has_redirect_location:
                raise ReadFailed("http-moved", get=get, location=response.headers["location"][:200])
            if response.status_code != 200:
                raise ReadFailed("http-status", get=get, status=response.status_code)
            body = bytearray()
            # Neither requested nor decoded: a small compressed response could unpack into a large one.
            async for part in response.aiter_raw():
                body += part
                if len(body) > MAX_RESPONSE_BYTES:
                    raise ReadFailed("http-large", kilobytes=MAX_RESPONSE_BYTES // 1024)
        if len(body) > MAX_QUICK_BYTES:
            return await asyncio.to_thread(parse_answer, bytes(body))
        return parse_answer(bytes(body))

    def _refusal(self, challenges: list[Challenge]) -> ReadFailed:
        """Why the login failed: the password is wrong, or is wanted in another way."""
        wanted, with_password = self._options.auth, self._options.password_file is not None
        login: Login = DigestLogin("", "") if wanted == "digest" else BasicLogin("", "")
        if not challenges or not with_password or login.accept(challenges):
            return ReadFailed("http-denied", status=401)
        offered = ", ".join(
            f"{each.scheme} {each.parameters.get('algorithm', '')}".strip() for each in challenges
        )
        return ReadFailed("http-scheme", auth=wanted, offered=offered[:200])


def _challenges(response: httpx2.Response) -> list[Challenge]:
    headers = response.headers.raw
    return parse_challenges(
        value.decode("latin-1") for name, value in headers if name.lower() == b"www-authenticate"
    )


class _ServerLogin(httpx2.Auth):
    """Answers the server's challenges. The library's own login takes an optional field that is empty, or a
    second challenge in the same header, for a wrong password."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        is_fresh = isinstance(self._login, BasicLogin)
        request.headers.encoding = "latin-1"  # Of names in UTF-8, the bytes as they are.
        for _ in range(MAX_LOGIN_ATTEMPTS):
            header = self._login.authorization(request.method, request.url.raw_path)
            if header:
                request.headers["Authorization"] = header.decode("latin-1")
            response = yield request
            if response.status_code != 401:
                return
            challenges = _challenges(response)
            is_stale = any(each.parameters.get("stale", "").lower() == "true" for each in challenges)
            if (is_fresh and not is_stale) or not self._login.accept(challenges):
                return
            is_fresh = True


@asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[HttpBus]:
    """Prepare the requests; the first reading connects. Proxies in the environment are ignored."""
    auth: httpx2.Auth | None = None
    if options.password_file:
        kind = DigestLogin if options.auth == "digest" else BasicLogin
        auth = _ServerLogin(kind(options.username, read_secret(options.password_file)))
    trust = await asyncio.to_thread(trust_context, options.ca_file)
    new_client = functools.partial(
        httpx2.AsyncClient,
        base_url=options.url,
        auth=auth,
        verify=trust,
        timeout=options.timeout,
        trust_env=False,
        headers={"Accept-Encoding": "identity"},
        cookies=CookieJar(),
    )
    yield HttpBus(new_client, options)


DRIVER = Driver(
    options=Options,
    address=Address,
    point=ResponsePoint,
    connect=connect,
    decode=decode,
    parse_example=parse_example,
    format_raw=format_raw,
)
