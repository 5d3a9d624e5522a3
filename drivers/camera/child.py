"""What runs in a camera's own process: pictures in, counts out.

It is born with OpenCV in its memory (`zygote`), and holds nothing but a socket to the gateway and its
camera. It cannot write a file, leaves no core dump, and cannot be read by another process of its user.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import threading
import time
import traceback
from contextlib import suppress
from types import TracebackType
from typing import NoReturn

from gateway.model import GatewayError

from . import capture
from .counting import Counter, Line
from .health import Health
from .messages import (
    Beat,
    Failed,
    Job,
    Look,
    Picture,
    Relearn,
    Said,
    Still,
    Told,
    Values,
    packed,
    take,
    take_job,
)

NICE = 5
MEMORY = 400 << 20
"""Bytes a process may ask for beyond what it was born with: pictures of 4K, and a decoder's memory of
them."""
BEAT = 1.0
SETTLE = 1.0
"""Seconds between two messages because of an occupancy that changes to and fro."""
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4


def run(descriptor: int) -> NoReturn:
    """Be a camera's process, with that file descriptor for its socket; never returns."""
    channel = socket.socket(fileno=descriptor)
    try:
        with _Confession(channel):
            _confine()
            Child(channel).work(take_job(channel))
    finally:
        os._exit(1)


def _confine() -> None:
    """Give up what could keep or tell a picture."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(PR_SET_DUMPABLE, 0)  # No core dump, wherever the system would put it; nobody may look in.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with open("/proc/self/statm", encoding="ascii") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    with suppress(OSError):
        os.nice(NICE)  # The gateway goes first; where that is forbidden, equals do.


class _Confession:
    """Tells the gateway why the process ends. An error's own text stays here: it might quote a picture."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, GatewayError):
            failed = Failed(error.key, {name: str(fact) for name, fact in error.facts.items()})
        elif kind:
            where = traceback.extract_tb(trace)[-1]
            reason = f"{kind.__name__}, {os.path.basename(where.filename)}:{where.lineno}"
            failed = Failed("camera-crashed", {"reason": reason})
        else:
            failed = Failed("camera-ended", {})
        with suppress(OSError):
            self._channel.sendall(packed(failed))


class Child:
    """Pictures in, counts out."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._look = self._relearn = False
        self._said: dict[str, tuple[float, Said]] = {}

    def work(self, job: Job) -> None:
        """Count, until there are no more pictures. Raises `GatewayError`."""
        threading.Thread(target=self._listen, daemon=True).start()
        totals = {name: {"in": 0, "out": 0} for name in job.lines}
        health, pace = Health(), Pace()
        counter = Counter(
            job.view,
            {name: Line(line.points, line.person) for name, line in job.lines.items()},
            {name: zone.corners for name, zone in job.zones.items()},
        )
        with capture.opened(job.url) as camera:
            for frame in capture.frames(camera, capture.is_live(job.url), job.fps, job.turn):
                if self._look:
                    self._look = False
                    self._tell(Still(capture.jpeg(frame.image) if job.stills else b""))
                if self._relearn:
                    self._relearn = False
                    health = Health()
                picture = health.step(frame.image, frame.t)
                # A picture that is not well is looked at too, so that the background is known after.
                for crossing in counter.step(*frame):
                    if picture is Picture.GOOD:
                        totals[crossing.line][crossing.direction] += 1
                pace.step(frame.t)
                if pace.beats:
                    self._tell(Beat())
                state: Values = {"tamper": picture is not Picture.GOOD, "picture": picture, **pace.figures}
                for name, line in job.lines.items():
                    known = counter.calibrated[name]
                    invalid = picture is not Picture.GOOD or not known
                    values: Values = {**totals[name], "invalid": invalid, "calibrated": known, **state}
                    self._say(Said(name, values), line.every, 0.0)
                for name, zone in job.zones.items():
                    values = {"occupancy": counter.occupancy[name], "invalid": state["tamper"], **state}
                    self._say(Said(name, values), zone.every, SETTLE)

    def _say(self, said: Said, every: float, settle: float) -> None:
        """Tell the values of a device when they have changed, or when it is time."""
        now = time.monotonic()
        when, last = self._said.get(said.device, (-1e9, None))
        due = now - when >= 0.8 * every
        changed = last is None or _news(said) != _news(last)
        if due or (changed and now - when >= settle):
            self._said[said.device] = now, said
            self._tell(said)

    def _tell(self, told: Told) -> None:
        self._channel.sendall(packed(told))

    def _listen(self) -> None:
        """What the gateway asks for; when it is gone, there is nobody to count for."""
        try:
            while True:
                asked = take(self._channel)
                self._look |= isinstance(asked, Look)
                self._relearn |= isinstance(asked, Relearn)
        finally:
            os._exit(0)


def _news(said: Said) -> dict[str, object]:
    return {name: value for name, value in said.values.items() if name not in ("fps", "cost")}


class Pace:
    """How many pictures are looked at, and what one costs."""

    def __init__(self) -> None:
        self._frames, self._since = 0, -BEAT
        self._cpu = time.process_time()
        self.figures: dict[str, float] = {}
        """Frames a second, and milliseconds of CPU for one, decoding included; of the last second."""
        self.beats = False
        """Whether a second has passed with this frame, or it is the first."""

    def step(self, t: float) -> None:
        """One more."""
        self._frames += 1
        self.beats = t - self._since >= BEAT
        if self.beats:
            cpu = time.process_time()
            if t > 0:
                fps = round(self._frames / (t - self._since), 1)
                self.figures = {"fps": fps, "cost": round((cpu - self._cpu) / self._frames * 1000, 1)}
            self._frames, self._since, self._cpu = 0, t, cpu
