"""Pictures: told apart from their background, and drawn on. This file and `capture` know OpenCV 5.

OpenCV runs single-threaded here: four cameras share a Pi, and threads cost each of them memory.
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

FPS = 15.0
"""Frames a second that are looked at; the rest are dropped before they are converted."""


class Frame(NamedTuple):
    """`t`: seconds since the beginning; `n`: its number, from 0, dropped ones counted."""

    image: Image
    t: float
    n: int


def shrink(image: Image, width: int) -> Image:
    """The picture, at most so wide."""
    if image.shape[1] <= width:
        return image
    height = round(image.shape[0] * width / image.shape[1])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


LOG = np.log2(np.arange(256) + 8.0).astype(np.float32)
"""Brightness in stops; dark noise is damped."""
MEMORY = 20.0
"""Seconds after which the background has forgotten."""
CONTRAST = 0.25
"""Stops by which something must differ: less is a faint shade."""
FAINT = 0.15
"""Stops by which something that moves must differ from the picture shortly before."""
JOLT = 0.6
"""Stops a second by which the whole picture must change for its exposure to change."""
TINT = 0.4
"""Stops by which something changes one colour more than another."""
SETTLED = 0.3
"""Seconds without a change of exposure after which the background is learned anew."""
AGO = 0.19
"""Seconds back to which a picture is compared to see what moves."""


class Background:
    """What does not move, learned; and what stands out from it.

    While the whole picture changes (a lamp, the camera's exposure), what stands out is what differs from
    the picture shortly before, each brightness compared with what became of its like.
    """

    def __init__(self) -> None:
        self._recent: list[tuple[float, NDArray[np.float32]]] = []
        self._jolted = -math.inf
        self._gap = 0.0
        self._begin()

    def _begin(self) -> None:
        self._model = cv2.createBackgroundSubtractorMOG2(varThreshold=16, detectShadows=False)
        self._frames = 0

    @property
    def settled(self) -> bool:
        """Whether the exposure has not changed of late."""
        return not self._recent or self._recent[-1][0] - self._jolted > SETTLED

    def look(self, image: Image, t: float) -> tuple[Image, NDArray[np.bool_]]:
        """What stands out, as 255, and what of it is more than light or shade: it moves, or has another
        colour."""
        stops = [LOG[plane] for plane in cv2.split(image)]
        grey = cv2.GaussianBlur((stops[0] + stops[1] + stops[2]) / 3, (5, 5), 0)
        if self._recent and self._recent[-1][1].shape != grey.shape:
            # Another resolution, of the camera or of ours, is another picture.
            self._recent = []
            self._begin()
        if self._recent:
            before, last = self._recent[-1]
            self._gap = min(t - before, AGO)
            now, then = grey[::3, ::3], last[::3, ::3]
            change = (now - then)[np.minimum(now, then) < LOG[245]]
            if change.size and abs(float(np.median(change))) > JOLT * self._gap:
                self._jolted = t
                self._begin()
        while len(self._recent) > 1 and self._recent[1][0] <= t - AGO:
            del self._recent[0]
        self._recent.append((t, grey))
        if not self.settled:
            mask = cv2.medianBlur(self._moving(), 5)
            return mask.astype(np.uint8, copy=False), mask > 0
        if not self._frames:
            self._model.apply(image, None, 1.0)
        mask = self._model.apply(image, None, 0.0)
        back = cv2.split(self._model.getBackgroundImage())
        off = [now - LOG[then] for now, then in zip(stops, back, strict=True)]
        high = np.maximum(np.maximum(off[0], off[1]), off[2])
        low = np.minimum(np.minimum(off[0], off[1]), off[2])
        mask[np.maximum(high, -low) < CONTRAST] = 0
        mask = cv2.medianBlur(mask, 3).astype(np.uint8, copy=False)
        change = np.abs(grey - self._recent[0][1])
        moved = change > max(FAINT, 4 * float(np.median(change[::4, ::4])))
        tinted = cv2.blur(high - low, (3, 3)) > TINT
        return mask.astype(np.uint8, copy=False), np.asarray((moved | tinted) & (mask > 0))

    def _moving(self) -> Image:
        """What changed otherwise than its like."""
        now, then = self._recent[-1][1], self._recent[0][1]
        change = now - then
        level = np.clip((then - LOG[0]) / (LOG[255] - LOG[0]) * 16, 0, 15).astype(np.uint8)
        mask = np.zeros(now.shape, np.uint8)
        for each in range(16):
            alike = level == each
            if alike.sum() > 20:
                mine = change[alike]
                off = np.abs(mine - np.median(mine))
                mask[alike] = np.where(off > max(CONTRAST, 4 * float(np.median(off))), 255, 0)
        return mask

    def learn(self, image: Image, keep: Image) -> None:
        """Take the picture in, except where `keep` is 255."""
        if not self.settled:
            return
        self._frames += 1
        rate = max(self._gap / MEMORY, 1 / (2 * self._frames))
        self._model.apply(image, knownForegroundMask=keep, learningRate=rate)


def share(part: NDArray[np.bool_], whole: Image, width: int, height: int) -> NDArray[np.float32]:
    """How much of the whole around each pixel, in a box of that size, is the part: 0–1."""
    size = (width | 1, height | 1)
    both = [cv2.boxFilter(each.astype(np.float32), -1, size) for each in (part, whole > 0)]
    return np.asarray(both[0] / np.maximum(both[1], 1e-3), np.float32)


def pieces(mask: Image, least: float) -> NDArray[np.int32]:
    """Connected pieces of a mask, numbered from 1; those of fewer than `least` pixels are 0."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    numbers = np.arange(count)
    numbers[stats[:, cv2.CC_STAT_AREA] < least] = 0
    numbers[0] = 0
    return np.asarray(numbers[labels], np.int32)


class Detector:
    """An ONNX model that finds people, class 0; its input is (1, 3, size, size), blue green red in 0–1.

    It gives either rows of (x1, y1, x2, y2, score, class) in pixels of its input, duplicates removed, as
    end-to-end exports do; or, as FastestDet, a grid (1, 5 + classes, rows, columns) of score, x, y, width,
    height and class scores.
    """

    def __init__(self, path: Path, sha256: str, *, size: int = 352, least: float = 0.4) -> None:
        """`least`: the score of somebody. Raises `ConfigError`."""
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ConfigError("model-unreadable", file=path, reason=error.strerror) from None
        if found != sha256.lower():
            raise ConfigError("model-differs", file=path, found=found)
        try:
            self._net = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise ConfigError("model-unreadable", file=path, reason=error.err) from None
        self._size = size
        self._least = least

    def people(self, image: Image) -> list[tuple[float, float, float, float]]:
        """x, y, width, height of everybody, in 0–1."""
        self._net.setInput(cv2.dnn.blobFromImage(image, 1 / 255, (self._size, self._size)))
        out = np.asarray(self._net.forward(), np.float32)
        boxes = grid_boxes(out[0]) if out.ndim == 4 else row_boxes(out.reshape(-1, 6), self._size)
        boxes = boxes[boxes[:, 4] > self._least]
        kept = cv2.dnn.NMSBoxes(boxes[:, :4].tolist(), boxes[:, 4].tolist(), self._least, 0.45)
        return [(float(x), float(y), float(w), float(h)) for x, y, w, h in boxes[list(kept), :4]]


def grid_boxes(out: NDArray[np.floating]) -> NDArray[np.floating]:
    """People of a FastestDet grid: (n, 5) of x, y, width, height, score."""
    _, rows, columns = out.shape
    score = np.where(out[5:].argmax(axis=0) == 0, out[0] ** 0.6 * out[5] ** 0.4, 0)
    x = (np.arange(columns) + np.tanh(out[1])) / columns
    y = (np.arange(rows)[:, None] + np.tanh(out[2])) / rows
    width, height = 1 / (1 + np.exp(-out[3])), 1 / (1 + np.exp(-out[4]))
    return np.stack([x - width / 2, y - height / 2, width, height, score], axis=-1).reshape(-1, 5)


def row_boxes(out: NDArray[np.floating], size: int) -> NDArray[np.floating]:
    """People of rows: (n, 5) as above."""
    x1, y1, x2, y2 = out[:, :4].T / size
    score = np.where(out[:, 5] == 0, out[:, 4], 0)
    return np.stack([x1, y1, x2 - x1, y2 - y1, score], axis=-1)


def ellipses(
    boxes: Sequence[tuple[float, float, float, float]], shape: tuple[int, ...]
) -> tuple[Image, NDArray[np.int32]]:
    """A mask of what people fill of their boxes, and labels: each is a piece, numbered from 1."""
    labels = np.zeros(shape[:2], np.int32)
    for number, (x, y, width, height) in enumerate(boxes, 1):
        middle = round((x + width / 2) * shape[1]), round((y + height / 2) * shape[0])
        half = max(round(width * shape[1] / 2), 1), max(round(height * shape[0] / 2), 1)
        cv2.ellipse(labels, middle, half, 0, 0, 360, number, -1)
    return np.where(labels > 0, 255, 0).astype(np.uint8), labels


class Writer:
    """An annotated video, for tuning, written only on request."""

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
        """Finish the file. Raises `GatewayError` where it does not hold what was written: OpenCV says
        nothing of a disk that is full."""
        if self._writer is None:
            return
        self._writer.release()
        written = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        whole = written.get(cv2.CAP_PROP_FRAME_COUNT) >= self._frames
        written.release()
        if not whole:
            raise GatewayError("video-unwritable", file=self._path)


@contextmanager
def writing(path: Path, rate: float) -> Iterator[Writer]:
    """A video that is finished whatever happens."""
    writer = Writer(path, rate)
    try:
        yield writer
    finally:
        writer.close()
