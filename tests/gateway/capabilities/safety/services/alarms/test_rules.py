from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.capabilities.safety.services.alarms.rules import Condition, Rule, RuleEvaluator
from gateway.model import Hazard
from tests.gateway.services.kit import at, sample

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def a_rule(*when: Condition, **fields: Any) -> Rule:
    defaults = {
        "id": "r",
        "device": "a",
        "point": "r",
        "hazard": Hazard.FIRE,
        "latch": True,
        "off_delay": 0.0,
    }
    return Rule(when=when, **{**defaults, **fields})


class Court:
    """A judge of one rule, and a short hand to ask it."""

    def __init__(self, *when: Condition, **fields: Any) -> None:
        self.local: datetime | None = NOON
        self.judge = RuleEvaluator([a_rule(*when, **fields)], lambda _: self.local)

    def read(self, second: float, device: str = "a", error: str = "", **values: Any) -> list[bool]:
        found = self.judge.read(sample(device, second, error, **values))
        return [verdict.holds for verdict in found]

    def look(self, second: float) -> list[bool]:
        return [verdict.holds for verdict in self.judge.look(at(second))]


def test_a_level_is_told_once_when_it_changes() -> None:
    court = Court(Condition(point="a.x", above=8, hysteresis=1))
    assert [court.read(t, x=x) for t, x in enumerate([8, 8.1, 9, 7.5, 7, 8])] == [
        [], [True], [], [], [False], []
    ]  # fmt: skip


def test_it_must_last_and_be_gone_for_a_while() -> None:
    court = Court(Condition(point="a.x", equals=True), delay=10, off_delay=5)
    assert court.read(0, x=True) == []
    assert court.read(9, x=True) == []
    assert court.look(10) == [True]
    assert court.read(11, x=False) == []
    assert court.read(14, x=True) == []
    assert court.read(15, x=False) == []
    assert court.look(19.9) == []
    assert court.look(20) == [False]


def test_an_interruption_begins_the_delay_anew() -> None:
    court = Court(Condition(point="a.x", equals=True), delay=10)
    court.read(0, x=True)
    court.read(5, x=False)
    court.read(6, x=True)
    assert court.look(15) == []
    assert court.look(16) == [True]


def test_a_flapping_input_is_one_alarm() -> None:
    court = Court(Condition(point="a.x", equals=True), off_delay=5)
    told = [verdict for n in range(6000) for verdict in court.read(n / 10, x=bool(n % 2))]
    assert told == [True]


@pytest.mark.parametrize(
    ("moves", "values", "told"),
    [
        ({"rises": 5, "within": 60}, [20, 22, 24, 25.5], [[], [], [], [True]]),
        ({"rises": 5, "within": 20}, [20, 22, 24, 25.5], [[], [], [], []]),
        ({"falls": 5, "within": 60}, [20, 18, 14, 14], [[], [], [True], []]),
    ],
    ids=["rises", "rises too slowly", "falls"],
)
def test_how_fast_it_moves(moves: dict[str, Any], values: list[float], told: list[list[bool]]) -> None:
    court = Court(Condition(point="a.x", **moves))
    assert [court.read(10 * n, x=x) for n, x in enumerate(values)] == told


def test_the_past_of_a_fast_sensor_is_bounded() -> None:
    court = Court(Condition(point="a.x", rises=5, within=60))
    for n in range(100_000):
        court.read(n / 1000, x=1.0)
    (past,) = [gauge._past for docket in court.judge._dockets.values() for gauge in docket.gauges]
    assert len(past) <= 70


@pytest.mark.parametrize(
    ("need", "told"), [(0, [[], [], [True]]), (2, [[], [True], []]), (1, [[True], [], []])]
)
def test_so_many_of_them_must_agree(need: int, told: list[list[bool]]) -> None:
    votes = [Condition(point=f"{device}.smoke", equals=True) for device in "abc"]
    court = Court(*votes, need=need)
    for device in "abc":
        court.read(0, device, smoke=False)
    assert [court.read(1 + n, device, smoke=True) for n, device in enumerate("abc")] == told


def test_what_is_not_known_changes_nothing() -> None:
    court = Court(Condition(point="a.smoke", equals=True), Condition(point="b.open", equals=True))
    assert court.read(0, "a", smoke=True) == []
    assert court.read(1, "b", open=True) == [True]
    assert court.read(2, "b", error="timeout") == []
    assert court.judge.holds("r")


def test_a_reading_that_stays_away() -> None:
    court = Court(Condition(point="a.x", missing=600))
    assert court.look(0) == []
    assert court.look(599) == []
    assert court.look(600) == [True]
    assert court.read(601, x=1) == [False]
    assert court.look(1200) == []
    assert court.look(1201) == [True]


def test_a_value_that_never_changes() -> None:
    court = Court(Condition(point="a.x", stuck=3600))
    assert court.read(0, x=20.0) == []
    assert court.read(3599, x=20.0) == []
    assert court.read(3600, x=20.0) == [True]
    assert court.read(3601, x=20.1) == [False]


def test_a_dead_sensor_is_not_a_stuck_one() -> None:
    court = Court(Condition(point="a.x", stuck=3600))
    court.read(0, x=20.0)
    assert court.look(10_000) == []


def test_hours() -> None:
    court = Court(Condition(point="a.x", equals=True), hours=lambda local: local.hour >= 22)
    assert court.read(0, x=True) == []
    court.local = datetime(2026, 11, 21, 22, tzinfo=UTC)
    assert court.look(1) == [True]
    court.local = NOON
    assert court.look(2) == [False]


def test_without_a_clock_a_rule_always_applies() -> None:
    court = Court(Condition(point="a.x", equals=True), hours=lambda local: False)
    court.local = None
    assert court.read(0, x=True) == [True]


def test_a_successor_takes_up_what_holds() -> None:
    court = Court(Condition(point="a.x", equals=True), off_delay=5)
    court.judge.begin(["r", "gone"])
    assert court.read(0, x=True) == []
    assert court.read(1, x=False) == []
    assert court.read(6, x=False) == [False]
