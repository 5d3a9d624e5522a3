"""CSV: Excel opens it, numbers stay numbers, and nothing in it is run."""

from __future__ import annotations

import csv
import io
from datetime import date

from gateway.web.spreadsheet import as_csv

NASTY = "=HYPERLINK(1)"
TEXTS = [NASTY, "+86 10", "@x", "-1+1", "\t=1", "http://a.example", "0012", '"', "a,b\nc"]


def test_it_opens_in_excel_and_runs_nothing() -> None:
    rows = [[date(2026, 3, 1 + n % 28), TEXTS[n % len(TEXTS)], n, 7 / 8, 1 / 3] for n in range(1000)]
    pieces = list(as_csv([["日期", "名称", "进", "覆盖率", "=平均"], *rows]))
    assert len(pieces) > 3
    data = "".join(pieces).encode()
    assert data.startswith(b"\xef\xbb\xbf")
    lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))
    assert lines[0] == ["日期", "名称", "进", "覆盖率", "'=平均"]
    assert lines[1] == ["2026-03-01", f"'{NASTY}", "0", "0.875", "0.3333"]
    assert lines[9] == ["2026-03-09", "a,b\nc", "8", "0.875", "0.3333"]
    assert len(lines) == 1001
    assert not [cell for line in lines for cell in line if cell.startswith(("=", "+", "-", "@", "\t"))]
    assert data.count(b"\r\n") == 1001
