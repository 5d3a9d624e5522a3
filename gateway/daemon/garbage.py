"""Garbage collections that hold the event loop only briefly: a full one searches all objects, of which most
live as long as the configuration. Those are left out."""

from __future__ import annotations

import gc
from collections.abc import Callable

from gateway.model import Clock

SETTLING_S = 10.0
"""After a start or a reload, until nearly every device has been polled, and has its state in memory."""


async def leave_out_settled_objects(clock: Clock, revision: Callable[[], object]) -> None:
    """Until cancelled. What a new `revision` has replaced is collected."""
    gc.freeze()
    current = revision()
    await clock.sleep(SETTLING_S)
    gc.freeze()
    while True:
        await clock.sleep(SETTLING_S)
        if revision() != current:
            current = revision()
            gc.unfreeze()
            gc.collect()
            gc.freeze()
