"""The day that has ended, until its counters have had their last word on it: one that tells periods tells
the last of a day after midnight."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from .counters import Counter, Pair

Body = dict[str, Any]
"""That of the fact `visitor-day`."""


def seen(body: Body, door: str, counter: str, passed: Pair) -> Body:
    """The day with what one of a door's counters saw besides, whether or not it counts."""
    body = copy.deepcopy(body)
    counters = body["doors"].setdefault(door, {"in": 0, "out": 0, "counters": {}})["counters"]
    came, left = counters.get(counter, (0, 0))
    counters[counter] = [came + passed[0], left + passed[1]]
    return body


def counted(body: Body, door: str, passed: Pair, tours: int, flows: Mapping[str, Pair]) -> Body:
    """The day with who passed a door besides; `flows` are who came and left by room, the centre's under no
    name."""
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


def awaited(counters: Iterable[Counter], midnight: float) -> bool:
    """Whether one that tells periods has yet to tell the last before midnight (Unix seconds)."""
    return any(each.counted and each.counted[-1][1] < midnight for each in counters if not each.why)
