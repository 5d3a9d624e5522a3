"""Counting lines: who has gone over one, which way, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal, NamedTuple

import numpy as np

from .tracks import PROOF, Passage, Track, Vector

Point = tuple[float, float]
"""x and y, in 0–1 of the picture's width and height, y down."""

Direction = Literal["in", "out"]

PAST = 0.3
"""Persons past the line at which somebody may be over it."""
WAIT = 0.6
"""Seconds after that for which they may still turn back, or turn out to be a shadow."""
REACH = (0.1, 0.4)
"""Persons before and past the line that somebody must have been. Who comes in at the picture's edge may be
seen late."""
BESIDE = 0.15
"""Persons beyond the end of a line within which it still counts."""
ROOM = 0.5
"""Share of the frames about the line in which there must have been room for them."""
MASS = 0.25
"""Area of a person that must be seen of somebody, on average."""
MASS_UNSETTLED = 0.6
"""The same while the exposure changes, when the edge of a shadow moves like a person's."""
CLOUDED = 0.07
"""Seconds that more must speak against than for somebody who is a shadow."""
DARK = 0.2
"""Persons of light or shade, on average, of a shadow."""
WITHIN = 1.5
"""Seconds within which somebody behind or beside one who was counted may be a part of them."""
BEHIND = 0.9
"""Persons behind, or ahead of, one who was counted: legs, a bag, a pushchair."""
TOUCHING = 0.7
"""Persons between the middles of two within which they are one, whichever way."""
ABREAST = 1.2
"""Persons between the middles of two who touch; seen from above, both must then fill `HALF` a person."""
HALF = 0.55
EARLIER = 0.18
"""Seconds for which somebody at a slant must have been followed before the line, to be more than a part."""


@dataclass(frozen=True)
class Line:
    """A counting line.

    To somebody who stands at the first point and looks to the second, a crossing to the right is "in".
    `person`: width and height of one person at the line, in 0–1; None: learned from lone walkers.
    """

    points: tuple[Point, Point]
    person: tuple[float, float] | None = None


@dataclass(frozen=True)
class Zone:
    """A polygon in which people are counted; `person` as at a line."""

    corners: tuple[Point, ...]
    person: tuple[float, float] | None = None


class Scale(NamedTuple):
    """`person`: width and height, in 0–1. `ground`: what counts as one person's distance across and down:
    at a slant a width either way, as what is deep is short there."""

    person: Vector
    ground: Vector


class Gate:
    """One line: told of everybody in each frame, it says who crossed."""

    def __init__(self, name: str, line: Line, *, overhead: bool) -> None:
        self.name = name
        self._points = line.points
        self._overhead = overhead
        self._counted: list[tuple[Track, Passage]] = []

    def update(self, track: Track, scale: Scale, t: float, *, settled: bool, lost: bool) -> Passage | None:
        """Somebody at `t` seconds; `settled`: the exposure is; `lost`: they are not seen any more."""
        past = self._past(track.at, scale) / track.build
        now = 1 if past > 0 else -1
        if self.name not in track.sides:
            track.sides[self.name] = 1 if self._past(track.start, scale) > 0 else -1
        passage = track.passages.get(self.name)
        if passage is None:
            if now != track.sides[self.name] and abs(past) >= PAST and track.seen == t:
                track.passages[self.name] = self._passage(track, scale, now, t, settled)
            return None
        if now == track.sides[self.name] and abs(past) >= PAST:
            del track.passages[self.name]
            return None
        if t < passage.t + passage.wait and not lost:
            return None
        del track.passages[self.name]
        track.sides[self.name] = passage.side
        if not self._true(track, passage, scale):
            return None
        self._counted = [*self._counted[-9:], (track, passage)]
        return passage

    def _past(self, at: Vector, scale: Scale) -> float:
        """How far right of the line a place is, as its first point looks to its second."""
        return side(self._points, at * scale.person, scale.ground)

    def _passage(self, track: Track, scale: Scale, now: int, t: float, settled: bool) -> Passage:
        """The moment in which the line was crossed."""
        beyond = list(takewhile(lambda each: self._past(each[2], scale) * now > 0, reversed(track.path)))
        when, n, before, _ = track.path[max(len(track.path) - len(beyond) - 1, 0)]
        middle = (before + (beyond[-1][2] if beyond else track.at)) / 2
        return Passage(now, when, n, middle, t - when + WAIT, settled)

    def _true(self, track: Track, passage: Passage, scale: Scale) -> bool:
        own = track.path[track.born :]
        room = [
            fits
            for when, _, at, fits in own
            # From above, size is surest near the line; at a slant people hide each other there.
            if not self._overhead or (when > passage.t - 2 and abs(self._past(at, scale)) < track.scale)
        ]
        return (
            track.solid >= (MASS if passage.settled else MASS_UNSETTLED / track.scale**2)
            and not (self._overhead and track.votes < -CLOUDED and track.shade > DARK)
            and sum(room) >= max(ROOM * len(room), 2)
            and self._went_over(track, passage, scale)
            and between(self._points, passage.at * scale.person, scale.ground)
            and not any(
                self._part(track, passage, *each, scale)
                for each in self._counted
                if each[1].side == passage.side
            )
        )

    def _went_over(self, track: Track, passage: Passage, scale: Scale) -> bool:
        """Whether somebody came from one side of the line and went well to the other."""
        past = [(t, passage.side * self._past(at, scale) / track.build) for t, _, at, _ in track.path]
        before, beyond = REACH
        furthest = max(far for t, far in past if t >= passage.t)
        return min(far for _, far in past) < -before and furthest > beyond

    def _part(self, track: Track, passage: Passage, other: Track, counted: Passage, scale: Scale) -> bool:
        """Whether this is a part of somebody who was counted: a leg, a bag, what they push or pull."""
        if track is other or abs(passage.t - counted.t) > WITHIN:
            return False
        if not self._overhead:
            if passage.t - track.path[min(track.born, len(track.path) - 1)][0] < EARLIER:
                return True
            if track.proved and other.proved:
                return False
        elif track.proof >= PROOF and other.proof >= PROOF:
            return False
        there = min(other.path, key=lambda each: abs(each[0] - passage.t))[2]
        off = (passage.at - there) / track.scale
        way = np.subtract(self._points[1], self._points[0]) / scale.person
        way /= np.hypot(*way)
        across, along = abs(float(off @ way)), abs(float(off[0] * way[1] - off[1] * way[0]))
        apart = float(np.hypot(across, along))
        thin = self._overhead and min(track.solid, other.solid) < HALF
        return across < along < BEHIND or apart < TOUCHING or (thin and apart < ABREAST)


def side(points: tuple[Point, Point], place: Vector, unit: Vector) -> float:
    """How far right of a line a place is, in units; both in 0–1."""
    (x1, y1), (x2, y2) = np.array(points) / unit
    x, y = place / unit
    return float(((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) / np.hypot(x2 - x1, y2 - y1))


def between(points: tuple[Point, Point], place: Vector, unit: Vector) -> bool:
    """Whether a place is between a line's ends, or nearly."""
    first, second = np.array(points) / unit
    length = float(np.hypot(*(second - first)))
    along = float((place / unit - first) @ (second - first)) / length
    return -BESIDE <= along <= length + BESIDE


def within(place: Vector, polygon: Sequence[Point]) -> bool:
    """Whether a place is within a polygon (even-odd rule)."""
    x, y = place
    inside = False
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            inside = not inside
    return inside
