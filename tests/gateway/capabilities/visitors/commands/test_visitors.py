"""`linli visitors`, as somebody types it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import openpyxl
import pytest

from gateway.capabilities.visitors.statistics.database import connect
from gateway.cli import EX_CONFIG, main
from tests.gateway.capabilities.visitors.statistics.test_analysis import KNOWN, batch

SITE = """\
schema = "linli/site/1"

[site]
id = "demo"
title = {{ zh = "示范<中心>", en = "Demo <centre>" }}

[journal]
path = "{folder}/journal.db"

[statistics]
path = "{folder}/elsewhere/visitors.db"

[hours]
mon-sun = "09:00-17:00"

[bus.doors]
driver = "http_push"
listen = "127.0.0.1:18090"
secret_file = "{folder}/token"

[device.south]
profile = "door-counter/hikvision-push"
title = {{ zh = "南门", en = "South door" }}
bus = "doors"
path = "/south"
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    file = tmp_path / "site.toml"
    file.write_text(SITE.format(folder=tmp_path), "utf-8")
    (tmp_path / "elsewhere").mkdir()
    return file


@pytest.fixture
def filled(site: Path) -> Path:
    database = connect(site.parent / "elsewhere" / "visitors.db")
    database.apply(batch([("2025-03-03T10:00", 1200, 1200), ("2025-04-01T14:15", 34, 30)], KNOWN[:1]))
    database.close()
    return site


def linli(site: Path, *arguments: str) -> int:
    return main(["visitors", *arguments, "--config", str(site)])


def test_the_terminal(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert linli(filled, "--from", "2025-03-01", "--to", "2025-03-31") == 0
    said = capsys.readouterr().out
    assert said.startswith("2025年3月 · 全中心\n1,200 人次来访\n")
    assert "2025-03-03  周一  1200  1200" in said
    assert linli(filled, "--year", "2025", "--by", "month", "--json") == 0
    whole = json.loads(capsys.readouterr().out)
    assert [bar["count"]["came"] for bar in whole["bars"]] == [0, 0, 1200, 34] + [0] * 8


def test_files(filled: Path, tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("a.csv", "a.xlsx", "a.html")]
    asked = [word for name in names for word in (f"--{name.suffix[1:]}", str(name))]
    assert linli(filled, "--year", "2025", *asked) == 0
    assert names[0].read_text("utf-8-sig").splitlines()[3].startswith("2025-03-01,3月,1200,1200,1200,0")
    book = openpyxl.load_workbook(names[1])
    assert book.sheetnames == [
        "概要", "来访人次", "逐日", "各门与房间", "一周各时段平均来访人次",
        "活动签到人次", "开放时间", "人工更正在场人数", "闭馆时的计数偏差", "未计数的时段",
    ]  # fmt: skip
    assert sum(row[4].value for row in book["逐日"].iter_rows(min_row=2) if row[4].value) == 1234
    page = names[2].read_text("utf-8")
    assert "示范&lt;中心&gt;客流统计：2025年" in page
    assert "<style>" in page
    ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])


def test_what_is_asked_wrongly_is_named(
    filled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINLI_LANG", "en")
    for arguments, said in (
        (("--from", "2025-02-30"), "'2025-02-30' is not a date"),
        (("--to", "9999-01-01"), "'9999-01-01' is not a date"),
        (("--from", "2025-03-02", "--to", "2025-03-01"), "2025-03-02 is after"),
        (("--from", "1970-01-02", "--to", "2200-12-31"), "at most 20 years"),
        (
            ("--year", "2025", "--place", "cellar"),
            "there is no place 'cellar'; known places: centre, door.south",
        ),
    ):
        assert linli(filled, *arguments) == EX_CONFIG
        assert said in capsys.readouterr().err
    assert linli(filled, "--from", "2020-01-01", "--to", "2025-01-01", "--by", "quarter") == 1
    assert "at most 366 days" in capsys.readouterr().err
    assert linli(filled, "--year", "2025", "--place", "south") == 0


def test_without_a_file_or_with_a_damaged_one_it_says_so(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert linli(site) == 1
    assert "还没有统计文件" in capsys.readouterr().err
    (site.parent / "elsewhere" / "visitors.db").write_bytes(b"no database at all" * 1000)
    assert linli(site) == 1
    assert "无法打开" in capsys.readouterr().err
