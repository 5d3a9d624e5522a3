"""Image processing: background subtraction, person detection, annotated videos. Only this file and
`capture` use OpenCV (version 5).

OpenCV runs single-threaded: four cameras share a Pi, and threads would cost memory in each process.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np
from numpy.typing import NDArray

from gateway.model import ConfigError, GatewayError

cv2.setNumThreads(1)

Image = NDArray[np.uint8]
"""(height, width, 3), blue green red; or (height, width), a mask or grey."""

MAX_FPS = 15.0
"""Frames per second that are analysed by default; others are dropped before they are converted."""


class Frame(NamedTuple):
    """`t`: seconds since the start; `n`: frame number from 0, including dropped frames."""

    image: Image
    time_s: float
    number: int


def shrink(image: Image, width: int) -> Image:
    """Shrink a picture to at most this width."""
    if image.shape[1] <= width:
        return image
    height = round(image.shape[0] * width / image.shape[1])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


BRIGHTNESS_STOPS = np.log2(np.arange(256) + 8.0).astype(np.float32)
"""Brightness in stops (log2) of each grey level, with an offset that damps noise in the dark."""
BACKGROUND_MEMORY_S = 20.0
"""Time constant of the background model."""
MIN_CONTRAST_STOPS = 0.25
"""Difference from the background; a smaller one is a faint shadow."""
MIN_MOTION_STOPS = 0.15
"""Difference from the picture shortly before, for something that moves."""
EXPOSURE_CHANGE_STOPS_PER_S = 0.6
"""A faster change of the whole picture is a change of exposure."""
MIN_TINT_STOPS = 0.4
"""Difference between the changes of two colours, for something that is more than light or shade."""
EXPOSURE_SETTLED_AFTER_S = 0.3
"""Time without a change of exposure after which the background is learned again."""
MOTION_INTERVAL_S = 0.19
"""Age of the picture that is compared with to detect motion."""


class Background:
    """Learns the background, and finds the foreground.

    While the exposure changes (a lamp, the camera's automatic exposure), the foreground is what changed
    from the picture shortly before in another way than the other pixels of the same brightness.
    """

    def __init__(self) -> None:
        self._recent: list[tuple[float, NDArray[np.float32]]] = []
        self._exposure_changed_t = -math.inf
        self._frame_interval_s = 0.0
        self._reset_model()

    def _reset_model(self) -> None:
        self._model = cv2.createBackgroundSubtractorMOG2(varThreshold=16, detectShadows=False)
        self._frames = 0

    @property
    def settled(self) -> bool:
        """Whether the exposure is stable."""
        return not self._recent or self._recent[-1][0] - self._exposure_changed_t > EXPOSURE_SETTLED_AFTER_S

    def find_foreground(self, image: Image, time_s: float) -> tuple[Image, NDArray[np.bool_]]:
        """Returns the foreground as a mask (0 or 255), and which of its pixels are more than light or
        shade: they move, or have another colour."""
        stops = [BRIGHTNESS_STOPS[plane] for plane in cv2.split(image)]
        grey = cv2.GaussianBlur((stops[0] + stops[1] + stops[2]) / 3, (5, 5), 0)
        if self._recent and self._recent[-1][1].shape != grey.shape:
            # After a change of resolution the model starts again.
            self._recent = []
            self._reset_model()
        if self._recent:
            before, last = self._recent[-1]
            self._frame_interval_s = min(time_s - before, MOTION_INTERVAL_S)
            now, then = grey[::3, ::3], last[::3, ::3]
            change = (now - then)[np.minimum(now, then) < BRIGHTNESS_STOPS[245]]
            if (
                change.size
                and abs(float(np.median(change))) > EXPOSURE_CHANGE_STOPS_PER_S * self._frame_interval_s
            ):
                self._exposure_changed_t = time_s
                self._reset_model()
        while len(self._recent) > 1 and self._recent[1][0] <= time_s - MOTION_INTERVAL_S:
            del self._recent[0]
        self._recent.append((time_s, grey))
        if not self.settled:
            mask = cv2.medianBlur(self._moving_pixels(), 5)
            return mask.astype(np.uint8, copy=False), mask > 0
        if not self._frames:
            self._model.apply(image, None, 1.0)
        mask = self._model.apply(image, None, 0.0)
        back = cv2.split(self._model.getBackgroundImage())
        off = [now - BRIGHTNESS_STOPS[then] for now, then in zip(stops, back, strict=True)]
        high = np.maximum(np.maximum(off[0], off[1]), off[2])
        low = np.minimum(np.minimum(off[0], off[1]), off[2])
        mask[np.maximum(high, -low) < MIN_CONTRAST_STOPS] = 0
        mask = cv2.medianBlur(mask, 3).astype(np.uint8, copy=False)
        change = np.abs(grey - self._recent[0][1])
        moved = change > max(MIN_MOTION_STOPS, 4 * float(np.median(change[::4, ::4])))
        tinted = cv2.blur(high - low, (3, 3)) > MIN_TINT_STOPS
        return mask.astype(np.uint8, copy=False), np.asarray((moved | tinted) & (mask > 0))

    def _moving_pixels(self) -> Image:
        """The pixels that changed in another way than those of the same brightness, as a mask."""
        now, then = self._recent[-1][1], self._recent[0][1]
        change = now - then
        level = np.clip(
            (then - BRIGHTNESS_STOPS[0]) / (BRIGHTNESS_STOPS[255] - BRIGHTNESS_STOPS[0]) * 16, 0, 15
        ).astype(np.uint8)
        mask = np.zeros(now.shape, np.uint8)
        for each in range(16):
            alike = level == each
            if alike.sum() > 20:
                mine = change[alike]
                off = np.abs(mine - np.median(mine))
                mask[alike] = np.where(off > max(MIN_CONTRAST_STOPS, 4 * float(np.median(off))), 255, 0)
        return mask

    def learn(self, image: Image, keep_mask: Image) -> None:
        """Update the background model with a picture, except where `keep_mask` is 255."""
        if not self.settled:
            return
        self._frames += 1
        rate = max(self._frame_interval_s / BACKGROUND_MEMORY_S, 1 / (2 * self._frames))
        self._model.apply(image, knownForegroundMask=keep_mask, learningRate=rate)


def local_share(part: NDArray[np.bool_], whole: Image, width: int, height: int) -> NDArray[np.float32]:
    """The share of `whole` that is `part`, in a box of this size around each pixel: 0–1."""
    size = (width | 1, height | 1)
    both = [cv2.boxFilter(each.astype(np.float32), -1, size) for each in (part, whole > 0)]
    return np.asarray(both[0] / np.maximum(both[1], 1e-3), np.float32)


def label_blobs(mask: Image, min_area: float) -> NDArray[np.int32]:
    """Number the connected areas of a mask from 1; those of fewer than `min_area` pixels are 0."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    numbers = np.arange(count)
    numbers[stats[:, cv2.CC_STAT_AREA] < min_area] = 0
    numbers[0] = 0
    return np.asarray(numbers[labels], np.int32)


class Detector:
    """An ONNX model that finds people, class 0; its input is (1, 3, size, size), blue green red in 0–1.

    Its output is either rows of (x1, y1, x2, y2, score, class) in pixels of its input, duplicates removed,
    as end-to-end exports do; or, as FastestDet, a grid (1, 5 + classes, rows, columns) of score, x, y,
    width, height and class scores.
    """

    def __init__(self, path: Path, sha256: str, *, size: int = 352, min_score: float = 0.4) -> None:
        """`min_score`: the lowest score of a person. Raises `ConfigError`."""
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ConfigError("model-unreadable", file=path, reason=error) from None
        if found != sha256.lower():
            raise ConfigError("model-differs", file=path, found=found)
        try:
            self._net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise ConfigError("model-unreadable", file=path, reason=error) from None
        self._size = size
        self._min_score = min_score

    def find_people(self, image: Image) -> list[tuple[float, float, float, float]]:
        """x, y, width, height of each person, in 0–1."""
        self._net.setInput(cv2.dnn.blobFromImage(image, 1 / 255, (self._size, self._size)))
        output = np.asarray(self._net.forward(), np.float32)
        boxes = grid_boxes(output[0]) if output.ndim == 4 else row_boxes(output.reshape(-1, 6), self._size)
        boxes = boxes[boxes[:, 4] > self._min_score]
        kept = cv2.dnn.NMSBoxes(boxes[:, :4].tolist(), boxes[:, 4].tolist(), self._min_score, 0.45)
        return [(float(x), float(y), float(w), float(h)) for x, y, w, h in boxes[list(kept), :4]]


def grid_boxes(output: NDArray[np.floating]) -> NDArray[np.floating]:
    """Convert a FastestDet grid to (n, 5): x, y, width, height, score."""
    _, rows, columns = output.shape
    score = np.where(output[5:].argmax(axis=0) == 0, output[0] ** 0.6 * output[5] ** 0.4, 0)
    x = (np.arange(columns) + np.tanh(output[1])) / columns
    y = (np.arange(rows)[:, None] + np.tanh(output[2])) / rows
    width, height = 1 / (1 + np.exp(-output[3])), 1 / (1 + np.exp(-output[4]))
    return np.stack([x - width / 2, y - height / 2, width, height, score], axis=-1).reshape(-1, 5)


def row_boxes(output: NDArray[np.floating], size: int) -> NDArray[np.floating]:
    """Convert rows of an end-to-end export to (n, 5), as `grid_boxes`."""
    x1, y1, x2, y2 = output[:, :4].T / size
    score = np.where(output[:, 5] == 0, output[:, 4], 0)
    return np.stack([x1, y1, x2 - x1, y2 - y1, score], axis=-1)


def ellipse_mask(
    boxes: Sequence[tuple[float, float, float, float]], shape: tuple[int, ...]
) -> tuple[Image, NDArray[np.int32]]:
    """A mask of an ellipse in each box, and the number of the box of each pixel, from 1."""
    labels = np.zeros(shape[:2], np.int32)
    for number, (x, y, width, height) in enumerate(boxes, 1):
        middle = round((x + width / 2) * shape[1]), round((y + height / 2) * shape[0])
        half = max(round(width * shape[1] / 2), 1), max(round(height * shape[0] / 2), 1)
        cv2.ellipse(labels, middle, half, 0, 0, 360, number, -1)
    return np.where(labels > 0, 255, 0).astype(np.uint8), labels


class AnnotatedVideoWriter:
    """Writes an annotated video, for tuning, only on request."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path, self._rate = path, rate
        self._writer: Any = None
        self._frames = 0

    def write(
        self, image: Image, boxes: Sequence[Sequence[float]], lines: Sequence[Any], text: str
    ) -> None:
        """`boxes` (x, y, width, height) and `lines` ((x, y), (x, y)) are in 0–1."""
        height, width = image.shape[:2]
        size = np.array([width, height])
        if self._writer is None:
            self._writer = cv2.VideoWriter(
                str(self._path), cv2.VideoWriter.fourcc(*"mp4v"), self._rate, (width, height)
            )
            if not self._writer.isOpened():
                raise GatewayError("video-unwritable", file=self._path)
        image = image.copy()
        for x, y, w, h in boxes:
            corners = (size * [(x, y), (x + w, y + h)]).astype(int).tolist()
            cv2.rectangle(image, corners[0], corners[1], (0, 200, 0), 2)
        for a, b in lines:
            ends = (size * [a, b]).astype(int).tolist()
            cv2.line(image, ends[0], ends[1], (0, 0, 255), 2)
        cv2.putText(image, text, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 255), 2)
        self._writer.write(image)
        self._frames += 1

    def close(self) -> None:
        """Finish the file. Raises `GatewayError` when it does not contain all frames: OpenCV does not
        report a full disk."""
        if self._writer is None:
            return
        self._writer.release()
        written = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        whole = written.get(cv2.CAP_PROP_FRAME_COUNT) >= self._frames
        written.release()
        if not whole:
            raise GatewayError("video-unwritable", file=self._path)


@contextmanager
def annotated_video(path: Path, rate: float) -> Iterator[AnnotatedVideoWriter]:
    """A video file that is always closed properly."""
    writer = AnnotatedVideoWriter(path, rate)
    try:
        yield writer
    finally:
        writer.close()
