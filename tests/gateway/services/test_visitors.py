import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Point
from gateway.services.visitors import SPANS, Visitors
from tests.gateway.services.kit import DAY, Fold, device, kinds, sample, tick

POINTS = {"in": Point(), "out": Point()}


def visitors(*doors: str) -> Fold:
    return Fold(Visitors({name: device(name, "door-counter", **POINTS) for name in doors or ("d",)}))


def counted(fold: Fold, second: float, came: int, left: int, name: str = "d") -> list[str]:
    values: dict[str, int] = {"in": came, "out": left}
    return kinds(fold.step(sample(name, second, "", **values)))


def test_the_first_reading_is_where_counting_begins() -> None:
    fold = visitors()
    assert fold.service.summary(fold.rows) == {}
    assert counted(fold, 0, 48_211, 47_904) == []
    assert fold.service.summary(fold.rows) == {"inside": 0, "in": 0, "out": 0}


def test_who_came_and_left_through_all_doors_is_inside() -> None:
    fold = visitors("d", "e")
    counted(fold, 0, 100, 100), counted(fold, 0, 7, 7, "e")
    assert counted(fold, 1, 103, 100) == ["crossing"]
    assert counted(fold, 1, 7, 8, "e") == ["crossing"]
    assert fold.service.summary(fold.rows) == {"inside": 2, "in": 3, "out": 1}


def test_nobody_is_ever_less_than_nobody_inside() -> None:
    fold = visitors()
    counted(fold, 0, 0, 0), counted(fold, 1, 0, 2)
    assert fold.service.summary(fold.rows)["inside"] == 0


@pytest.mark.parametrize("width", [1 << 32, 1 << 16, 1 << 8])
def test_a_counter_that_rolls_over_goes_on_counting(width: int) -> None:
    points = {"in": Point(wraps=width), "out": Point(wraps=width)}
    fold = Fold(Visitors({"d": device("d", "door-counter", **points)}))
    counted(fold, 0, width - 2, width - 1), counted(fold, 1, 1, 0)
    assert fold.service.summary(fold.rows) == {"inside": 2, "in": 3, "out": 1}


def test_a_total_beyond_its_width_was_restarted_when_it_falls() -> None:
    fold = Fold(Visitors({"d": device("d", "door-counter", **{"in": Point(wraps=256), "out": Point()})}))
    counted(fold, 0, 70_000, 0), counted(fold, 1, 3, 0)
    assert fold.service.summary(fold.rows)["in"] == 3


def test_a_counter_that_was_switched_off_begins_again_without_phantoms() -> None:
    fold = visitors()
    counted(fold, 0, 5000, 4990)
    assert counted(fold, 60, 0, 0) == []
    assert counted(fold, 61, 2, 0) == ["crossing"]
    assert fold.service.summary(fold.rows) == {"inside": 2, "in": 2, "out": 0}


def test_a_leap_that_no_crowd_could_make_is_told_and_not_counted() -> None:
    fold = visitors()
    counted(fold, 0, 10, 10)
    assert counted(fold, 1, 60_010, 10) == ["counter-implausible"]
    assert counted(fold, 2, 60_011, 10) == ["crossing"]
    assert fold.service.summary(fold.rows)["in"] == 1


def test_visitors_of_an_outage_are_counted_when_the_counter_is_back() -> None:
    fold = visitors()
    counted(fold, 0, 10, 10)
    fold.step(sample("d", 5, error="timeout"))
    assert counted(fold, 3600, 160, 130) == ["crossing"]
    assert fold.service.summary(fold.rows)["in"] == 150


def test_visitors_of_a_restart_are_counted_too() -> None:
    fold = visitors()
    counted(fold, 0, 10, 10)
    fold.restart()
    counted(fold, 30, 14, 11)
    assert fold.service.summary(fold.rows) == {"inside": 3, "in": 4, "out": 1}


def period(fold: Fold, start: str, end: str, came: int, left: int = 0, day: str = DAY) -> list[str]:
    values: dict[str, str | int] = {
        "period_in": came,
        "period_out": left,
        "period_start": f"{day}T{start}:00+08:00",
        "period_end": f"{day}T{end}:00+08:00",
    }
    return kinds(fold.step(sample("d", 0, "", **values)))


def periodic() -> Fold:
    """A door whose counting began with a first period."""
    fold = visitors()
    assert period(fold, "08:00", "08:15", 50) == []
    fold.step(tick(0))
    return fold


def test_a_period_counts_once_however_often_and_in_whatever_order_it_comes() -> None:
    fold = periodic()
    assert period(fold, "08:15", "08:30", 5, 1) == ["crossing"]
    assert period(fold, "08:15", "08:30", 5, 1) == []
    assert period(fold, "09:00", "09:15", 2, 2) == ["crossing"]
    assert period(fold, "08:30", "08:45", 7) == ["crossing"]
    assert period(fold, "08:30", "08:45", 7) == []
    fold.restart()
    assert period(fold, "08:00", "08:15", 50) == []
    assert fold.service.summary(fold.rows) == {"inside": 11, "in": 14, "out": 3}


@pytest.mark.parametrize(
    ("start", "end"), [("08:00", "09:00"), ("08:10", "08:20"), ("08:05", "08:10"), ("07:45", "08:01")]
)
def test_a_period_that_overlaps_counted_time_counts_nobody_again(start: str, end: str) -> None:
    assert period(periodic(), start, end, 5) == []


@pytest.mark.parametrize(
    ("start", "end"), [("08:30", "08:30"), ("08:30", "08:15"), ("08:30", "nine"), ("", "08:30")]
)
def test_a_period_without_sense_is_none(start: str, end: str) -> None:
    fold = periodic()
    assert period(fold, start, end, 5) == []
    assert period(fold, "08:15", "08:30", 5) == ["crossing"]


def test_a_period_of_another_day_is_told_but_is_not_todays() -> None:
    fold = periodic()
    assert period(fold, "22:00", "22:15", 5, day="2026-11-20") == ["crossing"]
    assert fold.service.summary(fold.rows)["in"] == 0


def test_a_crowd_that_no_period_could_hold_is_told_and_not_counted() -> None:
    fold = periodic()
    assert period(fold, "08:15", "08:30", 60_000) == ["counter-implausible"]
    assert fold.service.summary(fold.rows)["in"] == 0
    assert period(fold, "08:30", "08:45", -5) == []


def test_a_door_that_changes_its_way_of_counting_begins_anew() -> None:
    fold = periodic()
    period(fold, "08:15", "08:30", 5)
    assert counted(fold, 1, 5, 0) == []
    assert counted(fold, 2, 6, 0) == ["crossing"]
    assert period(fold, "08:30", "08:45", 6) == []
    assert period(fold, "08:45", "09:00", 1) == ["crossing"]
    assert fold.service.summary(fold.rows)["in"] == 7


@given(st.permutations(range(40)), st.lists(st.integers(0, 39), max_size=40))
def test_periods_in_any_order_never_count_more_than_passed(order: list[int], again: list[int]) -> None:
    fold = visitors()
    period(fold, "00:00", "00:15", 0)
    fold.step(tick(0))
    for number in [*order, *again]:
        start, end = ((number + 1 + ahead) * 15 for ahead in (0, 1))
        period(fold, f"{start // 60:02}:{start % 60:02}", f"{end // 60:02}:{end % 60:02}", 1)
    (door,) = fold.rows.values()
    assert len(door.counted) <= SPANS
    assert 0 < fold.service.summary(fold.rows)["in"] <= 40


def test_each_day_begins_anew_and_writes_the_last_one_down() -> None:
    fold = visitors()
    counted(fold, 0, 0, 0)
    assert kinds(fold.step(tick(1, DAY))) == []
    counted(fold, 2, 9, 4)
    (fact,) = fold.step(tick(3, "2026-11-22"))
    assert (fact.kind, fact.body) == ("visitor-day", {"day": DAY, "in": 9, "out": 4})
    assert fold.service.summary(fold.rows) == {"inside": 0, "in": 0, "out": 0}
    assert fold.step(tick(4, "2026-11-22")) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from(["", "reset", "again"]))))
def test_hours_with_restarts_and_repetitions_count_exactly(
    steps: list[tuple[int, int, str]],
) -> None:
    """A counter that restarts between readings, and one whose readings come twice."""
    fold = visitors()
    counted(fold, 0, 1000, 1000)
    at_counter, true = [1000, 1000], [0, 0]
    for second, (came, left, event) in enumerate(steps, 1):
        if event == "reset":
            at_counter = [0, 0]
            counted(fold, second, 0, 0)
        at_counter = [at_counter[0] + came, at_counter[1] + left]
        true = [true[0] + came, true[1] + left]
        for _ in range(2 if event == "again" else 1):
            counted(fold, second, at_counter[0], at_counter[1])
    summary = fold.service.summary(fold.rows)
    assert [summary["in"], summary["out"]] == true
