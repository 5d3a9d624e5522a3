"""A serial line: a pty whose far end clients open through a symlink."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from .faults import Faults

TURNAROUND = 0.005
"""Seconds that a device needs before it replies."""


class Slave(Protocol):
    """A device on the line. All requests have the same length, so a valid one is found among noise."""

    wire: str
    baud: int
    length: int

    def sound(self, frame: bytes) -> bool:
        """Whether these bytes are a request."""
        ...

    def unit(self, frame: bytes) -> int:
        """The unit that the request is for."""
        ...

    def reply(self, frame: bytes) -> bytes:
        """Execute the request and return the reply; empty: no reply."""
        ...


def requests(buffer: bytearray, slave: Slave) -> Iterator[bytes]:
    """Remove the valid requests from the buffer; bytes that may become one stay."""
    at = 0
    while at + slave.length <= len(buffer):
        frame = bytes(buffer[at : at + slave.length])
        if slave.sound(frame):
            at += slave.length
            yield frame
        else:
            at += 1
    del buffer[:at]


@contextmanager
def line(path: Path, slave: Slave, faults: Faults) -> Iterator[None]:
    """Serve the device at `path` within the block. Raises `FileExistsError` if a file is there."""
    loop = asyncio.get_running_loop()
    near, far = os.openpty()  # the far end stays open here too, so clients may come and go
    tty.setraw(far)
    os.set_blocking(near, False)
    buffer = bytearray()
    timers: set[asyncio.TimerHandle] = set()

    def readable() -> None:
        buffer.extend(os.read(near, 4096))
        for frame in requests(buffer, slave):
            delay = faults.delay(slave.wire, slave.unit(frame))
            if delay is not None and (reply := slave.reply(frame)):
                # A pty has no baud rate: the time that the bytes need on a real line is kept here.
                delay += TURNAROUND + (len(frame) + len(reply)) * 10 / slave.baud
                send_later(delay, reply)

    def send_later(delay: float, reply: bytes) -> None:
        def send() -> None:
            timers.discard(timer)
            with suppress(BlockingIOError):  # no reader: the bytes are lost, as on a wire
                os.write(near, faults.noise(slave.wire, reply))

        timer = loop.call_later(delay, send)
        timers.add(timer)

    try:
        if path.is_symlink():
            path.unlink()  # left behind by a simulator that was killed
        path.symlink_to(os.ttyname(far))
        loop.add_reader(near, readable)
        yield
    finally:
        loop.remove_reader(near)
        for timer in timers:
            timer.cancel()
        if path.is_symlink() and os.readlink(path) == os.ttyname(far):
            path.unlink()
        os.close(near)
        os.close(far)
