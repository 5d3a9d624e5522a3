"""The writer, on a real file, and what its readers find."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.journal import Journal, JournalDamaged, JournalFailed, JournalReader, RecordPack, StorageLimits
from gateway.journal import journal as journal_module
from gateway.journal.gaps import is_reported
from gateway.journal.journal import (
    MAX_COMMITTED_WINDOWS,
    MAX_SENT_UNCOMMITTED,
    MAX_UNWRITTEN_WINDOWS,
    ROWS_PER_EVICTION,
)
from gateway.journal.reader import LedgerGap
from gateway.journal.rows import MAX_RECORD_BYTES
from gateway.journal.statements import MAX_DEAD_LETTERS, MAX_GAPS_PER_DAY, MAX_LEDGER_DAYS
from gateway.model import Fact, Lane, Record, Sample
from tests.clock import FakeClock

ALARM, EVENT, TELEMETRY = Lane


class Row(msgspec.Struct, frozen=True):
    n: int


@asynccontextmanager
async def journal(
    path: Path, clock: FakeClock | None = None, **options: int
) -> AsyncIterator[tuple[Journal, FakeClock]]:
    clock = clock or FakeClock()
    async with Journal.open(path, clock, 1.0, StorageLimits(**options)) as opened:
        yield opened, clock


def sample(clock: FakeClock, device: str = "d", value: int = 0) -> Sample:
    return Sample(device, clock.now(), {"x": value})


def fact(clock: FakeClock, lane: Lane = ALARM, device: str = "d", **body: int) -> Fact:
    return Fact(lane, device, lane.name.lower(), clock.now(), body)


async def window(journal: Journal, clock: FakeClock) -> None:
    """Let a window end, and its commit be done."""
    await clock.advance(1.0)
    await journal.commit()
    while journal._window_due:  # That was a commit to make room, which takes no telemetry.
        await journal.commit()


async def records(path: Path, lane: Lane) -> list[Record]:
    async with JournalReader.open(path) as reader:
        return [record async for record in reader.records(lane, 0)]


async def seqs(path: Path, lane: Lane, device: str = "d") -> list[int]:
    return [record.seq for record in await records(path, lane) if record.device == device]


async def test_samples_of_a_window_are_one_row(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock):
        before = j.commit_count
        for n in range(5):
            j.append_sample(sample(clock, value=n))
        await window(j, clock)
        (pack,) = await j.reader.read_after(TELEMETRY, 0, 10)
        assert [record.body["values"]["x"] for record in pack.records] == [0, 1, 2, 3, 4]
        assert [record.seq for record in pack.records] == [1, 2, 3, 4, 5]
        assert j.commit_count == before + 1


async def test_commit_returns_when_it_is_on_the_disk_and_leaves_the_window_open(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock):
        j.append_sample(sample(clock))
        j.append("s", [fact(clock, n=7)], {"k": Row(7)})
        await j.commit()
        (record,) = await records(path, ALARM)
        assert record.body == {"n": 7}
        assert await records(path, TELEMETRY) == []
        async with JournalReader.open(path) as reader:
            assert msgspec.msgpack.decode((await reader.service_rows("s"))["k"], type=Row) == Row(7)


def _deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


UNENCODABLE: dict[str, Any] = {
    "below int64": -(2**63) - 1,
    "above uint64": 2**64,
    "thousands of digits": 10**5000,
    "no Unicode": "\ud800",
    "no value": object(),
    "deep": _deep(),
    "large": "x" * (MAX_RECORD_BYTES + 1),
    "bytes": b"x" * (MAX_RECORD_BYTES + 1),
    "complex": 1j,
}


@pytest.mark.parametrize("value", UNENCODABLE.values(), ids=UNENCODABLE)
@pytest.mark.parametrize("runtime", [False, True])
async def test_a_record_that_cannot_be_encoded_is_a_dead_letter_and_costs_no_other(
    tmp_path: Path, value: Any, runtime: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tmp_path / "j.db", FakeClock()
    run = tmp_path / "run" if runtime else None
    async with Journal.open(path, clock, 1.0, runtime=run) as j:
        j.append_sample(sample(clock, value=1))
        for _ in range(2):
            j.append_sample(Sample("d", clock.now(), {"x": value}))
            j.append("s", [Fact(EVENT, "d", "event", clock.now(), {"n": value})], {})
        j.append("s", [Fact(ALARM, "d", "alarm", clock.now(), {"n": value, "good": 7})], {"k": Row(7)})
        j.append("s", [fact(clock, EVENT, n=8)], {})
        j.append_sample(sample(clock, value=2))
        await window(j, clock)
        assert j.latest_samples["d"].body["values"] == {"x": 2}
        (alarm,) = await records(path, ALARM)
        assert alarm.body["good"] == 7
        assert isinstance(alarm.body["n"], str)
        letters = [(letter.lane, letter.seq, letter.reason) for letter in await j.reader.dead_letters()]
        assert letters == [
            (lane, seq, "unencodable")
            for lane, seqs in ((EVENT, (2, 5)), (TELEMETRY, (2, 3)))
            for seq in seqs
        ]
        assert await seqs(path, TELEMETRY) == [1, 4]
        gaps = [record.body for record in await records(path, EVENT) if record.kind == "gap"]
        assert [(gap["lane"], gap["first"], gap["reason"]) for gap in gaps] == [
            ("telemetry", 2, "dead"), ("event", 2, "dead"), ("telemetry", 3, "dead"), ("event", 5, "dead"),
        ]  # fmt: skip
        assert [record.body for record in await records(path, EVENT) if record.kind == "event"] == [
            {"n": 8}
        ]
    told = [line for line in caplog.messages if "record-unencodable" in line]
    assert len(told) == 3, "once each for alarm, event and telemetry"


async def test_a_row_of_a_service_that_cannot_be_encoded_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock):
        j.append("s", [fact(clock)], {"bad": Row(2**70), "\ud800": Row(1), "good": Row(3)})
        await j.commit()
        assert set(await j.reader.service_rows("s")) == {"good"}
    assert await seqs(path, ALARM) == [1]


async def test_dead_letters_are_bounded(tmp_path: Path) -> None:
    async with journal(tmp_path / "j.db") as (j, clock):
        for _ in range(MAX_DEAD_LETTERS + 5):
            j.append_sample(Sample("d", clock.now(), {"x": 2**70}))
        j.append_sample(Sample("e", clock.now(), {"x": 2**70}))
        await window(j, clock)
        letters = await j.reader.dead_letters()
        assert [letter.seq for letter in letters if letter.device == "d"] == list(
            range(6, MAX_DEAD_LETTERS + 6)
        )
        assert [letter.seq for letter in letters if letter.device == "e"] == [1]


@pytest.mark.parametrize("turns", range(8))
async def test_an_alarm_is_on_the_disk_after_a_stop_in_the_middle_of_its_commit(
    tmp_path: Path, turns: int
) -> None:
    """The daemon cancels `run`, and closing the journal cancels its tasks once more."""
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock):
        running = asyncio.create_task(j.run())
        await asyncio.sleep(0)
        j.append("s", [fact(clock)], {})
        committing = asyncio.create_task(j.commit())
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.sleep(0)
    assert await seqs(path, ALARM) == [1]
    await asyncio.wait([running, committing])


async def test_a_row_that_is_gone_is_deleted(tmp_path: Path) -> None:
    async with journal(tmp_path / "j.db") as (j, _):
        j.append("s", [], {"k": Row(1)})
        await j.commit()
        j.append("s", [], {"k": None})
        await j.commit()
        assert await j.reader.service_rows("s") == {}


async def test_everything_pending_is_committed_on_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock):
        j.append_sample(sample(clock))
        j.append("s", [fact(clock, EVENT)], {})
    assert await seqs(path, TELEMETRY) == [1]
    assert await seqs(path, EVENT) == [1]


async def test_sequence_numbers_go_on_after_an_orderly_restart(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    for _ in range(3):
        async with journal(path) as (j, clock):
            j.append_sample(sample(clock))
            j.append("s", [fact(clock), fact(clock, EVENT)], {})
    for lane in Lane:
        assert await seqs(path, lane) == [1, 2, 3]


async def test_a_new_device_leaves_once_it_is_known_on_the_disk(tmp_path: Path) -> None:
    """A crash would otherwise hand out its first numbers twice."""
    async with journal(tmp_path / "j.db") as (j, clock):
        j.append_sample(sample(clock))
        first = j.window_after(0)
        assert first is not None
        assert first.ready_count == 0
        await window(j, clock)
        assert first.ready_count == 1
        assert first.pos is not None
        j.append_sample(sample(clock))
        second = j.window_after(first.pos)
        assert second is not None
        assert second.ready_count == 1


async def test_no_more_leaves_ahead_of_the_disk_than_a_crash_would_skip(tmp_path: Path) -> None:
    async with journal(tmp_path / "j.db") as (j, clock):
        j.append_sample(sample(clock))
        await window(j, clock)
        for _ in range(MAX_SENT_UNCOMMITTED + 50):
            j.append_sample(sample(clock))
        open_window = j.window_after(1)
        assert open_window is not None
        assert open_window.ready_count == MAX_SENT_UNCOMMITTED


async def test_the_window_after_a_position_comes_from_memory_or_not_at_all(tmp_path: Path) -> None:
    async with journal(tmp_path / "j.db") as (j, clock):
        for _ in range(MAX_COMMITTED_WINDOWS * 3):
            j.append_sample(sample(clock))
            await window(j, clock)
        last = j.committed_pos[TELEMETRY]
        assert j.window_after(0) is None
        recent = j.window_after(last - 1)
        assert recent is not None
        assert recent.pos == last
        current = j.window_after(last)
        assert current is not None
        assert current.pos is None


async def test_the_cursor_is_durable_and_never_goes_back(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock):
        for _ in range(3):
            j.append("s", [fact(clock)], {})
            await j.commit()
        j.deliveries["uplink"].acknowledge(ALARM, 2)
        j.deliveries["uplink"].acknowledge(ALARM, 1)
    async with journal(path) as (j, _):
        assert j.deliveries["uplink"].positions[ALARM] == 2
        assert [pack.pos for pack in await j.reader.read_after(ALARM, 2, 10)] == [3]
        assert await j.reader.pending_count() == 1


async def refuse(_: object) -> list[int]:
    raise JournalFailed("journal-write", path="", reason="read-only")


async def test_what_a_failed_commit_held_is_in_the_next_one_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock):
        for n in range(6):
            j.append("s", [fact(clock, lane, n=n) for lane in (ALARM, EVENT)], {})
            await j.commit()

        async def refuse_while_more_comes(_: object) -> list[int]:
            j.deliveries["uplink"].acknowledge(ALARM, 4)
            j.append("s", [fact(clock, lane, n=7) for lane in (ALARM, EVENT)], {"k": Row(2)})
            return await refuse(_)

        with monkeypatch.context() as patch:
            patch.setattr(j._writer, "transact", refuse_while_more_comes)
            for lane, pos in ((ALARM, 2), (EVENT, 3)):
                j.deliveries["uplink"].acknowledge(lane, pos)
            j.append("s", [fact(clock, lane, n=6) for lane in (ALARM, EVENT)], {"k": Row(1), "old": Row(1)})
            with pytest.raises(JournalFailed):
                await j.commit()
        assert [alarm.body["n"] for alarm in j.uncommitted_alarms()] == [6, 7]
        await j.commit()
        async with JournalReader.open(path) as reader:
            assert [await reader.cursor_pos(lane) for lane in (ALARM, EVENT)] == [4, 3]
            rows = await reader.service_rows("s")
            assert {key: msgspec.msgpack.decode(body, type=Row).n for key, body in rows.items()} == {
                "k": 2,
                "old": 1,
            }
        for lane in (ALARM, EVENT):
            assert [record.body["n"] for record in await records(path, lane)] == list(range(8))
    async with journal(path) as (j, _):
        assert [j.deliveries["uplink"].positions[lane] for lane in (ALARM, EVENT)] == [4, 3]


async def test_after_a_failed_commit_the_newest_acknowledgement_alone_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock):
        for _ in range(3):
            j.append("s", [fact(clock)], {})
            await j.commit()
        for pos in (1, 2, 3):
            with monkeypatch.context() as patch:
                patch.setattr(j._writer, "transact", refuse)
                j.deliveries["uplink"].acknowledge(ALARM, pos)
                with pytest.raises(JournalFailed):
                    await j.commit()
        await j.commit()
        async with JournalReader.open(path) as reader:
            assert await reader.cursor_pos(ALARM) == 3


CRASH = """
import asyncio, os, signal, sys
from pathlib import Path
from gateway.base.clock import SystemClock
from gateway.journal import Journal
from gateway.model import Fact, Lane, Sample

async def main():
    clock = SystemClock()
    async with Journal.open(Path(sys.argv[1]), clock, 0.02) as journal:
        n = 0
        while True:
            n += 1
            for device in ("a", "b"):
                record = journal.append_sample(Sample(device, clock.now(), {"n": n}))
                window = journal._windows[-1]
                if window.ready_count == len(window.records):
                    print("left", device, record.seq, n)
            if n % 5 == 0:
                journal.append("s", [Fact(Lane.ALARM, "a", "alarm", clock.now(), {"n": n})], {})
                await journal.commit()
                print("safe", n)
            await asyncio.sleep(0.001)

asyncio.run(main())
"""


def crash(path: Path, seconds: float) -> list[list[str]]:
    """Write until killed; what the process said it had let go or made safe."""
    command = [sys.executable, "-u", "-c", textwrap.dedent(CRASH), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = [process.stdout.readline()]
        os.set_blocking(process.stdout.fileno(), True)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    return [line.split() for line in said if line.endswith("\n")]


async def test_kill_9_loses_nothing_committed_and_reuses_no_number(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    left: dict[tuple[str, str], str] = {}
    safe: set[str] = set()
    for round_ in range(6):
        for word, *rest in crash(path, 0.25 + round_ * 0.07):
            if word == "safe":
                safe.add(f"{round_}:{rest[0]}")
            else:
                key, content = (rest[0], rest[1]), f"{round_}:{rest[2]}"
                assert left.setdefault(key, content) == content, "a number was used twice"
    async with journal(path) as (j, _):
        alarms = [record async for record in j.reader.records(ALARM, 0)]
        stored: dict[str, set[int]] = {}
        async for record in j.reader.records(TELEMETRY, 0):
            assert record.seq not in stored.setdefault(record.device, set())
            stored[record.device].add(record.seq)
        gaps = [record async for record in j.reader.records(EVENT, 0) if record.kind == "gap"]
        await j.commit()
        gaps = [record async for record in j.reader.records(EVENT, 0) if record.kind == "gap"]
    assert len(alarms) >= len(safe) > 0
    assert [alarm.seq for alarm in alarms] == list(range(1, len(alarms) + 1))
    for device, numbers in stored.items():
        covered = {
            n
            for gap in gaps
            if gap.device == device
            for n in range(gap.body["first"], gap.body["last"] + 1)
        }
        assert set(range(1, max(numbers) + 1)) <= numbers | covered
        for name, seq in left:
            if name == device:
                assert int(seq) in numbers | covered, "it left, and neither row nor gap tells of it"


def crashed(path: Path) -> Path:
    """A copy of an open journal, as kill -9 would leave it."""
    copy = path.with_name(f"after-{path.name}")
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    return copy


async def test_numbers_are_passed_over_together_with_the_word_of_it(tmp_path: Path) -> None:
    """Killed again and again at the start: every number is a record's or in a gap record."""
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock):
        j.append_sample(sample(clock))
        await window(j, clock)
        path = crashed(path)
    for _ in range(3):
        async with journal(path):
            path = crashed(path)
    async with journal(path) as (j, clock):
        last = j.append_sample(sample(clock)).seq
        gaps = [r.body for r in [r async for r in j.reader.records(EVENT, 0)] if r.kind == "gap"]
    covered = {n for gap in gaps for n in range(gap["first"], gap["last"] + 1)}
    assert covered == set(range(2, last))
    assert await seqs(path, EVENT) == list(range(1, len(gaps) + 1))


async def test_numbers_of_evicted_records_are_not_used_again(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock):
        for _ in range(5):
            j.append("s", [fact(clock, EVENT)], {})
            await j.commit()
        j.deliveries["uplink"].acknowledge(EVENT, j.committed_pos[EVENT])
        assert await j._evict(EVENT)
        assert await seqs(path, EVENT) == []
        path = crashed(path)
    async with journal(path) as (j, clock):
        j.append("s", [fact(clock, EVENT)], {})
        await j.commit()
        assert await seqs(path, EVENT) == [6]


async def test_the_ledger_accounts_for_every_record(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock):
        for _ in range(10):
            j.append_sample(sample(clock))
            await window(j, clock)
        j.deliveries["uplink"].acknowledge(TELEMETRY, 4)
        first = (await j.reader.read_after(TELEMETRY, 4, 1))[0].records[0]
        j.deliveries["uplink"].drop([first], "thinned")
        j.deliveries["uplink"].acknowledge(TELEMETRY, 5)
        await j.commit()
        rows = {(row.lane, row.device): row for row in await j.reader.ledger()}
        row = rows[TELEMETRY, "d"]
        assert (row.measured, row.delivered, row.pending, row.dropped) == (10, 4, 5, {"thinned": 1})
        assert row.gaps == [(5, 5, "thinned")]
    async with JournalReader.open(path) as reader:
        again = {(row.lane, row.device): row for row in await reader.ledger()}
    assert again[TELEMETRY, "d"] == row


async def test_the_ledger_keeps_days_apart_and_survives_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock):
        j.append_sample(sample(clock))
        await window(j, clock)
        await clock.advance(400)
        clock.wall += 86_400_000
        j.append_sample(sample(clock)), j.append_sample(sample(clock))
        await window(j, clock)
        assert [(row.day, row.measured) for row in await j.reader.ledger()] == [
            ("2026-11-21", 1),
            ("2026-11-22", 2),
        ]
    async with JournalReader.open(path) as reader:
        assert [(row.day, row.measured) for row in await reader.ledger()] == [
            ("2026-11-21", 1), ("2026-11-22", 2),
        ]  # fmt: skip


async def test_years_of_gaps_stay_few_and_the_ledger_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each day something is lost, and some days in many places."""
    monkeypatch.setattr(journal_module, "CHECKPOINT_INTERVAL_S", 1.0)
    days, most = MAX_LEDGER_DAYS + 30, MAX_GAPS_PER_DAY
    async with journal(tmp_path / "j.db") as (j, clock):
        for day in range(days):
            for _ in range(2 * most if day % 50 == 0 else 1):
                lost, _ = j.append_sample(sample(clock)), j.append_sample(sample(clock))
                j.deliveries["uplink"].drop([lost], "thinned")
            await window(j, clock)
            clock.wall += 86_400_000
        rows = [row for row in await j.reader.ledger() if row.lane is TELEMETRY]
    assert len(rows) == MAX_LEDGER_DAYS
    assert {len(row.gaps) for row in rows} == {1, most}
    for row in rows:
        lost_count = 2 * most if len(row.gaps) == most else 1
        assert (row.measured, row.dropped) == (2 * lost_count, {"thinned": lost_count})
        first, until = row.gaps[0][0], row.gaps[0][0] + 2 * lost_count
        spans = [(start, end) for start, end, _ in row.gaps]
        assert spans[:-1] == [(number, number) for number in range(first, until, 2)][: len(spans) - 1]
        assert spans[-1] == (first + 2 * len(spans) - 2, until - 2), "the last one covers the rest"


@pytest.mark.parametrize(
    ("spans", "reported"),
    [
        ([(1, 6)], True),
        ([(5, 6), (1, 4)], True),
        ([(1, 4)], False),
        ([(1, 4), (1, 4)], False),
        ([(2, 6)], False),
        ([], False),
    ],
)
def test_a_gap_is_told_again_unless_records_tell_of_all_of_it(
    spans: list[tuple[int, int]], reported: bool
) -> None:
    assert is_reported(LedgerGap(TELEMETRY, "d", 1, 6, 6, "space"), spans) is reported
    assert is_reported(LedgerGap(TELEMETRY, "d", 1, 9, 6, "dead"), spans) is reported, (
        "genuine ones between"
    )


async def test_what_is_lost_in_a_row_is_one_gap(tmp_path: Path) -> None:
    async with journal(tmp_path / "j.db") as (j, clock):
        records = [j.append_sample(sample(clock)) for _ in range(10)]
        other = [j.append_sample(sample(clock, "other")) for _ in range(10)]
        for record in (*records[:4], *other[:3], *records[4:6], *records[7:9]):
            j.deliveries["uplink"].drop([record], "space")
        j.deliveries["uplink"].drop([records[6]], "disk")
        await window(j, clock)
        gaps = {
            (gap.device, gap.first, gap.last, gap.count, gap.reason) for _, gap in await j.reader.gaps()
        }
        assert gaps == {
            ("d", 1, 6, 6, "space"),
            ("d", 8, 9, 2, "space"),
            ("d", 7, 7, 1, "disk"),
            ("other", 1, 3, 3, "space"),
        }


async def test_a_dead_letter_is_kept_counted_and_told(tmp_path: Path, told: Any) -> None:
    async with journal(tmp_path / "j.db") as (j, clock):
        record = j.append_sample(sample(clock))
        await window(j, clock)
        delivery = j.deliveries["uplink"]
        delivery.dead_letter(record, "oversize")
        assert (told(), delivery.given_up) == (["record-given-up"], {"oversize": 1})
        await j.commit()
        assert [(d.device, d.seq, d.reason) for d in await j.reader.dead_letters()] == [
            ("d", 1, "oversize")
        ]
        gaps = [r.body async for r in j.reader.records(EVENT, 0)]
        assert gaps == [{"lane": "telemetry", "first": 1, "last": 1, "count": 1, "reason": "dead"}]
        delivery.dead_letter(j.append_sample(sample(clock)), "oversize")
        assert (told(), delivery.given_up) == (["record-given-up"], {"oversize": 2})


async def test_below_the_cap_the_oldest_telemetry_goes_and_alarms_stay(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    noise = os.urandom(3000).hex()
    async with journal(path, cap_bytes=16_000_000) as (j, clock):
        j.append("s", [fact(clock, n=1)], {})
        await j.commit()
        for n in range(1500):
            j.append_sample(Sample("d", clock.now(), {"x": noise[n % 100 :] + str(n)}))
            await window(j, clock)
        assert j.size_bytes <= 16_000_000
        assert j.dropped_count > 0
        oldest = (await j.reader.read_after(TELEMETRY, 0, 1))[0].records[0].seq
        gaps = [r.body async for r in j.reader.records(EVENT, 0) if r.kind == "gap"]
        lost = {n for gap in gaps for n in range(gap["first"], gap["last"] + 1)}
        assert lost == set(range(1, oldest))
        assert {gap["reason"] for gap in gaps} == {"space"}
        assert [r.body async for r in j.reader.records(ALARM, 0)] == [{"n": 1}]
        (row,) = [row for row in await j.reader.ledger() if row.lane is TELEMETRY]
        assert row.measured == 1500
        assert row.dropped == {"space": oldest - 1}
        assert row.delivered == 0
        assert row.pending == 1500 - (oldest - 1)


async def test_what_was_delivered_is_no_loss_when_it_goes(tmp_path: Path) -> None:
    noise = os.urandom(6000).hex()
    async with journal(tmp_path / "j.db", cap_bytes=16_000_000) as (j, clock):
        for n in range(1200):
            j.append_sample(Sample("d", clock.now(), {"x": noise + str(n)}))
            await window(j, clock)
            j.deliveries["uplink"].acknowledge(TELEMETRY, j.committed_pos[TELEMETRY])
        assert (await j.reader.read_after(TELEMETRY, 0, 1))[0].pos > 1
        assert j.dropped_count == 0


@pytest.mark.parametrize("delivered", [0, 1, 30, ROWS_PER_EVICTION, 100])
async def test_only_what_was_not_delivered_is_lost_when_the_oldest_rows_go(
    tmp_path: Path, delivered: int
) -> None:
    path, evicted, count = tmp_path / "j.db", ROWS_PER_EVICTION, 100
    async with journal(path) as (j, clock):
        for n in range(count):
            j.append("s", [fact(clock, n=n)], {})
            await j.commit()
        j.deliveries["uplink"].acknowledge(ALARM, delivered)
        assert await j._evict(ALARM)
        assert j.deliveries["uplink"].positions[ALARM] == max(delivered, evicted)
        assert await seqs(path, ALARM) == list(range(evicted + 1, count + 1))
        (row,) = [row for row in await j.reader.ledger() if row.lane is ALARM]
        lost = max(0, evicted - delivered)
        assert (row.measured, row.delivered, row.pending) == (
            count,
            delivered,
            count - max(delivered, evicted),
        )
        assert row.dropped == ({"space": lost} if lost else {})
        assert j.dropped_count == lost
        assert row.gaps == ([(delivered + 1, evicted, "space")] if lost else [])
    async with journal(path) as (j, _):
        assert j.deliveries["uplink"].positions[ALARM] == max(delivered, evicted)


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A disk of 12 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)], check=True)
    yield disk  # type: ignore[misc]
    subprocess.run(["umount", "-l", str(disk)], check=True)


async def test_a_full_disk_takes_alarms_and_tells_what_it_cost(small_disk: Path) -> None:
    path = small_disk / "j.db"
    noise = os.urandom(4000).hex()
    async with journal(path) as (j, clock):
        for n in range(200):
            j.append_sample(Sample("d", clock.now(), {"x": noise + str(n)}))
            await window(j, clock)
        stuffing = small_disk / "stuffing"
        with stuffing.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        failed = 0
        for n in range(2500):
            j.append_sample(Sample("d", clock.now(), {"x": noise + str(n)}))
            await clock.advance(1.0)
            if n % 100 == 0:
                j.append("s", [fact(clock, n=n)], {})
                try:
                    await j.commit()
                except JournalFailed:
                    failed += 1
        stuffing.unlink()
        await window(j, clock)
        await window(j, clock)
        assert j.failure is None
        alarms = [r.body["n"] async for r in j.reader.records(ALARM, 0)]
        assert alarms == list(range(0, 2500, 100)), "no alarm is lost to a full disk"
        numbers = {r.seq async for r in j.reader.records(TELEMETRY, 0)}
        gaps = [r.body async for r in j.reader.records(EVENT, 0) if r.kind == "gap"]
        lost = {n for gap in gaps for n in range(gap["first"], gap["last"] + 1)}
        assert gaps
        assert set(range(1, 2701)) == numbers | lost
        assert not numbers & lost


@pytest.mark.parametrize("crash", [False, True])
async def test_a_start_on_a_full_disk_takes_alarms(small_disk: Path, crash: bool) -> None:
    path = small_disk / "j.db"
    async with journal(path) as (j, clock):
        for _ in range(20):
            j.append_sample(Sample("d", clock.now(), {"x": os.urandom(4000).hex()}))
            await window(j, clock)
        if crash:
            path = crashed(path)
            shutil.copy(small_disk / "j.db-reserve", f"{path}-reserve")
    with (small_disk / "stuffing").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(512))
    async with journal(path) as (j, clock):
        j.append("s", [fact(clock, n=1)], {})
        with contextlib.suppress(JournalFailed):
            await j.commit()
        await window(j, clock)
        assert [r.body["n"] async for r in j.reader.records(ALARM, 0)] == [1]


async def test_memory_is_bounded_while_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with journal(tmp_path / "j.db") as (j, clock):
        with monkeypatch.context() as patch:
            patch.setattr(j._writer, "transact", refuse)
            first = j.window_after(0)
            for n in range(MAX_UNWRITTEN_WINDOWS + 100):
                j.append_sample(sample(clock, value=n))
                await clock.advance(1.0)
            assert len(j._windows) <= MAX_UNWRITTEN_WINDOWS + 2
            assert first is not None
            assert first.pos == 0, "who was sending it must not wait for its commit"
            assert j.failure is not None
        await window(j, clock)
        gaps = [r.body async for r in j.reader.records(EVENT, 0)]
        assert gaps
        assert {gap["reason"] for gap in gaps} == {"disk"}
        numbers = {r.seq async for r in j.reader.records(TELEMETRY, 0)}
        lost = {n for gap in gaps for n in range(gap["first"], gap["last"] + 1)}
        assert numbers | lost == set(range(1, MAX_UNWRITTEN_WINDOWS + 101))


async def test_readers_never_stand_in_the_writers_way(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock), JournalReader.open(path) as reader:
        seen = await reader.data_version()
        for _ in range(3):
            j.append("s", [fact(clock)], {})
            await asyncio.gather(j.commit(), reader.ledger(), reader.read_after(ALARM, 0, 10))
        assert await reader.data_version() != seen


async def test_a_damaged_row_is_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock):
        for _ in range(3):
            j.append("s", [fact(clock)], {})
            await j.commit()
        await j._writer.transact([("UPDATE alarm SET body = zeroblob(20) WHERE pos = 2", ())])
        async with JournalReader.open(path) as reader:
            packs: list[RecordPack] = await reader.read_after(ALARM, 0, 10)
            assert [len(pack.records) for pack in packs] == [1, 0, 1]
            assert reader.damaged == 1
        with pytest.raises(JournalDamaged):
            await j.reader.read_after(ALARM, 0, 10)
    async with journal(path) as (j, _):
        assert j.damaged_copy is not None
        assert [r.seq async for r in j.reader.records(ALARM, 0)] == [1, 3]
        gaps = [r.body async for r in j.reader.records(EVENT, 0)]
        assert {"lane": "alarm", "first": 2, "last": 2, "count": 1, "reason": "damaged"} in gaps
