from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from drivers.modbus.registers import (
    MAX_REQUEST_COUNT,
    Join,
    RegisterPoint,
    Table,
    Type,
    decode,
    parse_example,
    plan_requests,
    split_request,
)
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
        {"holding": {"0": [70000]}},
        {"holding": {"0": [-1]}},
        {"holding": {"first": [1]}},
    ],
)
def test_an_example_that_is_none_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Expected|Invalid"):
        parse_example(fields)
