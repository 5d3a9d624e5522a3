"""The rules of what is booked, as a site file writes them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gateway.config.booking_rules import read_booking_rules
from gateway.config.reading import TomlReader
from gateway.scheduling import ALWAYS_OPEN, Quota, QuotaPeriod, Resource

PATH = ("room", "hall", "booking")


def read(table: dict[str, Any]) -> tuple[Resource | None, list[str]]:
    reader = TomlReader(Path("site.toml"))
    found = read_booking_rules(reader, table, PATH, "room")
    return found, [f"{mistake.where}: {mistake.key}" for mistake in reader.mistakes]


def test_without_rules_it_is_always_open() -> None:
    assert read({}) == (Resource(kind="room", opening=ALWAYS_OPEN), [])


def test_all_that_may_be_written() -> None:
    found, mistakes = read(
        {
            "hours": {
                "mon-fri": "08:00-21:00", "sat-sun": ["09:00-12:00", "14:00-17:00"], "holiday": [],
                "makeup": "08:00-21:00", "closed": ["2026-12-24"], "2026-12-31": "18:00-02:00",
            },
            "shortest": 30, "longest": 240, "ahead": 30, "quota": 480, "per": "month", "grace": 15,
        }
    )  # fmt: skip
    assert mistakes == []
    assert found is not None
    assert (found.shortest_ms, found.longest_ms, found.ahead_ms) == (1_800_000, 14_400_000, 2_592_000_000)
    assert (found.quota, found.grace_ms) == (Quota(480, QuotaPeriod.MONTHLY), 900_000)
    days = {
        "2026-12-01": ((480, 1260),), "2026-12-05": ((540, 720), (840, 1020)), "2026-10-01": (),
        "2026-10-10": ((480, 1260),),
        "2026-12-24": (), "2026-12-31": ((1080, 1560),),
    }  # fmt: skip
    assert {day: found.opening.spans_on(date.fromisoformat(day)) for day in days} == days


@pytest.mark.parametrize(
    ("table", "mistake"),
    [
        ({"hours": {"mon-fri": "8-21"}}, "hours.mon-fri: hours-form"),
        ({"hours": {"holiday": "9"}}, "hours.holiday: hours-form"),
        ({"hours": {"holiday": 7}}, "hours.holiday: hours-form"),
        ({"hours": {"2026-13-01": "08:00-09:00"}}, "hours.2026-13-01: hours-form"),
        ({"hours": {"2026-12-01": ["x"]}}, "hours.2026-12-01: hours-form"),
        ({"longest": 1441}, "longest: booking-minutes"),
        ({"grace": 0}, "grace: booking-minutes"),
        ({"ahead": 0}, "ahead: booking-ahead"),
        ({"quota": 0}, "quota: booking-quota-minutes"),
        ({"shortest": 60, "longest": 30}, "longest: booking-shortest"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(table: dict[str, Any], mistake: str) -> None:
    _, mistakes = read(table)
    assert mistakes == [f"{'.'.join(PATH)}.{mistake}"]
