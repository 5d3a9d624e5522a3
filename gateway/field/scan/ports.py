"""The serial ports of this machine, and the processes that use them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

PTY_MASTER_DEVICE = "ptmx"


def scannable_ports(root: Path = Path("/")) -> list[str]:
    """The ports of this machine, each by its best name: one that stays the same after a reboot, or that of
    a UART. The console of the kernel, and UARTs that are not there, are left out."""
    dev, terminals = root / "dev", root / "sys/class/tty"
    consoles = _first_line(terminals / "console/active").split()
    uarts = (uart for pattern in ("ttyAMA*", "ttyS*") for uart in sorted(dev.glob(pattern)))
    # linux/serial_core.h: type 0 is PORT_UNKNOWN.
    there = (
        uart
        for uart in uarts
        if uart.name not in consoles and _first_line(terminals / uart.name / "type") != "0"
    )
    best: dict[str, str] = {}
    for port in (*_stable_names(root), *there):
        best.setdefault(os.path.realpath(port), str(port))
    return list(best.values())


def stable_name(port: str, root: Path = Path("/")) -> str:
    """The name to write into a configuration."""
    real = os.path.realpath(port)
    return next((str(name) for name in _stable_names(root) if os.path.realpath(name) == real), port)


def _stable_names(root: Path) -> list[Path]:
    """By the adapter's serial number, and by the USB socket (systemd/99-linli-serial.rules)."""
    patterns = ("serial/by-id/*", "linli/serial-*", "linli-*")
    return [name for pattern in patterns for name in sorted((root / "dev").glob(pattern))]


def _first_line(file: Path) -> str:
    try:
        return file.read_text("ascii").partition("\n")[0]
    except OSError:
        return ""


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
