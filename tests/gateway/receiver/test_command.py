"""`linli receive`, as an operator calls it."""

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from gateway.cli import EX_CONFIG, main
from gateway.receiver import Database
from gateway.receiver.messages import parse
from gateway.wire.mqtt import IncomingMessage
from tests.broker import Broker
from tests.postgres import Postgres

from .kit import DAY, envelope, gap_record, record


@pytest.fixture(params=["zh", "en"])
def language(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LINLI_LANG", request.param)
    return str(request.param)


def fill(database: Postgres, *messages: tuple[str, dict[str, Any]]) -> None:
    """Store these envelopes of sites."""

    async def store() -> None:
        async with Database.open(database.url) as opened:
            await opened.store([
                parsed
                for site, sent in messages
                for parsed in parse(
                    IncomingMessage(
                        f"linli/v1/{site}/{sent['device']}/{sent['lane']}", json.dumps(sent).encode(), False
                    )
                )
            ])  # fmt: skip

    asyncio.run(store())


def report(database: Postgres, *options: str) -> int:
    return main(["receive", "report", "--database", database.url, "--day", DAY, *options])


def test_a_report_names_unexplained_holes_first(
    database: Postgres, language: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gaps = [gap_record(1, "telemetry", 2, 3), gap_record(2, "telemetry", 5, 5, reason="a foreign reason")]
    fill(
        database,
        ("whole", envelope([record(1), record(2)])),
        ("torn\x1b[2J", envelope([record(1), record(4), record(6), record(9)])),
        ("torn\x1b[2J", envelope(gaps, lane="event")),
    )
    assert report(database) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "\x1b" not in "".join(lines)
    assert "7–8" in lines[0]
    assert lines[0].startswith({"zh": "原因不明：torn", "en": "unexplained: torn"}[language])
    assert [("2–3" in line, "5–5" in line) for line in lines[1:3]] == [(True, False), (False, True)]
    assert "a foreign reason" in lines[2]
    assert lines[-1].endswith({"zh": "齐全", "en": "complete"}[language])
    assert report(database, "--site", "whole") == 0
    assert "torn" not in capsys.readouterr().out


def test_a_report_as_json(database: Postgres, capsys: pytest.CaptureFixture[str]) -> None:
    fill(database, ("s", envelope([record(1), record(3)])))
    assert report(database, "--json") == 1
    assert json.loads(capsys.readouterr().out) == [
        {
            "site": "s", "day": DAY, "records": 2, "complete": False, "unexplained": 1, "explained": 0,
            "missing": [
                {"epoch": "e1", "device": "d", "lane": "telemetry", "first": 2, "last": 2, "reason": None}
            ],
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--site", "nobody"], 1, {"zh": "--site", "en": "--site"}),
        (["--day", "yesterday"], 1, {"zh": "不是日期", "en": "is not a date"}),
        (["--timezone", "Mars/Olympus"], 1, {"zh": "没有这个时区", "en": "unknown time zone"}),
        (["--timezone", "../x"], 1, {"zh": "没有这个时区", "en": "unknown time zone"}),
        (["--database", "nonsense"], EX_CONFIG, {"zh": "数据库地址有误", "en": "address of the database"}),
        (
            ["--database", "postgresql://localhost:1/x"],
            1,
            {"zh": "PostgreSQL 是否在运行", "en": "is running"},
        ),
    ],
)
def test_what_is_wrong_is_said_in_the_reader_s_language(
    database: Postgres, language: str, capsys: pytest.CaptureFixture[str], options: list[str], code: int,
    said: dict[str, str],
) -> None:  # fmt: skip
    fill(database, ("s", envelope([record(1)])))
    assert report(database, *options) == code
    assert said[language] in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--broker", "http://localhost"], ["--broker", "mqtt://u:p@localhost"], ["--name", ""],
        ["--group", "a/b"], ["--password-file", "/nowhere"], ["--certificate-file", "/nowhere"],
    ],
)  # fmt: skip
def test_options_that_make_no_sense(
    database: Postgres, language: str, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert main(["receive", "--database", database.url, *options]) == EX_CONFIG
    (line,) = capsys.readouterr().err.splitlines()
    assert line


def test_it_ends_with_sigterm(broker: Broker, database: Postgres) -> None:
    command = [sys.executable, "-m", "gateway.cli", "receive", "--broker", broker.url]
    with subprocess.Popen([*command, "--database", database.url], stderr=subprocess.PIPE) as process:
        assert process.stderr
        for line in process.stderr:
            if b"receiver-started" in line:
                break
        process.terminate()
        assert process.wait(10) == 0
        assert process.stderr.read() == b""
