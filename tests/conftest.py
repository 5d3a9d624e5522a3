"""What holds for all tests."""

import gc
import os
import time
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import settings

# How long an example takes says nothing here: the machine has other work.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")

MAX_CLOSING_S = 5.0
"""How long a thread or a connection that was told to end may take to close its files."""

_kept_open: set[str] = set()
"""By fixtures that live as long as the session."""


def _open_files() -> set[str]:
    """Each file descriptor with what it is of. Not those of /proc, which are opened once for good."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        if not target.startswith("/proc/"):
            found.add(f"{number} {target}")
    return found


class _SessionFixtures:
    """A plugin: pytest asks no conftest about the fixtures of the session."""

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        before = _open_files() if fixturedef.scope == "session" else None
        value = yield
        if before is not None:
            _kept_open.update(_open_files() - before)
        return value


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_SessionFixtures())


@pytest.fixture(scope="module", autouse=True)
def _no_file_stays_open() -> Iterator[None]:
    """A process that runs out of file descriptors fails somewhere else."""
    before = _open_files()
    yield
    deadline = time.monotonic() + MAX_CLOSING_S
    while left := _open_files() - before - _kept_open:
        gc.collect()
        assert time.monotonic() < deadline, f"left open: {sorted(left)}"
        time.sleep(0.05)
