"""The needs as the journal has them, for those who may read it: nothing of them is personal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gateway.capabilities.needs.services import Need, Needs
from gateway.journal import Reader


async def read_rows(journal: Path) -> dict[str, Need]:
    """Every need by its number; one that cannot be read is left out. Raises `JournalFailed`."""
    async with Reader.open(journal) as reader:
        kept = await reader.state(Needs.name)
    # Thousands take a while, in which nobody else should wait.
    return await asyncio.to_thread(_decode, kept)


def _decode(kept: Mapping[str, bytes]) -> dict[str, Need]:
    decode = msgspec.msgpack.Decoder(Need).decode
    rows: dict[str, Need] = {}
    for number, body in kept.items():
        with contextlib.suppress(msgspec.DecodeError):
            rows[number] = decode(body)
    return rows
