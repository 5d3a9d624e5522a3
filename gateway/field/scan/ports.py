"""The serial ports of this machine, and the processes that use them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

SERIAL_BY_ID_FOLDER = Path("/dev/serial/by-id")
"""Names that stay the same after a reboot. Other ports are scanned only when they are named: on a
Raspberry Pi they are the console and the Bluetooth chip."""
PTY_MASTER_DEVICE = "ptmx"


def stable_name(port: str, by_id: Path = SERIAL_BY_ID_FOLDER) -> str:
    """The name to write into a configuration."""
    real = os.path.realpath(port)
    return next((str(name) for name in ports_by_id(by_id) if os.path.realpath(name) == real), port)


def ports_by_id(by_id: Path = SERIAL_BY_ID_FOLDER) -> list[Path]:
    """Every port with a stable name, by that name."""
    return sorted(by_id.iterdir()) if by_id.is_dir() else []


def port_users(port: str) -> list[str]:
    """Other processes that have the port open, as far as we may know. A program that holds the near end
    of a pseudo-terminal is the device itself, and none of its users."""
    real = os.path.realpath(port)
    others = (p for p in Path("/proc").iterdir() if p.name.isdecimal() and int(p.name) != os.getpid())
    using = (process for process in others if _has_port_open(_open_files(process), real))
    return [f"{process.name} ({_process_name(process)})" for process in using]


def _has_port_open(files: list[str], port: str) -> bool:
    return port in files and not any(file.endswith(PTY_MASTER_DEVICE) for file in files)


def _open_files(process: Path) -> list[str]:
    """The paths of a process's open files; empty if it has ended or belongs to another user."""
    files: list[str] = []
    with contextlib.suppress(OSError):
        files.extend(os.readlink(file) for file in (process / "fd").iterdir())
    return files


def _process_name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "?"
