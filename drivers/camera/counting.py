"""Frames and times in, crossings and occupancy out: nothing here reads a clock, a file or a camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from . import vision
from .tracks import SURE, Pending, Points, Track, Tracker, Vector

Point = tuple[float, float]
"""x and y, in 0–1 of the picture's width and height, y down."""

View = Literal["overhead", "oblique"]
Direction = Literal["in", "out"]

DETAIL = 24
"""Pixels across a person (the root of its box's area) in the picture that is looked at."""
SILHOUETTE = {"overhead": 0.75, "oblique": 0.5}
"""Share of a person's box that the person fills."""
BESIDE = 0.15
"""How far beyond an end of a line somebody may cross it, in persons."""
STILL = 0.2
"""What a point that does not move weighs: a shadow's inside is still, a person's is not."""
WAIT = 0.6
"""Seconds for which a crossing may still be taken back."""
BEHIND = 0.9
REACH = 0.4
BOTH = 0.55
STRAIGHT = 0.4
GUESS = {"overhead": (0.15, 0.25), "oblique": (0.08, 0.3)}
"""A person, until their size is known."""
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
        self._background = vision.Background()
        self._counted: dict[str, list[tuple[Track, Pending]]] = {name: [] for name in lines}
        self._tracker = Tracker(shadows=view == "overhead")
        self.occupancy: dict[str, int] = dict.fromkeys(self._zones, 0)
        """Persons in each zone now."""
        self.calibrated: dict[str, bool] = {name: line.person is not None for name, line in lines.items()}
        """Whether the size of a person is known at each line."""

    @property
    def boxes(self) -> list[tuple[float, float, float, float]]:
        """Who is followed now: x, y, width, height in 0–1."""
        person = self._person
        return [
            tuple(np.concatenate([(track.at - track.scale / 2) * person, person * track.scale]).tolist())
            for track in self._tracker.tracks
        ]

    @property
    def _person(self) -> Vector:
        """Width and height, in 0–1."""
        sizes = [line.person for line in self._lines.values() if line.person]
        return np.mean(sizes or [GUESS[self._view]], axis=0)

    def step(self, frame: vision.Image, t: float, n: int) -> list[Crossing]:
        """Look at a frame: (height, width, 3) BGR, at `t` seconds, the `n`-th."""
        person = self._person
        ratio = frame.shape[0] / frame.shape[1]
        width = int(np.clip(DETAIL / np.sqrt(person[0] * person[1] * ratio), 160, 320))
        image = vision.shrink(frame, width)
        mask, solid = self._background.look(image)
        # At a slant, what is deep is short: distances to a line are in widths of a person, either way.
        ground = person if self._view == "overhead" else person[0] * np.array([1, 1 / ratio])
        unit = person * (mask.shape[1], mask.shape[0])
        area = 1 / (unit[0] * unit[1] * SILHOUETTE[self._view])
        self._ground = ground
        labels = vision.pieces(mask, 0.08 / area)
        moving = vision.share(solid, mask, *(int(side) // 2 for side in unit))
        if self._view == "overhead":
            still = moving < 0.5
            shade = np.bincount(labels[still], minlength=labels.max() + 1) * area
            shade[0] = 0
            apart = (shade > 0.4)[labels] & still
            if apart.any():
                rest = vision.pieces(mask * apart, 0.08 / area)
                labels = vision.pieces(mask * ~apart, 0.08 / area)
                labels = np.where(rest > 0, rest + labels.max(), labels)
        rows, columns = np.nonzero(labels[::2, ::2])
        weight = STILL + (1 - STILL) * np.clip((moving - 0.4) / 0.4, 0, 1)
        points = Points(
            at=(np.stack([columns, rows], axis=1) * 2 + 1) / unit,
            piece=np.unique(labels[::2, ::2][rows, columns], return_inverse=True)[1],
            area=weight[::2, ::2][rows, columns] * area * 4,
            still=(moving[::2, ::2][rows, columns] < 0.5) * area * 4,
            split=self._background.settled,
            upright=self._view == "oblique",
        )
        self.mask, self.solid, self.labels = mask, moving > 0.6, labels
        lost = self._tracker.update(points, t, n)
        self._background.learn(image, self._kept(mask, unit, t))
        found = [
            crossing
            for track in [*self._tracker.tracks, *lost]
            for name, line in self._lines.items()
            if (crossing := self._cross(track, name, line, person, ground, t, track in lost))
        ]
        for name, zone in self._zones.items():
            self.occupancy[name] = sum(within(track.at * person, zone) for track in self._tracker.tracks)
        return found

    def _kept(self, mask: vision.Image, unit: Vector, t: float) -> vision.Image:
        """Where somebody is who walked in: they are no background, however long they stand."""
        keep = np.zeros_like(mask)
        for track in self._tracker.tracks:
            if track.far > 0.4 and track.votes >= SURE:
                (x1, y1), (x2, y2) = (np.array([track.at - 0.75, track.at + 0.75]) * unit).astype(int)
                keep[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = 255
        return keep & mask

    def _cross(
        self, track: Track, name: str, line: Line, person: Vector, ground: Vector, t: float, lost: bool
    ) -> Crossing | None:
        past = side(line.points, track.at * person, ground) / track.scale
        now = 1 if past > 0 else -1
        if name not in track.sides:
            track.sides[name] = 1 if side(line.points, track.start * person, ground) > 0 else -1
        pending = track.pending.get(name)
        if pending is None:
            if now != track.sides[name] and abs(past) >= PAST and track.seen == t:
                track.pending[name] = self._passage(track, line, person, ground, now, t)
            return None
        if now == track.sides[name] and abs(past) >= PAST:
            del track.pending[name]
            return None
        if not (lost or t >= pending.until):
            return None
        del track.pending[name]
        track.sides[name] = pending.side
        near = [
            fits
            for when, _, at, fits in track.path[track.born :]
            if self._view == "oblique"
            or (when > pending.t - 2 and abs(side(line.points, at * person, ground)) < track.scale)
        ]
        if (
            track.solid < (0.25 if pending.settled else 0.6 / track.scale**2)
            or not near
            or sum(near) < max(0.6 * len(near), 2)
            or not steady(track, line, person, ground, pending)
            or not beside(line.points, pending.at * person, ground)
            or any(self._same(track, pending, each, line, person) for each in self._counted[name] if each[1].side == pending.side)
        ):
            return None
        self._counted[name] = [*self._counted[name][-9:], (track, pending)]
        return Crossing(name, pending.t, pending.n, "in" if pending.side > 0 else "out", self.calibrated[name])

    def _same(self, track: Track, pending: Pending, other: tuple[Track, Pending], line: Line, person: Vector) -> bool:
        """Whether a crossing is by somebody who has been counted: a leg, a bag, what they pull behind them."""
        if abs(pending.t - other[1].t) > 1.5 or track is other[0]:
            return False
        if self._view == "oblique" and sum(when < pending.t for when, *_ in track.path[track.born :]) < 3:
            return True
        if self._view == "oblique" and track.proved and other[0].proved:
            return False
        at = min(other[0].path, key=lambda each: abs(each[0] - pending.t))[2]
        off = (pending.at - at) / track.scale
        (x1, y1), (x2, y2) = np.array(line.points) / person
        way = np.array([x2 - x1, y2 - y1]) / np.hypot(x2 - x1, y2 - y1)
        across, along = abs(off @ way), abs(off[0] * way[1] - off[1] * way[0])
        apart = float(np.hypot(across, along))
        thin = self._view == "overhead" and min(track.solid, other[0].solid) < BOTH
        return bool(across < along < BEHIND or apart < 0.62 or (thin and apart < 1.2))

    def finish(self) -> list[Crossing]:
        """Nothing more will come: what is left to say."""
        person, ground = self._person, self._ground
        return [
            crossing
            for track in self._tracker.tracks
            for name, line in self._lines.items()
            if (crossing := self._cross(track, name, line, person, ground, track.seen, True))
        ]

    def _passage(self, track: Track, line: Line, person: Vector, ground: Vector, now: int, t: float) -> Pending:
        after = track.at
        for when, n, at, _ in reversed(track.path):
            if side(line.points, at * person, ground) * now <= 0:
                break
            after = at
        return Pending(now, when, n, (at + after) / 2, t + WAIT, self._background.settled)


def side(points: tuple[Point, Point], at: Vector, size: Vector) -> float:
    """How far right of a line (as its first point looks to its second) a place is, in persons.

    A person is here as wide as high, of the same area.
    """
    (x1, y1), (x2, y2) = np.array(points) / size
    x, y = at / size
    return float(((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) / np.hypot(x2 - x1, y2 - y1))


def steady(track: Track, line: Line, person: Vector, ground: Vector, pending: Pending) -> bool:
    """Whether somebody went over the line, and did not just flicker on both sides of it."""
    way = [
        (t, pending.side * side(line.points, at * person, ground), at) for t, _, at, _ in track.path
    ]
    before = [past for t, past, _ in way if t <= pending.t] or [0]
    after = [past for t, past, _ in way if t >= pending.t] or [0]
    if min(before) > -REACH * track.scale or max(after) < REACH * track.scale:
        return False
    round_it = np.array([at for t, _, at in way if abs(t - pending.t) < 1])
    steps = np.hypot(*np.diff(round_it, axis=0).T).sum()
    return bool(np.hypot(*(round_it[-1] - round_it[0])) > STRAIGHT * steps)


def beside(points: tuple[Point, Point], at: Vector, size: Vector) -> bool:
    """Whether a place is between a line's ends, or nearly."""
    first, second = np.array(points) / size
    way = second - first
    along = float((at / size - first) @ way / np.hypot(*way))
    return -BESIDE <= along <= float(np.hypot(*way)) + BESIDE


def within(at: Vector, polygon: Sequence[Point]) -> bool:
    """Whether a place is within a polygon (even-odd rule)."""
    x, y = at
    inside = False
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            inside = not inside
    return inside
