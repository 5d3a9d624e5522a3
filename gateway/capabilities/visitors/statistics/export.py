"""Tables for spreadsheets and other programs."""

from __future__ import annotations

from gateway.web.spreadsheet import ReportTable

from .analysis import Analyst
from .formatting import Formatter
from .results import Analysis, Period


def finest_slot_unit(span: Period) -> str:
    """The finest unit whose slots fit on a sheet."""
    days = (span.until - span.since).days
    return "quarter" if days <= 31 else "hour" if days <= 366 else "day"


def workbook_tables(analyst: Analyst, analysis: Analysis, formatter: Formatter) -> list[ReportTable]:
    """The sheets of a workbook on a place and a period."""
    place, span = analysis.place, analysis.period
    fine = finest_slot_unit(span)
    return [
        formatter.summary_table(analysis),
        formatter.bars_table(fine, analyst.bars(place, span, fine)),
        formatter.bars_table("day", analyst.bars(place, span, "day"), "days"),
        formatter.places_table(analysis),
        formatter.heat_table(analysis),
        *formatter.record_tables(analysis),
    ]
