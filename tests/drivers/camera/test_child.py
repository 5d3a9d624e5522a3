"""What a camera's process says of what it sees, faster than the people walk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from drivers.camera.child import WARM_UP_S, CameraLoop
from drivers.camera.messages import (
    CameraJob,
    CameraMessage,
    HeartbeatMessage,
    LineJob,
    PictureQuality,
    StillMessage,
    ValuesMessage,
    ZoneJob,
)
from drivers.camera.vision import Frame
from tests.drivers.camera.conftest import PAIR
from tests.drivers.camera.scenes import Walker, walk

EVERY = 5.0
# Each time, one comes and goes: in the dark, and in the light again.
TIMES = (2.0, 20.0, 42.0)
LONG = replace(
    PAIR,
    people=[
        walker
        for t in TIMES
        for walker in (Walker(walk(t, (-2, 0), (2, 0))), Walker(walk(t + 3, (2, 0), (-2, 0))))
    ],
    seconds=50,
    fps=10,
)
DARK = 11.0, 33.0


def job(stills: bool = False, person: bool = True) -> CameraJob:
    (first, second), size = (tuple(map(tuple, LONG.line))), tuple(map(float, LONG.person))
    line = LineJob((first, second), size if person else None, EVERY)
    zone = ZoneJob(((0, 0), (1, 0), (1, 1), (0, 1)), None, EVERY)
    return CameraJob(
        url="",
        view="overhead",
        fps=LONG.fps,
        rotation_deg=0,
        stills=stills,
        model="",
        sha256="",
        lines={"door": line},
        zones={"hall": zone},
    )


def film(seconds: float = LONG.seconds) -> Iterator[Frame]:
    """With a mat in a corner, and a hand before the lens for a while."""
    for number, image in enumerate(replace(LONG, seconds=seconds).frames()):
        t = number / LONG.fps
        cv2.rectangle(image, (20, 20), (180, 110), (40, 60, 160), -1)
        hand = np.where(image > 39, 3, 0).astype(np.uint8) + np.uint8(number % 2)
        yield Frame(hand if DARK[0] <= t < DARK[1] else image, t, number)


@pytest.fixture(scope="module")
def message() -> list[tuple[float, CameraMessage]]:
    """Everything, and when."""
    said: list[tuple[float, CameraMessage]] = []
    now = 0.0
    loop = CameraLoop(job(), lambda message: said.append((now, message)))
    for frame in film():
        now = frame.time_s
        loop.process_frame(frame)
    return said


def of(message: list[tuple[float, CameraMessage]], device: str) -> list[tuple[float, ValuesMessage]]:
    return [(t, each) for t, each in message if isinstance(each, ValuesMessage) and each.device == device]


def test_a_covered_lens_counts_nobody_until_it_is_well_again(
    message: list[tuple[float, CameraMessage]],
) -> None:
    said = of(message, "door")
    counts = [(said.values["in"], said.values["out"]) for _, said in said]
    assert list(dict.fromkeys(counts)) == [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2)]
    tampered = [(t, said.values) for t, said in said if said.values["tamper"]]
    assert DARK[0] + 5 < tampered[0][0] < TIMES[1]
    assert DARK[1] < tampered[-1][0] < TIMES[2]
    for _, values in tampered:
        assert values["picture"] is not PictureQuality.GOOD
        assert values["invalid"]
        assert (values["in"], values["out"]) == (1, 1)
    assert not said[-1][1].values["tamper"]


@pytest.mark.parametrize("device", ["door", "hall"])
def test_a_device_is_never_silent_for_longer_than_it_may(
    message: list[tuple[float, CameraMessage]], device: str
) -> None:
    times = [t for t, _ in of(message, device)]
    assert times[0] == WARM_UP_S
    assert max(b - a for a, b in pairwise(times)) <= EVERY
    beats = [t for t, each in message if isinstance(each, HeartbeatMessage)]
    assert max(b - a for a, b in pairwise(beats)) < 2


@pytest.mark.parametrize("seconds", [0.1, WARM_UP_S - 0.5])
def test_a_stream_that_breaks_off_at_once_has_not_begun(seconds: float) -> None:
    said: list[CameraMessage] = []
    loop = CameraLoop(job(), said.append)
    for frame in film(seconds):
        loop.process_frame(frame)
    loop.finish(seconds)
    assert not said


@pytest.mark.parametrize("pace", [1.0, 1.07, 0.93])
def test_the_first_word_is_that_pictures_come(pace: float) -> None:
    said: list[CameraMessage] = []
    loop = CameraLoop(job(), said.append)
    for frame in film(WARM_UP_S + 1):
        loop.process_frame(frame._replace(time_s=frame.time_s * pace))
    assert isinstance(said[0], HeartbeatMessage), "the gateway waits for it"


def test_who_comes_before_anything_is_said_is_told_of_as_news() -> None:
    said: list[CameraMessage] = []
    loop = CameraLoop(job(), said.append)
    for frame in film(7):
        loop.process_frame(frame._replace(time_s=frame.time_s / 2))
    counts = [
        each.values["in"] for each in said if isinstance(each, ValuesMessage) and each.device == "door"
    ]
    assert counts[:2] == [0, 1]


def test_a_zone_that_flickers_does_not_chatter(message: list[tuple[float, CameraMessage]]) -> None:
    times = [t for t, _ in of(message, "hall")]
    assert min(b - a for a, b in pairwise(times)) >= 1


def test_no_still_leaves_where_none_is_allowed() -> None:
    for stills in (False, True):
        said: list[CameraMessage] = []
        loop = CameraLoop(job(stills), said.append)
        loop.still_requested = True
        for frame in film(0.2):
            loop.process_frame(frame)
        (still,) = [each for each in said if isinstance(each, StillMessage)]
        assert still.jpeg.startswith(b"\xff\xd8") if stills else still.jpeg == b""


def test_without_the_size_of_a_person_the_count_is_not_to_be_trusted() -> None:
    said: list[CameraMessage] = []
    loop = CameraLoop(job(person=False), said.append)
    for frame in film(WARM_UP_S + 0.1):
        loop.process_frame(frame)
    (door,) = [each for each in said if isinstance(each, ValuesMessage) and each.device == "door"]
    assert door.values["calibrated"] is False
    assert door.values["invalid"] is True


def test_what_the_camera_sees_can_be_learned_anew() -> None:
    said: list[CameraMessage] = []
    loop = CameraLoop(job(), said.append)
    frames = list(replace(LONG, people=[], seconds=2).frames())

    def see(since: float, until: float, turned: bool) -> None:
        for number in range(int(since * 2), int(until * 2)):
            image = frames[number % len(frames)].copy()
            cv2.rectangle(image, (20, 20), (180, 110), (40, 60, 160), -1)
            cv2.rectangle(image, (400, 250), (620, 340), (200, 60, 90), -1)
            if turned:
                image = cv2.resize(np.rot90(image).copy(), (640, 360)).astype(np.uint8)
            loop.process_frame(Frame(image, number / 2, number))

    def tampered() -> bool:
        return bool([each for each in said if isinstance(each, ValuesMessage)][-1].values["tamper"])

    see(0, 30, False)
    assert not tampered()
    see(30, 70, True)
    assert tampered()
    loop.relearn_requested = True
    see(70, 100, True)
    assert not tampered()
