"""The needs as the journal has them, for those who may read it: nothing of them is personal."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from gateway.journal import Reader
from gateway.services.needs import Need, Needs


async def read_rows(journal: Path) -> dict[str, Need]:
    """Every need by its number; one that cannot be read is left out. Raises `JournalFailed`."""
    rows: dict[str, Need] = {}
    async with Reader.open(journal) as reader:
        for number, body in (await reader.state(Needs.name)).items():
            with contextlib.suppress(msgspec.DecodeError):
                rows[number] = msgspec.msgpack.decode(body, type=Need)
    return rows
