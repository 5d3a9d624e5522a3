"""The results of an analysis, and the periods that can be analysed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from zoneinfo import ZoneInfo

import msgspec

from gateway.model import ConfigError
from gateway.model.hours import WeeklyHours

from .aggregation import StoredFact
from .intervals import Slot, first_day_of, shift_day

MAX_DAY = date(2200, 12, 31)
"""The last day that can be requested."""
BAR_UNITS = {"day": "hour", "week": "day", "month": "day", "year": "month"}
"""The unit of the bars in which a day, a week, a month and a year are shown."""
PERIOD_UNITS = tuple(BAR_UNITS)


class Period(msgspec.Struct, frozen=True):
    """Local days, from `since` to before `until`; `unit` is `day`, `week`, `month`, `year`, or empty for
    any other range."""

    unit: str
    since: date
    until: date

    def shifted(self, count: int) -> Period:
        """The period `count` units later (negative: earlier)."""
        if not self.unit:
            length = (self.until - self.since) * count
            return Period("", self.since + length, self.until + length)
        first = shift_day(self.unit, self.since, count)
        return Period(self.unit, first, shift_day(self.unit, first))


def period_containing(unit: str, day: date) -> Period:
    """The day, week, month or year that contains `day`."""
    first = first_day_of(unit, day)
    return Period(unit, first, shift_day(unit, first))


class CentreLayout(msgspec.Struct, frozen=True):
    """The doors, places, titles and opening hours of the site file that the analysis needs."""

    timezone: str
    doors: Mapping[str, tuple[str, ...]] = {}
    """The counters of each door, by the door's place name."""
    places: Mapping[str, tuple[str, ...]] = {}
    """The doors (place names) through which each place is counted."""
    titles: Mapping[str, dict[str, str]] = {}
    """The titles of places by language, and of each counter as `door.COUNTER`."""
    hours: WeeklyHours | None = None
    """The published hours."""

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


class Count(msgspec.Struct, frozen=True):
    """How many came and went; `tours` of those who came were on a tour. `share` is the part of the time (of
    the published hours, where there are any) in which every door was counted; None if there was no such
    time."""

    came: int
    went: int
    tours: int
    share: float | None

    @property
    def activity(self) -> int:
        """Visitors who were not on a tour (活动人员)."""
        # Tours marked by hand are spread evenly over their time, and may exceed `came` in a slot.
        return max(0, self.came - self.tours)

    @property
    def is_minimum(self) -> bool:
        """Whether more may have come."""
        return self.share is not None and self.share < 1


class Bar(msgspec.Struct, frozen=True):
    """The count of one slot; `future` if it has not begun."""

    slot: Slot
    count: Count
    future: bool


class Peak(msgspec.Struct, frozen=True):
    """The busiest quarter, hour or day, and how many people came or were inside."""

    slot: Slot
    count: int


class HeatCell(msgspec.Struct, frozen=True):
    """The mean visits in one hour of one weekday, over `days` such hours that were open and fully counted;
    None if there were none."""

    mean: float | None
    days: int


class Comparison(msgspec.Struct, frozen=True):
    """A comparison with the period before (`previous`), a week before (`week`) or a year ago (`year`).
    `came` counts the same part of that period as has passed of this one. `change` is the relative change,
    None where nobody came then; `mean_change` that of the mean fully counted day. `sure` is false if one
    of the two was not fully counted."""

    against: str
    since: date
    until: date
    running: bool
    came: int
    change: float | None
    mean_change: float | None
    sure: bool


class Occupancy(msgspec.Struct, frozen=True):
    """How many people were inside at a moment (Unix seconds)."""

    at: int
    inside: int


class Stay(msgspec.Struct, frozen=True):
    """The mean length of stay by Little's law: person-time inside divided by the people who came, over
    `days` that were fully counted. An estimate, as no person is tracked."""

    minutes: float
    days: int


class Analysis(msgspec.Struct, frozen=True):
    """The analysis of one place over one period."""

    place: str
    period: Period
    running: bool
    now: int
    total: Count
    bars: tuple[Bar, ...]
    by: str
    peaks: dict[str, Peak]
    heat: tuple[tuple[HeatCell, ...], ...]
    """By weekday, Monday first, and hour."""
    comparisons: tuple[Comparison, ...]
    levels: tuple[Occupancy, ...]
    """For a single day at the end of each quarter; else the maximum of each day."""
    stay: Stay | None
    places: dict[str, Count]
    stored_facts: tuple[StoredFact, ...] = msgspec.field(name="happenings")
    lost: tuple[tuple[int, int, str, str], ...]
    """Gaps: from and until in Unix seconds, the counter (empty: all) and the reason."""
    since: int | None
    """When the statistics begin, Unix seconds; None if they are empty."""
    undated: int
    behind: bool
    week: tuple[float | None, ...]
    """The mean visits by weekday, Monday first."""
    unheard: tuple[str, ...]
    """Counters that are configured and have never reported."""


def parse_day(text: str) -> date:
    """Parse an ISO date from 1970-01-02 to 2200-12-31. Raises `ConfigError`."""
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError("visitors-date", value=text) from error
    if not date(1970, 1, 2) <= day <= MAX_DAY:
        raise ConfigError("visitors-date", value=text)
    return day
