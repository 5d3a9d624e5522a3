"""What damage cost: the sequence numbers that are nowhere, for the gap records of a start after it."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.model import Lane

from .reader import DAMAGED, LANES, Gap, Reader, Stream
from .salvage import LEAP

STEP = 64


async def holes(
    reader: Reader, streams: Mapping[Stream, int], delivered: Mapping[Lane, int]
) -> tuple[list[Gap], list[tuple[str, Gap]]]:
    """Gaps that nobody has told of, and those of the ledger, with their day, whose record is lost.

    `streams` are the last numbers after the leap, `delivered` the positions the platform has reached.
    """
    known = await reader.gaps()
    found: list[tuple[Stream, int, int, int]] = []
    last: dict[Stream, int] = {}
    told: set[tuple[str, str, int]] = set()
    for lane in LANES:
        after = 0
        while packs := await reader.read(lane, after, STEP):
            after = packs[-1].pos
            for pos, record in ((row.pos, record) for row in packs for record in row.records):
                stream = lane, record.device
                first = last.get(stream, 0) + 1
                if record.seq > first and pos > delivered[lane]:
                    found.append((stream, first, record.seq - 1, record.seq - first))
                last[stream] = record.seq
                if record.kind == "gap":
                    told.add((str(record.body["lane"]), record.device, int(record.body["first"])))
    for stream, written in streams.items():
        first = last.get(stream, 0) + 1
        # Of the numbers leapt over, nobody knows which were used.
        found.append((stream, first, written, max(0, written - LEAP + 1 - first)))
    gaps = []
    for (lane, device), first, end, lost in found:
        named = sum(
            max(0, min(end, gap.last) - max(first, gap.first) + 1)
            for _, gap in known
            if (gap.lane, gap.device) == (lane, device)
        )
        gaps.append(Gap(lane, device, first, end, max(0, lost - named), DAMAGED))
    untold = [
        (day, gap) for day, gap in known if (gap.lane.name.lower(), gap.device, gap.first) not in told
    ]
    return gaps, untold
