"""How long one turn of the event loop lasts, by the processor's time: the machine may be busy elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import time
from collections.abc import Iterator


class Turns:
    """The turns of the running event loop."""

    longest_s = 0.0
    """Of processor time, in one turn."""
    count = 0


@contextlib.contextmanager
def watched_turns() -> Iterator[Turns]:
    """Measure every turn of the running event loop."""
    loop, turns = asyncio.get_running_loop(), Turns()
    gc.disable()  # A collection of all that the tests have loaded would be the longest turn.
    began = time.thread_time()
    watching = True

    def turn() -> None:
        nonlocal began
        now = time.thread_time()
        turns.longest_s = max(turns.longest_s, now - began)
        turns.count += 1
        began = now
        if watching:
            loop.call_soon(turn)

    loop.call_soon(turn)
    try:
        yield turns
    finally:
        watching = False
        gc.enable()


@functools.cache
def allowed_s() -> float:
    """What 50 ms of a Raspberry Pi 4 are on this machine: a million rounds of an empty loop. It is measured
    several times, since other processes warm and cool the processor."""

    def measured() -> float:
        began = time.thread_time()
        for _ in range(1_000_000):
            pass
        return time.thread_time() - began

    return max(measured() for _ in range(5))
