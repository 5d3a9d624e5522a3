"""The report on a year or any other period: one HTML file to print and archive."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from gateway.web.charts import svg_text
from gateway.web.spreadsheet import Cell, ReportTable
from gateway.web.templating import KIT_FOLDER, environment

from . import period_charts
from .formatting import Formatter, cell_text
from .results import Analysis

FOLDER = Path(__file__).parents[1]
STYLESHEET = "".join(
    file.read_text("utf-8")
    for file in (FOLDER / "templates" / "report.css", KIT_FOLDER / "static" / "charts.css")
)

MAX_LISTED_DAYS, MIN_DRIFT_SHARE, MIN_DEVIATION_MINUTES = 62, 0.05, 15
"""Up to so many days are listed in full. Of a longer list only days are shown whose drift (share of the
visitors) or deviation from the opening hours (minutes) is larger."""


def report_html(analysis: Analysis, formatter: Formatter, centre: str, style: str = "") -> str:
    """Bars, peaks, average week, doors, activities and uncounted times of the period. `style` is the
    address of the style sheet; if empty, the style sheet is embedded."""
    tables = (formatter.places_table(analysis), *formatter.record_tables(analysis))
    return (
        environment({"visitors": FOLDER})
        .get_template("visitors/report.html")
        .render(
            lang=formatter.language,
            title=formatter.text("title", centre=centre, period=formatter.period_title(analysis.period)),
            style=style,
            a=analysis,
            w=formatter,
            visits_chart=svg_text(period_charts.visits_chart(analysis, formatter)),
            heat_map=svg_text(period_charts.hour_heat_map(analysis, formatter)),
            tables=[(table, table._replace(rows=notable_rows(table))) for table in tables],
            cell_text=cell_text,
            made=f"{datetime.fromtimestamp(analysis.now, formatter.zone):%Y-%m-%d %H:%M}",
        )
    )


def notable_rows(table: ReportTable) -> list[list[Cell]]:
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
