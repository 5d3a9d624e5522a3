from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capabilities.visitors.services.counters import MAX_LINES
from gateway.capabilities.visitors.services.period_counts import MAX_COUNTED_INTERVALS
from gateway.model import ClockQuality, Fact, Sample
from tests.gateway.capabilities.visitors.services.kit import START, Centre, at, counter, iso, told, wall
from tests.gateway.services.kit import kinds

QUARTER = 900
MORNING = 8 * 3600


def quarters(centre: Centre, number: int, came: int, left: int = 0, length: int = 1) -> list[str]:
    """A period that begins so many quarters after eight o'clock, and is told half an hour after its end."""
    since = MORNING + number * QUARTER
    until = since + length * QUARTER
    return [
        kind for kind in kinds(centre.period(until + 1800, since, until, came, left)) if kind != "coverage"
    ]


def begun() -> Centre:
    centre = Centre(every=900)
    centre.tick(MORNING)
    return centre


def test_a_period_counts_once_however_often_and_in_whatever_order_it_comes() -> None:
    centre = begun()
    assert quarters(centre, 0, 50) == ["crossing"]
    assert quarters(centre, 1, 5, 1) == ["crossing"]
    assert quarters(centre, 1, 5, 1) == []
    assert quarters(centre, 4, 2, 2) == ["crossing"]
    assert quarters(centre, 2, 7) == ["crossing"]
    assert quarters(centre, 2, 7) == []
    assert centre.row().counted_intervals_s == (
        unix(MORNING, MORNING + 3 * QUARTER),
        unix(MORNING + 4 * QUARTER, MORNING + 5 * QUARTER),
    )
    centre.reboot()
    assert quarters(centre, 0, 50) == []
    assert centre.now() == (64, 3, 61)


def test_a_crossing_says_in_which_time_they_passed() -> None:
    (crossing,) = told(begun().period(MORNING + 950, MORNING, MORNING + 900, 3, 1), "crossing")
    assert crossing == {"in": 3, "out": 1, "since": wall(MORNING), "until": wall(MORNING + 900)}


@pytest.mark.parametrize(("since", "until"), [(0, 60), (10, 20), (5, 10), (0, 15)])
def test_a_period_that_overlaps_counted_time_counts_nobody_again(since: int, until: int) -> None:
    centre = begun()
    quarters(centre, 0, 50)
    facts = centre.period(MORNING + 3600, MORNING + since * 60, MORNING + until * 60, 5)
    # Of a period that goes on beyond it, the rest is not counted either.
    assert kinds(facts) == ([] if until <= 15 else ["coverage", "counter-implausible"])
    assert centre.now()[0] == 50


def test_a_clock_that_was_put_right_by_a_little_costs_no_period() -> None:
    centre = begun()
    quarters(centre, 0, 50)
    centre.period(MORNING + 1900, MORNING + 880, MORNING + 1780, 5)
    assert centre.now()[0] == 55


@pytest.mark.parametrize(("start", "end"), [(900, 900), (900, 0), (900, None), (None, 900), (0, 90_000)])
def test_a_period_without_sense_is_none(start: float | None, end: float | None) -> None:
    centre = begun()
    times = {
        "period_start": "" if start is None else iso(MORNING + start),
        "period_end": "nine" if end is None else iso(MORNING + end),
    }
    sample = Sample("d", at(MORNING + 95_000), {"period_in": 5, "period_out": 0, **times})
    assert told(centre.step(sample), "crossing") == []
    assert quarters(centre, 1, 5) == ["crossing"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"period_start": "nine"},
        {"period_end": ""},
        {"period_in": -1},
        {"period_out": "some"},
        {"period_in": None},
        {"period_end": None},
    ],
)
def test_nobody_is_uncounted_while_the_counter_counts_as_trustworthy(wrong: dict[str, object]) -> None:
    centre = begun()
    quarters(centre, 0, 50)
    right = {"period_in": 5, "period_out": 0, "period_start": iso(MORNING + 900)}
    values = {**right, "period_end": iso(MORNING + 1800), **wrong}
    values = {name: value for name, value in values.items() if value is not None}
    bad = {name: "missing" for name, value in wrong.items() if value is None}
    facts = centre.step(Sample("d", at(MORNING + 1900), values, bad))  # type: ignore[arg-type]
    assert told(facts, "coverage") == [{"covered": False, "why": "unreadable"}]
    assert kinds(facts) == ["coverage", "counter-implausible"]
    assert quarters(centre, 1, 5) == ["crossing"]
    assert centre.now()[0] == 55


def test_a_counter_that_sends_nothing_of_its_model_is_not_trustworthy() -> None:
    centre = begun()
    quarters(centre, 0, 50)
    facts = centre.step(Sample("d", at(MORNING + 1900), {}, {"in": "missing", "out": "missing"}))
    assert told(facts, "coverage") == [{"covered": False, "why": "unreadable"}]


@pytest.mark.parametrize(
    "form", ["s", "ms", "us", "text", "%Y/%m/%d %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y%m%dT%H%M%S%z"]
)
def test_a_period_counts_in_whatever_form_its_times_are(form: str) -> None:
    units = {"s": 1000, "ms": 1, "us": 0.001}

    def written(second: float) -> object:
        if form in units:
            return round(wall(second) / units[form])
        return str(wall(second)) if form == "text" else (START + timedelta(seconds=second)).strftime(form)

    centre = begun()
    times = {"period_start": written(MORNING), "period_end": written(MORNING + 900)}
    values = {"period_in": 3, "period_out": 1, **times}
    sample = Sample("d", at(MORNING + 950), values)  # type: ignore[arg-type]
    (crossing,) = told(centre.step(sample), "crossing")
    assert crossing == {"in": 3, "out": 1, "since": wall(MORNING), "until": wall(MORNING + 900)}


def test_the_same_period_of_several_lines_is_counted_for_each() -> None:
    centre = begun()

    def of_line(line: object, number: int, came: int) -> list[str]:
        times = {
            "period_start": iso(MORNING + number * 900),
            "period_end": iso(MORNING + number * 900 + 900),
        }
        values = {"period_in": came, "period_out": 0, "line": line, **times}
        return kinds(centre.step(Sample("d", at(MORNING + 3600), values)))  # type: ignore[arg-type]

    for line in (1, "b", 1, "b", 3):
        of_line(line, 0, 2)
    assert centre.now()[0] == 6
    centre.reboot()
    for line in (1, "b", 3):
        assert of_line(line, 0, 2) == []
        of_line(line, 1, 1)
    assert centre.now()[0] == 9


@pytest.mark.parametrize("point", ["channel", "sensor"])
def test_the_same_period_of_several_channels_or_sensors_is_counted_for_each(point: str) -> None:
    centre = begun()
    for number in range(4):
        since = MORNING + 900 * number
        values = {"period_in": 2, "period_start": iso(since), "period_end": iso(since + 900)}
        for source in (1, 2, 2, 1, 3):
            values |= {"period_out": source, point: source, "line": 1}
            centre.step(Sample("d", at(since + 950), dict(values)))
            assert centre.row().why == ""
    assert centre.now()[:2] == (24, 24)


def test_several_counters_that_report_the_same_periods_as_one_are_not_covered() -> None:
    """Nothing in their messages tells them apart: of each period only the first count is counted."""
    centre = begun()

    def report(number: int, *counts: int) -> str | None:
        since = MORNING + 900 * number
        for came in counts:
            centre.period(since + 950, since, since + 900, came, 0)
        return centre.row().why

    assert report(0, 3, 3) == ""
    assert [report(number, 3, 3) for number in range(1, 5)] == [""] * 4
    assert report(5, 3, 4) == ""
    assert [report(number, 3, 4) for number in range(6, 10)] == ["mixed"] * 4
    centre.reboot()
    assert report(10, 3, 4) == "mixed"
    assert report(22, 3) == "mixed"
    assert [report(number, 3) for number in range(23, 40)][-1] == ""


def test_line_numbers_that_are_new_each_time_are_not_counted_for_ever() -> None:
    centre = begun()
    for number in range(100):
        times = {"period_start": iso(MORNING), "period_end": iso(MORNING + 900)}
        values = {"period_in": 1, "period_out": 0, "line": number, **times}
        centre.step(Sample("d", at(MORNING + 950), values))  # type: ignore[arg-type]
    assert centre.now()[0] == MAX_LINES + 1
    assert len(centre.row().lines) == MAX_LINES
    assert centre.row().why == "unreadable"


def test_a_lane_in_one_direction_needs_only_that_count() -> None:
    centre = Centre(counter("d", 900, points=("period_in", "period_start", "period_end")))
    centre.tick(MORNING)
    values = {"period_in": 3, "period_start": iso(MORNING), "period_end": iso(MORNING + 900)}
    (crossing,) = told(centre.step(Sample("d", at(MORNING + 950), values)), "crossing")
    assert (crossing["in"], crossing["out"]) == (3, 0)


def test_a_period_of_another_day_is_told_but_is_not_todays() -> None:
    centre = begun()
    (crossing,) = told(centre.period(MORNING, -7200, -6300, 5), "crossing")
    assert crossing["since"] == wall(-7200)
    assert centre.now() == (0, 0, 0)


@pytest.mark.parametrize("years", [-26, 4])
def test_periods_of_another_time_are_told_once_and_not_counted(years: int) -> None:
    centre = begun()
    away = years * 366 * 86_400
    assert kinds(centre.period(MORNING, away, away + 900, 5)) == ["coverage", "counter-implausible"]
    assert kinds(centre.period(MORNING, away + 900, away + 1800, 5)) == []
    assert kinds(centre.period(MORNING, MORNING - 900, MORNING, 5)) == ["coverage", "crossing"]


@pytest.mark.parametrize(("age_s", "counted"), [(400 * 86_400, True), (400 * 86_400 + 1, False)])
def test_a_period_of_last_year_is_counted_once_and_an_older_one_told_once(
    age_s: int, counted: bool
) -> None:
    centre = begun()
    since = MORNING - age_s
    facts = kinds(centre.period(MORNING, since, since + 900, 5))
    assert facts == ["coverage", "crossing" if counted else "counter-implausible"]
    assert kinds(centre.period(MORNING, since, since + 900, 5)) == []


def test_a_counter_whose_clock_is_some_hours_fast_is_taken_to_speak_of_now() -> None:
    (crossing,) = told(begun().period(MORNING, MORNING + 28_800, MORNING + 29_700, 5), "crossing")
    assert crossing == {"in": 5, "out": 0}


def test_a_clock_that_was_never_set_judges_no_period() -> None:
    centre = begun()
    values = {"period_in": 5, "period_out": 0, "period_start": iso(0), "period_end": iso(900)}
    unset = at(-50 * 366 * 86_400, "x", ClockQuality.UNSET)
    assert kinds(centre.step(Sample("d", unset, values))) == ["coverage", "crossing"]


def test_a_time_at_the_end_of_the_calendar_is_none() -> None:
    centre = begun()
    times = {"period_start": "31 Dec 9999 23:30:00 -1200", "period_end": "31 Dec 9999 23:45:00 -1200"}
    unset = at(-50 * 366 * 86_400, "x", ClockQuality.UNSET)
    centre.step(Sample("d", unset, {"period_in": 5, "period_out": 0, **times}))
    assert centre.row().why == "unreadable"


def test_a_crowd_that_no_period_could_hold_is_told_and_not_counted() -> None:
    centre = begun()
    assert quarters(centre, 1, 60_000) == ["counter-implausible"]
    assert centre.now()[0] == 0
    assert quarters(centre, 2, -5) == ["counter-implausible"]


def test_a_counter_that_tells_both_ways_is_counted_by_its_totals() -> None:
    centre = begun()
    centre.says(MORNING, 100), centre.says(MORNING + 600, 130)
    assert quarters(centre, -1, 99) == []
    centre.says(MORNING + 2000, 140)
    assert quarters(centre, 0, 40) == []
    assert centre.now()[0] == 40


def test_a_counter_that_changes_its_way_of_counting_begins_anew() -> None:
    centre = begun()
    quarters(centre, 0, 5)
    centre.says(MORNING + 2000, 700), centre.says(MORNING + 2001, 701)
    assert quarters(centre, 2, 6) == []
    assert quarters(centre, 3, 1) == ["crossing"]
    assert centre.now()[0] == 7


@given(st.permutations(range(40)), st.lists(st.integers(0, 39), max_size=40))
def test_periods_in_any_order_never_count_more_than_passed(order: list[int], again: list[int]) -> None:
    centre = begun()
    for number in [*order, *again]:
        quarters(centre, number, 1)
    assert len(centre.row().counted_intervals_s) <= MAX_COUNTED_INTERVALS
    assert 0 < centre.now()[0] <= 40


def test_seconds_between_periods_do_not_use_up_what_is_remembered_of_an_outage() -> None:
    centre = begun()
    for number in range(40):
        since = MORNING + number * QUARTER
        if not 4 <= number < 8:
            centre.period(since + 1800, since, since + QUARTER - 1, 1)
    for number in range(4, 8):
        since = MORNING + number * QUARTER
        centre.period(MORNING + 43_200, since, since + QUARTER - 1, 1)
    assert centre.now()[0] == 40


def test_a_clock_that_was_fast_and_is_put_right_costs_no_period() -> None:
    """While it was three hours fast it told of the time that is told of once more when it comes."""
    centre = begun()
    for number in range(24):
        fast = 3 * 3600 if number < 8 else 0
        since = MORNING + number * QUARTER
        for _ in range(2):
            centre.period(since + QUARTER, since + fast, since + fast + QUARTER, 5)
    assert centre.now()[0] == 24 * 5


def test_a_clock_that_is_put_back_is_told_of() -> None:
    centre = begun()
    facts = []
    for number in range(24):
        slow = 2 * 3600 if number >= 8 else 0
        since = MORNING + number * QUARTER
        facts += centre.period(since + QUARTER, since - slow, since - slow + QUARTER, 5)
    assert [each["why"] for each in told(facts, "coverage")] == ["", "clock", ""]
    assert centre.now()[0] == 16 * 5


def test_a_period_that_never_came_is_told_of_once_and_counts_if_it_comes_after_all() -> None:
    centre = begun()
    facts = []
    for number in range(40):
        since = MORNING + number * QUARTER
        if number != 4:
            facts += centre.period(since + QUARTER, since, since + QUARTER, 1)
    missing = MORNING + 4 * QUARTER
    assert told(facts, "counter-missed") == [{"since": wall(missing), "until": wall(missing + QUARTER)}]
    assert told(centre.period(MORNING + 40_000, missing, missing + QUARTER, 1), "crossing")
    assert centre.now()[0] == 40


def test_what_a_counter_says_but_once_is_safe_before_it_is_answered() -> None:
    (crossing,) = (
        each for each in begun().period(MORNING + 950, MORNING, MORNING + 900, 3) if each.kind == "crossing"
    )
    assert crossing.durable


def test_an_impossible_period_says_which_time_is_unknown() -> None:
    (fact,) = told(begun().period(MORNING + 950, MORNING, MORNING + 900, 60_000), "counter-implausible")
    assert (fact["since"], fact["until"]) == (wall(MORNING), wall(MORNING + 900))


MIDNIGHT = 24 * 3600


def evening() -> Centre:
    centre = Centre(every=900)
    centre.tick(MIDNIGHT - 3600)
    for quarter in (3, 2):
        centre.period(
            MIDNIGHT - quarter * 900 + 905, MIDNIGHT - (quarter + 1) * 900, MIDNIGHT - quarter * 900, 2
        )
    return centre


def test_the_last_period_of_a_day_comes_after_midnight_and_is_in_its_day() -> None:
    centre = evening()
    centre.period(MIDNIGHT - 895, MIDNIGHT - 1800, MIDNIGHT - 900, 4, 1)
    assert told(centre.tick(MIDNIGHT), "visitor-day") == []
    centre.reboot()
    centre.period(MIDNIGHT + 5, MIDNIGHT - 900, MIDNIGHT, 3, 2)
    (day,) = told(centre.tick(MIDNIGHT + 6), "visitor-day")
    assert (day["in"], day["out"]) == (11, 3)
    assert day["doors"] == {"d": {"in": 11, "out": 3, "counters": {"d": [11, 3]}}}
    assert centre.now() == (0, 0, 0)
    assert told(centre.tick(MIDNIGHT + 7), "visitor-day") == []


def test_a_day_whose_last_period_never_comes_is_told_an_hour_later() -> None:
    centre = evening()
    assert told(centre.tick(MIDNIGHT), "visitor-day") == []
    assert told(centre.tick(MIDNIGHT + 3599), "visitor-day") == []
    (day,) = told(centre.tick(MIDNIGHT + 3600), "visitor-day")
    assert day["in"] == 4


def crossings(facts: list[Fact]) -> list[dict[str, Any]]:
    return told(facts, "crossing")


@pytest.mark.parametrize(
    ("seconds", "counted"), [(0, False), (1, True), (86_400, True), (86_401, False), (-900, False)]
)
def test_a_period_lasts_from_a_second_to_a_day(seconds: int, counted: bool) -> None:
    facts = begun().period(100_000, 0, seconds, 5)
    assert len(crossings(facts)) == counted
    assert told(facts, "coverage")[0]["why"] == ("" if counted else "unreadable")


@pytest.mark.parametrize(
    ("overlap", "counted"), [(0, True), (45, True), (46, False), (854, False), (855, True)]
)
def test_a_twentieth_may_be_counted_already_and_all_but_a_twentieth_is_a_repetition(
    overlap: int, counted: bool
) -> None:
    """855 of 900 seconds is a repetition, which is no fault but is not counted either."""
    centre = begun()
    quarters(centre, 0, 50)
    start = MORNING + QUARTER - overlap
    facts = centre.period(start + QUARTER, start, start + QUARTER, 5)
    assert centre.now()[0] == (55 if overlap <= 45 else 50)
    assert told(facts, "coverage") == ([] if counted else [{"covered": False, "why": "implausible"}])


@pytest.mark.parametrize(
    ("ahead", "of_now", "why"),
    [(0, False, ""), (900, False, ""), (901, True, ""), (86_400, True, ""), (86_401, True, "clock")],
)
def test_a_clock_that_is_a_quarter_of_an_hour_to_a_day_fast_speaks_of_now(
    ahead: int, of_now: bool, why: str
) -> None:
    facts = begun().period(MORNING, MORNING + ahead - QUARTER, MORNING + ahead, 5)
    assert told(facts, "coverage")[0]["why"] == why
    assert ["since" not in each for each in crossings(facts)] == ([] if why else [of_now])


@pytest.mark.parametrize(("people", "counted"), [(1040, True), (1041, False)])
def test_1040_people_pass_a_door_in_a_quarter_of_an_hour_at_most(people: int, counted: bool) -> None:
    """20 at once, 180 in the first minute and 840 in the others."""
    centre = begun()
    quarters(centre, 0, people)
    assert centre.now()[0] == people * counted


@pytest.mark.parametrize(("later", "why"), [(2700, ""), (2701, "clock")])
def test_a_counter_that_repeats_itself_for_three_periods_has_a_wrong_clock(later: int, why: str) -> None:
    centre = begun()
    centre.period(MORNING + QUARTER, MORNING, MORNING + QUARTER, 5)
    centre.period(MORNING + QUARTER + later, MORNING, MORNING + QUARTER, 5)
    assert (centre.now()[0], centre.row().why) == (5, why)


@pytest.mark.parametrize(
    ("gap", "later", "missing"), [(900, 21_600, 1), (900, 21_599, 0), (450, 21_600, 1), (449, 21_600, 0)]
)
def test_half_a_period_that_has_not_come_after_six_hours_is_missing(
    gap: int, later: int, missing: int
) -> None:
    centre = begun()
    quarters(centre, 0, 5)
    since = MORNING + QUARTER + gap
    centre.period(since + QUARTER, since, since + QUARTER, 5)
    facts = centre.period(since + later, since + QUARTER, since + 2 * QUARTER, 5)
    assert (
        told(facts, "counter-missed")
        == [{"since": wall(MORNING + QUARTER), "until": wall(MORNING + QUARTER + gap)}][:missing]
    )


def test_a_period_from_the_last_total_on_is_counted() -> None:
    centre = begun()
    centre.says(MORNING, 100)
    assert quarters(centre, 0, 5) == ["crossing"]
    centre.says(MORNING + 3600, 100)
    centre.says(MORNING + 3601, 100)
    assert crossings(centre.period(MORNING + 4501, MORNING + 3600, MORNING + 4500, 7)) == []


def test_what_is_stored_of_counted_times_is_what_lies_between_the_64_largest_gaps() -> None:
    centre = begun()
    starts = [MORNING + 600 * number for number in range(64)]
    for start in starts:
        assert crossings(centre.period(start + 60, start, start + 60, 1))
    assert centre.row().counted_intervals_s == tuple(unix(start, start + 60) for start in starts)
    for start in starts:
        assert crossings(centre.period(starts[-1] + 90, start, start + 60, 1)) == []
    beside = starts[10] + 60
    assert crossings(centre.period(starts[-1] + 100, beside, beside + 60, 1))
    assert centre.row().counted_intervals_s[10] == unix(starts[10], starts[10] + 120), "no gap, no room"
    near = starts[20] + 300
    assert crossings(centre.period(starts[-1] + 110, near, near + 60, 1))
    stored = centre.row().counted_intervals_s
    assert len(stored) == 64
    assert stored[20:22] == (unix(starts[20], near + 60), unix(starts[21], starts[21] + 60))


def unix(*seconds: float) -> tuple[int, ...]:
    return tuple(wall(second) // 1000 for second in seconds)


def test_a_period_belongs_to_the_day_of_the_centre_whatever_zone_its_times_are_in() -> None:
    centre = begun()
    times = {"period_start": "2026-11-20T23:00:00Z", "period_end": "2026-11-20T23:15:00Z"}
    centre.step(Sample("d", at(MORNING), {"period_in": 5, "period_out": 0, **times}))
    assert centre.now()[0] == 5


def test_a_direction_that_a_counter_does_not_have_is_nobody() -> None:
    centre = Centre(counter("d", 900, points=("period_out", "period_start", "period_end")))
    centre.tick(MORNING)
    values: dict[str, Any] = {
        "period_out": 3,
        "period_start": iso(MORNING),
        "period_end": iso(MORNING + 900),
    }
    centre.step(Sample("d", at(MORNING + 950), values))
    assert (centre.row().came, centre.row().left) == (0, 3)
