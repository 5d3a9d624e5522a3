"""Counting of people: turns frames and times into crossings and occupancy. Pure: no clock, file or
camera."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import vision
from .lines import CountingLine, Direction, LineCounter, PersonScale, Point, Zone, is_inside_polygon
from .tracks import ForegroundPoints, Track, Tracker, Vector

__all__ = ["CountingLine", "Crossing", "Direction", "PeopleCounter", "Point", "View", "Zone"]

View = Literal["overhead", "oblique"]
"""Straight down, or at an angle."""

PERSON_WIDTH_PX = 24
"""The picture is shrunk until a person (the root of their box's area) is this wide."""
IMAGE_WIDTH_RANGE_PX = (160, 320)
"""Limits of the width of the shrunk picture."""
SILHOUETTE_SHARE = {"overhead": 0.75, "oblique": 0.5}
"""Share of a person's box that their silhouette fills."""
DEFAULT_PERSON_SIZE = {"overhead": (0.15, 0.25), "oblique": (0.08, 0.3)}
"""Width and height of a person, in 0–1, until the size is learned."""
MIN_LONE_WALKERS = 5
"""People walking alone that are needed to learn the size of a person."""
MIN_BLOB_AREA = 0.08
"""In areas of a person; smaller blobs are noise."""
MIN_SHADE_PERSONS = 0.4
"""In areas of a person; a larger motionless area of light or shade is cut off from a moving blob."""
SOLID_SHARE_RANGE = (0.4, 0.8)
"""Share of the neighbourhood that is more than a change of light: at the first, a point has the least
weight, at the second, the full one."""
MIN_POINT_WEIGHT = 0.2
"""Weight of a point that may be light or shade."""
KEEP_STANDING_S = 60.0
"""For this time, a person who stands still is not learned as background."""
KEEP_NEW_S = 3.0
"""The same for any new track: people walking towards the camera hardly move in the picture."""
DETECTION_INTERVAL_S = 0.2


class Crossing(NamedTuple):
    """A confirmed crossing of a line; `t` (seconds) and `frame` (number) are those of the crossing, before
    its confirmation. `calibrated`: the size of a person was known.
    """

    line: str
    time_s: float
    frame_number: int
    direction: Direction
    calibrated: bool


class PeopleCounter:
    """Counts the people who cross the lines of one camera, and those in its zones."""

    def __init__(
        self,
        view: View,
        lines: Mapping[str, CountingLine],
        zones: Mapping[str, Zone] | None = None,
        detector: vision.Detector | None = None,
    ) -> None:
        """`detector`: finds people in the picture; without it, everything that moves counts as people."""
        overhead = view == "overhead"
        self._view = view
        self._line_counters = [LineCounter(name, line, overhead=overhead) for name, line in lines.items()]
        self._zones = zones or {}
        self._detector = detector
        self._last_detection_t = -DETECTION_INTERVAL_S
        self._background = vision.Background()
        places: list[CountingLine | Zone] = [*lines.values(), *self._zones.values()]
        sizes = [place.person for place in places if place.person]
        self.calibrated = bool(sizes)
        """Whether the size of a person is known."""
        self._person: Vector = np.mean(sizes or [DEFAULT_PERSON_SIZE[view]], axis=0)
        # A line that runs down the picture is crossed at different distances.
        levels = [
            (y1 + y2) / 2 / float(self._person[1])
            for (x1, y1), (x2, y2) in (line.points for line in lines.values())
            if abs(x2 - x1) > abs(y2 - y1)
        ]
        level = float(np.mean(levels)) if levels and self.calibrated and not overhead else None
        self._tracker = Tracker(overhead=overhead, level=level)
        self._aspect_ratio = 1.0
        self._walker_sizes: list[Vector] = []
        self.occupancy: dict[str, int] = dict.fromkeys(self._zones, 0)
        """People in each zone now."""

    @property
    def boxes(self) -> list[tuple[float, float, float, float]]:
        """The tracks: x, y, width, height in 0–1."""
        found = []
        for track in self._tracker.tracks:
            x, y = ((track.position - track.size_at_line / 2) * self._person).tolist()
            width, height = (self._person * track.size_at_line).tolist()
            found.append((x, y, width, height))
        return found

    def process_frame(self, frame: vision.Image, time_s: float, frame_number: int) -> list[Crossing]:
        """Process the `frame_number`-th frame, (height, width, 3) BGR, at `t` seconds, which must not
        decrease."""
        self._aspect_ratio = frame.shape[0] / frame.shape[1]
        width = int(
            np.clip(
                PERSON_WIDTH_PX / np.sqrt(np.prod(self._person) * self._aspect_ratio), *IMAGE_WIDTH_RANGE_PX
            )
        )
        image = vision.shrink(frame, width)
        mask, solid = self._background.find_foreground(image, time_s)
        person_px = self._person * (mask.shape[1], mask.shape[0])
        points = self._foreground_points(mask, solid, person_px)
        if self._detector:
            if len(points.positions) and time_s - self._last_detection_t < DETECTION_INTERVAL_S:
                return []
            self._last_detection_t = time_s
            people = self._detector.find_people(frame) if len(points.positions) else []
            mask, labels = vision.ellipse_mask(people, mask.shape)
            points = self._sample_points(labels, np.ones(mask.shape), person_px)
        ended = self._tracker.update(points, time_s, frame_number)
        self._background.learn(image, self._pixels_to_keep(mask, person_px, time_s))
        found = self._finished_crossings(ended, time_s)
        self._learn_person_size(ended)
        there = [track.position * self._person for track in self._tracker.tracks if track.is_person]
        for name, zone in self._zones.items():
            self.occupancy[name] = sum(is_inside_polygon(positions, zone.corners) for positions in there)
        return found

    def finish(self) -> list[Crossing]:
        """After the last frame: the crossings that were not confirmed yet."""
        found = self._finished_crossings(self._tracker.tracks, self._tracker.time_s)
        self._tracker.tracks = []
        return found

    def _finished_crossings(self, ended: list[Track], time_s: float) -> list[Crossing]:
        scale = self._person_scale
        return [
            Crossing(
                counter.name,
                crossing.time_s,
                crossing.frame_number,
                "in" if crossing.side > 0 else "out",
                self.calibrated,
            )
            for track in [*(each for each in self._tracker.tracks if each not in ended), *ended]
            for counter in self._line_counters
            if (
                crossing := counter.update(
                    track, scale, time_s, settled=self._background.settled, ended=track in ended
                )
            )
        ]

    @property
    def _person_scale(self) -> PersonScale:
        wide = self._person[0] * np.array([1, 1 / self._aspect_ratio])
        return PersonScale(self._person, self._person if self._view == "overhead" else wide)

    def _foreground_points(
        self, mask: vision.Image, solid: NDArray[np.bool_], person_px: Vector
    ) -> ForegroundPoints:
        """Points of the foreground. Light and shade get little weight, and are cut off from who casts
        them."""
        area = self._pixel_area(person_px)
        solid_share = vision.local_share(solid, mask, *(int(side) // 2 for side in person_px))
        labels = vision.label_blobs(mask, MIN_BLOB_AREA / area)
        if self._view == "overhead":
            still = solid_share < 0.5
            shade = np.bincount(labels[still], minlength=labels.max() + 1) * area > MIN_SHADE_PERSONS
            shade[0] = False
            shadow = shade[labels] & still
            if shadow.any():
                rest = vision.label_blobs(mask * shadow, MIN_BLOB_AREA / area)
                labels = vision.label_blobs(mask * ~shadow, MIN_BLOB_AREA / area)
                labels = np.where(rest > 0, rest + labels.max(), labels)
        return self._sample_points(labels, solid_share, person_px)

    def _pixel_area(self, person_px: Vector) -> float:
        """The area of a pixel, in areas of a person's silhouette."""
        return float(1 / (np.prod(person_px) * SILHOUETTE_SHARE[self._view]))

    def _sample_points(
        self, labels: NDArray[np.int32], solid_share: NDArray[np.floating], person_px: Vector
    ) -> ForegroundPoints:
        """Sample every second pixel in each direction; each represents four."""
        labels, solid_share = labels[::2, ::2], solid_share[::2, ::2]
        rows, columns = np.nonzero(labels)
        solid_share = solid_share[rows, columns]
        area = 4 * self._pixel_area(person_px)
        weight = MIN_POINT_WEIGHT + (1 - MIN_POINT_WEIGHT) * np.clip(
            (solid_share - SOLID_SHARE_RANGE[0]) / (SOLID_SHARE_RANGE[1] - SOLID_SHARE_RANGE[0]), 0, 1
        )
        return ForegroundPoints(
            positions=(np.stack([columns, rows], axis=1) * 2 + 1) / person_px,
            blob=np.unique(labels[rows, columns], return_inverse=True)[1],
            area=weight * area,
            shade=(solid_share < 0.5) * area,
            picture_centre=0.5 / self._person,
            settled=self._background.settled,
        )

    def _pixels_to_keep(self, mask: vision.Image, person_px: Vector, time_s: float) -> vision.Image:
        """The pixels of people, which must not be learned as background, even if they stand still."""
        new = KEEP_NEW_S if self._tracker.depth_known else 0.0
        keep = np.zeros_like(mask)
        for track in self._tracker.tracks:
            if time_s - track.last_moved_s < (KEEP_STANDING_S if track.is_person else new):
                (x1, y1), (x2, y2) = (
                    np.array([track.position - 0.75, track.position + 0.75]) * person_px
                ).astype(int)
                keep[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = 255
        return keep & mask

    def _learn_person_size(self, ended: list[Track]) -> None:
        """Learn the size of a person from ended tracks of people who walked alone."""
        if self.calibrated:
            return
        self._walker_sizes += [
            np.median(track.sizes, axis=0) * self._person
            for track in ended
            if len(track.sizes) > 10 and track.max_distance > 1
        ]
        if len(self._walker_sizes) >= MIN_LONE_WALKERS and not self._tracker.tracks:
            # Pairs are larger, so a value below the median is that of single people.
            self._person = np.percentile(self._walker_sizes, 40, axis=0)
            self.calibrated = True
