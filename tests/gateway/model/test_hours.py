import re
from datetime import datetime

import pytest

from gateway.model.hours import WeeklyHours, parse_days, parse_every_day, parse_span, parse_week

# 2026-11-21 is a Saturday.


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+08:00")


def test_a_span_holds_its_beginning_and_not_its_end() -> None:
    hours = parse_every_day("08:00-21:30")
    told = {time: at(f"2026-11-21T{time}") in hours for time in ("07:59", "08:00", "21:29", "21:30")}
    assert told == {"07:59": False, "08:00": True, "21:29": True, "21:30": False}


def test_a_night_belongs_to_the_day_it_began() -> None:
    hours = parse_week({"sat": "22:00-06:00"})
    assert at("2026-11-21T23:00") in hours
    assert at("2026-11-22T05:59") in hours
    assert at("2026-11-22T06:00") not in hours
    assert at("2026-11-21T05:00") not in hours


def test_days_and_closed_dates() -> None:
    hours = parse_week(
        {"mon-fri": "08:00-20:00", "sat-sun": ["09:00-12:00", "13:30-17:00"]}, ["2026-11-22"]
    )
    assert at("2026-11-20T19:59") in hours
    assert at("2026-11-21T12:30") not in hours
    assert at("2026-11-21T13:30") in hours
    assert at("2026-11-22T10:00") not in hours


def test_days_go_round_the_end_of_the_week() -> None:
    assert [number % 7 for number in parse_days("sat-mon")] == [5, 6, 0]
    assert list(parse_days("wed")) == [2]


def test_each_day_of_a_week_has_its_own_hours() -> None:
    """2026-11-16 is a Monday."""
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    hours = parse_week({day: f"{8 + number:02}:00-20:00" for number, day in enumerate(days)})
    every_day = parse_every_day("08:00-20:00")
    for number in range(7):
        assert at(f"2026-11-{16 + number}T{8 + number:02}:00") in hours
        assert at(f"2026-11-{16 + number}T{7 + number:02}:59") not in hours
        assert at(f"2026-11-{16 + number}T08:00") in every_day
    assert at("2026-11-16T00:00") in parse_week({"sun": "22:00-06:00"})
    assert len(every_day.week) == 7
    weekend = parse_week({"sat-mon": "08:00-20:00"})
    assert [at(f"2026-11-{16 + number}T09:00") in weekend for number in range(7)] == [
        True, False, False, False, False, True, True,
    ]  # fmt: skip


def test_a_span_ends_at_midnight_at_the_latest_or_on_the_next_day() -> None:
    assert parse_span("00:00-24:00") == (0, 1440)
    assert parse_span("08:00-07:59") == (480, 1440 + 479)
    with pytest.raises(ValueError, match="24:01"):
        parse_span("08:00-24:01")


def test_the_whole_day() -> None:
    hours = parse_every_day("00:00-24:00")
    assert at("2026-11-21T23:59") in hours
    assert isinstance(hours, WeeklyHours)


@pytest.mark.parametrize(
    "text", ["", "8:00-9:00", "08:00", "08:00-08:00", "25:00-26:00", "08:00-24:30", "08:60-09:00"]
)
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text) or "^$"):
        parse_span(text)


@pytest.mark.parametrize("days", [{"monday": "08:00-09:00"}, {"mon-": "08:00-09:00"}, {"mon": ["x"]}])
def test_what_is_no_week(days: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"mon|x"):
        parse_week(days)
