"""What a device has sent lately, searched for in the journal, and its curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

import msgspec

from gateway.journal import JournalFailed, JournalReader
from gateway.model import Clock, Lane, Value, stale_after_s
from gateway.web.templating import Markup

SEARCH_TIMEOUT_S = 1.0
PACKS_PER_BATCH = 20
"""So few that a search does not hold up the other pages."""
CHART_WIDTH, CHART_HEIGHT, CHART_MARGIN = 480, 96, 8

Readings = Sequence[tuple[int, float | None]]
"""Unix time in milliseconds and value, oldest first; None: no reading, whatever the reason."""


class PointHistory(msgspec.Struct, frozen=True):
    """The values of one point. `chart`: its curve, as SVG."""

    point: str
    low: Value
    high: Value
    count: int
    chart: Markup


class DeviceHistory(msgspec.Struct, frozen=True):
    """`since`: from when on all readings were found, Unix milliseconds."""

    points: tuple[PointHistory, ...]
    since: int
    until: int


async def read_history(
    journal: Path, device: str, interval_s: float, hours: int, clock: Clock
) -> DeviceHistory:
    """The values of a device's points in the last hours, as far back as they are found in
    `SEARCH_TIMEOUT_S`."""
    now, started = clock.now(), clock.mono()
    first = since = now.wall_ms - hours * 3_600_000
    found: list[tuple[int, Mapping[str, Value]]] = []
    try:
        async with JournalReader.open(journal) as reader:
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
                if times and max(times) < first:
                    break
                if times and clock.mono() - started > SEARCH_TIMEOUT_S:
                    since = max(first, min(times))
                    break
    except JournalFailed:
        found = []
    found.sort(key=lambda each: each[0])
    names = dict.fromkeys(point for _, values in found for point in values)
    gap_ms = int(stale_after_s(interval_s) * 1000)
    points = []
    for name in names:
        readings = [(at, _number(values.get(name))) for at, values in found if name in values or not values]
        known = [values[name] for _, values in found if _number(values.get(name)) is not None]
        if known:
            holds = isinstance(known[0], bool)
            chart = history_chart(readings, since, now.wall_ms, gap_ms, holds=holds)
            points.append(PointHistory(name, min(known), max(known), len(known), chart))
    return DeviceHistory(tuple(points), since, now.wall_ms)


def _number(value: Value | None) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def history_chart(
    readings: Readings, since: int, until: int, gap_ms: int, *, holds: bool = False
) -> Markup:
    """The curve of the readings between two times, as SVG. After `gap_ms` without one there is a gap, as
    there is where a reading failed. Of each column of the picture the lowest and the highest value are
    drawn. `holds`: each value holds until the next."""
    numbers = [number for _, number in readings if number is not None]
    low, high = min(numbers, default=0.0), max(numbers, default=0.0)
    height = CHART_HEIGHT - 2 * CHART_MARGIN
    runs: list[list[tuple[int, float, float]]] = []
    """Each an unbroken curve: column, lowest and highest value."""
    last: int | None = None
    for at, number in readings:
        if number is None:
            last = None
            continue
        column = max(0, (at - since) * CHART_WIDTH // max(1, until - since))
        if last is None or at - last > gap_ms:
            runs.append([])
        last = at
        if runs[-1] and runs[-1][-1][0] == column:
            _, lowest, highest = runs[-1].pop()
            runs[-1].append((column, min(lowest, number), max(highest, number)))
        else:
            runs[-1].append((column, number, number))

    def level(number: float) -> str:
        share = (number - low) / (high - low) if high > low else 0.5
        return f"{CHART_HEIGHT - CHART_MARGIN - share * height:.1f}"

    svg = Element("svg", {"class": "history", "viewBox": f"0 0 {CHART_WIDTH} {CHART_HEIGHT}"})
    svg.attrib |= {"preserveAspectRatio": "none", "aria-hidden": "true"}
    for run in runs:
        path = f"M{run[0][0]} {level(run[0][1])}"
        for column, lowest, highest in run:
            path += f"H{column}" if holds else f"L{column} {level(lowest)}"
            path += f"V{level(lowest)}V{level(highest)}"
        SubElement(svg, "path", {"class": "curve", "d": path + "h0.1"})
    return Markup(tostring(svg, encoding="unicode"))
