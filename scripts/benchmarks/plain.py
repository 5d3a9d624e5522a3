"""A simple counter for comparison: MOG2, contours, and the nearest centroid.

    plain.py VIDEO --line x1,y1,x2,y2 --person w,h

It prints one JSON object per crossing, as `linli count-visitors` does, and has the same input: the line,
the size of a person, at most 15 frames per second, one thread. Its settings are the defaults of OpenCV or
of its tutorials.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass

import cv2
import numpy as np

WIDTH_PX, FPS = 320, 15.0
FORGET_AFTER_S = 1.0
"""A track that has not been seen for this time ends."""


@dataclass
class Track:
    """A track: its last position and time, and the side of the line."""

    x: float
    y: float
    t: float
    side: int


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("video")
    parser.add_argument("--line", type=numbers, required=True)
    parser.add_argument("--person", type=numbers, required=True)
    parser.add_argument("--view", help="ignored")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    video = cv2.VideoCapture(options.video)
    rate = video.get(cv2.CAP_PROP_FPS)
    background = cv2.createBackgroundSubtractorMOG2(history=300)  # shadows are detected, and removed below
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    tracks: list[Track] = []
    number, due = -1, 0.0
    while video.grab():
        number += 1
        t = number / rate
        if t < due - 0.5 / rate:
            continue
        due = max(due + 1 / FPS, t)
        frame = video.retrieve()[1]
        height = round(frame.shape[0] * WIDTH_PX / frame.shape[1])
        size = np.array([WIDTH_PX, height])
        mask = background.apply(cv2.resize(frame, (WIDTH_PX, height), interpolation=cv2.INTER_AREA))
        mask = cv2.morphologyEx(np.where(mask == 255, mask, 0), cv2.MORPH_OPEN, kernel)
        contours = cv2.findContours(cv2.dilate(mask, kernel), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
        person = np.array(options.person) * size
        line = np.array(options.line).reshape(2, 2) * size
        tracks = [track for track in tracks if t - track.t <= FORGET_AFTER_S]
        free = list(tracks)
        for contour in contours:
            if cv2.contourArea(contour) < 0.25 * person[0] * person[1]:
                continue
            left, top, wide, high = cv2.boundingRect(contour)
            x, y = left + wide / 2, top + high / 2
            (x1, y1), (x2, y2) = line
            side = 1 if (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1) > 0 else -1
            nearest = min(free, key=lambda track: math.hypot(track.x - x, track.y - y), default=None)
            if nearest is None or math.hypot(nearest.x - x, nearest.y - y) > max(person):
                tracks.append(Track(x, y, t, side))
                continue
            free.remove(nearest)
            if nearest.side != side:
                event = {"t": round(t, 3), "frame": number, "direction": "in" if side > 0 else "out"}
                print(json.dumps(event), flush=True)
            nearest.x, nearest.y, nearest.t, nearest.side = x, y, t, side


if __name__ == "__main__":
    main()
