"""The payloads of Sparkplug B, by a codec of another make."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.npm import NODE, installed


class Codec:
    """npm sparkplug-payload, in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def decode(self, payload: bytes) -> Any:
        """The payload as that library sees it."""
        return self._ask({"decode": base64.b64encode(payload).decode()})

    def encode(self, payload: dict[str, Any]) -> bytes:
        return base64.b64decode(self._ask({"encode": payload}))

    def _ask(self, question: dict[str, str | dict[str, Any]]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def codec() -> Iterator[Codec]:
    folder = installed("sparkplug")
    with subprocess.Popen(
        [NODE, folder / "codec.js"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield Codec(process)
        finally:
            process.kill()
