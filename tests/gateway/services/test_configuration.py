from gateway.capabilities.parcels.services import Lockers
from gateway.capabilities.parking.services import Parking
from gateway.capabilities.safety.services.alarms import Safety
from gateway.capabilities.visitors.services import Visitors
from gateway.model import AlarmSpec, Hazard, Point
from gateway.services.configuration import MAX_REVISIONS, Configuration, newest_revision
from gateway.services.presence import Presence
from tests.gateway.services.kit import Fold, adopted, at, device, sample, tick


def test_each_revision_is_told_once() -> None:
    fold = Fold(Configuration())
    (fact,) = fold.step(adopted(1))
    assert (fact.kind, fact.durable, fact.at) == ("config", True, at(1))
    assert (fact.body["number"], fact.body["by"], fact.body["digest"]) == (1, "console", "d1")
    fold.restart()
    assert fold.step(adopted(1)) == []
    assert len(fold.step(adopted(2))) == 1
    assert newest_revision(fold.rows) == 2


def test_old_revisions_are_forgotten() -> None:
    fold = Fold(Configuration())
    fold.step(*(adopted(number) for number in range(1, 3 * MAX_REVISIONS)))
    assert len(fold.rows) == MAX_REVISIONS
    assert newest_revision(fold.rows) == 3 * MAX_REVISIONS - 1


def test_a_standing_alarm_of_what_is_gone_is_closed_and_told() -> None:
    fire = Point(alarm=AlarmSpec(hazard=Hazard.FIRE))
    fold = Fold(Safety({name: device(name, "smoke", smoke=fire, heat=fire) for name in ("a", "b")}))
    fold.step(sample("a", smoke=True), sample("b", smoke=True, heat=True), sample("gateway"))
    fold.service = Safety({"b": device("b", "smoke", smoke=fire)})
    told = {(fact.device, fact.body["point"]): fact.body for fact in fold.step(adopted())}
    assert told.keys() == {("a", "smoke"), ("b", "heat")}
    assert {(body["change"], body["state"]) for body in told.values()} == {("removed", "normal")}
    assert list(fold.rows) == ["b/smoke"]
    assert fold.step(adopted()) == []


def test_the_silence_of_a_device_that_stays_stays() -> None:
    fire = Point(alarm=AlarmSpec(hazard=Hazard.FIRE))
    devices = {"a": device("a", "smoke", smoke=fire)}
    fold = Fold(Safety(devices))
    fold.step(sample("a", error="timeout"))
    assert fold.step(adopted()) == []
    assert list(fold.rows) == ["a/link"]


def test_who_is_gone_is_not_counted() -> None:
    fold = Fold(Presence())
    fold.step(sample("a"), sample("b"), sample("uplink", error="broker-lost"))
    assert fold.step(adopted(2, "a", "gateway")) == []
    assert list(fold.rows) == ["a", "gateway"]


def test_bays_and_compartments_that_are_gone_are_not_counted() -> None:
    bays = Fold(Parking({name: device(name, "parking-bay", occupied=Point()) for name in "ab"}))
    bays.step(sample("a", occupied=True), sample("b", occupied=True))
    bays.service = Parking({"b": device("b", "parking-bay", occupied=Point())})
    bays.step(adopted())
    assert bays.service.summary(bays.rows) == {"free": 0, "occupied": 1, "unknown": 0, "total": 1}
    points = {"door.1": Point(), "item.1": Point()}
    doors = Fold(Lockers({name: device(name, "parcel-locker", **points) for name in "ab"}))
    for name in "ab":
        doors.step(sample(name, door__1=False, item__1=True))
    doors.service = Lockers({"b": device("b", "parcel-locker", **points)})
    doors.step(adopted())
    assert list(doors.rows) == ["b/1"]


def test_the_visitors_of_a_door_that_is_gone_count_until_the_day_is_over() -> None:
    totals = {"in": Point(), "out": Point()}
    fold = Fold(Visitors({"a": device("a", "door-counter", **totals)}))
    fold.step(tick(0), sample("a", 1, "", **{"in": 5, "out": 5}), tick(2))
    fold.step(sample("a", 3, "", **{"in": 9, "out": 6}))
    fold.service = Visitors({})
    fold.step(adopted(), tick(10))
    # Nobody counts who goes now.
    assert fold.service.summary(fold.rows) == {"in": 4, "out": 1, "tours": 0, "unheard": 0}
    (fact, _) = fold.step(tick(90_000, "2026-11-22"))
    assert fact.body["doors"] == {"a": {"in": 4, "out": 1, "counters": {}}}
    assert fold.rows.keys() == {"day/", "place/"}
