"""People drawn from above, for tests that need to know exactly who crosses what, and when."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from drivers.camera.vision import Frame, Image

WIDTH, HEIGHT, FPS = 320, 180, 15
PERSON = (0.11, 0.2)
"""Of the picture, arms included."""
MIDLINE = ((0.5, 0.0), (0.5, 1.0))
"""Looked along from the top: its right-hand side is the left half."""


@dataclass
class Walker:
    """Somebody who is at `path(t)`, in 0–1, at `t` seconds; None: not there."""

    path: Callable[[float], tuple[float, float] | None]
    colour: tuple[int, int, int] = (60, 40, 150)
    shadow: tuple[float, float] | None = None
    """How far from them theirs falls."""
    size: Callable[[float], float] = lambda y: 1.0
    """In persons, so far down the picture."""


def walk(start: float, first: tuple[float, float], last: tuple[float, float], seconds: float = 4) -> Walker:
    """Somebody who walks straight from one place to another."""

    def path(t: float) -> tuple[float, float] | None:
        part = (t - start) / seconds
        if not 0 <= part <= 1:
            return None
        return first[0] + (last[0] - first[0]) * part, first[1] + (last[1] - first[1]) * part

    return Walker(path)


def floor() -> Image:
    """A floor with a grain."""
    grain = np.random.default_rng(1).normal(0, 25, (HEIGHT // 4, WIDTH // 4, 1))
    grain = cv2.resize(grain, (WIDTH, HEIGHT))[:, :, None]
    return np.clip(np.array([120, 150, 170]) + grain, 0, 255).astype(np.uint8)


def play(
    walkers: Sequence[Walker],
    seconds: float,
    *,
    light: Callable[[float], float] = lambda t: 1.0,
    noise: float = 2.0,
    fps: float = FPS,
) -> Iterator[Frame]:
    """The pictures of a scene."""
    random = np.random.default_rng(2)
    back = floor()
    for n in range(round(seconds * fps)):
        t = n / fps
        image = back.copy()
        here = [(walker, place) for walker in walkers if (place := walker.path(t))]
        for walker, (x, y) in here:
            if walker.shadow:
                _shade(image, x + walker.shadow[0], y + walker.shadow[1])
        for walker, (x, y) in here:
            _person(image, x, y, walker.colour, walker.size(y))
        lit = image * light(t) + random.normal(0, noise, image.shape)
        yield Frame(np.clip(lit, 0, 255).astype(np.uint8), t, n)


def _person(image: Image, x: float, y: float, colour: tuple[int, int, int], size: float) -> None:
    middle = round(x * WIDTH), round(y * HEIGHT)
    wide, high = round(size * PERSON[0] * WIDTH / 2), round(size * PERSON[1] * HEIGHT / 2)
    cv2.ellipse(image, middle, (wide, high), 0, 0, 360, colour, -1)
    cv2.ellipse(image, middle, (wide, high // 3), 0, 0, 360, tuple(c // 2 for c in colour), -1)
    cv2.circle(image, middle, wide // 2, (30, 40, 50), -1)


def _shade(image: Image, x: float, y: float) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    size = round(PERSON[0] * WIDTH * 0.9), round(PERSON[1] * HEIGHT * 0.5)
    cv2.ellipse(mask, (round(x * WIDTH), round(y * HEIGHT)), size, 0, 0, 360, 255, -1)
    image[mask > 0] = (image[mask > 0] * 0.45).astype(np.uint8)
