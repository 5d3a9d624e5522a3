"""The reserve on a real disk, and the window that follows what is written to it."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.journal.space import (
    MAX_WINDOW_S,
    RESERVE_BYTES,
    CardWear,
    DiskReserve,
    StorageLimits,
    process_bytes_written,
)
from gateway.model import Lane
from tests.clock import FakeClock
from tests.gateway.journal.test_journal import journal, sample, seqs, window

MEGABYTE = 1_000_000


class Disk:
    """Counts what is written to it."""

    def __init__(self) -> None:
        self.written = 12_345_678

    def write(self, megabytes: int) -> None:
        self.written += megabytes * MEGABYTE


def wear_of(disk: Disk, clock: FakeClock) -> CardWear:
    """With a budget of some 2 MB a minute."""
    return CardWear(clock, StorageLimits(daily_bytes=3_000 * MEGABYTE), 1.0, lambda: disk.written)


def test_what_is_counted_are_the_bytes_of_this_process() -> None:
    def counted() -> int:
        found = re.findall(r"write_bytes: (\d+)", Path("/proc/self/io").read_text())
        written, cancelled = map(int, found)
        return written - cancelled

    before = counted()
    assert before <= process_bytes_written() <= counted()


async def test_the_window_widens_while_too_much_is_written_and_narrows_again() -> None:
    clock, disk = FakeClock(), Disk()
    wear = wear_of(disk, clock)
    windows = []
    for megabytes in (8, 8, 8, 8, 8, 0, 0, 0, 0, 0):
        disk.write(megabytes)
        await clock.advance(60)
        wear.adapt_window()
        windows.append(wear.window_s)
    assert windows == [2, 4, 8, MAX_WINDOW_S, MAX_WINDOW_S, 5, 2.5, 1.25, 1, 1]
    assert wear.bytes_written == 40 * MEGABYTE
    # The first minute is left out: four times 8 MB in nine minutes.
    assert wear.bytes_per_day == pytest.approx(32 * MEGABYTE / 9 * 1440)
    assert wear.lifetime_years == pytest.approx(30e12 / wear.bytes_per_day / 365.25)


async def test_the_window_is_judged_by_the_minute_and_stays_where_the_pace_is_right() -> None:
    clock, disk = FakeClock(), Disk()
    wear = wear_of(disk, clock)
    disk.write(50)
    await clock.advance(59)
    wear.adapt_window()
    assert wear.window_s == 1
    await clock.advance(1)
    wear.adapt_window()
    assert wear.window_s == 2
    for _ in range(3):
        await clock.advance(120)
        disk.write(3)  # Between half of the budget and all of it.
        wear.adapt_window()
        assert wear.window_s == 2


def test_a_longer_window_of_the_sites_own_is_kept() -> None:
    clock = FakeClock()
    wear = CardWear(clock, StorageLimits(), 5.0)
    wear.adapt_window()
    assert wear.window_s == 5


def test_the_reserve_is_filled_and_given_up(tmp_path: Path) -> None:
    reserve = DiskReserve(tmp_path / "j.db")
    assert reserve.size_bytes() == 0
    assert reserve.fill()
    assert reserve.size_bytes() == RESERVE_BYTES
    assert (tmp_path / "j.db-reserve").stat().st_blocks * 512 >= RESERVE_BYTES, "a hole reserves nothing"
    assert reserve.fill()
    reserve.release()
    reserve.release()
    assert reserve.size_bytes() == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_the_reserve_never_fills_a_disk_that_is_short(disk: Path) -> None:
    reserve = DiskReserve(disk / "j.db")
    assert reserve.fill()
    (disk / "stuffing").write_bytes(bytes(3_000_000))
    reserve.release()
    assert not reserve.fill(), "that would take back at once what was given up"
    assert reserve.size_bytes() == 0
    (disk / "stuffing").unlink()
    assert reserve.fill()


async def test_a_folder_in_the_place_of_the_reserve_harms_nobody(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    (tmp_path / "j.db-reserve").mkdir()
    (tmp_path / "j.db-reserve" / "file").touch()
    async with journal(path) as (j, clock):
        j.append_sample(sample(clock))
        await window(j, clock)
        assert j.failure is None
    assert await seqs(path, Lane.TELEMETRY) == [1]
