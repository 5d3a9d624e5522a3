import msgspec
import pytest

from gateway.capabilities.parking.services import MIN_STAY_S, SETTLE_S, Parking
from gateway.model import ClockQuality, Point, Sample, Stamp, Tick
from tests.gateway.services.kit import DAY, Fold, at, device, kinds, sample, tick


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


def stays(fold: Fold, second: float) -> list[dict[str, object]]:
    """Those that end at this second's tick."""
    return [fact.body for fact in fold.step(tick(second)) if fact.kind == "parking-stay"]


def parked(*changes: tuple[float, bool]) -> Fold:
    """A bay that was free at first, and changes at these seconds."""
    fold = parking()
    fold.step(sample("p", 0, occupied__1=False))
    for second, occupied in changes:
        fold.step(sample("p", second, occupied__1=occupied))
    return fold


def test_a_stay_ends_when_the_bay_has_been_free_for_a_while() -> None:
    fold = parked((100, True), (700, False))
    assert stays(fold, 700 + SETTLE_S - 1) == []
    assert stays(fold, 700 + SETTLE_S) == [
        {
            "point": "occupied.1",
            "arrived": at(100).wall_ms,
            "left": at(700).wall_ms,
            "lasted": 600,
            "confidence": 1.0,
        }
    ]
    assert stays(fold, 9999) == []


def test_a_detector_that_flickers_splits_no_stay() -> None:
    fold = parked((100, True), (300, False), (300 + SETTLE_S - 1, True))
    assert stays(fold, 400) == []
    fold.step(sample("p", 700, occupied__1=False))
    (stay,) = stays(fold, 800)
    assert stay["lasted"] == 600


def test_whoever_passes_by_does_not_park() -> None:
    fold = parked((100, True), (100 + MIN_STAY_S - 1, False))
    assert stays(fold, 300) == []
    assert fold.rows["p/occupied.1"].stay is None


def test_a_car_that_was_there_before_the_first_reading_has_no_arrival() -> None:
    fold = parking()
    fold.step(sample("p", 0, occupied__1=True))
    fold.step(sample("p", 600, occupied__1=False))
    assert stays(fold, 700) == [{"point": "occupied.1", "left": at(600).wall_ms, "confidence": 0.0}]


@pytest.mark.parametrize(
    ("arrived", "returned", "left", "confidence"),
    [
        (100, 1000, 1900, 0.55),  # In the middle of the stay: 900 s since the failure of 1800.
        (50, 1000, 1000, 0.15),  # It left meanwhile.
        (1000, 1000, 2000, 0.2),  # It arrived meanwhile.
        (1000, 1000, 1300, 0.0),
    ],
)
def test_an_outage_ends_no_stay_and_costs_confidence(
    arrived: int, returned: int, left: int, confidence: float
) -> None:
    fold = parked(*([(arrived, True)] if arrived < returned else []))
    fold.step(sample("p", 190 if arrived < returned else 200, error="timeout"))
    for second in sorted({returned, left}):
        fold.step(sample("p", second, occupied__1=second < left))
    (stay,) = stays(fold, left + 100)
    assert (stay["arrived"], stay["lasted"]) == (at(arrived).wall_ms, left - arrived)
    assert stay["confidence"] == pytest.approx(confidence, abs=0.01)


def test_a_stay_goes_on_over_a_restart() -> None:
    fold = parked((100, True))
    for second in range(102, 4000, 2):
        fold.step(sample("p", second, occupied__1=True))
    fold.restart()
    fold.step(sample("p", 5000, occupied__1=True))
    fold.step(sample("p", 10_100, occupied__1=False))
    (stay,) = stays(fold, 10_200)
    assert stay["lasted"] == 10_000
    # It was away for 1,000 s; when it was last heard is known to ten minutes.
    assert stay["confidence"] == pytest.approx(0.87, abs=0.03)


def test_a_clock_that_is_set_back_between_boots_ends_a_stay_of_unknown_length() -> None:
    fold = parked((100, True))
    earlier = Stamp(at(-1000).wall_ms, 10**9, "next", ClockQuality.SET)
    fold.step(Sample("p", earlier, {"occupied.1": False}))
    ended = fold.step(Tick(Stamp(at(-900).wall_ms, 101 * 10**9, "next", ClockQuality.SET), DAY))
    assert [("lasted" in fact.body, fact.body["confidence"]) for fact in ended] == [(False, 0.0)]
    assert fold.rows["p/occupied.1"].stay is None


def test_a_bay_that_does_not_change_is_stored_every_ten_minutes() -> None:
    fold = parked((100, True))
    stored = 0
    for second in range(102, 100 + 3600, 2):
        before = fold.rows["p/occupied.1"]
        fold.step(sample("p", second, occupied__1=True))
        stored += fold.rows["p/occupied.1"] is not before
    assert stored == 5


def test_a_car_that_was_there_before_stays_were_kept_arrived_when_its_bay_changed() -> None:
    fold = parked((100, True))
    fold.rows["p/occupied.1"] = msgspec.structs.replace(fold.rows["p/occupied.1"], heard=None, stay=None)
    fold.restart()
    fold.step(sample("p", 1000, occupied__1=True))
    fold.step(sample("p", 2000, occupied__1=False))
    (stay,) = stays(fold, 2100)
    assert (stay["arrived"], stay["lasted"]) == (at(100).wall_ms, 1900)
