"""Alarm quality by ISA-18.2, against examples that were worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.capabilities.safety.services.alarm_quality import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    AlarmQuality,
    AnnunciatedAlarm,
    Flood,
    Verdict,
    alarm_quality,
    busiest_window,
    find_floods,
)
from gateway.model import Hazard

MONTH_MS = 30 * DAY_MS


def alarm(
    minute: float, rule: str = "smoke/smoke", answered_s: float | None = 60, stood_min: float | None = 5
) -> AnnunciatedAlarm:
    """Raised so many minutes after the beginning of the month."""
    raised = round(minute * MINUTE_MS)
    cleared = None if stood_min is None else raised + round(stood_min * MINUTE_MS)
    device, _, point = rule.partition("/")
    return AnnunciatedAlarm(rule, device, point, Hazard.FIRE, raised, answered_s, cleared)


def quality(alarms: Sequence[AnnunciatedAlarm], span: int = MONTH_MS, operators: float = 1) -> AlarmQuality:
    return alarm_quality(alarms, 0, span, operators, answer_within_s=240)


@pytest.mark.parametrize(
    ("alarms", "hours", "operators", "per_hour", "verdict"),
    [
        # 144 in a day of one operator are 144 / 24 = 6: acceptable, just.
        (144, 24, 1, 6.0, Verdict.GOOD),
        (145, 24, 1, 145 / 24, Verdict.FAIR),
        # 288 in a day are 12 an hour, the most that one can manage; two share them: 6 each.
        (288, 24, 1, 12.0, Verdict.FAIR),
        (289, 24, 1, 289 / 24, Verdict.POOR),
        (288, 24, 2, 6.0, Verdict.GOOD),
        (0, 720, 1, 0.0, Verdict.GOOD),
        # Of less than a day nothing is said.
        (300, 23, 1, 300 / 23, Verdict.UNKNOWN),
        # One and a half people: 1080 in thirty days are 1080 / 720 / 1.5 = 1.
        (1080, 720, 1.5, 1.0, Verdict.GOOD),
    ],
)
def test_alarms_an_hour_and_operator(
    alarms: int, hours: int, operators: float, per_hour: float, verdict: Verdict
) -> None:
    step = hours * 60 / max(1, alarms)
    found = quality([alarm(n * step) for n in range(alarms)], hours * HOUR_MS, operators)
    assert (found.alarms, found.rate_verdict) == (alarms, verdict)
    assert found.per_hour == pytest.approx(per_hour)


@pytest.mark.parametrize(
    ("minutes", "most", "first"),
    [
        ([], 0, None),
        ([3], 1, 3),
        # Ten minutes are half open: what comes ten minutes later is not within them.
        ([0, 10], 1, 0),
        ([0, 9.99], 2, 0),
        # 0 4 8 | 4 8 12 | 8 12 | and 30 31 32 33: four from minute 30 on.
        ([0, 4, 8, 12, 30, 31, 32, 33], 4, 30),
        ([5, 5, 5], 3, 5),
    ],
)
def test_the_peak_is_any_ten_minutes_not_those_of_the_clock(
    minutes: list[float], most: int, first: float | None
) -> None:
    times = [round(minute * MINUTE_MS) for minute in minutes]
    found = busiest_window(times, 10 * MINUTE_MS)
    assert found == (most, None if first is None else round(first * MINUTE_MS))


def test_the_peak_is_good_up_to_ten() -> None:
    ten, eleven = (quality([alarm(100 + n / 2) for n in range(count)]) for count in (10, 11))
    assert (ten.peak, ten.peak_verdict, ten.floods) == (10, Verdict.GOOD, ())
    assert (eleven.peak, eleven.peak_verdict, len(eleven.floods)) == (11, Verdict.POOR, 1)
    assert eleven.peak_at == 100 * MINUTE_MS


@pytest.mark.parametrize(
    ("minutes", "floods"),
    [
        # Ten in nine minutes are none.
        (range(10), []),
        # Eleven, one each half minute from 100 to 105. The fifth of the last is at 103: ten minutes later
        # only four are left, so it ends at 113.
        ([100 + n / 2 for n in range(11)], [(100, 113, 11)]),
        # It goes on for as long as five come in ten minutes: eleven at 0, then one each two minutes until
        # 40. The last five are those at 32, 34, 36, 38 and 40: it ends at 42.
        ([0] * 11 + list(range(2, 41, 2)), [(0, 42, 31)]),
        # Two floods with an hour between them.
        ([0] * 12 + [60] * 13, [(0, 10, 12), (60, 70, 13)]),
        # Cut off at the end of the time, which is minute 120.
        ([115] * 11, [(115, 120, 11)]),
    ],
)
def test_a_flood_begins_with_more_than_ten_and_ends_with_fewer_than_five(
    minutes: Sequence[float], floods: list[tuple[float, float, int]]
) -> None:
    times = [round(minute * MINUTE_MS) for minute in minutes]
    expected = tuple(Flood(round(a * MINUTE_MS), round(b * MINUTE_MS), n) for a, b, n in floods)
    assert find_floods(times, 120 * MINUTE_MS) == expected


def test_time_in_flood_is_less_than_a_hundredth() -> None:
    # A flood of 13 minutes: of 24 hours 13 / 1440 = 0.90 %, of 20 hours 13 / 1200 = 1.08 %.
    flood = [alarm(100 + n / 2) for n in range(11)]
    day, less = quality(flood, 24 * HOUR_MS), quality(flood, 20 * HOUR_MS)
    assert day.flood_share == pytest.approx(13 / 1440)
    assert (day.flood_verdict, less.flood_verdict) == (Verdict.GOOD, Verdict.POOR)


def test_the_ten_most_frequent_and_their_share() -> None:
    # Rule n of twelve comes n times: 1 + … + 12 = 78. The top ten come 3 to 12 times: 75 of 78.
    alarms = [alarm(n * 600 + k * 20, f"d{n}/x") for n in range(1, 13) for k in range(n)]
    found = quality(alarms)
    assert [each.times for each in found.top] == [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]
    assert found.top[0].alarm.rule == "d12/x"
    assert found.top[0].share == pytest.approx(12 / 78)
    assert found.top_share == pytest.approx(75 / 78)
    assert found.top_verdict is Verdict.UNKNOWN  # ten of so few are always many


def test_the_top_ten_are_good_up_to_a_twentieth() -> None:
    # 200 alarms of 200 rules: ten are exactly 5 %. One that comes twice more: 12 of 202 are 5.9 %.
    each_once = [alarm(n * 60, f"d{n}/x") for n in range(200)]
    assert quality(each_once).top_verdict is Verdict.GOOD
    assert quality([*each_once, alarm(20_000, "d7/x"), alarm(30_000, "d7/x")]).top_verdict is Verdict.POOR


@pytest.mark.parametrize(
    ("minutes", "repeats"),
    [
        ([0, 0.4, 0.8], [3]),
        # The third comes a minute after the first: not within one.
        ([0, 0.5, 1], []),
        ([0, 0.9, 1.2, 1.8, 30], [3]),
        ([0, 60, 120], []),
    ],
)
def test_three_within_a_minute_chatter(minutes: list[float], repeats: list[int]) -> None:
    others = [alarm(0.1, "a/x"), alarm(0.2, "b/x"), alarm(0.3, "c/x")]
    found = quality([*(alarm(minute, "fridge/link") for minute in minutes), *others])
    assert [each.times for each in found.chattering] == repeats
    assert {each.alarm.rule for each in found.chattering} <= {"fridge/link"}
    assert found.chattering_verdict is (Verdict.POOR if repeats else Verdict.GOOD)


def test_what_stands_for_more_than_a_day_is_stale() -> None:
    hour = 60.0
    alarms = [
        alarm(0, "day/x", stood_min=24 * hour),  # a day exactly
        alarm(0, "longer/x", stood_min=24 * hour + 1),
        alarm(-48 * hour, "before/x", stood_min=72 * hour),  # raised two days before the month
        alarm(-72 * hour, "over/x", stood_min=48 * hour),  # over before the month
        alarm(29 * 24 * hour - 1, "open/x", stood_min=None),  # a day and a minute before the end
        alarm(29 * 24 * hour + 1, "new/x", stood_min=None),
    ]
    found = quality(alarms)
    assert [(each.alarm.rule, each.stood_ms / HOUR_MS) for each in found.stale] == [
        ("before/x", 72), ("longer/x", pytest.approx(24 + 1 / 60)), ("open/x", pytest.approx(24 + 1 / 60)),
    ]  # fmt: skip
    assert found.alarms == 4  # the two of before are no alarms of this month
    # `before` is stale until hour 24 of the month, `longer` from hour 24 for a minute: never two.
    assert (found.most_stale, found.stale_verdict) == (1, Verdict.FAIR)


@pytest.mark.parametrize(("count", "verdict"), [(0, "good"), (4, "fair"), (5, "poor")])
def test_fewer_than_five_are_stale_at_the_same_time(count: int, verdict: str) -> None:
    found = quality([alarm(n, f"d{n}/x", stood_min=3000) for n in range(count)])
    assert (found.most_stale, found.stale_verdict) == (count, verdict)


@pytest.mark.parametrize(
    ("answers", "median", "slowest", "within", "unanswered", "verdict"),
    [
        ([], None, None, 0, 0, "unknown"),
        ([None], None, None, 0, 1, "poor"),
        # 10 20 30: the middle one is 20.
        ([30, 10, 20], 20, 30, 3, 0, "good"),
        # An even number: (100 + 240) / 2 = 170; 241 s are more than four minutes.
        ([10, 100, 240, 241], 170, 241, 3, 0, "poor"),
        # One in ten too late is fair, two are not.
        ([5] * 9 + [300], 5, 300, 9, 0, "fair"),
        ([5] * 9 + [None], 5, 5, 9, 1, "fair"),
        ([5] * 8 + [300, None], 5, 300, 8, 1, "poor"),
    ],
)
def test_how_long_people_took(
    answers: list[float | None],
    median: float | None,
    slowest: float | None,
    within: int,
    unanswered: int,
    verdict: str,
) -> None:
    found = quality([alarm(n * 60, answered_s=answer) for n, answer in enumerate(answers)])
    times = found.answers
    assert (found.unanswered, found.answer_verdict) == (unanswered, verdict)
    assert (times and times.median, times and times.slowest) == (median, slowest)
    assert (times.within_target if times else 0) == within


def test_a_month_without_alarms_is_a_good_one() -> None:
    found = quality([])
    assert (found.per_hour, found.peak, found.peak_at, found.top, found.stale) == (0, 0, None, (), ())
    verdicts = {
        found.rate_verdict, found.peak_verdict, found.flood_verdict, found.chattering_verdict,
        found.stale_verdict,
    }  # fmt: skip
    assert verdicts == {Verdict.GOOD}


def test_a_hundred_thousand_alarms_are_not_too_many() -> None:
    found = quality([alarm(n * 0.432, f"d{n % 1000}/x") for n in range(100_000)])
    assert found.per_hour == pytest.approx(100_000 / 720)
    # One each 25.92 s: 23.1 in ten minutes.
    assert found.peak == 24
    assert found.flood_share == pytest.approx(1, abs=1e-4)
