"""Opening hours against a clock that is read minute by minute."""

from __future__ import annotations

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.scheduling import HolidayCalendar, Interval, Opening, instant_of
from gateway.scheduling.opening import merged, without

from .kit import DAY, HOUR, MINUTE, SHANGHAI, at, open_minutes

ZONES = {
    "Asia/Shanghai": ["2026-12-31", "2027-02-28", "2028-02-29", "1991-09-15"],
    "Europe/Berlin": ["2026-03-29", "2026-10-25"],
    "Africa/Cairo": ["2026-04-24", "2026-10-30"],  # The clock changes at midnight.
    "Australia/Lord_Howe": ["2026-04-05", "2026-10-04"],  # By half an hour.
    "Pacific/Apia": ["2011-12-30"],  # A day that never was.
}
PLACES = [(zone, day) for zone, days in ZONES.items() for day in days]


@st.composite
def spans(draw: st.DrawFn) -> tuple[int, int]:
    since = draw(st.sampled_from([0, 1, 60, 119, 120, 150, 720, 1380, 1439]) | st.integers(0, 1439))
    length = draw(st.sampled_from([1, 30, 60, 720, 1440]) | st.integers(1, 1440))
    return since, min(since + length, 2880)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(PLACES), st.lists(st.lists(spans(), max_size=2), min_size=5, max_size=5), st.data())
def test_it_is_open_in_the_minutes_that_the_local_clock_shows(
    place: tuple[str, str], by_day: list[list[tuple[int, int]]], data: st.DataObject
) -> None:
    zone, middle = ZoneInfo(place[0]), date.fromisoformat(place[1])
    days = {middle + timedelta(days=number - 2): tuple(each) for number, each in enumerate(by_day)}
    opening = Opening(week=((),) * 7, special=days)
    start = instant_of(middle, 0, zone) // MINUTE
    first = start + data.draw(st.integers(-1440, 1440))
    last = first + data.draw(st.integers(0, 1440))
    found = opening.intervals(first * MINUTE, last * MINUTE, zone)
    assert found == merged(found)
    minutes = {minute for each in found for minute in range(each.since // MINUTE, each.until // MINUTE)}
    assert minutes == open_minutes(days, first, last, zone)


@pytest.mark.parametrize("day", ["2026-12-31", "2027-02-28", "2028-02-28", "2028-02-29", "2027-04-30"])
def test_nothing_is_lost_at_midnight(day: str) -> None:
    """Every day of the week, all day long, is one interval over the ends of days, months and years."""
    since = at(f"{day}T12:00")
    assert Opening().intervals(since, since + 2 * DAY, SHANGHAI) == [Interval(since, since + 2 * DAY)]


def test_a_span_past_midnight_belongs_to_the_day_on_which_it_starts() -> None:
    friday = date(2026, 12, 4)
    opening = Opening(week=((),) * 4 + (((22 * 60, 26 * 60),),) + ((),) * 2)
    found = opening.intervals(at("2026-12-01T00:00"), at("2026-12-08T00:00"), SHANGHAI)
    assert found == [Interval(at("2026-12-04T22:00"), at("2026-12-05T02:00"))]
    closed = Opening(week=opening.week, special={friday: ()})
    assert closed.intervals(at("2026-12-01T00:00"), at("2026-12-08T00:00"), SHANGHAI) == []


CALENDAR = HolidayCalendar(
    years=frozenset({2026}),
    holidays=frozenset({date(2026, 10, 1)}),
    makeup_workdays=frozenset({date(2026, 10, 10)}),
)


def test_holidays_and_the_weekends_worked_for_them() -> None:
    shared = ((8 * 60, 18 * 60),)
    opening = Opening(week=(shared,) * 5 + ((), ()), holiday=(), makeup=shared, calendar=CALENDAR)
    assert opening.spans_on(date(2026, 9, 30)) == shared
    assert opening.spans_on(date(2026, 10, 1)) == ()
    assert opening.spans_on(date(2026, 10, 10)) == shared
    assert opening.spans_on(date(2026, 10, 11)) == ()
    # What is said of one day counts more than what kind of day it is.
    fair = Opening(week=opening.week, holiday=(), special={date(2026, 10, 1): shared}, calendar=CALENDAR)
    assert fair.spans_on(date(2026, 10, 1)) == shared


def test_it_says_for_which_days_the_holidays_are_not_known() -> None:
    opening = Opening(holiday=(), calendar=CALENDAR)
    assert opening.is_certain_on(date(2026, 10, 1))
    # The announcement for the next year may still move the last days of this one.
    assert not opening.is_certain_on(date(2026, 12, 29))
    assert not opening.is_certain_on(date(2027, 5, 1))
    assert Opening(calendar=CALENDAR).is_certain_on(date(2027, 5, 1))
    assert Opening(holiday=(), special={date(2027, 5, 1): ()}).is_certain_on(date(2027, 5, 1))


INTERVALS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: Interval(*pair)), max_size=6
)


def minutes_of(intervals: list[Interval]) -> set[int]:
    return {minute for each in intervals for minute in range(each.since, each.until)}


@given(INTERVALS, INTERVALS)
def test_what_remains_of_intervals(whole: list[Interval], taken: list[Interval]) -> None:
    found = without(merged(whole), taken)
    assert minutes_of(found) == minutes_of(whole) - minutes_of(taken)
    assert all(each.since < each.until for each in found)


def test_the_clock_is_set_forward_past_the_start() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    changed = at("2026-03-29T03:00", berlin)
    assert instant_of(date(2026, 3, 29), 150, berlin) == changed
    assert instant_of(date(2026, 3, 29), 180, berlin) == changed
    assert instant_of(date(2026, 3, 30), 0, berlin) - instant_of(date(2026, 3, 29), 0, berlin) == 23 * HOUR
