"""What other programs are given: numbers as numbers, texts as texts, and nothing that runs."""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from pathlib import Path

import openpyxl
import pytest

from gateway.web.spreadsheet import ReportTable, Share
from gateway.web.workbook import write_workbook
from gateway.web.workbook_process import workbook_process

NASTY = '=HYPERLINK("http://evil.example","x")'


def table(key: str, title: str, rows: int = 3) -> ReportTable:
    heads = ["日期", "名称", "进", "覆盖率", "平均"]
    texts = [NASTY, "+86 10", "@x", "-1+1", "\t=1", "http://a.example", "0012", '"', "a,b\nc"]
    return ReportTable(key, title, heads, [
        [date(2026, 3, 1 + n % 28), texts[n % len(texts)], n, Share(0.875), None if n % 2 else 1.5]
        for n in range(rows)
    ])  # fmt: skip


def test_a_workbook_has_real_numbers_and_dates_and_no_formula(tmp_path: Path) -> None:
    tables = [
        table("days", "逐日"),
        table("attendance", "a[b]:c*d?e/f\\" + "g" * 40),
        table("lost", "空", 0),
    ]
    write_workbook(tmp_path / "book.xlsx", tables, "2026年3月")
    book = openpyxl.load_workbook(tmp_path / "book.xlsx")
    assert book.sheetnames[0] == "逐日"
    assert len(book.sheetnames) == 3
    assert book.properties.title == "2026年3月"
    sheet = book["逐日"]
    assert sheet.freeze_panes == "A2"
    assert [cell.value for cell in sheet[1]] == ["日期", "名称", "进", "覆盖率", "平均"]
    first = sheet[2]
    assert [cell.value for cell in first] == [datetime.fromisoformat("2026-03-01"), NASTY, 0, 0.875, 1.5]
    assert [cell.data_type for cell in first] == ["d", "s", "n", "n", "n"]
    assert first[0].number_format == "yyyy-mm-dd"
    assert first[3].number_format == "0.0%"
    assert sheet["E3"].value is None
    assert len(sheet._charts) == 1
    (series,) = sheet._charts[0].series
    assert series.val.numRef.f == "'逐日'!$C$2:$C$4" or series.val.numRef.f == "逐日!$C$2:$C$4"
    assert not [cell for each in book for row in each for cell in row if cell.data_type == "f"]


def test_a_workbook_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-such-folder"):
        write_workbook(tmp_path / "no-such-folder" / "book.xlsx", [table("days", "逐日")], "x")


def test_a_time_is_a_time(tmp_path: Path) -> None:
    at = datetime.fromisoformat("2026-11-30T03:04:05")
    write_workbook(tmp_path / "book.xlsx", [ReportTable("alarms", "报警", ["时间"], [[at]])], "x")
    cell = openpyxl.load_workbook(tmp_path / "book.xlsx")["报警"]["A2"]
    assert cell.value == at
    assert cell.number_format == "yyyy-mm-dd hh:mm:ss"


def test_a_process_of_its_own_writes_the_same(tmp_path: Path) -> None:
    tables = [table("days", "逐日", 700), table("lost", "空", 0), table("attendance", "到场", 3)]

    async def write() -> None:
        async with workbook_process(tmp_path / "sent.xlsx", "-2026年3月") as process:
            for each in tables:
                await process.begin_table(each.key, each.title, each.heads)
                await process.add_rows(each.rows)

    asyncio.run(write())
    write_workbook(tmp_path / "own.xlsx", tables, "-2026年3月")
    sent, own = (openpyxl.load_workbook(tmp_path / f"{name}.xlsx") for name in ("sent", "own"))
    assert sent.properties.title == "-2026年3月"
    assert sent.sheetnames == own.sheetnames == ["逐日", "空", "到场"]
    for name in own.sheetnames:
        cells = [
            [[(cell.value, cell.number_format) for cell in row] for row in book[name]]
            for book in (sent, own)
        ]
        assert cells[0] == cells[1]


def test_a_process_that_cannot_write_says_so(tmp_path: Path) -> None:
    async def write() -> None:
        async with workbook_process(tmp_path / "no-such-folder" / "book.xlsx", "x") as process:
            await process.begin_table("days", "逐日", ["日期"])

    with pytest.raises(OSError, match="exit 1"):
        asyncio.run(write())


def test_a_table_that_cannot_be_read_leaves_no_process_behind(tmp_path: Path) -> None:
    async def write() -> None:
        async with workbook_process(tmp_path / "book.xlsx", "x"):
            raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(write())
    assert not (tmp_path / "book.xlsx").exists()
