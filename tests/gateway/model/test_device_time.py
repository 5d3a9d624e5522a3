from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import parse_device_time

CHINA = timezone(timedelta(hours=8))
NOON = datetime(2026, 12, 20, 12, 15, 52, tzinfo=CHINA)


@pytest.mark.parametrize(
    "written",
    [
        1797740152, 1797740152.0, 1797740152000, 1797740152000000, 1797740152000000000, "1797740152",
        "1797740152000", "1797740152.000", "2026/12/20 12:15:52", "2026-12-20T12:15:52",
        "2026-12-20 12:15:52+08:00", "2026-12-20T12:15:52+0800", "2026-12-20T12:15:52+08",
        "2026-12-20 12:15:52 +0800", "2026-12-20T04:15:52Z", "2026-12-20T04:15:52.000Z",
        "2026-12-20 04:15:52 UTC", "2026.12.20 12:15:52",
        "20261220T121552", "20261220T041552Z", "20261220121552", 20261220121552, "20261220121552000",
        "2026年12月20日 12:15:52", " 2026-12-20_12:15:52 ", "Sun, 20 Dec 2026 04:15:52 GMT",
        "Sun Dec 20 12:15:52 2026", "20261220 121552", "20261220T04:15:52Z", "2026-12-20 12:15:52 +8:00",
        "2026-12-20T12:15:52+8", "2026-12-20T12:15:52+800",
        "2026-12-20T12:15:52+08:00[Asia/Shanghai]", "2026-12-20T04:15:52Z[UTC]",
        "2026-12-20T12:15:52 08:00",
        "2026-12-20 12:15:52 PM", "2026-12-20 12:15:52 p.m. +08:00", "2026/12/20 下午12:15:52",
        "2026年12月20日 下午 12时15分52秒", "2026-12-20T04:15:52 AM Z",
        "Dec 20, 2026 12:15:52 PM", "Dec 20, 2026, 12:15:52 PM", "Sun Dec 20 12:15:52 GMT+08:00 2026",
        "Sun Dec 20 2026 12:15:52 GMT+0800 (China Standard Time)", "Sunday, 20-Dec-26 04:15:52 GMT",
        "2026-12-20 12:15:52.0 +0800 CST",
        "/Date(1797740152000)/", "/Date(1797740152000+0800)/",
    ],
)  # fmt: skip
def test_a_time_is_read_in_every_form(written: Any) -> None:
    assert parse_device_time(written, CHINA) == NOON


@pytest.mark.parametrize(
    "written",
    [
        None, "", "nine", True, 0, 60, 99_999_999, -1797740152, float("nan"), float("inf"), 10**25, "12:15",
        "2026-12-20", "2026-12-20 13:15 PM", "2026-12-20 0:15 AM",
        "2026-13-20 12:15:52", "2026-12-20 25:00:00", "2026-12-20 12:61:00",
        "20/12/2026 12:15:52", "2026-12-20T12:15:52+99:00", "2026-12-20 12:15:52 CST",
        "0001-01-01 00:00:00", "9999-12-31 24:00:00", "Sun Dec 20 12:15:52 CST 2026",
        "Sun, 20 Dec 2026 12:15:52 EST", "Dec 20, 2026 13:15:52 PM", "20 Dec 2026 12:15:52 A",
    ],
)  # fmt: skip
def test_what_is_no_time_is_none(written: Any) -> None:
    assert parse_device_time(written, CHINA) is None


@pytest.mark.parametrize("written", ["Sun Dec 20 12:15:52 CST 2026", "2026-12-20 12:15:52 CST"])
def test_the_name_of_a_zone_is_that_of_the_site_or_none(written: str) -> None:
    assert parse_device_time(written, ZoneInfo("Asia/Shanghai")) == NOON
    assert parse_device_time(written, ZoneInfo("Europe/Berlin")) is None


def test_the_end_of_a_day_and_a_leap_second_are_times() -> None:
    assert parse_device_time("2026-12-20 24:00:00") == datetime(2026, 12, 21, tzinfo=UTC)
    assert parse_device_time("2026-12-20T23:59:60Z") == datetime(2026, 12, 21, tzinfo=UTC)
    assert parse_device_time("2026-12-20 12:05 上午") == datetime(2026, 12, 20, 0, 5, tzinfo=UTC)
    assert parse_device_time("2026-12-20 1:05 PM") == datetime(2026, 12, 20, 13, 5, tzinfo=UTC)
    assert parse_device_time("2026-1-5 8:05") == datetime(2026, 1, 5, 8, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (100_000_000, "1973-03-03T09:46:40Z"), (99_999_999, None), ("99999999.9", None),
        (9_999_999_999, "2286-11-20T17:46:39Z"), (10_000_000_000, None),
        (99_999_999_999, None), (100_000_000_000, "1973-03-03T09:46:40Z"),
        (10**19 - 10**9, "2286-11-20T17:46:39Z"), (10**19, None),
        ("1970-01-01 00:00:00", "1970-01-01T00:00:00Z"), ("1969-12-31 23:59:59", None),
        ("2285-12-31 23:59:59", "2285-12-31T23:59:59Z"), ("2286-01-01 00:00:00", None),
        ("01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00Z"), ("31 Dec 1969 23:59:59 GMT", None),
        ("31 Dec 2285 23:59:59 GMT", "2285-12-31T23:59:59Z"), ("01 Jan 2286 00:00:00 GMT", None),
        ("31 Dec 9999 23:59:59 -1400", None), ("01 Jan 0100 00:00:00 +1400", None),
        ("2026-12-20 23:59:59", "2026-12-20T23:59:59Z"), ("2026-12-20 23:60:00", None),
        ("2026-12-20 12:15:60", "2026-12-20T12:16:00Z"), ("2026-12-20 12:15:61", None),
        ("2026-12-20 24:00:01", "2026-12-21T00:00:01Z"), ("2026-12-20 24:00:02", None),
        ("2026-12-20 24:01", None), ("2026-12-20 23:59", "2026-12-20T23:59:00Z"),
        ("2026-12-20 12:15:52.5", "2026-12-20T12:15:52.500Z"),
        ("2026-12-20 12:15:52.000001", "2026-12-20T12:15:52.000001Z"),
        ("2026-12-20 12:15:52.1234567", "2026-12-20T12:15:52.123456Z"),
        ("2026-12-20 12:15:52 +14:00", "2026-12-19T22:15:52Z"), ("2026-12-20 12:15:52 +15:00", None),
        ("2026-12-20 12:15:52 -03:30", "2026-12-20T15:45:52Z"),
        ("2026-12-20 12:15:52 +00:59", "2026-12-20T11:16:52Z"), ("2026-12-20 12:15:52 +00:60", None),
    ],
)  # fmt: skip
def test_times_are_read_to_their_limits(written: Any, read: str | None) -> None:
    """Numbers count from 1973, when a number of seconds is told from one of milliseconds."""
    for each in (written, str(written)):
        assert parse_device_time(each) == (datetime.fromisoformat(read) if read else None)


whole_seconds = st.integers(946_684_800, 4_102_444_800).map(lambda s: datetime.fromtimestamp(s, CHINA))
FORMATS = (
    "%Y-%m-%dT%H:%M:%S%z",
    "%Y/%m/%d %H:%M:%S",
    "%Y%m%dT%H%M%S%z",
    "%Y%m%d%H%M%S",
    "%Y-%m-%d %H:%M:%S %z",
)


@given(whole_seconds, st.sampled_from(FORMATS), st.sampled_from((1, 1_000, 1_000_000)))
def test_no_form_is_taken_for_another(time: datetime, form: str, units_per_s: int) -> None:
    assert parse_device_time(time.strftime(form), CHINA) == time
    unix = round(time.timestamp()) * units_per_s
    assert parse_device_time(unix, CHINA) == parse_device_time(str(unix), CHINA) == time


@given(st.text() | st.integers() | st.floats() | st.booleans() | st.from_regex(r"\d{4}-\d\d-\d\d.{0,20}"))
def test_anything_is_a_time_or_none(written: Any) -> None:
    found = parse_device_time(written, CHINA)
    assert found is None or 1969 < found.year < 2287
