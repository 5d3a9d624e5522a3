"""Charts as SVG without a style of their own: classes, for the page's style sheet or the report's. Beside
each stands its table, for who cannot see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.web.markup import Element, add

WIDE, HIGH = 480, 200
LEFT, TOP, BOTTOM, GAP = 44, 16, 26, 0.28
LETTER = 8
"""What a letter of a label is wide."""
SHADES = 6


class Column(NamedTuple):
    """One bar: what it is called, its height and of that the upper part, and what is told of it."""

    label: str
    value: float
    part: float
    tip: str
    least: bool = False


def columns(title: str, bars: Sequence[Column]) -> Element:
    """Bars beside one another, with a scale."""
    svg = _svg(title)
    top = _round_up(max((bar.value for bar in bars), default=0))
    _scale(svg, top)
    step = (WIDE - LEFT) / max(1, len(bars))
    every = -int(-LETTER * max((len(bar.label) for bar in bars), default=0) // step) or 1
    for number, bar in enumerate(bars):
        left = LEFT + number * step
        group = add(svg, "g", kind="bar least" if bar.least else "bar")
        add(group, "title", bar.tip)
        # The whole column can be pointed at.
        add(group, "rect", **_box(left, TOP, step, HIGH - TOP - BOTTOM), kind="field")
        height = _height(bar.value, top)
        if bar.value:
            width, x = max(1.0, step * (1 - GAP)), left + step * GAP / 2
            add(group, "rect", **_box(x, HIGH - BOTTOM - height, width, height), kind="whole")
            if bar.part:
                part = _height(bar.part, top)
                box = _box(x, HIGH - BOTTOM - height, width, part)
                add(group, "rect", **box, kind="part")
            if bar.least:
                _text(group, left + step / 2, HIGH - BOTTOM - height - 3, "≥", "middle")
        if number % every == 0 and left + step / 2 < WIDE - 2 * LETTER:
            _text(svg, left + step / 2, HIGH - 7, bar.label, "middle")
    return svg


def curve(
    title: str, points: Sequence[tuple[float, float]], labels: Sequence[tuple[float, str]]
) -> Element:
    """Steps over time: each point's height holds until the next; places across are from 0 to 1."""
    svg = _svg(title)
    top = _round_up(max((value for _, value in points), default=0))
    _scale(svg, top)
    for at, text in labels:
        _text(svg, LEFT + at * (WIDE - LEFT), HIGH - 7, text, "middle")
    path: list[str] = []
    height: float = HIGH - BOTTOM
    for at, value in points:
        x, level = LEFT + at * (WIDE - LEFT), HIGH - BOTTOM - _height(value, top)
        path += [f"L{x:.1f} {height:.1f}", f"L{x:.1f} {level:.1f}"]
        height = level
    if path:
        start = path[0].replace("L", "M")
        add(svg, "path", d=" ".join([start, *path[1:]]), kind="curve")
    return svg


def heat(
    title: str, rows: Sequence[str], heads: Sequence[str], cells: Sequence[Sequence[Column | None]]
) -> Element:
    """Squares, the fuller the darker; a row's and a column's name at its edge."""
    step, high = (WIDE - LEFT) / max(1, len(heads)), 27
    svg = _svg(title, len(rows) * high + BOTTOM)
    top = max((cell.value for row in cells for cell in row if cell), default=0) or 1
    for number, (name, row) in enumerate(zip(rows, cells, strict=True)):
        _text(svg, LEFT - 6, number * high + 18, name, "end")
        for column, cell in enumerate(row):
            group = add(svg, "g", kind="cell")
            box = _box(LEFT + column * step, number * high, step - 2, high - 2)
            if cell is None:
                add(group, "rect", **box, kind="none")
                continue
            shade = -(-int(cell.value * 1000) * SHADES // int(top * 1000))
            add(group, "title", cell.tip)
            add(group, "rect", **box, kind=f"shade-{min(SHADES, shade)}")
            middle = LEFT + (column + 0.5) * step - 1
            _text(group, middle, number * high + 18, cell.label, "middle", f"on-{min(SHADES, shade)}")
    for column, head in enumerate(heads):
        _text(svg, LEFT + (column + 0.5) * step - 1, len(rows) * high + 16, head, "middle")
    return svg


def _svg(title: str, high: int = HIGH) -> Element:
    frame = {"viewBox": f"0 0 {WIDE} {high}", "role": "img", "aria-label": title, "class": "chart"}
    return Element("svg", frame)


def _scale(svg: Element, top: float) -> None:
    for part in (0.0, 0.5, 1.0):
        y = HIGH - BOTTOM - part * (HIGH - TOP - BOTTOM)
        add(svg, "path", d=f"M{LEFT} {y:.1f}H{WIDE}", kind="rule")
        _text(svg, LEFT - 6, y + 4, f"{top * part:,.10g}", "end")


def _height(value: float, top: float) -> float:
    return value / top * (HIGH - TOP - BOTTOM)


def _round_up(value: float) -> float:
    """The next of 2, 4, 10, 20, 40, 100 …"""
    top = 2.0
    for factor in (2, 2.5, 2) * 20:
        if top >= value:
            break
        top *= factor
    return top


def _box(x: float, y: float, width: float, height: float) -> dict[str, str]:
    return {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{width:.1f}", "height": f"{height:.1f}"}


def _text(parent: Element, x: float, y: float, text: str, anchor: str, kind: str = "label") -> None:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "class": kind}
    add(parent, "text", text, **place)
