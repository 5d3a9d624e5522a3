import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack
from msgspec.structs import replace

from gateway.base.clock import local_time
from gateway.capabilities.safety.services.patrols import WEEKLY_INTERVAL, Patrol, PatrolRound, Patrols
from gateway.model import ClockQuality, Command, Fact, Lane, Stamp, Tick
from gateway.model.hours import parse_days, parse_span
from tests.gateway.services.kit import Fold, kinds

ZONE = "Asia/Shanghai"
POINTS = {"kitchen": {"zh": "厨房"}, "exit": {"zh": "出口"}}


def patrol(minutes: int, hours: str = "00:00-24:00", days: str = "mon-sun") -> Patrol:
    weekdays = frozenset(day % 7 for day in parse_days(days))
    return Patrol(
        title={},
        checkpoints=POINTS,
        interval_minutes=minutes,
        span_minutes=parse_span(hours),
        weekdays=weekdays,
    )


def when(text: str, boot: str = "boot") -> Stamp:
    wall = datetime.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(ZONE)).timestamp()
    return Stamp(round(wall * 1000), round(wall * 1e9), boot, ClockQuality.SYNCED)


def tick(text: str) -> Tick:
    return Tick(when(text), text[:10])


def visit(text: str, checkpoint: str = "kitchen", by: str = "王", **args: Any) -> Command:
    at = when(text)
    args = {"patrol": "p", "checkpoint": checkpoint, **args}
    return Command(
        id=text,
        at=at,
        device="gateway",
        action="check-in",
        args=args,
        expires=at.wall_ms + 1,
        origin="console",
        by=by,
    )


def rounds(each: Patrol) -> Fold:
    return Fold(Patrols({"p": each}, local_time(ZONE)))


def restart(fold: Fold) -> None:
    rows = {key: msgpack.decode(msgpack.encode(row), type=PatrolRound) for key, row in fold.rows.items()}
    fold.rows = dict(fold.service.restore(rows))


@pytest.mark.parametrize(
    ("each", "local", "expected"),
    [
        (patrol(1440), "2026-11-21T00:00", "2026-11-21/01"),
        (patrol(1440), "2026-11-21T23:59", "2026-11-21/01"),
        (patrol(120, "08:00-21:30"), "2026-11-21T07:59", ""),
        (patrol(120, "08:00-21:30"), "2026-11-21T08:00", "2026-11-21/01"),
        (patrol(120, "08:00-21:30"), "2026-11-21T10:00", "2026-11-21/02"),
        (patrol(120, "08:00-21:30"), "2026-11-21T21:29", "2026-11-21/07"),
        (patrol(120, "08:00-21:30"), "2026-11-21T21:30", ""),
        (patrol(1440, "21:00-06:00"), "2026-11-22T05:59", "2026-11-21/01"),
        (patrol(120, "21:00-06:00"), "2026-11-22T01:00", "2026-11-21/03"),
        (patrol(1440, "21:00-06:00", "fri"), "2026-11-21T02:00", "2026-11-20/01"),
        (patrol(1440, "21:00-06:00", "fri"), "2026-11-21T22:00", ""),
        (patrol(WEEKLY_INTERVAL), "2026-11-22T22:00", "2026-W47"),
        (patrol(WEEKLY_INTERVAL), "2026-11-23T00:00", "2026-W48"),
        (patrol(WEEKLY_INTERVAL), "2027-01-01T12:00", "2026-W53"),
    ],
)
def test_which_round_a_time_falls_into(each: Patrol, local: str, expected: str) -> None:
    assert each.round_at(datetime.datetime.fromisoformat(local)) == expected


def test_a_round_is_done_once_every_checkpoint_was_visited() -> None:
    fold = rounds(patrol(1440))
    fold.step(tick("2026-11-20T23:00"), tick("2026-11-21T00:00"))
    (fact,) = fold.step(visit("2026-11-21T09:00", note="灭火器已过期"))
    assert (fact.kind, fact.lane, fact.durable) == ("check-in", Lane.EVENT, True)
    body = fact.body
    assert (body["round"], body["checkpoint"], body["by"]) == ("2026-11-21/01", "kitchen", "王")
    assert body["note"] == "灭火器已过期"
    assert fold.service.summary(fold.rows) == {"open": 1, "missed": 0}
    _, done = fold.step(visit("2026-11-21T09:12", "exit", by="李"))
    assert (done.kind, done.body["by"], done.body["seconds"]) == ("patrol-done", ["李", "王"], 720)
    assert fold.service.summary(fold.rows) == {"open": 0, "missed": 0}
    assert fold.step(tick("2026-11-22T00:00")) == []


def test_a_missed_round_is_told_of_with_what_was_not_seen() -> None:
    fold = rounds(patrol(120, "08:00-12:00"))
    fold.step(tick("2026-11-21T07:00"), tick("2026-11-21T08:00"), visit("2026-11-21T09:00"))
    (missed,) = fold.step(tick("2026-11-21T10:00"))
    assert (missed.kind, missed.body["round"], missed.body["unseen"]) == (
        "patrol-missed",
        "2026-11-21/01",
        ["exit"],
    )
    assert fold.service.summary(fold.rows)["missed"] == 1
    assert kinds(fold.step(tick("2026-11-21T12:00"), tick("2026-11-21T13:00"))) == ["patrol-missed"]
    fold.step(tick("2026-11-22T08:00"), visit("2026-11-22T08:10"), visit("2026-11-22T08:20", "exit"))
    assert fold.service.summary(fold.rows)["missed"] == 0


def test_a_check_in_belongs_to_the_round_of_its_own_time() -> None:
    fold = rounds(patrol(60))
    fold.step(tick("2026-11-21T08:30"), tick("2026-11-21T09:00"))
    missed, visited = fold.step(visit("2026-11-21T10:00"))
    assert (missed.body["round"], visited.body["round"]) == ("2026-11-21/10", "2026-11-21/11")


def test_the_round_under_way_at_the_first_start_is_not_missed() -> None:
    fold = rounds(patrol(1440))
    assert fold.step(tick("2026-11-21T23:59"), tick("2026-11-22T00:00")) == []
    assert kinds(fold.step(tick("2026-11-23T00:00"))) == ["patrol-missed"]


def test_a_second_click_is_one_visit_but_a_note_is_never_lost() -> None:
    fold = rounds(patrol(1440))
    fold.step(visit("2026-11-21T09:00"))
    assert fold.step(visit("2026-11-21T09:01", by="李")) == []
    (fact,) = fold.step(visit("2026-11-21T09:02", note="门锁坏了"))
    assert fact.body["note"] == "门锁坏了"
    assert fold.rows["p"].visits["kitchen"].at == when("2026-11-21T09:00")


def test_one_who_comes_between_two_rounds_is_written_down() -> None:
    fold = rounds(patrol(60, "08:00-09:00"))
    (fact,) = fold.step(visit("2026-11-21T07:55"))
    assert fact.body["round"] == ""
    assert fold.step(visit("2026-11-21T07:56")) == []
    assert kinds(fold.step(visit("2026-11-21T08:00"))) == ["check-in"]


def test_what_nobody_knows_is_refused() -> None:
    fold = rounds(patrol(1440))
    assert fold.step(visit("2026-11-21T09:00", "roof")) == []
    other = visit("2026-11-21T09:00")
    assert fold.step(replace(other, args={"patrol": "q", "checkpoint": "kitchen"})) == []
    assert fold.step(replace(other, args={})) == []


def test_no_round_ends_while_the_clock_is_not_set_or_is_put_back() -> None:
    fold = rounds(patrol(60))
    fold.step(tick("2026-11-21T08:30"), tick("2026-11-21T09:00"))
    unset = Stamp(0, 10**9, "next", ClockQuality.UNSET)
    assert fold.step(Tick(unset, "1970-01-01")) == []
    assert fold.rows["p"].round == "2026-11-21/10"
    assert fold.step(tick("2026-11-21T07:30")) == []


def test_a_patrol_that_left_the_file_left() -> None:
    fold = rounds(patrol(60))
    fold.step(tick("2026-11-21T08:30"))
    assert Patrols({}).apply(fold.rows, tick("2026-11-21T08:31")) == ({"p": None}, [])
    assert Patrols({}).summary({}) == {}


STEPS = st.one_of(
    st.just("restart"),
    st.tuples(st.integers(1, 200), st.sampled_from(["tick", "kitchen", "exit", "roof"])),
)


@given(
    st.lists(STEPS, max_size=60),
    st.sampled_from([patrol(60, "08:00-21:30"), patrol(1440), patrol(WEEKLY_INTERVAL)]),
)
def test_every_round_ends_once_and_no_visit_is_lost_or_counted_twice(
    steps: list[Any], each: Patrol
) -> None:
    fold = rounds(each)
    start = datetime.datetime(2026, 11, 20, 22, 0)  # noqa: DTZ001
    fold.step(tick(start.isoformat()))
    ended: list[str] = []
    seen: set[tuple[str, str]] = set()
    for step in steps:
        if step == "restart":
            restart(fold)
            continue
        start += datetime.timedelta(minutes=step[0])
        moment = start.isoformat()
        facts: list[Fact] = fold.step(tick(moment) if step[1] == "tick" else visit(moment, step[1]))
        for fact in facts:
            name = fact.body["round"]
            if fact.kind == "check-in":
                assert name not in ended or name == ""
                visited = (name or moment[:13], fact.body["checkpoint"])
                assert name == "" or visited not in seen
                seen.add(visited)
            else:
                assert name not in ended
                ended.append(name)
                known = {checkpoint for each_round, checkpoint in seen if each_round == name}
                unseen = set() if fact.kind == "patrol-done" else set(fact.body["unseen"])
                assert known | unseen == POINTS.keys()
                assert not known & unseen
    assert ended == sorted(ended)
