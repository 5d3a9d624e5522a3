"""Frames from a stream, a USB camera or a file.

Those of a camera are read in its own process (`child`), and leave it only as a requested still.
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

OPEN_TIMEOUT_S, READ_TIMEOUT_S = 8.0, 5.0
"""For a camera to answer, and to send its next frame."""
MAX_FILE_FPS = 240.0
"""A higher frame rate is not believed: some containers give the ticks of their clock instead."""
ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
STILL_WIDTH_PX = 960
MAX_LAG_S = 1.0
"""When playing a file lags further behind, the lag is accepted instead of being made up for."""

# TCP: over UDP parts of a picture may be missing, which looks like motion.
os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;tcp|threads;1"


class VideoSource:
    """A stream (`rtsp://…`), a USB camera (`/dev/…`) or a file, picture by picture, at most `fps` a second,
    turned clockwise by `rotation_deg` degrees.

    The time of a file's frame follows from its number; with `real_time` it is played no faster than that.
    A camera's frames are timed by the clock, and surplus ones are dropped before they are converted.
    """

    def __init__(
        self, source: str, *, fps: float = vision.MAX_FPS, rotation_deg: int = 0, real_time: bool = False
    ) -> None:
        """Raises `GatewayError` when nothing answers or there is no video."""
        self._is_live = "://" in source or source.startswith("/dev/")
        self._capture = _open_capture(source)
        if not self._capture.isOpened():
            raise unreadable_error(source)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._rate = rate if 1 <= rate <= MAX_FILE_FPS else 0.0
        self._frame_interval_s, self._rotation_deg, self._real_time = (
            1 / fps,
            rotation_deg,
            real_time and not self._is_live,
        )
        self.frames = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        """Number of frames according to the file; 0 for a stream."""
        self.frames_read = 0
        """Frames so far, including dropped ones."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()

    def __iter__(self) -> Iterator[vision.Frame]:
        started, last, due = time.monotonic(), -1.0, 0.0
        while self._capture.grab():
            n, self.frames_read = self.frames_read, self.frames_read + 1
            t = time.monotonic() - started if self._is_live else self._file_time_s(n)
            if t <= last:
                # A container without timestamps, or with wrong ones.
                t = last + 1 / vision.MAX_FPS
            last = t
            # Half a frame early is accepted: 30 frames per second give exactly 15.
            if t + 0.5 / (self._rate or 2 * vision.MAX_FPS) < due:
                continue
            due = max(due + self._frame_interval_s, t)
            if self._real_time:
                early = started + t - time.monotonic()
                time.sleep(max(0.0, early))
                started += max(0.0, -early - MAX_LAG_S)
            good, image = self._capture.retrieve()
            if good:  # A frame that cannot be converted is skipped.
                turned = cv2.rotate(image, ROTATIONS[self._rotation_deg]) if self._rotation_deg else image
                yield vision.Frame(turned.astype(np.uint8, copy=False), t, n)

    def _file_time_s(self, frame_number: int) -> float:
        """The time of the file's n-th frame, in seconds."""
        return frame_number / self._rate if self._rate else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000


def unreadable_error(source: str) -> GatewayError:
    """The error for a source that cannot be read."""
    if "://" in source:
        return GatewayError("camera-unreadable")  # The address may contain a password.
    if source.startswith("/dev/"):
        return GatewayError("camera-pictureless", device=source)
    return GatewayError("video-unreadable", file=source)


def _open_capture(source: str) -> Any:
    if source.startswith("/dev/"):
        return cv2.VideoCapture(source, cv2.CAP_V4L2)
    options = {
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: int(OPEN_TIMEOUT_S * 1000),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC: int(READ_TIMEOUT_S * 1000),
        cv2.CAP_PROP_N_THREADS: 1,
    }
    return cv2.VideoCapture(source, cv2.CAP_FFMPEG, [number for each in options.items() for number in each])


def encode_still(image: vision.Image) -> bytes:
    """Encode a still as JPEG, in memory."""
    good, data = cv2.imencode(".jpg", vision.shrink(image, STILL_WIDTH_PX), [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert good
    return data.tobytes()
