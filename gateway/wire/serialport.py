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

from gateway.model import LinkDown

from .receive import MAX_BUFFER_BYTES, ReceiveBuffer

PORT_ERRORS = (OSError, serial.SerialException, termios.error)
"""Raised by a port that is gone."""

T = TypeVar("T")


class SerialPort(ReceiveBuffer):
    """An exclusively opened port, for one task."""

    def __init__(self, port: serial.Serial) -> None:
        super().__init__()
        self._port = port

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

    async def exchange(self, frame: bytes, parse: Callable[[bytes], T | None], seconds: float) -> T:
        """Discard what was received so far, send a frame, and wait for its reply. Raises `ReadFailed` or
        `LinkDown`."""
        self.send(frame)
        return await self.receive(parse, seconds)

    def read_waiting(self) -> None:
        """Read the bytes that are waiting; called by the event loop."""
        try:
            data = self._port.read(MAX_BUFFER_BYTES)
        except PORT_ERRORS as error:
            # A broken port stays readable for ever, and keeps its name from a replugged adapter.
            self.close()
            self._fail(error)
        else:
            self._add_received(data)

    def close(self) -> None:
        """Close the port, if it is open."""
        if self._port.is_open:
            asyncio.get_running_loop().remove_reader(self._port.fileno())
            self._port.close()


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
