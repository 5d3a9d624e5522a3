"""Who in this frame is who of the frames before.

Everything is measured in persons: one unit is the width of a person across, the height of one down.
People are followed as clusters of points that stand out. Who shares a connected piece with others goes on
as they went, so that two who meet and part stay two, and keep their ways.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import NamedTuple

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
SLACK = ((0.45, 0.2), (0.6, 0.5))
SHADE = 0.25
FAR = 3.5
APART = 0.8
ABREAST = 0.6
SURE = 3.0
"""Frames that must have spoken for somebody."""


@dataclass
class Points:
    """What stands out in a frame. `at`: (n, 2); `piece`: (n,), which connected piece each belongs to, from 0;
    `area`: (n,), of each, in areas of a person's silhouette, less where nothing moves."""

    at: NDArray[np.float64]
    piece: NDArray[np.int64]
    area: NDArray[np.float64]
    still: NDArray[np.float64]
    split: bool = True
    upright: bool = False


class Pending(NamedTuple):
    """A crossing that is not yet certain: when, where, which way."""

    side: int
    t: float
    n: int
    at: Vector
    until: float
    settled: bool


@dataclass(eq=False)
class Track:
    """Somebody who is followed."""

    at: Vector
    seen: float
    start: Vector
    path: list[tuple[float, int, Vector, bool]]
    """When (seconds, frame) they were where, and whether there was room for them."""
    fits: bool = False
    speed: Vector = field(default_factory=lambda: np.zeros(2))
    scale: float = 1.0
    mass: float = 0.0
    solid: float = 0.0
    shade: float = 0.0
    alone: int = 0
    """Frames in which they were the only one in a piece, and big enough for a person."""
    votes: float = 0.0
    proof: int = 0
    far: float = 0.0
    born: int = 0
    sides: dict[str, int] = field(default_factory=dict)
    pending: dict[str, Pending] = field(default_factory=dict)
    drift: Vector = field(default_factory=lambda: np.zeros(2))
    push: Vector = field(default_factory=lambda: np.zeros(2))

    @property
    def proved(self) -> bool:
        """Whether they have been seen to be one of their own."""
        return self.alone >= 3 or self.proof >= 15

    def travelled(self, unit: Vector) -> float:
        """How far they have come, in the shorter side of a person; `unit`: both sides."""
        return float(np.hypot(*((self.at - self.start) * unit)) / unit.min())


class Tracker:
    """Follows everybody from frame to frame."""

    def __init__(self, shadows: bool) -> None:
        self._shadows = shadows
        self.tracks: list[Track] = []
        self._t = 0.0

    def update(self, points: Points, t: float, n: int) -> list[Track]:
        """Take a frame; returns who was lost."""
        dt = min(max(t - self._t, 1e-3), 0.5)
        self._settled = points.split
        self._t = t
        for track in self.tracks:
            track.at = track.at + track.speed * dt
        owner = self._share(points)
        if len(owner):
            pieces = Pieces(points, owner, len(self.tracks))
            self._measure(pieces, t, n, dt)
            self._doubt(pieces)
            for track in self.tracks:
                if track.seen == t:
                    track.path.append((t, n, track.at, track.fits))
                    track.far = max(track.far, float(np.abs(track.at - track.start).max()))
        else:
            pieces = None
        for track in self.tracks:
            if track.seen < t:
                track.speed = track.speed * 0.9
        lost = [track for track in self.tracks if t - track.seen > PATIENCE or track.votes < -5]
        if pieces:
            self._born(points, owner, pieces, t, n)
        self.tracks = [track for track in self.tracks if track not in lost]
        return lost

    def _share(self, points: Points) -> NDArray[np.int64]:
        """Whose each point is: (n,), from 1; 0 for nobody's."""
        if not self.tracks or not len(points.at):
            return np.zeros(len(points.at), np.int64)
        centres = np.array([track.at for track in self.tracks])
        scales = np.array([track.scale for track in self.tracks])
        apart = np.hypot(*np.moveaxis(points.at[:, None] - centres, 2, 0)) / scales
        return np.where(apart.min(axis=1) < NEAR, apart.argmin(axis=1) + 1, 0)

    def _measure(self, pieces: Pieces, t: float, n: int, dt: float) -> None:
        """Move everybody to where they are seen."""
        for i, track in enumerate(self.tracks, 1):
            track.mass = pieces.held[:, i].sum()
            if track.mass < 0.08 * track.scale**2:
                continue
            track.seen = t
            track.solid += 0.15 * (track.mass / track.scale**2 - track.solid)
            off = pieces.middles[i] - track.at
            others = pieces.together(i)
            if others:
                # Those in one piece move by what the piece does, and each only a little by their part of it.
                masses = pieces.held.sum(axis=0)[others]
                common = np.average(
                    [pieces.middles[j] - self.tracks[j - 1].at for j in others], axis=0, weights=masses
                )
                track.drift = 0.4 * common + 0.15 * (off - common)
                gain = 0.1
            else:
                track.drift = 0.6 * off
                gain = 0.3
            track.push = min(gain, 2 * gain * dt * 15) * off / max(dt, 1 / 15)
        for track in self.tracks:
            if track.seen == t:
                track.at = track.at + track.drift
                track.speed = track.speed + track.push

    def _doubt(self, pieces: Pieces) -> None:
        """Let each piece say how many it holds."""
        at = np.array([track.at for track in self.tracks]).reshape(-1, 2)
        for track in self.tracks:
            track.fits = False
        for piece in range(len(pieces.mass)):
            here = [self.tracks[i - 1] for i in pieces.here(piece)]
            if len(here) == 1:
                track = here[0]
                track.fits = True
                if pieces.mass[piece] > FIRST:
                    track.votes = min(track.votes + 1, 10)
                    track.scale += 0.1 * (float(np.clip(np.sqrt(pieces.mass[piece]), 0.4, 1.3)) - track.scale)
                    if pieces.mass[piece] > SECOND * track.scale**2:
                        track.alone += int((np.hypot(*(at - track.at).T) < APART).sum() == 1)
                continue
            weakest = sorted(here, key=lambda track: (min(track.alone, 3), track.votes))
            for rank, track in enumerate(weakest):
                track.fits = bool(len(here) - rank <= pieces.room[piece]) or (not self._shadows and track.proved)
                track.votes = min(track.votes + (1 if track.fits else -1.5), 10)
                if track.proof < 15:
                    track.proof = max(track.proof + (1 if len(here) - rank <= pieces.room[piece] else -1), 0)
        if self._shadows:
            for track, shade in zip(self.tracks, pieces.shade[1:], strict=True):
                track.shade += 0.15 * (shade - track.shade)
            for track, shade in zip(self.tracks, pieces.shade[1:], strict=True):
                if any(
                    (
                        shade > SHADE and each.shade < 0.5 * track.shade
                        if self._settled
                        else each.solid > 1.3 * track.solid
                    )
                    and in_train(track, each)
                    for each in self.tracks
                ):
                    track.votes = min(track.votes - 3, 4)
                    track.fits = False

    def _born(self, points: Points, owner: NDArray[np.int64], pieces: Pieces, t: float, n: int) -> None:
        for piece in range(len(pieces.mass)):
            here = pieces.here(piece)
            if pieces.held[piece, 0] > (SECOND if here else FIRST):
                free = (points.piece == piece) & (owner == 0)
                middle = densest(points.at[free], points.area[free], SECOND if here else FIRST)
                if middle is not None:
                    self.tracks.append(Track(middle, t, middle, [(t, n, middle, False)]))
                    continue
            if here and pieces.room[piece] > len(here):
                i = max(here, key=lambda i: float(pieces.held[piece, i]))
                mine = (points.piece == piece) & (owner == i)
                self._split(self.tracks[i - 1], points.at[mine], points.area[mine], t)

    def _split(self, track: Track, at: NDArray[np.float64], area: NDArray[np.float64], t: float) -> None:
        """One was two all along."""
        if len(at) < 8:
            return
        axis = np.linalg.eigh(np.cov(at.T, aweights=area))[1][:, -1]
        off = (at - np.average(at, axis=0, weights=area)) @ axis
        ends = [np.average(at[part], axis=0, weights=area[part]) for part in (off < 0, off >= 0)]
        ends.sort(key=lambda end: float(np.hypot(*(end - track.at))))
        for other in self.tracks:
            if other.seen < t and np.hypot(*(other.at - track.at)) < NEAR:
                track.at, other.at = ends
                other.speed = track.speed
                return
        other = copy(track)
        other.path = list(track.path)
        other.sides = dict(track.sides)
        other.pending = dict(track.pending)
        other.votes, other.alone, other.proof, other.born = 0.0, 0, 0, len(track.path)
        track.at, other.at = ends
        self.tracks.append(other)


class Pieces:
    """What each connected piece holds. `held`: (pieces, tracks + 1), area of each in each, nobody's first;
    `middles`: (tracks + 1, 2), of everybody's points; `mass`, `room`: (pieces,), area, and how many
    people there is room for."""

    def __init__(self, points: Points, owner: NDArray[np.int64], tracks: int) -> None:
        count = int(points.piece.max()) + 1
        self.held = np.bincount(
            points.piece * (tracks + 1) + owner, points.area, count * (tracks + 1)
        ).reshape(count, tracks + 1)
        self.mass = self.held.sum(axis=1)
        self.shade = np.bincount(owner, points.still, tracks + 1)
        whole = np.maximum(self.held.sum(axis=0), 1e-9)
        self.middles = np.stack(
            [np.bincount(owner, points.area * axis, tracks + 1) / whole for axis in points.at.T], axis=1
        )
        x, y = points.at.T

        def mean(what: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.bincount(points.piece, points.area * what, count) / np.maximum(self.mass, 1e-9)

        mx, my = mean(x), mean(y)
        xx, yy, xy = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
        # Both the area and the length must say so; four standard deviations are the length of an ellipse.
        if points.upright:
            tall = np.clip(4 * np.sqrt(np.maximum(yy, 0)), 0.4, 1.2)
            area, length = self.mass / tall**2, 4 * np.sqrt(np.maximum(xx, 0)) / tall
        else:
            longest = (xx + yy) / 2 + np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
            area, length = self.mass, 4 * np.sqrt(np.maximum(longest, 0))
        slack = SLACK[points.upright]
        self.room = np.maximum(np.floor(np.minimum(area + slack[0], length + slack[1])), 1)
        if not points.split:
            self.room[:] = 1

    def here(self, piece: int) -> list[int]:
        """Whose most part is in a piece."""
        held = self.held[piece]
        most = held > 0.5 * self.held.sum(axis=0)
        most[0] = False
        return [int(i) for i in np.flatnonzero(most & (held > 0))]

    def together(self, i: int) -> list[int]:
        """Who shares somebody's piece, with them; empty if nobody else."""
        here = self.here(int(self.held[:, i].argmax()))
        return here if len(here) > 1 and i in here else []


def in_train(one: Track, other: Track) -> bool:
    """Whether one goes before the other, the same way."""
    way = one.speed + other.speed
    pace = np.hypot(*way)
    if pace < 0.5 or one.speed @ other.speed < 0:
        return False
    off = other.at - one.at
    return bool(abs(off[0] * way[1] - off[1] * way[0]) / pace < ABREAST and np.hypot(*off) < FAR)


def densest(at: NDArray[np.float64], area: NDArray[np.float64], least: float) -> Vector | None:
    """The middle of what is within half a person of the point that has most there; None where it is less."""
    some = at[:: max(1, len(at) // 60)]
    near = np.hypot(*np.moveaxis(some[:, None] - at, 2, 0)) < 0.5
    masses = near @ area
    best = near[masses.argmax()]
    if masses.max() < least:
        return None
    middle: Vector = np.average(at[best], axis=0, weights=area[best])
    return middle
