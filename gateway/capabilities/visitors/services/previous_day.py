"""The report on the day that has ended. It stays open for a while, as a counter that reports periods sends
the last one of a day after midnight."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from .counters import Counter, InOutCount

DayReport = dict[str, Any]
"""The body of the fact `visitor-day`."""


def add_counter_passage(body: DayReport, door: str, counter: str, passed: InOutCount) -> DayReport:
    """The report with more counts of one of a door's counters, active or not."""
    body = copy.deepcopy(body)
    counters = body["doors"].setdefault(door, {"in": 0, "out": 0, "counters": {}})["counters"]
    came, left = counters.get(counter, (0, 0))
    counters[counter] = [came + passed[0], left + passed[1]]
    return body


def add_door_passage(
    body: DayReport, door: str, passed: InOutCount, tours: int, flows: Mapping[str, InOutCount]
) -> DayReport:
    """The report with more passages of a door; `flows` are in and out by room, with an empty name for the
    centre."""
    body = copy.deepcopy(body)
    body["tours"] += tours
    for place, (came, left) in [
        (body["doors"].setdefault(door, {"in": 0, "out": 0, "counters": {}}), passed),
        (body, flows[""]),
        *((body["rooms"].setdefault(room, {"in": 0, "out": 0, "unseen": 0}), flow)
          for room, flow in flows.items() if room and any(flow)),
    ]:  # fmt: skip
        place["in"] += came
        place["out"] += left
    return body


def is_period_awaited(counters: Iterable[Counter], midnight: float) -> bool:
    """Whether a trustworthy counter has not yet reported its last period before midnight (Unix seconds)."""
    return any(
        times and times[-1][1] < midnight
        for each in counters
        if not each.why
        for times in (
            each.counted_intervals_s,
            *(line.counted_intervals_s for line in each.lines.values()),
        )
    )
