"""The main program of a camera's own process: pictures in, counts out.

The process is forked with OpenCV loaded (`zygote`), and has only a socket to the gateway and its camera. It
cannot write a file, leaves no core dump, and cannot be read by another process of its user.
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
from .counting import CountingLine, Crossing, PeopleCounter, Zone
from .health import PictureMonitor
from .messages import (
    CameraJob,
    CameraMessage,
    FailureMessage,
    HeartbeatMessage,
    PictureQuality,
    RelearnRequest,
    StillMessage,
    StillRequest,
    Values,
    ValuesMessage,
    encode_message,
    receive_job,
    receive_request,
)

NICENESS, OOM_SCORE_ADJ = 5, "500"
MAX_EXTRA_MEMORY_BYTES = 400 << 20
"""Memory a process may allocate after the fork: 4K pictures and the decoder's buffers."""
HEARTBEAT_INTERVAL_S = 1.0
OCCUPANCY_INTERVAL_S = 1.0
"""The shortest time between two messages about an occupancy that changes back and forth."""
REPORT_INTERVAL_SHARE = 0.8
"""Share of a device's report interval after which its values are sent, changed or not."""
WARM_UP_S = 3.0
"""Time of continuous pictures before anything is reported, so that a camera that is interrupted again and
again is down instead of alternating."""
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4


def run(descriptor: int) -> NoReturn:
    """Run as a camera's process; `descriptor` is its socket. Never returns."""
    channel = socket.socket(fileno=descriptor)
    try:
        with _ErrorReport(channel):
            _restrict_process()
            _count_video(channel)
    finally:
        os._exit(1)


def _restrict_process() -> None:
    """Give up everything that could store or disclose a picture."""
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(OOM_SCORE_ADJ)  # When memory runs out, a camera is killed before the gateway.
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(PR_SET_DUMPABLE, 0)  # No core dump, and no access for other processes.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with open("/proc/self/statm", encoding="ascii") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MAX_EXTRA_MEMORY_BYTES, size + MAX_EXTRA_MEMORY_BYTES))
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    with suppress(OSError):
        os.nice(NICENESS)  # The gateway has priority; optional, as some systems forbid it.


def _count_video(channel: socket.socket) -> None:
    """Count until there are no more pictures. Raises `GatewayError`."""
    job = receive_job(channel)
    loop = CameraLoop(job, lambda message: channel.sendall(encode_message(message)))
    threading.Thread(target=_receive_requests, args=[channel, loop], daemon=True).start()
    with capture.VideoSource(job.url, fps=job.fps, rotation_deg=job.rotation_deg, real_time=True) as video:
        t = 0.0
        for frame in video:
            t = frame.time_s
            loop.process_frame(frame)
        loop.finish(t)


def _receive_requests(channel: socket.socket, loop: CameraLoop) -> None:
    """Receive the gateway's requests; end the process when the gateway is gone."""
    try:
        while True:
            request = receive_request(channel)
            loop.still_requested |= isinstance(request, StillRequest)
            loop.relearn_requested |= isinstance(request, RelearnRequest)
    finally:
        os._exit(0)


class _ErrorReport:
    """Reports to the gateway why the process ends. The text of an error is not sent: it might contain a
    part of a picture."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, GatewayError):
            failed = FailureMessage(error.key, {name: str(fact) for name, fact in error.facts.items()})
        elif kind:
            where = traceback.extract_tb(trace)[-1]
            reason = f"{kind.__name__}, {os.path.basename(where.filename)}:{where.lineno}"
            failed = FailureMessage("camera-crashed", {"reason": reason})
        else:
            failed = FailureMessage("camera-ended", {})
        with suppress(OSError):
            self._channel.sendall(encode_message(failed))


class CameraLoop:
    """Turns frames into messages. All times are those of the frames."""

    def __init__(self, job: CameraJob, send: Callable[[CameraMessage], None]) -> None:
        self.still_requested = self.relearn_requested = False
        """Set on the gateway's request; executed with the next frame."""
        self._job = job
        self._send = send
        self._totals = {name: {"in": 0, "out": 0} for name in job.lines}
        self._monitor, self._statistics = PictureMonitor(), FrameStatistics()
        self._counter = PeopleCounter(
            job.view,
            {name: CountingLine(line.points, line.person) for name, line in job.lines.items()},
            {name: Zone(zone.corners, zone.person) for name, zone in job.zones.items()},
            vision.Detector(Path(job.model), job.sha256) if job.model else None,
        )
        self._last_sent: dict[str, tuple[float, ValuesMessage]] = {}
        self._first_frame_s = float("inf")

    def process_frame(self, frame: vision.Frame) -> None:
        """Analyse a frame, and send the messages that are due."""
        if self.still_requested:
            self.still_requested = False
            self._send(StillMessage(capture.encode_still(frame.image) if self._job.stills else b""))
        if self.relearn_requested:
            self.relearn_requested = False
            self._monitor = PictureMonitor()
        self._monitor.check_frame(frame.image, frame.time_s)
        # A bad picture is analysed too, so that the background is known afterwards.
        self._count_crossings(self._counter.process_frame(*frame))
        self._first_frame_s = min(self._first_frame_s, frame.time_s)
        if frame.time_s - self._first_frame_s >= WARM_UP_S:
            self._statistics.add_frame(frame.time_s)
            if self._statistics.is_due:
                self._send(HeartbeatMessage())
            self._report_values(frame.time_s)

    def finish(self, time_s: float) -> None:
        """After the last frame: count the crossings that were not confirmed yet."""
        self._count_crossings(self._counter.finish())
        if time_s - self._first_frame_s >= WARM_UP_S:
            self._report_values(time_s)

    def _count_crossings(self, crossings: Iterable[Crossing]) -> None:
        if self._monitor.picture is PictureQuality.GOOD:
            for crossing in crossings:
                self._totals[crossing.line][crossing.direction] += 1

    def _report_values(self, time_s: float) -> None:
        picture, known = self._monitor.picture, self._counter.calibrated
        tampered = picture is not PictureQuality.GOOD
        state: Values = {
            "tamper": tampered,
            "picture": picture,
            "calibrated": known,
            "invalid": tampered or not known,
            **self._statistics.values,
        }
        for name, line in self._job.lines.items():
            if name not in self._last_sent:
                # Start at zero, so that crossings since the start are a change.
                self._send_values(
                    ValuesMessage(name, {"in": 0, "out": 0, **state}), time_s, line.interval_s, 0.0
                )
            self._send_values(
                ValuesMessage(name, {**self._totals[name], **state}), time_s, line.interval_s, 0.0
            )
        for name, zone in self._job.zones.items():
            occupancy = self._counter.occupancy[name]
            self._send_values(
                ValuesMessage(name, {"occupancy": occupancy, **state}),
                time_s,
                zone.interval_s,
                OCCUPANCY_INTERVAL_S,
            )

    def _send_values(
        self, message: ValuesMessage, time_s: float, interval_s: float, min_interval_s: float
    ) -> None:
        """Send the values of a device when they have changed, or when its interval is over."""
        when, last = self._last_sent.get(message.device, (float("-inf"), None))
        changed = last is None or _without_statistics(message) != _without_statistics(last)
        if time_s - when >= REPORT_INTERVAL_SHARE * interval_s or (
            changed and time_s - when >= min_interval_s
        ):
            self._last_sent[message.device] = time_s, message
            self._send(message)


def _without_statistics(message: ValuesMessage) -> dict[str, object]:
    return {name: value for name, value in message.values.items() if name not in ("fps", "cost")}


class FrameStatistics:
    """Frame rate and CPU time per frame."""

    def __init__(self) -> None:
        self._frames = 0
        self._since: float | None = None
        self._cpu = time.process_time()
        self.values: dict[str, float] = {}
        """Frames per second (`fps`) and milliseconds of CPU time per frame, including decoding (`cost`),
        over the last second."""
        self.is_due = False
        """Whether this is the first frame, or a second has passed since `values` were updated."""

    def add_frame(self, time_s: float) -> None:
        """Add a frame at `t` seconds."""
        self._frames += 1
        self.is_due = self._since is None or time_s - self._since >= HEARTBEAT_INTERVAL_S
        if self.is_due:
            cpu = time.process_time()
            if self._since is not None:
                fps = round(self._frames / (time_s - self._since), 1)
                self.values = {"fps": fps, "cost": round((cpu - self._cpu) / self._frames * 1000, 1)}
            self._frames, self._since, self._cpu = 0, time_s, cpu
