"""What is said of figures whose truth is known."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.capabilities.visitors.statistics import open_figures
from gateway.capabilities.visitors.statistics.aggregation import AggregationBatch, Bin
from gateway.capabilities.visitors.statistics.analysis import Analyst
from gateway.capabilities.visitors.statistics.database import connect
from gateway.capabilities.visitors.statistics.formatting import Formatter
from gateway.capabilities.visitors.statistics.intervals import (
    SLOT_UNITS,
    Intervals,
    shift_day,
    slots_between,
)
from gateway.capabilities.visitors.statistics.period_charts import hour_heat_map
from gateway.capabilities.visitors.statistics.results import (
    Analysis,
    CentreLayout,
    Period,
    period_containing,
)
from gateway.model.hours import parse_week
from tests.gateway.capabilities.visitors.statistics.book import SHANGHAI, stamp

HOURS = parse_week({"mon-sun": "09:00-17:00"}, ["2026-03-08"])
CENTRE = CentreLayout(
    timezone="Asia/Shanghai",
    doors={"door.south": ("south", "spare"), "door.north": ("north",)},
    places={"centre": ("door.south", "door.north")},
    titles={"door.south": {"zh": "南门", "en": "South door"}},
    hours=HOURS,
)  # fmt: skip


def batch(
    bins: Iterable[tuple[str, int, int]] = (), trust: Iterable[tuple[str, str, bool]] = ()
) -> AggregationBatch:
    """Bins of the centre by local time, and the counters' trust."""
    made = AggregationBatch()
    for text, came, went in bins:
        key = stamp(text).wall_ms // 900_000, "centre"
        made.bins[key] = made.bins.get(key, Bin()).plus(Bin(came, went))
    for counter, text, covered in trust:
        made.coverage_changes[counter, stamp(text).wall_ms] = covered
    return made


def analyse(
    folder: Path,
    what: AggregationBatch,
    unit: str,
    day: str,
    now: str,
    centre: CentreLayout = CENTRE,
    by: str = "",
) -> Analysis:
    database = connect(folder / "statistics.db")
    database.apply(what)
    database.close()
    figures = asyncio.run(open_figures(folder / "statistics.db", folder / "no-journal.db"))
    at = round(datetime.fromisoformat(now).replace(tzinfo=centre.zone).timestamp())
    analysis = Analyst(figures, centre, at).analyse(
        "centre", period_containing(unit, date.fromisoformat(day)), by
    )
    figures.close()
    return analysis


KNOWN = [("south", "2026-03-02T08:30", True), ("north", "2026-03-02T08:30", True)]


def test_a_day(tmp_path: Path) -> None:
    """Ten come at nine and five leave at eleven; the other five stay until one."""
    what = batch(
        [("2026-03-03T09:00", 10, 0), ("2026-03-03T11:00", 0, 5), ("2026-03-03T13:00", 0, 5)], KNOWN
    )
    day = analyse(tmp_path, what, "day", "2026-03-03", "2026-03-05T12:00")
    assert (day.total.came, day.total.went, day.total.share, day.total.is_minimum) == (10, 10, 1.0, False)
    assert [bar.count.came for bar in day.bars] == [0] * 9 + [10] + [0] * 14
    assert {kind: peak.count for kind, peak in day.peaks.items()} == {
        "quarter": 10,
        "hour": 10,
        "inside": 10,
    }
    assert [level.inside for level in day.levels] == [10, 5, 0]
    # (10 people × 2 h + 5 people × 2 h) / 10 people.
    assert day.stay is not None
    assert (day.stay.minutes, day.stay.days) == (180, 1)


def test_time_without_counting_is_no_time_without_visitors(tmp_path: Path) -> None:
    """Of 2 × 8 open hours of Tuesday the north door was out for two; a spare counter saves the south."""
    what = batch(
        [(f"2026-03-{day:02}T10:00", 12, 12) for day in (3, 10)],
        [
            *KNOWN, ("spare", "2026-03-02T08:30", True),
            ("north", "2026-03-03T10:00", False), ("north", "2026-03-03T12:00", True),
            ("south", "2026-03-04T10:00", False), ("south", "2026-03-04T12:00", True),
            # At night nobody is expected to count.
            ("north", "2026-03-05T18:00", False), ("north", "2026-03-06T08:00", True),
        ],
    )  # fmt: skip
    month = analyse(tmp_path, what, "month", "2026-03-03", "2026-03-12T00:00")
    shares = [bar.count.share for bar in month.bars]
    assert shares[:2] == [None, 1.0]
    assert shares[2] == 1 - 2 / 16
    assert month.bars[2].count.is_minimum
    # Closed on the 8th; nothing is expected of days to come.
    assert shares[3:11] == [1.0, 1.0, 1.0, 1.0, None, 1.0, 1.0, 1.0]
    assert shares[11:] == [None] * 20
    # Two Tuesdays at ten, of which one was not counted.
    ten = month.heat[1][10]
    assert (ten.mean, ten.days) == (12, 1)
    assert (month.heat[1][13].mean, month.heat[1][13].days) == (0, 2)
    assert (month.heat[1][8].mean, month.heat[6][10].mean) == (None, None)
    assert month.week[1] == 12
    assert [(counter, why) for _, _, counter, why in month.lost] == [
        ("north", "untrusted"), ("south", "untrusted"), ("north", "untrusted"),
    ]  # fmt: skip
    formatter = Formatter("zh", CENTRE)
    assert formatter.headline(month) == "至少 24 人次来访"
    assert formatter.coverage_text(month).startswith("开放时间内有 98.6% 的时间在计数")


def test_visits_are_unknown_where_nothing_was_counted(tmp_path: Path) -> None:
    what = batch([], [("north", "2026-03-02T08:30", False), ("south", "2026-03-02T08:30", False)])
    day = analyse(tmp_path, what, "day", "2026-03-03", "2026-03-04T00:00")
    assert (day.total.came, day.total.share) == (0, 0)
    assert Formatter("zh", CENTRE).headline(day) == "来访人次未知：此时段没有计数"


def test_a_door_that_was_never_heard_is_named(tmp_path: Path) -> None:
    what = batch([("2026-03-03T10:00", 1, 0)], [("south", "2026-03-03T07:00", True)])
    day = analyse(tmp_path, what, "day", "2026-03-03", "2026-03-03T12:00")
    assert day.total.share == 1.0
    assert day.unheard == ("spare", "north")
    assert "从未收到读数的计数器：spare、north。" in Formatter("zh", CENTRE).remarks(day)


def test_as_much_as_has_passed_is_compared(tmp_path: Path) -> None:
    """On Wednesday at noon, with last week until Wednesday at noon."""
    bins = [
        (f"2026-03-{day:02}T{hour}:00", came, 0)
        for day, came in ((9, 10), (10, 10), (11, 10), (12, 99), (16, 12), (17, 12), (18, 12))
        for hour in (10, 14)
        if (day, hour) != (18, 14)
    ]
    week = analyse(tmp_path, batch(bins, KNOWN), "week", "2026-03-18", "2026-03-18T12:00")
    assert week.total.came == 60
    (previous,) = week.comparisons
    assert (previous.came, previous.change, previous.sure) == (50, 0.2, True)
    formatter = Formatter("zh", CENTRE)
    assert formatter.comparison_text(week, previous).startswith(
        "比上周同期多 20%（上周同期为 50 人次）；按日均算多 20%"
    )
    english = Formatter("en", CENTRE).comparison_text(week, previous)
    assert english.startswith("20% more than by this time last week (50 visits)")


def test_a_year_is_not_compared_with_one_that_was_not_counted_whole(tmp_path: Path) -> None:
    bins = [("2025-11-03T10:00", 5, 0), ("2026-11-03T10:00", 5, 0)]
    year = analyse(tmp_path, batch(bins, KNOWN), "year", "2026-11-03", "2026-12-31T12:00")
    assert year.comparisons == ()


ZONES = ["Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
         "America/St_Johns", "Africa/Cairo", "Pacific/Apia"]  # fmt: skip


@settings(max_examples=60)
@given(
    st.sampled_from(ZONES),
    st.dates(date(2009, 1, 1), date(2030, 1, 1)),
    st.integers(1, 500),
    st.sampled_from(SLOT_UNITS),
)
def test_slots_leave_out_no_second_and_count_none_twice(
    name: str, first: date, length: int, unit: str
) -> None:
    zone, until = (
        ZoneInfo(name),
        shift_day("day", first, min(length, 20) if unit in SLOT_UNITS[:2] else length),
    )
    found = slots_between(unit, first, until, zone)
    edges = [(slot.since, slot.until) for slot in found]
    assert edges[0][0] == round(datetime.combine(first, datetime.min.time(), zone).timestamp())
    assert edges[-1][1] == round(datetime.combine(until, datetime.min.time(), zone).timestamp())
    assert all(one[1] == other[0] for one, other in pairwise(edges))
    assert all(since < last and since % 900 == 0 for since, last in edges)


def test_where_the_clock_is_put_forward_and_back(tmp_path: Path) -> None:
    """Berlin: the 29th of March 2026 has 23 hours, the 25th of October has 25."""
    berlin = ZoneInfo("Europe/Berlin")
    for day, count in (("2026-03-29", 23), ("2026-10-25", 25), ("2026-07-01", 24)):
        first = date.fromisoformat(day)
        assert len(slots_between("hour", first, shift_day("day", first), berlin)) == count
    what = AggregationBatch()
    # 02:30 comes twice: a person each time.
    for utc in ("2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T23:30"):
        what.bins[stamp(utc, ZoneInfo("UTC")).wall_ms // 900_000, "centre"] = Bin(1, 1)
    centre = CentreLayout(timezone="Europe/Berlin")
    day_after = analyse(tmp_path, what, "day", "2026-10-25", "2026-11-01T00:00", centre)
    assert [bar.count.came for bar in day_after.bars] == [0, 0, 1, 1] + [0] * 21
    assert day_after.total.came == 2


@settings(max_examples=8)
@given(
    st.sampled_from(ZONES),
    st.lists(st.tuples(st.integers(0, 366 * 96), st.integers(1, 40), st.integers(0, 40)), max_size=40),
)
def test_every_unit_adds_up_to_the_same(
    tmp_path_factory: pytest.TempPathFactory, name: str, people: list[tuple[int, int, int]]
) -> None:
    zone, what = ZoneInfo(name), AggregationBatch()
    start = round(datetime(2026, 1, 1, tzinfo=zone).timestamp()) // 900
    for at, came, went in people:
        key = start + at, "centre"
        what.bins[key] = what.bins.get(key, Bin()).plus(Bin(came, went))
    folder = tmp_path_factory.mktemp("sums")
    database = connect(folder / "statistics.db")
    database.apply(what)
    database.close()
    figures = asyncio.run(open_figures(folder / "statistics.db", folder / "none.db"))
    analyst = Analyst(figures, CentreLayout(timezone=name), 1_900_000_000)
    span = Period("year", date(2026, 1, 1), date(2027, 1, 1))
    totals = {
        unit: (sum(bar.count.came for bar in bars), sum(bar.count.went for bar in bars))
        for unit in SLOT_UNITS
        for bars in [analyst.bars("centre", span, unit)]
    }
    inside = [(came, went) for at, came, went in people if (start + at) * 900 < round(
        datetime(2027, 1, 1, tzinfo=zone).timestamp())]  # fmt: skip
    truth = sum(came for came, _ in inside), sum(went for _, went in inside)
    assert totals == dict.fromkeys(SLOT_UNITS, truth)
    figures.close()


SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=6)


@given(SPANS, SPANS, st.integers(0, 60), st.integers(0, 60))
def test_spans_are_sets_of_seconds(
    one: list[tuple[int, int]], other: list[tuple[int, int]], since: int, until: int
) -> None:
    def seconds(spans: Iterable[tuple[int, int]]) -> set[int]:
        return {second for first, last in spans for second in range(first, last)}

    mine, theirs = Intervals(one), Intervals(other)
    assert seconds(mine) == seconds(one)
    assert seconds(mine.intersection(theirs)) == seconds(one) & seconds(other)
    assert mine.covered_seconds(since, until) == len(seconds(one) & set(range(since, until)))


def test_the_same_day_of_another_month() -> None:
    assert shift_day("month", date(2026, 1, 31)) == date(2026, 2, 28)
    assert shift_day("year", date(2028, 2, 29), -1) == date(2027, 2, 28)
    assert period_containing("week", date(2026, 1, 1)) == Period(
        "week", date(2025, 12, 29), date(2026, 1, 5)
    )
    assert period_containing("month", date(2026, 12, 5)).shifted(1) == period_containing(
        "month", date(2027, 1, 1)
    )
    assert SHANGHAI.key == CENTRE.timezone


def test_a_week_without_figures_has_its_squares(tmp_path: Path) -> None:
    empty = analyse(tmp_path, AggregationBatch(), "week", "2026-03-04", "2026-03-04 12:00")
    assert len(hour_heat_map(empty, Formatter("zh", CENTRE)).findall(".//rect[@class='none']")) == 7 * 24
