"""Recurrence rules, with the examples of RFC 5545, 3.8.5.3, all of which start on 2 September 1997 at nine
unless they say otherwise."""

from __future__ import annotations

from datetime import datetime

import pytest

from gateway.scheduling.recurrence import RuleUnread, occurrences, parse_rule

DAYS = 10_000_000


def recur(rule: str, start: str = "1997-09-02", last: str = "1999-12-31", first: str = "") -> list[str]:
    begin = datetime.fromisoformat(f"{start}T09:00")
    window = datetime.fromisoformat(first) if first else begin
    end = datetime.fromisoformat(f"{last}T23:59")
    return [f"{at:%Y-%m-%d}" for at in occurrences(parse_rule(rule), begin, window, end, iter(range(DAYS)))]


@pytest.mark.parametrize(
    ("rule", "start", "days"),
    [
        ("FREQ=DAILY;COUNT=3", "1997-09-02", "1997-09-02 1997-09-03 1997-09-04"),
        ("FREQ=DAILY;INTERVAL=10;COUNT=5", "1997-09-02",
         "1997-09-02 1997-09-12 1997-09-22 1997-10-02 1997-10-12"),
        ("FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH", "1997-09-02",
         "1997-09-02 1997-09-04 1997-09-16 1997-09-18 1997-09-30 1997-10-02 1997-10-14 1997-10-16"),
        ("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO", "1997-08-05",
         "1997-08-05 1997-08-10 1997-08-19 1997-08-24"),
        ("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU", "1997-08-05",
         "1997-08-05 1997-08-17 1997-08-19 1997-08-31"),
        ("FREQ=MONTHLY;COUNT=4;BYDAY=1FR", "1997-09-05", "1997-09-05 1997-10-03 1997-11-07 1997-12-05"),
        ("FREQ=MONTHLY;INTERVAL=2;COUNT=5;BYDAY=1SU,-1SU", "1997-09-07",
         "1997-09-07 1997-09-28 1997-11-02 1997-11-30 1998-01-04"),
        ("FREQ=MONTHLY;COUNT=6;BYDAY=-2MO", "1997-09-22",
         "1997-09-22 1997-10-20 1997-11-17 1997-12-22 1998-01-19 1998-02-16"),
        ("FREQ=MONTHLY;COUNT=3;BYMONTHDAY=1,-1", "1997-09-30", "1997-09-30 1997-10-01 1997-10-31"),
        ("FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5", "2007-01-15",
         "2007-01-15 2007-01-30 2007-02-15 2007-03-15 2007-03-30"),
        ("FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", "1997-09-04",
         "1997-09-04 1997-10-07 1997-11-06"),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2;COUNT=3", "1997-09-29",
         "1997-09-29 1997-10-30 1997-11-27"),
        ("FREQ=YEARLY;COUNT=4;BYMONTH=6,7", "1997-06-10", "1997-06-10 1997-07-10 1998-06-10 1998-07-10"),
        ("FREQ=YEARLY;COUNT=3", "2024-02-29", "2024-02-29 2028-02-29 2032-02-29"),
    ],
)  # fmt: skip
def test_the_examples_of_the_standard(rule: str, start: str, days: str) -> None:
    assert recur(rule, start, "2040-01-01") == days.split()


def test_the_years_before_are_not_gone_through() -> None:
    rule = "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO"
    whole = recur(rule, "1970-01-05", "2026-12-31")
    begin, last = datetime.fromisoformat("1970-01-05T09:00"), datetime.fromisoformat("2026-12-31")
    since = datetime.fromisoformat("2026-11-01")
    few = occurrences(parse_rule(rule), begin, since, last, iter(range(200)))
    assert [f"{at:%Y-%m-%d}" for at in few if at >= since] == [day for day in whole if day >= "2026-11-01"]


@pytest.mark.parametrize(
    "rule",
    [
        "", "FREQ=HOURLY", "FREQ=DAILY;INTERVAL=0", "FREQ=DAILY;COUNT=0", "FREQ=DAILY;COUNT=x",
        "FREQ=YEARLY;BYWEEKNO=20", "FREQ=YEARLY;BYYEARDAY=1", "FREQ=YEARLY;BYDAY=20MO", "INTERVAL=2",
        "FREQ=MONTHLY;BYMONTHDAY=0", "FREQ=MONTHLY;BYDAY=XX", "FREQ=DAILY;FREQ=DAILY", "FREQ=X",
        "FREQ=WEEKLY;BYDAY=1MO", "FREQ=DAILY;BYHOUR=9,12",
        "FREQ=MONTHLY;BYMONTH=13", "FREQ=MONTHLY;BYSETPOS=0", "FREQ=WEEKLY;WKST=X",
    ],
)  # fmt: skip
def test_what_is_not_read_is_refused(rule: str) -> None:
    with pytest.raises(RuleUnread):
        parse_rule(rule)


def test_a_rule_is_not_followed_for_ever() -> None:
    rule = parse_rule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30;COUNT=9")
    start, end = datetime.fromisoformat("2026-01-01T00:00"), datetime.fromisoformat("9999-01-01T00:00")
    assert list(occurrences(rule, start, start, end, iter(range(DAYS)))) == [start]
    with pytest.raises(RuleUnread):
        list(occurrences(rule, start, start, end, iter(range(3 * 366))))
