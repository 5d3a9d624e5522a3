"""The file is what the facts say, however they were read: in batches, again, after a kill, after damage."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.base.clock import SystemClock
from gateway.capabilities.visitors import statistics
from gateway.capabilities.visitors.services import facts
from gateway.capabilities.visitors.statistics import writer
from gateway.capabilities.visitors.statistics.aggregation import Aggregator, Bin, split_by_quarter_hour
from gateway.capabilities.visitors.statistics.database import connect
from gateway.journal import Journal, JournalReader
from gateway.model import Fact, Lane, Record, Sample
from gateway.services.timekeeping import Boot
from tests.clock import FakeClock
from tests.gateway.capabilities.visitors.statistics.book import (
    bins,
    contents,
    covered,
    crossing,
    quarter,
    stamp,
    unset,
    write,
)

WHERE = {"door": "south", "from": "outside", "to": "hall"}


def fold_in(path: Path, journal: Path) -> None:
    """What the daemon does each hour."""

    async def work() -> None:
        database = connect(path)
        try:
            async with JournalReader.open(journal) as reader:
                await writer.catch_up(database, reader)
        finally:
            database.close()

    asyncio.run(work())


def test_a_crossing_counts_for_its_door_its_room_and_the_centre(tmp_path: Path) -> None:
    inner = {"door": "inner", "from": "hall", "to": "library"}
    away = {"door": "back", "from": "library", "to": "outside"}
    write(tmp_path / "journal.db", [[
        crossing("2026-03-02T09:05", 3, 1, tours=2, where=WHERE),
        crossing("2026-03-02T09:14", 1, 0, "inner", where=inner),
        crossing("2026-03-02T09:15", 5, 2, "back", where=away),
        crossing("2026-03-02T09:15", 1, 0, "old"),
    ]])  # fmt: skip
    fold_in(tmp_path / "statistics.db", tmp_path / "journal.db")
    file, nine = tmp_path / "statistics.db", quarter("2026-03-02T09:00")
    assert bins(file) == {nine: (3, 1, 2), nine + 1: (3, 5, 0)}
    assert bins(file, "door.south") == {nine: (3, 1, 2)}
    assert bins(file, "door.back") == {nine + 1: (5, 2, 0)}
    assert bins(file, "door.old") == {nine + 1: (1, 0, 0)}
    assert bins(file, "room.hall") == {nine: (3, 2, 2)}
    assert bins(file, "room.library") == {nine: (1, 0, 0), nine + 1: (2, 5, 0)}


def test_a_late_period_counts_at_its_own_time(tmp_path: Path) -> None:
    since, until = stamp("2026-03-02T09:10").wall_ms, stamp("2026-03-02T09:40").wall_ms
    late = crossing("2026-03-05T12:00", 9, 3, span=(since, until), tours=3)
    marked = Fact(
        late.lane, "gateway", "tour-marked", late.at, {"count": 2, "since": since, "until": since + 1}
    )
    write(tmp_path / "journal.db", [[late, marked]])
    fold_in(tmp_path / "statistics.db", tmp_path / "journal.db")
    nine = quarter("2026-03-02T09:00")
    # 5, 15 and 10 minutes of 30.
    assert bins(tmp_path / "statistics.db") == {nine: (1, 0, 2), nine + 1: (5, 2, 2), nine + 2: (3, 1, 1)}


@given(
    st.integers(0, 500),
    st.integers(0, 500),
    st.integers(1, 10**8),
    st.integers(1, 7 * 86_400_000),
    st.data(),
)
def test_a_period_is_split_into_whole_people(
    came: int, went: int, since: int, length: int, data: st.DataObject
) -> None:
    whole = Bin(came, went, data.draw(st.integers(0, came)))
    parts = dict(split_by_quarter_hour(whole, since, since + length))
    assert [sum(column) for column in zip(Bin(), *parts.values(), strict=False)] == list(whole)
    assert all(0 <= part.tours <= part.came and part.went >= 0 for part in parts.values())
    assert all(since // 900_000 <= at <= (since + length) // 900_000 for at in parts)


LATE = stamp("2026-03-01T08:00").wall_ms, stamp("2026-03-01T10:10").wall_ms
MINUTES, PEOPLE, DOORS = st.integers(0, 4000), st.integers(0, 40), st.sampled_from("ab")


def passed(minute: int, came: int, left: int, door: str, late: bool) -> Fact:
    """A crossing so many minutes after the 2nd of March began."""
    day, minute = divmod(minute, 1440)
    text = f"2026-03-{2 + day:02}T{minute // 60:02}:{minute % 60:02}"
    return crossing(text, came, left, door, span=LATE if late else None)


def trusted(minute: int, door: str, why: str) -> Fact:
    return covered(f"2026-03-02T09:{minute:02}", door, why)


def in_the_dark(second: int) -> Fact:
    """By a clock that had not been set."""
    return unset(crossing("2026-03-02T09:00", 1, 0), second * 10**9)


FACTS = st.lists(
    st.one_of(
        st.builds(passed, MINUTES, PEOPLE, PEOPLE, DOORS, st.booleans()),
        st.builds(trusted, st.integers(0, 59), DOORS, st.sampled_from(["", "offline"])),
        st.builds(in_the_dark, st.integers(0, 9999)),
    ),
    max_size=30,
)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=30)
@given(FACTS, st.lists(st.integers(0, 30)), st.data())
def test_any_split_and_any_restart_gives_the_same_bins(
    facts: list[Fact], cuts: list[int], data: st.DataObject
) -> None:
    """Batches of any size, some of them cut off before they were written, against one pass."""
    boots = {"dark": Boot(stamp("2026-03-02T08:00").wall_ms, stamp("2026-03-02T08:00").clock, 1)}
    records = [Record(f.lane, f.device, n, f.kind, f.at, f.body) for n, f in enumerate(facts, 1)]

    def run(file: Path, edges: list[int], boots_known_from: int) -> None:
        database = connect(file)
        for first, last in pairwise(edges):
            known = boots if first >= boots_known_from else {}
            aggregator = Aggregator(
                "epoch", database.cursors(), lambda at, known=known: writer.correct_stamp(known, at)
            )
            for record in records[aggregator.cursor.position : last]:
                aggregator.add_row(record.seq, [record])
            dated = aggregator.add_undated(database.undated())
            if data.draw(st.booleans()) or last == len(records):
                database.apply(aggregator.batch, dated)
        last_look = Aggregator("epoch", database.cursors(), lambda at: writer.correct_stamp(boots, at))
        database.apply(last_look.batch, last_look.add_undated(database.undated()))
        database.close()

    with tempfile.TemporaryDirectory() as folder:
        edges = sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})
        run(Path(folder) / "whole.db", [0, len(records)], 0)
        run(Path(folder) / "parts.db", edges, len(records) // 2)
        assert contents(Path(folder) / "parts.db") == contents(Path(folder) / "whole.db")
        came = sum(row[2] for row in contents(Path(folder) / "whole.db")["bin"] if row[1] == "centre")
        assert came == sum(fact.body.get("in", 0) for fact in facts)


def test_what_the_journal_gave_up_before_it_was_read_is_a_hole(tmp_path: Path) -> None:
    journal, file = tmp_path / "journal.db", tmp_path / "statistics.db"
    write(journal, [[crossing(f"2026-03-02T{hour:02}:00", 1, 0)] for hour in range(8, 18)])
    with_rows(journal, "DELETE FROM event WHERE pos <= 2")
    fold_in(file, journal)
    ten = stamp("2026-03-02T10:00").wall_ms
    assert contents(file)["hole"] == [(0, ten, "", "before")]
    write(journal, [[crossing(f"2026-03-03T{hour:02}:00", 1, 0)] for hour in range(8, 18)])
    # Two are given up, and one is no longer what was written.
    with_rows(journal, "DELETE FROM event WHERE pos IN (11, 12)")
    with_rows(journal, "UPDATE event SET crc = crc + 1 WHERE pos = 15")
    fold_in(file, journal)
    assert contents(file)["hole"] == [
        (0, ten, "", "before"),
        (stamp("2026-03-02T17:00").wall_ms, stamp("2026-03-03T10:00").wall_ms, "", "lost"),
        (stamp("2026-03-03T11:00").wall_ms, stamp("2026-03-03T13:00").wall_ms, "", "lost"),
    ]
    assert sum(came for came, _, _ in bins(file).values()) == 8 + 7


def with_rows(journal: Path, sql: str) -> None:
    with closing(sqlite3.connect(journal)) as database, database:
        database.execute(sql)


def test_what_a_restart_and_damage_have_cost_is_a_hole(tmp_path: Path) -> None:
    journal, file = tmp_path / "journal.db", tmp_path / "statistics.db"
    at, nine = stamp("2026-03-02T11:00"), stamp("2026-03-02T09:00").wall_ms
    gap = {"lane": "event", "first": 7, "last": 9, "count": 3, "reason": "damaged"}
    write(journal, [
        [facts.counter_restarted("south", at, (5, 5), (1, 1), (nine, at.wall_ms - 1000))],
        [facts.counter_restarted("north", at, (5, 5), (1, 1), (None, None))],
        [facts.counter_missed("south", at, (nine // 1000 + 60, nine // 1000 + 120))],
        [facts.counter_implausible("north", at, {"since": nine, "until": nine + 900_000})],
        [facts.counter_implausible("north", at, {"before": [1, 1], "after": [70_000, 1]})],
        [Fact(Lane.EVENT, "south", "gap", stamp("2026-03-02T12:00"), gap)],
        # Of another lane, or delivered too late, nothing of ours is lost; and nobody's shape is trusted.
        [Fact(Lane.EVENT, "south", "gap", stamp("2026-03-02T13:00"), {**gap, "lane": "telemetry"})],
        [Fact(Lane.EVENT, "south", "crossing", stamp("2026-03-02T13:00"), {"in": None, "of": "old"})],
        [Fact(Lane.EVENT, "south", "coverage", stamp("2026-03-02T13:00"), {})],
    ])  # fmt: skip
    fold_in(file, journal)
    assert contents(file)["hole"] == [
        (nine, nine + 900_000, "north", "implausible"),
        (nine, at.wall_ms - 1000, "south", "restarted"),
        (nine + 60_000, nine + 120_000, "south", "missed"),
        (at.wall_ms, at.wall_ms + 3_600_000, "", "lost"),
    ]
    assert bins(file) == {}


def test_another_journal_is_counted_once(tmp_path: Path) -> None:
    journal, file = tmp_path / "journal.db", tmp_path / "statistics.db"
    write(journal, [[crossing("2026-03-02T09:00", 3, 0)], [crossing("2026-03-02T10:00", 4, 0)]])
    fold_in(file, journal)
    before = contents(file)
    # The same records under another identity: a salvaged journal that had lost its own.
    with_rows(journal, "UPDATE meta SET value = 'other' WHERE key = 'epoch'")
    fold_in(file, journal)
    assert contents(file) == before
    write(journal, [[crossing("2026-03-02T11:00", 5, 0)]])
    fold_in(file, journal)
    assert sum(came for came, _, _ in bins(file).values()) == 12
    # A new one, which begins after that.
    for part in tmp_path.glob("journal.db*"):
        part.unlink()
    write(journal, [[crossing("2026-03-03T09:00", 1, 0)]])
    fold_in(file, journal)
    fold_in(file, journal)
    assert sum(came for came, _, _ in bins(file).values()) == 13
    assert contents(file)["hole"] == []


def test_a_journal_put_back_from_a_copy_is_counted_once(tmp_path: Path) -> None:
    journal, file, copy = tmp_path / "journal.db", tmp_path / "statistics.db", tmp_path / "copy.db"
    write(journal, [[crossing("2026-03-02T09:00", 3, 0)]])
    shutil.copy(journal, copy)
    write(journal, [[crossing("2026-03-02T10:00", 4, 0)], [crossing("2026-03-02T11:00", 4, 0)]])
    fold_in(file, journal)
    shutil.copy(copy, journal)
    fold_in(file, journal)
    write(journal, [[crossing("2026-03-02T12:00", 5, 0)]])
    fold_in(file, journal)
    assert sum(came for came, _, _ in bins(file).values()) == 3 + 4 + 4 + 5


def test_what_was_counted_by_a_clock_that_was_not_set_waits_for_its_time(tmp_path: Path) -> None:
    journal, file = tmp_path / "journal.db", tmp_path / "statistics.db"
    write(journal, [[unset(crossing("2026-03-02T09:00", 2, 0), 3600 * 10**9)]])
    fold_in(file, journal)
    assert bins(file) == {}
    assert len(contents(file)["undated"]) == 1
    at = stamp("2026-03-02T09:00")
    write(journal, [[]], {"dark": Boot(at.wall_ms, at.clock, 1)})
    fold_in(file, journal)
    fold_in(file, journal)
    assert bins(file) == {quarter("2026-03-02T10:00"): (2, 0, 0)}
    assert contents(file)["undated"] == []


def test_who_looks_sees_this_moment_and_nothing_twice(tmp_path: Path) -> None:
    journal, file = tmp_path / "journal.db", tmp_path / "statistics.db"
    write(journal, [[crossing("2026-03-02T09:00", 3, 0), covered("2026-03-02T08:00")]])
    fold_in(file, journal)
    write(journal, [[crossing("2026-03-02T09:01", 4, 0), covered("2026-03-02T09:02", why="offline")]])
    nine = quarter("2026-03-02T09:00")
    figures = asyncio.run(statistics.open_figures(file, journal))
    # The daemon commits while somebody looks.
    fold_in(file, journal)
    write(journal, [[crossing("2026-03-02T09:02", 5, 0)]])
    fold_in(file, journal)
    assert figures.bins("centre", 0, nine + 1) == [(nine, Bin(7, 0, 0))]
    assert figures.totals(0, nine + 1)["door.south"] == Bin(7, 0, 0)
    eight = stamp("2026-03-02T08:00").wall_ms
    assert figures.coverage_changes() == {"south": [(eight, True), (eight + 62 * 60_000, False)]}
    figures.close()
    (tmp_path / "journal.db").unlink()
    figures = asyncio.run(statistics.open_figures(file, journal))
    assert figures.bins("centre", 0, nine + 1) == [(nine, Bin(12, 0, 0))]
    figures.close()


WORK = """
import asyncio, sys
from pathlib import Path
from gateway.journal import JournalReader
from gateway.capabilities.visitors.statistics import writer
from gateway.capabilities.visitors.statistics.database import connect

async def work():
    database = connect(Path(sys.argv[2]))
    async with JournalReader.open(Path(sys.argv[1])) as reader:
        await writer.catch_up(database, reader)
    database.close()

writer.ROWS_PER_TRANSACTION = writer.ROWS_PER_READ = 4
asyncio.run(work())
"""


@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_killed_at_the_worst_moment_nothing_is_lost_and_nothing_counted_twice(
    tmp_path: Path, moment: str
) -> None:
    journal = tmp_path / "journal.db"
    chance = random.Random(7)
    write(journal, [
        [crossing(f"2026-03-{day:02}T{chance.randrange(8, 20):02}:00", chance.randrange(9), 1)]
        for day in range(1, 29)
    ])  # fmt: skip
    fold_in(tmp_path / "whole.db", journal)
    killed, file = 0, tmp_path / "killed.db"
    command = [sys.executable, "-c", WORK, str(journal), str(file)]
    for turn in range(1, 5):
        environment = os.environ | {"LINLI_KILL_AT": f"statistics-{moment}:{turn}"}
        killed += subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert killed >= 2
    assert contents(file) != contents(tmp_path / "whole.db") or moment == "after"
    assert subprocess.run(command, check=True).returncode == 0
    assert contents(file) == contents(tmp_path / "whole.db")


class Slept(Exception):
    """There is nothing more to do for now."""


class Awake(SystemClock):
    async def sleep(self, seconds: float) -> None:
        raise Slept


class Counting(SystemClock):
    """Counts how often it was slept by."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeps = 0

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        await super().sleep(seconds)


async def kept(file: Path, journal: Path) -> None:
    """The daemon's task, until it waits for its next hour."""
    async with JournalReader.open(journal) as reader:
        with pytest.raises(Slept):
            await statistics.maintain_statistics(file, reader, Awake())


@pytest.mark.parametrize("harm", ["header", "middle", "cut"])
def test_a_damaged_file_is_put_aside_and_what_is_older_than_the_journal_taken_over(
    tmp_path: Path, harm: str
) -> None:
    journal, file = tmp_path / "journal.db", tmp_path / "statistics.db"
    write(journal, [[crossing(f"2026-{1 + day // 28:02}-{1 + day % 28:02}T{hour:02}:00", 2, 1)
                     for hour in range(8, 20)] for day in range(300)])  # fmt: skip
    fold_in(file, journal)
    before = bins(file)
    # The journal holds the last hundred days alone.
    with_rows(journal, "DELETE FROM event WHERE pos <= 200")
    data = bytearray(file.read_bytes())
    if harm == "header":
        data[:100] = bytes(100)
    elif harm == "middle":
        middle = len(data) // 2 // 4096 * 4096
        data[middle : middle + 4096] = b"\xff" * 4096
    else:
        del data[-3 * 4096 :]
    file.write_bytes(data)
    os.utime(file, (stamp("2026-12-01T09:00").wall_ms / 1000,) * 2)
    asyncio.run(kept(file, journal))
    assert (tmp_path / "statistics.db.damaged").exists()
    after = bins(file)
    young = stamp("2026-08-05T08:00").wall_ms // 900_000
    assert {at: n for at, n in after.items() if at >= young} == {
        at: n for at, n in before.items() if at >= young
    }
    holes = contents(file)["hole"]
    assert all(before[at] == counts for at, counts in after.items())
    missing = [at for at in before if at not in after]
    assert all(any(since <= at * 900_000 < until for since, until, *_ in holes) for at in missing)
    if harm == "header":
        assert holes == [(0, stamp("2026-08-05T08:00").wall_ms, "", "before")]
    else:
        assert len(missing) < len(before) / 3


def test_a_file_that_cannot_be_written_is_told_of_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "RETRY_DELAY_S", 0.01)
    caplog.set_level("INFO")
    write(tmp_path / "journal.db", [[crossing("2026-03-02T09:00", 3, 0)]])
    (tmp_path / "folder").touch()
    file = tmp_path / "folder" / "statistics.db"

    async def live() -> None:
        async with JournalReader.open(tmp_path / "journal.db") as reader:
            clock = Counting()
            task = asyncio.create_task(statistics.maintain_statistics(file, reader, clock))
            while clock.sleeps < 3:
                await asyncio.sleep(0.001)
            (tmp_path / "folder").unlink()
            while "statistics-well" not in caplog.text:
                await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(live())
    assert caplog.text.count("[statistics-failed ") == 1
    assert list(bins(file).values()) == [(3, 0, 0)]


async def told_at_start(path: Path, clock: FakeClock) -> Fact | None:
    async with Journal.open(path, clock, 0.1) as journal:
        return await statistics.detect_downtime(journal.reader, clock.now())


async def test_a_gateway_that_was_away_says_since_when(tmp_path: Path) -> None:
    path, clock = tmp_path / "journal.db", FakeClock()
    assert await told_at_start(path, clock) is None
    async with Journal.open(path, clock, 0.1) as journal:
        journal.append_sample(Sample("south", clock.now(), {"in": 1}))
        await journal.commit()
    last = clock.now().wall_ms
    await clock.advance(59)
    assert await told_at_start(path, clock) is None
    await clock.advance(3600)
    away = await told_at_start(path, clock)
    assert away is not None
    assert away.body == {"since": last}
    await asyncio.to_thread(write, path, [[away]])
    async with JournalReader.open(path) as reader:
        aggregator, _ = await writer.aggregate_next({}, reader, 10)
    assert aggregator.batch.gaps == {(last, last + 3_659_000, "", "away")}


def test_the_years_outlive_a_damaged_file_and_a_new_journal(tmp_path: Path) -> None:
    journal, file = tmp_path / "journal.db", tmp_path / "statistics.db"
    write(
        journal,
        [[crossing(f"2026-{1 + day // 28:02}-{1 + day % 28:02}T10:00", 2, 1)] for day in range(300)],
    )
    fold_in(file, journal)
    before = bins(file)
    for part in tmp_path.glob("journal.db*"):
        part.unlink()
    write(journal, [[]])
    data = bytearray(file.read_bytes())
    data[-4096:] = b"\xff" * 4096
    file.write_bytes(data)
    os.utime(file, (stamp("2026-12-01T09:00").wall_ms / 1000,) * 2)
    asyncio.run(kept(file, journal))
    kept_bins = bins(file)
    assert len(kept_bins) > 100
    assert all(before[at] == counts for at, counts in kept_bins.items())
    write(journal, [[crossing("2026-12-01T10:00", 5, 0)]])
    fold_in(file, journal)
    assert bins(file) == {**kept_bins, quarter("2026-12-01T10:00"): (5, 0, 0)}
    assert (0, stamp("2026-12-01T10:00").wall_ms, "", "before") not in contents(file)["hole"]
