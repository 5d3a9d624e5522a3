"""What the standards ask of an alarm (each case names its clause), told as the days it is made for."""

from collections.abc import Iterable
from itertools import count
from pathlib import Path

import pytest

from gateway.capabilities.safety.services.alarms import Alarm, AlarmState, Output, Safety, alarms_requiring
from gateway.capabilities.safety.services.alarms.service import _HOUR_S, MAX_MUTE_S, RESOUND_S
from gateway.capabilities.safety.services.supervision import TEST_INTERVAL_DAYS
from gateway.daemon.gateway import ALARM_DELIVERY_LIMIT_S
from gateway.journal import Journal, JournalReader
from gateway.model import GATEWAY_DEVICE, LATCHING_HAZARDS, AlarmSpec, Fact, Hazard, Lane, Point, Sample
from tests.clock import FakeClock
from tests.gateway.services.kit import Fold, command, device, sample, tick

POINTS = {
    hazard: Point(alarm=AlarmSpec(hazard=hazard, off_delay=0.0))
    for hazard in (Hazard.FIRE, Hazard.ELECTRICAL, Hazard.FAULT, Hazard.FOOD)
}
DEVICES = {
    f"d{n}": device(f"d{n}", "smoke", **{str(hazard): point for hazard, point in POINTS.items()})
    for n in range(3)
}
SIREN = Output(device="siren", off="off", hazards=(Hazard.FIRE, Hazard.FAULT), sound=True)


def safety() -> Fold:
    return Fold(Safety(DEVICES))


def changes(facts: Iterable[Fact]) -> list[str]:
    return [fact.body["change"] for fact in facts]


def sounding(fold: Fold) -> list[Alarm]:
    return alarms_requiring(SIREN, fold.rows.values())


@pytest.mark.parametrize("change", ["raised", "cleared", "acknowledged", "closed"])
def test_fire_and_status_go_at_once_before_everything_else(change: str) -> None:
    """GB 26875.1-2011, 4.1.2; GB 16806, 4.8; GB 25506-2010: whatever happens to an alarm is in the lane
    that is committed and sent first, in the very step in which it is known."""
    fold = safety()
    facts = fold.step(sample("d0", 0, fire=True), sample("d0", 1, fire=False))
    alarm = fold.rows["d0/fire"].id
    facts += fold.step(
        command("acknowledge", args={"alarm": alarm}), command("reset", args={"alarm": alarm})
    )
    assert [fact.lane for fact in facts if fact.body["change"] == change] == [Lane.ALARM]


def test_what_could_not_be_sent_is_heard_here() -> None:
    """GB 26875.1-2011, 4.1.3: audible when sending fails; EN 54-21, 5.3: within 100 s."""
    assert ALARM_DELIVERY_LIMIT_S < 100
    fold = safety()
    assert changes(fold.step(sample(GATEWAY_DEVICE, ALARM_DELIVERY_LIMIT_S, alarm_undelivered=True))) == [
        "raised"
    ]
    assert sounding(fold)


def test_the_sign_is_steady_only_once_somebody_has_seen_it() -> None:
    """GB 16806, 4.8."""
    fold = safety()
    fold.step(sample("d0", 0, fire=True))
    assert fold.rows["d0/fire"].state is AlarmState.ACTIVE
    fold.step(command("acknowledge", args={"alarm": fold.rows["d0/fire"].id}))
    assert fold.rows["d0/fire"].state is AlarmState.ACKNOWLEDGED


async def test_ten_thousand_records_are_kept(tmp_path: Path) -> None:
    """GB 25506-2010."""
    clock = FakeClock()
    async with Journal.open(tmp_path / "j.db", clock, 1.0) as journal:
        for number in count(1):
            fact = Fact(
                Lane.ALARM, "d0", "alarm", clock.now(), {"change": "raised", "id": f"d0/fire/{number}"}
            )
            journal.append("safety", [fact], {})
            if number == 10_000:
                break
        await journal.commit()
    async with JournalReader.open(tmp_path / "j.db") as reader:
        kept = [record.seq async for record in reader.records(Lane.ALARM, 0)]
    assert kept == list(range(1, 10_001))


def test_smoke_detectors_are_due_for_a_test_twice_a_month() -> None:
    """GB 50440-2007."""
    assert TEST_INTERVAL_DAYS["smoke"] <= 15


def test_all_sounders_start_and_stop_together() -> None:
    """GB 55036, 12.0.5."""
    others = [SIREN, Output(device="strobe", off="off", hazards=(Hazard.FIRE,), sound=True)]
    fold = safety()
    for step, sounds in (
        (sample("d0", 0, fire=True), True),
        (command("mute"), False),
        (sample("d1", 1, fire=True), True),
        (command("mute", second=2), False),
    ):
        fold.step(step)
        assert [bool(alarms_requiring(each, fold.rows.values())) for each in others] == [sounds, sounds]


def test_a_muted_fault_sounds_again_after_seven_hours() -> None:
    """GB 20517-2025, 5.11: (7 ± 1) h."""
    assert 6 * _HOUR_S <= MAX_MUTE_S <= 8 * _HOUR_S
    fold = safety()
    fold.step(sample("d0", 0, fault=True), command("mute"))
    assert not sounding(fold)
    assert fold.step(tick(MAX_MUTE_S - 1)) == []
    assert changes(fold.step(tick(MAX_MUTE_S))) == ["unmuted"]
    assert sounding(fold)


def test_a_muted_alarm_that_nobody_acknowledges_sounds_again() -> None:
    fold = safety()
    fold.step(sample("d0", 0, fire=True), command("mute"))
    assert fold.step(tick(RESOUND_S - 1)) == []
    assert changes(fold.step(tick(RESOUND_S))) == ["unmuted"]
    assert sounding(fold)
    fold.step(command("mute", second=70))
    assert fold.step(tick(69 + RESOUND_S)) == []
    assert changes(fold.step(tick(70 + RESOUND_S))) == ["unmuted"]


def test_an_alarm_that_has_ended_and_nobody_has_acknowledged_sounds_again() -> None:
    fold = safety()
    fold.step(sample("d0", 0, fire=True), command("mute"), sample("d0", 1, fire=False))
    assert changes(fold.step(tick(RESOUND_S))) == ["unmuted"]


@pytest.mark.parametrize("first", ["acknowledge", "mute"])
def test_an_acknowledged_alarm_stays_muted(first: str) -> None:
    fold = safety()
    fold.step(sample("d0", 0, fire=True))
    (alarm,) = fold.rows.values()
    acts = [command("acknowledge", second=30, args={"alarm": alarm.id}), command("mute", second=30)]
    fold.step(*(acts if first == "acknowledge" else reversed(acts)))
    assert fold.step(tick(30 + MAX_MUTE_S - 1)) == []
    assert changes(fold.step(tick(30 + MAX_MUTE_S))) == ["unmuted"]


def test_a_drill_stays_muted() -> None:
    fold = safety()
    fold.step(command("drill", args={"hazard": "fire"}), command("mute"))
    assert not sounding(fold)
    assert fold.step(tick(2 * RESOUND_S)) == []


def test_smoke_breaks_through_a_mute() -> None:
    """GB 20517-2025, 5.11."""
    fold = safety()
    fold.step(sample("d0", 0, fault=True), command("mute"), sample("d1", 1, fire=True))
    assert [alarm.device for alarm in sounding(fold)] == ["d1"]


def test_an_electrical_fire_alarm_latches_until_it_is_reset_by_hand() -> None:
    """GB 14287.5-2025."""
    assert Hazard.ELECTRICAL in LATCHING_HAZARDS
    fold = safety()
    fold.step(sample("d0", 0, electrical=True), sample("d0", 1, electrical=False))
    alarm = fold.rows["d0/electrical"].id
    fold.step(command("acknowledge", args={"alarm": alarm}))
    assert fold.rows["d0/electrical"].state is AlarmState.LATCHED
    assert changes(fold.step(tick(30 * 24 * _HOUR_S))) == []
    assert changes(fold.step(command("reset", args={"alarm": alarm}))) == ["closed"]


def test_a_silent_sensor_is_a_fault_and_other_states_are_kept_apart() -> None:
    fold = safety()
    fold.step(
        sample("d0", 0, fire=True),
        Sample("d1", sample("d1", 0).at, error="timeout"),
        command("disable", device="d2", args={"point": "fire"}),
    )
    seen = {key: (row.state, row.mode, row.hazard) for key, row in fold.rows.items()}
    assert seen == {
        "d0/fire": (AlarmState.ACTIVE, None, Hazard.FIRE),
        "d1/link": (AlarmState.ACTIVE, None, Hazard.FAULT),
        "d2/fire": (AlarmState.NORMAL, "disabled", Hazard.FIRE),
    }


def test_a_reset_is_a_logged_act_of_a_named_person() -> None:
    fold = safety()
    fold.step(sample("d0", 0, fire=True), sample("d0", 1, fire=False))
    alarm = fold.rows["d0/fire"].id
    fold.step(command("acknowledge", args={"alarm": alarm}, by="李"))
    (fact,) = fold.step(command("reset", args={"alarm": alarm}, by="王"))
    assert (fact.body["change"], fact.body["by"]) == ("closed", "王")
