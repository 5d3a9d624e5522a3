"""The end of the process costs nothing; the end of the power costs at most a window, and is told."""

import contextlib
import itertools
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.base.clock import SystemClock
from gateway.journal import Journal
from gateway.journal.rows import encode
from gateway.journal.tail import Tail
from gateway.model import ClockQuality, Fact, Lane, Record, Sample, Stamp
from tests.clock import FakeClock


def record(seq: int, device: str = "d") -> Record:
    at = Stamp(1_795_252_000_000 + seq, seq, "boot", ClockQuality.SET)
    return Record(Lane.TELEMETRY, device, seq, "sample", at, {"quality": "good", "values": {"n": seq}})


def tail_in(folder: Path, *, journal: str = "j.db", boot: str = "boot-1", epoch: str = "epoch-1") -> Tail:
    return Tail(folder, Path(journal), boot, epoch)


@contextlib.contextmanager
def written(folder: Path, *records: Record) -> Iterator[Tail]:
    """The tail of a process that runs, with these records."""
    with contextlib.closing(tail_in(folder)) as tail:
        tail.reset({}, map(encode, records))
        yield tail


def found(folder: Path) -> list[Record]:
    left = tail_in(folder).recover()
    assert left is not None
    return left.records


def test_what_was_added_is_found_by_the_next_process(tmp_path: Path) -> None:
    tail = tail_in(tmp_path)
    assert tail.recover() is None, "nobody has written here"
    tail.reset({}, [encode(record(1))])
    tail.add(encode(record(2)))
    assert found(tmp_path) == [record(1), record(2)]
    tail.reset({}, [encode(record(2))])
    tail.add(encode(record(3)))
    assert found(tmp_path) == [record(2), record(3)]
    tail.remove()
    assert tail_in(tmp_path).recover() is None


def test_a_tail_is_its_owners_alone_and_makes_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "linli"
    with written(folder, record(1)):
        (file,) = folder.iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
    assert found(folder) == [record(1)]


def test_a_tail_that_is_closed_or_removed_takes_nothing_more(tmp_path: Path) -> None:
    tail = tail_in(tmp_path)
    tail.add(encode(record(1)))
    assert tail.recover() is None
    tail.reset({}, [encode(record(1))])
    tail.close()
    tail.add(encode(record(2)))
    tail.close()
    assert found(tmp_path) == [record(1)]
    tail.remove()
    tail.commit({(Lane.TELEMETRY, "d"): 1})
    tail.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_tail_of_another_boot_or_journal_is_void(tmp_path: Path) -> None:
    with written(tmp_path, record(1)):
        pass
    assert tail_in(tmp_path, boot="boot-2").recover() is None
    assert tail_in(tmp_path, epoch="epoch-2").recover() is None
    assert tail_in(tmp_path, journal="other.db").recover() is None
    assert tail_in(tmp_path).recover() is not None


def test_a_new_journal_continues_the_epoch_of_the_lost_one_at_its_path(tmp_path: Path) -> None:
    with written(tmp_path, record(1)):
        pass
    assert tail_in(tmp_path, boot="boot-2").continue_lost() == ""
    assert tail_in(tmp_path, journal="other.db").continue_lost() == ""
    begun_anew = tail_in(tmp_path, epoch="epoch-2")
    assert begun_anew.continue_lost() == "epoch-1"
    assert begun_anew.recover() is not None


def test_a_folder_that_takes_nothing_leaves_no_tail_to_rely_on(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        tail = tail_in(disk)
        tail.reset({}, [])
        for seq in range(1, 2000):
            tail.add(encode(record(seq)))
        assert tail_in(disk).recover() is None, "half a tail would be worse than none"
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_garbage_and_cut_files_are_no_records(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("tail")
    with written(folder, record(1), record(2)):
        path = next(folder.iterdir())
    path.write_bytes(path.read_bytes()[:cut] + junk)
    left = tail_in(folder).recover()
    assert left is None or left.records == [record(1), record(2)][: len(left.records)]


LIFE = """
import asyncio, sys
from pathlib import Path
from gateway.base.clock import SystemClock
from gateway.base.clock import SystemClock
from gateway.journal import Journal
from gateway.model import Sample

async def main():
    clock = SystemClock()
    async with Journal.open(Path(sys.argv[1]) / "j.db", clock, 0.05, runtime=Path(sys.argv[1])) as journal:
        for n in range(1_000_000):
            for device in ("a", "b"):
                record = journal.append_sample(Sample(device, clock.now(), {"n": n}))
                print(device, record.seq, n, flush=True)
            await asyncio.sleep(0.001)

asyncio.run(main())
"""


async def test_kill_9_costs_not_one_sample(tmp_path: Path) -> None:
    taken: list[tuple[str, int, int]] = []
    for life in range(6):
        command = [sys.executable, "-c", textwrap.dedent(LIFE), str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            said = list(itertools.islice(process.stdout, 150 + 37 * life))
            process.send_signal(signal.SIGKILL)
            said += process.stdout.readlines()
        words = (line.split() for line in said if line.endswith("\n"))
        taken += [(device, int(seq), int(n)) for device, seq, n in words]
    assert len(taken) > 900
    async with Journal.open(tmp_path / "j.db", SystemClock(), runtime=tmp_path) as journal:
        kept = {
            (r.device, r.seq): r.body["values"]["n"]
            async for r in journal.reader.records(Lane.TELEMETRY, 0)
        }
        gaps = [r async for r in journal.reader.records(Lane.EVENT, 0) if r.kind == "gap"]
    assert gaps == []
    for device, seq, n in taken:
        assert kept[device, seq] == n
    for device in ("a", "b"):
        assert {seq for name, seq in kept if name == device} == set(
            range(1, max(seq for name, seq in kept if name == device) + 1)
        )


async def test_after_a_power_cut_numbers_are_passed_over_and_told(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(LIFE), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        list(itertools.islice(process.stdout, 200))
        process.send_signal(signal.SIGKILL)
    async with Journal.open(tmp_path / "j.db", FakeClock(), runtime=tmp_path) as journal:
        await journal.commit()
        gaps = [r.body["reason"] async for r in journal.reader.records(Lane.EVENT, 0) if r.kind == "gap"]
    assert gaps == ["restart", "restart"]


async def test_numbers_that_damage_took_are_not_used_again(tmp_path: Path) -> None:
    """The end of the log is gone, as if it had never been written: only the tail remembers."""
    path, clock = tmp_path / "j.db", FakeClock()
    async with Journal.open(path, clock, runtime=tmp_path) as journal:
        log = _log(path)
        before = [(path, path.read_bytes()), *([(log, log.read_bytes())] if log.exists() else [])]
        journal.append("s", [Fact(Lane.ALARM, "d", "alarm", clock.now(), {"n": 1})], {})
        await journal.commit()
        journal.append_sample(Sample("d", clock.now(), {"n": 1}))
        await clock.advance(1.0)
        await journal.commit()
        journal.append_sample(Sample("d", clock.now(), {"n": 2}))
        tails = [(file, file.read_bytes()) for file in tmp_path.glob("tail-?")]
    for file, data in (*before, *tails):
        file.write_bytes(data)
    async with Journal.open(path, clock, runtime=tmp_path) as journal:
        await journal.commit()
        journal.append("s", [Fact(Lane.ALARM, "d", "alarm", clock.now(), {"n": 9})], {})
        await journal.commit()
        assert [r.seq async for r in journal.reader.records(Lane.ALARM, 0)] == [2]
        assert [r.seq async for r in journal.reader.records(Lane.TELEMETRY, 0)] == [2]
        gaps = [r.body async for r in journal.reader.records(Lane.EVENT, 0) if r.kind == "gap"]
        assert [(gap["lane"], gap["first"], gap["last"], gap["reason"]) for gap in gaps] == [
            ("alarm", 1, 1, "damaged"), ("telemetry", 1, 1, "damaged"),
        ]  # fmt: skip


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")
