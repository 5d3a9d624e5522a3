"""A device that stands for many places, such as a fire panel: each is an alarm of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from gateway.capabilities.safety.services.alarms import Alarm, AlarmMode, AlarmState, Safety
from gateway.capabilities.safety.services.alarms.service import MAX_PLACES
from gateway.model import MORE_PLACES, AlarmSpec, Fact, Hazard, Point, Sample
from tests.gateway.services.kit import Fold, adopted, command, device, sample, tick

PANEL = device(
    "panel",
    "fire-panel",
    fire=Point(alarm=AlarmSpec(hazard=Hazard.FIRE, off_delay=0.0)),
    fault=Point(alarm=AlarmSpec(hazard=Hazard.FAULT)),
)


def safety() -> Fold:
    return Fold(Safety({"panel": PANEL}))


def report(second: float, fires: dict[str, str], faults: dict[str, str] | None = None) -> Sample:
    faults = faults or {}
    plain = sample("panel", second, fire=bool(fires), fault=bool(faults))
    return msgspec.structs.replace(plain, places={"fire": fires, "fault": faults})


def told(facts: Iterable[Fact]) -> list[tuple[str, str]]:
    return [(fact.body["change"], fact.body.get("where", "the panel")) for fact in facts]


def act(fold: Fold, action: str, second: float = 0, **args: Any) -> list[tuple[str, str]]:
    return told(fold.step(command(action, device="panel", second=second, args=args)))


def test_the_second_and_the_third_detector_are_raised_and_sound_again() -> None:
    fold = safety()
    assert told(fold.step(report(0, {"1/1": "一楼"}))) == [("raised", "一楼")]
    fold.step(command("mute"))
    (first,) = fold.rows.values()
    assert not first.is_sounding
    (fact,) = fold.step(report(1, {"1/1": "一楼", "1/2": "二楼"}))
    assert (fact.device, fact.body["point"], fact.body["place"], fact.body["where"]) == (
        "panel", "fire", "1/2", "二楼",
    )  # fmt: skip
    assert fold.rows["panel/fire/1/2"].is_sounding
    third = {"1/1": "一楼", "1/2": "二楼", "1/3": ""}
    assert told(fold.step(report(2, third))) == [("raised", "")]
    assert told(fold.step(report(3, third), tick(4), report(5, third))) == []
    assert len({alarm.id for alarm in fold.rows.values()}) == 3


def test_each_is_acknowledged_cleared_and_reset_on_its_own() -> None:
    fold = safety()
    fold.step(report(0, {"1/1": "一楼", "1/2": "二楼"}))
    first, second = fold.rows["panel/fire/1/1"].id, fold.rows["panel/fire/1/2"].id
    assert act(fold, "acknowledge", alarm=first) == [("acknowledged", "一楼")]
    assert told(fold.step(report(1, {"1/2": "二楼"}))) == [("cleared", "一楼")]
    assert act(fold, "reset", alarm=second) == [], "it still burns"
    assert act(fold, "reset", alarm=first) == [("closed", "一楼")]
    assert [alarm.where for alarm in fold.rows.values()] == ["二楼"]
    assert told(fold.step(report(2, {"1/1": "一楼", "1/2": "二楼"}))) == [("raised", "一楼")]


def test_a_reset_of_the_panel_clears_all_and_one_command_acknowledges_and_resets_all() -> None:
    fold = safety()
    fold.step(report(0, {"1/1": "一楼", "1/2": "二楼"}))
    assert act(fold, "acknowledge", device="panel") == [("acknowledged", "一楼"), ("acknowledged", "二楼")]
    assert told(fold.step(report(1, {}))) == [("cleared", "一楼"), ("cleared", "二楼")]
    assert act(fold, "reset") == [("closed", "一楼"), ("closed", "二楼")]
    assert fold.rows == {}


def test_a_late_click_for_the_whole_panel_leaves_what_is_newer() -> None:
    fold = safety()
    fold.step(report(0, {"1/1": "一楼"}))
    seen = fold.rows["panel/fire/1/1"].raised.wall_ms
    fold.step(report(1, {"1/1": "一楼", "1/2": "二楼"}))
    assert act(fold, "acknowledge", seen=seen) == [("acknowledged", "一楼")]


def test_they_survive_a_restart_and_are_not_raised_twice() -> None:
    fold = safety()
    fold.step(report(0, {"1/1": "一楼", "1/2": "二楼"}, {"1/9": "泵房"}))
    fold.restart()
    assert told(fold.step(report(1, {"1/1": "一楼", "1/2": "二楼"}, {"1/9": "泵房"}))) == []
    assert told(fold.step(report(2, {"1/2": "二楼"}, {"1/9": "泵房"}))) == [("cleared", "一楼")]
    assert fold.rows["panel/fire/1/2"].where == "二楼"


def test_a_place_that_clears_during_a_restart_is_told_to_have_cleared() -> None:
    fold = safety()
    fold.step(report(0, {"1/1": "一楼", "1/2": "二楼"}))
    fold.restart()
    assert told(fold.step(report(1, {"1/2": "二楼"}))) == [("cleared", "一楼")]


def test_the_device_itself_is_the_whole_point() -> None:
    fold = safety()
    assert told(fold.step(report(0, {"": ""}))) == [("raised", "the panel")]
    assert [*fold.rows] == ["panel/fire"]
    assert told(fold.step(report(1, {"1/1": "一楼"}))) == [("cleared", "the panel"), ("raised", "一楼")]


def test_an_alarm_of_an_earlier_version_gives_way_to_those_of_its_places() -> None:
    fold = safety()
    fold.step(sample("panel", 0, fire=True, fault=False))
    assert told(fold.step(report(1, {"1/1": "一楼"}))) == [("cleared", "the panel"), ("raised", "一楼")]


def test_an_outage_says_nothing_of_the_places() -> None:
    fold = safety()
    fold.step(report(0, {"1/1": "一楼"}))
    facts = fold.step(sample("panel", 1, error="silent"))
    assert [fact.body["point"] for fact in facts] == ["link"]
    assert fold.rows["panel/fire/1/1"].state is AlarmState.ACTIVE


def test_a_delay_is_each_places_own() -> None:
    fold = safety()
    fold.step(report(0, {}, {"1/1": "泵房"}))
    assert told(fold.step(report(1, {}))) == []
    assert told(fold.step(tick(4))) == []
    assert told(fold.step(report(5, {}, {"1/2": "风机"}))) == [("raised", "风机")]
    assert told(fold.step(tick(7))) == [("cleared", "泵房")]


def test_a_place_must_last_as_long_as_the_point_says_without_a_break() -> None:
    fault = Point(alarm=AlarmSpec(hazard=Hazard.FAULT, delay=10.0))
    fold = Fold(Safety({"panel": device("panel", "fire-panel", fire=Point(), fault=fault)}))
    fold.step(report(0, {}, {"1/1": "泵房", "1/2": "风机"}), report(5, {}, {"1/1": "泵房"}))
    fold.step(report(6, {}, {"1/1": "泵房", "1/2": "风机"}))
    assert told(fold.step(tick(9.9))) == []
    assert told(fold.step(tick(10))) == [("raised", "泵房")]
    assert told(fold.step(tick(15.9))) == []
    assert told(fold.step(tick(16))) == [("raised", "风机")]


def test_a_disabled_panel_raises_nothing_and_what_still_burns_is_raised_when_it_is_enabled() -> None:
    fold = safety()
    fold.step(report(0, {"1/1": "一楼"}))
    disabled = act(fold, "disable", point="fire", why="paint")
    assert disabled == [("disabled", "the panel"), ("disabled", "一楼")]
    assert [*fold.rows] == ["panel/fire"]
    assert told(fold.step(report(1, {"1/1": "一楼", "1/2": "二楼"}))) == []
    enabled = act(fold, "enable", second=2, point="fire")
    assert enabled == [("enabled", "the panel"), ("raised", "一楼"), ("raised", "二楼")]


def test_in_test_mode_each_detector_is_recorded_with_its_place() -> None:
    fold = safety()
    assert act(fold, "test", point="fire") == [("test-begun", "the panel")]
    assert told(fold.step(report(1, {"1/1": "一楼"}))) == [("tested", "一楼")]
    assert fold.rows["panel/fire"].tripping
    assert told(fold.step(report(2, {}), report(3, {"1/2": "二楼"}))) == [("tested", "二楼")]
    assert fold.rows["panel/fire"].tripping
    assert told(fold.step(report(4, {}))) == []
    assert not fold.rows["panel/fire"].tripping
    assert act(fold, "end-test", second=5) == [("test-ended", "the panel")]
    fold.step(report(6, {"1/1": "一楼"}))
    assert act(fold, "test", second=7, point="fire") == [], "a real alarm is never turned into a test"


def test_one_place_is_shelved_and_the_others_are_not() -> None:
    fold = safety()
    fold.step(report(0, {"1/1": "一楼", "1/2": "二楼"}))
    alarm = fold.rows["panel/fire/1/1"].id
    assert act(fold, "shelve", alarm=alarm) == [], "a fire is acknowledged first"
    assert act(fold, "acknowledge", alarm=alarm) == [("acknowledged", "一楼")]
    assert act(fold, "shelve", alarm=alarm) == [("shelved", "一楼")]
    assert fold.rows["panel/fire/1/1"].mode is AlarmMode.SHELVED
    assert fold.rows["panel/fire/1/2"].is_current


def test_more_places_than_there_is_room_for_are_one_alarm_more() -> None:
    fold = safety()
    many = {f"1/{number}": f"{number} 号" for number in range(MAX_PLACES + 50)}
    facts = fold.step(report(0, many))
    assert len(facts) == len(fold.rows) == MAX_PLACES + 1
    more: Alarm = fold.rows[f"panel/fire/{MORE_PLACES}"]
    assert act(fold, "acknowledge", alarm=more.id) == [("acknowledged", "")]
    assert told(fold.step(report(1, {**many, "9/9": "新"}))) == [("raised", "")], "it sounds again"
    fold.restart()
    assert told(fold.step(report(2, {**many, "9/9": "新"}))) == []
    fewer = {place: where for place, where in many.items() if place != f"1/{MAX_PLACES}"}
    assert told(fold.step(report(3, fewer))) == [], "others without room still burn"
    cleared = fold.step(report(4, {"1/0": "0 号"}))
    assert MORE_PLACES in {fact.body["place"] for fact in cleared}
    assert len(cleared) == MAX_PLACES
    assert told(fold.step(report(5, {}))) == [("cleared", "0 号")]


def test_made_up_places_that_come_and_go_do_not_fill_the_memory() -> None:
    fold = safety()
    for number in range(3 * MAX_PLACES):
        fold.step(report(number, {f"1/{number}": ""}))
    assert len(fold.rows) == MAX_PLACES + 1


@pytest.mark.parametrize("known", [True, False])
def test_what_is_no_longer_configured_is_removed(known: bool) -> None:
    fold = safety()
    fold.step(report(0, {"1/1": "一楼"}))
    service = Safety({"panel": PANEL} if known else {})
    changes, facts = service.apply(fold.rows, adopted(2, "panel"))
    assert told(facts) == ([] if known else [("removed", "一楼")])
    assert bool(changes) is not known
