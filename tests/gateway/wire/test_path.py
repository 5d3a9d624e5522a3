from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import ReadFailed
from gateway.wire.codec import value_at
from gateway.wire.path import MAX_READINGS, is_valid_path, split_readings

PUSH = {
    "logics": [
        {"name": "zone", "records": [{"from": 1, "counts": [{"name": "balance", "value": 9}]}]},
        {"name": "line", "records": [
            {"from": 1, "counts": [{"name": "bw", "value": 1}, {"name": "fw", "value": 3}]},
            {"from": 2, "counts": [{"name": "fw", "value": "4"}]},
        ]},
    ],
    "zones": [{"id": 1, "on": False}, {"id": 2, "on": True}],
    "one": {"id": 7, "n": 5},
    "dotted": {"a.b": {"c": 3}, "n.m": [{"k": 2, "v": 6}]},
    "x.y": 4,
    "x[0]": 5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("logics.1.records.0.from", 1),
        ("logics[name=line].records.0.counts[name=fw].value", 3),
        ("logics[*].records[*].counts[name=fw].value", 7),
        ("logics[name=line].records[*].counts[name=bw].value", 1),
        ("logics[*].records[*].counts[name=xx].value", None),
        ("logics[*].name", None),
        ("logics[*].records[*].from", 4),
        ("logics[*].other", None),
        ("logics[records.counts=1].name", None),
        ("zones[id=2].on", True),
        ("zones[on=true].id", 2),
        ("zones[*].on", True),
        ("zones[id=1][on=false].id", 1),
        ("zones[id=1][on=true].id", None),
        ("one[*].n", 5),
        ("one[id=7].n", 5),
        ("logics[].records[].from", 1),
        ("nothing[].x", None),
        ("logics[", None),
        ('dotted."a.b".c', 3),
        ('"x.y"', 4),
        ('"x[0]"', 5),
        ('dotted."n.m"[k=2].v', 6),
        ('dotted."a.b', None),
        ('dotted."a.b"c', None),
        ("logics[name].x", None),
    ],
)
def test_a_list_is_searched_by_what_is_in_it(path: str, value: Any) -> None:
    assert value_at(PUSH, path) == value


def test_a_sum_without_one_of_its_parts_is_none() -> None:
    assert value_at({"a": [{"n": 1}, {}]}, "a[*].n") is None
    assert value_at({"a": [{"n": 1}, {"n": None}]}, "a[*].n") is None
    assert value_at({"a": [{"n": 1}, {"n": "x"}]}, "a[*].n") is None
    assert value_at({"a": [{"n": 1}, {"n": True}]}, "a[*].n") is None


@pytest.mark.parametrize("message", [23.4, "ON", True, 0])
def test_an_empty_path_is_the_message(message: Any) -> None:
    assert value_at(message, "") == message


def test_each_member_of_a_split_list_is_a_reading() -> None:
    readings = split_readings(PUSH, ["logics[].records[].from", "one.n"])
    fields = (
        "logics[].name",
        "logics[].records[].from",
        "logics[].records[].counts[name=fw].value",
        "one.n",
    )
    assert [[value_at(each, path) for path in fields] for each in readings] == [
        ["zone", 1, None, 5],
        ["line", 1, 3, 5],
        ["line", 2, "4", 5],
    ]
    one_line = split_readings(PUSH, ["logics[][name=line].records[].from"])
    assert [value_at(each, "logics[].records[].from") for each in one_line] == [1, 2]


@pytest.mark.parametrize("raw", [{}, {"a": []}, {"a": None}, {"a": 3}, [], "x", None, {"a": [None]}])
def test_a_message_without_the_list_is_one_reading(raw: Any) -> None:
    assert len(split_readings(raw, ["a[].b"])) == 1


@pytest.mark.parametrize(
    "raw", [{"a": [0] * (MAX_READINGS + 1)}, {"a": [0] * 1000} | {str(n): n for n in range(1000)}]
)
def test_too_many_readings_are_refused(raw: Any) -> None:
    with pytest.raises(ReadFailed) as refused:
        split_readings(raw, ["a[]"])
    assert refused.value.key == "many-readings"


def test_two_thousand_readings_and_two_hundred_thousand_copied_keys_are_allowed() -> None:
    assert len(split_readings({"a": [0] * 2000}, ["a[]"])) == 2000
    wide = {"a": [0] * 1000} | {str(n): n for n in range(199)}
    assert len(split_readings(wide, ["a[]"])) == 1000
    one_more = {"a": [0] * 3} | {str(n): n for n in range(66_666)}
    for raw in ({"a": [0] * 2001}, {**wide, "a": [0] * 1001}, one_more):
        with pytest.raises(ReadFailed):
            split_readings(raw, ["a[]"])
    with pytest.raises(ReadFailed):
        split_readings([[0] * 1000, *range(200)], ["0[]"])


def test_a_reading_has_all_that_is_beside_the_list() -> None:
    """In lists too, and where a list of several is inside a list that is searched."""
    assert split_readings([9, [1, 2], 8, 7], ["1[]"]) == [[9, [1], 8, 7], [9, [2], 8, 7]]
    assert split_readings([[1, 2]], ["0[]"]) == [[[1]], [[2]]]
    raw = {"a": [{"k": "x", "b": [1, 2]}, {"k": "y", "b": [3]}, 4], "c": 5}
    assert split_readings(raw, ["a[k=x].b[]"]) == [
        {"a": [{"k": "x", "b": [1]}], "c": 5},
        {"a": [{"k": "x", "b": [2]}], "c": 5},
    ]
    assert split_readings({"a": {"b": [1, 2]}}, ["a.b[]"]) == [{"a": {"b": [1]}}, {"a": {"b": [2]}}]


def test_the_path_that_splits_most_decides() -> None:
    raw = {"a": [{"b": [1, 2]}, {"b": [3]}]}
    for paths in (["a[].b[]", "a[]"], ["a[]", "a[].b[]"], ["c", "a[].b[].d.e"]):
        assert [value_at(each, "a[].b[]") for each in split_readings(raw, paths)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("raw", "path", "value"),
    [
        ({"a": {"": 5}}, "a.", 5),
        ({"a": 5}, "a.", None),
        ({"": {"a": 5}}, ".a", 5),
        ({"a": [{"x": "1=2", "n": 5}]}, "a[x=1=2].n", 5),
        ({"a": [{"x": "1", "n": 5}]}, "a[x=1=2].n", None),
        ([4, 5], "0", 4),
        ([4, 5], "1", 5),
        ([4, 5], "2", None),
        ([4, 5], "-1", None),
        ([4, 5], "²", None),
        ({"a": [{"n": 1}, {"n": 2}]}, "a[].n", 1),
        ({"a": [[1, 5], [2, 6]]}, "a[0=2].1", 6),
        ({"a": [3, {"n": 1}]}, "a[*].n", None),
        ({"a": [{"n": [{"x": 1, "y": 2}]}, {"n": [{"x": 1, "y": 3}]}]}, "a[*].n[x=1].y", 5),
        ({"a": [{"on": True, "n": 1}, {"on": "true", "n": 2}, {"on": 1, "n": 4}]}, "a[on=true].n", 3),
        ({"a": [{"on": False, "n": 1}]}, "a[on=False].n", None),
    ],
)
def test_a_path_leads_to_exactly_what_it_names(raw: Any, path: str, value: Any) -> None:
    assert value_at(raw, path) == value


@pytest.mark.parametrize(
    ("path", "valid"),
    [("", True), ("a", True), ("a.0.b", True), ("a[].b[*].c[x.y=1.5].d", True), ("switch:0", True),
     ("a[", False), ("a]", False), ("a[b]", False), ("a[b=[c]]", False), ("a[]b", False), ("$.a", False)],
)  # fmt: skip
def test_a_path_is_checked(path: str, valid: bool) -> None:
    assert is_valid_path(path) == valid


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=12,
)
paths = st.lists(st.sampled_from(["a", "b", "0", ".", "[]", "[*]", "[a=1]", "[", "]", "="])).map("".join)


def leaves(tree: Any) -> list[Any]:
    members = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else None
    return [tree] if members is None else [leaf for member in members for leaf in leaves(member)]


@given(trees, st.lists(paths, max_size=3))
def test_any_path_leads_to_a_value_of_the_tree_or_to_none(raw: Any, some_paths: list[str]) -> None:
    for reading in split_readings(raw, some_paths):
        for path in some_paths:
            value = value_at(reading, path)
            assert isinstance(value, bool | int | float | str | None)
            if "*" not in path:  # Else it may be a sum.
                assert value is None or any(value is leaf for leaf in leaves(raw))


@given(st.lists(st.integers(0, 99), max_size=20), st.lists(st.integers(0, 99), max_size=20))
def test_no_member_is_lost(first: list[int], second: list[int]) -> None:
    raw = {"a": [{"b": [{"n": n} for n in numbers]} for numbers in (first, second)]}
    found = [value_at(each, "a[].b[].n") for each in split_readings(raw, ["a[].b[].n"])]
    assert found == (first + second or [None])


@pytest.mark.parametrize(
    ("paths", "readings"),
    [
        (["a"], [{"a": 1}, {"a": 2, "l": [3, 4]}, "x"]),
        (["a", "l[].n"], [{"a": 1}, {"a": 2, "l": [3]}, {"a": 2, "l": [4]}, "x"]),
        (["0.a"], None),
        (["[a=1].a"], None),
        (["", "a"], None),
    ],
)
def test_a_list_as_a_whole_holds_messages(paths: list[str], readings: list[Any] | None) -> None:
    raw = [{"a": 1}, {"a": 2, "l": [3, 4]}, "x"]
    assert split_readings(raw, paths) == (readings or [raw])


def test_a_path_with_half_a_quotation_mark_is_malformed() -> None:
    assert is_valid_path('a."b.c".d')
    assert not is_valid_path('a."b.c')
    assert not is_valid_path('a."b.c"d')
