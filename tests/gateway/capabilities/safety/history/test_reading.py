"""The history of a real journal, newest first, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateway.base.clock import SystemClock
from gateway.capabilities.safety.history import reading
from gateway.capabilities.safety.history.reading import History
from gateway.journal import Journal
from gateway.model import ClockQuality, Fact, Lane, Row, Stamp
from gateway.services.timekeeping import Boot

T = TypeVar("T")
START = 1_796_097_600_000
DAY = 86_400_000


def stamp(wall_ms: int, boot: str = "b", clock: ClockQuality = ClockQuality.SYNCED) -> Stamp:
    return Stamp(wall_ms, (wall_ms - START) * 1_000_000, boot, clock)


def alarm(at: Stamp, change: str, number: int, device: str = "smoke") -> Fact:
    body = {
        "id": f"{device}/smoke/{number}", "change": change, "state": "", "point": "smoke", "hazard": "fire",
        "latch": True, "value": True, "raised": at.wall_ms, "by": "", "mode": "", "why": "",
    }  # fmt: skip
    return Fact(Lane.ALARM, device, "alarm", at, body)


def event(at: Stamp, number: int = 0) -> Fact:
    return Fact(Lane.EVENT, "smoke", "link", at, {"online": True, "error": "", "number": number})


async def write(path: Path, *packs: list[Fact], boots: dict[str, Row] | None = None) -> None:
    async with Journal.open(path, SystemClock(), 0.1) as journal:
        for facts in packs:
            journal.append("timekeeping", facts, boots or {})
            await journal.commit()


async def collect(found: AsyncIterator[T], count: int = 10**9) -> list[T]:
    result: list[T] = []
    async for each in found:
        result.append(each)
        if len(result) == count:
            break
    return result


async def numbers(history: History, since: int, until: int, **more: Any) -> list[int]:
    found = await collect(history.records(Lane.EVENT, since, until, **more))
    return [each.record.body["number"] for each in found]


async def test_records_of_a_time_come_newest_first(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await write(path, *([event(stamp(START + n * DAY), n)] for n in range(10)))
    async with History.open(path) as history:
        assert await numbers(history, START + 3 * DAY, START + 6 * DAY) == [5, 4, 3]
        assert await numbers(history, START - DAY, START) == []
        assert await numbers(history, START + 99 * DAY, START + 100 * DAY) == []


async def test_pages_join_without_a_gap_within_a_pack_too(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    packs = [[event(stamp(START + n * 1000), n * 10 + k) for k in range(3)] for n in range(4)]
    await write(path, *packs)
    async with History.open(path) as history:
        first = await collect(history.records(Lane.EVENT, START, START + DAY), 5)
        rest = await numbers(history, START, START + DAY, before=first[-1].pos)
        assert [each.record.body["number"] for each in first] == [32, 31, 30, 22, 21]
        assert rest == [20, 12, 11, 10, 2, 1, 0]


async def test_a_long_journal_is_entered_at_the_time_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await write(path, *([event(stamp(START + n * 60_000), n)] for n in range(1500)))
    async with History.open(path) as history:
        found = await numbers(history, START + 700 * 60_000, START + 703 * 60_000)
        assert found == [702, 701, 700]


@pytest.mark.parametrize("wrong_by", [-900, -40, 40, 900])
@pytest.mark.parametrize("wrong", [range(5, 25), range(60, 80), range(90, 110)])
async def test_a_clock_that_was_wrong_for_a_while_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: range, wrong_by: int
) -> None:
    """A record a day, twenty of them with a wrong date."""
    path = tmp_path / "journal.db"
    monkeypatch.setattr(reading, "STRIDE", 4)
    days = [n + (wrong_by if n in wrong else 0) for n in range(120)]
    await write(path, *([event(stamp(START + day * DAY), n)] for n, day in enumerate(days)))
    async with History.open(path) as history:
        for since, until in ((0, 120), (30, 50), (0, 10), (115, 120)):
            within = [n for n, day in enumerate(days) if since <= day < until and n not in wrong]
            found = await numbers(history, START + since * DAY, START + until * DAY)
            assert [n for n in found if n not in wrong] == within[::-1]
            onward = [
                record.body["number"]
                async for record in history.records_onward(
                    Lane.EVENT, START + since * DAY, START + until * DAY
                )
            ]
            assert set(within) <= set(onward)
            assert onward == sorted(onward)


async def test_a_long_way_is_made_in_strides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.db"
    monkeypatch.setattr(reading, "STRIDE", 100)
    await write(path, *([event(stamp(START + n * 60_000), n)] for n in range(1500)))
    async with History.open(path, max_scanned=200) as history:
        assert await numbers(history, START + 700 * 60_000, START + 703 * 60_000) == [702, 701, 700]
        assert history.scanned_until is not None  # it looked for more, until it gave up
        onward = history.records_onward(Lane.EVENT, START + 700 * 60_000, START + 703 * 60_000)
        first = await anext(onward)
        assert 600 <= first.body["number"] <= 700


async def test_a_clock_that_was_set_back_hides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    times = [START, START + DAY, START - 300 * DAY, START + 2 * DAY]
    await write(path, *([event(stamp(at), n)] for n, at in enumerate(times)))
    async with History.open(path) as history:
        assert await numbers(history, START, START + 9 * DAY) == [3, 1, 0]


async def test_what_was_recorded_before_the_clock_was_set_has_its_time(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    unset = Stamp(5000, 5_000_000_000, "early", ClockQuality.UNSET)
    lost = Stamp(6000, 6_000_000_000, "forgotten", ClockQuality.UNSET)
    boots: dict[str, Row] = {"early": Boot(START, ClockQuality.SYNCED, 1)}
    await write(path, [event(unset, 1)], [event(lost, 2)], boots=boots)
    async with History.open(path) as history:
        (found,) = await collect(history.records(Lane.EVENT, START, START + DAY))
        assert found.at.wall_ms == START + 5000
        assert history.undated == 1


async def test_an_alarm_on_an_earlier_page_has_its_end(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    first, second = alarm(stamp(START), "raised", 1), alarm(stamp(START + 1000), "raised", 2, "hall")
    ended = [alarm(stamp(START + at), "acknowledged", 1) for at in (2000,)]
    await write(path, [first], [second], ended)
    async with History.open(path) as history:
        newest = await collect(history.episodes(START, START + DAY), 1)
        (older,) = await collect(history.episodes(START, START + DAY, newest[-1].pos))
        assert older.id == "smoke/smoke/1"
        assert older.acknowledged
        assert older.acknowledged.seconds == 2
        assert older.how == "lost"  # no row says that it stands


async def test_a_search_gives_up_after_so_many_records_and_says_where(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await write(path, *([event(stamp(START + n * 1000), n)] for n in range(20)))
    async with History.open(path, max_scanned=7) as history:
        assert await numbers(history, START, START + DAY) == [19, 18, 17, 16, 15, 14, 13]
        assert history.scanned_until
        assert history.scanned_until.wall_ms == START + 12_000
