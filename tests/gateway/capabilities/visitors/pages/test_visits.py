"""Who is where, as the dashboard shows it."""

from typing import Any

import pytest

from gateway.capabilities.visitors.pages.visits import Visits, visits_of
from gateway.capabilities.visitors.services import (
    TOUR,
    Counter,
    Day,
    Door,
    DoorTally,
    Drift,
    Flow,
    Layout,
    Place,
    Room,
    VisitBooking,
)
from gateway.model import ClockQuality, Stamp

NOW = Stamp(1_790_000_000_000, 0, "b", ClockQuality.SYNCED)
DAY = "2026-09-21"
HOUR = 3_600_000
LAYOUT = Layout(
    rooms={"hall": Room(title={"zh": "大厅"}, limit=20)},
    doors={
        "main": Door(title={"zh": "东门"}, counters=("a", "b")),
        "c": Door(counters=("c",), inner="hall"),
    },
    limit=30,
)
HEARD = {f"counter__{name}": Counter(at=NOW, why="", heard=True) for name in "abc"}
TITLES = {"a": {"zh": "摄像机"}}


def seen(day: str = DAY, **rows: Any) -> Visits:
    named: dict[str, Any] = {"day/": Day(day=day)}
    named |= {key.replace("__", "/"): row for key, row in rows.items()}
    return visits_of(named, LAYOUT, TITLES, DAY, NOW)


def test_the_centre_comes_first_and_each_place_says_how_full_it_is() -> None:
    found = seen(
        place__=Place(inside=28, today=Flow(40, 12), tours=6, near=True),
        place__hall=Place(inside=21),
        **HEARD,
    )
    centre, hall = found.places
    assert (centre.name, centre.inside, centre.came, centre.left, centre.limit) == ("", 28, 40, 12, 30)
    assert (centre.near, centre.full, hall.full, hall.title) == (True, False, True, {"zh": "大厅"})
    assert (found.tours, found.full, found.near) == (6, 1, 1)
    assert found.rooms_inside == (hall,)


def test_yesterdays_figures_are_not_todays_but_its_drift_is_shown() -> None:
    row = Place(inside=7, today=Flow(40, 12), drift=Drift(NOW, 3, Flow(40, 38, 1)), tours=2)
    found = seen("2026-09-20", place__=row, door__main=DoorTally(came=9), **HEARD)
    (centre, _) = found.places
    assert (centre.inside, centre.came, found.tours, found.doors[0].came) == (None, None, 0, 9)
    assert centre.drift is not None
    assert (centre.drift.inside, centre.drift.unseen, centre.drift.percent) == (3, 1, 10.0)


def test_a_closing_without_anybody_has_no_share() -> None:
    (centre, _) = seen(place__=Place(drift=Drift(NOW, 0, Flow(0, 3, 3)))).places
    assert centre.drift is not None
    assert centre.drift.percent is None


def test_a_door_says_which_counter_counts_and_what_keeps_the_others() -> None:
    found = seen(
        door__main=DoorTally(came=9, left=4, active="b"),
        counter__a=Counter(at=NOW, why="invalid", came=3, left=1),
        counter__b=Counter(at=NOW, why="", heard=True, came=8, left=4),
    )
    main, other = found.doors
    assert [(each.name, each.active, each.why, each.came) for each in main.counters] == [
        ("a", False, "invalid", 3),
        ("b", True, "", 8),
    ]
    assert (main.counters[0].title, main.counters[1].title) == ({"zh": "摄像机"}, {})
    assert (other.counters[0].why, other.counters[0].active) == ("unheard", False)
    assert (other.came, other.counters[0].came) == (None, None)


def test_nobody_is_known_to_be_inside_before_every_entrance_was_heard() -> None:
    counted = {"place__": Place(inside=3, today=Flow(9, 6), near=True), "place__hall": Place(inside=2)}
    heard = {**HEARD, "counter__c": Counter(at=NOW, why="", came=2)}
    centre, hall = seen(**counted, **heard).places
    assert (centre.inside, centre.came, centre.left, centre.near) == (None, 9, 6, False)
    assert (hall.inside, hall.came, hall.left) == (None, None, None)
    (centre, hall) = seen(**counted, **HEARD).places
    assert (centre.inside, hall.inside, hall.came) == (3, 2, 0)


def test_a_counter_that_was_not_heard_since_a_restart_does_not_count() -> None:
    found = seen(
        door__main=DoorTally(came=9, left=4, active="a"), counter__a=Counter(at=NOW, why="", came=9, left=4)
    )
    counter = found.doors[0].counters[0]
    assert (counter.active, counter.why, counter.came) == (False, "unheard", 9)
    assert found.doors[0].came == 9


@pytest.mark.parametrize(
    ("hours", "live", "over"),
    [(-2, False, True), (-0.5, True, False), (0.2, True, False), (1, False, False)],
)
def test_bookings_say_whether_they_are_now(hours: float, live: bool, over: bool) -> None:
    since = NOW.wall_ms + round(hours * HOUR)
    row = VisitBooking(
        title="合唱", kind=TOUR, room="hall", since=since, until=since + HOUR, flow=Flow(9, 2), peak=8
    )
    (line,) = seen(booking__1=row).bookings
    assert (line.live, line.over, line.came, line.left, line.peak, line.place) == (
        live,
        over,
        9,
        2,
        8,
        {"zh": "大厅"},
    )


def test_bookings_of_earlier_days_are_in_the_calendar_only() -> None:
    def row(title: str, ago: int, *, reported: bool) -> VisitBooking:
        until = NOW.wall_ms - ago * 3_600_000
        return VisitBooking(
            title=title, kind="activity", since=until - 3_600_000, until=until, reported=reported
        )

    rows = {
        "booking/1": row("昨天", 30, reported=True),
        "booking/2": row("今天", 1, reported=True),
        "booking/3": row("昨天未报", 30, reported=False),
    }
    found = visits_of(rows, Layout(), {}, DAY, NOW, NOW.wall_ms - 10 * 3_600_000)
    assert {booking.title for booking in found.listed_bookings} == {"今天", "昨天未报"}
    assert len(found.bookings) == 3
