"""When the centre really opened."""

import msgspec
import pytest

from gateway.capabilities.visitors.services import Visitors
from gateway.capabilities.visitors.services.opening_hours import (
    SLOT_MINUTES,
    SLOTS_PER_DAY,
    Day,
    add_to_slot,
    observed_opening,
    opening_report,
)
from gateway.model.hours import parse_week
from tests.gateway.capabilities.visitors.services.kit import told
from tests.gateway.capabilities.visitors.services.test_service import HOUR, WEEK, hall

NONE = bytes(SLOTS_PER_DAY)


def people(*minutes: int) -> bytes:
    slots = NONE
    for minute in minutes:
        slots = add_to_slot(minute, slots, 1)
    return slots


MORNING = tuple(range(8 * 60 + 5, 12 * 60, 7))


def test_it_is_open_from_where_people_come_and_go_on_coming() -> None:
    assert observed_opening(people(*MORNING), NONE) == (8 * 60 + 5, 12 * 60)
    assert observed_opening(NONE, NONE) is None


def test_a_cleaner_a_delivery_and_a_guard_do_not_open_it() -> None:
    cleaner, guard, delivery = (
        (6 * 60, 6 * 60 + 50),
        (23 * 60,),
        (7 * 60, 7 * 60 + 1, 7 * 60 + 2, 7 * 60 + 4),
    )
    assert observed_opening(people(*MORNING, *cleaner, *guard, *delivery), people(7 * 60)) == (
        8 * 60 + 5,
        12 * 60,
    )


def test_whoever_unlocks_long_before_the_first_visitor_does_not_open_it() -> None:
    assert observed_opening(people(7 * 60 + 30, *MORNING), NONE) == (8 * 60 + 5, 12 * 60)


def crowds(**people_at: int) -> bytes:
    """How many came at times such as `t0805`."""
    slots = NONE
    for time, count in people_at.items():
        slots = add_to_slot(int(time[1:3]) * 60 + int(time[3:]), slots, count)
    return slots


@pytest.mark.parametrize(
    ("morning", "opened"),
    [
        # Five people in three slots of an hour, the second no more than three slots after the first.
        ({"t0800": 1, "t0815": 2, "t0855": 2}, "08:00"),
        ({"t0800": 1, "t0805": 1, "t0830": 3}, "08:00"),
        ({"t0800": 1, "t0815": 2, "t0855": 1}, "23:00"),
        ({"t0800": 2, "t0815": 3}, "23:00"),
        ({"t0800": 1, "t0815": 2, "t0900": 2}, "23:00"),
        ({"t0800": 1, "t0820": 2, "t0855": 2}, "23:00"),
    ],
)
def test_an_hour_is_open_with_five_people_in_three_slots(morning: dict[str, int], opened: str) -> None:
    evening = crowds(t2300=2, t2315=1, t2340=2, t2355=1)
    body = opening_report(Day(day="2026-11-21", came=evening, left=crowds(**morning)), None)
    assert (body["opened"], body["closed"]) == (opened, "24:00")


@pytest.mark.parametrize(("early", "opened"), [(4, 6 * 60), (3, 8 * 60)])
def test_a_busy_day_opens_with_a_fiftieth_of_its_people(early: int, opened: int) -> None:
    """Of 500 people ten, and of 499 ten too."""
    morning = crowds(t0600=3, t0610=3, t0620=early, t0800=200, t0810=200, t0820=90)
    assert observed_opening(morning, NONE) == (opened, 8 * 60 + 25)


def test_an_hour_that_only_ends_busy_is_not_open() -> None:
    assert observed_opening(crowds(t0800=1, t0820=2, t0825=2), NONE) is None
    assert observed_opening(crowds(t0800=2, t0805=2, t0825=1), NONE) is None


@pytest.mark.parametrize(("uncounted_s", "covered"), [(0, True), (899, True), (900, False)])
def test_a_day_without_a_count_for_a_quarter_of_an_hour_is_not_covered(
    uncounted_s: float, covered: bool
) -> None:
    assert opening_report(Day(day="2026-11-21", uncounted_s=uncounted_s), WEEK)["covered"] is covered


def test_a_stored_day_leaves_out_what_is_as_usual() -> None:
    day = msgspec.convert({"type": "day"}, Visitors.row)
    assert day == Day(day="", came=bytes(288), left=bytes(288), uncounted_s=0.0, open=False)


def test_the_published_hours_are_compared() -> None:
    body = opening_report(
        Day(day="2026-11-21", came=people(*MORNING)), parse_week({"sat": ["08:00-11:00", "11:30-12:30"]})
    )
    assert body == {
        "day": "2026-11-21", "published": [["08:00", "11:00"], ["11:30", "12:30"]], "opened": "08:05",
        "closed": "12:00", "late": 5, "early": 30, "covered": True,
    }  # fmt: skip


def test_a_day_that_should_have_been_open_and_was_not() -> None:
    body = opening_report(Day(day="2026-11-21"), WEEK)
    assert (body["published"], body["opened"], body["late"]) == ([["08:00", "20:00"]], None, None)
    assert opening_report(Day(day="2026-11-21"), None)["published"] == []


def test_past_midnight_is_another_day() -> None:
    body = opening_report(Day(day="2026-11-21", came=people(*MORNING)), parse_week({"sat": "08:00-02:00"}))
    assert (body["late"], body["early"]) == (5, None)
    for hours, early in (("08:00-24:00", 12 * 60), (["08:00-11:00", "22:00-02:00"], None)):
        body = opening_report(Day(day="2026-11-21", came=people(*MORNING)), parse_week({"sat": hours}))
        assert body["early"] == early


def test_a_slot_holds_no_more_than_it_can() -> None:
    assert add_to_slot(SLOT_MINUTES, add_to_slot(SLOT_MINUTES, NONE, 200), 200)[1] == 255


def test_the_day_is_told_at_its_end_and_says_whether_all_of_it_was_seen() -> None:
    centre = hall(WEEK)
    centre.tick(8 * HOUR)
    for number in range(60):
        centre.says(9 * HOUR + number * 120, number, 0, "a")
    (body,) = told(centre.tick(24 * HOUR), "opening-day")
    assert (body["opened"], body["closed"], body["late"], body["covered"]) == ("09:00", "11:00", 60, True)
    for day, minutes, covered in ((1, 10, True), (2, 20, False)):
        second = (day * 24 + 9) * HOUR
        centre.tick(second)
        centre.silent(second, "y"), centre.tick(second + 1)
        centre.says(second + minutes * 60, 0, 0, "y"), centre.tick(second + minutes * 60)
        (body,) = told(centre.tick((day + 1) * 24 * HOUR), "opening-day")
        assert (body["opened"], body["covered"]) == (None, covered)


@pytest.mark.parametrize("closes", ["20:00", "24:00", "02:00"])
def test_a_door_that_is_not_counted_to_the_end_of_the_day_was_not_covered(closes: str) -> None:
    centre = hall(parse_week(dict.fromkeys(("sat", "sun"), f"08:00-{closes}")))
    centre.tick(8 * HOUR)
    centre.silent(12 * HOUR, "y"), centre.tick(12 * HOUR + 1)
    (body,) = told(centre.tick(24 * HOUR), "opening-day")
    assert not body["covered"]
