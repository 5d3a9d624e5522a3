"""Posts JSON over HTTPS, for chat robots and webhooks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gateway.wire.trust import trust_context

from .channel import DeliveryFailed

MAX_ANSWER_BYTES = 64 * 1024
"""An answer is read up to this size."""
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")


def is_safe_url(text: str) -> bool:
    """Whether it is https, or http on this machine, and without credentials: those are kept in files."""
    url = urlsplit(text)
    safe = url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK_HOSTS)
    return safe and bool(url.hostname) and not (url.username or url.password or url.query or url.fragment)


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
    import httpx2  # noqa: PLC0415  heavy, and needed at the first alarm only

    trust = await asyncio.to_thread(trust_context, ca_file)
    # Errors are not chained from here on: the library's text may contain the address with its key.
    host = urlsplit(url).netloc
    try:
        async with (
            httpx2.AsyncClient(verify=trust, trust_env=False, timeout=15.0) as client,
            client.stream(
                "POST",
                url,
                params=query,
                content=body,
                headers={"Content-Type": "application/json", **(headers or {})},
            ) as response,
        ):
            answer = bytearray()
            async for part in response.aiter_raw():
                answer += part
                if len(answer) > MAX_ANSWER_BYTES:
                    break
            status = response.status_code
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise DeliveryFailed("channel-away", host=host, reason=error) from None
    if not 200 <= status < 300:
        raise DeliveryFailed("channel-status", host=host, status=status)
    return bytes(answer)


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
