"""The visitor service: evaluates counters, counts at doors, and keeps occupancy, bookings and days."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.model import (
    Command,
    ConfigurationAdopted,
    Device,
    Fact,
    Message,
    RowChanges,
    Rows,
    Sample,
    Service,
    Stamp,
    Tick,
    Value,
)
from gateway.model.hours import WeeklyHours
from gateway.scheduling import BookingState

from . import facts, manual_entries, opening_hours, previous_day
from .bookings import TOUR, VisitBooking, with_attendance
from .counters import (
    DESCRIBING_POINTS,
    MIN_CONTRADICTIONS,
    PERIOD_POINTS,
    TOTAL_POINTS,
    Counter,
    CounterProperties,
    CounterReading,
    InOutCount,
    PassedCount,
    counts_visitors,
    has_impossible_total,
    not_counted,
    with_line_of,
)
from .door_balances import activate_counter, count_reading
from .known_counts import is_heard, known_place
from .layout import OUTSIDE, Door, Layout, with_counters
from .occupancy import Flow, Place, close_place, update_crowding, with_passage
from .opening_hours import Day
from .period_counts import read_period
from .room_bookings import RoomBookings
from .running_totals import read_total
from .transition import (
    BOOKING_PREFIX,
    COUNTER_PREFIX,
    DAY_KEY,
    DOOR_PREFIX,
    PLACE_PREFIX,
    DoorTally,
    VisitorsTransition,
)

FINAL_REPORT_TIMEOUT_S = 3600.0
"""How long to wait at most for the last counts of a booking or a day before it is reported."""

UTC = ZoneInfo("UTC")

LocalTime = Callable[[Stamp], datetime | None]
"""Gives the local time at the site; None while the clock is not set."""


class Visitors(Service):
    """Turns the reports of counters into visitors, without counting a faulty report as one."""

    name = "visitors"
    row = Counter | DoorTally | Place | VisitBooking | Day
    actions = frozenset(
        {
            "book",
            "move-booking",
            "cancel-booking",
            "check-in-booking",
            "end-booking",
            "mark-tour",
            "correct-inside",
        }
    )

    def __init__(
        self,
        devices: Mapping[str, Device],
        layout: Layout | None = None,
        hours: WeeklyHours | None = None,
        local: LocalTime = lambda _: None,
        zone: ZoneInfo = UTC,
    ) -> None:
        self._layout = with_counters(layout or Layout(), devices.values())
        self._hours = hours
        self._local = local
        self._booking_zone = zone
        self._properties = {
            name: CounterProperties.from_device(each)
            for name, each in devices.items()
            if counts_visitors(each)
        }
        self._doors = {
            counter: (name, door) for name, door in self._layout.doors.items() for counter in door.counters
        }
        self._limits = dict(self._layout.limits())
        self._last_read: dict[tuple[str, str], Stamp] = {}
        """When a trusted running total of each counter was last read. After a restart of the gateway: when
        it last changed."""

    def apply(self, rows: Rows, message: Message) -> tuple[RowChanges, list[Fact]]:
        transition = VisitorsTransition(rows, message.at)
        if isinstance(message, Sample):
            if message.device in self._doors and message.device in self._properties:
                self._process_sample(transition, message)
        elif isinstance(message, Tick):
            if message.at.is_set:
                self._process_tick(transition, message)
        elif isinstance(message, Command):
            self._execute_command(transition, message)
        elif isinstance(message, ConfigurationAdopted):
            self._adopt_configuration(transition)
        return transition.changes, transition.facts

    def _adopt_configuration(self, transition: VisitorsTransition) -> None:
        """Remove counters that are no longer configured, and reset the balance of counters that are new at
        their door."""
        rows = dict(transition.rows_of_kind(COUNTER_PREFIX, Counter))
        for key in rows:
            if key.removeprefix(COUNTER_PREFIX) not in self._properties:
                transition.delete_row(key)
        for name, door in self._layout.doors.items():
            tally = transition.get_row(DOOR_PREFIX + name, DoorTally())
            for each in set(door.counters) - set(tally.counters):
                if COUNTER_PREFIX + each in rows:
                    transition.set_row(
                        COUNTER_PREFIX + each, _replace(rows[COUNTER_PREFIX + each], door_balance=(0, 0))
                    )

    def restore(self, rows: Rows) -> Rows:
        return {
            key: _replace(row, heard=False) if isinstance(row, Counter) else row
            for key, row in rows.items()
        }

    def summary(self, rows: Rows) -> dict[str, Value]:
        """The figures of the centre, and with the prefix `room.NAME.` or `door.NAME.` those of rooms and
        configured doors, as far as they are known. `near` is how many places are nearly full or fuller,
        `unheard` how many doors have not been heard since the gateway started."""
        if not rows:
            return {}
        layout = self._layout
        heard = {name: is_heard(rows, door) for name, door in layout.doors.items()}
        values: dict[str, Value] = {"unheard": sum(not each for each in heard.values())}
        for prefix, name in (("", ""), *((f"room.{name}.", name) for name in layout.rooms)):
            place = known_place(rows, layout, name)
            known = {"inside": place.inside, "in": place.came, "out": place.left}
            values |= {f"{prefix}{key}": count for key, count in known.items() if count is not None}
            if name in self._limits:
                values[f"{prefix}limit"] = self._limits[name]
        values["tours"] = rows.get(PLACE_PREFIX, Place()).tours
        if self._limits:
            values["near"] = sum(rows.get(PLACE_PREFIX + name, Place()).near for name in self._limits)
        for name, door in layout.doors.items():
            if door.configured:
                tally: DoorTally = rows.get(DOOR_PREFIX + name, DoorTally())
                if heard[name] or tally.came or tally.left:
                    values |= {f"door.{name}.in": tally.came, f"door.{name}.out": tally.left}
        return values

    def _process_sample(self, transition: VisitorsTransition, sample: Sample) -> None:
        """Process a sample of a counter."""
        name = sample.device
        old = transition.get_row(COUNTER_PREFIX + name, Counter(at=sample.at))
        reading = self._evaluate_sample(old, sample)
        if reading is None:
            return
        counter, trusted = reading.counter, not reading.why and reading.counter.unconfirmed is None
        if reading.why != old.why:
            transition.facts.append(facts.coverage(name, sample.at, reading.why))
        transition.facts += reading.facts
        passed = reading.passed or PassedCount(0, 0)
        if self._is_today(transition, passed.day):
            counter = _replace(counter, came=counter.came + passed.came, left=counter.left + passed.left)
        elif day := self._ended_day_report(transition, passed.day):
            body = previous_day.add_counter_passage(
                day, self._doors[name][0], name, (passed.came, passed.left)
            )
            transition.set_row(DAY_KEY, _replace(transition.day, previous_day_report=body))
        heard = old.heard or trusted or reading.passed is not None
        transition.set_row(COUNTER_PREFIX + name, _replace(counter, why=reading.why, heard=heard))
        self._count_at_door(transition, name, passed if trusted or reading.passed else None)

    def _evaluate_sample(self, counter: Counter, sample: Sample) -> CounterReading | None:
        """Evaluate a sample; None if it contains no counts."""
        if sample.error:
            return CounterReading(counter, why="offline")
        reading = self._evaluate_counts(counter, sample)
        invalid = sample.values.get("invalid") is True
        if reading is None:
            if not invalid:
                return None
            reading = CounterReading(counter)
        if invalid or counter.why == "invalid":
            # The total is known, but not who passed while the counter was not trustworthy.
            known = _replace(reading.counter, door_balance=(0, 0))
            return reading._replace(counter=known, passed=None, why="invalid" if invalid else reading.why)
        return reading

    def _evaluate_counts(self, counter: Counter, sample: Sample) -> CounterReading | None:
        reading = self._evaluate_line(counter, sample)
        if reading is None or reading.counter.contradictions < MIN_CONTRADICTIONS:
            return reading
        # One fact says it all: otherwise every reading would be told as implausible.
        other_facts = (fact for fact in reading.facts if fact.kind != "counter-implausible")
        return reading._replace(facts=tuple(other_facts), why="mixed")

    def _evaluate_line(self, counter: Counter, sample: Sample) -> CounterReading | None:
        if has_impossible_total(sample):
            return CounterReading(counter, why="implausible")
        own = with_line_of(sample, counter)
        if own is None:
            return not_counted(counter, sample, "unreadable")
        line = sample.device, own.line
        last_read = self._last_read.get(line, own.at)
        properties = self._properties[sample.device]
        if any(
            name in sample.values or sample.bad.get(name, "missing") != "missing" for name in PERIOD_POINTS
        ):
            return read_period(own, sample, properties, last_read, self._zone(sample.at))
        if any(name in sample.values for name in TOTAL_POINTS):
            reading = read_total(own, sample, properties, last_read)
            if reading.counter.unconfirmed is None:
                self._last_read[line] = sample.at
            elif reading.counter.total != own.total:
                self._last_read[line] = reading.counter.at
            return reading
        says_nothing = sample.values.keys() <= set(DESCRIBING_POINTS)
        if says_nothing and any(name in sample.bad for name in (*TOTAL_POINTS, *PERIOD_POINTS)):
            return CounterReading(counter, why="unreadable")  # It reports, but not what its model says.
        return None

    def _count_at_door(
        self, transition: VisitorsTransition, counter: str, passed: PassedCount | None
    ) -> None:
        """Count at the door what one of its counters reports. `passed` is None if the report is not
        trusted."""
        name, door = self._doors[counter]
        tally = transition.get_row(DOOR_PREFIX + name, DoorTally())
        known = {
            each: transition.get_row(COUNTER_PREFIX + each, Counter(at=transition.at))
            for each in door.counters
        }
        balances = {each: row.door_balance for each, row in known.items()}
        active = next((each for each, row in known.items() if row.why == ""), "")
        counted: list[tuple[str, PassedCount]] = []
        if active != tally.active:
            tally = _replace(tally, active=active)
            if active:
                news, balances = activate_counter(balances, active)
                counted.append((active, PassedCount(*news)))
        if passed is not None:
            news, balances = count_reading(balances, active, counter, (passed.came, passed.left))
            counted.append((counter, passed._replace(came=news[0], left=news[1])))
        for each, balance in balances.items():
            if balance != known[each].door_balance:
                transition.set_row(COUNTER_PREFIX + each, _replace(known[each], door_balance=balance))
        transition.set_row(DOOR_PREFIX + name, _replace(tally, counters=door.counters))
        for each, each_passed in counted:
            if each_passed.came or each_passed.left:
                self._record_crossing(transition, each, name, door, each_passed)

    def _record_crossing(
        self, transition: VisitorsTransition, counter: str, name: str, door: Door, passed: PassedCount
    ) -> None:
        """Record that people have passed a door."""
        when = transition.at.wall_ms if passed.span is None else sum(passed.span) // 2
        tours = self._record_attendance(transition, name, door, passed, when)
        where = {"door": name, "from": door.outer, "to": door.inner} if door.configured else None
        fact = facts.crossing(
            counter,
            transition.at,
            passed.came,
            passed.left,
            span=passed.span,
            tours=tours,
            where=where,
            durable=passed.is_reported_once,
        )
        transition.facts.append(fact)
        if not self._is_today(transition, passed.day):
            if body := self._ended_day_report(transition, passed.day):
                flows = {room: _place_passage(door, room, passed) for room in ("", *self._layout.rooms)}
                body = previous_day.add_door_passage(body, name, (passed.came, passed.left), tours, flows)
                transition.set_row(DAY_KEY, _replace(transition.day, previous_day_report=body))
            return
        tally = transition.get_row(DOOR_PREFIX + name, DoorTally())
        transition.set_row(
            DOOR_PREFIX + name,
            _replace(tally, came=tally.came + passed.came, left=tally.left + passed.left),
        )
        for room in ("", *self._layout.rooms):
            came, left = _place_passage(door, room, passed)
            if came or left:
                place = transition.get_row(PLACE_PREFIX + room, Place())
                transition.set_row(
                    PLACE_PREFIX + room,
                    with_passage(_replace(place, tours=place.tours + (0 if room else tours)), came, left),
                )
                self._update_crowding(transition, room)
        day, local = transition.day, self._local(_replace(transition.at, wall_ms=when))
        if door.is_entrance and local is not None and local.date().isoformat() == day.day:
            came, left = _place_passage(door, "", passed)
            minute = local.hour * 60 + local.minute
            slots = (
                opening_hours.add_to_slot(minute, day.came, came),
                opening_hours.add_to_slot(minute, day.left, left),
            )
            transition.set_row(DAY_KEY, _replace(day, came=slots[0], left=slots[1]))

    def _record_attendance(
        self, transition: VisitorsTransition, name: str, door: Door, passed: PassedCount, when: int
    ) -> int:
        """Count people for the bookings of that time; returns how many of them belong to visiting
        groups."""
        tours, arriving = 0, _place_passage(door, "", passed)[0]
        for key, booking in transition.rows_of_kind(BOOKING_PREFIX, VisitBooking):
            unrelated = booking.reported or booking.door not in ("", name)
            if unrelated or not booking.covers(when, self._layout.grace_s):
                continue
            group = 0
            if booking.kind == TOUR and booking.room in ("", *self._rooms_entered_through(door)):
                group = min(arriving - tours, max(0, booking.expected - booking.tours))
                tours += group
            flow = (
                (passed.came, passed.left) if booking.door else _place_passage(door, booking.room, passed)
            )
            attended = with_attendance(booking, *flow, group)
            if flow[0] and booking.state is BookingState.BOOKED:
                attended = _replace(attended, state=BookingState.PRESENT)
            transition.set_row(key, attended)
        return tours

    def _rooms_entered_through(self, door: Door) -> Iterator[str]:
        """The rooms whose visitors enter the centre by that door: its own, and those without an
        entrance."""
        own = {
            side
            for each in self._layout.doors.values()
            if each.is_entrance
            for side in (each.outer, each.inner)
        }
        return (room for room in self._layout.rooms if room in (door.outer, door.inner) or room not in own)

    def _process_tick(self, transition: VisitorsTransition, tick: Tick) -> None:
        day, local = transition.day, self._local(tick.at)
        # A clock that is set back does not end the day.
        day_ended = bool(day.day) and day.day < tick.day
        scheduled = bool(local and self._hours and local in self._hours)
        is_all_counted = day_ended or not scheduled or self._all_entrances_counted(transition)
        day = opening_hours.with_coverage(day, is_all_counted, tick.at)
        if day_ended:
            if day.previous_day_report:
                transition.facts.append(facts.visitor_day(transition.at, **day.previous_day_report))
            day = Day(open=day.open, previous_day_report=self._end_day(transition, day))
        day = self._report_ended_day(transition, _replace(day, day=tick.day), local)
        settling = self._is_open(local)
        if (day.open and not settling) or (day_ended and not self._is_open(local and _midnight(local))):
            self._close_places(transition)
        transition.set_row(DAY_KEY, _replace(day, open=settling))
        self._pass_booking_time(transition, tick)
        for key, booking in transition.rows_of_kind(BOOKING_PREFIX, VisitBooking):
            if (
                not booking.reported
                and tick.at.wall_ms >= booking.until + self._report_delay_s(booking) * 1000
            ):
                flow = booking.flow
                attendance = facts.attendance(
                    transition.at, key, booking.body(), came=flow.came, left=flow.left, peak=booking.peak
                )
                if booking.is_held or booking.state is BookingState.ENDED:
                    transition.facts.append(attendance)
                transition.set_row(key, _replace(booking, reported=True))
            elif booking.reported and tick.at.wall_ms < booking.until:
                # The clock was ahead: it is not over yet.
                transition.set_row(key, _replace(booking, reported=False))

    def _room_bookings(self, transition: VisitorsTransition) -> RoomBookings:
        return RoomBookings(transition, self._layout, self._booking_zone)

    def _pass_booking_time(self, transition: VisitorsTransition, tick: Tick) -> None:
        """Free the rooms of those who did not come, and give the time to those who wait."""
        rooms = self._layout.rooms
        may_change = any(
            not booking.reported
            and (
                booking.state is BookingState.WAITING
                or (
                    booking.state is BookingState.BOOKED
                    and booking.room in rooms
                    and rooms[booking.room].resource.grace_ms is not None
                )
            )
            for _, booking in transition.rows_of_kind(BOOKING_PREFIX, VisitBooking)
        )
        # A clock that has leapt says nothing of who is late.
        if may_change and tick.clock_is_steady:
            self._room_bookings(transition).pass_time(
                tick.at.wall_ms, lambda room: self._is_counted(transition, room)
            )

    def _is_counted(self, transition: VisitorsTransition, room: str) -> bool:
        """Whether every door of a room has a trustworthy counter."""
        doors = {
            name: door for name, door in self._layout.doors.items() if room in (door.outer, door.inner)
        }
        return all(transition.get_row(DOOR_PREFIX + name, DoorTally()).active for name in doors) and bool(
            doors
        )

    def _report_ended_day(self, transition: VisitorsTransition, day: Day, local: datetime | None) -> Day:
        """Report the day that has ended, once its last periods have arrived."""
        if day.previous_day_report is None:
            return day
        midnight = _midnight(local).timestamp() if local else 0.0
        counters = [row for _, row in transition.rows_of_kind(COUNTER_PREFIX, Counter)]
        if (
            previous_day.is_period_awaited(counters, midnight)
            and 0 <= transition.at.wall_ms / 1000 - midnight < FINAL_REPORT_TIMEOUT_S
        ):
            return day
        transition.facts.append(facts.visitor_day(transition.at, **day.previous_day_report))
        return _replace(day, previous_day_report=None)

    def _is_open(self, local: datetime | None) -> bool:
        """Whether the centre is open by the published hours, or the last visitors are leaving."""
        if local is None or self._hours is None:
            return False
        return local in self._hours or local - timedelta(seconds=self._layout.settle_s) in self._hours

    def _all_entrances_counted(self, transition: VisitorsTransition) -> bool:
        """Whether every entrance has a trustworthy counter."""
        return all(
            transition.get_row(DOOR_PREFIX + name, DoorTally()).active
            for name, door in self._layout.doors.items()
            if door.is_entrance
        )

    def _report_delay_s(self, booking: VisitBooking) -> float:
        doors = self._layout.doors
        concerned = [doors[booking.door]] if booking.door in doors else doors.values()
        intervals_s = [
            self._properties[each].interval_s
            for door in concerned
            for each in door.counters
            if each in self._properties
        ]
        return min(FINAL_REPORT_TIMEOUT_S, max(intervals_s, default=0.0))

    def _end_day(self, transition: VisitorsTransition, day: Day) -> previous_day.DayReport | None:
        """The report on a day that has ended; None if there are no doors. Resets the counts of the day, and
        removes the rows of what is no longer configured."""
        tallies = dict(transition.rows_of_kind(DOOR_PREFIX, DoorTally))
        if not tallies:
            return None
        centre = transition.get_row(PLACE_PREFIX, Place())
        body: dict[str, Any] = {
            "day": day.day,
            **_flow_body(centre.today),
            "tours": centre.tours,
            "rooms": {
                key.removeprefix(PLACE_PREFIX): _flow_body(place.today)
                for key, place in transition.rows_of_kind(PLACE_PREFIX, Place)
                if key != PLACE_PREFIX
            },
            "doors": {
                key.removeprefix(DOOR_PREFIX): {
                    "in": tally.came,
                    "out": tally.left,
                    "counters": self._counter_totals(transition, key),
                }
                for key, tally in tallies.items()
            },
        }
        if any(day.came) or any(day.left) or self._hours:
            transition.facts.append(
                facts.opening_day(transition.at, **opening_hours.opening_report(day, self._hours))
            )
        for key, tally in tallies.items():
            known = key.removeprefix(DOOR_PREFIX) in self._layout.doors
            transition.set_row(key, _replace(tally, came=0, left=0)) if known else transition.delete_row(
                key
            )
        for key, place in transition.rows_of_kind(PLACE_PREFIX, Place):
            known = key.removeprefix(PLACE_PREFIX) in ("", *self._layout.rooms)
            transition.set_row(
                key, _replace(place, today=Flow(), tours=0)
            ) if known else transition.delete_row(key)
        for key, counter in transition.rows_of_kind(COUNTER_PREFIX, Counter):
            transition.set_row(key, _replace(counter, came=0, left=0))
        bookings = self._room_bookings(transition)
        for key, booking in transition.rows_of_kind(BOOKING_PREFIX, VisitBooking):
            if booking.reported and not bookings.counts_for_quota(booking, transition.at.wall_ms):
                transition.delete_row(key)
        return body

    def _counter_totals(self, transition: VisitorsTransition, key: str) -> dict[str, list[int]]:
        """The counts of each counter of a door: `[in, out]`."""
        door = self._layout.doors.get(key.removeprefix(DOOR_PREFIX))
        rows = (
            {
                each: transition.get_row(COUNTER_PREFIX + each, Counter(at=transition.at))
                for each in door.counters
            }
            if door
            else {}
        )
        return {each: [row.came, row.left] for each, row in rows.items()}

    def _close_places(self, transition: VisitorsTransition) -> None:
        for key, place in transition.rows_of_kind(PLACE_PREFIX, Place):
            room = key.removeprefix(PLACE_PREFIX)
            empty, new_facts = close_place(place, room, transition.at)
            transition.set_row(key, empty)
            transition.facts += new_facts
            self._update_crowding(transition, room)

    def _update_crowding(self, transition: VisitorsTransition, room: str) -> None:
        """Update whether a place is nearly full."""
        place, new_facts = update_crowding(
            transition.get_row(PLACE_PREFIX + room, Place()), room, self._limits.get(room), transition.at
        )
        transition.set_row(PLACE_PREFIX + room, place)
        transition.facts += new_facts

    def _execute_command(self, transition: VisitorsTransition, command: Command) -> None:
        bookings = {
            "book": RoomBookings.add,
            "move-booking": RoomBookings.move,
            "cancel-booking": RoomBookings.cancel,
            "check-in-booking": RoomBookings.check_in,
            "end-booking": RoomBookings.finish,
        }
        if change := bookings.get(command.action):
            change(self._room_bookings(transition), command)
        elif command.action == "mark-tour":
            manual_entries.mark_tour(transition, command, self._local(command.at))
        elif command.action == "correct-inside":
            room = manual_entries.correct_inside(transition, command, self._layout)
            if room is not None:
                self._update_crowding(transition, room)

    def _ended_day_report(self, transition: VisitorsTransition, day: str) -> previous_day.DayReport | None:
        """The open report on that day, if it is the one that has just ended."""
        body = transition.day.previous_day_report
        return body if body and body["day"] == day else None

    def _is_today(self, transition: VisitorsTransition, day: str) -> bool:
        """Whether a period belongs to the current day; an empty `day` means now."""
        return not day or day == transition.day.day

    def _zone(self, at: Stamp) -> tzinfo | None:
        local = self._local(at)
        return local.tzinfo if local else None


def _place_passage(door: Door, room: str, passed: PassedCount) -> InOutCount:
    """How many entered and left a room by a door; an empty `room` means the centre."""
    came, left = passed.came, passed.left
    if room:
        into, from_ = door.inner == room, door.outer == room
    else:
        into, from_ = door.outer == OUTSIDE, door.inner == OUTSIDE
    return (came if into else left if from_ else 0), (left if into else came if from_ else 0)


def _flow_body(flow: Flow) -> dict[str, int]:
    return {"in": flow.came, "out": flow.left, "unseen": flow.unseen}


def _midnight(local: datetime) -> datetime:
    return local.replace(hour=0, minute=0, second=0, microsecond=0)


_replace = msgspec.structs.replace
