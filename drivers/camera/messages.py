"""What a camera's process is told, and all that it may say: these few structs, one at a time, each after
its length, on a socket. Pictures leave it as a `Still`, and only where the site allows that.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from enum import StrEnum
from typing import Literal

import msgspec

from gateway.model import LinkDown

Point = tuple[float, float]
"""x and y, in 0–1 of the picture's width and height, y down."""

LEAST = 0.01
"""Of the picture: what is shorter or narrower, no camera can show to be a line or a person."""

SMALL, STILL = 4096, 2_000_000
"""Bytes of a message; of one with a still."""


class Picture(StrEnum):
    """How the picture is; anything but good is tampering until somebody has looked."""

    GOOD = "good"
    FROZEN = "frozen"
    """It does not change at all, not even by noise."""
    DARK = "dark"
    """Black: the lens is covered."""
    BLURRED = "blurred"
    """Out of focus, or the lens is sprayed."""
    MOVED = "moved"
    """The camera looks elsewhere."""


class LineJob(msgspec.Struct, frozen=True):
    """A device that counts at a line."""

    points: tuple[Point, Point]
    person: Point | None
    every: float
    """Seconds between two messages at most."""


class ZoneJob(msgspec.Struct, frozen=True):
    """A device that counts who is in a polygon."""

    corners: tuple[Point, ...]
    person: Point | None
    every: float


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a camera's process is to do."""

    url: str
    """With the password in it."""
    view: Literal["overhead", "oblique"]
    fps: float
    turn: int
    stills: bool
    model: str
    sha256: str
    lines: dict[str, LineJob]
    zones: dict[str, ZoneJob]


class Look(msgspec.Struct, frozen=True, tag=True):
    """A person wants a still."""


class Relearn(msgspec.Struct, frozen=True, tag=True):
    """What the camera sees now is as it should be."""


class Beat(msgspec.Struct, frozen=True, tag=True):
    """Pictures come in; said at least every second."""


Values = dict[str, bool | int | float | Picture]


class Said(msgspec.Struct, frozen=True, tag=True):
    """The values of a device."""

    device: str
    values: Values


class Still(msgspec.Struct, frozen=True, tag=True):
    """A picture as JPEG; empty where stills are not allowed."""

    jpeg: bytes


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It ends, and why: a sentence's key, and what fills it in."""

    key: str
    facts: dict[str, str]


Asked = Look | Relearn
Told = Beat | Said | Still | Failed

_job = msgspec.msgpack.Decoder(Job)
_asked: msgspec.msgpack.Decoder[Asked] = msgspec.msgpack.Decoder(Asked)
_told: msgspec.msgpack.Decoder[Told] = msgspec.msgpack.Decoder(Told)


def packed(message: Job | Asked | Told) -> bytes:
    """As it is sent."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4) + body


async def hear(reader: asyncio.StreamReader, awaited: Callable[[], bool]) -> Told:
    """The gateway's end: the next message. Raises `LinkDown` for anything else, and for a still that is
    not `awaited`; `asyncio.IncompleteReadError` at the end."""
    size = int.from_bytes(await reader.readexactly(4))
    if size > (STILL if awaited() else SMALL):
        raise LinkDown("camera-garbled")
    try:
        told = _told.decode(await reader.readexactly(size))
    except ValueError as error:
        raise LinkDown("camera-garbled") from error
    if isinstance(told, Still) and not awaited():
        raise LinkDown("camera-garbled")
    return told


def take_job(channel: socket.socket) -> Job:
    """The process's end: its first message. Raises `EOFError`."""
    return _job.decode(_read(channel))


def take(channel: socket.socket) -> Asked:
    """The process's end: the next message. Blocks. Raises `EOFError` when the gateway is gone."""
    return _asked.decode(_read(channel))


def _read(channel: socket.socket) -> bytes:
    size = int.from_bytes(_exactly(channel, 4))
    return _exactly(channel, size)


def _exactly(channel: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = channel.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data
