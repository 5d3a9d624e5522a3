"""The table of the calendar: what is where, and what is free."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capabilities.visitors.pages.calendar import (
    CalendarSelection,
    CalendarSource,
    CalendarTable,
    calendar_selection,
)
from gateway.capabilities.visitors.pages.visits import BookingRow
from gateway.scheduling import HolidayCalendar, Opening, Resource

ZONE = ZoneInfo("Asia/Shanghai")
TITLES = {"hall": {"zh": "大厅"}, "study": {"zh": "书画室"}}
HALL = Resource(opening=Opening(week=(((9 * 60, 18 * 60),),) * 5 + ((), ()), holiday=()))


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp()) * 1000


SOURCE = CalendarSource(
    timezone="Asia/Shanghai",
    today="2026-12-02",
    slot_now=ms("2026-12-02T10:00"),
    rooms=TITLES,
    rules={"hall": HALL, "study": Resource()},
)


def row(title: str, since: str, until: str, room: str = "hall", **fields: Any) -> BookingRow:
    usual = {
        "id": f"booking/{title}", "title": title, "kind": "activity", "place": TITLES.get(room, {}),
        "since": ms(since), "until": ms(until), "expected": 0, "came": 0, "left": 0, "peak": 0, "by": "",
        "live": False, "over": False, "final": False, "room": room,
    }  # fmt: skip
    return BookingRow(**{**usual, **fields})


def grid(table: CalendarTable) -> list[list[str]]:
    """Every half hour and lane with its state or title, as a browser lays the table out."""
    width = sum(column.lanes for column in table.columns)
    laid = [[""] * width for _ in table.rows]
    for number, (_, cells) in enumerate(table.rows):
        place = 0
        for cell in cells:
            while laid[number][place]:
                place += 1
            for below in range(cell.rows):
                for beside in range(cell.columns):
                    assert not laid[number + below][place + beside]
                    shown = cell.booking.title if cell.booking else cell.state
                    laid[number + below][place + beside] = shown
            place += cell.columns
    assert all(all(line) for line in laid), "every place has exactly one cell"
    return laid


DAY = CalendarSelection(view="day", day="2026-12-02")


def test_a_day_by_rooms() -> None:
    table = DAY.table(SOURCE, [row("书法", "2026-12-02T13:00", "2026-12-02T14:15")])
    assert [column.room for column in table.columns] == ["", "hall", "study"]
    assert [label for label, _ in table.rows][:3] == ["08:00", "", "09:00"]
    laid = grid(table)
    at = {f"{8 + number // 2:02}:{number % 2 * 30:02}": line for number, line in enumerate(laid)}
    assert at["08:00"] == ["past"] * 3
    assert at["09:30"] == ["past"] * 3
    assert at["10:00"] == ["free"] * 3
    # A quarter of an hour takes the whole half hour.
    assert [at[time][1] for time in ("12:30", "13:00", "14:00", "14:30")] == [
        "free",
        "书法",
        "书法",
        "free",
    ]
    assert at["18:00"] == ["free", "closed", "free"]


def test_what_overlaps_is_side_by_side() -> None:
    """Bookings of an earlier version may, as may those of two rooms on one day."""
    week = CalendarSelection(day="2026-12-02")
    bookings = [
        row("一", "2026-12-04T10:00", "2026-12-04T12:00"),
        row("二", "2026-12-04T11:00", "2026-12-04T13:00", "study"),
        row("三", "2026-12-04T12:00", "2026-12-04T13:00", ""),
    ]
    table = week.table(SOURCE, bookings)
    assert [column.lanes for column in table.columns] == [1, 1, 1, 1, 2, 1, 1]
    laid = grid(table)
    eleven = laid[6]
    assert eleven[4:6] == ["一", "二"]
    assert laid[8][4:6] == ["三", "二"]
    assert laid[4][4:6] == ["一", "gap"]
    only = CalendarSelection(day="2026-12-02", room="study").table(SOURCE, bookings)
    assert [column.lanes for column in only.columns] == [1] * 7
    assert {text for line in grid(only) for text in line} >= {"二"}


def test_over_midnight_it_is_on_both_days() -> None:
    table = CalendarSelection(day="2026-12-31").table(
        SOURCE, [row("跨年", "2026-12-31T22:00", "2027-01-01T01:00", "")]
    )
    laid = grid(table)
    assert len(laid) == 48
    assert [line[3] for line in laid[-5:]] == ["free", "跨年", "跨年", "跨年", "跨年"]
    assert [line[4] for line in laid[:3]] == ["跨年", "跨年", "free"]
    assert [(day.isoformat(), [each.title for each in rows]) for day, rows in table.listed] == [
        ("2026-12-31", ["跨年"])
    ]
    following = CalendarSelection(view="day", day="2027-01-01").table(
        SOURCE, [row("跨年", "2026-12-31T22:00", "2027-01-01T01:00", "")]
    )
    assert following.listed[0][0] == date(2027, 1, 1)


@pytest.mark.parametrize("state", ["waiting", "lapsed", "no-show", "cancelled"])
def test_what_does_not_take_place_is_listed_only(state: str) -> None:
    table = DAY.table(SOURCE, [row("书法", "2026-12-02T13:00", "2026-12-02T14:00", state=state)])
    assert "书法" not in {text for line in grid(table) for text in line}
    assert [each.title for each in table.listed[0][1]] == ["书法"]


def test_it_says_on_which_days_hours_may_change() -> None:
    known = HolidayCalendar(years=frozenset({2026}))
    hall = Resource(opening=Opening(week=HALL.opening.week, holiday=(), calendar=known))
    source = CalendarSource(
        timezone="Asia/Shanghai", today="2026-12-02", rooms=TITLES, rules={"hall": hall}
    )
    chosen = CalendarSelection(day="2026-12-28", room="hall")
    assert [column.uncertain for column in chosen.table(source, []).columns] == [True] * 7
    before = CalendarSelection(day="2026-12-02", room="hall")
    assert not any(column.uncertain for column in before.table(source, []).columns)


BOOKINGS = st.lists(
    st.tuples(
        st.integers(-48, 8 * 48), st.integers(1, 100), st.sampled_from(["", "hall", "study", "gone"])
    ),
    max_size=12,
)


@given(BOOKINGS, st.sampled_from(["week", "day"]), st.sampled_from(["", "hall", "nowhere"]))
def test_every_booking_is_shown_as_long_as_it_lasts(
    made: list[tuple[int, int, str]], view: str, room: str
) -> None:
    monday = datetime(2026, 11, 30, tzinfo=ZONE)
    bookings = []
    for number, (start, length, where) in enumerate(made):
        since = monday + timedelta(minutes=30 * start)
        until = since + timedelta(minutes=30 * length)
        bookings.append(row(f"{number}", since.isoformat()[:19], until.isoformat()[:19], where))
    table = CalendarSelection(view=view, day="2026-12-02", room=room).table(SOURCE, bookings)
    laid = grid(table)
    counted = {each.title: sum(line.count(each.title) for line in laid) for each in bookings}
    first, last = (2, 3) if view == "day" else (0, 7)
    by_room = view == "day" and room != "hall"
    expected = {}
    for number, (start, length, where) in enumerate(made):
        slots = range(max(start, first * 48), min(start + length, last * 48))
        visible = where in TITLES or where == "" if by_room else room != "hall" or where == "hall"
        expected[f"{number}"] = len(slots) if visible else 0
    assert counted == expected


def test_an_address_chooses() -> None:
    chosen = calendar_selection({"view": "day", "day": "2026-12-31", "room": "hall"})
    assert chosen == CalendarSelection(view="day", day="2026-12-31", room="hall")
    assert chosen.query == "view=day&day=2026-12-31&room=hall"
    assert chosen.shifted(SOURCE, 1) == "view=day&day=2027-01-01&room=hall"
    assert CalendarSelection().shifted(SOURCE, -1) == "day=2026-11-25"
    assert CalendarSelection().query == ""
    for wrong in ({"day": "2026-13-01"}, {"day": "0001-01-01"}, {"day": "9999-12-31"}, {"view": "x"}):
        assert calendar_selection(wrong) == CalendarSelection()
    assert len(calendar_selection({"room": "x" * 1000}).room) == 63
    for day in ("2020-01-06", "2199-12-29"):
        edge = CalendarSelection(day=day)
        assert calendar_selection(dict(pair.split("=") for pair in edge.shifted(SOURCE, 1).split("&")))
        assert edge.table(SOURCE, []).columns
