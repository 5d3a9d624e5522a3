"""Cameras that count people who cross a line, or who are in a zone. Pictures stay in the memory of the
camera's own process; only counts leave it (`messages` defines all messages).

A video file is played in real time, for trials: at its end the bus is down, and the file starts again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import quote, urlsplit

import msgspec

from gateway.model import (
    Checks,
    ConfigError,
    Device,
    Driver,
    LinkDown,
    Listener,
    Point,
    Raw,
    ReadFailed,
    Role,
    Value,
    sentence,
)
from gateway.wire.secret import read_secret

from .messages import MIN_RELATIVE_SIZE, CameraJob, LineJob, PictureQuality, RelearnRequest, ZoneJob
from .messages import Point as Place
from .worker import CameraProcess, running_camera

VALUE_FIELDS = {"in", "out", "occupancy", "invalid", "tamper", "calibrated", "picture", "fps", "cost"}
TOTAL_FIELDS = "in", "out"
RELEARN_ACTION = "relearn"


def _is_video_url(url: str) -> bool:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", url):
        parts = urlsplit(url)
        return parts.scheme in ("rtsp", "rtsps") and bool(parts.hostname) and parts.username is None
    return bool(url)


def _is_readable_file(path: Path | None) -> bool:
    return path is None or (path.is_file() and os.access(path, os.R_OK))


def _matches_checksum(options: Options) -> bool:
    if options.model is None:
        return not options.sha256
    with options.model.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == options.sha256.lower()


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`url`: rtsp://host/path, a USB camera below /dev/v4l/by-id, or a video file. `view`: overhead looks
    straight down. `fps`: the number of frames per second that are analysed. `rotate`: degrees clockwise.
    `stills`: whether still pictures may be shown to a person who sets the camera up. `model`: a person
    detector (ONNX), and its checksum."""

    url: str
    view: Literal["overhead", "oblique"]
    username: str = ""
    password_file: Path | None = None
    fps: float = 15.0
    rotate: Literal[0, 90, 180, 270] = 0
    stills: bool = False
    model: Path | None = None
    sha256: str = ""

    CHECKS: ClassVar[Checks] = {
        "url": (_is_video_url, "camera-url"),
        "fps": (lambda fps: 1 <= fps <= 30, "camera-fps"),
        "model": (_is_readable_file, "camera-model"),
    }
    STRUCT_CHECKS: ClassVar[Checks] = {
        "username": (lambda o: bool(o.username) == bool(o.password_file), "camera-login"),
        "sha256": (_matches_checksum, "camera-sha256"),
    }


def _is_in_picture(coordinates: Sequence[float] | None) -> bool:
    return coordinates is None or all(0 <= number <= 1 for number in coordinates)


def is_valid_line(line: Sequence[float] | None) -> bool:
    """Whether x1, y1, x2, y2 is long enough to be crossed."""
    return line is None or max(abs(line[2] - line[0]), abs(line[3] - line[1])) >= MIN_RELATIVE_SIZE


def is_valid_person_size(size: Sequence[float] | None) -> bool:
    """Whether width and height are large enough to be distinguished from noise."""
    return size is None or all(MIN_RELATIVE_SIZE <= side <= 1 for side in size)


def _is_simple_polygon(zone: Sequence[Place] | None) -> bool:
    """Whether it has three corners or more, and no sides intersect."""
    if zone is None:
        return True
    sides = [(zone[i - 1], zone[i]) for i in range(len(zone))]
    return (
        3 <= len(zone) <= 32
        and len(set(zone)) == len(zone)
        and not any(
            _segments_intersect(*sides[i], *sides[j])
            for i in range(len(sides))
            for j in range(i + 2, len(sides))
            if (j + 1) % len(sides) != i
        )
        and abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in sides)) > 1e-4
    )


def _segments_intersect(a: Place, b: Place, c: Place, d: Place) -> bool:
    """Whether the segments a–b and c–d have a point in common."""
    orientations = [
        _orientation(a, b, c),
        _orientation(a, b, d),
        _orientation(c, d, a),
        _orientation(c, d, b),
    ]
    if orientations[0] * orientations[1] < 0 and orientations[2] * orientations[3] < 0:
        return True
    ends = ((a, b, c), (a, b, d), (c, d, a), (c, d, b))
    return any(
        orientation == 0 and _is_within_bounds(*points)
        for orientation, points in zip(orientations, ends, strict=True)
    )


def _orientation(a: Place, b: Place, c: Place) -> int:
    cross = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return (cross > 1e-12) - (cross < -1e-12)


def _is_within_bounds(a: Place, b: Place, c: Place) -> bool:
    return all(min(a[i], b[i]) <= c[i] <= max(a[i], b[i]) for i in (0, 1))


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """Where people are counted, in 0–1 of the picture's width and height, y down. `line`: x1, y1, x2, y2;
    seen from the first point towards the second, a crossing to the right is "in". `zone`: the corners of a
    polygon. `person`: width and height of one person there; if no device of the camera has it, it is
    learned from people who walk alone."""

    line: tuple[float, float, float, float] | None = None
    zone: tuple[Place, ...] | None = None
    person: Place | None = None

    CHECKS: ClassVar[Checks] = {
        "line": (_is_in_picture, "camera-range"),
        "zone": (lambda zone: all(map(_is_in_picture, zone or ())), "camera-range"),
        "person": (is_valid_person_size, "camera-person"),
    }
    STRUCT_CHECKS: ClassVar[Checks] = {
        "line": (lambda a: is_valid_line(a.line), "line-no-length"),
        "zone": (lambda a: _is_simple_polygon(a.zone), "camera-zone"),
    }


class CameraPoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`field`: the name of a value that the camera reports."""

    field: str

    CHECKS: ClassVar[Checks] = {"field": (VALUE_FIELDS.__contains__, "camera-field")}


def decode(points: Mapping[str, CameraPoint], raw: Raw) -> dict[str, Value]:
    """Select the reported values."""
    return {name: raw[point.field] for name, point in points.items() if point.field in raw}


def parse_example(fields: Mapping[str, Any]) -> Raw:
    """A worked example: `says = { in = 3, out = 2, tamper = false }`."""
    if not isinstance(fields["says"], dict):
        raise ValueError("says")
    return fields["says"]


def format_raw(raw: Raw) -> str:
    return msgspec.json.encode(raw).decode()


def check_device(device: Device, other_devices: tuple[Device, ...], _: Options) -> None:
    """Check that a device has a line or a zone, as its profile requires, and that OpenCV is installed."""
    if find_spec("cv2") is None:
        raise ConfigError("camera-missing", reason=sentence("cause.package", package="cv2"))
    wanted = "zone" if any(point.field == "occupancy" for point in device.points.values()) else "line"
    other = "line" if wanted == "zone" else "zone"
    if getattr(device.address, wanted) is None or getattr(device.address, other) is not None:
        raise ConfigError("camera-place", wanted=wanted)


def state_to_save(raw: Raw) -> bytes:
    """The totals of a line. Each process counts from zero, so the earlier totals are added."""
    return msgspec.msgpack.encode({name: raw[name] for name in TOTAL_FIELDS if name in raw})


class CameraListener(Listener):
    """One camera, with the devices that count in its picture."""

    def __init__(self, process: CameraProcess) -> None:
        self._process = process
        self._earlier_totals: dict[str, dict[str, int]] = {}

    def restore_state(self, device: str, state: bytes) -> None:
        with suppress(msgspec.DecodeError):  # It may be from another kind of device of the same name.
            self._earlier_totals[device] = msgspec.msgpack.decode(state, type=dict[str, int])

    async def listen(self) -> AsyncIterator[tuple[str, Raw | ReadFailed]]:
        while True:
            message = await self._process.next_values()
            earlier = self._earlier_totals.get(message.device, {})
            totals = {
                name: count + earlier.get(name, 0)
                for name, count in message.values.items()
                if name in TOTAL_FIELDS and isinstance(count, int)
            }
            yield message.device, message.values | totals

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        if action != RELEARN_ACTION:
            return await super().write(device, action, args)
        await self._process.send(RelearnRequest())
        return {"picture": PictureQuality.GOOD}

    async def capture_still(self) -> bytes:
        return await self._process.capture_still()


@asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[CameraListener]:
    """Start the process of the camera."""
    job = CameraJob(
        url=_url_with_password(options),
        view=options.view,
        fps=options.fps,
        rotation_deg=options.rotate,
        stills=options.stills,
        model=str(options.model or ""),
        sha256=options.sha256,
        lines={
            device.name: LineJob((line[:2], line[2:]), device.address.person, device.every)
            for device in devices
            if (line := device.address.line)
        },
        zones={
            device.name: ZoneJob(zone, device.address.person, device.every)
            for device in devices
            if (zone := device.address.zone)
        },
    )
    async with running_camera(job) as process:
        yield CameraListener(process)


def _url_with_password(options: Options) -> str:
    """The url with the password, which is read again for each connection."""
    if "://" not in options.url:
        if not Path(options.url).exists():
            raise LinkDown("camera-gone", url=options.url)
        return options.url
    if options.password_file is None:
        return options.url
    login = f"{quote(options.username, '')}:{quote(read_secret(options.password_file), '')}"
    parts = urlsplit(options.url)
    return parts._replace(netloc=f"{login}@{parts.netloc}").geturl()


DRIVER = Driver(
    occupies=lambda options: options.url if options.url.startswith("/") else None,
    options=Options,
    address=Address,
    point=CameraPoint,
    connect=connect,
    decode=decode,
    parse_example=parse_example,
    format_raw=format_raw,
    state_to_save=state_to_save,
    actions={RELEARN_ACTION: Role.INSTALLER},
    check_device=check_device,
    allows_stills=lambda options: options.stills,
)
