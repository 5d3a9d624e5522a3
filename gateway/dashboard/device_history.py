"""What a device has said: lately, as it is in the journal, and before that as statistics by quarter of an
hour."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from gateway.journal import JournalFailed, JournalReader
from gateway.model import Clock, Lane, Stamp, Value, stale_after_s
from gateway.trends import QUARTER_MS, Calendar, Trend, number_of, read_trend, trends_file
from gateway.web.charts import Mark, Reading, Span, decimated, svg_text, time_chart, time_marks
from gateway.web.settings import DeviceInfo
from gateway.web.templating import Markup

SEARCH_TIMEOUT_S = 1.0
PACKS_PER_BATCH = 20
"""So few that a search does not hold up the other pages."""
ROW_LENGTHS = {
    1: timedelta(minutes=5),
    6: timedelta(minutes=15),
    24: timedelta(hours=1),
    7 * 24: timedelta(hours=6),
    31 * 24: timedelta(days=1),
    366 * 24: timedelta(weeks=1),
}
"""By the hours of a history: the length of a row in its table. The first is the default."""
RAW_HOURS = 6
"""A longer history is that of the statistics, but for what came after them."""
MAX_PIECES = 4000
"""Of the statistics of one point; those of a longer history are of several quarters of an hour each."""
MAX_CHARTS = 6
"""Points whose history is shown at once."""


class _Piece(NamedTuple):
    """A value, or the statistics of several, that was known from `since` to `until` (Unix milliseconds)."""

    since: int
    until: int
    low: float
    high: float
    mean: float
    readings: int
    is_single: bool


class HistoryRow(msgspec.Struct, frozen=True):
    """The statistics of a part of a history."""

    since: int
    until: int
    low: float
    high: float
    mean: float
    readings: int


class PointHistory(msgspec.Struct, frozen=True):
    """The history of one point. `mean` is weighted by time."""

    point: str
    is_boolean: bool
    low: Value
    high: Value
    mean: float
    count: int
    runs: tuple[tuple[Reading, ...], ...]
    rows: tuple[HistoryRow, ...]
    since: int
    until: int
    marks: tuple[Mark, ...]
    timezone: str

    def chart(self, title: str, unit: str, low: str, high: str) -> Markup:
        """The curve, as SVG. `low` and `high`: the words of a boolean's values."""
        return svg_text(
            time_chart(
                title,
                self.runs,
                self.since,
                self.until,
                marks=self.marks,
                tooltips=[Span(row.since, row.until, self._tooltip(row, unit)) for row in self.rows],
                unit=unit,
                levels={0.0: low, 1.0: high} if self.is_boolean else None,
                holds=self.is_boolean,
            )
        )

    def span_text(self, row: HistoryRow) -> str:
        """The time of a row."""
        zone = ZoneInfo(self.timezone)
        since, until = (datetime.fromtimestamp(at / 1000, zone) for at in (row.since, row.until))
        if until - since < timedelta(days=1):
            return f"{since:%m-%d %H:%M}–{until:%H:%M}"
        last = until - timedelta(minutes=1)
        return f"{since:%m-%d}" if last.date() == since.date() else f"{since:%m-%d} – {last:%m-%d}"

    def _tooltip(self, row: HistoryRow, unit: str) -> str:
        if self.is_boolean:
            return f"{self.span_text(row)} · {row.mean:.0%}"
        values = f"{row.low:.6g}" if row.low == row.high else f"{row.low:.6g}–{row.high:.6g}"
        return f"{self.span_text(row)} · {values} {unit}".rstrip()


class DeviceHistory(msgspec.Struct, frozen=True):
    """`names`: the points that may be chosen."""

    points: tuple[PointHistory, ...]
    names: tuple[str, ...]
    since: int
    until: int
    """Unix milliseconds."""


Found = list[tuple[int, Mapping[str, Value]]]
"""Unix time in milliseconds, and values; none where a reading failed."""


class _Readings(NamedTuple):
    """What is known of a device in a time (Unix milliseconds): the readings since `found_since`, and before
    that the statistics."""

    info: DeviceInfo
    file: Path
    """Of the statistics."""
    epoch: str
    calendar: Calendar
    since: int
    until: int
    found: Found
    found_since: int

    @property
    def names(self) -> tuple[str, ...]:
        """The points."""
        return tuple(dict.fromkeys((*self.info.units, *(name for _, each in self.found for name in each))))

    def is_boolean(self, point: str) -> bool:
        return point in self.info.boolean_points or any(
            isinstance(values.get(point), bool) for _, values in self.found
        )

    async def pieces(self, point: str) -> list[_Piece]:
        """Those of a point, oldest first."""
        quarters = max(1, (self.until - self.since) // QUARTER_MS // MAX_PIECES)
        trend = await read_trend(
            self.file, self.epoch, self.info.name, [point], self.since, self.until, self.calendar, quarters
        )
        gap_ms = round(1000 * stale_after_s(self.info.interval_s))

        def work() -> list[_Piece]:
            return [
                *_trend_pieces(trend, point, self.since, self.found_since),
                *_raw_pieces(self.found, point, gap_ms, self.until),
            ]

        # A year of one point takes tens of milliseconds; meanwhile the other pages have their turn.
        return await asyncio.to_thread(work)


async def _read(journal: Path, info: DeviceInfo, hours: int, timezone: str, clock: Clock) -> _Readings:
    now = clock.now()
    since, until = now.wall_ms - hours * 3_600_000, now.wall_ms
    found, found_since, epoch = Found(), until, ""
    calendar, file = Calendar(timezone), trends_file(journal)
    try:
        async with JournalReader.open(journal) as reader:
            epoch = await reader.read_meta("epoch")
            first = since
            if hours > RAW_HOURS:
                trend = await read_trend(file, epoch, info.name, (), since, until, calendar)
                first = max(since, trend.until)
            found, found_since = await _search(reader, info.name, first, now, clock)
    except JournalFailed:
        pass
    return _Readings(info, file, epoch, calendar, since, until, found, found_since)


async def read_history(
    journal: Path, info: DeviceInfo, hours: int, timezone: str, clock: Clock, point: str = ""
) -> DeviceHistory:
    """The values of a device's points in the last hours. `point`: that one alone."""
    readings = await _read(journal, info, hours, timezone, clock)
    since, until, names, zone = readings.since, readings.until, readings.names, ZoneInfo(timezone)
    edges = tuple(_row_edges(since, until, ROW_LENGTHS[hours], zone))
    marks = tuple(time_marks(since, until, zone))
    points: list[PointHistory] = []
    for name in [point] if point else names:
        is_boolean, pieces = readings.is_boolean(name), await readings.pieces(name)

        def work(name: str, is_boolean: bool, pieces: list[_Piece]) -> PointHistory:
            whole = _row(since, until, pieces)
            low, high = (bool(whole.low), bool(whole.high)) if is_boolean else (whole.low, whole.high)
            return PointHistory(
                name, is_boolean, low, high, whole.mean, whole.readings,
                tuple(tuple(decimated(run, since, until)) for run in _runs(pieces, holds=is_boolean)),
                tuple(_rows(pieces, edges)), since, until, marks, timezone,
            )  # fmt: skip

        points += [await asyncio.to_thread(work, name, is_boolean, pieces)] if pieces else []
        if len(points) == MAX_CHARTS:
            break
    return DeviceHistory(tuple(points), names, since, until)


async def read_rows(
    journal: Path, info: DeviceInfo, hours: int, timezone: str, clock: Clock, point: str = ""
) -> AsyncIterator[tuple[str, Iterator[HistoryRow]]]:
    """Each point with all that is known of it in the last hours: single readings, and the statistics of
    quarters of an hour or more. `point`: that one alone."""
    readings = await _read(journal, info, hours, timezone, clock)
    for name in [point] if point else readings.names:
        pieces = await readings.pieces(name)
        yield name, (_row(piece.since, piece.until, [piece]) for piece in pieces)


async def _search(
    reader: JournalReader, device: str, first: int, now: Stamp, clock: Clock
) -> tuple[Found, int]:
    """The readings of a device since a time, as far back as the journal goes and they are found in
    `SEARCH_TIMEOUT_S`: from which time on."""
    found: Found = []
    since, started = now.wall_ms, clock.mono()
    before = await reader.last_pos(Lane.TELEMETRY) + 1
    while packs := await reader.read_before(Lane.TELEMETRY, before, PACKS_PER_BATCH):
        before = packs[-1].pos
        times = []
        for record in (record for pack in packs for record in reversed(pack.records)):
            at = record.at.wall_by(now)
            if at is None:
                continue
            times.append(at)
            if record.device == device and record.kind == "sample" and first <= at <= now.wall_ms:
                found.append((at, {} if "error" in record.body else record.body["values"]))
        since = max(first, min(since, *times)) if times else since
        if times and (max(times) < first or clock.mono() - started > SEARCH_TIMEOUT_S):
            break
    found.sort(key=lambda each: each[0])
    return found, since


def _trend_pieces(trend: Trend, point: str, since: int, until: int) -> Iterator[_Piece]:
    """The statistics between two times."""
    for begin, end, found in trend.points.get(point, ()):
        if begin < until and end > since:
            span = max(begin, since), min(end, until)
            yield _Piece(*span, found.low, found.high, found.mean, found.readings, is_single=False)


def _raw_pieces(found: Found, point: str, gap_ms: int, until: int) -> Iterator[_Piece]:
    """Each value of a point until the next, or until it is too old."""
    times = [at for at, values in found if point in values or not values]
    values = [values.get(point) for _, values in found if point in values or not values]
    for at, value, following in zip(times, values, [*times[1:], until], strict=False):
        number = number_of(value)
        if number is not None:
            yield _Piece(at, min(following, at + gap_ms), number, number, number, 1, is_single=True)


def _runs(pieces: Iterable[_Piece], *, holds: bool) -> Iterator[list[Reading]]:
    """The readings of what was known without a gap."""
    run: list[Reading] = []
    last: _Piece | None = None
    for piece in pieces:
        if last and piece.since > last.until:
            yield [*run, _end(last)] if holds else run
            run = []
        at = piece.since if piece.is_single else (piece.since + piece.until) / 2
        run.append(Reading(at, piece.low, piece.high, piece.mean))
        last = piece
    if last:
        yield [*run, _end(last)] if holds else run


def _end(piece: _Piece) -> Reading:
    return Reading(piece.until, piece.mean, piece.mean, piece.mean)


def _rows(pieces: Sequence[_Piece], edges: Sequence[int]) -> Iterator[HistoryRow]:
    """The statistics between each two edges, newest last; none of what is not known."""
    number = 0
    for since, until in pairwise(edges):
        within = []
        while number < len(pieces) and pieces[number].since < until:
            within.append(pieces[number])
            number += 1
        if within:
            yield _row(since, until, within)


def _row(since: int, until: int, pieces: Sequence[_Piece]) -> HistoryRow:
    weights = [max(1, piece.until - piece.since) for piece in pieces]
    mean = sum(piece.mean * weight for piece, weight in zip(pieces, weights, strict=True)) / sum(weights)
    return HistoryRow(
        since,
        until,
        min(piece.low for piece in pieces),
        max(piece.high for piece in pieces),
        mean,
        sum(piece.readings for piece in pieces),
    )


def _row_edges(since: int, until: int, length: timedelta, zone: ZoneInfo) -> Iterator[int]:
    """The times between two (Unix milliseconds) at which a row of the table ends; the first and the last
    row are shorter."""
    yield since
    at = datetime.fromtimestamp(since / 1000, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    while (edge := round(at.timestamp() * 1000)) < until:
        if edge > since:
            yield edge
        at += length
    yield until
