"""The gateway's side of a camera's process: start it, receive its messages, end it when it is silent.

A decoder may hang, grow or crash on what a camera sends: that affects its own process only, and the bus is
reopened.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from gateway.model import FailureKind, LinkDown, ReadFailed

from .messages import (
    CameraJob,
    CameraMessage,
    FailureMessage,
    Request,
    StillMessage,
    StillRequest,
    ValuesMessage,
    encode_message,
    receive_message,
)
from .zygote import ZYGOTE

FIRST_PICTURE_TIMEOUT_S, MESSAGE_TIMEOUT_S = 20.0, 10.0
"""Both are longer than the process waits for its camera."""
STILL_TIMEOUT_S = 5.0
EXIT_TIMEOUT_S = 2.0
"""For a killed process to release its camera."""


class CameraProcess:
    """The connection to a camera's process."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._still: asyncio.Future[bytes] | None = None

    async def next_values(self) -> ValuesMessage:
        """Receive the next values of a device. Raises `LinkDown`."""
        while True:
            message = await self.next_message(MESSAGE_TIMEOUT_S)
            if isinstance(message, ValuesMessage):
                return message
            if isinstance(message, StillMessage):
                if self._still and not self._still.done():
                    self._still.set_result(message.jpeg)
                self._still = None

    async def next_message(self, timeout_s: float) -> CameraMessage:
        """Receive the next message. Raises `LinkDown`."""
        try:
            async with asyncio.timeout(timeout_s):
                message = await receive_message(self._reader, lambda: self._still is not None)
        except TimeoutError as error:
            raise LinkDown("camera-hung", seconds=round(timeout_s)) from error
        except (OSError, EOFError) as error:
            raise LinkDown("camera-died") from error
        if isinstance(message, FailureMessage):
            raise LinkDown(message.key, **message.facts)
        return message

    async def capture_still(self) -> bytes:
        """Request a still, as JPEG. Raises `ReadFailed`."""
        if self._still is None:
            self._still = asyncio.get_running_loop().create_future()
            await self.send(StillRequest())
        try:
            async with asyncio.timeout(STILL_TIMEOUT_S):
                jpeg = await asyncio.shield(self._still)
        except TimeoutError as error:
            raise ReadFailed("timeout", FailureKind.TIMEOUT) from error
        if not jpeg:
            raise ReadFailed("stills-off")
        return jpeg

    async def send(self, message: CameraJob | Request) -> None:
        """Send a message. Raises `LinkDown`."""
        try:
            self._writer.write(encode_message(message))
            await self._writer.drain()
        except OSError as error:
            raise LinkDown("camera-died") from error


@asynccontextmanager
async def running_camera(job: CameraJob) -> AsyncIterator[CameraProcess]:
    """Start a process for the job and wait for its first picture; kill it on exit. Raises `LinkDown`."""
    fork = asyncio.get_running_loop().run_in_executor(None, _fork_child)
    try:
        ours, pidfd = await asyncio.shield(fork)
        reader, writer = await asyncio.open_connection(sock=ours)
    except asyncio.CancelledError:
        fork.add_done_callback(_close_unused_child)  # A thread cannot be cancelled.
        raise
    try:
        process = CameraProcess(reader, writer)
        await process.send(job)
        await process.next_message(FIRST_PICTURE_TIMEOUT_S)
        yield process
    finally:
        writer.transport.abort()
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        # Its camera can be opened again only when it has ended.
        await _wait_for_exit(pidfd)


def _fork_child() -> tuple[socket.socket, int]:
    """Fork a process. Returns our end of its socket, and its pidfd."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            return ours, ZYGOTE.fork(theirs)
        except LinkDown:
            ours.close()
            raise


def _close_unused_child(fork: asyncio.Future[tuple[socket.socket, int]]) -> None:
    """Close the socket of a process that is not needed any more; that ends it."""
    if not fork.cancelled() and fork.exception() is None:
        ours, pidfd = fork.result()
        ours.close()
        os.close(pidfd)


async def _wait_for_exit(pidfd: int) -> None:
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, gone.set)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(EXIT_TIMEOUT_S):
                await gone.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
