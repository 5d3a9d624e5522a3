"""Rooms that are booked by rules: conflicts, waiting, check-in, and who does not come."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.capabilities.visitors.services import VisitBooking, Visitors
from gateway.model import GatewayError, Tick
from gateway.scheduling import Opening, Quota, QuotaPeriod, Resource
from gateway.words import error_summary
from tests.gateway.capabilities.visitors.services.kit import Centre, at, counter, day, told, wall
from tests.gateway.capabilities.visitors.services.test_service import HALL, HOUR
from tests.gateway.services.kit import kinds

MINUTE = 60
TEN = 10 * HOUR
RULES = Resource(
    kind="room",
    opening=Opening(week=(((8 * 60, 20 * 60),),) * 7),
    quota=Quota(180, QuotaPeriod.WEEKLY),
    grace_ms=15 * MINUTE * 1000,
)


def hall(rules: Resource = RULES) -> Centre:
    rooms = {**HALL.rooms, "hall": msgspec.structs.replace(HALL.rooms["hall"], resource=rules)}
    centre = Centre(
        *(counter(name) for name in "abcsyl"), layout=msgspec.structs.replace(HALL, rooms=rooms)
    )
    centre.tick(0)
    for name in "abcsyl":
        centre.says(1, 0, 0, name)
    return centre


def book(
    centre: Centre, since: float = TEN, hours: float = 1, second: float = HOUR, **args: Any
) -> list[Any]:
    times = {"from": wall(since), "until": wall(since + hours * HOUR)}
    return centre.ask(second, "book", **{"title": "书法课", "room": "hall", **times, **args})


def bookings(centre: Centre) -> dict[str, str]:
    return {row.title: row.state for row in centre.rows.values() if isinstance(row, VisitBooking)}


def test_a_room_is_not_booked_twice() -> None:
    centre = hall()
    book(centre)
    with pytest.raises(GatewayError) as caught:
        book(centre, TEN + 30 * MINUTE, title="合唱")
    told_en = error_summary("en", caught.value.key, caught.value.facts)
    assert told_en == "that time is booked for “书法课”. The nearest free time is 2026-11-21 11:00."
    assert "2026-11-21 11:00" in error_summary("zh", caught.value.key, caught.value.facts)
    # Right after it, in another room, and in the whole centre, there is room.
    assert kinds(book(centre, TEN + HOUR, title="合唱")) == ["booking-made"]
    assert kinds(book(centre, title="象棋", room="study")) == ["booking-made"]
    assert kinds(book(centre, title="参观", room="", **{"class": "tour"})) == ["booking-made"]


@pytest.mark.parametrize(
    ("since", "hours", "key"),
    [(19.5, 1, "booking-closed"), (7, 2, "booking-closed"), (10, 3.5, "booking-quota"), (10, 3, "")],
)
def test_a_room_has_hours_and_a_quota(since: float, hours: float, key: str) -> None:
    centre = hall()
    try:
        book(centre, since * HOUR, hours, person="舞蹈队")
        refused = ""
    except GatewayError as error:
        refused = error.key
    assert refused == key


def test_the_quota_of_a_week_counts_what_is_over() -> None:
    centre = hall()
    book(centre, TEN, 2, person="舞蹈队")
    for second in (TEN, 24 * HOUR, 25 * HOUR):
        centre.tick(second)
    with pytest.raises(GatewayError):
        book(centre, 24 * HOUR + TEN, 2, second=25 * HOUR, person="舞蹈队")
    assert kinds(book(centre, 24 * HOUR + TEN, 2, second=25 * HOUR, person="合唱队")) == ["booking-made"]
    # The week ends on Sunday; then the row goes, too.
    centre.tick(48 * HOUR), centre.tick(72 * HOUR)
    assert "书法课" not in bookings(centre)


def test_who_waits_has_the_time_when_it_is_given_up() -> None:
    centre = hall()
    (made,) = book(centre)
    assert kinds(book(centre, title="合唱", wait=True)) == ["booking-waiting"]
    assert kinds(book(centre, title="象棋", wait=True, second=HOUR + 1)) == ["booking-waiting"]
    centre.reboot()
    facts = centre.ask(2 * HOUR, "cancel-booking", booking=made.body["booking"])
    assert [(fact.kind, fact.body["title"]) for fact in facts] == [
        ("booking-cancelled", "书法课"), ("booking-made", "合唱"),
    ]  # fmt: skip
    assert bookings(centre) == {"合唱": "booked", "象棋": "waiting"}
    # Visitors attend what takes place, not what waits.
    centre.tick(TEN), centre.says(TEN, 3, 0, "c")
    assert bookings(centre) == {"合唱": "present", "象棋": "lapsed"}
    attended = told(centre.tick(TEN + 2 * HOUR), "attendance")
    assert [(body["title"], body["came"]) for body in attended] == [("合唱", 3)]


def test_nobody_came_in_time() -> None:
    centre = hall()
    book(centre)
    assert kinds(centre.tick(TEN + 14 * MINUTE)) == []
    assert kinds(centre.tick(TEN + 15 * MINUTE)) == ["booking-missed"]
    assert kinds(book(centre, TEN + 20 * MINUTE, 0.5, title="合唱", second=TEN + 16 * MINUTE)) == [
        "booking-made"
    ]
    assert kinds(centre.tick(TEN + 2 * HOUR)) == ["booking-missed"]
    assert bookings(centre) == {"书法课": "no-show", "合唱": "no-show"}


def test_people_at_the_door_check_in_by_being_counted() -> None:
    centre = hall()
    book(centre)
    centre.keep(TEN - 1)
    centre.says(TEN + 14 * MINUTE, 1, 0, "c")
    assert kinds(centre.tick(TEN + 15 * MINUTE)) == []
    assert bookings(centre) == {"书法课": "present"}


@pytest.mark.parametrize("reason", ["counter", "clock"])
def test_nobody_is_late_by_a_counter_or_a_clock_that_is_not_trusted(reason: str) -> None:
    centre = hall()
    book(centre)
    if reason == "counter":
        centre.silent(TEN - 1, "c")
    late = TEN + 20 * MINUTE
    facts = centre.step(Tick(at(late), day(late), clock_is_steady=reason != "clock"))
    assert kinds(facts) == []
    assert bookings(centre) == {"书法课": "booked"}


def test_checked_in_by_hand_and_ended_early() -> None:
    centre = hall()
    (made,) = book(centre, hours=2)
    key = made.body["booking"]
    assert centre.ask(TEN - 16 * MINUTE, "check-in-booking", booking=key) == []
    assert kinds(centre.ask(TEN - 15 * MINUTE, "check-in-booking", booking=key)) == ["booking-checked-in"]
    assert centre.ask(TEN, "check-in-booking", booking=key) == []
    assert kinds(centre.tick(TEN + 30 * MINUTE)) == []
    assert kinds(centre.ask(TEN + HOUR, "end-booking", booking=key)) == ["booking-ended"]
    assert centre.ask(TEN + HOUR, "end-booking", booking=key) == []
    assert kinds(book(centre, TEN + HOUR, title="合唱", second=TEN + HOUR)) == ["booking-made"]
    for args in ({}, {"booking": "booking/none"}, {"booking": 7}):
        assert centre.ask(TEN, "check-in-booking", **args) == []
        assert centre.ask(TEN, "end-booking", **args) == []


def test_bookings_of_an_earlier_version_go_on_although_they_overlap() -> None:
    centre = hall()
    for number, title in enumerate(("书法课", "合唱")):
        stored = {
            "type": "booking", "title": title, "kind": "activity", "room": "hall", "by": "王",
            "since": wall(TEN), "until": wall(TEN + HOUR), "expected": 5,
        }  # fmt: skip
        centre.rows[f"booking/{number}"] = msgspec.convert(stored, Visitors.row)
    centre.reboot()
    centre.keep(TEN - 1)
    centre.says(TEN, 4, 0, "c")
    with pytest.raises(GatewayError):
        book(centre, title="象棋")
    attended = told(centre.tick(TEN + 2 * HOUR), "attendance")
    assert {body["title"]: body["came"] for body in attended} == {"书法课": 4, "合唱": 4}


ACTS = (
    "book", "book", "wait", "cancel-booking", "check-in-booking", "end-booking", "tick", "came", "reboot",
)  # fmt: skip
STEPS = st.lists(
    st.tuples(
        st.sampled_from(ACTS),
        st.integers(0, 20 * 4),
        st.sampled_from([1, 2, 4, 8]),
        st.integers(0, 45),
    ),
    max_size=30,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_a_room_never_has_two_bookings_at_a_time(steps: list[tuple[str, int, int, int]]) -> None:
    centre, second, came, refused = hall(), 4.0 * HOUR, 0, set[str]()
    for number, (what, quarter, quarters, pause) in enumerate(steps):
        second += pause * MINUTE
        rows = [key for key in centre.rows if key.startswith("booking/")]
        if what in ("book", "wait"):
            try:
                book(centre, quarter * 900, quarters / 4, second, title=f"{number}", wait=what == "wait",
                     person=f"{number % 3}")  # fmt: skip
            except GatewayError as error:
                refused.add(error.key)
        elif what == "tick":
            centre.tick(second)
        elif what == "came":
            came += 1
            centre.says(second, came, 0, "c")
        elif what == "reboot":
            centre.reboot()
        elif rows:
            centre.ask(second, what, booking=rows[quarter % len(rows)])
        held = sorted(
            (row.since, row.until)
            for row in centre.rows.values()
            if isinstance(row, VisitBooking) and row.is_held
        )
        assert all(first[1] <= then[0] for first, then in pairwise(held))
    assert refused <= {f"booking-{reason}" for reason in ("taken", "past", "closed", "quota")}


WEEK = 7 * 24 * HOUR
OPEN = Resource(kind="room", opening=Opening(week=(((8 * 60, 20 * 60),),) * 7))


def times(centre: Centre, title: str) -> list[float]:
    """Hours after the first of the title's bookings at which each begins."""
    found = sorted(
        row.since for row in centre.rows.values() if isinstance(row, VisitBooking) and row.title == title
    )
    return [(since - found[0]) / 3_600_000 for since in found]


def test_every_week_until_a_date() -> None:
    centre = hall(OPEN)
    assert kinds(book(centre, weeks=3)) == ["booking-made"] * 4
    assert times(centre, "书法课") == [0, 168, 336, 504]
    assert book(centre, weeks=3) == [], "a double click"
    assert kinds(book(centre, weeks=4)) == ["booking-made"]
    for weeks in (-1, 53, True, "2", 1.5):
        assert book(centre, title="x", since=TEN + 3 * HOUR, weeks=weeks) == []


def test_each_week_that_is_taken_is_named_and_may_be_left_out() -> None:
    centre = hall(OPEN)
    book(centre, TEN + WEEK, title="合唱")
    book(centre, TEN + 3 * WEEK, title="象棋")
    with pytest.raises(GatewayError) as caught:
        book(centre, weeks=3)
    assert times(centre, "合唱") == [0]
    assert "书法课" not in bookings(centre)
    said = error_summary("zh", caught.value.key, caught.value.facts)
    for text in ("4 个时间中有 2 个", "2026-11-28 10:00", "合唱", "2026-12-12 10:00", "象棋"):
        assert text in said, said
    assert "12-05" not in said.replace("2026-12-05 11:00", "")
    assert "no" in error_summary("en", caught.value.key, caught.value.facts)
    assert kinds(book(centre, weeks=3, skip=True)) == ["booking-made"] * 2
    assert times(centre, "书法课") == [0, 336]


def test_a_booking_is_moved_with_what_is_known_of_it() -> None:
    centre = hall(OPEN)
    book(centre, person="书画社")
    book(centre, TEN + 2 * HOUR, title="合唱")
    key = next(key for key, row in centre.rows.items() if getattr(row, "title", "") == "书法课")

    def move(since: float, **args: Any) -> list[Any]:
        at_hours = {"from": wall(since), "until": wall(since + HOUR)}
        return centre.ask(HOUR, "move-booking", **{"booking": key, **at_hours, **args})

    with pytest.raises(GatewayError, match="booking-taken"):
        move(TEN + 2.5 * HOUR)
    assert move(TEN) == []
    assert kinds(move(TEN + 0.5 * HOUR)) == ["booking-moved"], "its own time is free for it"
    assert kinds(move(TEN + 2 * HOUR, room="study")) == ["booking-moved"]
    row = centre.rows[key]
    assert isinstance(row, VisitBooking)
    assert (row.room, row.since, row.person) == ("study", wall(TEN + 2 * HOUR), "书画社")
    assert move(TEN, room="no-such-room") == []
    assert move(-HOUR) == []
    assert kinds(book(centre, title="象棋")) == ["booking-made"], "its time has become free"


def test_who_waits_has_the_time_of_a_booking_that_is_moved() -> None:
    centre = hall(OPEN)
    book(centre)
    book(centre, title="合唱", wait=True)
    key = next(key for key, row in centre.rows.items() if getattr(row, "title", "") == "书法课")
    later = {"from": wall(TEN + 5 * HOUR), "until": wall(TEN + 6 * HOUR)}
    assert kinds(centre.ask(HOUR, "move-booking", booking=key, **later)) == [
        "booking-moved",
        "booking-made",
    ]
    assert bookings(centre) == {"书法课": "booked", "合唱": "booked"}


def test_another_calendar_holds_the_room_whatever_its_rules() -> None:
    centre = hall()
    other = {"title": "街道会议", "calendar": "街道会议"}
    assert kinds(book(centre, 22 * HOUR, hours=6, **other)) == ["booking-made"], "closed, and long"
    assert kinds(book(centre, 23 * HOUR, hours=2, **other)) == ["booking-made"], "it may overlap itself"
    book(centre)
    with pytest.raises(GatewayError, match="booking-taken"):
        book(centre, **other)
