"""Tracking of people from frame to frame.

All distances are in persons: one unit is the width of a person across, and the height of a person down.
People are tracked as clusters of foreground points. Those who share a blob (a connected area of the
foreground) continue at their speed, so that two who meet and part stay two, and keep their directions.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
"""(2,): x, y in persons."""

MAX_POINT_DISTANCE_PERSONS = 0.9
"""A point belongs to a track only within this distance of its centre."""
MIN_NEW_AREA = 0.3
"""A new track needs at least this share of a person's area."""
MIN_NEW_AREA_BESIDE_OTHERS = 0.6
"""A new track in a blob with others needs at least this area that belongs to no other track."""
MIN_SEEN_AREA = 0.08
"""With a smaller share of a person's area a track is not seen."""
LOST_AFTER_S = 1.0
"""A track ends when it has not been seen for this time."""
MIN_PERSON_VOTES_S = 0.18
"""The votes (seconds for, less seconds against) from which a track is a person."""
MIN_KEPT_VOTES_S = -0.35
"""A track with fewer votes ends."""
MAX_VOTES_S = 0.66
ROOM_TOLERANCE_PERSONS = {True: (0.6, 0.25), False: (0.6, 0.5)}
"""By how much area and length may fall short of whole persons; by whether the view is overhead."""
MIN_SEPARATION_PERSONS = 0.8
"""Two tracks this far apart are separate persons."""
SEPARATE_AFTER_S = 0.98
"""In an oblique view, two tracks with room for both for this time stay two even when one hides the
other."""
MIN_SHADE_PERSONS = 0.25
"""A shadow has at least this area of shade, in areas of a person."""
MAX_SHADOW_ASIDE_PERSONS = 0.6
"""With a smaller offset across the direction of walking, one walks ahead of the other, not beside."""
MAX_SHADOW_DISTANCE_PERSONS = 3.5
MIN_SPEED_PERSONS_PER_S = 0.5
"""Slower tracks have no direction."""
SIZE_RANGE = (0.4, 1.3)
"""Limits of a person's size, relative to the expected one."""
SIZE_PER_PERSON_DOWN = 0.7
"""Increase of the size, in persons at the line, for each person further down in the picture, as people
there are nearer. Valid for a camera at a height of about 3 m, with any lens."""
EXPECTED_SIZE_RANGE = (0.4, 2.0)
"""Limits of the size that follows from it."""
LEAN_PER_PERSON_OUTWARDS = 0.3
"""Increase of the length in an overhead view for each person of distance from the picture's centre: there
people are seen from the side, leaning outwards."""
AREA_AVERAGING_S = 0.45
MAX_PATH_FRAMES = 600
MAX_TRACKS = 100
"""Rain or noise may look like any number of people, and each track costs time."""


@dataclass
class ForegroundPoints:
    """The foreground of a frame.

    `position`: (n, 2), positions; `blob`: (n,), the number of the blob of each, from 0; `area`: (n,), of
    each, in areas of a person's silhouette, reduced where it may be light or shade; `shade`: (n,), the
    area that may be light or shade; `picture_centre`: the centre of the picture; `settled`: the exposure
    is stable."""

    positions: NDArray[np.float64]
    blob: NDArray[np.int64]
    area: NDArray[np.float64]
    shade: NDArray[np.floating]
    picture_centre: Vector
    settled: bool = True


class PendingCrossing(NamedTuple):
    """A crossing that is not confirmed yet: to which side (1: right), when (seconds, frame number), where,
    after how many seconds it is confirmed, and whether the exposure was stable."""

    side: int
    time_s: float
    frame_number: int
    position: Vector
    confirm_after_s: float
    settled: bool


@dataclass(eq=False)
class Track:
    """A person, or what may be one, who is followed."""

    position: Vector
    last_seen_s: float
    start: Vector
    last_moved_s: float
    """When the track last moved by a third of a person."""
    path: list[tuple[float, int, Vector, bool]]
    """Time in seconds, frame number, position, and whether there was room, for each frame."""
    own_path_start: int = 0
    """Index in `path` from which the track is separate; before, it shared that of another."""
    last_rest: Vector = field(default_factory=lambda: np.zeros(2))
    speed: Vector = field(default_factory=lambda: np.zeros(2))
    size: float = 1.0
    """Size relative to the one expected at the position."""
    size_at_line: float = 1.0
    """Size in persons at the line."""
    area_seen: float = 0.0
    mean_area: float = 0.0
    """Average area, in areas of a person of this size."""
    shade: float = 0.0
    has_room: bool = False
    votes_s: float = 0.0
    """Seconds for the track being a person, less seconds against."""
    alone_s: float = 0.0
    """Seconds as the only track of a blob, large enough for a person, and far from others."""
    room_s: float = 0.0
    """Seconds with room for the track beside others, less seconds without."""
    max_distance: float = 0.0
    """The largest distance from the start."""
    sizes: list[Vector] = field(default_factory=list)
    """Width and height while the track was alone."""
    sides: dict[str, int] = field(default_factory=dict)
    """The side of each line, by its name: 1 right, -1 left."""
    pending_crossings: dict[str, PendingCrossing] = field(default_factory=dict)
    """Crossings that are not confirmed yet, by the name of the line."""

    @property
    def is_separate(self) -> bool:
        """Whether the track was seen to be separate from others."""
        return self.alone_s >= MIN_PERSON_VOTES_S or self.room_s >= SEPARATE_AFTER_S

    @property
    def is_person(self) -> bool:
        """Whether this is a person who walked in, and not a lamp or a leaf."""
        return self.max_distance > 0.4 and self.votes_s >= MIN_PERSON_VOTES_S


class Tracker:
    """Follows people from frame to frame."""

    def __init__(self, *, overhead: bool, level: float | None = None) -> None:
        """`overhead`: the camera looks straight down, so that people do not hide each other, and shadows
        are as large as people. `level`: the position of the line down the picture, in persons; None: all
        people have the same size."""
        self.tracks: list[Track] = []
        self.time_s = 0.0
        """Time of the last frame, in seconds."""
        self._overhead = overhead
        self._line_level = level
        self.depth_known = level is not None
        """Whether people further down in the picture are nearer, and larger."""

    def _expected_size(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """The size of a person whose centre is at `y`, in persons at the line."""
        if self._line_level is None:
            return np.ones_like(y)
        return np.clip(1 + SIZE_PER_PERSON_DOWN * (y - self._line_level), *EXPECTED_SIZE_RANGE)

    def update(self, points: ForegroundPoints, time_s: float, frame_number: int) -> list[Track]:
        """Process the points of a frame. Returns the tracks that have ended."""
        dt = min(max(time_s - self.time_s, 1e-3), 0.5)
        self.time_s = time_s
        for track in self.tracks:
            track.position = track.position + track.speed * dt
            track.size_at_line = track.size * float(self._expected_size(track.position[1]))
        point_tracks = self._assign_points(points)
        if len(point_tracks):
            sizes = self._expected_size(points.positions[:, 1])
            blobs = Blobs(
                points,
                point_tracks,
                len(self.tracks),
                sizes,
                overhead=self._overhead,
                deep=self.depth_known,
            )
            self._update_positions(blobs, time_s, dt)
            self._update_votes(blobs, dt, settled=points.settled)
            for track in self.tracks:
                if track.last_seen_s == time_s:
                    self._record_path(track, time_s, frame_number)
        for track in self.tracks:
            if track.last_seen_s < time_s:
                track.speed = track.speed * 0.9
        ended = [
            track
            for track in self.tracks
            if time_s - track.last_seen_s > LOST_AFTER_S or track.votes_s < MIN_KEPT_VOTES_S
        ]
        if len(point_tracks):
            self._start_tracks(points, point_tracks, blobs, time_s, frame_number)
        self.tracks = [track for track in self.tracks if track not in ended]
        return ended

    def _assign_points(self, points: ForegroundPoints) -> NDArray[np.int64]:
        """The track of each point: (n,), from 1; 0 for none."""
        if not self.tracks or not len(points.positions):
            return np.zeros(len(points.positions), np.int64)
        centres = np.array([track.position for track in self.tracks])
        scales = np.array([track.size_at_line for track in self.tracks])
        distances = np.hypot(*np.moveaxis(points.positions[:, None] - centres, 2, 0)) / scales
        return np.where(distances.min(axis=1) < MAX_POINT_DISTANCE_PERSONS, distances.argmin(axis=1) + 1, 0)

    def _update_positions(self, blobs: Blobs, time_s: float, elapsed_s: float) -> None:
        """Move the tracks to where they are seen."""
        offsets = [blobs.centres[i] - track.position for i, track in enumerate(self.tracks, 1)]
        areas = blobs.area_by_track.sum(axis=0)
        for i, track in enumerate(self.tracks, 1):
            track.area_seen = float(areas[i])
            if track.area_seen < MIN_SEEN_AREA * track.size_at_line**2:
                continue
            track.last_seen_s = time_s
            fresh = min(max(elapsed_s / AREA_AVERAGING_S, 1 / len(track.path)), 1.0)
            track.mean_area += fresh * (track.area_seen / track.size_at_line**2 - track.mean_area)
            track.shade += fresh * (float(blobs.shade[i]) - track.shade)
            offset = offsets[i - 1]
            others = blobs.tracks_sharing_blob(i)
            if others:
                # Tracks in one blob mostly move as the blob does.
                common = np.average([offsets[j - 1] for j in others], axis=0, weights=areas[others])
                gain, drift = 0.1, 0.4 * common + 0.15 * (offset - common)
            else:
                gain, drift = 0.3, 0.6 * offset
            track.position = track.position + drift
            track.speed = track.speed + min(gain, 30 * gain * elapsed_s) * offset / max(elapsed_s, 1 / 15)

    def _update_votes(self, blobs: Blobs, elapsed_s: float, *, settled: bool) -> None:
        """Vote for or against the tracks of each blob, by the number of people it has room for."""
        positions = np.array([track.position for track in self.tracks]).reshape(-1, 2)
        for track in self.tracks:
            track.has_room = False
        for blob, area in enumerate(blobs.area_seen):
            tracks_in = [self.tracks[i - 1] for i in blobs.tracks_in(blob)]
            if len(tracks_in) == 1:
                self._update_lone_track(tracks_in[0], float(area), blobs.sizes[blob], positions, elapsed_s)
                continue
            weakest = sorted(tracks_in, key=evidence)
            for rank, track in enumerate(weakest):
                room = len(tracks_in) - rank <= blobs.room[blob]
                track.has_room = room or (not self._overhead and track.is_separate)
                track.votes_s = min(
                    track.votes_s + (elapsed_s if track.has_room else -1.5 * elapsed_s), MAX_VOTES_S
                )
                if track.room_s < SEPARATE_AFTER_S:
                    track.room_s = max(track.room_s + (elapsed_s if room else -elapsed_s), 0.0)
        if self._overhead:
            for track, shade in zip(self.tracks, blobs.shade[1:], strict=True):
                if any(may_be_shadow(each, track, float(shade), settled=settled) for each in self.tracks):
                    track.votes_s = min(track.votes_s - 3 * elapsed_s, 0.4 * MAX_VOTES_S)
                    track.has_room = False

    def _update_lone_track(
        self, track: Track, area: float, size: Vector, positions: NDArray[np.float64], elapsed_s: float
    ) -> None:
        """Update the only track of a blob. `position`: the positions of all tracks."""
        track.has_room = True
        if area <= MIN_NEW_AREA:
            return
        track.votes_s = min(track.votes_s + elapsed_s, MAX_VOTES_S)
        size = np.sqrt(area) * track.size / track.size_at_line
        track.size += 0.1 * (float(np.clip(size, *SIZE_RANGE)) - track.size)
        if (
            area > MIN_NEW_AREA_BESIDE_OTHERS * track.size_at_line**2
            and (np.hypot(*(positions - track.position).T) < MIN_SEPARATION_PERSONS).sum() == 1
        ):
            track.alone_s += elapsed_s
            track.sizes = [*track.sizes[-100:], size]

    def _record_path(self, track: Track, time_s: float, frame_number: int) -> None:
        track.path.append((time_s, frame_number, track.position, track.has_room))
        if len(track.path) > MAX_PATH_FRAMES:
            half = MAX_PATH_FRAMES // 2
            track.path, track.own_path_start = track.path[half:], max(track.own_path_start - half, 0)
        track.max_distance = max(track.max_distance, float(np.abs(track.position - track.start).max()))
        if np.abs(track.position - track.last_rest).max() > 0.3:
            track.last_moved_s, track.last_rest = time_s, track.position

    def _start_tracks(
        self,
        points: ForegroundPoints,
        point_tracks: NDArray[np.int64],
        blobs: Blobs,
        time_s: float,
        frame_number: int,
    ) -> None:
        for blob, room in enumerate(blobs.room):
            if len(self.tracks) >= MAX_TRACKS:
                return
            tracks_in = blobs.tracks_in(blob)
            expected = float(blobs.expected[blob])
            min_area = (MIN_NEW_AREA_BESIDE_OTHERS if tracks_in else MIN_NEW_AREA) * expected**2
            if blobs.area_by_track[blob, 0] > min_area:
                free = (points.blob == blob) & (point_tracks == 0)
                middle = densest_spot(points.positions[free], points.area[free], min_area)
                if middle is not None:
                    path = [(time_s, frame_number, middle, False)]
                    self.tracks.append(
                        Track(middle, time_s, middle, time_s, path, last_rest=middle, size_at_line=expected)
                    )
                    continue
            if tracks_in and room > len(tracks_in):
                i = max(tracks_in, key=lambda i: float(blobs.area_by_track[blob, i]))
                mine = (points.blob == blob) & (point_tracks == i)
                self._split_track(self.tracks[i - 1], points.positions[mine], points.area[mine], time_s)

    def _split_track(
        self, track: Track, positions: NDArray[np.float64], area: NDArray[np.float64], time_s: float
    ) -> None:
        """Split a track that turned out to be two people."""
        if len(positions) < 8:
            return
        axis = np.linalg.eigh(np.cov(positions.T, aweights=area))[1][:, -1]
        offset = (positions - np.average(positions, axis=0, weights=area)) @ axis
        ends = [
            np.average(positions[part], axis=0, weights=area[part]) for part in (offset < 0, offset >= 0)
        ]
        ends.sort(key=lambda end: float(np.hypot(*(end - track.position))))
        for other in self.tracks:
            if (
                other.last_seen_s < time_s
                and np.hypot(*(other.position - track.position)) < MAX_POINT_DISTANCE_PERSONS
            ):
                track.position, other.position = ends
                other.speed = track.speed
                return
        other = copy(track)
        other.path, other.own_path_start, other.sizes = list(track.path), len(track.path), []
        other.sides, other.pending_crossings = dict(track.sides), dict(track.pending_crossings)
        other.votes_s, other.alone_s, other.room_s = 0.0, 0.0, 0.0
        track.position, other.position = ends
        self.tracks.append(other)


class Blobs:
    """The blobs of a frame, and their tracks.

    `area_by_track`: (blobs, tracks + 1), the area of each track in each blob, that of no track first;
    `centres`: (tracks + 1, 2), the centres of the tracks' points; `shade`: (tracks + 1,), their area of
    shade; `area_seen`, `room`: (blobs,), area, and the number of people there is room for; `sizes`:
    (blobs, 2), width and height; `expected`: (blobs,), the size of a person there.
    """

    def __init__(
        self,
        points: ForegroundPoints,
        point_tracks: NDArray[np.int64],
        tracks: int,
        expected: NDArray[np.float64],
        *,
        overhead: bool,
        deep: bool,
    ) -> None:
        """`expected`: (n,), the size of a person at each point, in persons at the line."""
        count = int(points.blob.max()) + 1
        places = points.blob * (tracks + 1) + point_tracks
        self.area_by_track = np.bincount(places, points.area, count * (tracks + 1)).reshape(
            count, tracks + 1
        )
        self.area_seen = self.area_by_track.sum(axis=1)
        self.shade = np.bincount(point_tracks, points.shade, tracks + 1)
        whole = np.maximum(self.area_by_track.sum(axis=0), 1e-9)
        self.centres = np.stack(
            [
                np.bincount(point_tracks, points.area * axis, tracks + 1) / whole
                for axis in points.positions.T
            ],
            axis=1,
        )
        x, y = points.positions.T

        def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
            sums = np.bincount(points.blob, points.area * values, count)
            return np.asarray(sums / np.maximum(self.area_seen, 1e-9))

        self.expected = mean(expected)
        mx, my = mean(x), mean(y)
        xx, yy = np.maximum(mean(x * x) - mx**2, 0), np.maximum(mean(y * y) - my**2, 0)
        # Four standard deviations are the length of an ellipse.
        self.sizes = 4 * np.sqrt(np.stack([xx, yy], axis=1))
        if overhead:
            xy = mean(x * y) - mx * my
            out = np.stack([mx, my], axis=1) - points.picture_centre
            lean = 1 + LEAN_PER_PERSON_OUTWARDS * np.hypot(*out.T)
            # Without the lean they would be shorter by this factor, outwards.
            unit = out / np.maximum(np.hypot(*out.T), 1e-9)[:, None]
            raised = np.eye(2) - (1 - 1 / lean)[:, None, None] * unit[:, :, None] * unit[:, None, :]
            spread = raised @ np.array([[xx, xy], [xy, yy]]).transpose(2, 0, 1) @ raised
            area, length = self.area_seen / lean, 4 * np.sqrt(np.linalg.eigvalsh(spread)[:, -1].clip(0))
        else:
            # The height of a blob gives the size of its people, and its width their number. Where depth is
            # known, people who are shorter than expected are cut off by the picture's edge.
            min_area = 0.8 if deep else 0.4
            tall = np.clip(self.sizes[:, 1], min_area * self.expected, 1.2 * np.maximum(self.expected, 1))
            area, length = self.area_seen / tall**2, self.sizes[:, 0] / tall
        # Both the area and the length must be sufficient.
        lacks = ROOM_TOLERANCE_PERSONS[overhead]
        self.room = np.maximum(np.floor(np.minimum(area + lacks[0], length + lacks[1])), 1)
        if not points.settled:
            self.room[:] = 1

    def tracks_in(self, blob: int) -> list[int]:
        """The tracks with more than half of their area in a blob."""
        held = self.area_by_track[blob]
        most = (held > 0.5 * self.area_by_track.sum(axis=0)) & (held > 0)
        most[0] = False
        return [int(i) for i in np.flatnonzero(most)]

    def tracks_sharing_blob(self, i: int) -> list[int]:
        """The tracks that share the blob of track `i`, including it; empty if it is alone."""
        tracks_in = self.tracks_in(int(self.area_by_track[:, i].argmax()))
        return tracks_in if len(tracks_in) > 1 and i in tracks_in else []


def evidence(track: Track) -> tuple[bool, float, float]:
    """Sort key for tracks in a blob without room for all: area, seconds alone, votes. Somebody who has
    left the picture may still have a few points of the next person."""
    return (
        track.area_seen > MIN_NEW_AREA * track.size_at_line**2,
        min(track.alone_s, MIN_PERSON_VOTES_S),
        track.votes_s,
    )


def may_be_shadow(person: Track, shadow: Track, shade: float, *, settled: bool) -> bool:
    """Whether `shadow`, with the area of shade `shade` now, may be the shadow of `person`: both go the
    same way, one ahead of the other, and it is darker or, while the exposure changes, moves less."""
    if settled:
        like = shade > MIN_SHADE_PERSONS and person.shade < 0.5 * shadow.shade
    else:
        like = person.mean_area > 1.3 * shadow.mean_area
    direction = person.speed + shadow.speed
    pace = float(np.hypot(*direction))
    if not like or pace < MIN_SPEED_PERSONS_PER_S or person.speed @ shadow.speed < 0:
        return False
    offset = person.position - shadow.position
    aside = abs(offset[0] * direction[1] - offset[1] * direction[0]) / pace
    return bool(aside < MAX_SHADOW_ASIDE_PERSONS and np.hypot(*offset) < MAX_SHADOW_DISTANCE_PERSONS)


def densest_spot(
    positions: NDArray[np.float64], area: NDArray[np.float64], min_area: float
) -> Vector | None:
    """The centre of the points within half a person of the densest point; None if their area is below
    `min_area`."""
    some = positions[:: max(1, len(positions) // 60)]
    near = np.hypot(*np.moveaxis(some[:, None] - positions, 2, 0)) < 0.5
    areas = near @ area
    best = near[areas.argmax()]
    if areas.max() < min_area:
        return None
    middle: Vector = np.average(positions[best], axis=0, weights=area[best])
    return middle
