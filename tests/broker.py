"""A real MQTT broker on loopback."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path


class Broker:
    """A running mosquitto."""

    def __init__(self, folder: Path, *config: str, anonymous: bool = True, scheme: str = "mqtt") -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        file = folder / f"mosquitto-{self.port}.conf"
        allow = f"allow_anonymous {str(anonymous).lower()}"
        # As root it would become another user, who may not read the test's files.
        file.write_text("\n".join(["user root", f"listener {self.port} 127.0.0.1", allow, *config, ""]))
        self._process = subprocess.Popen(["mosquitto", "-c", file], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._listens():
            assert self._process.poll() is None, "mosquitto ended"
            assert time.monotonic() < deadline, "mosquitto does not listen"
            time.sleep(0.02)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)


@contextlib.contextmanager
def running(folder: Path, *config: str, anonymous: bool = True, scheme: str = "mqtt") -> Iterator[Broker]:
    """A broker with these lines of configuration besides."""
    broker = Broker(folder, *config, anonymous=anonymous, scheme=scheme)
    try:
        yield broker
    finally:
        broker.kill()
