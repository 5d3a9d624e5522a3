"""Thousands of devices: the journal holds the event loop only briefly, and its rows stay small."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.journal import Journal, StorageLimits
from gateway.journal.pending import MAX_RECORDS_PER_ROW
from gateway.model import Lane, Sample
from tests.clock import FakeClock
from tests.turns import share_of_allowed, watched_turns

DEVICES = 8000


@asynccontextmanager
async def journal(folder: Path, **limits: int) -> AsyncIterator[tuple[Journal, FakeClock]]:
    clock = FakeClock()
    storage = StorageLimits(**limits)
    async with Journal.open(folder / "j.db", clock, 1.0, storage, runtime=folder / "run") as opened:
        yield opened, clock


async def measure(journal: Journal, clock: FakeClock, devices: int = DEVICES, size: int = 1) -> None:
    """Each device is polled once."""
    for number in range(devices):
        journal.append_sample(Sample(f"device-{number}", clock.now(), {"x": random.randbytes(size).hex()}))
        if number % 500 == 0:
            await asyncio.sleep(0)


async def close_window(journal: Journal, clock: FakeClock) -> None:
    committed = journal.commit_count
    await clock.advance(journal.card_wear.window_s)
    while journal.commit_count == committed or journal._window_due:
        await journal.commit()


async def longest_turn_s(work: Callable[[], Awaitable[object]]) -> float:
    with watched_turns() as turns:
        await work()
    assert turns.count > 3
    return turns.longest_s


async def test_a_window_of_all_devices_is_several_rows_and_committed_in_short_turns(tmp_path: Path) -> None:
    async with journal(tmp_path) as (j, clock):

        async def commit() -> float:
            await measure(j, clock)
            return await longest_turn_s(lambda: close_window(j, clock))

        assert await share_of_allowed(commit) < 1
        packs = await j.reader.read_after(Lane.TELEMETRY, 0, 100)
        sizes = [len(pack.records) for pack in packs]
        assert max(sizes) == MAX_RECORDS_PER_ROW
        assert sum(sizes) % DEVICES == 0
        window = j.window_after(0)
        assert window is not None, "the uplink finds a window of several rows in memory"
        assert window.first_pos == 1
        assert window.pos == -(-DEVICES // MAX_RECORDS_PER_ROW)
        assert j.committed_pos[Lane.TELEMETRY] == packs[-1].pos
        windows = sum(sizes) // DEVICES
        assert j.windows_behind(j.deliveries["uplink"]) == windows, "however many rows each has"
        j.deliveries["uplink"].acknowledge(Lane.TELEMETRY, window.pos)
        assert j.windows_behind(j.deliveries["uplink"]) == windows - 1
        j.deliveries["uplink"].acknowledge(Lane.TELEMETRY, packs[-1].pos)
        assert j.windows_behind(j.deliveries["uplink"]) == 0


async def test_what_the_platform_has_is_not_kept_in_memory(tmp_path: Path) -> None:
    async with journal(tmp_path) as (j, clock):
        for _ in range(3):
            j.append_sample(Sample("d", clock.now(), {"x": 1}))
            await close_window(j, clock)
        assert j.window_after(0) is not None
        assert j.windows_behind(j.deliveries["uplink"]) == 3
        j.deliveries["uplink"].acknowledge(Lane.TELEMETRY, 2)
        j.append_sample(Sample("d", clock.now(), {"x": 1}))
        await close_window(j, clock)
        assert j.window_after(1) is None
        following = j.window_after(2)
        assert following is not None
        assert following.pos == 3


async def test_after_a_start_the_windows_behind_are_the_rows(tmp_path: Path) -> None:
    async with journal(tmp_path) as (j, clock):
        for _ in range(3):
            j.append_sample(Sample("d", clock.now(), {"x": 1}))
            await close_window(j, clock)
        j.deliveries["uplink"].acknowledge(Lane.TELEMETRY, 1)
        await j.commit()
    async with journal(tmp_path) as (j, clock):
        assert j.windows_behind(j.deliveries["uplink"]) == 2
        j.append_sample(Sample("d", clock.now(), {"x": 1}))
        await close_window(j, clock)
        assert j.windows_behind(j.deliveries["uplink"]) == 3


async def test_the_ledger_is_made_in_short_turns(tmp_path: Path) -> None:
    async with journal(tmp_path) as (j, clock):
        await measure(j, clock)
        await close_window(j, clock)
        await measure(j, clock)
        await close_window(j, clock)
        rows = await j.reader.ledger()
        assert len([row for row in rows if row.lane is Lane.TELEMETRY]) == DEVICES
        assert {row.measured for row in rows if row.lane is Lane.TELEMETRY} == {2}
        assert await share_of_allowed(lambda: longest_turn_s(j.reader.ledger)) < 1


async def test_the_ledger_leaves_out_the_days_before(tmp_path: Path) -> None:
    async with journal(tmp_path) as (j, clock):
        for _ in range(3):
            j.append_sample(Sample("d", clock.now(), {"x": 1}))
            await close_window(j, clock)
            clock.wall += 86_400_000
        days = [row.day for row in await j.reader.ledger()]
        assert len(days) == 3
        assert [row.day for row in await j.reader.ledger(days[1])] == days[1:]


async def test_undelivered_rows_are_evicted_in_short_turns(tmp_path: Path) -> None:
    async with journal(tmp_path, cap_bytes=1) as (j, clock):

        async def evict() -> float:
            longest_s = 0.0
            dropped = j.dropped_count
            while j.dropped_count == dropped:
                await measure(j, clock, 2000, 60)
                longest_s = max(longest_s, await longest_turn_s(lambda: close_window(j, clock)))
            return longest_s

        assert await share_of_allowed(evict) < 1
        assert j.dropped_count > 10_000
