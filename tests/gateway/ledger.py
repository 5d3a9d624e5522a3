"""Whether everything is accounted for: what the witness saw, held against what the journal keeps."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec

from gateway.journal import JournalReader
from gateway.model import Lane
from tests.gateway.conftest import Key, Witness
from tests.gateway.simulate.conftest import eventually


def read_journal(path: Path) -> dict[Key, dict[str, Any]]:
    """Every record of the journal, as the native dialect tells it."""

    async def read() -> dict[Key, dict[str, Any]]:
        async with JournalReader.open(path) as reader:
            epoch = await reader.read_meta("epoch")
            return {
                Key(record.epoch or epoch, record.device, lane.name.lower(), record.seq): {
                    "seq": record.seq,
                    "kind": record.kind,
                    "at": record.at.wall_ms,
                    "clock": str(record.at.clock),
                    "mono": record.at.mono_ns,
                    "boot": record.at.boot,
                    "data": msgspec.to_builtins(record.body),
                }
                for lane in Lane
                async for record in reader.records(lane, 0)
            }

    return asyncio.run(read())


def pending(path: Path) -> int:
    """Records the platform has not acknowledged."""

    async def count() -> int:
        async with JournalReader.open(path) as reader:
            return await reader.pending_count()

    return asyncio.run(count())


def unique(witness: Witness) -> dict[Key, dict[str, Any]]:
    """What the witness saw, each once: a repetition must say the same."""
    seen: dict[Key, dict[str, Any]] = {}
    for key, entry in witness.records():
        assert seen.setdefault(key, entry) == entry
    return seen


def account(path: Path, witness: Witness) -> dict[str, int]:
    """Check that each number of each stream is at the witness or covered by a gap.

    The gateway must have ended in order. Returns how many records were kept, were seen and are missing.
    """
    kept = read_journal(path)
    # What the platform has acknowledged, the witness has seen or is about to.
    eventually(lambda: len(kept.keys() - unique(witness).keys()) <= pending(path))
    seen = unique(witness)
    for key in kept.keys() & seen.keys():
        assert kept[key] == seen[key]
    streams: defaultdict[Key, set[int]] = defaultdict(set)
    for key in kept.keys() | seen.keys():
        streams[key._replace(seq=0)].add(key.seq)
    gaps: defaultdict[Key, set[int]] = defaultdict(set)
    for key, entry in (kept | seen).items():
        if entry["kind"] == "gap":
            told = entry["data"]
            stream = Key(told.get("epoch", key.epoch), key.device, told["lane"], 0)
            gaps[stream].update(range(told["first"], told["last"] + 1))
    missing = 0
    for stream, numbers in streams.items():
        absent = set(range(1, max(numbers) + 1)) - numbers
        assert absent <= gaps[stream], (stream, sorted(absent - gaps[stream]))
        missing += len(absent)
    return {"kept": len(kept), "seen": len(seen), "missing": missing}
