"""A command is written once, and confirmed by what the device reports afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Mapping
from typing import Any

from gateway.model import Bus, Clock, Command, Device, Listener, ReadFailed, Value


async def write_and_confirm(
    bus: Bus | Listener,
    device: Device,
    command: Command,
    clock: Clock,
    reports: AsyncIterable[Mapping[str, Value]],
) -> None:
    """Write once, then return as soon as the values reported since show the effect, in one report or in
    several. Raises `ReadFailed`: the command has expired, was refused, or has shown no effect when the
    reports end."""
    if clock.now().wall_ms >= command.expires:
        raise ReadFailed("too-late")
    expected = await bus.write(device, command.action, command.args)
    reported: dict[str, Value] = {}
    async for values in reports:
        reported |= values
        if all(reported.get(name) == value for name, value in expected.items()):
            return
    raise ReadFailed("unconfirmed")


async def confirm_within(limit_s: float, confirming: Coroutine[Any, Any, None], clock: Clock) -> None:
    """Await a `write_and_confirm` for a limited time. Raises `ReadFailed`, and what it raises."""
    task = asyncio.create_task(confirming)
    ended = asyncio.Event()
    task.add_done_callback(lambda _: ended.set())
    try:
        await clock.wait(ended, limit_s)
        if not task.done():
            raise ReadFailed("unconfirmed")
        task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


class ReportedValues:
    """The values that a device has reported since this was made; iterated whenever there are more."""

    def __init__(self) -> None:
        self._values: dict[str, Value] = {}
        self._updated = asyncio.Event()

    def update(self, values: Mapping[str, Value]) -> None:
        self._values |= values
        self._updated.set()

    async def __aiter__(self) -> AsyncIterator[Mapping[str, Value]]:
        while True:
            self._updated.clear()
            yield self._values
            await self._updated.wait()
