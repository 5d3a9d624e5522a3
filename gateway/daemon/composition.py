"""What runs under one configuration: described as a whole, and replaced as a whole.

A configuration makes one `Composition`. `Components` makes the running parts follow it: a part whose
configuration is the same goes on undisturbed, the others end and begin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec


class Component(Protocol):
    """Something that runs until it is cancelled."""

    async def run(self) -> None: ...


class ComponentSpec(msgspec.Struct, frozen=True):
    """One part of a composition."""

    built_from: object
    """What it is built from: while this is equal, the part is not replaced."""
    build: Callable[[], Component]
    stop: Callable[[Any, asyncio.Task[None]], Awaitable[None]] | None = None
    """Stops the part, given it and its task; by default the task is cancelled."""


Composition = Mapping[str, ComponentSpec]
"""Every part, by the name of its task."""


class _RunningComponent(msgspec.Struct, frozen=True):
    spec: ComponentSpec
    component: Component
    task: asyncio.Task[None]


class Components:
    """The parts that run now, each a task of one group. None runs before this is entered, or after it is
    left."""

    def __init__(self) -> None:
        self._tasks = asyncio.TaskGroup()
        self._running: dict[str, _RunningComponent] = {}

    async def __aenter__(self) -> Components:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        for running in self._running.values():
            running.task.cancel()
        await self._tasks.__aexit__(*error)

    def all(self) -> Mapping[str, Component]:
        """Every running part by its name."""
        return {name: running.component for name, running in self._running.items()}

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
                self._running[name] = _RunningComponent(spec, part, task)


async def _stop(running: _RunningComponent) -> None:
    if running.spec.stop:
        await running.spec.stop(running.component, running.task)
        return
    running.task.cancel()
    await asyncio.wait({running.task})
