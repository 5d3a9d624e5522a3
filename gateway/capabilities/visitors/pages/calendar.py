"""The calendar of bookings: which part of it is shown, and its table by half hours. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec

from gateway.scheduling import Interval, Opening, Resource, instant_of

from .visits import BookingRow

SLOT_MINUTES = 30
SLOTS_PER_DAY = 24 * 60 // SLOT_MINUTES
USUAL_SLOTS = (16, 42)
"""From 8:00 to 21:00: shown even if nothing is open or booked then."""
WEEK_VIEW, DAY_VIEW = "week", "day"
FIRST_DAY, LAST_DAY = date(2020, 1, 6), date(2199, 12, 29)
MAX_NAME_CHARACTERS = 63


class CalendarCell(msgspec.Struct, frozen=True):
    """A cell of the table. `state`: `free`, `past`, `closed`, `gap` (beside bookings), or `booked`."""

    state: str
    rows: int = 1
    columns: int = 1
    day: str = ""
    time: str = ""
    room: str = ""
    booking: BookingRow | None = None


class CalendarColumn(msgspec.Struct, frozen=True):
    """A day or a room. `lanes`: how many bookings there are at one time."""

    day: date
    room: str
    title: dict[str, str]
    lanes: int
    uncertain: bool
    """Whether holidays that decide about its hours have not been announced yet."""


class CalendarTable(msgspec.Struct, frozen=True):
    """Rows by the time at which they start; those of a full hour have a label."""

    columns: tuple[CalendarColumn, ...]
    rows: tuple[tuple[str, tuple[CalendarCell, ...]], ...]
    listed: tuple[tuple[date, tuple[BookingRow, ...]], ...]
    """All bookings of the time that is shown, by the day on which they start."""
    holds_today: bool


class CalendarSource(msgspec.Struct, frozen=True):
    """What the calendar is made of. `slot_now` is the start of the present half hour, Unix milliseconds."""

    timezone: str = "UTC"
    today: str = ""
    slot_now: int = 0
    rooms: Mapping[str, dict[str, str]] = {}
    rules: Mapping[str, Resource] = {}

    def local_day(self, at: int) -> str:
        """The date of a time, as a field of a form has it."""
        return datetime.fromtimestamp(at / 1000, ZoneInfo(self.timezone)).date().isoformat()


class CalendarSelection(msgspec.Struct, frozen=True):
    """What a person has chosen; without a day, today."""

    view: str = WEEK_VIEW
    day: str = ""
    room: str = ""

    @property
    def query(self) -> str:
        """The query of the address: only what differs from the default."""
        return self.link()

    def link(self, **changes: str) -> str:
        """The query with changes."""
        chosen = {"view": self.view, "day": self.day, "room": self.room} | changes
        return urlencode({key: value for key, value in chosen.items() if value and value != WEEK_VIEW})

    def shown_day(self, source: CalendarSource) -> date:
        """The chosen day."""
        return date.fromisoformat(self.day or source.today or "2026-01-01")

    def days(self, source: CalendarSource) -> tuple[date, ...]:
        """The days that are shown: one, or a week from Monday."""
        day = self.shown_day(source)
        if self.view == DAY_VIEW:
            return (day,)
        monday = day - timedelta(days=day.weekday())
        return tuple(monday + timedelta(days=number) for number in range(7))

    def shifted(self, source: CalendarSource, steps: int) -> str:
        """The query for the days before or after."""
        day = self.shown_day(source) + timedelta(days=steps * (1 if self.view == DAY_VIEW else 7))
        return self.link(day=min(max(day, FIRST_DAY), LAST_DAY).isoformat())

    def table(self, source: CalendarSource, bookings: Iterable[BookingRow]) -> CalendarTable:
        """The table of the chosen days."""
        zone, days = ZoneInfo(source.timezone), self.days(source)
        room = self.room if self.room in source.rooms else ""
        whole = _interval(days[0], 0, len(days) * SLOTS_PER_DAY, zone)
        shown = [
            each
            for each in bookings
            if each.since < whole.until and each.until > whole.since and (not room or each.room == room)
        ]
        held = [each for each in shown if each.takes_place]
        if self.view == DAY_VIEW and not room:
            titles = {"": {}, **source.rooms}
            parts = [(days[0], name, title, [each for each in held if each.room == name])
                     for name, title in titles.items()]  # fmt: skip
        else:
            parts = [(day, room, {}, held) for day in days]
        columns = [_ColumnLayout(day, name, title, rows, source, zone) for day, name, title, rows in parts]
        first = min([USUAL_SLOTS[0], *(column.first for column in columns)])
        last = max([USUAL_SLOTS[1], *(column.last for column in columns)])
        return CalendarTable(
            tuple(column.described() for column in columns),
            tuple(
                (_clock(slot) if slot % 2 == 0 else "",
                 tuple(cell for column in columns for cell in column.cells(slot)))
                for slot in range(first, last)
            ),
            _by_day(shown, days, zone),
            source.today in {day.isoformat() for day in days},
        )  # fmt: skip


def calendar_selection(query: Mapping[str, str]) -> CalendarSelection:
    """What the query of an address chooses; what is not known there is ignored."""
    try:
        day = date.fromisoformat(query.get("day", ""))
        chosen = day.isoformat() if FIRST_DAY <= day <= LAST_DAY else ""
    except ValueError:
        chosen = ""
    return CalendarSelection(
        view=DAY_VIEW if query.get("view") == DAY_VIEW else WEEK_VIEW,
        day=chosen,
        room=query.get("room", "")[:MAX_NAME_CHARACTERS],
    )


class _ColumnLayout:
    """One column while the table is made: its bookings in lanes, by slot."""

    def __init__(
        self,
        day: date,
        room: str,
        title: dict[str, str],
        bookings: Iterable[BookingRow],
        source: CalendarSource,
        zone: ZoneInfo,
    ) -> None:
        self._day, self._room, self._title, self._source, self._zone = day, room, title, source, zone
        rules = source.rules.get(room)
        self._opening = rules.opening if rules else Opening()
        self._open = self._opening.intervals(*_interval(day, 0, SLOTS_PER_DAY, zone), zone)
        self._lanes: list[dict[int, tuple[BookingRow, int]]] = []
        """Each: the booking at a slot, and the slot at which it starts in this column."""
        for booking in sorted(bookings, key=lambda each: (each.since, each.id)):
            self._place(booking)
        taken = [slot for lane in self._lanes for slot in lane]
        is_all_day = self._open == [_interval(day, 0, SLOTS_PER_DAY, zone)]
        opened = [] if is_all_day else [slot for slot in range(SLOTS_PER_DAY) if self._is_open(slot)]
        self.first = min([*taken, *opened], default=USUAL_SLOTS[0])
        self.last = max([*taken, *opened], default=USUAL_SLOTS[1] - 1) + 1

    def described(self) -> CalendarColumn:
        """What its head says."""
        uncertain = not self._opening.is_certain_on(self._day)
        return CalendarColumn(self._day, self._room, self._title, max(1, len(self._lanes)), uncertain)

    def cells(self, slot: int) -> Sequence[CalendarCell]:
        """The cells that start at a slot."""
        if not any(slot in lane for lane in self._lanes):
            return [self._empty_cell(slot, max(1, len(self._lanes)))]
        found = []
        for lane in self._lanes:
            if slot not in lane:
                found.append(CalendarCell("gap"))
                continue
            booking, first = lane[slot]
            if first == slot:
                rows = sum(start == first for each, start in lane.values() if each is booking)
                found.append(CalendarCell("booked", rows, booking=booking, time=_clock(slot)))
        return found

    def _place(self, booking: BookingRow) -> None:
        slots = [slot for slot in range(SLOTS_PER_DAY) if _overlaps(booking, self._interval(slot))]
        if not slots:
            return
        free = (lane for lane in self._lanes if not any(slot in lane for slot in slots))
        lane = next(free, None)
        if lane is None:
            self._lanes.append(lane := {})
        lane |= dict.fromkeys(slots, (booking, slots[0]))

    def _empty_cell(self, slot: int, columns: int) -> CalendarCell:
        interval = self._interval(slot)
        state = "free" if self._is_open(slot) else "closed"
        if interval.until <= self._source.slot_now:
            state = "past"
        return CalendarCell(state, 1, columns, self._day.isoformat(), _clock(slot), self._room)

    def _is_open(self, slot: int) -> bool:
        return any(_overlaps(each, self._interval(slot)) for each in self._open)

    def _interval(self, slot: int) -> Interval:
        return _interval(self._day, slot, 1, self._zone)


def _overlaps(booking: BookingRow | Interval, slot: Interval) -> bool:
    return booking.since < slot.until and booking.until > slot.since


def _interval(day: date, slot: int, slots: int, zone: ZoneInfo) -> Interval:
    first = slot * SLOT_MINUTES
    return Interval(instant_of(day, first, zone), instant_of(day, first + slots * SLOT_MINUTES, zone))


def _clock(slot: int) -> str:
    minutes = slot * SLOT_MINUTES
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _by_day(
    bookings: Iterable[BookingRow], days: Sequence[date], zone: ZoneInfo
) -> tuple[tuple[date, tuple[BookingRow, ...]], ...]:
    """By the day on which they start, or the first one that is shown."""
    starts = {day: instant_of(day, 0, zone) for day in days}
    found: dict[date, list[BookingRow]] = {}
    for booking in sorted(bookings, key=lambda each: (each.since, each.title)):
        day = max((day for day in days if starts[day] <= booking.since), default=days[0])
        found.setdefault(day, []).append(booking)
    return tuple((day, tuple(rows)) for day, rows in sorted(found.items()))
