"""A picture that cannot be believed is noticed, and neither a night nor a light switch is taken for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from drivers.camera.health import CHECK_INTERVAL_S, CONFIRM_AFTER_S, FROZEN_AFTER_S, PictureMonitor
from drivers.camera.messages import PictureQuality
from tests.drivers.camera.picture import Camera
from tests.drivers.camera.scenes import Scene, Walker, walk

Frame = NDArray[np.uint8]
Change = Callable[[Frame, float], Any]
OBLIQUE, OVERHEAD = (
    Scene(
        camera,
        [Walker(walk(1, (-2, 0.5), (2, 0), (-2, -0.5))), Walker(walk(3, (2, 0), (-2, 0)))],
        12,
        noise=0,
    )
    for camera in (Camera.oblique(), Camera.overhead(0.12))
)
SCENES = {"oblique": OBLIQUE, "overhead": OVERHEAD, "carpet": replace(OVERHEAD, floor="carpet")}
RANDOM = np.random.default_rng(5)
GRAIN = RANDOM.normal(0, 0.5, (260, 400, 1)).astype(np.float32)


def noisy(picture: Any, noise: float) -> Frame:
    down, right = RANDOM.integers(80, size=2)
    height, width = picture.shape[:2]
    grain = GRAIN[down : down + height, right : right + width]
    return np.clip(picture + noise * grain, 0, 255).astype(np.uint8)


def furnished(scene: Scene) -> list[Frame]:
    """Its frames, small, with a mat, a bench, a notice and a cabinet at the edge of the floor."""
    pieces = [((20, 8), (90, 24), 60), ((250, 10), (310, 70), 190), ((8, 120), (40, 172), 120)]
    pieces += [((140, 158), (200, 176), 40), ((262, 130), (300, 150), 90)]
    frames = []
    for frame in scene.frames():
        small = cv2.resize(frame, (320, 180), interpolation=cv2.INTER_AREA)
        for corner, opposite, grey in pieces:
            cv2.rectangle(small, corner, opposite, (grey, grey + 20, grey), -1)
        frames.append(small.astype(np.uint8, copy=False))
    return frames


@pytest.fixture(scope="module", params=list(SCENES))
def frames(request: pytest.FixtureRequest) -> list[Frame]:
    """Two a second, as `PictureMonitor` looks."""
    return furnished(replace(SCENES[request.param], fps=1 / CHECK_INTERVAL_S))


def states(frames: list[Frame], until: float, change: Change) -> list[tuple[float, PictureQuality]]:
    """When the picture was judged anew. `change` makes a frame what it is at that second."""
    health, told = PictureMonitor(), [(0.0, PictureQuality.GOOD)]
    for number in range(round(until / CHECK_INTERVAL_S)):
        t = number * CHECK_INTERVAL_S
        frame = change(frames[number % len(frames)], t)
        picture = health.check_frame(frame if frame.dtype == np.uint8 else noisy(frame, 3), t)
        if picture is not told[-1][1]:
            told.append((t, picture))
    return told


def blur(sigma: float) -> Change:
    return lambda frame, _: cv2.GaussianBlur(frame, (0, 0), sigma) * 1.0


def turned(frame: Frame) -> Any:
    matrix = cv2.getRotationMatrix2D((160, 90), 50, 1.5)
    return cv2.warpAffine(frame, matrix, (320, 180), borderMode=cv2.BORDER_REFLECT) * 1.0


TAMPERED: dict[str, tuple[Change, set[PictureQuality], float]] = {
    "frozen": (
        lambda frame, _, kept=[]: (kept or kept.append(frame) or kept)[0],
        {PictureQuality.FROZEN}, FROZEN_AFTER_S,
    ),
    "covered": (lambda frame, _: noisy(np.zeros_like(frame), 4), {PictureQuality.DARK}, 12),
    "taped over": (
        lambda frame, t: np.full_like(frame, round(t / CHECK_INTERVAL_S) % 2), {PictureQuality.DARK}, 12
    ),
    "out of focus": (blur(8), {PictureQuality.BLURRED}, 30),
    "sprayed": (lambda frame, _: np.full(frame.shape, 150.0), {PictureQuality.BLURRED}, 25),
    "pushed": (lambda frame, _: np.roll(frame, 40, 1) * 1.0, {PictureQuality.MOVED}, 30),
    "turned away": (lambda frame, _: turned(frame), {PictureQuality.MOVED, PictureQuality.BLURRED}, 30),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_tampering_is_noticed_and_ends_some_seconds_after_it_is_over(
    frames: list[Frame], what: str
) -> None:
    change, names, within = TAMPERED[what]
    began, over = 40.0, 90.0

    def spoilt(frame: Frame, t: float) -> Any:
        return change(frame, t) if began <= t < over else frame * 1.0

    told = states(frames, 140, spoilt)
    assert [picture for _, picture in told][0::2] == [PictureQuality.GOOD] * 2, told
    assert told[1][1] in names
    assert 0 < told[1][0] - began <= within
    least = 0 if what == "frozen" else CONFIRM_AFTER_S[PictureQuality.GOOD]
    assert least <= told[2][0] - over <= max(20 * bool(least), CHECK_INTERVAL_S)


LIGHTS: dict[str, Callable[[float], tuple[float, float, float]]] = {
    # Of the time: how bright, how much grey is added, and how much noise.
    "the light goes off, and on again": lambda t: (1, 0, 3) if t % 120 < 60 else (0.06, 4, 6),
    "dusk, night and dawn": lambda t: (abs(1 - t / 200), 3, 3 + 3 * min(t, 400 - t) / 200),
    "a flicker": lambda t: (1 + 0.1 * (t % 2), 0, 3),
}


@pytest.mark.parametrize("what", LIGHTS)
def test_light_that_comes_and_goes_is_no_tampering(frames: list[Frame], what: str) -> None:
    empty = frames[0]

    def light(_: Frame, t: float) -> Frame:
        bright, lift, noise = LIGHTS[what](t)
        return noisy(empty * bright + lift, noise)

    assert states(frames, 400, light) == [(0.0, PictureQuality.GOOD)]


@pytest.mark.parametrize(
    ("bright", "lift", "seconds"), [(0.04, 4, 3600), (0, 8, 600)], ids=["hardly a thing", "nothing"]
)
def test_a_night_in_which_one_sees(bright: float, lift: float, seconds: int) -> None:
    empty = cv2.resize(
        furnished(replace(OVERHEAD, seconds=0.1))[0], (160, 90), interpolation=cv2.INTER_AREA
    )
    night = [noisy(empty * bright + lift, 4) for _ in range(64)]
    order = RANDOM.integers(64, size=round(seconds / CHECK_INTERVAL_S))
    assert states(night, seconds, lambda _, t: night[order[round(t / CHECK_INTERVAL_S)]]) == [
        (0.0, PictureQuality.GOOD)
    ]
