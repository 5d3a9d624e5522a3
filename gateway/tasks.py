"""Named tasks that live and end together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn


async def together(**jobs: Coroutine[Any, Any, None]) -> NoReturn:
    """Run all until one fails; the rest are cancelled, and that first error is raised as it is."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for name, job in jobs.items():
                tasks.create_task(job, name=name)
    except BaseExceptionGroup as group:
        raise first_cause(group) from None
    raise AssertionError("these jobs never end by themselves")


def first_cause(error: BaseException) -> BaseException:
    """What ended a task group, however deep: whichever came first is what happened."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
