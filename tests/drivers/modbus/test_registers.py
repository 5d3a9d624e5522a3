from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from drivers.modbus.registers import (
    MAX_REQUEST_COUNT,
    SILENCE_KINDS,
    Join,
    ReadingPlan,
    RegisterPoint,
    Registers,
    Request,
    Table,
    Type,
    WriteAction,
    decode,
    format_registers,
    parse_example,
    plan_requests,
    points_within,
    split_request,
)
from gateway.model import FailureKind, ReadFailed
from gateway.wire.codec import convert_values

points = st.builds(
    RegisterPoint,
    address=st.one_of(st.integers(0, 300), st.integers(0, 60_000)),
    table=st.sampled_from(get_args(Table)),
    type=st.sampled_from(get_args(Type)),
    order=st.sampled_from(("ABCD", "CDAB", "BADC", "DCBA")),
    index=st.integers(1, 20),
    stride=st.integers(0, 200),
)


def cells(requests: list[tuple[Table, int, int]]) -> set[tuple[Table, int]]:
    return {(table, first + i) for table, first, count in requests for i in range(count)}


def needs(wanted: list[RegisterPoint]) -> set[tuple[Table, int]]:
    return {(point.table, point.first + i) for point in wanted for i in range(point.width)}


@given(st.lists(points, max_size=20), st.lists(st.sampled_from(get_args(Join)), min_size=20, max_size=20))
def test_a_plan_leaves_alone_what_its_points_forbid(wanted: list[RegisterPoint], joins: list[Join]) -> None:
    wanted = [replace(point, join=join) for point, join in zip(wanted, joins, strict=False)]
    requests = plan_requests(wanted)
    needed = needs(wanted)
    for point in wanted:
        assert any(needs([point]) <= set(cells([request])) for request in requests)
        beside = {(point.table, point.first - 1), (point.table, point.first + point.width)}
        for request in requests:
            if point.join != "near" and needs([point]) <= cells([request]):
                assert beside & cells([request]) <= needed


def test_what_lies_beside_some_points_is_not_read() -> None:
    """A device may refuse holes, or any range at all (KEBA P30)."""
    near = [RegisterPoint(address=0), RegisterPoint(address=2), RegisterPoint(address=4)]
    assert plan_requests(near) == [("holding", 0, 5)]
    strict = [near[0], RegisterPoint(address=2, join="next"), RegisterPoint(address=3), near[2]]
    assert plan_requests(strict) == [("holding", 0, 1), ("holding", 2, 3)]
    alone = [RegisterPoint(address=at, type="uint32", join="never") for at in (0, 2, 4)]
    assert plan_requests(alone) == [("holding", 0, 2), ("holding", 2, 2), ("holding", 4, 2)]
    bits = [RegisterPoint(address=7, bit=bit, join="never") for bit in range(4)]
    assert plan_requests(bits) == [("holding", 7, 1)]


@given(st.lists(points, max_size=40), st.integers(0, 20))
def test_a_plan_reads_every_point_whole_and_little_else(wanted: list[RegisterPoint], gap: int) -> None:
    requests = plan_requests(wanted, gap)
    whole = [set(cells([request])) for request in requests]
    for point in wanted:
        assert any(needs([point]) <= request for request in whole)
    needed = needs(wanted)
    for table, first, count in requests:
        assert 1 <= count <= MAX_REQUEST_COUNT[table]
        assert (table, first) in needed
        assert (table, first + count - 1) in needed
        lonely = 0
        for address in range(first, first + count):
            lonely = 0 if (table, address) in needed else lonely + 1
            assert lonely <= gap
    # Neighbours that fit together are together.
    for (table, first, count), (other, begin, more) in itertools.pairwise(requests):
        end = max(begin + more, first + count)
        assert table != other or begin > first + count + gap or end - first > MAX_REQUEST_COUNT[table]


@given(st.lists(points, min_size=1, max_size=20))
def test_halving_a_refused_request_keeps_all_its_points_and_ends(wanted: list[RegisterPoint]) -> None:
    requests = plan_requests(wanted)
    for _ in range(40):
        halved = [part for request in requests for part in split_request(wanted, request)]
        assert needs(wanted) <= cells(halved)
        if halved == requests:
            break
        requests = halved
    for request in requests:
        assert (
            len(
                {point.first for point in wanted if point.table == request[0] and point.first == request[1]}
            )
            == 1
        )


@pytest.mark.parametrize(
    ("kind", "words", "value"),
    [
        ("uint16", [0xFFFE], 65534),
        ("int16", [0xFFFE], -2),
        ("uint32", [0x0001, 0x0002], 65538),
        ("int32", [0xFFFF, 0xFFFE], -2),
        ("uint64", [0, 1, 0, 2], 0x1_0000_0002),
        ("int64", [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE], -2),
        ("float32", [0x41BE, 0x6666], pytest.approx(23.8)),
        ("float64", [0x4037, 0xCCCC, 0xCCCC, 0xCCCD], 23.8),
    ],
)
def test_the_types(kind: Type, words: list[int], value: float) -> None:
    assert decode({"x": RegisterPoint(address=3, type=kind)}, parse_example({"holding": {"3": words}})) == {
        "x": value
    }


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("ABCD", [0x1122, 0x3344]),
        ("CDAB", [0x3344, 0x1122]),
        ("BADC", [0x2211, 0x4433]),
        ("DCBA", [0x4433, 0x2211]),
    ],
)
def test_the_word_orders(order: Any, words: list[int]) -> None:
    point = RegisterPoint(address=0, type="uint32", order=order)
    assert decode({"x": point}, {"holding": dict(enumerate(words))}) == {"x": 0x11223344}


@pytest.mark.parametrize(
    ("kind", "words"),
    [("float32", [0x7FC0, 0]), ("float32", [0x7F80, 0]), ("float32", [0xFF80, 0]),
     ("float32", [0xFFFF, 0xFFFF]), ("float64", [0x7FF8, 0, 0, 0]), ("float64", [0xFFF0, 0, 0, 0])],
)  # fmt: skip
def test_a_number_that_is_none_is_left_out(kind: Type, words: list[int]) -> None:
    wanted = {"x": RegisterPoint(address=0, type=kind, scale=0.1, max=100), "y": RegisterPoint(address=9)}
    values = decode(wanted, {"holding": {**dict(enumerate(words)), 9: 5}})
    assert convert_values(wanted, values) == ({"y": 5}, {"x": "not-a-number"})


@pytest.mark.parametrize(
    ("order", "kind", "words", "value"),
    [
        # 123456.00 as makers' application notes print it in all four orders.
        ("ABCD", "float32", [0x47F1, 0x2000], 123456.0), ("CDAB", "float32", [0x2000, 0x47F1], 123456.0),
        ("BADC", "float32", [0xF147, 0x0020], 123456.0), ("DCBA", "float32", [0x0020, 0xF147], 123456.0),
        ("CDAB", "int32", [0x1DC0, 0xFFFE], -123456), ("DCBA", "int32", [0xC01D, 0xFEFF], -123456),
        ("CDAB", "int64", [0x8888, 0x6666, 0x4444, 0x2222], 0x2222444466668888),
        ("BADC", "uint64", [0x2211, 0x4433, 0x6655, 0x8877], 0x1122334455667788),
        ("DCBA", "float64", [0x0000, 0x0000, 0x0000, 0xF03F], 1.0),
        ("BADC", "uint16", [0x3412], 0x1234), ("DCBA", "int16", [0xFEFF], -2),
    ],
)  # fmt: skip
def test_published_numbers_in_every_order(order: Any, kind: Type, words: list[int], value: float) -> None:
    point = RegisterPoint(address=0, type=kind, order=order)
    assert decode({"x": point}, {"holding": dict(enumerate(words))}) == {"x": value}


@given(
    st.dictionaries(st.text(max_size=3), points, max_size=8),
    st.dictionaries(
        st.sampled_from(get_args(Table)),
        st.dictionaries(st.integers(0, 400), st.integers(0, 0xFFFF)),
        max_size=4,
    ),
)
def test_decoding_never_raises(wanted: dict[str, RegisterPoint], raw: dict[Table, dict[int, int]]) -> None:
    values = decode(wanted, raw)
    assert set(values) == {
        name
        for name, point in wanted.items()
        if all(address in raw.get(table, {}) for table, address in needs([point]))
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"holdings": {"0": [1]}},
        {"holding": [1, 2]},
        {"holding": {"0": 1}},
        {"holding": {"0": [65536]}},
        {"holding": {"0": [-1]}},
        {"holding": {"first": [1]}},
    ],
)
def test_an_example_that_is_none_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Expected|Invalid"):
        parse_example(fields)


def test_copies_of_a_point_are_a_stride_apart() -> None:
    third = RegisterPoint(address=10, index=3, stride=2)
    assert decode({"x": third}, {"holding": {12: 1, 13: 2, 14: 3, 15: 4}}) == {"x": 3}


def test_a_point_that_was_not_read_costs_no_other() -> None:
    wanted = {
        "missing": RegisterPoint(address=9),
        "half": RegisterPoint(address=2, type="uint32"),
        "open": RegisterPoint(address=0, table="coil"),
        "flow": RegisterPoint(address=0, type="int16"),
        "level": RegisterPoint(address=1),
    }
    raw: Registers = {"holding": {0: 0xFFFF, 1: 7, 2: 1}, "coil": {0: 1}}
    assert decode(wanted, raw) == {"open": True, "flow": -1, "level": 7}


@pytest.mark.parametrize(
    ("point", "is_boolean"),
    [
        (RegisterPoint(address=0), False),
        (RegisterPoint(address=0, bit=3), True),
        (RegisterPoint(address=0, table="coil"), True),
        (RegisterPoint(address=0, table="discrete"), True),
        (RegisterPoint(address=0, table="input"), False),
    ],
)
def test_coils_and_single_bits_are_booleans(point: RegisterPoint, is_boolean: bool) -> None:
    assert point.is_boolean == is_boolean


def test_registers_are_shown_in_decimal_and_hexadecimal() -> None:
    assert (
        format_registers({"holding": {1: 65436, 0: 7}})
        == "holding 0: 7 (0x0007)\nholding 1: 65436 (0xFF9C)"
    )


def row(count: int, first: int = 0, **fields: Any) -> list[RegisterPoint]:
    return [RegisterPoint(address=first + n, **fields) for n in range(count)]


def test_a_request_is_as_long_as_the_specification_allows() -> None:
    assert plan_requests(row(125)) == [("holding", 0, 125)]
    assert plan_requests(row(126)) == [("holding", 0, 125), ("holding", 125, 1)]
    assert plan_requests(row(2000, table="coil")) == [("coil", 0, 2000)]
    assert plan_requests(row(2001, table="discrete")) == [("discrete", 0, 2000), ("discrete", 2000, 1)]
    inside = [RegisterPoint(address=0, type="uint64"), RegisterPoint(address=1), RegisterPoint(address=4)]
    assert plan_requests(inside) == [("holding", 0, 5)]
    assert plan_requests(inside[:2]) == [("holding", 0, 4)]


def test_holes_of_8_registers_are_read_over() -> None:
    assert plan_requests([*row(1), *row(1, 9)]) == [("holding", 0, 10)]
    assert plan_requests([*row(1), *row(1, 10)]) == [("holding", 0, 1), ("holding", 10, 1)]


def test_a_request_is_split_in_the_middle_of_its_points() -> None:
    assert split_request(row(2), ("holding", 0, 2)) == [("holding", 0, 1), ("holding", 1, 1)]
    assert split_request(row(5), ("holding", 0, 5)) == [("holding", 0, 2), ("holding", 2, 3)]
    apart = [RegisterPoint(address=at) for at in (0, 2, 10, 12)]
    assert split_request(apart, ("holding", 0, 13)) == holding(1, 0, 2, 10, 12), "without the holes"
    assert split_request(row(5), ("holding", 1, 2)) == [("holding", 1, 1), ("holding", 2, 1)]
    assert points_within([*row(5), *row(5, table="input")], ("holding", 1, 2)) == row(2, 1)


TIMEOUT = ReadFailed("modbus-timeout", FailureKind.TIMEOUT)
WRONG_LENGTH = ReadFailed("reply-length", FailureKind.DAMAGED)


def refusal(code: int) -> ReadFailed:
    return ReadFailed("modbus-exception", FailureKind.REFUSED, code=code)


class Slave:
    """A device that answers as told, polled as a bus does it: a poll is over at the first timeout."""

    def __init__(
        self, points: list[RegisterPoint], answer: Callable[[Request], ReadFailed | None] = lambda _: None
    ) -> None:
        self.plan = ReadingPlan(points)
        self.answer = answer
        self.is_read = False
        """Whether the last poll was a reading, be it of a part."""

    def poll(self) -> list[Request]:
        """The requests of one poll, in order."""
        asked: list[Request] = []
        for request in self.plan.begin_poll():
            asked.append(request)
            failed = self.answer(request)
            if failed is None:
                self.plan.record_reply(request)
                continue
            self.is_read = self.plan.record_failure(request, failed)
            if not self.is_read or failed.kind in SILENCE_KINDS:
                return asked
        self.is_read = True
        return asked


def holding(count: int, *firsts: int) -> list[Request]:
    return [("holding", first, count) for first in firsts]


FIRST, SECOND = holding(80, 0, 1000)


def test_a_device_that_is_silent_to_long_requests_gets_shorter_ones() -> None:
    slave = Slave([*row(80), *row(80, 1000)], lambda request: TIMEOUT if request[2] > 28 else None)
    assert slave.poll() == [FIRST]
    assert not slave.is_read
    assert slave.poll() == [("holding", 1000, 1), FIRST], "a single register shows that it is there"
    assert slave.is_read, "that register"
    assert slave.poll() == [("holding", 1000, 1), ("holding", 0, 40)], "both were too long"
    quarters = holding(20, 0, 20, 40, 60, 1000, 1020, 1040, 1060)
    assert slave.poll() == [("holding", 1000, 1), *quarters]
    assert slave.poll() == quarters


def test_an_address_that_a_device_is_silent_to_makes_no_other_request_shorter() -> None:
    third = ("holding", 2000, 80)
    slave = Slave(
        [*row(80), *row(80, 1000), *row(80, 2000)],
        lambda request: TIMEOUT if 0 <= 1002 - request[1] < request[2] else None,
    )
    assert slave.poll() == [FIRST, SECOND]
    assert not slave.is_read, "the reply may have been lost"
    assert slave.poll() == [FIRST, SECOND]
    assert slave.is_read
    assert slave.poll() == [FIRST, third, ("holding", 1000, 40)]
    for _ in range(6):
        asked = slave.poll()
    assert asked[:2] == [FIRST, third]
    assert cells(slave.plan.requests) == cells([FIRST, SECOND, third])
    assert ("holding", 1002, 1) in slave.plan.requests


def test_what_one_table_answers_proves_nothing_of_another() -> None:
    slave = Slave(
        [*row(80), *row(80, 1000), *row(100, table="input")],
        lambda request: TIMEOUT if request[0] == "holding" and request[2] > 40 else None,
    )
    for _ in range(4):
        slave.poll()
    assert slave.poll() == [("input", 0, 100), *holding(40, 0, 40, 1000, 1040)]


def test_a_device_that_is_dead_is_asked_once_a_poll_each_time_for_another_register() -> None:
    slave = Slave([*row(80), *row(20, 900, table="input")], lambda _: TIMEOUT)
    assert [slave.poll() for _ in range(4)] == [
        [FIRST], [("input", 900, 1)], [("holding", 0, 1)], [("input", 900, 1)],
    ]  # fmt: skip
    slave.answer = lambda _: None
    assert slave.poll() == [("holding", 0, 1), FIRST, ("input", 900, 20)]
    assert slave.poll() == [FIRST, ("input", 900, 20)]


def test_a_device_with_one_request_is_asked_for_its_first_register_while_it_is_dead() -> None:
    slave = Slave(row(80), lambda _: TIMEOUT)
    assert [slave.poll() for _ in range(3)] == [[FIRST], holding(1, 0), holding(1, 0)]
    slave.answer = lambda _: None
    assert [slave.poll() for _ in range(3)] == [[*holding(1, 0), FIRST], [FIRST], [FIRST]]


def test_what_was_answered_once_is_not_made_shorter_by_an_outage() -> None:
    slave = Slave(row(80))
    assert slave.poll() == [FIRST]
    for failed in (TIMEOUT, WRONG_LENGTH, TIMEOUT, TIMEOUT):
        slave.answer = lambda _, failed=failed: failed  # type: ignore[misc]
        assert slave.poll() == [FIRST]
    slave.answer = lambda _: None
    assert [slave.poll(), slave.poll()] == [[FIRST], [FIRST]]


def test_one_lost_reply_makes_no_request_shorter() -> None:
    slave = Slave([*row(80), *row(80, 1000)], lambda request: TIMEOUT if request == SECOND else None)
    assert slave.poll() == [FIRST, SECOND]
    slave.answer = lambda _: None
    assert [slave.poll(), slave.poll()] == [[FIRST, SECOND]] * 2


def test_the_second_reply_of_a_wrong_length_makes_a_request_shorter() -> None:
    slave = Slave(
        [*row(80), *row(10, table="input")], lambda request: WRONG_LENGTH if request[2] > 40 else None
    )
    assert slave.poll() == [FIRST]
    assert slave.poll() == [FIRST, ("input", 0, 10)]
    assert slave.poll() == [("input", 0, 10), *holding(40, 0, 40)]


def test_a_reply_of_a_wrong_length_to_what_was_answered_ends_the_poll() -> None:
    slave = Slave([*row(80), *row(80, 1000)])
    assert slave.poll() == [FIRST, SECOND]
    slave.answer = lambda request: WRONG_LENGTH if request == FIRST else None
    assert [slave.poll() for _ in range(3)] == [[FIRST]] * 3


def test_damage_makes_no_request_shorter() -> None:
    slave = Slave(row(80), lambda _: ReadFailed("modbus-crc", FailureKind.DAMAGED))
    assert [slave.poll() for _ in range(4)] == [[FIRST]] * 4


@pytest.mark.parametrize(("code", "shorter"), [(1, False), (2, True), (3, True), (4, False), (6, False)])
def test_a_refused_range_is_asked_for_in_parts(code: int, shorter: bool) -> None:
    """Illegal data address and illegal data value (V1.1b3, 7) are about the range; others are not."""
    slave = Slave([*row(80), *row(80, 1000)], lambda each: refusal(code) if each == FIRST else None)
    assert slave.poll() == [FIRST, SECOND], "a refusal is an answer"
    parts = holding(40, 0, 40) if shorter else [FIRST]
    assert slave.poll() == [SECOND, *parts]


def test_a_device_that_refuses_one_request_and_is_silent_to_another_is_there() -> None:
    slave = Slave([*row(80), *row(80, 1000)], lambda each: refusal(6) if each == FIRST else TIMEOUT)
    assert slave.poll() == slave.poll() == [FIRST, SECOND]
    assert slave.plan.requests == holding(40, 0, 40, 1000, 1040)


def test_a_reply_out_of_step_ends_the_poll_only_where_nothing_was_answered_yet() -> None:
    out_of_step = ReadFailed("reply-owed", FailureKind.OUT_OF_STEP)
    points = [*row(80), *row(80, 1000), *row(1, table="input")]
    assert Slave(points, lambda each: out_of_step if each == SECOND else None).poll() == [
        FIRST, SECOND, ("input", 0, 1)
    ]  # fmt: skip
    slave = Slave(points, lambda _: refusal(6))
    assert slave.poll() == [FIRST, SECOND, ("input", 0, 1)]
    slave.answer = lambda _: out_of_step
    assert slave.poll() == [FIRST], "what was answered in the poll before does not count"
    assert not slave.is_read


def test_a_longer_request_in_place_of_another_keeps_to_what_the_points_and_the_device_allow() -> None:
    def longest(points: list[RegisterPoint]) -> int:
        plan = ReadingPlan(points)
        return plan.longest_count(plan.requests[0])

    assert longest(row(10)) == longest(row(10, table="input")) == 125
    assert longest(row(10, table="coil")) == longest(row(10, table="discrete")) == 2000
    assert longest(row(10, longest=28)) == 28
    assert longest([*row(2), RegisterPoint(address=2, longest=4)]) == 4
    assert longest([*row(2), RegisterPoint(address=2, join="next")]) == 3, "what is beside it is not read"
    assert longest(row(1, join="never")) == 1

    slave = Slave([*row(80), *row(30, 1000)], lambda request: TIMEOUT if request[2] > 40 else None)
    for _ in range(4):
        slave.poll()
    assert slave.plan.longest_count(("holding", 0, 20)) == 40, "the longest that it has answered"
    assert slave.plan.longest_count(("holding", 0, 60)) == 60


@pytest.mark.parametrize("address", [0, 0xFFFF])
def test_addresses_are_16_bits(address: int) -> None:
    for kind in (RegisterPoint, WriteAction):
        is_valid, _ = kind.CHECKS["address"]
        assert is_valid(address)
        assert not is_valid(address - 1 if address == 0 else address + 1)


@pytest.mark.parametrize(
    ("point", "possible"),
    [
        (RegisterPoint(address=0xFFFF), True),
        (RegisterPoint(address=0xFFFF, type="uint32"), False),
        (RegisterPoint(address=0xFFFE, type="uint32"), True),
        (RegisterPoint(address=0xFFFE, repeat=2), True),
        (RegisterPoint(address=0xFFFE, repeat=3), False),
        (RegisterPoint(address=4, repeat=3, stride=-2), True),
        (RegisterPoint(address=4, repeat=4, stride=-2), False),
        (RegisterPoint(address=4, repeat=6, stride=-1), False),
        (RegisterPoint(address=0xFFFF, repeat=2, stride=-2, type="uint32"), False),
    ],
)
def test_a_point_and_its_copies_end_within_the_addresses(point: RegisterPoint, possible: bool) -> None:
    assert point.ends_within(0x10000) == possible
