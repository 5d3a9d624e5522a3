"""The serial ports of this machine, and who uses them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

BY_ID = Path("/dev/serial/by-id")
"""Names that outlive a reboot and a renumbering. Other ports are scanned only when they are named: on a
Raspberry Pi they are the console and the Bluetooth chip."""
PTY = "ptmx"


def stable(port: str, by_id: Path = BY_ID) -> str:
    """The name to write into a configuration."""
    real = os.path.realpath(port)
    return next((str(name) for name in named(by_id) if os.path.realpath(name) == real), port)


def named(by_id: Path = BY_ID) -> list[Path]:
    return sorted(by_id.iterdir()) if by_id.is_dir() else []


def users(port: str) -> list[str]:
    """Other processes that have the port open, as far as we may know. A program that holds the near end
    of a pseudo-terminal is the device itself, and none of its users."""
    real = os.path.realpath(port)
    others = (p for p in Path("/proc").iterdir() if p.name.isdecimal() and int(p.name) != os.getpid())
    return [f"{process.name} ({_name(process)})" for process in others if _uses(_open_files(process), real)]


def _uses(files: list[str], port: str) -> bool:
    return port in files and not any(file.endswith(PTY) for file in files)


def _open_files(process: Path) -> list[str]:
    """None of a process that has ended, or belongs to somebody else."""
    files: list[str] = []
    with contextlib.suppress(OSError):
        files.extend(os.readlink(file) for file in (process / "fd").iterdir())
    return files


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "?"
