"""What is a count, how many people are plausible, and what is stored of a counter."""

import math
from typing import Any

import msgspec
import pytest

from gateway.capabilities.visitors.services import Counter, Visitors
from gateway.capabilities.visitors.services.counters import (
    CountedLine,
    CounterProperties,
    UnconfirmedTotal,
    count_value,
    counts_visitors,
    has_impossible_total,
    max_plausible_count,
    with_line_of,
    with_trusted_total,
)
from gateway.model import Point, Sample
from tests.gateway.capabilities.visitors.services.kit import at, counter, iso, wall
from tests.gateway.services.kit import device

LARGEST = 9_007_199_254_740_991
"""2⁵³ − 1."""


@pytest.mark.parametrize(
    ("value", "count"),
    [
        *((number, int(number)) for number in (0, "0", 7, "007", 3.0, LARGEST, float(LARGEST), "0" * 16)),
        (str(LARGEST), LARGEST),
        *(
            (other, None)
            for other in (LARGEST + 1, float(LARGEST + 1), str(LARGEST + 1), "0" * 17, -1, -0.5)
        ),
        *(
            (other, None)
            for other in (0.5, 3.5, True, False, math.nan, math.inf, None, "", "7.0", "-1", "²")
        ),
        ([7], None),
    ],
)
def test_a_count_is_a_number_of_people_that_a_float_can_tell_from_the_next(
    value: object, count: int | None
) -> None:
    found = count_value(value)
    assert (found, type(found)) == (count, type(count))


@pytest.mark.parametrize(
    ("seconds", "people"),
    [(0, 20), (1, 23), (60, 200), (61, 201), (3660, 3800), (86_400, 86_540), (None, 86_540)],
)
def test_twenty_people_and_three_a_second_for_a_minute_and_one_after_it(
    seconds: float | None, people: float
) -> None:
    assert max_plausible_count(seconds) == people


@pytest.mark.parametrize(
    ("points", "counts"),
    [
        (("in", "out"), True),
        (("in",), True),
        (("out",), True),
        (("period_in", "period_start"), True),
        (("period_out",), True),
        (("occupancy",), False),
        (("period_start", "period_end"), False),
        ((), False),
    ],
)
def test_a_device_that_counts_passages_is_a_counter(points: tuple[str, ...], counts: bool) -> None:
    assert counts_visitors(counter("d", points=points)) == counts
    assert not counts_visitors(device("d", "camera", **dict.fromkeys(points, Point())))


@pytest.mark.parametrize(
    ("points", "totals", "periods"),
    [
        (("in", "out"), (True, True), (True, True)),
        (("in",), (True, False), (True, True)),
        (("out",), (False, True), (True, True)),
        (("period_in", "period_out"), (False, False), (True, True)),
        (("period_in",), (False, False), (True, False)),
        (("period_out",), (False, False), (False, True)),
    ],
)
def test_a_light_barrier_in_a_lane_has_one_direction(
    points: tuple[str, ...], totals: tuple[bool, bool], periods: tuple[bool, bool]
) -> None:
    found = CounterProperties.from_device(counter("d", 30, 10_000, points))
    assert (found.has_in_out, found.has_period_in_out, found.interval_s) == (totals, periods, 30)
    assert found.wraps == tuple(10_000 if has else 2**32 for has in totals)


@pytest.mark.parametrize(
    ("values", "bad", "impossible"),
    [
        ({"in": 7, "out": 0}, {}, False),
        ({"in": 7}, {}, False),
        ({"in": 7}, {"out": "missing"}, False),
        ({"in": 7}, {"out": "not-a-number"}, True),
        ({"out": 7}, {"in": "out-of-range"}, True),
        ({"in": -1, "out": 0}, {}, True),
        ({"out": 0}, {"in": "wrong-type"}, True),
        ({"in": 1, "out": 0.5}, {}, True),
        ({}, {}, False),
    ],
)
def test_a_total_that_is_no_count_is_told_from_one_that_is_not_there(
    values: dict[str, Any], bad: dict[str, str], impossible: bool
) -> None:
    assert has_impossible_total(Sample("d", at(0), values, bad)) == impossible


def test_a_stored_counter_leaves_out_what_is_as_usual() -> None:
    stored = {"type": "counter", "at": msgspec.to_builtins(at(0))}
    found = msgspec.convert(stored, Visitors.row)
    assert isinstance(found, Counter)
    assert (found.came, found.left, found.door_balance, found.missing_reported_until_s) == (0, 0, (0, 0), 0)
    assert (found.heard, found.why, found.line, found.total) == (False, None, "", None)
    assert msgspec.to_builtins(found) == stored
    stamp = msgspec.to_builtins(at(0))
    doubt = msgspec.convert([[1, 0], [1, 0], stamp, stamp], UnconfirmedTotal)
    assert (doubt.readings, doubt.is_implausible) == (1, False)
    assert CountedLine() == msgspec.convert([], CountedLine)


def test_the_last_48_totals_are_remembered_and_when_the_newest_was_measured() -> None:
    known = Counter(at=at(0))
    for n in range(60):
        known = with_trusted_total(known, (n, 0), Sample("d", at(n), {"time": iso(n)}))
    assert known.recent_totals == tuple((n, 0) for n in range(12, 60))
    assert (known.total, known.at, known.measured_at_ms) == ((59, 0), at(59), wall(59))


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, ""),
        ({"line": 7}, "7"),
        ({"channel": 1}, ""),
        ({"channel": "1", "line": 7}, "7"),
        ({"channel": 2}, "2/"),
        ({"channel": 2, "line": 7}, "2/7"),
        ({"channel": 33, "line": "north"}, "33/north"),
        ({"sensor": "00:6E", "line": 1000}, "00:6E/1000"),
        ({"sensor": "00:6E"}, "00:6E/"),
        ({"sensor": "1", "channel": 2, "line": 3}, "1/2/3"),
    ],
)
def test_a_line_has_the_name_of_its_sensor_and_of_its_channel_but_the_first(
    values: dict[str, Any], name: str
) -> None:
    found = with_line_of(Sample("d", at(1), values), Counter(at=at(0)))
    assert found is not None
    assert found.line == name


def test_a_counter_has_33_lines_at_most() -> None:
    """The one that it reported last, and 32 others that have counted."""
    known: Counter | None = Counter(at=at(0))
    for line in range(33):
        assert known is not None
        known = with_line_of(Sample("d", at(line), {"line": line}), known)
        assert known is not None
        known = with_trusted_total(known, (line, 0), Sample("d", at(line)))
    assert known is not None
    assert (known.line, len(known.lines), known.total) == ("32", 32, (32, 0))
    assert with_line_of(Sample("d", at(50), {"line": 33}), known) is None
    back = with_line_of(Sample("d", at(51), {"line": 5}), known)
    assert back is not None
    assert (back.line, back.total, len(back.lines)) == ("5", (5, 0), 32)
    assert "5" not in back.lines
