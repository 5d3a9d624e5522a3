from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

from tests.gateway.simulate.conftest import eventually
from tests.gateway.sites import HEAD
from tests.ports import free_port


def test_no_file_is_open_to_others_whatever_the_umask(tmp_path: Path) -> None:
    site, own = tmp_path / "site.toml", tmp_path / "own"
    site.write_text(HEAD.format(folder=own, web=free_port(), metrics=free_port()))
    linli = ("sh", "-c", 'umask 0; exec "$0" -m gateway.cli "$1" --config "$2"', sys.executable)
    programs = [
        subprocess.Popen([*linli, name, site], stderr=subprocess.DEVNULL) for name in ("run", "dashboard")
    ]
    try:
        for name in ("access.key", "control.sock", "journal.db-wal"):
            eventually((own / name).exists)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [own, *own.iterdir()]}
        assert modes.pop("control.sock") == 0o660
        assert {"own", "journal.db", "journal.lock", "access.key"} < modes.keys()
        assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}
    finally:
        for program in programs:
            program.kill()
            program.wait()
