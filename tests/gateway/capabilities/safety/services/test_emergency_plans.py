"""Emergency plans: alarms come from Safety itself, as in the engine."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack

from gateway.capabilities.safety.services.alarms import Safety
from gateway.capabilities.safety.services.emergency_plans import (
    EmergencyCase,
    EmergencyPlan,
    EmergencyPlans,
    PlanStep,
    find_case,
)
from gateway.model import AlarmSpec, Fact, Hazard, Lane, Message, Point
from tests.gateway.services.kit import Fold, command, device, kinds, sample

WORDS = {"zh": "做", "en": "do"}
STEPS = {name: PlanStep(who=WORDS, do=WORDS) for name in ("look", "call", "muster")}
PLANS = {
    Hazard.FIRE: EmergencyPlan(hazard=Hazard.FIRE, title=WORDS, source=WORDS, together=True, steps=STEPS),
    Hazard.SOS: EmergencyPlan(hazard=Hazard.SOS, title=WORDS, source=WORDS, steps=STEPS),
}
NOW: dict[str, Any] = {"off_delay": 0.0}
DEVICES = {
    "s1": device("s1", "smoke", smoke=Point(alarm=AlarmSpec(hazard=Hazard.FIRE, **NOW))),
    "s2": device("s2", "smoke", smoke=Point(alarm=AlarmSpec(hazard=Hazard.FIRE, **NOW))),
    "b1": device("b1", "sos", sos=Point(alarm=AlarmSpec(hazard=Hazard.SOS, **NOW))),
    "b2": device("b2", "sos", sos=Point(alarm=AlarmSpec(hazard=Hazard.SOS, **NOW))),
}


class Both:
    """Safety, and the response that follows it."""

    def __init__(self) -> None:
        self.safety = Fold(Safety(DEVICES, inside_figure="visitors.inside"))
        self.response = Fold(EmergencyPlans(PLANS))

    @property
    def rows(self) -> dict[str, Any]:
        return self.response.rows

    def step(self, *messages: Message) -> list[Fact]:
        told: list[Fact] = []
        for message in messages:
            alarms = [fact for fact in self.safety.step(message) if fact.lane is Lane.ALARM]
            told += self.response.step(message, *alarms)
        return told

    def act(self, action: str, key: str, second: float = 0, by: str = "王", **args: Any) -> list[Fact]:
        """A command about the alarm of a rule."""
        rows = self.safety.rows
        alarm = rows[key].id if key in rows else "gone"
        return self.step(command(action, second=second, by=by, args={"alarm": alarm, **args}))

    def restart(self) -> None:
        """Through the journal, as MessagePack."""
        kept = {key: msgpack.encode(row) for key, row in self.rows.items()}
        self.response = Fold(EmergencyPlans(PLANS))
        rows = {key: msgpack.decode(body, type=EmergencyCase) for key, body in kept.items()}
        self.response.rows = dict(self.response.service.restore(rows))
        self.safety.restart()


def end(both: Both, key: str, second: float) -> list[Fact]:
    """Clear, acknowledge and reset."""
    name, point = key.split("/")
    told = both.step(sample(name, second, **{point: False})) if name in DEVICES else []
    return [*told, *both.act("acknowledge", key, second), *both.act("reset", key, second)]


def test_an_alarm_opens_the_steps_of_its_plan() -> None:
    both = Both()
    (fact,) = both.step(sample("b1", sos=True))
    assert (fact.kind, fact.lane, fact.durable, fact.device) == ("plan-opened", Lane.EVENT, True, "b1")
    assert fact.body["steps"] == ["look", "call", "muster"]
    assert both.response.service.summary(both.rows) == {"cases": 1, "drills": 0, "steps_open": 3}


def test_a_step_is_checked_off_by_name_and_time_and_only_once() -> None:
    both = Both()
    both.step(sample("b1", sos=True))
    (fact,) = both.act("step", "b1/sos", 20, step="look")
    assert (fact.kind, fact.body["step"], fact.body["by"], fact.body["seconds"]) == (
        "step",
        "look",
        "王",
        20.0,
    )
    assert both.act("step", "b1/sos", 21, by="李", step="look") == []
    assert both.rows["b1/sos"].done["look"].by == "王"
    assert kinds(both.act("unstep", "b1/sos", 22, step="look")) == ["unstep"]
    assert both.act("unstep", "b1/sos", 23, step="look") == []
    assert kinds(both.act("step", "b1/sos", 24, by="李", step="look")) == ["step"]


def test_the_report_says_when_each_thing_was_done_and_what_was_not() -> None:
    both = Both()
    both.step(sample("b1", 0, sos=True))
    both.act("acknowledge", "b1/sos", 12)
    both.act("step", "b1/sos", 40, by="李", step="call")
    both.act("muster", "b1/sos", 50, found=3)
    (report,) = end(both, "b1/sos", 300)
    body = report.body
    assert report.kind == "alarm-report"
    assert body["acknowledged"] == {"by": "王", "seconds": 12.0}
    assert body["steps"] == {"call": {"by": "李", "seconds": 40.0}}
    assert body["skipped"] == ["look", "muster"]
    assert (body["found"], body["inside"], body["missing"], body["seconds"]) == (3, None, None, 300.0)
    assert both.rows == {}


def test_a_house_burns_once_however_many_detectors_say_so() -> None:
    both = Both()
    assert kinds(both.step(sample("s1", 0, smoke=True), sample("s2", 5, smoke=True))) == ["plan-opened"]
    first, second = (both.safety.rows[key].id for key in ("s1/smoke", "s2/smoke"))
    assert find_case(both.rows, first) == find_case(both.rows, second)
    assert kinds(both.act("step", "s2/smoke", 9, step="call")) == ["step"]
    assert end(both, "s1/smoke", 60) == []
    (report,) = end(both, "s2/smoke", 90)
    assert (report.body["alarm"], report.body["seconds"]) == (first, 90.0)
    assert both.rows == {}


def test_two_people_who_call_for_help_are_two_cases() -> None:
    both = Both()
    assert kinds(both.step(sample("b1", sos=True), sample("b2", sos=True))) == ["plan-opened"] * 2
    assert kinds(end(both, "b1/sos", 9)) == ["alarm-report"]
    assert list(both.rows) == ["b2/sos"]


def test_what_comes_back_before_its_reset_is_the_same_case() -> None:
    both = Both()
    both.step(sample("b1", 0, sos=True))
    old = both.safety.rows["b1/sos"].id
    both.act("acknowledge", "b1/sos", 1)
    both.act("step", "b1/sos", 2, step="look")
    assert both.step(sample("b1", 3, sos=False), sample("b1", 4, sos=True)) == []
    assert both.safety.rows["b1/sos"].id != old
    assert kinds(both.act("step", "b1/sos", 5, step="call")) == ["step"]
    (report,) = end(both, "b1/sos", 9)
    assert list(report.body["steps"]) == ["look", "call"]


def test_a_late_click_does_not_touch_the_next_alarm() -> None:
    both = Both()
    both.step(sample("b1", 0, sos=True))
    old = both.safety.rows["b1/sos"].id
    end(both, "b1/sos", 9)
    both.step(sample("b1", 20, sos=True))
    assert both.step(command("step", second=21, args={"alarm": old, "step": "look"})) == []


def test_everybody_inside_must_be_found() -> None:
    both = Both()
    (fact,) = both.step(sample("visitors", 0, inside=31), sample("s1", 1, smoke=True))
    assert fact.body["inside"] == 31
    (fact,) = both.act("muster", "s1/smoke", 60, found=29)
    assert (fact.body["found"], fact.body["missing"], fact.body["by"]) == (29, 2, "王")
    assert both.act("muster", "s1/smoke", 61, found=29) == [], "a second click"
    (fact,) = both.act("muster", "s1/smoke", 70, found=33)
    assert fact.body["missing"] == 0
    (report,) = end(both, "s1/smoke", 90)
    assert (report.body["inside"], report.body["found"], report.body["missing"]) == (31, 33, 0)


def test_a_count_that_is_none_is_refused() -> None:
    both = Both()
    both.step(sample("s1", smoke=True))
    for found in (-1, True, 2.5, "all"):
        assert both.act("muster", "s1/smoke", found=found) == []
    assert both.act("muster", "s1/smoke") == []


def test_a_drill_is_reported_apart_with_who_began_it() -> None:
    both = Both()
    both.step(sample("visitors", 0, inside=8))
    (fact,) = both.step(command("drill", "gateway", 1, by="赵", args={"hazard": "fire"}))
    assert (fact.body["drill"], fact.body["by"], fact.body["inside"]) == (True, "赵", 8)
    assert kinds(both.step(sample("s1", 2, smoke=True))) == ["plan-opened"], "a real fire is no drill"
    both.act("step", "drill/fire", 3, step="muster")
    (report,) = both.act("reset", "drill/fire", 61)
    assert (report.kind, report.body["by"], report.body["seconds"]) == ("drill-report", "赵", 60.0)
    assert list(report.body["steps"]) == ["muster"]
    assert both.rows["fire"].done == {}, "what was practised was not done"


def test_what_is_put_out_of_service_is_over() -> None:
    both = Both()
    both.step(sample("b1", 0, sos=True))
    (report,) = both.step(command("disable", "b1", 5))
    assert (report.kind, report.body["ended"]) == ("alarm-report", "disabled")


def test_an_alarm_without_a_plan_opens_nothing() -> None:
    both = Both()
    assert both.step(sample("s1", 0, error="timeout")) == []
    assert both.rows == {}


def test_a_case_survives_a_restart_and_a_reboot_without_a_clock() -> None:
    both = Both()
    both.step(sample("b1", 0, sos=True))
    both.act("step", "b1/sos", 5, step="look")
    both.restart()
    assert both.step(sample("b1", 6, sos=True)) == []
    (report,) = end(both, "b1/sos", 60)
    assert report.body["steps"] == {"look": {"by": "王", "seconds": 5.0}}


KEYS = ["s1/smoke", "s2/smoke", "b1/sos", "drill/fire"]
MOVES = st.tuples(
    st.sampled_from(["raise", "clear", "acknowledge", "reset", "step", "unstep", "disable", "restart"]),
    st.sampled_from(KEYS),
    st.sampled_from(list(STEPS)),
)


@given(st.lists(MOVES, max_size=40))
def test_no_step_is_lost_or_recorded_twice(moves: list[tuple[str, str, str]]) -> None:
    both = Both()
    ticked: dict[str, set[str]] = {}
    for second, (move, key, step) in enumerate(moves):
        name, point = key.split("/")
        if move == "restart":
            both.restart()
            told = []
        elif move in ("raise", "clear"):
            is_drill = name == "drill"
            message: Message = sample(name, second, **{point: move == "raise"})
            if is_drill:
                message = command("drill", "gateway", second)
            told = both.step(message)
        elif move == "disable":
            told = both.step(command("disable", name, second, args={"seconds": 1}))
        else:
            told = both.act(move, key, second, step=step)
        for fact in told:
            case = fact.body["alarm"]
            if fact.kind == "plan-opened":
                assert case not in ticked
                ticked[case] = set()
            elif fact.kind == "step":
                assert fact.body["step"] not in ticked[case]
                ticked[case].add(fact.body["step"])
            elif fact.kind == "unstep":
                ticked[case].remove(fact.body["step"])
            else:
                done = ticked.pop(case)
                assert set(fact.body["steps"]) == done
                assert set(fact.body["skipped"]) == STEPS.keys() - done
        standing = {row.id for row in both.safety.rows.values() if row.state != "normal"}
        for alarm in standing:
            found = find_case(both.rows, alarm)
            assert found is not None
            assert set(found[1].done) == ticked[found[1].id]
        assert bool(both.rows) == bool(standing)
    assert {row.id for row in both.rows.values() if not row.of} == ticked.keys()


def test_ten_thousand_alarms_are_one_case_and_cost_no_more_than_their_rows() -> None:
    fold = Fold(EmergencyPlans(PLANS))
    service, rows = fold.service, fold.rows
    told = 0
    for change, state in (("raised", "active"), ("closed", "normal")):
        for number in range(10_000):
            body = {
                "id": f"s{number}/smoke/1",
                "change": change,
                "state": state,
                "hazard": "fire",
                "mode": "",
                "by": "",
            }
            changes, facts = service.apply(
                rows, Fact(Lane.ALARM, "s", "alarm", sample("s", number).at, body)
            )
            assert len(changes) <= 2
            for key, row in changes.items():
                if row is None:
                    del rows[key]
                else:
                    rows[key] = row
            told += len(facts)
    assert told == 2
    assert rows == {}
