"""Whether a picture can be believed: a frozen, dark, blurred or moved one counts nobody. Pure.

It is judged small, grey and averaged over some seconds, so that people and the noise of the night are gone,
and by its edges in proportion to each other, so that light may come and go. The bounds were found on real
videos that were dimmed, lit from one side, blurred, shifted, turned and covered.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import vision
from .messages import Picture

EVERY = 0.5
"""Seconds between two looks."""
WIDTH = 160
"""Pixels to which a picture is shrunk."""
MEMORY = 4.0
"""Seconds over which it is averaged."""
LEARN, FOLLOW = 10.0, 600.0
"""Seconds after which the picture as it is becomes the reference, and in which that follows what changes
for good."""
USUAL, JUMP = 15.0, 16.0
"""Seconds over which the usual light is averaged; grey levels by which most of a picture changes at once
when a light is switched or a lens is covered: what was before tells nothing of it."""
FROZEN = 30.0
"""Seconds without the least change. Streams repeat themselves for some seconds in a still night, between
two key frames; so whoever comes then is counted at once."""
LASTS = {
    Picture.FROZEN: 0.0,
    Picture.DARK: 8.0,
    Picture.BLURRED: 15.0,
    Picture.MOVED: 15.0,
    Picture.GOOD: 5.0,
}
"""Seconds that each must last before it is believed."""

BLACK, SUDDEN, QUIET = 45.0, 0.5, 0.1
"""A covered lens gives less than this grey, and suddenly less than this part of the usual; or hardly any
noise (grey levels), for no eye is open."""
UNLIKE, TURNED, FAINT = 0.15, 0.3, 0.3
"""Correlation of the edges with those of the reference below which nothing is left of it, or little; grey
levels below which an edge is none."""
SHIFTED, SHIFT = 0.15, 12
"""How much better the edges fit elsewhere when a camera was pushed, up to so many pixels away."""
SOFT = 0.42
"""Part of the reference's strength and fineness, multiplied, below which the edges are blurred."""


class Edges(NamedTuple):
    """What a picture looks like, whatever its light."""

    shape: NDArray[np.float32]
    """How strong the edge is at each place, in its own measure: mean 0, variance 1."""
    strength: float
    """Grey levels across the strongest twentieth."""
    fine: float
    """How strong they are closely, compared with from afar."""
    light: float
    """Mean grey."""
    clear: bool
    """Whether they stand out of the noise."""


class Health:
    """Looks at one camera."""

    def __init__(self) -> None:
        self.picture = Picture.GOOD
        self._suspect, self._since = Picture.GOOD, 0.0
        self._next = self._began = self._changed = 0.0
        self._raw: vision.Image | None = None
        self._mean: NDArray[np.float32] | None = None
        self._noise = 0.0
        self._usual = 0.0
        self._reference: Edges | None = None

    def step(self, frame: vision.Image, t: float) -> Picture:
        """A frame, (height, width, 3), at `t` seconds; how the picture is."""
        if self._mean is None or t >= self._next:
            self._next = t + EVERY
            found = self._judge(frame, t)
            if found is not self._suspect:
                self._suspect, self._since = found, t
            thawed = self.picture is Picture.FROZEN and found is Picture.GOOD
            if thawed or t - self._since >= LASTS[found]:
                self.picture = found
        return self.picture

    def _judge(self, frame: vision.Image, t: float) -> Picture:
        raw = frame[::4, ::4]
        if self._raw is None or not np.array_equal(raw, self._raw):
            self._raw, self._changed = raw.copy(), t
        grey = vision.shrink(frame, WIDTH).mean(axis=2, dtype=np.float32)
        if self._mean is None:
            self._mean, self._usual, self._began = grey, float(grey.mean()), t
        apart = grey - self._mean
        typical = 2.7 * float(np.percentile(np.abs(apart), 20))  # Of normal noise, its deviation.
        if typical > JUMP:
            self._mean = grey
        else:
            self._mean = self._mean + np.float32(EVERY / MEMORY) * apart
            self._noise += EVERY / MEMORY * (typical - self._noise)
        if t - self._changed >= FROZEN:
            return Picture.FROZEN
        now = _edges(self._mean, self._noise)
        if self._is_dark(now):
            return Picture.DARK
        self._usual += EVERY / USUAL * (now.light - self._usual)
        if t - self._began < LEARN:
            return Picture.GOOD
        if self._reference is None or not self._reference.clear:
            self._reference = now
        found = self._compare(now, self._reference)
        if found is Picture.GOOD is self.picture and now.clear:
            self._reference = _towards(self._reference, now)
        return found

    def _is_dark(self, now: Edges) -> bool:
        if now.light > BLACK or now.clear:
            return False
        known = self._reference if self._reference and self._reference.clear else None
        if known and now.strength > FAINT and _alike(now, known) > UNLIKE:
            return False
        return self._noise < QUIET or now.light < min(SUDDEN * self._usual, self._usual - 10)

    def _compare(self, now: Edges, reference: Edges) -> Picture:
        if not reference.clear:
            return Picture.GOOD
        if not now.clear:
            # A night without light shows nothing; a sprayed lens, nothing but light.
            blank = now.light > BLACK and _alike(now, reference) < UNLIKE
            return Picture.BLURRED if blank else Picture.GOOD
        as_light = 0.5 < (now.light + 1) / (reference.light + 1) < 2
        if as_light and now.strength * now.fine < SOFT * reference.strength * reference.fine:
            return Picture.BLURRED
        here, elsewhere = _fit(now, reference)
        return Picture.MOVED if here < TURNED or elsewhere > here + SHIFTED else Picture.GOOD


def _edges(mean: NDArray[np.float32], noise: float) -> Edges:
    steps = _steps(mean)
    strength = float(np.percentile(steps, 95))
    rows, columns = (side // 4 * 4 for side in mean.shape)
    afar = _steps(mean[:rows, :columns].reshape(rows // 4, 4, columns // 4, 4).mean(axis=(1, 3)))
    shape = _spread(_spread(np.sqrt(steps), 0), 1)
    shape = (shape - shape.mean()) / (shape.std() + np.float32(1e-6))
    # Noise that is averaged over `MEMORY` makes steps of about its deviation.
    clear = strength > max(1.0, 3.0 * noise)
    fine = strength / (float(np.percentile(afar, 95)) + 1e-6)
    return Edges(shape, strength, fine, float(mean.mean()), clear)


def _steps(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much each pixel differs from its neighbours to the right and below."""
    across, down = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0))
    steps: NDArray[np.float32] = across[:-1] + down[:, :-1]
    return steps


def _spread(shape: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    spread: NDArray[np.float32] = (shape + np.roll(shape, 1, axis) + np.roll(shape, -1, axis)) / np.float32(
        3
    )
    return spread


def _alike(one: Edges, other: Edges) -> float:
    return float((one.shape * other.shape).mean())


def _fit(now: Edges, reference: Edges) -> tuple[float, float]:
    """Correlation where they are, and the best one some pixels away."""
    spectrum = np.fft.rfft2(now.shape) * np.conj(np.fft.rfft2(reference.shape))
    fits = np.fft.irfft2(spectrum, now.shape.shape) / now.shape.size
    fits = np.roll(fits, (SHIFT, SHIFT), (0, 1))[: 2 * SHIFT + 1, : 2 * SHIFT + 1]
    here = float(fits[SHIFT, SHIFT])
    fits[SHIFT - 1 : SHIFT + 2, SHIFT - 1 : SHIFT + 2] = -1
    return here, float(fits.max())


def _towards(reference: Edges, now: Edges) -> Edges:
    weight = EVERY / FOLLOW
    return Edges(
        reference.shape + np.float32(weight) * (now.shape - reference.shape),
        reference.strength + weight * (now.strength - reference.strength),
        reference.fine + weight * (now.fine - reference.fine),
        reference.light + weight * (now.light - reference.light),
        clear=True,
    )
