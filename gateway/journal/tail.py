"""The tail of the journal: telemetry that is not committed yet, in the runtime folder. That is memory that
survives the end of the process, but not a power cut. After a kill, the next start recovers every sample
from it. It also stores the last committed sequence numbers: a journal with lower ones has lost records, and
must not use their numbers again.

Two files alternate: one stays complete while the other is rewritten, so that one is valid at any time.
Nothing is synced; a file that cannot be written is removed, and the next start treats the tail as unknown.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from gateway.model import ClockQuality, Lane, Record, Stamp

from .reader import Stream

COMMITTED_KIND = "committed"
"""The kind of a frame that only gives the last numbers: by lane and device."""
NO_STAMP = Stamp(0, 0, "", ClockQuality.UNSET)
_FRAME_HEADER = struct.Struct("<II")
_decode = msgspec.msgpack.Decoder(Record).decode


class RecoveredTail(msgspec.Struct, frozen=True):
    """The last committed number of each stream, and the telemetry that may not have been committed."""

    committed: dict[Stream, int]
    records: list[Record]


class Tail:
    """The samples since the last commit of the journal at a path, with its epoch. Files of another journal
    or boot are ignored."""

    def __init__(self, folder: Path, journal: Path, boot: str, epoch: str) -> None:
        self._paths = [folder / "tail-a", folder / "tail-b"]
        self._owner = f"linli-tail/2 {journal.absolute()} {boot} ".encode()
        self._epoch = epoch
        self._file: int | None = None

    @property
    def _header(self) -> bytes:
        return self._owner + f"{self._epoch}\n".encode()

    def continue_lost(self) -> str:
        """The epoch of another journal that was at the path before, from now on that of this tail; empty if
        there was none."""
        for path in self._paths:
            with contextlib.suppress(OSError):
                header, _, _ = path.read_bytes().partition(b"\n")
                if header.startswith(self._owner):
                    self._epoch = header.removeprefix(self._owner).decode("ascii", "replace")
                    return self._epoch
        return ""

    def recover(self) -> RecoveredTail | None:
        """What the previous process left; None if that is unknown."""
        committed: dict[Stream, int] = {}
        records: dict[tuple[str, int], Record] = {}
        trusted = False
        for path in self._paths:
            try:
                data = path.read_bytes()
            except OSError:
                continue
            if data.startswith(self._header):
                trusted = True
                for record in _sound_frames(data[len(self._header) :]):
                    if record.kind == COMMITTED_KIND:
                        for (lane, device), seq in record.body["numbers"].items():
                            stream = Lane(lane), device
                            committed[stream] = max(seq, committed.get(stream, 0))
                    else:
                        records[record.device, record.seq] = record
        order = sorted(records.values(), key=lambda record: (record.at.mono_ns, record.seq))
        return RecoveredTail(committed, order) if trusted else None

    def reset(self, committed: Mapping[Stream, int], encoded: Iterable[bytes]) -> None:
        """Start a new file with the last committed numbers and the records, as MessagePack, that are not
        committed yet."""
        frames = (_committed_frame(committed), *map(_frame, encoded))
        old, self._file = self._file, None
        self._paths.reverse()
        try:
            self._paths[0].parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._paths[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self._write(self._header + b"".join(frames))
            self._paths[1].unlink(missing_ok=True)
        except OSError:
            self.remove()
        if old is not None:
            os.close(old)

    def add(self, encoded: bytes) -> None:
        """Store a record as MessagePack; call this before it is sent."""
        self._append(_frame(encoded))

    def commit(self, committed: Mapping[Stream, int]) -> None:
        """Store the numbers that are now committed."""
        self._append(_committed_frame(committed))

    def _append(self, data: bytes) -> None:
        if self._file is not None:
            try:
                self._write(data)
            except OSError:
                self.remove()

    def remove(self) -> None:
        """Delete the files: everything is committed, or the folder cannot be written."""
        self.close()
        for path in self._paths:
            with contextlib.suppress(OSError):
                path.unlink()

    def close(self) -> None:
        """Close the open file; what is in it stays for the next start."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        if os.write(self._file, data) != len(data):
            raise OSError("short write")


def _committed_frame(committed: Mapping[Stream, int]) -> bytes:
    numbers = Record(Lane.TELEMETRY, "", 0, COMMITTED_KIND, NO_STAMP, {"numbers": committed})
    return _frame(msgspec.msgpack.encode(numbers))


def _frame(body: bytes) -> bytes:
    return _FRAME_HEADER.pack(len(body), zlib.crc32(body)) + body


def _sound_frames(data: bytes) -> Iterable[Record]:
    """The intact frames. A kill may cut the last one short; its record was not sent then."""
    at = 0
    while at + _FRAME_HEADER.size <= len(data):
        length, crc = _FRAME_HEADER.unpack_from(data, at)
        body = data[at + _FRAME_HEADER.size : at + _FRAME_HEADER.size + length]
        if len(body) < length or zlib.crc32(body) != crc:
            return
        yield _decode(body)
        at += _FRAME_HEADER.size + length
