from hypothesis import given
from hypothesis import strategies as st

from gateway.model import AlarmSpec, Fact, Hazard, Lane, Point
from gateway.services.safety import AlarmState, Safety
from tests.gateway.services.kit import Fold, command, device, sample

SMOKE = device("d", "smoke", smoke=Point(alarm=AlarmSpec(Hazard.FIRE)), temperature=Point())
GAS = device("g", "gas", lel=Point(alarm=AlarmSpec(Hazard.GAS, above=25, hysteresis=5)))


def safety() -> Fold:
    return Fold(Safety({"d": SMOKE, "g": GAS}))


def changes(facts: list[Fact]) -> list[str]:
    assert all(fact.lane is Lane.ALARM for fact in facts)
    return [fact.body["change"] for fact in facts]


def acknowledge(fold: Fold, key: str = "d/smoke") -> list[str]:
    return changes(fold.step(command("acknowledge", args={"alarm": fold.rows[key].id})))


def test_an_alarm_that_is_true_at_start_is_raised() -> None:
    fold = safety()
    (fact,) = fold.step(sample("d", smoke=True))
    assert fact.body["change"] == "raised"
    assert fact.body["hazard"] == "fire"
    assert fold.rows["d/smoke"].state is AlarmState.ACTIVE


def test_it_is_raised_once_however_often_it_is_read() -> None:
    fold = safety()
    assert changes(fold.step(*(sample("d", t, smoke=True) for t in range(50)))) == ["raised"]


def test_smoke_that_clears_stays_latched_until_somebody_acknowledges() -> None:
    fold = safety()
    fold.step(sample("d", 0, smoke=True))
    assert changes(fold.step(sample("d", 1, smoke=False))) == ["cleared"]
    assert fold.rows["d/smoke"].state is AlarmState.LATCHED
    assert changes(fold.step(sample("d", 2, smoke=False))) == []
    assert acknowledge(fold) == ["closed"]
    assert fold.rows == {}


def test_an_acknowledged_alarm_closes_when_its_condition_ends() -> None:
    fold = safety()
    fold.step(sample("d", 0, smoke=True))
    assert acknowledge(fold) == ["acknowledged"]
    assert fold.rows["d/smoke"].acknowledged_by == "王"
    assert acknowledge(fold) == []
    assert changes(fold.step(sample("d", 1, smoke=False))) == ["closed"]


def test_a_latched_alarm_that_returns_sounds_again_under_its_own_id() -> None:
    fold = safety()
    (first,) = fold.step(sample("d", 0, smoke=True))
    fold.step(sample("d", 1, smoke=False))
    (again,) = fold.step(sample("d", 2, smoke=True))
    assert (again.body["change"], again.body["id"]) == ("raised", first.body["id"])


def test_a_late_click_does_not_acknowledge_a_newer_alarm() -> None:
    fold = safety()
    fold.step(sample("d", 0, smoke=True))
    old = fold.rows["d/smoke"].id
    fold.step(sample("d", 1, smoke=False), command("acknowledge", args={"alarm": old}))
    fold.step(sample("d", 2, smoke=True))
    assert fold.step(command("acknowledge", second=3, args={"alarm": old})) == []
    assert fold.rows["d/smoke"].state is AlarmState.ACTIVE


def test_a_threshold_clears_only_below_its_hysteresis() -> None:
    fold = safety()
    assert changes(fold.step(sample("g", 0, lel=25))) == []
    assert changes(fold.step(sample("g", 1, lel=25.1))) == ["raised"]
    assert changes(fold.step(sample("g", 2, lel=21), sample("g", 3, lel=25))) == []
    assert changes(fold.step(sample("g", 4, lel=20))) == ["cleared"]


def test_a_silent_safety_device_is_a_fault_not_normal() -> None:
    fold = safety()
    (fact,) = fold.step(sample("d", 0, error="timeout"))
    assert (fact.body["hazard"], fact.body["value"]) == ("fault", "timeout")
    assert changes(fold.step(sample("d", 1, smoke=False))) == ["cleared"]


def test_smoke_is_not_forgotten_while_the_detector_is_silent() -> None:
    fold = safety()
    fold.step(sample("d", 0, smoke=True), sample("d", 1, error="timeout"))
    assert fold.rows["d/smoke"].state is AlarmState.ACTIVE


def test_a_value_that_was_left_out_changes_nothing() -> None:
    fold = safety()
    fold.step(sample("d", 0, smoke=True))
    assert fold.step(sample("d", 1, temperature=20.0)) == []
    assert fold.rows["d/smoke"].state is AlarmState.ACTIVE


def test_alarms_survive_a_restart() -> None:
    fold = safety()
    fold.step(sample("d", 0, smoke=True))
    acknowledge(fold)
    before = dict(fold.rows)
    fold.restart()
    assert fold.rows == before
    assert fold.step(sample("d", 9, smoke=True)) == []


def test_the_summary_counts_what_stands() -> None:
    fold = safety()
    assert fold.service.summary(fold.rows) == {"alarms": 0, "unacknowledged": 0}
    fold.step(sample("d", 0, smoke=True), sample("g", 0, lel=90))
    acknowledge(fold)
    assert fold.service.summary(fold.rows) == {"alarms": 2, "unacknowledged": 1}


ACTS = st.sampled_from(["smoke", "clear", "silent", "acknowledge"])


@given(st.lists(ACTS, max_size=40))
def test_no_sequence_of_acts_loses_an_alarm(acts: list[str]) -> None:
    """Against a model: an alarm stands while smoke was seen last, or nobody has acknowledged since."""
    fold = safety()
    smoke, unseen = False, False
    for second, act in enumerate(acts):
        if act == "acknowledge":
            if "d/smoke" in fold.rows:
                acknowledge(fold)
            unseen = False
        elif act == "silent":
            fold.step(sample("d", second, error="timeout"))
        else:
            raised = act == "smoke" and not smoke
            smoke = act == "smoke"
            # An acknowledged alarm is not raised again while its condition holds.
            unseen = unseen or raised
            fold.step(sample("d", second, smoke=smoke))
        alarm = fold.rows.get("d/smoke")
        expected = {
            (True, True): AlarmState.ACTIVE,
            (True, False): AlarmState.ACKNOWLEDGED,
            (False, True): AlarmState.LATCHED,
            (False, False): None,
        }[smoke, unseen]
        assert (alarm.state if alarm else None) == expected
