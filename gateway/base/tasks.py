"""Tasks: how they live and end, and what wakes those who wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


async def run_all(**jobs: Coroutine[Any, Any, None]) -> NoReturn:
    """Run all until one fails; the rest are cancelled, and that first error is raised as it is."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for name, job in jobs.items():
                tasks.create_task(job, name=name)
    except BaseExceptionGroup as group:
        raise root_error(group) from None
    raise AssertionError("these jobs never end by themselves")


async def run_in_own_task(work: Coroutine[Any, Any, T]) -> T:
    """Do it in a task of its own: a task group that fails at the moment it is cancelled forgets the latter
    (Python before 3.13), and whoever tries again after failures would never end."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


async def exception_of(work: Awaitable[object]) -> Exception | None:
    """What went wrong with the work, if anything did.

    The one place that catches everything: a mistake of ours or of a library's, in one driver or channel,
    would else end the gateway, and its alarms, at every start.
    """
    try:
        await work
    except Exception as error:  # noqa: BLE001
        return error
    return None


def root_error(error: BaseException) -> BaseException:
    """What ended a task group, however deep: whichever came first is what happened."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def run_to_end(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end however often cancelled: half a transaction helps nobody."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError


class Signal:
    """Wakes everybody who waits, now; who comes later waits for the next."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def send(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self) -> None:
        await self._event.wait()
