"""The gateway's side of a camera's process: begun, heard, and ended when it is silent.

A decoder may hang, grow or crash on what a camera sends: it does so elsewhere, and the line is reopened.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from gateway.model import LinkDown, ReadFailed

from .messages import Asked, Failed, Job, Look, Said, Still, Told, hear, packed
from .zygote import ZYGOTE

FIRST, SILENCE = 20.0, 10.0
"""Seconds until the first picture, and between two signs of life: more than a camera is waited for."""
LOOK = 5.0
"""Seconds a still may take."""
GOODBYE = 2.0
"""Seconds that a killed process may take to let go of its camera."""


class Worker:
    """A camera's process, as the gateway sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._still: asyncio.Future[bytes] | None = None

    async def said(self) -> Said:
        """The next values of a device. Raises `LinkDown`."""
        while True:
            told = await self.told(SILENCE)
            if isinstance(told, Said):
                return told
            if isinstance(told, Still):
                if self._still and not self._still.done():
                    self._still.set_result(told.jpeg)
                self._still = None

    async def told(self, patience: float) -> Told:
        """The next message, within so many seconds. Raises `LinkDown`."""
        try:
            async with asyncio.timeout(patience):
                told = await hear(self._reader, lambda: self._still is not None)
        except TimeoutError as error:
            raise LinkDown("camera-hung", seconds=round(patience)) from error
        except (OSError, EOFError) as error:
            raise LinkDown("camera-died") from error
        if isinstance(told, Failed):
            raise LinkDown(told.key, **told.facts)
        return told

    async def capture_still(self) -> bytes:
        """A still as JPEG. Raises `ReadFailed`."""
        if self._still is None:
            self._still = asyncio.get_running_loop().create_future()
            await self.ask(Look())
        try:
            async with asyncio.timeout(LOOK):
                jpeg = await asyncio.shield(self._still)
        except TimeoutError as error:
            raise ReadFailed("timeout") from error
        if not jpeg:
            raise ReadFailed("stills-off")
        return jpeg

    async def ask(self, asked: Job | Asked) -> None:
        """Raises `LinkDown`."""
        try:
            self._writer.write(packed(asked))
            await self._writer.drain()
        except OSError as error:
            raise LinkDown("camera-died") from error


@asynccontextmanager
async def working(job: Job) -> AsyncIterator[Worker]:
    """A process that does the job and has its first picture, for as long as this is entered. Raises
    `LinkDown`."""
    birth = asyncio.get_running_loop().run_in_executor(None, _bear)
    try:
        ours, process = await asyncio.shield(birth)
    except asyncio.CancelledError:
        birth.add_done_callback(_abandon)  # A thread cannot be called back.
        raise
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        worker = Worker(reader, writer)
        await worker.ask(job)
        await worker.told(FIRST)
        yield worker
    finally:
        writer.transport.abort()
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
        # Only when it is gone can its camera be opened again.
        await _ended(process)


def _bear() -> tuple[socket.socket, int]:
    """A process: our end of its socket, and what stands for it."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            return ours, ZYGOTE.fork(theirs)
        except LinkDown:
            ours.close()
            raise


def _abandon(birth: asyncio.Future[tuple[socket.socket, int]]) -> None:
    """Nobody waits for the process any more: it ends with its socket."""
    if not birth.cancelled() and birth.exception() is None:
        ours, process = birth.result()
        ours.close()
        os.close(process)


async def _ended(process: int) -> None:
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(process, gone.set)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE):
                await gone.wait()
    finally:
        loop.remove_reader(process)
        os.close(process)
