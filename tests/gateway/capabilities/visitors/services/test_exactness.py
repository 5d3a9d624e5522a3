"""Days of counter data against an exact count: everybody who can be known of once, and nobody else."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.capabilities.visitors.services import Door, Layout
from gateway.capabilities.visitors.services.counters import MAX_UNCONFIRMED_JUMP, InOutCount
from gateway.capabilities.visitors.services.running_totals import MAX_NEGLIGIBLE_PEOPLE
from gateway.model import Sample
from tests.gateway.capabilities.visitors.services.kit import Centre, counter, told
from tests.gateway.capabilities.visitors.services.simulator import (
    DAY,
    Habits,
    Passage,
    Story,
    passages,
    periods,
    totals,
)

SEEDS = st.integers(0, 1 << 32)
some = settings(max_examples=4)


def counted(samples: Iterable[Sample], every: float, wraps: int = 1 << 32) -> InOutCount:
    """What all crossings come to; the days that are written down come to the same."""
    centre = Centre(counter("d", every, wraps))
    crossings, days, second = [], [], 0.0
    centre.tick(0)
    for sample in samples:
        now = (sample.at.mono_ns / 1e9) - 1_000_000
        while second + DAY / 4 < now:
            second += DAY / 4
            days += told(centre.tick(second), "visitor-day")
        crossings += told(centre.step(sample), "crossing")
    came, left, _ = centre.now()
    sums = sum(each["in"] for each in crossings), sum(each["out"] for each in crossings)
    assert sums == (came + sum(each["in"] for each in days), left + sum(each["out"] for each in days))
    return sums


def knowable(story: Story) -> InOutCount:
    return story.passed[0] - story.unseen[0], story.passed[1] - story.unseen[1]


POLLED = {
    "modbus": Habits(every=20, begins=48_211, lost=0.05, glitch=0.002),
    "light beams": Habits(every=20, lost=0.02),
    "16 bits": Habits(every=60, wraps=1 << 16, begins=65_400, lost=0.1, twice=0.1),
    "8 bits": Habits(every=60, wraps=1 << 8, begins=250, lost=0.1),
    "a line that is down": Habits(every=60, begins=7, away=6),
}
PUSHED = {
    "in real time": Habits(every=30, begins=900, lost=0.1, twice=0.2, late=0.1),
    "kept back": Habits(every=30, begins=900, twice=0.1, away=6, kept=True),
    "with its own time": Habits(
        every=30, begins=900, lost=0.1, twice=0.2, late=0.2, away=6, kept=True, timed=True
    ),
    "by radio": Habits(every=600, wraps=1 << 16, begins=65_500, lost=0.2),
}
RESTARTED = {
    "modbus": Habits(every=20, begins=48_211, lost=0.05, restarts=6),
    "a camera": Habits(every=20, restarts=12),
    "a person's webhook": Habits(every=60, begins=900, twice=0.2, restarts=4),
    "a radio's": Habits(every=600, wraps=1 << 16, begins=30_000, lost=0.1, restarts=2),
}
NIGHTLY = {
    "hikvision": Habits(every=30, midnight=True, twice=0.1, lost=0.05),
    "with its own time": Habits(every=30, midnight=True, twice=0.1, late=0.1, timed=True),
    "milesight": Habits(every=600, wraps=1 << 16, midnight=True, lost=0.1),
}


@pytest.mark.parametrize("family", [*POLLED, *PUSHED])
@given(seed=SEEDS)
@some
def test_a_day_without_restarts_is_counted_exactly(family: str, seed: int) -> None:
    habits = {**POLLED, **PUSHED}[family]
    story = totals(passages(seed, 400), habits, seed)
    assert counted(story.samples, habits.every, habits.wraps) == knowable(story)


@pytest.mark.parametrize("family", RESTARTED)
@given(seed=SEEDS)
@some
def test_restarts_cost_those_alone_whom_the_counter_forgot(family: str, seed: int) -> None:
    habits = RESTARTED[family]
    story = totals(passages(seed, 400), habits, seed)
    found, most = counted(story.samples, habits.every, habits.wraps), knowable(story)
    # A total that stood there before the restart waits for the next one, which the next restart may take.
    assert all(
        most[way] - story.hidden[way] - MAX_NEGLIGIBLE_PEOPLE <= found[way] <= most[way] for way in (0, 1)
    )


@pytest.mark.parametrize("family", NIGHTLY)
@given(seed=SEEDS)
@settings(max_examples=3)
def test_a_reset_each_midnight_costs_the_last_visitors_of_the_day_alone(family: str, seed: int) -> None:
    habits = NIGHTLY[family]
    story = totals(passages(seed, 300, days=3), habits, seed, days=3)
    found, most = counted(story.samples, habits.every, habits.wraps), knowable(story)
    assert all(most[way] - story.hidden[way] <= found[way] <= story.passed[way] for way in (0, 1))
    assert story.unseen[0] + story.unseen[1] < 20


@given(seed=SEEDS, every=st.sampled_from([20, 300]), wraps=st.sampled_from([1 << 16, 1 << 32]))
@some
def test_with_everything_at_once_there_is_no_phantom(seed: int, every: int, wraps: int) -> None:
    """Where a false reading looks like a crowd, or a restart like a late reading, nobody can tell."""
    habits = Habits(
        every=every, wraps=wraps, begins=1000, restarts=3, lost=0.1, twice=0.1, late=0.05, glitch=0.001,
        away=3, kept=True, timed=True,
    )  # fmt: skip
    story = totals(passages(seed, 400), habits, seed)
    found = counted(story.samples, habits.every, habits.wraps)
    assert all(
        found[way] <= story.passed[way] + MAX_UNCONFIRMED_JUMP * (every > 60 or wraps < 1 << 32)
        for way in (0, 1)
    )
    assert all(
        found[way] >= knowable(story)[way] - story.hidden[way] - MAX_UNCONFIRMED_JUMP for way in (0, 1)
    )


@given(seed=SEEDS, length=st.sampled_from([300, 900, 3600]), lost=st.sampled_from([0.0, 0.05]))
@some
def test_periods_are_counted_exactly_once_the_last_has_come(seed: int, length: int, lost: float) -> None:
    walk = passages(seed, 400)
    came = sum(not each.out for each in walk if each.second > 0)
    assert counted(periods(walk, length, seed, lost), length)[0] == came


@given(seed=SEEDS, every=st.sampled_from([(7, 7), (7, 120), (120, 7), (600, 11)]))
@settings(max_examples=4)
def test_two_counters_at_a_door_whose_lines_fail_count_everybody_once(
    seed: int, every: tuple[int, int]
) -> None:
    """Both see everybody and count on while their lines are down, each at times of its own."""
    dice = random.Random(seed)
    walk = passages(seed, 300)
    layout = Layout(doors={"main": Door(counters=("a", "b"))})
    centre = Centre(counter("a", every[0]), counter("b", every[1]), layout=layout)
    centre.tick(0), centre.says(0, 0, 0, "a"), centre.says(0, 0, 0, "b")
    down = {name: [dice.uniform(0, DAY) for _ in range(6)] for name in "ab"}
    away: dict[str, bool] = {"a": False, "b": False}
    moments = sorted((second, name) for name, each in zip("ab", every, strict=True)
                     for second in range(each, DAY, each))  # fmt: skip
    passed, steps = [0, 0], iter([*walk, Passage(float("inf"), out=False)])
    step = next(steps)
    for second, name in [*moments, (DAY, "a"), (DAY + 1, "b"), (DAY + 2, "a"), (DAY + 3, "b")]:
        while step.second <= second:
            passed[step.out] += 1
            step = next(steps)
        if second < DAY and any(since <= second < since + 3000 for since in down[name]):
            if not away[name]:
                centre.silent(second, name)
            away[name] = True
        else:
            away[name] = False
            centre.says(second, *passed, name)
    assert centre.now()[:2] == (300, 300)
