"""How long a client may take for a request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from gateway.dashboard import http_protocol
from gateway.dashboard.http_protocol import LimitedHttpProtocol

WHOLE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers when it has the whole body."""
    while (await receive()).get("more_body"):
        pass
    scope["trust"]()
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(http_protocol, "REQUEST_TIMEOUT_S", 0.3)
    config = uvicorn.Config(
        application,
        port=0,
        http=LimitedHttpProtocol,
        lifespan="off",
        log_config=None,
        ws="none",
        timeout_keep_alive=60,
    )
    server = uvicorn.Server(config)
    monkeypatch.setattr(server, "capture_signals", contextlib.nullcontext)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:
            await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"GET / HT",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab",
        WHOLE + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab",
    ],
)
async def test_half_a_request_is_given_up(port: int, half: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(half)
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            assert (await reader.read()).count(b"204") == half.count(b"GET / HTTP")
    writer.close()


async def test_a_connection_lasts_longer_than_one_request(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(10):
        for _ in range(3):
            writer.write(WHOLE)
            assert b"204" in await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.4)
    writer.close()


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"1\r\na\r\nzz\r\n",
        WHOLE + CHUNKED + b"f" * 100 + b"\r\n",
    ],
)
async def test_what_is_no_http_is_refused_and_told_in_one_line(
    port: int, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(10):
        received = await reader.read()
        assert b" 400 " in received
        assert received.count(b" 204 ") == sent.count(b"GET / HTTP")
    writer.close()
    # What the application still does with half a body, it does before another request is answered.
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(WHOLE)
        await reader.readuntil(b"\r\n\r\n")
    writer.close()
    ours = [record for record in caplog.records if getattr(record, "kind", "") == "http-invalid"]
    assert len(ours) == 1
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_wish_for_web_sockets_is_a_request_like_any_other(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(WHOLE[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    async with asyncio.timeout(10):
        assert b" 204 " in await reader.readuntil(b"\r\n\r\n")
    writer.close()
