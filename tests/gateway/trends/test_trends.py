"""Trends are what the samples say, however they were read: in parts, again, after a kill, after damage."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.base.clock import SystemClock
from gateway.journal import Journal, JournalReader
from gateway.model import Arrival, ClockQuality, Lane, Record, Sample, Stamp, Value
from gateway.services.timekeeping import Boot
from gateway.trends import QUARTER_MS, Calendar, Trend, TrendBin, TrendWriter, read_trend
from gateway.trends.database import PAGE_BYTES, QUARTERS_KEPT_DAYS, connect
from gateway.trends.packing import pack_quarters, unpack_quarters, unpack_spans
from gateway.trends.statistics import Bins, TrendCollector, TrendCursor
from gateway.trends.writer import PAUSE_PER_WORK
from tests.clock import START, FakeClock
from tests.turns import share_of_allowed, watched_turns

NOON = START // QUARTER_MS * QUARTER_MS
"""A quarter of an hour begins."""
SHANGHAI = Calendar("Asia/Shanghai")
HOLD = {"fridge": 65_000.0, "meter": 3 * 86_400_000.0}


def stamp(second: float, boot: str = "test", clock: ClockQuality = ClockQuality.SET) -> Stamp:
    return Stamp(NOON + round(second * 1000), round(second * 1e9), boot, clock)


def sample(second: float, device: str = "fridge", error: str = "", **values: Value) -> Sample:
    return Sample(device, stamp(second), values, error=error)


def write(path: Path, packs: Iterable[Iterable[Sample]], **boots: Boot) -> None:
    """Each pack in one transaction of the journal."""

    async def append() -> None:
        # With this clock, no window ends by itself.
        async with Journal.open(path, FakeClock()) as journal:
            journal.append("timekeeping", [], dict(boots))
            await journal.commit()
            for pack in packs:
                for each in pack:
                    journal.append_sample(each)
                await journal._flush(telemetry=True)

    asyncio.run(append())


def catch_up(file: Path, journal: Path) -> None:
    """What the daemon does, from its start to its end."""

    async def work() -> None:
        async with JournalReader.open(journal) as reader:
            clock = FakeClock()
            clock.wall += 3_600_000
            await TrendWriter(file, reader, clock, "Asia/Shanghai", HOLD).catch_up()

    asyncio.run(work())


def read(
    file: Path, journal: Path, point: str, device: str = "fridge", days: int = 2
) -> dict[int, TrendBin]:
    """What a file holds, by quarter after `NOON`."""

    async def work() -> Trend:
        async with JournalReader.open(journal) as reader:
            epoch = await reader.read_meta("epoch")
        since, until = NOON - 172_800_000, NOON + 172_800_000
        return await read_trend(file, epoch, device, [point], since, until, SHANGHAI)

    found = asyncio.run(work()).points
    return {(since - NOON) // QUARTER_MS: each for since, _, each in found.get(point, ())}


def test_a_value_holds_until_the_next_and_means_are_weighted_by_time(tmp_path: Path) -> None:
    write(tmp_path / "journal.db", [[sample(0, temperature=4.0)], [sample(60, temperature=8.0, door=True)],
                                    [sample(90, temperature=6.0)]])  # fmt: skip
    catch_up(tmp_path / "trends.db", tmp_path / "journal.db")
    ((quarter, found),) = read(tmp_path / "trends.db", tmp_path / "journal.db", "temperature").items()
    assert (quarter, found.low, found.high, found.readings, found.known_ms) == (0, 4.0, 8.0, 3, 90_000)
    assert found.mean == pytest.approx((4.0 * 60 + 8.0 * 30) / 90)
    assert read(tmp_path / "trends.db", tmp_path / "journal.db", "door")[0] == TrendBin(1, 1, 1, 1, 30_000)


def test_what_was_not_heard_is_not_known(tmp_path: Path) -> None:
    write(tmp_path / "journal.db", [
        [sample(0, temperature=4.0, humidity=50.0)],
        [sample(30, error="timeout")],  # Ends at once.
        [sample(60, temperature=5.0), Sample("fridge", stamp(90), {}, bad={"temperature": "range"})],
        [sample(200, "other", x=1)],  # 65 s after the last reading nothing is known.
        [sample(899, temperature=1e400), sample(899.5, temperature=float("nan"))],
        [Sample("fridge", stamp(901), {"temperature": -40.0}, arrival=Arrival.RETAINED)],
        [sample(902, text="open")],
    ])  # fmt: skip
    catch_up(tmp_path / "trends.db", tmp_path / "journal.db")
    found = read(tmp_path / "trends.db", tmp_path / "journal.db", "temperature")
    assert found == {0: TrendBin(4.0, 5.0, 4.5, 2, 60_000)}
    assert read(tmp_path / "trends.db", tmp_path / "journal.db", "humidity")[0].known_ms == 30_000
    assert read(tmp_path / "trends.db", tmp_path / "journal.db", "text") == {}


def test_a_device_that_reports_seldom_is_known_in_between_but_not_while_the_gateway_was_away(
    tmp_path: Path,
) -> None:
    beats = [[sample(minute * 60, "gateway", ok=True)] for minute in (*range(1, 40), *range(2000, 2010))]
    write(tmp_path / "journal.db", [[sample(0, "meter", energy=7.5)], *beats])
    catch_up(tmp_path / "trends.db", tmp_path / "journal.db")
    known = read(tmp_path / "trends.db", tmp_path / "journal.db", "energy", "meter")
    assert known == {0: TrendBin(7.5, 7.5, 7.5, 1, 900_000), 1: TrendBin(7.5, 7.5, 7.5, 0, 900_000),
                     2: TrendBin(7.5, 7.5, 7.5, 0, 540_000)}  # fmt: skip


def test_a_clock_that_was_not_set_is_corrected_and_what_never_can_be_is_left_out(tmp_path: Path) -> None:
    unset = ClockQuality.UNSET
    early = Sample("fridge", Stamp(5, 10_000_000_000, "later", unset), {"temperature": 3.0})
    never = Sample("fridge", Stamp(5, 10_000_000_000, "never", unset), {"temperature": 99.0})
    waiting = Sample("fridge", Stamp(5, 10_000_000_000, "test", unset), {"temperature": 88.0})
    journal, file = tmp_path / "journal.db", tmp_path / "trends.db"
    write(journal, [[never], [early], [waiting]], later=Boot(NOON, ClockQuality.SYNCED, 1))
    catch_up(file, journal)
    assert {key: each.high for key, each in read(file, journal, "temperature").items()} == {0: 3.0}
    write(journal, [], test=Boot(NOON + QUARTER_MS, ClockQuality.SYNCED, 2))
    catch_up(file, journal)
    assert {key: each.high for key, each in read(file, journal, "temperature").items()} == {0: 3.0, 1: 88.0}


def test_clocks_that_are_set_back_count_no_time_twice(tmp_path: Path) -> None:
    ahead = [[sample(second, temperature=1.0)] for second in range(0, 880, 60)]
    again = [[sample(second, temperature=3.0)] for second in range(0, 900, 60)]
    far = [[sample(400 * 86_400, temperature=50.0)], [sample(901, temperature=2.0)]]
    write(tmp_path / "journal.db", [*ahead, *again, *far])
    catch_up(tmp_path / "trends.db", tmp_path / "journal.db")
    found = read(tmp_path / "trends.db", tmp_path / "journal.db", "temperature")
    assert found[0].known_ms == 900_000
    assert 1.0 <= found[0].mean <= 3.0
    assert found[1].high == 2.0
    with sqlite3.connect(tmp_path / "trends.db") as file:
        # What comes after tomorrow was said by a wrong clock.
        assert file.execute("SELECT max(day) - min(day) FROM day").fetchone()[0] <= 1


LINES = st.lists(
    st.tuples(st.integers(0, 4000), st.sampled_from(sorted(HOLD)), st.integers(-3, 3), st.booleans()),
    min_size=1,
    max_size=40,
)


@given(LINES, st.lists(st.integers(0, 40), max_size=4))
def test_any_split_and_any_restart_gives_the_same_statistics(
    lines: list[tuple[int, str, int, bool]], cuts: list[int]
) -> None:
    lines = sorted(lines)

    def run(restarts: set[int]) -> Bins:
        collector, found = (
            TrendCollector(TrendCursor(), {}, lambda name: HOLD[name]),
            dict[tuple[str, str, int], TrendBin](),
        )

        def take() -> None:
            for key, added in collector.take_bins().items():
                found[key] = found[key].plus(added) if key in found else added

        for number, (second, device, value, fails) in enumerate(lines, 1):
            body = {"error": "timeout"} if fails else {"values": {"x": value}}
            collector.add_row(number, [(_record(device, body), NOON + second * 1000)])
            if number in restarts:
                collector.count_until(collector.cursor.newest_ms)
                take()
                collector = TrendCollector(collector.cursor, collector.held, lambda name: HOLD[name])
        collector.count_until(collector.cursor.newest_ms)
        take()
        return found

    whole, parts = run(set()), run(set(cuts))
    assert whole.keys() == parts.keys()
    for key, one in whole.items():
        two = parts[key]
        assert (one.low, one.high, one.readings, one.known_ms) == (
            two.low,
            two.high,
            two.readings,
            two.known_ms,
        )
        assert one.mean == pytest.approx(two.mean)
        assert one.low <= one.mean <= one.high or one.mean == pytest.approx(one.low)


def _record(device: str, body: dict[str, Any]) -> Record:
    return Record(Lane.TELEMETRY, device, 1, "sample", stamp(0), body)


@given(
    st.dictionaries(
        st.integers(0, 100),
        st.builds(
            TrendBin, *(3 * [st.floats(-1e100, 1e100)]),
            st.integers(0, 2**32 - 1), st.integers(0, 900_000),
        ),
        min_size=1,
    ),
    st.binary(max_size=40),
)  # fmt: skip
def test_packing_loses_nothing_and_rubbish_is_refused(bins: dict[int, TrendBin], rubbish: bytes) -> None:
    packed = pack_quarters({2_000_000 + offset: each for offset, each in bins.items()})
    spans = list(unpack_spans(packed))
    assert [(since // QUARTER_MS, each) for since, _, each in spans] == [
        (2_000_000 + offset, TrendBin(each.low, each.high, pytest.approx(each.mean), *each[3:]))
        for offset, each in sorted(bins.items())
    ]
    grouped = list(unpack_spans(packed, 8))
    assert len(grouped) == len({(offset - min(bins)) // 8 for offset in bins})
    assert grouped[0][0] == spans[0][0]
    assert grouped[-1][1] == spans[-1][1]
    assert min(each.low for _, _, each in grouped) == min(each.low for each in bins.values())
    assert sum(each.known_ms for _, _, each in grouped) == sum(each.known_ms for each in bins.values())
    assert unpack_quarters(packed) == {2_000_000 + offset: each for offset, each in bins.items()}
    for broken in (rubbish, packed[:-5] + rubbish[:5], packed[:7]):
        try:
            found = list(unpack_spans(broken))
        except ValueError:
            continue
        assert len(found) <= 128


COMMAND = """
import asyncio, sys
from pathlib import Path
from gateway.journal import JournalReader
from gateway.trends import TrendWriter, writer
from tests.clock import FakeClock

async def work():
    async with JournalReader.open(Path(sys.argv[1])) as reader:
        own = TrendWriter(Path(sys.argv[2]), reader, FakeClock(), "Asia/Shanghai", {"fridge": 65_000})
        await own.catch_up()

writer.ROWS_PER_TRANSACTION = writer.PACKS_PER_READ = 4
asyncio.run(work())
"""


def test_killed_in_the_middle_nothing_is_lost_and_nothing_counted_twice(tmp_path: Path) -> None:
    journal, chance = tmp_path / "journal.db", random.Random(7)
    write(journal, [[sample(40 * n, temperature=chance.randrange(9))] for n in range(40)])
    catch_up(tmp_path / "whole.db", journal)
    killed, file = 0, tmp_path / "killed.db"
    command = [sys.executable, "-c", COMMAND, str(journal), str(file)]
    for turn in range(1, 4):
        environment = os.environ | {"LINLI_KILL_AT": f"trends-within:{turn}"}
        killed += subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert killed == 3
    assert subprocess.run(command, check=True).returncode == 0
    one, two = (read(each, journal, "temperature") for each in (file, tmp_path / "whole.db"))
    assert len(two) == 2
    assert one.keys() == two.keys()
    assert all(one[key][3:] == two[key][3:] for key in two)


def test_another_journal_and_an_old_copy_of_it_are_counted_once(tmp_path: Path) -> None:
    journal, file = tmp_path / "journal.db", tmp_path / "trends.db"
    write(journal, [[sample(second, temperature=1.0)] for second in range(0, 300, 30)])
    shutil.copy(journal, tmp_path / "copy.db")
    write(journal, [[sample(second, temperature=1.0)] for second in range(300, 600, 30)])
    catch_up(file, journal)
    assert read(file, journal, "temperature")[0].readings == 20
    catch_up(file, journal)
    shutil.copy(tmp_path / "copy.db", journal)
    write(journal, [[sample(600, temperature=1.0)]])
    catch_up(file, journal)
    assert read(file, journal, "temperature")[0].readings == 21
    journal.unlink()
    write(journal, [[sample(second, temperature=1.0)] for second in range(480, 721, 30)])
    catch_up(file, journal)
    assert read(file, journal, "temperature")[0].readings == 25


def test_a_damaged_file_is_put_aside_and_begun_again(tmp_path: Path) -> None:
    journal, file = tmp_path / "journal.db", tmp_path / "trends.db"
    write(journal, [[sample(0, temperature=1.0)], [sample(30, temperature=1.0)]])
    file.write_bytes(b"rubbish" * 1000)
    assert read(file, journal, "temperature") == {}
    catch_up(file, journal)
    assert read(file, journal, "temperature")[0].readings == 2
    assert (tmp_path / "trends.db.damaged").exists()
    assert read(tmp_path / "none.db", journal, "temperature") == {}


def test_old_days_are_left_with_one_value_and_the_file_stays_small(tmp_path: Path) -> None:
    today = SHANGHAI.day_of(NOON // QUARTER_MS)
    database = connect(tmp_path / "trends.db", max_bytes=40 * PAGE_BYTES)
    chance = random.Random(3)

    def fill(days: Iterable[int], device: str = "fridge") -> None:
        for day in days:
            quarters = SHANGHAI.quarters_of(day)
            bins = {
                (device, "x", each): TrendBin(0, each % 96, chance.random(), 1, 900_000)
                for each in quarters
            }
            database.apply(bins, {}, "epoch", TrendCursor(1, NOON, 0), SHANGHAI)
            database.make_room(today, SHANGHAI)

    def spans(device: str = "fridge") -> list[tuple[int, int, TrendBin]]:
        return list(database.bins(device, "x", range(1, today + 1)))

    fill(range(today - QUARTERS_KEPT_DAYS - 2, today - QUARTERS_KEPT_DAYS + 1))
    found = spans()
    assert len(found) == 2 + 96
    assert [each[1] - each[0] for each in found[:3]] == [86_400_000, 86_400_000, QUARTER_MS]
    assert found[0][2][1] == 95
    assert found[0][2].known_ms == 86_400_000
    # A late reading of such a day is added to its one value.
    late = {("fridge", "x", found[0][0] // QUARTER_MS + 5): TrendBin(-7, 200, 0.5, 1, 0)}
    database.apply(late, {}, "epoch", TrendCursor(1, NOON, 0), SHANGHAI)
    assert spans()[0][2][:2] == (-7, 200)
    assert len(spans()) == 98
    for device in "abcdef":
        fill(range(today - 60, today), device)
    size = database._query(
        "SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count"
    )
    assert size[0][0] <= 60
    assert spans("f")
    database.close()


def test_a_day_on_which_clocks_change_is_whole() -> None:
    berlin = Calendar("Europe/Berlin")
    day = berlin.day_of(1_793_527_200 // 900)
    lengths = {len(berlin.quarters_of(day + offset)) for offset in range(-200, 200)}
    assert lengths == {92, 96, 100}
    assert all(berlin.day_of(quarter) == day for quarter in berlin.quarters_of(day))
    assert berlin.day_of(10**12) > day


async def test_a_file_that_cannot_be_written_is_told_of_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock, file = FakeClock(), tmp_path / "no" / "trends.db"
    (tmp_path / "no").write_text("a file in the place of a folder")
    async with Journal.open(tmp_path / "journal.db", SystemClock()) as journal:
        writer = TrendWriter(file, journal.reader, clock, "Asia/Shanghai", HOLD)
        task = asyncio.create_task(writer.run())
        told = 0
        for _ in range(400):
            await clock.advance(1)
            await asyncio.sleep(0.001)
            told = len(caplog.records)
            if told:
                break
        (tmp_path / "no").unlink()
        for _ in range(4000):
            await clock.advance(1)
            await asyncio.sleep(0.001)
            if len(caplog.records) > told:
                break
        task.cancel()
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.INFO]
    assert file.exists()


async def test_thousands_of_devices_are_read_in_short_turns(tmp_path: Path) -> None:
    """Twenty points of each."""
    clock = FakeClock()
    values: dict[str, Value] = {f"point-{number}": float(number) for number in range(20)}
    async with Journal.open(tmp_path / "j.db", clock) as journal:
        for number in range(1500):
            journal.append_sample(Sample(f"device-{number}", stamp(0), values))
        await journal._flush(telemetry=True)

        async def longest_turn_s() -> float:
            writer = TrendWriter(tmp_path / "t.db", journal.reader, clock, "Asia/Shanghai", {})
            with watched_turns() as turns:
                await writer.catch_up()
            (tmp_path / "t.db").unlink()
            return turns.longest_s

        assert await share_of_allowed(longest_turn_s) < 1


async def test_the_reader_rests_so_that_others_have_the_computer(tmp_path: Path) -> None:
    class SlowClock(FakeClock):
        """Each look at it takes a second, and sleeping nothing."""

        def __init__(self) -> None:
            super().__init__()
            self.looks, self.rested_s = 0, 0.0

        def mono(self) -> float:
            self.looks += 1
            return float(self.looks)

        async def sleep(self, seconds: float) -> None:
            self.rested_s += seconds
            await asyncio.sleep(0)

    clock = SlowClock()
    async with Journal.open(tmp_path / "j.db", FakeClock()) as journal:
        for number in range(450):
            journal.append_sample(Sample(f"device-{number}", stamp(0), {"x": 1.0}))
        await journal._flush(telemetry=True)
        await TrendWriter(tmp_path / "t.db", journal.reader, clock, "Asia/Shanghai", {}).catch_up()
    assert clock.rested_s == 3 * PAUSE_PER_WORK, "after each of three turns"
