from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from gateway.daemon.garbage import SETTLING_S, leave_out_settled_objects
from tests.clock import FakeClock


class Part:
    """A part of a configuration."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()


async def test_what_a_revision_needs_is_searched_once() -> None:
    clock, revision = FakeClock(), 1
    running = asyncio.create_task(leave_out_settled_objects(clock, lambda: revision))
    await clock.advance(0)
    part = Part()
    await clock.advance(SETTLING_S)
    assert not any(each is part for each in gc.get_objects())
    count = gc.get_freeze_count()
    later = Part()
    await clock.advance(10 * SETTLING_S)
    assert any(each is later for each in gc.get_objects())
    assert gc.get_freeze_count() <= count
    running.cancel()


async def test_what_a_revision_has_replaced_is_collected() -> None:
    clock, revision = FakeClock(), 1
    running = asyncio.create_task(leave_out_settled_objects(clock, lambda: revision))
    await clock.advance(0)
    part = Part()
    await clock.advance(SETTLING_S)
    replaced = weakref.ref(part)
    del part
    gc.collect()
    assert replaced()
    revision = 2
    await clock.advance(SETTLING_S)
    assert replaced() is None
    running.cancel()
