"""All messages between the gateway and a camera's process, sent on a socket, each preceded by its length (4
bytes). Pictures leave the process only as a `StillMessage`, and only if the site allows it.
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

MIN_RELATIVE_SIZE = 0.01
"""The shortest line and the smallest side of a person, as a share of the picture."""

MAX_MESSAGE_BYTES, MAX_STILL_BYTES = 4096, 2_000_000


class PictureQuality(StrEnum):
    """Everything but `GOOD` is reported as tampering."""

    GOOD = "good"
    FROZEN = "frozen"
    """Identical pictures, without any noise."""
    DARK = "dark"
    """Black: the lens is covered."""
    BLURRED = "blurred"
    """Out of focus, or the lens is sprayed."""
    MOVED = "moved"
    """The camera points elsewhere."""


class LineJob(msgspec.Struct, frozen=True):
    """A device that counts crossings of a line."""

    points: tuple[Point, Point]
    person: Point | None
    interval_s: float
    """The longest time between two messages."""


class ZoneJob(msgspec.Struct, frozen=True):
    """A device that counts people in a polygon."""

    corners: tuple[Point, ...]
    person: Point | None
    interval_s: float


class CameraJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a camera's process has to do."""

    url: str
    """Contains the password."""
    view: Literal["overhead", "oblique"]
    fps: float
    rotation_deg: int
    stills: bool
    model: str
    sha256: str
    lines: dict[str, LineJob]
    zones: dict[str, ZoneJob]


class StillRequest(msgspec.Struct, frozen=True, tag=True):
    """Request for a still."""


class RelearnRequest(msgspec.Struct, frozen=True, tag=True):
    """Request to take the present view as the reference."""


class HeartbeatMessage(msgspec.Struct, frozen=True, tag=True):
    """Pictures are being received; sent every second."""


Values = dict[str, bool | int | float | PictureQuality]


class ValuesMessage(msgspec.Struct, frozen=True, tag=True):
    """The values of a device."""

    device: str
    values: Values


class StillMessage(msgspec.Struct, frozen=True, tag=True):
    """A picture as JPEG; empty if stills are not allowed."""

    jpeg: bytes


class FailureMessage(msgspec.Struct, frozen=True, tag=True):
    """Why the process ends: the key of an error text, and its parameters."""

    key: str
    facts: dict[str, str]


Request = StillRequest | RelearnRequest
CameraMessage = HeartbeatMessage | ValuesMessage | StillMessage | FailureMessage

_job_decoder = msgspec.msgpack.Decoder(CameraJob)
_request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_message_decoder: msgspec.msgpack.Decoder[CameraMessage] = msgspec.msgpack.Decoder(CameraMessage)


def encode_message(message: CameraJob | Request | CameraMessage) -> bytes:
    """Encode a message with its length."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4) + body


async def receive_message(
    reader: asyncio.StreamReader, still_requested: Callable[[], bool]
) -> CameraMessage:
    """Receive a message, on the gateway's side. Raises `LinkDown` for an invalid message and for a still
    that was not requested; `asyncio.IncompleteReadError` at the end."""
    await asyncio.sleep(0)  # A process that was taken over must not hold the loop by many messages at once.
    size = int.from_bytes(await reader.readexactly(4))
    if size > (MAX_STILL_BYTES if still_requested() else MAX_MESSAGE_BYTES):
        raise LinkDown("camera-garbled")
    try:
        message = _message_decoder.decode(await reader.readexactly(size))
    except ValueError as error:
        raise LinkDown("camera-garbled") from error
    if isinstance(message, StillMessage) and not still_requested():
        raise LinkDown("camera-garbled")
    return message


def receive_job(channel: socket.socket) -> CameraJob:
    """Receive the job, on the process's side. Raises `EOFError`."""
    return _job_decoder.decode(_read_body(channel))


def receive_request(channel: socket.socket) -> Request:
    """Receive a request, on the process's side. Blocks. Raises `EOFError` when the gateway is gone."""
    return _request_decoder.decode(_read_body(channel))


def _read_body(channel: socket.socket) -> bytes:
    size = int.from_bytes(_read_exactly(channel, 4))
    return _read_exactly(channel, size)


def _read_exactly(channel: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = channel.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data
