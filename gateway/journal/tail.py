"""Telemetry that is not committed yet, in the runtime folder: memory that outlives the process, though
not the power. After a kill the next start takes it over, and not one sample is missing. The last numbers
that were committed stand there too: a journal that says less has lost some, and must not use them again.

Two files take turns: one holds everything while the other is written anew, so at no moment is there none.
Nothing here is synced; a file that could not be written is removed, and then nobody relies on it.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from gateway.model import ClockQuality, Record, Stamp

from .reader import Stream

COMMITTED = "committed"
"""The kind of a frame that only names the last number of a stream."""
NEVER = Stamp(0, 0, "", ClockQuality.UNSET)
_FRAME = struct.Struct("<II")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


class Found(msgspec.Struct, frozen=True):
    """The last number of each stream that was committed, and the telemetry that may not have been."""

    committed: dict[Stream, int]
    records: list[Record]


class Tail:
    """The samples since the last commit. `owner` names the journal and the boot: another one's is void."""

    def __init__(self, folder: Path, owner: str) -> None:
        self._paths = [folder / "tail-a", folder / "tail-b"]
        self._head = f"linli-tail {owner}\n".encode()
        self._file = -1

    def recover(self) -> Found | None:
        """What the process before us had taken in and committed; None: nobody knows."""
        committed: dict[Stream, int] = {}
        records: dict[tuple[str, int], Record] = {}
        trusted = False
        for path in self._paths:
            try:
                data = path.read_bytes()
            except OSError:
                continue
            if data.startswith(self._head):
                trusted = True
                for record in _frames(data[len(self._head) :]):
                    if record.kind == COMMITTED:
                        stream = record.lane, record.device
                        committed[stream] = max(record.seq, committed.get(stream, 0))
                    else:
                        records[record.device, record.seq] = record
        order = sorted(records.values(), key=lambda record: (record.at.mono, record.seq))
        return Found(committed, order) if trusted else None

    def reset(self, committed: Mapping[Stream, int], records: Iterable[Record]) -> None:
        """Begin anew with the last numbers of the streams and what is not committed yet."""
        frames = (*(_mark(stream, seq) for stream, seq in committed.items()), *map(_frame, records))
        old, self._file = self._file, -1
        self._paths.reverse()
        try:
            self._paths[0].parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._paths[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self._write(self._head + b"".join(frames))
            self._paths[1].unlink(missing_ok=True)
        except OSError:
            self.remove()
        if old >= 0:
            os.close(old)

    def add(self, record: Record) -> None:
        """Before the record may leave."""
        self._append(_frame(record))

    def commit(self, committed: Mapping[Stream, int]) -> None:
        """These numbers are on the disk now."""
        self._append(b"".join(_mark(stream, seq) for stream, seq in committed.items()))

    def _append(self, data: bytes) -> None:
        if self._file >= 0 and data:
            try:
                self._write(data)
            except OSError:
                self.remove()

    def remove(self) -> None:
        """There is no tail: everything is committed, or the folder takes nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        for path in self._paths:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        if os.write(self._file, data) != len(data):
            raise OSError("short write")


def _mark(stream: Stream, seq: int) -> bytes:
    return _frame(Record(*stream, seq, COMMITTED, NEVER, {}))


def _frame(record: Record) -> bytes:
    body = _encode(record)
    return _FRAME.pack(len(body), zlib.crc32(body)) + body


def _frames(data: bytes) -> Iterable[Record]:
    """Sound frames; the kill may have cut the last one short, whose record then never left."""
    at = 0
    while at + _FRAME.size <= len(data):
        length, crc = _FRAME.unpack_from(data, at)
        body = data[at + _FRAME.size : at + _FRAME.size + length]
        if len(body) < length or zlib.crc32(body) != crc:
            return
        yield _decode(body)
        at += _FRAME.size + length
