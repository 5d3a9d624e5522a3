"""The year's (or any period's) report: one HTML file for the printer, for the archive of the centre."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from xml.etree import ElementTree

from . import pictures
from .terms import Analysis
from .wording import Cell, Table, Wording, flat

STYLE = files(__package__).joinpath("report.css").read_text("utf-8")

LONG, AMISS, LATE = 62, 0.05, 15
"""Days that are listed in full; of more, the part of the visitors or the minutes that is worth a line."""


def page(analysis: Analysis, wording: Wording, centre: str, style: str = "") -> str:
    """The period with its bars, peaks, usual week, doors, activities and what was not counted. `style` is
    where its style sheet is; without one the page brings it along."""
    title = wording.word("title", centre=centre, period=wording.period(analysis.period))
    html = ElementTree.Element("html", lang={"zh": "zh-CN"}.get(wording.language, wording.language))
    head = _add(html, "head")
    _add(head, "meta", charset="utf-8")
    _add(head, "title", title)
    if style:
        _add(head, "link", rel="stylesheet", href=style)
    else:
        _add(head, "style", STYLE)
    body = _add(html, "body")
    _add(body, "h1", title)
    _add(body, "p", wording.place(analysis.place))
    _add(body, "p", wording.headline(analysis), kind="total")
    for text in (wording.classes(analysis), wording.coverage(analysis), *wording.remarks(analysis)):
        _add(body, "p", text, kind="note")
    _section(
        body,
        wording.word("compared"),
        [wording.comparison(analysis, each) for each in analysis.comparisons],
    )
    peaks = [" · ".join(wording.peak(kind, peak)) for kind, peak in analysis.peaks.items()]
    if analysis.stay:
        peaks.append(wording.stay(analysis.stay))
        peaks.append(wording.word("stay-how", days=analysis.stay.days))
    _section(body, wording.word("peaks"), peaks)
    _heading(body, wording.word("bars"))
    body.append(pictures.bars(analysis, wording))
    _table(body, wording.bars(analysis.by, analysis.bars))
    _heading(body, wording.word("heat"))
    body.append(pictures.hours(analysis, wording))
    _add(body, "p", wording.word("heat-how"), kind="note")
    for table in (wording.places(analysis), *wording.records(analysis)):
        _heading(body, table.title)
        if table.key == "drift":
            _add(body, "p", wording.word("drift-how"), kind="note")
        rows = telling(table)
        if len(rows) < len(table.rows):
            _add(body, "p", wording.word(f"few-{table.key}", count=len(table.rows)), kind="note")
        if rows:
            _table(body, table._replace(rows=rows))
        else:
            _add(body, "p", wording.word("lost-none" if table.key == "lost" else "no-rows"))
    made = f"{datetime.fromtimestamp(analysis.now, wording.zone):%Y-%m-%d %H:%M}"
    _add(body, "p", wording.word("made", time=made), kind="note")
    signatures = _add(body, "div", kind="sign")
    for who in ("signature", "manager", "signed-on"):
        _add(signatures, "span", wording.word(who))
    return "<!DOCTYPE html>\n" + ElementTree.tostring(html, encoding="unicode", method="html")


def telling(table: Table) -> list[list[Cell]]:
    """Its rows; of a long list of days those on which something was amiss."""
    if len(table.rows) <= LONG or table.key not in ("opening", "drift"):
        return table.rows
    if table.key == "drift":
        return [row for row in table.rows if isinstance(row[-1], float) and row[-1] > AMISS]
    return [row for row in table.rows if any(isinstance(cell, int) and cell > LATE for cell in row)]


def _section(body: ElementTree.Element, title: str, paragraphs: Sequence[str]) -> None:
    """Nothing where there is nothing to say."""
    if paragraphs:
        _heading(body, title)
    for text in paragraphs:
        _add(body, "p", text)


def _heading(body: ElementTree.Element, text: str) -> None:
    _add(body, "h2", text)


def _table(body: ElementTree.Element, table: Table) -> None:
    element = _add(body, "table")
    heads = _add(_add(element, "thead"), "tr")
    for text in table.heads:
        _add(heads, "th", text, scope="col")
    rows = _add(element, "tbody")
    for cells in table.rows:
        row = _add(rows, "tr")
        for cell in cells:
            _add(row, "td", flat(cell), kind="figure" if isinstance(cell, int | float) else "")


def _add(
    parent: ElementTree.Element, tag: str, text: str = "", *, kind: str = "", **attributes: str
) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, tag, attributes | ({"class": kind} if kind else {}))
    element.text = text
    return element
