"""What a device has sent is found in the journal, and gaps stay gaps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.base.clock import SystemClock
from gateway.dashboard.device_history import ROW_LENGTHS, DeviceHistory, read_history, read_rows
from gateway.journal import JournalReader
from gateway.trends import QUARTER_MS, Calendar, TrendBin, trends_file
from gateway.trends.database import connect
from gateway.trends.statistics import TrendCursor
from gateway.web.settings import DeviceInfo
from tests.gateway.dashboard_fixtures import House


def history(house: House, device: str, hours: int = 1, point: str = "") -> DeviceHistory:
    house.stop()  # All is committed.
    house.start()
    settings = house.settings
    info = DeviceInfo(
        device, {}, "gas", 60, boolean_points=frozenset({"valve"}), units={"lel": "%LEL", "valve": ""}
    )
    return asyncio.run(read_history(settings.journal, info, hours, settings.timezone, SystemClock(), point))


def test_all_readings_of_the_time_are_found_and_no_others(house: House) -> None:
    for ago, value in ((4000, 99.0), (3000, 1.5), (2900, 4.5), (100, 2.0)):
        house.says("gas", ago=ago, lel=value, valve=ago > 2950)
        house.says("smoke", ago=ago, lel=50.0)
    house.says("gas", ago=50, state="closed")
    found = history(house, "gas")
    by_point = {each.point: each for each in found.points}
    assert by_point.keys() == {"lel", "valve"}
    lel, valve = by_point["lel"], by_point["valve"]
    assert (lel.low, lel.high, lel.count) == (1.5, 4.5, 3)
    assert (valve.low, valve.high, valve.count) == (False, True, 3)
    assert len(lel.runs) == 2
    assert found.until - found.since == 3_600_000
    assert {each.point: each.count for each in history(house, "gas", 6).points} == {"lel": 4, "valve": 4}
    assert history(house, "never-heard").points == ()


def rows(house: House, device: str, hours: int) -> list[tuple[str, float, int]]:
    house.stop()
    house.start()
    settings = house.settings
    info = DeviceInfo(device, {}, "gas", 60, units={"lel": "%LEL"})

    async def read() -> list[tuple[str, float, int]]:
        found = read_rows(settings.journal, info, hours, settings.timezone, SystemClock())
        return [(point, row.mean, row.readings) async for point, each in found for row in each]

    return asyncio.run(read())


def test_each_reading_is_a_row(house: House) -> None:
    for ago, value in ((4000, 99.0), (3000, 1.5), (2900, 4.5)):
        house.says("gas", ago=ago, lel=value, valve=True)
    assert rows(house, "gas", 1) == [("lel", 1.5, 1), ("lel", 4.5, 1), ("valve", 1.0, 1), ("valve", 1.0, 1)]


def test_a_reading_that_failed_breaks_the_curve(house: House) -> None:
    for ago in (50, 40, 20, 10):
        house.says("gas", ago=ago, lel=1.0)
    house.says("gas", ago=30, error="timeout")
    (lel,) = history(house, "gas").points
    assert (lel.count, len(lel.runs)) == (4, 2)


def test_a_point_that_some_messages_lack_is_no_gap(house: House) -> None:
    for ago in (50, 30, 10):
        house.says("gas", ago=ago, lel=1.0)
        house.says("gas", ago=ago - 5, valve=True)
    assert [len(each.runs) for each in history(house, "gas").points] == [1, 1]


def test_without_a_journal_there_is_no_history(house: House) -> None:
    path = house.settings.journal.with_name("none.db")
    info = DeviceInfo("gas", {}, "gas", 60)
    found = asyncio.run(read_history(path, info, 1, "Asia/Shanghai", SystemClock()))
    assert found.points == ()


def test_what_the_journal_no_longer_has_comes_from_the_statistics(house: House) -> None:
    """And what came after them from the journal; nothing twice, and what was not known is a gap."""
    now = house.now().wall_ms
    quarter = now // QUARTER_MS
    known = [
        n for n in range(quarter - 30_000, quarter - 4) if not quarter - 20_000 <= n < quarter - 10_000
    ]
    bins = {
        ("gas", "lel", n): TrendBin(1.0, 90.0 if n == known[7] else 2.0, 1.5, 180, 900_000) for n in known
    }
    valve = {("gas", "valve", n): TrendBin(0.0, 1.0, 0.25, 180, 900_000) for n in known[-200:]}
    house.says("gas", ago=30, lel=3.0)
    house.stop()
    house.start()
    epoch = asyncio.run(epoch_of(house.settings.journal))
    database = connect(trends_file(house.settings.journal))
    until = (quarter - 4) * QUARTER_MS
    database.apply(bins | valve, {}, epoch, TrendCursor(0, until, 0), Calendar(house.settings.timezone))
    database.close()
    year = {each.point: each for each in history(house, "gas", 366 * 24).points}
    lel = year["lel"]
    assert (lel.low, lel.high, lel.count) == (1.0, 90.0, 180 * len(known) + 1)
    assert lel.mean == pytest.approx(1.5, abs=0.01)
    assert len(lel.runs) == 3
    assert len(lel.rows) <= 54
    assert sum(row.readings for row in lel.rows) == lel.count
    assert sum(len(run) for run in lel.runs) <= 490
    assert (year["valve"].is_boolean, year["valve"].low, year["valve"].high) == (True, False, True)
    day = {each.point: each for each in history(house, "gas", 24).points}["lel"]
    assert day.count == 180 * 92 + 1
    assert [each.point for each in history(house, "gas", 366 * 24, "valve").points] == ["valve"]


def test_a_new_journal_hides_nothing_of_what_came_before_it(house: House) -> None:
    """Its own cursor is not there yet."""
    house.says("gas", ago=30, lel=3.0)
    quarter = house.now().wall_ms // QUARTER_MS
    bins = {("gas", "lel", quarter - n): TrendBin(1.0, 2.0, 1.5, 180, 900_000) for n in range(2, 400)}
    database = connect(trends_file(house.settings.journal))
    database.apply(bins, {}, "another", TrendCursor(9, 1, 0), Calendar(house.settings.timezone))
    database.close()
    for hours, count in ((6, 22), (24, 94), (168, 398)):
        (lel,) = history(house, "gas", hours, "lel").points
        assert lel.count == pytest.approx(180 * count + 1, abs=2 * 180)


async def epoch_of(journal: Path) -> str:
    async with JournalReader.open(journal) as reader:
        return await reader.read_meta("epoch")


@pytest.mark.parametrize("hours", ROW_LENGTHS)
def test_the_rows_of_a_table_are_few_and_on_round_times(house: House, hours: int) -> None:
    for ago in range(0, 3000, 300):
        house.says("gas", ago=ago, lel=float(ago))
    (lel,) = history(house, "gas", hours).points
    assert 1 <= len(lel.rows) <= 13
    assert sum(row.readings for row in lel.rows) == 10
    assert max(row.high for row in lel.rows) == 2700.0
    assert all(lel.span_text(row) for row in lel.rows)
    assert "2700" in lel.chart("x", "%LEL", "", "")
