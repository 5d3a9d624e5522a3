"""Pictures: read, told apart from their background, and drawn on. The one file that knows OpenCV 5.

OpenCV runs single-threaded here: four cameras share a Pi, and threads cost each of them memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "threads;1")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import cv2
import numpy as np
from numpy.typing import NDArray

from gateway.model import GatewayError

cv2.setNumThreads(1)

Image = NDArray[np.uint8]
"""(height, width, 3), blue green red; or (height, width), a mask or grey."""

FPS = 15.0
"""Frames a second that are looked at; the rest are dropped before they are converted."""


class Frame(NamedTuple):
    """`t`: seconds since the first frame; `n`: its number, from 0, dropped ones counted."""

    image: Image
    t: float
    n: int


class Video:
    """A file, a stream (`rtsp://…`) or a camera (`/dev/video0`), frame by frame, at most `fps` a second."""

    def __init__(self, source: str, *, fps: float = FPS) -> None:
        """Raises `GatewayError` where there is no video."""
        self.source = source
        self._capture = cv2.VideoCapture(source)
        if not self._capture.isOpened():
            raise GatewayError("video-unreadable", file=source)
        self.rate = self._capture.get(cv2.CAP_PROP_FPS) or 0.0
        """Frames a second that the video says it has; 0 where it does not say."""
        self._gap = 1 / fps
        self._next = 0.0
        self._n = -1

    def read(self) -> Frame | None:
        """The next frame to look at; None at the end, or where a stream breaks off."""
        while self._capture.grab():
            self._n += 1
            t = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            # Half a frame early is near enough: 30 frames a second give exactly 15.
            if t + 0.5 / (self.rate or 30.0) < self._next:
                continue
            good, image = self._capture.retrieve()
            if not good:
                return None
            self._next = max(self._next + self._gap, t)
            return Frame(image.astype(np.uint8, copy=False), t, self._n)
        return None

    def close(self) -> None:
        """Let go of the file or the device."""
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        while frame := self.read():
            yield frame


class Blob(NamedTuple):
    """A connected piece of foreground, in pixels of the mask: its box, area, and middle."""

    x: float
    y: float
    width: float
    height: float
    area: float
    cx: float
    cy: float


def shrink(image: Image, width: int) -> Image:
    """The picture, at most so wide."""
    if image.shape[1] <= width:
        return image
    height = round(image.shape[0] * width / image.shape[1])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


class Foreground:
    """What moves before a background that is learned."""

    def __init__(self) -> None:
        self._model = cv2.createBackgroundSubtractorMOG2(300, 25, True)
        self._kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))

    def apply(self, image: Image) -> Image:
        """255 where something moves, else 0."""
        mask = self._model.apply(image)
        mask = np.where(mask > 200, 255, 0).astype(np.uint8)
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, self._kernel)
        return cv2.morphologyEx(mask, cv2.MORPH_CLOSE, self._kernel).astype(np.uint8, copy=False)


def blobs(mask: Image) -> list[Blob]:
    """The connected pieces of a mask."""
    _, _, stats, middles = cv2.connectedComponentsWithStats(mask)
    return [
        Blob(*map(float, (*stat, *middle))) for stat, middle in zip(stats[1:], middles[1:], strict=True)
    ]


class Writer:
    """An annotated video, for tuning, written only on request."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path, self._rate = path, rate
        self._writer: Any = None

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

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()


@contextmanager
def writing(path: Path, rate: float) -> Iterator[Writer]:
    """A video that is finished whatever happens."""
    writer = Writer(path, rate)
    try:
        yield writer
    finally:
        writer.close()
