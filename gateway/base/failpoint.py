"""Points where a test may kill the process: `LINLI_KILL_AT=stage:n` does so at the n-th call."""

from __future__ import annotations

import os
import signal

_stage, _, _times = os.environ.get("LINLI_KILL_AT", "").partition(":")
_calls_until_kill = int(_times or 1)


def failpoint(stage: str) -> None:
    """Kill the process if the environment asks for it at this stage; else do nothing."""
    global _calls_until_kill  # noqa: PLW0603
    if stage == _stage:
        _calls_until_kill -= 1
        if _calls_until_kill == 0:
            os.kill(os.getpid(), signal.SIGKILL)
