"""Charts: what is drawn is what was said, gaps are gaps, and nothing that people write is markup."""

from __future__ import annotations

import re
import time
from datetime import datetime
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.web.charts import (
    COLUMNS,
    HEIGHT,
    Column,
    Mark,
    Reading,
    Span,
    column_chart,
    decimated,
    heat_map,
    scale_for,
    svg_text,
    time_chart,
    time_marks,
)

NASTY = "<img src=x onerror=alert(1)>\"'"
SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")


def single(at: float, value: float) -> Reading:
    return Reading(at, value, value, value)


def paths(chart: str, kind: str = "curve") -> list[str]:
    return re.findall(rf'class="{kind}" d="([^"]+)"', chart) + re.findall(
        rf'd="([^"]+)" class="{kind}"', chart
    )


def drawn(*runs: list[Reading], until: float = 100.0, holds: bool = False) -> str:
    return svg_text(time_chart("x", runs, 0, until, holds=holds))


def test_each_run_is_a_curve_of_its_own() -> None:
    chart = drawn([single(0, 1), single(50, 3)], [single(75, 2)])
    assert paths(chart) == ["M0 100.0L240 0.0h.1", "M360 50.0h.1"]
    assert paths(drawn([single(0, 0), single(50, 1)], holds=True)) == ["M0 100.0H240V0.0h.1"]
    assert paths(drawn()) == []


def test_a_year_of_quarters_keeps_its_extremes_and_is_drawn_quickly() -> None:
    quarters = 35_040
    run = [single(n * 900_000, 1000.0 if n == 17_000 else float(n % 7)) for n in range(quarters)]
    started = time.process_time()
    chart = svg_text(time_chart("x", [run], 0, quarters * 900_000, unit="°C"))
    assert time.process_time() - started < 0.3
    assert len(paths(chart)) == len(paths(chart, "band")) == 1
    assert len(chart) < 40_000
    heights = [float(y) for y in re.findall(r"[ML ](?:[\d.]+) ([\d.]+)", paths(chart, "band")[0])]
    assert (min(heights), max(heights)) == (0.0, 100.0)


@given(st.lists(st.floats(-1e300, 1e300), max_size=30), st.floats(1, 1e13), st.booleans(), st.booleans())
def test_whatever_was_said_stays_within_the_chart(
    values: list[float], until: float, holds: bool, from_zero: bool
) -> None:
    run = [single(until * number / 7 - until, value) for number, value in enumerate(values)]
    chart = time_chart("x", [run], 0, until, holds=holds, from_zero=from_zero, tooltips=[Span(-1, 2, "x")])
    for path in ElementTree.fromstring(svg_text(chart)).iter("path"):
        for x, y in re.findall(r"[ML]([-\d.e+]+) ([-\d.e+]+)", path.get("d", "")):
            assert 0 <= float(x) <= COLUMNS
            assert -0.1 <= float(y) <= HEIGHT + 0.1


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.booleans())
def test_scales_are_round_and_hold_the_values(one: float, other: float, whole: bool) -> None:
    low, high = sorted((one, other))
    scale = scale_for(low, high, whole=whole)
    slack = 1e-6 * max(1.0, scale.step)
    assert scale.bottom <= low + slack
    assert scale.top >= high - slack
    assert 2 <= len(list(scale.lines())) <= 6
    if whole:
        assert all(line == pytest.approx(round(line), abs=1e-6) for line in scale.lines())


def test_decimation_keeps_low_high_and_mean() -> None:
    found = decimated([Reading(n, n % 10 - 5.0, n % 10, 2.0) for n in range(10_000)], 0, 10_000)
    assert len(found) == COLUMNS
    assert {(each.low, each.high, each.mean) for each in found} == {(-5.0, 9.0, 2.0)}
    assert decimated(found, 0, 10_000) == found
    assert decimated([single(3, 1.0)], 0, 0) == [single(3, 1.0)]


@pytest.mark.parametrize(
    ("since", "until", "zone", "labels"),
    [
        ("2026-11-30T09:12", "2026-11-30T10:12", SHANGHAI,
         ["09:20", "09:30", "09:40", "09:50", "10:00"]),
        ("2026-11-29T09:12", "2026-11-30T09:12", SHANGHAI,
         ["12:00", "16:00", "20:00", "00:00", "04:00", "08:00"]),
        ("2026-11-23T09:12", "2026-11-30T09:12", SHANGHAI,
         ["11-24", "11-25", "11-26", "11-27", "11-28", "11-29", "11-30"]),
        ("2025-11-30T09:12", "2026-11-30T09:12", SHANGHAI,
         ["2026-02", "2026-04", "2026-06", "2026-08", "2026-10"]),
        # The night on which clocks are set back.
        ("2026-10-23T12:00", "2026-10-27T12:00", BERLIN, ["10-24", "10-25", "10-26", "10-27"]),
    ],
)  # fmt: skip
def test_times_below_a_curve_are_round(since: str, until: str, zone: ZoneInfo, labels: list[str]) -> None:
    bounds = [
        round(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)
        for text in (since, until)
    ]
    marks = time_marks(bounds[0], bounds[1], zone)
    assert [mark.label for mark in marks] == labels
    assert all(bounds[0] <= mark.at <= bounds[1] for mark in marks)


def test_what_people_wrote_is_no_markup() -> None:
    cell = Column(NASTY, 3, 1, NASTY, is_minimum=True)
    charts = [
        time_chart(NASTY, [], 0, 1, marks=[Mark(0, NASTY)], tooltips=[Span(0, 1, NASTY)], unit=NASTY),
        column_chart(NASTY, [cell]),
        heat_map(NASTY, [NASTY], [NASTY, NASTY], [[cell, None]]),
    ]
    for chart in charts:
        text = svg_text(chart)
        assert "<img" not in text
        assert ElementTree.fromstring(text).get("aria-label") == NASTY


def test_a_boolean_is_written_in_words_and_a_unit_once_per_line() -> None:
    words = svg_text(time_chart("x", [[single(0, 1)]], 0, 1, levels={0.0: "关", 1.0: "开"}))
    assert [each.text for each in ElementTree.fromstring(words).iter("text")] == ["关", "开"]
    assert "20 °C" in svg_text(time_chart("x", [[single(0, 14), single(1, 22)]], 0, 1, unit="°C"))


def test_columns_have_tooltips_and_are_marked_where_they_are_a_minimum() -> None:
    bars = [Column(str(n), n, 0, f"tip {n}", is_minimum=n == 2) for n in range(40)]
    chart = ElementTree.fromstring(svg_text(column_chart("x", bars)))
    assert [each.text for each in chart.iter("title")] == [f"tip {n}" for n in range(40)]
    assert len(chart.findall(".//rect[@class='whole']")) == 39
    labels = [each.text for each in chart.iter("text")]
    assert labels.count("≥") == 1
    assert 5 < len([text for text in labels if text and text.isdecimal()]) < 25
