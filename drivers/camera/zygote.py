"""A zygote: a process that loads OpenCV and does nothing but fork, so that the cameras' processes share the
memory of the libraries, which is most of what they need.

Nothing is pickled or passed in a file or on a command line, and all processes end with the gateway.
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

from gateway.model import LinkDown, sentence

START_TIMEOUT_S = 30.0
"""For loading OpenCV, on a busy Pi with a slow card."""
SINGLE_THREADED_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
"""Environment of the zygote: a process that forks must not have threads."""


class Zygote:
    """The process. It is started when it is first needed, and again when it has died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork(self, channel: socket.socket) -> int:
        """Fork a child that gets this end of a socket. Returns the child's pidfd (pidfd_open(2)). Blocks.
        Raises `LinkDown`."""
        with self._lock:
            try:
                control = self._running_control_socket()
                socket.send_fds(control, [b"fork"], [channel.fileno()])
                answer, fds, _, _ = socket.recv_fds(control, 1024, 1)
            except OSError as error:
                self._stop()
                raise LinkDown("camera-start", reason=error) from error
            if not fds:
                self._stop()
                raise LinkDown("camera-missing", reason=sentence("cause.package", package=answer.decode()))
            return fds[0]

    def stop(self) -> None:
        """End the process; its children end with it."""
        with self._lock:
            self._stop()

    def _running_control_socket(self) -> socket.socket:
        if self._process and self._process.poll() is not None:
            self._stop()
        if self._control is None:
            self._control, theirs = socket.socketpair()
            self._control.settimeout(START_TIMEOUT_S)
            with theirs:
                code = "from drivers.camera.zygote import serve; serve()"
                self._process = subprocess.Popen(  # noqa: S603 — it is our own Python.
                    [
                        sys.executable,
                        "-OO",
                        "-c",
                        code,
                    ],  # Without NumPy's docstrings, which take megabytes.
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, **SINGLE_THREADED_ENVIRONMENT},
                )
        return self._control

    def _stop(self) -> None:
        if self._control:
            self._control.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        self._control = self._process = None


ZYGOTE = Zygote()
atexit.register(ZYGOTE.stop)


def serve() -> None:
    """Main program of the process: fork a child for each socket received, until the gateway is gone."""
    control = socket.socket(fileno=os.dup(0))
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is handled by the gateway, which ends this process.
    try:
        from . import child  # noqa: PLC0415 — loads OpenCV, which the gateway itself never does.
    except ImportError as error:
        control.send((error.name or type(error).__name__).encode()[:1000])
        return
    gc.freeze()
    while True:
        _, fds, _, _ = socket.recv_fds(control, 16, 1)
        if not fds:
            return
        _reap_children()
        pid = os.fork()
        if pid == 0:
            control.close()
            child.run(fds[0])
        os.close(fds[0])
        descriptor = os.pidfd_open(pid)
        socket.send_fds(control, [b"born"], [descriptor])
        os.close(descriptor)


def _reap_children() -> None:
    """Collect children that have ended; called before each fork."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
