"""What must be true, whatever happened.

Three accounts are compared. The witness: what reached a subscriber of the broker. The observer: rows
another process could read in the journal, which SQLite shows only once they are synced, so that a power
cut may not take them either. The gap records among what the witness has. Then:

- `lost`: a number of a stream, from 1 to its last, that neither arrived nor lies in a gap record that
  arrived nor still waits in the journal; or a committed record whose only excuse is a gap that may not
  excuse it (`restart` and `disk` are of records that were never committed).
- `duplicated`: one measurement or alarm transition under two numbers.
- `contradicted`: one number with two contents. (`repeated` merely counts QoS 1 at work.)
- `reordered`: a first arrival below an earlier one of its stream, or a measurement older than the
  number before it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec

from gateway.journal.rows import unpack_records

LANES = ("alarm", "event", "telemetry")
ACCEPTED_GAP_REASONS = {"space", "dead", "damaged", "thinned"}
"""Reasons for which a committed record may be missing."""

Stream = tuple[str, str]
"""Device, lane. A journal that lost its identity continues under a new epoch, and so do the numbers of its
streams: a new epoch is therefore no excuse for missing records."""


class ReceivedStream(msgspec.Struct):
    """What arrived of one stream."""

    contents: dict[int, int] = {}
    measured: dict[int, int] = {}
    last: int = 0


class Oracle:
    """Collects everything that arrives, and evaluates it at the end."""

    def __init__(self, journal: Path, memory: Path) -> None:
        self._journal = journal
        self._memory = memory
        self.memory_epochs: set[str] = set()
        """Of the journals in memory that serve while the disk is dead: their streams have numbers of their
        own, which they keep in the journal on the disk. The power cut that ends one ends what it holds."""
        self.in_memory_envelopes = 0
        self.lock = threading.Lock()
        self.streams: dict[Stream, ReceivedStream] = {}
        self.gaps: dict[Stream, list[tuple[int, int, str]]] = {}
        self.committed: dict[Stream, dict[int, int]] = {}
        self.identities: dict[tuple[Any, ...], tuple[str, int]] = {}
        self.repeated = self.duplicated = self.contradicted = self.reordered = 0
        self.last_new_at_s = 0.0
        """When telemetry that was not known arrived last, by the monotonic clock."""
        self.notes: list[str] = []
        self.epochs: set[str] = set()

    def receive(self, payload: bytes) -> None:
        """Process an envelope that the subscriber received."""
        envelope = msgspec.json.decode(payload)
        stream = envelope["device"], envelope["lane"]
        with self.lock:
            epoch = envelope["epoch"]
            if epoch not in self.epochs | self.memory_epochs:
                is_memory = epoch in (_epoch(self._memory), _merged_epoch(self._journal))
                (self.memory_epochs if is_memory else self.epochs).add(epoch)
            if epoch in self.memory_epochs:
                self.in_memory_envelopes += 1
                stream = _in_memory(stream[0], epoch), stream[1]
            seen = self.streams.setdefault(stream, ReceivedStream())
            for record in envelope["records"]:
                self._record(stream, seen, record)

    def _record(self, stream: Stream, seen: ReceivedStream, record: dict[str, Any]) -> None:
        seq, data = record["seq"], record["data"]
        content = _content(record["kind"], record["mono"], record["boot"], data)
        if seq in seen.contents:
            self.repeated += 1
            if seen.contents[seq] != content:
                self.contradicted += 1
                self.add_note(f"contradicted {stream} {seq}")
            return
        seen.contents[seq] = content
        if seq < seen.last:
            self.reordered += 1
            self.add_note(f"reordered {stream}: {seq} after {seen.last}")
        seen.last = max(seq, seen.last)
        self._identity(stream, seen, record)
        if record["kind"] == "gap":
            gap = data["first"], data["last"], data["reason"]
            device = _in_memory(stream[0], data["epoch"]) if "epoch" in data else stream[0]
            self.gaps.setdefault((device, data["lane"]), []).append(gap)
        if stream[1] == "telemetry":
            self.last_new_at_s = time.monotonic()

    def _identity(self, stream: Stream, seen: ReceivedStream, record: dict[str, Any]) -> None:
        seq, data = record["seq"], record["data"]
        device, _, epoch = stream[0].partition("@")
        if stream[1] == "telemetry" and (stamp := data["values"].get("stamp")):
            identity: tuple[Any, ...] = device, stamp
            seen.measured[seq] = stamp
        elif stream[1] == "alarm":
            # The instant too: after damage the state may be older, and concludes the same once more.
            identity = device, data["id"], data["change"], record["mono"], record["boot"]
        else:
            return
        if self.identities.setdefault(identity, (epoch, seq)) != (epoch, seq):
            self.duplicated += 1
            self.add_note(f"duplicated {stream} {self.identities[identity]} {seq}")

    def is_accounted_for(self, stream: Stream, seq: int) -> bool:
        """Whether a committed record has arrived, or a gap record says why it never will."""
        seen = self.streams.get(stream)
        return bool(seen and seq in seen.contents) or any(
            first <= seq <= last and reason in ACCEPTED_GAP_REASONS
            for first, last, reason in self.gaps.get(stream, [])
        )

    def add_note(self, text: str) -> None:
        if len(self.notes) < 40:
            self.notes.append(text)

    def evaluate(self, pending: dict[Stream, set[int]]) -> dict[str, Any]:
        """The verdict; `pending` is what the journal still holds for the platform."""
        lost = uncovered = waiting = accepted = 0
        reasons: Counter[str] = Counter()
        for stream in self.streams.keys() | self.committed.keys():
            seen = self.streams.get(stream, ReceivedStream())
            committed, held = self.committed.get(stream, {}), pending.get(stream, set())
            accepted += len(seen.contents.keys() | committed.keys())
            waiting += len(held)
            missing = set(committed) - seen.contents.keys() - held
            excused = _covered(self.gaps.get(stream, []), ACCEPTED_GAP_REASONS)
            bad = [seq for seq in missing if not any(a <= seq <= b for a, b in excused)]
            lost += len(bad)
            if bad:
                self.add_note(f"lost {stream} {_ranges(bad)}")
            last = max([seen.last, *committed, *held, 0])
            holes = _missing_ranges(
                last, seen.contents.keys() | held, _covered(self.gaps.get(stream, []), None)
            )
            holes = [(a, b) for a, b in holes if not set(range(a, b + 1)) <= set(bad)]
            uncovered += sum(b - a + 1 for a, b in holes)
            if holes:
                self.add_note(f"uncovered {stream} {holes[:6]} of {last}")
            for seq, content in committed.items():
                if seen.contents.get(seq, content) != content:
                    self.contradicted += 1
                    self.add_note(f"contradicted by the journal {stream} {seq}")
            self._order(stream, seen)
            for _, _, reason in self.gaps.get(stream, []):
                reasons[reason] += 1
        return {
            "accepted": accepted,
            "lost": lost + uncovered,
            "duplicated": self.duplicated,
            "reordered": self.reordered,
            "contradicted": self.contradicted,
            "repeated": self.repeated,
            "pending": waiting,
            "alarms": sum(len(s.contents) for (_, lane), s in self.streams.items() if lane == "alarm"),
            "epochs": len(self.epochs),
            "homeless": self.in_memory_envelopes,
            "gaps": dict(reasons),
        }

    def _order(self, stream: Stream, seen: ReceivedStream) -> None:
        newest = 0
        for seq in sorted(seen.measured):
            if seen.measured[seq] <= newest:
                self.reordered += 1
                self.add_note(f"reordered {stream} {seq}")
            newest = max(newest, seen.measured[seq])


def _content(kind: str, mono: int, boot: str, body: dict[str, Any]) -> int:
    """Without the wall clock, which may be corrected between two transmissions of a record."""
    return hash(msgspec.json.encode((kind, mono, boot, body), order="sorted"))


def _covered(gaps: list[tuple[int, int, str]], reasons: set[str] | None) -> list[tuple[int, int]]:
    return sorted((first, last) for first, last, reason in gaps if reasons is None or reason in reasons)


def _missing_ranges(last: int, present: set[int], covered: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges of 1 to `last` that are neither present nor covered."""
    missing, expected = [], 1
    for first, end in sorted([*((seq, seq) for seq in present), *covered]):
        if first > expected:
            missing.append((expected, first - 1))
        expected = max(expected, end + 1)
    if expected <= last:
        missing.append((expected, last))
    return missing


def _ranges(numbers: list[int]) -> str:
    return f"{len(numbers)}: {sorted(numbers)[:8]}"


class Observer:
    """Reads what is committed, like any other process."""

    def __init__(self, journal: Path, oracle: Oracle) -> None:
        self._journal = journal
        self._oracle = oracle
        self._file = 0
        self._pos = dict.fromkeys(LANES, 0)

    def read_new_rows(self) -> None:
        """Read the rows that are new, as far as a damaged or busy journal can be read."""
        try:
            file = self._journal.stat().st_ino
        except OSError:
            return
        if file != self._file:
            self._file, self._pos = file, dict.fromkeys(LANES, 0)
        try:
            with closing(sqlite3.connect(f"file:{self._journal}?mode=ro", uri=True)) as database:
                self._read(database)
        except sqlite3.Error:
            return

    def _read(self, database: sqlite3.Connection) -> None:
        for lane in LANES:
            sql = f"SELECT pos, body, crc FROM {lane} WHERE pos > ? ORDER BY pos"
            for pos, body, crc in database.execute(sql, (self._pos[lane],)).fetchall():
                for stream, seq, content in _records(lane, body, crc):
                    old = self._oracle.committed.setdefault(stream, {}).setdefault(seq, content)
                    if old != content:
                        self._oracle.contradicted += 1
                        self._oracle.add_note(f"committed twice {stream} {seq}")
                self._pos[lane] = pos

    def pending(self) -> dict[Stream, set[int]]:
        """What the platform has not acknowledged, once the gateway has stopped."""
        held: dict[Stream, set[int]] = {}
        with closing(sqlite3.connect(f"file:{self._journal}?mode=ro", uri=True)) as database:
            for number, lane in enumerate(LANES):
                sql = (
                    f"SELECT body, crc FROM {lane} WHERE pos > "
                    "coalesce((SELECT pos FROM cursor WHERE lane = ?), 0)"
                )
                for body, crc in database.execute(sql, (number,)).fetchall():
                    for stream, seq, _ in _records(lane, body, crc):
                        held.setdefault(stream, set()).add(seq)
        return held


def _records(lane: str, body: bytes, crc: int) -> Iterator[tuple[Stream, int, int]]:
    try:
        records = unpack_records(body, crc)
    except ValueError:
        return
    for record in records:
        content = _content(record.kind, record.at.mono_ns, record.at.boot, record.body)
        device = _in_memory(record.device, record.epoch) if record.epoch else record.device
        yield (device, lane), record.seq, content


def _in_memory(device: str, epoch: str) -> str:
    """The name of a device's streams in a journal in memory."""
    return f"{device}@{epoch}"


def _epoch(journal: Path) -> str:
    """The identity of a journal; empty where there is none."""
    return _meta(journal, "epoch")


def _merged_epoch(journal: Path) -> str:
    """Of the journal in memory that was merged last."""
    merged = _meta(journal, "merged")
    return str(msgspec.json.decode(merged)[0]) if merged else ""


def _meta(journal: Path, key: str) -> str:
    with suppress(sqlite3.Error, ValueError):
        uri = f"{journal.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as database:
            ((value,),) = database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchall()
            return str(value)
    return ""
