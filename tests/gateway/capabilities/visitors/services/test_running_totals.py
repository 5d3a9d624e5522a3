import random
from collections.abc import Iterable

import pytest

from gateway.capabilities.visitors.services.counters import (
    MAX_LINES,
    MAX_REMEMBERED_TOTALS,
    MAX_UNCONFIRMED_JUMP,
    InOutCount,
    max_plausible_count,
)
from gateway.capabilities.visitors.services.running_totals import passed_between
from gateway.model import ClockQuality, Sample, Stamp
from tests.gateway.capabilities.visitors.services.kit import Centre, at, counter, iso, told, wall
from tests.gateway.capabilities.visitors.services.simulator import Habits, passages, totals
from tests.gateway.services.kit import kinds

WIDE = 1 << 32


def test_the_first_reading_is_where_counting_begins() -> None:
    centre = Centre()
    assert centre.figures == {}
    assert kinds(centre.says(0, 48_211, 47_904)) == ["coverage"]
    assert centre.figures == {"inside": 0, "in": 0, "out": 0, "tours": 0, "unheard": 0}


def test_in_and_out_may_come_in_messages_of_their_own_from_the_first() -> None:
    centre = Centre()
    centre.step(Sample("d", at(0), {"in": 500}))
    centre.step(Sample("d", at(1), {"in": 501}))
    centre.reboot()
    centre.step(Sample("d", at(10), {"out": 480}))
    centre.step(Sample("d", at(11), {"in": 504}))
    centre.step(Sample("d", at(12), {"out": 481}))
    assert (centre.figures["in"], centre.figures["out"]) == (3, 1)


def test_halves_of_the_first_total_belong_to_their_line() -> None:
    centre = Centre()
    for second, line, point, total in (
        (0, "a", "in", 500),
        (1, "b", "out", 9),
        (2, "a", "out", 400),
        (3, "b", "in", 7),
        (4, "a", "in", 501),
        (5, "b", "out", 11),
    ):
        centre.step(Sample("d", at(second), {"line": line, point: total}))
    assert (centre.figures["in"], centre.figures["out"]) == (1, 2)


def test_people_inside_are_unknown_until_every_entrance_is_heard() -> None:
    centre = Centre(counter("d"), counter("e"))
    centre.tick(0)
    assert centre.figures == {"tours": 0, "unheard": 2}
    centre.says(1, 100, 100), centre.silent(1, "e"), centre.says(2, 104, 101)
    assert centre.figures == {"in": 4, "out": 1, "tours": 0, "unheard": 1}
    centre.says(3, 7, 7, "e")
    assert centre.figures == {"inside": 3, "in": 4, "out": 1, "tours": 0, "unheard": 0}


def test_people_inside_are_unknown_first_and_then_true_after_a_restart() -> None:
    centre = Centre(counter("d"), counter("e"))
    centre.says(0, 100, 100), centre.says(0, 7, 7, "e"), centre.says(1, 103, 100)
    centre.reboot()
    assert centre.now() == (3, 0, None)
    centre.says(600, 104, 103)
    assert centre.now() == (4, 3, None)
    centre.says(601, 7, 7, "e")
    assert centre.now() == (4, 3, 1)


def test_a_report_that_is_not_trusted_is_no_count() -> None:
    centre = Centre()
    centre.tick(0)
    centre.says(1, 100, 100, invalid=True)
    assert centre.figures["unheard"] == 1
    centre.step(Sample("d", at(2), {}, {"in": "wrong-type"}))
    assert centre.now() == (None, None, None)


def test_without_a_counter_nobody_knows_who_is_inside() -> None:
    centre = Centre()
    centre.counters = {}
    centre.service = centre.fresh()
    centre.tick(0)
    assert centre.figures == {"tours": 0, "unheard": 0}


def test_who_came_and_left_through_all_doors_is_inside() -> None:
    centre = Centre(counter("d"), counter("e"))
    centre.says(0, 100, 100), centre.says(0, 7, 7, "e")
    assert kinds(centre.says(1, 103, 100)) == ["crossing"]
    assert kinds(centre.says(1, 7, 8, "e")) == ["crossing"]
    assert centre.now() == (3, 1, 2)


@pytest.mark.parametrize("width", [1 << 32, 1 << 16, 1 << 8])
def test_a_counter_that_rolls_over_goes_on_counting(width: int) -> None:
    centre = Centre(counter("d", wraps=width))
    centre.says(0, width - 2, width - 1)
    assert told(centre.says(1, 1, 0), "crossing") == [{"in": 3, "out": 1}]


def test_a_counter_that_was_switched_off_begins_again_without_phantoms() -> None:
    centre = Centre()
    centre.says(0, 5000, 4990)
    assert centre.says(60, 0, 0) == []
    (restarted, crossing) = centre.says(61, 2, 0)
    unknown = {"since": wall(0), "until": wall(60)}
    assert restarted.body == {"before": [5000, 4990], "after": [0, 0], **unknown}
    assert crossing.body == {"in": 2, "out": 0}
    assert centre.now() == (2, 0, 2)


def test_who_passed_between_a_restart_and_the_next_reading_is_counted() -> None:
    centre = Centre()
    centre.says(0, 5000, 4990)
    centre.says(60, 7, 3)
    assert centre.says(61, 7, 3) == []
    assert kinds(centre.says(100, 7, 3)) == ["counter-restarted", "crossing"]
    assert centre.now() == (7, 3, 4)


def test_a_total_beyond_its_width_was_restarted_when_it_falls() -> None:
    centre = Centre(counter("d", wraps=256))
    centre.says(0, 70_000), centre.says(1, 3), centre.says(2, 4)
    assert centre.now() == (4, 0, 4)


@pytest.mark.parametrize("wild", [0, 3, 70_000, 0xFFFF_FFFF])
def test_a_single_false_reading_is_neither_counted_nor_costs_anybody(wild: int) -> None:
    centre = Centre()
    centre.says(0, 1000, 500), centre.says(1, wild, wild), centre.says(2, 1001, 500)
    assert centre.now() == (1, 0, 1)


def test_zeros_while_a_counter_starts_up_are_not_its_restart() -> None:
    centre = Centre()
    centre.says(0, 5000, 4990)
    for second in range(1, 10):
        assert centre.says(second, 0, 0) == []
    centre.says(10, 5001, 4990)
    assert centre.now() == (1, 0, 1)


def test_a_leap_that_no_crowd_could_make_is_told_and_not_counted() -> None:
    centre = Centre()
    centre.says(0, 10, 10)
    coverage, leap = centre.says(1, 60_010, 10)
    assert coverage.body == {"covered": False, "why": "implausible"}
    assert leap.body == {"before": [10, 10], "after": [60_010, 10]}
    assert [fact.body for fact in centre.says(2, 60_011, 10)] == [
        {"covered": True, "why": ""},
        {"in": 1, "out": 0},
    ]
    assert centre.now() == (1, 0, 1)


def test_another_counter_at_the_same_place_goes_on_from_where_it_stands() -> None:
    centre = Centre()
    centre.says(0, 90_000, 90_000), centre.says(1, 4_812, 4_790)
    assert kinds(centre.says(2, 4_814, 4_790)) == ["counter-implausible", "crossing"]
    assert centre.now() == (2, 0, 2)


@pytest.mark.parametrize("leap", [150, 1500])
def test_visitors_of_an_outage_are_counted_when_the_counter_is_back(leap: int) -> None:
    centre = Centre()
    centre.says(0, 10, 10)
    assert told(centre.silent(5), "coverage") == [{"covered": False, "why": "offline"}]
    facts = [*centre.says(3600, 10 + leap, 130), *centre.says(3601, 10 + leap, 130)]
    (crossing,) = told(facts, "crossing")
    assert crossing["in"] == leap
    assert crossing["since"] == wall(0)
    assert told(facts, "counter-implausible") == []


def test_visitors_of_a_restart_of_the_gateway_are_counted_too() -> None:
    centre = Centre()
    centre.says(0, 10, 10)
    centre.reboot()
    centre.says(30, 14, 11)
    assert centre.now() == (4, 1, 3)


def test_a_counter_that_speaks_when_somebody_passes_and_is_reset_at_night_speaks_of_now() -> None:
    centre = Centre(every=60)
    centre.says(0, 811), centre.says(60, 812), centre.silent(240)
    centre.says(30_000, 1)
    (crossing,) = told(centre.says(30_020, 2), "crossing")
    assert crossing == {"in": 2, "out": 0}


def test_hundreds_in_every_reading_are_counted() -> None:
    centre = Centre(every=600)
    for number in range(9):
        centre.says(600 * number, 250 * number)
    assert centre.now()[0] == 2000


def test_a_total_that_comes_late_is_no_restart() -> None:
    """Two that overtook each other, and what was kept back in an outage, after the newest."""
    centre = Centre()
    for second, total in enumerate([100, 101, 103, 102, 104, 140, *range(105, 140), 141, 101, 142]):
        centre.says(second, total)
    assert centre.now() == (42, 0, 42)


def test_a_total_of_before_a_restart_that_comes_after_it_is_not_counted() -> None:
    centre = Centre(every=60)
    for minute, total in enumerate([100, 105, 110, 0, 2, 105, 3, 4]):
        centre.says(minute * 60, total)
    assert centre.now()[0] == 10 + 4


@pytest.mark.parametrize(("hours", "counted"), [(5.99, 12), (6.01, 12 + 105 - 2)])
def test_a_total_of_before_a_restart_may_come_late_for_six_hours(hours: float, counted: int) -> None:
    """After that it is a crowd: by then the counter has got that far again."""
    centre = Centre(every=60)
    for minute, total in enumerate([100, 105, 110, 0, 0, 2]):
        centre.says(minute * 60, total)
    restarted = centre.row().restarted_at
    assert restarted is not None
    second = restarted.mono_ns / 1e9 - at(0).mono_ns / 1e9 + hours * 3600
    centre.says(second - 60, 2)
    centre.says(second, 105)
    assert centre.now()[0] == counted


def test_an_old_total_is_known_by_its_own_time_however_old() -> None:
    centre = Centre()
    for second in range(3 * MAX_REMEMBERED_TOTALS):
        centre.says(second, 1000 + second, time=iso(second))
    for late in range(10):
        centre.says(3 * MAX_REMEMBERED_TOTALS + late, 1000 + late, time=iso(late))
    centre.says(
        3 * MAX_REMEMBERED_TOTALS + 10,
        1000 + 3 * MAX_REMEMBERED_TOTALS,
        time=iso(3 * MAX_REMEMBERED_TOTALS),
    )
    assert centre.now()[0] == 3 * MAX_REMEMBERED_TOTALS


def test_what_was_kept_back_through_a_restart_is_known_by_its_own_time() -> None:
    centre = Centre()
    centre.says(0, 94, time=iso(0))
    # Sixteen passed while the line was down; then it lost its power, and with it whom it had counted.
    centre.says(900, 0, time=iso(900)), centre.says(901, 2, time=iso(901))
    for number in range(16):
        centre.says(902 + number / 10, 95 + number, time=iso(10 + number))
    centre.says(905, 3, time=iso(905))
    assert centre.now()[0] == 3


def test_a_clock_that_was_put_back_hides_no_restart() -> None:
    centre = Centre()
    centre.says(0, 1000, time=iso(0))
    centre.says(60, 0, time="2000-01-01T00:00:00"), centre.says(61, 3, time="2000-01-01T00:00:01")
    assert centre.now()[0] == 3


def test_a_false_total_that_was_believed_is_made_up_for() -> None:
    """Fifty too many within a minute could be a crowd: who comes next is among them until it is not."""
    centre = Centre(every=60)
    for minute, total in enumerate([100, 101, 150, *range(102, 160)]):
        centre.says(minute * 60, total)
    assert centre.now()[0] == 59


def test_a_counter_that_restarts_to_where_it_was_is_believed_after_a_while() -> None:
    centre = Centre()
    for total in range(10):
        centre.says(total, total)
    for second in range(100):
        centre.says(600 + second, min(4 + second // 20, 7))
    assert centre.now()[0] == 9 + 7


def test_a_lane_with_one_beam_counts_one_way() -> None:
    centre = Centre(counter("d", points=["in"]))
    centre.step(Sample("d", at(0), {"in": 5}), Sample("d", at(1), {"in": 7}))
    assert centre.now() == (2, 0, 2)
    assert centre.row().total == (7, 0)
    centre = Centre(counter("d", points=["out"]))
    centre.step(Sample("d", at(0), {"out": 5}), Sample("d", at(1), {"out": 7}))
    assert centre.now() == (0, 2, 0)
    assert centre.row().total == (0, 7)


def test_totals_that_come_in_different_messages_belong_together() -> None:
    centre = Centre()
    centre.says(0, 5, 5)
    centre.step(
        Sample("d", at(1), {"in": 7}), Sample("d", at(2), {"out": 6.0}), Sample("d", at(3), {"battery": 9})
    )
    assert centre.now() == (2, 1, 1)


@pytest.mark.parametrize("value", [True, "twelve", 1.5, -3, float("nan"), float("inf")])
def test_what_is_no_count_counts_nobody(value: object) -> None:
    centre = Centre()
    centre.says(0, 5, 5)
    centre.step(Sample("d", at(1), {"in": value, "out": value}))  # type: ignore[dict-item]
    assert centre.now() == (0, 0, 0)


def test_a_counter_that_does_not_trust_itself_is_not_counted() -> None:
    centre = Centre()
    centre.says(0, 5, 5, invalid=False)
    facts = centre.says(1, 9, 5, invalid=True)
    assert told(facts, "coverage") == [{"covered": False, "why": "invalid"}]
    assert [fact.body for fact in centre.says(2, 12, 6, invalid=False)] == [{"covered": True, "why": ""}]
    assert told(centre.says(3, 15, 7, invalid=False), "crossing") == [{"in": 3, "out": 1}]


def test_a_counter_may_say_that_it_is_blocked_without_counting_anybody() -> None:
    """Some report counts only when somebody passes, and their state now and then."""
    centre = Centre()
    centre.says(0, 5, 5)
    facts = centre.step(Sample("d", at(1), {"invalid": True}))
    assert told(facts, "coverage") == [{"covered": False, "why": "invalid"}]
    assert centre.step(Sample("d", at(2), {"invalid": False})) == []
    assert [fact.body for fact in centre.says(3, 9, 5)] == [{"covered": True, "why": ""}]


def test_a_count_that_is_impossible_is_not_covered() -> None:
    centre = Centre()
    centre.says(0, 5, 5)
    (fact,) = centre.step(Sample("d", at(1), {"out": 5}, bad={"in": "out-of-range"}))
    assert fact.body == {"covered": False, "why": "implausible"}
    assert told(centre.says(2, 6, 5), "crossing") == [{"in": 1, "out": 0}]


def test_without_a_clock_nothing_is_said_of_when() -> None:
    centre = Centre()
    unset = at(0, "a", ClockQuality.UNSET)
    centre.step(Sample("d", unset, {"in": 5, "out": 5}))
    (fact,) = centre.step(Sample("d", at(50, "b"), {"in": 50, "out": 5}))
    assert fact.body == {"in": 45, "out": 0}


def test_more_time_makes_more_people_plausible() -> None:
    assert max_plausible_count(0) == 20
    assert max_plausible_count(60) == MAX_UNCONFIRMED_JUMP
    assert max_plausible_count(3600) == MAX_UNCONFIRMED_JUMP + 3540
    assert max_plausible_count(None) == max_plausible_count(86_400)


def test_a_total_is_ahead_of_another_by_what_passed() -> None:
    wraps = 65_536, 65_536
    assert passed_between((1, 2), (3, 2), wraps) == (2, 0)
    assert passed_between((65_530, 2), (3, 2), wraps) == (9, 0)
    assert passed_between((40_000, 2), (3, 2), wraps) is None
    assert passed_between((3, 2), (2, 9), wraps) is None
    assert passed_between((57_344, 2), (0, 2), wraps) == (8192, 0), "the last eighth of the range"
    assert passed_between((57_343, 2), (0, 2), wraps) is None
    assert passed_between((2, 65_535), (2, 65_535), wraps) == (0, 0)
    assert passed_between((65_536, 2), (0, 2), wraps) is None, "it has a larger range"


def read(centre: Centre, *totals: int, begin: int = 0, every: int = 60) -> int:
    """One total a minute, as many out as in; the seconds at the end."""
    for number, total in enumerate(totals):
        centre.says(begin + number * every, total, total)
        assert centre.row().recent_totals[-1] == centre.row().total
    return begin + len(totals) * every


def test_late_totals_of_before_a_restart_that_grow_are_not_its_crowd() -> None:
    """Nothing but zeros since the restart, and then what had been held back."""
    centre = Centre(every=60)
    end = read(centre, 55, 58, 60, 62, 0, 0, 0)
    for number, late in enumerate((60, 61)):
        centre.says(end + number, late, late)
    read(centre, 0, 1, 1, 3, begin=end + 60)
    assert centre.now()[:2] == (7 + 3, 7 + 3)


def test_one_that_comes_late_twice_near_the_end_of_the_range_is_no_turn_of_it() -> None:
    centre = Centre(counter("d", 5, wraps=10_000))
    for second, total in enumerate([9838, 9839, 9840, 9839, 9839, 9841, 9841]):
        centre.says(5 * second, total, 9900)
    assert centre.now()[0] == 3


@pytest.mark.parametrize("width", [1 << 8, 10_000, 1 << 16, 100_000, 1_000_000, 1 << 24])
def test_a_roll_over_that_no_profile_tells_of_is_known_by_the_other_total(width: int) -> None:
    centre = Centre(every=60)
    for number, total in enumerate([width - 6, width - 4, width - 2, 1, 2]):
        centre.says(60 * number, total, 100 + number)
    assert centre.now()[:2] == (8, 4)


@pytest.mark.parametrize("last", [(1, 104), (0, 104), (0, 106), (2, 103)])
def test_a_roll_over_counts_at_once_whoever_else_has_passed(last: tuple[int, int]) -> None:
    centre = Centre(every=60)
    for number, (came, left) in enumerate([(250, 98), (252, 101), (254, 104)]):
        centre.says(60 * number, came, left)
    crossed = told(centre.says(180, *last), "crossing")
    came, left = last[0] + 2, last[1] - 104
    assert crossed == ([{"in": came, "out": left}] if left >= 0 else [])


def test_a_total_of_256_did_not_roll_over_at_256() -> None:
    centre = Centre(every=60)
    for number, (came, left) in enumerate([(252, 98), (254, 101), (256, 104), (1, 105)]):
        assert told(centre.says(60 * number, came, left), "crossing") == [
            {"in": 2, "out": 3}
        ] * (0 < number < 3)  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "believed"),
    [
        ((0, 1, 31.9), False),
        ((0, 1, 32), True),
        ((0, 32), False),
        ((0, 32, 33), True),
        ((0, 20, 31, 31.9), False),
    ],
)
def test_a_total_that_stays_fallen_is_believed_after_three_readings_and_half_a_minute(
    seconds: tuple[float, ...], believed: bool
) -> None:
    """And two reading intervals more, of a second each. Until then it may be a late one."""
    centre = Centre()
    for total in range(10):
        centre.says(total, total)
    for second in seconds:
        centre.says(600 + second, 4)
    assert centre.row().total == ((4, 0) if believed else (9, 0))
    assert (centre.row().unconfirmed is None) is believed


@pytest.mark.parametrize(
    ("second", "people", "has_span"), [(300, 4, True), (299, 4, False), (300, 3, False), (86_400, 3, False)]
)
def test_more_than_three_who_passed_in_five_minutes_come_with_that_time(
    second: float, people: int, has_span: bool
) -> None:
    centre = Centre()
    centre.says(0, 5)
    (crossing,) = told(centre.says(second, 5 + people), "crossing")
    span = {"since": wall(0), "until": wall(second)} if has_span else {}
    assert crossing == {"in": people, "out": 0, **span}


def test_a_false_reading_makes_the_time_since_the_last_right_one_no_longer() -> None:
    centre = Centre()
    centre.says(0, 5), centre.says(299, 5), centre.says(300, 70_000)
    assert told(centre.says(301, 9), "crossing") == [{"in": 4, "out": 0}]


def test_a_total_that_falls_by_one_far_from_any_end_has_not_rolled_over() -> None:
    centre = Centre(every=60)
    for number, (came, left) in enumerate([(0, 0), (60, 50), (70, 80)]):
        centre.says(60 * number, came, left)
    centre.says(900, 70, 79), centre.says(960, 70, 80)
    assert centre.now()[:2] == (70, 80)


def test_a_restart_is_no_roll_over_where_the_other_total_is_near_nought() -> None:
    centre = Centre(counter("d", 600, wraps=65_536))
    for number, (came, left) in enumerate([(65_430, 65_534), (65_440, 1), (11, 6), (20, 8), (31, 9)]):
        centre.says(600 * number, came, left)
    assert centre.now()[:2] == (10 + 31, 3 + 9)


def test_a_counter_that_lost_its_power_near_its_end_did_not_roll_over() -> None:
    centre = Centre(counter("d", 5, wraps=65_536))
    end = read(centre, *range(65_400, 65_440), every=5)
    centre.silent(end)
    read(centre, 0, 0, 1, 1, begin=end + 3600, every=5)
    assert centre.now()[:2] == (39 + 1, 39 + 1)


def test_totals_in_messages_of_their_own_are_known_after_a_restart_too() -> None:
    centre = Centre(every=10)
    centre.says(0, 300, 280)
    for number in range(6):
        name, total = ("in", 2 + number) if number % 2 == 0 else ("out", number)
        centre.step(Sample("d", at(10 + 10 * number), {name: total}))
    assert centre.now()[:2] == (6, 5)


def test_a_clock_that_was_put_back_by_hours_hides_a_restart_for_a_while_only() -> None:
    centre = Centre(every=10)
    centre.says(20_000, 1000, time=iso(20_000))
    for number in range(12):
        centre.says(20_010 + 10 * number, number, time=iso(5_000 + 10 * number))
    assert centre.now()[0] == 11


def test_a_number_too_large_for_any_counter_is_none() -> None:
    centre = Centre()
    centre.says(0, 1e30, 5)  # type: ignore[arg-type]
    centre.reboot()
    centre.says(1, 5, 5), centre.says(2, 6, 5)
    assert centre.now() == (1, 0, 1)


def test_each_line_of_a_counter_has_a_total_of_its_own() -> None:
    centre = Centre(every=60)
    totals = {1: [70, 75], 2: [12, 10], "north": [500, 480]}
    for minute, line in enumerate([1, 2, "north"] * 5):
        if minute >= 3:
            totals[line][minute % 2] += 1
        if minute == 8:
            centre.reboot()
        centre.says(60 * minute, *totals[line], line=line)
        assert centre.row().why == ""
    assert centre.now()[:2] == (6, 6)


def test_one_line_that_begins_again_costs_the_others_nothing() -> None:
    centre = Centre(every=60)
    for minute, (line, came) in enumerate([(1, 900), (2, 40), (1, 0), (2, 41), (1, 1), (2, 42)]):
        centre.says(60 * minute, came, line=line)
    assert centre.now()[0] == 3


def test_each_channel_of_a_recorder_has_totals_of_its_own() -> None:
    """The first goes on from what was stored before channels were told apart."""
    centre = Centre(every=60)
    centre.says(0, 100, 90)
    totals = {1: [100, 90], 2: [112, 101], 33: [5, 5]}
    for minute, channel in enumerate([1, 2, 33] * 20, 1):
        totals[channel][minute % 2] += 1
        centre.says(60 * minute, *totals[channel], channel=channel)
        assert centre.row().why == ""
    assert centre.now()[:2] == (29, 29)


def test_a_message_that_says_only_which_channel_it_is_of_is_unreadable() -> None:
    centre = Centre(every=60)
    centre.says(0, 5)
    missing = {"in": "missing", "out": "missing"}
    facts = centre.step(Sample("d", at(60), {"channel": 2, "time": iso(60)}, missing))
    assert told(facts, "coverage") == [{"covered": False, "why": "unreadable"}]


@pytest.mark.parametrize(
    ("first", "second", "in_turn"),
    [
        ((0, 0), (0, 0), True),
        ((100, 90), (110, 95), True),
        ((100, 90), (5000, 4800), True),
        ((0, 0), (300, 280), True),
        ((0, 0), (300, 280), False),
        ((100, 90), (5000, 4800), False),
    ],
)
def test_two_counters_that_report_as_one_are_soon_not_covered(
    first: InOutCount, second: InOutCount, in_turn: bool
) -> None:
    """Nothing in their messages tells them apart."""
    dice = random.Random(7)
    centre, counters = Centre(every=60), [list(first), list(second)]
    whys: list[str | None] = []
    for number in range(600):
        which = number % 2 if in_turn else dice.randrange(2)
        counters[which][dice.randrange(2)] += dice.randrange(2)
        if number == 300:
            centre.reboot()
        facts = centre.says(30 * number, *counters[which])
        whys.append(centre.row().why)
        assert len(told(facts, "coverage")) == (whys[-1:] != whys[-2:-1])
        assert not (whys[-1] == "mixed" and told(facts, "counter-implausible"))
    assert whys.count("") < 60
    assert whys[-100:] == ["mixed"] * 100
    for number in range(600, 700):
        counters[0][0] += 1
        centre.says(30 * number, *counters[0])
    assert centre.row().why == ""


@pytest.mark.parametrize(
    "habits",
    [
        Habits(every=30, begins=900, lost=0.1, twice=0.2, late=0.2),
        Habits(every=30, begins=900, lost=0.1, twice=0.2, late=0.2, away=6, kept=True, timed=True),
        Habits(every=60, begins=900, twice=0.2, late=0.1, restarts=6),
    ],
)
def test_totals_that_come_late_or_twice_are_not_those_of_two_counters(habits: Habits) -> None:
    centre = Centre(every=habits.every)
    for sample in totals(passages(1, 400), habits, 1).samples:
        assert all(body["why"] != "mixed" for body in told(centre.step(sample), "coverage"))


def test_numbers_that_are_new_each_time_are_no_lines() -> None:
    centre = Centre(every=60)
    for minute in range(100):
        centre.says(60 * minute, 5, line=minute)
    assert centre.row().why == "unreadable"
    assert len(centre.row().lines) == MAX_LINES


@pytest.mark.parametrize(
    ("every", "wraps", "both", "counted"),
    [
        pytest.param(
            60,
            WIDE,
            [50, 56, 60, 0, 0, 0, 0, 58, 0, 1, 1],
            10 + 1,
            id="a late total that nobody had seen is known by those beside it",
        ),
        pytest.param(
            60,
            WIDE,
            [0, 1, 2, 0, 0, 0, 0, 2, 0, 0, 1, 1],
            2 + 1,
            id="a single person of before a restart does not come twice",
        ),
        pytest.param(
            600,
            65_536,
            [65_190, 65_198, 65_206, 2, 9, 15],
            16 + 15,
            id="a restart shortly before the roll-over is no roll-over",
        ),
        pytest.param(
            600,
            65_536,
            [65_510, 65_522, 65_533, 8, 19],
            45,
            id="both roll over at once where both were about to",
        ),
        *(
            pytest.param(
                5,
                WIDE,
                [30, 31, *[false] * 15, 31, 31, 31, 32, 33],
                3,
                id=f"a minute of {false} while it starts up is no new beginning",
            )
            for false in (0, 0xFFFF_FFFF)
        ),
        pytest.param(
            5,
            WIDE,
            [*range(15), *[0] * 15, 14, 14, 15, 15],
            15,
            id="a few who were counted before a minute of zeros are not counted again",
        ),
        pytest.param(
            60,
            WIDE,
            [90, 91, 0, 1, 1, 0, 0, 0, 0, 1, 2, 3, 3, 0, 0, 1, 1, 1],
            1 + 1 + 3 + 1,
            id="a second restart is no return to before the first",
        ),
        pytest.param(
            60,
            WIDE,
            [*range(500, 540), 515, 515, 516, 518, 518],
            39 + 3,
            id="an older total that was kept through a power cut brings nobody back",
        ),
    ],
)
def test_what_totals_mean_that_are_the_same_in_both_directions(
    every: int, wraps: int, both: list[int], counted: int
) -> None:
    centre = Centre(counter("d", every, wraps))
    read(centre, *both, every=every)
    assert centre.now()[:2] == (counted, counted)


def story(centre: Centre, readings: Iterable[tuple[float, int, int]]) -> InOutCount:
    """How many have come and left after totals at these seconds."""
    for second, came, left in readings:
        centre.says(second, came, left)
    came, left, _ = centre.now()
    assert came is not None
    assert left is not None
    return came, left


@pytest.mark.parametrize(
    ("every", "wraps", "readings", "counted"),
    [
        pytest.param(
            60,
            256,
            [(0, 224, 224), (60, 168, 224)],
            (200, 0),
            id="as many as can pass in the time roll it over",
        ),
        pytest.param(
            60,
            256,
            [(0, 248, 20), (3600, 248, 20), (7200, 13, 20)],
            (0, 0),
            id="another total of twenty does not show that it kept its power",
        ),
        pytest.param(
            60,
            256,
            [(0, 248, 21), (3600, 248, 21), (7200, 13, 21)],
            (21, 0),
            id="one of twenty-one shows it",
        ),
        pytest.param(
            300,
            WIDE,
            [(0, 224, 20), (1, 224, 20), (301, 243, 20), (601, 1, 20), (901, 4, 20)],
            (23, 20),
            id="nor does it show a roll-over at a common range",
        ),
        pytest.param(
            60,
            WIDE,
            [(0, 224, 0), (60, 244, 0), (120, 1, 0)],
            (20, 0),
            id="a total that has fallen shows nothing",
        ),
        pytest.param(
            60,
            WIDE,
            [(0, 220, 100), (60, 230, 103), (120, 240, 106), (180, 7, 109)],
            (43, 9),
            id="three more than twice the busiest minute roll over in two",
        ),
        pytest.param(
            60,
            WIDE,
            [(0, 150, 100), (60, 187, 103), (120, 224, 106), (180, 1, 109)],
            (107, 9),
            id="exactly an eighth before the end of a common range",
        ),
        pytest.param(
            300,
            WIDE,
            [(0, 65_530, 21), (300, 65_535, 23), (600, 0, 23)],
            (6, 2),
            id="from the last total to nought",
        ),
        pytest.param(
            60, 65_536, [(0, 20, 100), (60, 18, 100), (120, 19, 101)], (1, 1), id="far from every end"
        ),
        pytest.param(
            1,
            WIDE,
            [(0, 5000, 4990), (1, 23, 0), (2, 24, 0)],
            (24, 0),
            id="after a restart as many as can have passed",
        ),
        pytest.param(
            60,
            65_536,
            [(0, 224, 20), (60, 40, 20), (120, 45, 21)],
            (45, 21),
            id="after a restart the most that is no saved total",
        ),
        pytest.param(
            60,
            256,
            [(0, 500, 20), (600, 20, 20), (660, 220, 20)],
            (220, 20),
            id="a crowd of the largest plausible size confirms a restart",
        ),
        pytest.param(
            60,
            WIDE,
            [(0, 10, 10), (100, 250, 10), (160, 250, 10)],
            (240, 0),
            id="the most that can pass in a hundred seconds",
        ),
        pytest.param(
            60,
            WIDE,
            [(0, 100, 20), (60, 4, 0), (120, 100, 20), (180, 20, 0)],
            (0, 0),
            id="a false total is forgotten once the right one is back",
        ),
        pytest.param(
            60,
            10_000,
            [(0, 500, 20), (60, 520, 20), (360, 500, 20), (420, 502, 20), (480, 502, 20)],
            (22, 0),
            id="a leap of twenty was no false total",
        ),
        pytest.param(
            10,
            WIDE,
            [(0, 1000, 20), (10, 998, 20), (20, 999, 20), (30, 1022, 20), (130, 41, 20)],
            (1, 0),
            id="back to before the restart by exactly the usual number",
        ),
        pytest.param(
            60,
            WIDE,
            [(0, 21, 0), (60, 44, 0), (120, 3, 0), (228, 7, 1), (336, 200, 2)],
            (223, 2),
            id="a crowd that only partly explains the total of before",
        ),
        pytest.param(
            60,
            256,
            [(0, 1000, 20), (300, 41, 1), (360, 46, 1)],
            (5, 0),
            id="who nobody passed before may be a saved total",
        ),
        pytest.param(
            60,
            65_536,
            [(0, 20, 20), (60, 23, 21), (120, 21, 20), (180, 1, 2), (240, 21, 20), (300, 21, 20)],
            (24, 21),
            id="a total of before that stays is a crowd after a restart",
        ),
        pytest.param(
            60,
            WIDE,
            [
                (0, 1000, 100),
                (3600, 1004, 101),
                (3660, 1009, 103),
                (3661, 1002, 101),
                (3662, 1005, 101),
                (3722, 1006, 102),
            ],
            (9, 3),
            id="late totals in a burst are no restart before two intervals and half a minute",
        ),
        pytest.param(
            300,
            WIDE,
            [(0, 100, 21), (270, 105, 21), (570, 20, 21), (870, 103, 21), (1170, 104, 21), (1470, 200, 21)],
            (122, 21),
            id="totals of before that grow on after a restart",
        ),
        pytest.param(
            60,
            10_000,
            [(0, 250, 21), (60, 230, 21), (120, 233, 23), (180, 256, 23), (240, 233, 24), (840, 237, 25)],
            (30, 3),
            id="a total that falls back to where it was restarted",
        ),
        pytest.param(
            10,
            10_000,
            [(0, 20, 20), (9, 22, 20), (19, 27, 20), (29, 0, 1), (30, 22, 20), (39, 24, 20)],
            (31, 20),
            id="nine tenths of an interval later it is the next reading",
        ),
        pytest.param(
            60,
            10_000,
            [
                (0, 500, 100),
                (60, 500, 100),
                (120, 502, 100),
                (180, 499, 100),
                (181, 500, 100),
                (235, 200, 0),
            ],
            (2, 0),
            id="not even one who was counted before a restart is counted again",
        ),
        pytest.param(
            60,
            65_536,
            [
                (0, 21, 21),
                (3600, 41, 1),
                (4200, 43, 2),
                (4500, 23, 2),
                (4560, 25, 2),
                (4620, 0, 2),
                (4680, 46, 2),
            ],
            (27, 5),
            id="three more than before the restart are among the negligible",
        ),
        pytest.param(
            60,
            256,
            [(0, 65_530, 0), (60, 253, 1), (3660, 37, 1), (7260, 42, 1), (7314, 43, 1), (7315, 66, 1)],
            (69, 0),
            id="three more than twice the mean roll over",
        ),
        pytest.param(
            300,
            256,
            [
                (0, 65_530, 65_530),
                (270, 253, 250),
                (570, 37, 250),
                (571, 40, 250),
                (871, 0, 250),
                (1171, 4, 250),
                (1471, 7, 250),
            ],
            (50, 0),
            id="three who came since the last reading are no late total",
        ),
        pytest.param(
            10,
            WIDE,
            [
                (0, 65_530, 20),
                (3600, 65_534, 22),
                (3610, 65_530, 20),
                (3620, 65_535, 20),
                (3629, 65_555, 20),
            ],
            (29, 2),
            id="who passed between two unconfirmed totals",
        ),
        pytest.param(
            10,
            256,
            [
                (0, 500, 0),
                (10, 244, 1),
                (20, 245, 1),
                (21, 244, 1),
                (31, 224, 1),
                (41, 8, 1),
                (51, 54, 1),
                (52, 57, 1),
            ],
            (69, 0),
            id="the busiest share of four intervals rolls over",
        ),
        pytest.param(
            60,
            65_536,
            [
                (0, 65_530, 20),
                (3600, 17, 20),
                (3660, 37, 20),
                (3720, 18, 20),
                (3780, 22, 20),
                (3834, 22, 21),
                (3894, 25, 22),
            ],
            (62, 42),
            id="a second restart after a roll-over",
        ),
        pytest.param(
            60,
            WIDE,
            [(0, 21, 0), (60, 19, 0), (114, 19, 1), (174, 41, 1)],
            (41, 1),
            id="a crowd of the largest usual size after a restart",
        ),
        pytest.param(
            300,
            256,
            [
                (0, 224, 224),
                (300, 226, 224),
                (600, 227, 224),
                (900, 232, 224),
                (1200, 236, 224),
                (4200, 3, 2),
                (4500, 26, 2),
            ],
            (38, 2),
            id="in a long silence no more roll over than in four intervals",
        ),
        pytest.param(
            300,
            256,
            [
                (0, 224, 0),
                (300, 229, 2),
                (600, 230, 4),
                (900, 231, 6),
                (1200, 231, 8),
                (1500, 233, 9),
                (1800, 234, 11),
                (2340, 19, 11),
            ],
            (10, 11),
            id="more than usual in the time since the last reading do not roll over",
        ),
        pytest.param(
            60,
            WIDE,
            [
                (0, 9990, 20),
                (60, 9994, 20),
                (120, 9997, 22),
                (180, 9995, 21),
                (240, 9998, 21),
                (300, 9997, 21),
                (360, 0, 21),
                (960, 5, 21),
            ],
            (12, 2),
            id="who passed between unconfirmed totals of which one fell is not known",
        ),
        pytest.param(
            60,
            WIDE,
            [
                (0, 100, 0),
                (60, 141, 0),
                (120, 181, 0),
                (180, 103, 0),
                (240, 107, 0),
                (540, 128, 0),
                (600, 148, 0),
                (660, 107, 0),
            ],
            (209, 0),
            id="only the last trusted total may have been too high",
        ),
    ],
)
def test_what_totals_at_the_limits_mean(
    every: float, wraps: int, readings: list[tuple[float, int, int]], counted: InOutCount
) -> None:
    assert story(Centre(counter("d", every, wraps)), readings) == counted


@pytest.mark.parametrize(("people", "is_told"), [(240, False), (241, True)])
def test_only_a_leap_beyond_what_can_have_passed_is_told(people: int, is_told: bool) -> None:
    centre = Centre(every=60)
    centre.says(0, 10, 10)
    assert bool(told(centre.says(100, 10 + people, 10), "counter-implausible")) is is_told


@pytest.mark.parametrize(
    ("trusted", "measured", "counted"),
    [(0, 0, 3), (0, 1, 3), (0.001, 0, 0), (86_399, 0, 0), (86_400, 0, 3)],
)
def test_a_total_is_late_by_its_own_time_within_a_day(
    trusted: float, measured: float, counted: int
) -> None:
    centre = Centre()
    centre.says(0, 1000, time=iso(trusted))
    centre.says(60, 0, time=iso(measured)), centre.says(61, 3, time=iso(measured))
    assert centre.now()[0] == counted


@pytest.mark.parametrize(("second", "counted"), [(6 * 3600, 12), (6 * 3600 + 1, 12 + 105 - 2)])
def test_a_total_of_before_a_restart_is_late_until_the_end_of_the_sixth_hour(
    second: float, counted: int
) -> None:
    centre = Centre(every=60)
    for minute, total in enumerate([100, 105, 110, 0, 0, 2]):
        centre.says(minute * 60, total)
    restarted = centre.row().restarted_at
    assert restarted is not None
    began = restarted.mono_ns / 1e9 - at(0).mono_ns / 1e9
    centre.says(began + second - 60, 2), centre.says(began + second, 105)
    assert centre.now()[0] == counted


def test_people_come_without_a_time_where_the_clock_was_put_back_meanwhile() -> None:
    centre = Centre()
    centre.says(0, 5)
    later = at(300)
    put_back = Stamp(at(0).wall_ms, later.mono_ns, later.boot, later.clock)
    (crossing,) = told(centre.step(Sample("d", put_back, {"in": 9, "out": 0})), "crossing")
    assert crossing == {"in": 4, "out": 0}


def test_of_totals_before_restarts_the_last_ninety_six_are_remembered() -> None:
    centre = Centre(every=60)
    minute, sizes = 0, []
    for _ in range(4):
        for total in (1000, *range(MAX_REMEMBERED_TOTALS + 1)):
            centre.says(60 * minute, total)
            minute += 1
        sizes.append(len(centre.row().totals_before_restart))
    assert sizes[-1] == 2 * MAX_REMEMBERED_TOTALS


def test_one_total_of_two_is_not_yet_where_counting_begins() -> None:
    centre = Centre()
    centre.step(Sample("d", at(0), {"in": 5}))
    assert centre.row().total is None
    centre.says(1, 7, 3)
    assert centre.row().total == (7, 3)


def test_a_counter_that_is_back_where_it_was_takes_nobody_away() -> None:
    """Three were counted while it seemed to have begun anew; nobody has passed by the total of before."""
    centre = Centre(every=5)
    read(centre, 30, 31, *[0] * 15, 3, *[31] * 15, every=5)
    assert centre.now()[:2] == (1 + 3, 1 + 3)
