"""A week of a bay whose cars are known exactly: a detector that flickers and falls silent invents no stay
and splits none."""

from __future__ import annotations

import bisect
import random
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import pytest

from gateway.capabilities.parking.services import MIN_STAY_S, SETTLE_S, Parking
from gateway.model import Point
from tests.gateway.services.kit import Fold, device, sample, tick

WEEK_S, POLL_S = 7 * 86_400, 10
BAY = "occupied"


class Span(NamedTuple):
    """From one second up to another."""

    start: float
    end: float


def spans(chance: random.Random, shortest_s: float, longest_s: float, apart_s: float) -> list[Span]:
    """As they follow each other in a week, at least so far apart."""
    found, at = [], 1000.0
    while at < WEEK_S - longest_s - 1000:
        end = at + chance.uniform(shortest_s, longest_s)
        found.append(Span(at, end))
        at = end + apart_s + chance.expovariate(1 / (4 * apart_s))
    return found


def holds(found: list[Span], second: float) -> bool:
    place = bisect.bisect_right(found, (second, float("inf"))) - 1
    return place >= 0 and second < found[place].end


def watched(cars: list[Span], outages: list[Span], flickers: list[Span]) -> Iterator[dict[str, float]]:
    """The stays that are told of, each from its first second up to its last."""
    fold = Fold(Parking({"p": device("p", "parking-bay", occupied=Point())}))
    began_ms = sample("p", 0).at.wall_ms
    for second in range(0, WEEK_S, POLL_S):
        if holds(outages, second):
            fold.step(sample("p", second, error="timeout"))
        else:
            fold.step(sample("p", second, occupied=holds(cars, second) != holds(flickers, second)))
        for fact in fold.step(tick(second)):
            if fact.kind == "parking-stay":
                body = fact.body
                yield {
                    "start": (body["arrived"] - began_ms) / 1000,
                    "end": (body["left"] - began_ms) / 1000,
                    "confidence": body["confidence"],
                }


@pytest.mark.parametrize("seed", range(2))
def test_a_detector_that_flickers_has_every_stay_once(seed: int) -> None:
    chance = random.Random(seed)
    cars = spans(chance, MIN_STAY_S + 2 * POLL_S, 4 * 3600, 10 * SETTLE_S)
    changes = [second for car in cars for second in car]
    flickers = [
        each
        for each in spans(chance, POLL_S, SETTLE_S - POLL_S - 1, 600)
        # Not about a change: there a flicker is a part of it.
        if all(not each.start - SETTLE_S - 60 < second < each.end + SETTLE_S + 60 for second in changes)
    ]
    told = list(watched(cars, [], flickers))
    assert len(told) == len(cars) > 50
    assert len(flickers) > 100
    for stay, car in zip(told, cars, strict=True):
        assert 0 <= stay["start"] - car.start <= POLL_S
        assert 0 <= stay["end"] - car.end <= POLL_S
        assert stay["confidence"] == 1


@pytest.mark.parametrize("seed", range(2))
def test_a_detector_that_falls_silent_invents_nothing(seed: int) -> None:
    chance = random.Random(seed)
    cars = spans(chance, MIN_STAY_S + 2 * POLL_S, 3 * 3600, 10 * SETTLE_S)
    outages = spans(chance, 60, 2 * 3600, 3600)
    told = list(watched(cars, outages, []))
    assert len(outages) > 20
    assert len(told) > 50
    for stay, following in pairwise(told):
        assert stay["end"] < following["start"]
    for stay in told:
        within = [car for car in cars if car.start < stay["end"] and stay["start"] < car.end]
        assert within, "a stay without a car"
        silent_s = sum(
            max(0.0, min(each.end, stay["end"]) - max(each.start, min(car.start for car in within)))
            for each in outages
        )
        assert stay["start"] - within[0].start <= silent_s + POLL_S
        assert abs(stay["end"] - within[-1].end) <= silent_s + POLL_S
        if not silent_s:
            assert len(within) == 1
            assert stay["confidence"] == 1
        else:
            assert len(within) == 1 or stay["confidence"] < 1
