"""Changes of lines make the new text of the old one, and are small."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.web.line_changes import LineChange, line_changes

LINES = st.lists(st.sampled_from(["", "a", "b", "<li>"]), max_size=12)


def changed(old: Sequence[str], changes: Sequence[LineChange]) -> list[str]:
    """As the page's script does it."""
    lines = list(old)
    for at, count, fresh in reversed(changes):
        lines[at : at + count] = fresh
    return lines


@given(LINES, LINES)
def test_the_new_lines_come_of_the_old_ones(old: list[str], new: list[str]) -> None:
    changes = line_changes(old, new)
    assert changed(old, changes) == new
    assert bool(changes) == (old != new)


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("abcdef", "aBcDEf", [(1, 1, "B"), (3, 2, "DE")]),
        ("abcd", "abxcd", [(2, 0, "x")]),
        ("abcd", "acd", [(1, 1, "")]),
        ("aa", "aaa", [(2, 0, "a")]),
        ("", "ab", [(0, 0, "ab")]),
        ("ab", "", [(0, 2, "")]),
    ],
)
def test_only_what_differs_is_told(old: str, new: str, changes: list[tuple[int, int, str]]) -> None:
    assert line_changes(old, new) == changes
