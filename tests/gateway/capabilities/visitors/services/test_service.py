"""Doors, rooms, days and closings."""

from typing import Any

import msgspec
import pytest

from gateway.capabilities.visitors.services import CENTRE, OUTSIDE, Door, Layout, Room
from gateway.model import ClockQuality, Sample, Tick
from gateway.model.hours import parse_week
from tests.gateway.capabilities.visitors.services.kit import Centre, at, counter, day, told, wall
from tests.gateway.services.kit import adopted, kinds

HOUR = 3600
HALL = Layout(
    rooms={"hall": Room(title={}, limit=20), "study": Room(title={}), "loft": Room(title={})},
    doors={
        "main": Door(counters=("a", "b"), outer=OUTSIDE, inner=CENTRE),
        "hall": Door(counters=("c",), outer=CENTRE, inner="hall"),
        "study": Door(counters=("s",), outer="hall", inner="study"),
        "yard": Door(counters=("y",), outer="hall", inner=OUTSIDE),
        "loft": Door(counters=("l",), outer=CENTRE, inner="loft"),
    },
    limit=100,
)
WEEK = parse_week({"mon-sun": "08:00-20:00"})


def hall(hours: Any = None) -> Centre:
    centre = Centre(*(counter(name) for name in "abcsyl"), layout=HALL, hours=hours)
    centre.tick(0)
    for name in "abcsyl":
        centre.says(1, 0, 0, name)
    return centre


def inside(centre: Centre) -> list[Any]:
    """Of the centre, the hall, the study and the loft."""
    found = centre.figures
    return [found["inside"], *(found[f"room.{room}.inside"] for room in ("hall", "study", "loft"))]


def test_doors_to_the_outside_make_the_centre_and_inner_doors_move_people() -> None:
    centre = hall()
    centre.says(2, 10, 0, "a"), centre.says(3, 6, 0, "c"), centre.says(4, 4, 1, "s")
    assert inside(centre) == [10, 3, 3, 0]
    centre.says(5, 2, 1, "y")
    assert inside(centre) == [9, 2, 3, 0]
    assert centre.now()[:2] == (11, 2)
    assert [centre.figures[f"door.{name}.in"] for name in ("main", "hall", "yard")] == [10, 6, 2]


def test_a_crossing_says_through_which_door_and_from_where_to_where() -> None:
    (crossing,) = told(hall().says(2, 1, 0, "s"), "crossing")
    assert crossing == {"in": 1, "out": 0, "door": "study", "from": "hall", "to": "study"}


def test_a_second_counter_takes_over_while_the_first_is_away_and_nobody_counts_twice() -> None:
    centre = hall()
    for second in range(2, 12):
        # Both see everybody, the second one a moment later.
        centre.says(second, second, 0, "a"), centre.says(second + 0.1, second, 0, "b")
    assert centre.now()[0] == 11
    centre.says(12.1, 12, 0, "b"), centre.says(13.1, 14, 0, "b")
    facts = centre.silent(14, "a")
    assert [fact.device for fact in facts if fact.kind == "crossing"] == ["b"]
    assert centre.now()[0] == 14
    centre.says(14.1, 15, 0, "b"), centre.says(600, 80, 0, "b")
    assert centre.now()[0] == 80
    # It went on counting while its line was down; what it tells now has been counted.
    centre.says(601, 81, 0, "a"), centre.says(602, 82, 0, "a"), centre.says(602.1, 82, 0, "b")
    assert centre.now()[0] == 82
    assert centre.row("a").came == centre.row("b").came == 82


def test_a_slow_counter_that_takes_over_tells_only_whom_the_other_had_not() -> None:
    centre = hall()
    centre.says(2, 30, 0, "a")
    centre.silent(10, "a")
    centre.says(600, 40, 0, "b")
    assert centre.now()[0] == 40


def test_a_first_counter_that_does_not_trust_itself_is_replaced() -> None:
    centre = hall()
    centre.says(2, 5, 0, "a", invalid=False)
    centre.says(3, 500, 0, "a", invalid=True), centre.says(3.5, 7, 0, "b")
    assert centre.now()[0] == 7
    centre.says(5, 510, 0, "a", invalid=False), centre.says(6, 511, 0, "a", invalid=False)
    assert centre.now()[0] == 8


def test_a_second_counter_that_did_not_trust_itself_brings_nobody_when_it_takes_over() -> None:
    centre = hall()
    centre.says(2, 5, 2, "a"), centre.says(2.5, 5, 2, "b")
    centre.says(3, 90, 80, "b", invalid=True), centre.says(4, 95, 85, "b", invalid=False)
    centre.silent(5, "a")
    assert centre.now() == (5, 2, 3)
    centre.says(6, 97, 86, "b")
    assert centre.now() == (7, 3, 4)


def test_counters_that_disagree_do_not_drift_apart_for_ever() -> None:
    centre = hall()
    for second in range(2, 500):
        centre.says(second, second * 2, 0, "b"), centre.says(second + 0.5, second, 0, "a")
    centre.silent(501, "a")
    assert centre.now()[0] == 499
    centre.says(502, 1000, 0, "b")
    assert centre.now()[0] in (501, 503)


def test_a_door_without_a_counter_to_trust_counts_again_once_there_is_one() -> None:
    centre = hall()
    centre.silent(2, "a"), centre.silent(2, "b")
    centre.says(100, 7, 3, "b"), centre.says(101, 8, 3, "a")
    assert centre.now() == (8, 3, 5)


def test_a_counter_of_no_door_is_one_from_outside() -> None:
    centre = Centre(counter("a"), counter("z"), layout=Layout(doors={"main": Door(counters=("a",))}))
    (
        centre.says(0, 0, 0, "a"),
        centre.says(0, 0, 0, "z"),
        centre.says(1, 1, 0, "a"),
        centre.says(1, 2, 0, "z"),
    )
    assert centre.now()[0] == 3
    assert "door.z.in" not in centre.figures


def test_a_zone_that_counts_nobody_who_passes_is_no_door() -> None:
    centre = Centre(counter("d"), counter("zone", points=["occupancy"]), hours=WEEK)
    centre.tick(9 * HOUR), centre.says(9 * HOUR, 5)
    centre.step(Sample("zone", at(9 * HOUR), {"occupancy": 3}))
    assert centre.tick(9 * HOUR + 1) == []
    assert told(centre.tick(24 * HOUR), "visitor-day")[0]["doors"].keys() == {"d"}


def test_what_counts_nobody_who_passes_counts_at_no_door() -> None:
    layout = Layout(doors={"main": Door(counters=("zone",))})
    centre = Centre(counter("zone", points=["occupancy"]), layout=layout)
    centre.tick(0)
    assert centre.says(1, 5, 0, "zone") == []


@pytest.mark.parametrize(
    ("values", "bad", "why"),
    [
        ({"battery": 80}, {"in": "missing", "out": "missing"}, ""),
        ({}, {"battery": "missing"}, ""),
        ({}, {"in": "missing"}, "unreadable"),
        ({}, {"period_in": "missing"}, "unreadable"),
        ({"battery": 80}, {"in": "not-a-number"}, "implausible"),
    ],
)
def test_a_report_without_counts_is_a_fault_only_if_it_should_have_some(
    values: dict[str, Any], bad: dict[str, str], why: str
) -> None:
    """Some counters report their battery by itself."""
    centre = Centre()
    centre.says(0, 5)
    centre.step(Sample("d", at(1), values, bad))
    assert centre.row().why == why


def test_inside_is_never_below_nought_and_the_unseen_are_written_down() -> None:
    centre = Centre()
    centre.tick(0)
    centre.says(1, 0), centre.says(2, 1, 4), centre.says(3, 3, 4)
    assert centre.now() == (3, 4, 2)
    (drift,) = told(centre.tick(24 * HOUR), "visitor-drift")
    assert drift == {"room": "", "inside": 2, "in": 3, "out": 4, "unseen": 3, "share": round(5 / 3, 4)}
    assert centre.now() == (0, 0, 0)


def test_each_day_begins_anew_and_writes_the_last_one_down() -> None:
    centre = hall()
    centre.says(2, 9, 4, "a"), centre.says(2, 8, 4, "b"), centre.says(3, 2, 0, "c")
    facts = centre.tick(24 * HOUR)
    (body,) = told(facts, "visitor-day")
    assert (body["day"], body["in"], body["out"], body["tours"], body["unseen"]) == (day(0), 9, 4, 0, 0)
    assert body["rooms"] == {"hall": {"in": 2, "out": 0, "unseen": 0}}
    assert body["doors"]["main"] == {"in": 9, "out": 4, "counters": {"a": [9, 4], "b": [8, 4]}}
    assert [each["room"] for each in told(facts, "visitor-drift")] == ["", "hall"]
    assert kinds(centre.tick(24 * HOUR + 1)) == []
    assert centre.now() == (0, 0, 0)
    centre.says(25 * HOUR, 12, 4, "a")
    (body,) = told(centre.tick(48 * HOUR), "visitor-day")
    assert (body["day"], body["in"], body["out"], body["tours"], body["unseen"]) == (
        day(24 * HOUR),
        3,
        0,
        0,
        0,
    )
    assert body["rooms"] == {"hall": {"in": 0, "out": 0, "unseen": 0}}
    assert body["doors"]["main"] == {"in": 3, "out": 0, "counters": {"a": [3, 0], "b": [0, 0]}}


@pytest.mark.parametrize(
    ("came", "hours", "told_of"), [(0, None, False), (5, None, True), (0, WEEK, True), (5, WEEK, True)]
)
def test_when_it_was_open_is_told_of_a_day_with_visitors_or_published_hours(
    came: int, hours: Any, told_of: bool
) -> None:
    centre = hall(hours)
    centre.says(9 * HOUR, came, 0, "a")
    assert ("opening-day" in kinds(centre.tick(24 * HOUR))) is told_of


def test_at_closing_who_is_left_over_is_taken_to_have_gone() -> None:
    centre = hall(WEEK)
    centre.tick(8 * HOUR)
    centre.says(9 * HOUR, 9, 2, "a")
    assert told(centre.tick(20 * HOUR + 1799), "visitor-drift") == []
    (drift,) = told(centre.tick(20 * HOUR + 1800), "visitor-drift")
    assert (drift["inside"], drift["in"], drift["out"], drift["share"]) == (7, 9, 2, round(7 / 9, 4))
    # Three stayed on to tidy up: they were written off and come out now, which is amiss no second time.
    centre.says(21 * HOUR, 9, 5, "a")
    facts = centre.tick(24 * HOUR)
    (drift,) = told(facts, "visitor-drift")
    assert (drift["inside"], drift["out"], drift["unseen"]) == (0, 3, 0)
    assert told(facts, "visitor-day")[0]["in"] == 9


def test_hours_past_midnight_close_when_they_end() -> None:
    centre = hall(parse_week({"mon-sun": "18:00-02:00"}))
    centre.tick(23 * HOUR), centre.says(23 * HOUR, 5, 0, "a")
    facts = centre.tick(24 * HOUR)
    assert (kinds(facts), centre.now()) == (["opening-day", "visitor-day"], (0, 0, 5))
    assert told(centre.tick(26 * HOUR + 1800), "visitor-drift")[0]["inside"] == 5


def test_a_night_that_the_gateway_slept_through_ends_the_day_all_the_same() -> None:
    centre = hall(WEEK)
    centre.tick(19 * HOUR), centre.says(19 * HOUR, 5, 0, "a")
    centre.reboot()
    facts = centre.tick(34 * HOUR)
    assert sorted(set(kinds(facts))) == ["opening-day", "visitor-day", "visitor-drift"]
    assert centre.now() == (None, None, None)
    centre.says(34 * HOUR, 5, 0, "a"), centre.says(34 * HOUR, 0, 0, "y")
    assert centre.now() == (0, 0, 0)


def test_a_clock_that_is_put_back_ends_no_day_and_one_that_is_not_set_neither() -> None:
    centre = hall()
    centre.says(2, 3, 0, "a")
    assert centre.step(Tick(at(-HOUR), day(-HOUR))) == []
    assert centre.step(Tick(at(-50 * 366 * 24 * HOUR, clock=ClockQuality.UNSET), "1976-10-15")) == []
    assert centre.now() == (3, 0, 3)
    (body,) = told(centre.tick(10), "visitor-day")
    assert (body["day"], body["in"]) == (day(-HOUR), 3)


def test_what_came_before_the_clock_was_set_is_of_the_day_it_is_set_to() -> None:
    centre = Centre()
    for second, came in ((0, 5), (1, 8)):
        centre.step(Sample("d", at(second, clock=ClockQuality.UNSET), {"in": came, "out": 0}))
    centre.tick(2)
    assert centre.now()[0] == 3


def test_a_place_that_is_nearly_full_is_told_once() -> None:
    centre = hall()
    assert told(centre.says(2, 17, 0, "c"), "crowding") == []
    assert told(centre.says(3, 18, 0, "c"), "crowding") == [
        {"room": "hall", "inside": 18, "limit": 20, "near": True}
    ]
    assert (centre.figures["near"], centre.figures["room.hall.limit"], centre.figures["limit"]) == (
        1,
        20,
        100,
    )
    assert told(centre.says(4, 19, 2, "c"), "crowding") == []
    assert told(centre.says(5, 19, 4, "c"), "crowding") == [
        {"room": "hall", "inside": 15, "limit": 20, "near": False}
    ]


def test_somebody_who_has_counted_puts_the_number_right() -> None:
    centre = hall()
    centre.says(2, 10, 0, "a")
    (fact,) = centre.ask(3, "correct-inside", inside=7)
    assert fact.body == {"room": "", "before": 10, "inside": 7, "by": "王"}
    assert kinds(centre.ask(4, "correct-inside", room="hall", inside=19)) == [
        "visitor-corrected",
        "crowding",
    ]
    assert inside(centre) == [7, 19, 0, 0]
    assert centre.now()[0] == 10


@pytest.mark.parametrize(
    "args", [{"inside": -1}, {"inside": "7"}, {"inside": True}, {}, {"room": "attic", "inside": 1}]
)
def test_a_correction_without_sense_changes_nothing(args: dict[str, Any]) -> None:
    centre = hall()
    before = dict(centre.rows)
    assert centre.ask(2, "correct-inside", **args) == []
    assert centre.rows == before


def test_a_counter_that_is_gone_leaves_its_visitors() -> None:
    centre = hall()
    centre.says(2, 10, 0, "a")
    del centre.counters["a"]
    centre.service = centre.fresh()
    centre.step(adopted())
    assert centre.now() == (10, 0, 10)
    centre.says(3, 12, 0, "b")
    assert centre.now()[0] == 12


def test_a_counter_that_is_moved_to_another_door_counts_there_from_the_beginning() -> None:
    centre = hall()
    centre.says(2, 4, 0, "b"), centre.says(3, 10, 0, "a")
    doors = {**HALL.doors, "main": Door(counters=("a",)), "side": Door(counters=("b",))}
    centre.layout = msgspec.structs.replace(HALL, doors=doors)
    centre.service = centre.fresh()
    centre.step(adopted())
    centre.says(4, 7, 0, "b")
    assert (centre.now()[0], centre.figures["door.side.in"]) == (13, 3)


def test_a_restart_between_two_counters_of_a_door_counts_nobody_twice() -> None:
    """Ten whom the second one has yet to tell."""
    centre = hall()
    centre.says(2, 10, 0, "a")
    centre.reboot()
    centre.step(adopted())
    centre.silent(3, "a"), centre.says(600, 12, 0, "b")
    assert centre.now()[0] == 12


def test_coverage_is_told_when_it_changes() -> None:
    centre = Centre()
    assert told(centre.silent(0), "coverage") == [{"covered": False, "why": "offline"}]
    assert centre.silent(1) == []
    assert told(centre.says(2, 5), "coverage") == [{"covered": True, "why": ""}]
    assert told(centre.says(3, 6), "coverage") == []


def test_who_passed_in_an_outage_is_told_with_since_when() -> None:
    centre = hall()
    (crossing,) = told(centre.says(900, 4, 0, "y"), "crossing")
    assert (crossing["since"], crossing["until"]) == (wall(1), wall(900))
