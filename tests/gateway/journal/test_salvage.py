"""A damaged journal is put aside whole, and what is sound goes on."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from gateway.journal import Journal, JournalDamaged, JournalReader
from gateway.journal.rows import pack_records
from gateway.journal.salvage import SKIPPED_SEQUENCE_NUMBERS, mark_damaged
from gateway.journal.space import PAGE_BYTES
from gateway.model import ClockQuality, Lane, Record, Sample, Stamp
from tests.clock import FakeClock
from tests.gateway.journal.test_journal import Row, fact, journal, sample, window


async def written(path: Path, windows: int = 60) -> None:
    """A journal with telemetry, alarms and state, closed in order and its log folded in."""
    async with journal(path) as (j, clock):
        for n in range(windows):
            noise = os.urandom(700).hex()
            j.append_sample(Sample("d", clock.now(), {"x": n, "noise": noise}))
            await window(j, clock)
            if n % 10 == 0:
                j.append("s", [fact(clock, n=n)], {"k": Row(n)})
                await j.commit()


def zero(path: Path, page: int, count: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE_BYTES)
        file.write(bytes(PAGE_BYTES * count))


@pytest.mark.parametrize("seed", range(8))
async def test_zeroed_pages_cost_only_what_stood_on_them(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "j.db"
    await written(path)
    pages = path.stat().st_size // PAGE_BYTES
    hit = random.Random(seed).randrange(1, pages - 2)
    zero(path, hit, 2)
    async with journal(path) as (j, clock):
        telemetry = [r async for r in j.reader.records(Lane.TELEMETRY, 0)]
        alarms = [r.body["n"] async for r in j.reader.records(Lane.ALARM, 0)]
        assert len(telemetry) >= 50
        assert len(alarms) >= 5
        assert {r.body["values"]["x"] for r in telemetry} <= set(range(60)), "nothing is made up"
        record = j.append_sample(sample(clock))
        assert record.seq not in {r.seq for r in telemetry}
        if j.damaged_copy is not None:
            assert j.damaged_copy.exists()
            assert record.seq > SKIPPED_SEQUENCE_NUMBERS
            assert not path.with_name("j.db-damaged").exists()
        await window(j, clock)
        assert j.failure is None


async def test_a_file_that_is_no_database_is_put_aside_and_work_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await written(path, 3)
    path.write_bytes(os.urandom(5000))
    async with journal(path) as (j, clock):
        assert j.damaged_copy is not None
        j.append("s", [fact(clock)], {})
        await j.commit()
        assert [r.seq async for r in j.reader.records(Lane.ALARM, 0)] == [1]
    async with journal(path) as (j, _):
        assert j.damaged_copy is None


async def test_a_second_damage_does_not_overwrite_the_first_evidence(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    for _ in range(2):
        path.write_bytes(b"not a database, not at all" * 100)
        async with journal(path) as (j, _):
            assert j.damaged_copy is not None
    assert len(list(tmp_path.glob("j.db.damaged-?"))) == 2


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
async def test_a_cut_file_gives_what_is_left_and_work_goes_on(tmp_path: Path, part: float) -> None:
    path = tmp_path / "j.db"
    await written(path)
    os.truncate(path, int(path.stat().st_size * part))
    async with journal(path) as (j, clock):
        assert j.damaged_copy is not None
        left = {r.body["n"] async for r in j.reader.records(Lane.ALARM, 0)}
        assert left <= set(range(0, 60, 10))
        j.append("s", [fact(clock, n=99)], {})
        await j.commit()
        assert {r.body["n"] async for r in j.reader.records(Lane.ALARM, 0)} == left | {99}


async def test_the_identity_is_kept_where_it_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await written(path)
    async with JournalReader.open(path) as reader:
        epoch = await reader.read_meta("epoch")
    mark_damaged(path)
    async with journal(path) as (j, clock):
        assert j.epoch == epoch
        assert j.deliveries["uplink"].positions == dict.fromkeys(Lane, 0)
        assert j.append_sample(sample(clock)).seq > SKIPPED_SEQUENCE_NUMBERS
        assert len([r async for r in j.reader.records(Lane.TELEMETRY, 0)]) == 60
        assert set(await j.reader.service_rows("s")) == {"k"}


async def test_damage_found_while_running_is_marked_for_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await written(path)
    async with Journal.open(path, FakeClock()) as j:
        zero(path, 3, 200)
        with pytest.raises(JournalDamaged):
            await j.verify()
    assert path.with_name("j.db-damaged").exists()
    async with journal(path) as (j, _):
        assert j.damaged_copy is not None


async def test_a_salvage_that_is_killed_anywhere_is_done_again_or_done(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await written(path)
    async with JournalReader.open(path) as reader:
        epoch = await reader.read_meta("epoch")
    mark_damaged(path)
    stages = [*(f"salvage:{n}" for n in range(1, 10)), "quarantine:1", "quarantine:2", "quarantine:1"]
    killed = 0
    for stage in stages:
        environment = {**os.environ, "LINLI_KILL_AT": stage}
        process = subprocess.run([sys.executable, "-c", OPEN, str(path)], check=False, env=environment)
        killed += process.returncode == -signal.SIGKILL
    assert killed == len(stages)
    async with journal(path) as (j, clock):
        assert j.epoch == epoch
        assert [r.seq async for r in j.reader.records(Lane.TELEMETRY, 0)] == list(range(1, 61))
        assert j.append_sample(sample(clock)).seq > SKIPPED_SEQUENCE_NUMBERS


async def test_what_damage_cost_is_told_and_positions_never_go_back(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with journal(path) as (j, clock):
        for n in range(10):
            j.append_sample(sample(clock, value=n))
            await window(j, clock)
        j.deliveries["uplink"].acknowledge(Lane.TELEMETRY, 4)
        await j.commit()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE telemetry SET crc = 0 WHERE pos IN (2, 6, 7, 10)")
        db.execute("INSERT INTO cursor VALUES ('uplink', 1, 10)")
    db.close()
    mark_damaged(path)
    async with journal(path) as (j, clock):
        await j.commit()
        gaps = [
            r.body async for r in j.reader.records(Lane.EVENT, 0) if r.kind == "gap" and r.device == "d"
        ]
        told = [(gap["first"], gap["last"], gap["count"]) for gap in gaps if gap["lane"] == "telemetry"]
        assert told == [(6, 7, 2), (10, 10 + SKIPPED_SEQUENCE_NUMBERS, 1)], (
            "2 was delivered; whether skipped ones were used is unknown"
        )
        assert {gap["reason"] for gap in gaps} == {"damaged"}
        assert j.append_sample(sample(clock)).seq == 11 + SKIPPED_SEQUENCE_NUMBERS
        await window(j, clock)
        assert j.committed_pos[Lane.TELEMETRY] == 11
        assert min(pack.pos for pack in await j.reader.read_after(Lane.EVENT, 0, 9)) > 10, (
            "nobody looks below a cursor"
        )
        for row in await j.reader.ledger():
            assert row.measured == row.delivered + row.pending + sum(row.dropped.values())


async def test_a_log_torn_in_the_middle_is_noticed(tmp_path: Path) -> None:
    path, copy = tmp_path / "j.db", tmp_path / "copy.db"
    async with journal(path) as (j, clock):
        for n in range(10):
            j.append("s", [fact(clock, n=n)], {})
            await j.commit()
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    log = copy.with_name("copy.db-wal")
    data, frame = log.read_bytes(), PAGE_BYTES + 24
    present = [
        start for start in range(32, len(data), frame) if data[start + 8 : start + 16] == data[16:24]
    ]
    with log.open("r+b") as file:
        file.seek(present[len(present) // 2])
        file.write(bytes(PAGE_BYTES))
    async with journal(copy) as (j, clock):
        assert j.damaged_copy is not None
        j.append("s", [fact(clock, n=99)], {})
        await j.commit()
        assert [r.seq async for r in j.reader.records(Lane.ALARM, 0)][-1] > 10


def old_database(path: Path, version: int) -> None:
    """A journal as an earlier version of the software left it."""
    stamp = Stamp(1_795_252_000_000, 1, "boot", ClockQuality.SET)
    body, crc = pack_records([Record(Lane.ALARM, "d", 1, "alarm", stamp, {"n": 1})])
    with sqlite3.connect(path) as db:
        for number in range(1, version + 1):
            db.executescript(files("gateway.journal").joinpath(f"schema/{number:04}.sql").read_text())
        db.execute(f"PRAGMA user_version={version}")
        db.execute("INSERT INTO alarm (count, body, crc) VALUES (1, ?, ?)", (body, crc))
        db.execute("INSERT INTO stream VALUES (0, 'd', 1)")
        db.execute("UPDATE meta SET value = '[1,0,0]' WHERE key = 'checkpoint'")
    db.close()


LATEST = max(int(file.name[:4]) for file in files("gateway.journal").joinpath("schema").iterdir())


@pytest.mark.parametrize("version", range(1, LATEST + 1))
async def test_every_older_schema_is_brought_up_to_date_with_its_records(
    tmp_path: Path, version: int
) -> None:
    path = tmp_path / "j.db"
    old_database(path, version)
    async with journal(path) as (j, clock):
        assert [r.body async for r in j.reader.records(Lane.ALARM, 0)] == [{"n": 1}]
        j.append("s", [fact(clock)], {})
        await j.commit()
        assert [r.seq async for r in j.reader.records(Lane.ALARM, 0)] == [1, 2]
        assert tuple(await j.reader._database.rows("PRAGMA user_version")) == ((LATEST,),)


OPEN = """
import asyncio, sys
from pathlib import Path
from gateway.base.clock import SystemClock
from gateway.journal import Journal

async def main():
    async with Journal.open(Path(sys.argv[1]), SystemClock()):
        pass

asyncio.run(main())
"""

KILL_IN_MIGRATION = """
import os, signal, sqlite3, sys

connect, statements_left, in_migration = sqlite3.connect, int(sys.argv[2]), False

def trace(statement):
    global statements_left, in_migration
    in_migration |= statement.startswith("BEGIN IMMEDIATE")
    statements_left -= in_migration
    if statements_left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

def traced(*args, **options):
    connection = connect(*args, **options)
    connection.set_trace_callback(trace)
    return connection

sqlite3.connect = traced
"""


@pytest.mark.timeout(180)
async def test_a_migration_that_is_killed_is_old_or_new_never_half(tmp_path: Path) -> None:
    """Killed before each of its statements, and before the one after them."""
    template = tmp_path / "old.db"
    old_database(template, 1)
    schema = files("gateway.journal").joinpath("schema")
    scripts = [schema.joinpath(f"{number:04}.sql").read_text() for number in range(2, LATEST + 1)]
    count = sum(script.count(";\n") + len(("BEGIN", "PRAGMA", "COMMIT")) for script in scripts)
    versions = []
    for executed in range(count + 1):
        path = Path(shutil.copy(template, tmp_path / f"{executed}.db"))
        killed = subprocess.run(
            [sys.executable, "-c", KILL_IN_MIGRATION + OPEN, str(path), str(executed)],
            timeout=50,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL
        with sqlite3.connect(path) as db:
            ((version,),) = db.execute("PRAGMA user_version").fetchall()
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        db.close()
        versions.append(version)
        assert ("day" in tables) == ("gap" in tables) == ("dead" in tables) == (version > 1)
        async with journal(path) as (j, _):
            assert [r.body async for r in j.reader.records(Lane.ALARM, 0)] == [{"n": 1}]
            assert await j.reader.gaps() == []
    assert versions == sorted(versions)
    assert (versions[0], versions[-2], versions[-1]) == (1, LATEST - 1, LATEST)
