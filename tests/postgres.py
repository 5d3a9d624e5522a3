"""A real PostgreSQL of this test alone, on a Unix socket, with fsync on."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


class Postgres:
    """A cluster; `url` is that of its database."""

    def __init__(self) -> None:
        # Not in a folder of pytest, which only its own account may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="postgres"))
        self._user: dict[str, Any] = {}
        if os.getuid() == 0:  # PostgreSQL refuses to run as root.
            account = pwd.getpwnam("postgres")
            self._user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()}
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self.url = f"postgresql://linli@/postgres?host={self.folder}"
        initdb = [BINARIES[-1] / "initdb", "-U", "linli", "-A", "trust", "-E", "UTF8", "--locale=C"]
        # Its files need not survive the machine before it has started.
        initdb += ["--no-sync", "-D", self.folder / "data"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd="/", **self._user)
        self.start()

    def start(self) -> None:
        command = [BINARIES[-1] / "postgres", "-D", self.folder / "data", "-k", self.folder, "-h", ""]
        log = self.folder / "log"
        with log.open("a") as errors:
            self._process = subprocess.Popen(command, stderr=errors, cwd="/", **self._user)
        deadline = time.monotonic() + 20
        while True:
            try:
                psycopg.connect(self.url).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < deadline, "PostgreSQL does not answer"
                time.sleep(0.02)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop_at_once(self) -> None:
        """As a crash: it recovers from its log when it starts."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, options="-c search_path=linli -c timezone=UTC") as connection:
            cursor = connection.execute(query.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, query: str, *parameters: object) -> Any:
        return self.rows(query, *parameters)[0][0]

    def close(self) -> None:
        if self._process.poll() is None:
            self.stop_at_once()
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A new cluster."""
    cluster = Postgres()
    try:
        yield cluster
    finally:
        cluster.close()
