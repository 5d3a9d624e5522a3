"""Tables, and CSV as spreadsheet programs read it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import NamedTuple

Cell = str | int | float | date | None

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""Without it Excel takes UTF-8 for the code page of the machine."""
XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ROWS_PER_CHUNK = 256
FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n")
"""The first characters of a formula in a spreadsheet (OWASP, CSV injection)."""


class Share(float):
    """A share from 0 to 1, shown in percent."""


class ReportTable(NamedTuple):
    """`key` identifies the table in every language. Numbers and dates keep their types, so that a
    spreadsheet can calculate with them."""

    key: str
    title: str
    heads: list[str]
    rows: list[list[Cell]]


class Workbook(NamedTuple):
    """`name`: of the file, without its ending."""

    name: str
    title: str
    tables: list[ReportTable]


def as_csv(rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    """The rows in pieces; CRLF at the line's end (RFC 4180). Numbers are numbers, of four decimals at most;
    a text that a spreadsheet would run is quoted with an apostrophe."""
    text = io.StringIO()
    text.write(BOM)
    write = csv.writer(text).writerow
    for number, row in enumerate(rows, 1):
        write([_safe_cell(cell) for cell in row])
        if number % ROWS_PER_CHUNK == 0:
            yield _read_and_clear(text)
    yield _read_and_clear(text)


def _safe_cell(cell: Cell) -> Cell:
    if isinstance(cell, float):
        return round(float(cell), 4)
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_PREFIXES) else cell


def _read_and_clear(text: io.StringIO) -> str:
    piece = text.getvalue()
    text.seek(0)
    text.truncate()
    return piece
