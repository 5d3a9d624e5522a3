"""Cameras that count: who crosses a line, and how many are in a zone. Pictures stay in the memory of the
camera's own process; counts are all that leaves it (`messages` has the whole of what may).

A file is played at its own pace, for trials: at its end the line is down, and begins again.
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
    Value,
)
from gateway.wire.secret import read_secret

from .messages import LEAST, Job, LineJob, Picture, Relearn, ZoneJob
from .messages import Point as Place
from .worker import Worker, working

FIELDS = {"in", "out", "occupancy", "invalid", "tamper", "calibrated", "picture", "fps", "cost"}
TOTALS = "in", "out"
RELEARN = "relearn"


def _is_source(url: str) -> bool:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", url):
        parts = urlsplit(url)
        return parts.scheme in ("rtsp", "rtsps") and bool(parts.hostname) and parts.username is None
    return bool(url)


def _is_file(path: Path | None) -> bool:
    return path is None or (path.is_file() and os.access(path, os.R_OK))


def _is_checked(options: Options) -> bool:
    if options.model is None:
        return not options.sha256
    with options.model.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == options.sha256.lower()


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """`url`: rtsp://host/path, a USB camera below /dev/v4l/by-id, or a video file. `view`: overhead looks
    straight down. `fps`: how many frames a second are looked at. `rotate`: degrees clockwise. `stills`:
    whether a person may see what the camera sees, to set it up. `model`: a person detector (ONNX), and its
    checksum."""

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
        "url": (_is_source, "camera-url"),
        "fps": (lambda fps: 1 <= fps <= 30, "camera-fps"),
        "model": (_is_file, "camera-model"),
    }
    STRUCT_CHECKS: ClassVar[Checks] = {
        "username": (lambda o: bool(o.username) == bool(o.password_file), "camera-login"),
        "sha256": (_is_checked, "camera-sha256"),
    }


def _in_picture(numbers: Sequence[float] | None) -> bool:
    return numbers is None or all(0 <= number <= 1 for number in numbers)


def is_line(line: Sequence[float] | None) -> bool:
    """x1, y1, x2, y2: long enough to be crossed."""
    return line is None or max(abs(line[2] - line[0]), abs(line[3] - line[1])) >= LEAST


def is_person(size: Sequence[float] | None) -> bool:
    """Width and height: large enough to be told from noise."""
    return size is None or all(LEAST <= side <= 1 for side in size)


def _is_polygon(zone: Sequence[Place] | None) -> bool:
    """Three corners or more, and no two of its sides meet but neighbours at their corner."""
    if zone is None:
        return True
    sides = [(zone[i - 1], zone[i]) for i in range(len(zone))]
    return (
        3 <= len(zone) <= 32
        and len(set(zone)) == len(zone)
        and not any(
            _meet(*sides[i], *sides[j])
            for i in range(len(sides))
            for j in range(i + 2, len(sides))
            if (j + 1) % len(sides) != i
        )
        and abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in sides)) > 1e-4
    )


def _meet(a: Place, b: Place, c: Place, d: Place) -> bool:
    """Whether two stretches have a point in common."""
    turns = [_turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)]
    if turns[0] * turns[1] < 0 and turns[2] * turns[3] < 0:
        return True
    ends = ((a, b, c), (a, b, d), (c, d, a), (c, d, b))
    return any(turn == 0 and _between(*three) for turn, three in zip(turns, ends, strict=True))


def _turn(a: Place, b: Place, c: Place) -> int:
    cross = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return (cross > 1e-12) - (cross < -1e-12)


def _between(a: Place, b: Place, c: Place) -> bool:
    return all(min(a[i], b[i]) <= c[i] <= max(a[i], b[i]) for i in (0, 1))


class Address(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """What of the picture is counted, in 0–1 of its width and height, y down. `line`: x1, y1, x2, y2; to
    somebody who stands at the first point and looks to the second, a crossing to the right is "in".
    `zone`: the corners of a polygon. `person`: width and height of one person there; where nothing of the
    camera's says, they are learned from people who walk alone."""

    line: tuple[float, float, float, float] | None = None
    zone: tuple[Place, ...] | None = None
    person: Place | None = None

    CHECKS: ClassVar[Checks] = {
        "line": (_in_picture, "camera-range"),
        "zone": (lambda zone: all(map(_in_picture, zone or ())), "camera-range"),
        "person": (is_person, "camera-person"),
    }
    STRUCT_CHECKS: ClassVar[Checks] = {
        "line": (lambda a: is_line(a.line), "line-no-length"),
        "zone": (lambda a: _is_polygon(a.zone), "camera-zone"),
    }


class CameraPoint(Point, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """Which of the values it is that a camera tells."""

    field: str

    CHECKS: ClassVar[Checks] = {**Point.CHECKS, "field": (FIELDS.__contains__, "camera-field")}


def decode(points: Mapping[str, CameraPoint], raw: Raw) -> dict[str, Value]:
    """What a camera said to values."""
    return {name: raw[point.field] for name, point in points.items() if point.field in raw}


def example(fields: Mapping[str, Any]) -> Raw:
    """A worked example: `says = { in = 3, out = 2, tamper = false }`."""
    if not isinstance(fields["says"], dict):
        raise ValueError("says")
    return fields["says"]


def show(raw: Raw) -> str:
    return msgspec.json.encode(raw).decode()


def check(device: Device, others: tuple[Device, ...]) -> None:
    """A camera's device has a line or a zone, as its model wants; and OpenCV is there to look."""
    if find_spec("cv2") is None:
        raise ConfigError("camera-missing", reason="No module named 'cv2'")
    wanted = "zone" if any(point.field == "occupancy" for point in device.points.values()) else "line"
    other = "line" if wanted == "zone" else "zone"
    if getattr(device.address, wanted) is None or getattr(device.address, other) is not None:
        raise ConfigError("camera-place", wanted=wanted)


def state_to_save(raw: Raw) -> bytes:
    """The totals of a line: a process begins at nought, and whoever came before it is not to be counted
    twice, nor who comes next taken for one of them."""
    return msgspec.msgpack.encode({name: raw[name] for name in TOTALS if name in raw})


class CameraListener(Listener):
    """A camera at work."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._before: dict[str, dict[str, int]] = {}

    def restore_state(self, device: str, state: bytes) -> None:
        with suppress(msgspec.DecodeError):  # It may be of another kind of device that had the name.
            self._before[device] = msgspec.msgpack.decode(state, type=dict[str, int])

    async def listen(self) -> AsyncIterator[tuple[str, Raw | ReadFailed]]:
        while True:
            said = await self._worker.said()
            before = self._before.get(said.device, {})
            totals = {
                name: count + before.get(name, 0)
                for name, count in said.values.items()
                if name in TOTALS and isinstance(count, int)
            }
            yield said.device, said.values | totals

    async def write(self, device: Device, action: str, args: Mapping[str, Value]) -> dict[str, Value]:
        if action != RELEARN:
            return await super().write(device, action, args)
        await self._worker.ask(Relearn())
        return {"picture": Picture.GOOD}

    async def capture_still(self) -> bytes:
        return await self._worker.capture_still()


@asynccontextmanager
async def connect(options: Options, devices: tuple[Device, ...]) -> AsyncIterator[CameraListener]:
    """Have a process look at the camera."""
    job = Job(
        url=_source(options),
        view=options.view,
        fps=options.fps,
        turn=options.rotate,
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
    async with working(job) as worker:
        yield CameraListener(worker)


def _source(options: Options) -> str:
    """The url with its password, read at each connection."""
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
    options=Options,
    address=Address,
    point=CameraPoint,
    connect=connect,
    decode=decode,
    parse_example=example,
    format_raw=show,
    state_to_save=state_to_save,
    actions=(RELEARN,),
    check_device=check,
    allows_stills=lambda options: options.stills,
)
