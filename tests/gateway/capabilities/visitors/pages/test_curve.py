"""The curve of the day."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from gateway.capabilities.visitors.pages.curve import Curve, curve_of, read_curve
from gateway.capabilities.visitors.pages.settings import VisitorsSettings
from gateway.capabilities.visitors.statistics.intervals import slots_between
from gateway.capabilities.visitors.statistics.results import Bar, CentreLayout, Count
from gateway.model.hours import WeeklyHours
from tests.gateway.dashboard_fixtures import House
from tests.gateway.views import at

ZONE = ZoneInfo("Asia/Shanghai")
DAY = date(2026, 3, 4)
OPEN = CentreLayout("Asia/Shanghai", hours=WeeklyHours(((((9 * 60, 17 * 60 + 30)),),) * 7))


def quarters(until: int, changes: dict[int, int], uncounted: range = range(0)) -> list[Bar]:
    """The day until a quarter; `changes`: how many more came than left in a quarter."""
    return [
        Bar(
            slot,
            Count(
                max(changes.get(number, 0), 0),
                max(-changes.get(number, 0), 0),
                0,
                0.5 if number in uncounted else 1.0,
            ),
            number >= until,
        )
        for number, slot in enumerate(slots_between("quarter", DAY, DAY + timedelta(days=1), ZONE))
    ]


def test_the_curve_is_that_of_the_opening_hours_until_now() -> None:
    curve = curve_of(quarters(48, {40: 12, 44: 8, 46: -5}), OPEN)
    assert (curve.since, curve.until) == (9, 18)
    assert curve.inside == (0,) * 4 + (12,) * 4 + (20, 20, 15, 15)
    assert curve.peak == (20, "11:00–11:15")
    chart = curve.chart("x")
    assert re.findall(r">(\d+:00)<", chart) == ["9:00", "11:00", "13:00", "15:00", "17:00"]
    assert 'd="M0 100.0' in chart
    # 160 of 480 columns: three of nine hours have passed.
    assert 'H160V25.0h.1"' in chart


def test_who_comes_before_the_opening_is_on_the_curve_too() -> None:
    assert curve_of(quarters(48, {27: 3}), OPEN).since == 6
    assert curve_of(quarters(96, {92: 3}), OPEN).until == 24


def test_a_day_on_which_nothing_was_to_be_counted_has_no_curve() -> None:
    """Not that of an empty centre: the gateway was not there."""
    nothing = [msgspec.structs.replace(bar, count=Count(0, 0, 0, None)) for bar in quarters(48, {})]
    curve = curve_of(nothing, OPEN)
    assert (curve.inside, curve.peak) == ((), None)
    assert "<path" not in curve.chart("x")
    assert (curve.since, curve.until) == (9, 18)


def test_what_was_not_counted_is_a_gap() -> None:
    curve = curve_of(quarters(48, {36: 4}, range(40, 44)), OPEN)
    assert curve.inside == (4,) * 4 + (None,) * 4 + (4,) * 4
    chart = curve.chart("x")
    assert (chart.count('class="curve"'), chart.count('class="area"')) == (2, 2)
    assert re.findall(r"H([\d.]+)V0.0h.1", chart) == ["53.3", "160"]


def test_a_day_without_anybody_has_no_peak() -> None:
    curve = curve_of(quarters(40, {}), CentreLayout("Asia/Shanghai"))
    assert (curve.since, curve.until, curve.peak) == (8, 22, None)
    assert "<path" not in Curve(8, 22, ()).chart("x")


async def test_there_is_no_curve_without_statistics(tmp_path: Path) -> None:
    settings = VisitorsSettings(statistics_file=tmp_path / "none", centre=OPEN)
    assert await read_curve(settings, tmp_path / "none", at()) is None


async def test_the_statistics_of_today_are_read(house: House) -> None:
    house.curve(5, 7, -2)
    settings = house.settings.parts["visitors"]
    curve = await read_curve(settings, house.settings.journal, house.now())
    assert curve
    local = datetime.fromtimestamp(house.now().wall_ms / 1000, ZONE)
    if local.hour:
        assert [each for each in curve.inside if each][-3:] == [5, 12, 10]
