"""What has changed in the lines of a text: a list of a hundred devices is not sent again because one has a
new reading."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

LineChange = tuple[int, int, Sequence[str]]
"""Where in the old lines, how many of them are replaced, and by which."""


def line_changes(old: Sequence[str], new: Sequence[str]) -> list[LineChange]:
    """What makes the new lines of the old ones; the first comes first. Where lines have come or gone, all
    from the first to the last that differs are one change: the effort is that of one comparison."""
    if len(old) == len(new):
        runs = (
            list(places)
            for differs, places in itertools.groupby(
                range(len(new)), lambda place: old[place] != new[place]
            )
            if differs
        )
        return [(run[0], len(run), new[run[0] : run[-1] + 1]) for run in runs]
    start, shorter = 0, min(len(old), len(new))
    while start < shorter and old[start] == new[start]:
        start += 1
    tail = 0
    while tail < shorter - start and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return [(start, len(old) - tail - start, new[start : len(new) - tail])]
