"""How long one turn of the event loop lasts, by the processor's time: the machine may be busy elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import time
from collections.abc import Awaitable, Callable, Iterator

MAX_REPETITIONS = 9


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


def _allowed_s() -> float:
    """What 50 ms of a Raspberry Pi 4 are on this machine at present: a million rounds of an empty loop."""
    began = time.thread_time()
    for _ in range(1_000_000):
        pass
    return time.thread_time() - began


@functools.cache
def _first_allowed_s() -> float:
    return min(_allowed_s() for _ in range(5))


async def share_of_allowed(measure_s: Callable[[], Awaitable[float]]) -> float:
    """How much of the 50 ms of processor time is taken by what is measured.

    Other processes on the same core lengthen a turn severalfold, but never shorten it. So what seems to
    take too long is measured again, beside the yardstick, and the smallest share counts: what takes too
    long by itself does so each time.
    """
    share = await measure_s() / _first_allowed_s()
    for _ in range(MAX_REPETITIONS):
        if share < 1:
            break
        before_s, measured_s, after_s = _allowed_s(), await measure_s(), _allowed_s()
        share = min(share, measured_s / min(before_s, after_s))
    return share
