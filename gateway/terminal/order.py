"""Sends a command to the running gateway, once, and prints the outcome."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.base import control
from gateway.words import error_summary, preferred_language

from .printing import cli_text

EXPIRES_AFTER_MS = 15_000
"""A command that has not started within this time expires."""
POLL_INTERVAL_S = 2.0


async def run_order(
    socket: Path, device: str, action: str, args: Mapping[str, Any], *, facts: Mapping[str, str], by: str
) -> int:
    """The exit code. A slow command is queried by its id until it has ended. `facts` are `device` and
    `action` in words. Raises `GatewayError`."""
    request = {
        "id": uuid.uuid4().hex,
        "device": device,
        "action": action,
        "args": args,
        "by": by,
        "origin": "console",
        "expires": round(time.time() * 1000) + EXPIRES_AFTER_MS,
    }
    answer = await control.call_daemon(socket, "command", **request)
    if answer["status"] == "accepted":
        print(cli_text("do-accepted", **facts), flush=True)
    while answer["status"] == "accepted":
        await asyncio.sleep(POLL_INTERVAL_S)
        answer = await control.call_daemon(socket, "command", **request)
    why = error_summary(preferred_language(), answer["detail"], answer.get("facts", {}))
    print(cli_text(f"do-{answer['status']}", reason=why, **facts))
    return 0 if answer["status"] == "done" else 1
