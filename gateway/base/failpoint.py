"""Where a test may end the process: `LINLI_KILL_AT=stage:n` kills it when it gets there the n-th time."""

from __future__ import annotations

import os
import signal

_stage, _, _times = os.environ.get("LINLI_KILL_AT", "").partition(":")
_left = int(_times or 1)


def failpoint(stage: str) -> None:
    """Nothing, unless this is the place and the time."""
    global _left  # noqa: PLW0603
    if stage == _stage:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
