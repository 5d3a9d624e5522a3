from typing import Any

from msgspec import msgpack
from msgspec.structs import replace

from gateway.capabilities.safety.services.alarms import AlarmState, Safety
from gateway.capabilities.safety.services.supervision import Sensor, Supervision
from gateway.model import AlarmSpec, Arrival, ClockQuality, Fact, Hazard, Lane, Message, Point, Stamp, Tick
from tests.gateway.services.kit import DAY, Fold, at, command, device, kinds, sample, tick

NOW: dict[str, Any] = {"off_delay": 0.0}
DEVICES = {
    "s1": device(
        "s1",
        "smoke",
        smoke=Point(alarm=AlarmSpec(hazard=Hazard.FIRE, **NOW)),
        fault=Point(alarm=AlarmSpec(hazard=Hazard.FAULT, **NOW)),
        battery=Point(),
    ),
    "s2": device("s2", "smoke", smoke=Point(alarm=AlarmSpec(hazard=Hazard.FIRE, **NOW))),
    "f": device("f", "fridge", warm=Point(alarm=AlarmSpec(hazard=Hazard.FOOD, above=8, **NOW))),
    "door": device("door", "door-counter"),
}
WEEK = 7 * 86_400


class Both:
    """Safety, and the supervision that follows it."""

    def __init__(self, **days: float) -> None:
        self.safety = Fold(Safety(DEVICES))
        self.fold = Fold(Supervision(DEVICES, {"smoke": 7, **days}))

    @property
    def rows(self) -> dict[str, Any]:
        return self.fold.rows

    def step(self, *messages: Message) -> list[Fact]:
        told: list[Fact] = []
        for message in messages:
            alarms = [fact for fact in self.safety.step(message) if fact.lane is Lane.ALARM]
            told += self.fold.step(message, *alarms)
        return told

    def figure(self, name: str) -> Any:
        return self.fold.service.summary(self.rows)[name]


def test_each_sensor_that_can_be_tried_is_followed() -> None:
    both = Both()
    both.step(sample("s1", smoke=False, fault=False), sample("f", warm=4.0), sample("door"))
    assert sorted(both.rows) == ["f/warm", "s1/smoke"]


def test_a_proof_of_life_is_noted_once_an_hour_and_at_each_change() -> None:
    both = Both()
    both.step(sample("s1", 0, smoke=False))
    assert both.rows["s1/smoke"].seen.mono_ns == 0
    for second in range(1, 3600, 60):
        assert both.fold.service.apply(both.rows, sample("s1", second, smoke=False)) == ({}, [])
    both.step(sample("s1", 3600, smoke=False))
    assert both.rows["s1/smoke"].seen.mono_ns == 3600 * 10**9
    both.step(sample("s1", 3700, error="timeout"))
    assert (both.rows["s1/smoke"].alive, both.figure("silent")) == (False, 1)
    both.step(sample("s1", 3701, smoke=False))
    assert (both.rows["s1/smoke"].alive, both.rows["s1/smoke"].seen.mono_ns) == (True, 3701 * 10**9)


def test_a_state_that_was_kept_raises_its_alarm_and_is_no_life() -> None:
    both = Both()
    both.step(sample("s1", 0, error="silent"))
    kept = replace(sample("s1", 5, smoke=True), arrival=Arrival.RETAINED)
    assert [fact.body["change"] for fact in both.safety.step(kept)] == ["raised"]
    both.step(kept)
    assert "s1/smoke" not in both.rows or not both.rows["s1/smoke"].alive
    assert both.safety.rows["s1/link"].state is AlarmState.ACTIVE


def test_a_value_that_is_left_out_as_impossible_is_no_life() -> None:
    both = Both()
    both.step(sample("f", 0, warm=4.0))
    both.step(replace(sample("f", 1), bad={"warm": "out-of-range"}))
    assert not both.rows["f/warm"].alive
    both.step(sample("f", 2, warm=4.0), sample("f", 3))
    assert both.rows["f/warm"].alive, "a message need not carry every point"


def test_a_test_falls_due_once_and_is_done_by_pressing_the_button() -> None:
    both = Both()
    both.step(sample("s1", 0, smoke=False))
    assert both.step(tick(WEEK - 60)) == []
    (fact,) = both.step(tick(WEEK))
    assert (fact.kind, fact.device, fact.lane) == ("test-due", "s1", Lane.EVENT)
    assert fact.body == {"point": "smoke", "days": 7, "tested": None}
    assert both.step(tick(WEEK + 60), tick(WEEK + 120)) == []
    assert both.figure("tests_due") == 1
    both.step(command("test", "s1", WEEK + 200), sample("s1", WEEK + 210, smoke=True))
    row = both.rows["s1/smoke"]
    assert (row.tested_by, row.tested.mono_ns, both.figure("tests_due")) == ("王", (WEEK + 210) * 10**9, 0)
    both.step(sample("s1", WEEK + 220, smoke=False))
    assert both.step(tick(2 * WEEK)) == []
    assert kinds(both.step(tick(2 * WEEK + 300))) == ["test-due"]


def test_a_real_alarm_is_a_proof_as_well() -> None:
    both = Both()
    both.step(sample("s1", 0, smoke=False), tick(WEEK), sample("s1", WEEK + 60, smoke=True))
    assert (both.figure("tests_due"), both.rows["s1/smoke"].tested_by) == (0, "")
    assert both.rows["s1/smoke"].tested is not None


def test_an_alarm_of_one_place_proves_its_point_as_well() -> None:
    both = Both()
    fire = sample("s1", WEEK + 60, smoke=True)
    both.step(sample("s1", 0, smoke=False), tick(WEEK), replace(fire, places={"smoke": {"1/2": "二楼"}}))
    assert both.figure("tests_due") == 0
    assert sorted(both.rows) == ["s1/smoke"]


def test_how_often_is_the_sites_own_affair() -> None:
    both = Both(smoke=0, fridge=30)
    both.step(sample("s1", 0, smoke=False), sample("f", 0, warm=4.0))
    assert [fact.device for fact in both.step(tick(40 * 86_400))] == ["f"]


def test_a_restart_reminds_of_nothing_twice_and_waits_for_a_clock() -> None:
    both = Both()
    both.step(sample("s1", 0, smoke=False), sample("s2", 0, smoke=False), tick(WEEK))
    kept = {key: msgpack.decode(msgpack.encode(row), type=Sensor) for key, row in both.rows.items()}
    again = Fold(Supervision({"s1": DEVICES["s1"]}, {"smoke": 7}))
    again.rows = dict(again.service.restore(kept))
    unset = Stamp(0, 10**9, "next", ClockQuality.UNSET)
    assert again.step(Tick(unset, DAY)) == []
    assert list(again.rows) == ["s1/smoke"], "what left the site's file left"
    assert again.rows["s1/smoke"].due


def test_a_sensor_that_was_first_heard_before_the_clock_was_set_falls_due_all_the_same() -> None:
    fold = Fold(Supervision({"s1": DEVICES["s1"]}, {"smoke": 7}))
    unset = Stamp(5_000, 5 * 10**9, "boot", ClockQuality.UNSET)
    fold.step(replace(sample("s1", smoke=False), at=unset), tick(65))
    since = fold.rows["s1/smoke"].since
    assert (since.wall_ms, since.mono_ns, since.clock) == (at(5).wall_ms, 5 * 10**9, ClockQuality.SYNCED)
    rebooted = replace(at(WEEK + 5), boot="next", mono_ns=10**12)
    assert kinds(fold.step(Tick(rebooted, DAY))) == ["test-due"]


def test_of_a_boot_that_never_had_a_clock_the_days_count_from_now() -> None:
    fold = Fold(Supervision({"s1": DEVICES["s1"]}, {"smoke": 7}))
    unset = Stamp(5_000, 5 * 10**9, "lost", ClockQuality.UNSET)
    fold.step(replace(sample("s1", smoke=False), at=unset), tick(60))
    assert kinds(fold.step(tick(WEEK))) == []
    assert kinds(fold.step(tick(WEEK + 60))) == ["test-due"]


def test_the_walk_test_ticks_off_each_detector() -> None:
    both = Both()
    both.step(sample("s1", 0, smoke=False), sample("s2", 0, smoke=False))
    both.step(command("test", "s1", 10), command("test", "s2", 11, by="李"))
    assert both.figure("in_test") == 2
    both.step(sample("s1", 20, smoke=True))
    first, second = both.rows["s1/smoke"].trial, both.rows["s2/smoke"].trial
    assert (first.by, first.since.mono_ns, first.ticked.mono_ns) == ("王", 10 * 10**9, 20 * 10**9)
    assert (second.by, second.ticked) == ("李", None)
    both.step(sample("s1", 30, smoke=False), command("end-test", "s1", 40), command("end-test", "s2", 40))
    assert [row.trial for row in both.rows.values()] == [None, None]
    assert both.rows["s1/smoke"].tested.mono_ns == 20 * 10**9
    assert both.rows["s2/smoke"].tested is None
