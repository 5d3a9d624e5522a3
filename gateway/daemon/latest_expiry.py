"""The latest expiry of all commands that devices were ever given, in small files beside the journal.

A journal that was deleted, replaced or salvaged has forgotten commands that are still valid; so has the one
that serves in memory when the card has failed. A locker must not open a second time because of that.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from gateway.base.files import write_durably
from gateway.base.log import log_event


def latest_expiry_file(journal: Path) -> Path:
    """The file beside a journal."""
    return journal.with_suffix(".commands")


class LatestExpiry:
    """One number in each of several files, of which any may be lost."""

    def __init__(self, *files: Path) -> None:
        self._files = tuple(dict.fromkeys(files))
        self._latest_ms = 0
        self._failing: set[Path] = set()
        self._lock = asyncio.Lock()

    async def load(self) -> int:
        """The latest expiry in Unix milliseconds; 0 if there was never a command."""
        self._latest_ms = max(self._latest_ms, *await asyncio.to_thread(self._read))
        return self._latest_ms

    async def store(self, expires_ms: int) -> None:
        """Return once an expiry is on the disk, if it is the latest. A file that cannot be written is
        logged once: the journal has the command as well."""
        async with self._lock:
            if expires_ms > self._latest_ms:
                self._latest_ms = expires_ms
                await asyncio.to_thread(self._write, expires_ms)

    def _read(self) -> list[int]:
        return [_number_in(file) for file in self._files]

    def _write(self, expires_ms: int) -> None:
        for file in self._files:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                write_durably(file, f"{expires_ms}\n".encode())
                self._failing.discard(file)
            except OSError as error:
                if file not in self._failing:
                    self._failing.add(file)
                    log_event(logging.ERROR, "latest-expiry-failed", file=file, reason=error)


def _number_in(file: Path) -> int:
    """Damaged files count as missing: the number is in several."""
    try:
        number = int(file.read_text("ascii"))
    except (OSError, ValueError):
        return 0
    return number if 0 < number < 2**63 else 0
