"""What a device has sent is found in the journal, and gaps stay gaps."""

from __future__ import annotations

import asyncio
import re

from gateway.base.clock import SystemClock
from gateway.dashboard.device_history import DeviceHistory, history_chart, read_history
from tests.gateway.dashboard_fixtures import House


def history(house: House, device: str, hours: int = 1) -> DeviceHistory:
    house.stop()  # All is committed.
    house.start()
    return asyncio.run(read_history(house.settings.journal, device, 60, hours, SystemClock()))


def runs(chart: str) -> int:
    return chart.count("<path")


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
    assert runs(lel.chart) == 2
    assert found.until - found.since == 3_600_000
    assert {each.point: each.count for each in history(house, "gas", 6).points} == {"lel": 4, "valve": 4}
    assert history(house, "never-heard").points == ()


def test_a_reading_that_failed_breaks_the_curve(house: House) -> None:
    for ago in (50, 40, 20, 10):
        house.says("gas", ago=ago, lel=1.0)
    house.says("gas", ago=30, error="timeout")
    (lel,) = history(house, "gas").points
    assert (lel.count, runs(lel.chart)) == (4, 2)


def test_a_point_that_some_messages_lack_is_no_gap(house: House) -> None:
    for ago in (50, 30, 10):
        house.says("gas", ago=ago, lel=1.0)
        house.says("gas", ago=ago - 5, valve=True)
    assert [runs(each.chart) for each in history(house, "gas").points] == [1, 1]


def test_without_a_journal_there_is_no_history(house: House) -> None:
    path = house.settings.journal.with_name("none.db")
    found = asyncio.run(read_history(path, "gas", 60, 1, SystemClock()))
    assert found.points == ()


def test_a_year_of_readings_is_one_picture_with_its_extremes() -> None:
    minutes = 35_040
    readings = [(n * 900_000, 1000.0 if n == 17_000 else float(n % 7)) for n in range(minutes)]
    chart = history_chart(readings, 0, minutes * 900_000, 3_600_000)
    assert runs(chart) == 1
    assert len(chart) < 30_000
    heights = [float(y) for y in re.findall(r"V([\d.]+)", chart)]
    assert (min(heights), max(heights)) == (8.0, 88.0)


def test_an_even_curve_is_in_the_middle_and_steps_are_steps() -> None:
    assert "48.0" in history_chart([(0, 3.0), (50, 3.0)], 0, 100, 60)
    chart = history_chart([(0, 0.0), (50, 1.0)], 0, 100, 60, holds=True)
    assert "H240V8.0" in chart
    assert history_chart([], 0, 0, 60).count("<path") == 0
