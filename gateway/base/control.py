"""The control socket of the daemon: a Unix socket with one JSON line per request and one per response.

The permissions of the socket file decide who may send requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway.model import GatewayError

from .connections import ACCEPT_BACKLOG, Connections
from .log import log_event
from .security import SECURITY_LOG

MAX_REQUEST_BYTES = 65_536
MAX_RESPONSE_BYTES = 16 << 20
"""The doctor's response has an entry for each of up to a thousand devices."""
RESPONSE_TIMEOUT_S = 30.0
"""A command on a slow line may take several seconds."""

IDLE_TIMEOUT_S = 30.0
"""For a client to send a request, and to read the response."""
MAX_CONNECTIONS = 64

T = TypeVar("T")
Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class DaemonNotRunning(GatewayError):
    """No daemon listens on the control socket. (One that does not answer still holds the lines.)"""


@contextlib.asynccontextmanager
async def serve_control_socket(path: Path, handlers: Mapping[str, Handler]) -> AsyncIterator[None]:
    """Answer `{"call": name, …}` with the handler of that name. Where the socket cannot be made, that is
    logged, and the gateway runs without it."""

    connections = Connections(MAX_CONNECTIONS, MAX_CONNECTIONS)
    tasks: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A line beyond all bounds is a `ValueError`.
        try:
            while line := await _within_time(reader.readline()):
                connections.trust(writer.transport)
                writer.write(msgspec.json.encode(await _respond(handlers, line)) + b"\n")
                await _within_time(writer.drain())
                await asyncio.sleep(0)  # Many requests in one piece must not hold the loop.
        except ValueError:
            SECURITY_LOG.add("call-refused")
            writer.transport.abort()
        except (OSError, TimeoutError):
            writer.transport.abort()
        finally:
            connections.remove(writer.transport)
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer.transport)
        task = asyncio.create_task(answer(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(
            accept, path, limit=MAX_REQUEST_BYTES, backlog=ACCEPT_BACKLOG
        )
    except OSError as error:
        log_event(logging.ERROR, "control-failed", path=path, reason=error)
        yield
        return
    path.chmod(0o660)
    try:
        yield
    finally:
        # Open connections are not waited for: they end with the loop.
        server.close()
        path.unlink(missing_ok=True)


async def _within_time(work: Awaitable[T]) -> T:
    async with asyncio.timeout(IDLE_TIMEOUT_S):
        return await work


async def _respond(handlers: Mapping[str, Handler], request_line: bytes) -> dict[str, Any]:
    try:
        request = msgspec.json.decode(request_line, type=dict[str, Any])
        handler = handlers[str(request.pop("call"))]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        SECURITY_LOG.add("call-refused")
        return {"error": "call-unknown", "facts": {"known": ", ".join(handlers)}}
    try:
        return await handler(request)
    except GatewayError as error:
        return {"error": error.key, "facts": error.stored_facts()}


async def call_daemon(
    path: Path, name: str, timeout_s: float = RESPONSE_TIMEOUT_S, /, **request: Any
) -> dict[str, Any]:
    """Send a request. Raises `DaemonNotRunning`, or the `GatewayError` that the daemon raised."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(path, limit=MAX_RESPONSE_BYTES)
            with contextlib.closing(writer):
                writer.write(msgspec.json.encode({"call": name, **request}) + b"\n")
                answer = msgspec.json.decode(await reader.readline(), type=dict[str, Any])
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise DaemonNotRunning("daemon-away", socket=path, reason=error) from error
    except (OSError, ValueError) as error:
        raise GatewayError("daemon-silent", socket=path, reason=error) from error
    if "error" in answer:
        raise GatewayError(answer["error"], **answer.get("facts", {}))
    return answer
