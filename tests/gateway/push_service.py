"""A push service on loopback, with the browser behind it: see `tests/foreign/push-service`."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.npm import NODE, installed


class PushService:
    """What it was sent, and a subscription that it answers as the path says."""

    def __init__(self, certificate: Path, key: Path) -> None:
        folder = installed("push-service")
        self._process = subprocess.Popen(
            [NODE, folder / "service.js", certificate, key], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        said = json.loads(self._process.stdout.readline())
        self.origin = f"https://localhost:{said['port']}"
        self.keys = {"p256dh": said["p256dh"], "auth": said["auth"]}
        self.heard: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with self._changed:
                self.heard.append(json.loads(line))
                self._changed.notify_all()

    def texts(self) -> list[dict[str, Any]]:
        """What the phone is to show, in the order of arrival."""
        return [json.loads(each["text"]) for each in self.heard]

    def wait(self, true: Callable[[], object], seconds: float = 20) -> None:
        """Until that holds of what was heard."""
        with self._changed:
            assert self._changed.wait_for(lambda: bool(true()), seconds), self.heard

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout
        self._process.stdout.close()
