"""A serial port on the event loop, through pyserial: for protocols without a library of their own."""

from __future__ import annotations

import asyncio
import contextlib
import termios
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import serial

from gateway.model import FailureKind, LinkDown, ReadFailed

CHUNK = 4096
BROKEN = (OSError, serial.SerialException, termios.error)
"""What a port raises that is gone."""
STUCK = 0.5
"""Seconds that the line may refuse to take a frame."""

T = TypeVar("T")


class SerialPort:
    """An exclusively opened port; one task talks on it."""

    def __init__(self, port: serial.Serial) -> None:
        self._port = port
        self._buffer = bytearray()
        self._arrived = asyncio.Event()
        self._broken: Exception | None = None

    def send(self, frame: bytes) -> None:
        """Write one frame. What came before it belongs to nobody and is thrown away."""
        self._fail_if_broken()
        self._buffer.clear()
        try:
            self._port.reset_input_buffer()
        except BROKEN as error:
            raise LinkDown("line-down", reason=error) from error
        self.answer(frame)

    def answer(self, frame: bytes) -> None:
        """Write one frame and keep what comes meanwhile: for devices that speak unasked."""
        self._fail_if_broken()
        try:
            self._port.write(frame)
        except BROKEN as error:
            raise LinkDown("line-down", reason=error) from error

    async def hear(self) -> bytes:
        """Wait for at least one byte and take all there are."""
        while not self._buffer:
            self._fail_if_broken()
            self._arrived.clear()
            await self._arrived.wait()
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    async def receive(self, parse: Callable[[bytes], T | None], seconds: float) -> T:
        """Wait until `parse` finds a reply; raises `ReadFailed` after that many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    self._fail_if_broken()
                    if (reply := parse(bytes(self._buffer))) is not None:
                        return reply
                    self._arrived.clear()
                    await self._arrived.wait()
        if self._buffer:
            raise ReadFailed("garbage", FailureKind.DAMAGED, bytes=len(self._buffer))
        raise ReadFailed("timeout", FailureKind.TIMEOUT, bytes=0)

    def ready(self) -> None:
        """The event loop says that bytes are waiting."""
        try:
            data = self._port.read(CHUNK)
        except BROKEN as error:
            self._broken = error
            # It would be "ready" for ever, and an adapter that comes back finds its number taken.
            self.close()
        else:
            self._buffer += data
            # Noise may fill the line for hours: a reply is never longer than this.
            del self._buffer[:-CHUNK]
        self._arrived.set()

    def close(self) -> None:
        """Give the port back; a second time does nothing."""
        if self._port.is_open:
            asyncio.get_running_loop().remove_reader(self._port.fileno())
            self._port.close()

    def _fail_if_broken(self) -> None:
        if self._broken:
            raise LinkDown("line-down", reason=self._broken)


@contextlib.asynccontextmanager
async def open_port(
    path: str, baud: int, parity: str = "N", stop_bits: int = 1
) -> AsyncIterator[SerialPort]:
    """Open a port (8 data bits). Raises `LinkDown`."""
    try:
        device = serial.Serial(
            path, baud, parity=parity, stopbits=stop_bits, timeout=0, write_timeout=STUCK, exclusive=True
        )
    except BROKEN as error:
        raise LinkDown("line-open", url=path, reason=error) from error
    port = SerialPort(device)
    asyncio.get_running_loop().add_reader(device.fileno(), port.ready)
    try:
        yield port
    finally:
        port.close()
