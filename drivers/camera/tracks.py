"""Who in this frame is who of the frames before.

Everything is measured in persons: one unit is the width of a person across, the height of one down. People
are followed as clusters of points that stand out. Who shares a connected piece with others goes on as they
went, so that two who meet and part stay two, and keep their ways.
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
SEEN = 0.08
"""Of a person's area: less is not seeing them."""
PATIENCE = 1.0
"""Seconds after which somebody who is not seen is no longer looked for."""
SURE = 0.18
"""Seconds that must have spoken for somebody."""
DOUBTED = -0.35
"""Seconds, those against counted as less than none, at which somebody is given up."""
CERTAIN = 0.66
"""Seconds of which more count as no more."""
SLACK = {True: (0.6, 0.25), False: (0.6, 0.5)}
"""What an area and a length may lack of whole persons, from above and at a slant."""
APART = 0.8
"""Persons that must lie between two for each to be one of their own."""
PROOF = 0.98
"""Seconds with room for two after which two at a slant stay two, though one hides the other."""
SHADE = 0.25
"""Persons of shade that make a shadow suspected."""
ABREAST = 0.6
"""Persons aside within which one goes before the other, not beside."""
SHADOW = 3.5
"""How far from a person's middle their shadow may be, in persons."""
PACE = 0.5
"""Persons a second; who is slower has no direction."""
SIZES = (0.4, 1.3)
"""How much smaller or larger than expected somebody may be."""
DEPTH = 0.7
"""How much larger, in persons at the line, somebody a person lower in the picture is: they are nearer. So
it is for a camera about 3 m up, whatever its lens."""
DEPTHS = (0.4, 2.0)
"""Bounds of what is expected from that."""
LEAN = 0.3
"""How much longer, seen from above, somebody is for each person they are off the picture's middle: there
they are seen from the side, lying outwards."""
MEAN = 0.45
"""Seconds over which somebody's area is averaged."""
MEMORY = 600
"""Frames of a path that are kept."""
MOST = 100
"""Who are followed at a time: rain or noise may look like any number, and each costs time."""


@dataclass
class Points:
    """What stands out in a frame.

    `at`: (n, 2); `piece`: (n,), which connected piece each belongs to, from 0;
    `area`: (n,), of each, in areas of a person's silhouette, less where it may be light or shade; `shade`:
    (n,), how much of it may be; `middle`: of the picture; `settled`: the exposure is."""

    at: NDArray[np.float64]
    piece: NDArray[np.int64]
    area: NDArray[np.float64]
    shade: NDArray[np.floating]
    middle: Vector
    settled: bool = True


class Passage(NamedTuple):
    """Somebody went over a line: to which side (1: right), when (seconds, frame), where, how many seconds
    later it is certain, and whether the exposure was settled."""

    side: int
    t: float
    n: int
    at: Vector
    wait: float
    settled: bool


@dataclass(eq=False)
class Track:
    """Somebody who is followed."""

    at: Vector
    seen: float
    start: Vector
    moved: float
    """When they last went anywhere."""
    path: list[tuple[float, int, Vector, bool]]
    """When (seconds, frame) they were where, and whether there was room for them."""
    born: int = 0
    """Where in the path their own begins: before, they were one with another."""
    rested: Vector = field(default_factory=lambda: np.zeros(2))
    speed: Vector = field(default_factory=lambda: np.zeros(2))
    build: float = 1.0
    """Their size, in persons where they are."""
    scale: float = 1.0
    """The same, in persons at the line."""
    mass: float = 0.0
    solid: float = 0.0
    """Their area on average, in areas of a person of their size."""
    shade: float = 0.0
    fits: bool = False
    votes: float = 0.0
    """Seconds that spoke for them, less those against."""
    alone: float = 0.0
    """Seconds in which they were the only one in a piece, big enough for a person, and far from others."""
    proof: float = 0.0
    """Seconds in which there was room for them beside others, less those in which there was not."""
    far: float = 0.0
    """How far from their start they have been."""
    sizes: list[Vector] = field(default_factory=list)
    """Their width and height while they were alone."""
    sides: dict[str, int] = field(default_factory=dict)
    """On which side of each line they are taken to be."""
    passages: dict[str, Passage] = field(default_factory=dict)
    """Lines they seem to have gone over."""

    @property
    def proved(self) -> bool:
        """Whether they have been seen to be one of their own."""
        return self.alone >= SURE or self.proof >= PROOF

    @property
    def real(self) -> bool:
        """Whether this is somebody who walked in, and no lamp or leaf."""
        return self.far > 0.4 and self.votes >= SURE


class Tracker:
    """Follows everybody from frame to frame."""

    def __init__(self, *, overhead: bool, level: float | None = None) -> None:
        """`overhead`: the camera looks straight down: nobody hides another, and shadows are as large as
        they. `level`: how far down the picture the line lies, in persons; None: all are of one size."""
        self.tracks: list[Track] = []
        self.t = 0.0
        """Seconds of the last frame."""
        self._overhead = overhead
        self._level = level
        self.deep = level is not None
        """Whether people are taken to come nearer as they go down the picture."""

    def _expected(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """The size of whoever's middle is so far down, in persons at the line."""
        if self._level is None:
            return np.ones_like(y)
        return np.clip(1 + DEPTH * (y - self._level), *DEPTHS)

    def update(self, points: Points, t: float, n: int) -> list[Track]:
        """Take a frame; returns who was lost."""
        dt = min(max(t - self.t, 1e-3), 0.5)
        self.t = t
        for track in self.tracks:
            track.at = track.at + track.speed * dt
            track.scale = track.build * float(self._expected(track.at[1]))
        owner = self._share(points)
        if len(owner):
            sizes = self._expected(points.at[:, 1])
            pieces = Pieces(points, owner, len(self.tracks), sizes, overhead=self._overhead, deep=self.deep)
            self._measure(pieces, t, dt)
            self._doubt(pieces, dt, settled=points.settled)
            for track in self.tracks:
                if track.seen == t:
                    self._note(track, t, n)
        for track in self.tracks:
            if track.seen < t:
                track.speed = track.speed * 0.9
        lost = [track for track in self.tracks if t - track.seen > PATIENCE or track.votes < DOUBTED]
        if len(owner):
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

    def _measure(self, pieces: Pieces, t: float, dt: float) -> None:
        """Move everybody to where they are seen."""
        offs = [pieces.middles[i] - track.at for i, track in enumerate(self.tracks, 1)]
        masses = pieces.held.sum(axis=0)
        for i, track in enumerate(self.tracks, 1):
            track.mass = float(masses[i])
            if track.mass < SEEN * track.scale**2:
                continue
            track.seen = t
            fresh = min(max(dt / MEAN, 1 / len(track.path)), 1.0)
            track.solid += fresh * (track.mass / track.scale**2 - track.solid)
            track.shade += fresh * (float(pieces.shade[i]) - track.shade)
            off = offs[i - 1]
            others = pieces.together(i)
            if others:
                # Those in one piece move as the piece does, and each only a little as their part of it.
                common = np.average([offs[j - 1] for j in others], axis=0, weights=masses[others])
                gain, drift = 0.1, 0.4 * common + 0.15 * (off - common)
            else:
                gain, drift = 0.3, 0.6 * off
            track.at = track.at + drift
            track.speed = track.speed + min(gain, 30 * gain * dt) * off / max(dt, 1 / 15)

    def _doubt(self, pieces: Pieces, dt: float, *, settled: bool) -> None:
        """Let each piece say how many it holds."""
        at = np.array([track.at for track in self.tracks]).reshape(-1, 2)
        for track in self.tracks:
            track.fits = False
        for piece, mass in enumerate(pieces.mass):
            here = [self.tracks[i - 1] for i in pieces.here(piece)]
            if len(here) == 1:
                self._alone(here[0], float(mass), pieces.sizes[piece], at, dt)
                continue
            weakest = sorted(here, key=strength)
            for rank, track in enumerate(weakest):
                room = len(here) - rank <= pieces.room[piece]
                track.fits = room or (not self._overhead and track.proved)
                track.votes = min(track.votes + (dt if track.fits else -1.5 * dt), CERTAIN)
                if track.proof < PROOF:
                    track.proof = max(track.proof + (dt if room else -dt), 0.0)
        if self._overhead:
            for track, shade in zip(self.tracks, pieces.shade[1:], strict=True):
                if any(casts(each, track, float(shade), settled=settled) for each in self.tracks):
                    track.votes = min(track.votes - 3 * dt, 0.4 * CERTAIN)
                    track.fits = False

    def _alone(self, track: Track, mass: float, extent: Vector, at: NDArray[np.float64], dt: float) -> None:
        """Somebody has a piece of their own. `at`: where everybody is."""
        track.fits = True
        if mass <= FIRST:
            return
        track.votes = min(track.votes + dt, CERTAIN)
        size = np.sqrt(mass) * track.build / track.scale
        track.build += 0.1 * (float(np.clip(size, *SIZES)) - track.build)
        if mass > SECOND * track.scale**2 and (np.hypot(*(at - track.at).T) < APART).sum() == 1:
            track.alone += dt
            track.sizes = [*track.sizes[-100:], extent]

    def _note(self, track: Track, t: float, n: int) -> None:
        track.path.append((t, n, track.at, track.fits))
        if len(track.path) > MEMORY:
            half = MEMORY // 2
            track.path, track.born = track.path[half:], max(track.born - half, 0)
        track.far = max(track.far, float(np.abs(track.at - track.start).max()))
        if np.abs(track.at - track.rested).max() > 0.3:
            track.moved, track.rested = t, track.at

    def _born(self, points: Points, owner: NDArray[np.int64], pieces: Pieces, t: float, n: int) -> None:
        for piece, room in enumerate(pieces.room):
            if len(self.tracks) >= MOST:
                return
            here = pieces.here(piece)
            expected = float(pieces.expected[piece])
            least = (SECOND if here else FIRST) * expected**2
            if pieces.held[piece, 0] > least:
                free = (points.piece == piece) & (owner == 0)
                middle = densest(points.at[free], points.area[free], least)
                if middle is not None:
                    path = [(t, n, middle, False)]
                    self.tracks.append(Track(middle, t, middle, t, path, rested=middle, scale=expected))
                    continue
            if here and room > len(here):
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
        other.path, other.born, other.sizes = list(track.path), len(track.path), []
        other.sides, other.passages = dict(track.sides), dict(track.passages)
        other.votes, other.alone, other.proof = 0.0, 0.0, 0.0
        track.at, other.at = ends
        self.tracks.append(other)


class Pieces:
    """What each connected piece holds.

    `held`: (pieces, tracks + 1), area of each in each, nobody's first;
    `middles`: (tracks + 1, 2), of everybody's points; `shade`: (tracks + 1,), area of it in each; `mass`,
    `room`: (pieces,), area, and how many people there is room for; `sizes`: (pieces, 2), width and height;
    `expected`: (pieces,), the size of somebody there.
    """

    def __init__(
        self,
        points: Points,
        owner: NDArray[np.int64],
        tracks: int,
        expected: NDArray[np.float64],
        *,
        overhead: bool,
        deep: bool,
    ) -> None:
        """`expected`: (n,), the size of somebody at each point, in persons at the line."""
        count = int(points.piece.max()) + 1
        places = points.piece * (tracks + 1) + owner
        self.held = np.bincount(places, points.area, count * (tracks + 1)).reshape(count, tracks + 1)
        self.mass = self.held.sum(axis=1)
        self.shade = np.bincount(owner, points.shade, tracks + 1)
        whole = np.maximum(self.held.sum(axis=0), 1e-9)
        self.middles = np.stack(
            [np.bincount(owner, points.area * axis, tracks + 1) / whole for axis in points.at.T], axis=1
        )
        x, y = points.at.T

        def mean(what: NDArray[np.float64]) -> NDArray[np.float64]:
            sums = np.bincount(points.piece, points.area * what, count)
            return np.asarray(sums / np.maximum(self.mass, 1e-9))

        self.expected = mean(expected)
        mx, my = mean(x), mean(y)
        xx, yy = np.maximum(mean(x * x) - mx**2, 0), np.maximum(mean(y * y) - my**2, 0)
        # Four standard deviations are the length of an ellipse.
        self.sizes = 4 * np.sqrt(np.stack([xx, yy], axis=1))
        if overhead:
            xy = mean(x * y) - mx * my
            out = np.stack([mx, my], axis=1) - points.middle
            lean = 1 + LEAN * np.hypot(*out.T)
            # Upright they would be so much shorter outwards.
            unit = out / np.maximum(np.hypot(*out.T), 1e-9)[:, None]
            raised = np.eye(2) - (1 - 1 / lean)[:, None, None] * unit[:, :, None] * unit[:, None, :]
            spread = raised @ np.array([[xx, xy], [xy, yy]]).transpose(2, 0, 1) @ raised
            area, length = self.mass / lean, 4 * np.sqrt(np.linalg.eigvalsh(spread)[:, -1].clip(0))
        else:
            # Upright people are as tall as they are near: a piece is as wide as many of that height.
            # Where depth is known, who is shorter than expected is cut off by the picture's edge.
            least = 0.8 if deep else 0.4
            tall = np.clip(self.sizes[:, 1], least * self.expected, 1.2 * np.maximum(self.expected, 1))
            area, length = self.mass / tall**2, self.sizes[:, 0] / tall
        # Both the area and the length must say so.
        lacks = SLACK[overhead]
        self.room = np.maximum(np.floor(np.minimum(area + lacks[0], length + lacks[1])), 1)
        if not points.settled:
            self.room[:] = 1

    def here(self, piece: int) -> list[int]:
        """Whose most part is in a piece."""
        held = self.held[piece]
        most = (held > 0.5 * self.held.sum(axis=0)) & (held > 0)
        most[0] = False
        return [int(i) for i in np.flatnonzero(most)]

    def together(self, i: int) -> list[int]:
        """Who shares somebody's piece, with them; empty if nobody else."""
        here = self.here(int(self.held[:, i].argmax()))
        return here if len(here) > 1 and i in here else []


def strength(track: Track) -> tuple[bool, float, float]:
    """What speaks for somebody where there is not room for all: enough is seen of them, they were alone,
    they fitted in. Of who has left the picture a trace may be held by the next to come."""
    return track.mass > FIRST * track.scale**2, min(track.alone, SURE), track.votes


def casts(person: Track, shadow: Track, shade: float, *, settled: bool) -> bool:
    """Whether one may be the other's shadow, of which `shade` is seen now: they go the same way, one before
    the other, and one is darker, or, while the exposure changes, less of it moves."""
    if settled:
        like = shade > SHADE and person.shade < 0.5 * shadow.shade
    else:
        like = person.solid > 1.3 * shadow.solid
    way = person.speed + shadow.speed
    pace = float(np.hypot(*way))
    if not like or pace < PACE or person.speed @ shadow.speed < 0:
        return False
    off = person.at - shadow.at
    aside = abs(off[0] * way[1] - off[1] * way[0]) / pace
    return bool(aside < ABREAST and np.hypot(*off) < SHADOW)


def densest(at: NDArray[np.float64], area: NDArray[np.float64], least: float) -> Vector | None:
    """The middle of what is within half a person of the point that has most; None where that is less."""
    some = at[:: max(1, len(at) // 60)]
    near = np.hypot(*np.moveaxis(some[:, None] - at, 2, 0)) < 0.5
    masses = near @ area
    best = near[masses.argmax()]
    if masses.max() < least:
        return None
    middle: Vector = np.average(at[best], axis=0, weights=area[best])
    return middle
