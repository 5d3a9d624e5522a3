"""The requests to the meters on one line.

A reply carries the meter's number and the item's identification, so that a late one is never taken for that
of another meter or item; but a refusal does not name the item. A converter may repeat the request.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from gateway.model import Bus, Device, FailureKind, ReadFailed
from gateway.wire.serialport import SerialPort, open_port
from gateway.wire.tcpport import TcpPort, open_tcp_port

from .frames import (
    CONTINUED,
    READ,
    READ_ADDRESS,
    READ_NEXT,
    REFUSED,
    REPLY,
    WAKE_UP,
    WILDCARD,
    MeterFrame,
    holds_beginning,
    iter_replies,
    split_frames,
)
from .options import Address, Options
from .points import ItemData, item_identification

PROBED_ITEM = "00010000"
"""The total of the active energy, which every meter has."""
MAX_CONTINUATIONS = 16
LATE_REPLY_WINDOW_S = 10.0
"""The time in which the reply to a request that was given up may still arrive."""
READINGS_WITHOUT_ABSENT_ITEM = 20
"""An item that the meter does not have is left out of so many readings, then requested again."""


class AbsentItems:
    """The items that a meter does not have: it refuses them, or some meters do not answer."""

    def __init__(self) -> None:
        self.left_out: dict[str, int] = {}
        """By identification, in how many more readings it is not requested."""
        self.silent: set[str] = set()
        """Those that were not answered the last time. Once, a reply may have been lost."""

    def start_reading(self) -> None:
        self.left_out = {di: readings - 1 for di, readings in self.left_out.items() if readings > 1}

    def add_refused(self, di: str) -> None:
        self.left_out[di] = READINGS_WITHOUT_ABSENT_ITEM + 1

    def add_silent(self, di: str) -> None:
        if di in self.silent:
            self.add_refused(di)
        self.silent.add(di)


class MeterBus(Bus):
    """One line with its meters."""

    def __init__(self, port: SerialPort | TcpPort, options: Options) -> None:
        self._port = port
        self.quirks = {}
        self.timeout_s = options.timeout
        self.settle_s = options.settle
        self._several_meters: bool | None = None
        """Whether more than one meter's reply came when all were asked at once; None: they were not."""
        self._unanswered_at_s: dict[str, float] = {}
        """By meter, when its last request without any reply was given up, in monotonic seconds."""
        self._answering_meters: set[str] = set()
        """Those that have replied, so that they are set to the speed of the line."""

    async def read(self, device: Device) -> ItemData:
        """All items of the device. What it refuses, or alone does not answer, is left out. Raises
        `ReadFailed` if there is nothing else."""
        meter: str = device.address.meter
        absent: AbsentItems = self.quirks.setdefault(device.name, AbsentItems())
        items: ItemData = {}
        refusal: ReadFailed | None = None
        identifications = dict.fromkeys(point.di for point in device.points.values())
        absent.start_reading()
        for di in [di for di in identifications if di not in absent.left_out] or identifications:
            if items:
                await self.pause()
            try:
                items[di] = await self._read_item(meter, di)
            except ReadFailed as failed:
                if failed.kind is FailureKind.TIMEOUT and items:
                    await self._read_item(
                        meter, next(iter(items))
                    )  # It fails if the meter itself is silent.
                    absent.add_silent(di)
                elif failed.kind is FailureKind.REFUSED:
                    refusal = failed
                    absent.add_refused(di)
                else:
                    raise
            else:
                absent.silent.discard(di)
        if refusal and not items:
            raise refusal
        return items

    async def probe(self, address: Address) -> dict[str, str]:
        """Read a meter's number, whose first digits may be unknown. Where not several meters reply at once,
        none is asked by its last digits."""
        if address.meter == WILDCARD:
            return {"meter": await self._read_only_number()}
        if self._several_meters is None:
            with suppress(ReadFailed):
                await self._read_only_number()
        if not self._several_meters:
            raise ReadFailed("timeout", FailureKind.SILENT, bytes=0)
        reply = await self._request(
            MeterFrame(address.meter, READ, _identification_bytes(PROBED_ITEM)),
            # A refusal is a reply too.
            lambda frame: (
                frame.control & ~(REFUSED | CONTINUED) == READ | REPLY and frame.meter.isdecimal()
            ),
        )
        return {"meter": reply.meter}

    async def _read_only_number(self) -> str:
        """The number of the only meter on the line. Not every meter answers the request for its address, or
        a reading without its number."""
        for request in (
            MeterFrame(WILDCARD, READ_ADDRESS),
            MeterFrame(WILDCARD, READ, _identification_bytes(PROBED_ITEM)),
        ):
            received = await self._receive_all(request)
            numbers = {reply.meter for reply in iter_replies(received, WILDCARD) if reply.meter.isdecimal()}
            noise = split_frames(received)[1].strip(WAKE_UP)
            self._several_meters = len(numbers) > 1 or bool(noise)
            if len(numbers) == 1:
                return numbers.pop()
            if self._several_meters:
                raise ReadFailed("garbage", FailureKind.DAMAGED, bytes=len(received))
        raise ReadFailed("timeout", FailureKind.TIMEOUT, bytes=0)

    async def _receive_all(self, request: MeterFrame) -> bytes:
        """What comes within the time for a reply."""
        received = b""

        def keep(data: bytes) -> None:
            nonlocal received
            received = data

        with suppress(ReadFailed):
            await self._port.exchange(request.encode(), keep, self.timeout_s)
        return received

    async def _read_item(self, meter: str, di: str) -> bytes:
        """The item's data, in one frame or several."""
        wanted = _identification_bytes(di)
        reply = await self._request(
            MeterFrame(meter, READ, wanted), lambda frame: _answers(frame, READ, di)
        )
        data = _data_of(reply, di)
        for sequence in range(1, MAX_CONTINUATIONS + 1):
            if not reply.control & CONTINUED:
                break
            reply = await self._request(
                MeterFrame(meter, READ_NEXT, wanted + bytes((sequence,))),
                lambda frame: _answers(frame, READ_NEXT, di, sequence),  # noqa: B023
            )
            data += _data_of(reply, di)[:-1]
        return data

    async def _request(self, request: MeterFrame, is_reply: Callable[[MeterFrame], bool]) -> MeterFrame:
        """Send a request and wait for the reply to it. Raises `ReadFailed` or `LinkDown`."""
        received = b""
        unanswered_at_s = self._unanswered_at_s.get(request.meter, float("-inf"))
        may_be_late = time.monotonic() < unanswered_at_s + LATE_REPLY_WINDOW_S

        def find_reply(data: bytes) -> MeterFrame | None:
            nonlocal received
            received = data
            replies = filter(is_reply, iter_replies(data, request.meter))
            return next((reply for reply in replies if not (reply.control & REFUSED and may_be_late)), None)

        try:
            reply = await self._port.exchange(request.encode(), find_reply, self.timeout_s)
        except ReadFailed as failed:
            if not any(map(is_reply, iter_replies(received, request.meter))):
                self._unanswered_at_s[request.meter] = time.monotonic()
            if failed.kind is FailureKind.DAMAGED and not self._may_be_damaged(request.meter, received):
                raise ReadFailed("timeout", FailureKind.TIMEOUT, bytes=0) from failed
            raise
        self._answering_meters.add(request.meter)
        return reply

    def _may_be_damaged(self, meter: str, received: bytes) -> bool:
        """Whether a damaged reply of the meter is in what was received. The repeated request, and late
        replies to others, are in order; so is the heartbeat of a converter."""
        noise = split_frames(received)[1].strip(WAKE_UP)
        return bool(noise) and (meter not in self._answering_meters or holds_beginning(noise))


def _answers(frame: MeterFrame, request: int, di: str, sequence: int | None = None) -> bool:
    """Whether a frame is the reply to a request for an item; a refusal does not name it."""
    if frame.control & ~(REFUSED | CONTINUED) != request | REPLY:
        return False
    if frame.control & REFUSED:
        return True
    return item_identification(frame.data) == di and sequence in (None, frame.data[-1])


def _data_of(reply: MeterFrame, di: str) -> bytes:
    """Raises `ReadFailed` for a refusal."""
    if reply.control & REFUSED:
        code = reply.data[:1].hex().upper()
        raise ReadFailed("dlt645-refused", FailureKind.REFUSED, meter=reply.meter, di=di, code=code)
    return reply.data[4:]


def _identification_bytes(di: str) -> bytes:
    """As in the data of a frame."""
    return bytes.fromhex(di)[::-1]


@asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[MeterBus]:
    """Open the port or connection."""
    url = urlsplit(options.url)
    if url.scheme == "serial":
        async with open_port(url.path, options.baud, options.parity, options.stop_bits) as serial_port:
            yield MeterBus(serial_port, options)
    else:
        async with open_tcp_port(url.hostname or "", url.port or 0) as connection:
            yield MeterBus(connection, options)
