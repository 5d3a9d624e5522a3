"""The local door to the daemon: one JSON line asked, one answered, on a Unix socket.

Whoever may open the socket may ask; the file's permissions are the credential.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.model import GatewayError

LINE = 65_536
"""Bytes of a question."""
ANSWER = 16 << 20
"""Bytes of an answer: the doctor has a line for each of a thousand devices."""
PATIENCE = 30.0
"""Seconds a caller waits: a command on a slow line may take several."""

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class DaemonAway(GatewayError):
    """There is no daemon at the control socket; one that does not answer is another matter, for it
    holds the lines."""


@contextlib.asynccontextmanager
async def serve(path: Path, handlers: Mapping[str, Handler]) -> AsyncIterator[None]:
    """Answer `{"call": name, …}` with the handler of that name."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled only as the loop ends; asyncio would log that of its own task as a mistake.
        gone = ConnectionError, ValueError, asyncio.CancelledError
        with contextlib.closing(writer), contextlib.suppress(*gone):
            while line := await reader.readline():
                writer.write(msgspec.json.encode(await _respond(handlers, line)) + b"\n")
                await writer.drain()

    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(answer, path, limit=LINE)
    path.chmod(0o660)
    try:
        yield
    finally:
        # Nobody waits for those who are still connected: they end with the loop.
        server.close()
        path.unlink(missing_ok=True)


async def _respond(handlers: Mapping[str, Handler], line: bytes) -> dict[str, Any]:
    try:
        request = msgspec.json.decode(line, type=dict[str, Any])
        handler = handlers[str(request.pop("call"))]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return {"error": "call-unknown", "facts": {"known": ", ".join(handlers)}}
    try:
        return await handler(request)
    except GatewayError as error:
        return {"error": error.key, "facts": {k: str(v) for k, v in error.facts.items()}}


async def call(path: Path, name: str, patience: float = PATIENCE, /, **request: Any) -> dict[str, Any]:
    """Ask the daemon. Raises `DaemonAway`, or the `GatewayError` that the daemon met."""
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_unix_connection(path, limit=ANSWER)
            with contextlib.closing(writer):
                writer.write(msgspec.json.encode({"call": name, **request}) + b"\n")
                answer = msgspec.json.decode(await reader.readline(), type=dict[str, Any])
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise DaemonAway("daemon-away", socket=path, reason=error) from error
    except (OSError, ValueError) as error:
        raise GatewayError("daemon-silent", socket=path, reason=error or patience) from error
    if "error" in answer:
        raise GatewayError(answer["error"], **answer.get("facts", {}))
    return answer
