"""Who is where, as the dashboard shows it."""

from typing import Any

import pytest

from gateway.capabilities.visitors.pages.visits import Visits, visits_of
from gateway.capabilities.visitors.services import (
    TOUR,
    Booking,
    Counter,
    Day,
    Door,
    DoorTally,
    Drift,
    Flow,
    Layout,
    Place,
    Room,
)
from gateway.model import ClockQuality, Stamp

NOW = Stamp(1_790_000_000_000, 0, "b", ClockQuality.SYNCED)
DAY = "2026-09-21"
HOUR = 3_600_000
LAYOUT = Layout(
    rooms={"hall": Room(title={"zh": "大厅"}, limit=20)},
    doors={"main": Door(title={"zh": "东门"}, counters=("a", "b")), "c": Door(counters=("c",))},
    limit=30,
)
TITLES = {"a": {"zh": "摄像机"}}


def seen(day: str = DAY, **rows: Any) -> Visits:
    named: dict[str, Any] = {"day/": Day(day=day)}
    named |= {key.replace("__", "/"): row for key, row in rows.items()}
    return visits_of(named, LAYOUT, TITLES, DAY, NOW)


def test_the_centre_comes_first_and_each_place_says_how_full_it_is() -> None:
    found = seen(
        place__=Place(inside=28, today=Flow(40, 12), tours=6, near=True), place__hall=Place(inside=21)
    )
    centre, hall = found.places
    assert (centre.name, centre.inside, centre.came, centre.left, centre.limit) == ("", 28, 40, 12, 30)
    assert (centre.near, centre.full, hall.full, hall.title) == (True, False, True, {"zh": "大厅"})
    assert (found.tours, found.full, found.near) == (6, 1, 1)
    assert found.rooms_inside == (hall,)


def test_yesterdays_figures_are_not_todays_but_its_drift_is_shown() -> None:
    row = Place(inside=7, today=Flow(40, 12), drift=Drift(NOW, 3, Flow(40, 38, 1)), tours=2)
    found = seen("2026-09-20", place__=row, door__main=DoorTally(came=9))
    (centre, _) = found.places
    assert (centre.inside, centre.came, found.tours, found.doors[0].came) == (0, 0, 0, 0)
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
        counter__b=Counter(at=NOW, why="", came=8, left=4),
    )
    main, other = found.doors
    assert [(each.name, each.active, each.why, each.came) for each in main.counters] == [
        ("a", False, "invalid", 3),
        ("b", True, "", 8),
    ]
    assert (main.counters[0].title, main.counters[1].title) == ({"zh": "摄像机"}, {})
    assert (other.counters[0].why, other.counters[0].active) == ("unheard", False)


@pytest.mark.parametrize(
    ("hours", "live", "over"),
    [(-2, False, True), (-0.5, True, False), (0.2, True, False), (1, False, False)],
)
def test_bookings_say_whether_they_are_now(hours: float, live: bool, over: bool) -> None:
    since = NOW.wall_ms + round(hours * HOUR)
    row = Booking(
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
