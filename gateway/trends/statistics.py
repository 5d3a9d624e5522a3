"""Statistics of points by quarter of an hour, from their samples. Pure: however the samples are split into
batches, the bins are the same.

A value holds until the next one, but never longer than its device may be silent: what comes after that is
unknown. So means are weighted by time, and points that report only changes are as well known as others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from gateway.model import Quality, Record, Value

QUARTER_MS = 900_000
"""In every time zone hours and days begin on a quarter of an hour."""
MAX_HOLD_MS = 7 * 86_400_000
MAX_PAUSE_MS = 300_000
"""The gateway reports its own figures each minute: if nothing at all came for so long, it did not run."""


class TrendBin(NamedTuple):
    """One point in one span of time. `mean` is weighted by time; `readings`: how many there were; for
    `known_ms` milliseconds the value was known."""

    low: float
    high: float
    mean: float
    readings: int
    known_ms: int

    def plus(self, other: TrendBin, span_ms: int = QUARTER_MS) -> TrendBin:
        """Both together. `span_ms`: that of the bin; clocks that were set back count no time twice."""
        weights = self.known_ms, other.known_ms
        if not any(weights):
            weights = max(1, self.readings), other.readings
        mean = (self.mean * weights[0] + other.mean * weights[1]) / sum(weights)
        known_ms = min(span_ms, self.known_ms + other.known_ms)
        return TrendBin(
            min(self.low, other.low),
            max(self.high, other.high),
            mean,
            self.readings + other.readings,
            known_ms,
        )


class Held(msgspec.Struct, frozen=True, gc=False):
    """The last value of a point: from when on it has not been counted yet, and until when it is known at
    most (Unix milliseconds)."""

    value: float
    since: int
    until: int


class TrendCursor(NamedTuple):
    """How far one journal has been read: the position in its telemetry lane, and the newest time there.
    Records up to `skip_until_ms` were counted from the journal before (Unix milliseconds)."""

    position: int = 0
    newest_ms: int = 0
    skip_until_ms: int = 0


Bins = dict[tuple[str, str, int], TrendBin]
"""By device, point and quarter since 1970."""
HeldValues = dict[str, dict[str, Held]]
"""By device and point."""


def number_of(value: Value | None) -> float | None:
    """The number of a value: true is 1; None of a text, and of what is no number."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


class _BinSum(msgspec.Struct, gc=False):
    """A bin that is being filled. There may be a hundred thousand: as objects that the garbage collector
    knows they would make its collections long."""

    low: float
    high: float
    readings: int = 0
    reading_sum: float = 0.0
    known_ms: int = 0
    time_sum: float = 0.0

    def add_reading(self, value: float) -> None:
        if value < self.low:
            self.low = value
        elif value > self.high:
            self.high = value
        self.readings += 1
        self.reading_sum += value

    def add_time(self, value: float, known_ms: int) -> None:
        if value < self.low:
            self.low = value
        elif value > self.high:
            self.high = value
        self.known_ms += known_ms
        self.time_sum += value * known_ms

    def bin(self) -> TrendBin:
        mean = self.time_sum / self.known_ms if self.known_ms else self.reading_sum / self.readings
        return TrendBin(self.low, self.high, mean, self.readings, min(QUARTER_MS, self.known_ms))


class TrendCollector:
    """Aggregates the telemetry lane of one journal, in order."""

    def __init__(self, cursor: TrendCursor, held: HeldValues, hold_ms: Callable[[str], float]) -> None:
        """`hold_ms`: for how many milliseconds a value of a device is known at most."""
        self.cursor = cursor
        self.held = held
        self._bins: dict[tuple[str, str, int], _BinSum] = {}
        self._hold_ms = hold_ms

    def take_bins(self) -> Bins:
        """What has been collected since the last call."""
        taken, self._bins = self._bins, {}
        return {key: each.bin() for key, each in taken.items()}

    def add_row(self, position: int, records: Iterable[tuple[Record, int | None]]) -> None:
        """Add one row of the lane, or a part of one, each record with its time in Unix milliseconds; None:
        it will never be known. An unreadable row has no records and is treated as missing."""
        last, newest_ms, skip_until_ms = self.cursor
        records = tuple(records)
        if (position > last + 1 and last) or not records:
            # Rows are missing: what was said there is unknown.
            self.end_all(newest_ms)
        for record, at in records:
            if at is None or at <= skip_until_ms:
                continue
            if newest_ms and abs(at - newest_ms) > MAX_PAUSE_MS:
                self.end_all(newest_ms)
            newest_ms = at
            if record.kind == "sample":
                self._add_sample(record, at)
        self.cursor = TrendCursor(position, newest_ms, skip_until_ms)

    def _add_sample(self, record: Record, at: int) -> None:
        body = record.body
        if body.get("arrival"):
            return  # Nobody knows when that was measured.
        held = self.held.setdefault(record.device, {})
        if "error" in body or body.get("quality") == Quality.OFFLINE:
            self._end(record.device, held, at)
            return
        values: Mapping[str, Value] = body.get("values", {})
        self._end(record.device, held, at, only=body.get("bad", ()))
        until = at + round(min(MAX_HOLD_MS, self._hold_ms(record.device)))
        for point, value in values.items():
            if last := held.pop(point, None):
                self._count(record.device, point, last, at)
            number = number_of(value)
            if number is not None:
                self._bin(record.device, point, at // QUARTER_MS, number).add_reading(number)
                held[point] = Held(number, at, until)

    def count_until(self, at: int) -> None:
        """Count every value that still holds up to a time."""
        for device, held in self.held.items():
            for point, last in tuple(held.items()):
                self._count(device, point, last, at)
                if at >= last.until:
                    del held[point]
                else:
                    held[point] = Held(last.value, max(at, last.since), last.until)
        self.held = {device: held for device, held in self.held.items() if held}

    def end_all(self, at: int) -> None:
        """From then on, nothing is known."""
        for device, held in self.held.items():
            self._end(device, held, at)

    def _end(self, device: str, held: dict[str, Held], at: int, only: Iterable[str] | None = None) -> None:
        for point in tuple(held) if only is None else only:
            if last := held.pop(point, None):
                self._count(device, point, last, at)

    def _count(self, device: str, point: str, last: Held, until: int) -> None:
        since, until = last.since, min(until, last.until)
        while since < until:
            quarter = since // QUARTER_MS
            end = min(until, (quarter + 1) * QUARTER_MS)
            self._bin(device, point, quarter, last.value).add_time(last.value, end - since)
            since = end

    def _bin(self, device: str, point: str, quarter: int, value: float) -> _BinSum:
        key = device, point, quarter
        found = self._bins.get(key)
        if found is None:
            found = self._bins[key] = _BinSum(value, value)
        return found
