"""Writes an Excel workbook with XlsxWriter; `python -m` this module does so from what `workbook_process`
sends."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from itertools import chain, islice
from pathlib import Path
from unicodedata import east_asian_width

import xlsxwriter  # type: ignore[import-untyped]

from .spreadsheet import Cell, ReportTable, Share
from .workbook_process import ReceivedTable, received_tables

MAX_SHEET_NAME_LENGTH = 31
"""Excel's limit, in characters."""
MAX_COLUMN_WIDTH = 60


MEASURED_ROWS = 200
"""By which the width of the columns is chosen."""


def write_workbook(path: Path, tables: Iterable[ReportTable | ReceivedTable], title: str) -> None:
    """Write one sheet per table, and a chart of the days; rows are kept in memory no longer than needed.
    Dates are written as dates, times without zone as times, and texts as texts even if they look like
    formulas, numbers or links. Raises `OSError`."""
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_numbers": False,
        "strings_to_urls": False,
        "tmpdir": str(path.parent),
    }
    book = xlsxwriter.Workbook(str(path), options)
    try:
        book.set_properties({"title": title})
        formats = {
            "head": book.add_format({"bold": True, "bottom": 1, "text_wrap": True}),
            "date": book.add_format({"num_format": "yyyy-mm-dd"}),
            "time": book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
            "share": book.add_format({"num_format": "0.0%"}),
            "number": book.add_format({"num_format": "#,##0.##"}),
        }
        for table in tables:
            sheet = book.add_worksheet(_sheet_name(table.title))
            rows = iter(table.rows)
            first = list(islice(rows, MEASURED_ROWS))
            # In constant-memory mode columns must be formatted before the rows are written.
            for number, head in enumerate(table.heads):
                width = _column_width([head, *(row[number] for row in first if number < len(row))])
                sheet.set_column(number, number, width)
            sheet.freeze_panes(1, 0)
            sheet.write_row(0, 0, table.heads, formats["head"])
            last = 0
            for last, row in enumerate(chain(first, rows), 1):
                for column, cell in enumerate(row):
                    _write_cell(sheet, last, column, cell, formats)
            if table.key == "days" and first:
                chart = _days_chart(book, table.title, first[0], last)
                sheet.insert_chart(1, len(table.heads) + 1, chart)
    finally:
        try:
            book.close()
        except xlsxwriter.exceptions.FileCreateError as error:
            raise OSError(error) from error


def _write_cell(sheet: object, row: int, column: int, cell: Cell, formats: dict[str, object]) -> None:
    put = sheet.write_string  # type: ignore[attr-defined]
    if cell is None:
        return
    if isinstance(cell, str):
        put(row, column, cell)
    elif isinstance(cell, date):
        kind = "time" if isinstance(cell, datetime) else "date"
        sheet.write_datetime(row, column, cell, formats[kind])  # type: ignore[attr-defined]
    else:
        kind = "share" if isinstance(cell, Share) else "number"
        sheet.write_number(row, column, cell, formats[kind])  # type: ignore[attr-defined]


def _days_chart(book: object, title: str, first: Sequence[Cell], last: int) -> object:
    """A chart of visits by day, from the first row to the last."""
    column = next(number for number, cell in enumerate(first) if isinstance(cell, int))
    sheet = _sheet_name(title)
    chart = book.add_chart({"type": "column"})  # type: ignore[attr-defined]
    chart.add_series({
        "name": [sheet, 0, column],
        "categories": [sheet, 1, 0, last, column - 1],
        "values": [sheet, 1, column, last, column],
    })  # fmt: skip
    chart.set_title({"name": title})
    chart.set_legend({"none": True})
    chart.set_size({"width": 900, "height": 380})
    return chart


def _sheet_name(title: str) -> str:
    return "".join("_" if letter in "[]:*?/\\" else letter for letter in title)[:MAX_SHEET_NAME_LENGTH]


def _column_width(cells: Iterable[Cell]) -> int:
    widest = max(
        sum(2 if east_asian_width(c) in "WF" else 1 for c in _display_text(cell)) for cell in cells
    )
    return min(MAX_COLUMN_WIDTH, widest + 2)


def _display_text(cell: Cell) -> str:
    if isinstance(cell, datetime):
        return "0000-00-00 00:00:00"
    return "0000-00-00" if isinstance(cell, date) else str("" if cell is None else cell)


if __name__ == "__main__":
    write_workbook(Path(sys.argv[1]), received_tables(sys.stdin.buffer), sys.argv[2])
