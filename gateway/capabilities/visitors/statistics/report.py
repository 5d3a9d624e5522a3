"""The report on a year or any other period: one HTML file to print and archive."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files

from gateway.web import markup
from gateway.web.markup import Element, add, document, written
from gateway.web.spreadsheet import Cell

from . import period_charts
from .formatting import Formatter, Table, cell_text
from .results import Analysis

STYLESHEET = files(__package__).joinpath("report.css").read_text("utf-8")

MAX_LISTED_DAYS, MIN_DRIFT_SHARE, MIN_DEVIATION_MINUTES = 62, 0.05, 15
"""Up to so many days are listed in full. Of a longer list only days are shown whose drift (share of the
visitors) or deviation from the opening hours (minutes) is larger."""


def report_html(analysis: Analysis, formatter: Formatter, centre: str, style: str = "") -> str:
    """Bars, peaks, average week, doors, activities and uncounted times of the period. `style` is the
    address of the style sheet; if empty, the style sheet is embedded."""
    title = formatter.text("title", centre=centre, period=formatter.period_title(analysis.period))
    html, head, body = document(formatter.language, title)
    if style:
        add(head, "link", rel="stylesheet", href=style)
    else:
        add(head, "style", STYLESHEET)
    add(body, "h1", title)
    add(body, "p", formatter.place_title(analysis.place))
    add(body, "p", formatter.headline(analysis), kind="total")
    for text in (
        formatter.visitor_classes_text(analysis),
        formatter.coverage_text(analysis),
        *formatter.remarks(analysis),
    ):
        add(body, "p", text, kind="note")
    _add_section(
        body,
        formatter.text("compared"),
        [formatter.comparison_text(analysis, each) for each in analysis.comparisons],
    )
    peaks = [" · ".join(formatter.peak_texts(kind, peak)) for kind, peak in analysis.peaks.items()]
    if analysis.stay:
        peaks.append(formatter.stay_text(analysis.stay))
        peaks.append(formatter.text("stay-how", days=analysis.stay.days))
    _add_section(body, formatter.text("peaks"), peaks)
    _add_heading(body, formatter.text("bars"))
    body.append(period_charts.visits_chart(analysis, formatter))
    _add_table(body, formatter.bars_table(analysis.by, analysis.bars))
    _add_heading(body, formatter.text("heat"))
    body.append(period_charts.hour_heat_map(analysis, formatter))
    add(body, "p", formatter.text("heat-how"), kind="note")
    for table in (formatter.places_table(analysis), *formatter.record_tables(analysis)):
        _add_heading(body, table.title)
        if table.key == "drift":
            add(body, "p", formatter.text("drift-how"), kind="note")
        rows = notable_rows(table)
        if len(rows) < len(table.rows):
            add(body, "p", formatter.text(f"few-{table.key}", count=len(table.rows)), kind="note")
        if rows:
            _add_table(body, table._replace(rows=rows))
        else:
            add(body, "p", formatter.text("lost-none" if table.key == "lost" else "no-rows"))
    made = f"{datetime.fromtimestamp(analysis.now, formatter.zone):%Y-%m-%d %H:%M}"
    add(body, "p", formatter.text("made", time=made), kind="note")
    signatures = add(body, "div", kind="sign")
    for who in ("signature", "manager", "signed-on"):
        add(signatures, "span", formatter.text(who))
    return written(html)


def notable_rows(table: Table) -> list[list[Cell]]:
    """All rows of the table; of a long list of days only those with a notable deviation."""
    if len(table.rows) <= MAX_LISTED_DAYS or table.key not in ("opening", "drift"):
        return table.rows
    if table.key == "drift":
        return [row for row in table.rows if isinstance(row[-1], float) and row[-1] > MIN_DRIFT_SHARE]
    return [
        row
        for row in table.rows
        if any(isinstance(cell, int) and cell > MIN_DEVIATION_MINUTES for cell in row)
    ]


def _add_section(body: Element, title: str, paragraphs: Sequence[str]) -> None:
    """A heading and paragraphs; nothing if there are no paragraphs."""
    if paragraphs:
        _add_heading(body, title)
    for text in paragraphs:
        add(body, "p", text)


def _add_heading(body: Element, text: str) -> None:
    add(body, "h2", text)


def _add_table(body: Element, table: Table) -> None:
    rows = (
        [(cell_text(cell), "figure" if isinstance(cell, int | float) else "") for cell in cells]
        for cells in table.rows
    )
    markup.table(body, table.heads, rows)
