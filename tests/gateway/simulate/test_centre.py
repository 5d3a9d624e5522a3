from __future__ import annotations

import pytest

from gateway.simulate.centre import DAY_S, HOUR_S, Centre


def at(hour: float, seed: int = 0) -> Centre:
    centre = Centre(seed)
    centre.advance(hour * HOUR_S)
    return centre


def totals(centre: Centre) -> tuple[int, int]:
    doors = centre.doors.values()
    return sum(door.entered for door in doors), sum(door.left for door in doors)


@pytest.mark.parametrize("seed", range(5))
def test_a_day_is_plausible(seed: int) -> None:
    centre = Centre(seed)
    entered, left = totals(centre)
    inside, cars, parcels = [], [], []
    for _ in range(24 * 60):
        centre.advance(60)
        now_in, now_out = totals(centre)
        assert centre.inside == (now_in - entered) - (now_out - left)
        inside.append(centre.inside)
        cars.append(sum(bay.occupied for bay in centre.bays.values()))
        parcels.append(sum(locker.parcel is not None for locker in centre.lockers))
    assert 300 <= totals(centre)[0] - entered <= 500
    assert min(inside) == 0
    assert 25 <= max(inside) <= 100
    assert not any(inside[: 8 * 60] + inside[21 * 60 + 15 :]), "nobody is inside at night"
    assert not any(cars[: 8 * 60] + cars[21 * 60 + 15 :]), "no car stays at night"
    assert max(cars) >= 5
    assert max(parcels) - min(parcels) >= 4


def test_the_second_day_is_like_the_first() -> None:
    centre = at(24)
    entered, _ = totals(centre)
    centre.advance(DAY_S)
    assert 300 <= totals(centre)[0] - entered <= 500
    assert centre.inside == 0


def life(centre: Centre) -> tuple[object, ...]:
    bays = [bay.occupied for bay in centre.bays.values()]
    return totals(centre), bays, centre.lockers


def test_the_day_depends_on_the_seed_and_not_on_the_steps() -> None:
    coarse, fine = at(15), Centre()
    for _ in range(15 * 60):
        fine.advance(60)
    assert life(coarse) == life(fine)
    assert life(coarse) != life(at(15, seed=1))


def test_something_changes_every_few_seconds() -> None:
    centre = at(10)
    for _ in range(100):
        before = centre.state() | {"time": ""}
        centre.advance(4)
        assert centre.state() | {"time": ""} != before


def test_readings_are_those_of_a_quiet_centre() -> None:
    centre = at(8)
    for _ in range(12 * 60):
        centre.advance(60)
        assert 20 <= centre.electrical.residual <= 60
        assert max(centre.electrical.cables) < 60
        assert centre.electrical.current < 63
        assert centre.gas.lel < 5
        assert 3 < centre.fridge.temperature < 5.5
        for detector in centre.smoke.values():
            assert detector.status == 0
            assert 15 < detector.temperature < 35
            assert detector.obscuration < 0.2
        for bay in centre.bays.values():
            assert 300 <= bay.distance <= 900 if bay.occupied else 1800 <= bay.distance <= 2600


def test_a_door_opened_by_command_gives_out_the_parcel_and_closes() -> None:
    centre = at(0.01)
    lock = next(n for n, locker in enumerate(centre.lockers) if locker.parcel)
    locker = centre.lockers[lock]
    assert centre.unlock(lock)
    assert locker.open
    assert not centre.unlock(lock), "it is open already"
    centre.advance(6)
    assert (locker.open, locker.parcel) == (True, None)
    centre.advance(5)
    assert not locker.open


def test_a_courier_needs_an_empty_locker() -> None:
    centre = at(0.01)
    lock = next(n for n, locker in enumerate(centre.lockers) if not locker.parcel)
    assert centre.deliver(lock)
    assert not centre.deliver(lock), "its door is open"
    centre.advance(11)
    assert centre.lockers[lock].parcel
    assert not centre.lockers[lock].open
    assert not centre.deliver(lock), "it is occupied"
    centre.advance(2 * DAY_S)
    assert 0 <= sum(bool(locker.parcel) for locker in centre.lockers) <= 16


def test_nobody_leaves_an_empty_centre() -> None:
    centre = at(3)
    before = totals(centre)
    assert not centre.remove_visitor(1)
    centre.add_visitor(2)
    assert centre.inside == 1
    assert centre.remove_visitor(1)
    centre.advance(HOUR_S)
    assert centre.inside == 0
    assert totals(centre) == (before[0] + 1, before[1] + 1)


def test_who_comes_at_night_leaves_soon() -> None:
    centre = at(23)
    centre.add_visitor(1)
    centre.advance(61)
    assert centre.inside == 0


def test_a_leak_climbs_until_it_is_aired_out() -> None:
    centre = at(10)
    centre.set_gas_leak(on=True)
    centre.advance(10)
    low = centre.gas.lel
    centre.advance(10)
    assert 5 < low < centre.gas.lel
    centre.advance(100)
    assert centre.gas.lel == 60
    centre.set_gas_leak(on=False)
    assert centre.gas.lel < 2


def test_forced_values_stay_until_everything_is_normal() -> None:
    centre = at(10)
    centre.force_reading("gas", 40)
    centre.force_reading("residual", 350)
    centre.force_reading("fridge", 9)
    centre.set_detector_status(2, 1)
    centre.doors[1].blocked = True
    for _ in range(3):
        assert (centre.gas.lel, centre.electrical.residual) == (40, 350)
        assert centre.fridge.temperature == 9
        assert centre.smoke[2].obscuration > 5
        assert centre.smoke[2].temperature > centre.smoke[1].temperature + 8
        centre.advance(60)
    before = totals(centre)
    centre.clear_hazards()
    assert centre.gas.lel < 2
    assert centre.electrical.residual <= 60
    assert centre.fridge.temperature < 5.5
    assert centre.smoke[2].status == 0
    assert not centre.doors[1].blocked
    assert totals(centre) == before
