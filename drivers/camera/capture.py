"""A camera's pictures as they come: a stream, a USB camera, or a file that is played at its own pace.

They are read in the camera's own process (`child`), and never leave it but as a still that was asked for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# OpenCV must be set up before it is imported, and `vision` does that.
from . import vision  # isort: skip
import cv2
import numpy as np

from gateway.model import GatewayError

OPEN_WITHIN, READ_WITHIN = 8.0, 5.0
"""Seconds a camera has to answer, and to send its next picture."""
TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
STILL = 960
"""Pixels across a still."""
LATE = 1.0
"""Seconds by which a file may be late before it is played on from where it is."""

# TCP: over UDP a picture comes with pieces missing, and what is torn moves.
os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;tcp|threads;1"


@contextmanager
def opened(url: str) -> Iterator[Any]:
    """An OpenCV capture. Raises `GatewayError` where nothing answers or there is no video."""
    if url.startswith("/dev/"):
        capture = cv2.VideoCapture(url, cv2.CAP_V4L2)
    else:
        options = {
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: int(OPEN_WITHIN * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC: int(READ_WITHIN * 1000),
            cv2.CAP_PROP_N_THREADS: 1,
        }
        flat = [number for option in options.items() for number in option]
        capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, flat)
    try:
        if not capture.isOpened():
            raise GatewayError("camera-unreadable")
        yield capture
    finally:
        capture.release()


def frames(capture: Any, live: bool, fps: float, turn: int) -> Iterator[vision.Frame]:
    """At most so many pictures a second, turned clockwise by `turn` degrees, until there are no more.

    A file is waited for; a camera is not: what it sends too fast is dropped before it is converted.
    """
    rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
    began, number, due = time.monotonic(), -1, 0.0
    while capture.grab():
        number += 1
        t = time.monotonic() - began if live else number / rate
        # Half a frame early is near enough: 30 frames a second give exactly 15.
        if t + 0.5 / rate < due:
            continue
        due = max(due + 1 / fps, t)
        if not live:
            early = began + t - time.monotonic()
            time.sleep(max(0.0, early))
            began += max(0.0, -early - LATE)
        good, image = capture.retrieve()
        if not good:
            return
        if turn:
            image = cv2.rotate(image, TURNS[turn])
        yield vision.Frame(image.astype(np.uint8, copy=False), t, number)


def is_live(url: str) -> bool:
    """Whether it goes on by itself."""
    return "://" in url or url.startswith("/dev/")


def jpeg(image: vision.Image) -> bytes:
    """A still for people who set up a camera, in memory."""
    good, data = cv2.imencode(".jpg", vision.shrink(image, STILL), [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert good
    return data.tobytes()
