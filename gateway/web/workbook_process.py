"""An Excel workbook is written by a process of its own: its library and the rows would stay in the memory
of the dashboard."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from .spreadsheet import Cell, Share

ROWS_PER_LINE = 256


class ReceivedTable(NamedTuple):
    """A `ReportTable` whose rows are still to come."""

    key: str
    title: str
    heads: list[str]
    rows: Iterator[list[Cell]]


class WorkbookProcess:
    """Takes the tables, one after the other: each line of its input is the head of a table, or rows."""

    def __init__(self, pipe: asyncio.StreamWriter) -> None:
        self._pipe = pipe

    async def begin_table(self, key: str, title: str, heads: Sequence[str]) -> None:
        """A further sheet; see `ReportTable`. Raises `OSError`."""
        await self._send((key, title, heads))

    async def add_rows(self, rows: Iterable[Sequence[Cell]]) -> None:
        """Rows of the latest table. Raises `OSError`."""
        each = iter(rows)
        while some := [[_packed(cell) for cell in row] for row in islice(each, ROWS_PER_LINE)]:
            await self._send(some)

    async def _send(self, content: object) -> None:
        self._pipe.write(msgspec.json.encode(content) + b"\n")
        await self._pipe.drain()


@asynccontextmanager
async def workbook_process(path: Path, title: str) -> AsyncIterator[WorkbookProcess]:
    """The process; the file is complete at the end. Raises `OSError` if it could not be written."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.web.workbook", str(path), title, stdin=asyncio.subprocess.PIPE
    )
    assert process.stdin
    try:
        yield WorkbookProcess(process.stdin)
        process.stdin.close()
        if code := await process.wait():
            raise OSError(f"{path}: exit {code}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def received_tables(pipe: BinaryIO) -> Iterator[ReceivedTable]:
    """What a `WorkbookProcess` has sent; the rows of a table are to be taken before the next one."""
    following: list[Any] | None = msgspec.json.decode(pipe.readline() or b"null")

    def rows() -> Iterator[list[Cell]]:
        nonlocal following
        for line in pipe:
            content = msgspec.json.decode(line)
            if _is_head(content):
                following = content
                return
            yield from ([_unpacked(cell) for cell in row] for row in content)

    while following:
        (key, title, heads), following = following, None
        yield ReceivedTable(key, title, heads, rows())


def _is_head(content: list[Any]) -> bool:
    return isinstance(content[0], str)


def _packed(cell: Cell) -> object:
    if isinstance(cell, Share):
        return {"share": float(cell)}
    return {type(cell).__name__: cell.isoformat()} if isinstance(cell, date) else cell


def _unpacked(cell: Any) -> Cell:
    if not isinstance(cell, dict):
        plain: Cell = cell
        return plain
    [(kind, value)] = cell.items()
    if kind == "share":
        return Share(value)
    return datetime.fromisoformat(value) if kind == "datetime" else date.fromisoformat(value)
