"""The end of the process costs nothing; the end of the power costs at most a window, and is told."""

import itertools
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import SystemClock
from gateway.journal import Journal
from gateway.journal.tail import Tail
from gateway.model import ClockQuality, Lane, Record, Stamp
from tests.clock import FakeClock


def record(seq: int, device: str = "d") -> Record:
    at = Stamp(1_795_252_000_000 + seq, seq, "boot", ClockQuality.SET)
    return Record(Lane.TELEMETRY, device, seq, "sample", at, {"quality": "good", "values": {"n": seq}})


def test_what_was_added_is_found_by_the_next_process(tmp_path: Path) -> None:
    tail = Tail(tmp_path, "me")
    assert tail.recover() is None, "nobody has written here"
    tail.reset([record(1)])
    tail.add(record(2))
    assert Tail(tmp_path, "me").recover() == [record(1), record(2)]
    tail.reset([record(2)])
    tail.add(record(3))
    assert Tail(tmp_path, "me").recover() == [record(2), record(3)]
    tail.remove()
    assert Tail(tmp_path, "me").recover() is None


def test_the_tail_of_another_boot_or_journal_is_void(tmp_path: Path) -> None:
    tail = Tail(tmp_path, "epoch-1 boot-1")
    tail.reset([record(1)])
    assert Tail(tmp_path, "epoch-1 boot-2").recover() is None
    assert Tail(tmp_path, "epoch-2 boot-1").recover() is None


def test_a_folder_that_takes_nothing_leaves_no_tail_to_rely_on(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        tail = Tail(disk, "me")
        tail.reset([])
        for seq in range(1, 2000):
            tail.add(record(seq))
        assert Tail(disk, "me").recover() is None, "half a tail would be worse than none"
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_garbage_and_cut_files_are_no_records(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("tail")
    tail = Tail(folder, "me")
    tail.reset([record(1), record(2)])
    path = next(folder.iterdir())
    path.write_bytes(path.read_bytes()[:cut] + junk)
    found = Tail(folder, "me").recover()
    assert found is None or found == [record(1), record(2)][: len(found)]


LIFE = """
import asyncio, sys
from pathlib import Path
from gateway.clock import SystemClock
from gateway.clock import SystemClock
from gateway.journal import Journal
from gateway.model import Sample

async def main():
    clock = SystemClock()
    async with Journal.open(Path(sys.argv[1]) / "j.db", clock, 0.05, runtime=Path(sys.argv[1])) as journal:
        for n in range(1_000_000):
            for device in ("a", "b"):
                record = journal.sample(Sample(device, clock.now(), {"n": n}))
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
        kept = {(r.device, r.seq): r.body["values"]["n"] async for r in journal.records(Lane.TELEMETRY, 0)}
        gaps = [r async for r in journal.records(Lane.EVENT, 0) if r.kind == "gap"]
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
        gaps = [r.body["reason"] async for r in journal.records(Lane.EVENT, 0) if r.kind == "gap"]
    assert gaps == ["restart", "restart"]
