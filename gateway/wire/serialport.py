"""A serial port on the event loop, through pyserial, for protocols without a library."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import termios
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import serial

from gateway.model import FailureKind, LinkDown, ReadFailed

MAX_BUFFER_BYTES = 4096
PORT_ERRORS = (OSError, serial.SerialException, termios.error)
"""Raised by a port that is gone."""

T = TypeVar("T")


class SerialPort:
    """An exclusively opened port, for one task."""

    def __init__(self, port: serial.Serial) -> None:
        self._port = port
        self._buffer = bytearray()
        self._data_arrived = asyncio.Event()
        self._error: Exception | None = None

    def send(self, frame: bytes) -> None:
        """Discard what was received so far, and write one frame."""
        self._raise_if_failed()
        self._buffer.clear()
        try:
            self._port.reset_input_buffer()
        except PORT_ERRORS as error:
            raise LinkDown("line-down", reason=error) from error
        self.write(frame)

    def write(self, frame: bytes) -> None:
        """Write one frame without discarding input, for devices that send unasked. A line that takes no
        more is down: nothing waits for it."""
        self._raise_if_failed()
        try:
            written = os.write(self._port.fileno(), frame)
        except PORT_ERRORS as error:
            raise LinkDown("line-down", reason=error) from error
        if written < len(frame):
            raise LinkDown("line-down", reason=BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)))

    async def read_available(self) -> bytes:
        """Wait for at least one byte; returns all that were received."""
        while not self._buffer:
            self._raise_if_failed()
            self._data_arrived.clear()
            await self._data_arrived.wait()
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    async def receive(self, parse: Callable[[bytes], T | None], seconds: float) -> T:
        """Wait until `parse` finds a reply; raises `ReadFailed` after that many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    self._raise_if_failed()
                    if (reply := parse(bytes(self._buffer))) is not None:
                        return reply
                    self._data_arrived.clear()
                    await self._data_arrived.wait()
        if self._buffer:
            raise ReadFailed("garbage", FailureKind.DAMAGED, bytes=len(self._buffer))
        raise ReadFailed("timeout", FailureKind.TIMEOUT, bytes=0)

    def read_waiting(self) -> None:
        """Read the bytes that are waiting; called by the event loop."""
        try:
            data = self._port.read(MAX_BUFFER_BYTES)
        except PORT_ERRORS as error:
            self._error = error
            # A broken port stays readable for ever, and keeps its name from a replugged adapter.
            self.close()
        else:
            self._buffer += data
            # Noise may arrive for hours; no reply is longer than this.
            del self._buffer[:-MAX_BUFFER_BYTES]
        self._data_arrived.set()

    def close(self) -> None:
        """Close the port, if it is open."""
        if self._port.is_open:
            asyncio.get_running_loop().remove_reader(self._port.fileno())
            self._port.close()

    def _raise_if_failed(self) -> None:
        if self._error:
            raise LinkDown("line-down", reason=self._error)


@contextlib.asynccontextmanager
async def open_port(
    path: str, baud: int, parity: str = "N", stop_bits: int = 1
) -> AsyncIterator[SerialPort]:
    """Open a port (8 data bits). Raises `LinkDown`."""
    try:
        device = serial.Serial(
            path,
            baud,
            parity=parity,
            stopbits=stop_bits,
            timeout=0,
            exclusive=True,
        )
    except PORT_ERRORS as error:
        raise LinkDown("line-open", url=path, reason=error) from error
    port = SerialPort(device)
    asyncio.get_running_loop().add_reader(device.fileno(), port.read_waiting)
    try:
        yield port
    finally:
        port.close()
