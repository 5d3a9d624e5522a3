"""Tables for other programs: which there are, and CSV, a few rows at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from .analysis import Analyst
from .terms import Analysis, Period
from .wording import Cell, Share, Table, Wording

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""Without it Excel takes UTF-8 for the code page of the machine."""
ROWS = 256
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What begins a formula in a spreadsheet (OWASP, CSV injection)."""


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


def as_csv(table: Table) -> Iterator[str]:
    """The table in pieces; CRLF at the line's end (RFC 4180). Numbers are numbers; a text that a
    spreadsheet would run is quoted with an apostrophe."""
    text = io.StringIO()
    text.write(BOM)
    write = csv.writer(text).writerow
    write([_safe(head) for head in table.heads])
    for number, row in enumerate(table.rows, 1):
        write([_safe(cell) for cell in row])
        if number % ROWS == 0:
            yield _emptied(text)
    yield _emptied(text)


def _safe(cell: Cell) -> Cell:
    if isinstance(cell, Share):
        return round(float(cell), 4)
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def _emptied(text: io.StringIO) -> str:
    piece = text.getvalue()
    text.seek(0)
    text.truncate()
    return piece
