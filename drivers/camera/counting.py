"""Frames and times in, crossings and occupancy out: nothing here reads a clock, a file or a camera."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import vision
from .lines import Direction, Gate, Line, Point, Scale, Zone, within
from .tracks import Points, Track, Tracker, Vector

__all__ = ["Counter", "Crossing", "Direction", "Line", "Point", "View", "Zone"]

View = Literal["overhead", "oblique"]
"""Straight down, or at a slant."""

DETAIL = 24
"""Pixels across a person (the root of its box's area) in the picture that is looked at."""
WIDTHS = (160, 320)
"""Bounds of that picture's width."""
SILHOUETTE = {"overhead": 0.75, "oblique": 0.5}
"""Share of a person's box that their silhouette fills."""
GUESS = {"overhead": (0.15, 0.25), "oblique": (0.08, 0.3)}
"""Width and height of a person, in 0–1, until they are known."""
WALKERS = 5
"""Lone walkers from whom they are learned."""
LEAST = 0.08
"""Of a person's area: what is smaller is noise."""
SHADED = 0.4
"""Persons of light or shade that stand still within a moving piece, from which on they are cut off it."""
PALE = (0.4, 0.8)
"""Share of the neighbourhood that must be more than a change of light for a point to weigh the least and
the most."""
LIGHT = 0.2
"""What a point that may be light or shade weighs."""
STANDING = 60.0
"""Seconds for which somebody who walked in and stands still is kept out of the background."""
NEW = 3.0
"""Seconds for which anything new is: who comes towards the camera hardly moves in the picture."""
PACE = 0.2
"""Seconds between two questions to a detector."""


class Crossing(NamedTuple):
    """Somebody crossed a line: `t` and `frame` of that moment, which is before it is known.

    `calibrated`: the size of a person was known.
    """

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
        zones: Mapping[str, Zone] | None = None,
        detector: vision.Detector | None = None,
    ) -> None:
        """`detector`: finds people in the picture; without it, whatever moves is one."""
        overhead = view == "overhead"
        self._view = view
        self._gates = [Gate(name, line, overhead=overhead) for name, line in lines.items()]
        self._zones = zones or {}
        self._detector = detector
        self._asked = -PACE
        self._background = vision.Background()
        places: list[Line | Zone] = [*lines.values(), *self._zones.values()]
        sizes = [place.person for place in places if place.person]
        self.calibrated = bool(sizes)
        """Whether the size of a person is known."""
        self._person: Vector = np.mean(sizes or [GUESS[view]], axis=0)
        # A line that runs down the picture is crossed at any distance.
        levels = [
            (y1 + y2) / 2 / float(self._person[1])
            for (x1, y1), (x2, y2) in (line.points for line in lines.values())
            if abs(x2 - x1) > abs(y2 - y1)
        ]
        level = float(np.mean(levels)) if levels and self.calibrated and not overhead else None
        self._tracker = Tracker(overhead=overhead, level=level)
        self._ratio = 1.0
        self._walkers: list[Vector] = []
        self.occupancy: dict[str, int] = dict.fromkeys(self._zones, 0)
        """Persons in each zone now."""

    @property
    def boxes(self) -> list[tuple[float, float, float, float]]:
        """Who is followed now: x, y, width, height in 0–1."""
        found = []
        for track in self._tracker.tracks:
            x, y = ((track.at - track.scale / 2) * self._person).tolist()
            width, height = (self._person * track.scale).tolist()
            found.append((x, y, width, height))
        return found

    def step(self, frame: vision.Image, t: float, n: int) -> list[Crossing]:
        """Look at a frame: (height, width, 3) BGR, at `t` seconds, the `n`-th. Times must not go back."""
        self._ratio = frame.shape[0] / frame.shape[1]
        width = int(np.clip(DETAIL / np.sqrt(np.prod(self._person) * self._ratio), *WIDTHS))
        image = vision.shrink(frame, width)
        mask, solid = self._background.look(image, t)
        unit = self._person * (mask.shape[1], mask.shape[0])
        points = self._points(mask, solid, unit)
        if self._detector:
            if len(points.at) and t - self._asked < PACE:
                return []
            self._asked = t
            people = self._detector.people(frame) if len(points.at) else []
            mask, labels = vision.ellipses(people, mask.shape)
            points = self._sample(labels, np.ones(mask.shape), unit)
        lost = self._tracker.update(points, t, n)
        self._background.learn(image, self._kept(mask, unit, t))
        found = self._crossings(lost, t)
        self._learn(lost)
        there = [track.at * self._person for track in self._tracker.tracks if track.real]
        for name, zone in self._zones.items():
            self.occupancy[name] = sum(within(at, zone.corners) for at in there)
        return found

    def finish(self) -> list[Crossing]:
        """Nothing more will come: whoever was about to be counted."""
        found = self._crossings(self._tracker.tracks, self._tracker.t)
        self._tracker.tracks = []
        return found

    def _crossings(self, lost: list[Track], t: float) -> list[Crossing]:
        scale = self._scale
        return [
            Crossing(
                gate.name,
                passage.t,
                passage.n,
                "in" if passage.side > 0 else "out",
                self.calibrated,
            )
            for track in [*(each for each in self._tracker.tracks if each not in lost), *lost]
            for gate in self._gates
            if (
                passage := gate.update(
                    track, scale, t, settled=self._background.settled, lost=track in lost
                )
            )
        ]

    @property
    def _scale(self) -> Scale:
        wide = self._person[0] * np.array([1, 1 / self._ratio])
        return Scale(self._person, self._person if self._view == "overhead" else wide)

    def _points(self, mask: vision.Image, solid: NDArray[np.bool_], unit: Vector) -> Points:
        """What stands out, as points; shade and light weigh little, and are cut off who casts them."""
        area = self._area(unit)
        share = vision.share(solid, mask, *(int(side) // 2 for side in unit))
        labels = vision.pieces(mask, LEAST / area)
        if self._view == "overhead":
            still = share < 0.5
            shade = np.bincount(labels[still], minlength=labels.max() + 1) * area > SHADED
            shade[0] = False
            apart = shade[labels] & still
            if apart.any():
                rest = vision.pieces(mask * apart, LEAST / area)
                labels = vision.pieces(mask * ~apart, LEAST / area)
                labels = np.where(rest > 0, rest + labels.max(), labels)
        return self._sample(labels, share, unit)

    def _area(self, unit: Vector) -> float:
        """Of a pixel, in silhouettes of a person."""
        return float(1 / (np.prod(unit) * SILHOUETTE[self._view]))

    def _sample(self, labels: NDArray[np.int32], share: NDArray[np.floating], unit: Vector) -> Points:
        """Every other pixel each way stands for four."""
        labels, share = labels[::2, ::2], share[::2, ::2]
        rows, columns = np.nonzero(labels)
        share = share[rows, columns]
        area = 4 * self._area(unit)
        weight = LIGHT + (1 - LIGHT) * np.clip((share - PALE[0]) / (PALE[1] - PALE[0]), 0, 1)
        return Points(
            at=(np.stack([columns, rows], axis=1) * 2 + 1) / unit,
            piece=np.unique(labels[rows, columns], return_inverse=True)[1],
            area=weight * area,
            shade=(share < 0.5) * area,
            middle=0.5 / self._person,
            settled=self._background.settled,
        )

    def _kept(self, mask: vision.Image, unit: Vector, t: float) -> vision.Image:
        """Where somebody is who walked in: they are no background, however still they stand."""
        new = NEW if self._tracker.deep else 0.0
        keep = np.zeros_like(mask)
        for track in self._tracker.tracks:
            if t - track.moved < (STANDING if track.real else new):
                (x1, y1), (x2, y2) = (np.array([track.at - 0.75, track.at + 0.75]) * unit).astype(int)
                keep[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = 255
        return keep & mask

    def _learn(self, lost: list[Track]) -> None:
        """The size of a person, from those who walked alone and are gone."""
        if self.calibrated:
            return
        self._walkers += [
            np.median(track.sizes, axis=0) * self._person
            for track in lost
            if len(track.sizes) > 10 and track.far > 1
        ]
        if len(self._walkers) >= WALKERS and not self._tracker.tracks:
            # Who walked as a pair is larger: the smaller half are surely single.
            self._person = np.percentile(self._walkers, 40, axis=0)
            self.calibrated = True
