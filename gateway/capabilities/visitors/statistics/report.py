"""The year's (or any period's) report: one HTML file for the printer, for the archive of the centre."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files

from gateway.web import markup
from gateway.web.markup import Element, add, document, written
from gateway.web.spreadsheet import Cell

from . import period_charts
from .formatting import Table, Wording, flat
from .results import Analysis

STYLE = files(__package__).joinpath("report.css").read_text("utf-8")

LONG, AMISS, LATE = 62, 0.05, 15
"""Days that are listed in full; of more, the part of the visitors or the minutes that is worth a line."""


def page(analysis: Analysis, wording: Wording, centre: str, style: str = "") -> str:
    """The period with its bars, peaks, usual week, doors, activities and what was not counted. `style` is
    where its style sheet is; without one the page brings it along."""
    title = wording.word("title", centre=centre, period=wording.period(analysis.period))
    html, head, body = document(wording.language, title)
    if style:
        add(head, "link", rel="stylesheet", href=style)
    else:
        add(head, "style", STYLE)
    add(body, "h1", title)
    add(body, "p", wording.place(analysis.place))
    add(body, "p", wording.headline(analysis), kind="total")
    for text in (wording.classes(analysis), wording.coverage(analysis), *wording.remarks(analysis)):
        add(body, "p", text, kind="note")
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
    body.append(period_charts.bars(analysis, wording))
    _table(body, wording.bars(analysis.by, analysis.bars))
    _heading(body, wording.word("heat"))
    body.append(period_charts.hours(analysis, wording))
    add(body, "p", wording.word("heat-how"), kind="note")
    for table in (wording.places(analysis), *wording.records(analysis)):
        _heading(body, table.title)
        if table.key == "drift":
            add(body, "p", wording.word("drift-how"), kind="note")
        rows = telling(table)
        if len(rows) < len(table.rows):
            add(body, "p", wording.word(f"few-{table.key}", count=len(table.rows)), kind="note")
        if rows:
            _table(body, table._replace(rows=rows))
        else:
            add(body, "p", wording.word("lost-none" if table.key == "lost" else "no-rows"))
    made = f"{datetime.fromtimestamp(analysis.now, wording.zone):%Y-%m-%d %H:%M}"
    add(body, "p", wording.word("made", time=made), kind="note")
    signatures = add(body, "div", kind="sign")
    for who in ("signature", "manager", "signed-on"):
        add(signatures, "span", wording.word(who))
    return written(html)


def telling(table: Table) -> list[list[Cell]]:
    """Its rows; of a long list of days those on which something was amiss."""
    if len(table.rows) <= LONG or table.key not in ("opening", "drift"):
        return table.rows
    if table.key == "drift":
        return [row for row in table.rows if isinstance(row[-1], float) and row[-1] > AMISS]
    return [row for row in table.rows if any(isinstance(cell, int) and cell > LATE for cell in row)]


def _section(body: Element, title: str, paragraphs: Sequence[str]) -> None:
    """Nothing where there is nothing to say."""
    if paragraphs:
        _heading(body, title)
    for text in paragraphs:
        add(body, "p", text)


def _heading(body: Element, text: str) -> None:
    add(body, "h2", text)


def _table(body: Element, table: Table) -> None:
    rows = (
        [(flat(cell), "figure" if isinstance(cell, int | float) else "") for cell in cells]
        for cells in table.rows
    )
    markup.table(body, table.heads, rows)
