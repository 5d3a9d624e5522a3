"""Rendered videos of people who cross a line, with exact truth: what tests and bench let the counter watch.

Places are told in crossing coordinates, in metres: the first grows in the "in" direction and is 0 on the
line, the second runs along the line. The same scene gives the same frames and the same truth.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.drivers.camera.picture import Array, Camera, Solid, paint, stamp

Path3 = list[tuple[float, float, float]]
"""Where somebody is when: (seconds, across the line, along it), with straight lines between."""

Part = tuple[tuple[float, float, float], tuple[float, float, float], Any, bool]
"""A part of a body: its place (forward, left, up), its radii, its colour, whether the pattern is on it."""

MIDDLE = 1.0
"""Height of the middle of a body; it is what crosses the line."""
CLEAR = 0.3
"""How far beyond the line, as a part of a person, somebody must come to have crossed it."""

HAIR = ((25, 25, 30), (30, 45, 70), (60, 60, 65), (40, 90, 130), (150, 150, 150))
SKIN = ((130, 170, 215), (95, 130, 180), (60, 85, 125))
LOADS: dict[str, list[Part]] = {
    "": [],
    "trolley": [((0.75, 0, 0.6), (0.45, 0.28, 0.35), (150, 150, 155), True)],
    "pram": [
        ((0.75, 0, 0.55), (0.42, 0.25, 0.25), (90, 40, 40), True),
        ((0.6, 0, 0.85), (0.22, 0.24, 0.15), (60, 25, 25), False),
    ],
    "suitcase": [((-0.65, 0.25, 0.35), (0.14, 0.22, 0.33), (40, 40, 160), False)],
    "umbrella": [((0.05, 0, 1.95), (0.5, 0.5, 0.14), (60, 110, 40), True)],
}


def walk(start: float, *stops: tuple[float, float] | float, speed: float = 1.3) -> Path3:
    """A path from `start` seconds on, through places; a lone number among them is a pause in seconds."""
    path: Path3 = []
    now = start
    for stop in stops:
        if isinstance(stop, (int, float)):
            now += stop
            path.append((now, *path[-1][1:]))
        else:
            if path:
                now += math.dist(path[-1][1:], stop) / speed
            path.append((now, *stop))
    return path


@dataclass
class Walker:
    """A person of `size` (1 is 1.74 m tall), perhaps with a load; `dull` clothes are like the floor."""

    path: Path3
    size: float = 1.0
    load: str = ""
    dull: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        self.shirt = random.uniform(85, 135, 3) if self.dull else random.uniform(15, 240, 3)
        self.trousers = random.uniform(15, 120, 3)
        self.hair, self.skin = HAIR[random.integers(len(HAIR))], SKIN[random.integers(len(SKIN))]
        wave = np.sin(np.arange(32) * random.uniform(0.3, 1.6))
        self.pattern = 1 + 0.25 * np.outer(wave, wave if random.random() < 0.3 else np.ones(32))
        self.pattern += random.normal(0, 0.05, (32, 32))
        self.beat = random.uniform(0, math.tau)
        self.times = np.array([t for t, _, _ in self.path])
        self.places = np.array([place for _, *place in self.path])

    def at(self, t: float) -> Array | None:
        """Where they are, or None before the path begins and after it ends."""
        if not self.times[0] <= t <= self.times[-1]:
            return None
        # Corners are cut, and nobody stands quite still.
        around = np.clip(t + np.linspace(-0.25, 0.25, 5), self.times[0], self.times[-1])
        sway = 0.025 * np.sin([1.1 * t + self.beat, 1.7 * t + 2 * self.beat])
        return np.array([np.interp(around, self.times, side).mean() for side in self.places.T]) + sway

    def solids(self, t: float, turn: Array) -> list[Solid]:
        """The body at time t; `turn` (2 × 2) leads from crossing coordinates to the floor."""
        here = self.at(t)
        if here is None:
            return []
        way, gone, pace = np.array([1.0, 0.0]), 0.0, 0.0
        for (begin, *start), (end, *stop) in pairwise(self.path):
            if begin <= t:
                far = math.dist(start, stop)
                pace = far / max(end - begin, 1e-3)
                gone += pace * (min(t, end) - begin)
                way = np.subtract(stop, start) / far if far > 0.05 else way
        swing = 0.28 * min(pace, 1.3) * math.sin(gone * 4.2 / self.size + self.beat)
        return self.body(turn @ here, turn @ way, swing)

    def body(self, place: Array, way: Array, swing: float) -> list[Solid]:
        """Standing on a place on the floor, facing a way (a unit vector), one foot `swing` metres ahead."""
        facing = np.array([(way[0], -way[1], 0), (way[1], way[0], 0), (0, 0, 1)])
        return [
            Solid(
                np.append(place, 0) + self.size * facing @ np.array(centre),
                self.size**2 * facing @ np.diag(np.square(radii)) @ facing.T,
                colour,
                self.pattern if patterned else None,
            )
            for centre, radii, colour, patterned in self._parts(swing)
        ]

    def _parts(self, swing: float) -> Iterator[Part]:
        yield (0, 0, 1.40), (0.12, 0.23, 0.10), self.shirt, True
        yield (0, 0, 1.20), (0.12, 0.18, 0.25), self.shirt, True
        yield (0, 0, 0.95), (0.12, 0.17, 0.16), self.trousers, False
        yield (0.04, 0, 1.60), (0.09, 0.075, 0.11), self.skin, False
        yield (0, 0, 1.64), (0.10, 0.085, 0.10), self.hair, False
        for side, ahead in ((1, swing), (-1, -swing)):
            yield (0.5 * ahead, 0.09 * side, 0.65), (0.10, 0.08, 0.30), self.trousers, False
            yield (ahead, 0.10 * side, 0.25), (0.10, 0.06, 0.26), self.trousers, False
            yield (ahead + 0.06, 0.10 * side, 0.05), (0.13, 0.05, 0.05), (30, 30, 30), False
            yield (-0.5 * ahead, 0.26 * side, 1.10), (0.07, 0.055, 0.26), self.shirt, True
            yield (0.05 - ahead, 0.27 * side, 0.82), (0.05, 0.04, 0.08), self.skin, False
        yield from LOADS[self.load]


@dataclass
class Door:
    """A leaf of 0.9 m that hangs at a place and stands open between pairs of times."""

    hinge: tuple[float, float]
    opened: list[tuple[float, float]]

    def solids(self, t: float, turn: Array) -> list[Solid]:
        """The leaf at time t; `turn` as for a walker."""
        open_ = max(min((t - begin) / 0.8, (end - t) / 1.5) for begin, end in self.opened)
        angle = 1.5 * min(max(open_, 0), 1)
        way = turn @ (math.sin(angle), math.cos(angle))
        facing = np.array([(way[0], -way[1], 0), (way[1], way[0], 0), (0, 0, 1)])
        centre = np.append(turn @ self.hinge + 0.45 * way, 1.0)
        return [Solid(centre, facing @ np.diag(np.square((0.45, 0.03, 1.0))) @ facing.T, (70, 100, 130))]


@dataclass
class Sun:
    """Light from one side: a metre of height throws its shadow `lean` metres (x and y) away."""

    lean: tuple[float, float]
    dark: float = 0.3
    soft: float = 0.5


@dataclass
class Patch:
    """A patch of light on the floor, `gain` brighter than the rest, that moves along a path."""

    path: Path3
    radii: tuple[float, float] = (0.8, 0.5)
    gain: float = 0.8


@dataclass
class Scene:
    """A camera, what it sees, and the line.

    `turn` is the direction of "in" on the floor, counter-clockwise from the picture's right; `gate` is half
    the line's length in metres if it ends within the picture; `screen` is the place of a flickering screen
    (x, y, width, height in 0–1); `light` is the brightness at a time; `noise` is in grey levels.
    """

    camera: Camera
    people: list[Walker] = field(default_factory=list)
    seconds: float = 30.0
    fps: float = 15.0
    turn: float = 0.0
    gate: float | None = None
    floor: str = "tiles"
    suns: list[Sun] = field(default_factory=list)
    patches: list[Patch] = field(default_factory=list)
    doors: list[Door] = field(default_factory=list)
    screen: tuple[float, float, float, float] | None = None
    light: Callable[[float], float] = lambda t: 1.0
    noise: float = 3.0
    seed: int = 0

    @cached_property
    def matrix(self) -> Array:
        """From crossing coordinates to the floor."""
        s, c = math.sin(self.turn), math.cos(self.turn)
        return np.array([(c, -s), (s, c)])

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """rows × width × 3 (BGR), one after the other."""
        random = np.random.default_rng(self.seed)
        floor = self.camera.floor(self.floor, random)
        rows, width, _ = floor.shape
        grain = random.normal(0, self.noise, (rows + 64, width + 64, 1)).astype(np.float32)
        flicker = 128.0
        for number in range(round(self.seconds * self.fps)):
            t = number / self.fps
            picture = floor.copy()
            if self.screen:
                if random.random() < 0.3:
                    flicker = float(np.clip(flicker + random.normal(0, 60), 20, 250))
                x, y, w, h = np.multiply(self.screen, [width, rows] * 2).astype(int)
                picture[y : y + h, x : x + w] = flicker, flicker * 0.9, 255 - flicker
            self._draw(picture, t)
            picture *= self.light(t)
            down, right = random.integers(64, size=2)
            picture += grain[down : down + rows, right : right + width]
            yield np.clip(picture, 0, 255, out=picture).astype(np.uint8)

    def _draw(self, picture: Array, t: float) -> None:
        """Shadows on the floor, bodies from far to near, then patches of light over all."""
        outline = self.camera.outline
        things = [solid for walker in self.people for solid in walker.solids(t, self.matrix)]
        things += [solid for door in self.doors for solid in door.solids(t, self.matrix)]
        for sun in self.suns if things else ():
            shade = np.zeros(picture.shape[:2], np.float32)
            for solid in things:
                if shadow := outline(solid.shadow(sun.lean)):
                    stamp(shade, shadow, sun.soft)
            picture *= 1 - sun.dark * shade[..., None]
        seen = [(ellipse, solid) for solid in things if (ellipse := outline(solid))]
        for ellipse, solid in sorted(seen, key=lambda pair: -pair[0].depth):
            paint(picture, ellipse, solid)
        for patch in self.patches:
            times, *places = np.array(patch.path).T
            middle = self.matrix @ [np.interp(t, times, side) for side in places]
            light = np.zeros(picture.shape[:2], np.float32)
            if place := outline(Solid(np.append(middle, 0), np.diag([*np.square(patch.radii), 0]))):
                stamp(light, place, 0.1)
            picture *= 1 + patch.gain * light[..., None]

    def seen(self, place: Any, height: float = MIDDLE) -> Array | None:
        """Where a place is in the picture: x and y in 0–1 when it is within, y down."""
        point = Solid(np.append(self.matrix @ place, height), np.zeros((3, 3)))
        ellipse = self.camera.outline(point)
        return ellipse.centre / self.camera.size if ellipse else None

    @cached_property
    def line(self) -> Array:
        """Two points in 0–1; "in" is to the right of somebody at the first who looks to the second."""
        half = self.gate or 0.05
        first, second = self.seen((0, -half)), self.seen((0, half))
        assert first is not None
        assert second is not None
        if self.gate is None:
            # Onwards both ways, to the edge of the picture.
            middle, way = (first + second) / 2, second - first
            with np.errstate(divide="ignore"):
                edges = np.stack([-middle / way, (1 - middle) / way])
            first, second = middle + way * edges.min(axis=0).max(), middle + way * edges.max(axis=0).min()
        line = np.clip(np.round([first, second], 4), 0, 1) + 0.0  # no negative zero
        return line if self._off(line, self.seen((0.1, 0))) > 0 else line[::-1]

    def _off(self, line: Array, spot: Any) -> float:
        """How many pixels to the right of a line a spot in the picture is."""
        (x, y), (dx, dy) = (spot - line[0]) * self.camera.size, (line[1] - line[0]) * self.camera.size
        return float((dx * y - dy * x) / math.hypot(dx, dy))

    @cached_property
    def person(self) -> Array:
        """Width and height of one person who walks over the middle of the line, in 0–1."""
        return self._box(Walker([(0, 0, 0), (1, 0, 0)]).body(np.zeros(2), self.matrix[:, 0], 0.2))

    def _box(self, body: list[Solid]) -> Array:
        boxes = [(e.centre, np.sqrt(np.diag(e.moments))) for e in map(self.camera.outline, body) if e]
        low = np.min([centre - radii for centre, radii in boxes], axis=0)
        high = np.max([centre + radii for centre, radii in boxes], axis=0)
        size: Array = np.round((high - low) / self.camera.size, 3)
        return size

    def truth(self) -> dict[str, Any]:
        """The crossings, as `visitors-truth/1`.

        An event is the frame in which the middle of a body comes over the line before it is clearly beyond.
        `person_box` is the typical size of the grown-ups without a load who cross.
        `ignore` are the times about which somebody came over the line and went back.
        """
        events: list[dict[str, Any]] = []
        ignore: list[dict[str, float]] = []
        boxes: list[Array] = []
        for walker in self.people:
            known = len(events)
            self._crossings(walker, events, ignore)
            if not walker.load and walker.size > 0.8:
                # Not all in the same stride.
                times = [
                    event["t"] + off for event in events[known:] for off in (-0.3, -0.15, 0, 0.15, 0.3)
                ]
                boxes += [self._box(body) for t in times if (body := walker.solids(t, self.matrix))]
        events.sort(key=lambda event: event["frame"])
        before, after = self.seen((-0.1, 0)), self.seen((0.1, 0))
        x, y = np.subtract(after, before) * self.camera.size  # type: ignore[arg-type]
        moves = ("right" if x > 0 else "left") if abs(x) > abs(y) else ("down" if y > 0 else "up")
        return {
            "format": "visitors-truth/1",
            "width": self.camera.width,
            "height": self.camera.rows,
            "fps": self.fps,
            "frames": round(self.seconds * self.fps),
            "duration_s": self.seconds,
            "view": "oblique" if self.camera.tilt > 0.4 else "overhead",
            "line": self.line.tolist(),
            "in_moves": moves,
            "person_box": (np.median(boxes, axis=0) if boxes else self.person).round(3).tolist(),
            "events": events,
            "totals": {way: sum(event["direction"] == way for event in events) for way in ("in", "out")},
            "ignore": ignore,
        }

    def _crossings(self, walker: Walker, events: list[Any], ignore: list[Any]) -> None:
        way = (self.line[1] - self.line[0]) * self.camera.size
        normal = np.abs([way[1], way[0]]) / np.hypot(*way)
        clear = CLEAR * float(normal @ (self.person * self.camera.size))
        side, before, over = 0, 0.0, -1
        for number in range(round(self.seconds * self.fps)):
            here = walker.at(number / self.fps)
            spot = None if here is None else self.seen(here, MIDDLE * walker.size)
            if spot is None:
                continue
            off = self._off(self.line, spot)
            if side and off * before < 0:
                # Beside the ends of the line nobody crosses it.
                along = (spot - self.line[0]) * self.camera.size @ way / (way @ way)
                over = number if 0 <= along <= 1 else -1
            before = off
            if abs(off) > clear:
                now = 1 if off > 0 else -1
                if over >= 0 and now == -side:
                    direction = "in" if now > 0 else "out"
                    events.append({"frame": over, "t": round(over / self.fps, 3), "direction": direction})
                elif over >= 0:
                    ignore.append({"start": over / self.fps - 2, "end": number / self.fps + 2})
                side, over = now, -1

    def write(self, path: Path) -> dict[str, Any]:
        """Write the video (.avi: Motion JPEG, .mp4: MPEG-4) and, as .json, the truth; return that."""
        codec = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
        video = cv2.VideoWriter(str(path), codec, self.fps, (self.camera.width, self.camera.rows))
        assert video.isOpened()
        for frame in self.frames():
            video.write(frame)
        video.release()
        truth = {**self.truth(), "video": path.name}
        path.with_suffix(".json").write_text(json.dumps(truth, indent=1), encoding="utf-8")
        return truth
