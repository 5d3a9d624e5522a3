"""What runs under one configuration: described as a whole, and replaced as a whole.

A configuration makes one `Composition`. `Components` makes the running parts follow it: a part whose
configuration is the same goes on undisturbed, the others end and begin.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

from gateway.base.log import log_event
from gateway.base.tasks import exception_of, root_error, run_in_own_task
from gateway.journal import JournalDamaged
from gateway.model import Clock

MAX_RESTART_DELAY_S = 60.0
WORKS_AFTER_S = 60.0
"""Seconds after which a part that was started again counts as working."""


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
    restarts: bool = False
    """Whether a failure only ends this part, which is then built and started again; else it ends the
    gateway."""


Composition = Mapping[str, ComponentSpec]
"""Every part, by the name of its task."""


class _RunningComponent:
    def __init__(self, name: str, spec: ComponentSpec, clock: Clock) -> None:
        self._name = name
        self.spec = spec
        self.component = spec.build()
        self.task: asyncio.Task[None]
        self._clock = clock
        self._started_s = clock.mono()
        self._failures = 0

    @property
    def is_failing(self) -> bool:
        """Whether it has failed and not yet proved that it works again."""
        return self._failures > 0 and self._clock.mono() - self._started_s < WORKS_AFTER_S

    async def run(self) -> None:
        if not self.spec.restarts:
            await self.component.run()
            return
        while error := await run_in_own_task(exception_of(self.component.run())):
            if isinstance(root_error(error), JournalDamaged):
                # The gateway is about to open its journal again.
                raise error
            if not self.is_failing:
                self._failures = 0
                log_event(logging.ERROR, "job-failed", job=self._name)
                logging.getLogger("linli").error("", exc_info=error)
            self._failures += 1
            self._started_s = float("inf")
            await self._clock.sleep(min(MAX_RESTART_DELAY_S, 2.0**self._failures))
            self.component, self._started_s = self.spec.build(), self._clock.mono()


class Components:
    """The parts that run now, each a task of one group. None runs before this is entered, or after it is
    left."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
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

    def failing(self) -> list[str]:
        """The parts that have failed and not yet proved that they work again."""
        return [name for name, running in self._running.items() if running.is_failing]

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
                running = self._running[name] = _RunningComponent(name, spec, self._clock)
                running.task = self._tasks.create_task(running.run(), name=name)


async def _stop(running: _RunningComponent) -> None:
    if running.spec.stop:
        await running.spec.stop(running.component, running.task)
        return
    running.task.cancel()
    await asyncio.wait({running.task})
