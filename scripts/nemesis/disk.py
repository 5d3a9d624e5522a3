"""The disk under the journal: a separate ext4 file system on a loop device, whose power can be cut.

A power cut is kill -9 of everybody on it, then EXT4_IOC_SHUTDOWN without flushing the log (what xfstests
calls "godown"): what no fsync has written is gone when it is mounted again. `drops_unsynced` proves it.
This needs root; without it the journal lies in a directory, and power cuts and full disks are left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import struct
import subprocess
from pathlib import Path

SHUTDOWN = 0x8004587D
"""_IOR('X', 125, __u32)"""
NO_LOG_FLUSH = 2
DISK_BYTES = 96 * 1024 * 1024
PAGE_BYTES = 1024


class Disk:
    """`path` is the mount point."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "disk"
        self.path.mkdir(parents=True)
        self._image = directory / "disk.img"
        self.real = False

    def __enter__(self) -> Disk:
        if os.geteuid() == 0:
            with self._image.open("wb") as file:
                file.truncate(DISK_BYTES)
            # Blocks of the size of a memory page, as on a card: with smaller ones, whoever maps a file on
            # a full disk (the index of the log) may be ended by SIGBUS.
            self.real = _run("mkfs.ext4", "-q", "-m", "0", "-b", "4096", self._image) and self._mount()
        return self

    def __exit__(self, *_: object) -> None:
        if self.real:
            _run("umount", "-l", self.path)

    def _mount(self) -> bool:
        # A long commit interval: the file system must not sync behind the test's back.
        return _run("mount", "-o", "loop,commit=300", self._image, self.path)

    def shut_down(self) -> None:
        """From now on nothing is written, as without power."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def mount_again(self) -> None:
        """Restore the power. All processes that had files open here must have ended."""
        if not _run("umount", self.path) or not self._mount():
            raise RuntimeError("umount/mount")

    def drops_unsynced(self) -> bool:
        """Whether a power cut loses exactly what was not synced."""
        for name, data in (("synced", b"1" * 8192), ("unsynced", b"2" * 8192)):
            with (self.path / name).open("wb") as file:
                file.write(data)
                if name == "synced":
                    file.flush()
                    os.fsync(file.fileno())
                    # As SQLite does for a new file: its name is synced too.
                    directory = os.open(self.path, os.O_RDONLY)
                    os.fsync(directory)
                    os.close(directory)
        self.shut_down()
        self.mount_again()
        unsynced, synced = self.path / "unsynced", self.path / "synced"
        lost = not unsynced.exists() or unsynced.stat().st_size == 0
        kept = synced.read_bytes() == b"1" * 8192
        synced.unlink()
        unsynced.unlink(missing_ok=True)
        return lost and kept

    def fill(self) -> None:
        """Fill the disk completely; one that is dead at the moment stays as it is."""
        with contextlib.suppress(OSError), (self.path / "stuffing").open("ab") as file:
            for size in (1 << 20, 1 << 12, 1 << 10):
                with contextlib.suppress(OSError):
                    while True:
                        os.write(file.fileno(), bytes(size))

    async def free(self) -> None:
        """Free the disk; one that is dead at the moment, once it is mounted again."""
        while True:
            try:
                return (self.path / "stuffing").unlink(missing_ok=True)
            except OSError:
                await asyncio.sleep(0.2)

    def used(self) -> int:
        """Bytes of the journal's files, including quarantined ones."""
        total = 0
        for file in self.path.glob("journal*"):
            with contextlib.suppress(FileNotFoundError):
                total += file.stat().st_size
        return total


def zero_pages(file: Path, count: int, rng: random.Random) -> int:
    """Blank pages that hold something, as a bad block does; never the first, which names the file."""
    data = file.read_bytes()
    pages = [
        n
        for n in range(1, len(data) // PAGE_BYTES)
        if data[n * PAGE_BYTES : (n + 1) * PAGE_BYTES].strip(b"\0")
    ]
    chosen = rng.sample(pages, min(count, len(pages)))
    with file.open("r+b") as disk:
        for page in chosen:
            disk.seek(page * PAGE_BYTES)
            disk.write(bytes(PAGE_BYTES))
        os.fsync(disk.fileno())
    return len(chosen)


def _run(*command: object) -> bool:
    done = subprocess.run([str(part) for part in command], capture_output=True, check=False)
    return done.returncode == 0
