"""The view as a function of rows and samples."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import msgspec
import pytest

from gateway.capabilities.parcels.services import Compartment
from gateway.capabilities.safety.services.alarms import Alarm, Mode, Output, State
from gateway.capabilities.safety.services.batteries import Battery
from gateway.capabilities.safety.services.emergency_plans import EmergencyCase, LoggedAction, Muster
from gateway.capabilities.safety.services.findings import Finding
from gateway.capabilities.safety.services.patrols import CheckIn, PatrolRound
from gateway.capabilities.safety.services.supervision import Sensor, SensorTest
from gateway.capabilities.visitors.services import Day, Flow, Place
from gateway.dashboard.fold import fold
from gateway.dashboard.settings import DeviceCard
from gateway.dashboard.view import (
    Condition,
    Gateway,
    Health,
    Known,
    OrderLine,
    Places,
    PointLine,
    StepLine,
    View,
)
from gateway.model import ClockQuality, Hazard, Lane, Record, Stamp, Value
from gateway.services.commands import CommandRow, CommandStatus
from gateway.services.presence import PresenceRow
from gateway.words import words

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOON = 1_790_000_000_000
DAY = "2026-09-21"
MONO = 10**15

SMOKE = DeviceCard("smoke", {"zh": "烟感"}, "smoke", 10, safety=True)
DOOR = DeviceCard("door", {"zh": "南门"}, "door-counter", 10)
LOCKER = DeviceCard("box", {"zh": "柜"}, "parcel-locker", 10, {"door.1": "", "door.2": "", "door.10": ""})


def at(
    ago: float = 0.0, boot: str = "b", clock: ClockQuality = ClockQuality.SYNCED, step: int = 0
) -> Stamp:
    return Stamp(NOON - int(ago * 1000) + step, MONO - int(ago * 1e9), boot, clock)


def sample(
    device: str,
    when: Stamp | None = None,
    error: str = "",
    bad: dict[str, str] | None = None,
    **values: Value,
) -> Record:
    quality = "offline" if error else "uncertain" if bad else "good"
    body = {"quality": quality, "values": values, "bad": bad or {}, "error": error}
    return Record(Lane.TELEMETRY, device, 1, "sample", when or at(), body)


def view(
    *cards: DeviceCard,
    samples: tuple[Record, ...] = (),
    health: Health | None = Health(),  # noqa: B008
    pending: int | None = None,
    outputs: dict[str, Output] | None = None,
    lines: dict[str, object] | None = None,
    **rows: dict[str, object],
) -> View:
    known = Known(rows, {each.device: each for each in samples}, pending, health, lines=lines)
    return fold(cards, SHANGHAI, known, at(), outputs or {})


def alarm(state: State, device: str = "smoke", hazard: Hazard = Hazard.FIRE, ago: float = 60) -> Alarm:
    return Alarm(
        id=f"{device}/{ago}",
        device=device,
        point="smoke",
        hazard=hazard,
        state=state,
        raised=at(ago),
        value=True,
    )


def test_without_a_journal_everything_is_unknown_and_every_device_is_listed() -> None:
    seen = fold((SMOKE, DOOR), SHANGHAI, Known(), at())
    assert seen.gateway is Gateway.WAITING
    assert not seen.known
    assert (seen.inside, seen.came, seen.left) == (None, None, None)
    assert seen.bays == seen.lockers == Places()
    assert [line.condition for line in seen.devices] == [Condition.NONE, Condition.NONE]


@pytest.mark.parametrize(
    ("health", "trouble", "expected"),
    [
        (Health(), "", Gateway.RUNNING),
        (None, "", Gateway.AWAY),
        (Health("disk-full"), "", Gateway.TROUBLE),
        (Health(), "journal-read", Gateway.TROUBLE),
    ],
)
def test_how_the_gateway_is(health: Health | None, trouble: str, expected: Gateway) -> None:
    seen = fold((), SHANGHAI, Known({}, health=health, trouble=trouble), at())
    assert seen.gateway is expected
    assert seen.known


def visitors(day: str = DAY) -> dict[str, object]:
    return {"day/": Day(day=day), "place/": Place(inside=5, today=Flow(9, 4))}


def test_visitors_are_those_of_today() -> None:
    seen = view(visitors=visitors())
    assert (seen.inside, seen.came, seen.left) == (5, 9, 4)


def test_visitors_of_another_day_are_not_todays() -> None:
    assert view(visitors=visitors("2026-09-20")).inside is None


def test_a_silent_door_counter_is_told() -> None:
    assert view(DOOR, samples=(sample("door", **{"in": 3}),)).counters_silent == 0
    assert view(DOOR, samples=(sample("door", error="timeout"),)).counters_silent == 1


def test_places_that_are_all_unknown_are_not_nought() -> None:
    samples = (
        sample("parking", free=0, occupied=0, unknown=4, total=4),
        sample("lockers", at(600), free=2, occupied=1, open=1, unknown=1, total=4),
    )
    seen = view(samples=samples)
    assert seen.bays == Places(free=None, total=4, unknown=4)
    assert seen.lockers == Places(free=2, total=4, unknown=1, open=1, stale=True)


def test_alarms_come_unacknowledged_first_then_by_urgency_then_newest() -> None:
    rows = {
        "1": alarm(State.ACKNOWLEDGED, "a", Hazard.FIRE),
        "2": alarm(State.ACTIVE, "b", Hazard.FAULT),
        "3": alarm(State.CLEARED, "c", Hazard.GAS, ago=90),
        "4": alarm(State.ACTIVE, "d", Hazard.GAS, ago=30),
    }
    seen = view(safety=rows)
    assert [line.device for line in seen.alarms] == ["d", "c", "b", "a"]
    assert seen.unacknowledged == 3


def test_the_end_of_an_alarm_is_shown_for_five_minutes() -> None:
    """GB 26875.1-2011, 4.1.2."""
    over = alarm(State.ACKNOWLEDGED), at(299)
    older = alarm(State.CLEARED, "gas", Hazard.GAS), at(300)
    drill = replace(alarm(State.ACTIVE), mode=Mode.DRILL), at(1)
    seen = fold((SMOKE,), SHANGHAI, Known({}, ended=(older, over, drill)), at())
    assert [(each.name, each.at) for each in seen.ended] == [("smoke", NOON - 299_000)]


def test_a_device_in_alarm_is_never_merely_well() -> None:
    rows = {"s": alarm(State.ACTIVE), "t": alarm(State.CLEARED)}
    seen = view(SMOKE, samples=(sample("smoke", smoke=True),), safety=rows)
    assert seen.devices[0].hazards == (Hazard.FIRE,)
    assert seen.devices[0].values == (PointLine("smoke", True),)


@pytest.mark.parametrize(
    ("ago", "expected"), [(0, Condition.GOOD), (34, Condition.GOOD), (36, Condition.STALE)]
)
def test_a_reading_grows_old_but_keeps_its_time(ago: float, expected: Condition) -> None:
    (line,) = view(SMOKE, samples=(sample("smoke", at(ago), smoke=False),)).devices
    assert line.condition is expected
    assert line.at == NOON - ago * 1000


def test_while_the_daemon_is_away_every_reading_is_old() -> None:
    (line,) = view(SMOKE, samples=(sample("smoke", smoke=False),), health=None).devices
    assert line.condition is Condition.STALE


def test_an_outage_is_as_old_as_its_beginning() -> None:
    link = PresenceRow(False, at(500), "line-down")
    (line,) = view(SMOKE, samples=(sample("smoke", error="timeout"),), presence={"smoke": link}).devices
    assert (line.condition, line.error, line.at) == (Condition.OFFLINE, "timeout", NOON - 500_000)
    (line,) = view(SMOKE, presence={"smoke": link}).devices
    assert (line.condition, line.error) == (Condition.OFFLINE, "line-down")


def test_an_impossible_value_is_shown_as_missing() -> None:
    record = sample("door", bad={"out": "range"}, **{"in": 3})
    (line,) = view(DOOR, samples=(record,)).devices
    assert line.condition is Condition.UNCERTAIN
    assert line.values == (PointLine("in", 3), PointLine("out", None))


def test_what_earlier_messages_said_is_shown_with_its_own_age() -> None:
    card = msgspec.structs.replace(DOOR, units={"in": "", "out": "", "battery": "%", "test": ""})
    latest = sample("door", at(3), bad={"out": "out-of-range"}, **{"in": 3})
    earlier = {"in": (2, at(60)), "out": (7, at(60)), "battery": (80, at(7200)), "gone": (1, at(60))}
    known = Known({}, {"door": latest}, None, Health(), values={"door": earlier})
    (line,) = fold((card,), SHANGHAI, known, at()).devices
    assert line.at == NOON - 3000
    assert line.values == (
        PointLine("in", 3),
        PointLine("out", None),
        PointLine("battery", 80, "%", earlier=True, at=NOON - 7_200_000),
    )


def test_the_last_thing_a_device_was_told_is_on_its_line() -> None:
    def order(ago: float, action: str, status: CommandStatus, device: str = "door") -> CommandRow:
        return CommandRow(device, action, "dashboard", "Wang", at(ago), 0, status, "")

    card = msgspec.structs.replace(DOOR, actions=("reset-counts",))
    rows = {
        "1": order(90, "reset-counts", CommandStatus.DONE),
        "2": order(60, "reset-counts", CommandStatus.ACCEPTED),
        "3": order(30, "open", CommandStatus.DENIED),
        "4": order(20, "reset-counts", CommandStatus.DONE, "other"),
    }
    (line,) = view(card, commands=rows).devices
    assert line.order == OrderLine("reset-counts", "accepted", "", "Wang", NOON - 60_000)
    assert view(DOOR, commands=rows).devices[0].order is None


def test_ages_survive_a_step_of_the_clock() -> None:
    stamp = at(20, step=-3_600_000)
    (line,) = view(SMOKE, samples=(sample("smoke", stamp, smoke=False),)).devices
    assert line.condition is Condition.GOOD
    assert line.at == NOON - 20_000


def test_nobody_knows_when_a_reading_before_the_last_boot_without_a_clock_was() -> None:
    stamp = at(20, boot="earlier", clock=ClockQuality.UNSET)
    (line,) = view(SMOKE, samples=(sample("smoke", stamp, smoke=False),)).devices
    assert (line.condition, line.at) == (Condition.STALE, None)


def test_safety_devices_come_first_and_the_worst_of_them() -> None:
    cards = [DeviceCard(name, {}, "smoke", 10, safety=name[0] == "s") for name in ("o1", "s1", "o2", "s2")]
    samples = sample("s1"), sample("o1"), sample("o2", error="x"), sample("s2", error="x")
    seen = view(*cards, samples=samples)
    assert [line.name for line in seen.devices] == ["s2", "s1", "o2", "o1"]


def test_compartments_are_those_declared_and_those_reported_in_order() -> None:
    rows = {
        "box/10": Compartment(False, True, at()),
        "box/2": Compartment(True, False, at()),
        "box/3": Compartment(False, False, at(), live=False),
        "box/11": Compartment(False, None, at()),
        "other/1": Compartment(False, False, at()),
    }
    (cabinet,) = view(LOCKER, lockers=rows).cabinets
    assert [(cell.number, cell.state) for cell in cabinet.cells] == [
        (1, "unknown"),
        (2, "open"),
        (3, "unknown"),
        (10, "occupied"),
        (11, "shut"),
    ]


def test_the_uplink() -> None:
    assert view().uplink.online is None
    uplink = view(presence={"uplink": PresenceRow(False, at(5), "refused")}, pending=3).uplink
    assert (uplink.online, uplink.since, uplink.pending) == (False, NOON - 5000, 3)


def test_the_same_facts_a_second_later_are_the_same_view() -> None:
    known = Known({}, {"smoke": sample("smoke", smoke=False)}, health=Health())
    later = Stamp(NOON + 1003, MONO + 10**9, "b", ClockQuality.SYNCED)
    assert fold((SMOKE,), SHANGHAI, known, at()) == fold((SMOKE,), SHANGHAI, known, later)


replace = msgspec.structs.replace
TRIED = replace(SMOKE, tried=("smoke",))
SIREN = Output(device="siren", off="off", hazards=(Hazard.FIRE,), sound=True)


def test_a_drill_is_never_among_the_alarms() -> None:
    drill = replace(alarm(State.ACTIVE, "gateway"), id="drill/fire/1", mode=Mode.DRILL)
    seen = view(SMOKE, safety={"drill/fire": drill})
    assert seen.alarms == ()
    assert seen.unacknowledged == 0
    assert [each.id for each in seen.drills] == ["drill/fire/1"]
    assert seen.sounding


@pytest.mark.parametrize(
    ("row", "sounding"),
    [
        (alarm(State.ACTIVE), True),
        (replace(alarm(State.ACTIVE), muted=True, mode_by="Wang"), False),
        (alarm(State.LATCHED), False),
        (replace(alarm(State.ACTIVE), mode=Mode.SHELVED), False),
    ],
)
def test_there_is_a_sound_to_mute_while_an_alarm_sounds(row: Alarm, sounding: bool) -> None:
    seen = view(SMOKE, safety={"a": row})
    assert seen.sounding is sounding
    assert [each.muted_by for each in seen.alarms] in ([], ["Wang"] if row.muted else [""])


def test_what_is_out_of_service_is_one_line_a_device_with_its_reason_and_end() -> None:
    mode = {"until": at(-600), "mode_by": "Wang", "why": "dust"}
    rows = {
        "smoke/smoke": replace(alarm(State.NORMAL), mode=Mode.DISABLED, **mode),
        "smoke/link": replace(alarm(State.NORMAL, hazard=Hazard.FAULT), mode=Mode.DISABLED, **mode),
        "door/a": replace(alarm(State.ACTIVE, "door"), mode=Mode.SHELVED, title={"en": "Rule"}, **mode),
        "door/b": replace(alarm(State.ACTIVE, "door", ago=9), mode=Mode.SHELVED, **mode),
    }
    seen = view(SMOKE, DOOR, safety=rows)
    disabled, *shelved = seen.out
    assert (disabled.device, disabled.hazards) == ("smoke", (Hazard.FIRE, Hazard.FAULT))
    assert (disabled.by, disabled.why, disabled.until) == ("Wang", "dust", NOON + 600_000)
    assert [each.alarm for each in shelved] == ["door/60", "door/9"]
    assert seen.reminders == {"disabled": 1, "shelved": 2}
    assert {line.name: line.out for line in seen.devices} == {
        "smoke": (Mode.DISABLED,),
        "door": (Mode.SHELVED,),
    }


def test_a_case_is_told_once_though_it_serves_several_alarms() -> None:
    first, second = (replace(alarm(State.ACTIVE, ago=ago), id=f"smoke/{ago}/1") for ago in (60, 30))
    case = EmergencyCase(
        id=first.id,
        alarm=first.id,
        device="smoke",
        hazard=Hazard.FIRE,
        raised=at(60),
        inside=31,
        steps=("look", "call"),
        done={"look": LoggedAction("Wang", at(20))},
        muster=Muster("Li", at(10), 28),
    )
    rows: dict[str, object] = {"fire": case}
    for row in (first, second):
        rows[row.id.rpartition("/")[0]] = replace(case, id=row.id, alarm=row.id, of="fire")
    seen = view(SMOKE, safety={"smoke/60": first, "smoke/30": second}, response=rows)
    told, bare = seen.alarms
    assert told.case is not None
    assert told.case.steps == (StepLine("look", "Wang", NOON - 20_000), StepLine("call"))
    assert (told.inside, told.case.found, told.case.by, told.case.done) == (31, 28, "Li", 1)
    assert bare.case is None


def test_a_fire_alarm_without_a_plan_still_says_how_many_are_inside() -> None:
    seen = view(SMOKE, safety={"a": alarm(State.ACTIVE)}, visitors=visitors())
    assert [each.inside for each in seen.alarms] == [5]
    water = alarm(State.ACTIVE, hazard=Hazard.WATER)
    assert [each.inside for each in view(SMOKE, safety={"a": water}, visitors=visitors()).alarms] == [None]


@pytest.mark.parametrize(
    ("raised", "said", "fault", "state"),
    [
        (False, None, None, "unknown"),
        (False, False, None, "off"),
        (True, False, None, "waiting"),
        (True, True, None, "on"),
        (False, True, None, "on"),
        (True, False, State.ACTIVE, "failed"),
        (True, True, State.CLEARED, "on"),
    ],
)
def test_an_output_is_what_it_confirmed_unless_it_failed(
    raised: bool, said: bool | None, fault: State | None, state: str
) -> None:
    rows: dict[str, object] = {"smoke/smoke": alarm(State.ACTIVE)} if raised else {}
    if fault:
        rows["outputs/siren.failed"] = replace(
            alarm(fault, "outputs", Hazard.FAULT), point="siren.failed", id="outputs/siren.failed/1"
        )
    samples = () if said is None else (sample("outputs", siren=said),)
    card = DeviceCard("siren", {"en": "Lobby siren"}, "siren", 5)
    seen = view(SMOKE, card, samples=samples, safety=rows, outputs={"siren": SIREN})
    (line,) = seen.outputs
    assert line.state == state
    assert line.title == {"en": "Lobby siren"}
    assert [each.device for each in line.why] == (["smoke"] if raised else [])
    assert [each.title for each in seen.alarms if each.output] == ([line.title] if fault else [])


def test_a_walk_test_lists_every_detector_even_one_that_never_spoke() -> None:
    card = replace(DOOR, tried=("heat",))
    row = Sensor(
        since=at(9e6), tested=at(5), tested_by="Wang", due=True, trial=SensorTest("Wang", at(60), at(5))
    )
    seen = view(TRIED, card, supervision={"smoke/smoke": row})
    pressed, silent = seen.sensors
    assert (pressed.device, pressed.trial, pressed.ticked, pressed.due) == (
        "smoke",
        True,
        NOON - 5000,
        True,
    )
    assert (silent.device, silent.trial, silent.tested) == ("door", False, None)


def test_duties_are_counted_and_each_count_has_its_words() -> None:
    battery = Battery(unit="%", full=100, days=((1, 20.0),), left=12.0)
    found = Finding(
        where="hall", what="boxes", severity="major", by="Li", at=at(7300), hours=2, overdue=True
    )
    visits = {"kitchen": CheckIn("Li", at(9))}
    finding = {"key": "device-dead", "device": "smoke", "facts": {"share": 76}}
    seen = view(
        TRIED,
        DOOR,
        supervision={"smoke/smoke": Sensor(since=at(9e6), due=True)},
        batteries={"smoke": battery, "door": replace(battery, left=200.0), "gone": battery},
        patrols={"fire": PatrolRound(round="1", since=at(60), visits=visits, missed=True)},
        hazards={"h/1": found, "h/2": replace(found, at=at(60), overdue=False)},
        lines={"rs485": {"up": True, "use": 80.0, "devices": [], "findings": [finding]}},
        outputs={"siren": SIREN},
        samples=(sample("needs", open=3, new=1, overdue=1),),
        safety={
            "outputs/siren.failed": alarm(State.ACTIVE, "outputs", Hazard.FAULT),
            "a": replace(alarm(State.NORMAL), mode=Mode.TEST),
            "b": replace(alarm(State.NORMAL, "door"), mode=Mode.DISABLED),
            "c": replace(alarm(State.ACTIVE, "door"), mode=Mode.SHELVED),
        },
    )
    assert [each.device for each in seen.batteries] == ["smoke"]
    assert seen.rounds["fire"].visits == {"kitchen": ("Li", NOON - 9000)}
    assert [each.id for each in seen.hazards] == ["h/1", "h/2"]
    assert seen.hazards[0].until == NOON - 100_000
    assert [each.key for line in seen.devices for each in line.findings] == ["device-dead"]
    assert set(seen.reminders.values()) == {1}
    assert len(seen.reminders) == 12
    assert {f"dashboard.remind-{key}" for key in seen.reminders} <= words("zh").keys()
    assert view(TRIED).reminders == {}
