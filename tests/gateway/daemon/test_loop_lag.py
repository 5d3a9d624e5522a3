from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from gateway.daemon.loop_lag import HALF_WINDOW_S, LAG_BUCKETS_S, MAX_LAG_S, MEASURING_INTERVAL_S, LoopLag
from tests.clock import FakeClock


class BusyClock(FakeClock):
    """A clock on which something holds the loop after each wait for as long as `held_s`."""

    held_s = 0.0

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        self._time += self.held_s


@contextlib.asynccontextmanager
async def measured() -> AsyncIterator[tuple[BusyClock, LoopLag]]:
    clock = BusyClock()
    lag = LoopLag(clock)
    running = asyncio.create_task(lag.run())
    yield clock, lag
    running.cancel()
    await asyncio.wait([running])


async def test_a_loop_that_is_free_has_no_lag(caplog: pytest.LogCaptureFixture) -> None:
    async with measured() as (clock, lag):
        await clock.advance(60)
    assert lag.counts[0] >= 590
    assert (sum(lag.counts[1:]), lag.is_bad, caplog.messages) == (0, False, [])
    assert lag.worst_s < LAG_BUCKETS_S[0]


@pytest.mark.parametrize(("held_s", "bucket"), [(0.006, 0.01), (0.04, 0.05), (0.3, 0.5), (7.0, None)])
async def test_each_lag_is_counted_by_its_length(held_s: float, bucket: float | None) -> None:
    async with measured() as (clock, lag):
        clock.held_s = held_s
        await clock.advance(MEASURING_INTERVAL_S * 1.5)
    assert lag.counts[LAG_BUCKETS_S.index(bucket) if bucket else -1] == 1
    assert lag.worst_s == pytest.approx(held_s)
    assert lag.sum_s == pytest.approx(held_s)


async def test_one_long_lag_is_told_once_and_forgotten_some_minutes_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    async with measured() as (clock, lag):
        clock.held_s = 2.0
        await clock.advance(0.15)
        clock.held_s = 0.0
        await clock.advance(60)
        assert lag.is_bad
        assert lag.facts() == {"ms": 2000, "allowed": 50}
        assert len(caplog.records) == 1
        await clock.advance(2 * HALF_WINDOW_S)
        assert not lag.is_bad
    assert len(caplog.records) == 2


async def test_many_short_lags_are_bad_too_and_a_few_are_not() -> None:
    async with measured() as (clock, lag):
        clock.held_s = 0.06
        await clock.advance(1)
        clock.held_s = 0.0
        await clock.advance(59)
        assert not lag.is_bad
        clock.held_s = 0.06
        await clock.advance(60)
        assert lag.is_bad


async def test_lags_within_the_maximum_are_no_fault_however_many(caplog: pytest.LogCaptureFixture) -> None:
    async with measured() as (clock, lag):
        clock.held_s = MAX_LAG_S * 0.9
        await clock.advance(HALF_WINDOW_S)
        assert lag.sum_s > 0.1 * HALF_WINDOW_S
        assert not lag.is_bad
    assert caplog.messages == []
