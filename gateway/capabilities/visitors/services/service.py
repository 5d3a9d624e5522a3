"""The service: counters tell, doors count, places fill, bookings are attended, days and closings end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any

import msgspec

from gateway.model import (
    Adopted,
    Changes,
    Command,
    Device,
    Fact,
    Message,
    Rows,
    Sample,
    Service,
    Stamp,
    Tick,
    Value,
)
from gateway.model.hours import Hours

from . import facts, manual_entries, opening_hours, previous_day
from .bookings import TOUR, Booking, attended
from .counters import Counter, Meter, Pair, Passed, Reading, counts
from .door_balances import take, take_over
from .layout import OUTSIDE, Door, Layout, with_counters
from .occupancy import Flow, Place, closed, crowded, moved
from .opening_hours import Day
from .period_counts import read_period
from .running_totals import read_total
from .transition import BOOKING, COUNTER, DAY, DOOR, PLACE, Step, Tally

PATIENCE = 3600.0
"""Seconds to wait for the counters' last word of a booking, at most."""

Local = Callable[[Stamp], datetime | None]
"""The local time at the site; None while the clock was never set."""


class Visitors(Service):
    """Turns what counters tell into visitors; nothing of what counters do makes a phantom of one."""

    name = "visitors"
    row = Counter | Tally | Place | Booking | Day
    actions = frozenset({"book", "cancel-booking", "mark-tour", "correct-inside"})

    def __init__(
        self,
        devices: Mapping[str, Device],
        layout: Layout | None = None,
        hours: Hours | None = None,
        local: Local = lambda _: None,
    ) -> None:
        self._layout = with_counters(layout or Layout(), devices.values())
        self._hours = hours
        self._local = local
        self._meters = {name: Meter.of(each) for name, each in devices.items() if counts(each)}
        self._doors = {
            counter: (name, door) for name, door in self._layout.doors.items() for counter in door.counters
        }
        self._limits = dict(self._layout.limits())
        self._heard: dict[str, Stamp] = {}
        """When the running total of each counter was last read without a doubt. After a restart of the
        gateway it is when it last changed."""

    def apply(self, rows: Rows, message: Message) -> tuple[Changes, list[Fact]]:
        step = Step(rows, message.at)
        if isinstance(message, Sample):
            if message.device in self._doors and message.device in self._meters:
                self._hear(step, message)
        elif isinstance(message, Tick):
            if message.at.is_set:
                self._pass_time(step, message)
        elif isinstance(message, Command):
            self._obey(step, message)
        elif isinstance(message, Adopted):
            self._settle(step)
        return step.changes, step.facts

    def _settle(self, step: Step) -> None:
        """Go on under this configuration. How far a door is ahead of a counter that has come from another
        one is not known."""
        rows = dict(step.all(COUNTER, Counter))
        for key in rows:
            if key.removeprefix(COUNTER) not in self._meters:
                step.drop(key)
        for name, door in self._layout.doors.items():
            tally = step.get(DOOR + name, Tally())
            for each in set(door.counters) - set(tally.counters):
                if COUNTER + each in rows:
                    step.put(COUNTER + each, _replace(rows[COUNTER + each], balance=(0, 0)))

    def summary(self, rows: Rows) -> dict[str, Value]:
        """The centre's figures by themselves; with `room.NAME.` and `door.NAME.` before them those of rooms
        and of configured doors. `near` is how many places are nearly full, or more."""
        if not rows:
            return {}
        layout = self._layout
        values: dict[str, Value] = {}
        for prefix, name in (("", ""), *((f"room.{name}.", name) for name in layout.rooms)):
            place: Place = rows.get(PLACE + name, Place())
            values |= {
                f"{prefix}inside": place.inside,
                f"{prefix}in": place.today.came,
                f"{prefix}out": place.today.left,
            }
            if name in self._limits:
                values[f"{prefix}limit"] = self._limits[name]
        values["tours"] = rows.get(PLACE, Place()).tours
        if self._limits:
            values["near"] = sum(rows.get(PLACE + name, Place()).near for name in self._limits)
        for name, door in layout.doors.items():
            if door.told:
                tally: Tally = rows.get(DOOR + name, Tally())
                values |= {f"door.{name}.in": tally.came, f"door.{name}.out": tally.left}
        return values

    def _hear(self, step: Step, sample: Sample) -> None:
        """One message of a counter."""
        name = sample.device
        old = step.get(COUNTER + name, Counter(at=sample.at))
        reading = self._read(old, sample)
        if reading is None:
            return
        counter, trusted = reading.counter, not reading.why and reading.counter.doubt is None
        if reading.why != old.why:
            step.facts.append(facts.coverage(name, sample.at, reading.why))
        step.facts += reading.facts
        passed = reading.passed or Passed(0, 0)
        if self._is_today(step, passed.day):
            counter = _replace(counter, came=counter.came + passed.came, left=counter.left + passed.left)
        elif day := self._ended(step, passed.day):
            body = previous_day.seen(day, self._doors[name][0], name, (passed.came, passed.left))
            step.put(DAY, _replace(step.day, ended=body))
        step.put(COUNTER + name, _replace(counter, why=reading.why))
        self._count(step, name, passed if trusted or reading.passed else None)

    def _read(self, counter: Counter, sample: Sample) -> Reading | None:
        """What the message means; None where it tells nothing of visitors."""
        if sample.error:
            return Reading(counter, why="offline")
        if any(sample.bad.get(name, "missing") != "missing" for name in ("in", "out")):
            return Reading(counter, why="implausible")
        heard = self._heard.get(sample.device, counter.at)
        if "period_in" in sample.values:
            every, zone = self._meters[sample.device].every, self._zone(sample.at)
            reading = read_period(counter, sample, heard, every, zone)
        elif "in" in sample.values or "out" in sample.values:
            reading = read_total(counter, sample, self._meters[sample.device], heard)
            if reading.counter.doubt is None:
                self._heard[sample.device] = sample.at
            elif reading.counter.total != counter.total:
                self._heard[sample.device] = reading.counter.at
        else:
            return None
        invalid = sample.values.get("invalid") is True
        if invalid or counter.why == "invalid":
            # Where it stands is known; who passed while it was not to be trusted is not.
            known = _replace(reading.counter, balance=(0, 0))
            return reading._replace(counter=known, passed=None, why="invalid" if invalid else reading.why)
        return reading

    def _count(self, step: Step, counter: str, passed: Passed | None) -> None:
        """Let a door count what one of its counters tells. `passed` is None while that is not trusted."""
        name, door = self._doors[counter]
        tally = step.get(DOOR + name, Tally())
        known = {each: step.get(COUNTER + each, Counter(at=step.at)) for each in door.counters}
        balances = {each: row.balance for each, row in known.items()}
        active = next((each for each, row in known.items() if row.why == ""), "")
        counted: list[tuple[str, Passed]] = []
        if active != tally.active:
            tally = _replace(tally, active=active)
            if active:
                news, balances = take_over(balances, active)
                counted.append((active, Passed(*news)))
        if passed is not None:
            news, balances = take(balances, active, counter, (passed.came, passed.left))
            counted.append((counter, passed._replace(came=news[0], left=news[1])))
        for each, balance in balances.items():
            if balance != known[each].balance:
                step.put(COUNTER + each, _replace(known[each], balance=balance))
        step.put(DOOR + name, _replace(tally, counters=door.counters))
        for each, news_ in counted:
            if news_.came or news_.left:
                self._cross(step, each, name, door, news_)

    def _cross(self, step: Step, counter: str, name: str, door: Door, passed: Passed) -> None:
        """People have passed a door."""
        when = step.at.wall if passed.span is None else sum(passed.span) // 2
        tours = self._attend(step, name, door, passed, when)
        where = {"door": name, "from": door.outer, "to": door.inner} if door.told else None
        fact = facts.crossing(
            counter,
            step.at,
            passed.came,
            passed.left,
            span=passed.span,
            tours=tours,
            where=where,
            durable=passed.once,
        )
        step.facts.append(fact)
        if not self._is_today(step, passed.day):
            if body := self._ended(step, passed.day):
                flows = {room: _flow(door, room, passed) for room in ("", *self._layout.rooms)}
                body = previous_day.counted(body, name, (passed.came, passed.left), tours, flows)
                step.put(DAY, _replace(step.day, ended=body))
            return
        tally = step.get(DOOR + name, Tally())
        step.put(DOOR + name, _replace(tally, came=tally.came + passed.came, left=tally.left + passed.left))
        for room in ("", *self._layout.rooms):
            came, left = _flow(door, room, passed)
            if came or left:
                place = step.get(PLACE + room, Place())
                step.put(
                    PLACE + room,
                    moved(_replace(place, tours=place.tours + (0 if room else tours)), came, left),
                )
                self._look(step, room)
        day, local = step.day, self._local(_replace(step.at, wall=when))
        if door.entrance and local is not None and local.date().isoformat() == day.day:
            came, left = _flow(door, "", passed)
            minute = local.hour * 60 + local.minute
            slots = opening_hours.slot(minute, day.came, came), opening_hours.slot(minute, day.left, left)
            step.put(DAY, _replace(day, came=slots[0], left=slots[1]))

    def _attend(self, step: Step, name: str, door: Door, passed: Passed, when: int) -> int:
        """Who passes comes to the bookings of that time; how many of them are of visiting groups."""
        tours, arriving = 0, _flow(door, "", passed)[0]
        for key, booking in step.all(BOOKING, Booking):
            beside = booking.told or booking.door not in ("", name)
            if beside or not booking.during(when, self._layout.grace):
                continue
            group = 0
            if booking.kind == TOUR and booking.room in ("", *self._entered(door)):
                group = min(arriving - tours, max(0, booking.expected - booking.tours))
                tours += group
            flow = (passed.came, passed.left) if booking.door else _flow(door, booking.room, passed)
            step.put(key, attended(booking, *flow, group))
        return tours

    def _entered(self, door: Door) -> Iterator[str]:
        """The rooms whose visitors come into the centre by that door: its own, and those without one."""
        own = {
            side
            for each in self._layout.doors.values()
            if each.entrance
            for side in (each.outer, each.inner)
        }
        return (room for room in self._layout.rooms if room in (door.outer, door.inner) or room not in own)

    def _pass_time(self, step: Step, tick: Tick) -> None:
        day, local = step.day, self._local(tick.at)
        # A clock that is put back ends no day.
        over = bool(day.day) and day.day < tick.day
        scheduled = bool(local and self._hours and local in self._hours)
        day = opening_hours.watched(day, not scheduled or self._is_seen(step), tick.at)
        if over:
            if day.ended:
                step.facts.append(facts.day(step.at, **day.ended))
            day = Day(open=day.open, ended=self._end_day(step, day))
        day = self._told_day(step, _replace(day, day=tick.day), local)
        settling = self._is_open(local)
        if (day.open and not settling) or (over and not self._is_open(local and _midnight(local))):
            self._close(step)
        step.put(DAY, _replace(day, open=settling))
        for key, booking in step.all(BOOKING, Booking):
            if not booking.told and tick.at.wall >= booking.until + self._patience(booking) * 1000:
                flow = booking.flow
                told = facts.attendance(
                    step.at, key, booking.body(), came=flow.came, left=flow.left, peak=booking.peak
                )
                step.facts.append(told)
                step.put(key, _replace(booking, told=True))

    def _told_day(self, step: Step, day: Day, local: datetime | None) -> Day:
        """Tell of the day that has ended, once nothing more is to be heard of it."""
        if day.ended is None:
            return day
        midnight = _midnight(local).timestamp() if local else 0.0
        counters = [row for _, row in step.all(COUNTER, Counter)]
        if previous_day.awaited(counters, midnight) and 0 <= step.at.wall / 1000 - midnight < PATIENCE:
            return day
        step.facts.append(facts.day(step.at, **day.ended))
        return _replace(day, ended=None)

    def _is_open(self, local: datetime | None) -> bool:
        """Whether it is open to visitors by the published hours, or the last of them are leaving."""
        if local is None or self._hours is None:
            return False
        return local in self._hours or local - timedelta(seconds=self._layout.settle) in self._hours

    def _is_seen(self, step: Step) -> bool:
        """Whether every entrance has a counter that can be trusted."""
        return all(
            step.get(DOOR + name, Tally()).active
            for name, door in self._layout.doors.items()
            if door.entrance
        )

    def _patience(self, booking: Booking) -> float:
        doors = self._layout.doors
        concerned = [doors[booking.door]] if booking.door in doors else doors.values()
        every = [
            self._meters[each].every for door in concerned for each in door.counters if each in self._meters
        ]
        return min(PATIENCE, max(every, default=0.0))

    def _end_day(self, step: Step, day: Day) -> previous_day.Body | None:
        """What is to be told of a day, whose successor begins; what is no longer configured ends with its
        day. None if there are no doors."""
        tallies = dict(step.all(DOOR, Tally))
        if not tallies:
            return None
        centre = step.get(PLACE, Place())
        body: dict[str, Any] = {
            "day": day.day,
            **_told(centre.today),
            "tours": centre.tours,
            "rooms": {
                key.removeprefix(PLACE): _told(place.today)
                for key, place in step.all(PLACE, Place)
                if key != PLACE
            },
            "doors": {
                key.removeprefix(DOOR): {
                    "in": tally.came,
                    "out": tally.left,
                    "counters": self._compared(step, key),
                }
                for key, tally in tallies.items()
            },
        }
        if any(day.came) or any(day.left) or self._hours:
            step.facts.append(facts.opening(step.at, **opening_hours.account(day, self._hours)))
        for key, tally in tallies.items():
            known = key.removeprefix(DOOR) in self._layout.doors
            step.put(key, _replace(tally, came=0, left=0)) if known else step.drop(key)
        for key, place in step.all(PLACE, Place):
            known = key.removeprefix(PLACE) in ("", *self._layout.rooms)
            step.put(key, _replace(place, today=Flow(), tours=0)) if known else step.drop(key)
        for key, counter in step.all(COUNTER, Counter):
            step.put(key, _replace(counter, came=0, left=0))
        for key, booking in step.all(BOOKING, Booking):
            if booking.told:
                step.drop(key)
        return body

    def _compared(self, step: Step, key: str) -> dict[str, list[int]]:
        """What each counter of a door saw by itself."""
        door = self._layout.doors.get(key.removeprefix(DOOR))
        rows = (
            {each: step.get(COUNTER + each, Counter(at=step.at)) for each in door.counters} if door else {}
        )
        return {each: [row.came, row.left] for each, row in rows.items()}

    def _close(self, step: Step) -> None:
        for key, place in step.all(PLACE, Place):
            room = key.removeprefix(PLACE)
            empty, told = closed(place, room, step.at)
            step.put(key, empty)
            step.facts += told
            self._look(step, room)

    def _look(self, step: Step, room: str) -> None:
        """Whether a place is nearly full."""
        place, told = crowded(step.get(PLACE + room, Place()), room, self._limits.get(room), step.at)
        step.put(PLACE + room, place)
        step.facts += told

    def _obey(self, step: Step, command: Command) -> None:
        if command.action == "book":
            manual_entries.book(step, command, self._layout)
        elif command.action == "cancel-booking":
            manual_entries.cancel(step, command)
        elif command.action == "mark-tour":
            manual_entries.mark(step, command, self._local(command.at))
        elif command.action == "correct-inside":
            room = manual_entries.correct(step, command, self._layout)
            if room is not None:
                self._look(step, room)

    def _ended(self, step: Step, day: str) -> previous_day.Body | None:
        """What is to be told of that day, if it is the one that has just ended."""
        body = step.day.ended
        return body if body and body["day"] == day else None

    def _is_today(self, step: Step, day: str) -> bool:
        """A period that comes late belongs to its own day, which has been written down."""
        return not day or day == step.day.day

    def _zone(self, at: Stamp) -> tzinfo | None:
        local = self._local(at)
        return local.tzinfo if local else None


def _flow(door: Door, room: str, passed: Passed) -> Pair:
    """Who came into a room and left it by a door; of the centre, where it is empty."""
    came, left = passed.came, passed.left
    if room:
        into, from_ = door.inner == room, door.outer == room
    else:
        into, from_ = door.outer == OUTSIDE, door.inner == OUTSIDE
    return (came if into else left if from_ else 0), (left if into else came if from_ else 0)


def _told(flow: Flow) -> dict[str, int]:
    return {"in": flow.came, "out": flow.left, "unseen": flow.unseen}


def _midnight(local: datetime) -> datetime:
    return local.replace(hour=0, minute=0, second=0, microsecond=0)


_replace = msgspec.structs.replace
