"""Telemetry that is not committed yet, in the runtime folder: memory that outlives the process, though
not the power. After a kill the next start takes it over, and not one sample is missing.

Two files take turns: one holds everything while the other is written anew, so at no moment is there none.
Nothing here is synced; a file that could not be written is removed, and then nobody relies on it.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from gateway.model import Record

_FRAME = struct.Struct("<II")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


class Tail:
    """The samples since the last commit. `owner` names the journal and the boot: another one's is void."""

    def __init__(self, folder: Path, owner: str) -> None:
        self._paths = [folder / "tail-a", folder / "tail-b"]
        self._head = f"linli-tail {owner}\n".encode()
        self._file = -1

    def recover(self) -> list[Record] | None:
        """What the process before us had taken in, oldest first, each once; None: nobody knows."""
        found: dict[tuple[str, int], Record] = {}
        trusted = False
        for path in self._paths:
            try:
                data = path.read_bytes()
            except OSError:
                continue
            if data.startswith(self._head):
                trusted = True
                for record in _frames(data[len(self._head) :]):
                    found[record.device, record.seq] = record
        return sorted(found.values(), key=lambda record: (record.at.mono, record.seq)) if trusted else None

    def reset(self, records: Iterable[Record]) -> None:
        """Begin anew with what is not committed yet."""
        old, self._file = self._file, -1
        self._paths.reverse()
        try:
            self._file = os.open(self._paths[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self._write(self._head + b"".join(map(_frame, records)))
            self._paths[1].unlink(missing_ok=True)
        except OSError:
            self.remove()
        if old >= 0:
            os.close(old)

    def add(self, record: Record) -> None:
        """Before the record may leave."""
        if self._file >= 0:
            try:
                self._write(_frame(record))
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
