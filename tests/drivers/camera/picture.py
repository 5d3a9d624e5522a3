"""A pinhole camera over a floor, and ellipsoids painted as it sees them.

The outline of an ellipsoid is exact: its dual quadric projects to the dual of an ellipse (Hartley and
Zisserman, Multiple View Geometry, result 8.9). Metres and radians; the floor is z = 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[Any]

WALL = 12.0
"""How far the floor reaches; a wall stands there."""


@dataclass(frozen=True)
class Solid:
    """An ellipsoid: its centre, its second moments (3 × 3), its colour (BGR), and a pattern worn on it."""

    centre: Array
    moments: Array
    colour: Any = (0, 0, 0)
    pattern: Array | None = None

    def shadow(self, lean: tuple[float, float]) -> Solid:
        """Itself, flattened onto the floor along the light."""
        flat = np.array([(1, 0, lean[0]), (0, 1, lean[1]), (0, 0, 0)])
        return Solid(flat @ self.centre, flat @ self.moments @ flat.T)


class Ellipse(NamedTuple):
    """Centre (x, y) and second moments (2 × 2) in pixels, depth in metres."""

    centre: Array
    moments: Array
    depth: float


@dataclass(frozen=True)
class Camera:
    """Looks at the floor `ahead` metres beyond the origin, `tilt` off the vertical.

    `focal` is in picture widths; `barrel` bends the picture as a wide lens does.
    """

    height: float
    tilt: float = 0.0
    ahead: float = 0.0
    focal: float = 0.6
    barrel: float = 0.0
    width: int = 640
    rows: int = 360

    @classmethod
    def overhead(cls, person: float, height: float = 3.0, barrel: float = 0.0) -> Self:
        """Straight down; shoulders are `person` of the picture wide."""
        return cls(height, focal=person * (height - 1.4) / 0.5, barrel=barrel)

    @classmethod
    def oblique(cls, distance: float = 5.0, height: float = 2.8, focal: float = 0.75) -> Self:
        """From a wall, `distance` before the origin."""
        return cls(height, math.atan2(distance + 1.5, height), 1.5, focal)

    @cached_property
    def size(self) -> Array:
        return np.array([self.width, self.rows])

    @cached_property
    def axes(self) -> Array:
        """Right, down and forward of the picture, as rows."""
        s, c = math.sin(self.tilt), math.cos(self.tilt)
        return np.array([(1, 0, 0), (0, -c, -s), (0, s, -c)], float)

    @cached_property
    def place(self) -> Array:
        return np.array([0, self.ahead - self.height * math.tan(self.tilt), self.height])

    def outline(self, solid: Solid) -> Ellipse | None:
        """None for what is behind the camera or too near."""
        seen = self.axes @ (solid.centre - self.place)
        if seen[2] < 0.3:
            return None
        dual = self.axes @ solid.moments @ self.axes.T - np.outer(seen, seen)
        scale = self.focal * self.width
        centre = dual[:2, 2] / dual[2, 2]
        moments = np.outer(centre, centre) - dual[:2, :2] / dual[2, 2]
        bent = self._bend(centre * scale)
        # Over so small a thing the lens is nearly linear.
        slope = np.stack([self._bend(centre * scale + step) - bent for step in np.eye(2)], axis=1)
        return Ellipse(bent + self.size / 2, slope @ moments @ slope.T * scale**2, float(seen[2]))

    def _bend(self, offset: Array) -> Array:
        """From where a straight lens puts a point, in pixels off the middle, to where this one does."""
        far = float(np.hypot(*offset)) / (self.width / 2)
        if not self.barrel or not far:
            return offset
        return offset * ((math.sqrt(1 + 4 * self.barrel * far**2) - 1) / (2 * self.barrel * far**2))

    def floor(self, kind: str, random: Generator) -> NDArray[np.float32]:
        """The empty picture, rows × width × 3."""
        y, x = np.mgrid[0 : self.rows, 0 : self.width] + 0.5
        offset = np.stack([x, y]) - self.size[:, None, None] / 2
        far = (offset**2).sum(axis=0) / (self.width / 2) ** 2
        offset /= self.focal * self.width * np.maximum(1 - self.barrel * far, 0.2)
        right, ahead, up = self.axes.T @ np.stack([*offset, np.ones_like(far)]).reshape(3, -1)
        way = np.minimum(self.height / np.maximum(-up, 1e-3), WALL / np.maximum(ahead, 1e-3))
        above = np.maximum(self.height + way * up, 0)
        place = way * right, self.place[1] + way * ahead + above
        across, along = (side.reshape(far.shape) for side in place)
        base, tone = _texture(kind, across, along, random)
        picture: NDArray[np.float32] = (np.array(base) * (1 + tone)[..., None]).astype(np.float32)
        return picture


def _texture(kind: str, x: Array, y: Array, random: Generator) -> tuple[tuple[int, int, int], Array]:
    """A colour, and how much brighter each pixel is than it."""
    tones = random.normal(0, 1, (64, 64))

    def tone(across: Array, along: Array) -> Array:
        picked: Array = tones[along.astype(int) % 64, across.astype(int) % 64]
        return picked

    if kind == "tiles":
        joints = (x % 0.6 < 0.02) | (y % 0.6 < 0.02)
        return (165, 172, 178), 0.04 * tone(x / 0.6, y / 0.6) - 0.3 * joints
    if kind == "wood":
        plank = y / 0.12
        grain = 0.06 * np.sin(60 * y + 3 * np.sin(2 * x))
        return (70, 115, 165), 0.10 * tone(x / 1.5 + plank.astype(int) * 0.37, plank) + grain
    step, base = {"carpet": (0.03, (95, 85, 110)), "stone": (0.08, (120, 122, 125))}[kind]
    return base, 0.08 * tone(x / step, y / step) + 0.05 * np.sin(x) * np.sin(1.3 * y)


def stamp(mask: Array, ellipse: Ellipse, soft: float) -> None:
    """Lay an ellipse into a mask (0–1); `soft` is the width of its edge as a part of its radius."""
    if place := _within(mask, ellipse):
        where, u, v = place
        cover = np.clip((1 - np.sqrt(u * u + v * v)) / soft + 0.5, 0, 1)
        np.maximum(mask[where], cover, out=mask[where])


def paint(picture: Array, ellipse: Ellipse, solid: Solid) -> None:
    """Paint a solid over the picture, darker towards its edge."""
    if place := _within(picture, ellipse):
        where, u, v = place
        far = u * u + v * v
        radius = np.linalg.det(ellipse.moments) ** 0.25
        cover = np.clip((1 - np.sqrt(far)) * radius / 1.5 + 0.5, 0, 1)
        shade = 1 - 0.35 * np.minimum(far, 1)
        if solid.pattern is not None:
            column, row = np.broadcast_arrays(u, v)
            shade *= solid.pattern[(row * 10).astype(int) % 32, (column * 10).astype(int) % 32]
        colour = shade[..., None] * np.asarray(solid.colour, np.float32)
        picture[where] += cover[..., None] * (colour - picture[where])


def _within(picture: Array, ellipse: Ellipse) -> tuple[Any, Array, Array] | None:
    """The part of the picture round an ellipse, and each pixel's place there in the unit circle."""
    (x, y), moments, _ = ellipse
    reach = 1.3 * np.sqrt(np.diag(moments)) + 2
    left, top = np.maximum(np.floor(ellipse.centre - reach), 0).astype(int)
    right, bottom = np.minimum(np.ceil(ellipse.centre + reach), picture.shape[1::-1]).astype(int)
    if left >= right or top >= bottom:
        return None
    inverse = np.linalg.inv(np.linalg.cholesky(moments + 0.1 * np.eye(2))).astype(np.float32)
    across = np.arange(left, right, dtype=np.float32) + np.float32(0.5 - x)
    down = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5 - y)
    return (
        np.s_[top:bottom, left:right],
        inverse[0, 0] * across,
        inverse[1, 0] * across + inverse[1, 1] * down,
    )
