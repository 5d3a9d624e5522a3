"""Who in this frame is who of the frames before."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
"""(2,): x, y."""


@dataclass
class Track:
    """Somebody, followed: where they are, in 0–1 of width and height, and where they were at what time."""

    box: tuple[float, float, float, float]
    at: Vector
    seen: float
    path: list[tuple[float, int, Vector]] = field(default_factory=list)
    sides: dict[str, int] = field(default_factory=dict)


class Tracker:
    """Each thing seen goes to the nearest track."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []

    def update(
        self, seen: list[tuple[tuple[float, float, float, float], Vector]], size: Vector, t: float, n: int
    ) -> None:
        """`seen`: boxes and middles; `size`: of a person, both in 0–1."""
        pairs = sorted(
            (float(np.hypot(*((at - track.at) / size))), i, j)
            for i, track in enumerate(self.tracks)
            for j, (_, at) in enumerate(seen)
        )
        tracks, things = set(), set()
        for distance, i, j in pairs:
            if distance > 1 or i in tracks or j in things:
                continue
            tracks.add(i)
            things.add(j)
            track = self.tracks[i]
            track.box, track.at = seen[j]
            track.seen = t
            track.path.append((t, n, track.at))
        self.tracks = [track for track in self.tracks if t - track.seen < 1]
        for j, (box, at) in enumerate(seen):
            if j not in things:
                self.tracks.append(Track(box, at, t, [(t, n, at)]))
