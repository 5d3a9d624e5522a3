"""Merging a journal in memory, which served while the disk could not be used, into the journal on the disk.

Its records keep their numbers and state its epoch, since platforms may have received them under these. With
each part is stored how far the merge has come: after the end of the process at any moment, the next start
continues there, and nothing is merged twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec

from gateway.base.failpoint import failpoint
from gateway.model import Lane

from .pending import Pending
from .reader import DEFAULT_READER, LANES, JournalReader
from .readers import Readers
from .salvage import delete_journal
from .statements import add_day, add_dead_letter, add_gap, add_state, set_meta
from .stream_filter import StreamFilter

ENDED_SUFFIX = "-ended"
MERGED_KEY = "merged"
"""The key in `meta` of the epoch that was merged last, the positions of its lanes up to which it was, and
whether its tables were as well."""
ROWS_PER_COMMIT = 64


async def end_memory_journal(
    path: Path, open_journal: Callable[[Path], AbstractAsyncContextManager[object]]
) -> Path | None:
    """End a journal in memory, so that none continues it, and return its new path; None if there is none.
    Raises `JournalFailed`."""
    ended = path.with_name(path.name + ENDED_SUFFIX)
    if not ended.exists() and path.exists():
        # What a killed process had not committed is in the tail.
        async with open_journal(path):
            pass
        failpoint("merge")
        path.rename(ended)
        delete_journal(path)
    return ended if ended.exists() else None


class Merge:
    """One merge: `begin`, then `add_rows` until there are no more, then `add_tables`; what each adds to the
    pending transaction must be committed before the next."""

    def __init__(
        self, target: JournalReader, source: JournalReader, readers: Readers, pending: Callable[[], Pending]
    ) -> None:
        """`readers`: of the target."""
        self._target = target
        self._source = source
        self._readers = readers
        self._pending = pending
        self._epoch = ""
        self._positions = dict.fromkeys(LANES, 0)
        self._has_tables = False
        self._received: dict[tuple[str, Lane], int] = {}
        """The positions of the source up to which its readers were done."""

    async def begin(self, today: str, committed: Mapping[Lane, int]) -> None:
        """Find out how far it has come, and add the readers that only the source knows. `committed`: the
        newest positions of the target."""
        self._epoch = await self._source.read_meta("epoch")
        epoch, positions, has_tables = json.loads(
            await self._target.read_meta(MERGED_KEY, '["", [], false]')
        )
        if epoch == self._epoch:
            self._positions, self._has_tables = dict(zip(LANES, positions, strict=True)), has_tables
        filters = {}
        for row in await self._source.reader_rows():
            filters[row.name] = StreamFilter.from_text(row.streams)
            for lane in LANES:
                self._received[row.name, lane] = await self._source.cursor_pos(lane, row.name)
        known = {each.name: each.streams for each in self._readers.all()}
        new = {name: each for name, each in filters.items() if name not in {*known, DEFAULT_READER}}
        if new:
            stay = {name: each.streams for name, each in self._readers.configured.items()}
            if DEFAULT_READER not in filters:
                # The reader of a journal that no platform has read yet.
                stay.pop(DEFAULT_READER, None)
            await self._readers.configure({**stay, **new}, today, committed)

    async def add_rows(self, committed: Mapping[Lane, int]) -> bool:
        """Add the next rows; False if there are none."""
        for lane in LANES:
            packs = await self._source.read_after(lane, self._positions[lane], ROWS_PER_COMMIT)
            if packs:
                break
        else:
            return False
        pending = self._pending()
        for pos, pack in enumerate(packs, committed[lane] + 1):
            # Whoever has not received all that was there before receives these again, with equal numbers.
            for each in self._readers.all():
                if each.positions.get(lane) == pos - 1 and pack.pos <= self._received.get(
                    (each.name, lane), 0
                ):
                    each.acknowledge(lane, pos)
            pending.merged.append(
                (lane, [msgspec.structs.replace(each, epoch=self._epoch) for each in pack.records])
            )
        self._positions[lane] = packs[-1].pos
        self._store_progress()
        failpoint("merge")
        return True

    async def add_tables(self) -> None:
        """Add the ledger, the dead letters, and those rows of services that the target does not have."""
        if self._has_tables:
            return
        pending, source = self._pending(), self._source
        pending.statements += [
            add_day((day, lane, device, self._epoch), count)
            for (day, lane, device, _), count in (await source.day_counts()).items()
        ]
        pending.statements += [
            add_gap(day, msgspec.structs.replace(gap, epoch=self._epoch))
            for day, gap in await source.gaps()
        ]
        pending.statements += [add_dead_letter(row, self._epoch) for row in await source.dead_rows()]
        pending.statements += [add_state(*row) for row in await source.state_rows()]
        self._has_tables = True
        self._store_progress()
        failpoint("merge")

    def _store_progress(self) -> None:
        progress = [self._epoch, list(self._positions.values()), self._has_tables]
        self._pending().statements.append(set_meta(MERGED_KEY, json.dumps(progress)))
