"""Busy times as iCalendar (RFC 5545): written for other programs, and read from them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from gateway.scheduling.content_lines import (
    CalendarComponent,
    CalendarWrong,
    Property,
    escaped,
    parse,
    written,
)
from gateway.scheduling.opening import Interval, merged
from gateway.scheduling.recurrence import MAX_DAYS, RuleUnread, occurrences, parse_rule

PRODUCT = "-//Linli Gateway//linli//ZH"
MAX_EVENTS = 2000
WINDOWS_ZONES = {
    "China Standard Time": "Asia/Shanghai",
    "Taipei Standard Time": "Asia/Taipei",
    "Singapore Standard Time": "Asia/Singapore",
    "Tokyo Standard Time": "Asia/Tokyo",
    "Korea Standard Time": "Asia/Seoul",
    "W. Europe Standard Time": "Europe/Berlin",
    "GMT Standard Time": "Europe/London",
    "Eastern Standard Time": "America/New_York",
    "Pacific Standard Time": "America/Los_Angeles",
    "UTC": "UTC",
}
"""Names of Outlook and Exchange (Unicode CLDR, windowsZones)."""
_MOMENT = re.compile(r"([0-9]{8})(?:T([0-9]{6})(Z?))?")
_DURATION = re.compile(
    r"([+-]?)P(?:(\d{1,4})W)?(?:(\d{1,5})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,7})M)?(?:(\d{1,8})S)?)?"
)
_OFFSET = re.compile(r"([+-])([0-9]{2})([0-9]{2})(?:[0-9]{2})?")


class CalendarEvent(NamedTuple):
    """What is written: one event. Times are Unix milliseconds."""

    uid: str
    since: int
    until: int
    title: str
    made: int
    """When it was last changed."""


class UnreadEvent(NamedTuple):
    """An event whose times are not known; `reason`: `zone`, `rule` or `time`."""

    title: str
    reason: str
    text: str
    """What is not understood."""


class BusyTimes(NamedTuple):
    """What a calendar says. Times are Unix milliseconds."""

    name: str
    """That the calendar gives itself; empty if it gives none."""
    intervals: list[Interval]
    unread: list[UnreadEvent]


class _Unread(Exception):
    def __init__(self, reason: str, text: str) -> None:
        super().__init__(reason)
        self.reason, self.text = reason, text


def calendar_text(name: str, events: Iterable[CalendarEvent]) -> str:
    """A calendar that other programs subscribe to."""
    lines = [
        ("BEGIN", "VCALENDAR"),
        ("VERSION", "2.0"),
        ("PRODID", PRODUCT),
        ("CALSCALE", "GREGORIAN"),
        ("METHOD", "PUBLISH"),
        ("NAME", escaped(name)),
        ("X-WR-CALNAME", escaped(name)),
        ("REFRESH-INTERVAL;VALUE=DURATION", "PT15M"),
    ]
    for each in events:
        lines += [
            ("BEGIN", "VEVENT"),
            ("UID", escaped(each.uid)),
            ("DTSTAMP", _utc(each.made)),
            ("DTSTART", _utc(each.since)),
            ("DTEND", _utc(each.until)),
            ("SUMMARY", escaped(each.title)),
            ("TRANSP", "OPAQUE"),
            ("END", "VEVENT"),
        ]
    return written([*lines, ("END", "VCALENDAR")])


def _utc(at: int) -> str:
    return f"{datetime.fromtimestamp(at // 1000, UTC):%Y%m%dT%H%M%SZ}"


def busy_times(text: str, since: int, until: int, zone: ZoneInfo) -> BusyTimes:
    """The busy times between two times. `zone`: of times that name none. Raises `CalendarWrong`."""
    calendars = parse(text)
    if any(each.name != "VCALENDAR" for each in calendars):
        raise CalendarWrong(1)
    parts = [part for each in calendars for part in each.components]
    names = (each.text(name) for each in calendars for name in ("X-WR-CALNAME", "NAME"))
    reader = _Reader(parts, since, until, zone)
    found = [each for part in parts for each in reader.intervals(part)]
    return BusyTimes(next(filter(None, names), ""), merged(found), reader.unread)


class _Moment(NamedTuple):
    """A local time, and its zone; `is_day`: a whole day."""

    local: datetime
    zone: tzinfo
    is_day: bool

    @property
    def ms(self) -> int:
        return round(self.local.replace(tzinfo=self.zone).timestamp() * 1000)

    def at(self, local: datetime) -> _Moment:
        return self._replace(local=local)


class _Reader:
    def __init__(self, parts: list[CalendarComponent], since: int, until: int, zone: ZoneInfo) -> None:
        self._since, self._until, self._zone = since, until, zone
        self._zones = {part.text("TZID"): part for part in parts if part.name == "VTIMEZONE"}
        self._changed: dict[str, set[int]] = {}
        """By UID: the occurrences that another event takes the place of."""
        self.unread: list[UnreadEvent] = []
        self._days_left = iter(range(MAX_DAYS))
        events = [part for part in parts if part.name == "VEVENT"]
        if len(events) > MAX_EVENTS:
            raise CalendarWrong(1)
        for event in events:
            try:
                if at := event.first("RECURRENCE-ID"):
                    if "RANGE" in at.parameters:
                        raise _Unread("rule", f"RANGE={at.parameters['RANGE']}")
                    self._changed.setdefault(event.text("UID"), set()).add(self._moment(at, at.value).ms)
            except _Unread as unread:
                self._note(event, unread)

    def intervals(self, part: CalendarComponent) -> list[Interval]:
        """When it is busy by an event or a `VFREEBUSY`."""
        try:
            if part.name == "VFREEBUSY":
                return self._within(self._periods(part))
            if part.name != "VEVENT" or part.text("STATUS").upper() == "CANCELLED":
                return []
            return [] if part.text("TRANSP").upper() == "TRANSPARENT" else self._within(self._event(part))
        except _Unread as unread:
            self._note(part, unread)
            return []

    def _note(self, part: CalendarComponent, unread: _Unread) -> None:
        noted = UnreadEvent(part.text("SUMMARY"), unread.reason, unread.text[:80])
        if noted not in self.unread:
            self.unread.append(noted)

    def _within(self, found: Iterable[Interval]) -> list[Interval]:
        return [each for each in found if each.until > self._since and each.since < self._until]

    def _periods(self, part: CalendarComponent) -> Iterator[Interval]:
        for given in part.every("FREEBUSY"):
            if given.parameters.get("FBTYPE", "BUSY").upper() != "FREE":
                for period in given.value.split(","):
                    yield self._period(given, period)

    def _period(self, given: Property, period: str) -> Interval:
        begin, _, end = period.partition("/")
        since = self._moment(given, begin).ms
        return Interval(since, since + _duration_ms(end) if "P" in end else self._moment(given, end).ms)

    def _event(self, event: CalendarComponent) -> Iterator[Interval]:
        given = event.first("DTSTART")
        if given is None:
            raise _Unread("time", "DTSTART")
        start = self._moment(given, given.value)
        length = self._length(event, start)
        excluded = {
            self._moment(each, value).ms
            for each in event.every("EXDATE")
            for value in each.value.split(",")
        }
        if event.first("RECURRENCE-ID") is None:
            excluded |= self._changed.get(event.text("UID"), set())
        for at in self._starts(event, start, length):
            if at.ms not in excluded:
                # A day may have 23 hours.
                end = at.at(at.local + length) if start.is_day else None
                yield Interval(at.ms, end.ms if end else at.ms + round(length.total_seconds() * 1000))
        for each in event.every("RDATE"):
            for value in each.value.split(","):
                if "/" in value:
                    yield self._period(each, value)
                else:
                    moment = self._moment(each, value)
                    yield Interval(moment.ms, moment.ms + round(length.total_seconds() * 1000))

    def _starts(self, event: CalendarComponent, start: _Moment, length: timedelta) -> Iterator[_Moment]:
        rules = list(event.every("RRULE"))
        if not rules:
            yield start
            return
        if len(rules) > 1 or event.first("EXRULE"):
            raise _Unread("rule", "RRULE")
        first, last = (
            datetime.fromtimestamp(at / 1000, start.zone).replace(tzinfo=None)
            for at in (self._since - round(length.total_seconds() * 1000), self._until)
        )
        try:
            rule = parse_rule(rules[0].value)
            if rule.until:
                last = min(last, self._rule_end(start, rule.until))
            for local in occurrences(rule, start.local, first, last, self._days_left):
                yield start.at(local)
        except RuleUnread as error:
            raise _Unread("rule", rules[0].value) from error

    def _rule_end(self, start: _Moment, text: str) -> datetime:
        end = _parsed(text)
        if end is None:
            raise _Unread("rule", f"UNTIL={text}")
        local, is_day, is_utc = end
        if is_utc:
            return local.replace(tzinfo=UTC).astimezone(start.zone).replace(tzinfo=None)
        return local + timedelta(days=1, microseconds=-1) if is_day else local

    def _length(self, event: CalendarComponent, start: _Moment) -> timedelta:
        if end := event.first("DTEND"):
            until = self._moment(end, end.value)
            if start.is_day:
                return max(until.local - start.local, timedelta())
            return timedelta(milliseconds=max(until.ms - start.ms, 0))
        if duration := event.text("DURATION"):
            return timedelta(milliseconds=max(_duration_ms(duration), 0))
        return timedelta(days=1) if start.is_day else timedelta()

    def _moment(self, given: Property, text: str) -> _Moment:
        found = _parsed(text)
        if found is None:
            raise _Unread("time", text)
        local, is_day, is_utc = found
        if is_utc:
            return _Moment(local, UTC, is_day=False)
        return _Moment(local, self._zone_of(given.parameters.get("TZID", "")), is_day)

    def _zone_of(self, name: str) -> tzinfo:
        if not name:
            return self._zone
        # Some programs write a path before the name.
        known = available_timezones()
        plain = WINDOWS_ZONES.get(name, name)
        for tail in (plain, *("/".join(plain.split("/")[-number:]) for number in (3, 2))):
            if tail in known:
                return ZoneInfo(tail)
        observances = self._zones[name].components if name in self._zones else []
        offsets = {each.text("TZOFFSETTO") for each in observances}
        if len(offsets) == 1 and (match := _OFFSET.fullmatch(offsets.pop())):
            minutes = int(match[2]) * 60 + int(match[3])
            if minutes < 1440:
                return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))
        raise _Unread("zone", name)


def _parsed(text: str) -> tuple[datetime, bool, bool] | None:
    """A local time, whether it is a whole day, and whether it is UTC."""
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        return None
    try:
        day = date(int(match[1][:4]), int(match[1][4:6]), int(match[1][6:]))
        if match[2] is None:
            return datetime.combine(day, time()), True, False
        hour, minute, second = (int(match[2][each : each + 2]) for each in (0, 2, 4))
        at = datetime.combine(day, time(hour, minute, min(second, 59)))  # 60: a leap second
    except ValueError:
        return None
    return (at, False, bool(match[3])) if 1970 <= at.year < 2200 else None


def _duration_ms(text: str) -> int:
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()[1:]):
        raise _Unread("time", text)
    weeks, days, hours, minutes, seconds = (int(each or 0) for each in match.groups()[1:])
    length = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    return round(length.total_seconds() * 1000) * (-1 if match[1] == "-" else 1)
