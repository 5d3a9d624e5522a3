"""Activities and visiting groups."""

from typing import Any

import msgspec
import pytest

from gateway.capabilities.visitors.services import Visitors
from gateway.capabilities.visitors.services.bookings import VisitBooking
from gateway.capabilities.visitors.services.occupancy import Flow
from gateway.model import GatewayError
from tests.gateway.capabilities.visitors.services import test_service
from tests.gateway.capabilities.visitors.services.kit import Centre, told, wall
from tests.gateway.capabilities.visitors.services.test_service import HOUR
from tests.gateway.services.kit import kinds

MINUTE = 60
TEN = 10 * HOUR
DAY = 24 * HOUR


def hall() -> Centre:
    """Everybody has been heard a moment ago."""
    centre = test_service.hall()
    centre.keep(TEN - 20 * MINUTE)
    return centre


def book(centre: Centre, second: float = HOUR, **args: Any) -> list[Any]:
    usual = {"title": "书法课", "from": wall(TEN), "until": wall(TEN + HOUR), "expected": 12}
    return centre.ask(second, "book", **{**usual, **args})


def test_who_comes_in_its_time_attends_an_activity() -> None:
    centre = hall()
    (made,) = book(centre, room="hall")
    assert made.body == {
        "booking": made.body["booking"], "title": "书法课", "class": "activity", "room": "hall", "door": "",
        "from": wall(TEN), "until": wall(TEN + HOUR), "expected": 12, "by": "王",
    }  # fmt: skip
    came = left = 0
    # Too early, within the grace, during it, and too late; some who pass other doors.
    for minute, more in ((-16, 1), (-14, 2), (5, 8), (30, 1), (61, 5)):
        came += more
        centre.keep(TEN + minute * MINUTE - 1)
        centre.says(TEN + minute * MINUTE, came, left, "c")
        centre.says(TEN + minute * MINUTE, came, 0, "l")
        if minute == 5:
            left = 3
            centre.says(TEN + 6 * MINUTE, came, left, "c")
    facts = centre.tick(TEN + 62 * MINUTE)
    (body,) = told(facts, "attendance")
    assert (body["title"], body["came"], body["left"], body["peak"]) == ("书法课", 11, 3, 10)
    assert centre.tick(TEN + 63 * MINUTE) == []


@pytest.mark.parametrize(
    ("second", "came"),
    [(-900.001, 0), (-900, 5), (0, 5), (3599.999, 5), (3600, 0)],
)
def test_it_is_attended_from_a_quarter_of_an_hour_before_it_to_its_end(second: float, came: int) -> None:
    centre = hall()
    book(centre)
    centre.keep(TEN + second - 1)
    centre.says(TEN + second, 5, 0, "a")
    (body,) = told(centre.tick(TEN + 2 * HOUR), "attendance")
    assert (body["came"], body["left"], body["peak"]) == (came, 0, came)


def test_a_booking_says_only_what_was_asked() -> None:
    """The platform need not say what kind it is, and how many are expected."""
    (made,) = hall().ask(HOUR, "book", title="书法课", **{"from": wall(TEN), "until": wall(TEN + HOUR)})
    assert (made.body["class"], made.body["expected"]) == ("activity", 0)


def test_a_stored_booking_leaves_out_what_is_as_usual() -> None:
    stored = {"type": "booking", "title": "书法课", "kind": "activity", "since": 1, "until": 2}
    booking = msgspec.convert(stored, Visitors.row)
    assert isinstance(booking, VisitBooking)
    assert msgspec.to_builtins(booking) == stored
    assert (booking.expected, booking.peak, booking.tours, booking.flow) == (0, 0, 0, Flow(0, 0, 0))
    assert not booking.reported


def test_a_groups_visitors_are_counted_up_to_those_who_were_expected() -> None:
    centre = hall()
    book(centre, **{"class": "tour", "expected": 3})
    centre.keep(TEN)
    tours = [
        told(centre.says(TEN + minute * MINUTE, came, 0, "a"), "crossing")[0].get("tours", 0)
        for minute, came in ((1, 1), (2, 3), (3, 9))
    ]
    assert tours == [1, 2, 0]
    assert centre.figures["tours"] == 3
    assert told(centre.tick(24 * HOUR), "visitor-day")[0]["tours"] == 3


def test_two_groups_that_come_at_once_share_who_comes() -> None:
    centre = hall()
    for title in ("一班", "二班"):
        book(centre, title=title, **{"class": "tour", "expected": 3})
    centre.keep(TEN)
    (crossing,) = told(centre.says(TEN + 1, 4, 0, "a"), "crossing")
    assert (crossing["tours"], centre.figures["tours"]) == (4, 4)
    (crossing,) = told(centre.says(TEN + 2, 9, 0, "a"), "crossing")
    assert (crossing["tours"], centre.figures["tours"]) == (2, 6)


def test_a_group_that_comes_to_a_room_comes_through_its_own_door_if_it_has_one() -> None:
    centre = hall()
    book(centre, room="hall", **{"class": "tour"})
    centre.keep(TEN - 1)
    centre.says(TEN, 5, 0, "a")
    assert centre.figures["tours"] == 0
    centre.says(TEN + 1, 2, 0, "y")
    assert centre.figures["tours"] == 0
    centre.says(TEN + 2, 2, 6, "y")
    assert (centre.figures["tours"], centre.now()) == (6, (11, 2, 9))


def test_a_group_in_a_room_without_a_door_of_its_own_comes_through_any() -> None:
    centre = hall()
    book(centre, room="loft", **{"class": "tour"})
    centre.keep(TEN - 1)
    centre.says(TEN, 5, 0, "a")
    assert centre.figures["tours"] == 5


def test_a_booking_of_a_door_counts_who_passes_it() -> None:
    centre = hall()
    book(centre, door="study")
    centre.keep(TEN - 1)
    centre.says(TEN, 5, 0, "s"), centre.says(TEN, 9, 0, "a")
    assert told(centre.tick(TEN + 2 * HOUR), "attendance")[0]["came"] == 5
    (stored,) = (row for row in centre.rows.values() if isinstance(row, VisitBooking))
    assert stored.flow == Flow(5, 0, unseen=0)


def test_bookings_of_another_time_or_door_take_nobody_from_this_one() -> None:
    centre = hall()
    book(centre, title="晨练", **{"from": wall(8 * HOUR), "until": wall(9 * HOUR)})
    book(centre, title="后院", door="yard"), book(centre)
    book(centre, title="合唱", **{"from": wall(TEN + HOUR), "until": wall(TEN + 2 * HOUR)})
    centre.keep(TEN - 1)
    centre.says(TEN, 5, 0, "a")
    attended = told(centre.tick(TEN + 3 * HOUR), "attendance")
    assert {each["title"]: each["came"] for each in attended} == {
        "晨练": 0, "后院": 0, "书法课": 5, "合唱": 0,
    }  # fmt: skip


def test_a_period_that_comes_after_the_end_is_waited_for() -> None:
    centre = Centre(every=900)
    centre.tick(0)
    book(centre)
    centre.period(TEN + 900, TEN, TEN + 900, 4)
    assert told(centre.tick(TEN + HOUR + 10), "attendance") == []
    centre.period(TEN + HOUR + 30, TEN + 2700, TEN + HOUR, 3, 1)
    (body,) = told(centre.tick(TEN + HOUR + 900), "attendance")
    assert (body["came"], body["left"]) == (7, 1)


def test_a_booking_survives_a_restart_and_can_be_cancelled() -> None:
    centre = hall()
    (made,) = book(centre)
    centre.reboot()
    assert centre.ask(2 * HOUR, "cancel-booking", booking="booking/none") == []
    assert kinds(centre.ask(2 * HOUR, "cancel-booking", booking=made.body["booking"])) == [
        "booking-cancelled"
    ]
    assert told(centre.tick(TEN + 2 * HOUR), "attendance") == []


def test_the_same_booking_twice_is_one() -> None:
    centre = hall()
    assert (kinds(book(centre)), kinds(book(centre))) == (["booking-made"], [])
    assert kinds(book(centre, title="合唱")) == ["booking-made"]


@pytest.mark.parametrize(
    "args",
    [
        {"title": " "}, {"title": 7}, {"class": "party"}, {"room": "attic"}, {"door": "none"},
        {"expected": -1}, {"expected": 2.5}, {"from": "10:00"}, {"from": True}, {"until": None},
        {"until": wall(TEN)}, {"until": wall(TEN + 25 * HOUR)}, {"from": wall(-HOUR), "until": wall(0)},
        {"until": wall(TEN) + 86_400_001}, {"expected": 100_000},
        {"from": wall(0), "until": wall(HOUR)},
        {"from": wall(HOUR + 399.5 * DAY), "until": wall(HOUR + 400 * DAY) + 1},
        {"from": wall(500 * DAY)},
    ],
)  # fmt: skip
def test_a_booking_without_sense_is_none(args: dict[str, Any]) -> None:
    assert book(hall(), **args) == []


@pytest.mark.parametrize(
    "args",
    [
        {"until": wall(TEN) + 86_400_000}, {"expected": 99_999}, {"expected": 0},
        {"from": wall(0), "until": wall(HOUR) + 1},
        {"from": wall(HOUR + 399.5 * DAY), "until": wall(HOUR + 400 * DAY)},
        {"from": wall(TEN), "until": wall(TEN) + 1},
    ],
)  # fmt: skip
def test_a_day_is_the_longest_and_400_days_ahead_the_latest_booking(args: dict[str, Any]) -> None:
    assert kinds(book(hall(), **args)) == ["booking-made"]


def test_nobody_books_without_end() -> None:
    centre = hall()
    for number in range(500):
        assert kinds(book(centre, title=f"{number}")) == ["booking-made"]
    with pytest.raises(GatewayError, match="bookings-many"):
        book(centre, title="one more")


def test_a_group_that_nobody_had_booked_is_marked_afterwards() -> None:
    centre = hall()
    centre.says(TEN - 18 * MINUTE, 30, 0, "a"), centre.keep(TEN - 1), centre.says(TEN, 42, 0, "a")
    (fact,) = centre.ask(TEN + 5 * MINUTE, "mark-tour", count=12, minutes=15)
    assert fact.body == {
        "count": 12,
        "since": wall(TEN - 10 * MINUTE),
        "until": wall(TEN + 5 * MINUTE),
        "by": "王",
    }
    assert centre.figures["tours"] == 12


@pytest.mark.parametrize(
    "args", [{"count": 13}, {"count": 0}, {"count": 2, "minutes": 0}, {"count": "x"}, {"minutes": 2000}]
)
def test_no_more_are_marked_than_came(args: dict[str, Any]) -> None:
    centre = hall()
    centre.says(TEN - 18 * MINUTE, 30, 0, "a"), centre.keep(TEN - 1), centre.says(TEN, 42, 0, "a")
    assert centre.ask(TEN + 5 * MINUTE, "mark-tour", **{"count": 12, "minutes": 15, **args}) == []


def test_nobody_is_marked_twice() -> None:
    centre = hall()
    centre.keep(TEN - 1), centre.says(TEN, 10, 0, "a")
    assert kinds(centre.ask(TEN, "mark-tour", count=7, minutes=15)) == ["tour-marked"]
    assert centre.ask(TEN, "mark-tour", count=7, minutes=15) == []


def test_a_booking_outlives_a_clock_that_leaps_ahead_and_back() -> None:
    centre = hall()
    book(centre)
    assert told(centre.tick(10 * 366 * 24 * HOUR), "attendance")[0]["came"] == 0
    centre.tick(TEN - 1)
    centre.keep(TEN)
    centre.says(TEN + 1, 5, 0, "a")
    assert told(centre.tick(TEN + 2 * HOUR), "attendance")[0]["came"] == 5
