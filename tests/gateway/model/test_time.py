"""Arithmetic on stamps: each case of boot and clock, with what is answered where no clock can tell."""

import math

import pytest

from gateway.model import ClockQuality, Stamp

SET, UNSET = ClockQuality.SET, ClockQuality.UNSET
NOON = 1_767_225_600_000


def stamp(wall: int, mono_s: float, boot: str = "a", clock: ClockQuality = SET) -> Stamp:
    return Stamp(wall, round(mono_s * 1e9), boot, clock)


@pytest.mark.parametrize(
    ("earlier", "later", "seconds"),
    [
        (stamp(NOON, 10), stamp(NOON + 5_000, 15), 5.0),
        (stamp(5, 10, clock=UNSET), stamp(NOON, 15), 5.0),
        (stamp(5, 10, clock=UNSET), stamp(5_005, 15, clock=UNSET), 5.0),
        (stamp(NOON, 10), stamp(NOON - 3_600_000, 15), 5.0),
        (stamp(NOON, 15), stamp(NOON, 10), -5.0),
        (stamp(NOON, 10), stamp(NOON + 7_000, 1, "b"), 7.0),
        (stamp(NOON, 10), stamp(NOON, 1, "b"), 0.0),
        (stamp(NOON, 10), stamp(NOON - 7_000, 1, "b"), "stepped back"),
        (stamp(5, 10, clock=UNSET), stamp(NOON, 1, "b"), "unknown"),
        (stamp(NOON, 10), stamp(5, 1, "b", UNSET), "unknown"),
        (stamp(5, 10, clock=UNSET), stamp(5, 1, "b", UNSET), "unknown"),
    ],
)
def test_seconds_since(earlier: Stamp, later: Stamp, seconds: float | str) -> None:
    default = {"unknown": None, "stepped back": 0.0}
    assert later.seconds_since(earlier) == default.get(str(seconds), seconds)
    chosen = {"unknown": math.inf, "stepped back": -math.inf}
    answer = later.seconds_since(earlier, if_unknown=math.inf, if_stepped_back=-math.inf)
    assert answer == chosen.get(str(seconds), seconds)


@pytest.mark.parametrize(
    ("at", "now", "wall"),
    [
        (stamp(NOON, 10), stamp(NOON + 5_000, 15), NOON),
        (stamp(5, 10, clock=UNSET), stamp(NOON, 15), NOON - 5_000),
        (stamp(NOON, 10), stamp(NOON - 3_600_000, 15), NOON - 3_605_000),
        (stamp(5, 10, clock=UNSET), stamp(5_005, 15, clock=UNSET), 5),
        (stamp(NOON, 10), stamp(NOON + 99_000, 1, "b"), NOON),
        (stamp(NOON, 10), stamp(5, 1, "b", UNSET), NOON),
        (stamp(5, 10, clock=UNSET), stamp(NOON, 1, "b"), None),
    ],
)
def test_wall_time_by_the_clock_as_it_stands_now(at: Stamp, now: Stamp, wall: int | None) -> None:
    assert at.wall_by(now) == wall


def test_only_a_clock_that_was_set_gives_a_time() -> None:
    assert [stamp(NOON, 1, clock=quality).is_set for quality in ClockQuality] == [True, True, True, False]
    assert stamp(NOON, 1).wall_if_set == NOON
    assert stamp(5, 1, clock=UNSET).wall_if_set is None
