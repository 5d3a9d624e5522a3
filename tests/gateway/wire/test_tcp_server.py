"""Connections end with their handler, and with the server. That they are bounded is in
tests/drivers/test_crowds.py, for every server."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway.wire.tcp_server import TcpClient, TcpLimits, serve_tcp

LIMITS = TcpLimits(4, 2, 1024)


async def test_a_connection_ends_with_its_handler_however_that_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handle(client: TcpClient) -> None:
        assert client.address == "127.0.0.1"
        match await client.reader.read(10):
            case b"slow":
                async with asyncio.timeout(0.01):
                    await client.reader.read()
            case b"broken":
                raise ConnectionResetError

    async with serve_tcp("127.0.0.1", 0, handle, LIMITS) as (host, port):
        for sent in (b"slow", b"broken", b"well"):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(sent)
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            writer.close()
    assert not caplog.records


async def test_all_connections_end_with_the_server() -> None:
    serving = asyncio.Event()
    ended = []

    async def handle(client: TcpClient) -> None:
        serving.set()
        try:
            await client.reader.read()
        finally:
            ended.append(client.address)

    async with serve_tcp("127.0.0.1", 0, handle, LIMITS) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        await serving.wait()
    assert ended == ["127.0.0.1"]
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(host, port)
