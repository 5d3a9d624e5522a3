"""The statistics of one point and one day as bytes: a header (quarters of an hour per bin, and the first
quarter since 1970), then one column after the other, compressed: most change little from bin to bin."""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping

from .statistics import QUARTER_MS, TrendBin

HEADER = struct.Struct("<HI")
MAX_BINS = 128
"""A day has at most 100 quarters, where the clock is set back."""
COLUMNS = "HdddII"
"""The type codes of the offset in quarters, and of the fields of a `TrendBin`."""
_ROW_BYTES = sum(array(code).itemsize for code in COLUMNS)


SpannedBin = tuple[int, int, TrendBin]
"""From and until (Unix milliseconds), and the statistics."""


def pack_quarters(bins: Mapping[int, TrendBin]) -> bytes:
    """The bins of one day, by quarter since 1970."""
    return _pack(1, sorted(bins.items()))


def unpack_quarters(packed: bytes) -> dict[int, TrendBin]:
    """The bins of one day by quarter; one that stands for the day is under its first. Raises
    `ValueError`."""
    return dict(_unpack(packed)[1])


def unpack_spans(packed: bytes) -> Iterator[SpannedBin]:
    """The bins of one day with their times, oldest first. Raises `ValueError`."""
    width, bins = _unpack(packed)
    for quarter, found in bins:
        yield quarter * QUARTER_MS, (quarter + width) * QUARTER_MS, found


def thinned(packed: bytes, first_quarter: int, quarters: int) -> bytes:
    """The same with one bin for the day, which has that first quarter and so many. Raises `ValueError`."""
    found = [each for _, each in _unpack(packed)[1]]
    whole = found[0]
    for each in found[1:]:
        whole = whole.plus(each, quarters * QUARTER_MS)
    return _pack(quarters, [(first_quarter, whole)])


def _pack(width: int, bins: Iterable[tuple[int, TrendBin]]) -> bytes:
    bins = list(bins)[:MAX_BINS]
    first = bins[0][0]
    rows = [(quarter - first, *each) for quarter, each in bins]
    columns = [array(code, column) for code, column in zip(COLUMNS, zip(*rows, strict=True), strict=True)]
    return HEADER.pack(width, first) + zlib.compress(b"".join(map(_little_endian, columns)))


def _unpack(packed: bytes) -> tuple[int, list[tuple[int, TrendBin]]]:
    try:
        width, first = HEADER.unpack_from(packed)
        opened = zlib.decompressobj().decompress(packed[HEADER.size :], MAX_BINS * _ROW_BYTES)
    except (struct.error, zlib.error) as error:
        raise ValueError("no packed bins") from error
    count, rest = divmod(len(opened), _ROW_BYTES)
    if rest or not count:
        raise ValueError("no packed bins")
    columns, at = [], 0
    for code in COLUMNS:
        column: array[float] = array(code)
        column.frombytes(opened[at : at + count * column.itemsize])
        at += count * column.itemsize
        columns.append(_native(column))
    offsets, *fields = columns
    bins = (TrendBin(*row) for row in zip(*fields, strict=True))
    return width, [(first + int(offset), each) for offset, each in zip(offsets, bins, strict=True)]


def _little_endian(column: array[float]) -> bytes:
    return _native(array(column.typecode, column)).tobytes()


def _native(column: array[float]) -> array[float]:
    if sys.byteorder == "big":
        column.byteswap()
    return column
