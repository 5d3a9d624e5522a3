"""Counting lines: detects who crossed a line, in which direction, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal, NamedTuple

import numpy as np

from .tracks import SEPARATE_AFTER_S, PendingCrossing, Track, Vector

Point = tuple[float, float]
"""x and y, in 0–1 of the picture's width and height, y down."""

Direction = Literal["in", "out"]

MIN_PAST_LINE_PERSONS = 0.3
"""A crossing starts when somebody is this far past the line."""
CONFIRM_CROSSING_S = 0.6
"""After that they may still turn back, or turn out to be a shadow."""
MIN_DISTANCE_TO_LINE_PERSONS = (0.1, 0.4)
"""How far before and past the line somebody must have been. The first is small, as people who enter at the
picture's edge may be seen late."""
LINE_END_MARGIN_PERSONS = 0.15
"""A crossing this far beyond the end of the line still counts."""
MIN_ROOM_SHARE = 0.5
"""Share of the frames near the line in which there must have been room for them."""
MIN_MEAN_AREA = 0.25
"""The mean area that must be seen of somebody, in areas of a person."""
MIN_MEAN_AREA_UNSETTLED = 0.6
"""The same while the exposure changes, when the edge of a shadow moves like a person's."""
SHADOW_VOTES_S = 0.07
"""A track is a shadow when the votes against it exceed those for it by this time, and it is dark."""
MIN_SHADOW_PERSONS = 0.2
"""The mean area of light or shade of a shadow, in areas of a person."""
SAME_PERSON_WITHIN_S = 1.5
"""A crossing shortly after another, behind or beside it, may be a part of the same person."""
SAME_PERSON_BEHIND_PERSONS = 0.9
"""Distance along the direction of walking: legs, a bag, a pushchair."""
SAME_PERSON_DISTANCE_PERSONS = 0.7
"""Distance between the centres in any direction."""
THIN_PAIR_DISTANCE_PERSONS = 1.2
"""Distance between the centres of two people who touch. Seen from above, they are one person if either has
less than `MIN_WHOLE_PERSON_AREA`."""
MIN_WHOLE_PERSON_AREA = 0.55
MIN_TRACK_AGE_S = 0.18
"""In an oblique view a track that is younger than this at the line is a part of somebody else."""


@dataclass(frozen=True)
class CountingLine:
    """A counting line.

    Seen from the first point towards the second, a crossing to the right is "in". `person`: width and
    height of one person at the line, in 0–1; None: learned from people who walk alone.
    """

    points: tuple[Point, Point]
    person: tuple[float, float] | None = None


@dataclass(frozen=True)
class Zone:
    """A polygon in which people are counted; `person` as in `CountingLine`."""

    corners: tuple[Point, ...]
    person: tuple[float, float] | None = None


class PersonScale(NamedTuple):
    """`person`: width and height, in 0–1. `ground`: the distance of one person across and down; in an
    oblique view both are a person's width, as depth is foreshortened."""

    person: Vector
    ground: Vector


class LineCounter:
    """Detects the crossings of one line."""

    def __init__(self, name: str, line: CountingLine, *, overhead: bool) -> None:
        self.name = name
        self._points = line.points
        self._overhead = overhead
        self._recent_crossings: list[tuple[Track, PendingCrossing]] = []

    def update(
        self, track: Track, scale: PersonScale, time_s: float, *, settled: bool, ended: bool
    ) -> PendingCrossing | None:
        """Update with a track at `t` seconds. Returns a confirmed crossing. `settled`: the exposure is
        stable; `ended`: the track has ended."""
        distance = self._distance_past(track.position, scale) / track.size
        current_side = 1 if distance > 0 else -1
        if self.name not in track.sides:
            track.sides[self.name] = 1 if self._distance_past(track.start, scale) > 0 else -1
        crossing = track.pending_crossings.get(self.name)
        if crossing is None:
            if (
                current_side != track.sides[self.name]
                and abs(distance) >= MIN_PAST_LINE_PERSONS
                and track.last_seen_s == time_s
            ):
                track.pending_crossings[self.name] = self._locate_crossing(
                    track, scale, current_side, time_s, settled
                )
            return None
        if current_side == track.sides[self.name] and abs(distance) >= MIN_PAST_LINE_PERSONS:
            del track.pending_crossings[self.name]
            return None
        if time_s < crossing.time_s + crossing.confirm_after_s and not ended:
            return None
        del track.pending_crossings[self.name]
        track.sides[self.name] = crossing.side
        if not self._is_genuine(track, crossing, scale):
            return None
        self._recent_crossings = [*self._recent_crossings[-9:], (track, crossing)]
        return crossing

    def _distance_past(self, position: Vector, scale: PersonScale) -> float:
        """How far right of the line a position is, seen from its first point towards its second."""
        return signed_distance(self._points, position * scale.person, scale.ground)

    def _locate_crossing(
        self, track: Track, scale: PersonScale, current_side: int, time_s: float, settled: bool
    ) -> PendingCrossing:
        """Find the frame and the position in which the line was crossed."""
        beyond = list(
            takewhile(
                lambda each: self._distance_past(each[2], scale) * current_side > 0, reversed(track.path)
            )
        )
        when, n, before, _ = track.path[max(len(track.path) - len(beyond) - 1, 0)]
        position = (before + (beyond[-1][2] if beyond else track.position)) / 2
        return PendingCrossing(current_side, when, n, position, time_s - when + CONFIRM_CROSSING_S, settled)

    def _is_genuine(self, track: Track, crossing: PendingCrossing, scale: PersonScale) -> bool:
        own = track.path[track.own_path_start :]
        room = [
            fits
            for when, _, position, fits in own
            # From above, size is most reliable near the line; in an oblique view people hide each other
            # there.
            if not self._overhead
            or (
                when > crossing.time_s - 2
                and abs(self._distance_past(position, scale)) < track.size_at_line
            )
        ]
        return (
            track.mean_area
            >= (MIN_MEAN_AREA if crossing.settled else MIN_MEAN_AREA_UNSETTLED / track.size_at_line**2)
            and not (
                self._overhead and track.votes_s < -SHADOW_VOTES_S and track.shade > MIN_SHADOW_PERSONS
            )
            and sum(room) >= max(MIN_ROOM_SHARE * len(room), 2)
            and self._reached_both_sides(track, crossing, scale)
            and is_between_ends(self._points, crossing.position * scale.person, scale.ground)
            and not any(
                self._is_part_of_counted(track, crossing, *each, scale)
                for each in self._recent_crossings
                if each[1].side == crossing.side
            )
        )

    def _reached_both_sides(self, track: Track, crossing: PendingCrossing, scale: PersonScale) -> bool:
        """Whether the path reaches far enough on both sides of the line."""
        distance = [
            (t, crossing.side * self._distance_past(position, scale) / track.size)
            for t, _, position, _ in track.path
        ]
        before, beyond = MIN_DISTANCE_TO_LINE_PERSONS
        furthest = max(far for t, far in distance if t >= crossing.time_s)
        return min(far for _, far in distance) < -before and furthest > beyond

    def _is_part_of_counted(
        self,
        track: Track,
        crossing: PendingCrossing,
        other: Track,
        counted: PendingCrossing,
        scale: PersonScale,
    ) -> bool:
        """Whether this is a part of somebody who was counted: a leg, a bag, a pushchair."""
        if track is other or abs(crossing.time_s - counted.time_s) > SAME_PERSON_WITHIN_S:
            return False
        if not self._overhead:
            if (
                crossing.time_s - track.path[min(track.own_path_start, len(track.path) - 1)][0]
                < MIN_TRACK_AGE_S
            ):
                return True
            if track.is_separate and other.is_separate:
                return False
        elif track.room_s >= SEPARATE_AFTER_S and other.room_s >= SEPARATE_AFTER_S:
            return False
        there = min(other.path, key=lambda each: abs(each[0] - crossing.time_s))[2]
        off = (crossing.position - there) / track.size_at_line
        direction = np.subtract(self._points[1], self._points[0]) / scale.person
        direction /= np.hypot(*direction)
        across = abs(float(off @ direction))
        along = abs(float(off[0] * direction[1] - off[1] * direction[0]))
        distance = float(np.hypot(across, along))
        thin = self._overhead and min(track.mean_area, other.mean_area) < MIN_WHOLE_PERSON_AREA
        return (
            across < along < SAME_PERSON_BEHIND_PERSONS
            or distance < SAME_PERSON_DISTANCE_PERSONS
            or (thin and distance < THIN_PAIR_DISTANCE_PERSONS)
        )


def signed_distance(points: tuple[Point, Point], position: Vector, person_size: Vector) -> float:
    """How far right of a line a position is, in units; both in 0–1."""
    (x1, y1), (x2, y2) = np.array(points) / person_size
    x, y = position / person_size
    return float(((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) / np.hypot(x2 - x1, y2 - y1))


def is_between_ends(points: tuple[Point, Point], position: Vector, person_size: Vector) -> bool:
    """Whether a position is between the line's ends, or within the margin."""
    first, second = np.array(points) / person_size
    length = float(np.hypot(*(second - first)))
    along = float((position / person_size - first) @ (second - first)) / length
    return -LINE_END_MARGIN_PERSONS <= along <= length + LINE_END_MARGIN_PERSONS


def is_inside_polygon(position: Vector, polygon: Sequence[Point]) -> bool:
    """Whether a position is inside a polygon (even-odd rule)."""
    x, y = position
    inside = False
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            inside = not inside
    return inside
