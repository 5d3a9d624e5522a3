"""Tasks that end when they are told to, whatever befalls them at that moment."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from gateway.base.tasks import run_all, run_in_own_task
from gateway.model import LinkDown


async def fail() -> None:
    await asyncio.sleep(0)
    raise LinkDown("line-down", reason="")


async def linger() -> None:
    """Somebody whom it takes a while to leave."""
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def again_and_again() -> None:
    while True:
        with suppress(LinkDown):
            await run_in_own_task(run_all(fails=fail(), lingers=linger()))
        await asyncio.sleep(60)


@pytest.mark.parametrize("turns", range(12))
async def test_what_fails_at_the_moment_it_is_cancelled_ends(turns: int) -> None:
    task = asyncio.create_task(again_and_again())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=1)
    assert task.cancelled()
