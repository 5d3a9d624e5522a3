"""The rendered scenes say the truth about themselves."""

import json
import math
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.drivers.camera.picture import Camera, Solid
from tests.drivers.camera.scenes import Scene, Walker, walk
from tests.drivers.camera.situations import SITUATIONS, scene

OVERHEAD = Camera.overhead(0.12)


@pytest.mark.parametrize(
    "camera",
    [OVERHEAD, Camera.oblique(), Camera.overhead(0.12, barrel=0.2)],
    ids=["over", "oblique", "wide"],
)
def test_the_outline_of_an_ellipsoid_holds_all_its_points(camera: Camera) -> None:
    random = np.random.default_rng(1)
    centre, spread = np.array([0.7, -0.3, 1.2]), random.normal(0, 0.1, (3, 3))
    ellipse = camera.outline(Solid(centre, spread @ spread.T))
    assert ellipse
    points = random.normal(0, 1, (3, 2000))
    points = centre + (spread @ (points / np.linalg.norm(points, axis=0))).T
    seen = [camera.outline(Solid(point, np.zeros((3, 3)))) for point in points]
    off = np.array([spot.centre - ellipse.centre for spot in seen if spot])
    far = np.einsum("ni,ij,nj->n", off, np.linalg.inv(ellipse.moments), off)
    # A wide lens bends the outline itself a little.
    assert far.max() == pytest.approx(1, abs=0.06 if camera.barrel else 0.01)


def test_an_event_is_when_the_middle_of_the_body_is_on_the_line() -> None:
    made = Scene(
        OVERHEAD, [Walker(walk(1, (-2, 0), (2, 0), speed=1.0)), Walker(walk(5, (2, 0), (-2, 0)))], 10
    )
    there, back = made.truth()["events"]
    assert there["direction"] == "in"
    assert there["t"] == pytest.approx(3, abs=0.1)
    assert back["direction"] == "out"
    assert back["t"] == pytest.approx(5 + 2 / 1.3, abs=0.1)


@pytest.mark.parametrize(("turn", "moves"), [(0, "right"), (1, "up"), (2, "left"), (3, "down")])
def test_in_is_to_the_right_of_who_looks_along_the_line(turn: int, moves: str) -> None:
    made = Scene(OVERHEAD, [Walker(walk(1, (-2, 0), (2, 0)))], turn=turn * math.pi / 2)
    truth = made.truth()
    assert truth["in_moves"] == moves
    (x1, y1), (x2, y2) = truth["line"]
    x, y = {"right": (1, 0.5), "up": (0.5, 0), "left": (0, 0.5), "down": (0.5, 1)}[moves]
    assert (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1) > 0
    assert [event["direction"] for event in truth["events"]] == ["in"]


def test_who_goes_back_or_stands_or_walks_round_the_line_does_not_cross_it() -> None:
    before = Walker(walk(1, (-2, 0), (-0.5, 0), 3.0, (-2, 0)))
    over = Walker(walk(1, (-2, 0), (0.08, 0), 1.0, (-2, 0), speed=1.0))
    standing = Walker(walk(0, (0, 0), 10.0))
    beside = Walker(walk(1, (-2, 1), (2, 1)))
    assert not Scene(OVERHEAD, [before]).truth()["events"]
    truth = Scene(OVERHEAD, [over]).truth()
    assert not truth["events"]
    assert truth["ignore"][0]["start"] <= 3.1 <= truth["ignore"][0]["end"]
    assert not Scene(OVERHEAD, [standing]).truth()["events"]
    assert not Scene(OVERHEAD, [beside], gate=0.6).truth()["events"]
    assert Scene(OVERHEAD, [beside]).truth()["totals"] == {"in": 1, "out": 0}


def test_a_person_is_where_the_truth_says_and_as_large() -> None:
    made = Scene(OVERHEAD, [Walker(walk(0, (-2, 0), (5, 0)), seed=5)], 6, noise=0)
    event = made.truth()["events"][0]
    frames = list(made.frames())
    changed = np.abs(frames[event["frame"]].astype(int) - frames[-1]).max(axis=2) > 30
    rows, columns = np.nonzero(changed)
    assert columns.mean() / 640 == pytest.approx(0.5, abs=0.02)
    assert np.ptp(columns) / 640 == pytest.approx(made.person[0], rel=0.4)
    assert np.ptp(rows) / 360 == pytest.approx(made.person[1], rel=0.15)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_situation_has_its_crossings(situation: str) -> None:
    for view in ("overhead", "oblique"):
        truth = scene(f"{view}.{situation}", 7).truth()
        assert bool(truth["events"]) != (situation == "empty")
        assert all(0 <= number <= 1 for point in truth["line"] for number in point)


def test_a_seed_gives_the_same_scene_each_time() -> None:
    once, again, other = (scene("oblique.switch", seed) for seed in (7, 7, 8))
    assert once.truth() == again.truth() != other.truth()
    for mine, theirs in islice(zip(once.frames(), again.frames(), strict=True), 40):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_a_video_is_written_with_its_truth(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"visitors{suffix}"
    made = Scene(OVERHEAD, [Walker(walk(0, (-2, 0), (2, 0)))], 2)
    truth = made.write(path)
    assert json.loads(path.with_suffix(".json").read_text()) == truth
    video = cv2.VideoCapture(str(path))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1])
    assert len(frames) == truth["frames"] == 30
    assert video.get(cv2.CAP_PROP_FPS) == 15
    off = np.abs(frames[10].astype(int) - list(made.frames())[10])
    assert off.mean() < 6
