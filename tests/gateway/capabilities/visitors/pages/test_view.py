"""What the pages show of visitors, as a function of rows and samples."""

from __future__ import annotations

from tests.gateway.views import DOOR, sample, todays_visitors, view


def test_visitors_are_those_of_today() -> None:
    seen = view(visitors=todays_visitors()).parts["visitors"]
    assert (seen.inside, seen.came, seen.left) == (5, 9, 4)


def test_visitors_of_another_day_are_not_todays() -> None:
    assert view(visitors=todays_visitors("2026-09-20")).parts["visitors"].inside is None


def test_a_silent_door_counter_is_told() -> None:
    assert view(DOOR, samples=(sample("door", **{"in": 3}),)).parts["visitors"].silent_counters == 0
    assert view(DOOR, samples=(sample("door", error="timeout"),)).parts["visitors"].silent_counters == 1
