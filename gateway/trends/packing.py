"""The statistics of one point and one day as bytes: a header (quarters of an hour per bin, and the first
quarter since 1970), then one column after the other, compressed: most change little from bin to bin."""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from operator import mul

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
    _, first, (offsets, *fields) = _unpack(packed)
    bins = (
        TrendBin(low, high, mean, int(readings), int(known_ms))
        for low, high, mean, readings, known_ms in zip(*fields, strict=True)
    )
    return {first + int(offset): each for offset, each in zip(offsets, bins, strict=True)}


def unpack_spans(packed: bytes, quarters: int = 1) -> Iterator[SpannedBin]:
    """The bins of one day with their times, oldest first; those of each so many quarters as one. Raises
    `ValueError`."""
    width, first, (offsets, lows, highs, means, readings, known) = _unpack(packed)
    begin = 0
    while begin < len(offsets):
        end = begin + 1
        if quarters > 1:
            end = bisect_left(offsets, (offsets[begin] // quarters + 1) * quarters, end)
        part = slice(begin, end)
        known_ms = int(sum(known[part]))
        weights, weight = (known[part], known_ms) if known_ms else ((1,) * (end - begin), end - begin)
        mean = sum(map(mul, means[part], weights)) / weight
        whole = TrendBin(min(lows[part]), max(highs[part]), mean, int(sum(readings[part])), known_ms)
        since, until = first + offsets[begin], first + offsets[end - 1] + width
        yield int(since) * QUARTER_MS, int(until) * QUARTER_MS, whole
        begin = end


def thinned(packed: bytes, first_quarter: int, quarters: int) -> bytes:
    """The same with one bin for the day, which has that first quarter and so many. Raises `ValueError`."""
    found = list(unpack_quarters(packed).values())
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


def _unpack(packed: bytes) -> tuple[int, int, list[array[float]]]:
    """The header and the columns, of equal lengths."""
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
    return width, first, columns


def _little_endian(column: array[float]) -> bytes:
    return _native(array(column.typecode, column)).tobytes()


def _native(column: array[float]) -> array[float]:
    if sys.byteorder == "big":
        column.byteswap()
    return column
