"""Public notices: what is written, and when it is shown."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.capabilities.needs.notices import PublicNotice, parse_moment, read_notices, shown_notices
from gateway.config.reading import TomlReader


def read(*tables: dict[str, Any]) -> tuple[dict[str, PublicNotice], list[str]]:
    reader = TomlReader(Path("site.toml"))
    found = read_notices(reader, {"notice": {f"n{number}": each for number, each in enumerate(tables)}})
    return found, [f"{mistake.where}: {mistake.key}" for mistake in reader.mistakes]


def shown(local: str, *tables: dict[str, Any]) -> list[str]:
    notices, mistakes = read(*tables)
    assert mistakes == []
    at = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo("Asia/Shanghai")).timestamp() * 1000
    return [text["zh"] for text in shown_notices(notices, round(at), "Asia/Shanghai")]


@pytest.mark.parametrize(
    ("local", "texts"),
    [
        ("2026-11-30T23:59:59", []),
        ("2026-12-01T00:00:00", ["停水"]),
        ("2026-12-03T23:59:59", ["停水"]),
        ("2026-12-04T00:00:00", []),
    ],
)
def test_it_is_shown_from_the_first_day_to_the_end_of_the_last(local: str, texts: list[str]) -> None:
    assert shown(local, {"text": "停水", "from": "2026-12-01", "until": "2026-12-03"}) == texts


def test_what_ends_first_is_first_and_no_more_than_can_be_read() -> None:
    tables = [{"text": f"{day}", "until": f"2026-12-{day:02}"} for day in (9, 5, 7)]
    assert shown("2026-12-01", {"text": "一直"}, *tables) == ["5", "7", "9", "一直"]
    assert len(shown("2026-12-01", {"text": "一直"}, *tables, {"text": "又一条"})) == 4


def test_a_time_ends_to_the_minute() -> None:
    notice = {"text": "停电", "until": "2026-12-03 12:00"}
    assert shown("2026-12-03T11:59:59", notice) == ["停电"]
    assert shown("2026-12-03T12:00:00", notice) == []


@pytest.mark.parametrize(
    ("table", "mistake"),
    [
        ({"text": ""}, "text: notice-text"),
        ({"text": " "}, "text: notice-text"),
        ({"text": "长" * 121}, "text: notice-text"),
        ({"text": "两\n行"}, "text: notice-text"),
        ({"text": "x", "from": "2026-02-30"}, "from: notice-time"),
        ({"text": "x", "from": "12-01"}, "from: notice-time"),
        ({"text": "x", "until": "2026-12-01 25:00"}, "until: notice-time"),
        ({"text": "x", "until": "9999-12-31"}, "until: notice-time"),
        ({"text": "x", "from": "2026-12-02", "until": "2026-12-01"}, "until: notice-order"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(table: dict[str, Any], mistake: str) -> None:
    assert read(table)[1] == [f"notice.n0.{mistake}"]


def test_too_many_are_refused() -> None:
    assert "notice: notice-many" in read(*({"text": "x"} for _ in range(51)))[1]


def test_a_day_at_the_end_of_a_year_ends_in_the_next() -> None:
    assert parse_moment("2026-12-31", is_end=True) == datetime(2027, 1, 1)  # noqa: DTZ001
