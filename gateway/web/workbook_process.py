"""An Excel workbook is read and written by a process of its own: its rows and its library would stay in the
memory of the dashboard."""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from gateway.model import Sentence

from .spreadsheet import Workbook

MakeWorkbook = Callable[..., Workbook | Sentence]
"""A function of a module, which reads the tables, or says why there are none. Its arguments can be
pickled."""

_turns = asyncio.Lock()
"""One workbook after the other: each takes a core, and as much memory as the dashboard."""


async def make_workbook(path: Path, make: MakeWorkbook, *arguments: Any) -> str | Sentence:
    """Writes what `make(*arguments)` returns, in a process of its own; returns the name of the workbook, or
    why there is none. Raises `OSError` if it could not be written."""
    async with _turns:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.web.workbook", str(path),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            answer, _ = await process.communicate(pickle.dumps((make, arguments)))
            if process.returncode:
                raise OSError(f"{path}: exit {process.returncode}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return msgspec.json.decode(answer, type=str | Sentence)
