from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack

from gateway.capabilities.safety.services.findings import MAX_OPEN_FINDINGS, Finding, Findings
from gateway.model import ClockQuality, Fact, Lane, Stamp, Tick
from tests.gateway.services.kit import DAY, Fold, command, kinds, tick

HOUR = 3600


def hazards() -> Fold:
    return Fold(Findings())


def find(fold: Fold, second: float = 0, **args: Any) -> list[Fact]:
    args = {"where": "后门", "what": "灭火器被挡", **args}
    return fold.step(command("hazard-found", "gateway", second, args=args))


def close(fold: Fold, key: str, second: float = 0, **args: Any) -> list[Fact]:
    args = {"id": key, "what": "已搬开", **args}
    return fold.step(command("hazard-closed", "gateway", second, by="李", args=args))


def restart(fold: Fold) -> None:
    rows = {key: msgpack.decode(msgpack.encode(row), type=Finding) for key, row in fold.rows.items()}
    fold.rows = dict(fold.service.restore(rows))


def test_a_hazard_has_a_clock_from_found_to_closed() -> None:
    fold = hazards()
    (found,) = find(fold)
    assert (found.kind, found.lane, found.durable, found.device) == (
        "hazard-found",
        Lane.EVENT,
        True,
        "gateway",
    )
    assert (found.body["where"], found.body["by"], found.body["due_hours"]) == ("后门", "王", 24.0)
    assert fold.service.summary(fold.rows) == {"open": 1, "overdue": 0}
    restart(fold)
    (closed,) = close(fold, found.body["id"], 1800)
    body = closed.body
    assert (body["done"], body["closed_by"], body["seconds"], body["overdue"]) == (
        "已搬开",
        "李",
        1800,
        False,
    )
    assert fold.rows == {}
    assert close(fold, found.body["id"], 1801) == []


def test_one_that_stays_open_too_long_is_told_of_once() -> None:
    fold = hazards()
    (found,) = find(fold, severity="major")
    assert fold.step(tick(2 * HOUR - 1)) == []
    (late,) = fold.step(tick(2 * HOUR))
    assert (late.kind, late.body["id"]) == ("hazard-overdue", found.body["id"])
    restart(fold)
    assert fold.step(tick(2 * HOUR + 1)) == []
    assert fold.service.summary(fold.rows) == {"open": 1, "overdue": 1}
    (closed,) = close(fold, found.body["id"], 3 * HOUR)
    assert closed.body["overdue"]


def test_it_is_late_although_no_tick_came_before_it_was_closed() -> None:
    fold = hazards()
    (found,) = find(fold, severity="major")
    (closed,) = close(fold, found.body["id"], 3 * HOUR)
    assert closed.body["overdue"]


def test_after_a_reboot_the_wall_clock_counts_once_it_is_set() -> None:
    fold = hazards()
    find(fold)
    wall = next(iter(fold.rows.values())).at.wall_ms
    assert fold.step(Tick(Stamp(0, 1, "next", ClockQuality.UNSET), DAY)) == []
    assert fold.step(Tick(Stamp(wall + 23 * HOUR * 1000, 2, "next", ClockQuality.SYNCED), DAY)) == []
    later = Stamp(wall + 24 * HOUR * 1000, 3, "next", ClockQuality.SYNCED)
    assert kinds(fold.step(Tick(later, DAY))) == ["hazard-overdue"]


def test_a_second_click_is_one_hazard_and_two_at_one_moment_are_two() -> None:
    fold = hazards()
    find(fold)
    assert find(fold, 1) == []
    assert kinds(find(fold, 0, what="门锁坏了")) == ["hazard-found"]
    assert len(fold.rows) == 2


@pytest.mark.parametrize(
    "args", [{"where": ""}, {"where": "  "}, {"what": 7}, {"severity": "none"}, {"severity": True}]
)
def test_what_says_nothing_is_refused(args: dict[str, Any]) -> None:
    assert find(hazards(), **args) == []


def test_nothing_is_closed_without_a_word_on_what_was_done() -> None:
    fold = hazards()
    (found,) = find(fold)
    assert close(fold, found.body["id"], what=" ") == []
    assert close(fold, "hazard/none") == []
    assert len(fold.rows) == 1


def test_what_people_write_is_kept_as_they_wrote_it() -> None:
    (found,) = find(hazards(), what="<script>alert(1)</script>")
    assert found.body["what"] == "<script>alert(1)</script>"


def test_they_are_bounded() -> None:
    fold = hazards()
    some = Finding(where="", what="", severity="", by="", at=tick(0).at, hours=1)
    fold.rows = {str(number): some for number in range(MAX_OPEN_FINDINGS)}
    assert find(fold) == []


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["find", "close", "tick", "restart"]), st.integers(0, 4), st.integers(0, 2 * HOUR)
    ),
    max_size=60,
)


@given(MOVES)
def test_each_is_found_once_late_once_and_closed_once(moves: list[tuple[str, int, int]]) -> None:
    fold = hazards()
    found: list[str] = []
    late: list[str] = []
    closed: list[str] = []
    second = 0
    for move, number, more in moves:
        second += more
        facts: list[Fact] = []
        if move == "find":
            facts = find(fold, second, what=f"隐患 {number}", severity="major")
        elif move == "close" and found:
            facts = close(fold, found[number % len(found)], second)
        elif move == "tick":
            facts = fold.step(tick(second))
        elif move == "restart":
            restart(fold)
        for fact in facts:
            where = {"hazard-found": found, "hazard-overdue": late, "hazard-closed": closed}[fact.kind]
            assert fact.body["id"] not in where
            where.append(fact.body["id"])
        assert fold.rows.keys() == set(found) - set(closed)
    assert set(late) <= set(found)
