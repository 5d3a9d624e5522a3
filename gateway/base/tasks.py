"""Running, cancelling and waking tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


async def run_all(**jobs: Coroutine[Any, Any, None]) -> NoReturn:
    """Run all until one fails; then cancel the others and raise the first error without a group."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for name, job in jobs.items():
                tasks.create_task(job, name=name)
    except BaseExceptionGroup as group:
        raise root_error(group) from None
    raise AssertionError("these jobs must not return")


async def run_in_own_task(work: Coroutine[Any, Any, T]) -> T:
    """Run it in a separate task. A task group that fails at the moment it is cancelled loses the
    cancellation (Python before 3.13), and a caller that retries after failures would never end."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


async def with_pauses(items: Iterable[T], between: int = 500) -> AsyncIterator[T]:
    """The items, however many: other tasks run after each `between` of them."""
    for count, item in enumerate(items, 1):
        yield item
        if count % between == 0:
            await asyncio.sleep(0)


async def exception_of(work: Awaitable[object]) -> Exception | None:
    """The exception that the work raised, or None.

    The only place that catches every exception: otherwise a bug in one driver, channel or library would end
    the gateway, and its alarms, at every start.
    """
    try:
        await work
    except Exception as error:  # noqa: BLE001
        return error
    return None


def root_error(error: BaseException) -> BaseException:
    """The first error of a task group, through any number of nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def run_to_end(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end even if cancelled, for a transaction that must not be cut short; then raise the
    cancellation."""
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
    """Wakes all tasks that are waiting now; a later one waits for the next `send`."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def send(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self) -> None:
        await self._event.wait()
