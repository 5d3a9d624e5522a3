"""One reading without a running gateway."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from gateway.config import BusSpec
from gateway.model import Bus, Device, Listener, ReadFailed
from gateway.wire.codec import finish

PATIENCE = 3
"""Messages of a pushing device that may fail to come before we give up."""


async def read_once(spec: BusSpec, device: Device) -> dict[str, Any]:
    """Open the line, read, close it. Raises `ReadFailed` or `LinkDown`."""
    async with spec.driver.connect(spec.options, (device,)) as bus:
        began = time.monotonic()
        if isinstance(bus, Bus):
            raw = await bus.read(device)
        else:
            raw = await _next_message(bus, device)
        values, bad = finish(device.points, spec.driver.decode(device.points, raw))
        seconds = time.monotonic() - began
    return {"raw": spec.driver.format_raw(raw), "values": values, "bad": bad, "seconds": seconds}


async def _next_message(bus: Listener, device: Device) -> Any:
    limit = PATIENCE * device.every
    try:
        async with asyncio.timeout(limit):
            async for _, raw in bus.listen():
                if isinstance(raw, ReadFailed):
                    raise raw
                return raw
    except TimeoutError as error:
        raise ReadFailed("silent", seconds=round(limit)) from error
    raise ReadFailed("silent", seconds=0)
