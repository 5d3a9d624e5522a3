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
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from gateway.model import GatewayError

from . import capture, vision
from .counting import Counter, Crossing, Line, Zone
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

NICE, SPARED = 5, "500"
MEMORY = 400 << 20
"""Bytes a process may ask for beyond what it was born with: pictures of 4K, and a decoder's memory of
them."""
BEAT = 1.0
SETTLE = 1.0
"""Seconds between two messages because of an occupancy that changes to and fro."""
EARLY = 0.8
"""Part of the longest silence after which a device speaks, whether or not there is news."""
STEADY = 3.0
"""Seconds for which pictures must have come before anything is said of them: a camera that breaks off
again and again is down, not up and down."""
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4


def run(descriptor: int) -> NoReturn:
    """Be a camera's process, with that file descriptor for its socket; never returns."""
    channel = socket.socket(fileno=descriptor)
    try:
        with _Confession(channel):
            _confine()
            _work(channel)
    finally:
        os._exit(1)


def _confine() -> None:
    """Give up what could keep or tell a picture."""
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(SPARED)  # When memory runs out, a camera goes before the gateway.
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


def _work(channel: socket.socket) -> None:
    """Count, until there are no more pictures. Raises `GatewayError`."""
    job = take_job(channel)
    lookout = Lookout(job, lambda told: channel.sendall(packed(told)))
    threading.Thread(target=_listen, args=[channel, lookout], daemon=True).start()
    with capture.Video(job.url, fps=job.fps, turn=job.turn, paced=True) as video:
        t = 0.0
        for frame in video:
            t = frame.t
            lookout.step(frame)
        lookout.finish(t)


def _listen(channel: socket.socket, lookout: Lookout) -> None:
    """What the gateway asks for; when it is gone, there is nobody to count for."""
    try:
        while True:
            asked = take(channel)
            lookout.look |= isinstance(asked, Look)
            lookout.relearn |= isinstance(asked, Relearn)
    finally:
        os._exit(0)


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


class Lookout:
    """Frames in, messages out. Time is that of the frames."""

    def __init__(self, job: Job, tell: Callable[[Told], None]) -> None:
        self.look = self.relearn = False
        """Set when the gateway asks for it; done with the next frame."""
        self._job = job
        self._tell = tell
        self._totals = {name: {"in": 0, "out": 0} for name in job.lines}
        self._health, self._pace = Health(), Pace()
        self._counter = Counter(
            job.view,
            {name: Line(line.points, line.person) for name, line in job.lines.items()},
            {name: Zone(zone.corners, zone.person) for name, zone in job.zones.items()},
            vision.Detector(Path(job.model), job.sha256) if job.model else None,
        )
        self._said: dict[str, tuple[float, Said]] = {}
        self._began = float("inf")

    def step(self, frame: vision.Frame) -> None:
        """Look at a frame, and tell what is to be told."""
        if self.look:
            self.look = False
            self._tell(Still(capture.jpeg(frame.image) if self._job.stills else b""))
        if self.relearn:
            self.relearn = False
            self._health = Health()
        self._health.step(frame.image, frame.t)
        # A picture that is not well is looked at too, so that the background is known after.
        self._count(self._counter.step(*frame))
        self._began = min(self._began, frame.t)
        if frame.t - self._began >= STEADY:
            self._pace.step(frame.t)
            if self._pace.beats:
                self._tell(Beat())
            self._report(frame.t)

    def finish(self, t: float) -> None:
        """There are no more frames: who was about to be counted is."""
        self._count(self._counter.finish())
        if t - self._began >= STEADY:
            self._report(t)

    def _count(self, crossings: Iterable[Crossing]) -> None:
        if self._health.picture is Picture.GOOD:
            for crossing in crossings:
                self._totals[crossing.line][crossing.direction] += 1

    def _report(self, t: float) -> None:
        picture, known = self._health.picture, self._counter.calibrated
        tampered = picture is not Picture.GOOD
        state: Values = {
            "tamper": tampered,
            "picture": picture,
            "calibrated": known,
            "invalid": tampered or not known,
            **self._pace.figures,
        }
        for name, line in self._job.lines.items():
            if name not in self._said:
                # Where it began: whoever has come since then is news.
                self._say(Said(name, {"in": 0, "out": 0, **state}), t, line.every, 0.0)
            self._say(Said(name, {**self._totals[name], **state}), t, line.every, 0.0)
        for name, zone in self._job.zones.items():
            occupancy = self._counter.occupancy[name]
            self._say(Said(name, {"occupancy": occupancy, **state}), t, zone.every, SETTLE)

    def _say(self, said: Said, t: float, every: float, settle: float) -> None:
        """Tell the values of a device when they have changed, or when it is time."""
        when, last = self._said.get(said.device, (float("-inf"), None))
        changed = last is None or _news(said) != _news(last)
        if t - when >= EARLY * every or (changed and t - when >= settle):
            self._said[said.device] = t, said
            self._tell(said)


def _news(said: Said) -> dict[str, object]:
    return {name: value for name, value in said.values.items() if name not in ("fps", "cost")}


class Pace:
    """How many pictures are looked at, and what one costs."""

    def __init__(self) -> None:
        self._frames = 0
        self._since: float | None = None
        self._cpu = time.process_time()
        self.figures: dict[str, float] = {}
        """Frames a second, and milliseconds of CPU for one, decoding included; of the last second."""
        self.beats = False
        """Whether a second has passed with this frame, or it is the first."""

    def step(self, t: float) -> None:
        """One more."""
        self._frames += 1
        self.beats = self._since is None or t - self._since >= BEAT
        if self.beats:
            cpu = time.process_time()
            if self._since is not None:
                fps = round(self._frames / (t - self._since), 1)
                self.figures = {"fps": fps, "cost": round((cpu - self._cpu) / self._frames * 1000, 1)}
            self._frames, self._since, self._cpu = 0, t, cpu
