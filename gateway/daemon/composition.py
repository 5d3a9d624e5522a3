"""What runs under one configuration: described as a whole, and replaced as a whole.

A site has one `Composition`. When it changes, `Parts` stops and starts the parts that differ; a part whose
own configuration is the same continues undisturbed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec


class Part(Protocol):
    """Something that runs until it is cancelled."""

    async def run(self) -> None: ...


class PartSpec(msgspec.Struct, frozen=True):
    """One part of a composition."""

    built_from: object
    """What it is built from: while this is equal, the part is not replaced."""
    build: Callable[[], Part]
    stop: Callable[[Any, asyncio.Task[None]], Awaitable[None]] | None = None
    """Stops the part, given it and its task; by default the task is cancelled."""


Composition = Mapping[str, PartSpec]
"""Every part, by the name of its task."""


class _RunningPart(msgspec.Struct, frozen=True):
    spec: PartSpec
    part: Part
    task: asyncio.Task[None]


class Parts:
    """The parts that run now, each a task of one group. None runs before this is entered, or after it is
    left."""

    def __init__(self) -> None:
        self._tasks = asyncio.TaskGroup()
        self._running: dict[str, _RunningPart] = {}

    async def __aenter__(self) -> Parts:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        for running in self._running.values():
            running.task.cancel()
        await self._tasks.__aexit__(*error)

    def all(self) -> Mapping[str, Part]:
        """Every running part by its name."""
        return {name: running.part for name, running in self._running.items()}

    async def stop_outdated(self, composition: Composition) -> None:
        """Stop, all at the same time, the parts that a new composition lacks or builds differently."""
        outdated = [
            self._running.pop(name)
            for name, running in list(self._running.items())
            if name not in composition or composition[name].built_from != running.spec.built_from
        ]
        await asyncio.gather(*(_stop(running) for running in outdated))

    def start_missing(self, composition: Composition) -> None:
        """Start the parts of a composition that do not run yet, in its order."""
        for name, spec in composition.items():
            if name not in self._running:
                part = spec.build()
                task = self._tasks.create_task(part.run(), name=name)
                self._running[name] = _RunningPart(spec, part, task)


async def _stop(running: _RunningPart) -> None:
    if running.spec.stop:
        await running.spec.stop(running.part, running.task)
        return
    running.task.cancel()
    await asyncio.wait({running.task})
