from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack

from gateway.capabilities.safety.services.alarms import (
    Alarm,
    AlarmMode,
    AlarmState,
    Rule,
    RuleCondition,
    Safety,
)
from gateway.model import AlarmSpec, Arrival, ClockQuality, Fact, Hazard, Lane, Point, Sample, Stamp, Tick
from gateway.model.hours import parse_week
from tests.gateway.services.kit import DAY, Fold, command, device, sample, tick

AT_ONCE: dict[str, Any] = {"off_delay": 0.0}
SMOKE = device(
    "d", "smoke", smoke=Point(alarm=AlarmSpec(hazard=Hazard.FIRE, **AT_ONCE)), temperature=Point()
)
FRIDGE = device(
    "f", "fridge", warm=Point(alarm=AlarmSpec(hazard=Hazard.FOOD, above=8, hysteresis=1, **AT_ONCE))
)


def safety(*rules: Rule) -> Fold:
    return Fold(Safety({"d": SMOKE, "f": FRIDGE}, rules, inside_figure="visitors.inside"))


def changes(facts: Iterable[Fact]) -> list[str]:
    return [fact.body["change"] for fact in facts if fact.lane is Lane.ALARM]


def act(fold: Fold, action: str, key: str = "d/smoke", second: float = 0, **args: Any) -> list[str]:
    """A command about the alarm of that key."""
    args = {"alarm": fold.rows[key].id, **args} if key in fold.rows else args
    return changes(fold.step(command(action, second=second, args=args)))


def test_a_camera_in_the_dark_is_tampered_with_while_the_site_is_open_alone() -> None:
    spec = AlarmSpec(hazard=Hazard.TAMPER, while_open=True, **AT_ONCE)
    devices = {"d": device("d", "door-counter", tamper=Point(alarm=spec))}
    local = datetime(2026, 11, 21, 21, 0)  # noqa: DTZ001
    week = parse_week({"mon-sun": "08:00-21:30"}, ())
    fold = Fold(Safety(devices, (), lambda at: local + timedelta(seconds=at.mono_ns / 1e9), week))
    assert changes(fold.step(sample("d", second=1, tamper=True))) == ["raised"]
    assert changes(fold.step(sample("d", second=2, tamper=False))) == ["cleared"]
    assert changes(fold.step(sample("d", second=3600, tamper=True))) == []
    assert changes(fold.step(tick(11 * 3600 + 1))) == ["raised"]
    without_hours = Fold(Safety(devices, (), lambda _: local))
    assert changes(without_hours.step(sample("d", second=1, tamper=True))) == ["raised"]


def test_an_alarm_that_is_true_at_start_is_raised() -> None:
    fold = safety()
    (fact,) = fold.step(sample("d", smoke=True))
    assert (fact.body["change"], fact.body["hazard"], fact.body["state"]) == ("raised", "fire", "active")


def test_it_is_raised_once_however_often_it_is_read() -> None:
    assert changes(safety().step(*(sample("d", t, smoke=True) for t in range(50)))) == ["raised"]


def test_a_fire_stays_until_it_was_acknowledged_and_reset() -> None:
    fold = safety()
    fold.step(sample("d", 0, smoke=True))
    assert act(fold, "reset") == [], "nobody resets what still burns"
    assert changes(fold.step(sample("d", 1, smoke=False))) == ["cleared"]
    assert act(fold, "reset") == [], "nobody resets what nobody has seen"
    assert act(fold, "acknowledge") == ["acknowledged"]
    assert fold.rows["d/smoke"].state is AlarmState.LATCHED
    assert act(fold, "reset") == ["closed"]
    assert fold.rows == {}


def test_a_warm_fridge_closes_by_itself_once_somebody_has_seen_it() -> None:
    fold = safety()
    fold.step(sample("f", 0, warm=12))
    assert act(fold, "acknowledge", "f/warm") == ["acknowledged"]
    assert fold.rows["f/warm"].acknowledged_by == "王"
    assert changes(fold.step(sample("f", 1, warm=7.5))) == []
    assert changes(fold.step(sample("f", 2, warm=7))) == ["closed"]


def test_what_returns_before_it_was_acknowledged_is_the_same_alarm() -> None:
    fold = safety()
    first, _, again = fold.step(*(sample("d", t, smoke=t != 1) for t in range(3)))
    assert (again.body["change"], again.body["id"]) == ("raised", first.body["id"])


def test_a_late_click_does_not_acknowledge_a_newer_alarm() -> None:
    fold = safety()
    fold.step(sample("d", 0, smoke=True))
    old = fold.rows["d/smoke"].id
    fold.step(command("acknowledge", args={"alarm": old}), sample("d", 1, smoke=False))
    assert fold.rows["d/smoke"].state is AlarmState.LATCHED
    fold.step(sample("d", 2, smoke=True))
    assert fold.step(command("acknowledge", second=3, args={"alarm": old})) == []
    assert fold.rows["d/smoke"].state is AlarmState.ACTIVE
    assert fold.rows["d/smoke"].acknowledged_by == ""


def test_a_silent_safety_device_is_a_fault_and_hides_no_fire() -> None:
    fold = safety()
    fold.step(sample("d", 0, smoke=True))
    (fact,) = fold.step(sample("d", 1, error="timeout"))
    assert (fact.body["hazard"], fact.body["value"]) == ("fault", "timeout")
    assert fold.rows["d/smoke"].state is AlarmState.ACTIVE
    assert changes(fold.step(sample("d", 2, temperature=20.0))) == ["cleared"]
    assert fold.rows["d/link"].state is AlarmState.CLEARED
    assert fold.rows["d/smoke"].state is AlarmState.ACTIVE


def test_alarms_survive_a_restart() -> None:
    fold = safety()
    fold.step(sample("d", 0, smoke=True), sample("f", 0, warm=12))
    act(fold, "acknowledge")
    before = dict(fold.rows)
    kept = {key: msgpack.decode(msgpack.encode(row), type=Alarm) for key, row in fold.rows.items()}
    again = safety()
    again.rows = dict(again.service.restore(kept))
    assert again.rows == before
    assert again.step(sample("d", 9, smoke=True)) == []
    assert changes(again.step(sample("d", 10, smoke=False))) == ["cleared"]


def test_muting_silences_what_sounds_and_a_new_alarm_sounds_again() -> None:
    fold = safety()
    fold.step(sample("d", 0, smoke=True), sample("f", 0, warm=12))
    assert [row.is_sounding for row in fold.rows.values()] == [True, True]
    assert sorted(changes(fold.step(command("mute")))) == ["muted", "muted"]
    assert not any(row.is_sounding for row in fold.rows.values())
    assert all(row.is_current for row in fold.rows.values())
    fold.step(sample("d", 1, smoke=False), sample("d", 2, smoke=True))
    assert fold.rows["d/smoke"].is_sounding
    assert not fold.rows["f/warm"].is_sounding


def test_a_shelved_alarm_comes_back_by_itself() -> None:
    fold = safety()
    fold.step(sample("f", 0, warm=12))
    assert act(fold, "shelve", "f/warm", seconds=600, why="门在修") == ["shelved"]
    row = fold.rows["f/warm"]
    assert (row.mode, row.mode_by, row.why, row.is_current) == (AlarmMode.SHELVED, "王", "门在修", False)
    assert fold.step(tick(599)) == []
    (fact,) = fold.step(tick(600))
    assert (fact.body["change"], fact.body["why"]) == ("unshelved", "expired")
    assert fold.rows["f/warm"].is_sounding


def test_what_is_disabled_raises_nothing_and_is_judged_anew_when_it_is_back() -> None:
    fold = safety()
    fold.step(sample("d", 0, smoke=True))
    assert act(fold, "disable", seconds=3600, why="烹饪") == ["disabled"] * 3
    assert fold.step(sample("d", 1, smoke=False), sample("d", 2, smoke=True)) == []
    assert fold.service.summary(fold.rows)["disabled"] == 3
    assert changes(fold.step(tick(3600))) == ["enabled", "raised", "enabled", "enabled"]
    assert fold.rows["d/smoke"].state is AlarmState.ACTIVE


def test_nothing_is_disabled_for_ever() -> None:
    fold = safety()
    for seconds in (10**9, None, -1, "soon"):
        args = {} if seconds is None else {"seconds": seconds}
        fold.step(command("disable", args=args))
        assert changes(fold.step(tick(24 * 3600))) == ["enabled"] * 3


def test_after_a_reboot_without_a_clock_protection_is_back() -> None:
    fold = safety()
    fold.step(command("disable", args={"seconds": 3600, "point": "smoke"}))
    other = Stamp(0, 1, "another boot", ClockQuality.UNSET)
    assert changes(fold.step(Tick(other, DAY))) == ["enabled"]


def test_a_walk_test_ticks_off_each_detector_and_alarms_nobody() -> None:
    fold = safety()
    assert act(fold, "test", seconds=600, point="smoke") == ["test-begun"]
    assert changes(fold.step(sample("d", 1, smoke=True))) == ["tested"]
    assert fold.rows["d/smoke"].tested
    assert not fold.rows["d/smoke"].is_current
    assert changes(fold.step(sample("d", 2, smoke=False))) == []
    assert act(fold, "end-test") == ["test-ended"]
    assert fold.rows == {}


def test_smoke_that_is_still_there_when_the_test_ends_is_an_alarm() -> None:
    fold = safety()
    act(fold, "test", seconds=600, point="smoke")
    fold.step(sample("d", 1, smoke=True))
    assert changes(fold.step(tick(600))) == ["test-ended", "raised"]


def test_a_real_alarm_is_never_turned_into_a_test() -> None:
    fold = safety()
    fold.step(sample("d", 0, smoke=True))
    assert act(fold, "test", point="smoke") == []
    assert fold.rows["d/smoke"].is_sounding


def test_a_drill_is_an_alarm_that_says_so() -> None:
    fold = safety()
    (fact,) = fold.step(command("drill", device="gateway", args={"hazard": "fire"}))
    assert (fact.body["change"], fact.body["mode"], fact.device) == ("raised", "drill", "gateway")
    assert fold.rows["drill/fire"].is_sounding
    assert fold.step(command("drill", device="gateway", args={"hazard": "fire"})) == []
    assert act(fold, "reset", "drill/fire") == ["closed"]
    assert fold.rows == {}


def test_a_fire_alarm_says_how_many_must_be_found() -> None:
    fold = safety()
    fold.step(sample("visitors", 0, inside=31))
    (fact,) = fold.step(sample("d", 1, smoke=True))
    assert fact.body["inside"] == 31


def test_a_rule_of_the_site_is_an_alarm_like_any_other() -> None:
    crowded = Rule(
        id="rule/crowded",
        device="visitors",
        point="crowded",
        hazard=Hazard.CROWD,
        conditions=(RuleCondition(point="visitors.inside", above=200, hysteresis=10),),
        title={"zh": "人太多", "en": "Too many people"},
        latching=False,
        off_delay_s=0.0,
    )
    fold = safety(crowded)
    (fact,) = fold.step(sample("visitors", 0, inside=201))
    assert (fact.device, fact.body["point"], fact.body["value"]) == ("visitors", "crowded", 201)
    act(fold, "acknowledge", "rule/crowded")
    assert changes(fold.step(sample("visitors", 1, inside=190))) == ["closed"]


def test_the_summary_counts_what_stands() -> None:
    fold = safety()
    fold.step(sample("d", 0, smoke=True), sample("f", 0, warm=12))
    act(fold, "acknowledge")
    summary = fold.service.summary(fold.rows)
    assert (summary["alarms"], summary["unacknowledged"]) == (2, 1)


@pytest.mark.parametrize("action", sorted(Safety.actions))
def test_whatever_is_asked_about_nothing_changes_nothing(action: str) -> None:
    fold = safety()
    args = {"alarm": "none", "point": "none", "hazard": "none"}
    assert fold.step(command(action, device="nobody", args=args)) == []


def test_ten_thousand_transitions_at_once_are_all_told_in_order() -> None:
    devices = {
        name: device(name, "smoke", smoke=Point(alarm=AlarmSpec(hazard=Hazard.FIRE, **AT_ONCE)))
        for name in (f"s{n}" for n in range(2000))
    }
    fold = Fold(Safety(devices))
    told: dict[str, list[str]] = {name: [] for name in devices}
    for second in range(5):
        for name in devices:
            changes_, facts = fold.service.apply(fold.rows, sample(name, second, smoke=second % 2 == 0))
            fold.rows.update(changes_)
            told[name] += changes(facts)
    assert all(each == ["raised", "cleared", "raised", "cleared", "raised"] for each in told.values())


ACTS = st.sampled_from(
    [*sorted(Safety.actions - {"drill"}), "smoke", "clear", "silent", "temperature", "day", "restart"]
)


@given(st.lists(ACTS, max_size=60))
def test_no_sequence_of_acts_loses_a_fire(acts: list[str]) -> None:
    """While there is smoke it is an alarm, unless a person has taken the detector out of service; once
    there was smoke, it stays known until a person has acknowledged and reset it."""
    fold = safety()
    now, smoke = 0.0, False
    owed: set[str] = set()
    for doing in acts:
        now += 1
        row = fold.rows.get("d/smoke")
        quiet = row is None or row.state in (AlarmState.NORMAL, AlarmState.LATCHED)
        if doing in ("smoke", "clear"):
            smoke = doing == "smoke"
            fold.step(sample("d", now, smoke=smoke))
        elif doing == "silent":
            fold.step(sample("d", now, error="timeout"))
        elif doing == "temperature":
            fold.step(sample("d", now, temperature=20.0))
        elif doing == "day":
            now += 86_400
            fold.step(tick(now))
        elif doing == "restart":
            fold.restart()
        else:
            act(fold, doing, second=now, point="smoke")
        row = fold.rows.get("d/smoke")
        if row is not None and row.mode in (AlarmMode.DISABLED, AlarmMode.TEST):
            owed.clear()
            continue
        if smoke and quiet:
            owed = {"acknowledge", "reset"}
        elif doing in owed and not (doing == "reset" and (smoke or "acknowledge" in owed)):
            owed.remove(doing)
        state = row.state if row is not None else AlarmState.NORMAL
        expected = {
            (True, True): AlarmState.ACTIVE,
            (True, False): AlarmState.ACKNOWLEDGED,
            (False, True): AlarmState.CLEARED,
            (False, False): AlarmState.LATCHED if owed else AlarmState.NORMAL,
        }
        assert state is expected[smoke, "acknowledge" in owed]


def bad(second: float, bad: dict[str, str], **values: Any) -> Sample:
    return msgspec.structs.replace(sample("d", second, **values), bad=bad)


UNUSABLE = [(Hazard.FAULT, "unusable", "raised", "smoke")]


def faults(facts: Iterable[Fact]) -> list[tuple[Any, ...]]:
    bodies = [fact.body for fact in facts if fact.lane is Lane.ALARM]
    return [tuple(body[key] for key in ("hazard", "point", "change", "value")) for body in bodies]


@pytest.mark.parametrize("reason", ["wrong-type", "out-of-range", "not-a-number", "missing"])
def test_a_detector_without_a_usable_value_is_a_fault_until_it_has_one(reason: str) -> None:
    fold = safety()
    assert fold.step(bad(1, {"smoke": reason}, temperature=20), tick(2), tick(3)) == []
    assert faults(fold.step(tick(4))) == UNUSABLE
    assert fold.step(bad(5, {"smoke": reason}, temperature=20), tick(60)) == []
    fold.restart()
    assert fold.step(bad(61, {"smoke": reason}), tick(62)) == []
    assert changes(fold.step(sample("d", 63, smoke=False))) == ["cleared"]


def test_an_invalid_value_is_a_fault_within_100_seconds_and_a_missing_one_after_three_intervals() -> None:
    slow = msgspec.structs.replace(SMOKE, every=3600.0)
    for reason, seconds in (("wrong-type", 100), ("missing", 3 * 3600)):
        fold = Fold(Safety({"d": slow}))
        assert fold.step(bad(0, {"smoke": reason}, temperature=20), tick(seconds - 1)) == []
        assert faults(fold.step(tick(seconds))) == UNUSABLE


def test_what_may_be_missing_at_times_is_no_fault() -> None:
    fold = safety()
    fold.step(bad(1, {"smoke": "missing"}, temperature=20), sample("d", 3, smoke=False))
    assert fold.step(bad(4, {"temperature": "wrong-type"}), tick(500)) == []
    optional = msgspec.structs.replace(SMOKE.points["smoke"], optional=True)
    of_event = Fold(Safety({"d": device("d", "smoke", smoke=optional, temperature=Point())}))
    assert of_event.step(bad(1, {"smoke": "missing"}, temperature=20), tick(500)) == []
    # The device has sent messages without any of its values; then it sends one again.
    nothing = {"smoke": "missing", "temperature": "missing"}
    assert faults(of_event.step(bad(501, nothing), tick(504))) == UNUSABLE
    assert changes(of_event.step(sample("d", 505, temperature=20))) == ["cleared"]


def test_a_message_without_the_point_does_not_make_it_usable() -> None:
    fold = safety()
    fold.step(bad(1, {"smoke": "wrong-type"}), tick(4))
    assert fold.step(sample("d", 5, temperature=20)) == []
    retained = msgspec.structs.replace(bad(6, {"smoke": "wrong-type"}), arrival=Arrival.RETAINED)
    assert safety().step(retained, tick(50)) == []


def test_of_a_device_that_does_not_answer_nothing_new_is_unusable() -> None:
    fold = safety()
    facts = fold.step(bad(1, {"smoke": "wrong-type"}), sample("d", 2, error="timeout"), tick(200))
    assert [fact.body["point"] for fact in facts] == ["link"]


def test_a_point_that_a_rule_of_the_site_names_must_be_usable() -> None:
    hot = Rule(
        id="rule/hot", device="d", point="hot", hazard=Hazard.FIRE, latching=True,
        conditions=(RuleCondition(point="d.temperature", above=60),),
    )  # fmt: skip
    facts = safety(hot).step(bad(1, {"temperature": "out-of-range"}, smoke=False), tick(4))
    assert faults(facts) == [(Hazard.FAULT, "unusable", "raised", "temperature")]
    assert safety().step(bad(1, {"temperature": "out-of-range"}, smoke=False), tick(4)) == []
