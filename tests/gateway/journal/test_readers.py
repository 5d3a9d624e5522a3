"""Several readers of one journal: each has its place, its streams and its ledger."""

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.journal import Journal, LedgerRow, StreamFilter
from gateway.journal.readers import MAX_ABSENCE_DAYS
from gateway.model import Fact, Lane, Record, Sample
from tests.clock import FakeClock

ALARM, EVENT, TELEMETRY = Lane
EVERYTHING = StreamFilter()
ONLY_SMOKE = StreamFilter(frozenset({ALARM, EVENT}), frozenset({"smoke"}))


@asynccontextmanager
async def journal(path: Path, clock: FakeClock | None = None) -> AsyncIterator[tuple[Journal, FakeClock]]:
    clock = clock or FakeClock()
    async with Journal.open(path, clock, 1.0) as opened:
        yield opened, clock


async def tell(journal: Journal, clock: FakeClock, *devices: str, lane: Lane = ALARM) -> None:
    for device in devices:
        journal.append("", [Fact(lane, device, "told", clock.now(), {})], {})
        await journal.commit()


async def ledger(journal: Journal, reader: str, lane: Lane = ALARM) -> dict[str, tuple[int, int, int]]:
    """Per device: measured, delivered, pending."""
    return {
        row.device: (row.measured, row.delivered, row.pending)
        for row in await journal.reader.ledger(reader=reader)
        if row.lane is lane
    }


def sums(rows: Sequence[LedgerRow]) -> bool:
    return all(row.measured == row.delivered + row.pending + sum(row.dropped.values()) for row in rows)


async def test_each_reader_has_its_own_place(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock):
        await j.configure_readers({"a": EVERYTHING, "b": EVERYTHING})
        await tell(j, clock, "d", "d", "d")
        j.deliveries["a"].acknowledge(ALARM, 2)
        assert await ledger(j, "a") == {"d": (3, 0, 3)}, "not on the disk yet"
        await tell(j, clock, "d")
        assert await ledger(j, "a") == {"d": (4, 2, 2)}
        assert await ledger(j, "b") == {"d": (4, 0, 4)}
    async with journal(path) as (j, _):
        assert {name: each.positions[ALARM] for name, each in j.deliveries.items()} == {"a": 2, "b": 0}


async def test_what_one_has_received_and_another_has_not_is_a_gap_of_the_other(tmp_path: Path) -> None:
    async with journal(tmp_path / "j.db") as (j, clock):
        await j.configure_readers({"a": EVERYTHING, "b": EVERYTHING, "c": ONLY_SMOKE})
        await tell(j, clock, *["smoke", "door"] * 5)
        j.deliveries["a"].acknowledge(ALARM, 4)
        j.deliveries["c"].acknowledge(ALARM, 10)
        assert await j._evict(ALARM)
        found = [(r.device, r.body) async for r in j.reader.records(EVENT, 0) if r.kind == "gap"]
        gaps = sorted(found, key=lambda gap: (gap[0] == "door", gap[1]["uplink"]))
        lost = {"lane": "alarm", "reason": "space"}
        assert gaps == [
            ("smoke", {**lost, "first": 3, "last": 5, "count": 3, "uplink": "a"}),
            ("smoke", {**lost, "first": 1, "last": 5, "count": 5, "uplink": "b"}),
            ("door", {**lost, "first": 3, "last": 5, "count": 3, "uplink": "a"}),
            ("door", {**lost, "first": 1, "last": 5, "count": 5, "uplink": "b"}),
        ]
        assert await ledger(j, "a") == {"smoke": (5, 2, 0), "door": (5, 2, 0)}
        assert await ledger(j, "b") == {"smoke": (5, 0, 0), "door": (5, 0, 0)}
        assert await ledger(j, "c") == {"smoke": (5, 5, 0)}


async def test_only_what_a_reader_receives_is_pending_for_it(tmp_path: Path) -> None:
    async with journal(tmp_path / "j.db") as (j, clock):
        await j.configure_readers({"a": EVERYTHING, "fire": ONLY_SMOKE})
        await tell(j, clock, "smoke", "door", "door")
        await tell(j, clock, "smoke", lane=EVENT)
        j.append_sample(Sample("smoke", clock.now(), {}))
        await clock.advance(1.0)
        await j.commit()
        assert [await j.reader.pending_count(name) for name in ("a", "fire", "nobody")] == [5, 2, 0]


async def test_what_all_have_lost_is_one_gap(tmp_path: Path) -> None:
    async with journal(tmp_path / "j.db") as (j, clock):
        await j.configure_readers({"a": EVERYTHING, "b": EVERYTHING, "c": ONLY_SMOKE})
        await tell(j, clock, "door", "door")
        assert await j._evict(ALARM)
        (gap,) = [r.body async for r in j.reader.records(EVENT, 0) if r.kind == "gap"]
        assert gap == {"lane": "alarm", "first": 1, "last": 2, "count": 2, "reason": "space"}
        assert await ledger(j, "a") == await ledger(j, "b") == {"door": (2, 0, 0)}


async def test_a_reader_that_is_added_begins_now_and_its_ledger_says_so(tmp_path: Path) -> None:
    async with journal(tmp_path / "j.db") as (j, clock):
        await j.configure_readers({"a": EVERYTHING})
        await tell(j, clock, "d", "d")
        await j.configure_readers({"a": EVERYTHING, "b": EVERYTHING})
        await tell(j, clock, "d")
        assert j.deliveries["b"].positions[ALARM] == 2
        (row,) = [row for row in await j.reader.ledger(reader="b") if row.lane is ALARM]
        assert (row.measured, row.delivered, row.pending) == (3, 0, 1)
        assert (row.dropped, row.gaps) == ({"before": 2}, [(1, 2, "before")])
        assert await ledger(j, "a") == {"d": (3, 0, 3)}
        assert [r.kind async for r in j.reader.records(EVENT, 0)] == [], "a gap of none of the others"


async def test_the_first_platform_receives_what_was_kept_for_it(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock):
        await tell(j, clock, "d", "d")
        j.deliveries["uplink"].acknowledge(ALARM, 1)
        await j.configure_readers({"community": EVERYTHING, "fire": ONLY_SMOKE})
        assert {name: each.positions[ALARM] for name, each in j.deliveries.items()} == {
            "community": 1,
            "fire": 2,
        }
    async with journal(path) as (j, _):
        assert [*j.deliveries] == ["community", "fire"]
        assert await ledger(j, "community") == {"d": (2, 1, 1)}


async def test_streams_that_a_reader_did_not_receive_before_do_not_count_as_delivered(
    tmp_path: Path,
) -> None:
    async with journal(tmp_path / "j.db") as (j, clock):
        await j.configure_readers({"a": EVERYTHING, "fire": ONLY_SMOKE})
        await tell(j, clock, "smoke", "door", "door")
        await tell(j, clock, "door", lane=EVENT)
        j.deliveries["fire"].acknowledge(ALARM, 2)
        await j.configure_readers({"a": EVERYTHING, "fire": EVERYTHING})
        await tell(j, clock, "door")
        assert await ledger(j, "fire") == {"smoke": (1, 1, 0), "door": (3, 0, 2)}
        (row,) = [
            row for row in await j.reader.ledger(reader="fire") if (row.lane, row.device) == (ALARM, "door")
        ]
        assert row.dropped == {"before": 1}
        (row,) = [row for row in await j.reader.ledger(reader="fire") if row.lane is EVENT]
        assert (row.measured, row.delivered, row.pending + row.dropped.get("before", 0)) == (1, 0, 1)


async def test_a_reader_that_is_taken_out_by_mistake_keeps_its_place(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock):
        await j.configure_readers({"a": EVERYTHING, "b": EVERYTHING})
        await tell(j, clock, "d", "d")
        j.deliveries["b"].acknowledge(ALARM, 1)
        await j.configure_readers({"a": EVERYTHING})
        assert [*j.deliveries] == ["a"]
        await tell(j, clock, "d")
    async with journal(path, clock) as (j, clock):
        await j.configure_readers({"a": EVERYTHING, "b": EVERYTHING})
        assert j.deliveries["b"].positions[ALARM] == 1
        assert await ledger(j, "b") == {"d": (3, 1, 2)}
        await j.configure_readers({"a": EVERYTHING})
        clock.wall += (MAX_ABSENCE_DAYS + 1) * 86_400_000
        await j.configure_readers({"a": EVERYTHING})
        assert [row.name for row in await j.reader.reader_rows()] == ["a"]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT DISTINCT reader FROM cursor").fetchall() in ([("a",)], [])


async def test_a_refused_record_is_a_dead_letter_of_that_platform_alone(tmp_path: Path) -> None:
    async with journal(tmp_path / "j.db") as (j, clock):
        await j.configure_readers({"a": EVERYTHING, "b": EVERYTHING})
        await tell(j, clock, "d")
        record: Record = (await j.reader.read_after(ALARM, 0, 1))[0].records[0]
        for name in ("a", "b"):
            j.deliveries[name].acknowledge(ALARM, 1)
        j.deliveries["a"].dead_letter(record, "format")
        await j.commit()
        assert [(each.seq, each.reason, each.reader) for each in await j.reader.dead_letters()] == [
            (1, "format", "a")
        ]
        assert await ledger(j, "a") == {"d": (1, 0, 0)}
        assert await ledger(j, "b") == {"d": (1, 1, 0)}


@pytest.mark.parametrize(
    ("lane", "device", "expected"),
    [(ALARM, "smoke", True), (TELEMETRY, "smoke", False), (ALARM, "door", False)],
)
def test_a_filter(lane: Lane, device: str, expected: bool) -> None:
    assert ONLY_SMOKE.selects(lane, device) is expected
    assert EVERYTHING.selects(lane, device)
    assert StreamFilter.from_text(ONLY_SMOKE.to_text()) == ONLY_SMOKE
    assert (EVERYTHING.to_text(), StreamFilter.from_text("")) == ("", EVERYTHING)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("tell"), st.sampled_from(["smoke", "door"])),
        st.tuples(st.just("acknowledge"), st.sampled_from(["a", "b", "c"])),
        st.tuples(st.just("evict"), st.just("")),
        st.tuples(st.just("configure"), st.sampled_from(["a", "ab", "abc", "Ab"])),
    ),
    max_size=25,
)


@settings(max_examples=40)
@given(STEPS)
def test_every_ledger_adds_up_whatever_happens(steps: list[tuple[str, str]]) -> None:
    asyncio.run(_follow(steps))


async def _follow(steps: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with journal(Path(folder) / "j.db") as (j, clock):
            await j.configure_readers({"a": EVERYTHING})
            for step, what in steps:
                if step == "tell":
                    await tell(j, clock, what)
                elif step == "acknowledge" and what in j.deliveries:
                    delivery = j.deliveries[what]
                    delivery.acknowledge(ALARM, min(delivery.positions[ALARM] + 2, j.committed_pos[ALARM]))
                elif step == "evict":
                    await j._evict(ALARM)
                elif step == "configure":
                    await j.configure_readers(
                        {name.lower(): ONLY_SMOKE if name.isupper() else EVERYTHING for name in what}
                    )
                await j.commit()
                for name in j.deliveries:
                    rows = await j.reader.ledger(reader=name)
                    assert sums(rows)
                    assert all(min(row.delivered, row.pending) >= 0 for row in rows)
