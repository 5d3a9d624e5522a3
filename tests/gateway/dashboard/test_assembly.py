"""The view as a function of rows and samples."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gateway.capabilities.safety.pages import SafetySettings
from gateway.capabilities.safety.services.alarms import AlarmMode, AlarmState, Output
from gateway.capabilities.safety.services.batteries import Battery
from gateway.capabilities.safety.services.findings import Finding
from gateway.capabilities.safety.services.patrols import CheckpointVisit, PatrolRound
from gateway.capabilities.safety.services.supervision import Sensor
from gateway.model import ClockQuality, Hazard, Stamp, sentence
from gateway.services.commands import CommandRow, CommandStatus
from gateway.services.presence import PresenceRow
from gateway.web.settings import DeviceInfo
from gateway.web.snapshot import DaemonHealth, Snapshot
from gateway.web.view import DeviceCondition, GatewayState, LastCommandRow, PlaceCount, PointRow
from gateway.words import words
from tests.gateway.views import DOOR, MONO, NOON, SMOKE, alarm, at, outage, sample, view, view_of

SIREN = Output(device="siren", off="off", hazards=(Hazard.FIRE,), sound=True)


def test_without_a_journal_everything_is_unknown_and_every_device_is_listed() -> None:
    seen = view_of(SMOKE, DOOR, snapshot=Snapshot())
    visitors = seen.parts["visitors"]
    assert seen.gateway is GatewayState.WAITING
    assert not seen.known
    assert (visitors.inside, visitors.came, visitors.left) == (None, None, None)
    assert seen.parts["parking"].bays == seen.parts["parcels"].compartments == PlaceCount()
    assert [line.condition for line in seen.devices] == [
        DeviceCondition.NOT_HEARD,
        DeviceCondition.NOT_HEARD,
    ]


@pytest.mark.parametrize(
    ("health", "trouble", "expected"),
    [
        (DaemonHealth(), "", GatewayState.RUNNING),
        (None, "", GatewayState.AWAY),
        (DaemonHealth("disk-full"), "", GatewayState.TROUBLE),
        (DaemonHealth(), "journal-read", GatewayState.TROUBLE),
    ],
)
def test_how_the_gateway_is(health: DaemonHealth | None, trouble: str, expected: GatewayState) -> None:
    seen = view_of(snapshot=Snapshot({}, health=health, trouble=trouble))
    assert seen.gateway is expected
    assert seen.known


@pytest.mark.parametrize(
    ("ago", "expected"),
    [(0, DeviceCondition.GOOD), (34, DeviceCondition.GOOD), (36, DeviceCondition.STALE)],
)
def test_a_reading_grows_old_but_keeps_its_time(ago: float, expected: DeviceCondition) -> None:
    (line,) = view(SMOKE, samples=(sample("smoke", at(ago), smoke=False),)).devices
    assert line.condition is expected
    assert line.at == NOON - ago * 1000


def test_while_the_daemon_is_away_every_reading_is_old() -> None:
    (line,) = view(SMOKE, samples=(sample("smoke", smoke=False),), health=None).devices
    assert line.condition is DeviceCondition.STALE


def test_an_outage_is_as_old_as_its_beginning() -> None:
    link = PresenceRow(False, at(500), "line-down")
    (line,) = view(SMOKE, samples=(sample("smoke", error="timeout"),), presence={"smoke": link}).devices
    assert (line.condition, line.error, line.at) == (DeviceCondition.OFFLINE, "timeout", NOON - 500_000)
    (line,) = view(SMOKE, presence={"smoke": link}).devices
    assert (line.condition, line.error) == (DeviceCondition.OFFLINE, "line-down")


def test_what_was_said_before_the_start_is_shown_with_its_age_and_nobody_is_online_by_it() -> None:
    link = PresenceRow(True, at(9000), heard=False, last=at(7200))
    said = sample("smoke", at(60), smoke=False)
    seen = view(SMOKE, samples=(said,), presence={"smoke": link})
    (line,) = seen.devices
    assert (line.condition, line.at) == (DeviceCondition.NOT_HEARD, NOON - 60_000)
    assert line.values == (PointRow("smoke", False, earlier=True, at=NOON - 60_000),)
    assert seen.parts["safety"].blind == 1
    (line,) = view(SMOKE, presence={"smoke": link}).devices
    assert (line.condition, line.at) == (DeviceCondition.NOT_HEARD, NOON - 7_200_000)


def test_a_device_that_has_never_spoken_is_not_heard_yet() -> None:
    link = PresenceRow(None, at(9), heard=False)
    (line,) = view(SMOKE, presence={"smoke": link}).devices
    assert (line.condition, line.at, line.values) == (DeviceCondition.NOT_HEARD, None, ())
    (uplink,) = view(presence={"uplink": link}).uplinks
    assert uplink.online is None


def test_an_impossible_value_is_shown_as_missing() -> None:
    record = sample("door", bad={"out": "range"}, **{"in": 3})
    (line,) = view(DOOR, samples=(record,)).devices
    assert line.condition is DeviceCondition.UNCERTAIN
    assert line.values == (PointRow("in", 3), PointRow("out", None))


def test_what_earlier_messages_said_is_shown_with_its_own_age() -> None:
    card = replace(DOOR, units={"in": "", "out": "", "battery": "%", "test": ""})
    latest = sample("door", at(3), bad={"out": "out-of-range"}, **{"in": 3})
    earlier = {"in": (2, at(60)), "out": (7, at(60)), "battery": (80, at(7200)), "gone": (1, at(60))}
    snapshot = Snapshot({}, {"door": latest}, None, DaemonHealth(), values={"door": earlier})
    (line,) = view_of(card, snapshot=snapshot).devices
    assert line.at == NOON - 3000
    assert line.values == (
        PointRow("in", 3),
        PointRow("out", None),
        PointRow("battery", 80, "%", earlier=True, at=NOON - 7_200_000),
    )


def test_the_last_thing_a_device_was_told_is_on_its_line() -> None:
    def order(ago: float, action: str, status: CommandStatus, device: str = "door") -> CommandRow:
        return CommandRow(device, action, "dashboard", "Wang", at(ago), 0, status, "")

    card = replace(DOOR, actions=("reset-counts",))
    rows = {
        "1": order(90, "reset-counts", CommandStatus.DONE),
        "2": order(60, "reset-counts", CommandStatus.ACCEPTED),
        "3": order(30, "open", CommandStatus.DENIED),
        "4": order(20, "reset-counts", CommandStatus.DONE, "other"),
    }
    (line,) = view(card, commands=rows).devices
    assert line.order == LastCommandRow("reset-counts", "accepted", "", "Wang", NOON - 60_000)
    assert view(DOOR, commands=rows).devices[0].order is None


def test_ages_survive_a_step_of_the_clock() -> None:
    stamp = at(20, step=-3_600_000)
    (line,) = view(SMOKE, samples=(sample("smoke", stamp, smoke=False),)).devices
    assert line.condition is DeviceCondition.GOOD
    assert line.at == NOON - 20_000


def test_nobody_knows_when_a_reading_before_the_last_boot_without_a_clock_was() -> None:
    stamp = at(20, boot="earlier", clock=ClockQuality.UNSET)
    (line,) = view(SMOKE, samples=(sample("smoke", stamp, smoke=False),)).devices
    assert (line.condition, line.at) == (DeviceCondition.STALE, None)


def test_safety_devices_come_first_and_the_worst_of_them() -> None:
    cards = [
        DeviceInfo(name, {}, "smoke", 10, is_safety_device=name[0] == "s")
        for name in ("o1", "s1", "o2", "s2")
    ]
    samples = sample("s1"), sample("o1"), sample("o2", error="x"), sample("s2", error="x")
    seen = view(*cards, samples=samples)
    assert [line.name for line in seen.devices] == ["s2", "s1", "o2", "o1"]


def test_the_uplink() -> None:
    (unknown,) = view().uplinks
    assert unknown.online is None
    (uplink,) = view(
        presence={"uplink": PresenceRow(False, at(5), "refused")}, pending={"uplink": 3}
    ).uplinks
    assert (uplink.online, uplink.since, uplink.pending) == (False, NOON - 5000, 3)


def test_the_same_facts_a_second_later_are_the_same_view() -> None:
    snapshot = Snapshot({}, {"smoke": sample("smoke", smoke=False)}, health=DaemonHealth())
    later = Stamp(NOON + 1003, MONO + 10**9, "b", ClockQuality.SYNCED)
    assert view_of(SMOKE, snapshot=snapshot) == view_of(SMOKE, snapshot=snapshot, now=later)


def test_duties_are_counted_and_each_count_has_its_words() -> None:
    battery = Battery(unit="%", full=100, days=((1, 20.0),), left=12.0)
    found = Finding(
        where="hall", what="boxes", severity="major", by="Li", at=at(7300), hours=2, overdue=True
    )
    visits = {"kitchen": CheckpointVisit("Li", at(9))}
    finding = {"key": "device-dead", "device": "smoke", "facts": {"share": 76}}
    seen = view(
        SMOKE,
        DOOR,
        supervision={"smoke/smoke": Sensor(since=at(9e6), due=True)},
        batteries={"smoke": battery, "door": replace(battery, left=200.0), "gone": battery},
        patrols={"fire": PatrolRound(round="1", since=at(60), visits=visits, missed=True)},
        hazards={"h/1": found, "h/2": replace(found, at=at(60), overdue=False)},
        buses={"rs485": {"up": True, "use": 80.0, "devices": [], "findings": [finding]}},
        safety_settings=SafetySettings(outputs={"siren": SIREN}, tested_points={"smoke": ("smoke",)}),
        samples=(sample("needs", open=3, new=1, overdue=1),),
        safety={
            "outputs/siren.failed": alarm(AlarmState.ACTIVE, "outputs", Hazard.FAULT),
            "a": replace(alarm(AlarmState.NORMAL), mode=AlarmMode.TEST),
            "b": replace(alarm(AlarmState.NORMAL, "door"), mode=AlarmMode.DISABLED),
            "c": replace(alarm(AlarmState.ACTIVE, "door"), mode=AlarmMode.SHELVED),
        },
    )
    safety = seen.parts["safety"]
    assert [each.device for each in safety.batteries] == ["smoke"]
    assert safety.rounds["fire"].visits == {"kitchen": ("Li", NOON - 9000)}
    assert [each.id for each in safety.findings] == ["h/1", "h/2"]
    assert safety.findings[0].until == NOON - 100_000
    assert [each.key for line in seen.devices for each in line.diagnoses] == ["device-dead"]
    reminders = {each.sentence: each.count for each in seen.reminders}
    reminders |= {f"dashboard.remind-{mode}": count for mode, count in safety.out_counts.items()}
    assert set(reminders.values()) == {1}
    assert len(reminders) == len(seen.reminders) + 2 == 12
    assert reminders.keys() <= words("zh").keys()
    assert view(SMOKE).reminders == ()


def test_an_outage_is_told_with_its_facts() -> None:
    (shown,) = view(SMOKE, samples=(outage("smoke", "silent", seconds="90"),)).devices
    assert shown.reason == sentence("error.silent", seconds="90")
    # As older versions stored it.
    (shown,) = view(SMOKE, samples=(sample("smoke", error="silent"),)).devices
    assert (shown.error, shown.reason) == ("silent", None)
