from gateway.capabilities.parking.services import Parking
from gateway.model import ClockQuality, Point, Sample, Stamp
from tests.gateway.services.kit import Fold, device, kinds, sample


def parking() -> Fold:
    bays = {"occupied.1": Point(), "occupied.2": Point(), "battery": Point()}
    return Fold(Parking({"p": device("p", "parking-bay", **bays)}))


def summary(fold: Fold) -> dict[str, object]:
    return dict(fold.service.summary(fold.rows))


def test_bays_are_unknown_until_they_are_read() -> None:
    assert summary(parking()) == {"unknown": 2, "total": 2}


def test_an_outage_before_the_first_reading_is_no_event() -> None:
    fold = parking()
    assert fold.step(sample("p", 0, error="timeout")) == []
    assert summary(fold)["unknown"] == 2


def test_a_car_comes_and_goes_and_its_stay_is_told() -> None:
    fold = parking()
    fold.step(sample("p", 0, occupied__1=False, occupied__2=False))
    fold.step(sample("p", 10, occupied__1=True, occupied__2=False))
    assert summary(fold) == {"free": 1, "occupied": 1, "unknown": 0, "total": 2}
    (fact,) = fold.step(sample("p", 100, occupied__1=False, occupied__2=False))
    assert fact.body == {"point": "occupied.1", "occupied": False, "lasted": 90}


def test_a_stay_does_not_depend_on_the_wall_clock_and_is_left_out_where_no_clock_can_tell() -> None:
    fold = parking()
    bay = {"occupied.1": True, "occupied.2": False}
    fold.step(Sample("p", Stamp(5_000, 10 * 10**9, "a", ClockQuality.UNSET), bay))
    left = Stamp(1_800_000_000_000, 100 * 10**9, "a", ClockQuality.SET)
    (fact,) = fold.step(Sample("p", left, {**bay, "occupied.1": False}))
    assert fact.body["lasted"] == 90
    fold.step(Sample("p", Stamp(5_000, 10 * 10**9, "b", ClockQuality.UNSET), bay))
    later = Stamp(1_800_000_900_000, 10**9, "c", ClockQuality.SET)
    (fact,) = fold.step(Sample("p", later, {**bay, "occupied.1": False}))
    assert "lasted" not in fact.body


def test_an_outage_makes_a_bay_unknown_and_keeps_its_session() -> None:
    fold = parking()
    fold.step(sample("p", 0, occupied__1=True, occupied__2=True))
    fold.step(sample("p", 5, error="timeout"))
    assert summary(fold)["unknown"] == 2
    assert kinds(fold.step(sample("p", 50, occupied__1=True, occupied__2=True))) == []
    assert fold.rows["p/occupied.1"].since.wall_ms == fold.rows["p/occupied.2"].since.wall_ms
    (fact,) = fold.step(sample("p", 60, occupied__1=False, occupied__2=True))
    assert fact.body["lasted"] == 60


def test_a_message_about_something_else_leaves_a_bay_as_it_is() -> None:
    fold = parking()
    fold.step(sample("p", 0, occupied__1=True, occupied__2=False))
    fold.step(sample("p", 5, battery=90))
    fold.step(sample("p", 6, occupied__1=False))
    assert summary(fold) == {"free": 2, "occupied": 0, "unknown": 0, "total": 2}
    fold.step(sample("p", 7, occupied__2=True))
    assert summary(fold) == {"free": 1, "occupied": 1, "unknown": 0, "total": 2}


def test_after_a_restart_bays_are_unknown_first_then_true() -> None:
    fold = parking()
    fold.step(sample("p", 0, occupied__1=True, occupied__2=False))
    fold.restart()
    assert summary(fold)["unknown"] == 2
    assert kinds(fold.step(sample("p", 1, occupied__1=True, occupied__2=False))) == []
    assert summary(fold) == {"free": 1, "occupied": 1, "unknown": 0, "total": 2}
