"""Calendars of other programs are read with care, and ours can be read by them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.scheduling.content_lines import CalendarWrong, escaped, folded, parse, unescaped
from gateway.scheduling.icalendar import BusyTimes, CalendarEvent, busy_times, calendar_text

ZONE = ZoneInfo("Asia/Shanghai")


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp() * 1000)


def read(*lines: str) -> BusyTimes:
    text = "\r\n".join(("BEGIN:VCALENDAR", "VERSION:2.0", *lines, "END:VCALENDAR", ""))
    return busy_times(text, ms("2026-12-01"), ms("2027-03-01"), ZONE)


def event(*lines: str) -> list[str]:
    found = read("BEGIN:VEVENT", "UID:1", *lines, "END:VEVENT")
    assert found.unread == []
    return shown(found)


def shown(found: BusyTimes) -> list[str]:
    zone = ZONE
    return [
        f"{datetime.fromtimestamp(since / 1000, zone):%m-%d %H:%M}+{(until - since) // 60_000}"
        for since, until in found.intervals
    ]


@pytest.mark.parametrize(
    ("lines", "times"),
    [
        (("DTSTART:20261201T010000Z", "DTEND:20261201T020000Z"), ["12-01 09:00+60"]),
        (("DTSTART:20261201T090000", "DURATION:PT1H30M"), ["12-01 09:00+90"]),
        (("DTSTART;TZID=Europe/Berlin:20261201T090000", "DURATION:P1D"), ["12-01 16:00+1440"]),
        (("DTSTART;TZID=\"China Standard Time\":20261201T090000", "DURATION:PT1H"), ["12-01 09:00+60"]),
        (("DTSTART;TZID=/a.org/2005_1/Asia/Tokyo:20261201T090000", "DURATION:PT1H"), ["12-01 08:00+60"]),
        (("DTSTART;VALUE=DATE:20261225", "DTEND;VALUE=DATE:20261227"), ["12-25 00:00+2880"]),
        (("DTSTART;VALUE=DATE:20261225",), ["12-25 00:00+1440"]),
        (("DTSTART:20261201T090000",), []),
        (("DTSTART:20261130T230000", "DURATION:PT2H"), ["11-30 23:00+120"]),
        (("DTSTART:20261101T090000", "DURATION:PT2H"), []),
        (("STATUS:CANCELLED", "DTSTART:20261201T090000", "DURATION:PT1H"), []),
        (("TRANSP:TRANSPARENT", "DTSTART:20261201T090000", "DURATION:PT1H"), []),
        (("DTSTART:20261201T090000", "DURATION:PT1H", "RRULE:FREQ=WEEKLY;COUNT=3", "EXDATE:20261208T090000",
          "RDATE:20261209T100000"), ["12-01 09:00+60", "12-09 10:00+60", "12-15 09:00+60"]),
        (("DTSTART;TZID=Europe/Berlin:20270223T090000", "DURATION:PT1H",
          "RRULE:FREQ=WEEKLY;UNTIL=20270224T000000Z"), ["02-23 16:00+60"]),
    ],
)  # fmt: skip
def test_the_times_of_an_event(lines: tuple[str, ...], times: list[str]) -> None:
    assert event(*lines) == times


def test_an_occurrence_that_was_moved_takes_the_place_of_its_own() -> None:
    found = read(
        "BEGIN:VEVENT", "UID:1", "DTSTART:20261201T090000", "DURATION:PT1H", "RRULE:FREQ=WEEKLY;COUNT=2",
        "BEGIN:VALARM", "TRIGGER:-PT15M", "END:VALARM", "END:VEVENT",
        "BEGIN:VEVENT", "UID:1", "RECURRENCE-ID:20261208T010000Z", "DTSTART:20261209T140000",
        "DURATION:PT2H", "END:VEVENT",
    )  # fmt: skip
    assert shown(found) == ["12-01 09:00+60", "12-09 14:00+120"]


def test_free_and_busy_times_and_the_name_of_the_calendar() -> None:
    found = read(
        "X-WR-CALNAME:街道\\, 会议", "BEGIN:VFREEBUSY",
        "FREEBUSY;FBTYPE=BUSY-TENTATIVE:20261230T010000Z/PT1H,20261230T020000Z/20261230T030000Z",
        "FREEBUSY;FBTYPE=FREE:20261230T050000Z/PT1H", "END:VFREEBUSY",
    )  # fmt: skip
    assert (found.name, shown(found)) == ("街道, 会议", ["12-30 09:00+120"])


def test_a_zone_of_its_own_is_known_while_it_has_one_offset() -> None:
    zone = (
        "BEGIN:VTIMEZONE", "TZID:Own", "BEGIN:STANDARD", "DTSTART:19700101T000000", "TZOFFSETFROM:+0900",
        "TZOFFSETTO:+0900", "END:STANDARD", "END:VTIMEZONE",
    )  # fmt: skip
    own = ("BEGIN:VEVENT", "UID:1", "DTSTART;TZID=Own:20261201T090000", "DURATION:PT1H", "END:VEVENT")
    assert shown(read(*zone, *own)) == ["12-01 08:00+60"]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (("DTSTART;TZID=Mars/Phobos:20261201T090000", "DURATION:PT1H"), "zone"),
        (("DTSTART:20261201T090000", "DURATION:PT1H", "RRULE:FREQ=HOURLY"), "rule"),
        (("DTSTART:20261201T090000", "RECURRENCE-ID;RANGE=THISANDFUTURE:20261201T090000"), "rule"),
        (("DTSTART:20261399T090000",), "time"),
        (("DTSTART:20261201T090000", "DURATION:1 hour"), "time"),
        (("DTSTART:99991231T235959Z", "DURATION:PT1H"), "time"),
        (("SUMMARY:x",), "time"),
    ],
)
def test_what_is_not_understood_is_named_and_the_rest_is_read(lines: tuple[str, ...], reason: str) -> None:
    well = ("BEGIN:VEVENT", "UID:2", "DTSTART:20261202T090000", "DURATION:PT1H", "END:VEVENT")
    found = read("BEGIN:VEVENT", "UID:1", "SUMMARY:周会", *lines, "END:VEVENT", *well)
    assert "12-02 09:00+60" in shown(found)
    assert {each.reason for each in found.unread} == {reason}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1), ("hello", 1), ("BEGIN:VCALENDAR", 1), ("BEGIN:VCARD\nEND:VCARD", 1),
        ("BEGIN:A\n" * 100, 9),
        ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR", 3), ("BEGIN:VCALENDAR\n;;;;\nEND:VCALENDAR", 2),
        ("BEGIN:VCALENDAR\nEND:VCALENDAR\nX:1", 3),
    ],
)  # fmt: skip
def test_what_is_no_calendar_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(CalendarWrong) as caught:
        busy_times(text, 0, 1, ZONE)
    assert caught.value.line == line


def test_rules_that_never_hold_end_in_time() -> None:
    rule = "RRULE:FREQ=YEARLY;BYMONTH=1,2,3,4,5,6,7,8,9,10,11,12;BYMONTHDAY=31;BYDAY=5MO;COUNT=99999"
    one = ("BEGIN:VEVENT", "UID:{}", "DTSTART:19700101T000000Z", rule, "END:VEVENT")
    found = read(*(line.format(number) for number in range(2000) for line in one))
    assert {each.reason for each in found.unread} == {"rule"}


@given(st.text(), st.text(max_size=300))
def test_what_is_written_is_read_again(name: str, title: str) -> None:
    since, until = ms("2026-12-01T09:00"), ms("2026-12-01T10:00")
    text = calendar_text(name, [CalendarEvent("1@linli", since, until, title, ms("2026-11-01"))])
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    assert text.endswith("END:VCALENDAR\r\n")
    assert "\n" not in text.replace("\r\n", "")
    found = busy_times(text, ms("2026-12-01"), ms("2027-01-01"), ZONE)
    assert (found.intervals, found.unread) == ([(since, until)], [])


@given(st.text())
def test_any_time_is_read_or_named(text: str) -> None:
    line = "".join(text.splitlines())
    found = read("BEGIN:VEVENT", "UID:1", f"DTSTART:{line}", "DURATION:PT1H", "END:VEVENT")
    assert found.unread or found.intervals or line.strip().isdigit() or "T" in line


def test_texts_are_escaped_and_lines_folded() -> None:
    """RFC 5545, 3.1 and 3.3.11."""
    assert escaped("a,b;c\\d\ne\x07") == "a\\,b\\;c\\\\d\\ne "
    assert unescaped("a\\,b\\;c\\\\d\\ne") == "a,b;c\\d\ne"
    long = "SUMMARY:" + "预约" * 40
    assert folded(long).replace("\r\n ", "") == long + "\r\n"
    [calendar] = parse(f"BEGIN:VCALENDAR\n{folded(long)}END:VCALENDAR")
    assert calendar.text("SUMMARY") == "预约" * 40
