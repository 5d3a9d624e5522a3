"""Videos as they are read, and what a detector says."""

import hashlib
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivers.camera import capture, vision
from gateway.model import ConfigError, GatewayError


def film(path: Path, rate: float, frames: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (64, 48))
    for n in range(frames):
        writer.write(np.full((48, 64, 3), n * 4 % 256, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(("rate", "every"), [(10, 1), (15, 1), (30, 2), (60, 4)])
def test_at_most_15_frames_a_second_are_looked_at(tmp_path: Path, rate: float, every: int) -> None:
    with capture.VideoSource(str(film(tmp_path / "a.mp4", rate, 40))) as video:
        frames = list(video)
    assert [frame.number for frame in frames] == list(range(0, 40, every))
    assert [frame.time_s for frame in frames] == pytest.approx(
        [frame.number / rate for frame in frames], abs=0.01
    )
    assert video.frames_read == video.frames == 40


def test_what_is_no_video_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    with pytest.raises(GatewayError, match="video-unreadable"):
        capture.VideoSource(str(tmp_path / "a.mp4"))


def test_a_model_must_be_the_one_that_was_meant(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    with pytest.raises(ConfigError, match="model-unreadable"):
        vision.Detector(model, "0" * 64)
    model.write_bytes(b"not a model")
    with pytest.raises(ConfigError, match="model-differs"):
        vision.Detector(model, "0" * 64)
    with pytest.raises(ConfigError, match="model-unreadable"):
        vision.Detector(model, hashlib.sha256(b"not a model").hexdigest())


def test_people_in_rows() -> None:
    rows = np.array([[10, 20, 30, 60, 0.9, 0], [0, 0, 50, 50, 0.8, 3]], np.float32)
    person, dog = vision.row_boxes(rows, 100)
    assert person == pytest.approx([0.1, 0.2, 0.2, 0.4, 0.9])
    assert dog[4] == 0


def test_people_in_a_grid() -> None:
    grid = np.zeros((7, 2, 2), np.float32)
    grid[0, 1, 0], grid[5, 1, 0] = 1, 1
    grid[0, 0, 1], grid[6, 0, 1] = 1, 1
    boxes = vision.grid_boxes(grid)
    assert boxes[2] == pytest.approx([-0.25, 0.25, 0.5, 0.5, 1])
    assert boxes[:, 4].tolist() == [0, 0, 1, 0]


def test_people_of_a_detector_are_pieces_of_their_own() -> None:
    mask, labels = vision.ellipse_mask([(0.1, 0.1, 0.3, 0.8), (0.5, 0.1, 0.3, 0.8)], (100, 100))
    assert set(np.unique(labels)) == {0, 1, 2}
    assert labels[50, 25] == 1
    assert labels[50, 65] == 2
    assert mask[50, 25] == 255
    assert mask[10, 45] == 0


def test_the_background_is_learned_and_who_stands_in_it_is_not() -> None:
    background = vision.Background()
    random = np.random.default_rng(0)
    empty = random.integers(80, 120, (48, 64, 3)).astype(np.uint8)
    visited = empty.copy()
    visited[10:30, 20:40] = 240
    nobody = np.zeros((48, 64), np.uint8)
    times = count(0, 1 / vision.MAX_FPS)
    for t in islice(times, 30):
        background.find_foreground(empty, t)
        background.learn(empty, nobody)
    mask, _ = background.find_foreground(visited, next(times))
    assert (mask[12:28, 22:38] == 255).all()
    assert not mask[:, :15].any()
    for t in islice(times, 300):
        mask, _ = background.find_foreground(visited, t)
        background.learn(visited, mask)
    assert (mask[12:28, 22:38] == 255).all()
    for t in islice(times, 300):
        mask, _ = background.find_foreground(visited, t)
        background.learn(visited, nobody)
    assert not mask.any()
