"""What is said of the figures: the periods asked for, and the answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from zoneinfo import ZoneInfo

import msgspec

from gateway.model import ConfigError
from gateway.model.hours import Hours

from .aggregation import StoredFact
from .intervals import Slot, first_day_of, shift_day

MAX_DAY = date(2200, 12, 31)
"""The last day that anybody may ask for."""
BAR_UNITS = {"day": "hour", "week": "day", "month": "day", "year": "month"}
"""The bars that a day, a week, a month and a year are shown in."""
PERIOD_UNITS = tuple(BAR_UNITS)


class Period(msgspec.Struct, frozen=True):
    """Local days, from `since` to before `until`; `unit` is empty where they are no week, month …"""

    unit: str
    since: date
    until: date

    def shifted(self, count: int) -> Period:
        """The one so many before or after."""
        if not self.unit:
            length = (self.until - self.since) * count
            return Period("", self.since + length, self.until + length)
        first = shift_day(self.unit, self.since, count)
        return Period(self.unit, first, shift_day(self.unit, first))


def period_containing(unit: str, day: date) -> Period:
    """The day, week, month or year that a day is in."""
    first = first_day_of(unit, day)
    return Period(unit, first, shift_day(unit, first))


class CentreLayout(msgspec.Struct, frozen=True):
    """What the site's file says that the figures do not."""

    timezone: str
    doors: Mapping[str, tuple[str, ...]] = {}
    """The counters of each door, by the name of its place."""
    places: Mapping[str, tuple[str, ...]] = {}
    """The doors of each place, by the names of theirs."""
    titles: Mapping[str, dict[str, str]] = {}
    """What people call the places, by language; and `door.COUNTER` for each counter."""
    hours: Hours | None = None
    """The published hours."""

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


class Count(msgspec.Struct, frozen=True):
    """Who came and went, `tours` of those who came on a tour. `share` is the part of the time (of the
    published hours, where there are any) in which every door was counted; None: no such time."""

    came: int
    went: int
    tours: int
    share: float | None

    @property
    def activity(self) -> int:
        """Those who came for themselves (活动人员)."""
        # Tours marked by hand are spread over their time, whoever came when.
        return max(0, self.came - self.tours)

    @property
    def is_minimum(self) -> bool:
        """Whether more may have come."""
        return self.share is not None and self.share < 1


class Bar(msgspec.Struct, frozen=True):
    """The count of one slot. `future`: it has not begun."""

    slot: Slot
    count: Count
    future: bool


class Peak(msgspec.Struct, frozen=True):
    """The busiest quarter, hour or day: as many came, or were inside."""

    slot: Slot
    count: int


class HeatCell(msgspec.Struct, frozen=True):
    """The mean of those who came in one hour of one weekday, over `days` such hours that were open and
    counted; None of none."""

    mean: float | None
    days: int


class Comparison(msgspec.Struct, frozen=True):
    """With the period before (`previous`), a week before (`week`) or a year ago (`year`): who came then, in
    as much of it as has passed now. `change` is a part of that, None where nobody had come; `mean_change`
    the same of a day that was open and counted. Not `sure`: one of the two was not fully counted."""

    against: str
    since: date
    until: date
    running: bool
    came: int
    change: float | None
    mean_change: float | None
    sure: bool


class Occupancy(msgspec.Struct, frozen=True):
    """How many were inside at a moment (Unix seconds)."""

    at: int
    inside: int


class Stay(msgspec.Struct, frozen=True):
    """How long people stayed on the mean, by Little's law: the time spent inside by all, divided by those
    who came; over `days` that were fully counted. An estimate: nobody is followed."""

    minutes: float
    days: int


class Analysis(msgspec.Struct, frozen=True):
    """One place over one period."""

    place: str
    period: Period
    running: bool
    now: int
    total: Count
    open_days: int
    """Days that were open and counted, and have ended."""
    bars: tuple[Bar, ...]
    by: str
    peaks: dict[str, Peak]
    heat: tuple[tuple[HeatCell, ...], ...]
    """By weekday, Monday first, and hour."""
    comparisons: tuple[Comparison, ...]
    levels: tuple[Occupancy, ...]
    """At the end of each quarter of a day; else at each day's fullest."""
    stay: Stay | None
    places: dict[str, Count]
    stored_facts: tuple[StoredFact, ...] = msgspec.field(name="happenings")
    lost: tuple[tuple[int, int, str, str], ...]
    """Times in which a counter (empty: all) did not count; Unix seconds, and why."""
    since: int | None
    """When the statistics begin, Unix seconds; None: there are none."""
    undated: int
    behind: bool
    week: tuple[float | None, ...]
    """The mean day by weekday, Monday first."""
    unheard: tuple[str, ...]
    """Counters that are configured, and were never heard."""


def parse_day(text: str) -> date:
    """A date that somebody wrote. Raises `ConfigError`."""
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError("visitors-date", value=text) from error
    if not date(1970, 1, 2) <= day <= MAX_DAY:
        raise ConfigError("visitors-date", value=text)
    return day
