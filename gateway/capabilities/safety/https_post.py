"""Posts over HTTPS, for chat robots, webhooks and push services."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from gateway.wire.trust import trust_context

from .channel import DeliveryFailed

MAX_ANSWER_BYTES = 64 * 1024
"""An answer is read up to this size."""
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
INTERNET_IPV6 = ipaddress.ip_network("2000::/3")
"""What is given out to anybody; NAT64 (64:ff9b::/96), which may lead anywhere, is not in it."""


class Answer(NamedTuple):
    """What the other side has said."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def is_safe_url(text: str) -> bool:
    """Whether it is https, or http on this machine, and without credentials: those are kept in files."""
    url = urlsplit(text)
    safe = url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK_HOSTS)
    return safe and bool(url.hostname) and not (url.username or url.password or url.query or url.fragment)


def is_internet_address(text: str) -> bool:
    """Whether an IP address is one of the internet: not of this machine, a local network or a tunnel."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        is_tunnel = address.sixtofour or address.teredo
        return address in INTERNET_IPV6 and address.is_global and not is_tunnel
    return address.is_global and not address.is_multicast


async def internet_address(host: str) -> str:
    """An address of that name. Raises `DeliveryFailed` if there is none, or one is not of the internet: a
    name of a stranger's choosing must not lead into the local network."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    except OSError as error:
        raise DeliveryFailed("channel-away", host=host, reason=error) from None
    addresses = sorted({str(each[4][0]) for each in found}, key=lambda each: ":" in each)
    if not addresses or not all(map(is_internet_address, addresses)):
        raise DeliveryFailed("channel-local", host=host)
    return addresses[0]


async def post(
    url: str,
    body: bytes,
    *,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    ca_file: Path | None = None,
    address: str = "",
) -> Answer:
    """POST a body. `address`: the IP address to connect to, where the name is not to be asked for again.

    Raises `DeliveryFailed`, whose facts never contain more of the address than the host."""
    import httpx2  # noqa: PLC0415  heavy, and needed at the first alarm only

    trust = await asyncio.to_thread(trust_context, ca_file)
    # Errors are not chained from here on: the library's text may contain the address with its key.
    host = urlsplit(url).netloc
    try:
        target = httpx2.URL(url)
        own, extensions = dict(headers or {}), {}
        if address:
            own["Host"], extensions["sni_hostname"] = host, target.host
            target = target.copy_with(host=address)
        async with (
            httpx2.AsyncClient(verify=trust, trust_env=False, timeout=15.0) as client,
            client.stream(
                "POST",
                target,
                params=query,
                content=body,
                headers=own,
                extensions=extensions,
            ) as response,
        ):
            answer = bytearray()
            async for part in response.aiter_raw():
                answer += part
                if len(answer) > MAX_ANSWER_BYTES:
                    break
            return Answer(response.status_code, response.headers, bytes(answer))
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise DeliveryFailed("channel-away", host=host, reason=error) from None


async def post_json(
    url: str,
    body: bytes,
    *,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    ca_file: Path | None = None,
) -> bytes:
    """POST a body and return that of the answer with status 2xx.

    Raises `DeliveryFailed`, whose facts never contain the query."""
    headers = {"Content-Type": "application/json", **(headers or {})}
    answer = await post(url, body, query=query, headers=headers, ca_file=ca_file)
    if not 200 <= answer.status < 300:
        raise DeliveryFailed("channel-status", host=urlsplit(url).netloc, status=answer.status)
    return answer.body


async def post_to_robot(url: str, query: Mapping[str, str], payload: dict[str, Any]) -> None:
    """POST to a chat robot, which answers with an `errcode`. Raises `DeliveryFailed` for any but 0."""
    host = urlsplit(url).netloc
    answer = await post_json(url, msgspec.json.encode(payload), query=query)
    try:
        code = msgspec.json.decode(answer, type=_RobotAnswer).errcode
    except msgspec.DecodeError:
        raise DeliveryFailed("channel-answer", host=host) from None
    if code != 0:
        raise DeliveryFailed("channel-robot", host=host, code=code)


class _RobotAnswer(msgspec.Struct):
    errcode: int
