"""A journal in memory, used while the disk could not be, becomes part of the journal on the disk."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.journal import Journal, StorageLimits
from gateway.model import Lane, Sample
from tests.clock import FakeClock
from tests.gateway.journal.test_journal import Row, fact, sample, window
from tests.gateway.journal.test_readers import EVERYTHING, sums

ALARM, EVENT, TELEMETRY = Lane


class Paths:
    """A journal on the disk, and the one in memory."""

    def __init__(self, folder: Path) -> None:
        self.disk = folder / "state" / "j.db"
        self.memory = folder / "run" / "memory" / "j.db"

    @asynccontextmanager
    async def on_disk(self, clock: FakeClock, **limits: int) -> AsyncIterator[Journal]:
        opening = Journal.open(
            self.disk, clock, 1.0, StorageLimits(**limits),
            runtime=self.memory.parent.parent, memory=self.memory,
        )  # fmt: skip
        async with opening as journal:
            yield journal

    @asynccontextmanager
    async def in_memory(self, clock: FakeClock) -> AsyncIterator[Journal]:
        async with Journal.open(self.memory, clock, 1.0, runtime=self.memory.parent) as journal:
            yield journal


async def fill(journal: Journal, clock: FakeClock, *values: int, device: str = "d") -> None:
    """A record of each lane for each value."""
    for value in values:
        journal.append_sample(sample(clock, device, value))
        journal.append("s", [fact(clock, ALARM, device, n=value), fact(clock, EVENT, device, n=value)], {})
        await window(journal, clock)


async def told(journal: Journal, lane: Lane) -> list[tuple[str, int]]:
    """Epoch and number of each record, gap records left out."""
    return [(r.epoch, r.seq) async for r in journal.reader.records(lane, 0) if r.kind != "gap"]


def received(journal: Journal, reader: str = "uplink") -> None:
    """All that is stored has arrived."""
    for lane in Lane:
        journal.deliveries[reader].acknowledge(lane, journal.committed_pos[lane])


async def pending(journal: Journal, reader: str = "uplink") -> Counter[tuple[Lane, str]]:
    positions = journal.deliveries[reader].positions
    return Counter(
        [(lane, r.epoch) for lane in Lane async for r in journal.reader.records(lane, positions[lane])]
    )


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


async def test_what_memory_held_is_stored_with_its_numbers_and_epoch(paths: Paths) -> None:
    clock = FakeClock()
    async with paths.on_disk(clock) as j:
        await fill(j, clock, 1, 2)
        received(j)
        own = j.epoch
    async with paths.in_memory(clock) as j:
        await fill(j, clock, 3, 4, 5)
        memory = j.epoch
    async with paths.on_disk(clock) as j:
        assert j.epoch == own
        await fill(j, clock, 6)
        for lane in Lane:
            assert await told(j, lane) == [
                *(("", seq) for seq in (1, 2)),
                *((memory, seq) for seq in (1, 2, 3)),
                ("", 3),
            ], "no number is used twice, and none is missing"
    assert not list(paths.memory.parent.glob("j.db*"))


async def test_each_reader_goes_on_where_it_was_in_memory(paths: Paths) -> None:
    clock = FakeClock()
    async with paths.on_disk(clock) as j:
        await j.configure_readers({"a": EVERYTHING, "b": EVERYTHING})
        await fill(j, clock, 1, 2)
        received(j, "a")
    async with paths.in_memory(clock) as j:
        await j.configure_readers({"a": EVERYTHING, "b": EVERYTHING, "new": EVERYTHING})
        memory = j.epoch
        await fill(j, clock, 3, 4)
        for name in ("a", "b", "new"):
            received(j, name)
        await fill(j, clock, 5)
    async with paths.on_disk(clock) as j:
        assert await pending(j, "a") == dict.fromkeys([(lane, memory) for lane in Lane], 1)
        assert await pending(j, "new") == dict.fromkeys([(lane, memory) for lane in Lane], 1)
        behind = await pending(j, "b")
        expected = {(lane, epoch): count for lane in Lane for epoch, count in (("", 2), (memory, 3))}
        assert behind == expected, "a repetition has the number that it had"
        for name in ("a", "b", "new"):
            rows = await j.reader.ledger(reader=name)
            assert sums(rows)
            assert sum(row.measured for row in rows if row.epoch == memory) == 9
            assert sum(row.pending for row in rows) == sum((await pending(j, name)).values())


async def test_a_new_disk_takes_over_the_reader_as_well(paths: Paths) -> None:
    clock = FakeClock()
    async with paths.in_memory(clock) as j:
        await j.configure_readers({"community": EVERYTHING})
        await fill(j, clock, 1, 2)
        received(j, "community")
        await fill(j, clock, 3)
    async with paths.on_disk(clock) as j:
        assert [*j.deliveries] == ["community"]
        assert sum((await pending(j, "community")).values()) == 3
        rows = await j.reader.ledger(reader="community")
        assert sum(row.measured for row in rows) == 9
        assert sum(row.delivered for row in rows) == 6


async def test_gaps_dead_letters_and_rows_come_along(paths: Paths) -> None:
    clock = FakeClock()
    async with paths.on_disk(clock) as j:
        j.append("s", [fact(clock, n=1)], {"old": Row(1)})
        await window(j, clock)
        (first,) = [r async for r in j.reader.records(ALARM, 0)]
        j.deliveries["uplink"].dead_letter(first, "denied")
        await window(j, clock)
    async with paths.in_memory(clock) as j:
        memory = j.epoch
        j.append("s", [fact(clock, n=2)], {"old": Row(2), "new": Row(2)})
        await window(j, clock)
        (first,) = [r async for r in j.reader.records(ALARM, 0)]
        j.deliveries["uplink"].dead_letter(first, "poison")
        await fill(j, clock, 3, device="e")
        assert await j._evict(TELEMETRY)
        gaps = [gap for _, gap in await j.reader.gaps()]
        assert {gap.reason for gap in gaps} == {"dead", "space"}
    async with paths.on_disk(clock) as j:
        assert sorted(letter.reason for letter in await j.reader.dead_letters()) == ["denied", "poison"]
        assert j.dead_letter_count == 2
        found = [gap for _, gap in await j.reader.gaps() if gap.epoch == memory]
        assert [(g.lane, g.device, g.first, g.last, g.reason) for g in found] == [
            (g.lane, g.device, g.first, g.last, g.reason) for g in gaps
        ]
        rows = await j.reader.ledger()
        assert sums(rows)
        assert [row.dropped for row in rows if (row.device, row.lane) == ("e", TELEMETRY)] == [{"space": 1}]
        assert set(await j.reader.service_rows("s")) == {"old", "new"}
        kinds = Counter([(r.epoch, r.kind) async for r in j.reader.records(EVENT, 0)])
        assert kinds[memory, "gap"] == 2


async def test_evicted_records_of_memory_are_gaps_of_their_epoch(paths: Paths) -> None:
    clock = FakeClock()
    async with paths.in_memory(clock) as j:
        memory = j.epoch
        await fill(j, clock, 1, 2)
    async with paths.on_disk(clock) as j:
        await fill(j, clock, 3)
        assert await j._evict(TELEMETRY)
        gaps = [r.body async for r in j.reader.records(EVENT, 0) if r.kind == "gap"]
        assert [(g.get("epoch"), g["first"], g["last"], g["count"]) for g in gaps] == [
            (memory, 1, 2, 2),
            (None, 1, 1, 1),
        ]
        assert sums(await j.reader.ledger())


MANY = 20


async def add_much(journal: Journal, clock: FakeClock) -> None:
    """A window of 80 kB."""
    for _ in range(MANY):
        journal.append_sample(Sample("d", clock.now(), {"noise": os.urandom(4000).hex()}))
    await window(journal, clock)


async def test_a_full_journal_makes_room_for_what_memory_held(paths: Paths) -> None:
    clock = FakeClock()
    cap = 13_000_000
    async with paths.on_disk(clock, cap_bytes=cap) as j:
        for _ in range(18):
            await add_much(j, clock)
        own = len(await told(j, TELEMETRY))
        assert own == 18 * MANY
    async with paths.in_memory(clock) as j:
        for _ in range(20):
            await add_much(j, clock)
    async with paths.on_disk(clock, cap_bytes=cap) as j:
        kept = await told(j, TELEMETRY)
        assert sum(1 for epoch, _ in kept if epoch) == 20 * MANY
        rows = await j.reader.ledger()
        assert sums(rows)
        assert sum(row.dropped.get("space", 0) for row in rows) == own + 20 * MANY - len(kept) > 0


async def test_damage_after_a_merge_reuses_no_number(paths: Paths) -> None:
    clock = FakeClock()
    async with paths.on_disk(clock) as j:
        await fill(j, clock, 1, 2, 3)
    async with paths.in_memory(clock) as j:
        memory = j.epoch
        await fill(j, clock, 4, 5)
    async with paths.on_disk(clock) as j:
        await j._writer.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    paths.disk.with_name("j.db-damaged").touch()
    async with paths.on_disk(clock) as j:
        assert j.damaged_copy
        await fill(j, clock, 6)
        for lane in Lane:
            numbers = await told(j, lane)
            assert len(set(numbers)) == len(numbers)
            assert [seq for epoch, seq in numbers if epoch == memory] == [1, 2]
            assert numbers[-1][1] > 1000
        gaps = [(g["lane"], g.get("epoch", "")) async for g in _gap_bodies(j)]
        assert not [gap for gap in gaps if gap[1]], "none of them is missing"


async def _gap_bodies(journal: Journal) -> AsyncIterator[dict[str, object]]:
    async for record in journal.reader.records(EVENT, 0):
        if record.kind == "gap":
            yield record.body


async def test_an_unreadable_journal_in_memory_does_not_keep_the_disk_from_serving(
    paths: Paths, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    ended = paths.memory.with_name("j.db-ended")
    ended.parent.mkdir(parents=True)
    ended.write_bytes(b"not a database, but quite long enough to be looked at" * 100)
    async with paths.on_disk(clock) as j:
        await fill(j, clock, 1)
    assert "journal-unmerged" in caplog.text
    assert ended.exists(), "somebody may still find something in it"


KILLED = """
import asyncio, sys
from pathlib import Path
from gateway.base.clock import SystemClock
from gateway.journal import Journal

async def main():
    disk, memory = map(Path, sys.argv[1:])
    runtime = memory.parent.parent
    async with Journal.open(disk, SystemClock(), 1.0, runtime=runtime, memory=memory):
        pass

asyncio.run(main())
"""


@pytest.mark.parametrize(
    "stage", ["merge", "before-other-commit", "after-other-commit", "before-alarm-commit", "evict"]
)
async def test_a_kill_at_any_moment_of_the_merge_costs_and_repeats_nothing(
    paths: Paths, stage: str
) -> None:
    clock = FakeClock()
    async with paths.on_disk(clock) as j:
        await fill(j, clock, *range(3))
        received(j)
    async with paths.in_memory(clock) as j:
        memory = j.epoch
        await fill(j, clock, *range(100), device="e")
        received(j)
        await fill(j, clock, *range(70), device="f")
    kills = 0
    for turn in range(1, 30):
        code = subprocess.run(
            [sys.executable, "-c", KILLED, str(paths.disk), str(paths.memory)],
            env={**os.environ, "LINLI_KILL_AT": f"{stage}:{turn}"},
            check=False,
        ).returncode
        kills += code == -9
        if code == 0:
            break
    else:
        pytest.fail("it is killed for ever")
    async with paths.on_disk(clock) as j:
        measured: Counter[tuple[Lane, str]] = Counter()
        for lane in Lane:
            merged = [r async for r in j.reader.records(lane, 0) if r.epoch == memory]
            measured.update((lane, r.device) for r in merged)
            # Killed while it was opened, the journal in memory does not know whether its tail was complete.
            genuine = Counter([(r.device, r.seq) for r in merged if r.kind != "gap"])
            assert genuine == Counter(
                {(device, n): 1 for device, count in (("e", 100), ("f", 70)) for n in range(1, count + 1)}
            )
        assert (await pending(j))[ALARM, memory] == (await pending(j))[TELEMETRY, memory] == 70
        rows = [row for row in await j.reader.ledger() if row.epoch == memory]
        in_ledger: Counter[tuple[Lane, str]] = Counter()
        for row in rows:
            in_ledger[row.lane, row.device] += row.measured
        assert in_ledger == measured
        assert sums(rows)
        alarms = {row.device: row.pending for row in rows if row.lane is ALARM}
        assert alarms == {"e": 0, "f": 70}
