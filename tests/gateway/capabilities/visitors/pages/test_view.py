"""What the pages show of visitors, as a function of rows and samples."""

from __future__ import annotations

from gateway.capabilities.visitors.services import COUNTER_PREFIX, Counter
from tests.gateway.views import DOOR, at, sample, todays_visitors, view


def test_visitors_are_those_of_today() -> None:
    seen = view(visitors=todays_visitors()).parts["visitors"]
    assert (seen.inside, seen.came, seen.left) == (5, 9, 4)


def test_visitors_of_another_day_are_not_todays() -> None:
    assert view(visitors=todays_visitors("2026-09-20")).parts["visitors"].inside is None


def test_a_silent_door_counter_is_told() -> None:
    assert view(DOOR, samples=(sample("door", **{"in": 3}),)).parts["visitors"].silent_counters == 0
    assert view(DOOR, samples=(sample("door", error="timeout"),)).parts["visitors"].silent_counters == 1


def test_a_door_counter_that_reports_but_cannot_be_counted_is_told() -> None:
    counter = Counter(at=at(), heard=True, why="unreadable")
    rows = {**todays_visitors(), COUNTER_PREFIX + "door": counter}
    reports = (sample("door", **{"in": 3}),)
    assert view(DOOR, samples=reports, visitors=rows).parts["visitors"].silent_counters == 1
