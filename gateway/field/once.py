"""One reading without a running gateway."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gateway.config import BusSpec
from gateway.model import Bus, Device, LinkDown, Listener, Raw, ReadFailed, StoredReading, UnknownSender
from gateway.wire.broker import as_guest
from gateway.wire.codec import convert_values

from .health import silence_limit_s
from .pushed import message_or_silence


async def read_once(
    spec: BusSpec, device: Device, on_wait: Callable[[float], None] = lambda _: None
) -> dict[str, Any]:
    """Open the line, read, close it. Where the device reports by itself, `on_wait` gets the longest wait in
    seconds. Raises `ReadFailed` or `LinkDown`."""
    async with spec.driver.connect(as_guest(spec.options), (device,)) as bus:
        started = time.monotonic()
        if isinstance(bus, Bus):
            raw = await bus.read(device)
        else:
            on_wait(silence_limit_s(device))
            raw = await message_or_silence(device, _next_message(bus, device))
        values, bad = convert_values(device.points, spec.driver.decode(device.points, raw))
        seconds = time.monotonic() - started
    return {"raw": spec.driver.format_raw(raw), "values": values, "bad": bad, "seconds": seconds}


async def _next_message(bus: Listener, device: Device) -> Raw:
    async for _, raw in bus.listen():
        if isinstance(raw, UnknownSender):
            continue
        if isinstance(raw, ReadFailed):
            raise raw
        return raw.raw if isinstance(raw, StoredReading) else raw
    raise LinkDown("line-down", reason=device.bus)
