"""Who in this frame is who of the frames before.

Everything is measured in persons: one unit is the width of a person across, the height of one down. People are
followed as clusters of moving points: a person who is hidden behind another keeps their cluster, so
that two who meet and part, or walk as one, stay two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
"""(2,): x, y in persons."""

NEAR = 0.9
"""A point belongs to somebody only within this distance of their middle."""
FIRST = 0.3
"""Somebody new has at least so much of a person's area."""
SECOND = 0.6
"""Somebody new beside others, in one piece with them, has at least so much that nobody else explains."""
PATIENCE = 1.0
"""Seconds after which somebody who is not seen is no longer looked for."""
STANDING = 30.0
"""Seconds for which somebody who walked in and stands still is kept out of the background."""


@dataclass
class Points:
    """What stands out in a frame. `at`: (n, 2); `piece`: (n,), which connected piece each belongs to;
    `area`: (n,), of each, in areas of a person's silhouette, less where nothing moves."""

    at: NDArray[np.float64]
    piece: NDArray[np.int32]
    area: NDArray[np.float64]


@dataclass(eq=False)
class Track:
    """Somebody who is followed."""

    at: Vector
    speed: Vector
    seen: float
    scale: float = 1.0
    mass: float = 0.0
    solid: float = 0.0
    alone: int = 0
    """Frames in which they were the only one in a piece, and big enough for a person."""
    votes: float = 0.0
    path: list[tuple[float, int, Vector]] = field(default_factory=list)
    start: Vector = field(default_factory=lambda: np.zeros(2))
    crossed: dict[str, int] = field(default_factory=dict)

    def travelled(self, unit: Vector) -> float:
        """How far they have come, in the shorter side of a person; `unit`: both sides."""
        return float(np.hypot(*((self.at - self.start) * unit)) / unit.min())


class Tracker:
    """Follows everybody from frame to frame."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._t = 0.0

    def update(self, points: Points, t: float, n: int) -> list[Track]:
        """Take a frame; returns who was lost."""
        dt = min(max(t - self._t, 1e-3), 0.5)
        self._t = t
        for track in self.tracks:
            track.at = track.at + track.speed * dt
        owner = self._share(points)
        for i, track in enumerate(self.tracks):
            self._measure(track, points, owner == i, t, n, dt)
        self._doubt(points, owner, dt)
        lost = [track for track in self.tracks if t - track.seen > PATIENCE or track.votes < -5]
        self.tracks = [track for track in self.tracks if track not in lost]
        self._born(points, owner, t, n)
        return lost

    def _share(self, points: Points) -> NDArray[np.int64]:
        """Whose each point is: (n,), -1 for nobody's."""
        if not self.tracks or not len(points.at):
            return np.full(len(points.at), -1)
        centres = np.array([track.at for track in self.tracks])
        scales = np.array([track.scale for track in self.tracks])
        for _ in range(3):
            apart = np.hypot(*np.moveaxis(points.at[:, None] - centres, 2, 0)) / scales
            owner = apart.argmin(axis=1)
            owner[apart.min(axis=1) > NEAR] = -1
            for i in range(len(centres)):
                if (mine := owner == i).any():
                    centres[i] = np.average(points.at[mine], axis=0, weights=points.area[mine])
        return owner

    def _measure(
        self, track: Track, points: Points, mine: NDArray[np.bool_], t: float, n: int, dt: float
    ) -> None:
        track.mass = float(points.area[mine].sum())
        if track.mass < 0.1 * track.scale**2:
            track.speed = track.speed * 0.8
            return
        off = np.average(points.at[mine], axis=0, weights=points.area[mine]) - track.at
        track.at = track.at + 0.6 * off
        track.speed = track.speed + min(0.3, 2 * dt) * off / max(dt, 1 / 15)
        track.solid += 0.15 * (track.mass / track.scale**2 - track.solid)
        track.seen = t
        track.path.append((t, n, track.at))

    def _doubt(self, points: Points, owner: NDArray[np.int64], dt: float) -> None:
        """Let each piece say how many it holds."""
        for piece in np.unique(points.piece):
            inside = points.piece == piece
            at, area = points.at[inside], points.area[inside]
            held = np.bincount(owner[inside] + 1, area, len(self.tracks) + 1)[1:]
            here = [
                track for track, mass in zip(self.tracks, held, strict=True) if mass and mass > 0.5 * track.mass
            ]
            if not here:
                continue
            if len(here) == 1:
                track = here[0]
                if area.sum() > FIRST:
                    track.alone += 1
                    track.votes = min(track.votes + 1, 10)
                    extent = np.ptp(np.percentile(at, (5, 95), axis=0), axis=0).max()
                    track.scale += 0.1 * (float(np.clip(extent, 0.5, 1.3)) - track.scale)
                continue
            room = capacity(at, area)
            weakest = sorted(here, key=lambda track: (min(track.alone, 3), track.votes))
            for rank, track in enumerate(weakest):
                fits = len(here) - rank <= room or track.alone >= 3
                track.votes = min(track.votes + (1 if fits else -1), 10)

    def _born(self, points: Points, owner: NDArray[np.int64], t: float, n: int) -> None:
        for piece in np.unique(points.piece):
            inside = points.piece == piece
            free = inside & (owner < 0)
            taken = (owner[inside] >= 0).any()
            while points.area[free].sum() > (SECOND if taken else FIRST):
                at = points.at[free]
                # The densest place: the point with the most others within half a person.
                some = at[:: max(1, len(at) // 60)]
                near = np.hypot(*np.moveaxis(some[:, None] - at, 2, 0)) < 0.5
                masses = near @ points.area[free]
                best = masses.argmax()
                mass = float(masses[best])
                if mass < (SECOND if taken else FIRST):
                    break
                middle = np.average(at[near[best]], axis=0, weights=points.area[free][near[best]])
                self.tracks.append(
                    Track(middle, np.zeros(2), t, start=middle, path=[(t, n, middle)], mass=mass)
                )
                taken = True
                free &= np.hypot(*(points.at - middle).T) > NEAR


def capacity(at: NDArray[np.float64], area: NDArray[np.float64]) -> int:
    """How many people a piece can hold: as many as both its area and its length say."""
    length = 4 * np.sqrt(np.linalg.eigvalsh(np.cov(at.T, aweights=area))[-1]) if len(at) > 2 else 0
    return max(1, min(round(float(area.sum())), round(float(length))))


def moments(track: Track) -> Iterator[tuple[float, int, Vector]]:
    """Where somebody was, latest first."""
    return reversed(track.path)
