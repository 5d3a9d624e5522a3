"""Reads the needs from the journal; it contains no personal data of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gateway.capabilities.needs.services import Need, Needs
from gateway.journal import JournalReader


async def read_rows(journal: Path) -> dict[str, Need]:
    """All needs by number; unreadable ones are left out. Raises `JournalFailed`."""
    async with JournalReader.open(journal) as reader:
        stored = await reader.service_rows(Needs.name)
    # Decoding thousands would block the event loop.
    return await asyncio.to_thread(_decode_rows, stored)


def _decode_rows(stored: Mapping[str, bytes]) -> dict[str, Need]:
    decode = msgspec.msgpack.Decoder(Need).decode
    rows: dict[str, Need] = {}
    for number, body in stored.items():
        with contextlib.suppress(msgspec.DecodeError):
            rows[number] = decode(body)
    return rows
