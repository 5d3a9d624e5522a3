from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.field.tally import HALF_WINDOW_S, PollTally, SlidingTally
from gateway.model import FailureKind

SECONDS = st.floats(1e-4, 100.0)


@given(st.lists(SECONDS, min_size=1, max_size=200), st.sampled_from((0.5, 0.9, 0.99)))
def test_a_percentile_is_right_to_a_tenth(times: list[float], part: float) -> None:
    tally = PollTally()
    for seconds in times:
        tally.add_latency(seconds)
    rank = max(0, -(-int(part * 1000) * len(times) // 1000) - 1)
    exact = sorted(times)[rank]
    told = tally.latency_s(part)
    assert told is not None
    assert exact * 0.999 <= told <= exact * 1.101


def test_without_a_reading_there_is_no_percentile() -> None:
    assert PollTally().latency_s(0.5) is None


def test_what_was_mended_is_forgotten_after_two_halves() -> None:
    sliding = SlidingTally(0.0)
    sliding.current(1.0).failures[FailureKind.TIMEOUT] += 3
    assert sliding.total(HALF_WINDOW_S - 1) == (
        PollTally(failures=sliding.current(1.0).failures),
        HALF_WINDOW_S - 1,
    )
    sliding.current(HALF_WINDOW_S + 1).polls += 1
    tally, seconds = sliding.total(2 * HALF_WINDOW_S)
    assert tally.failures[FailureKind.TIMEOUT] == 3
    assert seconds == 2 * HALF_WINDOW_S
    tally, seconds = sliding.total(2 * HALF_WINDOW_S + 2)
    assert tally.failures[FailureKind.TIMEOUT] == 0
    assert tally.polls == 1
    assert seconds == pytest.approx(HALF_WINDOW_S + 1)


def test_a_long_silence_leaves_nothing_of_before() -> None:
    sliding = SlidingTally(0.0)
    sliding.current(1.0).polls += 1
    assert sliding.total(10 * HALF_WINDOW_S) == (PollTally(), 0.0)


def test_two_tallies_add_up() -> None:
    tallies = []
    for count in (2, 3):
        tally = PollTally(polls=10 * count, missed=count, unconfirmed=2 * count, busy_s=0.5 * count)
        tally.failures[FailureKind.TIMEOUT] += count
        tally.add_latency(0.01)
        tallies.append(tally)
    both = tallies[0] + tallies[1]
    assert (both.polls, both.missed, both.unconfirmed, both.busy_s) == (50, 5, 10, 2.5)
    assert both.failures == {FailureKind.TIMEOUT: 5}
    assert list(both.latencies.values()) == [2]
    assert both.readings == 45


def test_a_half_is_full_after_300_s_and_both_are_outdated_after_twice_that() -> None:
    sliding = SlidingTally(0.0)
    first = sliding.current(299.5)
    assert sliding.current(300.0) is not first
    for end, expected in ((599.5, (PollTally(polls=1), 599.5)), (600.0, (PollTally(), 0.0))):
        sliding = SlidingTally(0.0)
        sliding.current(1.0).polls += 1
        assert sliding.total(end) == expected
