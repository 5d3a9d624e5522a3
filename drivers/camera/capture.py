"""Pictures as they come: from a stream, a USB camera or a file.

Of a camera they are read in its own process (`child`), and leave it as a still that was asked for alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any, Self

# OpenCV must be set up before it is imported, and `vision` does that.
from . import vision  # isort: skip
import cv2
import numpy as np

from gateway.model import GatewayError

OPEN_WITHIN, READ_WITHIN = 8.0, 5.0
"""Seconds a camera has to answer, and to send its next picture."""
FASTEST = 240.0
"""Frames a second of a video; some containers give the ticks of their clock instead."""
TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
STILL = 960
"""Pixels across a still."""
LATE = 1.0
"""Seconds by which a file may be late before it is played on from where it is."""

# TCP: over UDP a picture comes with pieces missing, and what is torn moves.
os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;tcp|threads;1"


class Video:
    """A stream (`rtsp://…`), a USB camera (`/dev/…`) or a file, picture by picture, at most `fps` a second,
    turned clockwise by `turn` degrees.

    A file's pictures are timed by their number, and `paced`, it is played no faster than that. A camera's
    are timed by the clock, and what it sends too fast is dropped before it is converted.
    """

    def __init__(self, source: str, *, fps: float = vision.FPS, turn: int = 0, paced: bool = False) -> None:
        """Raises `GatewayError` where nothing answers or there is no video."""
        self._live = "://" in source or source.startswith("/dev/")
        self._capture = _capture(source)
        if not self._capture.isOpened():
            raise unreadable(source)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._rate = rate if 1 <= rate <= FASTEST else 0.0
        self._gap, self._turn, self._paced = 1 / fps, turn, paced and not self._live
        self.frames = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        """Frames that the video says it has; 0 for a stream."""
        self.seen = 0
        """Frames so far, dropped ones counted."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[vision.Frame]:
        began, last, due = time.monotonic(), -1.0, 0.0
        while self._capture.grab():
            n, self.seen = self.seen, self.seen + 1
            t = time.monotonic() - began if self._live else self._time(n)
            if t <= last:
                # A container without times, or with broken ones.
                t = last + 1 / vision.FPS
            last = t
            # Half a frame early is near enough: 30 frames a second give exactly 15.
            if t + 0.5 / (self._rate or 2 * vision.FPS) < due:
                continue
            due = max(due + self._gap, t)
            if self._paced:
                early = began + t - time.monotonic()
                time.sleep(max(0.0, early))
                began += max(0.0, -early - LATE)
            good, image = self._capture.retrieve()
            if good:  # One that cannot be converted is not the end.
                turned = cv2.rotate(image, TURNS[self._turn]) if self._turn else image
                yield vision.Frame(turned.astype(np.uint8, copy=False), t, n)

    def _time(self, n: int) -> float:
        """Of a file's frame, in seconds."""
        return n / self._rate if self._rate else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000


def unreadable(source: str) -> GatewayError:
    """What is wrong with it."""
    if "://" in source:
        return GatewayError("camera-unreadable")  # Its address may hold a password.
    if source.startswith("/dev/"):
        return GatewayError("camera-pictureless", device=source)
    return GatewayError("video-unreadable", file=source)


def _capture(source: str) -> Any:
    if source.startswith("/dev/"):
        return cv2.VideoCapture(source, cv2.CAP_V4L2)
    options = {
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: int(OPEN_WITHIN * 1000),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC: int(READ_WITHIN * 1000),
        cv2.CAP_PROP_N_THREADS: 1,
    }
    return cv2.VideoCapture(source, cv2.CAP_FFMPEG, [number for each in options.items() for number in each])


def jpeg(image: vision.Image) -> bytes:
    """A still for people who set up a camera, in memory."""
    good, data = cv2.imencode(".jpg", vision.shrink(image, STILL), [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert good
    return data.tobytes()
