"""Tables for other programs."""

from __future__ import annotations

from .analysis import Analyst
from .formatting import Table, Wording
from .results import Analysis, Period


def finest(span: Period) -> str:
    """The slots that are few enough for a sheet."""
    days = (span.until - span.since).days
    return "quarter" if days <= 31 else "hour" if days <= 366 else "day"


def sheets(analyst: Analyst, analysis: Analysis, wording: Wording) -> list[Table]:
    """All that there is to say of a place and a period, for a workbook."""
    place, span = analysis.place, analysis.period
    fine = finest(span)
    return [
        wording.summary(analysis),
        wording.bars(fine, analyst.bars(place, span, fine)),
        wording.bars("day", analyst.bars(place, span, "day"), "days"),
        wording.places(analysis),
        wording.heat(analysis),
        *wording.records(analysis),
    ]
