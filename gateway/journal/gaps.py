"""The sequence numbers that damage cost, for the gap records of the start after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.model import Lane

from .reader import DAMAGE_REASON, LANES, JournalReader, LedgerGap, Stream
from .salvage import SKIPPED_SEQUENCE_NUMBERS

ROWS_PER_READ = 64


async def find_gaps(
    reader: JournalReader, streams: Mapping[Stream, int], delivered: Mapping[Lane, int]
) -> tuple[list[LedgerGap], list[tuple[str, LedgerGap]]]:
    """Missing numbers that no gap names yet; and gaps of the ledger, with their day, whose record is lost.

    `streams` maps each stream to its last number after salvage skipped some; `delivered` each lane to the
    position with which every reader of the journal is done.
    """
    known = await reader.gaps()
    found: list[tuple[tuple[Lane, str, str], int, int, int]] = []
    last: dict[tuple[Lane, str, str], int] = {}
    reported: dict[tuple[str, str, str, str], list[tuple[int, int]]] = {}
    for lane in LANES:
        after = 0
        while packs := await reader.read_after(lane, after, ROWS_PER_READ):
            after = packs[-1].pos
            for pos, record in ((row.pos, record) for row in packs for record in row.records):
                stream = lane, record.device, record.epoch
                first = last.get(stream, 0) + 1
                if record.seq > first and pos > delivered[lane]:
                    found.append((stream, first, record.seq - 1, record.seq - first))
                last[stream] = record.seq
                if record.kind == "gap":
                    gap = record.body
                    epoch = str(gap.get("epoch", record.epoch))
                    key = str(gap["lane"]), record.device, str(gap.get("uplink", "")), epoch
                    reported.setdefault(key, []).append((gap["first"], gap["last"]))
    for (lane, device), written in streams.items():
        stream = lane, device, ""
        first = last.get(stream, 0) + 1
        # It is unknown which of the skipped numbers were used.
        found.append((stream, first, written, max(0, written - SKIPPED_SEQUENCE_NUMBERS + 1 - first)))
    gaps = []
    for (lane, device, epoch), first, end, lost in found:
        named = sum(
            max(0, min(end, gap.last) - max(first, gap.first) + 1)
            for _, gap in known
            if (gap.lane, gap.device, gap.epoch, gap.reader) == (lane, device, epoch, "")
        )
        count = max(0, lost - named)
        gaps.append(LedgerGap(lane, device, first, end, count, DAMAGE_REASON, epoch=epoch))
    unreported = [
        (day, gap)
        for day, gap in known
        if gap.reason != "before"
        and not is_reported(
            gap, reported.get((gap.lane.name.lower(), gap.device, gap.reader, gap.epoch), [])
        )
    ]
    return gaps, unreported


def is_reported(gap: LedgerGap, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether gap records with these first and last numbers name all that a gap of the ledger counts."""
    count, following = 0, gap.first
    for first, last in sorted(spans):
        numbers = range(max(first, following), min(last, gap.last) + 1)
        count += len(numbers)
        following = max(following, numbers.stop)
    return count >= gap.count and any(first == gap.first for first, _ in spans)
