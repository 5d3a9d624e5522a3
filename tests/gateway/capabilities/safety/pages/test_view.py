"""What the pages show of safety, as a function of rows and samples."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.capabilities.safety.pages import SafetySettings
from gateway.capabilities.safety.pages.settings import settings
from gateway.capabilities.safety.pages.view import PlanStepRow, SafetyAnnotation
from gateway.capabilities.safety.services.alarms import Alarm, AlarmMode, AlarmState, Output
from gateway.capabilities.safety.services.emergency_plans import EmergencyCase, LoggedAction, MusterCount
from gateway.capabilities.safety.services.supervision import Sensor, SensorTest
from gateway.capabilities.safety.testlog import LogNames
from gateway.config import load_site
from gateway.model import Hazard
from gateway.web.settings import DeviceInfo
from gateway.web.snapshot import Snapshot
from gateway.web.view import PointRow, Severity
from tests.gateway.views import DOOR, NOON, SMOKE, alarm, at, outage, sample, todays_visitors, view, view_of

SITE_WITH_RULE = """
schema = "linli/site/1"
site = { id = "demo", title = "Demo" }
bus.a = { driver = "modbus", url = "tcp://127.0.0.1:502" }
device.smoke = { profile = "smoke/generic-rs485", bus = "a", unit = 1 }
rule.hot = { hazard = "fire", when = [{ point = "smoke.temperature", above = 38 }] }
"""
SIREN = Output(device="siren", off="off", hazards=(Hazard.FIRE,), sound=True)


def test_alarms_come_unacknowledged_first_then_by_urgency_then_newest() -> None:
    rows = {
        "1": alarm(AlarmState.ACKNOWLEDGED, "a", Hazard.FIRE),
        "2": alarm(AlarmState.ACTIVE, "b", Hazard.FAULT),
        "3": alarm(AlarmState.CLEARED, "c", Hazard.GAS, ago=90),
        "4": alarm(AlarmState.ACTIVE, "d", Hazard.GAS, ago=30),
    }
    seen = view(safety=rows).parts["safety"]
    assert [line.device for line in seen.alarms] == ["d", "c", "b", "a"]
    assert seen.unacknowledged == 3


def test_alarms_are_counted_by_hazard_the_most_urgent_first() -> None:
    hazards = (Hazard.FAULT, Hazard.GAS, Hazard.FIRE, Hazard.FIRE)
    rows = {str(n): alarm(AlarmState.ACTIVE, f"d{n}", hazard) for n, hazard in enumerate(hazards)}
    seen = view(safety=rows).parts["safety"]
    assert list(seen.hazard_counts.items()) == [(Hazard.FIRE, 2), (Hazard.GAS, 1), (Hazard.FAULT, 1)]


def test_of_several_fires_the_first_is_marked_whatever_became_of_it() -> None:
    def firsts(**rows: Alarm) -> list[str]:
        return [each.device for each in view(safety=rows).parts["safety"].alarms if each.is_first_fire]

    began = alarm(AlarmState.ACKNOWLEDGED, "a", Hazard.FIRE, ago=90)
    spread = alarm(AlarmState.ACTIVE, "b", Hazard.FIRE, ago=30)
    others = {
        "gas": alarm(AlarmState.ACTIVE, "c", Hazard.GAS, ago=200),
        "drill": replace(alarm(AlarmState.ACTIVE, "d", Hazard.FIRE, ago=300), mode=AlarmMode.DRILL),
    }
    assert firsts(spread=spread, **others) == [], "it is the only one"
    assert firsts(spread=spread, began=began, **others) == ["a"]


def test_the_end_of_an_alarm_is_shown_for_five_minutes() -> None:
    """GB 26875.1-2011, 4.1.2."""
    over = alarm(AlarmState.ACKNOWLEDGED), at(299)
    older = alarm(AlarmState.CLEARED, "gas", Hazard.GAS), at(300)
    drill = replace(alarm(AlarmState.ACTIVE), mode=AlarmMode.DRILL), at(1)
    snapshot = Snapshot({}, removed={"safety": (older, over, drill)})
    ended = view_of(SMOKE, snapshot=snapshot).parts["safety"].ended
    assert [(each.name, each.at) for each in ended] == [("smoke", NOON - 299_000)]


def test_of_many_alarms_that_ended_the_newest_three_are_shown_a_point_once() -> None:
    over = [
        (replace(alarm(AlarmState.CLEARED, device), id=f"{device}/{ago}"), at(ago))
        for device, ago in (("a", 50), ("b", 40), ("a", 30), ("c", 20), ("d", 10))
    ]
    snapshot = Snapshot({}, removed={"safety": tuple(over)})
    ended = view_of(SMOKE, snapshot=snapshot).parts["safety"].ended
    assert [each.id for each in ended] == ["d/10", "c/20", "a/30"]


def test_each_place_behind_a_device_is_a_line_of_its_own() -> None:
    rows = {
        f"smoke/smoke/{place}": replace(alarm(AlarmState.ACTIVE), id=f"{place}/1", place=place, where=where)
        for place, where in (("1/1", "一楼"), ("1/2", "二楼"))
    }
    seen = view(SMOKE, safety=rows).parts["safety"]
    assert {(line.place, line.where) for line in seen.alarms} == {("1/1", "一楼"), ("1/2", "二楼")}
    (group,) = seen.groups
    assert (group.device, group.unacknowledged, group.latched) == ("smoke", 2, 0)
    assert group.seen == rows["smoke/smoke/1/1"].raised.wall_ms
    del rows["smoke/smoke/1/1"]
    assert view(SMOKE, safety=rows).parts["safety"].groups == ()
    snapshot = Snapshot({}, removed={"safety": ((rows["smoke/smoke/1/2"], at(1)),)})
    assert [each.where for each in view_of(SMOKE, snapshot=snapshot).parts["safety"].ended] == ["二楼"]


def test_an_offline_device_is_told_with_the_facts_of_its_error() -> None:
    row = replace(alarm(AlarmState.ACTIVE, hazard=Hazard.FAULT), point="link", value="silent")
    silent = (outage("smoke", "silent", seconds="90"),)
    (line,) = view(SMOKE, samples=silent, safety={"smoke/link": row}).parts["safety"].alarms
    assert line.reason == {"sentence": "error.silent", "facts": {"seconds": "90"}}


def test_the_value_of_a_rule_has_the_unit_of_the_point_that_it_is_of(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(SITE_WITH_RULE, "utf-8")
    smoke = replace(SMOKE, units={"temperature": "°C"})
    row = replace(alarm(AlarmState.ACTIVE), point="hot", value=38.9, title={"en": "Hot kitchen"})
    shown = view(smoke, safety={"rule/hot": row}, safety_settings=settings(load_site(file)))
    (line,) = shown.parts["safety"].alarms
    assert (line.value, line.unit) == (38.9, "°C")


def test_which_of_several_points_it_is_is_shown() -> None:
    rows = {
        point: replace(alarm(AlarmState.ACTIVE), point=point)
        for point in ("smoke.2", "smoke", "siren.failed")
    }
    seen = view(SMOKE, safety=rows).parts["safety"]
    assert sorted(line.numbered_point for line in seen.alarms) == ["", "", "smoke.2"]


def test_a_device_in_alarm_is_never_merely_well() -> None:
    rows = {"s": alarm(AlarmState.ACTIVE), "t": alarm(AlarmState.CLEARED)}
    seen = view(SMOKE, samples=(sample("smoke", smoke=True),), safety=rows)
    expected = SafetyAnnotation(severity=Severity.DANGER, hazards=(Hazard.FIRE,))
    assert seen.devices[0].annotations["safety"] == expected
    assert seen.devices[0].values == (PointRow("smoke", True),)


def test_without_a_detector_or_a_rule_nothing_is_monitored() -> None:
    ruled = SafetySettings(log=LogNames(rules={"hot": {"zh": "过热"}}))
    assert not view(DOOR).parts["safety"].is_monitored
    assert view(DOOR, SMOKE).parts["safety"].is_monitored
    assert view(DOOR, safety_settings=ruled).parts["safety"].is_monitored


def test_a_drill_is_never_among_the_alarms() -> None:
    drill = replace(alarm(AlarmState.ACTIVE, "gateway"), id="drill/fire/1", mode=AlarmMode.DRILL)
    seen = view(SMOKE, safety={"drill/fire": drill}).parts["safety"]
    assert seen.alarms == ()
    assert seen.unacknowledged == 0
    assert [each.id for each in seen.drills] == ["drill/fire/1"]
    assert seen.sounding


@pytest.mark.parametrize(
    ("row", "sounding"),
    [
        (alarm(AlarmState.ACTIVE), True),
        (replace(alarm(AlarmState.ACTIVE), muted=True, mode_by="Wang"), False),
        (alarm(AlarmState.LATCHED), False),
        (replace(alarm(AlarmState.ACTIVE), mode=AlarmMode.SHELVED), False),
    ],
)
def test_there_is_a_sound_to_mute_while_an_alarm_sounds(row: Alarm, sounding: bool) -> None:
    seen = view(SMOKE, safety={"a": row}).parts["safety"]
    assert seen.sounding is sounding
    assert [each.muted_by for each in seen.alarms] in ([], ["Wang"] if row.muted else [""])


def test_what_is_out_of_service_is_one_line_a_device_with_its_reason_and_end() -> None:
    mode = {"until": at(-600), "mode_by": "Wang", "why": "dust"}
    rows = {
        "smoke/smoke": replace(alarm(AlarmState.NORMAL), mode=AlarmMode.DISABLED, **mode),
        "smoke/link": replace(
            alarm(AlarmState.NORMAL, hazard=Hazard.FAULT), mode=AlarmMode.DISABLED, **mode
        ),
        "door/a": replace(
            alarm(AlarmState.ACTIVE, "door"), mode=AlarmMode.SHELVED, title={"en": "Rule"}, **mode
        ),
        "door/b": replace(alarm(AlarmState.ACTIVE, "door", ago=9), mode=AlarmMode.SHELVED, **mode),
    }
    whole = view(SMOKE, DOOR, safety=rows)
    seen = whole.parts["safety"]
    disabled, *shelved = seen.out
    assert (disabled.device, disabled.hazards) == ("smoke", (Hazard.FIRE, Hazard.FAULT))
    assert (disabled.by, disabled.why, disabled.until) == ("Wang", "dust", NOON + 600_000)
    assert [each.alarm for each in shelved] == ["door/60", "door/9"]
    assert seen.out_counts == {"disabled": 1, "shelved": 2}
    assert [(each.sentence, each.count) for each in whole.reminders] == [("dashboard.remind-shelved", 2)]
    assert {row.name: row.annotations["safety"].modes for row in whole.devices} == {
        "smoke": (AlarmMode.DISABLED,),
        "door": (AlarmMode.SHELVED,),
    }


def test_a_case_is_told_once_though_it_serves_several_alarms() -> None:
    first, second = (replace(alarm(AlarmState.ACTIVE, ago=ago), id=f"smoke/{ago}/1") for ago in (60, 30))
    case = EmergencyCase(
        id=first.id,
        alarm=first.id,
        device="smoke",
        hazard=Hazard.FIRE,
        raised=at(60),
        inside=31,
        steps=("look", "call"),
        done={"look": LoggedAction("Wang", at(20))},
        muster=MusterCount("Li", at(10), 28),
    )
    rows: dict[str, object] = {"fire": case}
    for row in (first, second):
        rows[row.id.rpartition("/")[0]] = replace(case, id=row.id, alarm=row.id, of="fire")
    seen = view(SMOKE, safety={"smoke/60": first, "smoke/30": second}, response=rows).parts["safety"]
    told, bare = seen.alarms
    assert told.case is not None
    assert told.case.steps == (PlanStepRow("look", "Wang", NOON - 20_000), PlanStepRow("call"))
    assert (told.inside, told.case.found, told.case.by, told.case.done) == (31, 28, "Li", 1)
    assert bare.case is None


def test_a_fire_alarm_without_a_plan_still_says_how_many_are_inside() -> None:
    settings = SafetySettings(people_inside="visitors.inside")
    for hazard, inside in ((Hazard.FIRE, 5), (Hazard.WATER, None)):
        rows = {"a": alarm(AlarmState.ACTIVE, hazard=hazard)}
        seen = view(SMOKE, safety_settings=settings, safety=rows, visitors=todays_visitors())
        assert [each.inside for each in seen.parts["safety"].alarms] == [inside]


@pytest.mark.parametrize(
    ("raised", "said", "fault", "state"),
    [
        (False, None, None, "unknown"),
        (False, False, None, "off"),
        (True, False, None, "waiting"),
        (True, True, None, "on"),
        (False, True, None, "on"),
        (True, False, AlarmState.ACTIVE, "failed"),
        (True, True, AlarmState.CLEARED, "on"),
    ],
)
def test_an_output_is_what_it_confirmed_unless_it_failed(
    raised: bool, said: bool | None, fault: AlarmState | None, state: str
) -> None:
    rows: dict[str, object] = {"smoke/smoke": alarm(AlarmState.ACTIVE)} if raised else {}
    if fault:
        rows["outputs/siren.failed"] = replace(
            alarm(fault, "outputs", Hazard.FAULT), point="siren.failed", id="outputs/siren.failed/1"
        )
    samples = () if said is None else (sample("outputs", siren=said),)
    card = DeviceInfo("siren", {"en": "Lobby siren"}, "siren", 5)
    seen = view(
        SMOKE, card, samples=samples, safety=rows, safety_settings=SafetySettings(outputs={"siren": SIREN})
    ).parts["safety"]
    (line,) = seen.outputs
    assert line.state == state
    assert line.title == {"en": "Lobby siren"}
    assert [each.device for each in line.why] == (["smoke"] if raised else [])
    assert [each.title for each in seen.alarms if each.output] == ([line.title] if fault else [])


def test_a_walk_test_lists_every_detector_even_one_that_never_spoke() -> None:
    settings = SafetySettings(tested_points={"smoke": ("smoke",), "door": ("heat",)})
    row = Sensor(
        since=at(9e6), tested=at(5), tested_by="Wang", due=True, trial=SensorTest("Wang", at(60), at(5))
    )
    seen = view(SMOKE, DOOR, safety_settings=settings, supervision={"smoke/smoke": row}).parts["safety"]
    pressed, silent = seen.detectors
    assert (pressed.device, pressed.trial, pressed.ticked, pressed.due) == (
        "smoke",
        True,
        NOON - 5000,
        True,
    )
    assert (silent.device, silent.trial, silent.tested) == ("door", False, None)
