"""Charts as SVG elements with classes, styled by the page's or the report's style sheet.

They are built as a tree, and not by a template: a chart is computed coordinates with hardly a word in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

VIEW_WIDTH, VIEW_HEIGHT = 480, 200
LEFT_MARGIN, TOP_MARGIN, BOTTOM_MARGIN, BAR_GAP_SHARE = 44, 16, 26, 0.28
LETTER_WIDTH = 8
"""Approximate width of a letter in a label."""
SHADE_COUNT = 6


class Column(NamedTuple):
    """One bar: label, height, height of its upper part, and tooltip; `is_minimum` marks it with ≥."""

    label: str
    value: float
    part: float
    tooltip: str
    is_minimum: bool = False


def column_chart(title: str, bars: Sequence[Column]) -> Element:
    """A column chart with a scale."""
    svg = _svg(title)
    top = _scale_maximum(max((bar.value for bar in bars), default=0))
    _add_scale(svg, top)
    step = (VIEW_WIDTH - LEFT_MARGIN) / max(1, len(bars))
    every = -int(-LETTER_WIDTH * max((len(bar.label) for bar in bars), default=0) // step) or 1
    for number, bar in enumerate(bars):
        left = LEFT_MARGIN + number * step
        group = _add(svg, "g", kind="bar least" if bar.is_minimum else "bar")
        _add(group, "title", bar.tooltip)
        # The tooltip belongs to the whole height of the column.
        _add(
            group,
            "rect",
            **_rectangle(left, TOP_MARGIN, step, VIEW_HEIGHT - TOP_MARGIN - BOTTOM_MARGIN),
            kind="field",
        )
        height = _bar_height(bar.value, top)
        if bar.value:
            width, x = max(1.0, step * (1 - BAR_GAP_SHARE)), left + step * BAR_GAP_SHARE / 2
            _add(
                group,
                "rect",
                **_rectangle(x, VIEW_HEIGHT - BOTTOM_MARGIN - height, width, height),
                kind="whole",
            )
            if bar.part:
                part = _bar_height(bar.part, top)
                box = _rectangle(x, VIEW_HEIGHT - BOTTOM_MARGIN - height, width, part)
                _add(group, "rect", **box, kind="part")
            if bar.is_minimum:
                _add_text(group, left + step / 2, VIEW_HEIGHT - BOTTOM_MARGIN - height - 3, "≥", "middle")
        if number % every == 0 and left + step / 2 < VIEW_WIDTH - 2 * LETTER_WIDTH:
            _add_text(svg, left + step / 2, VIEW_HEIGHT - 7, bar.label, "middle")
    return svg


def step_chart(
    title: str, points: Sequence[tuple[float, float]], labels: Sequence[tuple[float, str]]
) -> Element:
    """A step chart: each value holds until the next point; positions on the x-axis are from 0 to 1."""
    svg = _svg(title)
    top = _scale_maximum(max((value for _, value in points), default=0))
    _add_scale(svg, top)
    for at, text in labels:
        _add_text(svg, LEFT_MARGIN + at * (VIEW_WIDTH - LEFT_MARGIN), VIEW_HEIGHT - 7, text, "middle")
    path: list[str] = []
    height: float = VIEW_HEIGHT - BOTTOM_MARGIN
    for at, value in points:
        x, level = (
            LEFT_MARGIN + at * (VIEW_WIDTH - LEFT_MARGIN),
            VIEW_HEIGHT - BOTTOM_MARGIN - _bar_height(value, top),
        )
        path += [f"L{x:.1f} {height:.1f}", f"L{x:.1f} {level:.1f}"]
        height = level
    if path:
        start = path[0].replace("L", "M")
        _add(svg, "path", d=" ".join([start, *path[1:]]), kind="curve")
    return svg


def heat_map(
    title: str, rows: Sequence[str], heads: Sequence[str], cells: Sequence[Sequence[Column | None]]
) -> Element:
    """A heat map with labels of rows and columns; a larger value is darker."""
    step, high = (VIEW_WIDTH - LEFT_MARGIN) / max(1, len(heads)), 27
    svg = _svg(title, len(rows) * high + BOTTOM_MARGIN)
    top = max((cell.value for row in cells for cell in row if cell), default=0) or 1
    for number, (name, row) in enumerate(zip(rows, cells, strict=True)):
        _add_text(svg, LEFT_MARGIN - 6, number * high + 18, name, "end")
        for column, cell in enumerate(row):
            group = _add(svg, "g", kind="cell")
            box = _rectangle(LEFT_MARGIN + column * step, number * high, step - 2, high - 2)
            if cell is None:
                _add(group, "rect", **box, kind="none")
                continue
            shade = -(-int(cell.value * 1000) * SHADE_COUNT // int(top * 1000))
            _add(group, "title", cell.tooltip)
            _add(group, "rect", **box, kind=f"shade-{min(SHADE_COUNT, shade)}")
            middle = LEFT_MARGIN + (column + 0.5) * step - 1
            _add_text(
                group, middle, number * high + 18, cell.label, "middle", f"on-{min(SHADE_COUNT, shade)}"
            )
    for column, head in enumerate(heads):
        _add_text(svg, LEFT_MARGIN + (column + 0.5) * step - 1, len(rows) * high + 16, head, "middle")
    return svg


def svg_text(chart: Element) -> str:
    """A chart as it stands in a page: what people wrote is escaped."""
    return tostring(chart, encoding="unicode", method="html")


def _svg(title: str, height: int = VIEW_HEIGHT) -> Element:
    frame = {"viewBox": f"0 0 {VIEW_WIDTH} {height}", "role": "img", "aria-label": title, "class": "chart"}
    return Element("svg", frame)


def _add_scale(svg: Element, top: float) -> None:
    for part in (0.0, 0.5, 1.0):
        y = VIEW_HEIGHT - BOTTOM_MARGIN - part * (VIEW_HEIGHT - TOP_MARGIN - BOTTOM_MARGIN)
        _add(svg, "path", d=f"M{LEFT_MARGIN} {y:.1f}H{VIEW_WIDTH}", kind="rule")
        _add_text(svg, LEFT_MARGIN - 6, y + 4, f"{top * part:,.10g}", "end")


def _bar_height(value: float, top: float) -> float:
    return value / top * (VIEW_HEIGHT - TOP_MARGIN - BOTTOM_MARGIN)


def _scale_maximum(value: float) -> float:
    """The next of 2, 4, 10, 20, 40, 100 …"""
    top = 2.0
    for factor in (2, 2.5, 2) * 20:
        if top >= value:
            break
        top *= factor
    return top


def _rectangle(x: float, y: float, width: float, height: float) -> dict[str, str]:
    return {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{width:.1f}", "height": f"{height:.1f}"}


def _add_text(parent: Element, x: float, y: float, text: str, anchor: str, kind: str = "label") -> None:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "class": kind}
    _add(parent, "text", text, **place)


def _add(parent: Element, tag: str, text: str = "", *, kind: str = "", **attributes: str) -> Element:
    """Put an element at the end of another. `kind`: its class."""
    element = SubElement(parent, tag, attributes | ({"class": kind} if kind else {}))
    element.text = text
    return element
