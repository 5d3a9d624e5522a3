"""A journal whose files are deleted, replaced or cut while it is open is noticed, and goes on."""

import asyncio
import os
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.journal import Journal, JournalDamaged, JournalFailed, JournalLost
from gateway.journal.salvage import SKIPPED_SEQUENCE_NUMBERS, mark_damaged
from gateway.model import Lane
from tests.clock import FakeClock
from tests.gateway.journal.test_journal import Row, fact, journal, records, sample, seqs, window
from tests.gateway.journal.test_salvage import zero

ALARM, EVENT, TELEMETRY = Lane


def _delete(path: Path) -> None:
    path.unlink()


def _delete_all(path: Path) -> None:
    for file in path.parent.glob("j.db*"):
        file.unlink()


def _delete_log(path: Path) -> None:
    path.with_name("j.db-wal").unlink()


def _delete_index(path: Path) -> None:
    path.with_name("j.db-shm").unlink()


def _rename(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def _replace(path: Path) -> None:
    path.with_name("other").write_bytes(b"something else" * 1000)
    path.with_name("other").replace(path)


def _replace_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def _cut_log(path: Path) -> None:
    os.truncate(path.with_name("j.db-wal"), 0)


def _cut(path: Path) -> None:
    os.truncate(path, 0)


def _cut_after_the_header(path: Path) -> None:
    os.truncate(path, 5000)


def _cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


WHOLE = [
    _delete,
    _delete_all,
    _delete_log,
    _delete_index,
    _rename,
    _replace,
    _replace_by_a_folder,
    _remove_folder,
]
PARTS = [_cut, _cut_after_the_header, _cut_in_half, _cut_log]


async def lost(path: Path, runtime: Path, clock: FakeClock, lose: Callable[[Path], None]) -> str:
    """Write, lose the files while it is open, and return the epoch once the writer has noticed."""
    async with Journal.open(path, clock, 1.0, runtime=runtime) as j:
        for n in range(3):
            j.append_sample(sample(clock, value=n))
            j.append("s", [fact(clock, n=n), fact(clock, EVENT, n=n)], {"k": Row(n)})
            await window(j, clock)
        running = asyncio.create_task(j.run())
        lose(path)
        j.append_sample(sample(clock, value=3))
        j.append("s", [fact(clock, n=3)], {"k": Row(3)})
        await clock.advance(1.0)
        await asyncio.wait([running])
        assert isinstance(running.exception(), JournalLost)
        return j.epoch


@pytest.mark.parametrize("lose", WHOLE)
async def test_files_that_are_still_open_are_copied_and_nothing_is_lost(
    tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    path, clock = tmp_path / "state" / "j.db", FakeClock()
    epoch = await lost(path, tmp_path / "run", clock, lose)
    for _ in range(2):
        async with Journal.open(path, clock, 1.0, runtime=tmp_path / "run") as j:
            assert j.epoch == epoch
            assert await seqs(path, ALARM) == [1, 2, 3, 4], "what was pending too"
            assert await seqs(path, EVENT) == [1, 2, 3]
            assert await seqs(path, TELEMETRY) == [1, 2, 3, 4]
            assert set(await j.reader.service_rows("s")) == {"k"}
            assert await j.reader.gaps() == []
    assert not path.with_name("j.db-rescued").exists()
    assert len(list(path.parent.glob("j.db.damaged-*"))) == (
        lose not in (_delete, _delete_all, _rename, _remove_folder)
    ), "what stood in its place is kept"


@pytest.mark.parametrize("lose", PARTS)
async def test_cut_files_are_noticed_and_every_number_is_accounted_for(
    tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    path, clock = tmp_path / "state" / "j.db", FakeClock()
    epoch = await lost(path, tmp_path / "run", clock, lose)
    async with Journal.open(path, clock, 1.0, runtime=tmp_path / "run") as j:
        assert j.epoch == epoch, "the platform learns what is missing of the streams that it knows"
        record = j.append_sample(sample(clock))
        assert record.seq > 3
        j.append("s", [fact(clock)], {})
        await window(j, clock)
        for lane, written in ((ALARM, 3), (EVENT, 3), (TELEMETRY, 3)):
            gaps = [(gap.first, gap.last) for _, gap in await j.reader.gaps() if gap.lane is lane]
            left = await seqs(path, lane)
            assert len(set(left)) == len(left)
            for seq in range(1, written + 1):
                assert seq in left or any(first <= seq <= last for first, last in gaps), (lane, seq)
        told = [r.body["lane"] async for r in j.reader.records(EVENT, 0) if r.kind == "gap"]
        assert set(told) == {gap.lane.name.lower() for _, gap in await j.reader.gaps()}


@asynccontextmanager
async def reopened(path: Path, clock: FakeClock) -> AsyncIterator[Journal]:
    mark_damaged(path)
    async with journal(path, clock) as (j, _):
        yield j


async def test_a_stream_whose_only_row_was_lost_does_not_begin_at_one_again(tmp_path: Path) -> None:
    """Nobody remembers it: its numbers may have been used in the part that is lost."""
    path, clock = tmp_path / "j.db", FakeClock()
    async with journal(path, clock) as (j, _):
        j.append("s", [fact(clock, EVENT)], {})
        await j.commit()
    for turn in (1, 2):
        async with reopened(path, clock) as j:
            j.append("s", [fact(clock, ALARM, f"gateway-{turn}")], {})
            await j.commit()
            (seq,) = await seqs(path, ALARM, f"gateway-{turn}")
            assert seq > turn * SKIPPED_SEQUENCE_NUMBERS
            gaps = [gap for _, gap in await j.reader.gaps() if gap.device == f"gateway-{turn}"]
            assert {(gap.lane, gap.first, gap.reason) for gap in gaps} == {
                (ALARM, 1, "damaged"), (EVENT, 1, "damaged"),
            }  # fmt: skip
            assert all(gap.last == seq - 1 for gap in gaps if gap.lane is ALARM)


async def test_the_row_of_a_rare_alarm_on_a_zeroed_page_does_not_give_its_number_twice(
    tmp_path: Path,
) -> None:
    path, clock = tmp_path / "j.db", FakeClock()
    async with journal(path, clock) as (j, _):
        for n in range(40):
            j.append("s", [fact(clock, EVENT, f"d{n}", text=n) for _ in range(9)], {})
            await j.commit()
    async with journal(path, clock) as (j, _):
        j.append("s", [fact(clock, ALARM, "gateway", n=12345678)], {})
        await j.commit()
        # Killed here: the checkpoint of the sequence numbers does not know the stream.
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", tmp_path / f"copy.db{suffix}")
    copy = tmp_path / "copy.db"
    log = copy.with_name("copy.db-wal")
    zero(log, 0, log.stat().st_size // 1024)
    mark_damaged(copy)
    async with journal(copy, clock) as (j, _):
        j.append("s", [fact(clock, ALARM, "gateway", n=1)], {})
        await j.commit()
        assert min(await seqs(copy, ALARM, "gateway")) > SKIPPED_SEQUENCE_NUMBERS


async def test_watching_the_files_leaves_the_locks_on_them_alone(tmp_path: Path) -> None:
    """Closing any descriptor of a file ends all locks of the process on it: another process that closes the
    file would take itself for the last one, and delete the log."""
    path, log = tmp_path / "j.db", tmp_path / "j.db-wal"
    clock = FakeClock()
    async with journal(path, clock) as (j, _):
        j.append("s", [fact(clock)], {})
        await window(j, clock)
        before = log.stat()
        code = f"import sqlite3; d = sqlite3.connect({str(path)!r}); d.execute('SELECT * FROM alarm')"
        subprocess.run([sys.executable, "-c", code], check=True)
        assert (log.stat().st_ino, log.stat().st_size) == (before.st_ino, before.st_size)
        with pytest.raises(JournalFailed):
            await j.reader._database.rows("SELECT * FROM nothing")
        subprocess.run([sys.executable, "-c", code], check=True)
        assert (log.stat().st_ino, log.stat().st_size) == (before.st_ino, before.st_size)
        j.append("s", [fact(clock)], {})
        await window(j, clock)
    assert await seqs(path, ALARM) == [1, 2]


@pytest.mark.parametrize("seed", range(12))
async def test_no_number_is_used_twice_however_often_it_is_lost(tmp_path: Path, seed: int) -> None:
    path, clock, chance = tmp_path / "state" / "j.db", FakeClock(), random.Random(seed)
    seen: dict[tuple[str, Lane, str, int], object] = {}
    for life in range(6):
        lose = chance.choice([_cut, _cut_after_the_header, _cut_in_half, _cut_log, _delete_all, _replace])
        async with Journal.open(path, clock, 1.0, runtime=tmp_path / "run") as j:
            for n in range(chance.randint(1, 4)):
                device = f"d{chance.randint(0, 5)}"
                j.append_sample(sample(clock, device, life * 10 + n))
                j.append("s", [fact(clock, chance.choice((ALARM, EVENT)), device, n=life * 10 + n)], {})
                await window(j, clock)
            for lane in Lane:
                for record in await records(path, lane):
                    key = j.epoch, lane, record.device, record.seq
                    assert seen.setdefault(key, record) == record, (life, lose, key)
            running = asyncio.create_task(j.run())
            await asyncio.sleep(0)
            lose(path)
            await clock.advance(1.0)
            await asyncio.wait([running])
            assert isinstance(running.exception(), JournalLost)


@pytest.mark.parametrize("lose", [_delete_all, _cut])
async def test_a_lost_journal_leaves_no_file_open(tmp_path: Path, lose: Callable[[Path], None]) -> None:
    """The daemon goes on and opens it again: what stays open adds up."""
    for life in range(4):
        await lost(tmp_path / "state" / "j.db", tmp_path / "run", FakeClock(), lose)
        if life == 0:  # The process's counters are opened once.
            before = len(os.listdir("/proc/self/fd"))
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_cut_that_a_reader_finds_first_costs_no_number(tmp_path: Path) -> None:
    path, clock = tmp_path / "j.db", FakeClock()
    async with Journal.open(path, clock, 1.0, runtime=tmp_path / "run") as j:
        j.append("s", [fact(clock)], {})
        await window(j, clock)
        await j._writer.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        j._writer._known_files.clear()
        j._writer.check_files()
        epoch = j.epoch
        _cut(path)
        running = asyncio.create_task(j.run())
        with pytest.raises(JournalDamaged):
            j._fail_on_damage()
        await asyncio.wait([running])
        assert isinstance(running.exception(), JournalLost)
    async with Journal.open(path, clock, 1.0, runtime=tmp_path / "run") as j:
        assert j.epoch == epoch
        j.append("s", [fact(clock)], {})
        await window(j, clock)
        assert (await seqs(path, ALARM))[-1] == 2
