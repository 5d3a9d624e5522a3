"""Frames and times in, crossings and occupancy out: nothing here reads a clock, a file or a camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from . import vision
from .tracks import Track, Tracker, Vector

Point = tuple[float, float]
"""x and y, in 0–1 of the picture's width and height, y down."""

View = Literal["overhead", "oblique"]
Direction = Literal["in", "out"]

WIDTH = 160
PAST = 0.3
"""How far past the line somebody is counted, in persons."""


@dataclass(frozen=True)
class Line:
    """A counting line.

    To somebody who stands at the first point and looks to the second, a crossing to the right is "in".
    `person`: width and height of one person at the line, in 0–1; None: learned from lone walkers.
    """

    points: tuple[Point, Point]
    person: tuple[float, float] | None = None


class Crossing(NamedTuple):
    """Somebody crossed a line: `t` and `frame` of that moment, which is before it is known."""

    line: str
    t: float
    frame: int
    direction: Direction
    calibrated: bool


class Counter:
    """Counts who crosses the lines of one camera, and who is in its zones."""

    def __init__(
        self,
        view: View,
        lines: Mapping[str, Line],
        zones: Mapping[str, Sequence[Point]] | None = None,
    ) -> None:
        """`zones`: polygons."""
        self._view = view
        self._lines = lines
        self._zones = zones or {}
        self._foreground = vision.Foreground()
        self._tracker = Tracker()
        self.occupancy: dict[str, int] = dict.fromkeys(self._zones, 0)
        """Persons in each zone now."""
        self.calibrated: dict[str, bool] = {name: line.person is not None for name, line in lines.items()}
        """Whether the size of a person is known at each line."""

    @property
    def boxes(self) -> list[tuple[float, float, float, float]]:
        """Who is followed now: x, y, width, height in 0–1."""
        return [track.box for track in self._tracker.tracks]

    def step(self, frame: vision.Image, t: float, n: int) -> list[Crossing]:
        """Look at a frame: (height, width, 3) BGR, at `t` seconds, the `n`-th."""
        mask = self._foreground.apply(vision.shrink(frame, WIDTH))
        height, width = mask.shape
        size = np.array(next((line.person for line in self._lines.values() if line.person), (0.15, 0.3)))
        least = 0.25 * size[0] * width * size[1] * height
        scale = np.array([width, height])
        seen = [
            (
                (b.x / width, b.y / height, b.width / width, b.height / height),
                np.array([b.cx, b.cy]) / scale,
            )
            for b in vision.blobs(mask)
            if b.area > least
        ]
        self._tracker.update(seen, size, t, n)
        found = [
            crossing
            for track in self._tracker.tracks
            if track.seen == t
            for name, line in self._lines.items()
            if (crossing := self._cross(track, name, line, size))
        ]
        for name, zone in self._zones.items():
            self.occupancy[name] = sum(within(track.at, zone) for track in self._tracker.tracks)
        return found

    def _cross(self, track: Track, name: str, line: Line, size: Vector) -> Crossing | None:
        past = side(line.points, track.at, size)
        if abs(past) < PAST:
            return None
        now = 1 if past > 0 else -1
        before = track.sides.get(name, now)
        track.sides[name] = now
        if before == now:
            return None
        when = next((t, n) for t, n, at in reversed(track.path) if side(line.points, at, size) * now <= 0)
        return Crossing(name, *when, "in" if now > 0 else "out", self.calibrated[name])


def side(points: tuple[Point, Point], at: Vector, size: Vector) -> float:
    """How far right of a line (as its first point looks to its second) a place is, in persons."""
    (x1, y1), (x2, y2) = np.array(points) / size
    x, y = at / size
    return float(((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) / np.hypot(x2 - x1, y2 - y1))


def within(at: Vector, polygon: Sequence[Point]) -> bool:
    """Whether a place is within a polygon (even-odd rule)."""
    x, y = at
    inside = False
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            inside = not inside
    return inside
