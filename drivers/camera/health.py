"""Assessment of the picture: while it is frozen, dark, blurred or moved, nobody is counted. Pure.

The picture is reduced, converted to grey and averaged over some seconds, which removes people and the
noise of the night. Its edges are compared relative to each other, so that the light may change. The limits
were found with real videos that were dimmed, lit from one side, blurred, shifted, turned and covered.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import vision
from .messages import PictureQuality

CHECK_INTERVAL_S = 0.5
CHECK_WIDTH_PX = 160
"""The picture is shrunk to this width."""
AVERAGING_S = 4.0
REFERENCE_AFTER_S, REFERENCE_AVERAGING_S = 10.0, 600.0
"""After the first, the present picture becomes the reference; over the second, the reference adapts to
lasting changes."""
USUAL_LIGHT_AVERAGING_S, LIGHT_JUMP_GREY = 15.0, 16.0
"""A larger change of most of the picture at once means that a light was switched or the lens was covered:
the average then starts again."""
FROZEN_AFTER_S = 30.0
"""Without any change. In a quiet night a stream may repeat a picture for some seconds, between two key
frames. A change ends the state at once, so that nobody is missed."""
CONFIRM_AFTER_S = {
    PictureQuality.FROZEN: 0.0,
    PictureQuality.DARK: 8.0,
    PictureQuality.BLURRED: 15.0,
    PictureQuality.MOVED: 15.0,
    PictureQuality.GOOD: 5.0,
}
"""How long each state must last before it is accepted."""

MAX_COVERED_GREY, MAX_COVERED_LIGHT_RATIO, MAX_COVERED_NOISE_GREY = 45.0, 0.5, 0.1
"""A covered lens is darker than the first, and suddenly darker than this share of the usual light, or it
has less noise than the last."""
NO_CORRELATION, LOW_CORRELATION, MIN_EDGE_GREY = 0.15, 0.3, 0.3
"""Correlation of the edges with those of the reference below which nothing, or little, is left of it; the
lowest strength of an edge in grey levels."""
MIN_SHIFT_GAIN, MAX_SHIFT_PX = 0.15, 12
"""How much better the edges match at another position after a camera was pushed, and how far away that is
searched."""
MIN_SHARPNESS_RATIO = 0.42
"""The edges are blurred when the product of strength and fineness falls below this share of the
reference's."""


class Edges(NamedTuple):
    """The edges of a picture, which do not depend on its light."""

    shape: NDArray[np.float32]
    """Strength of the edge at each place, normalised: mean 0, variance 1."""
    strength: float
    """95th percentile of the edge strength, in grey levels."""
    sharpness: float
    """Strength at full resolution, divided by that at a quarter of it."""
    mean_grey: float
    """Mean grey."""
    is_clear: bool
    """Whether the edges are stronger than the noise."""


class PictureMonitor:
    """Monitors the picture of one camera."""

    def __init__(self) -> None:
        self.picture = PictureQuality.GOOD
        self._candidate, self._candidate_since = PictureQuality.GOOD, 0.0
        self._next_check_t = self._started_t = self._last_change_t = 0.0
        self._raw: vision.Image | None = None
        self._mean: NDArray[np.float32] | None = None
        self._noise = 0.0
        self._usual_light = 0.0
        self._reference: Edges | None = None

    def check_frame(self, frame: vision.Image, time_s: float) -> PictureQuality:
        """Process a frame, (height, width, 3), at `t` seconds. Returns the state of the picture."""
        if self._mean is None or time_s >= self._next_check_t:
            self._next_check_t = time_s + CHECK_INTERVAL_S
            found = self._assess(frame, time_s)
            if found is not self._candidate:
                self._candidate, self._candidate_since = found, time_s
            thawed = self.picture is PictureQuality.FROZEN and found is PictureQuality.GOOD
            if thawed or time_s - self._candidate_since >= CONFIRM_AFTER_S[found]:
                self.picture = found
        return self.picture

    def _assess(self, frame: vision.Image, time_s: float) -> PictureQuality:
        raw = frame[::4, ::4]
        if self._raw is None or not np.array_equal(raw, self._raw):
            self._raw, self._last_change_t = raw.copy(), time_s
        grey = vision.shrink(frame, CHECK_WIDTH_PX).mean(axis=2, dtype=np.float32)
        if self._mean is None:
            self._mean, self._usual_light, self._started_t = grey, float(grey.mean()), time_s
        difference = grey - self._mean
        # For normal noise, the standard deviation.
        typical = 2.7 * float(np.percentile(np.abs(difference), 20))
        if typical > LIGHT_JUMP_GREY:
            self._mean = grey
        else:
            self._mean = self._mean + np.float32(CHECK_INTERVAL_S / AVERAGING_S) * difference
            self._noise += CHECK_INTERVAL_S / AVERAGING_S * (typical - self._noise)
        if time_s - self._last_change_t >= FROZEN_AFTER_S:
            return PictureQuality.FROZEN
        current = _edges(self._mean, self._noise)
        if self._is_dark(current):
            return PictureQuality.DARK
        self._usual_light += (
            CHECK_INTERVAL_S / USUAL_LIGHT_AVERAGING_S * (current.mean_grey - self._usual_light)
        )
        if time_s - self._started_t < REFERENCE_AFTER_S:
            return PictureQuality.GOOD
        if self._reference is None or not self._reference.is_clear:
            self._reference = current
        found = self._compare(current, self._reference)
        if found is PictureQuality.GOOD is self.picture and current.is_clear:
            self._reference = _blend(self._reference, current)
        return found

    def _is_dark(self, current: Edges) -> bool:
        if current.mean_grey > MAX_COVERED_GREY or current.is_clear:
            return False
        known = self._reference if self._reference and self._reference.is_clear else None
        if known and current.strength > MIN_EDGE_GREY and _correlation(current, known) > NO_CORRELATION:
            return False
        return self._noise < MAX_COVERED_NOISE_GREY or current.mean_grey < min(
            MAX_COVERED_LIGHT_RATIO * self._usual_light, self._usual_light - 10
        )

    def _compare(self, current: Edges, reference: Edges) -> PictureQuality:
        if not reference.is_clear:
            return PictureQuality.GOOD
        if not current.is_clear:
            # A night without light shows nothing; a sprayed lens shows only light.
            blank = (
                current.mean_grey > MAX_COVERED_GREY and _correlation(current, reference) < NO_CORRELATION
            )
            return PictureQuality.BLURRED if blank else PictureQuality.GOOD
        as_light = 0.5 < (current.mean_grey + 1) / (reference.mean_grey + 1) < 2
        if (
            as_light
            and current.strength * current.sharpness
            < MIN_SHARPNESS_RATIO * reference.strength * reference.sharpness
        ):
            return PictureQuality.BLURRED
        here, elsewhere = _correlations(current, reference)
        return (
            PictureQuality.MOVED
            if here < LOW_CORRELATION or elsewhere > here + MIN_SHIFT_GAIN
            else PictureQuality.GOOD
        )


def _edges(mean: NDArray[np.float32], noise: float) -> Edges:
    steps = _edge_strengths(mean)
    strength = float(np.percentile(steps, 95))
    rows, columns = (side // 4 * 4 for side in mean.shape)
    coarse = _edge_strengths(mean[:rows, :columns].reshape(rows // 4, 4, columns // 4, 4).mean(axis=(1, 3)))
    shape = _smooth(_smooth(np.sqrt(steps), 0), 1)
    shape = (shape - shape.mean()) / (shape.std() + np.float32(1e-6))
    # Noise averaged over `AVERAGING_S` makes edges of about its standard deviation.
    is_clear = strength > max(1.0, 3.0 * noise)
    sharpness = strength / (float(np.percentile(coarse, 95)) + 1e-6)
    return Edges(shape, strength, sharpness, float(mean.mean()), is_clear)


def _edge_strengths(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much each pixel differs from its neighbours to the right and below."""
    across, down = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0))
    steps: NDArray[np.float32] = across[:-1] + down[:, :-1]
    return steps


def _smooth(shape: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    spread: NDArray[np.float32] = (shape + np.roll(shape, 1, axis) + np.roll(shape, -1, axis)) / np.float32(
        3
    )
    return spread


def _correlation(first: Edges, second: Edges) -> float:
    return float((first.shape * second.shape).mean())


def _correlations(current: Edges, reference: Edges) -> tuple[float, float]:
    """The correlation in place, and the best one some pixels away."""
    spectrum = np.fft.rfft2(current.shape) * np.conj(np.fft.rfft2(reference.shape))
    fits = np.fft.irfft2(spectrum, current.shape.shape) / current.shape.size
    fits = np.roll(fits, (MAX_SHIFT_PX, MAX_SHIFT_PX), (0, 1))[
        : 2 * MAX_SHIFT_PX + 1, : 2 * MAX_SHIFT_PX + 1
    ]
    here = float(fits[MAX_SHIFT_PX, MAX_SHIFT_PX])
    fits[MAX_SHIFT_PX - 1 : MAX_SHIFT_PX + 2, MAX_SHIFT_PX - 1 : MAX_SHIFT_PX + 2] = -1
    return here, float(fits.max())


def _blend(reference: Edges, current: Edges) -> Edges:
    weight = CHECK_INTERVAL_S / REFERENCE_AVERAGING_S
    return Edges(
        reference.shape + np.float32(weight) * (current.shape - reference.shape),
        reference.strength + weight * (current.strength - reference.strength),
        reference.sharpness + weight * (current.sharpness - reference.sharpness),
        reference.mean_grey + weight * (current.mean_grey - reference.mean_grey),
        is_clear=True,
    )
