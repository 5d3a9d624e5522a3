import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack, to_builtins
from msgspec.structs import replace

from gateway.capabilities.safety.services.batteries import (
    DAY_MS,
    MAX_HISTORY_DAYS,
    Batteries,
    Battery,
    forecast_days_left,
)
from gateway.model import ClockQuality, Fact, Point, Sample
from tests.gateway.services.kit import Fold, at, device, kinds, tick

DEVICES = {
    "lora": device("lora", "smoke", battery=Point(unit="%")),
    "wired": device("wired", "smoke", battery=Point(unit="V")),
    "none": device("none", "smoke"),
}


def reading(level: object, day: float, name: str = "lora") -> Sample:
    return Sample(name, at(day * 86_400), {"battery": level})  # type: ignore[dict-item]


def batteries() -> Fold:
    return Fold(Batteries(DEVICES))


def fall(fold: Fold, levels: list[float], name: str = "lora", first: int = 0) -> list[Fact]:
    return fold.step(*(reading(level, first + day, name) for day, level in enumerate(levels)))


def test_a_battery_that_falls_a_percent_a_day_is_told_of_thirty_days_before_it_is_empty() -> None:
    fold = batteries()
    told = fall(fold, [80.0 - day for day in range(50)])
    (fact,) = told
    assert (fact.kind, fact.body["level"], fact.body["days_left"]) == ("battery-low", 40.0, 30.0)
    assert fold.service.summary(fold.rows) == {"low": 1}


def test_volts_are_empty_at_four_fifths() -> None:
    fold = batteries()
    (fact,) = fall(fold, [3.0 - 0.01 * day for day in range(60)], "wired")
    assert fact.body["days_left"] == pytest.approx(30, abs=1.1)
    assert fact.body["unit"] == "V"


def test_a_new_battery_begins_anew() -> None:
    fold = batteries()
    levels = [40.0 - day for day in range(25)] + [100.0 - 0.1 * day for day in range(30)]
    assert kinds(fall(fold, levels)) == ["battery-low", "battery-replaced"]
    row = fold.rows["lora"]
    assert (row.reported_low, row.full, len(row.days)) == (False, 100.0, 30)
    assert to_builtins(replace(row, reported_low=True))["told"], "older journals have this key"
    assert row.left == pytest.approx(870, rel=0.05)


def test_a_sensor_that_lies_for_a_day_frightens_nobody() -> None:
    levels = [90.0 - 0.1 * day for day in range(60)]
    levels[20], levels[33] = 0.0, 100.0
    fold = batteries()
    assert fall(fold, levels) == []
    assert fold.rows["lora"].left == pytest.approx(740, rel=0.1)


def test_one_that_wavers_is_judged_by_its_lowest_readings() -> None:
    fold = batteries()
    messages = [
        reading(80.0 - day + wobble, day + hour / 24)
        for day in range(12)
        for hour, wobble in enumerate((5, 0, 9, 3))
    ]
    fold.step(*messages)
    assert [level for _, level in fold.rows["lora"].days] == [80.0 - day for day in range(11)] + [69.0]


def test_the_day_is_written_down_again_only_when_it_has_fallen_noticeably() -> None:
    fold = batteries()
    fold.step(reading(80.0, 0))
    assert fold.service.apply(fold.rows, reading(79.8, 0.1)) == ({}, [])
    assert fold.service.apply(fold.rows, reading(79.0, 0.1))[0]


def test_a_week_is_the_least_for_a_line_and_a_battery_that_does_not_fall_has_no_end() -> None:
    fold = batteries()
    fall(fold, [30.0 - day for day in range(7)])
    assert fold.rows["lora"].left is None
    assert forecast_days_left([(day, 50.0) for day in range(30)], 10.0) is None
    assert forecast_days_left([(day, 50.0 + day) for day in range(30)], 10.0) is None
    assert forecast_days_left([(day, 5.0) for day in range(30)], 10.0) == 0.0


@pytest.mark.parametrize("value", [True, "low", None])
def test_what_is_no_number_is_no_level(value: object) -> None:
    assert batteries().service.apply({}, reading(value, 0)) == ({}, [])


def test_devices_without_one_and_clocks_that_nobody_set_are_left_alone() -> None:
    unset = replace(reading(50.0, 0), at=replace(at(0), clock=ClockQuality.UNSET))
    failed = replace(reading(50.0, 0), error="timeout")
    assert kinds(batteries().step(reading(50.0, 0, "none"), unset, failed)) == []


def test_a_device_that_left_the_file_leaves_no_battery() -> None:
    fold = batteries()
    fold.step(reading(50.0, 0), tick(1))
    assert list(fold.rows) == ["lora"]
    assert Batteries({}).apply(fold.rows, tick(2)) == ({"lora": None}, [])


def test_a_clock_that_was_in_the_future_is_forgotten() -> None:
    fold = batteries()
    fall(fold, [80.0, 79.0, 78.0])
    fold.step(reading(77.0, 9000), reading(77.0, 3), reading(76.0, 4))
    first = at(0).wall_ms // DAY_MS
    assert [day - first for day, _ in fold.rows["lora"].days] == [0, 1, 2, 3, 4]


@given(st.lists(st.tuples(st.integers(0, 200), st.floats(-1e6, 1e6)), max_size=120), st.integers(0, 119))
def test_whatever_it_says_the_row_stays_small_and_in_order(
    readings: list[tuple[int, float]], restart: int
) -> None:
    fold = batteries()
    for number, (day, level) in enumerate(readings):
        if number == restart:
            fold.rows = {
                key: msgpack.decode(msgpack.encode(row), type=Battery) for key, row in fold.rows.items()
            }
        fold.step(reading(level, day))
        days = [day for day, _ in fold.rows["lora"].days]
        assert days == sorted(set(days))
        assert len(days) <= MAX_HISTORY_DAYS
        left = fold.rows["lora"].left
        assert left is None or 0 <= left <= 999
