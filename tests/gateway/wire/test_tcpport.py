from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gateway.model import LinkDown, ReadFailed
from gateway.wire.receive import MAX_BUFFER_BYTES
from gateway.wire.tcpport import TcpPort, open_tcp_port

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def connected(serve: Serve) -> AsyncIterator[TcpPort]:
    tasks: list[asyncio.Task[None]] = []

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(run(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        async with open_tcp_port(*server.sockets[0].getsockname()[:2]) as port:
            yield port
        await asyncio.gather(*tasks)


def ending(data: bytes) -> str | None:
    """A parser: all up to the first full stop."""
    head, stop, _ = data.partition(b".")
    return head.decode() if stop else None


async def test_a_reply_that_comes_in_pieces() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(10):
            for piece in (b"a", b"b."):
                writer.write(piece)
                await writer.drain()

    async with connected(serve) as port:
        assert await port.exchange(b"?", ending, 5) == "ab"
        assert await port.exchange(b"?", ending, 5) == "ab"


async def test_what_came_before_a_request_is_no_reply_to_it() -> None:
    said = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"old.")
        said.set()
        while await reader.read(10):
            writer.write(b"new.")

    async with connected(serve) as port:
        await said.wait()
        assert (await port.read_available()).startswith(b"old")
        assert await port.exchange(b"?", ending, 5) == "new"


@pytest.mark.parametrize(("said", "error"), [(b"", "timeout"), (b"half", "garbage")])
async def test_without_a_reply_the_reading_fails(said: bytes, error: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(10):
            writer.write(said)

    async with connected(serve) as port:
        with pytest.raises(ReadFailed, match=error):
            await port.exchange(b"?", ending, 0.1)


async def test_a_connection_that_breaks_within_a_reply_is_down() -> None:
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if request := await reader.read(10):
            requests.append(request)
            writer.write(b"half")

    async with connected(serve) as port:
        with pytest.raises(LinkDown, match="line-down"):
            await port.exchange(b"?", ending, 5)
    assert requests == [b"?"]


async def test_a_flood_fills_no_memory() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        for _ in range(100):
            writer.write(b"x" * 10_000)
            await writer.drain()
        writer.write(b".")

    seen: list[int] = []

    def watch(data: bytes) -> str | None:
        seen.append(len(data))
        return ending(data)

    async with connected(serve) as port:
        assert await port.exchange(b"?", watch, 10)
    assert max(seen) <= MAX_BUFFER_BYTES
