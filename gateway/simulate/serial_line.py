"""A serial line: a pty whose far end is opened by clients through a symlink."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from .faults import Faults

TURNAROUND_S = 0.005
"""The time a slave takes to answer."""


class Slave(Protocol):
    """A slave on the line. All requests have the same length, so that a valid one is found in any noise."""

    wire: str
    baud: int
    request_bytes: int

    def is_valid_request(self, frame: bytes) -> bool:
        """Whether these bytes are a request."""
        ...

    def unit_of(self, frame: bytes) -> int:
        """The unit that the request is for."""
        ...

    def reply_to(self, frame: bytes) -> bytes:
        """Execute the request and return the reply; empty for no reply."""
        ...


def extract_requests(buffer: bytearray, slave: Slave) -> Iterator[bytes]:
    """Remove and yield the valid requests of the buffer; what may be the start of one stays."""
    at = 0
    while at + slave.request_bytes <= len(buffer):
        frame = bytes(buffer[at : at + slave.request_bytes])
        if slave.is_valid_request(frame):
            at += slave.request_bytes
            yield frame
        else:
            at += 1
    del buffer[:at]


@contextmanager
def serve_serial_line(path: Path, slave: Slave, faults: Faults) -> Iterator[None]:
    """Serve the slave at `path` within the block. Raises `FileExistsError` if a file is there."""
    loop = asyncio.get_running_loop()
    near, far = os.openpty()  # kept open, so that clients may come and go
    tty.setraw(far)
    os.set_blocking(near, False)
    buffer = bytearray()
    timers: set[asyncio.TimerHandle] = set()

    def answer_requests() -> None:
        buffer.extend(os.read(near, 4096))
        for frame in extract_requests(buffer, slave):
            delay = faults.reply_delay_s(slave.wire, slave.unit_of(frame))
            if delay is not None and (reply := slave.reply_to(frame)):
                # A pty has no baud rate: add the time that the bytes need on a real line.
                delay += TURNAROUND_S + (len(frame) + len(reply)) * 10 / slave.baud
                send_later(delay, reply)

    def send_later(delay: float, reply: bytes) -> None:
        def send() -> None:
            timers.discard(timer)
            with suppress(BlockingIOError):  # no client reads
                os.write(near, faults.apply_noise(slave.wire, reply))

        timer = loop.call_later(delay, send)
        timers.add(timer)

    try:
        if path.is_symlink():
            path.unlink()  # left behind by a simulator that was killed
        path.symlink_to(os.ttyname(far))
        loop.add_reader(near, answer_requests)
        yield
    finally:
        loop.remove_reader(near)
        for timer in timers:
            timer.cancel()
        if path.is_symlink() and os.readlink(path) == os.ttyname(far):
            path.unlink()
        os.close(near)
        os.close(far)
