"""A process that has OpenCV in its memory and does nothing but fork: the cameras' processes share what it
has loaded, which is most of what they need.

Nothing is pickled, nothing stands in a file or on a command line, and all of them end with the gateway.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import socket
import subprocess
import sys
import threading

from gateway.model import LinkDown

PATIENCE = 30.0
"""Seconds it may take to load OpenCV: a Pi with a slow card and much else to do."""
ALONE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
"""A process that forks must have no threads."""


class Zygote:
    """The process, started when it is first needed, and anew when it has died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork(self, channel: socket.socket) -> int:
        """A child with that end of a socket. Returns a file descriptor that stands for its process
        (pidfd_open(2)). Blocks. Raises `LinkDown`."""
        with self._lock:
            try:
                control = self._ask()
                socket.send_fds(control, [b"fork"], [channel.fileno()])
                answer, fds, _, _ = socket.recv_fds(control, 1024, 1)
            except OSError as error:
                self._end()
                raise LinkDown("camera-start", reason=error) from error
            if not fds:
                self._end()
                raise LinkDown("camera-missing", reason=answer.decode() or "…")
            return fds[0]

    def end(self) -> None:
        """End it; its children end with it."""
        with self._lock:
            self._end()

    def _ask(self) -> socket.socket:
        if self._process and self._process.poll() is not None:
            self._end()
        if self._control is None:
            self._control, theirs = socket.socketpair()
            self._control.settimeout(PATIENCE)
            with theirs:
                code = "from drivers.camera.zygote import serve; serve()"
                self._process = subprocess.Popen(  # noqa: S603 — it is this very Python.
                    [sys.executable, "-OO", "-c", code],  # NumPy's documentation takes megabytes.
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, **ALONE},
                )
        return self._control

    def _end(self) -> None:
        if self._control:
            self._control.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        self._control = self._process = None


ZYGOTE = Zygote()
atexit.register(ZYGOTE.end)


def serve() -> None:
    """What runs in the process: a child for each socket that comes, until whoever sends them is gone."""
    control = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the gateway, which ends us.
    try:
        from . import child  # noqa: PLC0415 — with OpenCV, which the gateway itself never loads.
    except ImportError as error:
        control.send(str(error).encode()[:1000])
        return
    gc.freeze()
    while True:
        _, fds, _, _ = socket.recv_fds(control, 16, 1)
        if not fds:
            return
        _reap()
        pid = os.fork()
        if pid == 0:
            control.close()
            child.run(fds[0])
        os.close(fds[0])
        stands = os.pidfd_open(pid)
        socket.send_fds(control, [b"born"], [stands])
        os.close(stands)


def _reap() -> None:
    """Children that have ended are forgotten with the next birth."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
