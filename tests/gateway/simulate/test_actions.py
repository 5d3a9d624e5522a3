from __future__ import annotations

import pytest

from gateway.simulate.actions import ACTIONS, ActionRefused, perform, perform_text
from gateway.simulate.centre import HOUR_S, Centre
from gateway.simulate.faults import Faults
from gateway.simulate.world import World


@pytest.fixture
def world() -> World:
    centre = Centre()
    centre.advance(10 * HOUR_S)
    return World(centre, Faults(), clock=lambda: 0.0)


def test_time_passes_at_its_speed_when_somebody_looks() -> None:
    now = 0.0
    world = World(Centre(), Faults(), speed=60, clock=lambda: now)
    now = 61.0
    assert world.state()["time"] == "01:01:00"


def test_people(world: World) -> None:
    inside = world.centre().inside
    perform(world, "visitor", {"door": "1", "direction": "in", "n": "3"})
    perform(world, "visitor", {"door": "2", "direction": "out"})
    assert world.centre().inside == inside + 2
    with pytest.raises(ActionRefused):
        perform(world, "visitor", {"door": "1", "direction": "out", "n": str(inside + 3)})
    assert world.centre().inside == inside + 2, "all of them or none"


def test_parcels_go_where_there_is_room(world: World) -> None:
    centre = world.centre()
    free = [n for n, locker in enumerate(centre.lockers) if locker.parcel is None]
    assert perform(world, "parcel", {"lock": str(free[-1])}) == {"action": "parcel", "lock": free[-1]}
    assert centre.lockers[free[-1]].open
    with pytest.raises(ActionRefused):
        perform(world, "parcel", {"lock": str(free[-1])})
    for lock in free[:-1]:
        assert perform(world, "parcel", {})["lock"] == lock
    with pytest.raises(ActionRefused, match="No locker"):
        perform(world, "parcel", {})


def test_faults_of_a_unit_and_of_a_wire(world: World) -> None:
    perform(world, "dead", {"wire": "tcp", "unit": "21", "on": "on"})
    perform(world, "dead", {"wire": "rtu", "on": "1"})
    perform(world, "slow", {"wire": "cu16", "ms": "250"})
    perform(world, "garbage", {"wire": "cu16", "on": "true", "seconds": "5"})
    assert world.faults.state() == {
        "dead": ["rtu/1", "rtu/2", "rtu/3", "rtu/4", "tcp/21"],
        "slow": {"cu16/0": 250},
        "garbage": ["cu16"],
    }
    perform(world, "clear", {})
    assert world.faults.state() == {"dead": [], "slow": {}, "garbage": []}


@pytest.mark.parametrize(
    ("name", "given", "status"),
    [
        ("explode", {}, 404),
        ("smoke", {"unit": "9", "on": "1"}, 400),
        ("smoke", {"unit": "2", "on": "maybe"}, 400),
        ("smoke", {"unit": "2"}, 400),
        ("smoke", {"unit": "2", "on": "1", "colour": "red"}, 400),
        ("gas", {"lel": "nan"}, 400),
        ("garbage", {"wire": "tcp", "on": "1"}, 400),
        ("dead", {"wire": "rtu", "unit": "9", "on": "1"}, 400),
        ("visitor", {"door": "1", "direction": "in", "n": "1.5"}, 400),
    ],
)
def test_what_cannot_be_done_changes_nothing_and_says_why_twice(
    world: World, name: str, given: dict[str, str], status: int
) -> None:
    before = world.state()
    with pytest.raises(ActionRefused) as refused:
        perform(world, name, given)
    assert refused.value.status == status
    assert refused.value.en.isprintable()
    assert any("\u4e00" <= letter <= "\u9fff" for letter in refused.value.zh)
    assert world.state() == before


def test_the_same_actions_line_by_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert perform_text(world, "smoke 2 on\n") == '{"action": "smoke", "unit": 2, "on": true}'
    assert world.centre().smoke[2].status == 1
    assert perform_text(world, "detector 2 fault")
    assert world.centre().smoke[2].status == 2
    assert perform_text(world, "smoke 2 on please") == "smoke unit on"
    monkeypatch.setenv("LINLI_LANG", "en")
    assert perform_text(world, "smoke 2") == "smoke needs on (1 | 0 | on | off | true | false)."
    monkeypatch.setenv("LINLI_LANG", "zh")
    assert perform_text(world, "smoke 2") == "smoke 缺少参数 on（1 | 0 | on | off | true | false）。"
    assert all(name in perform_text(world, "\n") for name in ACTIONS), "an empty line lists them"
