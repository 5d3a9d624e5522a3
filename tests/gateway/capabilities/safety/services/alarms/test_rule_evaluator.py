from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.capabilities.safety.services.alarms import Rule, RuleCondition, RuleEvaluator
from gateway.model import Hazard
from tests.gateway.services.kit import at, sample

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def a_rule(*when: RuleCondition, **fields: Any) -> Rule:
    defaults = {
        "id": "r",
        "device": "a",
        "point": "r",
        "hazard": Hazard.FIRE,
        "latching": True,
        "off_delay_s": 0.0,
    }
    return Rule(conditions=when, **{**defaults, **fields})


class Site:
    """An evaluator of one rule, and short methods to feed it."""

    def __init__(self, *when: RuleCondition, **fields: Any) -> None:
        self.local: datetime | None = NOON
        self.evaluator = RuleEvaluator([a_rule(*when, **fields)], lambda _: self.local)

    def read(self, second: float, device: str = "a", error: str = "", **values: Any) -> list[bool]:
        found = self.evaluator.evaluate_sample(sample(device, second, error, **values))
        return [change.holds for change in found]

    def wait(self, second: float) -> list[bool]:
        return [change.holds for change in self.evaluator.evaluate_time(at(second))]


@pytest.mark.parametrize(
    ("limit", "values", "told"),
    [
        ({"above": 8}, [8, 8.1, 7.1, 7.01, 7, 8], [[], [True], [], [], [False], []]),
        ({"below": 60}, [60, 59.9, 60.9, 60.99, 61, 60], [[], [True], [], [], [False], []]),
        ({"above": 8, "below": 2}, [2, 1.9, 2.9, 3, 8, 8.1, 7.1, 7, 2], [
            [], [True], [], [False], [], [True], [], [False], []
        ]),
    ],
    ids=["above", "below", "both"],
)  # fmt: skip
def test_a_level_is_told_once_when_it_changes(
    limit: dict[str, float], values: list[float], told: list[list[bool]]
) -> None:
    site = Site(RuleCondition(point="a.x", hysteresis=1, **limit))
    assert [site.read(t, x=x) for t, x in enumerate(values)] == told


def test_without_hysteresis_the_limit_itself_is_within_bounds() -> None:
    site = Site(RuleCondition(point="a.x", above=8, below=2))
    assert [site.read(t, x=x) for t, x in enumerate([8, 8.1, 8, 2, 1.9, 2])] == [
        [], [True], [False], [], [True], [False]
    ]  # fmt: skip


def test_it_must_last_and_be_gone_for_a_while() -> None:
    site = Site(RuleCondition(point="a.x", equals=True), on_delay_s=10, off_delay_s=5)
    assert site.read(0, x=True) == []
    assert site.read(9, x=True) == []
    assert site.wait(10) == [True]
    assert site.read(11, x=False) == []
    assert site.read(14, x=True) == []
    assert site.read(15, x=False) == []
    assert site.wait(19.9) == []
    assert site.wait(20) == [False]


def test_an_interruption_begins_the_delay_anew() -> None:
    site = Site(RuleCondition(point="a.x", equals=True), on_delay_s=10)
    site.read(0, x=True)
    site.read(5, x=False)
    site.read(6, x=True)
    assert site.wait(15) == []
    assert site.wait(16) == [True]


def test_a_flapping_input_is_one_alarm() -> None:
    site = Site(RuleCondition(point="a.x", equals=True), off_delay_s=5)
    told = [change for n in range(6000) for change in site.read(n / 10, x=bool(n % 2))]
    assert told == [True]


@pytest.mark.parametrize(
    ("moves", "values", "told"),
    [
        ({"rises": 5, "within": 60}, [20, 22, 24, 25.5], [[], [], [], [True]]),
        ({"rises": 5, "within": 20}, [20, 22, 24, 25.5], [[], [], [], []]),
        ({"rises": 5, "within": 60}, [20, 10, 15], [[], [], [True]]),
        ({"rises": 5, "within": 30}, [20, 20, 22, 25], [[], [], [], [True]]),
        ({"rises": 5, "within": 29}, [20, 21, 22, 25], [[], [], [], []]),
        ({"falls": 5, "within": 60}, [20, 18, 14, 14], [[], [], [True], []]),
        ({"falls": 5, "within": 30}, [20, 19, 18, 15], [[], [], [], [True]]),
        ({"falls": 5, "within": 60}, [20, 30, 25], [[], [], [True]]),
    ],
)
@pytest.mark.parametrize("uptime", [0, 1_000_000])
def test_how_fast_it_moves(
    moves: dict[str, Any], values: list[float], told: list[list[bool]], uptime: float
) -> None:
    site = Site(RuleCondition(point="a.x", **moves))
    assert [site.read(uptime + 10 * n, x=x) for n, x in enumerate(values)] == told


def test_the_past_of_a_fast_sensor_is_bounded() -> None:
    site = Site(RuleCondition(point="a.x", rises=5, within=60))
    for n in range(100_000):
        site.read(n / 1000, x=1.0)
    (history,) = [
        condition._history for state in site.evaluator._states.values() for condition in state.conditions
    ]
    assert len(history) <= 70


@pytest.mark.parametrize(("moves", "dip"), [({"rises": 5}, 15.0), ({"falls": 5}, 25.0)])
def test_a_dip_between_two_kept_readings_is_where_a_rise_begins(moves: dict[str, Any], dip: float) -> None:
    site = Site(RuleCondition(point="a.x", within=64, **moves))
    for n, x in enumerate([20.0, 20.0, dip, 20.0]):
        told = site.read(n / 10, x=x)
    assert told == [True]


@pytest.mark.parametrize("step", [-0.001, 0.001])
def test_the_past_of_a_fast_sensor_whose_values_move_is_bounded(step: float) -> None:
    site = Site(*(RuleCondition(point="a.x", within=60, **moves) for moves in ({"rises": 5}, {"falls": 5})))
    for n in range(20_000):
        site.read(n / 100, x=n * step)
    conditions = [each for state in site.evaluator._states.values() for each in state.conditions]
    assert [len(condition._history) <= 65 for condition in conditions] == [True, True]


@pytest.mark.parametrize(
    ("need", "told"), [(0, [[], [], [True]]), (2, [[], [True], []]), (1, [[True], [], []])]
)
def test_so_many_of_them_must_agree(need: int, told: list[list[bool]]) -> None:
    votes = [RuleCondition(point=f"{device}.smoke", equals=True) for device in "abc"]
    site = Site(*votes, required_count=need)
    for device in "abc":
        site.read(0, device, smoke=False)
    assert [site.read(1 + n, device, smoke=True) for n, device in enumerate("abc")] == told


def smoke_of_three() -> Site:
    return Site(
        *(RuleCondition(point=f"{device}.smoke", equals=True) for device in "abc"), required_count=2
    )


def test_two_of_three_that_are_false_decide_although_the_third_was_never_heard() -> None:
    site = smoke_of_three()
    assert [*site.read(0, "a", smoke=True), *site.read(1, "b", smoke=True)] == [True]
    assert site.read(2, "a", smoke=False) == [], "the third may be what holds it"
    assert site.read(3, "b", smoke=False) == [False]


def test_one_of_three_is_not_two() -> None:
    site = smoke_of_three()
    assert [*site.read(0, "a", smoke=True), *site.read(1, "b", smoke=False)] == []
    assert site.read(2, "c", smoke=False) == []
    assert site.read(3, "c", smoke=True) == [True]


def test_what_is_not_known_changes_nothing() -> None:
    site = Site(RuleCondition(point="a.smoke", equals=True), RuleCondition(point="b.open", equals=True))
    assert site.read(0, "a", smoke=True) == []
    assert site.read(1, "b", open=True) == [True]
    assert site.read(2, "b", error="timeout") == []
    assert site.evaluator.holds("r")


def test_a_reading_that_stays_away() -> None:
    site = Site(RuleCondition(point="a.x", missing=600))
    assert site.wait(0) == []
    assert site.wait(599) == []
    assert site.wait(600) == [True]
    assert site.read(601, x=1) == [False]
    assert site.wait(1200) == []
    assert site.wait(1201) == [True]


def test_a_value_that_never_changes() -> None:
    site = Site(RuleCondition(point="a.x", stuck=3600))
    assert site.read(0, x=20.0) == []
    assert site.read(3599, x=20.0) == []
    assert site.read(3600, x=20.0) == [True]
    assert site.read(3601, x=20.1) == [False]


def test_a_dead_sensor_is_not_a_stuck_one() -> None:
    site = Site(RuleCondition(point="a.x", stuck=3600))
    site.read(0, x=20.0)
    assert site.wait(10_000) == []


def test_hours() -> None:
    site = Site(RuleCondition(point="a.x", equals=True), applies_at=lambda local: local.hour >= 22)
    assert site.read(0, x=True) == []
    site.local = datetime(2026, 11, 21, 22, tzinfo=UTC)
    assert site.wait(1) == [True]
    site.local = NOON
    assert site.wait(2) == [False]


def test_without_a_clock_a_rule_always_applies() -> None:
    site = Site(RuleCondition(point="a.x", equals=True), applies_at=lambda local: False)
    site.local = None
    assert site.read(0, x=True) == [True]


def test_a_successor_takes_up_what_holds() -> None:
    site = Site(RuleCondition(point="a.x", equals=True), off_delay_s=5)
    site.evaluator.resume(["r", "gone"])
    assert site.read(0, x=True) == []
    assert site.read(1, x=False) == []
    assert site.read(6, x=False) == [False]


@pytest.mark.parametrize("link", [True, False])
def test_a_change_comes_with_the_value_or_with_what_keeps_the_device_from_answering(link: bool) -> None:
    condition = RuleCondition(point="a.link" if link else "a.x", equals=True)
    evaluator = RuleEvaluator([a_rule(condition, point="link" if link else "x")], lambda _: NOON)
    (change,) = evaluator.evaluate_sample(sample("a", 0, "timeout" if link else "", x=True))
    assert change.value == ("timeout" if link else True)


def test_a_change_of_several_values_comes_with_the_first() -> None:
    site = Site(
        RuleCondition(point="a.x", above=8),
        RuleCondition(point="b.y", equals="open"),
        applies_at=lambda local: local.hour >= 22,
    )
    site.read(0, x=9)
    site.read(1, "b", y="open")
    site.local = datetime(2026, 11, 21, 22, tzinfo=UTC)
    (change,) = site.evaluator.evaluate_time(at(2))
    assert change.value == 9
    (change,) = site.evaluator.evaluate_sample(sample("b", 3, y="closed"))
    assert change.value == 9
