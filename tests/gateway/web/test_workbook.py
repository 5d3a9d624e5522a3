"""What other programs are given: numbers as numbers, texts as texts, and nothing that runs."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import date, datetime
from pathlib import Path

import openpyxl
import pytest

from gateway.model import Sentence, sentence
from gateway.web.spreadsheet import ReportTable, Share, Workbook
from gateway.web.workbook import write_workbook
from gateway.web.workbook_process import make_workbook

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


TABLES = [table("days", "逐日", 700), table("lost", "空", 0), table("attendance", "到场", 3)]


def make_tables(title: str) -> Workbook | Sentence:
    return Workbook("book-2026", title, TABLES) if title else sentence("history.unreadable", reason="x")


def test_a_process_of_its_own_writes_the_same(tmp_path: Path) -> None:
    assert asyncio.run(make_workbook(tmp_path / "sent.xlsx", make_tables, "-2026年3月")) == "book-2026"
    write_workbook(tmp_path / "own.xlsx", TABLES, "-2026年3月")
    sent, own = (openpyxl.load_workbook(tmp_path / f"{name}.xlsx") for name in ("sent", "own"))
    assert sent.properties.title == "-2026年3月"
    assert sent.sheetnames == own.sheetnames == ["逐日", "空", "到场"]
    for name in own.sheetnames:
        cells = [
            [[(cell.value, cell.number_format) for cell in row] for row in book[name]]
            for book in (sent, own)
        ]
        assert cells[0] == cells[1]


def test_a_process_tells_why_there_is_no_workbook(tmp_path: Path) -> None:
    told = asyncio.run(make_workbook(tmp_path / "book.xlsx", make_tables, ""))
    assert told == sentence("history.unreadable", reason="x")
    assert not (tmp_path / "book.xlsx").exists()


def test_a_process_that_cannot_write_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="exit 1"):
        asyncio.run(make_workbook(tmp_path / "no-such-folder" / "book.xlsx", make_tables, "x"))


def test_a_request_that_is_given_up_leaves_no_process_behind(tmp_path: Path) -> None:
    async def give_up() -> None:
        task = asyncio.create_task(make_workbook(tmp_path / "book.xlsx", wait_for_end, str(tmp_path)))
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def wait_for_end(folder: str) -> Workbook | Sentence:
    (Path(folder) / "pid").write_text(str(os.getpid()))
    signal.pause()
    raise AssertionError
