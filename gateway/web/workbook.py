"""Writes an Excel workbook with XlsxWriter; `python -m` this module does so for `workbook_process`."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from pathlib import Path
from unicodedata import east_asian_width

import msgspec
import xlsxwriter  # type: ignore[import-untyped]

from .spreadsheet import Cell, ReportTable, Share, Workbook

MAX_SHEET_NAME_LENGTH = 31
"""Excel's limit, in characters."""
MAX_COLUMN_WIDTH = 60
MEASURED_ROWS = 200
"""By which the width of the columns is chosen."""


def write_workbook(path: Path, tables: Iterable[ReportTable], title: str) -> None:
    """Write one sheet per table, and a chart of the days.
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
            # In constant-memory mode columns must be formatted before the rows are written.
            for number, head in enumerate(table.heads):
                measured = (row[number] for row in table.rows[:MEASURED_ROWS] if number < len(row))
                sheet.set_column(number, number, _column_width([head, *measured]))
            sheet.freeze_panes(1, 0)
            sheet.write_row(0, 0, table.heads, formats["head"])
            for number, row in enumerate(table.rows, 1):
                for column, cell in enumerate(row):
                    _write_cell(sheet, number, column, cell, formats)
            if table.key == "days" and table.rows:
                chart = _days_chart(book, table.title, table.rows[0], len(table.rows))
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


def main() -> None:
    """Write the workbook that the function from the input returns, and tell its name, or why there is
    none."""
    make, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 (from the dashboard)
    made = make(*arguments)
    if isinstance(made, Workbook):
        write_workbook(Path(sys.argv[1]), made.tables, made.title)
        made = made.name
    sys.stdout.buffer.write(msgspec.json.encode(made, enc_hook=str))


if __name__ == "__main__":
    main()
