"""Charts as SVG, drawn here: so they can be printed, and need no script.

Positions are shares of the chart's box, whose size is the style sheet's: only curves are stretched, never
text or the width of a line. They are built as a tree, and not by a template: a chart is computed
coordinates with hardly a word in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring
from zoneinfo import ZoneInfo

from .templating import Markup

COLUMNS, HEIGHT = 480, 100
"""Of a curve's own coordinates. Of the readings in one column, lowest, highest and mean are drawn."""
LETTER_WIDTH, USUAL_WIDTH = 8, 480
"""Of a letter in a label, and of a chart, about, in pixels."""
BAR_GAP_SHARE = 0.28
SHADE_COUNT = 6
HEAD_PERCENT = 9.0
"""Width of what is written at the left of columns and heat maps."""
MAX_NUMBER = 1e15
MIN_SPAN = 1e-9
"""Values that differ by a smaller part are drawn as one."""
SCALE_LINES = 3
"""About so many lines divide the height."""
MARKS = 6
"""About so many times are written below a curve."""
EDGE_SHARE = 0.04
MARK_STEPS = tuple(
    timedelta(minutes=minutes)
    for minutes in (5, 10, 15, 30, 60, 120, 240, 720, 1440, 2880, 7 * 1440, 14 * 1440)
)


class Reading(NamedTuple):
    """A value at a time, or the lowest, highest and mean value around it."""

    at: float
    low: float
    high: float
    mean: float


class Mark(NamedTuple):
    """A time that is written below a curve."""

    at: float
    label: str


class Span(NamedTuple):
    """What the pointer is told over a part of a curve."""

    since: float
    until: float
    tooltip: str


class Column(NamedTuple):
    """One bar, or a square of a heat map: label, value, value of the bar's upper part, and tooltip;
    `is_minimum` marks it with ≥."""

    label: str
    value: float
    part: float
    tooltip: str
    is_minimum: bool = False


class Scale(NamedTuple):
    """The values at the bottom and the top of a chart, and the distance of its lines."""

    bottom: float
    top: float
    step: float

    def share(self, value: float) -> float:
        """How high a value is, from 0 to 1."""
        return (value - self.bottom) / (self.top - self.bottom)

    def lines(self) -> Iterator[float]:
        """The values at which there is a line."""
        for number in range(round((self.top - self.bottom) / self.step) + 1):
            yield self.bottom + number * self.step


def scale_for(low: float, high: float, *, whole: bool = False) -> Scale:
    """A scale that holds both, with lines at round values. `whole`: at whole numbers only."""
    low, high = (max(-MAX_NUMBER, min(MAX_NUMBER, value)) for value in (low, high))
    span, size = high - low, max(abs(low), abs(high))
    if span < MIN_SPAN * max(1.0, size):
        span = size if size > MIN_SPAN else 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / SCALE_LINES))
    step = next(
        factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= span / SCALE_LINES * 0.999
    )
    step = max(1.0, step) if whole else step
    bottom, top = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return Scale(bottom, top if top > bottom else bottom + step, step)


def time_chart(
    title: str,
    runs: Iterable[Sequence[Reading]],
    since: float,
    until: float,
    *,
    marks: Iterable[Mark] = (),
    tooltips: Iterable[Span] = (),
    unit: str = "",
    levels: Mapping[float, str] | None = None,
    holds: bool = False,
    from_zero: bool = False,
    whole: bool = False,
) -> Element:
    """The curve of a value over time, from `since` to `until`. Each of the `runs` is unbroken: between two
    of them nothing is known. Where a reading stands for several values, the band from the lowest to the
    highest is shaded.

    `levels`: what is written at the scale instead of numbers. `holds`: a value holds until the next.
    `from_zero`: the scale begins there, and what is below the curve is filled.
    """
    columns = [found for run in runs if (found := decimated(run, since, until))]
    lows = [reading.low for run in columns for reading in run]
    highs = [reading.high for run in columns for reading in run]
    low, high = min(lows, default=0.0), max(highs, default=0.0)
    if levels:
        scale = Scale(min(levels), max(levels), max(levels) - min(levels))
    else:
        scale = scale_for(min(0.0, low) if from_zero else low, high, whole=whole)
    svg = _chart(title)
    _add_rules(svg, scale)
    plot, frame = _add_plot(svg), _Frame(since, until, scale)
    for run in columns:
        if from_zero:
            _add(plot, "path", kind="area", d=_closed(run, frame, holds=holds))
        if any(reading.high > reading.low for reading in run):
            _add(plot, "path", kind="band", d=_band(run, frame))
        _add(plot, "path", kind="curve", d=_curve(run, frame, holds=holds) + "h.1")
    for span in tooltips:
        left, right = (_share(at, since, until) for at in (span.since, span.until))
        group = _add(svg, "g", kind="bar")
        _add(group, "title", span.tooltip)
        _add(group, "rect", kind="field", **_box(left, 0, max(0.0, right - left), 1))
    _add_scale(svg, scale, unit, levels)
    for mark in marks:
        share = _share(mark.at, since, until)
        anchor = "start" if share < EDGE_SHARE else "end" if share > 1 - EDGE_SHARE else "middle"
        _add_mark(svg, share, mark.label, anchor)
    return svg


def column_chart(title: str, bars: Sequence[Column]) -> Element:
    """A column chart with a scale from 0, in whole numbers."""
    svg = _chart(title)
    scale = scale_for(0, max((bar.value for bar in bars), default=0), whole=True)
    _add_rules(svg, scale)
    _add_scale(svg, scale)
    first = HEAD_PERCENT / 100
    step = (1 - first) / max(1, len(bars))
    letters = max((len(bar.label) for bar in bars), default=0)
    every = math.ceil(LETTER_WIDTH * (letters + 1) / (USUAL_WIDTH * step)) or 1
    for number, bar in enumerate(bars):
        left, height = first + number * step, scale.share(bar.value)
        group = _add(svg, "g", kind="bar least" if bar.is_minimum else "bar")
        _add(group, "title", bar.tooltip)
        # The tooltip belongs to the whole height of the column.
        _add(group, "rect", kind="field", **_box(left, 0, step, 1))
        if bar.value:
            inner, width = left + step * BAR_GAP_SHARE / 2, step * (1 - BAR_GAP_SHARE)
            _add(group, "rect", kind="whole", **_box(inner, 1 - height, width, height))
            if bar.part:
                _add(group, "rect", kind="part", **_box(inner, 1 - height, width, scale.share(bar.part)))
            if bar.is_minimum:
                _add_text(group, left + step / 2, 1 - height, "≥", "middle", dy="-.25em")
        if number % every == 0:
            _add_mark(svg, left + step / 2, bar.label, "middle")
    return svg


def heat_map(
    title: str, rows: Sequence[str], heads: Sequence[str], cells: Sequence[Sequence[Column | None]]
) -> Element:
    """A heat map with labels of rows and columns; a larger value is darker."""
    svg = _chart(title, "chart heat")
    top = max((cell.value for row in cells for cell in row if cell), default=0) or 1
    first = HEAD_PERCENT / 100
    step, high = (1 - first) / max(1, len(heads)), 1 / max(1, len(rows))
    for number, (name, row) in enumerate(zip(rows, cells, strict=True)):
        middle = (number + 0.5) * high
        _add_text(svg, 0, middle, name, "start", dy=".35em")
        for column, cell in enumerate(row):
            group = _add(svg, "g", kind="cell")
            box = _box(first + column * step, number * high, step * 0.95, high * 0.93)
            if cell is None:
                _add(group, "rect", kind="none", **box)
                continue
            shade = min(SHADE_COUNT, -(-int(cell.value * 1000) * SHADE_COUNT // int(top * 1000)))
            _add(group, "title", cell.tooltip)
            _add(group, "rect", kind=f"shade-{shade}", **box)
            centre = first + (column + 0.475) * step
            _add_text(group, centre, middle, cell.label, "middle", f"on-{shade}", dy=".3em")
    for column, head in enumerate(heads):
        _add_mark(svg, first + (column + 0.475) * step, head, "middle")
    return svg


def time_marks(since_ms: int, until_ms: int, zone: ZoneInfo) -> list[Mark]:
    """Round local times between two (Unix milliseconds): hours, days or months. Those at the very edges,
    whose labels would not be below them, are left out."""
    first, last = (datetime.fromtimestamp(at / 1000, zone) for at in (since_ms, until_ms))
    span = timedelta(milliseconds=until_ms - since_ms)
    step = next((step for step in MARK_STEPS if span <= step * (MARKS + 1)), None)
    found: list[datetime] = []
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
    if step is None:
        months = max(1, round(span / timedelta(days=30) / MARKS))
        number = midnight.year * 12 + midnight.month
        while (at := midnight.replace(year=number // 12, month=number % 12 + 1, day=1)) <= last:
            found.append(at)
            number += months
        form = "%Y-%m"
    else:
        # Days are counted by the calendar: where clocks are changed, they are not of one length.
        found += [midnight + number * step for number in range(int((last - midnight) / step) + 2)]
        form = "%H:%M" if step < timedelta(days=1) else "%m-%d"
    return [
        Mark(at.timestamp() * 1000, f"{at:{form}}")
        for at in found
        if EDGE_SHARE <= (at.timestamp() * 1000 - since_ms) / (until_ms - since_ms) <= 1 - EDGE_SHARE
    ]


def svg_text(chart: Element) -> Markup:
    """A chart as it stands in a page: what people wrote is escaped."""
    return Markup(tostring(chart, encoding="unicode"))


def decimated(run: Sequence[Reading], since: float, until: float) -> list[Reading]:
    """The readings of each column of a chart as one. A chart does so itself; before, it saves memory."""
    found: list[Reading] = []
    of_column: list[Reading] = []
    column, width = -1, (until - since) / COLUMNS or 1
    for reading in run:
        place = int((reading.at - since) / width)
        if place != column and of_column:
            found.append(_merged(of_column))
            of_column = []
        column = place
        of_column.append(reading)
    if of_column:
        found.append(_merged(of_column))
    return found


def _merged(readings: Sequence[Reading]) -> Reading:
    return Reading(
        (readings[0].at + readings[-1].at) / 2,
        min(reading.low for reading in readings),
        max(reading.high for reading in readings),
        sum(reading.mean for reading in readings) / len(readings),
    )


class _Frame(NamedTuple):
    """From times and values to a curve's own coordinates."""

    since: float
    until: float
    scale: Scale

    def x(self, at: float) -> str:
        return f"{round(COLUMNS * _share(at, self.since, self.until), 1):g}"

    def y(self, value: float) -> str:
        return f"{HEIGHT * (1 - self.scale.share(max(-MAX_NUMBER, min(MAX_NUMBER, value)))):.1f}"


def _curve(run: Iterable[Reading], frame: _Frame, *, holds: bool) -> str:
    steps: list[str] = []
    for reading in run:
        x, y = frame.x(reading.at), frame.y(reading.mean)
        if not steps:
            steps.append(f"M{x} {y}")
        else:
            steps.append(f"H{x}V{y}" if holds else f"L{x} {y}")
    return "".join(steps)


def _closed(run: Sequence[Reading], frame: _Frame, *, holds: bool) -> str:
    """The path of what is below a curve."""
    return f"{_curve(run, frame, holds=holds)}V{frame.y(0)}H{frame.x(run[0].at)}Z"


def _band(run: Sequence[Reading], frame: _Frame) -> str:
    upper = "L".join(f"{frame.x(each.at)} {frame.y(each.high)}" for each in run)
    lower = "L".join(f"{frame.x(each.at)} {frame.y(each.low)}" for each in reversed(run))
    return f"M{upper}L{lower}Z"


def _share(at: float, since: float, until: float) -> float:
    return max(0.0, min(1.0, (at - since) / (until - since or 1)))


def _chart(title: str, kind: str = "chart") -> Element:
    return Element("svg", {"class": kind, "role": "img", "aria-label": title})


def _add_plot(svg: Element) -> Element:
    """The part in which curves have coordinates of their own."""
    box = {"viewBox": f"0 0 {COLUMNS} {HEIGHT}", "preserveAspectRatio": "none"}
    return SubElement(svg, "svg", {"class": "plot", "width": "100%", "height": "100%", **box})


def _add_rules(svg: Element, scale: Scale) -> None:
    for value in scale.lines():
        y = _percent(1 - scale.share(value))
        _add(svg, "line", kind="rule", x1="0", x2="100%", y1=y, y2=y)


def _add_scale(
    svg: Element, scale: Scale, unit: str = "", levels: Mapping[float, str] | None = None
) -> None:
    for value in scale.lines():
        number = f"{round(value, 10):,.10g}"
        text = levels.get(value, "") if levels else f"{number} {unit}".rstrip()
        _add_text(svg, 0, 1 - scale.share(value), text, "start", "level", dy="-.25em")


def _add_mark(svg: Element, share: float, text: str, anchor: str) -> None:
    """A label below the chart."""
    _add_text(svg, share, 1, text, anchor, dy="1.25em")


def _box(x: float, y: float, width: float, height: float) -> dict[str, str]:
    return {"x": _percent(x), "y": _percent(y), "width": _percent(width), "height": _percent(height)}


def _percent(share: float) -> str:
    return f"{share * 100:.3g}%" if share < 0.1 else f"{share * 100:.4g}%"


def _add_text(
    parent: Element, x: float, y: float, text: str, anchor: str, kind: str = "label", *, dy: str = "0"
) -> None:
    place = {"x": _percent(x), "y": _percent(y), "dy": dy, "text-anchor": anchor, "class": kind}
    _add(parent, "text", text, **place)


def _add(parent: Element, tag: str, text: str = "", *, kind: str = "", **attributes: str) -> Element:
    """Put an element at the end of another. `kind`: its class."""
    element = SubElement(parent, tag, attributes | ({"class": kind} if kind else {}))
    element.text = text
    return element
