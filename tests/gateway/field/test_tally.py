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
