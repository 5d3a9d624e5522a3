from gateway.capabilities.parcels.services import Compartment, Lockers
from gateway.model import ClockQuality, Point, Sample, Stamp
from tests.gateway.services.kit import Fold, at, device, sample


def lockers() -> Fold:
    points = {"door.1": Point(), "door.2": Point(), "item.1": Point(), "item.2": Point()}
    return Fold(Lockers({"l": device("l", "parcel-locker", **points)}))


def look(fold: Fold, second: float, door: bool, item: bool) -> list[dict[str, object]]:
    facts = fold.step(sample("l", second, door__1=door, item__1=item, door__2=False, item__2=False))
    return [{"kind": fact.kind, **fact.body} for fact in facts]


def test_a_parcel_is_stored_and_fetched() -> None:
    fold = lockers()
    assert look(fold, 0, door=False, item=False) == []
    assert look(fold, 1, door=True, item=False) == [{"kind": "door", "lock": 1, "open": True}]
    assert look(fold, 2, door=True, item=True) == []
    assert look(fold, 3, door=False, item=True) == [
        {"kind": "door", "lock": 1, "open": False},
        {"kind": "parcel", "lock": 1, "change": "stored", "lasted": 3},
    ]
    look(fold, 100, door=True, item=True)
    assert look(fold, 103, door=False, item=False)[1] == {
        "kind": "parcel", "lock": 1, "change": "fetched", "lasted": 100,
    }  # fmt: skip


def test_how_long_a_parcel_lay_is_left_out_where_no_clock_can_tell() -> None:
    fold = lockers()
    shut = {"door.1": False, "item.1": True, "door.2": False, "item.2": False}
    fold.step(Sample("l", Stamp(5_000, 10**9, "a", ClockQuality.UNSET), shut))
    after = Stamp(1_800_000_000_000, 10**9, "b", ClockQuality.SET)
    (fact,) = fold.step(Sample("l", after, {**shut, "item.1": False}))
    assert fact.body == {"lock": 1, "change": "fetched"}


def test_a_hand_in_an_open_compartment_is_no_parcel() -> None:
    fold = lockers()
    look(fold, 0, door=False, item=False), look(fold, 1, door=True, item=True)
    facts = look(fold, 2, door=False, item=False)
    assert [fact["kind"] for fact in facts] == ["door"]


def test_the_summary_knows_free_occupied_open_and_unknown() -> None:
    points = {f"{what}.{n}": Point() for n in range(1, 6) for what in ("door", "item")}
    fold = Fold(Lockers({"l": device("l", "parcel-locker", **points)}))
    assert fold.service.summary(fold.rows) == {"unknown": 5, "total": 5}
    shut = {f"door.{n}": False for n in range(1, 5)}
    items = {"item.1": True, "item.2": False, "item.3": False, "item.4": False}
    fold.step(Sample("l", at(0), {**shut, **items}), Sample("l", at(1), {**shut, **items, "door.4": True}))
    assert fold.service.summary(fold.rows) == {
        "free": 3, "occupied": 1, "open": 1, "unknown": 1, "total": 5,
    }  # fmt: skip
    fold.step(sample("l", 2, error="timeout"))
    assert fold.service.summary(fold.rows) == {"unknown": 5, "total": 5}
    fold.step(Sample("l", at(3), {**shut, **items}))
    fold.restart()
    assert fold.service.summary(fold.rows) == {"unknown": 5, "total": 5}


def test_a_hand_that_is_seen_first_is_no_parcel() -> None:
    """The gateway is started while somebody reaches into an open compartment."""
    fold = lockers()
    look(fold, 0, door=True, item=True)
    assert fold.service.summary(fold.rows) == {
        "free": 1, "occupied": 0, "open": 1, "unknown": 1, "total": 2,
    }  # fmt: skip
    assert [fact["kind"] for fact in look(fold, 1, door=False, item=False)] == ["door"]
    assert fold.service.summary(fold.rows)["free"] == 2


def test_what_does_not_change_is_not_written_down_again() -> None:
    fold = lockers()
    look(fold, 0, door=False, item=True)
    changes, _ = fold.service.apply(
        fold.rows, sample("l", 1, door__1=False, item__1=True, door__2=False, item__2=False)
    )
    assert changes == {}


def test_a_door_without_a_number_is_no_compartment() -> None:
    names = ("door.3", "door.left", "door.", "item.left")
    fold = Fold(Lockers({"l": device("l", "parcel-locker", **dict.fromkeys(names, Point()))}))
    fold.step(Sample("l", at(0), dict.fromkeys(names, False)))
    facts = fold.step(Sample("l", at(1), dict.fromkeys(names, True)))
    assert [fact.body for fact in facts] == [{"lock": 3, "open": True}]
    assert fold.service.summary(fold.rows)["total"] == 1


def doors_only() -> Fold:
    return Fold(Lockers({"l": device("l", "parcel-locker", **{"door.1": Point(), "door.2": Point()})}))


def test_where_nothing_looks_inside_nobody_knows_what_is_free() -> None:
    fold = doors_only()
    fold.step(sample("l", 0, door__1=False, door__2=False))
    opened = fold.step(sample("l", 1, door__1=True, door__2=False))
    shut = fold.step(sample("l", 2, door__1=False, door__2=False))
    assert [fact.kind for fact in (*opened, *shut)] == ["door", "door"]
    assert fold.service.summary(fold.rows) == {"open": 0, "unknown": 2, "total": 2}


def test_what_was_taken_for_free_without_a_sensor_is_unknown_again() -> None:
    fold = doors_only()
    fold.rows = {f"l/{n}": Compartment(False, False, at(0), live=False) for n in (1, 2)}
    assert fold.step(sample("l", 1, door__1=False, door__2=True)) != []
    assert {row.occupied for row in fold.rows.values()} == {None}


def test_a_sensor_that_says_nothing_once_takes_no_parcel_away() -> None:
    fold = lockers()
    look(fold, 0, door=False, item=True)
    assert fold.step(sample("l", 1, door__1=False, door__2=False)) == []
    assert fold.service.summary(fold.rows)["occupied"] == 1
    assert [fact["kind"] for fact in look(fold, 2, door=False, item=False)] == ["parcel"]


def test_a_sensor_that_has_never_spoken_leaves_it_open() -> None:
    fold = lockers()
    fold.step(sample("l", 0, door__1=False, door__2=False))
    assert fold.service.summary(fold.rows)["unknown"] == 2
    assert look(fold, 1, door=False, item=True) == []
    assert fold.service.summary(fold.rows)["occupied"] == 1
